//! Recordings of real programs, replayed.

use std::alloc::Layout;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tenure_subjects::daemon::{Cpu, Daemon, Way};
#[cfg(feature = "rivals")]
use tenure_subjects::heaps::{jemalloc, snmalloc};
use tenure_subjects::heaps::{malloc, mimalloc};
use tenure_subjects::mutex::{Locked, Plain, Robust};
use tenure_subjects::team::Work;
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Failed, Handles, Heap, Outcome, Subject};
use tenure_traces::{AllocationProcess, AllocationTrace, HandleTrace, HandleVerb, Recording, Source, Verb};

use crate::case::{Seat, Workload, processes, threads};

use super::scratch::private;

/// The number of members to which the processes of a handle recording are dealt.
const PLAYERS: usize = 8;

/// The built-in recordings.
#[derive(Debug)]
pub struct Recorded {
    /// A parallel build.
    pub build: HandleTrace,
    /// Allocations of sqlite.
    pub sqlite: AllocationTrace,
    /// Allocations of gcc.
    pub gcc: AllocationTrace,
    /// Allocations of two threads that free each other's blocks.
    pub two_threads: AllocationTrace,
}

impl Recorded {
    /// Read once.
    ///
    /// # Errors
    /// When a recording that travels inside the program is broken.
    pub fn get() -> Outcome<&'static Self> {
        static RECORDED: OnceLock<Outcome<Recorded>> = OnceLock::new();
        RECORDED.get_or_init(Self::read).as_ref().map_err(Clone::clone)
    }

    fn read() -> Outcome<Self> {
        let [build, sqlite, gcc, two_threads] = [0, 1, 2, 3].map(|index| Source::Builtin(index).read());
        let of = |read: Result<Recording, _>| match read {
            Ok(Recording::Allocations(trace)) => Ok(trace),
            Ok(Recording::Handles(trace)) => Err(Failed::of("recording of allocations", trace.name)),
            Err(error) => Err(Failed::of("recording", error)),
        };
        let build = match build {
            Ok(Recording::Handles(trace)) => trace,
            Ok(Recording::Allocations(trace)) => return Err(Failed::of("recording of handles", trace.name)),
            Err(error) => return Err(Failed::of("recording", error)),
        };
        Ok(Self { build, sqlite: of(sqlite)?, gcc: of(gcc)?, two_threads: of(two_threads)? })
    }
}

macro_rules! replayed {
    ($work:ident) => {{
        let mut cases = vec![
            processes("tenure", 1, Tenure::processes, $work),
            processes("robust-mutex", 1, Locked::<Robust>::new, $work),
        ];
        cases.extend(private!(1, $work));
        cases
    }};
}

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new(
            "recorded/parallel build",
            "the handles of a parallel build, its processes dealt to eight members; per step",
            vec![
                processes("tenure", 1, Tenure::processes, build),
                processes("robust-mutex", 1, Locked::<Robust>::new, build),
                processes("mutex", 1, Locked::<Plain>::new, build),
                processes("daemon, same processor", 1, || Daemon::new(Way::Socket, Cpu::Same), build),
            ],
        ),
        Workload::new("recorded/sqlite", "the allocations of sqlite; per step", replayed!(sqlite)),
        Workload::new("recorded/gcc", "the allocations of gcc; per step", replayed!(gcc)),
        Workload::new("recorded/two threads", "two threads that free each other's blocks; per step", {
            // Two that work and one that starts them.
            let mut cases = vec![threads("tenure", 3, Tenure::threads, two_threads)];
            cases.extend(private!(3, two_threads));
            cases
        }),
    ]
}

fn build<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let trace = &Recorded::get()?.build;
    let mut players = (0..PLAYERS).map(|_| seat.join()).collect::<Outcome<Vec<_>>>()?;
    let mut tokens = vec![0; trace.handle_count as usize];
    // The holds of each player on each handle, most recent last.
    let mut held: Vec<Vec<(u8, <S::Member as Handles>::Held)>> =
        vec![Vec::new(); trace.handle_count as usize];
    Ok(Box::new(move |lap| {
        lap.whole(trace.steps.len() as u64, || {
            for step in &trace.steps {
                let (number, handle) = ((step.process as usize % PLAYERS) as u8, step.handle as usize);
                let player = &mut players[usize::from(number)];
                match step.verb {
                    HandleVerb::New => {
                        let new = player.create(u64::from(step.handle))?;
                        tokens[handle] = player.token(&new);
                        held[handle].push((number, new));
                    }
                    HandleVerb::Open => held[handle].push((number, player.open(tokens[handle])?)),
                    HandleVerb::Close { .. } => {
                        let holds = &mut held[handle];
                        let position = holds.iter().rposition(|(holder, _)| *holder == number);
                        let position =
                            position.ok_or_else(|| Failed::of("replay", "closes what is not held"))?;
                        player.close(holds.swap_remove(position).1)?;
                    }
                }
            }
            Ok(())
        })
    }))
}

fn sqlite<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    allocations(seat, &Recorded::get()?.sqlite)
}

fn gcc<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    allocations(seat, &Recorded::get()?.gcc)
}

fn allocations<S: Subject<Member: Heap + 'static>>(
    seat: &Seat<'_, S>,
    trace: &'static AllocationTrace,
) -> Outcome<Work> {
    let mut heap = seat.join()?;
    let steps: usize = trace.processes.iter().map(AllocationProcess::step_count).sum();
    let slots = trace.processes.iter().map(|process| process.slot_count).max().unwrap_or(0);
    let mut slots = vec![None; slots as usize];
    Ok(Box::new(move |lap| {
        lap.whole(steps as u64, || {
            trace.processes.iter().try_for_each(|process| replay(&mut heap, process, &mut slots, |_| Ok(())))
        })
    }))
}

fn layout_of(bytes: u64, verb: Verb) -> Layout {
    let align = if let Verb::Aligned(power) = verb { (1 << power).clamp(16, 4096) } else { 16 };
    Layout::from_size_align(bytes.max(1) as usize, align).unwrap_or(Layout::new::<u128>())
}

/// The block in a slot, and its layout.
pub(crate) type Slot<B> = Option<(B, Layout)>;

/// Replays a process by one thread and frees the remaining blocks; `at` is called after every step.
pub(crate) fn replay<H: Heap>(
    heap: &mut H,
    process: &AllocationProcess,
    slots: &mut [Slot<H::Block>],
    mut after: impl FnMut(&mut H) -> Outcome<()>,
) -> Outcome<()> {
    // One thread, or threads one after the other as far as they wait for each other.
    let mut next = vec![0; process.threads.len()];
    loop {
        let mut progressed = false;
        for (thread, steps) in process.threads.iter().enumerate() {
            while let Some(step) = steps.get(next[thread]) {
                if step.after.steps > 0 && next[usize::from(step.after.thread)] < step.after.steps as usize {
                    break;
                }
                let slot = &mut slots[step.slot as usize];
                match step.verb {
                    Verb::Alloc | Verb::Aligned(_) => {
                        let layout = layout_of(step.bytes, step.verb);
                        let block = heap.alloc(layout)?;
                        // SAFETY: the block is ours and has at least one byte.
                        unsafe { heap.address(block).write(1) };
                        *slot = Some((block, layout));
                    }
                    Verb::Realloc => {
                        let (block, old) =
                            slot.take().ok_or_else(|| Failed::of("replay", "an empty slot"))?;
                        let new = Layout::from_size_align(step.bytes.max(1) as usize, old.align());
                        let new = new.map_err(|error| Failed::of("replay", error))?;
                        *slot = Some((heap.realloc(block, old, new)?, new));
                    }
                    Verb::Free => {
                        let (block, layout) =
                            slot.take().ok_or_else(|| Failed::of("replay", "an empty slot"))?;
                        heap.free(block, layout)?;
                    }
                }
                next[thread] += 1;
                progressed = true;
                after(heap)?;
            }
        }
        if !progressed {
            break;
        }
    }
    for slot in slots {
        if let Some((block, layout)) = slot.take() {
            heap.free(block, layout)?;
        }
    }
    Ok(())
}

/// A block and its length, as threads pass them to each other.
struct Passed {
    word: AtomicU64,
    bytes: AtomicU64,
}

/// The data that the threads of one process share.
struct Stage {
    slots: Vec<Passed>,
    /// Steps done by each thread in the current turn.
    progress: Vec<AtomicU32>,
}

fn two_threads<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    // One team is one process, so this is one stage for a team.
    static STAGE: OnceLock<Stage> = OnceLock::new();
    let process = Recorded::get()?.two_threads.processes.first();
    let process = process.ok_or_else(|| Failed::of("two threads", "an empty recording"))?;
    let stage = STAGE.get_or_init(|| Stage {
        slots: (0..process.slot_count)
            .map(|_| Passed { word: AtomicU64::new(0), bytes: AtomicU64::new(0) })
            .collect(),
        progress: process.threads.iter().map(|_| AtomicU32::new(0)).collect(),
    });
    let mut heap = seat.join()?;
    let rank = seat.rank;
    let (none, mut turn) = (Vec::new(), 0_u32);
    Ok(Box::new(move |lap| {
        let steps = process.threads.get(rank).unwrap_or(&none);
        let longest = process.threads.iter().map(Vec::len).max().unwrap_or(0) as u32;
        // Progress goes on from turn to turn; a thread that is through has done as many steps as the longest.
        let base = turn.wrapping_mul(longest);
        turn += 1;
        lap.whole(process.step_count() as u64, || {
            for (done, step) in steps.iter().enumerate() {
                if step.after.steps > 0 {
                    let other = &stage.progress[usize::from(step.after.thread)];
                    let mut looks = 0_u32;
                    // Acquire: pairs with the Release below, which publishes the slot.
                    while (other.load(Ordering::Acquire).wrapping_sub(base) as i32) < step.after.steps as i32
                    {
                        looks += 1;
                        if looks < 1000 {
                            std::hint::spin_loop();
                        } else {
                            std::thread::yield_now();
                        }
                    }
                }
                let slot = &stage.slots[step.slot as usize];
                let old = layout_of(slot.bytes.load(Ordering::Relaxed), Verb::Alloc);
                let was = || slot.word.load(Ordering::Relaxed);
                let block = match step.verb {
                    Verb::Alloc | Verb::Aligned(_) => Some(heap.alloc(layout_of(step.bytes, Verb::Alloc))?),
                    Verb::Realloc => {
                        let block = heap.of_word(was(), old);
                        Some(heap.realloc(block, old, layout_of(step.bytes, Verb::Alloc))?)
                    }
                    Verb::Free => {
                        heap.free(heap.of_word(was(), old), old)?;
                        None
                    }
                };
                if let Some(block) = block {
                    // SAFETY: the block is ours and has at least one byte.
                    unsafe { heap.address(block).write(1) };
                    slot.word.store(heap.word(block), Ordering::Relaxed);
                    slot.bytes.store(step.bytes, Ordering::Relaxed);
                }
                // Release: publishes the slot; pairs with the Acquire above.
                stage.progress[rank].store(base + done as u32 + 1, Ordering::Release);
            }
            // Release: as above.
            stage.progress[rank].store(base + longest, Ordering::Release);
            Ok(())
        })
    }))
}
