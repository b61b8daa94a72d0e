//! The one region of this process: reserved once, as large as the system lets, backed as it is touched.

use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use tenure_core::sync::Word;
use tenure_core::{Acquire, LeaseId};
use tenure_scratch_alloc::{Backing, Geometry, Layout, OutOfMemory, Scratch};

use crate::system::{self, PAGE};

/// Payload bytes that are reserved where nothing limits the address space: the most that the allocator can have.
const MOST: u64 = 64 << 30;
const LEAST: u64 = 4 << 20;
pub(crate) const UNIT: usize = 64 << 10;

/// The only owner there is: nobody else sees this memory.
const OWNER: LeaseId = LeaseId { index: 0, incarnation: 1 };

/// The view of the region, and the right to work in it.
pub(crate) struct Region {
    pub(crate) scratch: Scratch<'static>,
    pub(crate) me: Acquire,
}

static REGION: OnceLock<Option<Region>> = OnceLock::new();
/// For threads that free: where the payloads start and how many bytes they have. Zero at first.
static DATA: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static BYTES: AtomicUsize = AtomicUsize::new(0);

/// How much of a part of the region core dumps have, from its start: everything that was ever committed, and less than a step more.
/// Address space that was never used would make a dump of 128 GiB, even if it is a sparse file.
struct Dumped(AtomicUsize);

/// Bytes by which it grows.
const DUMPED_STEP: usize = 4 << 20;
/// Of the control words, and of each table of block words.
static WORDS_DUMPED: [Dumped; PARTS_MAX] = [const { Dumped(AtomicUsize::new(0)) }; PARTS_MAX];
const PARTS_MAX: usize = 1 + (UNIT / 16).trailing_zeros() as usize;
static DATA_DUMPED: Dumped = Dumped(AtomicUsize::new(0));

impl Dumped {
    /// Makes it at least `end` bytes of the part of `bytes` bytes at `start`.
    ///
    /// # Safety
    ///
    /// Whole pages mapped by [`system::map`].
    unsafe fn grow(&self, start: *mut u8, bytes: usize, end: usize) {
        // Relaxed, both: threads that grow it at once only say the same to the system twice.
        let before = self.0.load(Ordering::Relaxed);
        if end > before {
            let end = end.next_multiple_of(DUMPED_STEP).min(bytes);
            // SAFETY: within the part, as the caller promises.
            unsafe { system::dump(start.add(before), end.saturating_sub(before), true) };
            self.0.fetch_max(end, Ordering::Relaxed);
        }
    }
}

/// Whether the region is so small that all of it is ready at once, without a commit. Its parts are not whole pages then.
fn is_ready_at_once(layout: &Layout) -> bool {
    layout.commit_at_creation().end > layout.data_at()
}

/// Makes core dumps have the words up to the end of `bytes`, of the part of the words that they are in. Dumps have all of a region
/// that is ready at once.
///
/// # Safety
///
/// `start` is the start of the region of `layout`, mapped by [`system::map`].
unsafe fn dump_words(layout: &Layout, start: *mut u8, bytes: Range<u64>) {
    if is_ready_at_once(layout) {
        return;
    }
    for (part, dumped) in layout.parts().zip(&WORDS_DUMPED).filter(|(part, _)| part.contains(&bytes.start)) {
        let end = bytes.end.min(part.end) - part.start;
        // SAFETY: parts are whole pages of the region.
        unsafe {
            dumped.grow(start.add(part.start as usize), (part.end - part.start) as usize, end as usize)
        };
    }
}

/// The region; none if the system refused even a small one.
pub(crate) fn get() -> Option<&'static Region> {
    REGION.get_or_init(reserve).as_ref()
}

/// The offset of an address in the region.
#[inline]
pub(crate) fn offset(at: *const u8) -> Option<u64> {
    // Relaxed: a thread with an address of the region got it from one that saw both.
    let offset = (at as usize).wrapping_sub(DATA.load(Ordering::Relaxed) as usize);
    (offset < BYTES.load(Ordering::Relaxed)).then_some(offset as u64)
}

fn reserve() -> Option<Region> {
    let mut bytes = MOST;
    while bytes >= LEAST {
        if let Some((start, layout)) = reserve_bytes(bytes) {
            if bytes == MOST {
                return Some(place(start, layout));
            }
            // Something limits the address space, and stacks and mappings need some of it as well.
            // SAFETY: reserved a moment ago, used by nobody.
            unsafe { system::unmap(start, layout.bytes() as usize + UNIT) };
            return reserve_bytes(bytes / 2).map(|(start, layout)| place(start, layout));
        }
        bytes /= 2;
    }
    None
}

/// Address space for a region, with room to have the payloads begin at a multiple of a unit.
fn reserve_bytes(bytes: u64) -> Option<(*mut u8, Layout)> {
    let layout = Geometry { bytes, unit_bytes: UNIT as u32 }.layout().ok()?;
    let start = system::map(layout.bytes() as usize + UNIT);
    (!start.is_null()).then_some((start, layout))
}

fn place(start: *mut u8, layout: Layout) -> Region {
    let layout: &'static Layout = Box::leak(Box::new(layout));
    let data = (start as usize + layout.data_at() as usize).next_multiple_of(UNIT);
    let first = data - layout.data_at() as usize;
    // SAFETY: mapped, zeroed, for good; the words come before the payloads, which start at a multiple of a page. Words
    // are atomics, and only the owner of a block accesses its payload.
    let scratch = unsafe {
        let words = std::slice::from_raw_parts(first as *const Word, layout.data_at() as usize / 8);
        Scratch::new(words, data as *mut u8, layout)
    };
    // SAFETY: mapped; both parts are whole pages.
    unsafe { system::dump(first as *mut u8, layout.bytes() as usize, false) };
    // SAFETY: as above. What `init` touches is at the start.
    unsafe { dump_words(layout, first as *mut u8, 0..DUMPED_STEP as u64) };
    if is_ready_at_once(layout) {
        // SAFETY: as above.
        unsafe { system::dump(first as *mut u8, layout.bytes() as usize, true) };
    }
    scratch.init();
    // Relaxed, both: see `offset`.
    DATA.store(data as *mut u8, Ordering::Relaxed);
    BYTES.store(layout.capacity() as usize, Ordering::Relaxed);
    // SAFETY: there is no lease table and no other process in this memory. Forked children have their own copy of all of it.
    let me = unsafe { Acquire::assume(OWNER) };
    Region { scratch, me }
}

/// Memory behind the region: there is as soon as it is touched.
#[derive(Default)]
pub(crate) struct Pages {
    /// The payload bytes that were last committed, which are still zero. The allocator commits a unit before its first use and
    /// after it went back. It also commits a unit that could not go back, but makes it FREE then: no allocation takes that
    /// for fresh.
    fresh: std::cell::Cell<(u64, u64)>,
}

impl Pages {
    /// Forgets all fresh memory.
    pub(crate) fn nothing_fresh(&self) {
        self.fresh.set((0, 0));
    }

    /// Whether the payload bytes are zero: they were never touched since the system gave them.
    pub(crate) fn is_fresh(&self, bytes: Range<u64>) -> bool {
        let (start, end) = self.fresh.get();
        start <= bytes.start && bytes.end <= end
    }
}

impl Backing for Pages {
    fn commit(&self, bytes: Range<u64>) -> Result<(), OutOfMemory> {
        let scratch = &get().ok_or(OutOfMemory)?.scratch;
        let data_at = scratch.layout().data_at();
        let data = scratch.address(0);
        if bytes.start >= data_at {
            self.fresh.set((bytes.start - data_at, bytes.end - data_at));
            let capacity = scratch.layout().capacity() as usize;
            // SAFETY: the payloads are mapped, and whole pages.
            unsafe { DATA_DUMPED.grow(data, capacity, (bytes.end - data_at) as usize) };
        } else {
            // SAFETY: the words lie before the payloads.
            unsafe { dump_words(scratch.layout(), data.wrapping_sub(data_at as usize), bytes) };
        }
        Ok(())
    }

    fn decommit_words(&self, bytes: Range<u64>) -> bool {
        let Some(region) = get() else { return false };
        let start = region.scratch.address(0).wrapping_sub(region.scratch.layout().data_at() as usize);
        let (first, end) = (bytes.start as usize, bytes.end as usize);
        let pages = first.next_multiple_of(PAGE)..end / PAGE * PAGE;
        // The first and the last page have words of other units as well.
        let edges =
            if pages.is_empty() { [first..end, end..end] } else { [first..pages.start, pages.end..end] };
        for edge in edges {
            // SAFETY: words of the region, which are atomics: a late load by `free` of a pointer to no block sees either value.
            let words =
                unsafe { std::slice::from_raw_parts(start.add(edge.start).cast::<Word>(), edge.len() / 8) };
            // Relaxed: the unit's next word publishes it.
            words.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        }
        // SAFETY: as above; private memory is zero afterwards.
        pages.is_empty() || unsafe { system::forget(start.add(pages.start), pages.len()) }
    }

    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
        let region = get()?;
        let offset = bytes.start - region.scratch.layout().data_at();
        let length = (bytes.end - bytes.start) as usize;
        // SAFETY: free units, which the allocator holds meanwhile; units are whole pages.
        let gone = unsafe { system::forget(region.scratch.address(offset), length) };
        gone.then_some(bytes)
    }
}
