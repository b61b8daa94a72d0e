/* The order of a queue over container slots, as slab/src/slots/queue.rs implements it. What holds the handles in the slots is in slots.pml.
 * A load of the head by a pusher, or of the tail by a popper, that the code leaves out is one here: an older value tells the same (`Known`).
 *
 * Each shared access is one step; a load of a slot word is one. Members push new items, claim items, end them, give them back, or push
 * them again. A member may be killed between any two steps: another one recovers it, and gives back what it had claimed.
 */
#ifndef N
#define N 2             /* slots */
#endif
#ifndef CAPACITY
#define CAPACITY N      /* elements that may wait */
#endif
#ifndef ITEMS
#define ITEMS 3         /* pushed by the producer */
#endif
#ifndef OPS
#define OPS 2           /* of each consumer */
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef SPLIT
#define SPLIT ITEMS     /* the first producer pushes the items up to this one, a second one the rest */
#endif
#define MEMBERS (CONSUMERS + 3)         /* the producers, the consumers; the last one drains the queue */
#define LAST (MEMBERS - 1)

#define EMPTY 0
#define READY 1
#define CLAIMED(j) (2 + (j))
/* The slot words: EMPTY and a position, or READY or CLAIMED and an item. */
byte mark[N];
byte what[N];
byte turn[ITEMS + 1];   /* of the home word of an item: how often it was put */
byte tail, head;        /* positions */
byte returns;           /* how often something may have become READY behind the head */
byte rescanned;         /* the value of it for which nothing was found there */

byte killed;
bool dead[MEMBERS], gone[MEMBERS];
/* What must be: for the properties alone. */
byte order[ITEMS + 1];                  /* the position at which it was pushed: two pushes at once may be done in either order */
bool pushed[ITEMS + 1];                 /* in the queue, or claimed */
bool returned;                          /* something was given back, or skipped over */
bool seen_ready[MEMBERS * (ITEMS + 1)]; /* READY from the beginning of this member's operation on */
bool seen_empty[MEMBERS * N];           /* EMPTY from the beginning of this member's operation on */
bool visible[ITEMS + 1];                /* READY, and told */

inline step() {
    if
    :: me != LAST && killed < KILLS -> atomic { killed++; dead[me] = true; goto out }
    :: true
    fi
}

inline begin() {
    d_step {
        k = 0;
        do
        :: k > ITEMS -> break
        :: else -> seen_ready[me * (ITEMS + 1) + k] = visible[k]; k++
        od;
        k = 0;
        do
        :: k == N -> break
        :: else -> seen_empty[me * N + k] = (mark[k] == EMPTY); k++
        od
    }
}

/* The item is not READY any more. */
inline now_claimed(i) {
    k = 0;
    do
    :: k == MEMBERS -> break
    :: else -> seen_ready[k * (ITEMS + 1) + i] = false; k++
    od;
    visible[i] = false
}

inline now_filled(s) {
    k = 0;
    do
    :: k == MEMBERS -> break
    :: else -> seen_empty[k * N + s] = false; k++
    od
}

inline tell() {
    atomic {
        returns++;
        returned = true;
        k = 1;
        do
        :: k > ITEMS -> break
        :: else ->
            m = 0;
            do
            :: m == N -> break
            :: else -> if :: mark[m] == READY && what[m] == k -> visible[k] = true :: else fi; m++
            od;
            k++
        od
    }
}

/* The operation that made the item READY is over: from now on a queue with it is not empty. */
inline seen_to_be_ready(i) {
    d_step {
        k = 0;
        do
        :: k == N -> break
        :: else -> if :: mark[k] == READY && what[k] == i -> visible[i] = true :: else fi; k++
        od
    }
}

#define CAS(word, from, to) if :: atomic { word == from -> word = to } :: else fi

/* Pushes item h; refused says how it ended. */
inline push() {
    begin();
    t0 = tail;
    step();
    refused = false;
    waits = false;
    do
    :: t = tail;
        step();
        s = t % N;
        atomic { v = mark[s]; x = what[s] };
        step();
        if
        :: tail != t -> step()
        :: else ->
            step();
            if
            :: v == EMPTY && x > t -> assert(false)
            :: v == EMPTY && x < t ->
                if
                :: atomic { mark[s] == EMPTY && what[s] == x -> what[s] = t }
                :: else
                fi;
                step()
            :: else ->
                p = head;
                step();
                m = 0;
                over = false;
                if
                :: t >= p + N ->
                    /* One round ahead of the head, at most. */
                    s = p % N;
                    v = mark[s];
                    step();
                    if
                    :: head != p -> over = true
                    :: head == p && v == READY -> m = CAPACITY; waits = true
                    :: else -> over = true; advance_head()
                    fi;
                    step()
                :: t < p + N && t >= p + CAPACITY ->
                    /* As many as may wait? */
                    p = 0;
                    do
                    :: p == N -> break
                    :: else -> m = m + (mark[p] == READY); p++; step()
                    od
                :: else
                fi;
                if
                :: m >= CAPACITY -> refused = true; break
                :: m < CAPACITY && over
                :: m < CAPACITY && !over ->
                    if
                    :: v == EMPTY ->
                        if
                        :: atomic { mark[s] == EMPTY && what[s] == t ->
                                mark[s] = READY; what[s] = h; turn[h]++;
                                order[h] = t; pushed[h] = true;
                                if
                                :: head <= t -> visible[h] = true
                                :: else -> returned = true
                                fi;
                                now_filled(s)
                            };
                            step();
                            /* Who has moved the tail itself need not look: the head was not beyond it. */
                            if
                            :: atomic { tail == t -> tail = t + 1; assert(head <= t) }
                            :: else ->
                                step();
                                if
                                :: head > t -> step(); tell(); step()
                                :: else
                                fi
                            fi;
                            step();
                            seen_to_be_ready(h);
                            break
                        :: else -> step()
                        fi
                    :: else ->
                        if
                        :: t >= t0 + 2 * N -> refused = true; break
                        :: else -> CAS(tail, t, t + 1); step()
                        fi
                    fi
                fi
            fi
        fi
    od;
    if
    :: refused && !waits && CAPACITY == N ->
        m = 0;
        d_step {
            do
            :: m == N -> break
            :: else -> assert(!seen_empty[me * N + m]); m++
            od;
            m = 0
        }
    :: else
    fi
}

/* Whether a push has put something behind the head, at position at, which finds no more that it is behind. */
inline look_behind(at) {
    left = false;
    if
    :: at > 0 && mark[(at - 1) % N] == READY ->
        step();
        if
        :: tail < at + N - 1 -> left = true; step(); tell(); step()
        :: else
        fi
    :: else
    fi
}

/* Moves the head on from position p, whose slot was EMPTY or CLAIMED. */
inline advance_head() {
    look_behind(p);
    if
    :: atomic { head == p -> head = p + 1 };
        step();
        look_behind(p + 1)
    :: else -> step()
    fi
}

/* Claims slot s, which had item h, READY. */
inline claim() {
    was = turn[h];
    step();
    got = false;
    if
#ifdef M_NO_SECOND_LOOK
    :: true ->
#else
    :: behind && tail < q || !behind && head == p ->
#endif
        step();
        if
        :: atomic { mark[s] == READY && what[s] == h ->
                mark[s] = CLAIMED(me);
                now_claimed(h);
                /* First in, first out, as long as nothing was given back. */
                wrong = false;
                k = 1;
                do
                :: k > ITEMS -> break
                :: else -> wrong = wrong || visible[k] && order[k] < order[h]; k++
                od;
                wrong = wrong && !returned;
                k = 0
            };
            step();
#ifndef M_NO_TURN
            if
            :: turn[h] != was ->
                step();
                mark[s] = READY;
                step();
                tell();
                step()
            :: else -> got = true
            fi
#else
            got = true
#endif
        :: else -> step()
        fi
    :: else -> step()
    fi
}

/* Claims an item; got says whether there was one. */
inline pop() {
    begin();
    tries = 0;
    do
    :: r = returns;
        step();
        /* Behind the head, whatever was given back. */
        if
#ifdef M_NO_RESCAN
        :: false ->
#else
        :: rescanned != r ->
#endif
            step();
            s = 0;
            got = false;
            do
            :: s == N -> break
            :: else ->
                p = head;
                step();
                q = p + (s + N - p % N) % N;
                atomic { v = mark[s]; h = what[s] };
                step();
                if
                :: v == READY && tail < q -> step(); behind = true; claim(); if :: got -> break :: else fi
                :: else -> step()
                fi;
                s++
            od;
            if
            :: got -> break
            :: else ->
                CAS(rescanned, rescanned, r);
                step()
            fi
        :: else
        fi;
        p = head;
        step();
        s = p % N;
#ifndef M_SLOT_BEFORE_TAIL
        t = tail;
        step();
#endif
        atomic { v = mark[s]; x = what[s] };
        h = x;
        step();
#ifdef M_SLOT_BEFORE_TAIL
        t = tail;
        step();
#endif
        if
        :: head != p -> step()
        :: else ->
            step();
            if
            :: v == EMPTY && x <= p && t <= p ->
                look_behind(p);
                if
                :: left -> skip
                :: else -> got = false; break
                fi
            :: else ->
                tries++;
                if
                :: tries > 2 * N ->
                    /* Nothing but what others have claimed? */
                    tries = 0;
                    k = 0;
                    do
                    :: k == N || mark[k] == READY -> break
                    :: else -> k++; step()
                    od;
                    if
                    :: k == N -> got = false; break
                    :: else
                    fi
                :: else
                fi;
#ifndef M_TAIL_LEFT
                /* Filled, or over: no push will fill position p. */
                if
                :: t <= p -> CAS(tail, p, p + 1); step()
                :: else
                fi;
#endif
                if
                :: v == READY ->
                    behind = false;
                    claim();
                    if
                    :: got -> look_behind(p); CAS(head, p, p + 1); step(); break
                    :: else
                    fi
                :: else -> advance_head()
                fi
            fi
        fi
    od;
    if
    :: got ->
        assert(!wrong)
    :: else ->
        d_step {
            k = 1;
            do
            :: k > ITEMS -> break
            :: else -> assert(!seen_ready[me * (ITEMS + 1) + k]); k++
            od
        }
    fi
}

/* The claim of item h in slot s ends. */
inline ack() {
    t = head;
    step();
    x = t + (s + N - t % N) % N;
    atomic {
        assert(mark[s] == CLAIMED(me) && what[s] == h && pushed[h]);
        pushed[h] = false;
        mark[s] = EMPTY;
        what[s] = x
    };
    step()
}

inline give_back() {
    atomic { assert(mark[s] == CLAIMED(me) && what[s] == h); mark[s] = READY; returned = true };
    step();
#ifndef M_GIVEN_NOT_TOLD
    tell();
    step();
#endif
    seen_to_be_ready(h)
}

inline recover(j) {
    m = 0;
    do
    :: m == N -> break
    :: else ->
        if
        :: atomic { mark[m] == CLAIMED(j) -> mark[m] = READY; returned = true }
        :: else
        fi;
        m++;
        step()
    od;
    tell();
    step()
}

proctype Producer(byte me; byte h; byte last) {
    byte t, t0, s, v, x, p, k, m;
    bool refused, waits, over, left;
    do
    :: h > last -> break
    :: else ->
        push();
        if
        :: refused -> break
        :: else -> h++
        fi
    od;
out:
    gone[me] = true
}

proctype Consumer(byte me) {
    byte h, t, t0, s, v, x, p, q, r, k, m, tries, ops, was, j;
    bool refused, waits, over, left, got, behind, wrong;
    do
    :: ops == OPS -> break
    :: else ->
        ops++;
        pop();
        if
        :: got ->
            if
            :: ack()
#ifdef GIVES
            :: give_back()
#endif
#ifdef KEEPS
            :: break                    /* it stays claimed, as long as this one lives: to the end */
#endif
#ifdef AGAIN
            :: ack(); push()
#endif
            fi
        :: else
        fi
    od;
    /* Recovers whoever is dead. */
    j = 0;
    do
    :: j == MEMBERS -> break
    :: else ->
        if
        :: dead[j] -> recover(j)
        :: else
        fi;
        j++
    od;
out:
    gone[me] = true
}

init {
    byte me = LAST, h, t, t0, s, v, x, p, q, r, k, m, tries, was, j;
    bool refused, waits, over, left, got, behind, wrong;
    atomic {
        for (j : 0 .. N - 1) { what[j] = j }
        run Producer(0, 1, SPLIT);
#if SPLIT < ITEMS
        run Producer(1, SPLIT + 1, ITEMS);
#endif
        for (j : 2 .. CONSUMERS + 1) { run Consumer(j) }
    }
    _nr_pr == 1;
    /* All are dead, or have gone: what they had claimed is given back, and everything is there. */
    for (j : 0 .. CONSUMERS + 1) { recover(j) }
    do
    :: pop();
        if
        :: got -> ack()
        :: else -> break
        fi
    od;
    for (j : 1 .. ITEMS) { assert(!pushed[j]) }
    for (j : 0 .. N - 1) { assert(mark[j] == EMPTY) }
    /* And there is room for N. */
    for (j : 1 .. N) { h = j; push(); assert(!refused) }
out:
}
