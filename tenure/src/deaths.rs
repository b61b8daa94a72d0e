//! What a member is told of: deaths that it has recovered from, and, with the feature `tracing`, what happens to it.
//!
//! Recovery runs under the gate of the member, on threads with small stacks and a descriptor table of their own. Code of the program does not
//! fit there: it is called on a thread that the join starts for it, with the descriptors of the program and without any lock.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use tenure_core::LeaseId;

use crate::events::{Exhaustions, Listener};

/// A member that died, and what another member took back; see [`Options::on_death`](crate::Options::on_death).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Death {
    /// The lease of the dead member: slot and incarnation.
    pub lease: LeaseId,
    /// The number of its process, in its own pid namespace.
    pub pid: u32,
    /// Handles that ended, since nobody else held them. Those that it had claimed in advance count as well.
    pub handles: u64,
    /// Blocks that were freed: its own, and those of these handles.
    pub blocks: u64,
    /// Locks that it had: mutexes, read-write locks, locked and versioned values. The next owner of each is told, unless it was only read.
    pub locks: u64,
}

type Call = dyn Fn(&Death) + Send + Sync;

/// The callback of the program.
#[derive(Clone)]
pub(crate) struct OnDeath(Arc<Call>);

impl OnDeath {
    pub(crate) fn new(call: impl Fn(&Death) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl fmt::Debug for OnDeath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnDeath")
    }
}

/// What the thread is told.
enum News {
    Death(Death),
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "only events tell of it"))]
    Exhausted(&'static str),
}

/// Tells the thread. Any thread may tell it something at any time, also under a lock: that waits for no code of the program.
#[derive(Default)]
pub(crate) struct Teller {
    sender: Mutex<Option<Sender<News>>>,
    exhaustions: Exhaustions,
}

/// The other end, before the thread has it.
pub(crate) struct Ear {
    news: Receiver<News>,
    on_death: Option<OnDeath>,
    listener: Listener,
    exhaustions: Exhaustions,
}

impl Teller {
    /// Both ends; no other end if nobody wants to know.
    pub(crate) fn new(on_death: Option<OnDeath>) -> (Self, Option<Ear>) {
        if on_death.is_none() && !cfg!(feature = "tracing") {
            return (Self::default(), None);
        }
        let (sender, news) = mpsc::channel();
        let teller = Self { sender: Mutex::new(Some(sender)), exhaustions: Exhaustions::default() };
        let exhaustions = teller.exhaustions.clone();
        (teller, Some(Ear { news, on_death, listener: Listener::of_caller(), exhaustions }))
    }

    fn tell(&self, news: News) {
        if let Some(sender) = &*self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            // If the thread is gone, nobody wants to know.
            let _ = sender.send(news);
        }
    }

    pub(crate) fn tell_death(&self, death: Death) {
        self.tell(News::Death(death));
    }

    /// Tells that something is used up, unless the thread has not told of the last time yet.
    pub(crate) fn tell_exhausted(&self, what: &'static str) {
        if self.exhaustions.begin() {
            self.tell(News::Exhausted(what));
        }
    }

    /// Ends the thread, after what it was told before. Not in a forked child, where the thread does not exist and others may have the lock.
    pub(crate) fn close(&self) {
        drop(self.sender.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Ear {
    /// Starts the thread.
    pub(crate) fn listen(self) -> std::io::Result<()> {
        /// As much as a thread of the standard library has.
        const STACK_BYTES: usize = 2 << 20;
        tenure_segment::start_thread(c"tenure-deaths", STACK_BYTES, move || {
            for news in &self.news {
                match news {
                    News::Death(death) => {
                        guarded(|| self.listener.death(&death));
                        if let Some(OnDeath(call)) = &self.on_death {
                            guarded(|| call(&death));
                        }
                    }
                    News::Exhausted(what) => {
                        self.exhaustions.end();
                        guarded(|| self.listener.exhausted(what));
                    }
                }
            }
        })
    }
}

/// A panic has been reported by the program's hook, and the next one is told as well.
fn guarded(call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        // Its drop may panic, too.
        let drop_it = AssertUnwindSafe(|| drop::<Box<dyn Any + Send>>(payload));
        let _ = catch_unwind(drop_it).map_err(std::mem::forget);
    }
}
