//! Memory that the director of a crowd shares with its children, outside of every space: the signal, and a slot for
//! each child with its state and books.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use rustix::thread::futex;
use rustix::time::Timespec;

use super::clock::now_ns;

/// Maximum number of children at a time; also the maximum number of members of a space.
pub(super) const SLOTS: usize = 64;
/// Number of handles that a victim publishes.
pub(super) const KNOWN: usize = 8;
/// Number of handles that a recoverer may have in its books.
pub(super) const HELD: usize = VICTIM_HANDLES + OWN;
/// Number of victims' handles among these.
const VICTIM_HANDLES: usize = KNOWN * super::script::VICTIMS_MAX as usize;
/// Number of handles, and of blocks, that a recoverer may create itself.
pub(super) const OWN: usize = 2;

/// The state of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Started.
    Starting,
    /// Ready: a victim has done its operations, a recoverer waits for its signal.
    Ready,
    /// Executes its action.
    AtIt,
    /// The action is complete.
    Done,
}

impl Stand {
    const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::AtIt, Self::Done];
}

/// A handle in the books: its token, or 0, and the number from which its payload is computed.
#[derive(Default)]
struct Item {
    token: AtomicU64,
    identity: AtomicU64,
}

/// The slot of one child.
pub(super) struct Slot {
    stand: AtomicU32,
    /// Index of its lease, plus 1.
    lease: AtomicU32,
    /// Number of its pinned blocks; the bit [`PINNING`] is set while it pins or unpins one.
    pins: AtomicU32,
    /// Number of operations of a victim.
    operations: AtomicU64,
    /// Duration of its recovery in ns, or 0.
    took_ns: AtomicU64,
    known: [Item; KNOWN],
    held: [Item; HELD],
    /// Offset and key of its blocks; a key of 0 means no block.
    blocks: [Item; OWN],
}

/// Maximum time that running children wait for others that were woken, in ns.
const GATHER_NS: u64 = 3_000_000;
/// Time from the moment when enough children run to the start of their actions, in ns; long enough to set a timer.
const LEAD_NS: u64 = 10_000;

/// The bit of [`Slot::pins`] that marks a change of the number in progress.
const PINNING: u32 = 1 << 31;

/// The shared memory.
pub(super) struct Board {
    words: NonNull<Words>,
}

struct Words {
    /// The number of the last signal.
    signal: AtomicU32,
    /// Number of woken children that run.
    arrived: AtomicU32,
    /// Start time of their actions in ns, set when enough of them run.
    begin_ns: AtomicU64,
    slots: [Slot; SLOTS],
}

// Relaxed, all of `Slot`: the director reads a child's stores after it has seen `Ready` or `Done` (Release and Acquire
// on `stand`), or after the child's death, which the kernel orders.
impl Slot {
    pub(super) fn clear(&self) {
        let zero = |items: &[Item]| items.iter().for_each(|item| item.set(0, 0));
        zero(&self.known);
        zero(&self.held);
        zero(&self.blocks);
        self.lease.store(0, Ordering::Relaxed);
        self.pins.store(0, Ordering::Relaxed);
        self.operations.store(0, Ordering::Relaxed);
        self.took_ns.store(0, Ordering::Relaxed);
        self.set_stand(Stand::Starting);
    }

    pub(super) fn stand(&self) -> Stand {
        let stand = self.stand.load(Ordering::Acquire) as usize;
        Stand::ALL.get(stand).copied().unwrap_or(Stand::Starting)
    }

    pub(super) fn set_stand(&self, stand: Stand) {
        self.stand.store(stand as u32, Ordering::Release);
    }

    pub(super) fn set_lease(&self, lease: u8) {
        self.lease.store(u32::from(lease) + 1, Ordering::Relaxed);
    }

    pub(super) fn lease(&self) -> Option<u8> {
        self.lease.load(Ordering::Relaxed).checked_sub(1).and_then(|lease| lease.try_into().ok())
    }

    pub(super) fn begin_pinning(&self) {
        self.pins.fetch_or(PINNING, Ordering::Relaxed);
    }

    pub(super) fn set_pins(&self, pins: usize) {
        self.pins.store(pins as u32, Ordering::Relaxed);
    }

    /// The number of its pinned blocks; `None` when the child was pinning or unpinning one.
    pub(super) fn pins(&self) -> Option<u64> {
        let pins = self.pins.load(Ordering::Relaxed);
        (pins & PINNING == 0).then_some(pins.into())
    }

    pub(super) fn set_operations(&self, operations: u64) {
        self.operations.store(operations, Ordering::Relaxed);
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn set_took_ns(&self, took_ns: u64) {
        self.took_ns.store(took_ns, Ordering::Relaxed);
    }

    /// The duration of its recovery, if it recovered a member.
    pub(super) fn took_ns(&self) -> Option<u64> {
        Some(self.took_ns.load(Ordering::Relaxed)).filter(|took_ns| *took_ns > 0)
    }

    /// Publishes a handle.
    pub(super) fn make_known(&self, at: usize, token: u64, identity: u64) {
        self.known[at % KNOWN].set(token, identity);
    }

    /// The published handles.
    pub(super) fn known(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.known.iter().filter_map(Item::get)
    }

    /// Enters a handle into the books; false when they are full.
    pub(super) fn book_handle(&self, token: u64, identity: u64) -> bool {
        book(&self.held, token, identity)
    }

    pub(super) fn handles(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.held.iter().filter_map(Item::get)
    }

    /// Enters a block into the books; false when they are full.
    pub(super) fn book_block(&self, offset: u64, key: u64) -> bool {
        book(&self.blocks, key, offset)
    }

    /// Offset and key of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.blocks.iter().filter_map(Item::get).map(|(key, offset)| (offset, key))
    }
}

fn book(items: &[Item], token: u64, identity: u64) -> bool {
    let free = items.iter().find(|item| item.get().is_none());
    free.inspect(|item| item.set(token, identity)).is_some()
}

impl Item {
    fn set(&self, token: u64, identity: u64) {
        self.identity.store(identity, Ordering::Relaxed);
        // Release, and Acquire below: a reader that sees the token also sees its identity.
        self.token.store(token, Ordering::Release);
    }

    fn get(&self) -> Option<(u64, u64)> {
        let token = self.token.load(Ordering::Acquire);
        (token != 0).then(|| (token, self.identity.load(Ordering::Relaxed)))
    }
}

impl Board {
    /// Creates a board that forked children inherit.
    pub(super) fn new() -> io::Result<Self> {
        let bytes = size_of::<Words>();
        let (access, how) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), bytes, access, how) }?;
        NonNull::new(start.cast())
            .map(|words| Self { words })
            .ok_or_else(|| io::Error::other("mapped at zero"))
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping has the size of `Words`, is aligned to a page and lives as long as `self`; `Words` is made
        // of atomics, of which zero is a value.
        unsafe { self.words.as_ref() }
    }

    pub(super) fn slot(&self, at: usize) -> &Slot {
        &self.words().slots[at % SLOTS]
    }

    /// Gives signal `number`. No child may still be between an earlier signal and its action.
    pub(super) fn give_signal(&self, number: u32) {
        // Relaxed, both: the Release below publishes them.
        self.words().arrived.store(0, Ordering::Relaxed);
        self.words().begin_ns.store(0, Ordering::Relaxed);
        self.words().signal.store(number, Ordering::Release);
        // It fails only for an unmapped address.
        let _ = futex::wake(&self.words().signal, futex::Flags::empty(), i32::MAX as u32);
    }

    /// Whether signal `number` was given, or a later one.
    pub(super) fn is_given(&self, number: u32) -> bool {
        is_past(self.words().signal.load(Ordering::Acquire), number)
    }

    /// Waits for signal `number`.
    pub(super) fn await_signal(&self, number: u32) {
        let signal = &self.words().signal;
        let nap = Timespec { tv_sec: 1, tv_nsec: 0 };
        loop {
            let seen = signal.load(Ordering::Acquire);
            if is_past(seen, number) {
                return;
            }
            // In any case, check the signal again.
            let _ = futex::wait(signal, futex::Flags::empty(), seen, Some(&nap));
        }
    }

    /// Spins until `together` of the woken children run; returns the common start time.
    pub(super) fn gather(&self, together: u32) -> u64 {
        // Relaxed, all: these words order no other accesses.
        let arrived = self.words().arrived.fetch_add(1, Ordering::Relaxed) + 1;
        let gives_up_ns = now_ns() + GATHER_NS;
        loop {
            if let Some(begin_ns) = self.begin_ns() {
                return begin_ns;
            }
            let now_ns = now_ns();
            if arrived >= together || now_ns > gives_up_ns {
                let begin_ns = now_ns + LEAD_NS;
                // It fails when another child has just set the time.
                let _ =
                    self.words().begin_ns.compare_exchange(0, begin_ns, Ordering::Relaxed, Ordering::Relaxed);
            }
            std::hint::spin_loop();
        }
    }

    /// The start time of the children that waited for the last signal, when it is set.
    pub(super) fn begin_ns(&self) -> Option<u64> {
        Some(self.words().begin_ns.load(Ordering::Relaxed)).filter(|begin_ns| *begin_ns > 0)
    }
}

/// Whether `signal` is `number` or a later one; signals are counted modulo 2^32.
fn is_past(signal: u32, number: u32) -> bool {
    signal.wrapping_sub(number) as i32 >= 0
}

impl Drop for Board {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it remains.
        let _ = unsafe { munmap(self.words.as_ptr().cast(), size_of::<Words>()) };
    }
}
