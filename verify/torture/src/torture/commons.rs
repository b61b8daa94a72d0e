//! The common objects that all members of a space wait for: mutexes, events and semaphores created by the director. A
//! ledger in a block of the same space records the units of each member.
//!
//! The objects form groups; a member that wants one object of a group takes all of them with one wait. Each object has
//! a fixed number of units, and a unit is either owned or available. A member records its intent in the ledger before
//! it takes or releases. So the ledger of a dead member is correct except for the operation during which it died: at
//! most one unit of a group each.
//!
//! The ledger is compared with the objects while nobody waits: the director closes the gate, and every waiter reads the
//! gate after it has recorded its intent (`audit`).

use std::alloc::Layout;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{
    Block, Handle, Kind, LeaseId, Member, Raw, Token,
    raw::RawBlock,
    sync::{Event, Mutex, Reset, Semaphore, Waitable},
};

use crate::Failed;

use crate::verdict::Trouble;

use super::hands::must;

/// The name of the handle with the location of the ledger and the objects.
const NAME: &str = "commons";
const KIND: Kind = Kind::raw(0x704a);

/// The kind of an object.
enum Make {
    Mutex,
    Recursive,
    /// An auto-reset event.
    Signal,
    /// A semaphore with this number of permits.
    Permits(u32),
    /// A manual-reset event.
    Manual,
}

/// All objects. The first [`GROUPED`] belong to groups, in their order.
const MAKES: [Make; 11] = [
    Make::Mutex,
    Make::Recursive,
    Make::Signal,
    Make::Permits(3),
    Make::Permits(2),
    Make::Permits(2),
    Make::Permits(1),
    Make::Signal,
    Make::Mutex,
    Make::Manual,
    Make::Manual,
];
/// Number of objects that belong to groups.
pub(super) const GROUPED: usize = 9;
/// The manual-reset event that only the owner of the first mutex sets and resets; the owner records its state.
pub(super) const DOOR: usize = 9;
/// The manual-reset event that any member, and the director periodically, sets and immediately resets.
pub(super) const PULSE: usize = 10;

/// Objects that are taken together.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) things: &'static [usize],
    /// Number of units of each object.
    pub(super) units: u32,
    /// The pair of words that belongs to the owner of the only unit.
    pub(super) pair: Option<usize>,
}

/// All groups.
pub(super) const GROUPS: [Group; 6] = [
    Group { name: "mutex", things: &[0], units: 1, pair: Some(0) },
    Group { name: "recursive mutex", things: &[1], units: 1, pair: Some(1) },
    Group { name: "baton", things: &[2], units: 1, pair: Some(2) },
    Group { name: "permits", things: &[3], units: 3, pair: None },
    Group { name: "twins", things: &[4, 5], units: 2, pair: None },
    Group { name: "trio", things: &[6, 7, 8], units: 1, pair: Some(3) },
];
/// The group whose owner sets and resets the door.
pub(super) const DOORKEEPER: usize = 0;
const RECURSIVE: usize = 1;
/// Two semaphores that are taken together.
pub(super) const TWINS: usize = 4;
/// A mutex, a signal and a permit that are taken together.
pub(super) const TRIO: usize = 5;
/// Number of groups with a single object; `wait_any` can wait for these together with others.
pub(super) const SINGLES: usize = 4;

impl Group {
    /// The mutex among its objects.
    pub(super) fn mutex(&self) -> Option<usize> {
        self.things.iter().copied().find(|thing| matches!(MAKES[*thing], Make::Mutex | Make::Recursive))
    }

    /// Whether the owner may lock it again.
    pub(super) fn is_recursive(&self) -> bool {
        self.things == [RECURSIVE]
    }
}

/// A common object.
pub(super) enum Thing {
    Mutex(Mutex),
    Event(Event),
    Semaphore(Semaphore),
}

impl Thing {
    fn make(member: &Member, make: &Make) -> Result<Self, tenure::error::CreateError> {
        Ok(match make {
            Make::Mutex => Self::Mutex(Mutex::create(member)?),
            Make::Recursive => Self::Mutex(Mutex::options().recursive(true).create(member)?),
            Make::Signal => Self::Event(Event::options(Reset::Auto).signalled(true).create(member)?),
            Make::Permits(units) => Self::Semaphore(Semaphore::create(member, *units, *units)?),
            Make::Manual => Self::Event(Event::create(member, Reset::Manual)?),
        })
    }

    fn open(member: &Member, make: &Make, token: Token) -> Result<Self, tenure::error::OpenHandleError> {
        Ok(match make {
            Make::Mutex | Make::Recursive => Self::Mutex(Mutex::open(member, token)?),
            Make::Signal | Make::Manual => Self::Event(Event::open(member, token)?),
            Make::Permits(_) => Self::Semaphore(Semaphore::open(member, token)?),
        })
    }

    fn token(&self) -> Token {
        match self {
            Self::Mutex(mutex) => mutex.token(),
            Self::Event(event) => event.token(),
            Self::Semaphore(semaphore) => semaphore.token(),
        }
    }

    pub(super) fn as_waitable(&self) -> &dyn Waitable {
        match self {
            Self::Mutex(mutex) => mutex,
            Self::Event(event) => event,
            Self::Semaphore(semaphore) => semaphore,
        }
    }

    pub(super) fn event(&self) -> Option<&Event> {
        if let Self::Event(event) = self { Some(event) } else { None }
    }

    pub(super) fn mutex(&self) -> Option<&Mutex> {
        if let Self::Mutex(mutex) = self { Some(mutex) } else { None }
    }
}

/// Layout of the ledger in words: the gate, one word for each object, the pairs, the accounts.
const TOLD: usize = 1;
const PAIRS: usize = 16;
const PAIR_WORDS: usize = 8;
const ACCOUNTS: usize = PAIRS + 4 * PAIR_WORDS;
const ACCOUNT_WORDS: usize = 8;
/// The owner of an account that is being reaped.
const REAPED: u64 = u64::MAX;
/// Number of accounts: one for each thread of each membership, and those of the dead members until the next audit.
pub(super) const ACCOUNTS_MAX: usize = 256;
const WORDS: usize = ACCOUNTS + ACCOUNTS_MAX * ACCOUNT_WORDS;

/// The ledger, mapped by a member.
#[derive(Clone, Copy)]
pub(super) struct Ledger<'m> {
    words: &'m [AtomicU64],
}

/// Two words that are equal whenever the pair has no owner.
#[derive(Clone, Copy)]
pub(super) struct Pair<'m> {
    /// The owner; zero for none.
    pub(super) owner: &'m AtomicU64,
    pub(super) first: &'m AtomicU64,
    pub(super) second: &'m AtomicU64,
    /// Beside the first pair: the state of the door.
    pub(super) door: &'m AtomicU64,
}

/// The operation of an account on a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    Nothing,
    /// Waiting for any of several groups, this one among them.
    TakingAny,
    /// Waiting for all of this group, and perhaps of others.
    TakingAll,
    /// Releasing one unit; this number of its objects is released already.
    Releasing(usize),
}

/// The units that an account has of a group, and its operation on the group: one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) units: u32,
    pub(super) intent: Intent,
}

impl Entry {
    fn word(self) -> u64 {
        let intent = match self.intent {
            Intent::Nothing => 0,
            Intent::TakingAny => 1,
            Intent::TakingAll => 2,
            Intent::Releasing(done) => 3 + done as u64,
        };
        intent << 32 | u64::from(self.units)
    }

    fn of(word: u64) -> Self {
        let intent = match word >> 32 {
            0 => Intent::Nothing,
            1 => Intent::TakingAny,
            2 => Intent::TakingAll,
            done => Intent::Releasing((done - 3) as usize),
        };
        Self { units: word as u32, intent }
    }
}

/// The owner of an account: a lease, which may have been abandoned on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    pub(super) lease: LeaseId,
    /// Whether the thread has stopped using it.
    pub(super) is_closed: bool,
}

impl Whose {
    const INCARNATION_BITS: u32 = 54;

    pub(super) fn word(self) -> u64 {
        let lease = (self.lease.incarnation << 9) | (u64::from(self.lease.index) + 1);
        lease << 1 | u64::from(self.is_closed)
    }

    fn of(word: u64) -> Option<Self> {
        let index = ((word >> 1) & 0x1ff).checked_sub(1)?;
        let lease = LeaseId { index: index as u8, incarnation: word >> 10 };
        Some(Self { lease, is_closed: word & 1 != 0 })
    }

    /// Whether the account belongs to this lease.
    pub(super) fn is_of(self, index: u8, incarnation: u64) -> bool {
        self.lease.index == index
            && self.lease.incarnation == incarnation & ((1 << Self::INCARNATION_BITS) - 1)
    }
}

impl<'m> Ledger<'m> {
    /// The ledger at `offset` of the member's space.
    pub(super) fn at(member: &'m Member, offset: u64) -> Self {
        let start = member.local().address(RawBlock { offset, len: WORDS * 8 });
        // SAFETY: the block has that many bytes, is aligned to 64 and was zeroed when it was allocated; the director
        // outlives every member and frees it after the last one; all accesses are atomic; the space stays mapped as
        // long as it has the member.
        let words = unsafe { std::slice::from_raw_parts(start.cast_const().cast(), WORDS) };
        Self { words }
    }

    pub(super) fn close_gate(self) {
        // SeqCst: gate: with `set_entry` and `is_closed`, either the director sees the recorded intent, or the thread
        // that recorded it sees the gate closed.
        self.words[0].store(1, Ordering::SeqCst);
    }

    pub(super) fn open_gate(self) {
        self.words[0].store(0, Ordering::SeqCst);
    }

    pub(super) fn is_closed(self) -> bool {
        self.words[0].load(Ordering::SeqCst) != 0
    }

    /// The number of reports that the mutex was abandoned. Only its owner writes it.
    pub(super) fn told(self, thing: usize) -> &'m AtomicU64 {
        &self.words[TOLD + thing]
    }

    pub(super) fn pair(self, number: usize) -> Pair<'m> {
        let at = PAIRS + number * PAIR_WORDS;
        let [owner, first, second, door] = [0, 1, 2, 3].map(|word| &self.words[at + word]);
        Pair { owner, first, second, door }
    }

    fn account(self, account: usize) -> &'m [AtomicU64] {
        &self.words[ACCOUNTS + account * ACCOUNT_WORDS..][..ACCOUNT_WORDS]
    }

    pub(super) fn whose(self, account: usize) -> Option<Whose> {
        // Acquire: pairs with the AcqRel in `claim` and the Release in `hand_back`.
        Whose::of(self.account(account)[0].load(Ordering::Acquire))
    }

    /// Claims a free account, searching from `start` on; its entries are zero.
    pub(super) fn claim(self, whose: Whose, start: u64) -> Option<usize> {
        let first = (start % ACCOUNTS_MAX as u64) as usize;
        (first..ACCOUNTS_MAX).chain(0..first).find(|account| {
            let owner = &self.account(*account)[0];
            // AcqRel: account: obtains the zeroes written by the previous owner; pairs with the Release in `hand_back`.
            owner.load(Ordering::Relaxed) == 0
                && owner.compare_exchange(0, whose.word(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// Marks the account as no longer used: the director puts its units back.
    pub(super) fn abandon(self, account: usize, whose: Whose) {
        let closed = Whose { is_closed: true, ..whose };
        // Release: account: its entries are final; pairs with the Acquire in `whose`.
        self.account(account)[0].store(closed.word(), Ordering::Release);
    }

    /// Frees the account of a dead member, unless it has a new owner: the old one may have handed it back just before
    /// it left.
    pub(super) fn reap(self, account: usize, whose: Whose) {
        // Acquire: account: its entries are final; pairs with the Release in `abandon`. A claim fails meanwhile.
        let owner = &self.account(account)[0];
        if owner.compare_exchange(whose.word(), REAPED, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            self.hand_back(account);
        }
    }

    /// Frees an account without any units.
    pub(super) fn hand_back(self, account: usize) {
        let words = self.account(account);
        for word in &words[1..] {
            word.store(0, Ordering::Relaxed);
        }
        // Release: account: publishes the zeroes; pairs with the AcqRel in `claim`.
        words[0].store(0, Ordering::Release);
    }

    pub(super) fn entry(self, account: usize, group: usize) -> Entry {
        // SeqCst: see `close_gate`.
        Entry::of(self.account(account)[1 + group].load(Ordering::SeqCst))
    }

    pub(super) fn set_entry(self, account: usize, group: usize, entry: Entry) {
        // SeqCst: see `close_gate`.
        self.account(account)[1 + group].store(entry.word(), Ordering::SeqCst);
    }
}

/// The common objects, opened by one membership.
pub(super) struct Commons {
    pub(super) things: Vec<Thing>,
    /// Offset of the ledger's block.
    pub(super) offset: u64,
}

impl Commons {
    pub(super) fn open(member: &Member) -> Result<Self, Trouble> {
        let handle = must("open the common things", member.open_raw(KIND, NAME))?;
        let payload = must("read where the common things are", handle.get())?;
        let mut words =
            payload.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let offset = words.next().unwrap_or_default();
        let mut things = Vec::with_capacity(MAKES.len());
        for make in &MAKES {
            let token = must("read a token", Token::try_from(words.next().unwrap_or_default()))?;
            things.push(must("open a common thing", Thing::open(member, make, token))?);
        }
        Ok(Self { things, offset })
    }
}

/// The common objects as the director owns them: it creates them, and they are freed with it.
pub(super) struct Founded {
    pub(super) commons: Commons,
    _named: Handle<Raw>,
    _ledger: Block,
}

impl Founded {
    pub(super) fn make(member: &Member) -> Result<Self, Failed> {
        let ledger = member.alloc_zeroed(Layout::from_size_align(WORDS * 8, 64)?)?;
        let things = MAKES.iter().map(|make| Thing::make(member, make)).collect::<Result<Vec<Thing>, _>>()?;
        let tokens = things.iter().map(|thing| u64::from(thing.token()));
        let payload: Vec<u8> =
            std::iter::once(ledger.offset()).chain(tokens).flat_map(u64::to_le_bytes).collect();
        let named = member.named(NAME).create_raw(KIND, &payload)?;
        let commons = Commons { things, offset: ledger.offset() };
        Ok(Self { commons, _named: named, _ledger: ledger })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_and_owners_are_read_as_written() {
        for intent in [Intent::Nothing, Intent::TakingAny, Intent::TakingAll, Intent::Releasing(2)] {
            let entry = Entry { units: 7, intent };
            assert_eq!(Entry::of(entry.word()), entry);
        }
        assert_eq!(Entry::of(0), Entry { units: 0, intent: Intent::Nothing });
        for (index, is_closed) in [(0, false), (255, true)] {
            let whose = Whose { lease: LeaseId { index, incarnation: 77 }, is_closed };
            assert_eq!(Whose::of(whose.word()), Some(whose));
            assert!(whose.is_of(index, 77) && !whose.is_of(index, 78));
        }
        assert_eq!(Whose::of(0), None);
    }

    #[test]
    fn groups_have_all_things_once_and_as_many_as_they_say() {
        let things: Vec<usize> = GROUPS.iter().flat_map(|group| group.things).copied().collect();
        assert_eq!(things, (0..GROUPED).collect::<Vec<_>>());
        for group in &GROUPS {
            for thing in group.things {
                let units = if let Make::Permits(units) = MAKES[*thing] { units } else { 1 };
                assert_eq!(units, group.units, "{}", group.name);
            }
            assert!(group.pair.is_none() || group.units == 1);
        }
        assert!(GROUPS[..SINGLES].iter().all(|group| group.things.len() == 1));
        assert!(GROUPS[TWINS].things.len() == 2 && GROUPS[TRIO].things.len() == 3);
        assert!(GROUPS[RECURSIVE].is_recursive() && GROUPS[DOORKEEPER].mutex() == Some(0));
    }
}
