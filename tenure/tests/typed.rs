//! Typed values of a kind that the application chose, and through the fast interface.
#![cfg(feature = "typed")]

use tenure::rkyv::{self, Archive, Serialize};
use tenure::{CreateError, Kind, OpenHandleError, Space, UseError};

/// By the exported rkyv, as in a program that does not depend on it.
#[derive(Archive, Serialize)]
#[rkyv(crate = rkyv)]
struct Order {
    id: u64,
    lines: Vec<String>,
}

const ORDER: Kind = Kind::named("shop.example/order", 2);
const RESERVED: Kind = Kind::from_number(1 << 62);

fn order(lines: usize) -> Order {
    Order { id: 7, lines: vec!["tea".into(); lines] }
}

fn space() -> Space {
    Space::options().slots(8).handles(64).scratch(1 << 20).anonymous().unwrap()
}

/// Programs of other builds compute the same number.
#[test]
fn a_named_kind_is_a_fixed_number() {
    assert_eq!(ORDER.number(), 0x8617_4358_2f63_ad35);
    let others = [("shop.example/order", 1), ("shop.example/orde", 2), ("", 0), ("", 1)];
    let mut all: Vec<_> = others.map(|(name, version)| Kind::named(name, version)).into();
    all.extend([ORDER, Kind::of::<Order>(), Kind::raw(2)]);
    assert!(
        all.iter().all(|kind| !kind.is_system() && all.iter().filter(|other| *other == kind).count() == 1)
    );
}

#[test]
fn a_value_of_a_chosen_kind_is_a_payload_too() {
    let space = space();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    for lines in [0, 3, 100] {
        let held = me.create_as(ORDER, &order(lines)).unwrap();
        assert_eq!((held.kind(), held.get().unwrap().lines.len()), (ORDER, lines));
        let token = held.token();
        let opened = other.open_as::<Order>(ORDER, token).unwrap();
        assert_eq!(opened.get().unwrap().id.to_native(), 7);
        let raw = other.open_raw(ORDER, token).unwrap();
        assert_eq!(raw.get_as::<Order>().unwrap().lines.len(), lines);
        let typed = raw.into_typed::<Order>().unwrap();
        assert_eq!((typed.get().unwrap().lines.len(), typed.token()), (lines, token));
        let bytes = typed.into_untyped();
        me.slots().put(0, &held).unwrap();
        drop((held, opened, bytes));
        let claim = me.slots().claim_raw(0, ORDER).unwrap();
        assert_eq!(claim.get_as::<Order>().unwrap().lines.len(), lines);
        claim.ack().unwrap();
        assert!(matches!(other.open_as::<Order>(ORDER, token), Err(OpenHandleError::Stale { .. })));
    }
    let report = space.check();
    assert!(report.is_clean() && report.stats.handles_live == 0, "{report:?}");
}

/// Whoever is refused holds nothing.
#[test]
fn other_bytes_and_other_kinds_are_refused() {
    let space = space();
    let me = space.join().unwrap();
    let is_corrupt = |error| matches!(error, OpenHandleError::Corrupt(_));
    for bytes in [&b""[..], b"tea", &[0xFF; 24], &[0xFF; 500]] {
        let token = me.slots().put(0, &me.create_raw(ORDER, bytes).unwrap()).map(|()| space.slots()[0].token);
        let token = token.unwrap();
        assert!(me.open_as::<Order>(ORDER, token).is_err_and(is_corrupt));
        assert!(me.local().open_value::<Order>(ORDER, token).is_err_and(is_corrupt));
        let raw = me.open_raw(ORDER, token).unwrap();
        assert!(raw.get_as::<Order>().is_err_and(is_corrupt));
        assert!(raw.into_typed::<Order>().is_err_and(is_corrupt));
        assert_eq!(space.stats().handles_by_lease[usize::from(me.lease().index)], 0, "still held");
        me.slots().evict(0).unwrap();
    }
    let held = me.create(&order(1)).unwrap();
    let wrong = me.open_as::<Order>(ORDER, held.token());
    assert!(matches!(wrong, Err(OpenHandleError::ForeignKind { expected: ORDER, .. })));
    assert!(matches!(me.create_as(RESERVED, &7u64), Err(CreateError::SystemKind { .. })));
    assert!(matches!(me.open_as::<u64>(RESERVED, held.token()), Err(OpenHandleError::SystemKind { .. })));
}

#[test]
fn a_local_creates_and_opens_values() {
    let space = space();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let (mut local, mut theirs) = (me.local(), other.local());
    for (kind, lines) in [(ORDER, 0), (Kind::of::<Order>(), 100)] {
        let held = local.create_value(kind, &order(lines)).unwrap();
        let token = local.token(&held);
        let opened = theirs.open_value::<Order>(kind, token).unwrap();
        // SAFETY: each member closes its count once, after the last use of what it borrows; the values are orders.
        unsafe {
            assert_eq!(local.get_value::<Order>(&held).unwrap().lines.len(), lines);
            local.close(held).unwrap();
            assert_eq!(theirs.get_value::<Order>(&opened).unwrap().lines.len(), lines);
            theirs.close(opened).unwrap();
            assert_eq!(theirs.close(opened), Err(UseError::Stale));
        }
        assert!(matches!(theirs.open_value::<Order>(kind, token), Err(OpenHandleError::Stale { .. })));
    }
    assert!(matches!(local.create_value(RESERVED, &7u64), Err(CreateError::SystemKind { .. })));
}
