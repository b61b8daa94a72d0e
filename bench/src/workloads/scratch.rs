//! Memory: pairs, batches, random lifetimes, large blocks, growth, and blocks that another member frees.

use std::alloc::Layout;
use std::hint::black_box;
use std::sync::atomic::Ordering;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tenure::Backend;
use tenure_subjects::bounds::Exchanged;
use tenure_subjects::daemon::{Cpu, Daemon, Way};
#[cfg(feature = "rivals")]
use tenure_subjects::heaps::{jemalloc, snmalloc};
use tenure_subjects::heaps::{malloc, mimalloc};
#[cfg(feature = "rivals")]
use tenure_subjects::iceoryx::Pool;
use tenure_subjects::mutex::{Locked, Plain, Robust};
use tenure_subjects::pools::{Rarena, Rts};
use tenure_subjects::team::Work;
use tenure_subjects::tenured::Tenure;
use tenure_subjects::through_c::ThroughC;
use tenure_subjects::unrecoverable::Unrecoverable;
use tenure_subjects::work::{self, layout, touched};
use tenure_subjects::{Failed, Heap, Outcome, Subject};

use crate::case::{Case, Seat, Workload, processes, threads};
use crate::measure::{ALONE, LANE_AND_WORD};

use super::handles::{Nothing, backends, lane_alone};
use super::lanes::{Lane, hear, told};

const LARSON_SLOTS: usize = 1000;
/// Bytes that growth starts and ends with.
const GROWTH: (usize, usize) = (16, 256 << 10);

/// The subjects that are private to a process, as threads.
macro_rules! private {
    ($members:expr, $work:ident) => {{
        #[allow(unused_mut)]
        let mut cases = vec![
            threads("mimalloc", $members, || Ok(mimalloc()), $work).private(),
            threads("malloc", $members, || Ok(malloc()), $work).private(),
        ];
        #[cfg(feature = "rivals")]
        cases.extend([
            threads("jemalloc", $members, || Ok(jemalloc()), $work).private(),
            threads("snmalloc", $members, || Ok(snmalloc()), $work).private(),
        ]);
        cases
    }};
}
pub(super) use private;

/// The subjects that processes share and that can do all that malloc can.
macro_rules! shared {
    ($members:expr, $work:ident) => {
        vec![
            processes("tenure", $members, Tenure::processes, $work),
            processes("robust-mutex", $members, Locked::<Robust>::new, $work),
            processes("mutex", $members, Locked::<Plain>::new, $work),
            processes("daemon", $members, || Daemon::new(Way::Socket, Cpu::Any), $work),
        ]
    };
}

macro_rules! both {
    ($members:expr, $work:ident) => {{
        let mut cases = shared!($members, $work);
        cases.extend(private!($members, $work));
        cases
    }};
}

/// The subjects that allocate small blocks only.
fn small_only<const MEMBERS: usize>(work: fn(&Seat<'_, Rts>) -> Outcome<Work>) -> Case {
    processes("rts-alloc", MEMBERS, Rts::new, work)
}

/// tenure without the data that recovery needs.
fn without_recovery(work: fn(&Seat<'_, Unrecoverable>) -> Outcome<Work>) -> Case {
    threads("tenure without block words", 1, || Ok(Unrecoverable), work).private()
}

pub(super) fn all() -> Vec<Workload> {
    let mut all = Vec::new();
    let mut add = |id: &str, title: &str, cases| all.push(Workload::new(id, title, cases));
    add("scratch/pair, held", "free the oldest of eight 64 B blocks and allocate another", {
        let mut cases = both!(1, pair_held);
        cases.push(small_only::<1>(pair_held));
        cases.push(without_recovery(pair_held));
        cases.push(processes("tenure, through C", 1, ThroughC::new, pair_held));
        cases.push(processes("rarena", 1, Rarena::new, pair_held));
        #[cfg(feature = "rivals")]
        cases.push(processes("iceoryx2 pool", 1, Pool::new, pair_held));
        cases
    });
    add("scratch/pair, heap empties", "allocate and free 64 B, nothing else allocated", {
        let mut cases = both!(1, pair_empty);
        cases.push(small_only::<1>(pair_empty));
        cases.push(without_recovery(pair_empty));
        cases.push(processes("rarena", 1, Rarena::new, pair_empty));
        #[cfg(feature = "rivals")]
        cases.push(processes("iceoryx2 pool", 1, Pool::new, pair_empty));
        cases
    });
    add("scratch/batch", "allocate 1000 blocks of 16 to 1024 B, free them in random order", {
        let mut cases = both!(1, batch);
        cases.push(small_only::<1>(batch));
        cases.push(without_recovery(batch));
        cases.push(processes("tenure, through C", 1, ThroughC::new, batch));
        cases
    });
    add("scratch/larson", "replace a random one of 1000 blocks of 16 to 1024 B", {
        let mut cases = both!(1, larson);
        cases.push(small_only::<1>(larson));
        cases
    });
    add("scratch/larson, two", "the same by two members, each with its own blocks", {
        let mut cases = both!(2, larson);
        cases.push(small_only::<2>(larson));
        cases
    });
    add("scratch/64 KiB..4 MiB", "allocate, touch and free one large block, warm", both!(1, large));
    add("scratch/growth", "realloc from 16 B to 256 KiB in steps of a half", both!(1, growth));
    add(
        "scratch/A allocates, B frees, processes",
        "64 B blocks through a lane to another process",
        vec![
            processes("tenure", 2, Tenure::processes, passed),
            processes("robust-mutex", 2, Locked::<Robust>::new, passed),
            processes("mutex", 2, Locked::<Plain>::new, passed),
            small_only::<2>(passed),
            #[cfg(feature = "rivals")]
            processes("iceoryx2 pool", 2, Pool::new, passed),
            processes(LANE_AND_WORD, 2, Exchanged::new, passed),
            processes(ALONE, 2, || Ok(Nothing), lane_alone).private(),
        ],
    );
    add("scratch/A allocates, B frees, threads", "64 B blocks through a lane to another thread", {
        let mut cases = vec![threads("tenure", 2, Tenure::threads, passed)];
        cases.extend(private!(2, passed));
        cases.push(threads(ALONE, 2, || Ok(Nothing), lane_alone).private());
        cases
    });
    let mut members = Vec::new();
    for count in [1, 2, 4, 8] {
        members.push(processes("tenure", count, Tenure::processes, pair_held));
        members.push(processes("robust-mutex", count, Locked::<Robust>::new, pair_held));
        members.push(processes("mutex", count, Locked::<Plain>::new, pair_held));
        members.push(processes("rts-alloc", count, Rts::new, pair_held));
        #[cfg(feature = "rivals")]
        members.push(processes("iceoryx2 pool", count, Pool::new, pair_held));
        members.extend(private!(count, pair_held));
    }
    add("scratch/pair, members", "the pair with eight held, by several members at once", members);
    add("scratch/pair, backends", "the pair with eight held, in every backend", backends!(pair_held));
    all
}

fn pair_held<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    work::pair_held(seat.join()?)
}

fn batch<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    work::batch(seat.join()?)
}

fn large<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    work::large(seat.join()?)
}

fn pair_empty<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut heap = seat.join()?;
    let small = layout(64);
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            let block = touched(&mut heap, small)?;
            heap.free(block, small)
        })
    }))
}

fn larson<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut heap = seat.join()?;
    let mut rng = SmallRng::seed_from_u64(seat.rank as u64 + 1);
    let mut slots = Vec::with_capacity(LARSON_SLOTS);
    for _ in 0..LARSON_SLOTS {
        let layout = layout(rng.random_range(16..=1024));
        slots.push((touched(&mut heap, layout)?, layout));
    }
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            let slot = &mut slots[rng.random_range(0..LARSON_SLOTS)];
            heap.free(slot.0, slot.1)?;
            slot.1 = layout(rng.random_range(16..=1024));
            slot.0 = touched(&mut heap, slot.1)?;
            Ok(())
        })
    }))
}

fn growth<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut heap = seat.join()?;
    let sizes: Vec<Layout> = std::iter::successors(Some(GROWTH.0), |bytes| Some(bytes * 3 / 2))
        .take_while(|&bytes| bytes <= GROWTH.1)
        .map(layout)
        .collect();
    Ok(Box::new(move |lap| {
        let times = (lap.wanted as usize / sizes.len()).max(1);
        lap.whole((times * sizes.len()) as u64, || {
            for _ in 0..times {
                let mut block = touched(&mut heap, sizes[0])?;
                for pair in sizes.windows(2) {
                    block = heap.realloc(block, pair[0], pair[1])?;
                    // SAFETY: the block is ours and that long.
                    unsafe { black_box(heap.address(block)).add(pair[1].size() - 1).write(1) };
                }
                heap.free(block, sizes[sizes.len() - 1])?;
            }
            Ok(())
        })
    }))
}

fn passed<S: Subject<Member: Heap + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut heap = seat.join()?;
    let small = layout(64);
    let mut lane = Lane::<u64>::new(&seat.exchange);
    if seat.rank == 0 {
        let owner = heap.owner();
        told(&seat.exchange, 0).store(owner[0], Ordering::Relaxed);
        told(&seat.exchange, 1).store(owner[1], Ordering::Relaxed);
        // Release: publishes the two words above to `hear`.
        told(&seat.exchange, 2).store(1, Ordering::Release);
        return Ok(Box::new(move |lap| {
            let wanted = lap.wanted;
            lap.whole(wanted.into(), || {
                for number in 0..wanted {
                    let block = touched(&mut heap, small)?;
                    lane.send(heap.word(block));
                    if number % 256 == 255 {
                        heap.collect();
                    }
                }
                heap.collect();
                Ok(())
            })
        }));
    }
    if hear(&seat.exchange, 2) != 1 {
        return Err(Failed::of("passed", "nobody sends"));
    }
    let owner = [0, 1].map(|index| told(&seat.exchange, index).load(Ordering::Relaxed));
    Ok(Box::new(move |lap| {
        let wanted = lap.wanted;
        lap.whole(wanted.into(), || {
            for _ in 0..wanted {
                let block = heap.of_word(lane.receive(), small);
                // SAFETY: the block was passed to us and has at least one byte.
                black_box(unsafe { heap.address(block).read() });
                heap.free_passed(block, small, owner)?;
                lane.done();
            }
            Ok(())
        })
    }))
}
