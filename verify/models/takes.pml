/* Taking two objects at once, all or nothing, as wait/src/take_all.rs builds it: a mutex and a semaphore, or two
 * mutexes.
 *
 * Every shared access is one step; what is private to a process is folded into the access beside it. A process is
 * killed or stopped for good between any two steps. Process p takes lease p in each of its lives: a lease is used
 * again, and its record too. A member of its own recovers the dead; it is killed, stopped and replaced as others are.
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
#define TRIES 2         /* how often one operation may be withdrawn before it gives up */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef VICTIMS
#define VICTIMS NP      /* the first processes; these, or the recoverer, are killed and stopped */
#endif
#ifndef COUNT
#define COUNT 1         /* of the semaphore; 0: there are two mutexes */
#endif
#define NO 2            /* objects */
#define NL 4            /* leases that have records; the last is the recoverer's */

/* One word of an object: { 0 | asleep:1 | value:4 }, or reserved { 1 | ticket:3 | entry:2 | lease:2 }. A step of the
 * kernel that clears asleep leaves a reserved word as it is. */
#define ASLEEP 16
#define VALUE(w) (w & 15)
#define RESERVED 128
#ifdef M_RESERVATION_WITHOUT_TICKET
#define RESERVATION(l, t, i) (RESERVED | (i << 2) | l)
#else
#define RESERVATION(l, t, i) (RESERVED | (t << 4) | (i << 2) | l)
#endif
#define LEASE(w) (w & 3)
#define ENTRY(w) ((w >> 2) & 3)
#ifdef M_RESERVATION_WITHOUT_TICKET
#define IS_OF(s, w) true
#else
#define IS_OF(s, w) (TICKET(s) == ((w >> 4) & 7))
#endif
/* The status of a record: { ticket:3 | state:2 }; an entry: { after:4 | before:4 }. */
#define OPEN 1
#define TAKEN 2
#define WITHDRAWN 3
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
#define OFFERS(o, v) (IS_MUTEX(o) -> v == FREE || v == ABANDONED : v > 0)
#define TAKE(o, v) (IS_MUTEX(o) -> OWNED(p) : v - 1)

/* shared memory, and the kernel's queues: sets of processes */
byte word[NO];
byte status[NL], entry[NL * NO];
byte sleepers[NO];
#define RECORDED(l, i) entry[(l) * NO + (i)]
bit dirty[NP], alive[NP];
bit reading[NP];            /* the recoverer has the lock on it */

/* what only the model knows: the value of each object in everybody's eyes */
byte value[NO];
byte staged[NO];            /* who staged the value that it has: a set of processes */
byte life[NP + 1];
bit still[NP + 1];          /* stopped for good */
byte kills = KILLS, stops = STOPS;

/* tenure/src/waiting/word.rs: exchange, wake, clear */
inline exchange(o, from, to) {
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
        if :: word[o] < RESERVED -> word[o] = word[o] & ~ASLEEP :: else fi;
        sleepers[o] = 0; staged[o] = 0
    }
}

/* Records::plain: w is the word, which is not reserved */
inline plain(o) {
    do
    ::
        atomic { w = word[o]; if :: w < RESERVED -> break :: else fi };      /* whole.load */
        e = RECORDED(LEASE(w), ENTRY(w));                                    /* verdict: entry */
        s = status[LEASE(w)];                                                /* verdict: status */
        d_step {
            if
            :: !IS_OF(s, w) -> assert(word[o] != w)                          /* Over: nothing is ruined */
            :: IS_OF(s, w) && STATE(s) == OPEN ->
                if
                :: status[LEASE(w)] == s -> status[LEASE(w)] = STATUS(TICKET(s), WITHDRAWN)
                :: else
                fi
            :: IS_OF(s, w) && STATE(s) != OPEN ->
#ifdef M_WITHDRAWN_AS_TAKEN
                e = AFTER(e);
#elif defined(M_TAKEN_AS_WITHDRAWN)     /* fault wait.take_all.taken_is_withdrawn */
                e = BEFORE(e);
#else
                e = (STATE(s) == TAKEN -> AFTER(e) : BEFORE(e));
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

/* source.rs: mark, futex::sleep: on object o, which was w; again when it has changed */
inline sleep(o) {
    d_step {                                                                 /* mark */
        if
        :: w & ASLEEP -> ok = 1
        :: else -> ok = (word[o] == w); w = w | ASLEEP; if :: ok -> word[o] = w :: else fi
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
/* Taking::reserve, of entry i: w is NONE, or what is in the way */
inline reserve(i) {
    do
    ::
        plain(i);
        atomic {
            if
            :: !OFFERS(i, VALUE(w)) -> got = i; break
#ifndef M_RESERVE_ASLEEP
            :: OFFERS(i, VALUE(w)) && (w & ASLEEP) -> wake(i); w = NONE
            :: OFFERS(i, VALUE(w)) && !(w & ASLEEP) ->
#else
            :: OFFERS(i, VALUE(w)) ->
#endif
#ifndef M_ENTRY_AFTER_RESERVATION
                RECORDED(p, i) = (TAKE(i, VALUE(w)) << 4) | VALUE(w);
#endif
                skip
            fi
        };
        atomic {
            if
            :: word[i] == w ->
                assert(sleepers[i] == 0);
                word[i] = RESERVATION(p, ticket, i);
#ifndef M_ENTRY_AFTER_RESERVATION
                w = NONE;
#endif
                break
            :: else -> w = 0
            fi
        }
    od;
#ifdef M_ENTRY_AFTER_RESERVATION
    if :: got != i -> RECORDED(p, i) = (TAKE(i, VALUE(w)) << 4) | VALUE(w); w = NONE :: else fi
#endif
}

/* Taking::clean, of entry i */
inline clean(i) {
    if
    :: word[i] == RESERVATION(p, ticket, i) ->
#ifdef M_CLEAN_UNDECIDED                /* what the owner cleans is taken, whatever was decided */
        d_step {
            e = RECORDED(p, i);
            if
            :: word[i] == RESERVATION(p, ticket, i) ->
                e = (got == NOTHING -> AFTER(e) : BEFORE(e)); assert(value[i] == e); word[i] = e
            :: else
            fi;
            e = 0
        }
#else
        plain(i); w = 0
#endif
    :: else
    fi
}

/* many.rs: take_all. taken: both are; else got is in the way, whose word was w, or NOTHING: it was withdrawn */
inline take_all() {
    d_step {                                                                 /* Records::begin */
        got = NOTHING;
#ifdef M_TICKETS_BEGIN_AGAIN            /* a new member does not go on with the tickets of the one before */
        if :: first_ticket -> ticket = 1; first_ticket = 0 :: else -> ticket = TICKET(status[p]) + 1 fi;
#else
        ticket = TICKET(status[p]) + 1;
#endif
        assert(ticket < 8);
        status[p] = STATUS(ticket, OPEN)
    };
    reserve(0);
    if :: got == NOTHING -> reserve(1) :: else fi;
    atomic {                                                                 /* Taking::decide */
        blocked = (got == NOTHING -> 0 : w);
        w = 0;
        if
#ifdef M_DECIDE_BY_STORE
        :: got == NOTHING && TICKET(status[p]) == ticket ->
#else
        :: got == NOTHING && status[p] == STATUS(ticket, OPEN) ->
#endif
            /* everything is taken, in everybody's eyes */
            assert(OFFERS(0, value[0]) && OFFERS(1, value[1]));
            assert(word[0] == RESERVATION(p, ticket, 0) && word[1] == RESERVATION(p, ticket, 1));
            value[0] = TAKE(0, value[0]); value[1] = TAKE(1, value[1]);
            status[p] = STATUS(ticket, TAKEN);
            taken = 1
        :: got != NOTHING && status[p] == STATUS(ticket, OPEN) -> status[p] = STATUS(ticket, WITHDRAWN)
        :: else
        fi
    };
#ifndef M_NEXT_BEFORE_CLEAN             /* the next ticket begins before the reservations of this one are gone */
    if :: got != 0 -> clean(0) :: else fi;
    if :: got == NOTHING -> clean(1) :: else fi;
#endif
    atomic { w = blocked; blocked = 0; ticket = 0; ok = 0 }
}

/* mutex.rs: unlock; semaphore.rs: release */
inline give(o) {
    do
    ::
        plain(o);
        atomic {
            if
            :: IS_MUTEX(o) && (w & ASLEEP) ->
                assert(VALUE(word[o]) == OWNED(p) && value[o] == OWNED(p));
                word[o] = FREE; value[o] = FREE; sleepers[o] = 0; w = 0;
                break
            :: IS_MUTEX(o) && !(w & ASLEEP) ->
                assert(VALUE(w) == OWNED(p));
                exchange(o, w, FREE);
                w = 0;
                if :: ok -> ok = 0; break :: else fi
            :: !IS_MUTEX(o) && (w & ASLEEP) && OFFERS(o, VALUE(w)) -> wake(o); w = 0
            :: !IS_MUTEX(o) && !((w & ASLEEP) && OFFERS(o, VALUE(w))) ->
                e = w + 1;
                exchange(o, w, e);
                e = 0;
                if
                :: ok && !(w & ASLEEP) -> ok = 0; w = 0; break
                :: ok && (w & ASLEEP) -> staged[o] = staged[o] | (1 << p)
                :: else
                fi
            fi
        };
        atomic { w = 0; if :: ok -> wake(o); ok = 0; break :: else fi }
    od
}

/* settle.rs: settle, by process me */
inline settle(o, l, me) {
    do
    ::
        plain(o);
        atomic {
            if
            :: IS_MUTEX(o) && VALUE(w) == OWNED(l) ->
                e = ABANDONED | (w & ASLEEP);
                exchange(o, w, e);
                e = 0;
                if
                :: ok -> ok = 0; if :: w & ASLEEP -> staged[o] = staged[o] | (1 << me) :: else fi; w = 0; break
                :: else -> w = 0
                fi
            :: else -> w = 0; break
            fi
        }
    od;
    plain(o);
    atomic { if :: w & ASLEEP -> wake(o) :: else fi; w = 0 }
}

/* segment: recover(lease l, by process me) */
inline recover(l, me) {
    if
    :: dirty[l] ->
#ifdef M_FREE_BEFORE_SETTLED            /* the lease is free before what it reserved is plain */
        dirty[l] = 0; reading[l] = 0;
#endif
        settle(0, l, me);
        settle(1, l, me);
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
                    plain(which);
                    if
                    :: !OFFERS(which, VALUE(w)) -> sleep(which)
                    :: atomic { OFFERS(which, VALUE(w)) && (w & ASLEEP) -> wake(which); w = 0 }
                    :: atomic {
                        OFFERS(which, VALUE(w)) && !(w & ASLEEP) ->
                        e = TAKE(which, VALUE(w)); exchange(which, w, e); e = 0; w = 0;
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

/* whoever kills and stops */
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

/* Nobody has anything left to do. */
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
        /* nobody sleeps on a reserved word, or on one that he could have, unless it is staged by one who stands still
         * or whom nobody recovers */
        assert(sleepers[o] == 0 || (word[o] & ASLEEP) && word[o] < RESERVED);
        assert(sleepers[o] == 0 || !OFFERS(o, VALUE(word[o])) || (staged[o] & THOSE_STOPPED)
            || staged[o] && still[ME]);
        /* what is reserved is reserved for one who stands still, or is dead, and who would recover it stands still */
        assert(word[o] < RESERVED || still[LEASE(word[o])] || still[ME]);
        /* a plain word is what everybody takes it for */
        assert(word[o] >= RESERVED || VALUE(word[o]) == value[o]);
        /* nobody is dead and owns it */
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
