//! Allocation recordings: allocations, resizes and frees of blocks, by thread.

use std::collections::{HashMap, VecDeque};

use super::error::TraceError;
use super::lines::{Fields, Lines};

pub(super) const FIRST_LINE: &str = "# allocation trace v1";

/// Maximum number of threads in one recorded process.
const THREADS_MAX: usize = 64;
/// Maximum number of processes in one recording.
const PROCESSES_MAX: usize = 4096;
/// Maximum size and alignment of a block, in bytes.
const BYTES_MAX: u64 = 1 << 40;
const ALIGN_MAX: u64 = 1 << 21;
/// In a process with several threads: minimum number of free slots before the oldest one is reused.
const RESTING_SLOTS: usize = 4096;

/// An allocation recording.
#[derive(Debug)]
pub struct AllocationTrace {
    /// File name or name of the built-in recording.
    pub name: String,
    /// The recorded processes, in file order; their block ids are independent.
    pub processes: Vec<AllocationProcess>,
}

/// The steps of one recorded process.
#[derive(Debug, Default)]
pub struct AllocationProcess {
    /// The steps of each thread, in the order of that thread.
    pub threads: Vec<Vec<AllocationStep>>,
    /// Upper bound (exclusive) of the slot numbers; a slot names at most one live block at any time.
    pub slot_count: u32,
    /// Maximum number of bytes that were live at once.
    pub peak_bytes: u64,
    /// Size of the largest block, in bytes.
    pub largest_bytes: u64,
}

/// One operation of a thread on a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationStep {
    /// New size in bytes; 0 for a free.
    pub bytes: u64,
    /// Point in another thread that must be reached before this step.
    pub after: After,
    /// Slot of the block.
    pub slot: u32,
    /// Operation on the block.
    pub verb: Verb,
}

/// A point in another thread: its first `steps` steps are complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct After {
    /// Position of that thread; meaningless when `steps` is 0.
    pub thread: u16,
    /// Number of its steps; 0 when this step waits for no other thread.
    pub steps: u32,
}

/// An operation on a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Allocate at the natural alignment.
    Alloc,
    /// Allocate at 2 to this power.
    Aligned(u8),
    /// Change its size.
    Realloc,
    /// Free it.
    Free,
}

impl AllocationProcess {
    /// The number of steps of all threads.
    pub fn step_count(&self) -> usize {
        self.threads.iter().map(Vec::len).sum()
    }
}

#[derive(Debug, Clone, Copy)]
struct Live {
    slot: u32,
    bytes: u64,
}

#[derive(Default)]
struct Parser {
    processes: Vec<AllocationProcess>,
    current: AllocationProcess,
    /// Recorded thread number -> position, in this process.
    threads: HashMap<u64, u16>,
    thread: u16,
    live: HashMap<u64, Live>,
    /// For every slot: the thread that did the last step on it, and the number of steps that thread had done by then.
    last: Vec<After>,
    free_slots: VecDeque<u32>,
    live_bytes: u64,
}

pub(super) fn parse(mut lines: Lines<'_>) -> Result<AllocationTrace, TraceError> {
    let mut parser = Parser::default();
    while let Some(fields) = lines.next_fields()? {
        parser.line(&fields)?;
    }
    parser.end_process();
    Ok(AllocationTrace { name: lines.name().to_owned(), processes: parser.processes })
}

impl Parser {
    fn line(&mut self, fields: &Fields<'_>) -> Result<(), TraceError> {
        match fields.verb {
            "p" => {
                let [_process] = fields.numbers("p PROCESS")?;
                self.end_process();
                if self.processes.len() == PROCESSES_MAX {
                    return Err(fields.malformed(format!("at most {PROCESSES_MAX} processes"), "more"));
                }
            }
            "t" => {
                let [thread] = fields.numbers("t THREAD")?;
                self.switch(fields, thread)?;
            }
            "a" => {
                let [id, bytes] = fields.numbers("a ID BYTES")?;
                self.alloc(fields, id, bytes, Verb::Alloc)?;
            }
            "l" => {
                let [id, bytes, align] = fields.numbers("l ID BYTES ALIGN")?;
                if !align.is_power_of_two() || align > ALIGN_MAX {
                    let expected = format!("an alignment that is a power of two up to {ALIGN_MAX}");
                    return Err(fields.malformed(expected, align.to_string()));
                }
                self.alloc(fields, id, bytes, Verb::Aligned(align.trailing_zeros() as u8))?;
            }
            "r" => {
                let [id, bytes] = fields.numbers("r ID BYTES")?;
                self.realloc(fields, id, bytes)?;
            }
            "f" => {
                let [id] = fields.numbers("f ID")?;
                self.free(fields, id)?;
            }
            _ => return Err(fields.malformed("p, t, a, l, r or f", fields.quoted())),
        }
        Ok(())
    }

    fn end_process(&mut self) {
        let ended = std::mem::take(&mut self.current);
        if ended.step_count() > 0 {
            self.processes.push(ended);
        }
        let processes = std::mem::take(&mut self.processes);
        *self = Self { processes, ..Self::default() };
    }

    fn switch(&mut self, fields: &Fields<'_>, thread: u64) -> Result<(), TraceError> {
        let next = self.threads.len();
        if next == THREADS_MAX && !self.threads.contains_key(&thread) {
            return Err(fields.malformed(format!("at most {THREADS_MAX} threads in a process"), "more"));
        }
        self.thread = *self.threads.entry(thread).or_insert(next as u16);
        Ok(())
    }

    fn alloc(&mut self, fields: &Fields<'_>, id: u64, bytes: u64, verb: Verb) -> Result<(), TraceError> {
        self.check_bytes(fields, bytes)?;
        if self.live.contains_key(&id) {
            return Err(
                fields.malformed(format!("an id that is not in use (block {id} is live)"), fields.quoted())
            );
        }
        let slot = self.free_slot().unwrap_or_else(|| {
            self.last.push(After { thread: 0, steps: 0 });
            self.last.len() as u32 - 1
        });
        self.live.insert(id, Live { slot, bytes });
        self.resized(0, bytes);
        self.step(slot, bytes, verb);
        Ok(())
    }

    fn realloc(&mut self, fields: &Fields<'_>, id: u64, bytes: u64) -> Result<(), TraceError> {
        self.check_bytes(fields, bytes)?;
        let Some(live) = self.live.get_mut(&id) else { return Err(not_live(fields, id)) };
        let before = std::mem::replace(live, Live { bytes, ..*live });
        self.resized(before.bytes, bytes);
        self.step(before.slot, bytes, Verb::Realloc);
        Ok(())
    }

    fn free(&mut self, fields: &Fields<'_>, id: u64) -> Result<(), TraceError> {
        let Some(live) = self.live.remove(&id) else { return Err(not_live(fields, id)) };
        self.resized(live.bytes, 0);
        self.step(live.slot, 0, Verb::Free);
        self.free_slots.push_back(live.slot);
        Ok(())
    }

    /// Returns a slot to reuse. With several threads a slot rests first: the thread that reuses it waits for the thread
    /// that freed it.
    fn free_slot(&mut self) -> Option<u32> {
        match self.threads.len() {
            0 | 1 => self.free_slots.pop_back(),
            _ if self.free_slots.len() < RESTING_SLOTS => None,
            _ => self.free_slots.pop_front(),
        }
    }

    fn check_bytes(&self, fields: &Fields<'_>, bytes: u64) -> Result<(), TraceError> {
        if bytes > BYTES_MAX {
            return Err(fields.malformed(format!("at most {BYTES_MAX} bytes"), bytes.to_string()));
        }
        Ok(())
    }

    fn resized(&mut self, from: u64, to: u64) {
        self.live_bytes = self.live_bytes - from + to;
        self.current.peak_bytes = self.current.peak_bytes.max(self.live_bytes);
        self.current.largest_bytes = self.current.largest_bytes.max(to);
    }

    fn step(&mut self, slot: u32, bytes: u64, verb: Verb) {
        // A process may begin without naming a thread: its first thread is meant.
        if self.threads.is_empty() {
            self.threads.insert(0, 0);
        }
        self.current.threads.resize_with(self.threads.len().max(self.current.threads.len()), Vec::new);
        let last = self.last[slot as usize];
        let after = if last.thread == self.thread { After { steps: 0, ..last } } else { last };
        let steps = &mut self.current.threads[usize::from(self.thread)];
        steps.push(AllocationStep { bytes, after, slot, verb });
        self.last[slot as usize] = After { thread: self.thread, steps: steps.len() as u32 };
        self.current.slot_count = self.last.len() as u32;
    }
}

#[cold]
fn not_live(fields: &Fields<'_>, id: u64) -> TraceError {
    fields.malformed(format!("the id of a live block (block {id} is not)"), fields.quoted())
}
