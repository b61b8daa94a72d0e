//! One operation many times, for `.ci/instructions`, which counts instructions with callgrind.
//!
//! `cargo run --release -p tenure-bench --bin operations -- OPERATION COUNT`; without arguments it lists the operations.

use std::alloc::Layout;
use std::hint::black_box;

use tenure::{Kind, Local, Space};

const KIND: Kind = Kind::raw(1);

/// A name, and a round of it by the first member, in the company of the second one.
type Operation = (&'static str, fn(&mut Local<'_>, &mut Local<'_>, u64));

fn bytes<const N: usize>() -> Layout {
    Layout::new::<[u64; N]>()
}

const OPERATIONS: &[Operation] = &[
    ("create, close", |me, _, n| {
        for i in 0..n {
            let held = me.create(KIND, &i.to_le_bytes()).unwrap();
            me.close(held).unwrap();
        }
    }),
    ("create, get, close", |me, _, n| {
        for i in 0..n {
            let held = me.create(KIND, &i.to_le_bytes()).unwrap();
            black_box(me.get(&held).unwrap());
            me.close(held).unwrap();
        }
    }),
    ("create, close, 100 bytes", |me, _, n| {
        for _ in 0..n {
            let held = me.create(KIND, &[7; 100]).unwrap();
            me.close(held).unwrap();
        }
    }),
    ("get", |me, _, n| {
        let held = me.create(KIND, b"8 bytes.").unwrap();
        for _ in 0..n {
            black_box(me.get(black_box(&held)).unwrap());
        }
    }),
    ("open, close: not the first of the process", |me, other, n| {
        let held = me.create(KIND, b"8 bytes.").unwrap();
        let token = me.token(&held);
        let _kept = other.open(KIND, token).unwrap();
        for _ in 0..n {
            let opened = other.open(KIND, token).unwrap();
            other.close(opened).unwrap();
        }
    }),
    ("open, close: the first of the process", |me, other, n| {
        let held = me.create(KIND, b"8 bytes.").unwrap();
        let token = me.token(&held);
        for _ in 0..n {
            let opened = other.open(KIND, token).unwrap();
            other.close(opened).unwrap();
        }
    }),
    ("create, other opens, both close", |me, other, n| {
        for i in 0..n {
            let held = me.create(KIND, &i.to_le_bytes()).unwrap();
            let opened = other.open(KIND, me.token(&held)).unwrap();
            me.close(held).unwrap();
            other.close(opened).unwrap();
        }
    }),
    ("alloc, free 64 bytes", |me, _, n| {
        for _ in 0..n {
            let block = me.alloc(bytes::<8>()).unwrap();
            me.free(black_box(block)).unwrap();
        }
    }),
    ("alloc, free 1 MiB", |me, _, n| {
        for _ in 0..n {
            let block = me.alloc(bytes::<{ 1 << 17 }>()).unwrap();
            me.free(black_box(block)).unwrap();
        }
    }),
    ("alloc, other member frees 64 bytes", |me, other, n| {
        let owner = me.owner();
        for _ in 0..n {
            let block = me.alloc(bytes::<8>()).unwrap();
            other.free_of(block, owner).unwrap();
        }
    }),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(count)) = (arguments.next(), arguments.next()) else {
        OPERATIONS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    };
    let count = count.parse().expect("a count");
    let (_, run) = OPERATIONS.iter().find(|(known, _)| *known == name).expect("an operation of the list");
    let space = Space::options().scratch(64 << 20).guardian(false).memfd().expect("a space");
    let (me, other) = (space.join().expect("a member"), space.join().expect("a second member"));
    run(&mut me.local(), &mut other.local(), count);
}
