//! Queues between two members, and maps of which most operations read.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use tenure_subjects::caches::{self, Cache, Dash, Key, Lmdb, OfPthread, OfTenure, Shards, Value, key};
use tenure_subjects::queues::{Array, Fifo, Jobs, Posix, Shaq, Tenured};
use tenure_subjects::servers::{Memcached, Redis};
use tenure_subjects::team::{Kind, Work};
use tenure_subjects::{Failed, Outcome, Subject};

use crate::case::{Case, Seat, Workload, case, processes, threads};

use super::lanes::told;

pub(super) fn all() -> Vec<Workload> {
    let mut all = vec![
        queue::<8>("queue/push+pop, 8 bytes"),
        queue::<32>("queue/push+pop, 32 bytes"),
        Workload::new(
            "queue/push+pop of 8 at a time, 8 bytes",
            "A pushes 8 values of 8 bytes, B pops 8, by one call each where there is one; and both by one process",
            vec![
                processes("tenure", 2, Tenured::spinning, passed_many),
                threads("ArrayQueue", 2, Array::<8>::new, passed_many).private(),
                processes("shaq", 2, Shaq::<8>::new, passed_many),
                processes("tenure", 1, Tenured::spinning, passed_many),
                threads("ArrayQueue", 1, Array::<8>::new, passed_many).private(),
                processes("shaq", 1, Shaq::<8>::new, passed_many),
            ],
        ),
        Workload::new(
            "queue/push+claim+ack",
            "A pushes 8 bytes, B borrows them and says that it is done; and both by one process",
            vec![
                processes("tenure", 2, Tenured::spinning, work_off),
                processes("redis", 2, Redis::new, work_off),
                processes("tenure", 1, Tenured::spinning, work_off),
                processes("redis", 1, Redis::new, work_off),
            ],
        ),
    ];
    for keys in [1 << 10, 1 << 16] {
        for (inserts, what) in [(0, "get"), (10, "90 % get"), (100, "insert")] {
            all.push(map(keys, inserts, what));
        }
    }
    all
}

fn queue<const N: usize>(id: &str) -> Workload {
    let mut cases = Vec::new();
    for members in [2, 1] {
        cases.extend([
            processes("tenure", members, Tenured::spinning, passed::<N, _>),
            threads("ArrayQueue", members, Array::<N>::new, passed::<N, _>).private(),
            processes("shaq", members, Shaq::<N>::new, passed::<N, _>),
            processes("POSIX queue", members, Posix::<N>::new, passed::<N, _>),
            processes("redis", members, Redis::new, passed::<N, _>),
        ]);
    }
    cases.push(processes("tenure, sleeping", 2, Tenured::sleeping, passed::<N, _>));
    let title = format!("A pushes values of {N} bytes, B pops them; and both by one process");
    Workload::new(id, title, cases)
}

/// The first of two members pushes, the second one pops; a single one does both.
fn passed<const N: usize, S: Subject<Member: Fifo<N> + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let (pushes, pops) = (seat.rank == 0, seat.rank + 1 == seat.members);
    Ok(Box::new(move |lap| {
        lap.each(|i| {
            if pushes {
                member.push(black_box(&[i as u8; N]))?;
            }
            if pops {
                black_box(member.pop()?);
            }
            Ok(())
        })
    }))
}

/// As `passed`, eight values at a time.
fn passed_many<S: Subject<Member: Fifo<8> + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let (pushes, pops) = (seat.rank == 0, seat.rank + 1 == seat.members);
    Ok(Box::new(move |lap| {
        lap.each(|i| {
            if pushes {
                member.push_many(black_box(&[[i as u8; 8]; 8]))?;
            }
            if pops {
                black_box(member.pop_many(8)?);
            }
            Ok(())
        })
    }))
}

fn work_off<S: Subject<Member: Jobs<8> + 'static>>(seat: &Seat<'_, S>) -> Outcome<Work> {
    let mut member = seat.join()?;
    let (pushes, pops) = (seat.rank == 0, seat.rank + 1 == seat.members);
    Ok(Box::new(move |lap| {
        lap.each(|i| {
            if pushes {
                member.push(black_box(&[i as u8; 8]))?;
            }
            if pops {
                black_box(member.claim_and_ack()?);
            }
            Ok(())
        })
    }))
}

/// The work of members of a map.
#[derive(Clone, Copy)]
struct Mix {
    /// A power of two; the map has all of them.
    keys: u32,
    /// Of a hundred operations so many insert another value.
    inserts: u32,
    /// Before the members are timed they look at each key once: other subjects had their turns since.
    warm: bool,
}

fn map(keys: u32, inserts: u32, what: &str) -> Workload {
    fn one<S: Subject<Member: Cache + 'static> + 'static>(
        kind: Kind,
        name: &'static str,
        members: usize,
        mix: Mix,
        found: impl Fn() -> Outcome<S> + 'static,
    ) -> Case {
        case(kind, name, members, found, move |seat| mixed(seat, mix))
    }
    let mut cases = Vec::new();
    // To servers the keys are the least: a request takes thousands of times as long as a miss of the caches.
    let (here, there) = (Mix { keys, inserts, warm: true }, Mix { keys, inserts, warm: false });
    let (process, thread) = (Kind::Processes, Kind::Threads);
    for members in [1, 2] {
        cases.extend([
            one(process, "tenure", members, here, move || caches::Tenured::new(keys)),
            one(process, "64 mutexes", members, here, move || Shards::<OfTenure>::new(keys)),
            one(process, "64 robust mutexes", members, here, move || Shards::<OfPthread>::new(keys)),
            one(thread, "dashmap", members, here, move || Dash::<Box<[u8]>, Box<[u8]>>::new(keys)).private(),
            one(thread, "dashmap, arrays", members, here, move || Dash::<Key, Value>::new(keys)).private(),
            one(process, "LMDB", members, here, move || Lmdb::new(keys)),
            one(process, "redis", members, there, Redis::new),
            one(process, "memcached", members, there, Memcached::new),
        ]);
    }
    let title = match inserts {
        0 => format!("copy the value, of 100 bytes, of one of {keys} keys"),
        100 => format!("replace the value, of 100 bytes, of one of {keys} keys"),
        _ => {
            format!(
                "copy the value, of 100 bytes, of one of {keys} keys; {inserts} of 100 operations replace one"
            )
        }
    };
    Workload::new(format!("map/{what}, {keys} keys"), title, cases)
}

fn mixed<S: Subject<Member: Cache + 'static>>(seat: &Seat<'_, S>, mix: Mix) -> Outcome<Work> {
    let Mix { keys, inserts, warm } = mix;
    let (members, exchange) = (seat.members as u64, Arc::clone(&seat.exchange));
    let mut member = seat.join()?;
    // Each member, so that each has all pages mapped. Twice: memory of former values is used again then.
    for _ in 0..2 {
        member.fill(keys, &[7; 100])?;
    }
    let mut random = SmallRng::seed_from_u64(seat.rank as u64);
    let (mut copy, mut turns) = (Vec::with_capacity(128), 0);
    // Of 2^32 numbers.
    let share = (u64::from(inserts) << 32) / 100;
    Ok(Box::new(move |lap| {
        if warm {
            for number in 0..keys {
                member.get(&key(number), &mut copy)?;
            }
            // Nobody is timed before all have done so. Who waits keeps its processor: it would be late if it had to come back.
            turns += 1;
            // Relaxed, both: it publishes nothing.
            told(&exchange, 0).fetch_add(1, Ordering::Relaxed);
            while told(&exchange, 0).load(Ordering::Relaxed) < turns * members {
                std::hint::spin_loop();
            }
        }
        lap.each(|i| {
            let bits = random.next_u64();
            let key = key(bits as u32 & (keys - 1));
            if bits >> 32 < share {
                member.insert(&key, black_box(&[i as u8; 100]))
            } else if member.get(&key, &mut copy)? {
                black_box(&copy);
                Ok(())
            } else {
                Err(Failed::of("map", "a key is missing"))
            }
        })
    }))
}
