//! Taking several words at once: all or nothing, by one decision.
//!
//! After Harris, Fraser and Pratt, A Practical Multi-Word Compare-and-Swap Operation (2002), with their helping turned into
//! withdrawing: whoever helped to reserve would have to hold what it reserves, and may come an hour late.
//!
//! Each lease has a *record*: a status and what each word was and is to be. A word that can be reserved is the low half of 64
//! bits, whose upper half is zero unless it is *reserved*; then they say for which lease, which ticket of it, and which entry.
//!
//! ```text
//! begin    status = { ticket + 1, OPEN }
//! reserve  for each word: w = plain(word); not to be had: withdraw.  entry = { after, before: w }; CAS(word: w -> reserved)
//! decide   CAS(status: OPEN -> TAKEN); it fails when somebody has withdrawn
//! clean    for each word: CAS(word: reserved -> TAKEN ? after : before); it fails when somebody was faster
//! plain    of a reserved word: e = entry; s = status.  another ticket: it is not reserved any more, look again
//!          OPEN: CAS(status: OPEN -> WITHDRAWN)   TAKEN: CAS(word: reserved -> e.after)   WITHDRAWN: CAS(word: reserved -> e.before)
//! ```
//!
//! Only the lease itself reserves, one ticket at a time, and cleans before it begins the next, so a reservation names one taking
//! for ever, and an exchange that expects it is exact however late it comes. A word with [`ASLEEP`] is never reserved: nobody
//! sleeps on a reserved word.
//!
//! # Progress
//!
//! Whoever meets a reserved word waits for nobody: after a bounded number of looks it decides itself. Operations on one word stay
//! lock-free. Of several that take several, each can make the others begin again (obstruction-free); each time somebody has
//! reserved what another one wanted.
//!
//! # Crash
//!
//! Two helpers at once, one of them killed: nothing is handed over. A reserved word stays reserved until an exchange makes it plain,
//! and each helper that loses one looks at the word again before it returns.
//!
//! Killed before `decide` nothing was taken, after it everything was. Recovery meets every word that the dead had reserved, since
//! the dead held the objects; so none is left when the lease is free, and its next owner goes on with the next ticket.

use tenure_core::sync::{Ordering, Word as Whole};
use tenure_core::{fault, ordering};

use crate::word::{ASLEEP, Word};

/// The most words that are taken at once.
pub const TAKE_MAX: usize = 64;

/// Words of a record.
pub const RECORD_WORDS: usize = 1 + TAKE_MAX;

/// A word that can be reserved. Its [`Word::load`] is [`Records::plain`], its [`Word::exchange`] is [`exchange`].
pub trait Reservable: Word {
    /// All 64 bits.
    fn whole(&self) -> &Whole;
}

/// [`Word::exchange`] of a word that can be reserved.
///
/// # Errors
///
/// As there; of a reserved word nothing that means anything.
#[inline]
pub fn exchange(whole: &Whole, from: u32, to: u32) -> Result<(), u32> {
    // AcqRel: wait word: publishes what an owner or offerer did, obtains what the one before did. Acquire: pairs with the same.
    let found = whole.compare_exchange(from.into(), to.into(), Ordering::AcqRel, Ordering::Acquire);
    found.map(drop).map_err(|found| found as u32)
}

const RESERVED: u64 = 1 << 63;
const ENTRY_SHIFT: u32 = 8;
const TICKET_SHIFT: u32 = 14;
/// Of a ticket, what is below the bit of [`ASLEEP`].
const LOW_TICKET_BITS: u32 = 31 - TICKET_SHIFT;
const LOW_TICKET: u64 = (1 << LOW_TICKET_BITS) - 1;
const TICKET: u64 = (1 << 48) - 1;

/// A reserved word: `{ 1 | ticket, upper:31 | 0 | ticket, lower:17 | entry:6 | lease:8 }`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reservation {
    /// For whom.
    pub lease: u8,
    entry: u8,
    ticket: u64,
}

impl Reservation {
    /// Of all 64 bits, if they are reserved.
    #[must_use]
    pub const fn of(whole: u64) -> Option<Self> {
        if whole & RESERVED == 0 || whole & ASLEEP as u64 != 0 {
            return None;
        }
        let low = whole >> TICKET_SHIFT & LOW_TICKET;
        let ticket = (whole & !RESERVED) >> 32 << LOW_TICKET_BITS | low;
        Some(Self { lease: whole as u8, entry: (whole >> ENTRY_SHIFT) as u8 & 63, ticket })
    }

    const fn bits(self) -> u64 {
        let low = self.lease as u64 | (self.entry as u64) << ENTRY_SHIFT;
        RESERVED | (self.ticket >> LOW_TICKET_BITS) << 32 | (self.ticket & LOW_TICKET) << TICKET_SHIFT | low
    }
}

/// Nothing is decided.
const OPEN: u64 = 1;
/// Everything is taken.
const TAKEN: u64 = 2;
/// Nothing is.
const WITHDRAWN: u64 = 3;

/// `{ ticket:48 | 0:14 | state:2 }`.
const fn status(ticket: u64, state: u64) -> u64 {
    ticket << 16 | state
}

/// How often one who meets a reserved word looks again before it withdraws it: some hundred instructions, in which whoever is
/// running is done.
const PATIENCE: u32 = if cfg!(loom) { 0 } else { 64 };

/// What a reservation has come to.
enum Verdict<'a> {
    /// The status, and what it says.
    Open(&'a Whole, u64),
    Decided(u32),
    /// It is not there any more; if it is, somebody corrupted it.
    Over,
}

/// The records of all leases.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    words: &'a [Whole],
}

impl<'a> Records<'a> {
    /// The view: [`RECORD_WORDS`] a lease, all of them zero at first.
    #[must_use]
    pub const fn over(words: &'a [Whole]) -> Self {
        Self { words }
    }

    fn record(self, lease: u8) -> Option<&'a [Whole]> {
        self.words.get(usize::from(lease) * RECORD_WORDS..)?.get(..RECORD_WORDS)
    }

    /// The value of a word, mark included, which is not reserved when this returns. What cannot be a reservation becomes
    /// `ruined`.
    #[inline]
    #[must_use]
    pub fn plain(self, whole: &Whole, ruined: u32) -> u32 {
        // Acquire: wait word: obtains what whoever offered did before; pairs with the AcqRel in `exchange` and the kernel's step.
        let seen = whole.load(Ordering::Acquire);
        if seen >> 32 == 0 { seen as u32 } else { self.make_plain(whole, ruined) }
    }

    #[cold]
    #[inline(never)]
    fn make_plain(self, whole: &Whole, ruined: u32) -> u32 {
        let mut patience = PATIENCE;
        loop {
            // Acquire: as in `plain`; and pairs with the AcqRel that reserved it: entry and status are at least as new.
            let seen = whole.load(Ordering::Acquire);
            if seen >> 32 == 0 {
                return seen as u32;
            }
            match self.verdict(seen) {
                Verdict::Open(..) if patience > 0 => {
                    patience -= 1;
                    std::hint::spin_loop();
                }
                Verdict::Open(word, open) => {
                    // AcqRel: the decision, for all who look: before it nothing was taken. Failure: decided meanwhile.
                    let _ = word.compare_exchange(
                        open,
                        open - OPEN + WITHDRAWN,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                }
                Verdict::Decided(value) if fault!("wait.take_all.cleaned_by_store") => {
                    whole.store(value.into(), Ordering::Release);
                }
                // AcqRel, both: as in `exchange`. Exact: no other taking has the same reservation. Failure: somebody was faster.
                Verdict::Decided(value) => {
                    let _ = whole.compare_exchange(seen, value.into(), Ordering::AcqRel, Ordering::Acquire);
                }
                // By the time that the lease begins another ticket, all words have changed.
                Verdict::Over => {
                    let _ = whole.compare_exchange(seen, ruined.into(), Ordering::AcqRel, Ordering::Acquire);
                }
            }
        }
    }

    fn verdict(self, seen: u64) -> Verdict<'a> {
        let Some(reservation) = Reservation::of(seen) else { return Verdict::Over };
        let Some(record) = self.record(reservation.lease) else { return Verdict::Over };
        // Acquire: pairs with the Release in `reserve`: whoever reads the entry of a later ticket sees its status below.
        let entry = record[1 + usize::from(reservation.entry)].load(Ordering::Acquire);
        // Acquire: pairs with the Release in `begin` and the AcqRel of whoever decided.
        let found = record[0].load(Ordering::Acquire);
        let (before, after) = (entry as u32, (entry >> 32) as u32);
        match found.wrapping_sub(status(reservation.ticket, 0)) {
            OPEN => Verdict::Open(&record[0], found),
            TAKEN if fault!("wait.take_all.taken_is_withdrawn") => Verdict::Decided(before),
            TAKEN => Verdict::Decided(after),
            WITHDRAWN => Verdict::Decided(before),
            _ => Verdict::Over,
        }
    }

    /// Begins to take several for lease `me`, one time at a time; `None`: there is no such lease.
    #[must_use]
    pub fn begin(self, me: u8) -> Option<Taking<'a>> {
        let record = self.record(me)?;
        // Relaxed: the lease's own; of a former owner it was obtained with the lease.
        let ticket = (record[0].load(Ordering::Relaxed) >> 16).wrapping_add(1) & TICKET;
        // Release: after the words of the last ticket are plain; pairs with the Acquire in `verdict`.
        record[0].store(status(ticket, OPEN), Ordering::Release);
        Some(Taking { record, next: Reservation { lease: me, entry: 0, ticket } })
    }
}

/// A number of words that are taken at once, or not at all. Dropping it leaves what a death leaves: see [`Taking::clean`].
#[derive(Debug)]
pub struct Taking<'a> {
    record: &'a [Whole],
    next: Reservation,
}

impl Taking<'_> {
    /// Reserves one more, the first of at most [`TAKE_MAX`]. `take` says what to make of a value; `None`: it cannot be had. The
    /// answer is the value that it has until everything is taken.
    ///
    /// # Errors
    ///
    /// The word, mark included, that has to change first; it is not reserved.
    ///
    /// # Crash
    ///
    /// A reserved word has its former value in everybody's eyes until [`Taking::decide`].
    pub fn reserve<W: Reservable>(
        &mut self,
        word: &W,
        take: impl Fn(u32) -> Option<u32>,
    ) -> Result<u32, u32> {
        let reserved = self.next.bits();
        let entry = &self.record[1 + usize::from(self.next.entry)];
        loop {
            let seen = word.load();
            let value = seen & !ASLEEP;
            let Some(after) = take(value) else { return Err(seen) };
            if seen & ASLEEP != 0 {
                // Staged: whoever did it may stand still for long.
                word.wake();
                continue;
            }
            if fault!("wait.take_all.by_and_by") {
                // The fault: each is taken when its turn comes.
                if word.exchange(value, after).is_ok() {
                    return Ok(value);
                }
                continue;
            }
            // Release: pairs with the Acquire in `verdict`; nobody looks at it before the word is reserved.
            let said = u64::from(after) << 32 | u64::from(value);
            entry.store(said, Ordering::Release);
            if fault!("wait.take_all.reserved_by_store") {
                word.whole().store(reserved, Ordering::Release);
                self.next.entry += 1;
                return Ok(value);
            }
            // AcqRel: publishes status and entry to whoever meets the reservation; obtains what the one before did.
            let reserving = word.whole().compare_exchange(
                seen.into(),
                reserved,
                ordering!("wait.word.reserve", AcqRel, Relaxed),
                Ordering::Acquire,
            );
            if reserving.is_ok() {
                self.next.entry += 1;
                return Ok(value);
            }
        }
    }

    /// Takes everything that is reserved, if `all` of it is to be taken and nobody has withdrawn it; whether it is.
    #[must_use]
    pub fn decide(&self, all: bool) -> bool {
        let open = status(self.next.ticket, OPEN);
        let decided = open - OPEN + if all { TAKEN } else { WITHDRAWN };
        // AcqRel: the decision: Release for those who make words plain by it, Acquire for what they have decided.
        let ours =
            self.record[0].compare_exchange(open, decided, Ordering::AcqRel, Ordering::Acquire).is_ok();
        ours && all
    }

    /// Makes a word plain that was reserved as `entry`, the decision being made. To be done for all of them before the lease
    /// begins again; if it dies before that, by whoever recovers it.
    pub fn clean<W: Reservable>(&self, entry: usize, word: &W) {
        let reserved = Reservation { entry: entry as u8, ..self.next }.bits();
        // Acquire: as in `plain`.
        if word.whole().load(Ordering::Acquire) == reserved {
            let _ = word.load();
        }
    }
}
