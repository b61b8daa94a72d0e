/* A chunk of slots: claimed by containers one after the other, swept when its container is over, as slab/src/slots/chunks.rs implements it.
 *
 * One chunk with one slot. Each shared access is one step. A member may be killed between any two steps (KILLS), or stop for good (STOPS);
 * spin explores all orders of the rest. A container is a number that is never used again; what is in the slot is always the same
 * value, as a handle can come back to a slot.
 */
#ifndef NP
#define NP 3
#endif
#ifndef OPS
#define OPS 2           /* of each member */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#define CONTAINERS (NP * OPS + 1)

#define NOBODY 0
/* The chunk word: the container, and whether it is being freed. */
byte owner;
bool freeing;
bool filled;            /* the slot */
byte hazard[NP + 1];    /* 1: sweeping; by member, and that of the last one */
bool over[CONTAINERS];  /* the generation of the container is over */
byte next = 1;          /* the next container */
byte mine[NP + 1];          /* the container that member holds, the only holder */
byte killed, stopped;
bool dead[NP];          /* killed */
bool halted[NP];        /* takes no step any more */

/* Killed or stopped here. */
inline step() {
    if
    :: killed < KILLS -> atomic { killed++; dead[me] = true; goto out }
    :: stopped < STOPS -> atomic { stopped++; halted[me] = true; goto out }
    :: true
    fi
}

#ifdef M_NO_MARK
/* Another one may begin to sweep after the look at the hazards. */
#define MARKED !freeing
#else
#define MARKED freeing
#endif

/* Frees the chunk, which is empty, if nobody sweeps it. */
inline release() {
    i = 0;
#ifndef M_FREE_AT_ONCE
    do
    :: i > NP -> break
    :: i <= NP && i != me && hazard[i] -> break
    :: else -> i++; step()
    od;
#else
    i = NP + 1;
#endif
    if
    :: atomic { i > NP && owner == c && MARKED -> owner = NOBODY; freeing = false }
    :: else
    fi;
    step()
}

/* Sweeps the chunk of container c, which is over. */
inline sweep() {
#ifndef M_NO_HAZARD
    hazard[me] = 1;
    step();
#endif
#ifdef M_NO_LOOK
    if
    :: true ->
#else
    if
    :: owner == c && !freeing ->
#endif
        step();
        was = filled;
        step();
        if
        :: was ->
            if
            /* CAS: the value says nothing about the container. */
            :: atomic { filled -> assert(over[owner]); filled = false }
            :: else
            fi;
            step()
        :: else
        fi;
    :: else
    fi;
    hazard[me] = 0;
    step();
#ifndef M_NO_MARK
    if
    :: atomic { owner == c && !freeing -> freeing = true }
    :: else
    fi;
    step();
#endif
    /* Of whichever container: this hazard may have kept another one from freeing the chunk. */
#ifndef M_OWN_ONLY
    c = owner;
#endif
    if
    :: c != NOBODY && owner == c && over[c] && MARKED -> release()
    :: else
    fi
}

/* Sweeps it if its container is over. */
inline tidy() {
    c = owner;
    step();
    if
    :: c != NOBODY && over[c] -> sweep()
    :: else
    fi
}

/* Recovers member j, which is dead. */
inline recover() {
    atomic {
        if
        :: mine[j] != NOBODY -> over[mine[j]] = true; mine[j] = NOBODY
        :: else
        fi
    };
    step();
#ifndef M_RECOVER_NO_HAZARD
    hazard[j] = 0;
    step()
#endif
}

proctype Member(byte me) {
    byte ops, c, i, j;
    bool was;
    do
    :: ops == OPS -> break
    :: ops < OPS ->
        ops++;
        if
        :: true ->                              /* a container that claims, fills and ends */
            tidy();
            atomic { c = next; next++; mine[me] = c };
            step();
            if
            :: atomic { owner == NOBODY -> assert(!filled && !freeing); owner = c };
                step();
                if
                :: atomic { !filled -> filled = true }
                :: else -> assert(false)        /* a new container's slots are empty */
                fi;
                step()
            :: else
            fi;
            atomic { over[c] = true; mine[me] = NOBODY };
            step();
#ifndef M_NO_SWEEP
            sweep()
#endif
        :: true -> tidy()
        fi
    od;
    /* Recovers the dead, and may be killed as well. */
    for (j : 0 .. NP - 1) {
        if
        :: dead[j] -> recover(); tidy()
        :: else
        fi
    }
out:
}

init {
    byte me, c, i, j;
    bool was;
    atomic {
        for (i : 0 .. NP - 1) { run Member(i) }
    }
    _nr_pr == 1;
    /* Whoever ends a container sweeps it. */
    assert(killed + stopped > 0 || owner == NOBODY);
    /* Another member, which nobody kills, comes by. */
    atomic { killed = KILLS; stopped = STOPS; me = NP };
    for (j : 0 .. NP - 1) {
        if
        :: dead[j] -> recover()
        :: else
        fi
    }
    tidy();
    /* Also if some are stopped: what was in the slots of a container that is over has been let go. */
    assert(!(filled && over[owner]));
    for (j : 0 .. NP - 1) {
        if
        :: halted[j] -> recover()
        :: else
        fi
    }
    tidy();
    assert(owner == NOBODY && !filled && !freeing);
out:
}
