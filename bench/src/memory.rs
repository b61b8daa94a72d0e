//! The memory that a subject takes for its live blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tenure_subjects::heaps::{malloc, mimalloc};
use tenure_subjects::shared::Pages;
use tenure_subjects::team::Child;
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Failed, Heap, Outcome, Subject};
use tenure_traces::{After, AllocationProcess, AllocationStep, Verb};

use crate::workloads::{Recorded, replay};

/// Bytes at the peak.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Memory {
    /// The subject's name.
    pub subject: String,
    /// The recording that was replayed.
    pub recording: String,
    /// The most bytes that were asked for at once.
    pub live_bytes: u64,
    /// The most bytes of memory that it took.
    pub used_bytes: u64,
}

impl Memory {
    /// Bytes used for a byte alive.
    #[must_use]
    pub fn per_live_byte(&self) -> f64 {
        self.used_bytes as f64 / self.live_bytes as f64
    }
}

/// Replays every recording by every subject, each in a process of its own.
///
/// # Errors
/// [`Failed`].
pub fn measure() -> Outcome<Vec<Memory>> {
    let recorded = Recorded::get()?;
    let million = a_million();
    let mut all = Vec::new();
    let longest = |trace: &'static tenure_traces::AllocationTrace| {
        trace.processes.iter().max_by_key(|process| process.peak_bytes)
    };
    let of = |name: &str, process: Option<&AllocationProcess>, all: &mut Vec<Memory>| {
        let Some(process) = process else { return Ok::<(), Failed>(()) };
        let mut add = |subject: &str, used_bytes| {
            let (subject, recording) = (subject.to_owned(), name.to_owned());
            all.push(Memory { subject, recording, live_bytes: process.peak_bytes, used_bytes });
        };
        add("tenure", peak(process, Tenure::processes, segment_bytes)?);
        add("mimalloc", peak(process, || Ok(mimalloc()), |_| own_bytes())?);
        add("malloc", peak(process, || Ok(malloc()), |_| own_bytes())?);
        Ok(())
    };
    of("sqlite", longest(&recorded.sqlite), &mut all)?;
    of("gcc", longest(&recorded.gcc), &mut all)?;
    of("two threads", longest(&recorded.two_threads), &mut all)?;
    of("1,000,000 blocks of 64 B", Some(&million), &mut all)?;
    Ok(all)
}

fn a_million() -> AllocationProcess {
    let after = After { thread: 0, steps: 0 };
    let step = |slot| AllocationStep { bytes: 64, after, slot, verb: Verb::Alloc };
    AllocationProcess {
        threads: vec![(0..1_000_000).map(step).collect()],
        slot_count: 1_000_000,
        peak_bytes: 64_000_000,
        largest_bytes: 64,
    }
}

/// Memory behind the segment.
fn segment_bytes(subject: &Tenure) -> u64 {
    let stats = subject.space().stats();
    stats.bytes_resident.unwrap_or(stats.bytes_committed)
}

/// Pages of this process that are nobody else's.
fn own_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// The number of samples during a replay.
const LOOKS: usize = 64;

/// The peak of its memory while the process is replayed, sampled some times and once where most bytes are alive.
fn peak<S: Subject<Member: Heap> + 'static>(
    process: &AllocationProcess,
    found: fn() -> Outcome<S>,
    used: fn(&S) -> u64,
) -> Outcome<u64> {
    let pages = Arc::new(Pages::new(4096)?);
    let of_child = Arc::clone(&pages);
    let mut child = Child::fork(|| {
        let replayed = || -> Outcome<u64> {
            let subject = found()?;
            let mut heap = subject.join()?;
            let mut slots = vec![None; process.slot_count as usize];
            // Touched before the first sample: it is not the subject's.
            slots.iter_mut().for_each(|slot| *std::hint::black_box(slot) = None);
            let before = used(&subject);
            let every = process.step_count() / LOOKS + 1;
            let (mut steps, mut most) = (0, before);
            replay(&mut heap, process, &mut slots, |_| {
                steps += 1;
                if steps % every == 0 || steps == process.step_count() {
                    most = most.max(used(&subject));
                }
                Ok(())
            })?;
            Ok(most - before)
        };
        if let Ok(bytes) = replayed() {
            answer(&of_child).store(bytes.max(1), Ordering::Release);
        }
    })?;
    child.wait();
    // Acquire: pairs with the Release in the child, which has ended besides.
    match answer(&pages).load(Ordering::Acquire) {
        0 => Err(Failed::of("memory", "the replay failed")),
        bytes => Ok(bytes),
    }
}

fn answer(pages: &Pages) -> &AtomicU64 {
    // SAFETY: zeroed pages hold a zero, changed by atomics only.
    unsafe { pages.view() }
}
