//! The daemon without its socket: a slot of shared memory per client, and futexes for idle sides.
//!
//! Both sides spin for a while before they sleep, which is the best case for the daemon and costs a processor.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::book::CLIENTS;
use crate::shared::{futex_wait, futex_wake};

use super::wire::{Reply, Request, Verb};

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const ANSWERED: u32 = 2;
/// The number of spins before sleeping: some tens of microseconds.
const LOOKS: u32 = 2_000;
/// The longest sleep, in case a wake-up was lost with a process.
const NAP: Duration = Duration::from_millis(50);

/// One client's slot, alone in its lines.
#[repr(C, align(128))]
struct Slot {
    state: AtomicU32,
    sleeping: AtomicU32,
    words: [AtomicU64; 4],
}

/// All slots, and the word that the daemon sleeps on.
#[repr(C)]
pub(super) struct Rings {
    wakeups: AtomicU32,
    sleeping: AtomicU32,
    slots: [Slot; CLIENTS],
}

impl Rings {
    /// Asks the daemon and waits for the answer.
    pub(super) fn ask(&self, client: usize, request: Request) -> Reply {
        let slot = &self.slots[client];
        slot.words[0].store(request.verb as u64, Ordering::Relaxed);
        slot.words[1].store(request.argument, Ordering::Relaxed);
        // SeqCst: publishes the request to `serve`, and is ordered before the look at `sleeping` below, which pairs with
        // the daemon's look at the slots after it has said that it sleeps.
        slot.state.store(ASKED, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) != 0 {
            self.wakeups.fetch_add(1, Ordering::SeqCst);
            futex_wake(&self.wakeups, 1);
        }
        let mut looks = 0;
        // Acquire: pairs with the daemon's store of ANSWERED, which publishes the answer.
        while slot.state.load(Ordering::Acquire) != ANSWERED {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
                continue;
            }
            // SeqCst: as above, with the roles exchanged.
            slot.sleeping.store(1, Ordering::SeqCst);
            if slot.state.load(Ordering::SeqCst) == ASKED {
                futex_wait(&slot.state, ASKED, NAP);
            }
            slot.sleeping.store(0, Ordering::SeqCst);
        }
        let [failed, value, more] = [1, 2, 3].map(|word| slot.words[word].load(Ordering::Relaxed));
        // Relaxed: nobody else looks at an idle slot.
        slot.state.store(IDLE, Ordering::Relaxed);
        Reply { failed: failed != 0, value, more }
    }

    /// Answers all requests, for ever.
    pub(super) fn serve(&self, answer: impl Fn(usize, Request) -> Reply) -> ! {
        let mut looks = 0;
        loop {
            // SeqCst: read before the slots are looked at, so that a later request changes it.
            let wakeups = self.wakeups.load(Ordering::SeqCst);
            let mut busy = false;
            for (client, slot) in self.slots.iter().enumerate() {
                busy |= slot.serve(|request| answer(client, request));
            }
            looks = if busy { 0 } else { looks + CLIENTS as u32 };
            if looks >= LOOKS {
                // SeqCst: ordered before another look at the slots; pairs with `ask`.
                self.sleeping.store(1, Ordering::SeqCst);
                if self.slots.iter().all(|slot| slot.state.load(Ordering::SeqCst) != ASKED) {
                    futex_wait(&self.wakeups, wakeups, NAP);
                }
                self.sleeping.store(0, Ordering::SeqCst);
                looks = 0;
            }
        }
    }
}

impl Slot {
    fn serve(&self, answer: impl FnOnce(Request) -> Reply) -> bool {
        // Acquire: pairs with the client's store of ASKED, which publishes the request.
        if self.state.load(Ordering::Acquire) != ASKED {
            return false;
        }
        let [number, argument] = [0, 1].map(|word| self.words[word].load(Ordering::Relaxed));
        let reply = match Verb::of(number) {
            Some(verb) => answer(Request { verb, argument }),
            None => Reply { failed: true, value: 0, more: 0 },
        };
        self.words[1].store(reply.failed.into(), Ordering::Relaxed);
        self.words[2].store(reply.value, Ordering::Relaxed);
        self.words[3].store(reply.more, Ordering::Relaxed);
        // SeqCst: publishes the answer, and is ordered before the look at `sleeping`; pairs with `ask`.
        self.state.store(ANSWERED, Ordering::SeqCst);
        if self.sleeping.load(Ordering::SeqCst) != 0 {
            futex_wake(&self.state, 1);
        }
        true
    }
}
