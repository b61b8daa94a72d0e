/* The table of names as slab/src/names implements it: one pending slot, the slots of its bucket, and names with this bucket.
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for
 * good between any two steps. Handles work as in handles.pml; every created handle has a number, in place of index
 * and generation. A handle is over when no process holds it; a dead process holds its handles until it is recovered.
 */
#ifndef NP
#define NP 3            /* processes */
#endif
#ifndef OPS
#define OPS 1           /* operations of one life */
#endif
#ifndef INC
#define INC 1           /* lives of a process */
#endif
/* -DFIRST_AGAIN: only process 0 has more than one life */
#ifdef FIRST_AGAIN
#define LIVES(p) (p == 0 -> INC : 1)
#else
#define LIVES(p) INC
#endif
#ifndef NAMES
#define NAMES 1         /* names; each operation uses any of them */
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef FINDERS
#define FINDERS 0       /* number of processes that only look the name up */
#endif
#define MAX 8           /* maximum number of created handles, plus 1 */

/* shared memory: the pending slot contains state, slot and handle, always as a whole; a slot is LISTED with a handle, or 0 */
#define NEVER 0
#define INSERTING 64
#define DONE 128
#define WORD(state, s, h) (state | (s << 4) | h)
#define STATE(w) (w & 192)
#define SLOT(w) ((w >> 4) & 3)
#define HANDLE(w) (w & 15)
byte pending;
byte slot[SLOTS];
/* the holders of a handle, a set of processes; its name + 1 */
byte holders[MAX];
byte name[MAX];

/* state of the model only */
byte created = 1;
byte inserted;               /* handles in the table: 1 << handle */
byte there[NP];             /* handles with the wanted name that were in the table when the find began, and still are */
byte life[NP];
bit still[NP];              /* stopped for good */
bit dead[NP];               /* killed, and not recovered */
byte kills = KILLS, stops = STOPS;

#define IS_OVER(h) (holders[h] == 0)
#define IS_IN(h) (((inserted >> h) & 1) && !IS_OVER(h))
#ifdef M_FREE_THOUGH_HELD           /* fault names.slot.free_though_held */
#define IS_FREE(h) true
#else
#define IS_FREE(h) (h == 0 || IS_OVER(h))
#endif

/* Handles::open, of a handle with the name. got: the process holds it */
inline open(h) {
    d_step {
        if
        :: name[h] == wanted + 1 && !IS_OVER(h) ->
            holders[h] = holders[h] | (1 << p); got = h;
            assert((inserted >> h) & 1)
        :: else
        fi
    }
}

/* process `who` closes its handle */
inline close(h, who) {
    d_step {
        holders[h] = holders[h] & ~(1 << who);
        if :: IS_OVER(h) -> there[0] = there[0] & ~(1 << h); there[1] = there[1] & ~(1 << h);
#if NP > 2
            there[2] = there[2] & ~(1 << h)
#endif
        :: else
        fi
    }
}

/* find_listed */
inline find_listed() {
    do
    :: atomic {
        w = slot[j];
        if
        :: w != 0 && name[w] == wanted + 1 -> skip
        :: else -> w = 0; j++; if :: j == SLOTS -> break :: else fi
        fi
       };
       if
       :: w != 0 ->
            atomic {
                open(w); w = 0; j++;
                if :: got != 0 || j == SLOTS -> break :: else fi
            }
       :: else
       fi
    od;
    j = 0
}

/* find */
inline find() {
    d_step {
        there[p] = 0; k = 1;
        do
        :: k < created -> if :: name[k] == wanted + 1 && IS_IN(k) -> there[p] = there[p] | (1 << k) :: else fi; k++
        :: else -> break
        od;
        k = 0
    };
#ifdef M_SLOTS_BEFORE_PENDING
    find_listed();
#endif
#ifndef M_FIND_NO_PENDING 
    atomic { seen = pending; w = (got == 0 && STATE(seen) == INSERTING -> HANDLE(seen) : 0) };
    if
    :: w != 0 -> atomic { open(w); w = 0 }
    :: else
    fi;
#endif
#ifndef M_SLOTS_BEFORE_PENDING
    if :: got == 0 -> find_listed() :: else fi;
#endif
    d_step { assert(got != 0 || there[p] == 0); there[p] = 0; seen = 0 }
}

/* free_slot: the result is checked again, so this is one step: the slot, or SLOTS for none */
inline free_slot() {
    at = 0;
    do
    :: at < SLOTS -> if :: IS_FREE(slot[at]) -> break :: else -> at++ fi
    :: else -> break
    od
}

/* help: helps the insert of handle h in seen; afterwards seen is the pending slot, or refused is set */
inline help(h) {
    do
    ::
        atomic {
            if
            :: IS_OVER(h) ->                                                 /* its entry may have any hash by now */
                if
                :: pending == seen -> pending = WORD(DONE, SLOT(seen), h); seen = pending
                :: else -> seen = pending
                fi;
                break
            :: true -> w = slot[SLOT(seen)]                                  /* slot.load */
            fi
        };
        atomic {
            if
#ifdef M_DONE_BEFORE_SLOT           /* fault names.help.done_before_slot */
            :: true -> next = WORD(DONE, SLOT(seen), h)
#else
            :: w == h -> next = WORD(DONE, SLOT(seen), h)
            :: w != h && IS_FREE(w) ->                                       /* slot.list */
#ifdef M_LISTED_BY_STORE
                slot[SLOT(seen)] = h;
#else
                if :: slot[SLOT(seen)] == w -> slot[SLOT(seen)] = h :: else fi;
#endif
                next = 0
            :: w != h && !IS_FREE(w) ->
                free_slot();
                if :: at == SLOTS -> refused = 1; w = 0; break :: else -> next = WORD(INSERTING, at, h) fi
#endif
            fi;
            w = 0
        };
        atomic {
            if
            :: next == 0
            :: next != 0 && pending == seen ->                                /* pending_slot.compare_exchange */
                pending = next; seen = next; next = 0;
                if :: STATE(seen) == DONE -> break :: else fi
            :: next != 0 && pending != seen ->
                seen = pending; next = 0;
                if :: !(STATE(seen) == INSERTING && HANDLE(seen) == h) -> break :: else fi
            fi
        }
    od;
    atomic {
        at = 0; next = 0;
#ifdef M_DONE_BEFORE_SLOT
        slot[SLOT(seen)] = h
#endif
    }
}

/* insert: got: another handle has the name; or refused; or mine is inserted */
inline insert() {
#ifdef M_LOADED_AFTER_LOOKING
    find_listed();
#endif
    seen = pending;
    do
    ::
        if
#ifndef M_INSERTED_OVER_OTHERS       /* an incomplete insert is not helped first */
        :: atomic { STATE(seen) == INSERTING && !IS_OVER(HANDLE(seen)) -> k = HANDLE(seen) };
            open(k);
            if
            :: got != 0 -> break
            :: else -> help(k); if :: refused -> break :: else fi
            fi
        :: !(STATE(seen) == INSERTING && !IS_OVER(HANDLE(seen))) ->
#else
        :: true ->
#endif
#ifdef M_NO_SECOND_LOOK             /* fault names.insert.no_second_look */
            if :: !looked -> looked = 1; find_listed() :: else fi;
#elif !defined(M_LOADED_AFTER_LOOKING)
            find_listed();
#endif
            if :: got != 0 -> break :: else fi;
            atomic { free_slot(); if :: at == SLOTS -> refused = 1; break :: else fi };
            atomic {                                                         /* names.enter.looked */
                if
#ifdef M_PENDING_BY_STORE
                :: true ->
#else
                :: pending == seen ->
#endif
                    k = 1;
                    do
                    :: k < created -> assert(!(IS_IN(k) && name[k] == wanted + 1)); k++
                    :: else -> break
                    od;
                    k = 0;
                    inserted = inserted | (1 << mine);
                    pending = WORD(INSERTING, at, mine); seen = pending         /* names.enter.entered */
#ifndef M_PENDING_BY_STORE
                :: else -> seen = pending
#endif
                fi;
                at = 0
            };
            if
            :: STATE(seen) == INSERTING && HANDLE(seen) == mine -> help(mine); refused = 0; break
            :: else
            fi
        fi
    od;
    atomic { seen = 0; at = 0; k = 0 }
}

proctype Process(byte p) {
    byte born, lives, ops, wanted, w, j, k, seen, next, at, mine, got;
    bit refused;
#ifdef M_NO_SECOND_LOOK
    bit looked;
#endif
again:
    atomic { !dead[p] -> born = life[p] };
    {
        do
        :: ops < OPS ->
            atomic {
                ops++;
                if
                :: wanted = 0
#if NAMES > 1
                :: wanted = 1
#endif
                fi
            };
            find();
            if
            :: got == 0 && p >= FINDERS ->
                /* create: a handle that is LIVE and ours */
                d_step {
                    mine = created; created++; assert(created <= MAX);
                    name[mine] = wanted + 1; holders[mine] = 1 << p
                };
                insert();
                if
                :: got != 0 || refused -> close(mine, p)
                :: else -> got = mine
                fi;
                atomic { mine = 0; refused = 0 }
            :: else
            fi;
            if :: got != 0 -> close(got, p); got = 0 :: else fi
        :: else -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; wanted = 0; w = 0; j = 0; k = 0; seen = 0; next = 0; at = 0; mine = 0; got = 0;
            refused = 0;
#ifdef M_NO_SECOND_LOOK
            looked = 0;
#endif
            if :: lives < LIVES(p) -> goto again :: else fi
        }
    };
    goto end_over;
end_still:
    false;
end_over:
    skip
}

/* the kernel kills and stops; dead processes are recovered */
inline kill(p) { atomic { kills > 0 && !dead[p] && !still[p] -> kills--; life[p]++; dead[p] = 1; there[p] = 0 } }
inline stop(p) { atomic { stops > 0 && !dead[p] && !still[p] -> stops--; still[p] = 1 } }
inline recover(p) {
    atomic {
        dead[p] -> h = 1;
        do
        :: h < created -> if :: (holders[h] >> p) & 1 -> close(h, p) :: else fi; h++
        :: else -> h = 0; break
        od;
        dead[p] = 0
    }
}
proctype Kernel() {
    byte h;
end_idle:
    do
    :: kill(0)
    :: kill(1)
    :: stop(0)
    :: stop(1)
    :: recover(0)
    :: recover(1)
#if NP > 2
    :: kill(2)
    :: stop(2)
    :: recover(2)
#endif
    :: atomic { kills + stops > 0 -> kills = 0; stops = 0 }
    od
}

/* Checked when no process can make a step: each handle in the table is found there [names-reachable], one for each name [names-unique]. */
#define IS_SEEN(h) (STATE(pending) == INSERTING && HANDLE(pending) == h || slot[0] == h || slot[SLOTS - 1] == h \
    || slot[SLOTS / 2] == h)
proctype Check() {
    byte h, other;
end_check:
    timeout;
    h = 1;
    do
    :: h < created ->
        assert(!IS_IN(h) || IS_SEEN(h));
        if
        :: IS_IN(h) -> assert(other != name[h]); other = name[h]
        :: else
        fi;
        h++
    :: else -> break
    od
}

init {
    atomic {
#if NP > 2
        run Process(2);
#endif
        run Process(0); run Process(1); run Kernel(); run Check()
    }
}
