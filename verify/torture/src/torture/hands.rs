//! The handles of one thread and its operations on them. All bytes read are compared with the expected contents.

use std::alloc::Layout;
use std::collections::HashMap;
use std::fmt::Display;

use tenure::{
    Handle, Kind, Local, Member, Raw, Token,
    error::{AllocError, CreateError, NamedError, OpenHandleError, ScratchError},
    file::{Descriptor, FileShare},
    raw::RawHandle,
};

use crate::pattern::{self, mix};

use super::blocks::Chunk;
use super::chance::{Act, Choice};
use super::files;
use super::member::{Home, Tally};
use super::talk::{Gift, Outcome, Parcel, Report, Sort};
use super::waits::Party;
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};

/// The kind of all untyped handles.
pub(super) const KIND: Kind = Kind::raw(0x7047);
/// Maximum number of handles of a thread.
const HOLDS_MAX: usize = 64;
/// Number of different names; few, so that members compete for them.
pub(super) const NAMES: u64 = 12;
/// Maximum number of unanswered gifts of a thread.
const SENT_MAX: usize = 16;

/// The value that holds a handle.
enum Grip {
    Local(RawHandle),
    Owned(Handle<Raw>),
    Typed(Handle<Vec<u64>>),
    Descriptor(Descriptor),
}

impl Grip {
    fn sort(&self) -> Sort {
        match self {
            Self::Local(_) | Self::Owned(_) => Sort::Raw,
            Self::Typed(_) => Sort::Typed,
            Self::Descriptor(_) => Sort::Descriptor,
        }
    }
}

/// A handle held by this thread.
pub(super) struct Hold {
    space: usize,
    grip: Grip,
    identity: u64,
    /// Whether others may hold it, or this thread holds it more than once.
    known: bool,
}

/// The handles and blocks of one thread.
pub(super) struct Hands<'h> {
    pub(super) home: &'h Home,
    pub(super) thread: u64,
    pub(super) operations: u64,
    holds: Vec<Hold>,
    sent: HashMap<u64, Hold>,
    sent_count: u64,
    pub(super) chunks: Vec<Chunk>,
    pub(super) given: HashMap<u64, Chunk>,
    pub(super) pins: Vec<Chunk>,
    pub(super) shares: Vec<FileShare>,
    /// The accounts of this thread for the common objects, one a space; `None` before the first wait there.
    pub(super) parties: Vec<Option<Party<'h>>>,
    buffer: Vec<u8>,
}

/// Turns an error into a report: the operation has to succeed.
pub(super) fn must<T>(what: &str, result: Result<T, impl Display>) -> Result<T, Trouble> {
    result.map_err(|error| (Wrong::Refused, format!("cannot {what}: {error}")))
}

/// An error type with a case for exhausted resources, which is not a fault.
pub(super) trait Room {
    fn is_full(&self) -> bool;
}

impl Room for ScratchError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Exhausted { .. } | Self::NoMemory { .. })
    }
}

impl Room for AllocError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Scratch(error) if error.is_full())
    }
}

impl Room for CreateError {
    fn is_full(&self) -> bool {
        match self {
            Self::Exhausted { .. } => true,
            Self::Scratch(error) => error.is_full(),
            _ => false,
        }
    }
}

impl Room for NamedError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Create(error) if error.is_full())
    }
}

impl<'h> Hands<'h> {
    pub(super) fn new(home: &'h Home, thread: u64) -> Self {
        Self {
            home,
            thread,
            operations: 0,
            holds: Vec::new(),
            sent: HashMap::new(),
            sent_count: 0,
            chunks: Vec::new(),
            given: HashMap::new(),
            pins: Vec::new(),
            shares: Vec::new(),
            parties: home.members.iter().map(|_| None).collect(),
            buffer: Vec::new(),
        }
    }

    /// Executes one choice.
    pub(super) fn perform(&mut self, choice: Choice) -> Result<(), Trouble> {
        self.operations += 1;
        self.settle()?;
        match choice.act {
            Act::Create | Act::CreateOwned | Act::CreateTyped | Act::CreateDescriptor | Act::CreateWith => {
                self.create(choice)
            }
            Act::Share => self.share(choice),
            Act::Get => self.get(choice),
            Act::Close => self.close_one(choice),
            Act::OpenAgain => self.open_again(choice),
            Act::OpenWrong => self.open_wrong(choice),
            Act::Name => self.name(choice),
            Act::Send => self.send(choice),
            Act::Receive => self.receive(),
            Act::Visit => self.visit(choice),
            Act::Fork => self.fork(choice),
            Act::Family => self.family(choice),
            Act::Outlive => self.outlive(choice),
            Act::Wait | Act::WaitAny | Act::WaitAll | Act::Release | Act::Work => self.wait_act(choice),
            Act::Pass | Act::Pulse | Act::AwaitPulse => self.wait_act(choice),
            Act::Doom => self.doom(choice),
            Act::Recover => must("recover", self.member(choice.space as usize).recover()).map(drop),
            Act::Look => {
                let stats = self.home.spaces[self.space(choice.space)].stats();
                (stats.members_live > 0)
                    .then_some(())
                    .ok_or((Wrong::Refused, "nobody is a member, they say".into()))
            }
            _ => self.block_act(choice),
        }
    }

    pub(super) fn space(&self, number: u64) -> usize {
        (number % self.home.members.len() as u64) as usize
    }

    pub(super) fn member(&self, number: usize) -> &'h Member {
        &self.home.members[number % self.home.members.len()]
    }

    pub(super) fn negative_control(&self, which: NegativeControl) -> bool {
        self.home.orders.negative_control == Some(which) && self.operations > NegativeControl::PATIENCE
    }

    /// Counts an operation that had nothing to do.
    pub(super) fn idle(&self) -> Result<(), Trouble> {
        Tally::count(&self.home.tally.idle);
        Ok(())
    }

    /// Returns `None` when resources are exhausted; any other error is a report.
    pub(super) fn room<T, E: Room + Display>(
        &self,
        what: &str,
        result: Result<T, E>,
    ) -> Result<Option<T>, Trouble> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_full() => {
                Tally::count(&self.home.tally.exhausted);
                Ok(None)
            }
            Err(error) => Err((Wrong::Refused, format!("cannot {what}: {error}"))),
        }
    }

    fn pick(&self, which: u64) -> Option<usize> {
        (!self.holds.is_empty()).then(|| (which % self.holds.len() as u64) as usize)
    }

    /// The token of a handle of this thread, if any, for guests. They may die while they hold it.
    pub(super) fn any_token(&mut self, which: u64, space: usize) -> Option<(Token, u64)> {
        let ours = |hold: &Hold| hold.space == space && hold.grip.sort() == Sort::Raw;
        let count = self.holds.iter().filter(|hold| ours(hold)).count() as u64;
        let nth = (which % count.max(1)) as usize;
        let at = (0..self.holds.len()).filter(|at| ours(&self.holds[*at])).nth(nth)?;
        self.holds[at].known = true;
        Some((self.token(&self.holds[at]), self.holds[at].identity))
    }

    fn token(&self, hold: &Hold) -> Token {
        match &hold.grip {
            Grip::Local(held) => self.member(hold.space).local().token(held),
            Grip::Owned(handle) => handle.token(),
            Grip::Typed(handle) => handle.token(),
            Grip::Descriptor(descriptor) => descriptor.token(),
        }
    }

    fn create(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.holds.len() >= HOLDS_MAX {
            self.close_one(choice)?;
        }
        let (space, identity) = (self.space(choice.space), choice.key);
        let member = self.member(space);
        let mut local = member.local();
        pattern::payload(identity + u64::from(self.negative_control(NegativeControl::Mix)), &mut self.buffer);
        let grip = match choice.act {
            Act::CreateOwned => member.create_raw(KIND, &self.buffer).map(Grip::Owned),
            Act::CreateTyped => member.create(&words(identity)).map(Grip::Typed),
            Act::CreateDescriptor => files::create(member, identity)?.map(Grip::Descriptor),
            Act::CreateWith => match local.alloc(Layout::for_value(&self.buffer[..])) {
                Ok(block) => {
                    // SAFETY: the block was just allocated for as many bytes as the payload has; it is ours alone.
                    unsafe {
                        local
                            .address(block)
                            .copy_from_nonoverlapping(self.buffer.as_ptr(), self.buffer.len());
                    }
                    // SAFETY: we own the block as a raw value, and nobody writes it any more.
                    let created = unsafe { local.create_with(KIND, block) };
                    if created.is_err() {
                        // SAFETY: we own the block as a raw value, and nobody uses its bytes any more.
                        must("free what no handle took", unsafe { local.free(block) })?;
                    }
                    created.map(Grip::Local)
                }
                Err(AllocError::Scratch(error)) => Err(error.into()),
                Err(error) => return Err((Wrong::Refused, format!("cannot alloc: {error}"))),
            },
            _ => local.create(KIND, &self.buffer).map(Grip::Local),
        };
        let Some(grip) = self.room("create", grip)? else { return Ok(()) };
        let hold = Hold { space, grip, identity, known: false };
        read(&local, &hold)?;
        self.holds.push(hold);
        Ok(())
    }

    fn get(&self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick(choice.which) else { return self.idle() };
        let hold = &self.holds[at];
        read(&self.member(hold.space).local(), hold)
    }

    fn close_one(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick(choice.which) else { return self.idle() };
        let hold = self.holds.swap_remove(at);
        self.close(hold)
    }

    fn close(&self, hold: Hold) -> Result<(), Trouble> {
        let member = self.member(hold.space);
        let mut local = member.local();
        read(&local, &hold)?;
        let (token, sort) = (self.token(&hold), hold.grip.sort());
        match hold.grip {
            // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
            Grip::Local(held) => must("close", unsafe { local.close(held) })?,
            Grip::Owned(handle) => drop(handle),
            Grip::Typed(handle) => drop(handle),
            Grip::Descriptor(descriptor) => drop(descriptor),
        }
        if hold.known {
            return Ok(());
        }
        let again = match sort {
            Sort::Raw => member.open_raw(KIND, token).map(drop),
            Sort::Typed => member.open::<Vec<u64>>(token).map(drop),
            Sort::Descriptor => files::open(member, token).map(drop),
        };
        match again {
            Err(OpenHandleError::Stale { .. }) => Ok(()),
            Err(error) => {
                Err((Wrong::Refused, format!("expected stale from the closed {token:?}, found {error}")))
            }
            Ok(()) if self.home.is_among_openers => Ok(()),
            Ok(()) => Err((Wrong::Leaked, format!("{token:?} opens, but nobody holds it any more"))),
        }
    }

    fn open_again(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.holds.len() >= HOLDS_MAX {
            return self.idle();
        }
        let Some(at) = self.pick(choice.which) else { return self.idle() };
        let member = self.member(self.holds[at].space);
        let (token, hold) = (self.token(&self.holds[at]), &mut self.holds[at]);
        hold.known = true;
        let lost =
            |error: OpenHandleError| (Wrong::Lost, format!("{token:?} is held and does not open: {error}"));
        let grip = match &hold.grip {
            Grip::Owned(handle) if choice.how.is_multiple_of(2) => {
                Grip::Owned(handle.try_clone().map_err(lost)?)
            }
            Grip::Typed(handle) if choice.how.is_multiple_of(2) => {
                Grip::Typed(handle.try_clone().map_err(lost)?)
            }
            Grip::Typed(_) => Grip::Typed(member.open(token).map_err(lost)?),
            Grip::Descriptor(descriptor) if choice.how.is_multiple_of(2) => {
                Grip::Descriptor(descriptor.clone())
            }
            Grip::Descriptor(_) => Grip::Descriptor(files::open(member, token).map_err(lost)?),
            Grip::Local(_) | Grip::Owned(_) if choice.how.is_multiple_of(3) => {
                Grip::Owned(member.open_raw(KIND, token).map_err(lost)?)
            }
            _ => Grip::Local(member.local().open(KIND, token).map_err(lost)?),
        };
        let hold = Hold { space: hold.space, grip, identity: hold.identity, known: true };
        read(&member.local(), &hold)?;
        self.holds.push(hold);
        Ok(())
    }

    /// Uses a name. All members give a named handle the same contents, so that any of them can check it.
    fn name(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.holds.len() >= HOLDS_MAX {
            return self.idle();
        }
        let space = self.space(choice.space);
        let member = self.member(space);
        let (name, identity) = (format!("torture/{}", choice.which % NAMES), mix(choice.which % NAMES));
        if choice.how.is_multiple_of(4) {
            return match member.look_up(&name) {
                Ok((KIND, _)) | Err(OpenHandleError::NoSuchName) => Ok(()),
                other => Err((Wrong::MixedUp, format!("{name} was looked up: {other:?}"))),
            };
        }
        pattern::payload(identity, &mut self.buffer);
        let named = member.create_or_open_raw(&name, KIND, &self.buffer);
        let Some(named) = self.room("create or open by name", named)? else { return Ok(()) };
        let handle = named.into_inner();
        let token = handle.token();
        // Other members may open it at any time.
        let hold = Hold { space, grip: Grip::Owned(handle), identity, known: true };
        read(&member.local(), &hold)?;
        self.holds.push(hold);
        match (member.look_up(&name), member.named(&name).create_raw(KIND, b"")) {
            (Ok((KIND, found)), Err(CreateError::NameTaken { token: taken }))
                if (found, taken) == (token, token) =>
            {
                Ok(())
            }
            (Ok(_), Err(error)) if error.is_full() => Ok(()),
            other => {
                Err((Wrong::MixedUp, format!("{token:?} has the name {name} and is held, but: {other:?}")))
            }
        }
    }

    fn open_wrong(&self, choice: Choice) -> Result<(), Trouble> {
        let Some(at) = self.pick(choice.which) else { return self.idle() };
        let hold = &self.holds[at];
        let (member, token) = (self.member(hold.space), self.token(hold));
        let other = member.open_raw(Kind::raw(0x7048), token);
        if !matches!(other, Err(OpenHandleError::ForeignKind { .. })) {
            return Err((Wrong::MixedUp, format!("{token:?} as another kind: {other:?}")));
        }
        // A token of a much later generation.
        let later = u64::from(token).wrapping_add(1 << 40);
        if let Ok(later) = Token::try_from(later)
            && let Ok(opened) = member.open_raw(KIND, later)
        {
            return Err((Wrong::MixedUp, format!("{later:?} was never issued and opens: {opened:?}")));
        }
        Ok(())
    }

    fn send(&mut self, choice: Choice) -> Result<(), Trouble> {
        if self.sent.len() + self.given.len() >= SENT_MAX {
            return self.idle();
        }
        let Some(at) = self.pick(choice.which) else { return self.idle() };
        let mut hold = self.holds.swap_remove(at);
        hold.known = true;
        let (sort, space) = (hold.grip.sort(), hold.space);
        let gift = Gift::Handle { token: self.token(&hold).into(), identity: hold.identity, sort };
        if self.negative_control(NegativeControl::Lose) {
            self.close(hold)?;
            return self.post(choice.how, space, gift).map(drop);
        }
        if let Some(number) = self.post(choice.how, space, gift)? {
            self.sent.insert(number, hold);
        } else {
            self.holds.push(hold);
        }
        Ok(())
    }

    /// Sends a gift to another seat and returns its number; `None` when there is no other seat.
    pub(super) fn post(&mut self, how: u64, space: usize, gift: Gift) -> Result<Option<u64>, Trouble> {
        let orders = &self.home.orders;
        if orders.seats < 2 {
            return Ok(None);
        }
        let to = (orders.seat + 1 + (how % (orders.seats as u64 - 1)) as usize) % orders.seats;
        let number = 2 * self.sent_count + self.thread;
        self.sent_count += 1;
        let (from, incarnation) = (orders.seat, orders.incarnation);
        let parcel = Parcel { from, incarnation, number, to, space, gift };
        must("send", self.home.say(&Report::Sent(parcel)))?;
        Ok(Some(number))
    }

    /// Handles the outcomes of gifts.
    fn settle(&mut self) -> Result<(), Trouble> {
        while let Some((number, outcome)) = self.home.settled(self.thread) {
            if let Some(hold) = self.sent.remove(&number) {
                if self.holds.len() < HOLDS_MAX {
                    self.holds.push(hold);
                } else {
                    self.close(hold)?;
                }
            }
            if let Some(chunk) = self.given.remove(&number) {
                self.given_back(chunk, &outcome);
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), Trouble> {
        let Some(parcel) = self.home.parcel() else { return self.idle() };
        let outcome = match parcel.gift {
            Gift::Handle { .. } if self.holds.len() >= HOLDS_MAX => Outcome::Declined,
            Gift::Handle { token, identity, sort } => self.take(parcel.space, token, identity, sort)?,
            Gift::Block { .. } => self.free_for_another(parcel.space, parcel.gift)?,
        };
        must("answer", self.home.say(&Report::Took(parcel, outcome)))
    }

    /// Opens a handle that its sender holds until it gets our answer.
    fn take(&mut self, space: usize, token: u64, identity: u64, sort: Sort) -> Result<Outcome, Trouble> {
        let member = self.member(space);
        let token = must("read a token", Token::try_from(token))?;
        let opened = match (sort, identity % 2) {
            (Sort::Typed, _) => member.open(token).map(Grip::Typed),
            (Sort::Descriptor, _) => files::open(member, token).map(Grip::Descriptor),
            (Sort::Raw, 0) => member.open_raw(KIND, token).map(Grip::Owned),
            (Sort::Raw, _) => member.local().open(KIND, token).map(Grip::Local),
        };
        match opened {
            Ok(grip) => {
                let hold = Hold { space, grip, identity, known: true };
                read(&member.local(), &hold)?;
                self.holds.push(hold);
                Ok(Outcome::Taken)
            }
            Err(error) => Ok(Outcome::Doubtful(format!("{token:?} was sent and does not open: {error}"))),
        }
    }

    /// Verifies and releases everything, except every other pinned block.
    pub(super) fn let_go(mut self) -> Result<(), Trouble> {
        self.shares.clear();
        self.settle()?;
        let holds = std::mem::take(&mut self.holds);
        for hold in holds.into_iter().chain(std::mem::take(&mut self.sent).into_values()) {
            self.close(hold)?;
        }
        self.let_go_of_blocks()
    }
}

/// The contents of a typed value.
fn words(identity: u64) -> Vec<u64> {
    let count = pattern::payload_bytes(identity).min(16 << 10) / 8;
    (0..count as u64).map(|at| mix(identity ^ at)).collect()
}

/// Checks the contents of a handle.
fn read(local: &Local<'_>, hold: &Hold) -> Result<(), Trouble> {
    let lost =
        |error: tenure::error::UseError| (Wrong::Lost, format!("a handle that is held is gone: {error}"));
    let bytes = match &hold.grip {
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        Grip::Local(held) => unsafe { local.get(held) }.map_err(lost)?,
        Grip::Owned(handle) => handle.get().map_err(lost)?,
        Grip::Typed(handle) => {
            let found = handle.get().map_err(lost)?;
            let is_ours = found.iter().map(|word| word.to_native()).eq(words(hold.identity));
            let text =
                || format!("typed value of {:016x}: {} words, not as written", hold.identity, found.len());
            return is_ours.then_some(()).ok_or_else(|| (Wrong::MixedUp, text()));
        }
        Grip::Descriptor(descriptor) => return files::verify(descriptor, hold.identity),
    };
    pattern::check_payload(hold.identity, bytes).map_err(|text| (Wrong::MixedUp, text))
}
