/* A read-write lock as wait/src/rwlock.rs implements it: the word of a mutex for writers, and a word of its own for each lease, with the
 * number of that lease's readers. Both are wait words (waits.pml). A reader announces itself in the word of its lease and then looks at the
 * writers' word; a writer owns the writers' word and then looks at every lease's (Dekker).
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for good between any
 * two steps, its reaper with it. Thread t is one of process OF(t), which takes lease OF(t) in each of its lives.
 */
#ifndef NP
#define NP 2            /* processes, and leases */
#endif
#ifndef NT
#define NT NP           /* threads; one more than processes: process 0 has two */
#endif
#define OF(t) ((t) % NP)
#ifndef INC
#define INC 1           /* lives of a process */
#endif
#ifndef OPS
#define OPS 1           /* operations of a thread in one life */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef FIRST
#define FIRST UNOWNED   /* the writers' word; ABANDONED: the last writer died before the start */
#endif
#ifndef HURRIES
#define HURRIES 1       /* waits that may time out */
#endif

/* mutex.rs: FREE, ABANDONED, and owned by thread t */
#define UNOWNED 0
#define ABANDONED 1
#define OWNED(t) (t + 2)
#define AVAILABLE(v) (v <= ABANDONED)

/* the writers' word and its sleepers; the readers' words, and their sleepers */
byte w = FIRST;
bit wm;
byte ws;
byte r[NP];
bit rm[NP];
byte rs[NP];
/* per lease: LIVE, and with it the holder bit; the kernel's locks: the owner's, and a set of readers */
bit dirty[NP], alive[NP];
byte readers[NP];

/* state of the model only */
byte reading, writing;      /* the threads that have a lock for reading, for writing */
byte engaged;               /* the threads between the announcement of a reader and the end of its withdrawal */
bit owed = (FIRST == ABANDONED);   /* the next owner must be told */
byte life[NP];
bit still[NP], joining[NP]; /* stopped for good; recovering the slot that it has taken */
byte kills = KILLS, stops = STOPS, hurries = HURRIES;

/* word.rs: Word::wake, Word::clear: one step of the kernel [A9] */
#define wake_w() d_step { wm = 0; ws = 0 }
#define clear_w() d_step { w = UNOWNED; wm = 0; ws = 0 }
#define wake_r(l) d_step { rm[l] = 0; rs[l] = 0 }

/* rwlock.rs: announce: word.rs: change; announce_only is the compare_exchange alone */
inline announce(l) {
    do
    ::
        d_step { v = r[l]; m = rm[l] };                                       /* load */
        if
        :: atomic { m && v == 0 -> wake_r(l) }                                /* pending */
        :: atomic {
            !(m && v == 0) ->
            if
            :: r[l] == v && rm[l] == m ->                                     /* compare_exchange */
                r[l] = v + 1; engaged = engaged | (1 << t); break
            :: else
            fi
           }
        fi
    od;
    atomic { v = 0; m = 0 }
}

/* rwlock.rs: withdraw: word.rs: change; withdraw_only is the compare_exchange alone */
inline withdraw(l) {
    do
    ::
        d_step { v = r[l]; m = rm[l]; assert(v > 0) };                        /* load */
        atomic {
            if
            :: r[l] == v && rm[l] == m ->                                     /* compare_exchange: pending if a writer waits */
                r[l] = v - 1;
#ifdef M_BIT_BEFORE_WAKE
                rm[l] = 0;
#endif
                reading = reading & ~(1 << t);
                if :: !m -> engaged = engaged & ~(1 << t) :: else fi;
                break
            :: else
            fi
        }
    od;
    if
#ifdef M_NO_WAKE
    :: false
#else
    :: atomic { m -> wake_r(l); engaged = engaged & ~(1 << t) }
#endif
    :: d_step { !m -> engaged = engaged & ~(1 << t) }
#ifdef M_NO_WAKE
    :: d_step { m -> engaged = engaged & ~(1 << t) }
#endif
    fi;
    atomic { v = 0; m = 0 }
}

/* source.rs: set_waiters; futex.rs: sleep. The word was `seen` */
inline sleep_w() {
    d_step {
        ok = (seen_m || (w == seen && !wm));                                  /* compare_exchange */
        if :: ok && !seen_m -> wm = 1 :: else fi
    };
    if
    :: d_step { ok && w == seen && wm -> ws = ws | (1 << t) };
end_asleep:
        if
        :: d_step { !(ws & (1 << t)) -> skip }
        :: d_step { hurry && (ws & (1 << t)) -> ws = ws & ~(1 << t); last = 1 }
        fi
    :: d_step { !(ok && w == seen && wm) -> skip }
    fi
}

/* rwlock.rs: read; source.rs: wait_for. `taken`: the caller has the lock for reading */
inline read(l) {
    taken = 0;
    do
    ::
#ifdef M_LOOK_FIRST             /* the reader looks before it announces itself */
        d_step { v = w; m = wm; ok = AVAILABLE(v) && !m; v = 0; m = 0 };
        if
        :: ok -> announce(l); atomic { taken = 1; reading = reading | (1 << t); assert(!writing) }; break
        :: else
        fi;
#endif
        announce(l);
        do
        ::
            d_step { v = w; m = wm };                                         /* load: the look */
            if
            :: atomic { AVAILABLE(v) && m -> wake_w() }                       /* pending */
            :: atomic {
                AVAILABLE(v) && !m ->
                assert(!writing);
                taken = 1; reading = reading | (1 << t); break
               }
            :: d_step { !AVAILABLE(v) -> skip }; break
            fi
        od;
        /* the value that is told was current at the look */
        seen = v; seen_m = m; v = 0; m = 0;
        if
        :: taken -> break
        :: else
        fi;
#ifndef M_NO_WITHDRAW           /* the reader waits for the writer as if it had not announced itself */
        withdraw(l);
#endif
        if
        :: last -> break
        :: else
        fi;
        sleep_w()
    od;
    atomic { last = 0; hurry = 0; seen = 0; seen_m = 0; ok = 0 }
}

/* mutex.rs: lock_free, try_lock: the claim of a writer. `taken`: the caller owns the writers' word; `told`: it was abandoned */
inline claim() {
    taken = 0;
    do
    ::
        d_step { seen = w; seen_m = wm };                                     /* load */
        if
        :: atomic { AVAILABLE(seen) && seen_m -> wake_w() }
        :: atomic {
            AVAILABLE(seen) && !seen_m ->
            if
            :: w == seen && !wm ->                                            /* compare_exchange */
                assert(owed == (seen == ABANDONED));
                told = (seen == ABANDONED); owed = 0;
                w = OWNED(t); taken = 1; break
            :: else
            fi
           }
        :: d_step { !AVAILABLE(seen) -> skip };
            if
            :: last -> break
            :: else -> sleep_w()
            fi
        fi
    od;
    atomic { last = 0; seen = 0; seen_m = 0; ok = 0 }
}

/* rwlock.rs: drain: looks at the word of every lease, and sleeps on it until it has no readers. `taken`: there are none any more */
inline drain() {
    k = 0;
    do
    :: k < NP ->
        d_step { v = r[k]; m = rm[k] };                                       /* load */
        if
        :: atomic { v == 0 && m -> wake_r(k) }                                /* pending */
        :: d_step { v == 0 && !m -> k++ }
#ifdef M_NO_DRAIN
        :: d_step { v > 0 -> k++ }
#else
        :: d_step { v > 0 -> skip };
            if
            :: last -> taken = 0; break
            :: else
            fi;
            d_step {
                ok = (m || (r[k] == v && !rm[k]));                            /* compare_exchange: set_waiters */
                if :: ok && !m -> rm[k] = 1 :: else fi
            };
            if
            :: d_step { ok && r[k] == v && rm[k] -> rs[k] = rs[k] | (1 << t) };
end_draining:
                if
                :: d_step { !(rs[k] & (1 << t)) -> skip }
                :: d_step { hurry && (rs[k] & (1 << t)) -> rs[k] = rs[k] & ~(1 << t); last = 1 }
                fi
            :: d_step { !(ok && r[k] == v && rm[k]) -> skip }
            fi
#endif
        fi
    :: k == NP -> break
    od;
    atomic { k = 0; v = 0; m = 0; ok = 0; last = 0 }
}

/* mutex.rs: unlock */
inline unlock() {
    do
    ::
        d_step { m = wm; assert(w == OWNED(t)) };                             /* load */
        if
        :: atomic { m -> writing = 0; clear_w(); break }
        :: atomic { !m -> if :: !wm -> writing = 0; w = UNOWNED; break :: else fi }   /* compare_exchange */
        fi
    od;
    m = 0
}

/* mutex.rs: abandon: of a writer that was told, and gives up */
inline give_on() {
    do
    ::
        d_step { v = w; m = wm };
        atomic {
            if
            :: w == v && wm == m -> w = ABANDONED; owed = 1; break
            :: else
            fi
        }
    od;
    if
    :: atomic { m -> wake_w() }
    :: else
    fi;
    atomic { v = 0; m = 0 }
}

/* recover.rs: recover: the writers' word and the readers' word of the dead lease j, then its lease word */
#define IS_OWNED_BY(v, j) (v > ABANDONED && OF((v - 2)) == j)
inline recover(j) {
    if
    :: dirty[j] ->
#ifdef M_LEASE_BEFORE_WORDS
        dirty[j] = 0;
#endif
        do
        ::
            d_step { s_v = w; s_m = wm };
            atomic {
                if
                :: IS_OWNED_BY(s_v, j) && w == s_v && wm == s_m -> w = ABANDONED; break
                :: IS_OWNED_BY(s_v, j) && !(w == s_v && wm == s_m)
                :: !IS_OWNED_BY(s_v, j) -> break
                fi
            }
        od;
        if
        :: atomic { wm -> wake_w() }
        :: else
        fi;
#ifndef M_READERS_LEFT          /* mutant wait.rwlock.readers_left */
        do
        ::
            d_step { s_v = r[j]; s_m = rm[j] };
            atomic {
                if
                :: s_v > 0 && r[j] == s_v && rm[j] == s_m -> r[j] = 0; break
                :: s_v > 0 && !(r[j] == s_v && rm[j] == s_m)
                :: s_v == 0 -> break
                fi
            }
        od;
#endif
#ifndef M_NOBODY_WOKEN
        if
        :: atomic { rm[j] -> wake_r(j) }
        :: else
        fi;
#endif
        atomic { s_v = 0; s_m = 0 };
        dirty[j] = 0
    :: else
    fi
}

/* The life of a process: it takes its lease, its threads run, and its first one recovers what a former life left. */
proctype Main(byte t) {
    byte born, lives, ops, v, k, seen, s_v;
    bit m, ok, taken, told, hurry, last, seen_m, s_m;
end_join:
    if
#ifdef M_REUSE_WITHOUT_LOCK
    :: atomic { t < NP && !alive[OF(t)] -> alive[OF(t)] = 1; born = life[OF(t)]; joining[OF(t)] = 1 }
#else
    :: atomic { t < NP && !alive[OF(t)] && readers[OF(t)] == 0 -> alive[OF(t)] = 1; born = life[OF(t)]; joining[OF(t)] = 1 }
#endif
    :: atomic { t >= NP && alive[OF(t)] && dirty[OF(t)] && !still[OF(t)] && life[OF(t)] == lives -> born = life[OF(t)] }
    fi;
    {
        if
        :: t < NP -> recover(OF(t)); atomic { dirty[OF(t)] = 1; joining[OF(t)] = 0 }
        :: else
        fi;
        do
        :: ops < OPS ->
            atomic {
                ops++;
                if
                :: hurries > 0 -> hurries--; hurry = 1
                :: true
                fi
            };
            if
            :: read(OF(t));
                if
                :: taken -> taken = 0; withdraw(OF(t))
                :: else
                fi
            :: claim();
                if
                :: taken ->
                    drain();
                    if
                    :: atomic { taken -> taken = 0; assert(!reading && !writing); writing = 1 << t }; unlock()
#ifdef M_TOLD_AND_LOST
                    :: !taken -> owed = told; unlock()
#else
                    :: !taken && told -> give_on()
                    :: !taken && !told -> unlock()
#endif
                    fi
                :: else
                fi;
                d_step { told = 0; hurry = 0 }
            fi
        :: ops == OPS -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[OF(t)] != born || still[OF(t)];
            if :: still[OF(t)] -> goto end_still :: else fi;
            lives++; ops = 0; v = 0; k = 0; seen = 0; s_v = 0;
            m = 0; ok = 0; taken = 0; told = 0; hurry = 0; last = 0; seen_m = 0; s_m = 0;
            if :: lives < INC -> goto end_join :: else fi
        }
    };
    goto end_over;
end_still:
    false;
end_over:
    skip
}

/* member.rs: recover: every member has a reaper */
#define IS_DEAD(j) (j != p && !alive[j] && dirty[j])
proctype Reaper(byte p) {
    byte born, j, s_v;
    bit s_m;
end_top:
    atomic { alive[p] && dirty[p] && !still[p] -> born = life[p] };
    {
end_idle:
        do
        ::
            d_step {
                if
                :: IS_DEAD(0) -> j = 0
                :: IS_DEAD(1) -> j = 1
#if NP > 2
                :: IS_DEAD(2) -> j = 2
#endif
                fi;
#ifndef M_REUSE_WITHOUT_LOCK
                readers[j] = readers[j] | (1 << p)
#endif
            };
            recover(j);
            d_step { readers[j] = readers[j] & ~(1 << p); j = 0 }
        od
    } unless { atomic { life[p] != born || still[p]; j = 0; s_v = 0; s_m = 0 } };
    goto end_top
}

/* the kernel kills and stops */
#if NT > NP
#define ITS(p) ((1 << p) | ((p == 0) << NP))
#else
#define ITS(p) (1 << p)
#endif
inline kill(p) {
    atomic {
        kills > 0 && alive[p] && !still[p] ->
        kills--; life[p]++; alive[p] = 0;
        ws = ws & ~(ITS(p)); reading = reading & ~(ITS(p)); writing = writing & ~(ITS(p)); engaged = engaged & ~(ITS(p));
        if :: IS_OWNED_BY(w, p) -> owed = 1 :: else fi;
        k = 0;
        do
        :: k < NP -> readers[k] = readers[k] & ~(1 << p); rs[k] = rs[k] & ~(ITS(p)); k++
        :: else -> k = 0; break
        od
    }
}
inline stop(p) { atomic { stops > 0 && alive[p] && !still[p] -> stops--; still[p] = 1 } }
proctype Kernel() {
    byte k;
end_idle:
    do
    :: kill(0)
    :: kill(1)
    :: stop(0)
    :: stop(1)
#if NP > 2
    :: kill(2)
    :: stop(2)
#endif
    :: atomic { kills + stops > 0 -> kills = 0; stops = 0 }
    od
}

/* Checked when no process can make a step. */
#define RUNS(p) (alive[p] && dirty[p] && !still[p])
#define SLEEPS_R(t, l) (RUNS(OF(t)) && (rs[l] & (1 << t)))
/* a stopped process keeps a writer only as a reader; or, having taken the slot of the dead, before it has recovered it */
#define EXCUSED(l) (still[l] && ((engaged & ITS(l)) || joining[l]))
#define JUST(t, l) assert(!SLEEPS_R(t, l) || (rm[l] && EXCUSED(l)))
#define OWNER (w - 2)
proctype Check() {
    byte k;
end_check:
    timeout;
    JUST(0, 0); JUST(0, 1); JUST(1, 0); JUST(1, 1);
#if NT > 2
    JUST(2, 0); JUST(2, 1);
#endif
#if NP > 2
    JUST(0, 2); JUST(1, 2); JUST(2, 2);
#endif
    assert(!ws || wm);
    /* those who run, and sleep on the writers' word */
    k = 0;
    do
    :: k < NT ->
        if
        :: RUNS(OF(k)) && (ws & (1 << k)) && AVAILABLE(w) ->    /* pending: one who was about to wake is stopped, and no operation followed */
            assert(still[0] || still[1] || (NP > 2 && still[NP - 1]))
        :: RUNS(OF(k)) && (ws & (1 << k)) && !AVAILABLE(w) ->   /* the owner is stopped, or waits itself for one who is */
            assert(still[OF(OWNER)] || (rs[0] & (1 << OWNER)) || (rs[1] & (1 << OWNER)) || (NP > 2 && (rs[NP - 1] & (1 << OWNER))))
        :: else
        fi;
        k++
    :: else -> break
    od;
    /* of those who run, none is a reader or writer any more */
    k = 0;
    do
    :: k < NT ->
        assert(!(RUNS(OF(k)) && ((reading | writing | engaged) & (1 << k))));
        k++
    :: else -> break
    od;
    /* the dead have no readers, if somebody runs who recovers them */
    k = 0;
    do
    :: k < NP ->
        assert(r[k] == 0 || still[k] || !(RUNS(0) || RUNS(1)));
        k++
    :: else -> break
    od
}

init {
    atomic {
#if NT > 2
        run Main(2);
#endif
#if NP > 2
        run Reaper(2);
#endif
        run Main(0); run Reaper(0);
        run Main(1); run Reaper(1);
        run Kernel(); run Check()
    }
}
