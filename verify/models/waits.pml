/* One wait word as wait/ implements it: a mutex, an event or a semaphore; its sleepers in the kernel, and the recovery of its
 * dead users.
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for
 * good between any two steps, its reaper with it. Process p takes lease p in each of its lives.
 */
#ifndef NP
#define NP 2            /* processes, and leases */
#endif
#ifndef INC
#define INC 2           /* lives of a process */
#endif
/* -DFIRST_AGAIN: only process 0 has more than one life */
#ifdef FIRST_AGAIN
#define LIVES(p) (p == 0 -> INC : 1)
#else
#define LIVES(p) INC
#endif
#ifndef OPS
#define OPS 1           /* operations of one life; for a mutex, the number of locks */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef HURRIES
#define HURRIES 1       /* waits that may time out */
#endif
#ifndef USERS
#define USERS NP        /* the first processes use the word; the others join and recover */
#endif
/* the kind of the word; AUTO and MANUAL: auto-reset and manual-reset event */
#define MUTEX 0
#define AUTO 1
#define MANUAL 2
#define SEMAPHORE 3
#ifndef KIND
#define KIND MUTEX
#endif
#ifndef FIRST
#define FIRST 0         /* the initial count of a semaphore or signal of an event */
#endif

/* mutex.rs: FREE, ABANDONED, and owned by p; event.rs: SIGNALLED, and generations above it */
#define UNOWNED 0
#define ABANDONED 1
#define OWNED(p) (p + 2)
#define SIGNALLED 1
#define NEVER 255
#define MAXIMUM 2           /* of a semaphore */

#if KIND == MUTEX
#define AVAILABLE(v) (v == UNOWNED || v == ABANDONED)
#define TAKEN(v) OWNED(p)
#elif KIND == SEMAPHORE
#define AVAILABLE(v) (v > 0)
#define TAKEN(v) (v - 1)
#elif KIND == AUTO
#define AVAILABLE(v) (v & SIGNALLED)
#define TAKEN(v) (v & ~SIGNALLED)
#else
#define AVAILABLE(v) (v & SIGNALLED)
#endif

/* the word: waiters bit and value; the kernel's queue of it: a set of processes */
bit waiters;
byte value = FIRST;
byte sleepers;
/* per lease: LIVE, and with it the holder bit; the kernel's locks: the owner's, and a set of readers */
bit dirty[NP], alive[NP];
byte readers[NP];

/* state of the model only */
byte owner;                 /* the process between lock and unlock, + 1 */
bit owed;                   /* the next owner must be told */
byte permits = FIRST;       /* counts or signals that were released and not taken */
byte pending;                /* the processes that stored a pending value: 1 << p, 16 << p for a reaper */
byte waits, passed;         /* the waiters; the ones for which a manual-reset event was signalled meanwhile */
byte life[NP];
bit still[NP];              /* stopped for good */
byte kills = KILLS, stops = STOPS, hurries = HURRIES;

/* the value is published: stored without waiters, or by the wake */
#if KIND == MANUAL
#define TAKES_EFFECT passed = passed | waits
#else
#define TAKES_EFFECT skip
#endif

/* word.rs: Word::wake, Word::clear; futex.rs: one step of the kernel [A9]. STEP: together with the load before it */
#define STEP atomic
#if defined(M_WAKE_ONE)             /* the kernel is asked for one sleeper, not for all */
#define AWAKE sleepers = sleepers & (sleepers - 1)
#else
#define AWAKE sleepers = 0
#endif
#if defined(M_WAKE_IN_TWO_STEPS)    /* first the bit, then FUTEX_WAKE */
#define wake() d_step { if :: AVAILABLE(value) -> TAKES_EFFECT :: else fi; waiters = 0; pending = 0 }; AWAKE
#define clear() d_step { owner = 0; value = 0; waiters = 0; pending = 0 }; AWAKE
#undef STEP
#define STEP
#elif defined(M_WAKE_BY_PLAIN_STORE)    /* load, store without the bit, FUTEX_WAKE in the same step */
#define wake() w_v = value; d_step { value = w_v; waiters = 0; pending = 0; AWAKE; w_v = 0 }
#undef STEP
#define STEP
#define clear() d_step { owner = 0; value = 0; waiters = 0; pending = 0; AWAKE }
#else
#define wake() d_step { if :: waiters && AVAILABLE(value) -> TAKES_EFFECT :: else fi; waiters = 0; pending = 0; AWAKE }
#define clear() d_step { owner = 0; value = 0; waiters = 0; pending = 0; AWAKE }
#endif

/* a manual-reset event: signalled since the waiter's first load, which found it reset */
#if KIND == MANUAL
#define WAS_SIGNALLED (since != NEVER && since != (a_v >> 1))
#else
#define WAS_SIGNALLED false
#endif

/* word.rs: attempt; mutex.rs: lock_free, event.rs: take_signal and so on are the compare_exchange alone, as if the load came right before
 * it. taken, or a_v and a_m are the loaded word. `last`: the last try before the wait times out */
inline attempt() {
    taken = 0;
    do
    ::
        d_step {                                                             /* load */
            a_v = value; a_m = waiters;
            if
            :: !AVAILABLE(a_v) && !WAS_SIGNALLED -> waits = waits | (1 << p)
            :: else
            fi;
            if
            :: last && !AVAILABLE(a_v) && !WAS_SIGNALLED -> assert(!(passed & (1 << p)))
            :: else
            fi
        };
        if
#ifdef M_ATTEMPT_WAITS_FOR_WAKER    /* fault wait.attempt.waits_for_the_waker */
        :: AVAILABLE(a_v) && a_m -> break
#else
        :: STEP { AVAILABLE(a_v) && a_m -> wake() }
#endif
        :: atomic {
            !(AVAILABLE(a_v) && a_m) ->
            if
            :: !AVAILABLE(a_v) -> taken = WAS_SIGNALLED; break
#if KIND == MANUAL
            :: AVAILABLE(a_v) -> taken = 1; break
#else
            :: AVAILABLE(a_v) && value == a_v && !waiters ->                     /* compare_exchange */
#if KIND == MUTEX
                assert(owner == 0);
                assert(owed == (a_v == ABANDONED));
                owed = 0; owner = p + 1;
#else
                assert(permits == (KIND == SEMAPHORE -> value : 1));
                permits--;
#endif
                value = TAKEN(a_v); taken = 1; break
            :: AVAILABLE(a_v) && !(value == a_v && !waiters)
#endif
            fi
           }
        fi
    od
}

/* source.rs: wait_for */
inline wait_for() {
    atomic {
        if
        :: hurries > 0 -> hurries--; hurry = 1
        :: true
        fi
    };
    do
    ::
        attempt();
        if
        :: taken || last -> break
        :: d_step {
            !(taken || last) ->                                              /* word.rs: set_waiters: compare_exchange */
#if KIND == MANUAL
            if :: since == NEVER -> since = a_v >> 1 :: else fi;
#endif
            ok = (a_m || (value == a_v && !waiters));
            if :: ok && !a_m -> waiters = 1 :: else fi
           };
            if
#ifdef M_SLEEP_WITHOUT_COMPARING
            :: d_step { ok -> assert(!AVAILABLE(value)); sleepers = sleepers | (1 << p) };
#else
            :: d_step {                                                      /* futex.rs: sleep: one step */
                ok && value == a_v && waiters -> assert(!AVAILABLE(value)); sleepers = sleepers | (1 << p)
               };
#endif
end_asleep:     if
                :: d_step { !(sleepers & (1 << p)) -> skip }
                :: d_step { hurry && (sleepers & (1 << p)) -> sleepers = sleepers & ~(1 << p); last = 1 }
                fi
#ifdef M_SLEEP_WITHOUT_COMPARING
            :: !ok
#else
            :: d_step { !(ok && value == a_v && waiters) -> skip }
#endif
            fi
        fi
    od;
    atomic {
        waits = waits & ~(1 << p); passed = passed & ~(1 << p);
        hurry = 0; last = 0; since = NEVER; a_v = 0; a_m = 0; ok = 0
    }
}

/* word.rs: change; event.rs: set, reset; semaphore.rs: release; event.rs: set_unwaited is the compare_exchange alone */
#define NOTHING 0
#define QUIET 1
#define OFFER 2
#define SET 0
#define RESET 1
#define RELEASE 2
#if KIND == MANUAL && !defined(M_NO_GENERATION)
#define AFTER_RESET(v) ((v & ~SIGNALLED) + 2)
#else
#define AFTER_RESET(v) (v & ~SIGNALLED)
#endif
inline change(what) {
    do
    ::
        d_step { c_v = value; c_m = waiters; ok = 0 };                        /* load */
        if
#ifndef M_CHANGE_OVER_PENDING        /* a pending value of others is not published first */
        :: STEP { c_m && AVAILABLE(c_v) -> wake() }
        :: atomic {
            !(c_m && AVAILABLE(c_v)) ->
#else
        :: atomic {
#endif
            c_does = NOTHING;
            if
            :: what == SET && !AVAILABLE(c_v) -> c_does = OFFER; c_to = c_v | SIGNALLED
            :: what == RESET && AVAILABLE(c_v) -> c_does = QUIET; c_to = AFTER_RESET(c_v)
            :: what == RELEASE && c_v < MAXIMUM -> c_does = OFFER; c_to = c_v + 1
            :: else
            fi;
            if
            :: c_does == NOTHING -> break
#ifdef M_WAKE_BEFORE_STORE
            :: c_does != NOTHING -> wake()
            fi
           };
           if :: value == c_v -> value = c_to; permits++; break :: else fi
#else
            :: c_does != NOTHING && !(value == c_v && waiters == c_m)
            :: c_does != NOTHING && value == c_v && waiters == c_m ->         /* compare_exchange */
                value = c_to;
#ifdef M_BIT_BEFORE_WAKE            /* fault wait.change.bit_before_wake */
                if :: c_does == OFFER -> waiters = 0 :: else fi;
#endif
                if
                :: c_does == OFFER -> permits++
                :: else ->
#if KIND == MANUAL
                    TAKES_EFFECT;
#endif
                    permits--
                fi;
                if
                :: c_does == OFFER && !c_m -> TAKES_EFFECT; break
                :: c_does == OFFER && c_m -> ok = 1; if :: waiters -> pending = pending | (1 << p) :: else fi
                :: c_does == QUIET -> break
                fi
            fi
           };
           if :: STEP { ok -> wake(); break } :: else fi
#endif
        fi
    od;
    atomic { c_v = 0; c_m = 0; c_to = 0; c_does = 0; ok = 0 }
}

/* mutex.rs: unlock; unlock_unwaited is the compare_exchange alone */
inline unlock() {
    do
    ::
        d_step { c_m = waiters; assert(value == OWNED(p)) };                  /* load */
        if
#ifdef M_FREED_BEFORE_WOKEN         /* fault wait.unlock.freed_before_woken */
        :: c_m -> d_step { owner = 0; value = UNOWNED; waiters = 0 }; AWAKE; break
#else
        :: STEP { c_m -> clear(); break }
#endif
        :: atomic { !c_m -> if :: !waiters -> owner = 0; value = UNOWNED; break :: else fi }     /* compare_exchange */
        fi
    od;
    atomic { c_m = 0; ok = 0 }
}

/* mutex.rs: abandon; word.rs: wake_waiters: by process p, for lease j, a dead one or its own. `me`: its bit in `pending` */
inline recover_word(j, me) {
    do
    :: KIND == MUTEX ->
        d_step { s_v = value; s_m = waiters };                                /* load */
        atomic {
            if
            :: s_v == OWNED(j) && value == s_v && waiters == s_m ->           /* compare_exchange */
                assert(owner == 0);
#ifdef M_NOT_ABANDONED              /* fault wait.recover.not_abandoned */
                value = UNOWNED;
#else
                value = ABANDONED;
#endif
                if :: s_m -> pending = pending | me :: else fi;
                break
            :: s_v == OWNED(j) && !(value == s_v && waiters == s_m)
            :: s_v != OWNED(j) -> break
            fi
        }
    :: KIND != MUTEX -> break
    od;
    atomic { s_v = 0; s_m = 0; ok = 0 };
#ifndef M_NOBODY_WOKEN              /* fault wait.recover.nobody_woken */
    if
    :: STEP { waiters -> wake() }
    :: else
    fi
#endif
}

/* segment: recover(lease j), under its lock: first its words, then its lease word */
inline recover(j, me) {
    if
    :: dirty[j] ->
#ifdef M_LEASE_BEFORE_WORD        /* the holder bit and the lease are cleared before the word is recovered */
        dirty[j] = 0;
#endif
        recover_word(j, me);
        dirty[j] = 0
    :: else
    fi
}

proctype Main(byte p) {
    byte born, lives, ops, a_v, c_v, c_to, c_does, s_v, since = NEVER;
    bit a_m, c_m, s_m, ok, taken, hurry, last;
#ifdef M_WAKE_BY_PLAIN_STORE
    byte w_v;
#endif
end_join:       /* when a stopped reaper keeps its slot, a process would take another slot */
#ifdef M_REUSE_WITHOUT_LOCK         /* fault segment.recover.without_lock */
    atomic { !alive[p] -> alive[p] = 1; born = life[p] };
#else
    atomic { !alive[p] && readers[p] == 0 -> alive[p] = 1; born = life[p] };
#endif
    {
        recover(p, (1 << p));
        dirty[p] = 1;
        do
        :: atomic { ops < OPS && p < USERS -> ops++ };
#if KIND == MUTEX
            wait_for();
            if
            :: taken -> taken = 0; unlock()
            :: atomic { taken -> taken = 0; owner = 0; owed = 1 }; recover_word(p, (1 << p))   /* Mutex::abandon, or its last close */
            :: !taken
            fi
#elif KIND == SEMAPHORE
            if
            :: wait_for(); taken = 0
            :: change(RELEASE)
            fi
#else
            if
            :: wait_for(); taken = 0
            :: change(SET)
            :: change(RESET)
            fi
#endif
        :: ops == OPS || p >= USERS -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; a_v = 0; a_m = 0; c_v = 0; c_m = 0; c_to = 0; c_does = 0; s_v = 0; s_m = 0;
            ok = 0; taken = 0; hurry = 0; last = 0; since = NEVER;
            if :: lives < LIVES(p) -> goto end_join :: else fi
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
    bit s_m, ok;
#ifdef M_WAKE_BY_PLAIN_STORE
    byte w_v;
#endif
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
            recover(j, (16 << p));
            d_step { readers[j] = readers[j] & ~(1 << p); j = 0 }
        od
    } unless { atomic { life[p] != born || still[p]; j = 0; s_v = 0; s_m = 0; ok = 0 } };
    goto end_top
}

/* the kernel kills and stops */
inline kill(p) {
    atomic {
        kills > 0 && alive[p] && !still[p] ->
        kills--; life[p]++; alive[p] = 0;
        sleepers = sleepers & ~(1 << p); waits = waits & ~(1 << p); passed = passed & ~(1 << p);
        if :: owner == p + 1 -> owner = 0; owed = 1 :: else fi;
        k = 0;
        do
        :: k < NP -> readers[k] = readers[k] & ~(1 << p); k++
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
#define SLEEPS(p) (RUNS(p) && (sleepers & (1 << p)))
#if NP > 2
#define SOMEBODY_RUNS (RUNS(0) || RUNS(1) || RUNS(2))
#define THOSE_STOPPED ((still[0] * 17) | (still[1] * 34) | (still[2] * 68))
#else
#define SOMEBODY_RUNS (RUNS(0) || RUNS(1))
#define THOSE_STOPPED ((still[0] * 17) | (still[1] * 34))
#endif
proctype Check() {
end_check:
    timeout;
    /* [wait-sleepers-marked] */
    assert(sleepers == 0 || waiters);
    /* a pending value is left only by a stopped process, if no other operation followed */
    assert(!(waiters && AVAILABLE(value) && SOMEBODY_RUNS) || (pending & THOSE_STOPPED));
    /* no process sleeps if it could go on */
    assert(!(SLEEPS(0) && (!waiters && AVAILABLE(value) || (passed & 1))));
    assert(!(SLEEPS(1) && (!waiters && AVAILABLE(value) || (passed & 2))));
#if NP > 2
    assert(!(SLEEPS(2) && (!waiters && AVAILABLE(value) || (passed & 4))));
#endif
#if KIND == MUTEX
    /* no dead process owns the mutex, unless the process that takes the dead slot is stopped before it has recovered it */
    assert(AVAILABLE(value) || owner != 0 || !SOMEBODY_RUNS || still[value - 2]);
#endif
}

init {
    atomic {
#if NP > 2
        run Main(2); run Reaper(2);
#endif
        run Main(0); run Reaper(0);
        run Main(1); run Reaper(1);
        run Kernel(); run Check()
    }
}
