/* Owned permits as wait/src/permits.rs and tenure/src/waiting/permits.rs implement them: a word for each permit, { version, owner }, and the word
 * of a sequence (condvar.pml) on which those sleep who find no permit free. A permit is taken, given back and recovered by one
 * compare-and-swap of its own word; there is no count.
 *
 * Each shared access is one step; private computation belongs to the access before it. A process is killed or stopped for good between any
 * two steps, its reaper with it. Process p takes lease p in each of its lives.
 */
#ifndef NP
#define NP 2            /* processes, and leases */
#endif
#ifndef PERMITS
#define PERMITS 1
#endif
#ifndef INC
#define INC 1           /* lives of a process */
#endif
#ifndef OPS
#define OPS 1           /* operations of a process in one life */
#endif
#ifndef USERS
#define USERS NP        /* the others only recover */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef STOPS
#define STOPS 1
#endif
#ifndef HURRIES
#define HURRIES 1       /* waits that may time out */
#endif

#define FREE 0
#define OWNED (p + 1)
/* of each permit: its owner, and how often it was taken; the word of the sequence, bit 0 waiters; its sleepers */
byte owner[PERMITS], version[PERMITS];
byte word;
byte ws;
/* per lease: LIVE, and with it the holder bit; the kernel's locks: the owner's, and a set of readers */
bit dirty[NP], alive[NP];
byte readers[NP];

/* state of the model only */
byte has[PERMITS];      /* the processes that have the permit */
byte used_up;              /* the processes in whose attempt there was a moment at which no permit was free */
byte telling;           /* the processes that have given back a permit and have not looked at the word yet */
byte life[NP];
bit still[NP], joining[NP]; /* stopped for good; recovering the slot that it has taken */
byte kills = KILLS, stops = STOPS, hurries = HURRIES;

/* sequence.rs: wake: one step of the kernel [A9] */
inline wake() {
    v = word;                                                                 /* load */
#ifdef M_WAKE_ONE
    if
    :: d_step { v & 1 -> word++; if :: ws & 1 -> ws = ws & ~1 :: !(ws & 1) && (ws & 2) -> ws = ws & ~2 :: else -> ws = 0 fi }
    :: d_step { !(v & 1) -> skip }
    fi;
#else
    if
    :: d_step { v & 1 -> word++; ws = 0 }
    :: d_step { !(v & 1) -> skip }
    fi;
#endif
    d_step { telling = telling & ~(1 << p); v = 0 }
}

#if PERMITS > 1
#define ALL_OWNED (owner[0] != FREE && owner[1] != FREE)
#else
#define ALL_OWNED (owner[0] != FREE)
#endif

#ifdef M_NO_VERSION
#define NEXT skip
#else
#define NEXT version[k] = v + 1
#endif

/* permits.rs: look: at every permit, once. `got`: it has taken permit k; else the versions of all, added, are in `sum` */
inline look() {
    d_step { sum = 0; k = 0 };
    do
    :: k < PERMITS ->
        d_step { o = owner[k]; v = version[k] };                              /* load */
        if
#ifdef M_TAKE_BY_STORE
        :: d_step { o == FREE ->
            owner[k] = OWNED; NEXT; assert(!has[k]); has[k] = 1 << p; got = 1; if :: ALL_OWNED -> used_up = 255 :: else fi };
            break
#else
        :: atomic { o == FREE && owner[k] == FREE && version[k] == v ->       /* compare_exchange */
            owner[k] = OWNED; NEXT; assert(!has[k]); has[k] = 1 << p; got = 1; if :: ALL_OWNED -> used_up = 255 :: else fi;
            break }
        :: d_step { o == FREE && !(owner[k] == FREE && version[k] == v) -> skip }   /* again */
#endif
        :: d_step { o != FREE -> sum = sum + v; k++ }
        fi
    :: k == PERMITS -> k = 0; break
    od;
    atomic { o = 0; v = 0 }
}

/* permits.rs: try_take: if it fails, no permit was free at one moment: two looks, one after the other, found each of them owned, and none
 * was taken in between, since the sum is the same. */
inline try_take() {
    d_step { if :: ALL_OWNED -> used_up = used_up | (1 << p) :: else -> used_up = used_up & ~(1 << p) fi };
    look();
#ifndef M_ONE_LOOK
    do
    :: got -> break
    :: !got -> before = sum; look();
        if
        :: !got && sum == before -> break
        :: else
        fi
    od;
#endif
    atomic { assert(got || (used_up & (1 << p))); sum = 0; before = 0 }
}

/* permits.rs: acquire */
inline acquire() {
    do
    :: try_take();
        if
        :: got || last -> break
        :: else
        fi;
        atomic { word = word | 1; seen = word };                              /* fetch_or */
#ifndef M_NO_SECOND_LOOK
        look(); sum = 0;
#endif
        if
        :: got -> break
        :: else
        fi;
        if
        :: d_step { word == seen -> ws = ws | (1 << p) };
end_asleep:
            if
            :: d_step { !(ws & (1 << p)) -> skip }
            :: d_step { hurry && (ws & (1 << p)) -> ws = ws & ~(1 << p); last = 1 }
            fi
        :: d_step { word != seen -> skip }
        fi;
        seen = 0
    od;
    atomic { last = 0; seen = 0 }
}

/* permits.rs: give_back */
inline give_back() {
    atomic { assert(owner[k] == OWNED && has[k] == 1 << p); owner[k] = FREE; has[k] = 0; telling = telling | (1 << p); k = 0; got = 0 };
    wake()
}

/* permits.rs: recover; recover.rs: recover */
inline recover(j) {
    if
    :: dirty[j] ->
#ifdef M_LEASE_BEFORE_WORDS
        dirty[j] = 0;
#endif
#ifdef M_WOKEN_IF_FREED
        freed = 0;
#endif
#ifndef M_NOT_GIVEN_BACK
        s_k = 0;
        do
        :: s_k < PERMITS ->
            d_step { s_o = owner[s_k]; s_v = version[s_k] };                  /* load */
#ifdef M_RECOVER_BY_STORE
            if
            :: atomic { s_o == j + 1 -> owner[s_k] = FREE }
            :: d_step { s_o != j + 1 -> skip }
            fi;
#else
            atomic {
                if
                :: s_o == j + 1 && owner[s_k] == s_o && version[s_k] == s_v -> owner[s_k] = FREE;   /* compare_exchange */
#ifdef M_WOKEN_IF_FREED
                    freed = 1
#endif
                :: else
                fi
            };
#endif
            s_k++
        :: s_k == PERMITS -> s_k = 0; break
        od;
#endif
#ifndef M_NOBODY_WOKEN
        s_v = word;
        if
#ifdef M_WOKEN_IF_FREED
        :: d_step { (s_v & 1) && freed -> word++; ws = 0 }
        :: d_step { !((s_v & 1) && freed) -> skip }
#else
        :: d_step { s_v & 1 -> word++; ws = 0 }
        :: d_step { !(s_v & 1) -> skip }
#endif
        fi;
#endif
        atomic { s_v = 0; s_o = 0 };
        dirty[j] = 0
    :: else
    fi
}

proctype Main(byte p) {
    byte born, lives, ops, v, o, k, sum, before, seen, s_v, s_o, s_k;
    bit got, hurry, last;
#ifdef M_WOKEN_IF_FREED
    bit freed;
#endif
end_join:
#ifdef M_REUSE_WITHOUT_LOCK
    atomic { !alive[p] -> alive[p] = 1; born = life[p]; joining[p] = 1 };
#else
    atomic { !alive[p] && readers[p] == 0 -> alive[p] = 1; born = life[p]; joining[p] = 1 };
#endif
    {
        recover(p); atomic { dirty[p] = 1; joining[p] = 0 };
        do
        :: p < USERS && ops < OPS ->
            ops++;
            if
            :: atomic { hurries > 0 -> hurries--; hurry = 1 }; acquire()
            :: acquire()
            :: try_take()
            fi;
            hurry = 0;
            if
            :: got -> give_back()
            :: else
            fi
        :: p >= USERS || ops == OPS -> break
        od;
end_done:
        false
    } unless {
        atomic {
            life[p] != born || still[p];
            if :: still[p] -> goto end_still :: else fi;
            lives++; ops = 0; v = 0; o = 0; k = 0; sum = 0; before = 0; seen = 0; s_v = 0; s_o = 0; s_k = 0; got = 0; hurry = 0; last = 0;
            if :: lives < INC -> goto end_join :: else fi
        }
    };
    goto end_over;
end_still:
    false;
end_over:
    skip
}

/* member.rs: recover: every member has a reaper */
#define IS_DEAD(j) (j != p && !alive[j] && dirty[j])
proctype Reaper(byte p) {
    byte born, j, s_v, s_o, s_k;
#ifdef M_WOKEN_IF_FREED
    bit freed;
#endif
end_top:
    atomic { alive[p] && dirty[p] && !still[p] -> born = life[p] };
    {
end_idle:
        do
        ::
            d_step {
                if
                :: IS_DEAD(0) -> j = 0
                :: IS_DEAD(1) -> j = 1
#if NP > 2
                :: IS_DEAD(2) -> j = 2
#endif
                fi;
#ifndef M_REUSE_WITHOUT_LOCK
                readers[j] = readers[j] | (1 << p)
#endif
            };
            recover(j);
            d_step { readers[j] = readers[j] & ~(1 << p); j = 0 }
        od
    } unless { atomic { life[p] != born || still[p]; j = 0; s_v = 0; s_o = 0; s_k = 0 } };
    goto end_top
}

/* the kernel kills and stops */
inline kill(p) {
    atomic {
        kills > 0 && alive[p] && !still[p] ->
        kills--; life[p]++; alive[p] = 0;
        ws = ws & ~(1 << p); telling = telling & ~(1 << p);
        k = 0;
        do
        :: k < NP -> readers[k] = readers[k] & ~(1 << p); k++
        :: else -> k = 0; break
        od;
        do
        :: k < PERMITS -> has[k] = has[k] & ~(1 << p); k++
        :: else -> k = 0; break
        od
    }
}
inline stop(p) { atomic { stops > 0 && alive[p] && !still[p] -> stops--; still[p] = 1 } }
proctype Kernel() {
    byte k;
end_idle:
    do
    :: kill(0)
    :: kill(1)
    :: stop(0)
    :: stop(1)
#if NP > 2
    :: kill(2)
    :: stop(2)
#endif
    :: atomic { kills + stops > 0 -> kills = 0; stops = 0 }
    od
}

/* Checked when no process can make a step. */
#define RUNS(p) (alive[p] && dirty[p] && !still[p])
/* stopped before it woke; having taken the slot of the dead, before it has recovered it */
#define EXCUSED(l) (still[l] && ((telling & (1 << l)) || joining[l]))
#define ANY_EXCUSED (EXCUSED(0) || EXCUSED(1) || (NP > 2 && EXCUSED(NP - 1)))
#define JUST(p) assert(!(RUNS(p) && (ws & (1 << p))) || ALL_OWNED || ANY_EXCUSED)
proctype Check() {
    byte k;
end_check:
    timeout;
    /* whoever sleeps is woken by the next one that gives back */
    assert(!ws || (word & 1));
    JUST(0); JUST(1);
#if NP > 2
    JUST(2);
#endif
    /* no permit is lost: its owner is stopped, or nobody runs who recovers it */
    do
    :: k < PERMITS ->
        assert(owner[k] == FREE || still[owner[k] - 1] || joining[0] || joining[1] || (NP > 2 && joining[NP - 1])
            || !(RUNS(0) || RUNS(1) || (NP > 2 && RUNS(NP - 1))));
        k++
    :: else -> break
    od
}

init {
    atomic {
#if NP > 2
        run Main(2); run Reaper(2);
#endif
#ifdef DEAD_START               /* process 0 was killed before the start, with the permit */
        owner[0] = 1; version[0] = 1; dirty[0] = 1;
#else
        run Main(0); run Reaper(0);
#endif
        run Main(1); run Reaper(1);
        run Kernel(); run Check()
    }
}
