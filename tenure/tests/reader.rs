//! A member of a read-only space reads, waits and locks, and cannot write payloads: neither by a call nor by a store.
#![cfg(all(feature = "objects", feature = "typed"))]

mod common;

use std::alloc::Layout;
use std::os::unix::process::ExitStatusExt;

use common::{Name, Process, role, say};
use tenure::{AllocError, CreateError, Event, Kind, Mutex, NamedError, ReadOnly, Reset, Semaphore, Space};

const KIND: Kind = Kind::raw(1);

fn options() -> tenure::Options {
    Space::options().members(4).handles(64).scratch(1 << 20)
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let reader = Space::options().read_only(true).attach(&role[0]).unwrap().join().unwrap();
    let local = reader.local();
    let (mutex, token) = (Mutex::open_named(&reader, "named").unwrap(), role[1].parse().unwrap());
    let handle = reader.open_raw(KIND, token).unwrap();
    let guard = mutex.lock().unwrap();
    say("read", format_args!("{:?}", handle.get().unwrap()[0]));
    let raw = reader.local().open(KIND, token).unwrap();
    let byte = local.payload(&raw).unwrap().cast::<u8>();
    // SAFETY: it ends the process, as it must.
    unsafe { byte.as_ptr().write_volatile(9) };
    drop(guard);
    say("written", "");
}

/// The store is refused by the kernel, the byte is as before, and the death of the reader is heard as every other.
#[test]
fn a_store_of_a_reader_ends_it_and_changes_nothing() {
    let name = Name::new("reader");
    let space = name.open(options());
    let me = space.join().unwrap();
    let handle = me.create_raw(KIND, &[7; 100]).unwrap();
    let mutex = Mutex::create_named(&me, "named", false).unwrap();
    let mut process = Process::start(&[&name.0, &handle.token().to_string()]);
    assert_eq!(process.receive("read").as_deref(), Some("7"));
    assert_eq!(process.wait().signal(), Some(libc::SIGSEGV));
    assert_eq!(handle.get().unwrap(), [7; 100]);
    assert!(mutex.lock().unwrap().abandoned(), "the reader died as its owner");
    assert!(space.check().is_clean());
}

#[test]
fn a_reader_opens_waits_and_locks_and_creates_nothing() {
    let name = Name::new("reads");
    let space = name.open(options());
    let me = space.join().unwrap();
    let (small, large) = (me.create_raw(KIND, b"tea").unwrap(), me.create_raw(KIND, &[7; 5000]).unwrap());
    let (named, plain) = (Mutex::create_named(&me, "named", false).unwrap(), Mutex::create(&me).unwrap());
    let event = Event::create_named(&me, "event", Reset::Auto, false).unwrap();
    let permits = Semaphore::create(&me, 1, 2).unwrap();

    let readers = Space::options().read_only(true).attach(&name.0).unwrap();
    let reader = readers.join().unwrap();
    assert_eq!(reader.open_raw(KIND, small.token()).unwrap().get().unwrap(), b"tea");
    let opened = reader.open_raw(KIND, large.token()).unwrap();
    assert_eq!(opened.get().unwrap(), [7; 5000]);
    assert_eq!(opened.try_clone().unwrap().get().unwrap().len(), 5000);

    let theirs = Mutex::open_named(&reader, "named").unwrap();
    let guard = theirs.lock().unwrap();
    let taken = std::thread::scope(|scope| scope.spawn(|| named.try_lock().is_err()).join());
    assert!(taken.unwrap());
    drop(guard);
    drop(Mutex::open(&reader, plain.token()).unwrap().lock().unwrap());
    event.set().unwrap();
    Event::open_named(&reader, "event").unwrap().wait(None).unwrap();
    let their_permits = Semaphore::open(&reader, permits.token()).unwrap();
    their_permits.acquire(None).unwrap();
    assert_eq!(their_permits.release(1).unwrap(), 0);

    let refused = AllocError::ReadOnly(ReadOnly);
    assert_eq!(reader.alloc(Layout::new::<u64>()).map(drop), Err(refused));
    let mut local = reader.local();
    for layout in [Layout::new::<u64>(), Layout::new::<[u64; 1 << 14]>()] {
        assert_eq!(local.alloc(layout).err(), Some(refused));
    }
    assert!(matches!(local.create(KIND, b"tea"), Err(CreateError::ReadOnly(ReadOnly))));
    assert!(matches!(local.create(KIND, &[7; 100]), Err(CreateError::ReadOnly(ReadOnly))));
    assert!(matches!(reader.create(&7u64), Err(CreateError::ReadOnly(ReadOnly))));
    assert!(matches!(Mutex::create(&reader), Err(CreateError::ReadOnly(ReadOnly))));
    assert!(matches!(Mutex::create_named(&reader, "mine", false), Err(CreateError::ReadOnly(ReadOnly))));
    let either = Mutex::create_or_open(&reader, "mine", false);
    assert!(matches!(either, Err(NamedError::Create(CreateError::ReadOnly(ReadOnly)))), "{either:?}");
    assert!(Mutex::create_or_open(&reader, "named", false).is_ok());

    // The reader closes the last count of a handle in a block: the block is free again.
    drop(large);
    drop((opened, theirs, their_permits));
    drop(local);
    reader.leave().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!(report.stats.members_live, 1);
    // What a reader was refused has cost nothing.
    drop((small, named, plain, event, permits));
    me.leave().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.stats.handles_live == 0, "{report:?}");
}
