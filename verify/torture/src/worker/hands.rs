//! The handles that a worker holds, and its tasks on them.

use std::alloc::Layout;
use std::collections::HashMap;
use std::fmt::Display;

use tenure::{Kind, Local, Token, error::OpenHandleError, raw::RawHandle};

use crate::pattern;
use crate::verdict::{Trouble, Wrong};
use crate::wire::{Counters, Outcome, Task};

use crate::negative_control::NegativeControl;

/// The kind of handles whose payload is a block allocated separately by the creator.
pub(crate) const GIFT_KIND: Kind = Kind::raw(1 << 16);
/// The kind of the handles that a pulse creates.
const PULSE_KIND: Kind = Kind::raw(u32::MAX);

#[derive(Clone, Copy)]
struct Hold {
    held: RawHandle,
    kind: Kind,
    identity: u64,
}

/// All handles of this worker, by the coordinator's numbers.
pub(super) struct Hands {
    holds: HashMap<u64, Vec<Hold>>,
    payload: Vec<u8>,
    negative_control: Option<NegativeControl>,
    tasks: u64,
}

impl Hands {
    pub(super) fn new(negative_control: Option<NegativeControl>) -> Self {
        Self { holds: HashMap::new(), payload: Vec::new(), negative_control, tasks: 0 }
    }

    /// Does one task. An error becomes the outcome.
    pub(super) fn perform(&mut self, local: &mut Local<'_>, task: &Task, counters: &mut Counters) -> Outcome {
        self.tasks += 1;
        match self.negative_control() {
            Some(NegativeControl::Hang) => loop {
                std::thread::park();
            },
            Some(NegativeControl::Crash) => std::process::abort(),
            _ => {}
        }
        let result = match *task {
            Task::Create { handle, kind, identity } => {
                self.create(local, counters, handle, Kind::raw(kind), identity)
            }
            Task::Open { handle, kind, token, identity } => match Token::try_from(token) {
                Ok(token) => self.open(local, counters, handle, Kind::raw(kind), token, identity),
                Err(error) => Err(refused("read the token of", handle, error)),
            },
            Task::Close { handle, probe } => self.close(local, counters, handle, probe),
            Task::Pulse => pulse(local, counters),
        };
        result.unwrap_or_else(Outcome::Wrong)
    }

    /// Closes all handles.
    pub(super) fn finish(&mut self, local: &mut Local<'_>) -> Result<(), Trouble> {
        for (handle, holds) in self.holds.drain() {
            for hold in holds {
                // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
                unsafe { local.close(hold.held) }.map_err(|error| refused("close", handle, error))?;
            }
        }
        Ok(())
    }

    fn create(
        &mut self,
        local: &mut Local<'_>,
        counters: &mut Counters,
        handle: u64,
        kind: Kind,
        identity: u64,
    ) -> Result<Outcome, Trouble> {
        let mixed = u64::from(self.negative_control() == Some(NegativeControl::Mix));
        pattern::payload(identity + mixed, &mut self.payload);
        let held = if kind == GIFT_KIND {
            self.create_around_block(local, handle, kind)?
        } else {
            local.create(kind, &self.payload).map_err(|error| refused("create", handle, error))?
        };
        counters.handle_operations += 1;
        let token = local.token(&held).into();
        if self.negative_control() == Some(NegativeControl::Lose) {
            // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
            unsafe { local.close(held) }.map_err(|error| refused("close", handle, error))?;
            return Ok(Outcome::Created { token });
        }
        self.take(local, counters, handle, Hold { held, kind, identity })?;
        Ok(Outcome::Created { token })
    }

    /// Creates a handle with a block of this worker as its payload.
    fn create_around_block(
        &self,
        local: &mut Local<'_>,
        handle: u64,
        kind: Kind,
    ) -> Result<RawHandle, Trouble> {
        let layout = Layout::for_value(&self.payload[..]);
        let block = local.alloc(layout).map_err(|error| refused("alloc the payload of", handle, error))?;
        // SAFETY: the block was just allocated for as many bytes as the payload has, and it is ours alone.
        unsafe { local.address(block).copy_from_nonoverlapping(self.payload.as_ptr(), self.payload.len()) };
        // SAFETY: we own the block as a raw value, and nobody writes it any more.
        unsafe { local.create_with(kind, block) }.map_err(|error| refused("create", handle, error))
    }

    fn open(
        &mut self,
        local: &mut Local<'_>,
        counters: &mut Counters,
        handle: u64,
        kind: Kind,
        token: Token,
        identity: u64,
    ) -> Result<Outcome, Trouble> {
        counters.handle_operations += 1;
        let held = match local.open(kind, token) {
            Ok(held) => held,
            Err(OpenHandleError::Stale { .. }) => return Ok(Outcome::Stale),
            Err(error) => return Err(refused("open", handle, error)),
        };
        self.take(local, counters, handle, Hold { held, kind, identity })?;
        Ok(Outcome::Opened)
    }

    /// Reads the payload of a handle that was just acquired, and records the handle.
    fn take(
        &mut self,
        local: &Local<'_>,
        counters: &mut Counters,
        handle: u64,
        hold: Hold,
    ) -> Result<(), Trouble> {
        let holds = self.holds.entry(handle).or_default();
        counters.second_opens += u64::from(!holds.is_empty());
        holds.push(hold);
        read(local, counters, handle, hold)
    }

    fn close(
        &mut self,
        local: &mut Local<'_>,
        counters: &mut Counters,
        handle: u64,
        probe: bool,
    ) -> Result<Outcome, Trouble> {
        let Some(hold) = self.holds.get_mut(&handle).and_then(Vec::pop) else {
            return match self.negative_control {
                Some(NegativeControl::Lose) => Ok(Outcome::Closed { leaked: false }),
                _ => Err((Wrong::Refused, format!("handle {handle}: told to close it, but it is not held"))),
            };
        };
        if self.holds.get(&handle).is_some_and(Vec::is_empty) {
            self.holds.remove(&handle);
        }
        read(local, counters, handle, hold)?;
        let token = local.token(&hold.held);
        if self.negative_control() != Some(NegativeControl::Leak) {
            // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
            unsafe { local.close(hold.held) }.map_err(|error| refused("close", handle, error))?;
        }
        counters.handle_operations += 1;
        if !probe {
            return Ok(Outcome::Closed { leaked: false });
        }
        counters.handle_operations += 1;
        match local.open(hold.kind, token) {
            Err(OpenHandleError::Stale { .. }) => Ok(Outcome::Closed { leaked: false }),
            Err(error) => Err(refused("open the closed", handle, error)),
            Ok(held) => {
                // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
                unsafe { local.close(held) }.map_err(|error| refused("close", handle, error))?;
                Ok(Outcome::Closed { leaked: true })
            }
        }
    }

    fn negative_control(&self) -> Option<NegativeControl> {
        self.negative_control.filter(|_| self.tasks > NegativeControl::PATIENCE)
    }
}

fn read(local: &Local<'_>, counters: &mut Counters, handle: u64, hold: Hold) -> Result<(), Trouble> {
    counters.handle_operations += 1;
    // SAFETY: this worker holds the handle, nobody writes payloads, and the slice is not used after the close.
    let payload = unsafe { local.get(&hold.held) }.map_err(|error| refused("get", handle, error))?;
    pattern::check_payload(hold.identity, payload)
        .map_err(|text| (Wrong::MixedUp, format!("handle {handle}, {}: {text}", local.token(&hold.held))))
}

fn pulse(local: &mut Local<'_>, counters: &mut Counters) -> Result<Outcome, Trouble> {
    let held = local.create(PULSE_KIND, b"pulse").map_err(|error| refused("create", 0, error))?;
    // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
    unsafe { local.close(held) }.map_err(|error| refused("close", 0, error))?;
    let block = local.alloc(Layout::new::<[u64; 4]>()).map_err(|error| refused("alloc", 0, error))?;
    // SAFETY: we own the block as a raw value, and nobody uses its bytes any more.
    unsafe { local.free(block) }.map_err(|error| refused("free", 0, error))?;
    counters.handle_operations += 2;
    counters.block_operations += 2;
    Ok(Outcome::Alive)
}

#[cold]
fn refused(what: &str, handle: u64, error: impl Display) -> Trouble {
    (Wrong::Refused, format!("handle {handle}: cannot {what} it: {error}"))
}
