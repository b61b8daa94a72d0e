//! Further memberships of a member process: visits, forked children, and families.

use std::alloc::Layout;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tenure::{
    Member, Space, Token,
    error::{AllocError, CreateError, NotMember, OpenHandleError},
};

use crate::pattern;

use super::chance::Choice;
use super::hands::{Hands, KIND, Room, must};
use super::member::Tally;
use super::waits::Party;
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};
use crate::wire::die_with;

/// Number of blocks and handles of a guest.
const THINGS: u64 = 12;
/// Number of waits of a guest.
const WAITS: u64 = 12;

/// Waits on the common objects through a membership of its own. Its units are not released: they are abandoned.
fn wait(me: &Member, key: u64) -> Result<(), Trouble> {
    let Some(mut party) = Party::join(me, key)? else { return Ok(()) };
    (0..WAITS).try_for_each(|number| party.do_something(pattern::combine(&[key, number])).map(drop))
}

/// Works through a membership of its own: opens `known`, which has another holder as long as this function runs,
/// creates handles and allocates blocks. Some stay.
fn work(me: &Member, known: Option<(Token, u64)>, key: u64) -> Result<(), Trouble> {
    let mut local = me.local();
    if let Some((token, identity)) = known {
        let held = local.open(KIND, token).map_err(|error| {
            (Wrong::Lost, format!("{token:?} is held by our host and does not open: {error}"))
        })?;
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        let payload = must("get", unsafe { local.get(&held) })?;
        pattern::check_payload(identity, payload).map_err(|text| (Wrong::MixedUp, text))?;
    }
    let mut buffer = Vec::new();
    for number in 0..THINGS {
        let identity = key.wrapping_add(number);
        pattern::payload(identity, &mut buffer);
        match local.create(KIND, &buffer) {
            Ok(held) => {
                // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
                let payload = must("get", unsafe { local.get(&held) })?;
                pattern::check_payload(identity, payload).map_err(|text| (Wrong::MixedUp, text))?;
                if number % 3 == 0 {
                    // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
                    must("close", unsafe { local.close(held) })?;
                }
            }
            Err(error) if error.is_full() => {}
            Err(error) => return Err((Wrong::Refused, format!("a guest cannot create: {error}"))),
        }
        match local.alloc(Layout::for_value(&buffer[..])) {
            Ok(block) => {
                let address = local.address(block);
                // SAFETY: the block was just allocated and is ours alone.
                let wrong = unsafe {
                    pattern::fill(address, block.len, identity);
                    pattern::verify(address, block.len, block.len, identity)
                };
                wrong.map_err(|at| (Wrong::MixedUp, format!("a guest's block changed at {at}")))?;
                if number % 4 == 0 {
                    // SAFETY: we own the block as a raw value, and nobody uses its bytes any more.
                    must("free", unsafe { local.free(block) })?;
                }
            }
            Err(error) if error.is_full() => {}
            Err(error) => return Err((Wrong::Refused, format!("a guest cannot alloc: {error}"))),
        }
    }
    Ok(())
}

/// Checks that every operation is refused in a forked child that has not joined.
fn is_refused(me: &Member, token: Option<Token>) -> Result<(), Trouble> {
    let forked = NotMember::ForkedChild;
    let refused = matches!(me.create_raw(KIND, b"x"), Err(CreateError::NotMember(no)) if no == forked)
        && matches!(me.alloc(Layout::new::<u64>()), Err(AllocError::NotMember(no)) if no == forked)
        && token.is_none_or(
            |token| matches!(me.open_raw(KIND, token), Err(OpenHandleError::NotMember(no)) if no == forked),
        )
        && me.recover() == Err(forked.into())
        && me.trim() == Err(forked);
    refused.then_some(()).ok_or_else(|| (Wrong::Refused, "a forked child is taken for a member".into()))
}

/// Ends a child that joined.
fn end(me: Member, how: u64) -> Result<(), Trouble> {
    match how % 4 {
        0 => must("leave", me.leave()),
        // Ends without leaving.
        1 => Ok(()),
        2 => {
            // SAFETY: ends this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
            Ok(())
        }
        _ => {
            // Executes another program, which is not a member.
            let mut program = Command::new("/proc/self/exe");
            program.arg("--version").stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
            let error = std::os::unix::process::CommandExt::exec(&mut program);
            Err((Wrong::Refused, format!("cannot execute: {error}")))
        }
    }
}

/// Runs `body` in a forked child that dies with this process, and returns its error.
fn in_child(patience: u32, body: impl FnOnce() -> Result<(), Trouble>) -> Result<(), Trouble> {
    in_doomed_child(patience, body, |_| ())
}

/// The same, with a function that the parent runs meanwhile; the child is reaped afterwards.
fn in_doomed_child(
    patience: u32,
    body: impl FnOnce() -> Result<(), Trouble>,
    doom: impl FnOnce(Pid),
) -> Result<(), Trouble> {
    let parent = std::process::id();
    let (mut reader, mut say) = must("make a pipe", std::io::pipe())?;
    // SAFETY: the child runs `body`, which takes no lock that another thread of ours may hold, and ends by `_exit`;
    // glibc makes allocation usable in it.
    match unsafe { libc::fork() } {
        0 => {
            let body = AssertUnwindSafe(|| {
                if die_with(parent).is_err() {
                    return Ok(());
                }
                // SAFETY: sets an alarm for this process only; its signal ends the process.
                unsafe { libc::alarm(patience) };
                body()
            });
            let code = match catch_unwind(body) {
                Ok(Ok(())) => 0,
                Ok(Err((what, text))) => {
                    // If the parent is dead, nobody reads this, and that is correct: the parent's handles and blocks
                    // are recovered.
                    let _ = say.write_all(text.as_bytes());
                    100 + what as i32
                }
                Err(_) => 99,
            };
            // SAFETY: ends the child without running anything that belongs to its parent.
            unsafe { libc::_exit(code) }
        }
        -1 => Err((Wrong::Refused, format!("cannot fork: {}", std::io::Error::last_os_error()))),
        child => {
            if let Some(child) = Pid::from_raw(child) {
                doom(child);
            }
            let status = loop {
                match waitpid(Pid::from_raw(child), WaitOptions::empty()) {
                    Ok(Some((_, status))) => break status,
                    Err(rustix::io::Errno::INTR) | Ok(None) => {}
                    Err(error) => return Err((Wrong::Refused, format!("cannot wait for a child: {error}"))),
                }
            };
            match (status.exit_status(), status.terminating_signal()) {
                (Some(0), _) => Ok(()),
                (_, Some(libc::SIGKILL)) => Ok(()),
                (Some(code), _) => {
                    let kinds = [Wrong::Lost, Wrong::Leaked, Wrong::MixedUp, Wrong::Refused];
                    let kind = kinds.into_iter().find(|kind| 100 + *kind as i32 == code);
                    let mut text = String::new();
                    drop(say);
                    let _ = reader.read_to_string(&mut text);
                    Err((kind.unwrap_or(Wrong::Refused), format!("a forked child ended with {code}: {text}")))
                }
                (None, signal) => Err((Wrong::Refused, format!("a forked child died of signal {signal:?}"))),
            }
        }
    }
}

impl Hands<'_> {
    /// Joins a second time in this process, works, and leaves while it still has handles and blocks.
    pub(super) fn visit(&mut self, choice: Choice) -> Result<(), Trouble> {
        let space = self.space(choice.space);
        let known = self.any_token(choice.which, space);
        let me = must("join for a visit", self.home.spaces[space].join())?;
        Tally::count(&self.home.tally.joins);
        work(&me, known, choice.key)?;
        wait(&me, choice.key)?;
        must("end a visit", me.leave())?;
        Tally::count(&self.home.tally.leaves);
        Ok(())
    }

    /// Forks a child in which operations are refused until it joins itself.
    pub(super) fn fork(&mut self, choice: Choice) -> Result<(), Trouble> {
        let at = self.space(choice.space);
        let (space, member, known) =
            (&self.home.spaces[at], self.member(at), self.any_token(choice.which, at));
        Tally::count(&self.home.tally.forks);
        let joins = !choice.how.is_multiple_of(3);
        if joins {
            Tally::count(&self.home.tally.joins);
        }
        in_child(self.home.orders.patience, || {
            is_refused(member, known.map(|(token, _)| token))?;
            if !joins {
                return Ok(());
            }
            let me = must("join in a forked child", space.join())?;
            work(&me, known, choice.key)?;
            wait(&me, choice.key)?;
            end(me, choice.how / 3)
        })
    }

    /// Forks a child that only waits, locks and signals, and that is killed during one of these, possibly while
    /// stopped.
    pub(super) fn doom(&mut self, choice: Choice) -> Result<(), Trouble> {
        let space = &self.home.spaces[self.space(choice.space)];
        Tally::count(&self.home.tally.forks);
        Tally::count(&self.home.tally.joins);
        let halve = self.negative_control(NegativeControl::Halve);
        let nap = |us: u64| std::thread::sleep(Duration::from_micros(us));
        let doom = |child: Pid| {
            nap(choice.how % 6_000);
            // Both fail only for a child that has ended; it is not reaped yet, so its process id is not reused.
            if choice.which.is_multiple_of(3) {
                let _ = kill_process(child, Signal::STOP);
                nap(choice.which % 2_000);
            }
            let _ = kill_process(child, Signal::KILL);
        };
        let body = || {
            let me = must("join in a forked child", space.join())?;
            let Some(mut party) = Party::join(&me, choice.key)? else { return Ok(()) };
            if halve {
                party.take_half()?;
            }
            let keys = (0..).map(|number| pattern::combine(&[choice.key, number]));
            if choice.key.is_multiple_of(2) {
                return keys.map(|key| party.take_together(key)).try_for_each(|came| came.map(drop));
            }
            keys.map(|key| party.do_something(key)).try_for_each(|came| came.map(drop))
        };
        in_doomed_child(self.home.orders.patience, body, doom)
    }

    /// Creates a space for this process and a child, or for this process only.
    pub(super) fn family(&mut self, choice: Choice) -> Result<(), Trouble> {
        let family = choice.how.is_multiple_of(2);
        let options = Space::options().members(4).handles(64).unit(4 << 10).scratch(1 << 20);
        let space = must("make a space", if family { options.anonymous() } else { options.private() })?;
        let me = must("join a space of our own", space.join())?;
        work(&me, None, choice.key)?;
        if family {
            let known = must("create", me.create_raw(KIND, b"for our child"))?;
            let token = known.token();
            Tally::count(&self.home.tally.forks);
            in_child(self.home.orders.patience, || {
                is_refused(&me, Some(token))?;
                let me = must("join as a child", space.join())?;
                let opened = must("open as a child", me.open_raw(KIND, token))?;
                let is_ours = must("get as a child", opened.get())? == b"for our child";
                is_ours.then_some(()).ok_or((Wrong::MixedUp, "a child reads something else".into()))
            })?;
        }
        must("recover", me.recover())?;
        must("leave a space of our own", me.leave())?;
        let report = space.check_quiet();
        let stats = &report.stats;
        let left = stats.handles_live + stats.blocks_live();
        if !report.is_clean() || left > 0 {
            return Err((Wrong::Leaked, format!("a space of our own: {left} left, {:?}", report.violations)));
        }
        Ok(())
    }
}
