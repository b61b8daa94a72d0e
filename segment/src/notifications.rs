//! Death notifications: a robust futex list over one row of notification words. The kernel signals these words when the thread
//! that owns the list ends [A5].
//!
//! A word is 0 (cleared), *armed* (thread id and [`WAITERS`]) or *signalled* ([`OWNER_DIED`] set by the kernel). The watcher's
//! monitor *observes* a signalled word, and its reaper clears it once the dead member is recovered.
//!
//! Documentation/locking/robust-futex-ABI.rst. The list belongs to a thread, so only the monitor's thread may enlist. The head and
//! the nodes are private to the process, so that no peer can redirect the kernel; they lie in a shared anonymous mapping because
//! the OOM reaper leaves such mappings alone.

use std::ffi::{c_long, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::Ordering;

use rustix::mm::MapFlags;
use tenure_core::mutant;

use crate::control::Control;
use crate::layout::NOTIFICATION_BYTES;
use crate::mapping::Mapping;

/// Set by the kernel: the thread whose id the word has is dead.
pub(crate) const OWNER_DIED: u32 = 0x4000_0000;
/// Tells the kernel to wake a waiter. Always set: `futex_waitv` gives a waiter no opportunity to set it.
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

/// `struct robust_list`. A node is as long as a notification word, so that the same offset leads from each node to its word.
#[repr(C)]
struct Node {
    next: *mut Node,
}

const NODES_OFFSET: usize = 64;
const _: () = assert!(size_of::<Node>() as u64 == NOTIFICATION_BYTES);
const _: () = assert!(size_of::<Head>() <= NODES_OFFSET);

/// The memory of a list of `members` notification words.
pub(crate) struct RobustList {
    memory: Mapping,
    members: u16,
}

/// The robust list that a thread had before, to be restored.
pub(crate) struct Former {
    head: *mut c_void,
    bytes: usize,
}

// SAFETY: only the kernel dereferences the address, on behalf of the thread it came from.
unsafe impl Send for Former {}

impl RobustList {
    pub(crate) fn new(members: u16) -> io::Result<Self> {
        let bytes = NODES_OFFSET + usize::from(members) * size_of::<Node>();
        let memory = Mapping::anonymous(bytes as u64, MapFlags::SHARED)?;
        memory.keep_from_children()?;
        Ok(Self { memory, members })
    }

    /// Makes row `me` the robust list of the calling thread and arms it with the thread's id.
    ///
    /// `list_op_pending` always stays null, since no node is ever added or removed. Therefore glibc bug 14485 (the kernel writes
    /// through that field after the memory was reused) cannot occur.
    ///
    /// # Safety
    ///
    /// The list and the mapping of `control` outlive the thread, or its `withdraw`.
    pub(crate) unsafe fn enlist(&self, control: Control<'_>, me: u8) -> io::Result<Former> {
        let former = former()?;
        let head = self.memory.base().cast::<Head>();
        // SAFETY: the mapping has a node for each notification word of the row.
        let node = |i: u16| unsafe { self.memory.base().add(NODES_OFFSET).cast::<Node>().add(i.into()) };
        for i in 0..self.members {
            let next = if i + 1 == self.members { head.cast::<Node>() } else { node(i + 1) };
            // SAFETY: the mapping is ours, and the kernel does not use it yet.
            unsafe { node(i).write(Node { next }) };
        }
        let word_offset = control.notification(me, 0).as_ptr() as isize - node(0) as isize;
        // SAFETY: as above.
        unsafe {
            head.write(Head { first: node(0), word_offset: word_offset as c_long, pending: ptr::null_mut() })
        };
        if mutant!("segment.enlist.notifications_before_list") {
            arm(control, me);
        }
        // The list comes first: an armed word must be on a list [lease-armed-is-listed].
        // SAFETY: head and nodes are complete, and the caller keeps them alive.
        unsafe { set(head.cast(), size_of::<Head>())? };
        arm(control, me);
        Ok(former)
    }

    /// Disarms the row, then restores the thread's former list. The lease is FREE already, so no notification is lost.
    ///
    /// # Crash
    ///
    /// Killed inside, the words that are still armed are signalled, which is harmless. In the opposite order they would stay armed
    /// and never be signalled, and a member that blocks on the slot's next owner would rely on them [lease-armed-is-listed].
    pub(crate) fn withdraw(&self, former: &Former, control: Control<'_>, me: u8) {
        let restore = || {
            // SAFETY: libc set this list when the thread started; it lives as long as the thread.
            let restored = unsafe { set(former.head, former.bytes) };
            debug_assert!(restored.is_ok());
        };
        if mutant!("segment.withdraw.list_before_notifications") {
            restore();
        }
        let mine = WAITERS | thread_id();
        for watcher in control.slots() {
            // Relaxed: disarming publishes nothing.
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

/// Arms row `me` with the id of the calling thread, which owns the list.
fn arm(control: Control<'_>, me: u8) {
    let mine = WAITERS | thread_id();
    for watcher in control.slots() {
        // Release: a watcher that sees the word armed also sees the lease LIVE; pairs with the Acquire in `observe`.
        control.notification(me, watcher).store(mine, Ordering::Release);
    }
}

fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get() as u32 & TID_MASK
}

fn former() -> io::Result<Former> {
    let mut head = ptr::null_mut::<c_void>();
    let mut bytes = 0_usize;
    // SAFETY: thread 0 is the caller; both out-pointers are ours.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut head, &raw mut bytes) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // Under a libc that sets no list, "no list" is restored: a null head with the length that the kernel requires.
    Ok(Former { head, bytes: if bytes == 0 { size_of::<Head>() } else { bytes } })
}

/// # Safety
///
/// `head` is null, or a complete list that stays valid until the thread ends or sets another list.
unsafe fn set(head: *mut c_void, bytes: usize) -> io::Result<()> {
    // SAFETY: the caller's contract.
    if unsafe { libc::syscall(libc::SYS_set_robust_list, head, bytes) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
