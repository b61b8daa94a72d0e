/* MCAS over two objects, all or nothing, as wait/src/mcas.rs implements it: a mutex and a semaphore, or two mutexes.
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for
 * good between any two steps. Process p takes lease p in each of its lives: a lease is used again, and its MCAS descriptor
 * too. A separate member recovers the dead; it is killed, stopped and replaced like the others.
 */
#ifndef TAKERS
#define TAKERS 2        /* processes that take both objects, and then give them back */
#endif
#ifndef SINGLES
#define SINGLES 0       /* processes that take one of them, and then give it back */
#endif
#define NP (TAKERS + SINGLES)
#ifndef INC
#define INC 1           /* lives of a process */
#endif
/* -DFIRST_AGAIN: only process 0 has more than one life */
#ifdef FIRST_AGAIN
#define LIVES(p) (p == 0 -> INC : 1)
#else
#define LIVES(p) INC
#endif
#ifndef OPS
#define OPS 1           /* operations of one life */
#endif
#ifndef TRIES
#define TRIES 2         /* failed MCAS attempts before the operation gives up */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef VICTIMS
#define VICTIMS NP      /* the first processes: only these and the recoverer are killed and stopped */
#endif
#ifndef COUNT
#define COUNT 1         /* the semaphore's initial count; 0: there are two mutexes */
#endif
#define NO 2            /* objects */
#define NL 4            /* leases that have descriptors; the last is the recoverer's */

/* The word of an object: { 0 | waiters:1 | value:4 }, or a reference { 1 | ticket:3 | entry:2 | lease:2 }. The kernel's step
 * that clears the waiters bit leaves a reference as it is. */
#define WAITERS 16
#define VALUE(w) (w & 15)
#define REFERENCE 128
#ifdef M_REFERENCE_WITHOUT_TICKET
#define REF_TO(l, t, i) (REFERENCE | (i << 2) | l)
#else
#define REF_TO(l, t, i) (REFERENCE | (t << 4) | (i << 2) | l)
#endif
#define LEASE(w) (w & 3)
#define ENTRY(w) ((w >> 2) & 3)
#ifdef M_REFERENCE_WITHOUT_TICKET
#define IS_OF(s, w) true
#else
#define IS_OF(s, w) (TICKET(s) == ((w >> 4) & 7))
#endif
/* The status of a descriptor: { ticket:3 | state:2 }; an entry: { after:4 | before:4 }. */
#define UNDECIDED 1
#define SUCCEEDED 2
#define FAILED 3
#define TICKET(s) (s >> 2)
#define STATE(s) (s & 3)
#define STATUS(t, s) ((t << 2) | s)
#define AFTER(e) (e >> 4)
#define BEFORE(e) (e & 15)

/* mutex.rs: FREE, ABANDONED, owned; semaphore.rs: a count */
#define FREE 0
#define ABANDONED 1
#define OWNED(p) (p + 2)
#define IS_MUTEX(o) (COUNT == 0 || o == 0)
#define AVAILABLE(o, v) (IS_MUTEX(o) -> v == FREE || v == ABANDONED : v > 0)
#define TAKE(o, v) (IS_MUTEX(o) -> OWNED(p) : v - 1)

/* shared memory, and the kernel's queues: sets of processes */
byte word[NO];
byte status[NL], entry[NL * NO];
byte sleepers[NO];
#define ENTRY_OF(l, i) entry[(l) * NO + (i)]
bit dirty[NP], alive[NP];
bit reading[NP];            /* the recoverer has the lock on it */

/* state of the model only: the value of each object as every process reads it */
byte value[NO];
byte pending[NO];            /* the processes that stored a pending value */
byte life[NP + 1];
bit still[NP + 1];          /* stopped for good */
byte kills = KILLS, stops = STOPS;

/* tenure/src/waiting/word.rs: compare_exchange, wake, clear */
inline compare_exchange(o, from, to) {
    d_step {
        ok = (word[o] == from);
        if
        :: ok -> assert(value[o] == VALUE(from)); word[o] = to; value[o] = VALUE(to)
        :: else
        fi
    }
}
inline wake(o) {
    d_step {
        if :: word[o] < REFERENCE -> word[o] = word[o] & ~WAITERS :: else fi;
        sleepers[o] = 0; pending[o] = 0
    }
}

/* McasDescriptors::resolve: w is the word, without a reference */
inline resolve(o) {
    do
    ::
        atomic { w = word[o]; if :: w < REFERENCE -> break :: else fi };      /* whole.load */
        e = ENTRY_OF(LEASE(w), ENTRY(w));                                    /* referent: entry */
        s = status[LEASE(w)];                                                /* referent: status */
        d_step {
            if
            :: !IS_OF(s, w) -> assert(word[o] != w)                          /* Over: nothing is corrupted */
            :: IS_OF(s, w) && STATE(s) == UNDECIDED ->
                if
                :: status[LEASE(w)] == s -> status[LEASE(w)] = STATUS(TICKET(s), FAILED)
                :: else
                fi
            :: IS_OF(s, w) && STATE(s) != UNDECIDED ->
#ifdef M_FAILED_AS_SUCCEEDED
                e = AFTER(e);
#elif defined(M_SUCCEEDED_AS_FAILED)     /* fault wait.take_all.succeeded_is_failed */
                e = BEFORE(e);
#else
                e = (STATE(s) == SUCCEEDED -> AFTER(e) : BEFORE(e));
#endif
                if
                :: word[o] == w -> assert(value[o] == e); word[o] = e
                :: else
                fi
            fi;
            e = 0; s = 0; w = 0
        }
    od
}

/* source.rs: set_waiters, futex::sleep: on object o with word w, unless it has changed */
inline sleep(o) {
    d_step {                                                                 /* set_waiters */
        if
        :: w & WAITERS -> ok = 1
        :: else -> ok = (word[o] == w); w = w | WAITERS; if :: ok -> word[o] = w :: else fi
        fi
    };
    if
    :: d_step { ok && word[o] == w -> sleepers[o] = sleepers[o] | (1 << p); w = 0 };    /* queued, in one step */
end_asleep:
        !(sleepers[o] & (1 << p))
    :: d_step { !(ok && word[o] == w) -> w = 0 }
    fi;
}

#define NONE 255
#define NOTHING 9
/* Mcas::install, of entry i: w is NONE, or the word if it is not available */
inline install(i) {
    do
    ::
        resolve(i);
        atomic {
            if
            :: !AVAILABLE(i, VALUE(w)) -> got = i; break
#ifndef M_INSTALL_OVER_WAITERS
            :: AVAILABLE(i, VALUE(w)) && (w & WAITERS) -> wake(i); w = NONE
            :: AVAILABLE(i, VALUE(w)) && !(w & WAITERS) ->
#else
            :: AVAILABLE(i, VALUE(w)) ->
#endif
#ifndef M_ENTRY_AFTER_INSTALL
                ENTRY_OF(p, i) = (TAKE(i, VALUE(w)) << 4) | VALUE(w);
#endif
                skip
            fi
        };
        atomic {
            if
            :: word[i] == w ->
                assert(sleepers[i] == 0);
                word[i] = REF_TO(p, ticket, i);
#ifndef M_ENTRY_AFTER_INSTALL
                w = NONE;
#endif
                break
            :: else -> w = 0
            fi
        }
    od;
#ifdef M_ENTRY_AFTER_INSTALL
    if :: got != i -> ENTRY_OF(p, i) = (TAKE(i, VALUE(w)) << 4) | VALUE(w); w = NONE :: else fi
#endif
}

/* Mcas::release, of entry i */
inline release(i) {
    if
    :: word[i] == REF_TO(p, ticket, i) ->
#ifdef M_RELEASE_UNDECIDED                /* the owner releases as if it had succeeded, without reading the status */
        d_step {
            e = ENTRY_OF(p, i);
            if
            :: word[i] == REF_TO(p, ticket, i) ->
                e = (got == NOTHING -> AFTER(e) : BEFORE(e)); assert(value[i] == e); word[i] = e
            :: else
            fi;
            e = 0
        }
#else
        resolve(i); w = 0
#endif
    :: else
    fi
}

/* many.rs: take_all. taken: both objects are; else object got is not available, with word w; or got is NOTHING: the MCAS failed */
inline take_all() {
    d_step {                                                                 /* McasDescriptors::begin */
        got = NOTHING;
#ifdef M_TICKETS_BEGIN_AGAIN            /* a new owner of the lease does not continue the tickets of the previous one */
        if :: first_ticket -> ticket = 1; first_ticket = 0 :: else -> ticket = TICKET(status[p]) + 1 fi;
#else
        ticket = TICKET(status[p]) + 1;
#endif
        assert(ticket < 8);
        status[p] = STATUS(ticket, UNDECIDED)
    };
    install(0);
    if :: got == NOTHING -> install(1) :: else fi;
    atomic {                                                                 /* Mcas::commit */
        blocked = (got == NOTHING -> 0 : w);
        w = 0;
        if
#ifdef M_COMMIT_BY_STORE
        :: got == NOTHING && TICKET(status[p]) == ticket ->
#else
        :: got == NOTHING && status[p] == STATUS(ticket, UNDECIDED) ->
#endif
            /* both are taken, for every process */
            assert(AVAILABLE(0, value[0]) && AVAILABLE(1, value[1]));
            assert(word[0] == REF_TO(p, ticket, 0) && word[1] == REF_TO(p, ticket, 1));
            value[0] = TAKE(0, value[0]); value[1] = TAKE(1, value[1]);
            status[p] = STATUS(ticket, SUCCEEDED);
            taken = 1
        :: got != NOTHING && status[p] == STATUS(ticket, UNDECIDED) -> status[p] = STATUS(ticket, FAILED)
        :: else
        fi
    };
#ifndef M_NEXT_BEFORE_RELEASE             /* the next ticket begins before the references of this one are gone */
    if :: got != 0 -> release(0) :: else fi;
    if :: got == NOTHING -> release(1) :: else fi;
#endif
    atomic { w = blocked; blocked = 0; ticket = 0; ok = 0 }
}

/* mutex.rs: unlock; semaphore.rs: release */
inline give(o) {
    do
    ::
        resolve(o);
        atomic {
            if
            :: IS_MUTEX(o) && (w & WAITERS) ->
                assert(VALUE(word[o]) == OWNED(p) && value[o] == OWNED(p));
                word[o] = FREE; value[o] = FREE; sleepers[o] = 0; w = 0;
                break
            :: IS_MUTEX(o) && !(w & WAITERS) ->
                assert(VALUE(w) == OWNED(p));
                compare_exchange(o, w, FREE);
                w = 0;
                if :: ok -> ok = 0; break :: else fi
            :: !IS_MUTEX(o) && (w & WAITERS) && AVAILABLE(o, VALUE(w)) -> wake(o); w = 0
            :: !IS_MUTEX(o) && !((w & WAITERS) && AVAILABLE(o, VALUE(w))) ->
                e = w + 1;
                compare_exchange(o, w, e);
                e = 0;
                if
                :: ok && !(w & WAITERS) -> ok = 0; w = 0; break
                :: ok && (w & WAITERS) -> pending[o] = pending[o] | (1 << p)
                :: else
                fi
            fi
        };
        atomic { w = 0; if :: ok -> wake(o); ok = 0; break :: else fi }
    od
}

/* recover.rs: recover, by process me */
inline recover_word(o, l, me) {
    do
    ::
        resolve(o);
        atomic {
            if
            :: IS_MUTEX(o) && VALUE(w) == OWNED(l) ->
                e = ABANDONED | (w & WAITERS);
                compare_exchange(o, w, e);
                e = 0;
                if
                :: ok -> ok = 0; if :: w & WAITERS -> pending[o] = pending[o] | (1 << me) :: else fi; w = 0; break
                :: else -> w = 0
                fi
            :: else -> w = 0; break
            fi
        }
    od;
    resolve(o);
    atomic { if :: w & WAITERS -> wake(o) :: else fi; w = 0 }
}

/* segment: recover(lease l, by process me) */
inline recover(l, me) {
    if
    :: dirty[l] ->
#ifdef M_FREE_BEFORE_RECOVERED            /* the lease is free before its references are resolved */
        dirty[l] = 0; reading[l] = 0;
#endif
        recover_word(0, l, me);
        recover_word(1, l, me);
        dirty[l] = 0
    :: else
    fi
}

proctype Main(byte p) {
    byte born, lives, ops, tries, w, e, s, ticket, got, blocked, which;
    bit ok, taken;
#ifdef M_TICKETS_BEGIN_AGAIN
    bit first_ticket = 1;
#endif
end_join:
    atomic { !alive[p] && !reading[p] -> alive[p] = 1; born = life[p] };
    {
        recover(p, p);
        dirty[p] = 1;
        do
        :: ops < OPS ->
            ops++;
            if
            :: p < TAKERS ->
                /* many.rs: wait_all */
                do
                ::
                    take_all();
                    if
                    :: taken -> break
                    :: !taken && got == NOTHING -> tries++; if :: tries == TRIES -> break :: else fi
                    :: !taken && got != NOTHING -> atomic { which = got; got = 0 }; sleep(which); which = 0
                    fi
                od;
                atomic { tries = 0; got = 0; w = 0 };
                if
                :: taken -> taken = 0; give(0); give(1)
                :: else
                fi
            :: p >= TAKERS ->
                if
                :: which = 0
                :: which = 1
                fi;
                /* source.rs: wait_for; word.rs: attempt */
                do
                ::
                    resolve(which);
                    if
                    :: !AVAILABLE(which, VALUE(w)) -> sleep(which)
                    :: atomic { AVAILABLE(which, VALUE(w)) && (w & WAITERS) -> wake(which); w = 0 }
                    :: atomic {
                        AVAILABLE(which, VALUE(w)) && !(w & WAITERS) ->
                        e = TAKE(which, VALUE(w)); compare_exchange(which, w, e); e = 0; w = 0;
                        if :: ok -> ok = 0; break :: else fi
                       }
                    fi
                od;
                give(which);
                which = 0
            fi
        :: else -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; tries = 0; w = 0; e = 0; s = 0; ticket = 0; got = 0; blocked = 0; which = 0;
            ok = 0; taken = 0;
#ifdef M_TICKETS_BEGIN_AGAIN
            first_ticket = 1;
#endif
            if :: lives < LIVES(p) -> goto end_join :: else fi
        }
    };
    goto end_over;
end_still:
    false;
end_over:
    skip
}

/* member.rs: recover */
#define ME NP
#define IS_DEAD(l) (!alive[l] && dirty[l])
proctype Recoverer() {
    byte born, l, w, e, s;
    bit ok;
end_top:
    atomic { !still[ME] -> born = life[ME] };
    {
end_idle:
        do
        ::
            d_step {
                if
                :: IS_DEAD(0) -> l = 0
                :: IS_DEAD(1) -> l = 1
#if NP > 2
                :: IS_DEAD(2) -> l = 2
#endif
                fi;
                reading[l] = 1
            };
            recover(l, ME);
            atomic { reading[l] = 0; l = 0 }
        od
    } unless { atomic { life[ME] != born || still[ME]; l = 0; w = 0; e = 0; s = 0; ok = 0 } };
    goto end_top
}

/* the kernel kills and stops */
inline kill(p) {
    atomic {
        kills > 0 && p < VICTIMS && alive[p] && !still[p] ->
        kills--; life[p]++; alive[p] = 0;
        sleepers[0] = sleepers[0] & ~(1 << p); sleepers[1] = sleepers[1] & ~(1 << p)
    }
}
inline stop(p) { atomic { stops > 0 && p < VICTIMS && alive[p] && !still[p] -> stops--; still[p] = 1 } }
proctype Kernel() {
    byte k;
end_idle:
    do
    :: kill(0)
    :: stop(0)
    :: kill(1)
    :: stop(1)
#if NP > 2
    :: kill(2)
    :: stop(2)
#endif
    :: atomic {
        kills > 0 && !still[ME] && (reading[0] || reading[1]
#if NP > 2
            || reading[2]
#endif
        ) ->
        kills--; life[ME]++;
        do
        :: k < NP -> reading[k] = 0; k++
        :: else -> k = 0; break
        od
       }
    :: atomic { stops > 0 && !still[ME] -> stops--; still[ME] = 1 }
    :: atomic { kills + stops > 0 -> kills = 0; stops = 0 }
    od
}

/* Checked when no process can make a step. */
#if NP > 2
#define THOSE_STOPPED (still[0] | (still[1] << 1) | (still[2] << 2) | (still[ME] << ME))
#else
#define THOSE_STOPPED (still[0] | (still[1] << 1) | (still[ME] << ME))
#endif
proctype Check() {
    byte o;
end_check:
    timeout;
    do
    :: o < NO ->
        /* no process sleeps on a reference; none sleeps on an available value, unless it is pending: stored by a stopped process, or
         * while the recoverer is stopped */
        assert(sleepers[o] == 0 || (word[o] & WAITERS) && word[o] < REFERENCE);
        assert(sleepers[o] == 0 || !AVAILABLE(o, VALUE(word[o])) || (pending[o] & THOSE_STOPPED)
            || pending[o] && still[ME]);
        /* only a stopped process leaves a reference, or a dead one while the recoverer is stopped */
        assert(word[o] < REFERENCE || still[LEASE(word[o])] || still[ME]);
        /* a stored value is the one that every process reads */
        assert(word[o] >= REFERENCE || VALUE(word[o]) == value[o]);
        /* no dead process owns a mutex */
        assert(!IS_MUTEX(o) || value[o] < 2 || alive[value[o] - 2] && dirty[value[o] - 2]
            || still[value[o] - 2] || still[ME]);
        o++
    :: else -> break
    od
}

init {
    atomic {
        if :: COUNT > 0 -> word[1] = COUNT; value[1] = COUNT :: else fi;
        run Main(0);
        run Main(1);
#if NP > 2
        run Main(2);
#endif
        run Recoverer(); run Kernel(); run Check()
    }
}
