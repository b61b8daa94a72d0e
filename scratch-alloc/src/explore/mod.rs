//! Small worlds in which members die or are stopped before each of their accesses to shared words.
//!
//! A world is private memory with a few members played by one thread. `crash` lets one die at every step of every
//! operation, and another recover it, which dies at every step too; `preempt` stops one at every step while others do the
//! most harmful operations, and then lets it go on. A region is correct if `check()` and the books kept here agree: blocks never
//! overlap, they keep their contents, and in the end the whole region can be allocated as one block.

mod crash;
mod hooks;
mod preempt;

use std::alloc::Layout as Request;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tenure_core::testing::step;
use tenure_core::{Acquire, LeaseId, Recovery};

use crate::class::class_bytes;
use crate::error::{AllocError, OutOfMemory};
use crate::geometry::{Geometry, Layout};
use crate::local::Local;
use crate::recover::Recovered;
use crate::scratch::{Backing, Found, Scratch};
use crate::sync::Word;
use crate::word::{Block, Unit};

/// Units of 1 KiB, all committed.
pub(super) const TINY: Geometry = Geometry { bytes: 8 << 10, unit_bytes: 1 << 10 };
/// Units of 1 KiB, committed when needed.
pub(super) const LAZY: Geometry = Geometry { bytes: 66 << 10, unit_bytes: 1 << 10 };
/// Bytes of a class that has two-unit spans of 5 blocks in these geometries.
pub(super) const TWO_UNITS: usize = 384;

/// Memory that can always be committed, unless a test lets it refuse.
#[derive(Default)]
pub(super) struct Memory {
    /// The number of commits before one is refused; `None` refuses nothing.
    pub(super) refuse_after: Cell<Option<u32>>,
    /// The longest commit that is not refused, in bytes; 0 for any.
    pub(super) longest: Cell<u64>,
    /// Whether decommits are refused.
    pub(super) keep: Cell<bool>,
}

impl Backing for Memory {
    fn commit(&self, bytes: Range<u64>) -> Result<(), OutOfMemory> {
        step();
        if self.longest.get() != 0 && bytes.end - bytes.start > self.longest.get() {
            return Err(OutOfMemory);
        }
        match self.refuse_after.get() {
            None => Ok(()),
            Some(0) => Err(OutOfMemory),
            Some(left) => {
                self.refuse_after.set(Some(left - 1));
                Ok(())
            }
        }
    }

    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
        step();
        (!self.keep.get()).then_some(bytes)
    }
}

/// The holder that frees a block in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Lease(u8),
    Handle(u32, u64),
    Pin,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    bytes: u64,
    fill: u8,
    holder: Holder,
}

pub(super) struct World {
    words: Box<[Word]>,
    data: Box<[u64]>,
    layout: Box<Layout>,
    pub(super) memory: Memory,
    live: Cell<u64>,
    handles: RefCell<BTreeSet<(u32, u64)>>,
    books: RefCell<BTreeMap<u64, Entry>>,
    /// A member that is about to free a block of another owner: its lease, and the entry, which returns to the books if the member
    /// dies too early.
    doubtful: Cell<Option<(u8, u64, Entry)>>,
    /// Blocks of ended handles; the member that ended the handle may have died before it freed the block.
    orphans: RefCell<Vec<(u64, u32)>>,
    fills: Cell<u8>,
}

impl World {
    pub(super) fn new(geometry: Geometry) -> Self {
        let layout = Box::new(geometry.layout().unwrap());
        let words = (0..layout.data_at() / 8).map(|_| Word::new(0)).collect();
        let data = vec![0; layout.capacity() as usize / 8].into();
        let world = Self {
            words,
            data,
            layout,
            memory: Memory::default(),
            live: Cell::new(0),
            handles: RefCell::default(),
            books: RefCell::default(),
            doubtful: Cell::new(None),
            orphans: RefCell::default(),
            fills: Cell::new(0),
        };
        world.scratch().init();
        world
    }

    pub(super) fn scratch(&self) -> Scratch<'_> {
        // SAFETY: the buffer is as long as the capacity and lives as long as the world. It is aligned to 8 only, which is
        // enough here: nobody asks these worlds for aligned blocks.
        unsafe { Scratch::new(&self.words, self.data.as_ptr().cast_mut().cast(), &self.layout) }
    }

    pub(super) fn join(&self, index: u8) -> Player<'_> {
        assert!(!self.is_live(index), "two live members {index}");
        self.live.set(self.live.get() | 1 << index);
        // SAFETY: one simulated member at a time acts as `index`.
        let me = unsafe { Acquire::assume(LeaseId { index, incarnation: 1 }) };
        Player { local: Local::new(self.scratch(), &me), me, world: self }
    }

    fn is_live(&self, index: u8) -> bool {
        self.live.get() >> index & 1 == 1
    }

    pub(super) fn is_current(&self, index: u32, generation: u64) -> bool {
        self.handles.borrow().contains(&(index, generation))
    }

    /// One pass of a recovery of `dead`; the caller has proved that it is dead.
    pub(super) fn recover(&self, dead: u8, by: u8) -> Recovered {
        // SAFETY: the simulated owner of `dead` does nothing any more, and no member takes its lease.
        let recovery = unsafe { Recovery::assume(LeaseId { index: dead, incarnation: 1 }, by) };
        self.scratch().recover(&recovery, &|index, generation| self.is_current(index, generation))
    }

    fn word_agrees(&self, offset: u64, holder: Holder) -> bool {
        let owner = self.scratch().find(offset).map(|found| found.owner);
        match holder {
            Holder::Lease(index) => matches!(owner, Ok(Block::Lease { lease, .. }) if lease == index),
            Holder::Handle(index, generation) => owner == Ok(Block::Attached { index, generation }),
            Holder::Pin => matches!(owner, Ok(Block::Pinned { .. })),
        }
    }

    /// Removes the blocks that die with `dead` from the books; its recovery may begin now.
    pub(super) fn reap(&self, dead: u8) {
        if let Some((by, offset, entry)) = self.doubtful.get()
            && by == dead
        {
            self.doubtful.set(None);
            if self.word_agrees(offset, entry.holder) {
                // Unless the block was freed, and the books have it as the owner's next block.
                self.books.borrow_mut().entry(offset).or_insert(entry);
            }
        }
        self.books.borrow_mut().retain(|offset, entry| {
            // The member may have died right after it passed the block on.
            if entry.holder == Holder::Lease(dead) {
                match self.scratch().find(*offset).map(|found| found.owner) {
                    Ok(Block::Attached { index, generation }) => {
                        entry.holder = Holder::Handle(index, generation)
                    }
                    Ok(Block::Pinned { .. }) => entry.holder = Holder::Pin,
                    _ => return false,
                }
            }
            true
        });
        for (offset, index) in self.orphans.take() {
            self.scratch()
                .free_orphan(offset, index, &|index, generation| self.is_current(index, generation));
        }
    }

    /// Recovers until the lease is free.
    pub(super) fn recover_and_recover(&self, dead: u8, by: u8) {
        self.reap(dead);
        self.recover(dead, by);
        self.rest(dead);
    }

    /// Marks the lease of a recovered member as free.
    pub(super) fn rest(&self, dead: u8) {
        self.live.set(self.live.get() & !(1 << dead));
    }

    /// Ends a handle; any member may free its block.
    pub(super) fn end_handle(&self, index: u32, generation: u64) {
        self.handles.borrow_mut().remove(&(index, generation));
        let holder = Holder::Handle(index, generation);
        self.books.borrow_mut().retain(|offset, entry| {
            if entry.holder == holder {
                self.orphans.borrow_mut().push((*offset, index));
            }
            entry.holder != holder
        });
    }

    /// Whether the books say that the block at `offset` belongs to lease `index`.
    pub(super) fn is_leased(&self, offset: u64, index: u8) -> bool {
        self.books.borrow().get(&offset).is_some_and(|entry| entry.holder == Holder::Lease(index))
    }

    /// The block of a handle.
    pub(super) fn held_by(&self, index: u32, generation: u64) -> u64 {
        let books = self.books.borrow();
        let held = books.iter().find(|(_, entry)| entry.holder == Holder::Handle(index, generation));
        *held.expect("a handle with a block").0
    }

    fn doubt(&self, by: u8, offset: u64) {
        let entry = self.books.borrow_mut().remove(&offset).expect("in the books");
        self.doubtful.set(Some((by, offset, entry)));
    }

    fn fill(&self, offset: u64, entry: Entry) {
        for at in [0, entry.bytes / 2, entry.bytes - 1] {
            // SAFETY: inside of a block that is in use by the books, on the only thread.
            unsafe { self.scratch().address(offset + at).write(entry.fill) };
        }
    }

    /// Asserts that the blocks in the books do not overlap and have the contents that were written, and that the words agree.
    pub(super) fn verify(&self, stable: bool) {
        let mut end = 0;
        for (&offset, entry) in self.books.borrow().iter() {
            assert!(offset >= end, "the block at {offset} overlaps the one before, which ends at {end}");
            end = offset + entry.bytes;
            for at in [0, entry.bytes / 2, entry.bytes - 1] {
                // SAFETY: as in `fill`.
                let found = unsafe { self.scratch().address(offset + at).read() };
                assert_eq!(found, entry.fill, "the contents of the block at {offset} changed");
            }
            let found = self.scratch().find(offset).expect("a block in the books");
            assert!(found.bytes >= entry.bytes);
            assert!(
                self.word_agrees(offset, entry.holder),
                "the block at {offset} is {:?}, expected {entry:?}",
                found.owner
            );
        }
        let report = self.scratch().check(stable, &|lease| self.is_live(lease), &|index, generation, _| {
            self.is_current(index, generation)
        });
        assert_eq!(report.violations, [""; 0]);
        if stable {
            assert_eq!(report.pending, [""; 0]);
            assert_eq!(
                report.blocks_live(),
                self.books.borrow().len() as u64,
                "blocks that nobody has: {report:?}"
            );
        }
    }

    /// Asserts that `survivor` can allocate every unit without an owner, and every free block of its own spans and of abandoned ones:
    /// nothing is lost while it lives.
    pub(super) fn exhaust(&self, survivor: &mut Player<'_>) {
        survivor.alloc_all(self.layout.unit_bytes() as usize);
        for class in 0..self.layout.classes {
            if self.free_blocks(survivor.index()).any(|found| found.shape.class == class) {
                survivor.alloc_all(class_bytes(class) as usize);
            }
        }
        let lost: Vec<_> = self.free_blocks(survivor.index()).collect();
        assert!(lost.is_empty(), "nobody will ever have {lost:?}");
        for unit in 0..self.layout.units {
            let state = self.scratch().unit_state(unit);
            assert!(
                !matches!(state, Unit::Unbacked | Unit::Free),
                "unit {unit} is {state:?} and not to be had"
            );
        }
        self.verify(true);
    }

    fn free_blocks(&self, owner: u8) -> impl Iterator<Item = Found> {
        let scratch = self.scratch();
        (0..scratch.ready())
            .filter_map(move |head| match scratch.unit_state(head) {
                Unit::Span(of, shape) if of.lease == owner => Some((head, shape)),
                Unit::Abandoned(shape) => Some((head, shape)),
                _ => None,
            })
            .flat_map(move |(head, shape)| scratch.blocks_of(head, shape))
            .filter(|found| matches!(found.owner, Block::Free | Block::Remote))
    }

    /// All members leave and all handles end; asserts that a new member can allocate the whole region.
    pub(super) fn end(&self) {
        self.verify(true);
        for index in 0..64 {
            if self.is_live(index) {
                self.recover_and_recover(index, index);
            }
        }
        self.verify(true);
        let mut last = self.join(63);
        let books = std::mem::take(&mut *self.books.borrow_mut());
        self.handles.borrow_mut().clear();
        for (offset, entry) in books {
            match entry.holder {
                Holder::Lease(_) => unreachable!("nobody is left"),
                Holder::Handle(index, generation) if offset % 128 == 0 => {
                    last.local.free_attached(offset, index, generation).unwrap();
                }
                Holder::Handle(index, _) => {
                    assert!(self.scratch().free_orphan(offset, index, &|_, _| false));
                }
                Holder::Pin => self.scratch().free_pinned(&last.me, offset).unwrap(),
            }
        }
        self.memory.keep.set(false);
        last.local.trim(&self.memory);
        for unit in 0..self.scratch().ready() {
            let state = self.scratch().unit_state(unit);
            assert!(matches!(state, Unit::Unbacked | Unit::Free), "unit {unit} is {state:?} in the end");
        }
        self.memory.refuse_after.set(None);
        self.memory.longest.set(0);
        let all = last.alloc(self.layout.capacity() as usize).expect("the whole region as one block");
        assert_eq!(all, 0);
        last.local.free(all).unwrap();
        self.books.borrow_mut().clear();
        self.recover_and_recover(63, 63);
        self.verify(true);
    }
}

/// A simulated member with one local.
pub(super) struct Player<'w> {
    pub(super) local: Local<'w>,
    pub(super) me: Acquire,
    pub(super) world: &'w World,
}

impl Player<'_> {
    pub(super) fn index(&self) -> u8 {
        self.me.id().index
    }

    pub(super) fn alloc(&mut self, bytes: usize) -> Result<u64, AllocError> {
        let offset = self.local.alloc(Request::from_size_align(bytes, 1).unwrap(), &self.world.memory)?;
        self.entered(offset, bytes as u64);
        Ok(offset)
    }

    fn entered(&mut self, offset: u64, bytes: u64) {
        let fill = self.world.fills.get().wrapping_add(1);
        self.world.fills.set(fill);
        let entry = Entry { bytes, fill, holder: Holder::Lease(self.index()) };
        self.world.fill(offset, entry);
        let before = self.world.books.borrow_mut().insert(offset, entry);
        assert!(before.is_none(), "the block at {offset} was given out twice: {before:?}");
    }

    pub(super) fn alloc_all(&mut self, bytes: usize) -> Vec<u64> {
        std::iter::from_fn(|| self.alloc(bytes).ok()).collect()
    }

    pub(super) fn free(&mut self, offset: u64) {
        self.world.books.borrow_mut().remove(&offset).expect("in the books");
        self.local.free(offset).unwrap();
    }

    /// Frees a block that `owner` passed to this member.
    pub(super) fn free_of(&mut self, offset: u64, owner: u8) {
        self.world.doubt(self.index(), offset);
        self.world.scratch().free_of(&self.me, offset, LeaseId { index: owner, incarnation: 1 }).unwrap();
        self.world.doubtful.set(None);
    }

    pub(super) fn free_pinned(&mut self, offset: u64) {
        self.world.doubt(self.index(), offset);
        self.world.scratch().free_pinned(&self.me, offset).unwrap();
        self.world.doubtful.set(None);
    }

    pub(super) fn attach(&mut self, offset: u64, index: u32, generation: u64) {
        self.world.handles.borrow_mut().insert((index, generation));
        self.local.attach(&self.me, offset, index, generation).unwrap();
        self.world.books.borrow_mut().get_mut(&offset).unwrap().holder = Holder::Handle(index, generation);
    }

    pub(super) fn pin(&mut self, offset: u64) {
        self.world.scratch().pin(&self.me, offset).unwrap();
        self.world.books.borrow_mut().get_mut(&offset).unwrap().holder = Holder::Pin;
    }

    pub(super) fn realloc(&mut self, offset: u64, bytes: usize) -> u64 {
        self.try_realloc(offset, bytes).unwrap()
    }

    pub(super) fn try_realloc(&mut self, offset: u64, bytes: usize) -> Result<u64, AllocError> {
        let request = Request::from_size_align(bytes, 1).unwrap();
        let entry = self.world.books.borrow()[&offset];
        let to = self
            .local
            .realloc(offset, request, &self.world.memory)
            .map_err(|e| e.expect("a block of ours"))?;
        self.world.books.borrow_mut().remove(&offset);
        // SAFETY: a block of this member, on the only thread.
        let first = unsafe { self.world.scratch().address(to).read() };
        assert_eq!(first, entry.fill, "realloc lost the contents");
        self.entered(to, bytes as u64);
        Ok(to)
    }

    /// Dies idle, and `by` recovers it.
    pub(super) fn die(self, by: u8) {
        self.world.recover_and_recover(self.index(), by);
    }
}
