//! `Shared`: values made of atomics, created zeroed, without unsafe code of their users.
#![cfg(feature = "objects")]
#![forbid(unsafe_code)]

mod common;

use std::alloc::Layout;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use common::{Name, Process, role, say};
use tenure::{
    Kind, Space,
    error::{CreateError, NamedError, OpenHandleError, ReadOnly, ScratchError},
    sync::{Locked, Shared},
};

tenure::made_of_atomics! {
    /// With a gap behind the first field.
    struct Counters {
        done: AtomicU32,
        by_size: [AtomicU64; 5],
    }
}

tenure::made_of_atomics! {
    /// Larger than a cache line.
    #[repr(align(256))]
    struct Padded {
        counters: [Counters; 2],
    }
}

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

/// Adds without an end; argument: the space.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let padded = Shared::<Padded>::open(&me, "padded").unwrap();
    say("adding", "");
    loop {
        padded.get().unwrap().counters[1].by_size[4].fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn processes_share_a_value_that_was_created_zeroed() {
    let name = Name::new("atomics");
    let space = name.open(options());
    let me = space.join().unwrap();
    let padded = Shared::<Padded>::create(me.named("padded")).unwrap();
    let value = padded.get().unwrap();
    assert_eq!(std::ptr::from_ref(value).addr() % 256, 0);
    for counters in &value.counters {
        assert_eq!(counters.done.load(Ordering::Relaxed), 0);
        assert!(counters.by_size.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
    let mut process = Process::start(&[&name.0]);
    process.receive("adding");
    while value.counters[1].by_size[4].load(Ordering::Relaxed) < 1000 {
        std::hint::spin_loop();
    }
    process.kill();
    // What it added stays.
    assert!(value.counters[1].by_size[4].load(Ordering::Relaxed) >= 1000);
    assert_eq!(value.counters[1].by_size[3].load(Ordering::Relaxed), 0);
    drop(padded);
    me.recover().unwrap();
    assert!(matches!(Shared::<Padded>::open(&me, "padded"), Err(OpenHandleError::NoSuchName)));
    assert!(space.check().is_clean());
    assert_eq!(space.stats().blocks_attached, 0);
}

#[test]
fn memory_that_was_used_is_zero_again() {
    type Large = [AtomicU64; 512];
    let me = options().scratch(128 << 10).private().unwrap().join().unwrap();
    // All there is.
    let used: Vec<_> = std::iter::from_fn(|| Shared::<Large>::create(&me).ok()).collect();
    assert!((5..60).contains(&used.len()), "{}", used.len());
    used.iter().for_each(|large| {
        large.get().unwrap().iter().for_each(|word| word.store(u64::MAX, Ordering::Relaxed));
    });
    drop(used);
    let large = Shared::<Large>::create(me.named("large")).unwrap();
    assert!(large.get().unwrap().iter().all(|word| word.load(Ordering::Relaxed) == 0));
}

#[test]
fn what_is_of_another_type_or_layout_is_refused() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    let counters = Shared::<Counters>::create(&me).unwrap();
    let token = counters.token();
    let foreign = |error: &OpenHandleError| matches!(error, OpenHandleError::ForeignKind { .. });
    assert!(foreign(&Shared::<Padded>::open(&me, token).unwrap_err()));
    assert!(foreign(&Shared::<[Counters; 1]>::open(&me, token).unwrap_err()));
    assert!(foreign(&Locked::<u64>::open(&me, token).unwrap_err()));
    assert!(foreign(&me.open_raw(Kind::raw(1), token).unwrap_err()));
    assert!(foreign(&Shared::open_raw(&me, Kind::raw(1), token).unwrap_err()));
    drop(counters.try_clone().unwrap());
    drop(counters);
    assert!(matches!(Shared::<Counters>::open(&me, token), Err(OpenHandleError::Stale { .. })));

    let layout = Layout::from_size_align(1000, 512).unwrap();
    let raw = Shared::create_raw(me.named("raw"), Kind::raw(1), layout).unwrap();
    assert_eq!((raw.get().unwrap().len(), raw.get().unwrap().as_ptr().addr() % 512), (1000, 0));
    // With the layout of its creation.
    let tiny = Layout::new::<u8>();
    let again = Shared::create_or_open_raw(&me, "raw", Kind::raw(1), tiny).unwrap();
    assert!(!again.is_created());
    let again = again.into_inner();
    again.get().unwrap()[999].store(7, Ordering::Relaxed);
    assert_eq!(raw.get().unwrap()[999].load(Ordering::Relaxed), 7);
    let other = Shared::create_or_open_raw(&me, "raw", Kind::raw(2), tiny);
    assert!(matches!(&other, Err(NamedError::Open(error)) if foreign(error)));
    assert!(matches!(
        Shared::<Counters>::create(me.named("raw")),
        Err(CreateError::NameTaken { token }) if token == raw.token()
    ));

    let empty = Shared::create_raw(&me, Kind::raw(3), Layout::from_size_align(0, 64).unwrap()).unwrap();
    assert!(empty.get().unwrap().is_empty());
    let large = |layout: Layout| match Shared::create_raw(&me, Kind::raw(3), layout) {
        Err(CreateError::Scratch(error)) => error,
        other => panic!("{other:?}"),
    };
    let much = Layout::from_size_align(isize::MAX as usize & !15, 16).unwrap();
    assert!(matches!(large(much), ScratchError::TooLarge { .. }));
    assert!(matches!(large(Layout::from_size_align(8, 1 << 20).unwrap()), ScratchError::Align { .. }));
    assert!(space.check().is_clean());
}

#[test]
fn a_member_that_only_reads_opens_none() {
    let name = Name::new("atomics-reader");
    let space = name.open(options());
    let me = space.join().unwrap();
    let word = Shared::<AtomicU64>::create(me.named("word")).unwrap();
    let reader = Space::options().read_only(true).attach(&name.0).unwrap().join().unwrap();
    assert!(matches!(
        Shared::<AtomicU64>::open(&reader, word.token()),
        Err(OpenHandleError::ReadOnly(ReadOnly))
    ));
    assert!(matches!(Shared::<AtomicU64>::open(&reader, "word"), Err(OpenHandleError::ReadOnly(ReadOnly))));
    assert!(matches!(Shared::<AtomicU64>::create(&reader), Err(CreateError::ReadOnly(ReadOnly))));
    assert!(matches!(
        Shared::<AtomicU64>::create_or_open(&reader, "word"),
        Err(NamedError::Open(OpenHandleError::ReadOnly(ReadOnly)))
    ));
    assert!(matches!(
        Shared::open_raw(&reader, Kind::raw(1), word.token()),
        Err(OpenHandleError::ReadOnly(ReadOnly))
    ));
    drop(reader);
    word.get().unwrap().store(1, Ordering::Relaxed);
    assert!(space.check().is_clean());
}
