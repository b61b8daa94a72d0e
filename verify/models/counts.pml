/* Local reference counts of a process, as slab/src/local.rs, open.rs and close.rs keep them: two threads of process 0 share a local
 * word, process 1 has one thread. One entry, its word and the bits of both processes; no block, no death: handles.pml has those.
 *
 * The count of a process is not written down while it is 1 because the process created the handle: then the local word is NONE, the
 * process's bit is set and the word is LIVE. The first open by a sibling thread sets the shared flag and stores 2.
 * A thread stores BUSY in the local word while it changes the process's bit or decides that the entry has no holder.
 *
 * Every access to a word is one step, of the private word too. -D sets sizes and mutants; verify/models/run contains the flags.
 */
#ifndef OPS
#define OPS 3           /* operations of a thread */
#endif
#ifndef LAST
#define LAST 2          /* generations go up to this one; then the entry retires */
#endif
#define NT 3            /* threads: 0 and 1 are of process 0, 2 is of process 1 */
#define NP 2
#define P(t) (t / 2)

#define FREE 0
#define INIT 1
#define LIVE 2
#define RETIRED 3

/* the local word: NONE, BUSY, or a count of generation g, as {g, n} */
#define NONE 0
#define BUSY 255
#define COUNT(g, n) ((g + 1) * 8 + n)
#define GEN(l) (l / 8 - 1)
#define N(l) (l % 8)

/* shared memory */
byte st, tag, gen;
bit sh;
byte bits;
/* private memory of each process */
byte lw[NP];

/* state of the model only: what each thread holds (generation + 1), what it has in its cache (generation + 1), the last token */
byte holds[NT], cached[NT];
byte token;
bit issued[LAST + 2];
byte ended;

#define HOLDERS(g) ((holds[0] == g + 1) + (holds[1] == g + 1) + (holds[2] == g + 1))
#define OF_PROCESS(p, g) (p == 0 -> (holds[0] == g + 1) + (holds[1] == g + 1) : (holds[2] == g + 1))
/* A close has given its handle up before its first step. */

#ifdef M_CLAIM_NOT_BUSY     /* claim sets the bit without BUSY: the bit of a claim that loses looks like that of a creator */
#define CLAIM_LOCK(p) f_ok = 1
#define CLAIM_UNLOCK(p) skip
#else
#define CLAIM_LOCK(p) lock(p)
#define CLAIM_UNLOCK(p) lw[p] = NONE
#endif
#ifdef M_TWO_BEFORE_SHARED  /* the second count is stored before the shared flag is set, and nothing undoes it */
#define EARLY(p, g) lw[p] = COUNT(g, (mine -> 2 : 1))
#define UNDO(p) skip
#else
#define EARLY(p, g) skip
#define UNDO(p) lw[p] = NONE
#endif
#ifdef M_NOT_SHARED         /* the second open does not set the shared flag */
#define SET_SHARED skip
#else
#define SET_SHARED sh = 1
#endif
#ifdef M_THOUGH_SHARED      /* the private close does not expect the flag clear */
#define UNSHARED true
#else
#define UNSHARED (tag == 0 && !sh)
#endif
#ifdef M_ONE_FOR_CREATOR    /* the first open by a sibling of the creator stores 1 */
#define SECOND 1
#else
#define SECOND 2
#endif

/* local.rs: RefCounts::busy_uncounted: NONE -> BUSY; waits for a sibling that is busy. f_ok: not if the process has a count */
inline lock(p) {
    atomic { lw[p] != BUSY -> f_ok = (lw[p] == NONE); if :: f_ok -> lw[p] = BUSY :: else fi }
}

/* close.rs: free_if_unheld, under BUSY; t is the thread */
inline free_if_unheld() {
    d_step { f_st = st; f_g = gen; f_t = tag; f_s = sh };                    /* word.load */
    if
    :: f_st == FREE || f_st == RETIRED
    :: else ->
        d_step {                                                             /* word.reserve */
            f_ok = (st == f_st && gen == f_g && tag == f_t && sh == f_s);
            if :: f_ok -> tag = P(t) + 1 :: else fi
        };
        if
        :: !f_ok
        :: else ->
            if
            :: bits != 0
            :: else ->
                d_step {                                                     /* word.release */
                    f_ok = (st == f_st && gen == f_g && sh == f_s && tag == P(t) + 1);
                    if
                    :: f_ok ->
                        assert(HOLDERS(f_g) == 0);
                        tag = 0; sh = 0;
                        if :: f_g == LAST -> st = RETIRED :: else -> st = FREE; gen = f_g + 1 fi
                    :: else
                    fi
                }
            fi
        fi
    fi;
    d_step { f_st = 0; f_g = 0; f_t = 0; f_s = 0; f_ok = 0 }
}

/* open.rs: open_first: the old value of the bits tells whether this process has created the handle */
inline open_first() {
    d_step { mine = (bits >> P(t)) & 1; bits = bits | (1 << P(t)) };
    do
    :: d_step {                                                              /* word.load */
        f_t = tag; f_s = sh;
        f_st = (st == LIVE && gen == want -> LIVE : FREE);
        f_ok = (f_st == LIVE && tag == 0 && sh) };
        if
        :: f_ok || f_st != LIVE -> break
        :: else ->
            EARLY(P(t), want);
            d_step {                                                         /* word.share */
                f_ok = (st == LIVE && gen == want && tag == f_t && sh == f_s);
                if :: f_ok -> tag = 0; SET_SHARED :: else fi
            };
            if :: f_ok -> break :: else fi
        fi
    od;
    if
    :: f_ok -> d_step { lw[P(t)] = COUNT(want, (mine -> SECOND : 1)); holds[t] = want + 1 }
    :: else ->
        d_step { f_t = 0; f_s = 0; f_st = 0 };
        if
        :: !mine -> bits = bits & ~(1 << P(t)); free_if_unheld()
        :: else
        fi;
        UNDO(P(t))
    fi
}

/* open.rs: open; want is the token's generation */
inline open() {
    do
    :: !(st == LIVE && gen == want) -> break                                 /* word.peek: stale or forged */
    :: else ->
        l = lw[P(t)];
        if
        :: l == BUSY -> atomic { lw[P(t)] != BUSY -> l = 0 }
        :: l != BUSY && l != NONE && GEN(l) == want ->
            /* one more; without another look at the word */
            d_step { f_ok = (lw[P(t)] == l); if :: f_ok -> lw[P(t)] = l + 1; holds[t] = want + 1 :: else fi };
            if :: f_ok -> break :: else fi
        :: l != BUSY && l != NONE && GEN(l) != want -> break                 /* the process holds a newer one */
        :: l == NONE ->
            d_step { f_ok = (lw[P(t)] == NONE); if :: f_ok -> lw[P(t)] = BUSY :: else fi };
            if
            :: !f_ok
            :: else -> open_first(); break
            fi
        fi
    od;
    atomic { want = 0; l = 0; mine = 0; f_ok = 0; f_t = 0; f_s = 0; f_st = 0 }
}

/* close.rs: close_slow; want is the generation that the thread held */
inline close_slow() {
    do
    :: l = lw[P(t)];
        if
        :: l == BUSY -> atomic { lw[P(t)] != BUSY -> l = 0 }
        :: l != BUSY && l != NONE && GEN(l) == want && N(l) > 1 ->
            d_step { f_ok = (lw[P(t)] == l); if :: f_ok -> lw[P(t)] = l - 1 :: else fi };
            if :: f_ok -> break :: else fi
        :: l == NONE || (l != BUSY && GEN(l) == want && N(l) == 1) ->
#ifdef M_LAST_NOT_BUSY      /* the last close does not exclude its siblings */
            f_ok = 1;
#else
            d_step { f_ok = (lw[P(t)] == l); if :: f_ok -> lw[P(t)] = BUSY :: else fi };
#endif
            if
            :: !f_ok
            :: else ->
                if
                :: l == NONE -> assert(((bits >> P(t)) & 1) && st == LIVE && gen == want)
                :: else
                fi;
                d_step { f_ok = 0; bits = bits & ~(1 << P(t)); mine = (bits == 0) };
                if :: mine -> free_if_unheld() :: else fi;
                lw[P(t)] = NONE;
                break
            fi
        :: l != BUSY && l != NONE && GEN(l) != want -> assert(false)         /* of a handle that was held */
        fi
    od;
    atomic { want = 0; l = 0; mine = 0; f_ok = 0 }
}

proctype Thread(byte t) {
    byte ops, want, l, f_st, f_g, f_t;
    bit f_s, f_ok, mine;
    do
    :: ops < OPS ->
        ops++;
        if
        :: holds[t] == 0 && cached[t] == 0 ->
            /* create.rs: claim_one */
            if
            :: st == FREE && gen <= LAST ->
                CLAIM_LOCK(P(t));
                if
                :: f_ok ->
                    d_step { f_st = st; f_g = gen; f_ok = 0 };
                    if
                    :: f_st == FREE ->
                        bits = bits | (1 << P(t));
                        d_step {                                             /* word.claim */
                            f_ok = (st == FREE && gen == f_g);
                            if :: f_ok -> st = INIT; tag = 0; sh = 0; cached[t] = f_g + 1 :: else fi
                        };
                        if
                        :: !f_ok -> bits = bits & ~(1 << P(t)); free_if_unheld()
                        :: else
                        fi
                    :: else
                    fi;
                    CLAIM_UNLOCK(P(t))
                :: else
                fi
            :: else
            fi;
            d_step { f_st = 0; f_g = 0; f_ok = 0 }
        :: holds[t] == 0 && cached[t] != 0 ->
            /* create.rs: create */
            d_step {                                                         /* word.publish */
                assert(st == INIT && gen == cached[t] - 1 && !issued[gen]);
                assert((bits >> P(t)) & 1);
                issued[gen] = 1;
                st = LIVE; tag = 0; sh = 0;
                holds[t] = cached[t]; cached[t] = 0; token = gen + 1
            }
        :: holds[t] == 0 && cached[t] != 0 ->
            /* create.rs: drain */
            cached[t] = 0;
            lock(P(t)); assert(f_ok); f_ok = 0;
            bits = bits & ~(1 << P(t));
            free_if_unheld();
            lw[P(t)] = NONE
        :: holds[t] == 0 && token != 0 ->
            want = token - 1;
            open()
        :: holds[t] != 0 ->
            assert(st == LIVE && gen == holds[t] - 1);                       /* get */
            /* close.rs: close, private, with room in the cache */
            want = holds[t] - 1;
            d_step {                                                         /* word.renew */
                holds[t] = 0;
                f_ok = (st == LIVE && gen == want && UNSHARED && cached[t] == 0 && want != LAST);
                if
                :: f_ok ->
                    assert(HOLDERS(want) == 0);
                    st = INIT; tag = 0; sh = 0; gen = want + 1; cached[t] = want + 2
                :: else
                fi
            };
            if
            :: f_ok -> d_step { f_ok = 0; want = 0 }
            :: else -> close_slow()
            fi
        :: holds[t] != 0 ->
            /* close.rs: close without room in the cache */
            d_step { want = holds[t] - 1; holds[t] = 0 };
            close_slow()
        fi
    :: break
    od;
    /* close and drain */
    if
    :: holds[t] != 0 ->
        d_step { want = holds[t] - 1; holds[t] = 0 };
        close_slow()
    :: else
    fi;
    if
    :: cached[t] != 0 ->
        cached[t] = 0;
        lock(P(t)); assert(f_ok); f_ok = 0;
        bits = bits & ~(1 << P(t));
        free_if_unheld();
        lw[P(t)] = NONE
    :: else
    fi;
    ended++
}

proctype Check() {
    ended == NT;
    assert(bits == 0);
    assert(st == FREE || st == RETIRED);
    assert(lw[0] == NONE && lw[1] == NONE)
}

init {
    atomic { run Thread(0); run Thread(1); run Thread(2); run Check() }
}
