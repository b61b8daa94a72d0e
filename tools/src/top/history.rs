//! What has become of the members that were there before: who died, and what was taken back.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use tenure::Space;

use crate::members::Member;

/// The number of deaths to remember.
const DEATHS: usize = 100;

/// A member whose process has ended.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Death {
    pub(crate) index: u8,
    pub(crate) incarnation: u64,
    pub(crate) pid: u32,
    pub(crate) process: Option<String>,
    /// How many handles it held when it was last looked at.
    pub(crate) handles: u64,
    /// Whether its lease is free again: then nothing is left of what it held.
    pub(crate) recovered: bool,
}

/// A member, and when its process was started: the number may be another process's later.
struct Known {
    member: Member,
    start: Option<u64>,
}

/// The members of the last look, and the deaths since the first one.
#[derive(Default)]
pub(crate) struct History {
    known: BTreeMap<(u8, u64), Known>,
    deaths: VecDeque<Death>,
}

impl History {
    /// Compares the members with those of the last look. Returns the deaths, the latest first.
    pub(crate) fn look(&mut self, space: &Space, members: &[Member]) -> Vec<Death> {
        let mut before = std::mem::take(&mut self.known);
        for member in members {
            let id = (member.index, member.incarnation);
            let mut known = before
                .remove(&id)
                .unwrap_or_else(|| Known { member: member.clone(), start: start_of(member.pid) });
            let is_new = known.member.alive != Some(false) || !self.deaths.iter().any(|death| is(death, id));
            if member.alive == Some(false) && is_new {
                // A dead process has no name any more.
                let process = known.member.process.clone();
                self.add(Member { process, ..member.clone() }, false);
            }
            let process = member.process.clone().or(known.member.process);
            known.member = Member { process, ..member.clone() };
            self.known.insert(id, known);
        }
        let leases = space.leases();
        for (id, Known { member, start }) in before {
            // Not in the list: its lease is free, or another one's by now.
            if leases.iter().any(|lease| lease.live && (lease.index, lease.incarnation) == id) {
                continue;
            }
            if let Some(death) = self.deaths.iter_mut().find(|death| is(death, id)) {
                death.recovered = true;
            } else if start.is_some() && start_of(member.pid) != start {
                self.add(member, true);
            }
            // Otherwise it has left, and its process goes on.
        }
        self.deaths.iter().cloned().collect()
    }

    fn add(&mut self, member: Member, recovered: bool) {
        let Member { index, incarnation, pid, process, handles, .. } = member;
        self.deaths.push_front(Death { index, incarnation, pid, process, handles, recovered });
        self.deaths.truncate(DEATHS);
    }
}

fn is(death: &Death, id: (u8, u64)) -> bool {
    (death.index, death.incarnation) == id
}

/// When a process was started, in ticks since the boot; `None` if there is none of that number, or if it is a zombie.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may contain anything; what follows the last bracket has fields from the third one on.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (!matches!(*fields.first()?, "Z" | "X")).then_some(())?;
    fields.get(19)?.parse().ok()
}
