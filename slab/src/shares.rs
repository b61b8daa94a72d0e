//! Who has a file open, for what, and what it denies others: asked and entered in one atomic step, without a lock.
//!
//! After Purcell and Harris, Non-blocking Hashtables with Open Addressing (2005), where insertions of one key come to an
//! agreement in the same way. Each lease has a word. Whoever asks says so in its own word (PENDING), looks at all others, and
//! enters if nobody is in the way. Of two that ask at once and are in each other's way the lower lease comes first: the higher
//! one decides for it before it goes on, and the lower one kicks the higher one back to its start. So there is never anybody to
//! wait for: one that was stopped in the middle is decided by the others, on what its word says.
//!
//! ```text
//! enter   word = {ticket + 1, entered, asked, PENDING}; fence
//!         for every other lease: entered and in the way: CAS PENDING -> REFUSED(by it), done
//!                                PENDING, in the way, lower: decide that first, look again
//!                                PENDING, in the way, higher: CAS it -> KICKED, look again
//!         CAS PENDING -> {entered + asked}; whatever the word says now was decided: KICKED: start over
//! ```
//!
//! Two that are in each other's way never both enter: each scan begins after PENDING was said and a fence was passed, so that
//! of two scans one sees the other's word; and what it sees it decides, in that word, by an exact exchange. The ticket makes it
//! exact: no PENDING ever looks like another one of the same lease. Who scans, the owner or a helper, makes no difference.
//!
//! Two helpers at once, one of them killed: nothing is handed over. A request stays PENDING until an exchange decides it, and its
//! owner goes on helping itself; if the owner is dead the request counts no more, or is decided by the next one that it excludes.
//!
//! The words of the dead do not have to be cleared: next to each is the incarnation of the lease that wrote it, and it counts only
//! while the lease has that incarnation.

use tenure_core::{LeaseId, fault, ordering};

use crate::sync::{Ordering, Word, fence};

/// Three bits: read, write, delete.
const MODE_BITS: u32 = 3;
const MODE_MASK: u64 = (1 << MODE_BITS) - 1;

/// What somebody does with a file, and what it denies others meanwhile. Bits: 1 read, 2 write, 4 delete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Modes {
    /// What it does.
    pub access: u8,
    /// What nobody else may do.
    pub denied: u8,
}

impl Modes {
    /// Nothing done, nothing denied.
    pub const NONE: Self = Self { access: 0, denied: 0 };

    /// Whether the two cannot be at once: one does what the other denies.
    #[must_use]
    pub const fn conflicts(self, other: Self) -> bool {
        self.access & other.denied != 0 || other.access & self.denied != 0
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { access: self.access | other.access, denied: self.denied | other.denied }
    }

    const fn from_bits(bits: u64) -> Self {
        let access = (bits & MODE_MASK) as u8;
        Self { access, denied: (bits >> MODE_BITS & MODE_MASK) as u8 }
    }

    const fn bits(self) -> u64 {
        self.access as u64 & MODE_MASK | (self.denied as u64 & MODE_MASK) << MODE_BITS
    }
}

/// The word of a lease: `{ ticket:42 | by:8 | state:2 | asked:6 | entered:6 }`.
///
/// `asked` is what is asked for while PENDING, and what the one in the way has entered when REFUSED.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

const MODES: u32 = 2 * MODE_BITS;
const STATE: u32 = 2 * MODES;
const BY: u32 = STATE + 2;
const TICKET: u32 = BY + 8;

/// Nothing is asked.
const SETTLED: u64 = 0;
/// Something is asked, and not decided.
const PENDING: u64 = 1;
/// What was asked last was refused, because of lease `by`.
const REFUSED: u64 = 2;
/// What was asked last has to be asked again: a lower lease came first.
const KICKED: u64 = 3;

impl Entry {
    const fn entered(self) -> Modes {
        Modes::from_bits(self.0)
    }

    const fn asked(self) -> Modes {
        Modes::from_bits(self.0 >> MODES)
    }

    const fn state(self) -> u64 {
        self.0 >> STATE & 3
    }

    const fn by(self) -> u8 {
        (self.0 >> BY) as u8
    }

    const fn is_pending(self) -> bool {
        self.state() == PENDING
    }

    const fn make(self, state: u64, by: u8, asked: Modes, entered: Modes) -> Self {
        let ticket = self.0 >> TICKET << TICKET;
        Self(ticket | (by as u64) << BY | state << STATE | asked.bits() << MODES | entered.bits())
    }

    const fn next_ticket(self) -> Self {
        Self(self.0.wrapping_add(1 << TICKET))
    }

    /// Asking for something, as nobody has before.
    const fn posted(self, asked: Modes) -> Self {
        self.next_ticket().make(PENDING, 0, asked, self.entered())
    }

    const fn accepted(self) -> Self {
        self.make(SETTLED, 0, Modes::NONE, self.entered().and(self.asked()))
    }

    const fn refused(self, by: u8, its: Modes) -> Self {
        self.make(REFUSED, by, its, self.entered())
    }

    const fn kicked(self) -> Self {
        self.make(KICKED, 0, self.asked(), self.entered())
    }

    const fn holding(self, entered: Modes) -> Self {
        self.make(SETTLED, 0, Modes::NONE, entered)
    }
}

/// Who is in the way, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InTheWay {
    /// Its lease; the asker's own when it is another of its own entries.
    pub lease: LeaseId,
    /// All that it does, and all that it denies.
    pub modes: Modes,
}

/// The word of a lease, as it is while one looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The lease.
    pub lease: LeaseId,
    /// What it has entered.
    pub entered: Modes,
    /// What it asks for and was not decided.
    pub pending: Option<Modes>,
}

/// Which incarnation a lease has; `None` when it is nobody's.
pub type Incarnations<'a> = &'a dyn Fn(u8) -> Option<u64>;

/// The words of a file: two a lease, `{ entry, incarnation }`, all of them zero at first.
#[derive(Clone, Copy)]
pub struct Shares<'a> {
    words: &'a [Word],
}

impl<'a> Shares<'a> {
    /// Words for so many members.
    #[must_use]
    pub const fn words(members: u16) -> usize {
        2 * members as usize
    }

    /// The view; `None` when there are too few words.
    #[must_use]
    pub fn over(words: &'a [Word], members: u16) -> Option<Self> {
        Some(Self { words: words.get(..Self::words(members))? })
    }

    fn leases(self) -> impl Iterator<Item = u8> {
        (0..self.words.len() / 2).map(|lease| lease as u8)
    }

    fn word(self, lease: u8) -> &'a Word {
        &self.words[2 * usize::from(lease)]
    }

    fn incarnation(self, lease: u8) -> &'a Word {
        &self.words[2 * usize::from(lease) + 1]
    }

    fn load(self, lease: u8) -> Entry {
        // Acquire: pairs with the Release of the compare_exchange that wrote it: the incarnation beside it is at least as new.
        Entry(self.word(lease).load(Ordering::Acquire))
    }

    /// Whether the word was as expected, and was changed.
    fn compare_exchange(self, lease: u8, from: Entry, to: Entry) -> bool {
        // AcqRel: Release as in `load`; Acquire: what a helper decided comes with the word.
        self.word(lease).compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Changes our own word, whatever it is: others change it while it is PENDING only, so that this does not go on.
    fn change(self, me: u8, to: impl Fn(Entry) -> Entry) -> Entry {
        loop {
            let seen = self.load(me);
            let changed = to(seen);
            if self.compare_exchange(me, seen, changed) {
                return changed;
            }
        }
    }

    /// Makes the word ours, if it is still a former owner's.
    fn claim(self, me: LeaseId) {
        // Relaxed: written by the owners of the lease only; a former one's was seen when the lease was taken.
        if self.incarnation(me.index).load(Ordering::Relaxed) != me.incarnation {
            // The word first: with our incarnation beside it what the former owner had entered would be ours.
            self.change(me.index, |seen| seen.next_ticket().holding(Modes::NONE));
            // Release: pairs with the Acquire in `valid`.
            self.incarnation(me.index).store(me.incarnation, Ordering::Release);
        }
    }

    /// Asks for `asked`, on top of what `me` has entered already, and enters if nobody is in the way.
    ///
    /// For one lease one call at a time, of this or of [`Shares::leave`].
    ///
    /// # Errors
    ///
    /// [`InTheWay`]: somebody, at some moment of this call. Nothing was entered.
    ///
    /// # Progress
    ///
    /// Lock-free: starts over only when somebody else's request was decided. Waits for nobody.
    ///
    /// # Crash
    ///
    /// What is PENDING is decided by whoever finds it in the way; the word ends with the incarnation of the lease.
    pub fn enter(self, me: LeaseId, asked: Modes, incarnations: Incarnations<'_>) -> Result<(), InTheWay> {
        self.claim(me);
        let mine = self.load(me.index).entered();
        if mine.conflicts(asked) {
            return Err(InTheWay { lease: me, modes: mine });
        }
        loop {
            let posted = self.change(me.index, |seen| seen.posted(asked));
            self.decide(me.index, posted, incarnations);
            let decided = self.load(me.index);
            match decided.state() {
                SETTLED => return Ok(()),
                REFUSED => {
                    let by = decided.by();
                    let incarnation = if self.leases().any(|lease| lease == by) {
                        // Relaxed: information.
                        self.incarnation(by).load(Ordering::Relaxed)
                    } else {
                        0
                    };
                    let lease = LeaseId { index: by, incarnation };
                    return Err(InTheWay { lease, modes: decided.asked() });
                }
                _ => {}
            }
        }
    }

    /// What `me` has entered is `left` from now on: a part of what it was.
    ///
    /// # Progress
    ///
    /// Wait-free, but for a helper that decides in between.
    pub fn leave(self, me: LeaseId, left: Modes) {
        // Relaxed: as in `claim`.
        if self.incarnation(me.index).load(Ordering::Relaxed) == me.incarnation {
            self.change(me.index, |seen| seen.holding(left));
        }
    }

    /// Sees to it that what `posted` of `lease` asks for is decided.
    fn decide(self, lease: u8, posted: Entry, incarnations: Incarnations<'_>) {
        // Ends: every round decides this or one of a lower lease, of which there is a lowest.
        while self.load(lease) == posted {
            let mut one = (lease, posted);
            while let Some(first) = self.try_decide(one.0, one.1, incarnations) {
                one = first;
            }
        }
    }

    /// Decides, unless that of a lower lease has to be decided first.
    fn try_decide(self, lease: u8, posted: Entry, incarnations: Incarnations<'_>) -> Option<(u8, Entry)> {
        // SeqCst: between having seen PENDING (or having said it) and the look at the others; pairs with the same fence of
        // whoever scans for one of those. Of two that ask, one is seen by the other's scan.
        fence(ordering!("slab.shares.fence", SeqCst, AcqRel));
        let asked = posted.asked();
        for other in self.leases().filter(|other| *other != lease) {
            while let Some(theirs) = self.in_the_way(other, asked, incarnations) {
                if theirs.entered().conflicts(asked) {
                    self.compare_exchange(lease, posted, posted.refused(other, theirs.entered()));
                    return None;
                }
                if other < lease {
                    return Some((other, theirs));
                }
                // Nobody is kicked for what is decided already.
                if self.load(lease) != posted {
                    return None;
                }
                self.compare_exchange(other, theirs, theirs.kicked());
            }
        }
        if fault!("slab.shares.enter_by_store") {
            self.word(lease).store(posted.accepted().0, Ordering::Release);
        }
        self.compare_exchange(lease, posted, posted.accepted());
        None
    }

    /// The word of `other`, if it counts and is in the way of `asked`.
    fn in_the_way(self, other: u8, asked: Modes, incarnations: Incarnations<'_>) -> Option<Entry> {
        loop {
            let seen = self.load(other);
            let pending =
                seen.is_pending() && seen.asked().conflicts(asked) && !fault!("slab.shares.pending_ignored");
            if !pending && !seen.entered().conflicts(asked) {
                return None;
            }
            match self.is_valid(other, seen, incarnations) {
                Some(true) => return Some(seen),
                Some(false) => return None,
                None => {}
            }
        }
    }

    /// Whether the word is that of a living lease; `None`: it has changed.
    fn is_valid(self, lease: u8, seen: Entry, incarnations: Incarnations<'_>) -> Option<bool> {
        // Acquire: pairs with the Release in `claim`, and keeps the look at the word behind this.
        let incarnation = self.incarnation(lease).load(Ordering::Acquire);
        if incarnations(lease) != Some(incarnation) && !fault!("slab.shares.dead_count") {
            return Some(false);
        }
        // A new owner clears the word before it writes its incarnation: both belong together if the word is the same afterwards.
        (self.load(lease) == seen).then_some(true)
    }

    /// What lease `index` has entered and asks for, if it is somebody's and anything. For one who may only look, relaxed
    /// loads; in a table at work the two parts need not belong together.
    #[must_use]
    pub fn look(self, index: u8, incarnations: Incarnations<'_>) -> Option<Share> {
        // Relaxed: a look.
        let seen = Entry(self.word(index).load(Ordering::Relaxed));
        let incarnation = self.incarnation(index).load(Ordering::Relaxed);
        let pending = seen.is_pending().then(|| seen.asked());
        if incarnations(index) != Some(incarnation) || (seen.entered() == Modes::NONE && pending.is_none()) {
            return None;
        }
        Some(Share { lease: LeaseId { index, incarnation }, entered: seen.entered(), pending })
    }

    /// All of them.
    pub fn iter(self, incarnations: Incarnations<'_>) -> impl Iterator<Item = Share> {
        self.leases().filter_map(move |lease| self.look(lease, incarnations))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn id(index: u8) -> LeaseId {
        LeaseId { index, incarnation: 1 }
    }

    fn words(members: u16) -> Vec<Word> {
        (0..Shares::words(members)).map(|_| Word::new(0)).collect()
    }

    const READ: Modes = Modes { access: 1, denied: 2 };
    const WRITE: Modes = Modes { access: 2, denied: 0 };

    #[test]
    fn one_stopped_while_pending_is_decided_by_whoever_it_is_in_the_way_of() {
        for (stopped, asker) in [(0, 1), (1, 0)] {
            let words = words(2);
            let shares = Shares::over(&words, 2).unwrap();
            shares.claim(id(stopped));
            let posted = shares.change(stopped, |seen| seen.posted(READ));
            let entered = shares.enter(id(asker), WRITE, &|_| Some(1));
            // The lower one comes first; the higher one finds itself kicked.
            assert_eq!(entered.is_ok(), asker < stopped);
            assert!(shares.load(stopped) != posted);
            shares.decide(stopped, posted, &|_| Some(1));
            let state = shares.load(stopped).state();
            assert_eq!(state, if asker < stopped { KICKED } else { SETTLED });
        }
    }

    #[test]
    fn a_chain_of_stopped_ones_is_decided_from_its_lowest() {
        let words = words(5);
        let shares = Shares::over(&words, 5).unwrap();
        for stopped in 0..4 {
            shares.claim(id(stopped));
            // Each in the way of the next one: readers that deny writing, and writers.
            shares.change(stopped, |seen| seen.posted(if stopped % 2 == 0 { READ } else { WRITE }));
        }
        assert!(shares.enter(id(4), WRITE, &|_| Some(1)).is_err());
        let states: Vec<_> = (0..5).map(|lease| shares.load(lease).state()).collect();
        assert_eq!(states[0], SETTLED);
        assert_eq!(states[4], REFUSED);
    }

    #[test]
    fn a_late_helper_changes_nothing() {
        let words = words(2);
        let shares = Shares::over(&words, 2).unwrap();
        shares.claim(id(0));
        let posted = shares.change(0, |seen| seen.posted(READ));
        shares.decide(0, posted, &|_| Some(1));
        shares.leave(id(0), Modes::NONE);
        // The same again, as somebody who was stopped in between remembers it.
        let again = shares.change(0, |seen| seen.posted(READ));
        assert!(again != posted);
        assert!(!shares.compare_exchange(0, posted, posted.accepted()));
        assert!(shares.load(0) == again);
    }

    #[test]
    fn any_words_end_in_an_answer() {
        let patterns = [0, 1, u64::MAX, PENDING << STATE | 0xfff, 0x0123_4567_89ab_cdef, REFUSED << STATE];
        for pattern in patterns {
            let words = words(3);
            words.iter().for_each(|word| word.store(pattern, Ordering::Relaxed));
            let shares = Shares::over(&words, 3).unwrap();
            for lease in 0..3 {
                let me = LeaseId { index: lease, incarnation: pattern };
                let _ = shares.enter(me, READ, &|_| Some(pattern));
                shares.leave(me, Modes::NONE);
            }
        }
    }
}
