/* Units, spans and block words as scratch-alloc/ builds them: two units, spans of one or two of them, one block word a
 * unit (block u starts in unit u), one local a process, one handle for attached blocks.
 *
 * Every shared access is one step. A process is killed or stopped for good between any two steps; process p takes lease
 * p in each of its lives, so a lease is used again under the next incarnation.
 */
#ifndef NP
#define NP 2
#endif
#define NU 2
#ifndef INC
#define INC 1
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
#define OPS 3
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef LAST
#define LAST 1          /* the last generation of the handle */
#endif

/* word.rs: Unit; the owner is lease + incarnation * 4, the shape is the number of units, the tail's distance always 1 */
#define FREE 0
#define UNBACKED 1
#define HELD 2
#define BACKING 3
#define SPAN 4
#define TAIL 5
#define ABANDONED 6
byte ust[NU], uow[NU], ulen[NU];
/* word.rs: Block, and the owner or the generation that it names */
#define BFREE 0
#define BLEASE 1
#define BATT 2
#define BPINNED 3
#define BREMOTE 4
byte bst[NU], bof[NU];
/* line[0]: hint that others freed blocks of the span at u */
bit hint[NU];
/* lease words, and the kernel's locks */
bit dirty[NP], writer[NP];
byte incarnation[NP], readers[NP];
/* the handle: its generation; every lower generation is over, and the present one is attached at most once */
byte gen;
bit attached;

/* private memory: the span of the local (head + 1, 0 for none), its length, its list of free blocks */
byte head[NP], units[NP], list[NP];

/* state of the model only: the user of payload u: 0 none, p + 1 a process, 50 a pin, 60 + g generation g of the handle */
byte user[NU];
byte given[NU];             /* a block that its owner gave to another process to free: the owner word + 1 */
byte order[NP], kills = KILLS, stops = STOPS, ended, stopped;
/* -DDEAD_START: the owner of lease 0 has died, see init; with one life each no process takes it again */
#if defined(DEAD_START) && INC == 1
#define FIRST_RUNS false
#else
#define FIRST_RUNS true
#endif

#define OWNER(p) (p + incarnation[p] * 4)
#define LEASE_OF(o) (o & 3)
#define IS_OVER(g) (g < gen)                /* !slab.is_current */
#define UNUSED(u) (user[u] == 0 || (user[u] >= 60 && IS_OVER(user[u] - 60)))
#define BLOCK_IS_FREE(u) (bst[u] == BFREE || bst[u] == BREMOTE)

#ifdef M_COVERED_UNSEEN         /* recovery takes tails of the dead even if a head covers them */
#define UNCOVERED true
#else
#define UNCOVERED (r_u >= r_cov)
#endif
#define NO_READERS (readers[p] == 0)
#ifdef M_CLAIM_NO_EXCHANGE      /* fault scratch.claim.no_exchange */
#define STILL(u, s) true
#else
#define STILL(u, s) (ust[u] == s)
#endif

#ifdef M_HINT_AS_TRUTH          /* only the hint decides whether to collect */
#define FOUND(h) hint[h]
#else
#define FOUND(h) true
#endif

inline claimed(u) { assert(UNUSED(u)) }

/* claim.rs: claim_run of one unit u; x_ok: it is ours, and backed */
inline claim_one(u) {
    x_ok = 0;
    x_s = ust[u];
    if
    :: x_s == FREE ->
        d_step { if :: STILL(u, FREE) -> ust[u] = HELD; uow[u] = OWNER(p); x_ok = 1; claimed(u) :: else fi }
    :: x_s == UNBACKED ->
        d_step { if :: ust[u] == UNBACKED -> ust[u] = BACKING; uow[u] = OWNER(p); x_ok = 1; claimed(u) :: else fi };
        if :: x_ok -> d_step { assert(ust[u] == BACKING); ust[u] = HELD } :: else fi     /* scratch.back.committed */
    :: else
    fi;                                                                      /* scratch.claim.marked */
    x_s = 0
}

/* scratch.rs: find(block u): whether a span covers it; x_ok */
inline find(u) {
    x_ok = 0;
    if
    :: ust[u] == SPAN || ust[u] == ABANDONED -> x_ok = 1
    :: u == 1 && ust[u] == TAIL ->
        d_step { x_ok = ((ust[0] == SPAN || ust[0] == ABANDONED) && ulen[0] == 2) }
    :: else
    fi
}

/* scratch.rs: tell_owner */
inline tell(u) { if :: u == 1 && ust[1] == TAIL -> hint[0] = 1 :: else -> hint[u] = 1 fi }

/* small.rs: collect_span: pushes REMOTE (or, when adopting, FREE) blocks of the span into the list */
inline collect_span(h, n, free_too) {
    hint[h] = 0;                                                             /* scratch.collect.hint_cleared */
    x_i = h;
    do
    :: x_i < h + n ->
        d_step {
            x_ok = (bst[x_i] == BREMOTE || (free_too && bst[x_i] == BFREE))
        };
        if
        :: x_ok -> d_step {
            assert(UNUSED(x_i) && BLOCK_IS_FREE(x_i));
            bst[x_i] = BFREE; bof[x_i] = 0; list[p] = list[p] | (1 << x_i) }  /* scratch.collect.block_taken */
        :: else
        fi;
        x_i++
    :: else -> atomic { x_i = 0; x_ok = 0 }; break
    od
}

/* span.rs: release_span, of the span at h */
inline release_span(h, n) {
    if
    :: n == 2 ->
        d_step { assert(uow[h] == OWNER(p)); ust[h] = HELD };                /* scratch.release.head_held */
        d_step { assert(UNUSED(h) && uow[h] == OWNER(p)); ust[h] = FREE; uow[h] = 0; ulen[h] = 0 };
        d_step { assert(UNUSED(1) && uow[1] == OWNER(p)); ust[1] = FREE; uow[1] = 0 }
    :: else ->
        d_step { assert(UNUSED(h) && uow[h] == OWNER(p)); ust[h] = FREE; uow[h] = 0; ulen[h] = 0 }
    fi                                                                       /* scratch.free_units.freed */
}

/* span.rs: adopt the span at h of n units; x_ok */
inline adopt(h, n) {
    x_ok = (n == 1 || ust[1] == TAIL);                                       /* tails_stand */
    if
    :: x_ok ->
        d_step {
            x_ok = (ust[h] == ABANDONED && ulen[h] == n);
            if :: x_ok -> ust[h] = SPAN; uow[h] = OWNER(p) :: else fi
        };                                                                   /* scratch.adopt.head_taken */
        if
        :: x_ok && n == 2 -> d_step { assert(ust[1] == TAIL); uow[1] = OWNER(p) }       /* scratch.adopt.tail_named */
        :: else
        fi
    :: else
    fi
}

/* recover.rs: fate of block u in a span of dead lease j: 0 free, 1 garbage, 2 kept; the word read is in x_s, x_o */
inline fate(u, j) {
    d_step {
        x_s = bst[u]; x_o = bof[u];
        if
        :: x_s == BFREE || x_s == BREMOTE -> x_f = 0
        :: x_s == BLEASE && LEASE_OF(x_o) == j -> x_f = 1
        :: x_s == BATT && IS_OVER(x_o) -> x_f = 1
        :: else -> x_f = 2
        fi
    }
}

/* recover.rs: recover_unit */
inline recover_unit(u, from, owner, to) {
#ifndef M_RECOVER_NO_HELD       /* fault scratch.recover.no_held */
    d_step { if :: ust[u] == from && uow[u] == owner -> claimed(u); ust[u] = to; uow[u] = 0; ulen[u] = 0 :: else fi }
#else
    skip
#endif
}

/* recover.rs: recover dead lease j */
inline recover(j) {
    if
    :: !dirty[j]
    :: else ->
        d_step { r_u = 0; r_cov = 0 };
        do
        :: r_u < NU ->
            d_step { r_s = ust[r_u]; r_o = uow[r_u]; r_n = ulen[r_u] };
            if
            :: r_s == SPAN && LEASE_OF(r_o) == j ->
                /* recover_span */
                d_step { r_k = 0; r_i = r_u };
                do
                :: r_i < r_u + r_n && !r_k -> fate(r_i, j); r_k = (x_f == 2); r_i++
                :: else -> break
                od;
#ifndef M_TAILS_UNSEEN
                if
                :: !r_k && r_n == 2 -> r_k = !(ust[1] == TAIL && uow[1] == r_o)          /* tails_name */
                :: else
                fi;
#endif
                if
                :: r_k ->
                    /* abandon_span */
                    r_i = r_u;
                    do
                    :: r_i < r_u + r_n ->
                        fate(r_i, j);
                        if
                        :: x_f == 1 -> d_step {
                            if
                            :: bst[r_i] == x_s && bof[r_i] == x_o ->
                                assert(UNUSED(r_i));
                                bst[r_i] = BREMOTE; bof[r_i] = 0; user[r_i] = 0
                            :: else
                            fi
                            }                                                /* scratch.recover.block_freed */
                        :: else
                        fi;
                        r_i++
                    :: else -> break
                    od;
                    hint[r_u] = 1;
                    d_step {
                        if
                        :: ust[r_u] == SPAN && uow[r_u] == r_o && ulen[r_u] == r_n -> ust[r_u] = ABANDONED; uow[r_u] = 0
                        :: else
                        fi
                    }                                                        /* scratch.recover.abandoned */
                :: else ->
                    d_step {
                        if
                        :: ust[r_u] == SPAN && uow[r_u] == r_o && ulen[r_u] == r_n -> ust[r_u] = HELD; ulen[r_u] = 0
                        :: else
                        fi
                    }                                                        /* scratch.recover.head_held */
                fi;
                d_step { r_s = ust[r_u]; r_o = uow[r_u]; r_n = ulen[r_u]; x_f = 0; x_s = 0; x_o = 0; r_i = 0; r_k = 0 }
            :: else
            fi;
            if
            :: r_s == SPAN || r_s == ABANDONED -> r_cov = r_u + r_n
            :: ((r_s == HELD || r_s == TAIL) && LEASE_OF(r_o) == j && UNCOVERED) ->
                recover_unit(r_u, r_s, r_o, FREE)                            /* scratch.recover.unit_freed */
            :: r_s == BACKING && LEASE_OF(r_o) == j -> recover_unit(r_u, r_s, r_o, UNBACKED)
            :: else
            fi;
            r_u++
        :: else -> break
        od;
        atomic { r_s = 0; r_o = 0; r_n = 0; r_u = 0; r_cov = 0; dirty[j] = 0 }           /* segment.recover.freed */
    fi
}

proctype Process(byte p) {
    byte lives, ops, u, g, j, x_s, x_o, x_f, x_i, r_u, r_s, r_o, r_n, r_i, r_cov;
    bit x_ok, r_k;
join:
    {
        d_step { !writer[p] && NO_READERS -> writer[p] = 1 };
        recover(p);
        d_step { incarnation[p]++; dirty[p] = 1 };
        do
        :: ops < OPS ->
            ops++;
            if
            :: head[p] == 0 ->
                /* small.rs: new_small, of two units or of one */
                if
                :: claim_one(0);
                    if
                    :: x_ok ->
                        claim_one(1);
                        if
                        :: x_ok -> units[p] = 2; u = 0
                        :: else -> d_step { ust[0] = FREE; uow[0] = 0 }      /* give_up: scratch.claim.returned */
                        fi
                    :: else
                    fi
                :: claim_one(0); if :: x_ok -> units[p] = 1; u = 0 :: else fi
                :: claim_one(1); if :: x_ok -> units[p] = 1; u = 1 :: else fi
                fi;
                if
                :: units[p] != 0 ->
                    /* span.rs: make_small */
                    bst[u] = BFREE;
                    if :: units[p] == 2 -> bst[1] = BFREE :: else fi;          /* scratch.small.blocks_stored */
                    hint[u] = 0;
#ifdef M_HEAD_BEFORE_TAILS      /* fault scratch.small.head_before_tails */
                    d_step { ust[u] = SPAN; ulen[u] = units[p] };
#endif
                    if
                    :: units[p] == 2 -> d_step { assert(ust[1] == HELD && uow[1] == OWNER(p)); ust[1] = TAIL }
                    :: else                                                  /* scratch.small.tail_stored */
                    fi;
                    d_step { assert(uow[u] == OWNER(p)); ust[u] = SPAN; ulen[u] = units[p] };
                    d_step { head[p] = u + 1; list[p] = (units[p] == 2 -> 3 : 1 << u) } /* scratch.small.head_stored */
                :: else
                fi;
                atomic { u = 0; x_ok = 0 }
            :: head[p] == 0 ->
                /* small.rs: adopt */
                if :: u = 0 :: u = 1 fi;
                d_step { x_s = ust[u]; r_n = ulen[u] };
                if
                :: x_s == ABANDONED ->
                    adopt(u, r_n);
                    if
                    :: x_ok -> d_step { head[p] = u + 1; units[p] = r_n }; collect_span(u, r_n, true)
                    :: else
                    fi
                :: else
                fi;
                atomic { u = 0; r_n = 0; x_s = 0; x_ok = 0 }
            :: list[p] != 0 ->
                /* alloc: Hot::take */
                d_step {
                    u = (list[p] & 1 -> 0 : 1);
                    list[p] = list[p] & ~(1 << u);
                    assert(UNUSED(u) && bst[u] == BFREE);
                    bst[u] = BLEASE; bof[u] = OWNER(p); user[u] = p + 1; u = 0
                }
            :: d_step { user[0] == p + 1 && given[0] == 0 -> u = 0; user[0] = 0 };
free_it:        /* free: Hot::put, a load and a plain store */
                x_ok = (bst[u] == BLEASE && bof[u] == OWNER(p));
                if
                :: x_ok -> d_step { assert(UNUSED(u)); bst[u] = BFREE; bof[u] = 0; list[p] = list[p] | (1 << u) }
                :: else
                fi;
                atomic { u = 0; x_ok = 0 }
            :: d_step { user[1] == p + 1 && given[1] == 0 -> u = 1; user[1] = 0 }; goto free_it
            :: d_step { user[0] == p + 1 && given[0] == 0 -> user[0] = 0; given[0] = OWNER(p) + 1 }
            :: given[0] != 0 ->
                /* free_of: a process frees a block that its owner gave away: an exact CAS */
                d_step { g = given[0]; given[0] = 0 };
                if
                :: g != 0 ->
                    find(0);
                    if
                    :: x_ok ->
                        d_step {
                            x_ok = (bst[0] == BLEASE && bof[0] == g - 1);
                            if :: x_ok -> assert(UNUSED(0)); bst[0] = BREMOTE; bof[0] = 0 :: else fi
                        };                                                   /* scratch.free.remote_stored */
                        if :: x_ok -> tell(0) :: else fi                     /* scratch.free.hinted */
                    :: else
                    fi
                :: else
                fi;
                atomic { g = 0; x_ok = 0 }
            :: d_step { user[1] == p + 1 && given[1] == 0 -> user[1] = 50; bst[1] = BPINNED; bof[1] = 0 }   /* pin */
            :: bst[1] == BPINNED ->
                /* free_pinned: by any process */
                find(1);
                if
                :: x_ok ->
                    d_step {
                        x_ok = (bst[1] == BPINNED);
                        if :: x_ok -> assert(user[1] == 50); user[1] = 0; bst[1] = BREMOTE :: else fi
                    };
                    if :: x_ok -> tell(1) :: else fi
                :: else
                fi;
                x_ok = 0
            :: user[0] == p + 1 && given[0] == 0 && !attached && gen <= LAST ->
                /* attach: every generation has one creator */
                d_step { if :: !attached && gen <= LAST -> attached = 1; g = gen + 1 :: else fi };
                if
                :: g != 0 -> d_step { assert(bst[0] == BLEASE); bst[0] = BATT; bof[0] = g - 1; user[0] = 59 + g }
                :: else
                fi;
                g = 0
            :: d_step { attached && bst[0] == BATT && bof[0] == gen -> g = gen; gen++; attached = 0 };
                /* this process ends the generation: free_ended */
                if
                :: head[p] == 1 ->
                    x_ok = (bst[0] == BATT && bof[0] == g);
                    if
                    :: x_ok -> d_step { user[0] = 0; bst[0] = BFREE; bof[0] = 0; list[p] = list[p] | 1 }
                    :: else
                    fi
                :: else ->
                    find(0);
                    if
                    :: x_ok ->
                        d_step {
                            x_ok = (bst[0] == BATT && bof[0] == g);
                            if :: x_ok -> user[0] = 0; bst[0] = BREMOTE; bof[0] = 0 :: else fi
                        };
                        if :: x_ok -> tell(0) :: else fi
                    :: else
                    fi
                fi;
                atomic { g = 0; x_ok = 0 }
            :: head[p] != 0 && list[p] == 0 && hint[head[p] - 1] -> collect_span(head[p] - 1, units[p], false)
            :: head[p] == 0 ->
                /* trim: decommit a free unit */
                if :: u = 0 :: u = 1 fi;
                d_step {
                    x_ok = (ust[u] == FREE);
                    if :: x_ok -> ust[u] = BACKING; uow[u] = OWNER(p); claimed(u) :: else fi
                };
                if
                :: x_ok -> d_step { claimed(u); assert(uow[u] == OWNER(p)); ust[u] = UNBACKED; uow[u] = 0 }
                :: else
                fi;
                atomic { u = 0; x_ok = 0 }
            :: 
                /* sweep: another lease */
                atomic {
                    if
                    :: j = (p + 1) % NP
#if NP > 2
                    :: j = (p + 2) % NP
#endif
                    fi;
                    x_ok = (dirty[j] && !writer[j]);
                    if :: x_ok -> readers[j] = readers[j] | (1 << p) :: else -> j = 0 fi
                };
                if
                :: x_ok -> x_ok = 0; recover(j); atomic { readers[j] = readers[j] & ~(1 << p); j = 0 }
                :: else
                fi
            fi
        :: break
        od;
        /* stay a member, after giving back idle spans (release_idle), or leave */
        if
        :: user[0] != p + 1 && user[1] != p + 1 && given[0] == 0 ->
            if
            :: head[p] != 0 ->
                collect_span(head[p] - 1, units[p], false);
                if
                :: list[p] == (units[p] == 2 -> 3 : 1 << (head[p] - 1)) ->
                    u = head[p] - 1;
                    release_span(u, units[p]);
                    d_step { head[p] = 0; units[p] = 0; list[p] = 0; u = 0 }
                :: else
                fi
            :: else
            fi
        :: d_step {
                if :: user[0] == p + 1 -> user[0] = 0 :: else fi; if :: user[1] == p + 1 -> user[1] = 0 :: else fi;
                head[p] = 0; units[p] = 0; list[p] = 0 };
#ifdef M_LEAVE_BEFORE_RELEASE
            d_step { dirty[p] = 0; writer[p] = 0 };
#else
            recover(p);
            writer[p] = 0
#endif
        fi
    } unless {
        atomic {
            order[p] != 0;
            if :: order[p] == 2 -> order[p] = 0; stopped++; ended++; goto end_stopped :: else fi;
            order[p] = 0;
            ops = 0; u = 0; g = 0; j = 0; x_s = 0; x_o = 0; x_f = 0; x_i = 0; r_u = 0; r_s = 0; r_o = 0; r_n = 0; r_i = 0;
            r_cov = 0; x_ok = 0; r_k = 0;
            head[p] = 0; units[p] = 0; list[p] = 0;
            if :: user[0] == p + 1 -> user[0] = 0 :: else fi;
            if :: user[1] == p + 1 -> user[1] = 0 :: else fi;
            writer[p] = 0;
            readers[0] = readers[0] & ~(1 << p); readers[1] = readers[1] & ~(1 << p);
#if NP > 2
            readers[2] = readers[2] & ~(1 << p);
#endif
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

/* Checked when every process has ended: recover the dead; then no unit is lost, and none is free while a payload in it is in use. */
proctype Check() {
    byte p, j, u, x_s, x_o, x_f, x_i, r_u, r_s, r_o, r_n, r_i, r_cov;
    bit x_ok, r_k;
    ended == NP;
    do
    :: j < NP -> if :: dirty[j] && !writer[j] && readers[j] == 0 -> recover(j) :: else fi; j++
    :: else -> break
    od;
    j = 0;
    do
    :: u < NU ->
        if
        :: ust[u] == FREE || ust[u] == UNBACKED -> assert(UNUSED(u))
        :: ust[u] == SPAN || ust[u] == HELD || ust[u] == BACKING || (ust[u] == TAIL && ust[0] != ABANDONED) ->
            /* only a living member may own one, and an idle one only if the member was stopped */
            assert(dirty[LEASE_OF(uow[u])] && writer[LEASE_OF(uow[u])]);
            /* its FREE blocks are in the owner's list, and the owner finds its REMOTE ones, also after a lost hint */
            if
            :: ust[u] == SPAN && stopped == 0 ->
                x_f = LEASE_OF(uow[u]);
                x_i = u;
                do
                :: x_i < u + ulen[u] ->
                    assert(bst[x_i] != BFREE || (list[x_f] & (1 << x_i)));
                    assert(bst[x_i] != BREMOTE || FOUND(u));
                    x_i++
                :: else -> break
                od
            :: else
            fi
        :: else
        fi;
        if
        :: bst[u] == BATT && user[u] >= 60 && !IS_OVER(bof[u]) ->
            assert(ust[u] == SPAN || ust[u] == ABANDONED || ust[u] == TAIL)
        :: else
        fi;
        u++
    :: else -> break
    od
}

init {
    atomic {
#ifdef DEAD_START       /* the state that lease 0 left: units being claimed, a span of one, or a span of two */
        dirty[0] = 1; incarnation[0] = 1;
        if
        :: ust[0] = HELD :: ust[0] = BACKING :: ust[0] = SPAN; ulen[0] = 1 :: ust[0] = SPAN; ulen[0] = 2
        fi;
        uow[0] = OWNER(0);
        if
        :: ulen[0] != 2 -> if :: skip :: ust[1] = HELD :: ust[1] = BACKING :: ust[1] = TAIL fi
        :: ulen[0] == 2 -> ust[1] = TAIL
        fi;
        if :: ust[1] != FREE -> uow[1] = OWNER(0) :: else fi;
        if
        :: ust[0] == SPAN ->
            if
            :: skip :: bst[0] = BLEASE; bof[0] = OWNER(0) :: bst[0] = BREMOTE
            :: bst[0] = BATT; user[0] = 60; attached = 1
            fi
        :: else
        fi;
        if
        :: ulen[0] == 2 ->
            if :: skip :: bst[1] = BLEASE; bof[1] = OWNER(0) :: bst[1] = BPINNED; user[1] = 50 fi
        :: else
        fi;
#endif
        if :: FIRST_RUNS -> run Process(0) :: else -> ended = 1 fi;
        run Process(1);
#if NP > 2
        run Process(2);
#endif
        run Fate(); run Check()
    }
}
