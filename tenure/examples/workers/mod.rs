//! For the examples: worker processes that are started again whenever they are killed, and a space that is removed at the end.

use std::error::Error;
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child};
use std::thread;

use tenure::{Backend, Member, Process, Space, Waitable, wait_any};

pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// Starts a process in a role.
pub(crate) type Start<'a> = &'a dyn Fn(&'static str) -> std::io::Result<Child>;

/// Calls `body` as a member of the space, and removes the space whatever comes of it. Fails if something is left in the space.
pub(crate) fn in_space<R>(space: &Space, body: impl FnOnce(&Member) -> Result<R>) -> Result<R> {
    let result = space.join().map_err(Into::into).and_then(|me| {
        let result = body(&me);
        me.recover()?; // of those that have just ended, too
        result
    });
    Space::remove(Backend::Shm, space.name().unwrap_or_default(), true)?;
    let (result, report) = (result?, space.check());
    if report.is_clean() && report.stats.handles_live == 0 && report.stats.blocks_live() == 0 {
        return Ok(result);
    }
    Err(format!("left in the space: {report:?}").into())
}

/// The workers of this process.
pub(crate) struct Workers<'a> {
    me: &'a Member,
    start: Start<'a>,
    running: Vec<(&'static str, Process, Child)>,
    /// How often one was killed and started again.
    pub(crate) restarts: u32,
    /// By its end the workers learn that nobody looks after them any more.
    #[expect(dead_code, reason = "held")]
    supervisor: Process,
}

impl<'a> Workers<'a> {
    pub(crate) fn new(me: &'a Member, start: Start<'a>) -> Result<Self> {
        let supervisor = Process::create_named(me, "supervisor", process::id())?;
        Ok(Self { me, start, running: Vec::new(), restarts: 0, supervisor })
    }

    /// Starts one more.
    pub(crate) fn add(&mut self, role: &'static str) -> Result {
        let child = (self.start)(role)?;
        let end = Process::of_child(self.me, &child)?;
        self.running.push((role, end, child));
        Ok(())
    }

    /// Waits until one has done its work, and returns its role; `None` if all have. Those that are killed meanwhile are started again.
    pub(crate) fn next_done(&mut self) -> Result<Option<&'static str>> {
        while !self.running.is_empty() {
            let ends: Vec<&dyn Waitable> = self.running.iter().map(|(_, end, _)| end as _).collect();
            let ended = wait_any(&ends, None)?.index;
            let (role, _, mut child) = self.running.swap_remove(ended);
            let status = child.wait()?;
            if status.success() {
                return Ok(Some(role));
            }
            if status.signal().is_none() {
                return Err(format!("the {role}: {status}").into());
            }
            self.restarts += 1;
            self.add(role)?;
        }
        Ok(None)
    }
}

/// For a worker: becomes a member of the space, as long as the process that looks after it lives.
pub(crate) fn join(space: &str) -> Result<Member> {
    let me = Space::options().attach(space)?.join()?;
    let supervisor = Process::open_named(&me, "supervisor")?;
    thread::spawn(move || {
        let _ = supervisor.wait(None);
        process::exit(1)
    });
    Ok(me)
}
