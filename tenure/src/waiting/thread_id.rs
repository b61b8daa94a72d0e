//! The calling thread as an owner of mutexes, cached: to ask the kernel for the id of a thread is a system call.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure_segment::{Lease, futex};
use tenure_wait::mutex::Owner;

use crate::object::Object;

/// A number that no member has as its serial.
const NO_SERIAL: u64 = u64::MAX;

thread_local! {
    /// The serial of a member, and this thread as an owner of that member. The thread of a forked child inherits both, but the serial
    /// word of the parent's member reads zero there, and the child's own members have other serials.
    static KNOWN: Cell<(u64, Owner)> = const { Cell::new((NO_SERIAL, Owner::new(0, 0))) };
}

/// What a [`Gate`] that is shut looks at: no serial.
static SHUT: AtomicU64 = AtomicU64::new(0);

/// Admits the callers of an object to the one-step operations of `tenure-wait`: threads of the process that is the member. One comparison
/// tells it: that of the member's serial word, which differs in a forked child and after the member has left.
pub(super) struct Gate(NonNull<AtomicU64>);

// SAFETY: the address of an atomic; see `word`.
unsafe impl Send for Gate {}
// SAFETY: as above.
unsafe impl Sync for Gate {}

impl Gate {
    /// The gate of an object; it must not be used when that object is gone. A gate that is not `open` admits nobody: for objects whose
    /// operations need more than one step.
    pub(super) fn of(object: &Object, open: bool) -> Self {
        Self(NonNull::from(if open { object.shared().lease.serial() } else { &SHUT }))
    }

    #[inline(always)]
    fn word(&self) -> &AtomicU64 {
        // SAFETY: a static, or the serial word of the member, which is mapped as long as the object: the object keeps the lease alive,
        // and lies beside the gate.
        unsafe { self.0.as_ref() }
    }

    /// Whether this process is the member.
    #[inline(always)]
    pub(super) fn admits_process(&self) -> bool {
        // Relaxed: as `Lease::check`, which this stands for.
        tenure_segment::is_serial(self.word().load(Ordering::Relaxed))
    }

    /// The calling thread, if this process is the member, and the thread was last [identified](owner) for this member.
    #[inline(always)]
    pub(super) fn admits_thread(&self) -> Option<Owner> {
        let (serial, me) = KNOWN.get();
        // Relaxed: as `Lease::check`, which this stands for.
        (self.word().load(Ordering::Relaxed) == serial).then_some(me)
    }
}

/// The calling thread as an owner of the member of `lease`. The caller has checked that this process is that member.
pub(super) fn owner(lease: &Lease) -> Owner {
    // Relaxed: as `Lease::check`.
    let serial = lease.serial().load(Ordering::Relaxed);
    let (known, me) = KNOWN.get();
    if known == serial { me } else { identify(lease, serial) }
}

#[cold]
fn identify(lease: &Lease, serial: u64) -> Owner {
    let me = Owner::new(lease.id().index, futex::thread_id());
    // Not while the member leaves, or in a forked child: what the word reads then is no serial.
    if tenure_segment::is_serial(serial) {
        KNOWN.set((serial, me));
    }
    me
}
