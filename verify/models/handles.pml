/* The handle protocol as slab/ builds it: one entry, its holder bits, the block that it names, the leases that hold it.
 *
 * Every shared access is one step; private computation belongs to the access before it. The name of a step is
 * the function of the code and its last store. A process is killed or stopped for good between any two steps.
 * -D sets sizes and mutants; verify/models/run contains the flags.
 */
#ifndef NP
#define NP 2            /* processes */
#endif
#define NL NP           /* lease slots */
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
#define OPS 3           /* operations of one life */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef LAST
#define LAST 3          /* the last generation; then the entry retires */
#endif
#ifndef NB
#define NB 2            /* blocks; 0: payloads are inline */
#endif
#define NOBODY 9

/* word.rs: State; the tag of lease l is l + 1 (local.rs: RefCounts::tag) */
#define FREE 0
#define INIT 1
#define LIVE 2
#define RETIRED 3
/* scratch-alloc/src/word.rs: Block; REMOTE and FREE are one state here; blocks.pml has both */
#define BFREE 0
#define BLEASE 1
#define BATT 2

/* the handle word: one 64-bit word, always loaded and stored as a whole */
byte st, tag, gen;
bit sh;
/* the holder set, a bit a lease, and per lease whether the group map has the entry's group */
byte bits;
bit gmap[NL];
/* entry.len and payload: the named block, 0 for none */
byte named;
/* block words: state, and the lease or the generation it names */
byte bst[NB + 1], bof[NB + 1];
/* lease words and the kernel's locks: writer is a process + 1, readers a set of processes */
bit dirty[NL];
byte writer[NL], readers[NL];

/* private memory (local.rs: Local; cache.rs), lost with the process */
bit owned[NP], held[NP], knows[NP];
byte lgen[NP];

/* state of the model only */
byte token;                 /* the token that was passed on last, as generation + 1 */
bit issued[LAST + 2];       /* generations that were published */
byte mine[NP];              /* the block that a process allocated and has not yet attached */
byte order[NP];             /* 1: be killed, 2: be stopped */
byte kills = KILLS, stops = STOPS, ended, stopped;
/* Processes are identical until they join, so they join for the first time in the order of their numbers, and are killed and
 * stopped only after that. */
byte turn;
/* -DDEAD_START: the owner of lease 0 has died, see init; with one life each there is one process less */
#if defined(DEAD_START) && INC == 1
#define FIRST_RUNS false
#else
#define FIRST_RUNS true
#endif
#define JOINED if :: turn == p -> turn++ :: else fi

#define HOLDS(p, g) (held[p] && lgen[p] == g)
#if NP > 2
#define SOMEBODY_HOLDS(g) (HOLDS(0, g) || HOLDS(1, g) || HOLDS(2, g))
#define SOMEBODY_USES(b) (mine[0] == b || mine[1] == b || mine[2] == b)
#else
#define SOMEBODY_HOLDS(g) (HOLDS(0, g) || HOLDS(1, g))
#define SOMEBODY_USES(b) (mine[0] == b || mine[1] == b)
#endif

/* ---- mutants, and the correct code ---- */
#ifdef M_CLOSING            /* one CLOSING mark for all closers, taken back when a bit is set */
#define TAG(l) 7
#define REVERT d_step { if :: gen == f_g && st == f_st && tag == 7 -> tag = 0 :: else fi }
#else
#define TAG(l) (l + 1)
#define REVERT skip
#endif
#ifdef M_ANY_TAG            /* fault slab.release.any_tag */
#define MY_TAG(l) true
#else
#define MY_TAG(l) (tag == TAG(l))
#endif
#ifdef M_NO_SECOND_LOOK     /* fault slab.free_if_unheld.no_second_look */
#define SECOND_LOOK 0
#else
#define SECOND_LOOK bits
#endif
#ifdef M_THOUGH_SHARED      /* fault slab.renew.though_shared */
#define UNSHARED true
#else
#define UNSHARED (tag == 0 && !sh)
#endif
#ifdef M_SAME_GENERATION    /* fault slab.release.same_generation */
#define NEXT(g) (g)
#else
#define NEXT(g) (g + 1)
#endif
#ifdef M_NO_GENERATION_CHECK
#define OLD(b, g) true
#else
#define OLD(b, g) (bof[b] <= g)
#endif
/* A process that runs free_if_unheld has the entry's group in its own map, also while it recovers another lease: if it is
 * killed after its tag replaced the tag of a second recoverer, its own recovery finds the entry. The map of its own lease is
 * set until that lease is recovered. The recovery by Check (lease NL) has no map, and is never killed. */
#ifdef M_RECOVER_NO_MARK
#define MARK_RECOVERER(j, l) skip
#elif defined(M_NO_FORGET)  /* a joiner marks the dead owner's map and clears it, but its private copy stays set */
#define MARK_RECOVERER(j, l) if :: l != NL && !knows[p] -> gmap[l] = 1; knows[p] = 1 :: else fi
#else
#define MARK_RECOVERER(j, l) if :: l != j && l != NL && !knows[p] -> gmap[l] = 1; knows[p] = 1 :: else fi
#endif
#ifdef M_REUSE_WITHOUT_LOCK /* fault segment.recover.without_lock */
#define READ_LOCK(j) skip
#else
#define READ_LOCK(j) readers[j] = readers[j] | (1 << p)
#endif

/* scratch.rs: free_orphan(block b of generation g or older): a load, then an exact CAS */
inline free_orphan(b, g) {
    if
    :: NB > 0 && b != 0 ->
        d_step { f_x = 0; if :: bst[b] == BATT && OLD(b, g) -> f_x = bof[b] + 1 :: else fi };
        if
        :: f_x != 0 ->
            d_step {
                if
                :: bst[b] == BATT && bof[b] + 1 == f_x ->
                    assert(!SOMEBODY_HOLDS(bof[b]));
                    assert(!(st == LIVE && gen == bof[b]));
                    bst[b] = BFREE; bof[b] = 0
                :: else
                fi;
                f_x = 0
            }
        :: else
        fi
    :: else
    fi
}

/* entry.rs: clear: the old value tells whether other bits are set; their owners decide when they clear them */
inline clear(l) {
    d_step { bits = bits & ~(1 << l); f_has = (bits != 0) }
}

/* close.rs: free_if_unheld(tag of lease l), or decide, after clear(l); f_ended: it ended the generation */
inline free_if_unheld(l) { f_has = (bits != 0); decide(l) }
inline decide(l) {
    f_ended = 0;
    if
    :: f_has -> f_has = 0
    :: else ->
        d_step { f_st = st; f_g = gen; f_t = tag; f_s = sh };               /* word.load */
        if
        :: f_st == FREE || f_st == RETIRED
        :: else ->
            d_step {                                                         /* word.reserve */
                f_ok = (st == f_st && gen == f_g && tag == f_t && sh == f_s);
                if :: f_ok -> tag = TAG(l) :: else fi
            };                                                               /* slab.free_if_unheld.tagged */
            if
            :: !f_ok
            :: else ->
                if
                :: SECOND_LOOK != 0 -> REVERT
                :: else ->                                                   /* slab.free_if_unheld.empty */
                    f_b = named;
                    d_step {                                                 /* word.release */
                        f_ok = (st == f_st && gen == f_g && sh == f_s && MY_TAG(l));
                        if
                        :: f_ok ->
                            assert(!SOMEBODY_HOLDS(f_g));
                            tag = 0; sh = 0; f_ended = 1;
                            if
                            :: f_g == LAST -> st = RETIRED
                            :: else -> st = FREE; gen = NEXT(f_g)
                            fi
                        :: else
                        fi
                    };                                                       /* slab.free_if_unheld.freed */
                    if :: f_ok -> free_orphan(f_b, f_g) :: else fi
                fi
            fi
        fi
    fi;
    d_step { f_st = 0; f_g = 0; f_t = 0; f_s = 0; f_ok = 0; f_b = 0 }
}

/* recover.rs: recover(dead lease j, by lease l), and scratch-alloc's recovery of blocks that name the lease */
inline recover(j, l) {
    if
    :: !gmap[j]
    :: else ->
#ifdef M_MAP_CLEARED_FIRST
        gmap[j] = 0;
#endif
        /* recover_entry */
        f_has = (bits >> j) & 1;
        if
        :: f_has == 0 && bits == 0 -> f_has = (st == INIT || st == LIVE -> 2 : 0)
        :: else
        fi;
#ifdef M_RECOVER_NO_INIT    /* fault slab.recover.no_init */
        if :: st == INIT -> f_has = 0 :: else fi;
#endif
        f_ended = 0;
        if
        :: f_has != 0 ->
            MARK_RECOVERER(j, l);
            if
            :: f_has == 1 -> bits = bits & ~(1 << j)                         /* slab.recover.bit_cleared */
            :: else
            fi;
            free_if_unheld(l)
        :: else
        fi;
        f_has = 0;
#ifndef M_RECOVER_NO_BLOCK  /* fault slab.recover.no_block */
        if
        :: !f_ended && NB > 0 ->
            /* left_block: the block that an entry without a handle still names */
            d_step { f_st = st; f_g = gen };
            if
            :: (f_st == FREE && f_g > 0) || f_st == RETIRED ->
                f_b = named;
                f_ok = (st == f_st && gen == f_g);
                if
                :: f_ok && f_b != 0 ->
                    f_g = (f_st == FREE -> f_g - 1 : f_g);
                    free_orphan(f_b, f_g)                                    /* slab.recover.block_freed */
                :: else
                fi
            :: else
            fi;
            d_step { f_st = 0; f_g = 0; f_ok = 0; f_b = 0 }
        :: else
        fi;
#endif
        f_ended = 0;
        gmap[j] = 0                                                          /* slab.recover.map_cleared */
    fi;
    /* scratch-alloc: recover: blocks that name the lease */
    i = 1;
    do
    :: i <= NB ->
        d_step {
            if
            :: bst[i] == BLEASE && bof[i] == j -> assert(!SOMEBODY_USES(i)); bst[i] = BFREE; bof[i] = 0
            :: else
            fi;
            i++
        }
    :: else -> i = 0; break
    od
}

/* open.rs: mark_group */
inline mark_group() {
    if :: !knows[p] -> gmap[me] = 1; knows[p] = 1 :: else fi                 /* slab.group.set */
}

proctype Process(byte p) {
    byte lives, ops, me = NOBODY, want, i, j;
    byte f_st, f_g, f_t, f_b, f_x, f_has;
    bit f_s, f_ok, f_ended;
join:
    {
        /* join.rs: claim: a slot whose lock is granted; the lowest, unless -DANY_SLOT */
        if
        :: d_step { turn >= p && writer[0] == 0 && readers[0] == 0 -> writer[0] = p + 1; me = 0; JOINED }
#ifdef ANY_SLOT
        :: d_step { turn >= p && writer[1] == 0 && readers[1] == 0 -> writer[1] = p + 1; me = 1; JOINED }
#else
        :: d_step { turn >= p && !(writer[0] == 0 && readers[0] == 0) && writer[1] == 0 && readers[1] == 0 ->
                    writer[1] = p + 1; me = 1; JOINED }
#endif
#if NP > 2
        :: d_step { turn >= p &&
#ifndef ANY_SLOT
                    !(writer[0] == 0 && readers[0] == 0) && !(writer[1] == 0 && readers[1] == 0) &&
#endif
                    writer[2] == 0 && readers[2] == 0 -> writer[2] = p + 1; me = 2; JOINED }
#endif
        fi;                                                                  /* segment.join.locked */
        if :: dirty[me] -> recover(me, me) :: else fi;                       /* segment.join.recovered */
        dirty[me] = 1;                                                       /* segment.join.live */
        do
        :: ops < OPS ->
            ops++;
            if
            :: !owned[p] ->
                /* create.rs: claim_one */
                d_step { f_st = st; f_g = gen };
                if
                :: f_st == FREE ->
#ifndef M_GROUP_AFTER_BIT   /* fault slab.claim.group_after_bit */
                    mark_group();
#endif
                    bits = bits | (1 << me);                                 /* slab.claim.bit_set */
                    d_step {                                                 /* word.claim */
                        f_ok = (st == FREE && gen == f_g);
                        if
                        :: f_ok -> st = INIT; tag = 0; sh = 0; owned[p] = 1; lgen[p] = f_g
                        :: else
                        fi
                    };
                    if
                    :: !f_ok ->
                        clear(me);                                           /* slab.claim.lost */
                        decide(me)
                    :: else ->                                               /* slab.claim.claimed */
#ifdef M_GROUP_AFTER_BIT
                        mark_group();
#endif
                        f_b = named;
                        if
                        :: f_b != 0 ->
                            if :: f_g > 0 -> f_g--; free_orphan(f_b, f_g) :: else fi;
                            named = 0                                        /* slab.claim.block_freed */
                        :: else
                        fi
                    fi
                :: else
                fi;
                d_step { f_st = 0; f_g = 0; f_ok = 0; f_b = 0 }
            :: owned[p] && !held[p] ->
                /* create.rs: create from the cache */
                if
                :: NB > 0 ->
                    /* Local::alloc: any free block */
                    if
                    :: d_step { NB > 0 && bst[1] == BFREE -> bst[1] = BLEASE; bof[1] = me; mine[p] = 1 }
#if NB > 1
                    :: d_step { bst[2] == BFREE && bst[1] != BFREE -> bst[2] = BLEASE; bof[2] = me; mine[p] = 2 }
#endif
                    :: d_step { (bst[1] != BFREE && (NB < 2 || bst[NB] != BFREE)) -> skip }
                    fi
                :: else
                fi;
                if
                :: NB == 0 || mine[p] != 0 ->
                    d_step { assert(st == INIT && gen == lgen[p]); named = mine[p] };    /* slab.create.entry_named */
                    if
                    :: mine[p] != 0 ->
                        d_step {                                             /* slab.create.attached */
                            assert(bst[mine[p]] == BLEASE && bof[mine[p]] == me);
                            bst[mine[p]] = BATT; bof[mine[p]] = lgen[p]; mine[p] = 0
                        }
                    :: else
                    fi;
                    d_step {                                                 /* word.publish */
                        assert(st == INIT && gen == lgen[p]);
                        assert(!issued[gen]);
                        issued[gen] = 1;
                        st = LIVE; tag = 0; sh = 0; held[p] = 1
                    };                                                       /* slab.create.published */
                    token = lgen[p] + 1
                :: else
                fi
            :: owned[p] && !held[p] ->
                /* create.rs: drain */
                owned[p] = 0;
                clear(me);                                                   /* slab.drain.bit_cleared */
                decide(me)
            :: !owned[p] && token != 0 ->
                /* open.rs: open_first; the token may be over by then */
                want = token - 1;
                if
                :: st == LIVE && gen == want ->                              /* word.peek */
                    mark_group();
                    bits = bits | (1 << me);                                 /* slab.open.bit_set */
                    do
                    :: d_step {                                              /* word.load */
                        f_t = tag; f_s = sh; f_ok = 0;
                        f_st = (st == LIVE && gen == want -> LIVE : FREE);
                        if
                        :: f_st == LIVE && tag == 0 && sh -> f_ok = 1; owned[p] = 1; held[p] = 1; lgen[p] = want
                        :: else
                        fi };
                        if
                        :: f_ok -> break
                        :: !f_ok && f_st != LIVE ->
                            clear(me);                                       /* slab.open.refused */
#ifndef M_OPEN_NO_FINISH    /* fault slab.open.no_finish */
                            decide(me);
#else
                            f_has = 0;
#endif
                            break
                        :: !f_ok && f_st == LIVE ->
                            d_step {                                         /* word.share */
                                f_ok = (st == LIVE && gen == want && tag == f_t && sh == f_s);
                                if
                                :: f_ok -> tag = 0; sh = 1; owned[p] = 1; held[p] = 1; lgen[p] = want
                                :: else
                                fi
                            };                                               /* slab.open.shared */
                            if :: f_ok -> break :: else fi
                        fi
                    od
                :: else
                fi;
                atomic { want = 0; f_st = 0; f_t = 0; f_s = 0; f_ok = 0 }
            :: held[p] ->
                /* close.rs: close, private, with room in the cache */
                assert(st == LIVE && gen == lgen[p]);                        /* the holder's own load: get */
                d_step {                                                     /* word.renew */
                    f_ok = (st == LIVE && gen == lgen[p] && UNSHARED);
                    if
                    :: f_ok ->
                        held[p] = 0;
                        assert(!SOMEBODY_HOLDS(gen));
                        f_g = gen; tag = 0; sh = 0;
                        if
                        :: gen == LAST -> st = RETIRED
                        :: else -> st = INIT; gen++; lgen[p] = gen
                        fi
                    :: else
                    fi
                };
                if
                :: f_ok ->                                                /* slab.close.renewed, slab.close.retired */
                    f_b = named;
                    free_orphan(f_b, f_g);                                   /* slab.close.block_freed */
                    if
                    :: f_g == LAST -> owned[p] = 0; bits = bits & ~(1 << me)
                    :: else -> named = 0                                     /* slab.close.block_forgotten */
                    fi
                :: else
                fi;
                d_step { f_ok = 0; f_g = 0; f_b = 0 }
            :: held[p] ->
                /* close.rs: close_slow; also when the cache is full */
                d_step { held[p] = 0; owned[p] = 0 };
                clear(me);                                                   /* slab.close.bit_cleared */
#ifndef M_CLOSE_NO_FINISH   /* fault slab.close.no_finish */
                decide(me)
#else
                f_has = 0
#endif
            :: 
                /* member.rs: sweep, one slot */
                j = 0;
                do :: j < NL - 1 -> j++ :: break od;
                if
                :: j != me && dirty[j] ->
                    d_step { f_ok = (writer[j] == 0); if :: f_ok -> READ_LOCK(j) :: else fi };
                    if
                    :: f_ok && dirty[j] ->
                        f_ok = 0;
                        recover(j, me);                                      /* segment.recover.reclaimed */
                        dirty[j] = 0                                         /* segment.recover.freed */
                    :: else
                    fi;
                    d_step { f_ok = 0; readers[j] = readers[j] & ~(1 << p) }
                :: else
                fi;
                j = 0
            fi
        :: break
        od;
        /* leave, or stay a member without further operations */
        if
        :: 
            d_step { held[p] = 0; owned[p] = 0; knows[p] = 0; mine[p] = 0 }; /* segment.leave.left */
#ifdef M_LEAVE_BEFORE_RELEASE /* fault segment.leave.freed_before_reclaimed, and the lock with it */
            d_step { dirty[me] = 0; writer[me] = 0 };
            recover(me, me)
#else
            recover(me, me);                                                 /* segment.leave.reclaimed */
            dirty[me] = 0;                                                   /* segment.leave.freed */
            writer[me] = 0
#endif
        :: !held[p] && !owned[p] && mine[p] == 0 -> skip
        fi
    } unless {
        atomic {
            order[p] != 0 && turn > p;
            if
            :: order[p] == 2 -> order[p] = 0; stopped++; ended++; goto end_stopped
            :: else
            fi;
            order[p] = 0;
            held[p] = 0; owned[p] = 0; knows[p] = 0; lgen[p] = 0; mine[p] = 0;
            ops = 0; me = NOBODY; want = 0; i = 0; j = 0;
            f_st = 0; f_g = 0; f_t = 0; f_b = 0; f_x = 0; f_has = 0; f_s = 0; f_ok = 0; f_ended = 0;
            do
            :: i < NL ->
                if :: writer[i] == p + 1 -> writer[i] = 0 :: else fi;
                readers[i] = readers[i] & ~(1 << p);
                i++
            :: else -> i = 0; break
            od;
            lives++;
            if :: lives < LIVES(p) -> goto join :: else fi
        }
    };
    ended++;
    goto end_done;
end_stopped:
    false;
end_done:
    skip
}

proctype Fate() {
    do
    :: atomic { kills > 0 -> kills--;
        if :: FIRST_RUNS -> order[0] = 1 :: order[1] = 1
#if NP > 2
           :: order[2] = 1
#endif
        fi }
    :: atomic { stops > 0 -> stops--;
        if :: FIRST_RUNS -> order[0] = 2 :: order[1] = 2
#if NP > 2
           :: order[2] = 2
#endif
        fi }
    :: break
    od
}

/* Checked when every process has ended, was killed for the last time or is stopped: recover the leases without an owner first. */
proctype Check() {
    byte p = NP, j, i;
    byte f_st, f_g, f_t, f_b, f_x, f_has;
    bit f_s, f_ok, f_ended;
    ended == NP;
    do
    :: j < NL ->
        if :: dirty[j] && writer[j] == 0 && readers[j] == 0 -> recover(j, NL); dirty[j] = 0 :: else fi;
        j++
    :: else -> break
    od;
    if
    :: stopped == 0 ->
        assert(bits == 0);
        assert(st == FREE || st == RETIRED);
        i = 1;
        do
        :: i <= NB -> assert(bst[i] == BFREE); i++
        :: else -> break
        od
    :: else ->
        /* a stopped process keeps its handle, and no other bit is left */
        if :: bits == 0 -> assert(!SOMEBODY_HOLDS(0) && !SOMEBODY_HOLDS(1)) :: else fi
    fi
}

init {
    atomic {
#ifdef DEAD_START       /* the state that lease 0 left: an entry, claimed, or published with its token passed on */
        dirty[0] = 1; gmap[0] = 1; bits = 1;
        if
        :: st = INIT
        :: st = LIVE; issued[0] = 1; token = 1; if :: NB > 0 -> named = 1; bst[1] = BATT; bof[1] = 0 :: else fi
        fi;
#endif
        if :: FIRST_RUNS -> run Process(0) :: else -> ended = 1; turn = 1 fi;
        run Process(1);
#if NP > 2
        run Process(2);
#endif
        run Fate(); run Check()
    }
}
