//! Members as others see them: whether they live, and the space that they joined.

mod common;

use common::{Name, Process, in_fork, role, say};
use tenure::{LeaseId, Member, MonitorState, Options, ReadOnly, Space};

fn options() -> Options {
    Space::options().members(2).handles(64).scratch(1 << 20)
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().monitor(false).attach(&role[0]).unwrap().join().unwrap();
    say("lease", format_args!("{} {}", me.lease().index, me.lease().incarnation));
    common::linger();
}

/// A process that joins, and its lease.
fn member(name: &Name) -> (Process, LeaseId) {
    let mut process = Process::start(&[&name.0]);
    let text = process.receive("lease").unwrap();
    let (index, incarnation) = text.split_once(' ').unwrap();
    (process, LeaseId { index: index.parse().unwrap(), incarnation: incarnation.parse().unwrap() })
}

/// Without a member that could recover the dead one: the kernel says so.
#[test]
fn a_lease_is_alive_until_its_process_is_dead() {
    let name = Name::new("alive");
    let space = name.open(options().members(1));
    let (process, lease) = member(&name);
    assert_eq!(space.is_alive(lease), Some(true));
    assert_eq!(space.is_alive(space.leases()[usize::from(lease.index)].id()), Some(true));
    process.stop();
    assert_eq!(space.is_alive(lease), Some(true), "it is stopped");
    process.kill();
    assert!(space.leases()[usize::from(lease.index)].live, "nobody has recovered it");
    assert_eq!(space.is_alive(lease), Some(false));

    let (next, later) = member(&name);
    assert_eq!((later.index, later.incarnation), (lease.index, lease.incarnation + 1));
    assert_eq!((space.is_alive(lease), space.is_alive(later)), (Some(false), Some(true)));
    assert!(next.wait().success());
    assert_eq!(space.is_alive(later), Some(false));
}

#[test]
fn leases_that_were_never_taken_are_not_alive() {
    let space = options().anonymous().unwrap();
    let lease = space.join().unwrap().lease();
    for (index, incarnation) in [(0, 0), (1, 1), (2, 1), (255, 1), (lease.index, lease.incarnation + 1)] {
        assert_eq!(space.is_alive(LeaseId { index, incarnation }), Some(false));
    }
}

/// There is no lock to be asked about.
#[test]
fn nobody_tells_who_lives_in_a_private_space() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    let lease = me.lease();
    assert_eq!(space.is_alive(lease), None);
    drop(me);
    assert_eq!(space.is_alive(lease), Some(false));
}

#[test]
fn a_member_leads_to_its_space() {
    let name = Name::new("space-of");
    let me: Member = name.open(options().monitor(false).read_only(true)).join().unwrap();
    let space = me.space();
    assert_eq!((space.name(), space.geometry().members), (Some(&*name.0), 2));
    assert!(space.leases()[usize::from(me.lease().index)].live);
    let other = space.join().unwrap();
    assert_eq!(other.monitor_state(), MonitorState::Off);
    assert_eq!(other.create_raw(tenure::Kind::raw(1), b"tea").unwrap_err().to_string(), ReadOnly.to_string());
    drop(other);
    // A forked child has the space, and is no member.
    let joined = in_fork(|| match me.space().join() {
        Ok(child) => i32::from(child.lease() != me.lease() && me.check().is_err() && child.check().is_ok()),
        Err(_) => 0,
    });
    assert_eq!(joined, 1);
    let monitored = options().anonymous().unwrap().join().unwrap();
    assert_ne!(monitored.space().join().unwrap().monitor_state(), MonitorState::Off);
}
