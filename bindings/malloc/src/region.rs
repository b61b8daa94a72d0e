//! The one region of this process: addresses that are chosen once, at which pages are mapped as they are needed.
//!
//! The addresses are not reserved: a reservation would count in full where the address space is limited (RLIMIT_AS), where all memory is
//! locked (mlockall), and for every tool that looks at the size of a process. They lie where the system places nothing by itself, and a page is
//! only ever mapped where nothing is.

use std::alloc::{GlobalAlloc, Layout as Request};
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

use tenure_core::sync::Word;
use tenure_core::{Acquire, LeaseId};
use tenure_scratch_alloc::{Backing, Geometry, Layout, OutOfMemory, Scratch};

use crate::arena::Books;
use crate::lock::{Guard, Lock};
use crate::system::{self, PAGE};

/// Payload bytes that the region can have: the most that the allocator manages.
const MOST: u64 = 64 << 30;
const LEAST: u64 = 4 << 20;
pub(crate) const UNIT: usize = 64 << 10;
/// The alignment of the payloads, and so the most that a block in the region can have.
pub(crate) const ALIGN_MAX: usize = 32 << 20;

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
/// Whether something limits the memory of this process: then large blocks are as short as they can be.
static LIMITED: AtomicBool = AtomicBool::new(false);

/// Pages that a leaf knows.
const LEAF_PAGES: usize = 8 * PAGE;
/// As many as the region can need: payloads, block words, and little more.
const LEAVES: usize = (2 * MOST as usize + (1 << 30)) / (LEAF_PAGES * PAGE);

/// Which pages of the region are mapped: a bit each, in leaves that are made when they are needed.
struct Mapped {
    leaves: [*mut Leaf; LEAVES],
    /// The start of the first page, a multiple of the system's pages.
    base: usize,
    /// Whether the addresses are reserved, by a mapping without access.
    reserved: bool,
}

type Leaf = [u64; LEAF_PAGES / 64];

static MAPPED: Lock<Mapped> =
    Lock::new(Mapped { leaves: [std::ptr::null_mut(); LEAVES], base: 0, reserved: false });

/// Holds the lock while the process forks.
pub(crate) fn hold() -> Guard {
    MAPPED.hold()
}

impl Mapped {
    fn leaf(&mut self, at: usize) -> Option<&mut Leaf> {
        let leaf = self.leaves.get_mut(at)?;
        if leaf.is_null() {
            // SAFETY: not empty; zeroes are a leaf.
            *leaf = unsafe { Books.alloc_zeroed(Request::new::<Leaf>()) }.cast();
        }
        // SAFETY: made above, now or earlier, for good; this lock guards it.
        unsafe { leaf.as_mut() }
    }

    /// The pages that hold these addresses: all of each page of the system's.
    fn pages(&self, addresses: &Range<usize>) -> Range<usize> {
        let granule = system::granule();
        let (start, end) = (addresses.start - self.base, addresses.end - self.base);
        start / granule * granule / PAGE..end.next_multiple_of(granule) / PAGE
    }

    /// Whether these addresses are mapped.
    fn has(&mut self, addresses: &Range<usize>) -> bool {
        let pages = self.pages(addresses);
        let mut page = pages.start;
        while page < pages.end {
            match self.leaf(page / LEAF_PAGES).map_or(0, |leaf| mapped_run(leaf, page % LEAF_PAGES)) {
                0 => return false,
                run => page += run,
            }
        }
        true
    }

    /// Maps the pages of the region that hold these addresses, as far as they are not mapped. False if the system refuses; then some are.
    fn map(&mut self, addresses: &Range<usize>) -> bool {
        let (base, pages) = (self.base, self.pages(addresses));
        let (mut page, end) = (pages.start, pages.end);
        while page < end {
            let reserved = self.reserved;
            let Some(leaf) = self.leaf(page / LEAF_PAGES) else { return false };
            page += mapped_run(leaf, page % LEAF_PAGES);
            let Some(leaf) = self.leaf(page / LEAF_PAGES).filter(|_| page < end) else { continue };
            let run = run(leaf, page % LEAF_PAGES).min(end - page);
            if run == 0 {
                continue;
            }
            // SAFETY: pages of the region's addresses, which nobody has been given.
            if !unsafe { system::map_at((base + page * PAGE) as *mut u8, run * PAGE, reserved) } {
                return false;
            }
            for page in page % LEAF_PAGES..page % LEAF_PAGES + run {
                leaf[page / 64] |= 1 << (page % 64);
            }
            page += run;
        }
        true
    }
}

/// The number of pages from `page` on that are mapped, in the leaf.
fn mapped_run(leaf: &Leaf, page: usize) -> usize {
    let mut end = page;
    while end < LEAF_PAGES && leaf[end / 64] >> (end % 64) & 1 != 0 {
        end += if end.is_multiple_of(64) && leaf[end / 64] == u64::MAX { 64 } else { 1 };
    }
    end - page
}

/// The number of pages from `page` on that are not mapped, in the leaf.
fn run(leaf: &Leaf, page: usize) -> usize {
    let mut end = page;
    while end < LEAF_PAGES && leaf[end / 64] >> (end % 64) & 1 == 0 {
        end += if end.is_multiple_of(64) && leaf[end / 64] == 0 { 64 } else { 1 };
    }
    end - page
}

/// The region; none if the system refused even a small one.
pub(crate) fn get() -> Option<&'static Region> {
    REGION.get_or_init(make).as_ref()
}

/// The offset of an address in the region.
#[inline]
pub(crate) fn offset(at: *const u8) -> Option<u64> {
    // Relaxed: a thread with an address of the region got it from one that saw both.
    let offset = (at as usize).wrapping_sub(DATA.load(Ordering::Relaxed) as usize);
    (offset < BYTES.load(Ordering::Relaxed)).then_some(offset as u64)
}

/// Whether something limits the memory of this process.
pub(crate) fn is_limited() -> bool {
    // Relaxed: a hint.
    LIMITED.load(Ordering::Relaxed)
}

/// The system has refused memory, or is about to: there may be a limit.
pub(crate) fn refused() {
    if system::is_limited() {
        // Relaxed: a hint.
        LIMITED.store(true, Ordering::Relaxed);
    }
}

fn make() -> Option<Region> {
    refused();
    let layout = |bytes| Geometry { bytes, unit_bytes: UNIT as u32 }.layout().ok();
    let end = system::address_space();
    // A small part of the address space, so that others find room as well.
    let bytes = (end as u64 / 128).min(MOST);
    if let Some(layout) = layout(bytes) {
        // Neither close to the end, where the system places what may lie anywhere, nor to the start, where programs and their heaps lie. On
        // x86-64, 64 to 80 TiB; and from 4 TiB on for emulators with less of it.
        for part in [2, 32] {
            let room = end / part / 4;
            let found = end / part + system::random_address() % room;
            if let Some(region) = place(found, layout, false) {
                return Some(region);
            }
        }
    }
    // Addresses of the system's choice.
    let mut bytes = bytes;
    while bytes >= LEAST {
        if let Some(layout) = layout(bytes) {
            let whole = layout.bytes() as usize + ALIGN_MAX;
            let start = system::reserve(whole);
            if !start.is_null() {
                return place(start as usize, layout, true);
            }
        }
        bytes /= 2;
    }
    None
}

/// Makes a region of the first addresses from `from` on; none if its first pages cannot be mapped there.
fn place(from: usize, layout: Layout, reserved: bool) -> Option<Region> {
    let data = (from + layout.data_at() as usize).next_multiple_of(ALIGN_MAX);
    let first = (data - layout.data_at() as usize) as *mut u8;
    let at_once = layout.commit_at_creation();
    let mapped = MAPPED.with(|mapped| {
        let first = first as usize;
        mapped.reserved = reserved;
        mapped.base = first / system::granule() * system::granule();
        mapped.map(&(first + at_once.start as usize..first + at_once.end as usize))
    });
    if !mapped {
        return None;
    }
    let layout: &'static Layout = Box::leak(Box::new(layout));
    // SAFETY: addresses that are this library's for good; the words come before the payloads, which start at a multiple of a page. Words
    // are atomics, and only the owner of a block accesses its payload. Of the words and the payloads the allocator accesses none
    // that it has not committed: then they are mapped, and they stay so.
    let scratch = unsafe {
        let words = std::slice::from_raw_parts(first.cast::<Word>(), layout.data_at() as usize / 8);
        Scratch::new(words, data as *mut u8, layout)
    };
    scratch.init();
    // Relaxed, both: see `offset`.
    DATA.store(data as *mut u8, Ordering::Relaxed);
    BYTES.store(layout.capacity() as usize, Ordering::Relaxed);
    // SAFETY: there is no lease table and no other process in this memory. Forked children have their own copy of all of it.
    let me = unsafe { Acquire::assume(OWNER) };
    Some(Region { scratch, me })
}

/// How much more than `bytes` of payloads, or of block words of such payloads, to map at once: so that calls to the system, and mappings that
/// are not adjacent, stay few.
fn step(payloads: u64, part: u64, least: u64) -> u64 {
    (payloads / part).next_power_of_two().clamp(least, 64 << 20)
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
        let layout = scratch.layout();
        let (data_at, all) = (layout.data_at(), layout.bytes());
        let ahead = if bytes.start >= data_at {
            let step = step(bytes.end - data_at, 32, 1 << 20);
            bytes.start..(bytes.end - data_at).next_multiple_of(step) + data_at
        } else {
            let step = step(u64::from(scratch.ready_units()) * UNIT as u64, 8192, PAGE as u64);
            bytes.start / step * step..bytes.end.next_multiple_of(step)
        };
        let start = scratch.address(0) as usize - data_at as usize;
        let addresses =
            |bytes: &Range<u64>| start + bytes.start as usize..start + bytes.end.min(all) as usize;
        let (needed, ahead) = (addresses(&bytes), addresses(&ahead));
        // A little may be there where more is not.
        if !MAPPED.with(|mapped| mapped.has(&needed) || mapped.map(&ahead) || mapped.map(&needed)) {
            refused();
            return Err(OutOfMemory);
        }
        if bytes.start >= data_at {
            self.fresh.set((bytes.start - data_at, bytes.end - data_at));
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
