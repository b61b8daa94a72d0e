/* Leases, the kernel's locks on them, and the death notifications, as segment/ builds them. The leases share one resource, a word.
 *
 * A process has a main thread, a monitor and one reaper a slot. Death has two moments: first the monitor's thread
 * ends and the kernel signals its notifications (notifications.rs, A5), while a sibling still works; later the last user of the memory is
 * gone and the kernel drops the locks (A3). A process is killed or stopped for good between any two steps. Process p
 * takes slot p in each of its lives: the next life uses the slot again, under the next incarnation.
 */
#ifndef NP
#define NP 2            /* processes, and lease slots */
#endif
#ifndef INC
#define INC 2           /* lives of a process */
#endif
/* -DFIRST_AGAIN: only process 0 has more than one life; with DEAD_START the dead one is its first life */
#if defined(FIRST_AGAIN) && defined(DEAD_START)
#define LIVES(p) (p == 0 -> INC - 1 : 1)
#elif defined(FIRST_AGAIN)
#define LIVES(p) (p == 0 -> INC : 1)
#else
#define LIVES(p) INC
#endif
#ifndef OPS
#define OPS 2           /* operations of one life */
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef OWNERS
#define OWNERS NP       /* the first processes use the resource; the others join, recover and wait */
#endif
#ifndef GUARDED
#define GUARDED NP      /* the first processes have monitors; the others sweep on joining, and no process observes their deaths */
#endif
/* notifications: the states of a word */
#define CLEAR 0
#define ARMED 1
#define SIGNALLED 2

/* lease words: state and incarnation */
bit dirty[NP];
byte incarnation[NP];
/* the kernel's locks: whether the owner has the write lock, and the set of read locks: 1 << p for a main thread,
 * 16 << p for a reaper, which has a separate open file description */
bit writer[NP];
byte readers[NP];
/* notifications, owner by watcher; and whether membership changed since a monitor last read it */
byte notification[NP * NP];
bit joined[NP];
/* the resource of the leases: one word, 0 or incarnation * 16 + lease + 1 */
byte res;

/* private memory */
byte signals[NP * NP];
bit gate[NP], member[NP], guarded[NP], listed[NP];
/* state of the model only */
byte user;                  /* the process that may use the resource, + 1 */
byte life[NP], watch_life[NP];
bit dying[NP];
bit still[NP];              /* stopped for good */
bit begun[NP];              /* its join is complete */
byte kills = KILLS, stops = STOPS;

#define NOTIFICATION(j, w) notification[(j) * NP + (w)]
#define SIGNALS(p, j) signals[(p) * NP + (j)]
#define NAMES(j) (res != 0 && (res - 1) % 16 == j)

#define NO_READERS(j) (readers[j] == 0)
#ifdef M_SIGNAL_IS_PROOF          /* the reaper does not wait for the lock */
#define PROVED(j) true
#else
#define PROVED(j) (!writer[j])
#endif

/* member.rs: recover(slot j): load; reclaim each resource by an exact CAS; FREE by an exact CAS */
inline recover(j) {
    d_step { r_dirty = dirty[j]; r_incarnation = (r_dirty -> incarnation[j] : 0) };
    if
    :: !r_dirty
    :: else ->                                                               /* segment.recover.locked */
        r_was = res;
        if
        :: r_was != 0 && (r_was - 1) % 16 == j ->
            d_step {
                if
                :: res == r_was -> assert(user == 0); res = 0
                :: else
                fi;
                r_was = 0
            }
        :: else -> r_was = 0
        fi;                                                                  /* segment.recover.reclaimed */
        d_step {
            if :: dirty[j] && incarnation[j] == r_incarnation -> dirty[j] = 0 :: else fi;
            r_incarnation = 0
        };                                                                   /* segment.recover.freed */
    fi;
    r_dirty = 0
}

/* member.rs: sweep: every other dirty slot whose lock is granted at once */
inline sweep() {
    atomic { gate[p] == 0 -> gate[p] = 1; j = (p == 0 -> 1 : 0) };
    do
    :: j < NP ->
        /* load the word, then try_read; a FREE slot is skipped */
        d_step { ok = (dirty[j] && !writer[j]); if :: ok -> readers[j] = readers[j] | (1 << p) :: else fi };
        if
        :: ok -> recover(j); atomic { readers[j] = readers[j] & ~(1 << p); ok = 0; j++; if :: j == p -> j++ :: else fi }
        :: else -> atomic { j++; if :: j == p -> j++ :: else fi }
        fi
    :: else -> break
    od;
    atomic { gate[p] = 0; j = 0 }
}

proctype Main(byte p) {
    byte lives, ops, born, j, r_incarnation, r_was;
    bit ok, r_dirty;
join:
    born = life[p];
    {
        /* join.rs: claim */
        d_step { !writer[p] && NO_READERS(p) -> writer[p] = 1 };             /* segment.join.locked */
        recover(p);                                                      /* segment.join.recovered */
        d_step { incarnation[p]++; dirty[p] = 1 };                         /* segment.join.live */
        /* monitor.rs: start; notifications.rs: enlist */
        d_step {
            if
            :: p < GUARDED ->
                listed[p] = 1;
                do
                :: j < NP -> NOTIFICATION(p, j) = ARMED; j++
                :: else -> j = 0; break
                od;
                guarded[p] = 1
            :: else
            fi;
            member[p] = 1
        };                                                                   /* segment.join.guarded */
        d_step { joined[0] = 1; joined[1] = 1;
#if NP > 2
            joined[2] = 1
#endif
        };                                                                   /* segment.join.announced */
        sweep();
        begun[p] = 1;
        do
        :: ops < OPS && p < OWNERS ->
            ops++;
            if
            :: d_step { res == 0 -> res = incarnation[p] * 16 + p + 1; user = p + 1 }
            :: d_step { user == p + 1 -> user = 0 };
                d_step { assert(NAMES(p)); res = 0 }
#ifdef SWEEPS
            :: sweep()
#endif
            :: d_step { res != 0 && user != p + 1 -> skip }
            fi
        :: break
        od;
        /* leave, or stay a member */
        if
#ifdef LEAVES
        :: 
            /* lease.rs: leave: the gate, reclaim, FREE, stop the monitor, and last of all the lock */
            atomic { gate[p] == 0 -> gate[p] = 1; if :: user == p + 1 -> user = 0 :: else fi };
#ifdef M_LEAVE_BEFORE_RELEASE   /* fault segment.leave.freed_before_reclaimed */
            dirty[p] = 0;
            if :: NAMES(p) -> res = 0 :: else fi;
#else
            recover(p);                                                  /* segment.leave.freed */
#endif
            atomic { member[p] = 0; gate[p] = 0 };
            atomic { guarded[p] = 0; watch_life[p]++ };
            d_step {                                                         /* notifications.rs: withdraw */
                do
                :: j < NP -> if :: NOTIFICATION(p, j) == ARMED -> NOTIFICATION(p, j) = CLEAR :: else fi; j++
                :: else -> j = 0; break
                od;
                listed[p] = 0
            };                                                   /* segment.leave.unguarded */
            d_step { writer[p] = 0; begun[p] = 0 }
#endif
        :: skip
        fi;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; j = 0; ok = 0;
            r_dirty = 0; r_incarnation = 0; r_was = 0;
            if :: lives < LIVES(p) -> goto join :: else fi
        }
    };
    goto end_over;
end_still:
    false;
end_over:
    skip
}

/* monitor.rs: watch */
proctype Monitor(byte p) {
    byte born, j, waits;
end_top:
    atomic { guarded[p] && !still[p] -> born = watch_life[p]; waits = 0 };
    {
        do
        ::
            atomic { joined[p] = 0; waits = 0; j = (p == 0 -> 1 : 0) };
            do
            :: j < NP ->
                d_step {                                                     /* observe */
                    if
                    :: NOTIFICATION(j, p) == CLEAR
                    :: NOTIFICATION(j, p) == ARMED -> waits = waits | (1 << j)
                    :: NOTIFICATION(j, p) == SIGNALLED ->
#ifdef M_SIGNAL_CONSUMED          /* cleared when it is observed, not when the dead member is recovered */
                        NOTIFICATION(j, p) = CLEAR;
#endif
                        if :: SIGNALS(p, j) < 2 -> SIGNALS(p, j)++ :: else fi    /* send_reaper */
                    fi;
                    j++;
                    if :: j == p -> j++ :: else fi
                }
            :: else -> break
            od;
            j = 0;
end_wait:   (joined[p]
                || ((waits & 1) && NOTIFICATION(0, p) != ARMED)
                || ((waits & 2) && NOTIFICATION(1, p) != ARMED)
#if NP > 2
                || ((waits & 4) && NOTIFICATION(2, p) != ARMED)
#endif
            )
        od
    } unless { atomic { watch_life[p] != born || still[p]; j = 0; waits = 0 } };
    goto end_top
}

/* monitor.rs: reap_one; member.rs: recover */
proctype Reaper(byte p, j) {
    byte born, before, r_incarnation, r_was;
    bit r_dirty;
end_top:
    atomic { SIGNALS(p, j) != 0 && !still[p] -> born = life[p] };
    {
        do
        ::
            before = SIGNALS(p, j);
end_read:   d_step { PROVED(j) -> readers[j] = readers[j] | (16 << p) };
            atomic { gate[p] == 0 -> gate[p] = 1 };
            if
            :: member[p] ->
                recover(j);
#ifndef M_SIGNAL_CONSUMED
                d_step { if :: NOTIFICATION(j, p) == SIGNALLED -> NOTIFICATION(j, p) = CLEAR :: else fi }
#endif
            :: else
            fi;
            gate[p] = 0;
            readers[j] = readers[j] & ~(16 << p);
            d_step {
                if
                :: SIGNALS(p, j) == before -> SIGNALS(p, j) = 0
                :: else
                fi
            };
            if :: SIGNALS(p, j) == 0 -> break :: else fi
        od
    } unless { atomic { life[p] != born || still[p]; before = 0; r_incarnation = 0; r_was = 0; r_dirty = 0 } };
    before = 0;
    goto end_top
}

/* The kernel, and the process that kills and stops. */
inline ends(p) {                                    /* a thread of p ends: the robust list is walked */
    atomic {
        kills > 0 && !dying[p] && !still[p] && listed[p] -> kills--; dying[p] = 1; watch_life[p]++;
        guarded[p] = 0;
        do
        :: k < NP -> if :: NOTIFICATION(p, k) == ARMED -> NOTIFICATION(p, k) = SIGNALLED :: else fi; k++
        :: else -> k = 0; break
        od
    }
}
inline is_gone(p) {    /* the address space of p is gone, with or without a monitor before: the locks are dropped */
    atomic {
        !still[p] && (dying[p] || (kills > 0 && !listed[p] && writer[p])) ->
        if :: dying[p] -> dying[p] = 0 :: else -> kills-- fi;
        life[p]++; watch_life[p]++; writer[p] = 0;
        k = 0;
        do
        :: k < NP ->
            readers[k] = readers[k] & ~(17 << p);
            SIGNALS(p, k) = 0; k++
        :: else -> k = 0; break
        od;
        if :: user == p + 1 -> user = 0 :: else fi;
        gate[p] = 0; member[p] = 0; listed[p] = 0; begun[p] = 0; guarded[p] = 0
    }
}
proctype Kernel() {
    byte k;
end_idle:
    do
    :: ends(0)
    :: ends(1)
    :: is_gone(0)
    :: is_gone(1)
#if NP > 2
    :: ends(2)
    :: is_gone(2)
#endif
    :: atomic { stops > 0 && !dying[0] -> stops--; still[0] = 1 }
    od
}

/* Checked when no process can make a step: the resource of the dead was taken back, if there is a member to do it. */
proctype Check() {
    byte l;
end_check:
    timeout;
    if
    :: ((begun[0] && !still[0]) || (begun[1] && !still[1])
#if NP > 2
        || (GUARDED > 2 && begun[2] && !still[2])
#endif
        ) ->
        do
        :: l < GUARDED -> assert(!(NAMES(l) && !writer[l])); l++
        :: else -> break
        od
    :: else
    fi
}

/* -DDEAD_START: the monitor's thread of process 0 has ended, its notifications have been signalled, and a sibling still uses the resource; with
 * one life each no process takes the slot again */
#if defined(DEAD_START) && INC == 1
#define FIRST_RUNS false
#else
#define FIRST_RUNS true
#endif
init {
    atomic {
#ifdef DEAD_START
        d_step {
            dirty[0] = 1; incarnation[0] = 1; writer[0] = 1; listed[0] = 1; member[0] = 1; dying[0] = 1; res = 17; user = 1;
            NOTIFICATION(0, 0) = SIGNALLED; NOTIFICATION(0, 1) = SIGNALLED;
#if NP > 2
            NOTIFICATION(0, 2) = SIGNALLED
#endif
        };
#endif
#if NP > 2
        run Main(2);
        if
        :: GUARDED > 2 ->
            run Monitor(2); run Reaper(2, 0); run Reaper(2, 1); run Reaper(1, 2);
            if :: FIRST_RUNS -> run Reaper(0, 2) :: else fi
        :: else
        fi;
#endif
        if :: FIRST_RUNS -> run Main(0); run Monitor(0); run Reaper(0, 1) :: else fi;
        run Main(1); run Monitor(1); run Reaper(1, 0);
        run Kernel(); run Check()
    }
}
