/* A value in two copies with a version, as wait/src/versioned.rs implements it: writers one at a time, readers at any time.
 *
 * Each shared access is one step. A writer is killed between any two steps: its lock is free again, as recovery abandons it. A
 * writer or reader that stops for good is one that takes no more steps; spin explores those as well.
 */
#ifndef WRITERS
#define WRITERS 2
#endif
#ifndef READERS
#define READERS 1
#endif
#ifndef WRITES
#define WRITES 2        /* of each writer */
#endif
#ifndef READS
#define READS 1         /* of each reader */
#endif
#ifndef TRIES
#define TRIES 3         /* rounds of one read; more are the same again */
#endif
#ifndef KILLS
#define KILLS 1
#endif
#define WORDS 2

byte version;           /* the number of writes that are done */
byte copies[4];         /* two copies of WORDS words: copy c has the words c * WORDS and c * WORDS + 1 */
bool locked;
byte killed;

#define COPY(v) ((v) & 1)
#ifdef M_SAME_COPY
#define NEXT_COPY(v) COPY(v)
#else
#define NEXT_COPY(v) COPY(v + 1)
#endif

/* Killed here: recovery frees the lock, and nothing else is to be repaired. */
inline maybe_killed() {
    if
    :: killed < KILLS -> atomic { killed++; locked = false }; goto over
    :: true
    fi
}

/* The value of write n by a writer: the same in all words. */
#define VALUE(writer, n) (writer << 4 | (n))
#define WRITE(value) (value & 15)

proctype Writer(byte me) {
    byte n, v, i;
    do
    :: n == WRITES -> break
    :: else ->
#ifdef M_NO_LOCK
        skip;
#else
        atomic { !locked -> locked = true };
#endif
        maybe_killed();
        v = version;
#ifdef M_VERSION_FIRST
        version = v + 1;
        maybe_killed();
#endif
        for (i : 0 .. WORDS - 1) {
            copies[NEXT_COPY(v) * WORDS + i] = VALUE(me, v + 1);
            maybe_killed()
        }
#ifndef M_VERSION_FIRST
        version = v + 1;
        maybe_killed();
#endif
        locked = false;
        n++
    od;
over:
}

proctype Reader() {
    byte n, tries, v, first, second, last;
    do
    :: n == READS -> break
    :: else ->
        tries = 0;
        do
        :: tries == TRIES -> break
        :: else ->
            tries++;
            v = version;
            first = copies[COPY(v) * WORDS];
            second = copies[COPY(v) * WORDS + 1];
            if
#ifdef M_NO_SECOND_LOOK
            :: true ->
#else
            :: version == v ->
#endif
                assert(first == second && WRITE(first) == v);   /* whole, and that of the version */
                assert(v >= last);                   /* never older than one seen before */
                last = v;
                break
#ifndef M_NO_SECOND_LOOK
            :: else
#endif
            fi
        od;
        n++
    od
}

init {
    byte i;
    atomic {
        for (i : 1 .. WRITERS) { run Writer(i) }
        for (i : 1 .. READERS) { run Reader() }
    }
}
