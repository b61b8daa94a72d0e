//! Replays an allocation recording: every block is filled when it is allocated, and verified before it is freed or
//! resized.

use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tenure::{Local, Member, raw::RawBlock};

use crate::pattern;
use crate::verdict::{Trouble, Wrong};
use crate::wire::Counters;
use tenure_traces::{After, AllocationProcess, AllocationStep, Verb};

use super::jobs::{Job, JobName, Jobs};
use super::thread_cpu_ns;
use crate::Failed;
use crate::negative_control::NegativeControl;

/// Number of steps between two checks for commands.
const SLICE_STEPS: usize = 1000;

/// A live block of the replay.
#[derive(Clone, Copy)]
struct Live {
    scratch: RawBlock,
    layout: Layout,
    key: u64,
}

/// Storage of the live blocks of a replay, by slot.
trait Slots {
    fn put(&mut self, slot: u32, live: Live);
    fn take(&mut self, slot: u32) -> Option<Live>;
}

impl Slots for Vec<Option<Live>> {
    fn put(&mut self, slot: u32, live: Live) {
        self[slot as usize] = Some(live);
    }

    fn take(&mut self, slot: u32) -> Option<Live> {
        self[slot as usize].take()
    }
}

/// Storage for several threads. No thread ever blocks on a lock: [`After`] prevents two threads from using one slot at
/// the same time.
impl Slots for &[Mutex<Option<Live>>] {
    fn put(&mut self, slot: u32, live: Live) {
        *self[slot as usize].lock().unwrap_or_else(PoisonError::into_inner) = Some(live);
    }

    fn take(&mut self, slot: u32) -> Option<Live> {
        self[slot as usize].lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Running {
    index: usize,
    job: Job,
    position: usize,
    slots: Vec<Option<Live>>,
}

/// Replays the jobs of a worker, a slice at a time.
pub(super) struct Replayer {
    jobs: Jobs,
    running: Option<Running>,
    hand: Hand,
}

impl Replayer {
    pub(super) fn new(
        names: Vec<JobName>,
        first: usize,
        key: u64,
        negative_control: Option<NegativeControl>,
    ) -> Self {
        let hand = Hand { key, blocks_live: 0, operations: 0, negative_control };
        Self { jobs: Jobs::new(names, first), running: None, hand }
    }

    /// Whether the worker has no jobs.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn blocks_live(&self) -> u64 {
        self.hand.blocks_live.unsigned_abs()
    }

    /// Replays a slice, or the whole of a job with several threads. The inner error is a wrong answer of the space; it
    /// ends the job.
    pub(super) fn advance(
        &mut self,
        member: &Member,
        local: &mut Local<'_>,
        counters: &mut Counters,
    ) -> Result<Result<(), Trouble>, Failed> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => {
                let (index, job) = self.jobs.next()?;
                let slots = vec![None; job.process().slot_count as usize];
                Running { index, job, position: 0, slots }
            }
        };
        let process = running.job.process();
        if process.threads.len() > 1 {
            let result = together(member, process, &mut self.hand, counters);
            counters.jobs_done[running.index] += u32::from(result.is_ok());
            return Ok(result);
        }
        let steps = &process.threads[0][running.position..];
        let steps = &steps[..steps.len().min(SLICE_STEPS)];
        let result = steps.iter().try_for_each(|step| self.hand.step(local, &mut running.slots, step));
        running.position += steps.len();
        let result = match result {
            Ok(()) if running.position < process.threads[0].len() => {
                self.running = Some(running);
                Ok(())
            }
            Ok(()) => {
                counters.jobs_done[running.index] += 1;
                self.hand.free_all(local, running.slots)
            }
            Err(fault) => Err(fault),
        };
        counters.block_operations += std::mem::take(&mut self.hand.operations);
        Ok(result)
    }

    /// Frees the blocks of the job in progress.
    pub(super) fn finish(&mut self, local: &mut Local<'_>, counters: &mut Counters) -> Result<(), Trouble> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let result = self.hand.free_all(local, running.slots);
        counters.block_operations += std::mem::take(&mut self.hand.operations);
        result
    }
}

/// Executes single steps; each thread has its own.
struct Hand {
    key: u64,
    /// Number of live blocks; negative in a thread that frees more than it allocates.
    blocks_live: i64,
    operations: u64,
    negative_control: Option<NegativeControl>,
}

impl Hand {
    fn step(
        &mut self,
        local: &mut Local<'_>,
        slots: &mut impl Slots,
        step: &AllocationStep,
    ) -> Result<(), Trouble> {
        self.operations += 1;
        let bytes = (step.bytes as usize).max(1);
        match step.verb {
            Verb::Alloc => {
                let align = if bytes < 16 { 8 } else { 16 };
                let live = self.alloc(local, bytes, align)?;
                slots.put(step.slot, live);
            }
            Verb::Aligned(align_log2) => {
                let live = self.alloc(local, bytes, 1 << align_log2)?;
                slots.put(step.slot, live);
            }
            Verb::Realloc => {
                let Some(live) = slots.take(step.slot) else { return Err(no_block(step)) };
                slots.put(step.slot, self.realloc(local, live, bytes)?);
            }
            Verb::Free => {
                let Some(live) = slots.take(step.slot) else { return Err(no_block(step)) };
                self.free(local, live)?;
            }
        }
        Ok(())
    }

    fn alloc(&mut self, local: &mut Local<'_>, bytes: usize, align: usize) -> Result<Live, Trouble> {
        self.key = pattern::mix(self.key);
        let key = self.key;
        let layout = layout_of(bytes, align)?;
        let zeroed = key.is_multiple_of(16);
        let scratch = if zeroed { local.alloc_zeroed(layout) } else { local.alloc(layout) };
        let scratch = scratch
            .map_err(|error| (Wrong::Refused, format!("cannot alloc {bytes} bytes at {align}: {error}")))?;
        self.blocks_live += 1;
        let start = local.address(scratch);
        if !start.addr().is_multiple_of(align) {
            return Err((
                Wrong::MixedUp,
                format!("block of {bytes} bytes: expected alignment {align}, found {start:p}"),
            ));
        }
        if zeroed {
            // SAFETY: the block was just allocated with that size, and only this thread uses it.
            unsafe { pattern::verify_zero(start, bytes) }.map_err(|position| {
                (
                    Wrong::MixedUp,
                    format!("block of {bytes} bytes: expected zeroes, found others at byte {position}"),
                )
            })?;
        }
        // SAFETY: the block was just allocated with that size, and only this thread uses it.
        unsafe { pattern::fill(start, bytes, key) };
        if self.negative_control == Some(NegativeControl::Corrupt) && key.is_multiple_of(1 << 14) {
            // SAFETY: as above; a block has at least one byte.
            unsafe { *start ^= 1 };
        }
        Ok(Live { scratch, layout, key })
    }

    fn realloc(&mut self, local: &mut Local<'_>, live: Live, bytes: usize) -> Result<Live, Trouble> {
        let before = live.layout.size();
        verify(local, &live, before)?;
        let layout = layout_of(bytes, live.layout.align())?;
        // SAFETY: the raw value is the only one of the block, and nobody uses the old bytes any more.
        let scratch = unsafe { local.realloc(live.scratch, layout) }.map_err(|error| {
            (Wrong::Refused, format!("cannot resize a block from {before} to {bytes} bytes: {error}"))
        })?;
        verify(local, &Live { scratch, ..live }, bytes.min(before))?;
        // SAFETY: the block has that size now, and only this thread uses it.
        unsafe { pattern::fill(local.address(scratch), bytes, live.key) };
        Ok(Live { scratch, layout, ..live })
    }

    fn free(&mut self, local: &mut Local<'_>, live: Live) -> Result<(), Trouble> {
        verify(local, &live, live.layout.size())?;
        self.blocks_live -= 1;
        // SAFETY: the raw value is the only one of the block, and nobody uses its bytes any more.
        unsafe { local.free(live.scratch) }
            .map_err(|error| (Wrong::Refused, format!("cannot free {:?}: {error}", live.scratch)))
    }

    /// Frees all blocks, as the system does when a process ends.
    fn free_all(
        &mut self,
        local: &mut Local<'_>,
        slots: impl IntoIterator<Item = Option<Live>>,
    ) -> Result<(), Trouble> {
        for live in slots.into_iter().flatten() {
            self.operations += 1;
            self.free(local, live)?;
        }
        Ok(())
    }
}

fn layout_of(bytes: usize, align: usize) -> Result<Layout, Trouble> {
    Layout::from_size_align(bytes, align)
        .map_err(|_| (Wrong::Refused, format!("no layout for {bytes} bytes at {align}")))
}

/// Checks the pattern as far as it lies in the first `bytes`.
fn verify(local: &Local<'_>, live: &Live, bytes: usize) -> Result<(), Trouble> {
    let start = local.address(live.scratch);
    // SAFETY: the block is live with at least that many bytes, and only this thread uses it.
    unsafe { pattern::verify(start, bytes, live.layout.size(), live.key) }
        .map_err(|position| (Wrong::MixedUp, format!("block {:?} changed at byte {position}", live.scratch)))
}

/// Replays a process with its recorded number of threads; each block is freed by the thread given in the recording.
fn together(
    member: &Member,
    process: &AllocationProcess,
    hand: &mut Hand,
    counters: &mut Counters,
) -> Result<(), Trouble> {
    let slots: Vec<Mutex<Option<Live>>> = (0..process.slot_count).map(|_| Mutex::new(None)).collect();
    let pace = Pace {
        done: process.threads.iter().map(|_| AtomicU32::new(0)).collect(),
        given_up: AtomicBool::new(false),
    };
    let outcome: Result<(), Trouble> = thread::scope(|scope| {
        let threads: Vec<_> = process
            .threads
            .iter()
            .enumerate()
            .map(|(thread, steps)| {
                let key = pattern::combine(&[hand.key, thread as u64]);
                let mut hand =
                    Hand { key, blocks_live: 0, operations: 0, negative_control: hand.negative_control };
                let (slots, pace) = (&slots[..], &pace);
                scope.spawn(move || {
                    let started_ns = thread_cpu_ns();
                    let result = alone(member, slots, pace, thread, steps, &mut hand);
                    pace.given_up.fetch_or(result.is_err(), Ordering::Relaxed);
                    (result, hand.operations, thread_cpu_ns() - started_ns)
                })
            })
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let panicked = |_| (Wrong::Refused, "a thread of the replay panicked".into());
            let (result, operations, ns) = thread.join().map_err(panicked)?;
            counters.block_operations += operations;
            counters.block_ns += ns;
            result
        })
    });
    hand.key = pattern::mix(hand.key);
    outcome?;
    let mut local = member.local();
    let left = slots.into_iter().map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    let result = hand.free_all(&mut local, left);
    hand.blocks_live = 0;
    counters.block_operations += std::mem::take(&mut hand.operations);
    result
}

/// The progress of each thread.
struct Pace {
    done: Vec<AtomicU32>,
    given_up: AtomicBool,
}

fn alone(
    member: &Member,
    mut slots: &[Mutex<Option<Live>>],
    pace: &Pace,
    thread: usize,
    steps: &[AllocationStep],
    hand: &mut Hand,
) -> Result<(), Trouble> {
    let mut local = member.local();
    for (done, step) in steps.iter().enumerate() {
        if !pace.wait_for(step.after) {
            return Ok(());
        }
        hand.step(&mut local, &mut slots, step)?;
        // Release: publishes the bytes of the block to the thread that takes the slot; pairs with the Acquire in
        // `Pace::wait_for`.
        pace.done[thread].store(done as u32 + 1, Ordering::Release);
    }
    Ok(())
}

impl Pace {
    /// Waits until the step `after` is done; false when another thread gave up.
    fn wait_for(&self, after: After) -> bool {
        let mut tries = 0_u32;
        // Acquire: makes the other thread's writes into the block visible; pairs with the Release in `alone`.
        while after.steps > 0 && self.done[usize::from(after.thread)].load(Ordering::Acquire) < after.steps {
            if self.given_up.load(Ordering::Relaxed) {
                return false;
            }
            tries += 1;
            if tries > 64 {
                thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        true
    }
}

#[cold]
fn no_block(step: &AllocationStep) -> Trouble {
    (Wrong::Refused, format!("the replay lost its block: {step:?}"))
}
