/* One bucket of a map, as tenure/src/collections/map implements it: a slot that names a handle, whose block is the record of all keys of the bucket. Records
 * never change; a change of the bucket is a new record and one CAS of the slot. A reader copies out of a record that it does not hold.
 *
 * Each shared access is one step. A writer is killed between any two steps (KILLS), and recovered at once; a process that stops for good is
 * one that takes no more steps, and spin explores those as well. What slots.pml shows is taken as one step here: a handle ends when
 * neither a holder nor the slot names it, and recovery ends what a dead process held.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef OPS
#define OPS 1           /* of each writer */
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef LOOKS
#define LOOKS 1         /* of each reader */
#endif
#ifndef HOLDERS
#define HOLDERS 0       /* readers that open the handle */
#endif
#ifndef FOREIGNERS
#define FOREIGNERS 1    /* create and close one handle of another kind each */
#endif
#ifndef TRIMMERS
#define TRIMMERS 1      /* give one free block back to the system each */
#endif
#ifndef TRIES
#define TRIES 2         /* rounds of one operation; more are the same again */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef E
#define E 3             /* entries of the slab */
#endif
#ifndef B
#define B 3             /* blocks */
#endif
#define KEYS 2          /* of the bucket; a record is one word a key: its value, or 0 */
#define GARBAGE 99

#define NAME(i, g) (1 + (i) + E * (g))
#define INDEX(v) (((v) - 1) % E)
#define GENERATION(v) (((v) - 1) / E)

#define FREE 0
#define USED 1
#define BACKING 2       /* of a trimmer, which has claimed it */
#define UNBACKED 3      /* no memory: an access may be a SIGBUS */

byte slot;              /* NAME, or 0 */
byte generation[E];
bool used[E];           /* LIVE, or claimed */
byte holder[E];         /* bits of the holders */
byte block[E];          /* the block word of the entry; of another kind: anything */
byte state[B];
byte attached[B];       /* the handle of a USED block */
byte words[B * KEYS];
byte truth[KEYS];       /* ghost: the map */
bool map_lives;         /* there is a map: what the trimmer looks at */
byte killed, value;

#define IS_HELD(i) (holder[i] != 0 || slot == NAME(i, generation[i]))

/* Ends the handle unless it is held; its block is freed in a step of its own. */
inline end(entry) {
    atomic {
        if
        :: used[entry] && !IS_HELD(entry) ->
            used[entry] = false;
#ifndef M_SAME_GENERATION
            generation[entry]++
#endif
        :: else
        fi
    }
}

/* Frees the blocks of handles that are over. */
inline free_blocks() {
    d_step {
        n = 0;
        do
        :: n == B -> break
        :: else ->
            if
            :: state[n] == USED && attached[n] != 0 && !(used[INDEX(attached[n])]
                && generation[INDEX(attached[n])] == GENERATION(attached[n])) ->
                state[n] = FREE; attached[n] = 0
            :: else
            fi;
            n++
        od;
        n = 0
    }
}

inline recover(dead) {
    d_step {
        n = 0;
        do
        :: n == E -> break
        :: else ->
            holder[n] = holder[n] & ~(1 << dead);
            if
            :: used[n] && !IS_HELD(n) -> used[n] = false; generation[n]++
            :: else
            fi;
            n++
        od
    };
    free_blocks()
}

inline maybe_killed() {
    if
    :: killed < KILLS -> killed++; recover(me); goto over
    :: true
    fi
}

/* A free entry and a free block, with memory, of `me`; i == E: there is none. */
inline claim() {
    d_step {
        i = 0;
        do
        :: i < E && used[i] -> i++
        :: else -> break
        od;
        b = 0;
        do
        :: b < B && (state[b] == USED || state[b] == BACKING) -> b++
        :: else -> break
        od;
        if
        :: i < E && b < B ->
            used[i] = true; holder[i] = 1 << me;
            state[b] = USED; attached[b] = NAME(i, generation[i])
        :: else -> i = E
        fi
    }
}

/* Looks at the word of `key` in the record that `seen` names, without a hold: `found`, valid if the slot is still `seen` afterwards. `b` == B: the
 * slot has changed before the record was touched. */
inline look(key) {
    b = block[INDEX(seen)];
#ifndef M_NO_FIRST_LOOK
    if
    :: slot != seen -> b = B
    :: else
    fi;
#endif
    if
    :: b < B ->
        assert(state[b] != UNBACKED);
        found = words[b * KEYS + (key)]
    :: else -> found = 0
    fi
}

proctype Writer(byte me) {
    byte ops, tries, k, x, seen, want, i, b, n, found, other, next;
    do
    :: ops == OPS -> break
    :: else ->
        ops++;
        tries = 0;
        if
        :: k = 0
        :: k = 1
        fi;
        if
        :: d_step { value++; x = value }
        :: x = 0                        /* remove */
        fi;
        do
        :: tries == TRIES -> break
        :: else ->
            tries++;
            d_step { seen = slot; want = truth[k] };
            other = 0; found = 0; b = 0;
            if
            :: seen != 0 ->
                look(1 - k);
                if
                :: b == B -> goto again
                :: else
                fi;
                other = found;
                look(k);
                if
                :: b == B -> goto again
                :: else
                fi
            :: else
            fi;
            if
            :: x == 0 && found == 0 ->
#ifndef M_NO_LOOK_AT_MISS
                if
                :: slot != seen -> goto again
                :: else
                fi;
#endif
                assert(want == 0);      /* there was nothing to be removed when the slot was loaded */
                break
            :: else
            fi;
            i = E;
            next = 0;
            if
            :: x != 0 || other != 0 ->
                claim();
                if
                :: i == E -> break      /* out of memory: refused */
                :: else
                fi;
                maybe_killed();
                block[i] = b;
                maybe_killed();
                words[b * KEYS + k] = x;
                maybe_killed();
                words[b * KEYS + 1 - k] = other;
                maybe_killed();
                next = NAME(i, generation[i])
            :: else
            fi;
            if
#ifdef M_ANY_RECORD
            :: atomic { true ->
#else
            :: atomic { slot == seen ->
#endif
                assert(truth[1 - k] == other);
                seen = slot; slot = next; truth[k] = x }
                maybe_killed();
                if
                :: i < E ->
                    holder[i] = holder[i] & ~(1 << me);
                    maybe_killed();
#ifndef M_CLOSE_NO_FINISH
                    end(i);     /* it may have been replaced already */
                    maybe_killed();
                    free_blocks();
                    maybe_killed()
#endif
                :: else
                fi;
                if
                :: seen != 0 -> end(INDEX(seen)); maybe_killed(); free_blocks(); maybe_killed()
                :: else
                fi;
                break
#ifndef M_ANY_RECORD
            :: else ->
                if
                :: i < E -> atomic { holder[i] = holder[i] & ~(1 << me); end(i) }; maybe_killed(); free_blocks(); maybe_killed()
                :: else
                fi
#endif
            fi;
again:      skip
        od
    od;
over:
}

/* Copies out without a store. */
proctype Reader(byte me) {
    byte ops, tries, k, seen, want, b, n, found;
    do
    :: ops == LOOKS -> break
    :: else ->
        ops++;
        tries = 0;
        if
        :: k = 0
        :: k = 1
        fi;
        do
        :: tries == TRIES -> break
        :: else ->
            tries++;
            d_step { seen = slot; want = truth[k] };
            if
            :: seen == 0 -> assert(want == 0); break
            :: else
            fi;
            look(k);
            if
#ifdef M_NO_SECOND_LOOK
            :: b < B ->
#else
            :: b < B && slot == seen ->
#endif
                assert(found == want);
                break
#ifndef M_NO_SECOND_LOOK
            :: else
#else
            :: b == B
#endif
            fi
        od
    od;
over:
}

/* Opens the handle, and reads as long as it likes. */
proctype Holder(byte me) {
    byte tries, k, seen, want, i, n;
    if
    :: k = 0
    :: k = 1
    fi;
    do
    :: tries == TRIES -> break
    :: else ->
        tries++;
        d_step { seen = slot; want = truth[k] };
        if
        :: seen == 0 -> assert(want == 0); break
        :: else
        fi;
        i = INDEX(seen);
        if
#ifdef M_ANY_GENERATION
        :: atomic { used[i] -> holder[i] = holder[i] | (1 << me) }
#else
        :: atomic { used[i] && generation[i] == GENERATION(seen) -> holder[i] = holder[i] | (1 << me) }
#endif
            maybe_killed();
            assert(words[block[i] * KEYS + k] == want);
            maybe_killed();
            holder[i] = holder[i] & ~(1 << me);
            end(i);
            free_blocks();
            break
        :: else
        fi
    od;
over:
}

/* A handle of another kind: the words of its entry are any, and so are those of its block. */
proctype Foreigner(byte me) {
    byte i, b, n;
    claim();
    if
    :: i < E ->
        if
        :: block[i] = 0
        :: block[i] = 1
        :: block[i] = B - 1
        fi;
        words[b * KEYS] = GARBAGE;
        words[b * KEYS + 1] = GARBAGE;
        holder[i] = holder[i] & ~(1 << me);
        end(i);
        free_blocks()
    :: else
    fi
}

proctype Trimmer() {
    byte b;
    bool lives;
    if
    :: b = 0
    :: b = 1
    :: b = B - 1
    fi;
#ifdef M_TRIM_LOOKS_FIRST
    lives = map_lives;
#endif
    if
    :: atomic { state[b] == FREE -> state[b] = BACKING }
#ifdef M_TRIM_ANYWAY
        lives = false;
#endif
#if !defined(M_TRIM_LOOKS_FIRST) && !defined(M_TRIM_ANYWAY)
        lives = map_lives;
#endif
        if
        :: lives -> state[b] = FREE
        :: else -> state[b] = UNBACKED
        fi
    :: else
    fi
}

init {
    byte i, k, me;
    atomic {
        skip;
#if TRIMMERS > 0
        for (i : 1 .. TRIMMERS) { run Trimmer() }
#endif
#if FOREIGNERS > 0
        for (i : 1 .. FOREIGNERS) { run Foreigner(me); me++ }
#endif
    };
    map_lives = true;                   /* before the first record */
    atomic {
        for (i : 1 .. WRITERS) { run Writer(me); me++ }
#if READERS > 0
        for (i : 1 .. READERS) { run Reader(me); me++ }
#endif
#if HOLDERS > 0
        for (i : 1 .. HOLDERS) { run Holder(me); me++ }
#endif
    };
    _nr_pr == 1;
    /* Nothing is lost, and nothing is left. */
    for (i : 0 .. E - 1) {
        assert(used[i] == (slot != 0 && INDEX(slot) == i));
        assert(holder[i] == 0)
    }
    if
    :: slot != 0 ->
        assert(generation[INDEX(slot)] == GENERATION(slot));
        for (k : 0 .. KEYS - 1) { assert(words[block[INDEX(slot)] * KEYS + k] == truth[k]) }
    :: else -> assert(truth[0] == 0 && truth[1] == 0)
    fi;
    for (i : 0 .. B - 1) {
        assert((state[i] == USED) == (slot != 0 && block[INDEX(slot)] == i))
    }
}
