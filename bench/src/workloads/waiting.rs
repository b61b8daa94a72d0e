//! Locks and events: alone, against another process, and from one process to another and back.

use tenure_subjects::rwlocks::{self, ReadLocks};
use tenure_subjects::tasks::{AsyncEventFds, How, Notifies, Tasks};
use tenure_subjects::team::Work;
use tenure_subjects::waits::{Daemonic, EventFds, Events, Locks, Pthread, Semaphores, Tenured};
use tenure_subjects::{Outcome, Subject};

use crate::case::{Case, Seat, Workload, processes, threads};

macro_rules! everyone {
    ($members:expr, $work:ident) => {
        vec![
            processes("tenure", $members, Tenured::new, $work),
            processes("robust-mutex", $members, Pthread::robust, $work),
            processes("pthread", $members, Pthread::plain, $work),
            processes("POSIX semaphore", $members, Semaphores::new, $work),
            processes("eventfd", $members, EventFds::new, $work),
            processes("daemon", $members, Daemonic::new, $work),
        ]
    };
}

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new(
            "wait/lock+unlock",
            "lock and unlock a mutex that nobody else wants",
            everyone!(1, lock),
        ),
        Workload::new(
            "wait/lock+unlock, contended",
            "two processes lock and unlock one mutex",
            everyone!(2, lock),
        ),
        Workload::new(
            "wait/set+wait",
            "signal an event and wait for it, in one process",
            everyone!(1, signal_and_wait),
        ),
        Workload::new(
            "wait/wake-up, processes",
            "one process wakes another and waits to be woken by it; half of the way there and back",
            everyone!(2, there_and_back),
        ),
        Workload::new(
            "wait/wake-up, tasks",
            "the same, where the one that waits is a task of tokio, or an event loop, or waits for several things; beside a thread that waits, and tokio's own between threads",
            vec![
                processes("tenure, tokio", 2, || Tasks::new(How::Tokio), there_and_back),
                processes("tenure, wait set", 2, || Tasks::new(How::Set), there_and_back),
                processes("tenure, any of two", 2, || Tasks::new(How::Any), there_and_back),
                processes("tenure, any or a pipe", 2, || Tasks::new(How::AnyOrFd), there_and_back),
                processes("tenure, a thread", 2, Tenured::new, there_and_back),
                processes("eventfd, tokio", 2, AsyncEventFds::new, there_and_back),
                threads("tokio Notify, threads", 2, Notifies::new, there_and_back),
            ],
        ),
        Workload::new(
            "wait/read+unlock, members",
            "lock a read-write lock for reading, and unlock it: one member, and two at once; beside a mutex",
            [1, 2].into_iter().flat_map(readers).collect(),
        ),
    ]
}

fn readers(members: usize) -> [Case; 5] {
    [
        processes("tenure", members, rwlocks::Tenured::new, read),
        processes("pthread", members, rwlocks::Pthread::new, read),
        processes("tenure, mutex", members, Tenured::new, lock),
        processes("robust-mutex", members, Pthread::robust, lock),
        processes("pthread mutex", members, Pthread::plain, lock),
    ]
}

fn read<S: Subject<Member: ReadLocks + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            member.read()?;
            member.unlock_read()
        })
    }))
}

fn lock<S: Subject<Member: Locks + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            member.lock()?;
            member.unlock()
        })
    }))
}

fn signal_and_wait<S: Subject<Member: Events + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            member.signal(0)?;
            member.wait(0)
        })
    }))
}

fn there_and_back<S: Subject<Member: Events + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let begins = seat.rank == 0;
    Ok(Box::new(move |lap| {
        let rounds = (lap.wanted / 2).max(1);
        // Each round wakes twice.
        lap.whole(u64::from(rounds) * 2, || {
            for _ in 0..rounds {
                if begins {
                    member.signal(0)?;
                    member.wait(1)?;
                } else {
                    member.wait(0)?;
                    member.signal(1)?;
                }
            }
            Ok(())
        })
    }))
}
