//! The share modes of a file: what each lease does with it and denies others; requested and granted in one atomic step, without a lock.
//!
//! After Purcell and Harris, Non-blocking Hashtables with Open Addressing (2005), where insertions of one key come to an agreement in the
//! same way. Each lease has a word. A lease writes its request to its own word (PENDING), scans all other words, and enters if none of
//! them conflicts. Of two pending requests that conflict the lower lease has priority: the higher one helps it first, and the lower one
//! aborts the higher one. So a lease never waits: a request whose owner is stopped is decided by the others, from its word alone.
//!
//! ```text
//! enter   word = {ticket + 1, entered, asked, PENDING}; fence
//!         for every other lease: entered and conflicts: CAS PENDING -> REFUSED(by it), done
//!                                PENDING, conflicts, lower: help it first, look again
//!                                PENDING, conflicts, higher: CAS it -> ABORTED, look again
//!         CAS PENDING -> {entered + asked}; then the word says what was decided; ABORTED: begin again
//! ```
//!
//! Two requests that conflict never both succeed. Each scan begins after PENDING was stored and a fence was passed, by the owner or by a
//! helper (Dekker):
//! - either A's PENDING is seen by the scan for B: then that scan helps A first, or aborts A;
//! - or it is not: then B's PENDING is seen by the scan for A, which helps B first, or aborts B.
//!
//! Each decision is an exact CAS: the ticket makes every PENDING of a lease a value of its own.
//!
//! Two helpers at once, one of them killed: neither hands anything to the other. A request stays PENDING until a CAS decides it, and its
//! owner continues by itself. The request of a dead owner does not count any more, or the next request that conflicts decides it.
//!
//! The words of the dead are never cleared: next to each word is the incarnation of the lease that wrote it, and the word counts only while
//! the lease has that incarnation.
//!
//! The layout text, which is hashed, calls IDLE SETTLED, and ABORTED KICKED.

use tenure_core::{LeaseId, mutant, ordering};

use crate::sync::{Ordering, Word, fence};

/// Three bits: read, write, delete.
const MODE_BITS: u32 = 3;
const MODE_MASK: u64 = (1 << MODE_BITS) - 1;

/// A lease's access to a file, and the access that it denies others. Bits: 1 read, 2 write, 4 delete.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Modes {
    /// The access of the lease.
    pub access: u8,
    /// The access that it denies others.
    pub denied: u8,
}

impl Modes {
    /// Nothing done, nothing denied.
    pub const NONE: Self = Self { access: 0, denied: 0 };

    /// Whether the two exclude each other: one does what the other denies.
    #[must_use]
    pub const fn conflicts(self, other: Self) -> bool {
        self.access & other.denied != 0 || other.access & self.denied != 0
    }

    /// The union of both.
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
/// `asked` is the request while PENDING; when REFUSED it is what the conflicting lease has entered.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | any -> IDLE, nothing entered, ticket + 1; then the incarnation | the owner, whose incarnation is not there yet | nothing entered |
/// | IDLE, REFUSED or ABORTED -> PENDING(asked), ticket + 1 | the owner | the next request that conflicts decides it |
/// | PENDING -> IDLE, entered and asked | the owner or a helper, after a scan of all other words since it was PENDING | entered by a dead lease: void at recovery |
/// | PENDING -> REFUSED(by) | the owner or a helper that found `by` entered and conflicting | - |
/// | PENDING -> ABORTED | a lower lease that conflicts, or its helper | - |
/// | IDLE -> IDLE, less entered | the owner | - |
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u64);

const MODES: u32 = 2 * MODE_BITS;
const STATE: u32 = 2 * MODES;
const BY: u32 = STATE + 2;
const TICKET: u32 = BY + 8;

/// No request.
const IDLE: u64 = 0;
/// A request is not decided.
const PENDING: u64 = 1;
/// The last request was refused, because of lease `by`.
const REFUSED: u64 = 2;
/// The last request was aborted by a lower lease, and begins again.
const ABORTED: u64 = 3;

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

    /// A new request, with a ticket of its own.
    const fn posted(self, asked: Modes) -> Self {
        self.next_ticket().make(PENDING, 0, asked, self.entered())
    }

    const fn accepted(self) -> Self {
        self.make(IDLE, 0, Modes::NONE, self.entered().and(self.asked()))
    }

    const fn refused(self, by: u8, its: Modes) -> Self {
        self.make(REFUSED, by, its, self.entered())
    }

    const fn aborted(self) -> Self {
        self.make(ABORTED, 0, self.asked(), self.entered())
    }

    const fn holding(self, entered: Modes) -> Self {
        self.make(IDLE, 0, Modes::NONE, entered)
    }
}

/// The lease that conflicts with a request, and its modes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InTheWay {
    /// The lease; the caller's own if another entry of its own conflicts.
    pub lease: LeaseId,
    /// All that the lease does and denies.
    pub modes: Modes,
}

/// The word of a lease at the moment of a look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    /// The lease.
    pub lease: LeaseId,
    /// The modes that it has entered.
    pub entered: Modes,
    /// Its request, if it is not decided.
    pub pending: Option<Modes>,
}

/// The incarnation of a lease; `None` if the lease is free.
pub type Incarnations<'a> = &'a dyn Fn(u8) -> Option<u64>;

/// The words of a file: two a lease, `{ entry, incarnation }`, all of them zero at first.
#[derive(Clone, Copy)]
pub struct Shares<'a> {
    words: &'a [Word],
}

impl<'a> Shares<'a> {
    /// The number of words for so many members.
    #[must_use]
    pub const fn words(members: u16) -> usize {
        2 * members as usize
    }

    /// A view of `words`; `None` if they are too few.
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
        // Acquire: modes word: the incarnation loaded after it is at least as new; pairs with the AcqRel in `compare_exchange`.
        Entry(self.word(lease).load(Ordering::Acquire))
    }

    /// Changes the word of a lease from `from` to `to`; false if it is not `from`.
    fn compare_exchange(self, lease: u8, from: Entry, to: Entry) -> bool {
        // AcqRel: modes word: publishes a request or a decision, obtains what a helper decided; pairs with the Acquire in `load`. Acquire on
        // failure: the same.
        self.word(lease).compare_exchange(from.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Changes the caller's own word. Bounded: others change it only while it is PENDING.
    fn change(self, me: u8, to: impl Fn(Entry) -> Entry) -> Entry {
        loop {
            let seen = self.load(me);
            let changed = to(seen);
            if self.compare_exchange(me, seen, changed) {
                return changed;
            }
        }
    }

    /// Takes the word over from a former owner of the lease.
    fn claim(self, me: LeaseId) {
        // Relaxed: incarnation: only owners of the lease write it; a former owner's was obtained when the lease was taken.
        if self.incarnation(me.index).load(Ordering::Relaxed) != me.incarnation {
            // The word first: our incarnation beside the former owner's modes would make them ours.
            self.change(me.index, |seen| seen.next_ticket().holding(Modes::NONE));
            // Release: incarnation: published after the word; pairs with the Acquire in `is_valid`.
            self.incarnation(me.index).store(me.incarnation, Ordering::Release);
        }
    }

    /// Requests `asked` in addition to the modes that `me` has entered, and enters them if no other lease conflicts.
    ///
    /// One call at a time for one lease, of this or of [`Shares::leave`].
    ///
    /// # Errors
    ///
    /// [`InTheWay`]: a lease conflicted at some moment of this call. Nothing was entered.
    ///
    /// # Progress
    ///
    /// Lock-free: begins again only when another lease's request was decided. Waits for nobody.
    ///
    /// # Crash
    ///
    /// A PENDING request is decided by the next request that conflicts. The word stops counting with the incarnation of the lease.
    pub fn enter(self, me: LeaseId, asked: Modes, incarnations: Incarnations<'_>) -> Result<(), InTheWay> {
        self.claim(me);
        let mine = self.load(me.index).entered();
        if mine.conflicts(asked) {
            return Err(InTheWay { lease: me, modes: mine });
        }
        loop {
            let posted = self.change(me.index, |seen| seen.posted(asked));
            self.help(me.index, posted, incarnations);
            let decided = self.load(me.index);
            match decided.state() {
                IDLE => return Ok(()),
                REFUSED => {
                    let by = decided.by();
                    let incarnation = if self.leases().any(|lease| lease == by) {
                        // Relaxed: incarnation: information only.
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

    /// Replaces the modes that `me` has entered by `left`, a part of them.
    ///
    /// # Progress
    ///
    /// Wait-free, except that a helper may decide in between.
    pub fn leave(self, me: LeaseId, left: Modes) {
        // Relaxed: incarnation: as in `claim`.
        if self.incarnation(me.index).load(Ordering::Relaxed) == me.incarnation {
            self.change(me.index, |seen| seen.holding(left));
        }
    }

    /// Helps a request, `posted` of `lease`, until it is decided.
    fn help(self, lease: u8, posted: Entry, incarnations: Incarnations<'_>) {
        // Bounded: each round decides this request or one of a lower lease.
        while self.load(lease) == posted {
            let mut one = (lease, posted);
            while let Some(first) = self.try_help(one.0, one.1, incarnations) {
                one = first;
            }
        }
    }

    /// Decides the request, or returns the request of a lower lease that must be decided first.
    fn try_help(self, lease: u8, posted: Entry, incarnations: Incarnations<'_>) -> Option<(u8, Entry)> {
        // SeqCst: modes words: between the store or load of PENDING and the scan; pairs with the same fence before the scan for another
        // request:
        // - either that request is seen by this scan;
        // - or this request is seen by that scan.
        fence(ordering!("slab.shares.fence", SeqCst, AcqRel));
        let asked = posted.asked();
        for other in self.leases().filter(|other| *other != lease) {
            while let Some(theirs) = self.in_the_way(other, asked, incarnations) {
                // Entered: refuse.
                if theirs.entered().conflicts(asked) {
                    self.compare_exchange(lease, posted, posted.refused(other, theirs.entered()));
                    return None;
                }
                // Pending, of a lower lease: help that first.
                if other < lease {
                    return Some((other, theirs));
                }
                // Decided meanwhile: abort nobody for it.
                if self.load(lease) != posted {
                    return None;
                }
                // Pending, of a higher lease: abort it.
                self.compare_exchange(other, theirs, theirs.aborted());
            }
        }
        if mutant!("slab.shares.enter_by_store") {
            self.word(lease).store(posted.accepted().0, Ordering::Release);
        }
        self.compare_exchange(lease, posted, posted.accepted());
        None
    }

    /// The word of `other`, if it counts and conflicts with `asked`.
    fn in_the_way(self, other: u8, asked: Modes, incarnations: Incarnations<'_>) -> Option<Entry> {
        loop {
            let seen = self.load(other);
            let pending =
                seen.is_pending() && seen.asked().conflicts(asked) && !mutant!("slab.shares.pending_ignored");
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

    /// Whether the word belongs to the current incarnation of the lease; `None` if the word has changed.
    fn is_valid(self, lease: u8, seen: Entry, incarnations: Incarnations<'_>) -> Option<bool> {
        // Acquire: incarnation: pairs with the Release in `claim`; keeps the load of the word below behind it.
        let incarnation = self.incarnation(lease).load(Ordering::Acquire);
        if incarnations(lease) != Some(incarnation) && !mutant!("slab.shares.dead_count") {
            return Some(false);
        }
        // A new owner clears the word first, and stores its incarnation afterwards:
        // - either the incarnation loaded above is the former one, and so is the word that was `seen`;
        // - or it is the new one, and then the word, loaded after it, is not the former owner's.
        (self.load(lease) == seen).then_some(true)
    }

    /// The modes and the request of lease `index`, if the lease is taken and has any. For readers: loads only, and while the table is in
    /// use the two parts need not belong together.
    #[must_use]
    pub fn look(self, index: u8, incarnations: Incarnations<'_>) -> Option<Share> {
        // Relaxed, both: information only.
        let seen = Entry(self.word(index).load(Ordering::Relaxed));
        let incarnation = self.incarnation(index).load(Ordering::Relaxed);
        let pending = seen.is_pending().then(|| seen.asked());
        if incarnations(index) != Some(incarnation) || (seen.entered() == Modes::NONE && pending.is_none()) {
            return None;
        }
        Some(Share { lease: LeaseId { index, incarnation }, entered: seen.entered(), pending })
    }

    /// The shares of all leases.
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
    fn a_pending_request_of_a_stopped_owner_is_decided_by_the_next_that_conflicts() {
        for (stopped, asker) in [(0, 1), (1, 0)] {
            let words = words(2);
            let shares = Shares::over(&words, 2).unwrap();
            shares.claim(id(stopped));
            let posted = shares.change(stopped, |seen| seen.posted(READ));
            let entered = shares.enter(id(asker), WRITE, &|_| Some(1));
            // The lower one has priority; the higher one is aborted.
            assert_eq!(entered.is_ok(), asker < stopped);
            assert!(shares.load(stopped) != posted);
            shares.help(stopped, posted, &|_| Some(1));
            let state = shares.load(stopped).state();
            assert_eq!(state, if asker < stopped { ABORTED } else { IDLE });
        }
    }

    #[test]
    fn a_chain_of_stopped_ones_is_decided_from_its_lowest() {
        let words = words(5);
        let shares = Shares::over(&words, 5).unwrap();
        for stopped in 0..4 {
            shares.claim(id(stopped));
            // Each conflicts with the next one: readers that deny writing, and writers.
            shares.change(stopped, |seen| seen.posted(if stopped % 2 == 0 { READ } else { WRITE }));
        }
        assert!(shares.enter(id(4), WRITE, &|_| Some(1)).is_err());
        let states: Vec<_> = (0..5).map(|lease| shares.load(lease).state()).collect();
        assert_eq!(states[0], IDLE);
        assert_eq!(states[4], REFUSED);
    }

    #[test]
    fn a_late_helper_changes_nothing() {
        let words = words(2);
        let shares = Shares::over(&words, 2).unwrap();
        shares.claim(id(0));
        let posted = shares.change(0, |seen| seen.posted(READ));
        shares.help(0, posted, &|_| Some(1));
        shares.leave(id(0), Modes::NONE);
        // The same request again, as a helper that was stopped in between remembers it.
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
