//! Which thread asks: the kernel tells only by a system call, which an uncontended lock must not make.

use std::cell::Cell;

use tenure_segment::{Lease, futex};

/// A lease, as no other has ever been: its space, its slot and incarnation.
type Identity = (u64, u8, u64);

thread_local! {
    /// The number of this thread, asked for when it first used the lease. A forked child is another thread, but needs another
    /// lease, too.
    static KNOWN: Cell<(Identity, u32)> = const { Cell::new(((0, 0, 0), 0)) };
}

/// The kernel's number of the calling thread, for one who acts by `lease`.
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
