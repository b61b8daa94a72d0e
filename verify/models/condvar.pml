/* A condition variable as wait/src/sequence.rs and tenure/src/waiting/condvar.rs implement it: a word { sequence | waiters } beside a lock.
 * The lock is that of waits.pml, here in one step; recovery frees that of a dead owner. Each process waits until a flag of its own is set,
 * or sets that of another one and notifies: so two that sleep on one word wait for different things.
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for good between any
 * two steps, its reaper with it.
 */
#ifndef NP
#define NP 2            /* processes, and leases */
#endif
#ifndef INC
#define INC 1           /* lives of a process */
#endif
#ifndef OPS
#define OPS 1           /* operations of a process in one life */
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

#define FREE 255
/* the lock: its owner; the word: bit 0, waiters; above it, the sequence; and the word's sleepers, in the kernel */
byte lock = FREE;
byte word;
byte ws;
/* what the lock protects */
bit flag[NP];
/* per lease: LIVE, and with it the holder bit; the kernel's locks: the owner's, and a set of readers */
bit dirty[NP], alive[NP];
byte readers[NP];

/* state of the model only */
byte telling;           /* the processes that have set a flag and have not notified yet */
byte life[NP];
bit still[NP], joining[NP]; /* stopped for good; recovering the slot that it has taken */
byte kills = KILLS, stops = STOPS, hurries = HURRIES;

/* sequence.rs: wake: FUTEX_WAKE_OP adds one, which clears the waiters bit: one step of the kernel [A9] */
#ifdef M_NO_SEQUENCE
#define ADD word = word & ~1
#else
#define ADD word++
#endif
#ifdef M_WAKE_ONE
#define WAKE if :: ws & 1 -> ws = ws & ~1 :: !(ws & 1) && (ws & 2) -> ws = ws & ~2 :: else -> ws = 0 fi
#else
#define WAKE ws = 0
#endif
inline wake() {
    v = word;                                                                 /* load */
#ifdef M_WAKE_IN_TWO_STEPS
    if
    :: d_step { v & 1 -> ADD }; d_step { WAKE }
    :: d_step { !(v & 1) -> skip }
    fi;
#else
    if
    :: d_step { v & 1 -> ADD; WAKE }
    :: d_step { !(v & 1) -> skip }
    fi;
#endif
    d_step { telling = telling & ~(1 << p); v = 0 }
}

inline take_lock() {
    v = 0;
end_waiting:
    atomic { lock == FREE -> lock = p }
}
#define drop_lock() atomic { assert(lock == p); lock = FREE }

/* condvar.rs: wait_while */
inline wait() {
    take_lock();
    do
    :: atomic { flag[p] -> flag[p] = 0; break }
    :: atomic { !flag[p] && last -> last = 0; break }
    :: d_step { !flag[p] && !last -> skip };
#ifdef M_MARK_AFTER_UNLOCK
        drop_lock();
        d_step { word = word | 1; seen = word };
#else
        d_step { word = word | 1; seen = word };                              /* fetch_or */
        drop_lock();
#endif
        if
        :: d_step { word == seen -> ws = ws | (1 << p) };
end_asleep:
            if
            :: d_step { !(ws & (1 << p)) -> skip }
            :: d_step { hurry && (ws & (1 << p)) -> ws = ws & ~(1 << p); last = 1 }
            fi
        :: d_step { word != seen -> skip }
        fi;
        seen = 0;
        take_lock()
    od;
    drop_lock()
}

inline tell(q) {
    take_lock();
    atomic { flag[q] = 1; telling = telling | (1 << p) };
    if
    :: drop_lock(); wake()
    :: wake(); drop_lock()
    fi
}

/* recover.rs: recover */
inline recover(j) {
    if
    :: dirty[j] ->
#ifdef M_LEASE_BEFORE_WORD
        dirty[j] = 0;
#endif
        atomic { if :: lock == j -> lock = FREE :: else fi };
#ifndef M_NOBODY_WOKEN
        s_v = word;
        if
        :: d_step { s_v & 1 -> ADD; ws = 0 }
        :: d_step { !(s_v & 1) -> skip }
        fi;
        s_v = 0;
#endif
        dirty[j] = 0
    :: else
    fi
}

proctype Main(byte p) {
    byte born, lives, ops, v, seen, s_v;
    bit hurry, last;
end_join:
#ifdef M_REUSE_WITHOUT_LOCK
    atomic { !alive[p] -> alive[p] = 1; born = life[p]; joining[p] = 1 };
#else
    atomic { !alive[p] && readers[p] == 0 -> alive[p] = 1; born = life[p]; joining[p] = 1 };
#endif
    {
        recover(p); atomic { dirty[p] = 1; joining[p] = 0 };
        do
        :: ops < OPS ->
            ops++;
            if
            :: atomic { hurries > 0 -> hurries--; hurry = 1 }; wait()
            :: wait()
            :: tell(((p + 1) % NP))
#if NP > 2
            :: tell(((p + 2) % NP))
#endif
            fi;
            hurry = 0
        :: ops == OPS -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; v = 0; seen = 0; s_v = 0; hurry = 0; last = 0;
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
    } unless { atomic { life[p] != born || still[p]; j = 0; s_v = 0 } };
    goto end_top
}

/* the kernel kills and stops */
inline kill(p) {
    atomic {
        kills > 0 && alive[p] && !still[p] ->
        kills--; life[p]++; alive[p] = 0;
        ws = ws & ~(1 << p);
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
/* stopped before it notified; having taken the slot of the dead, before it has recovered it; with a process of NP that takes the lock */
#define EXCUSED(l) (still[l] && ((telling & (1 << l)) || joining[l]))
#define JUST(p) assert(!(RUNS(p) && (ws & (1 << p)) && flag[p]) || EXCUSED(0) || EXCUSED(1) || (NP > 2 && EXCUSED(NP - 1)))
proctype Check() {
end_check:
    timeout;
    /* whoever sleeps is woken by the next notification */
    assert(!ws || (word & 1));
    JUST(0); JUST(1);
#if NP > 2
    JUST(2);
#endif
    /* the lock of the dead is free, if somebody runs who recovers them */
    assert(lock == FREE || still[lock] || !(RUNS(0) || RUNS(1) || (NP > 2 && RUNS(NP - 1))) || joining[0] || joining[1] || (NP > 2 && joining[NP - 1]))
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
