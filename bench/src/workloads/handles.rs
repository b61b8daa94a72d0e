//! Handles: created, read, opened, passed and closed.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::Ordering;

use tenure::Backend;
use tenure_subjects::bounds::Words;
use tenure_subjects::daemon::{Cpu, Daemon, Way};
use tenure_subjects::mutex::{Locked, Plain, Robust};
use tenure_subjects::slabs::{self, Sharded, Slots};
use tenure_subjects::team::Work;
use tenure_subjects::tenured::Tenure;
use tenure_subjects::through_c::ThroughC;
use tenure_subjects::work;
use tenure_subjects::{Handles, Outcome, Subject};

use crate::case::{Case, Seat, Workload, processes, threads};
use crate::measure::{ALONE, WORDS_ALONE};

use super::lanes::{Lane, hear, told};

/// The subjects that processes share.
macro_rules! everyone {
    ($members:expr, $work:ident) => {
        vec![
            processes("tenure", $members, Tenure::processes, $work),
            processes("robust-mutex", $members, Locked::<Robust>::new, $work),
            processes("mutex", $members, Locked::<Plain>::new, $work),
            processes("daemon, same processor", $members, daemon_near, $work),
            processes("daemon", $members, daemon_anywhere, $work),
            processes("daemon, ring", $members, if $members == 1 { ring } else { ring_anywhere }, $work),
        ]
    };
}
/// tenure in every backend that members of one team can use, and private memory.
macro_rules! backends {
    ($work:ident) => {
        vec![
            processes("tenure", 1, Tenure::processes, $work),
            processes("tenure, shm", 1, || Tenure::in_backend(Backend::Shm), $work),
            processes("tenure, file", 1, || Tenure::in_backend(Backend::File), $work),
            processes("tenure, sysv", 1, || Tenure::in_backend(Backend::SysV), $work),
            processes("tenure, anonymous", 1, || Tenure::in_backend(Backend::Anonymous), $work),
            processes("tenure, private", 1, || Tenure::in_backend(Backend::Private), $work).private(),
        ]
    };
}
pub(super) use backends;

pub(super) fn all() -> Vec<Workload> {
    let mut all = vec![
        Workload::new("handle/new+close", "create and close a handle", {
            let mut cases = everyone!(1, new_and_close);
            cases.push(processes("daemon, batches of 64", 1, batches, new_and_close));
            cases
        }),
        Workload::new("handle/create+get+close", "create a handle, read it once, close it", {
            let mut cases = everyone!(1, create_get_close);
            cases.extend(slabs_of(1));
            cases.push(processes("slotmap", 1, || Ok(Slots), create_get_close).private());
            cases.push(words_alone(create_get_close));
            cases.push(processes("tenure, through C", 1, ThroughC::new, create_get_close));
            cases
        }),
        Workload::new("handle/get", "read a handle", {
            let mut cases = everyone!(1, get);
            cases.push(words_alone(get));
            cases
        }),
        Workload::new(
            "handle/open+close, own",
            "open and close what this process holds already",
            everyone!(1, open_own),
        ),
        Workload::new("handle/open+close, other's", "open and close what only another process holds", {
            let mut cases = everyone!(1, open_others);
            cases.push(words_alone(open_others));
            cases.push(processes("tenure, through C", 1, ThroughC::new, open_others));
            cases
        }),
        Workload::new("handle/open+close, contended", "two processes open and close one handle", {
            let mut cases = everyone!(2, open_contended);
            cases.retain(|case| !case.subject.contains("same processor"));
            cases
        }),
        Workload::new("handle/passed", "A creates, B opens, both close; processes", {
            let mut cases = everyone!(2, passed);
            cases.retain(|case| !case.subject.contains("same processor"));
            cases.push(processes(ALONE, 2, || Ok(Nothing), lane_alone).private());
            cases
        }),
        Workload::new("handle/created here, closed there", "A creates, B closes; threads of one process", {
            vec![
                threads("tenure", 2, Tenure::threads, closed_there),
                threads("sharded-slab", 2, || Ok(Sharded::default()), closed_there).private(),
                threads("Mutex<Slab>", 2, || Ok(slabs::Locked::default()), closed_there).private(),
            ]
        }),
    ];
    let mut members = Vec::new();
    for count in [1, 2, 4, 8] {
        members.extend([
            processes("tenure", count, Tenure::processes, create_get_close),
            processes("robust-mutex", count, Locked::<Robust>::new, create_get_close),
            processes("mutex", count, Locked::<Plain>::new, create_get_close),
            processes("daemon", count, daemon_anywhere, create_get_close),
        ]);
        members.extend(slabs_of(count));
    }
    all.push(Workload::new(
        "handle/create+get+close, members",
        "create, read and close, by several members at once, each its own handles",
        members,
    ));
    all.push(Workload::new(
        "handle/create+get+close, backends",
        "the same in every backend",
        backends!(create_get_close),
    ));
    all
}

fn slabs_of(members: usize) -> [Case; 2] {
    [
        threads("sharded-slab", members, || Ok(Sharded::default()), create_get_close).private(),
        threads("Mutex<Slab>", members, || Ok(slabs::Locked::default()), create_get_close).private(),
    ]
}

/// The bound: the shared words and nothing around them.
fn words_alone(work: fn(&Seat<'_, Words>) -> Outcome<Work>) -> Case {
    processes(WORDS_ALONE, 1, Words::new, work)
}

fn daemon_near() -> Outcome<Daemon> {
    Daemon::new(Way::Socket, Cpu::Same)
}

fn daemon_anywhere() -> Outcome<Daemon> {
    Daemon::new(Way::Socket, Cpu::Any)
}

fn batches() -> Outcome<Daemon> {
    Daemon::new(Way::Batches, Cpu::Same)
}

/// Two clients and the daemon spin on any processors.
fn ring_anywhere() -> Outcome<Daemon> {
    Daemon::new(Way::Ring, Cpu::Any)
}

fn ring() -> Outcome<Daemon> {
    Daemon::new(Way::Ring, Cpu::Apart)
}

/// The subject of workloads that need none.
pub(super) struct Nothing;

impl Subject for Nothing {
    type Member = ();

    fn join(&self) -> Outcome<()> {
        Ok(())
    }
}

fn new_and_close<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        if lap.is_sampled() {
            return lap.each(|_| member.create_and_close(1));
        }
        let wanted = lap.wanted;
        lap.whole(wanted.into(), || member.create_and_close(wanted))
    }))
}

fn create_get_close<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    work::create_get_close(seat.join()?)
}

fn get<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let held = member.create(7)?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            black_box(member.get(black_box(&held))?);
            Ok(())
        })
    }))
}

fn open_own<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    work::open_own(seat.join()?)
}

fn open_others<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    // Another member in the same process: holds are counted for each member by itself.
    let (mut member, mut other) = (seat.join()?, seat.join()?);
    let held = other.create(7)?;
    let token = other.token(&held);
    Ok(Box::new(move |lap| {
        // Dropping `other` would close the handle.
        let _kept = &other;
        lap.each(|_| {
            let held = member.open(black_box(token))?;
            member.close(held)
        })
    }))
}

fn open_contended<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let mut kept = None;
    if seat.rank == 0 {
        let mut other = seat.join()?;
        let held = other.create(7)?;
        // Release: publishes the handle to `hear`. No token is zero once one is added.
        told(&seat.exchange, 0).store(other.token(&held) + 1, Ordering::Release);
        kept = Some(other);
    }
    let token = hear(&seat.exchange, 0) - 1;
    Ok(Box::new(move |lap| {
        let _kept = &kept;
        lap.each(|_| {
            let held = member.open(black_box(token))?;
            member.close(held)
        })
    }))
}

fn passed<S: Subject<Member: Handles + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let mut lane = Lane::<u64>::new(&seat.exchange);
    if seat.rank == 1 {
        return Ok(Box::new(move |lap| {
            let wanted = lap.wanted;
            lap.whole(wanted.into(), || {
                for _ in 0..wanted {
                    let held = member.open(lane.receive())?;
                    lane.done();
                    black_box(member.get(&held)?);
                    member.close(held)?;
                }
                Ok(())
            })
        }));
    }
    let mut sent = VecDeque::with_capacity(2048);
    Ok(Box::new(move |lap| {
        let wanted = lap.wanted;
        lap.whole(wanted.into(), || {
            for number in 0..wanted {
                let held = member.create(u64::from(number))?;
                lane.send(member.token(&held));
                sent.push_back(held);
                // Our hold can go once the other has opened the handle.
                if sent.len() >= 64 {
                    let open = (lane.sent() - lane.taken()) as usize;
                    for held in sent.drain(..sent.len() - open) {
                        member.close(held)?;
                    }
                }
            }
            while lane.taken() < lane.sent() {
                std::hint::spin_loop();
            }
            sent.drain(..).try_for_each(|held| member.close(held))
        })
    }))
}

fn closed_there<S>(seat: &Seat<'_, S>) -> Outcome<Work>
where
    S: Subject<Member: Handles + 'static>,
{
    let mut member = seat.join()?;
    let mut lane = Lane::<<S::Member as Handles>::Held>::new(&seat.exchange);
    let sends = seat.rank == 0;
    Ok(Box::new(move |lap| {
        let wanted = lap.wanted;
        lap.whole(wanted.into(), || {
            for number in 0..wanted {
                if sends {
                    lane.send(member.create(u64::from(number))?);
                } else {
                    let held = lane.receive();
                    member.close(held)?;
                    lane.done();
                }
            }
            Ok(())
        })
    }))
}

pub(super) fn lane_alone(seat: &Seat<'_, Nothing>) -> Outcome<Work> {
    let mut lane = Lane::<u64>::new(&seat.exchange);
    let sends = seat.rank == 0;
    Ok(Box::new(move |lap| {
        let wanted = lap.wanted;
        lap.whole(wanted.into(), || {
            for number in 0..wanted {
                if sends {
                    lane.send(u64::from(number));
                } else {
                    black_box(lane.receive());
                    lane.done();
                }
            }
            Ok(())
        })
    }))
}
