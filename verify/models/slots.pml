/* Handles that are held by members (bits) or by slots: 64-bit words of the space, or of a container handle.
 *
 * One entry (a job), with -DCONT a second one, the container, whose slots it can be put into. Every shared access is one
 * step; private computation belongs to the access before it. A process is killed, or stopped for good, between any two
 * steps, recoverers and those who empty a container included; leases are used again. Memory is sequentially consistent.
 * Slots live in memory that is never anything but slots. What is unchanged is as in handles.pml. The creator's count, which is not
 * written down, is that of counts.pml: here a process has one thread, and its count is its bit.
 * Containers (-DCONT) are another way than the one that is built, which is in chunks.pml: here a state of the container's own word.
 *
 *   -DNP= processes  -DINC= lives of each  -DOPS= operations a life  -DKILLS=  -DSTOPS=  -DLAST= last generation
 *   -DNR= root slots  -DCONT a container with -DNC= slots   -DCLAIMS claim/ack/give back  -DTWO a second plain entry: replace
 *   -DLEAVE a life ends by leaving, not by dying
 *   -DREADY start with everything made and in slots
 *   -DSTAY a process that holds nothing may stay alive and idle, unrecovered
 *   -DPIPE a token is found in slots only, so a handle has one owner
 *   -DQUEUE with READY: the job in the slot is only claimed, acked and given back: never lost, acked once
 *   -DRENEW who evicts keeps the entry for its cache, and creates with it or gives it back: `renew_if_unheld`, as in a replacement
 *   -DNO_EARLY without the look at the slot before the tag
 *   -DM_... a mutant
 */
#ifdef QUEUE
#define PIPE
#define CLAIMS
#endif
#ifndef NP
#define NP 2
#endif
#define NL NP
#ifndef INC
#define INC 1
#endif
#ifndef OPS
#define OPS 3
#endif
#ifndef OPSB
#define OPSB OPS        /* of all but the first process */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 0
#endif
#ifndef LAST
#define LAST 1
#endif
#ifndef NR
#define NR 2
#endif
#ifndef NC
#define NC 1
#endif
#ifdef CONT
#define NH 2
#define NS (NR + NC)
#else
#ifdef TWO
#define NH 2
#else
#define NH 1
#endif
#define NS NR
#endif
#define BOX 1               /* index of the container */
#define NOBODY 9

#define FREE 0
#define INIT 1
#define LIVE 2
#define RETIRED 3
#define ENDING 4            /* a container that nobody holds and whose slots are being emptied */

/* the handle word, as a whole */
byte st[NH], tag[NH], gen[NH];
bit sh[NH];
/* holder set; home word {by, slot, turn}: who is putting it in (lease + 1), where, and how often it was put */
byte bits[NH], hby[NH], hslot[NH], hturn[NH];
/* slot words {claim, generation, index}: index + 1, 0 for EMPTY; claim: lease + 1 or 0. Slot 0 is "none". */
byte so[NS + 1], sg[NS + 1], sc[NS + 1];
/* leases: group map (every entry is a group of its own), dirty words, kernel locks */
byte gmap[NL + 1];
bit dirty[NL];
byte writer[NL], readers[NL];

/* private memory, lost with the process */
byte knows[NP + 1];
bit held[NP * NH];
byte lgen[NP * NH];
byte claims[NP];            /* the slot that the process has claimed */

/* what only the model knows */
byte token[NH];             /* the token passed around last: generation + 1 */
byte order[NP];
byte acks;                  /* how often the first job was acked */
byte kills = KILLS, stops = STOPS, ended, stopped;

#define AT(p, h) ((p) * NH + (h))
#define HOLDS(p, h, g) (held[AT(p, h)] && lgen[AT(p, h)] == g)
#if NP > 2
#define SOMEBODY_HOLDS(h, g) (HOLDS(0, h, g) || HOLDS(1, h, g) || HOLDS(2, h, g))
#else
#define SOMEBODY_HOLDS(h, g) (HOLDS(0, h, g) || HOLDS(1, h, g))
#endif
#define NAMES(s, h, g) (so[s] == (h) + 1 && sg[s] == (g))
#if NS == 1
#define SOME_SLOT(h, g) (NAMES(1, h, g))
#elif NS == 2
#define SOME_SLOT(h, g) (NAMES(1, h, g) || NAMES(2, h, g))
#else
#define SOME_SLOT(h, g) (NAMES(1, h, g) || NAMES(2, h, g) || NAMES(3, h, g))
#endif
#define IS_BOX_SLOT(s) ((s) > NR)

#ifdef M_FREE_FIRST          /* FREE at once, the slots are emptied afterwards: "evidence in the freed entry" */
#define M_EMPTY_NO_BIT
#endif
#ifdef M_ANY_TAG
#define MY_TAG(h, l) true
#else
#define MY_TAG(h, l) (tag[h] == (l) + 1)
#endif
#ifdef M_CLAIM_NOT_HELD      /* finish compares the whole slot word: a claimed slot does not count */
#define HELD_AT(s, h, g) (NAMES(s, h, g) && sc[s] == 0)
#else
#define HELD_AT(s, h, g) (NAMES(s, h, g))
#endif
#ifdef M_REUSE_WITHOUT_LOCK
#define READ_LOCK(j) skip
#else
#define READ_LOCK(j) readers[j] = readers[j] | (1 << p)
#endif

/* slots/mod.rs: is_kept is "home, the slot at home".
 * ---- does nobody hold h? from "bits" on; f_ok: nobody does. In this order: bits, home, the slot at home ---- */
inline nobody(h) {
    f_ok = 0;
#ifdef M_HOME_FIRST
    f_x = hslot[h];
    f_ok = (bits[h] == 0);
    if :: f_ok && f_x != 0 -> f_ok = !HELD_AT(f_x, h, f_g) :: else fi;
#else
#ifdef M_SLOT_FIRST
    f_x = hslot[h];
    if :: f_x != 0 -> f_ok = !HELD_AT(f_x, h, f_g) :: else -> f_ok = 1 fi;
    if :: f_ok -> f_ok = (bits[h] == 0) :: else fi;
#else
    f_ok = (bits[h] == 0);                                                  /* slab.finish.empty */
#ifndef M_FINISH_BITS_ONLY
    if
    :: f_ok ->
        f_x = hslot[h];                                                     /* home.load */
        if :: f_x != 0 -> f_ok = !HELD_AT(f_x, h, f_g) :: else fi           /* slot.load */
    :: else
    fi;
#endif
#endif
#endif
    f_x = 0
}

/* entry.rs: clear: the old value tells whether other bits are set; their owners decide when they clear them */
inline clear(h, l) {
    d_step { bits[h] = bits[h] & ~(1 << (l)); f_has = (bits[h] != 0) }
}

/* close.rs: free_if_unheld, for what is no container; f_has: a bit was seen set, by clear or by a look */
inline finish(h, l) {
    if
    :: f_has -> f_has = 0
    :: else ->
        d_step { f_st = st[h]; f_g = gen[h]; f_t = tag[h]; f_s = sh[h] };
        if
        :: f_st == FREE || f_st == RETIRED
        :: else ->
#ifndef NO_EARLY                                 /* spares the CAS; whoever empties the slot decides */
            f_x = hslot[h];
            if :: f_x != 0 -> f_ok = HELD_AT(f_x, h, f_g) :: else -> f_ok = 0 fi; f_x = 0;
            if
            :: f_ok
            :: else ->
#endif
            d_step {
                f_ok = (st[h] == f_st && gen[h] == f_g && tag[h] == f_t && sh[h] == f_s);
                if :: f_ok -> tag[h] = l + 1 :: else fi
            };                                                               /* slab.finish.tagged */
            if
            :: !f_ok
            :: else ->
                nobody(h);
                if
                :: !f_ok
                :: else ->
                    d_step {                                                 /* word.release */
                        if
                        :: st[h] == f_st && gen[h] == f_g && sh[h] == f_s && MY_TAG(h, l) ->
                            assert(!SOMEBODY_HOLDS(h, f_g));
                            assert(!SOME_SLOT(h, f_g));
                            tag[h] = 0; sh[h] = 0;
                            if :: f_g == LAST -> st[h] = RETIRED :: else -> st[h] = FREE; gen[h] = f_g + 1 fi
                        :: else
                        fi
                    }                                                        /* slab.finish.freed */
                fi
            fi
#ifndef NO_EARLY
            fi
#endif
        fi
    fi;
    d_step { f_st = 0; f_g = 0; f_t = 0; f_s = 0; f_ok = 0 }
}

#ifdef CONT
/* finish of the container, and the emptying of its slots by l. The slots hold what they hold until they are emptied. */
inline finish_box(l) {
    do
    ::
        if
        :: f_has -> f_has = 0; break
        :: else
        fi;
        d_step { f_st = st[BOX]; f_g = gen[BOX]; f_t = tag[BOX]; f_s = sh[BOX] };
        if :: f_st == FREE || f_st == RETIRED -> break :: else fi;
        d_step {
            f_ok = (st[BOX] == f_st && gen[BOX] == f_g && tag[BOX] == f_t && sh[BOX] == f_s);
            if :: f_ok -> tag[BOX] = l + 1 :: else fi
        };
        if :: !f_ok -> break :: else fi;
        if
        :: f_st == ENDING ->
            f_ok = (bits[BOX] == 0);
            if :: !f_ok -> break :: else fi;
            /* slots of an ENDING container only ever become EMPTY */
            c_s = NR + 1;
            do
            :: f_ok && c_s <= NS -> f_ok = (so[c_s] == 0); c_s++
            :: else -> c_s = 0; break
            od
        :: else ->
            nobody(BOX);
            if :: !f_ok -> break :: else fi
        fi;
        if
        :: f_ok ->
            d_step {                                                         /* word.release, or word.end */
                f_ok = (st[BOX] == f_st && gen[BOX] == f_g && sh[BOX] == f_s && MY_TAG(BOX, l));
                if
                :: f_ok ->
                    assert(!SOMEBODY_HOLDS(BOX, f_g));
                    assert(!SOME_SLOT(BOX, f_g));
                    tag[BOX] = 0;
                    if
#ifdef M_FREE_FIRST
                    :: false
#else
                    :: f_st == LIVE -> st[BOX] = ENDING
#endif
                    :: else ->
#ifndef M_FREE_FIRST
                        assert(so[NR + 1] == 0 && so[NS] == 0);
#endif
                        sh[BOX] = 0;
                        if
                        :: f_g == LAST -> st[BOX] = RETIRED
                        :: else -> st[BOX] = FREE; gen[BOX] = f_g + 1
                        fi
                    fi
                :: else
                fi
            };
            if :: !(f_ok && f_st == LIVE) -> break :: else fi
        :: else
        fi;
        /* empty: hold the container, as anybody who touches its slots does */
        c_g = f_g;
#ifdef M_EMPTY_NO_BIT
        f_ok = 1;
#else
        bits[BOX] = bits[BOX] | (1 << (l));                                  /* slab.empty.bit_set */
        do
        :: d_step { f_t = tag[BOX]; f_st = (st[BOX] == ENDING && gen[BOX] == c_g -> 1 : 0) };
            if
            :: f_st == 0 -> f_ok = 0; break
            :: f_st != 0 && f_t == 0 -> f_ok = 1; break
            :: else ->
                d_step {
                    f_ok = (st[BOX] == ENDING && gen[BOX] == c_g && tag[BOX] == f_t);
                    if :: f_ok -> tag[BOX] = 0 :: else fi
                };
                if :: f_ok -> break :: else fi
            fi
        od;
#endif
        atomic { f_st = 0; f_t = 0; f_g = 0; f_s = 0 };
        c_s = NR + 1;
        do
        :: f_ok && c_s <= NS ->
            d_step { c_h = so[c_s]; c_t = sg[c_s]; c_c = sc[c_s] };
            if
            :: c_h != 0 ->
#ifndef M_EMPTY_NO_MARK
                mark_group(l, 0);
#endif
                d_step {
                    f_ok = (so[c_s] == c_h && sg[c_s] == c_t && sc[c_s] == c_c);
                    if
                    :: f_ok ->
                        /* not another container's by now: then this would take what it has no right to */
#ifdef M_EMPTY_NO_BIT
                        assert(st[BOX] != LIVE);
#else
                        assert(gen[BOX] == c_g && st[BOX] == ENDING);
#endif
                        so[c_s] = 0; sg[c_s] = 0; sc[c_s] = 0
                    :: else
                    fi
                };                                                           /* slab.empty.taken */
                if :: f_ok -> f_ok = 0; f_has = (bits[0] != 0); finish(0, l) :: else fi;
                f_ok = 1
            :: else
            fi;
            d_step { c_s++; c_h = 0; c_t = 0; c_c = 0 }
        :: else -> c_s = 0; break
        od;
        c_g = 0;
#ifdef M_EMPTY_NO_BIT
        f_has = 0
#else
        clear(BOX, l)                                                        /* slab.empty.bit_cleared */
#endif
    od;
    atomic { f_st = 0; f_g = 0; f_t = 0; f_s = 0; f_ok = 0; c_s = 0; c_g = 0; c_h = 0; c_t = 0; c_c = 0 }
}
#define DECIDE(h, l) if :: h == 0 -> finish(0, l) :: else -> finish_box(l) fi
#else
#define DECIDE(h, l) finish(h, l)
#endif

inline mark_group(l, h) {
    if
    :: ((knows[p] >> (h)) & 1) == 0 -> gmap[l] = gmap[l] | (1 << (h)); knows[p] = knows[p] | (1 << (h))
    :: else                                                                  /* slab.group.set */
    fi
}

/* recover.rs: recover(dead lease j, by lease l): recover_slot (1, 2), recover_entry (3) */
inline recover(j, l) {
    if
    :: gmap[j] == 0
    :: else ->
        r_g = gmap[j];
        do
        :: r_h < NH && ((r_g >> r_h) & 1) == 0 -> r_h++
        :: r_h < NH && ((r_g >> r_h) & 1) != 0 ->
#ifdef M_RECOVER_BIT_FIRST
            r_x = (bits[r_h] >> j) & 1;
            if :: r_x != 0 -> bits[r_h] = bits[r_h] & ~(1 << j) :: else fi;
#endif
            /* 1. a put that the dead one had begun: the slot says whether it happened */
            d_step { r_b = hby[r_h]; r_x = hslot[r_h]; r_q = hturn[r_h] };
#ifndef M_RECOVER_NO_SETTLE
            if
            :: r_b == j + 1 ->
                d_step { if :: hby[r_h] == r_b && hslot[r_h] == r_x && hturn[r_h] == r_q -> hby[r_h] = 0 :: else fi }
            :: else                                                          /* slab.recover.settled_home */
            fi;
#endif
#ifdef CLAIMS
            /* 2. a claim of the dead one goes back */
#ifndef M_RECOVER_NO_CLAIM
            if
            :: r_x != 0 ->
                d_step { r_q = (so[r_x] == r_h + 1 && sc[r_x] == j + 1 -> sg[r_x] + 1 : 0) };
                if
                :: r_q != 0 ->
                    d_step { if :: so[r_x] == r_h + 1 && sg[r_x] + 1 == r_q && sc[r_x] == j + 1 -> sc[r_x] = 0 :: else fi }
                :: else                                                      /* slab.recover.claim_returned */
                fi
            :: else
            fi;
#endif
#endif
            d_step { r_b = 0; r_x = 0; r_q = 0 };
            /* 3. its bit */
            r_x = (bits[r_h] >> j) & 1;
            if
            :: r_x == 0 && bits[r_h] == 0 -> r_x = (st[r_h] == INIT || st[r_h] == LIVE || st[r_h] == ENDING -> 2 : 0)
            :: else
            fi;
#ifdef M_RECOVER_NO_ENDING
            if :: st[r_h] == ENDING -> r_x = (r_x == 2 -> 0 : r_x) :: else fi;
#endif
            if
            :: r_x != 0 ->
#ifndef M_RECOVER_NO_MARK   /* who overtakes another recoverer's finish and dies leaves evidence, too */
                if :: l != j -> mark_group(l, r_h) :: else fi;               /* recover.rs: take_responsibility */
#endif
                if :: r_x == 1 -> clear(r_h, j) :: else -> f_has = 0 fi;     /* slab.recover.bit_cleared */
                r_x = 0;
                DECIDE(r_h, l)
            :: else
            fi;
            r_h++
        :: else -> r_h = 0; r_g = 0; break
        od;
        gmap[j] = 0                                                          /* slab.recover.map_cleared */
    fi
}

/* open.rs: open_first. Afterwards f_ok: holds h in generation want. */
inline open(h) {
    mark_group(me, h);
    bits[h] = bits[h] | (1 << me);                                           /* slab.open.bit_set */
    do
    :: d_step {
        f_t = tag[h]; f_s = sh[h]; f_ok = 0;
        f_st = (st[h] == LIVE && gen[h] == want -> LIVE : FREE);
        if
#ifdef M_OPEN_NO_RESET
        :: f_st == LIVE -> sh[h] = 1;
#else
        :: f_st == LIVE && tag[h] == 0 && sh[h] ->
#endif
            f_ok = 1; held[AT(p, h)] = 1; lgen[AT(p, h)] = want
        :: else
        fi };
        if
        :: f_ok -> break
        :: !f_ok && f_st != LIVE ->
            clear(h, me);                                                    /* slab.open.refused */
            DECIDE(h, me);
            f_ok = 0;
            break
        :: !f_ok && f_st == LIVE ->
            d_step {                                                         /* word.share */
                f_ok = (st[h] == LIVE && gen[h] == want && tag[h] == f_t && sh[h] == f_s);
                if :: f_ok -> tag[h] = 0; sh[h] = 1; held[AT(p, h)] = 1; lgen[AT(p, h)] = want :: else fi
            };
            if :: f_ok -> break :: else fi
        fi
    od;
    atomic { f_st = 0; f_t = 0; f_s = 0 }
}

inline leave_handle(h) {
    d_step { held[AT(p, h)] = 0; lgen[AT(p, h)] = 0 };
    clear(h, me);                                                            /* slab.close.bit_cleared */
    DECIDE(h, me)
}

/* slots/keep.rs: put_into(h, s): h is held by this process, and so is the container of s. f_ok: s holds it, too. */
inline put(h, s) {
#ifndef M_PUT_NOT_SHARED
    /* no private close from here on */
    do
    :: d_step { f_t = tag[h]; f_s = sh[h]; f_ok = sh[h]; assert(st[h] == LIVE && gen[h] == lgen[AT(p, h)]) };
        if
        :: f_ok -> break
        :: else ->
            d_step { f_ok = (tag[h] == f_t && sh[h] == f_s); if :: f_ok -> tag[h] = 0; sh[h] = 1 :: else fi };
            if :: f_ok -> break :: else fi
        fi
    od;
    atomic { f_t = 0; f_s = 0; f_ok = 0 };
#endif
    /* home: where it is, and whether somebody else is just putting it somewhere */
    d_step { i_b = hby[h]; i_s = hslot[h]; i_q = hturn[h] };
    if
#if defined(PIPE) && !defined(M_NO_ASSERT_PIPE)
    :: i_b != 0 -> assert(false)         /* with one owner nobody else can be at it */
#else
#ifndef M_PLAIN_HOME
    :: i_b != 0 -> f_ok = 0              /* IN TRANSIT */
#endif
#endif
    :: else ->
        if
        :: i_s != 0 -> f_ok = !NAMES(i_s, h, lgen[AT(p, h)])                 /* ALREADY */
        :: else -> f_ok = 1
        fi;
        if
        :: f_ok ->
#ifdef M_SLOT_BEFORE_HOME
            d_step { f_ok = (so[s] == 0); if :: f_ok -> so[s] = h + 1; sg[s] = lgen[AT(p, h)]; sc[s] = 0 :: else fi };
            if :: f_ok -> d_step { hslot[h] = s; hby[h] = 0; hturn[h]++ } :: else fi
#else
            d_step {                                                         /* home.begin */
#ifdef M_PLAIN_HOME
                f_ok = 1; hslot[h] = s
#else
#ifdef M_NO_TURN
                f_ok = (hby[h] == i_b && hslot[h] == i_s);
                if :: f_ok -> hby[h] = me + 1; hslot[h] = s :: else fi
#else
                f_ok = (hby[h] == i_b && hslot[h] == i_s && hturn[h] == i_q);
                if :: f_ok -> hby[h] = me + 1; hslot[h] = s; hturn[h]++ :: else fi
#endif
#endif
            };                                                               /* slab.put.begun */
            if
            :: f_ok ->
#ifdef M_PUT_BIT_FIRST
                bits[h] = bits[h] & ~(1 << me);
#endif
                /* slot.put: EMPTY -> h; or another handle's place, which is then the caller's to look after */
                d_step { i_s = so[s]; i_q = sg[s]; f_ok = (so[s] == 0 || (so[s] != h + 1 && sc[s] == 0)) };
                if
                :: f_ok && i_s != 0 -> mark_group(me, i_s - 1)
                :: else
                fi;
                if
                :: f_ok ->
                    d_step {
                        f_ok = (so[s] == i_s && sg[s] == i_q && sc[s] == 0);
                        if
                        :: f_ok ->
                            assert(!SOME_SLOT(h, lgen[AT(p, h)]));           /* no two slots hold it */
                            so[s] = h + 1; sg[s] = lgen[AT(p, h)]
                        :: else
                        fi
                    }                                                        /* slab.put.there */
                :: else
                fi;
#ifndef M_NO_SETTLE
                d_step { if :: hby[h] == me + 1 && hslot[h] == s -> hby[h] = 0 :: else fi };   /* home.settle; slab.put.settled */
#endif
                if
                :: f_ok && i_s != 0 ->                                       /* slab.put.replaced */
                    i_s--;
                    if
                    :: held[AT(p, i_s)] -> skip
                    :: else -> 
#ifdef TWO
                        f_ok = 0; f_has = (bits[i_s] != 0); finish(i_s, me); f_ok = 1
#else
                        skip
#endif
                    fi
                :: else
                fi
            :: else
            fi
#endif
        :: else
        fi
    fi;
    d_step { i_b = 0; i_s = 0; i_q = 0 }
}

/* slots/keep.rs: get_out: a put that was not settled: it happened, since the slot names h after home was read. i_x: not lost meanwhile */
inline help(s, h) {
    i_x = 1;
#ifndef M_TAKE_NO_HELP
    d_step { i_b = hby[h]; i_s = hslot[h]; i_q = hturn[h] };                 /* home.load */
    if
    :: i_b != 0 && i_s == s ->
        if
        :: NAMES(s, h, want) && sc[s] == 0 ->                                /* slot.load */
            d_step { if :: hby[h] == i_b && hslot[h] == i_s && hturn[h] == i_q -> hby[h] = 0 :: else fi }  /* home.settle */
        :: else -> i_x = 0
        fi
    :: else
    fi;
    d_step { i_b = 0; i_s = 0; i_q = 0 }
#endif
}

/* slots/keep.rs: take(s), the container held. f_ok: the process holds what was in s (want and i_b say what), and s is empty */
inline take(s, h) {
    d_step { want = sg[s]; f_ok = (so[s] == h + 1 && sc[s] == 0) };
    if
    :: !f_ok
    :: else ->
#ifndef M_TAKE_NO_BIT
        if
        :: held[AT(p, h)] -> f_ok = (lgen[AT(p, h)] == want)
        :: else -> f_ok = 0; open(h)
        fi;
#endif
        if
        :: !f_ok
        :: else ->
            help(s, h);
            d_step {                                                         /* slot.take */
                f_ok = (i_x != 0 && NAMES(s, h, want) && sc[s] == 0);
                if :: f_ok -> so[s] = 0; sg[s] = 0 :: else fi
            };                                                               /* slab.take.taken */
            i_x = 0;
#ifdef M_TAKE_NO_BIT
            if :: f_ok -> f_ok = 0; open(h) :: else fi;
#endif
            if
            :: f_ok
            :: else -> skip                  /* somebody else was faster; what was opened is closed as another operation */
            fi
        fi
    fi;
    want = 0
}

/* slots/keep.rs: evict(s): whatever is in s ends, unless somebody else holds it; nobody's bit is set */
inline evict(s) {
    d_step { i_s = so[s]; i_q = sg[s]; i_b = sc[s] };
    if
    :: i_s != 0 && i_b == 0 ->
#ifndef M_EVICT_NO_MARK
        mark_group(me, i_s - 1);
#endif
        d_step {
            f_ok = (so[s] == i_s && sg[s] == i_q && sc[s] == i_b);
            if :: f_ok -> so[s] = 0; sg[s] = 0 :: else fi
        };                                                                   /* slab.evict.taken */
        if
        :: f_ok -> 
            d_step { f_ok = 0; h = i_s - 1; i_s = 0; i_q = 0; i_b = 0 };
#ifndef M_EVICT_NO_FINISH
            f_has = (bits[h] != 0);
#ifdef RENEW
            renew(h, me)
#else
            DECIDE(h, me)
#endif
#endif
        :: else
        fi
    :: else
    fi;
    d_step { f_ok = 0; i_s = 0; i_q = 0; i_b = 0 }
}

#ifdef RENEW
/* close.rs: renew_if_unheld, of a handle that was let out of a slot; then create from the cache, or drain */
inline renew(h, l) {
    if
    :: f_has -> f_has = 0
    :: else ->
        d_step { f_st = st[h]; f_g = gen[h]; f_t = tag[h]; f_s = sh[h] };
        if
        :: f_st == FREE || f_st == RETIRED
        :: else ->
            d_step {
                f_ok = (st[h] == f_st && gen[h] == f_g && tag[h] == f_t && sh[h] == f_s);
                if :: f_ok -> tag[h] = l + 1 :: else fi
            };                                                               /* slab.finish.tagged */
            if
            :: !f_ok
            :: else ->
                nobody(h);
                if
                :: !f_ok
                :: else ->
#ifndef M_RENEW_WORD_FIRST
                    bits[h] = bits[h] | (1 << l);                            /* slab.renew.bit_set */
#endif
                    d_step {                                                 /* word.renew_reserved */
                        f_ok = (st[h] == LIVE && f_st == LIVE && gen[h] == f_g && sh[h] == f_s && MY_TAG(h, l) && f_g != LAST);
                        if
                        :: f_ok ->
                            assert(!SOMEBODY_HOLDS(h, f_g));
                            assert(!SOME_SLOT(h, f_g));
                            tag[h] = 0; sh[h] = 0; st[h] = INIT; gen[h] = f_g + 1
                        :: else
                        fi
                    };                                                       /* slab.renew.renewed */
#ifdef M_RENEW_WORD_FIRST
                    bits[h] = bits[h] | (1 << l);
#endif
                    if
                    :: f_ok ->
                        d_step { assert(hby[h] == 0); hslot[h] = 0; hturn[h] = 0 };      /* home.reset */
                        if
                        :: true ->
                            d_step { assert(st[h] == INIT && gen[h] == f_g + 1 && ((bits[h] >> l) & 1) == 1);
                                     st[h] = LIVE; tag[h] = 0; sh[h] = 0;
                                     held[AT(p, h)] = 1; lgen[AT(p, h)] = f_g + 1; token[h] = f_g + 2 }
                        :: true -> clear(h, l); finish(h, l)
                        fi
                    :: else ->
                        clear(h, l);                                         /* slab.renew.bit_cleared */
#ifdef M_RENEW_NO_FINISH
                        f_has = 0
#else
                        finish(h, l)
#endif
                    fi
                fi
            fi
        fi
    fi;
    d_step { f_st = 0; f_g = 0; f_t = 0; f_s = 0; f_ok = 0 }
}
#endif

#ifdef CONT
#define MAY_TOUCH(s) (!IS_BOX_SLOT(s) || held[AT(p, BOX)])
#define FITS(h, s) (h == 0 || !IS_BOX_SLOT(s))           /* levels: what a slot holds is of a lower one */
#else
#define MAY_TOUCH(s) true
#define FITS(h, s) true
#endif
#ifdef PIPE
#define KNOWN(h) 0
#else
#define KNOWN(h) token[h]
#endif

proctype Process(byte p) {
    byte lives, ops, me = NOBODY, want, j, h, s;
    byte f_st, f_g, f_t, f_x, r_g, r_h, r_x, r_b, r_q, i_b, i_s, i_q;
    bit f_s, f_ok, f_has, i_x;
#ifdef CONT
    byte c_s, c_g, c_h, c_t, c_c;
#endif
join:
    {
        if
        :: d_step { writer[0] == 0 && readers[0] == 0 -> writer[0] = p + 1; me = 0 }
        :: d_step { !(writer[0] == 0 && readers[0] == 0) && writer[1] == 0 && readers[1] == 0 -> writer[1] = p + 1; me = 1 }
#if NP > 2
        :: d_step { !(writer[0] == 0 && readers[0] == 0) && !(writer[1] == 0 && readers[1] == 0) &&
                    writer[2] == 0 && readers[2] == 0 -> writer[2] = p + 1; me = 2 }
#endif
        fi;
        if :: dirty[me] -> recover(me, me) :: else fi;
#ifndef M_NO_FORGET
        knows[p] = 0;           /* what was marked while it recovered its own lease (children of a container) went with the map */
#endif
        dirty[me] = 1;                                                       /* segment.join.live */
        do
        :: ops < (p == 0 -> OPS : OPSB) ->
            ops++;
#if NH > 1
            if :: h = 0 :: h = 1 fi;
#endif
            if :: s = 1
#if NS > 1
               :: s = 2
#endif
#if NS > 2
               :: s = 3
#endif
            fi;
            if
            :: !held[AT(p, h)] && st[h] == FREE ->
                /* create: claim, then publish */
                d_step { f_st = st[h]; f_g = gen[h] };
                if
                :: f_st == FREE ->
                    mark_group(me, h);
                    bits[h] = bits[h] | (1 << me);                           /* slab.claim.bit_set */
                    d_step {
                        f_ok = (st[h] == FREE && gen[h] == f_g);
                        if :: f_ok -> assert(hby[h] == 0); st[h] = INIT; tag[h] = 0; sh[h] = 0 :: else fi
                    };
                    if
                    :: !f_ok -> d_step { f_st = 0; f_g = 0 }; clear(h, me); DECIDE(h, me)
                    :: else ->
                        d_step { hslot[h] = 0; hby[h] = 0; hturn[h] = 0 };   /* home of a new generation */
                        d_step { assert(st[h] == INIT && gen[h] == f_g); st[h] = LIVE; tag[h] = 0; sh[h] = 0;
                                 held[AT(p, h)] = 1; lgen[AT(p, h)] = f_g; token[h] = f_g + 1 }
                    fi
                :: else
                fi;
                d_step { f_st = 0; f_g = 0; f_ok = 0 }
            :: !held[AT(p, h)] && KNOWN(h) != 0 ->
                d_step { want = token[h] - 1; f_ok = (st[h] == LIVE && gen[h] == token[h] - 1) };
                if :: f_ok -> f_ok = 0; open(h) :: else fi;
                d_step { f_ok = 0; want = 0 }
            :: held[AT(p, h)] && claims[p] == 0 ->
                /* close, private */
                d_step {
                    assert(st[h] == LIVE && gen[h] == lgen[AT(p, h)]);
                    f_ok = (tag[h] == 0 && !sh[h]);
                    if
                    :: f_ok ->
                        held[AT(p, h)] = 0; lgen[AT(p, h)] = 0;
                        assert(!SOMEBODY_HOLDS(h, gen[h]));
                        assert(!SOME_SLOT(h, gen[h]));
#ifdef CONT
                        if :: h == BOX -> assert(so[NR + 1] == 0 && so[NS] == 0) :: else fi;
#endif
                        if :: gen[h] == LAST -> st[h] = RETIRED :: else -> st[h] = INIT; gen[h]++ fi
                    :: else
                    fi
                };
                if
                :: f_ok -> f_ok = 0; clear(h, me); DECIDE(h, me)
                :: else -> leave_handle(h)
                fi
#ifndef QUEUE
            :: held[AT(p, h)] && MAY_TOUCH(s) && FITS(h, s) && claims[p] == 0 ->
                /* put: the slot holds it, too; and then, or not, the process no longer */
#ifdef CONT
                if
                :: IS_BOX_SLOT(s) && !sh[BOX] ->
                    /* a container that holds something is not closed privately */
                    d_step { tag[BOX] = 0; sh[BOX] = 1 }
                :: else
                fi;
#endif
                put(h, s);
#ifdef PIPE
                if :: f_ok -> f_ok = 0; 
#ifdef M_PUT_NO_FINISH
                    d_step { held[AT(p, h)] = 0; lgen[AT(p, h)] = 0 }; bits[h] = bits[h] & ~(1 << me)
#else
                    leave_handle(h)
#endif
                   :: else fi
#else
                if
                :: f_ok -> f_ok = 0; 
#ifdef M_PUT_BIT_FIRST
                    d_step { held[AT(p, h)] = 0; lgen[AT(p, h)] = 0; f_has = (bits[h] != 0) }; DECIDE(h, me)
#else
#ifdef M_PUT_NO_FINISH
                    d_step { held[AT(p, h)] = 0; lgen[AT(p, h)] = 0 }; bits[h] = bits[h] & ~(1 << me)
#else
                    leave_handle(h)
#endif
#endif
#ifndef M_PUT_BIT_FIRST
                :: f_ok = 0
#endif
                :: !f_ok -> skip
                fi
#endif
            :: so[s] == h + 1 && MAY_TOUCH(s) && claims[p] == 0 ->
                take(s, h);
                f_ok = 0
#endif
#ifndef PIPE
            :: so[s] == h + 1 && MAY_TOUCH(s) && claims[p] == 0 ->
                evict(s)
#endif
#ifdef CLAIMS
            :: so[s] == h + 1 && sc[s] == 0 && claims[p] == 0 && MAY_TOUCH(s) ->
                /* claim: a bit first, then the word, then the slot */
                d_step { want = sg[s]; f_ok = (so[s] == h + 1 && sc[s] == 0) };
                if
                :: !f_ok
                :: else ->
#ifndef M_CLAIM_NO_BIT
                    if
                    :: held[AT(p, h)] -> f_ok = (lgen[AT(p, h)] == want)
                    :: else -> f_ok = 0; open(h)
                    fi;
#endif
                    if
                    :: !f_ok
                    :: else ->
                        help(s, h);
                        d_step {
                            f_ok = (i_x != 0 && NAMES(s, h, want) && sc[s] == 0);
                            if
                            :: f_ok ->
                                assert(claims[0] != s && claims[1] != s);
                                sc[s] = me + 1; claims[p] = s
                            :: else
                            fi
                        };                                                   /* slab.claim_slot.claimed */
                        i_x = 0;
#ifdef M_CLAIM_NO_BIT
                        if :: f_ok -> f_ok = 0; open(h) :: else fi
#endif
                    fi
                fi;
                d_step { f_ok = 0; want = 0 }
            :: claims[p] != 0 ->
                /* ack */
                d_step { s = claims[p]; h = so[claims[p]] - 1; assert(so[s] != 0 && sc[s] == me + 1) };
                assert(held[AT(p, h)] && lgen[AT(p, h)] == sg[s] && st[h] == LIVE && gen[h] == sg[s]);
#ifdef M_ACK_BIT_FIRST
                d_step { held[AT(p, h)] = 0; lgen[AT(p, h)] = 0 }; clear(h, me);
                d_step { claims[p] = 0; so[s] = 0; sg[s] = 0; sc[s] = 0 };
                if :: DECIDE(h, me) fi
#else
                d_step { acks++; claims[p] = 0; so[s] = 0; sg[s] = 0; sc[s] = 0 };   /* slab.ack.emptied */
                leave_handle(h)
#endif
            :: claims[p] != 0 ->
                /* give back */
                d_step { s = claims[p]; h = so[claims[p]] - 1; assert(so[s] != 0 && sc[s] == me + 1) };
                d_step { claims[p] = 0; sc[s] = 0 };
                leave_handle(h)
#endif
            ::
                j = 0;
                do :: j < NL - 1 -> j++ :: break od;
                if
                :: j != me && dirty[j] ->
                    d_step { f_ok = (writer[j] == 0); if :: f_ok -> READ_LOCK(j) :: else fi };
                    if
                    :: f_ok && dirty[j] -> f_ok = 0; recover(j, me); dirty[j] = 0
                    :: else
                    fi;
                    d_step { f_ok = 0; readers[j] = readers[j] & ~(1 << p) }
                :: else
                fi;
                j = 0
            fi;
            d_step { h = 0; s = 0 }
        :: break
        od;
#ifdef LEAVE
        /* leave */
        atomic { j = 0; do :: j < NH -> held[AT(p, j)] = 0; lgen[AT(p, j)] = 0; j++ :: else -> j = 0; break od;
                 knows[p] = 0; claims[p] = 0 };
        recover(me, me);
        knows[p] = 0;
        dirty[me] = 0;
        writer[me] = 0
#else
        /* its life ends; what it holds is for others to recover. Or it holds nothing, stays, and does nothing more. */
        if
#ifdef STAY
        :: !held[AT(p, 0)] && !held[AT(p, NH - 1)] && claims[p] == 0 -> skip
#endif
        :: atomic { true; j = 0; do :: j < NH -> held[AT(p, j)] = 0; lgen[AT(p, j)] = 0; j++ :: else -> j = 0; break od;
                 knows[p] = 0; claims[p] = 0; writer[me] = 0; me = NOBODY; f_ok = 0 }
        fi
#endif
    } unless {
        atomic {
            order[p] != 0;
            if
            :: order[p] == 2 -> order[p] = 0; stopped++; ended++; goto end_stopped
            :: else
            fi;
            order[p] = 0;
            j = 0; do :: j < NH -> held[AT(p, j)] = 0; lgen[AT(p, j)] = 0; j++ :: else -> j = 0; break od;
            knows[p] = 0; claims[p] = 0;
            ops = 0; me = NOBODY; want = 0; h = 0; s = 0;
            f_st = 0; f_g = 0; f_t = 0; f_x = 0; f_s = 0; f_ok = 0; f_has = 0; r_g = 0; r_h = 0; r_x = 0; r_b = 0; r_q = 0; i_b = 0; i_s = 0; i_q = 0; i_x = 0;
#ifdef CONT
            c_s = 0; c_g = 0; c_h = 0; c_t = 0; c_c = 0;
#endif
            do
            :: j < NL ->
                if :: writer[j] == p + 1 -> writer[j] = 0 :: else fi;
                readers[j] = readers[j] & ~(1 << p);
                j++
            :: else -> j = 0; break
            od;
            lives++;
            if :: lives < INC -> goto join :: else fi
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
        if :: order[0] = 1 :: order[1] = 1
#if NP > 2
           :: order[2] = 1
#endif
        fi }
    :: atomic { stops > 0 -> stops--;
        if :: order[0] = 2 :: order[1] = 2
#if NP > 2
           :: order[2] = 2
#endif
        fi }
    :: break
    od
}

/* When everybody is done: recover what nobody owns, look; then empty the roots, and look again. */
proctype Check() {
    byte p = NP, j, h;
    byte f_st, f_g, f_t, f_x, r_g, r_h, r_x, r_b, r_q;
    bit f_s, f_ok, f_has;
#ifdef CONT
    byte c_s, c_g, c_h, c_t, c_c;
#endif
    atomic {
    ended == NP;
    do
    :: j < NL ->
        if :: dirty[j] && writer[j] == 0 && readers[j] == 0 -> recover(j, NL); dirty[j] = 0 :: else fi;
        j++
    :: else -> j = 0; break
    od;
#ifdef QUEUE
    assert(acks == 1 || (acks == 0 && NAMES(1, 0, 0) && (sc[1] == 0 || stopped > 0)));
#endif
    /* whatever a slot names is that, and lives */
    j = 1;
    do
    :: j <= NS ->
        if :: so[j] != 0 -> h = so[j] - 1; assert(st[h] == LIVE && gen[h] == sg[j]); h = 0 :: else fi;
        if :: so[j] != 0 && stopped == 0 -> assert(sc[j] == 0) :: else fi;
        j++
    :: else -> j = 0; break
    od;
    if
    :: stopped == 0 ->
        do
        :: h < NH ->
            assert(bits[h] == 0 && hby[h] == 0);
            assert(st[h] == FREE || st[h] == RETIRED || (st[h] == LIVE && SOME_SLOT(h, gen[h])));
            h++
        :: else -> h = 0; break
        od;
        /* the roots go */
        j = 1;
        do
        :: j <= NR ->
            if :: so[j] != 0 -> h = so[j] - 1; so[j] = 0; sg[j] = 0; f_has = (bits[h] != 0); DECIDE(h, NL); h = 0 :: else fi;
            j++
        :: else -> j = 0; break
        od;
        do
        :: h < NH -> assert(bits[h] == 0); assert(st[h] == FREE || st[h] == RETIRED); h++
        :: else -> h = 0; break
        od;
        j = 1;
        do :: j <= NS -> assert(so[j] == 0); j++ :: else -> break od
    :: else
    fi
    }
}

init {
    atomic {
#ifdef READY                /* start with everything made: a job in the first slot, or in the container in the first root */
        st[0] = LIVE; sh[0] = 1; token[0] = 1;
#ifdef CONT
        st[BOX] = LIVE; sh[BOX] = 1; token[BOX] = 1;
        so[1] = BOX + 1; hslot[BOX] = 1; so[NR + 1] = 1; hslot[0] = NR + 1;
#else
        so[1] = 1; hslot[0] = 1;
#endif
#endif
        run Process(0); run Process(1);
#if NP > 2
        run Process(2);
#endif
        run Fate(); run Check()
    }
}
