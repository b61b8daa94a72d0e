//! The id of the calling thread, cached: the kernel tells it only by a system call, which an uncontended lock must avoid.

use std::cell::Cell;

use tenure_segment::{Lease, futex};

/// The identity of a lease, never used twice: creation id of the space, slot, incarnation.
type Identity = (u64, u8, u64);

thread_local! {
    /// The id of this thread, and the lease for which it was asked. A forked child is another thread, and needs another lease, so it
    /// asks again.
    static KNOWN: Cell<(Identity, u32)> = const { Cell::new(((0, 0, 0), 0)) };
}

/// The kernel's id of the calling thread, which acts for `lease`.
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
