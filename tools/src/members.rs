//! The members of a space, and the names of their processes.

use serde::Serialize;
use tenure::{LeaseInfo, Space};

use crate::table::shown;

/// A member, as a reader of the space sees it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Member {
    pub(crate) index: u8,
    pub(crate) incarnation: u64,
    /// In its own pid namespace.
    pub(crate) pid: u32,
    /// The name of the process; `None` if it is gone, or of another pid namespace.
    pub(crate) process: Option<String>,
    /// `None` if the kernel cannot be asked.
    pub(crate) alive: Option<bool>,
    pub(crate) handles: u64,
}

impl Member {
    pub(crate) fn of(lease: &LeaseInfo, handles: u64) -> Self {
        // The number of a dead process may be that of another one by now.
        let process = (lease.held != Some(false)).then(|| process_name(lease.pid)).flatten();
        let (index, incarnation) = (lease.index, lease.incarnation);
        Self { index, incarnation, pid: lease.pid, process, alive: lease.held, handles }
    }

    /// The name of its process, as text.
    pub(crate) fn process_text(&self) -> String {
        self.process.as_deref().map_or_else(|| "-".to_owned(), shown)
    }

    /// Whether it lives, as text.
    pub(crate) const fn state(&self) -> &'static str {
        match self.alive {
            Some(true) => "alive",
            Some(false) => "dead, to be recovered",
            None => "unknown",
        }
    }
}

/// The members of a space; `handles` says how many handles each lease holds.
pub(crate) fn members(space: &Space, handles: &[u64]) -> Vec<Member> {
    let held_by = |index: u8| handles.get(usize::from(index)).copied().unwrap_or(0);
    let leases = space.leases();
    let live = leases.iter().filter(|lease| lease.live);
    live.map(|lease| Member::of(lease, held_by(lease.index))).collect()
}

/// The name of a process, as `ps` and `top` show it.
fn process_name(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.strip_suffix('\n')?.to_owned()).filter(|name| !name.is_empty())
}

/// A lease and its process, as text.
pub(crate) fn lease_text(lease: u8, members: &[Member]) -> String {
    match members.iter().find(|member| member.index == lease) {
        Some(member) => {
            let name = member.process.as_ref().map_or_else(String::new, |name| format!(" {}", shown(name)));
            format!("{lease} (pid {}{name})", member.pid)
        }
        None => lease.to_string(),
    }
}
