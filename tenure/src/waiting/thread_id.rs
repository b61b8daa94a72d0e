//! The id of the calling thread, cached: to get it from the kernel is a system call, and an uncontended lock must avoid one.

use std::cell::Cell;

use tenure_segment::{Lease, futex};

/// The identity of a lease, never used twice: creation id of the space, slot, incarnation.
type Identity = (u64, u8, u64);

thread_local! {
    /// The id of this thread, and the lease for which it was obtained. The thread of a forked child has another id and needs another
    /// lease, so it asks the kernel again.
    static KNOWN: Cell<(Identity, u32)> = const { Cell::new(((0, 0, 0), 0)) };
}

/// The kernel's id of the calling thread, for use with `lease`.
#[inline]
pub(crate) fn thread_id(lease: &Lease) -> u32 {
    let id = lease.id();
    let identity = (lease.creation_id(), id.index, id.incarnation);
    let (known, thread) = KNOWN.get();
    if known == identity { thread } else { ask(identity) }
}

#[cold]
fn ask(identity: Identity) -> u32 {
    let thread = futex::thread_id();
    KNOWN.set((identity, thread));
    thread
}
