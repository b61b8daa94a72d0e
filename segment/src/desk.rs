//! The desk of a member: where its threads leave orders for its monitor, and where the monitor says what it lacks.
//!
//! A monitor has a descriptor table of its own, so it may reach the locks when the threads of the program cannot: they have no
//! descriptor left, or no right to open the file any more.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::thread::futex::{self, Flags};
use tenure_core::sync::lock;

/// What a member lacks to be told of the death of others, or to recover them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absence {
    /// The kernel is older than 5.16, or a sandbox denies `futex_waitv`.
    #[error("futex_waitv: {}", text(*errno))]
    FutexWaitv {
        /// The kernel's error.
        errno: i32,
    },
    /// The robust list could not be set up.
    #[error("no robust list: {}", text(*errno))]
    RobustList {
        /// The kernel's error.
        errno: i32,
    },
    /// No thread could be started.
    #[error("no thread: {}", text(*errno))]
    Thread {
        /// The error.
        errno: i32,
    },
    /// The kernel cannot be asked for the locks of the leases: the descriptor was closed by other code of this process and the file
    /// cannot be opened again, or the kernel or a sandbox refuses.
    #[error("the locks of the leases cannot be reached: {}", text(*errno))]
    Locks {
        /// The kernel's error.
        errno: i32,
    },
}

/// Zero stands for an error without a number.
fn text(errno: i32) -> String {
    match errno {
        0 => "for an unknown reason".to_owned(),
        _ => std::io::Error::from_raw_os_error(errno).to_string(),
    }
}

impl Absence {
    pub(crate) fn locks(error: &std::io::Error) -> Self {
        Self::Locks { errno: error.raw_os_error().unwrap_or(0) }
    }

    const fn parts(self) -> (u64, i32) {
        match self {
            Self::FutexWaitv { errno } => (1, errno),
            Self::RobustList { errno } => (2, errno),
            Self::Thread { errno } => (3, errno),
            Self::Locks { errno } => (4, errno),
        }
    }
}

/// What a running monitor lacks at the moment; the worst of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    Nothing,
    /// Deaths are noticed late: the monitor looks again at intervals.
    Late(Absence),
    /// No lease can be recovered. The monitor looks again at intervals.
    Failed(Absence),
}

impl Lack {
    fn word(self) -> u64 {
        let (severity, absence) = match self {
            Self::Nothing => return 0,
            Self::Late(absence) => (1, absence),
            Self::Failed(absence) => (2, absence),
        };
        let (kind, errno) = absence.parts();
        severity << 40 | kind << 32 | u64::from(errno as u32)
    }

    fn of(word: u64) -> Self {
        let errno = word as u32 as i32;
        let absence = match word >> 32 & 0xFF {
            1 => Absence::FutexWaitv { errno },
            2 => Absence::RobustList { errno },
            3 => Absence::Thread { errno },
            _ => Absence::Locks { errno },
        };
        match word >> 40 {
            0 => Self::Nothing,
            1 => Self::Late(absence),
            _ => Self::Failed(absence),
        }
    }

    /// The worse of both.
    pub(crate) fn or(self, other: Self) -> Self {
        if other.word() > self.word() { other } else { self }
    }
}

/// A slot needs nothing.
const NOTHING: u64 = 0;
/// A slot shall get a reaper, also without a notification.
const WANTED: u64 = 1;
// Any other value is the word of a `Lack`: the slot's reaper could not ask for the lock.

/// An order for a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It shall get a reaper.
    Reaper,
    /// Its reaper failed, for this reason.
    Failed(Absence),
}

/// See the module.
pub(crate) struct Desk {
    /// The monitor's threads sleep on it; each order changes it.
    pub(crate) bell: AtomicU32,
    /// By slot.
    slots: Box<[AtomicU64]>,
    /// By thread of the monitor: what it lacks.
    lacks: Box<[AtomicU64]>,
    state: Mutex<State>,
    answered: Condvar,
}

struct State {
    /// The threads shall end.
    stop: bool,
    /// The first thread takes orders.
    is_open: bool,
    asked: u64,
    answers: u64,
    answer: Result<usize, Absence>,
}

impl Desk {
    pub(crate) fn new(members: u16) -> Self {
        let state = State { stop: false, is_open: false, asked: 0, answers: 0, answer: Ok(0) };
        Self {
            bell: AtomicU32::new(0),
            slots: (0..members).map(|_| AtomicU64::new(NOTHING)).collect(),
            lacks: (0..3).map(|_| AtomicU64::new(0)).collect(),
            state: Mutex::new(state),
            answered: Condvar::new(),
        }
    }

    fn ring(&self) {
        // Release: a thread that sees the new value sees the order; pairs with the Acquire in `Watcher::round`.
        self.bell.fetch_add(1, Ordering::Release);
        let _ = futex::wake(&self.bell, Flags::PRIVATE, i32::MAX as u32);
    }

    /// Tells all threads of the monitor to end.
    pub(crate) fn stop(&self) {
        lock(&self.state).stop = true;
        self.ring();
    }

    /// Whether the threads of the monitor shall end.
    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.state).stop
    }

    /// The first thread takes orders from now on; dropping the value ends that, also after a panic.
    pub(crate) fn open(&self) -> Open<'_> {
        lock(&self.state).is_open = true;
        Open(self)
    }

    /// Has the monitor sweep, with its own locks. `None` if no monitor takes orders. Waits for the monitor's thread, which never waits
    /// for another process.
    pub(crate) fn order_sweep(&self) -> Option<Result<usize, Absence>> {
        let mut state = lock(&self.state);
        if !state.is_open {
            return None;
        }
        state.asked += 1;
        let mine = state.asked;
        drop(state);
        self.ring();
        let mut state = lock(&self.state);
        while state.answers < mine {
            if !state.is_open {
                return None;
            }
            state = self.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Some(state.answer)
    }

    /// The first thread: carries out the orders to sweep that have arrived. One sweep answers all of them.
    pub(crate) fn serve(&self, sweep: impl FnOnce() -> Result<usize, Absence>) {
        let asked = {
            let state = lock(&self.state);
            if state.asked == state.answers {
                return;
            }
            state.asked
        };
        let answer = sweep();
        let mut state = lock(&self.state);
        (state.answers, state.answer) = (asked, answer);
        self.answered.notify_all();
    }

    /// Has the monitor wait for the end of the owner of slot `j`.
    pub(crate) fn order_reaper(&self, j: u8) {
        // Relaxed: `ring` publishes it. If the slot has failed, the monitor looks at it anyway.
        let slot = &self.slots[usize::from(j)];
        let _ = slot.compare_exchange(NOTHING, WANTED, Ordering::Relaxed, Ordering::Relaxed);
        self.ring();
    }

    /// A reaper could not ask for the lock of slot `j`: the monitor has to look at intervals.
    pub(crate) fn report_failed(&self, j: u8, why: Absence) {
        // Relaxed: as above.
        self.slots[usize::from(j)].store(Lack::Failed(why).word(), Ordering::Relaxed);
        self.ring();
    }

    /// Takes the order for slot `j`, if there is one.
    pub(crate) fn take_order(&self, j: u8) -> Option<Order> {
        // Relaxed: the bell was loaded before, with Acquire. An order from now on is for the next round.
        match self.slots[usize::from(j)].swap(NOTHING, Ordering::Relaxed) {
            NOTHING => None,
            word => Some(match Lack::of(word) {
                Lack::Failed(why) | Lack::Late(why) => Order::Failed(why),
                Lack::Nothing => Order::Reaper,
            }),
        }
    }

    /// Gives an order back, for a later round: slot `j` has no reaper, and its owner is not gone.
    pub(crate) fn give_back(&self, j: u8) {
        // Relaxed: only the caller's thread needs it. An order that has arrived meanwhile stays.
        let slot = &self.slots[usize::from(j)];
        let _ = slot.compare_exchange(NOTHING, WANTED, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// What the monitor's thread `thread` lacks.
    pub(crate) fn set_lack(&self, thread: usize, lack: Lack) {
        // Relaxed: information only.
        if let Some(word) = self.lacks.get(thread) {
            word.store(lack.word(), Ordering::Relaxed);
        }
    }

    /// What the monitor lacks.
    pub(crate) fn lack(&self) -> Lack {
        // Relaxed: as above.
        let lacks = self.lacks.iter().map(|word| Lack::of(word.load(Ordering::Relaxed)));
        lacks.fold(Lack::Nothing, Lack::or)
    }
}

/// See [`Desk::open`].
pub(crate) struct Open<'a>(&'a Desk);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).is_open = false;
        self.0.answered.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_what_failed() {
        let desk = Desk::new(2);
        assert_eq!(desk.take_order(1), None);
        desk.order_reaper(1);
        assert_eq!(desk.take_order(1), Some(Order::Reaper));
        for why in [Absence::Locks { errno: libc::EIO }, Absence::Thread { errno: 0 }] {
            desk.report_failed(1, why);
            // The failure stays, also beside an order.
            desk.order_reaper(1);
            assert_eq!(desk.take_order(1), Some(Order::Failed(why)));
        }
        assert_eq!(desk.take_order(1), None);
    }

    #[test]
    fn an_error_without_a_number_is_no_success() {
        let text = Absence::Thread { errno: 0 }.to_string();
        assert!(!text.contains("Success"), "{text}");
    }
}
