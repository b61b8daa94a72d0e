//! Every access to a shared word goes through here, so that tests can stop a member at each of them.

use tenure_core::ordering;
use tenure_core::sync::{Ordering, Word};

use crate::crash::step;

/// What is done to shared words. The caller says why its ordering is enough.
pub(crate) trait Access {
    /// Loads.
    fn see(&self, order: Ordering) -> u64;
    /// Stores.
    fn put(&self, value: u64, order: Ordering);
    /// One exact transition. SeqCst: it publishes what came before, sees what the last writer published, and is ordered
    /// against the hints; on x86-64 it costs what AcqRel costs.
    fn exchange(&self, from: u64, to: u64) -> bool;
    /// Sets bits of a hint. Relaxed: hints publish nothing.
    fn set(&self, bits: u64);
    /// Clears bits of a hint. Relaxed, as above.
    fn clear(&self, bits: u64);
    /// Raises to at least `value`. AcqRel: publishes what came before, to those who load it with Acquire.
    fn raise(&self, value: u64);
    /// Counts one more. AcqRel, as above.
    fn count(&self);
}

impl Access for Word {
    #[inline(always)]
    fn see(&self, order: Ordering) -> u64 {
        step();
        self.load(order)
    }

    #[inline(always)]
    fn put(&self, value: u64, order: Ordering) {
        step();
        self.store(value, order);
    }

    #[inline]
    fn exchange(&self, from: u64, to: u64) -> bool {
        step();
        self.compare_exchange(from, to, ordering!("scratch.exchange", SeqCst, Relaxed), Ordering::Relaxed)
            .is_ok()
    }

    fn set(&self, bits: u64) {
        if self.see(Ordering::Relaxed) & bits != bits {
            step();
            self.fetch_or(bits, Ordering::Relaxed);
        }
    }

    fn clear(&self, bits: u64) {
        if self.see(Ordering::Relaxed) & bits != 0 {
            step();
            self.fetch_and(!bits, Ordering::Relaxed);
        }
    }

    fn raise(&self, value: u64) {
        step();
        self.fetch_max(value, Ordering::AcqRel);
    }

    fn count(&self) {
        step();
        self.fetch_add(1, Ordering::AcqRel);
    }
}
