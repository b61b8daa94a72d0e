//! What a member is told of the deaths that it recovers, with real processes.
#![cfg(feature = "objects")]

mod common;

use std::io::{Read as _, Write as _};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};

use common::{Name, Process, listen, returns, role, say};
use tenure::{Death, Kind, Member, Options, Space, sync};

fn options() -> Options {
    Space::options().members(8).handles(1024).scratch(16 << 20)
}

/// Holds handles with a block each, two mutexes of which it has one, and a read-write lock that it reads.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = options().attach(&role[0]).unwrap().join().unwrap();
    let _held: Vec<_> = (0..3).map(|_| me.create_raw(Kind::raw(1), &[1; 100]).unwrap()).collect();
    let mutexes = [(); 2].map(|()| sync::Mutex::create(&me).unwrap());
    let _guard = mutexes[0].lock().unwrap();
    let lock = sync::RwLock::create(&me).unwrap();
    let _reader = lock.read().unwrap();
    say("holds", me.lease().index);
    listen();
}

/// A process that is a member, and its slot.
fn member(name: &Name) -> (Process, u8) {
    let mut process = Process::start(&[&name.0]);
    let slot = process.receive("holds").unwrap().parse().unwrap();
    (process, slot)
}

/// Options that send what is told.
fn telling(options: Options) -> (Options, Receiver<Death>) {
    let (send, deaths) = mpsc::channel();
    (options.on_death(move |death| _ = send.send(*death)), deaths)
}

fn next(deaths: &Receiver<Death>) -> Death {
    returns("a death is told", || deaths.recv().unwrap())
}

#[track_caller]
fn is_of(death: &Death, pid: u32, slot: u8) {
    assert_eq!((death.pid, death.lease.index), (pid, slot));
    // What it had claimed in advance counts as well; two of its locks were locked.
    assert!(death.handles >= 6 && death.blocks >= 3 && death.locks == 2, "{death:?}");
}

#[test]
fn a_death_is_told_with_what_was_taken_back() {
    let name = Name::new("told");
    let (options, deaths) = telling(options());
    let space = name.open(options);
    let me = space.join().unwrap();
    let (process, slot) = member(&name);
    let (pid, lease) = (process.id(), space.leases()[usize::from(slot)].id());
    process.kill();
    let death = next(&deaths);
    is_of(&death, pid, slot);
    assert_eq!(death.lease, lease);
    // A leave is no death, neither another member's nor the own one.
    space.join().unwrap().leave().unwrap();
    me.leave().unwrap();
    assert!(space.check().is_clean());
    drop(space);
    // With the last member and the space the callback is dropped, and with it the sender; nothing else was told.
    returns("the thread ends", || deaths.recv().unwrap_err());
}

#[test]
fn without_a_monitor_the_recovery_and_the_join_tell() {
    let name = Name::new("by-hand");
    let (options, deaths) = telling(options().monitor(false));
    let space = name.open(options);
    let me = space.join().unwrap();
    let (process, slot) = member(&name);
    let pid = process.id();
    process.kill();
    assert_eq!(me.recover().unwrap(), 1);
    is_of(&next(&deaths), pid, slot);
    let (process, slot) = member(&name);
    let pid = process.id();
    process.kill();
    let _other = space.join().unwrap();
    is_of(&next(&deaths), pid, slot);
    assert_eq!(me.recover().unwrap(), 0);
    assert!(deaths.try_recv().is_err());
}

#[test]
fn the_callback_may_use_the_member_and_the_programs_descriptors() {
    let name = Name::new("uses");
    let member_of: Arc<OnceLock<Member>> = Arc::default();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let theirs = Arc::clone(&member_of);
    let space = name.open(options().on_death(move |death| {
        let me = theirs.wait();
        // A recovery, and a leave of another member: both need the lock under which the dead are recovered.
        me.recover().unwrap();
        let handle = me.create_raw(Kind::raw(1), &[1; 100]).unwrap();
        me.space().join().unwrap().leave().unwrap();
        drop(handle);
        writeln!(&writer, "{}", death.pid).unwrap();
    }));
    assert!(member_of.set(space.join().unwrap()).is_ok());
    let (process, _) = member(&name);
    let pid = process.id();
    process.kill();
    let mut said = vec![0; pid.to_string().len() + 1];
    returns("the callback writes", || reader.read_exact(&mut said).unwrap());
    assert_eq!(String::from_utf8(said).unwrap(), format!("{pid}\n"));
}

#[test]
fn a_callback_that_panics_does_no_harm() {
    let name = Name::new("panics");
    let (send, deaths) = mpsc::channel();
    let send = Mutex::new(send);
    let space = name.open(options().on_death(move |death| {
        send.lock().unwrap().send(*death).unwrap();
        std::panic::panic_any(Bomb);
    }));
    let me = space.join().unwrap();
    for _ in 0..2 {
        let (process, _) = member(&name);
        let pid = process.id();
        process.kill();
        assert_eq!(next(&deaths).pid, pid);
    }
    me.create_raw(Kind::raw(1), b"tea").unwrap();
    me.leave().unwrap();
    assert!(space.check().is_clean());
}

/// What a panic may carry: its drop panics, too.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("again");
    }
}
