//! A robust futex list over one row of notifications: the kernel rings them when the thread that owns the list ends [A5].
//!
//! Documentation/locking/robust-futex-ABI.rst. The list belongs to a thread, so only the monitor may enlist. The head
//! and the nodes are private to the process (no peer can redirect the kernel) but in a shared anonymous mapping, which
//! the OOM reaper leaves alone.

use std::ffi::{c_long, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::Ordering;

use rustix::mm::MapFlags;

use crate::control::Control;
use crate::fault;
use crate::layout::NOTIFICATION_BYTES;
use crate::mapping::Mapping;

/// The kernel rang: the thread whose id was here has ended.
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// Tells the kernel to wake somebody; always set, since a waiter has no moment to set it.
pub(crate) const WAITERS: u32 = 0x8000_0000;
/// The thread id.
pub(crate) const TID_MASK: u32 = 0x3FFF_FFFF;

/// `struct robust_list_head`.
#[repr(C)]
struct Head {
    first: *mut Node,
    word_offset: c_long,
    pending: *mut Node,
}

/// `struct robust_list`: as long as a notification, so that one offset leads from every node to its notification.
#[repr(C)]
struct Node {
    next: *mut Node,
}

const NODES_OFFSET: usize = 64;
const _: () = assert!(size_of::<Node>() as u64 == NOTIFICATION_BYTES);
const _: () = assert!(size_of::<Head>() <= NODES_OFFSET);

/// The memory of a list for `members` notifications.
pub(crate) struct RobustList {
    memory: Mapping,
    members: u16,
}

/// A thread's former list, to be restored.
pub(crate) struct Former {
    head: *mut c_void,
    bytes: usize,
}

// SAFETY: an address that only the kernel uses, for the thread that it came from.
unsafe impl Send for Former {}

impl RobustList {
    pub(crate) fn new(members: u16) -> io::Result<Self> {
        let bytes = NODES_OFFSET + usize::from(members) * size_of::<Node>();
        let memory = Mapping::anonymous(bytes as u64, MapFlags::SHARED)?;
        memory.keep_from_children()?;
        Ok(Self { memory, members })
    }

    /// Makes row `me` the list of the calling thread, and writes the thread's id into it.
    ///
    /// `list_op_pending` stays null for ever: nothing is ever added or removed, and the kernel's use of that field
    /// after the memory went to somebody else (glibc bug 14485) has nothing to work on.
    ///
    /// # Safety
    ///
    /// The list and the mapping of `control` outlive the thread, or its `withdraw`.
    pub(crate) unsafe fn enlist(&self, control: Control<'_>, me: u8) -> io::Result<Former> {
        let former = former()?;
        let head = self.memory.base().cast::<Head>();
        // SAFETY: the nodes lie in the mapping, as many as there are notifications in the row.
        let node = |i: u16| unsafe { self.memory.base().add(NODES_OFFSET).cast::<Node>().add(i.into()) };
        for i in 0..self.members {
            let next = if i + 1 == self.members { head.cast::<Node>() } else { node(i + 1) };
            // SAFETY: the mapping is ours and the kernel does not know it yet.
            unsafe { node(i).write(Node { next }) };
        }
        let word_offset = control.notification(me, 0).as_ptr() as isize - node(0) as isize;
        // SAFETY: as above.
        unsafe {
            head.write(Head { first: node(0), word_offset: word_offset as c_long, pending: ptr::null_mut() })
        };
        if fault!("segment.enlist.notifications_before_list") {
            arm(control, me);
        }
        // The list first: a notification that is armed rings [I25].
        // SAFETY: head and nodes are complete and stay by the caller's contract.
        unsafe { set(head.cast(), size_of::<Head>())? };
        arm(control, me);
        Ok(former)
    }

    /// Silences the row, and gives the thread its former list back. The lease is FREE by then: nothing is to be rung.
    ///
    /// # Crash
    ///
    /// Killed inside, the notifications that are armed still ring, for nothing. The other way round they would stay armed and never
    /// ring, and whoever looks for the end of the slot's next owner would rely on them [I25].
    pub(crate) fn withdraw(&self, former: &Former, control: Control<'_>, me: u8) {
        let restore = || {
            // SAFETY: the list that libc gave this thread at its start; it lives as long as the thread.
            let restored = unsafe { set(former.head, former.bytes) };
            debug_assert!(restored.is_ok());
        };
        if fault!("segment.withdraw.list_before_notifications") {
            restore();
        }
        let mine = WAITERS | thread_id();
        for watcher in control.slots() {
            // Relaxed: silence publishes nothing.
            let _ = control.notification(me, watcher).compare_exchange(
                mine,
                0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
        restore();
    }
}

/// Arms row `me` for the end of the calling thread, whose list it is.
fn arm(control: Control<'_>, me: u8) {
    let mine = WAITERS | thread_id();
    for watcher in control.slots() {
        // Release: whoever sees the notification armed sees the lease LIVE; pairs with the Acquire in the monitor's scan.
        control.notification(me, watcher).store(mine, Ordering::Release);
    }
}

fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32 & TID_MASK
}

fn former() -> io::Result<Former> {
    let mut head = ptr::null_mut::<c_void>();
    let mut bytes = 0_usize;
    // SAFETY: thread 0 is the caller; two out-pointers of ours.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // A thread without a list (another libc) gets "none" back, with the length that the kernel insists on.
    Ok(Former { head, bytes: if bytes == 0 { size_of::<Head>() } else { bytes } })
}

/// # Safety
///
/// `head` is null or a complete list that stays until the thread ends or sets another.
unsafe fn set(head: *mut c_void, bytes: usize) -> io::Result<()> {
    // SAFETY: passed on.
    if unsafe { libc::syscall(libc::SYS_set_robust_list, head, bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
