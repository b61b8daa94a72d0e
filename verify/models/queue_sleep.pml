/* Those that wait for a queue, as tenure/src/collections/queue.rs puts them to sleep over wait/src/sequence.rs: a word { sequence | waiting }. The
 * slots are a count here; queue.pml has them. Those that push and sleep while it is full do the same with the other word.
 *
 * Each shared access is one step. As many are popped as are pushed, so whoever sleeps for ever was not woken: a state without a next step.
 * A pusher that dies between its push and its wake is woken for by its recovery, which is the same step; see recover.rs.
 */
#ifndef POPPERS
#define POPPERS 2
#endif
#ifndef PUSHERS
#define PUSHERS 1
#endif
#ifndef OPS
#define OPS 1           /* elements that each popper takes */
#endif

byte count;             /* elements in the queue */
byte pushed;
byte word;              /* bit 0, waiting; above it, the sequence */
byte asleep;            /* in the kernel, a bit for each popper */

#ifdef M_NO_SECOND_LOOK
#define LOOK false
#else
#define LOOK (count > 0)
#endif
#ifdef M_NO_SEQUENCE
#define ADD word = word & ~1
#else
#define ADD word++
#endif

/* sequence.rs: wake: the load; FUTEX_WAKE_OP, one step of the kernel [A9] */
inline wake() {
    seen = word;
#ifndef M_NEVER_WOKEN
    if
    :: d_step { seen & 1 -> ADD; asleep = 0 }
    :: d_step { !(seen & 1) -> skip }
    fi;
#endif
    seen = 0
}

active [PUSHERS] proctype Pusher() {
    byte seen;
    do
    :: d_step { pushed < POPPERS * OPS -> pushed++; count++ };
       wake()
    :: pushed == POPPERS * OPS -> break
    od
}

active [POPPERS] proctype Popper() {
    byte marked, taken;
    byte me = 1 << (_pid - PUSHERS);
    do
    :: taken == OPS -> break
    :: else ->
       if
       :: d_step { count > 0 -> count--; taken++ }
       :: d_step { count == 0 -> skip };
          d_step { word = word | 1; marked = word };                          /* mark */
          if
          :: d_step { LOOK -> count--; taken++ }
          :: d_step { !LOOK -> skip };
             if
             :: d_step { word == marked -> asleep = asleep | me };            /* sleep: the kernel compares */
                (asleep & me) == 0
             :: d_step { word != marked -> skip }
             fi
          fi;
          marked = 0
       fi
    od
}
