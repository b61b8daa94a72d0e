//! Operations of a thread on the common objects (`commons`): it waits for one, any or all of them, keeps them for a
//! while, and releases them. The owner of the only unit of a group also owns the group's pair of words. The two words
//! are equal whenever the pair has no owner, and only the owner writes them.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure::{
    LeaseId, Member,
    error::WaitError,
    sync::{Waitable, wait_all, wait_any},
};

use crate::pattern::mix;

use super::chance::{Act, Choice};
use super::commons::{
    Commons, DOOR, DOORKEEPER, Entry, GROUPS, Intent, Ledger, PULSE, Pair, SINGLES, TRIO, TWINS, Thing, Whose,
};
use super::hands::{Hands, must};
use super::member::Tally;
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};

/// The outcome of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It was done.
    Done,
    /// A wait timed out.
    TimedOut,
    /// There was nothing to do, or the gate is closed.
    Nothing,
}

/// The state of a group for this thread.
#[derive(Debug, Default)]
struct Mine {
    units: u32,
    /// Number of additional locks of a recursive mutex.
    again: u32,
    /// The first and the second word of the pair.
    words: (u64, u64),
}

/// The objects to wait for.
struct Wish {
    groups: Vec<usize>,
    /// An additional manual-reset event.
    besides: Option<usize>,
    any: bool,
    /// First position of the list, and the variant of the call.
    turn: usize,
    timeout: Duration,
    /// Negative control: the taken unit is not recorded.
    pocket: bool,
}

/// The result of a wait: the list position of the taken object, or `None` for all; and the positions of abandoned
/// mutexes.
type Answer = Result<(Option<usize>, Vec<usize>), WaitError>;

/// The state of the door in a word: `{ number of changes | state:2 }`.
const SHUT: u64 = 0;
const OPEN: u64 = 1;
const CHANGING: u64 = 2;

/// One thread of one membership, with its account. Dropping it releases no units.
pub(super) struct Party<'m> {
    commons: Commons,
    ledger: Ledger<'m>,
    account: usize,
    whose: Whose,
    mine: [Mine; GROUPS.len()],
}

impl<'m> Party<'m> {
    /// Returns `None` when dead members have all accounts, until the next audit.
    pub(super) fn join(member: &'m Member, start: u64) -> Result<Option<Self>, Trouble> {
        let commons = Commons::open(member)?;
        let ledger = Ledger::at(member, commons.offset);
        let lease: LeaseId = member.lease();
        let whose = Whose { lease, is_closed: false };
        let account = ledger.claim(whose, start);
        Ok(account.map(|account| Self { commons, ledger, account, whose, mine: Default::default() }))
    }

    fn set(&self, group: usize, intent: Intent) {
        self.ledger.set_entry(self.account, group, Entry { units: self.mine[group].units, intent });
    }

    fn thing(&self, thing: usize) -> &Thing {
        &self.commons.things[thing]
    }

    /// The owner word of a pair that this thread owns.
    fn name(&self) -> u64 {
        self.whose.word() << 8 | self.account as u64
    }

    fn pair(&self, group: usize) -> Option<Pair<'m>> {
        GROUPS[group].pair.map(|pair| self.ledger.pair(pair))
    }

    fn has_any(&self) -> bool {
        self.mine.iter().any(|mine| mine.units > 0)
    }

    /// The groups of which this thread has units.
    fn held(&self) -> impl Iterator<Item = usize> + '_ {
        (0..GROUPS.len()).filter(|group| self.mine[*group].units > 0)
    }

    /// Whether this thread owns the mutex of this group and may not lock it again.
    fn is_locked_out(&self, group: usize) -> bool {
        let Mine { units, .. } = self.mine[group];
        units > 0 && GROUPS[group].mutex().is_some() && !GROUPS[group].is_recursive()
    }

    /// Waits for all objects of one group.
    fn wait_for_one(&mut self, which: u64, how: u64, pocket: bool) -> Result<Came, Trouble> {
        let group = (which % GROUPS.len() as u64) as usize;
        if self.is_locked_out(group) && group >= SINGLES {
            return Ok(Came::Nothing);
        }
        let timeout = timeout(how);
        let turn = (how >> 40) as usize;
        self.wait(&Wish { groups: vec![group], besides: None, any: false, turn, timeout, pocket })
    }

    /// Waits for any or for all of some groups, and sometimes for an additional manual-reset event.
    fn wait_for_several(&mut self, any: bool, which: u64, how: u64) -> Result<Came, Trouble> {
        let limit = if any { SINGLES } else { GROUPS.len() };
        let is_chosen = |group: &usize| which >> group & 1 != 0 && !self.is_locked_out(*group);
        let groups: Vec<usize> = (0..limit).filter(is_chosen).collect();
        if groups.is_empty() {
            return Ok(Came::Nothing);
        }
        // A pulse is too short for a wait for all.
        let besides = [None, None, Some(DOOR), any.then_some(PULSE)][(which >> 8) as usize % 4];
        let timeout = timeout(how);
        self.wait(&Wish { groups, besides, any, turn: (how >> 40) as usize, timeout, pocket: false })
    }

    fn wait(&mut self, wish: &Wish) -> Result<Came, Trouble> {
        let intent = if wish.any { Intent::TakingAny } else { Intent::TakingAll };
        wish.groups.iter().for_each(|group| self.set(*group, intent));
        if self.ledger.is_closed() {
            wish.groups.iter().for_each(|group| self.set(*group, Intent::Nothing));
            return Ok(Came::Nothing);
        }
        let things = |group: &usize| {
            let group = *group;
            GROUPS[group].things.iter().map(move |thing| (Some(group), *thing))
        };
        let mut list: Vec<(Option<usize>, usize)> = wish.groups.iter().flat_map(things).collect();
        list.extend(wish.besides.map(|thing| (None, thing)));
        let len = list.len();
        list.rotate_left(wish.turn % len);
        let answer = self.ask(wish, &list);
        let settled = self.book(wish, &list, answer);
        wish.groups.iter().for_each(|group| self.set(*group, Intent::Nothing));
        settled
    }

    fn ask(&self, wish: &Wish, list: &[(Option<usize>, usize)]) -> Answer {
        let timeout = Some(wish.timeout);
        if let ([(_, one)], false) = (list, wish.turn.is_multiple_of(4)) {
            let mut told = Vec::new();
            match self.thing(*one) {
                Thing::Mutex(mutex) => told.extend(mutex.acquire(timeout)?.then_some(0)),
                Thing::Event(event) if wish.turn.is_multiple_of(2) => {
                    event.reset()?.then_some(()).ok_or(WaitError::TimedOut)?;
                }
                Thing::Event(event) => event.wait(timeout)?,
                Thing::Semaphore(semaphore) => semaphore.acquire(timeout)?,
            }
            return Ok((None, told));
        }
        let objects: Vec<&dyn Waitable> =
            list.iter().map(|(_, thing)| self.thing(*thing).as_waitable()).collect();
        if wish.any {
            let woken = wait_any(&objects, timeout)?;
            Ok((Some(woken.index), woken.abandoned.then_some(woken.index).into_iter().collect()))
        } else {
            Ok((None, wait_all(&objects, timeout)?))
        }
    }

    /// Records the units taken, and verifies their pairs.
    fn book(
        &mut self,
        wish: &Wish,
        list: &[(Option<usize>, usize)],
        answer: Answer,
    ) -> Result<Came, Trouble> {
        let owned = matches!(wish.groups[..], [group] if self.is_locked_out(group));
        // A wait for several says which one it owns.
        let is_mutex = |(group, thing): &(Option<usize>, usize)| {
            group.is_some_and(|group| GROUPS[group].mutex() == Some(*thing))
        };
        let is_deadlock = match &answer {
            Err(WaitError::Deadlock) => true,
            Err(WaitError::Of { index, error }) => {
                matches!(**error, WaitError::Deadlock) && list.get(*index as usize).is_some_and(is_mutex)
            }
            _ => false,
        };
        let (which, told) = match answer {
            Err(_) if owned && is_deadlock => return Ok(Came::Done),
            Ok(_) | Err(WaitError::TimedOut) if owned => {
                let text = "waited for a mutex that we own and that is not recursive: no word of it";
                return Err((Wrong::MixedUp, text.into()));
            }
            Ok(answer) => answer,
            Err(WaitError::TimedOut) => return Ok(Came::TimedOut),
            Err(error) => return Err((Wrong::Refused, format!("cannot wait: {error}"))),
        };
        let got: Vec<usize> = match which.map(|place| list.get(place)) {
            None => wish.groups.clone(),
            Some(Some((group, _))) => group.iter().copied().collect(),
            Some(None) => return Err((Wrong::MixedUp, format!("of {} things the {which:?}th", list.len()))),
        };
        let told: Vec<usize> =
            told.into_iter().filter_map(|place| list.get(place)).map(|one| one.1).collect();
        let mutexes: Vec<usize> = got.iter().filter_map(|group| GROUPS[*group].mutex()).collect();
        if let Some(thing) = told.iter().find(|thing| !mutexes.contains(thing)) {
            return Err((Wrong::MixedUp, format!("thing {thing} is abandoned, but no mutex that was taken")));
        }
        for thing in &told {
            // Before the intent is cleared, or an audit would miss it. Relaxed: told: only the mutex's owner writes it,
            // and the director reads it when nobody waits.
            self.ledger.told(*thing).fetch_add(1, Ordering::Relaxed);
        }
        let mut again = Vec::new();
        for group in &got {
            let mine = &mut self.mine[*group];
            if mine.units > 0 && GROUPS[*group].is_recursive() {
                mine.again += 1;
                again.push(*group);
            } else if !wish.pocket {
                mine.units += 1;
            }
            self.set(*group, Intent::Nothing);
        }
        for group in got {
            let was_told = GROUPS[group].mutex().is_some_and(|mutex| told.contains(&mutex));
            if !again.contains(&group) {
                self.enter(group, was_told)?;
            } else if was_told {
                return Err((Wrong::MixedUp, "a mutex that we own is abandoned".into()));
            }
        }
        Ok(Came::Done)
    }

    /// Verifies the pair of a group that was just taken, and becomes its owner.
    fn enter(&mut self, group: usize, told: bool) -> Result<(), Trouble> {
        let what = GROUPS[group].name;
        let Some(pair) = self.pair(group) else { return Ok(()) };
        // Relaxed, all: pair: the mutex or the event publishes it to its next owner.
        let read = |word: &std::sync::atomic::AtomicU64| word.load(Ordering::Relaxed);
        let (owner, first, second, door) =
            (read(pair.owner), read(pair.first), read(pair.second), read(pair.door));
        // An error is reported once: repair the pair for later owners.
        pair.second.store(first, Ordering::Relaxed);
        pair.owner.store(self.name(), Ordering::Relaxed);
        self.mine[group].words = (first, first);
        let is_half = first != second;
        let is_well = if told { owner != 0 || !is_half } else { owner == 0 && !is_half };
        if !is_well {
            let words = format!("owner {owner:#x}, words {first:#x} and {second:#x}");
            return Err((Wrong::MixedUp, format!("{what}, abandoned {told}: {words}")));
        }
        if group == DOORKEEPER && door & 3 == CHANGING {
            if let Some(event) = self.thing(DOOR).event() {
                must("reset an event", event.reset())?;
            }
            pair.door.store(((door >> 2) + 1) << 2 | SHUT, Ordering::Release);
            return told
                .then_some(())
                .ok_or_else(|| (Wrong::MixedUp, format!("{what}: the door is left changing")));
        }
        Ok(())
    }

    /// Checks that the pair of a group that this thread owns is unchanged.
    fn verify(&self, group: usize) -> Result<(), Trouble> {
        let Some(pair) = self.pair(group) else { return Ok(()) };
        let found = [pair.owner, pair.first, pair.second].map(|word| word.load(Ordering::Relaxed));
        let (first, second) = self.mine[group].words;
        let expected = [self.name(), first, second];
        (found == expected).then_some(()).ok_or_else(|| {
            (Wrong::MixedUp, format!("{} is ours, but {found:x?}, not {expected:x?}", GROUPS[group].name))
        })
    }

    /// Writes one word of the pair, or both.
    fn write(&mut self, group: usize, key: u64) -> Result<(), Trouble> {
        self.verify(group)?;
        let Some(pair) = self.pair(group) else { return Ok(()) };
        let words = &mut self.mine[group].words;
        if words.0 == words.1 {
            words.0 = key;
            pair.first.store(key, Ordering::Relaxed);
        }
        if key.is_multiple_of(8) {
            std::thread::yield_now();
        }
        if !key.is_multiple_of(3) {
            words.1 = words.0;
            pair.second.store(words.1, Ordering::Relaxed);
        }
        if group == DOORKEEPER && key.is_multiple_of(4) { self.tend_the_door(key) } else { Ok(()) }
    }

    /// Sets or resets the door, as the owner of the first mutex.
    fn tend_the_door(&self, key: u64) -> Result<(), Trouble> {
        let (Some(event), Some(pair)) = (self.thing(DOOR).event(), self.pair(DOORKEEPER)) else {
            return Ok(());
        };
        let before = pair.door.load(Ordering::Relaxed);
        let is_set = must("look at an event", event.is_set())?;
        if before & 3 == CHANGING || is_set != (before & 3 == OPEN) {
            return Err((Wrong::MixedUp, format!("the door is {before:#x}, and set {is_set}")));
        }
        let number = (before >> 2) + 1;
        // Release: door: a reader that sees the later stores sees that the door was about to change; pairs with the
        // Acquire in `pass_the_door`, and with the event itself.
        pair.door.store(number << 2 | CHANGING, Ordering::Release);
        let opens = key & 4 == 0;
        let found = if opens {
            must("set an event", event.set())?;
            Ok(())
        } else {
            let was_set = must("reset an event", event.reset())?;
            (was_set == is_set).then_some(()).ok_or("a reset does not know what it reset")
        };
        pair.door.store(number << 2 | if opens { OPEN } else { SHUT }, Ordering::Release);
        found.map_err(|text| (Wrong::MixedUp, text.into()))
    }

    /// Waits at the door without being its owner: unless it changes meanwhile, a wait succeeds at an open door and
    /// times out at a closed one.
    fn pass_the_door(&self, how: u64) -> Result<Came, Trouble> {
        let Some(event) = self.thing(DOOR).event() else { return Ok(Came::Nothing) };
        let door = self.ledger.pair(0).door;
        let before = door.load(Ordering::Acquire);
        let came = match event.wait(Some(timeout(how))) {
            Ok(()) => Came::Done,
            Err(WaitError::TimedOut) => Came::TimedOut,
            Err(error) => return Err((Wrong::Refused, format!("cannot wait for an event: {error}"))),
        };
        let unchanged = door.load(Ordering::Acquire) == before;
        match (before & 3, came) {
            (OPEN, Came::TimedOut) if unchanged => Err((
                Wrong::Lost,
                "a manual-reset event is set, and one who waits for it is not let go".into(),
            )),
            (SHUT, Came::Done) if unchanged => Err((
                Wrong::MixedUp,
                "a manual-reset event is not set, and one who waits for it is let go".into(),
            )),
            _ => Ok(came),
        }
    }

    /// Sets and resets the pulse event: its present waiters continue.
    fn pulse(&self) -> Result<Came, Trouble> {
        let Some(event) = self.thing(PULSE).event() else { return Ok(Came::Nothing) };
        must("set an event", event.set())?;
        must("reset an event", event.reset())?;
        Ok(Came::Done)
    }

    /// Waits for a pulse; the director gives one every few milliseconds.
    fn await_pulse(&self, patience: Duration) -> Result<Came, Trouble> {
        let Some(event) = self.thing(PULSE).event() else { return Ok(Came::Nothing) };
        match event.wait(Some(patience)) {
            Ok(()) => Ok(Came::Done),
            Err(WaitError::TimedOut) => Err((
                Wrong::Lost,
                format!("waited {patience:?} for a manual-reset event that is set again and again"),
            )),
            Err(error) => Err((Wrong::Refused, format!("cannot wait for an event: {error}"))),
        }
    }

    /// Releases one unit of the group, or one additional lock.
    fn release(&mut self, group: usize, how: u64) -> Result<Came, Trouble> {
        if self.mine[group].again > 0 {
            self.mine[group].again -= 1;
            let mutex = GROUPS[group].mutex().and_then(|mutex| self.thing(mutex).mutex());
            mutex.map_or(Ok(()), |mutex| must("unlock once", mutex.unlock()))?;
            return Ok(Came::Done);
        }
        self.set(group, Intent::Releasing(0));
        if self.ledger.is_closed() {
            self.set(group, Intent::Nothing);
            return Ok(Came::Nothing);
        }
        let verified = self.leave(group);
        let Self { commons, .. } = &*self;
        let things = GROUPS[group].things;
        for (done, thing) in things.iter().enumerate() {
            if done > 0 {
                self.set(group, Intent::Releasing(done));
            }
            give_back(&commons.things[*thing], GROUPS[group].units, how)?;
        }
        self.mine[group].units -= 1;
        self.set(group, Intent::Nothing);
        verified.map(|()| Came::Done)
    }

    /// Makes the two words of the pair equal and gives up its ownership.
    fn leave(&mut self, group: usize) -> Result<(), Trouble> {
        let verified = self.verify(group);
        if let Some(pair) = self.pair(group) {
            // Relaxed: see `enter`.
            pair.second.store(pair.first.load(Ordering::Relaxed), Ordering::Relaxed);
            pair.owner.store(0, Ordering::Relaxed);
        }
        verified
    }

    /// Tries to unlock a mutex that this thread does not own; that must fail.
    fn unlock_in_vain(&self) -> Result<Came, Trouble> {
        let Some(mutex) = self.thing(0).mutex() else { return Ok(Came::Nothing) };
        if self.mine[DOORKEEPER].units > 0 {
            return Ok(Came::Nothing);
        }
        match mutex.unlock() {
            Err(WaitError::NotOwner) => Ok(Came::Done),
            other => Err((Wrong::MixedUp, format!("unlocked what somebody else owns, or nobody: {other:?}"))),
        }
    }

    /// Uses one of the owned groups: works on its pair, or releases it.
    fn use_one(&mut self, which: u64, key: u64, gives_back: bool) -> Result<Came, Trouble> {
        let held: Vec<usize> = self.held().collect();
        if held.is_empty() {
            return self.unlock_in_vain();
        }
        let group = held[(which % held.len() as u64) as usize];
        if gives_back {
            return self.release(group, key);
        }
        self.write(group, key)?;
        Ok(Came::Done)
    }

    /// Negative control: takes only the first of the twins after announcing both, and parks until it is killed.
    pub(super) fn take_half(&mut self) -> Result<(), Trouble> {
        self.set(TWINS, Intent::TakingAll);
        let Thing::Semaphore(first) = self.thing(GROUPS[TWINS].things[0]) else { return Ok(()) };
        if self.ledger.is_closed() || first.acquire(Some(Duration::ZERO)).is_err() {
            self.set(TWINS, Intent::Nothing);
            return Ok(());
        }
        loop {
            std::thread::park();
        }
    }

    /// Does one of these operations; for guests.
    pub(super) fn do_something(&mut self, key: u64) -> Result<Came, Trouble> {
        let (which, how) = (mix(key ^ 1), mix(key ^ 2));
        match mix(key) % 16 {
            0..=3 => self.wait_for_one(which, how, false),
            4..=5 => self.wait_for_several(true, which, how),
            6..=7 => self.wait_for_several(false, which, how),
            8..=11 => self.use_one(which, key, true),
            12..=13 => self.use_one(which, key, false),
            14 => self.pass_the_door(how),
            _ => self.pulse(),
        }
    }

    /// Takes the twins or the trio, or releases them, without waiting: a thread that does only this is often killed in
    /// the middle of it.
    pub(super) fn take_together(&mut self, key: u64) -> Result<Came, Trouble> {
        let group = if key.is_multiple_of(2) { TWINS } else { TRIO };
        if self.mine[group].units > 0 {
            return self.release(group, key);
        }
        let (turn, timeout) = (key as usize, Duration::ZERO);
        self.wait(&Wish { groups: vec![group], besides: None, any: false, turn, timeout, pocket: false })
    }

    /// Releases the groups selected by `key` and keeps the rest; their next owners learn of the abandonment.
    pub(super) fn let_go(mut self, key: u64) -> Result<(), Trouble> {
        for group in 0..GROUPS.len() {
            while self.mine[group].units > 0 && mix(key ^ group as u64).is_multiple_of(2) {
                if self.release(group, key)? == Came::Nothing {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Party<'_> {
    fn drop(&mut self) {
        // Before the objects are closed: closing abandons mutexes.
        if self.has_any() {
            self.ledger.abandon(self.account, self.whose);
        } else {
            self.ledger.hand_back(self.account);
        }
    }
}

fn give_back(thing: &Thing, units: u32, how: u64) -> Result<(), Trouble> {
    match thing {
        Thing::Mutex(mutex) if how.is_multiple_of(3) => must("adopt what is locked", mutex.adopt()).map(drop),
        Thing::Mutex(mutex) => must("unlock", mutex.unlock()),
        Thing::Event(event) => {
            let was_set = must("look at an event", event.is_set())?;
            must("set an event", event.set())?;
            let text = "an auto-reset event is set again, but we have its signal";
            (!was_set).then_some(()).ok_or((Wrong::MixedUp, text.into()))
        }
        Thing::Semaphore(semaphore) => {
            let before = must("release", semaphore.release(1))?;
            let text = || format!("{before} permits of {units}, and we had one");
            (before < units).then_some(()).ok_or_else(|| (Wrong::MixedUp, text()))
        }
    }
}

/// The timeout of a wait: mostly zero or less than 0.2 ms, sometimes up to 4 ms, one in 64 up to 32 ms.
fn timeout(how: u64) -> Duration {
    let below = |limit_us: u64| Duration::from_micros((how >> 8) % limit_us);
    match how % 64 {
        0..=31 => Duration::ZERO,
        32..=55 => below(200),
        56..=62 => below(4_000),
        _ => below(32_000),
    }
}

impl<'h> Hands<'h> {
    /// Executes a choice that is about the common objects.
    pub(super) fn wait_act(&mut self, choice: Choice) -> Result<(), Trouble> {
        let Choice { which, how, key, .. } = choice;
        let pocket = self.negative_control(NegativeControl::Pocket) && which % GROUPS.len() as u64 == 3;
        let (trespass, forge) =
            (self.negative_control(NegativeControl::Trespass), self.negative_control(NegativeControl::Forge));
        let patience = Duration::from_secs(self.home.orders.patience.into()) / 4;
        let at = match choice.act {
            // In a space with a unit to release, if there is one.
            Act::Release | Act::Work => {
                let has = |space: &usize| self.parties[*space].as_ref().is_some_and(Party::has_any);
                let spaces: Vec<usize> = (0..self.parties.len()).filter(has).collect();
                spaces.get((choice.space % spaces.len().max(1) as u64) as usize).copied()
            }
            _ => None,
        };
        let at = at.unwrap_or_else(|| self.space(choice.space));
        let Some(party) = self.party(at, key)? else { return self.idle() };
        let came = match choice.act {
            Act::Wait => party.wait_for_one(which, how, pocket)?,
            Act::WaitAny => party.wait_for_several(true, which, how)?,
            Act::WaitAll => party.wait_for_several(false, which, how)?,
            Act::Pass => party.pass_the_door(how)?,
            Act::Pulse => party.pulse()?,
            Act::AwaitPulse => party.await_pulse(patience)?,
            Act::Work if trespass && party.mine[DOORKEEPER].units == 0 => {
                party.ledger.pair(0).first.fetch_xor(1, Ordering::Relaxed);
                Came::Done
            }
            Act::Work if forge && party.mine[2].units == 0 => {
                party.thing(2).event().map_or(Ok(()), |event| must("set an event", event.set()))?;
                Came::Done
            }
            act => party.use_one(which, key, act == Act::Release)?,
        };
        // Mostly the taken unit is used and released at once.
        let at_once = came == Came::Done && choice.act == Act::Wait && !key.is_multiple_of(4);
        let group = (which % GROUPS.len() as u64) as usize;
        if at_once && party.mine[group].units > 0 {
            party.write(group, key)?;
            party.release(group, key)?;
        }
        match came {
            Came::Done => Ok(()),
            Came::TimedOut => {
                Tally::count(&self.home.tally.timeouts);
                Ok(())
            }
            Came::Nothing => self.idle(),
        }
    }

    /// The account of this thread in a space.
    fn party(&mut self, space: usize, key: u64) -> Result<Option<&mut Party<'h>>, Trouble> {
        if self.parties[space].is_none() {
            self.parties[space] = Party::join(self.member(space), key)?;
        }
        Ok(self.parties[space].as_mut())
    }

    /// Releases some units and leaves the rest to be recovered; called by the thread that took them.
    pub(super) fn let_go_of_commons(&mut self) -> Result<(), Trouble> {
        let key = mix(self.operations);
        let parties: Vec<Party<'h>> = self.parties.iter_mut().filter_map(Option::take).collect();
        parties.into_iter().try_for_each(|party| party.let_go(key))
    }
}
