//! Locks and bells: alone, against another process, and from one process to another and back.

use tenure_subjects::team::Work;
use tenure_subjects::waits::{Bells, Daemonic, EventFds, Locks, Pthread, Semaphores, Tenured};
use tenure_subjects::{Outcome, Subject};

use crate::case::{Seat, Workload, processes};

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
        Workload::new("wait/set+wait", "ring a bell and hear it, in one process", everyone!(1, ring)),
        Workload::new(
            "wait/wake-up, processes",
            "one process wakes another and waits to be woken by it; half of the way there and back",
            everyone!(2, there_and_back),
        ),
    ]
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

fn ring<S: Subject<Member: Bells + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            member.ring(0)?;
            member.listen(0)
        })
    }))
}

fn there_and_back<S: Subject<Member: Bells + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let begins = seat.rank == 0;
    Ok(Box::new(move |lap| {
        let rounds = (lap.wanted / 2).max(1);
        // Each round wakes twice.
        lap.whole(u64::from(rounds) * 2, || {
            for _ in 0..rounds {
                if begins {
                    member.ring(0)?;
                    member.listen(1)?;
                } else {
                    member.listen(0)?;
                    member.ring(1)?;
                }
            }
            Ok(())
        })
    }))
}
