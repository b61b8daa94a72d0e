//! Values of 64 bytes that change.

use std::hint::black_box;

use tenure_subjects::team::Work;
use tenure_subjects::values::{Changes, Guarded, Published, Seqlock, Tenured, Wholes};
use tenure_subjects::{Outcome, Subject};

use crate::case::{Seat, Workload, processes, threads};

pub(super) fn all() -> Vec<Workload> {
    vec![
        Workload::new(
            "value/read",
            "read a value of 64 bytes as a whole, and add its words up",
            vec![
                processes("tenure", 1, Tenured::new, read),
                processes("seqlock", 1, Seqlock::new, read),
                threads("seqlock crate", 1, Published::new, read).private(),
            ],
        ),
        Workload::new(
            "value/write",
            "replace a value of 64 bytes as a whole",
            vec![
                processes("tenure", 1, Tenured::new, write),
                processes("seqlock", 1, Seqlock::new, write),
                threads("seqlock crate", 1, Published::new, write).private(),
            ],
        ),
        Workload::new(
            "value/change",
            "lock a value of 64 bytes, change a word of it, unlock it",
            vec![
                processes("tenure", 1, Tenured::new, change),
                processes("robust-mutex", 1, Guarded::new, change),
            ],
        ),
    ]
}

fn read<S: Subject<Member: Wholes + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| {
        lap.each(|_| {
            black_box(member.read()?);
            Ok(())
        })
    }))
}

fn write<S: Subject<Member: Wholes + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| lap.each(|i| member.write(black_box(&[u64::from(i); 8])))))
}

fn change<S: Subject<Member: Changes + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    Ok(Box::new(move |lap| lap.each(|_| member.change())))
}
