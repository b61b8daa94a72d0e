//! Operations of a thread on scratch memory. Every block is filled when it is allocated, and verified before it is
//! freed or given away.

use std::alloc::Layout;

use tenure::{Block, LeaseId, Local, raw::RawBlock};

use crate::pattern;

use super::chance::{Act, Choice};
use super::hands::{Hands, must};
use super::pinned::{self, Label};
use super::talk::{Gift, Outcome};
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};

/// Maximum number of blocks of a thread.
const CHUNKS_MAX: usize = 96;
/// Maximum number of pinned blocks of a thread.
const PINS_MAX: usize = 8;

/// The owner of a block.
pub(super) enum Memory {
    Local(RawBlock),
    Owned(Block),
    Pinned(RawBlock),
}

/// A block of this thread.
pub(super) struct Chunk {
    space: usize,
    memory: Memory,
    align: usize,
    key: u64,
}

impl Chunk {
    fn scratch(&self) -> RawBlock {
        match &self.memory {
            Memory::Local(scratch) | Memory::Pinned(scratch) => *scratch,
            Memory::Owned(block) => RawBlock { offset: block.offset(), len: block.len() },
        }
    }
}

/// Block size in bytes: mostly up to 1 KiB, one in nine up to 16 KiB, one in 64 up to half a MiB.
fn bytes(how: u64) -> usize {
    let below = |limit: u64| 1 + ((how >> 8) % limit) as usize;
    match how % 64 {
        0 => below(512 << 10),
        1..=7 => below(16 << 10),
        _ => below(1 << 10),
    }
}

fn verify(local: &Local<'_>, scratch: RawBlock, bytes: usize, key: u64) -> Result<(), Trouble> {
    // SAFETY: the block is in use and has at least `bytes` bytes; only this thread writes it.
    unsafe { pattern::verify(local.address(scratch), bytes, scratch.len, key) }.map_err(|at| {
        let text =
            format!("block of {} bytes at {}: byte {at} is not as written", scratch.len, scratch.offset);
        (Wrong::MixedUp, text)
    })
}

fn fill(local: &Local<'_>, scratch: RawBlock, key: u64) {
    // SAFETY: the block is ours and has that many bytes; only this thread accesses it.
    unsafe { pattern::fill(local.address(scratch), scratch.len, key) }
}

impl Hands<'_> {
    /// Executes a choice that is about blocks.
    pub(super) fn block_act(&mut self, choice: Choice) -> Result<(), Trouble> {
        let full = self.chunks.len() >= CHUNKS_MAX;
        match choice.act {
            Act::Alloc | Act::AllocOwned | Act::AllocZeroed | Act::AllocAligned if full => {
                self.free_one(choice)
            }
            Act::Alloc | Act::AllocOwned | Act::AllocZeroed | Act::AllocAligned => self.alloc(choice),
            Act::Resize => self.resize(choice),
            Act::Verify => self.verify_one(choice),
            Act::Give => self.give(choice),
            Act::Pin => self.pin(choice),
            Act::Unpin => self.unpin(choice),
            Act::Trim => must("trim", self.member(choice.space as usize).trim()).map(drop),
            _ => self.free_one(choice),
        }
    }

    fn pick_chunk(&self, which: u64) -> Option<usize> {
        (!self.chunks.is_empty()).then(|| (which % self.chunks.len() as u64) as usize)
    }

    fn alloc(&mut self, choice: Choice) -> Result<(), Trouble> {
        let space = self.space(choice.space);
        let member = self.member(space);
        let mut local = member.local();
        let align = if choice.act == Act::AllocAligned { 16 << (choice.which % 8) } else { 1 };
        let layout = must("lay out", Layout::from_size_align(bytes(choice.how), align))?;
        let memory = match choice.act {
            Act::AllocOwned => self.room("alloc", member.alloc(layout))?.map(Memory::Owned),
            Act::AllocZeroed => self.room("alloc", local.alloc_zeroed(layout))?.map(Memory::Local),
            _ => self.room("alloc", local.alloc(layout))?.map(Memory::Local),
        };
        let Some(memory) = memory else { return Ok(()) };
        let chunk = Chunk { space, memory, align, key: choice.key };
        let scratch = chunk.scratch();
        let address = local.address(scratch);
        if !address.addr().is_multiple_of(align) {
            return Err((Wrong::MixedUp, format!("expected alignment {align}, found address {address:p}")));
        }
        if choice.act == Act::AllocZeroed {
            // SAFETY: the block is ours and has that many bytes.
            unsafe { pattern::verify_zero(address, scratch.len) }
                .map_err(|at| (Wrong::MixedUp, format!("a zeroed block is not zero at {at}")))?;
        }
        let usable = must("ask how much is usable", local.usable(scratch))?;
        if usable < scratch.len as u64 {
            return Err((Wrong::MixedUp, format!("{usable} bytes usable of {}", scratch.len)));
        }
        fill(&local, scratch, chunk.key);
        self.chunks.push(chunk);
        Ok(())
    }

    fn resize(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick_chunk(choice.which) else { return self.idle() };
        let (space, align, key) = (self.chunks[at].space, self.chunks[at].align, self.chunks[at].key);
        let mut local = self.member(space).local();
        let before = self.chunks[at].scratch();
        verify(&local, before, before.len, key)?;
        let len = bytes(choice.how);
        let layout = must("lay out", Layout::from_size_align(len, align))?;
        let resized = match &mut self.chunks[at].memory {
            Memory::Owned(block) => {
                let resized = block.resize(len);
                let scratch = RawBlock { offset: block.offset(), len };
                self.room("resize", resized)?.map(|()| scratch)
            }
            Memory::Local(scratch) | Memory::Pinned(scratch) => {
                let from = *scratch;
                // SAFETY: we own the block as a raw value, and nobody uses the old bytes any more.
                let resized = self.room("resize", unsafe { local.realloc(from, layout) })?;
                if let Some(to) = resized
                    && let Memory::Local(scratch) = &mut self.chunks[at].memory
                {
                    *scratch = to;
                }
                resized
            }
        };
        let Some(after) = resized else { return verify(&local, before, before.len, key) };
        // SAFETY: both sizes are at least that many bytes, and the block is ours.
        unsafe { pattern::verify(local.address(after), len.min(before.len), before.len, key) }.map_err(
            |byte| {
                (Wrong::MixedUp, format!("resized from {} to {len} bytes, byte {byte} changed", before.len))
            },
        )?;
        fill(&local, after, key);
        Ok(())
    }

    fn verify_one(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick_chunk(choice.which) else { return self.idle() };
        let chunk = &self.chunks[at];
        let (local, scratch) = (self.member(chunk.space).local(), chunk.scratch());
        if self.negative_control(NegativeControl::Corrupt) {
            // SAFETY: the block is ours and not empty.
            unsafe { *local.address(scratch) ^= 1 };
        }
        verify(&local, scratch, scratch.len, chunk.key)
    }

    fn free_one(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick_chunk(choice.which) else { return self.idle() };
        let chunk = self.chunks.swap_remove(at);
        self.free(chunk)
    }

    fn free(&self, chunk: Chunk) -> Result<(), Trouble> {
        let (member, scratch) = (self.member(chunk.space), chunk.scratch());
        let mut local = member.local();
        verify(&local, scratch, scratch.len, chunk.key)?;
        match chunk.memory {
            Memory::Pinned(_) => {
                // SAFETY: the block is ours by agreement, and nobody uses its bytes any more.
                return must("free a pinned block", unsafe { member.free_pinned(scratch.offset) });
            }
            Memory::Owned(block) => drop(block),
            // SAFETY: we own the block as a raw value, and nobody uses its bytes any more.
            Memory::Local(_) => must("free", unsafe { local.free(scratch) })?,
        }
        // With a second thread it may have been allocated again.
        // SAFETY: with one thread no block starts there any more.
        if self.home.fate.threads == 1 && unsafe { local.free(scratch) }.is_ok() {
            return Err((Wrong::MixedUp, format!("the block at {} was freed twice", scratch.offset)));
        }
        Ok(())
    }

    fn give(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick_chunk(choice.which) else { return self.idle() };
        if self.given.len() >= CHUNKS_MAX / 8 {
            return self.idle();
        }
        let chunk = self.chunks.swap_remove(at);
        let (scratch, owner) = (chunk.scratch(), self.member(chunk.space).lease());
        let gift = Gift::Block {
            offset: scratch.offset,
            len: scratch.len,
            owner_index: owner.index,
            owner_incarnation: owner.incarnation,
            key: chunk.key,
        };
        let space = chunk.space;
        let memory = match chunk.memory {
            Memory::Owned(block) => Memory::Local(block.give()),
            memory => memory,
        };
        let chunk = Chunk { memory, ..chunk };
        match self.post(choice.how, space, gift)? {
            Some(number) => drop(self.given.insert(number, chunk)),
            None => self.chunks.push(chunk),
        }
        Ok(())
    }

    /// Handles the outcome of a block that was given away.
    pub(super) fn given_back(&mut self, chunk: Chunk, outcome: &Outcome) {
        // If the outcome is unknown, the block is kept until this member leaves or dies: it may have been freed and
        // allocated again.
        if *outcome == Outcome::Declined {
            self.chunks.push(chunk);
        }
    }

    /// Frees a block that another member gave to this one.
    pub(super) fn free_for_another(&self, space: usize, gift: Gift) -> Result<Outcome, Trouble> {
        let Gift::Block { offset, len, owner_index, owner_incarnation, key } = gift else {
            return Ok(Outcome::Declined);
        };
        let mut local = self.member(space).local();
        let scratch = RawBlock { offset, len };
        if let Err((_, text)) = verify(&local, scratch, len, key) {
            return Ok(Outcome::Doubtful(format!("given: {text}")));
        }
        let owner = LeaseId { index: owner_index, incarnation: owner_incarnation };
        // SAFETY: its owner gave it to us, and does not access it any more.
        Ok(match unsafe { local.free_of(scratch, owner) } {
            Ok(()) => Outcome::Taken,
            Err(error) => Outcome::Doubtful(format!("a given block cannot be freed: {error}")),
        })
    }

    fn pin(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.pins.len() >= PINS_MAX {
            return self.idle();
        }
        let space = self.space(choice.space);
        let member = self.member(space);
        let len = pinned::LABEL_BYTES + bytes(choice.how) % (8 << 10);
        let layout = must("lay out", Layout::from_size_align(len, 8))?;
        let Some(mut block) = self.room("alloc", member.alloc(layout))? else { return Ok(()) };
        let leak = self.negative_control(NegativeControl::Leak);
        let (seat, incarnation) = (self.home.orders.seat as u64, self.home.orders.incarnation);
        let label = Label { seat, incarnation: if leak { u64::MAX } else { incarnation }, key: choice.key };
        label.write(&mut block);
        let offset = block.pin().map_err(|error| (Wrong::Refused, format!("cannot pin: {error}")))?;
        let memory = Memory::Pinned(RawBlock { offset, len });
        if !leak {
            self.pins.push(Chunk { space, memory, align: 8, key: choice.key });
        }
        Ok(())
    }

    fn unpin(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.pins.is_empty() {
            return self.idle();
        }
        let chunk = self.pins.swap_remove((choice.which % self.pins.len() as u64) as usize);
        let (member, scratch) = (self.member(chunk.space), chunk.scratch());
        let start = member.local().address(scratch);
        // SAFETY: the block is pinned by us, has that many bytes, and nobody else accesses it.
        let block = unsafe { std::slice::from_raw_parts(start, scratch.len) };
        let found = Label::read(block).map_err(|text| (Wrong::MixedUp, format!("pinned by us: {text}")))?;
        if found.key != chunk.key {
            return Err((Wrong::MixedUp, format!("a pinned block of ours is {found:?}")));
        }
        // SAFETY: the block is ours by agreement, and nobody uses its bytes any more.
        must("free a pinned block", unsafe { member.free_pinned(scratch.offset) })
    }

    /// Verifies and frees every block; pinned ones stay for the director.
    pub(super) fn let_go_of_blocks(mut self) -> Result<(), Trouble> {
        for chunk in std::mem::take(&mut self.chunks) {
            self.free(chunk)?;
        }
        Ok(())
    }
}
