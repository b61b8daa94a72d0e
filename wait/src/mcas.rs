//! Multi-word compare-and-swap (MCAS): takes several wait words at once, all or nothing.
//!
//! After Harris, Fraser and Pratt, A Practical Multi-Word Compare-and-Swap Operation (2002). The difference: their helpers complete an
//! undecided operation; here they make it fail. A helper would have to hold the handles of the objects that it takes for another
//! member, and a helper that was stopped for an hour could write to an object that is used again.
//!
//! Each lease has one MCAS *descriptor*: a status, and an entry `{ after, before }` for each word. A word that can take part is the low
//! half of 64 bits. The upper half is zero unless the word holds a *reference* to a descriptor: lease, ticket and entry. The ticket
//! counts the operations of the lease.
//!
//! ```text
//! begin    status = { ticket + 1, UNDECIDED }
//! install  for each word: w = resolve(word); not available: commit(FAILED)
//!          entry = { after, before: w }; CAS(word: w -> reference)
//! commit   CAS(status: UNDECIDED -> SUCCEEDED); it fails if another operation has made it FAILED
//! release  for each word: CAS(word: reference -> SUCCEEDED ? after : before); it fails if a helper has done it
//! resolve  of a reference: e = entry; s = status.  another ticket: the word has changed, load it again
//!          UNDECIDED: CAS(status: UNDECIDED -> FAILED), again
//!          SUCCEEDED: CAS(word: reference -> e.after)   FAILED: CAS(word: reference -> e.before)
//! ```
//!
//! Only the lease itself installs references, one ticket at a time, and it releases all of them before the next ticket. So a reference
//! identifies one operation for ever, and a compare-exchange that expects it is exact, however late it comes. A word with
//! [`WAITERS`] never holds a reference: nobody sleeps on one.
//!
//! # Progress
//!
//! An operation that finds a reference waits for nobody: after a bounded number of loads it makes the MCAS fail. Operations on one
//! word stay lock-free. Several MCAS operations over some of the same words can make each other begin again (obstruction-free);
//! each time, one of them has installed a reference that another one needed.
//!
//! # Crash
//!
//! Before `commit` nothing is taken, after it everything is. The dead lease held all objects whose words have its references, so
//! recovery loads, and thereby resolves, each of them. None is left when the lease is free, and the next owner of the lease
//! continues with the next ticket.
//!
//! Two helpers at once, one of them killed: neither hands anything to the other. The word keeps the reference until a compare-exchange
//! resolves it, and a helper that loses this compare-exchange loads the word again before it returns.

use tenure_core::sync::{Ordering, Word as Whole};
use tenure_core::{mutant, ordering};

use crate::word::{WAITERS, Word};

/// The most words of one MCAS.
pub const MCAS_MAX: usize = 64;

/// Words of a descriptor.
pub const MCAS_DESCRIPTOR_WORDS: usize = 1 + MCAS_MAX;

/// A word that can hold a reference to a descriptor. Its [`Word::load`] is [`McasDescriptors::resolve`], its
/// [`Word::compare_exchange`] is [`compare_exchange`].
pub trait McasWord: Word {
    /// All 64 bits.
    fn whole(&self) -> &Whole;
}

/// [`Word::compare_exchange`] of an [`McasWord`]; it fails if the word holds a reference.
///
/// # Errors
///
/// The low half of the word found; of a reference it means nothing.
#[inline]
pub fn compare_exchange(
    whole: &Whole,
    from: u32,
    to: u32,
    success: Ordering,
    failure: Ordering,
) -> Result<u32, u32> {
    let found = whole.compare_exchange(from.into(), to.into(), success, failure);
    found.map(|found| found as u32).map_err(|found| found as u32)
}

const REFERENCE: u64 = 1 << 63;
const ENTRY_SHIFT: u32 = 8;
const TICKET_SHIFT: u32 = 14;
/// The bits of a ticket below the bit that is [`WAITERS`] in a value.
const LOW_TICKET_BITS: u32 = 31 - TICKET_SHIFT;
const LOW_TICKET: u64 = (1 << LOW_TICKET_BITS) - 1;
const TICKET: u64 = (1 << 48) - 1;

/// A reference to a descriptor: `{ 1 | ticket, upper:31 | 0 | ticket, lower:17 | entry:6 | lease:8 }`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct McasRef {
    /// The lease whose descriptor it is.
    pub lease: u8,
    entry: u8,
    ticket: u64,
}

impl McasRef {
    /// Decodes all 64 bits of a word; `None` if it holds no reference.
    #[must_use]
    pub const fn of(whole: u64) -> Option<Self> {
        if whole & REFERENCE == 0 || whole & WAITERS as u64 != 0 {
            return None;
        }
        let low = whole >> TICKET_SHIFT & LOW_TICKET;
        let ticket = (whole & !REFERENCE) >> 32 << LOW_TICKET_BITS | low;
        Some(Self { lease: whole as u8, entry: (whole >> ENTRY_SHIFT) as u8 & 63, ticket })
    }

    const fn bits(self) -> u64 {
        let low = self.lease as u64 | (self.entry as u64) << ENTRY_SHIFT;
        REFERENCE | (self.ticket >> LOW_TICKET_BITS) << 32 | (self.ticket & LOW_TICKET) << TICKET_SHIFT | low
    }
}

// The states of a descriptor. The layout text, which is hashed, calls them OPEN, TAKEN and WITHDRAWN.

/// Not committed: each word has its former value.
const UNDECIDED: u64 = 1;
/// Committed: all words are taken.
const SUCCEEDED: u64 = 2;
/// Given up or made to fail: no word is taken.
const FAILED: u64 = 3;

/// `{ ticket:48 | 0:14 | state:2 }`.
const fn status(ticket: u64, state: u64) -> u64 {
    ticket << 16 | state
}

/// How often an operation that finds a reference loads again before it makes the MCAS fail: some hundred instructions, in which an
/// owner that is running has committed.
const SPINS: u32 = if cfg!(loom) { 0 } else { 64 };

/// The state of the operation that a reference belongs to.
enum Referent<'a> {
    /// The status word, and its value.
    Undecided(&'a Whole, u64),
    /// The value that the word has from now on.
    Decided(u32),
    /// The operation is over and its references are gone; if this one is still there, the word is corrupted.
    Over,
}

/// The MCAS descriptors of all leases.
#[derive(Clone, Copy, Debug)]
pub struct McasDescriptors<'a> {
    words: &'a [Whole],
}

impl<'a> McasDescriptors<'a> {
    /// A view of `words`: [`MCAS_DESCRIPTOR_WORDS`] a lease, all of them zero at first.
    #[must_use]
    pub const fn over(words: &'a [Whole]) -> Self {
        Self { words }
    }

    fn descriptor(self, lease: u8) -> Option<&'a [Whole]> {
        self.words.get(usize::from(lease) * MCAS_DESCRIPTOR_WORDS..)?.get(..MCAS_DESCRIPTOR_WORDS)
    }

    /// Loads a word, and resolves it if it holds a reference; returns the value, [`WAITERS`] included. A word that the protocol does not
    /// write becomes `corrupted`.
    #[inline]
    #[must_use]
    pub fn resolve(self, whole: &Whole, corrupted: u32) -> u32 {
        // Acquire: wait word: obtains what the last owner or releaser did; pairs with the AcqRel of each `compare_exchange` on the word
        // and with the kernel's step.
        let seen = whole.load(Ordering::Acquire);
        if seen >> 32 == 0 { seen as u32 } else { self.resolve_reference(whole, corrupted) }
    }

    #[cold]
    #[inline(never)]
    fn resolve_reference(self, whole: &Whole, corrupted: u32) -> u32 {
        let mut spins = SPINS;
        loop {
            // Acquire: as in `resolve`; and pairs with the AcqRel that installed the reference: entry and status are at least as new.
            let seen = whole.load(Ordering::Acquire);
            // No reference: done.
            if seen >> 32 == 0 {
                return seen as u32;
            }
            match self.referent(seen) {
                // Undecided: give the owner time to commit.
                Referent::Undecided(..) if spins > 0 => {
                    spins -= 1;
                    std::hint::spin_loop();
                }
                // Still undecided: make it fail; the next round puts the former value back.
                Referent::Undecided(word, undecided) => {
                    // AcqRel: the decision, for all processes that resolve: nothing was taken before it. Failure: decided meanwhile.
                    let _ = word.compare_exchange(
                        undecided,
                        undecided - UNDECIDED + FAILED,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                }
                // The mutant: the reference is replaced without a comparison.
                Referent::Decided(value) if mutant!("wait.take_all.released_by_store") => {
                    whole.store(value.into(), Ordering::Release);
                }
                // Decided: replace the reference by the value.
                Referent::Decided(value) => {
                    // AcqRel: wait word: passes on what the committed MCAS obtained; pairs with the Acquire in `resolve`. Exact, because
                    // no other MCAS has the same reference. Failure: another helper was first.
                    let _ = whole.compare_exchange(seen, value.into(), Ordering::AcqRel, Ordering::Acquire);
                }
                // Over: the word has changed, or it is corrupted. The lease begins a ticket when no reference of the last one is left.
                Referent::Over => {
                    // AcqRel: as above.
                    let _ =
                        whole.compare_exchange(seen, corrupted.into(), Ordering::AcqRel, Ordering::Acquire);
                }
            }
        }
    }

    /// Looks up the descriptor of a reference: the entry first, the status afterwards.
    ///
    /// The owner stores the status of a ticket first, and entries afterwards:
    /// - either the entry loaded here is one of a later ticket: then the status loaded after it is at least as late, and the answer is
    ///   [`Referent::Over`];
    /// - or it is the entry of the reference: then the status decides.
    fn referent(self, seen: u64) -> Referent<'a> {
        let Some(reference) = McasRef::of(seen) else { return Referent::Over };
        let Some(descriptor) = self.descriptor(reference.lease) else { return Referent::Over };
        // Acquire: entry: pairs with the Release in `install`; keeps the load of the status behind it.
        let entry = descriptor[1 + usize::from(reference.entry)].load(Ordering::Acquire);
        // Acquire: status: obtains the decision; pairs with the Release in `begin` and the AcqRel of the commit.
        let found = descriptor[0].load(Ordering::Acquire);
        let (before, after) = (entry as u32, (entry >> 32) as u32);
        match found.wrapping_sub(status(reference.ticket, 0)) {
            UNDECIDED => Referent::Undecided(&descriptor[0], found),
            SUCCEEDED if mutant!("wait.take_all.succeeded_is_failed") => Referent::Decided(before),
            SUCCEEDED => Referent::Decided(after),
            FAILED => Referent::Decided(before),
            _ => Referent::Over,
        }
    }

    /// Begins an MCAS of lease `me`, one at a time; `None` if there is no such lease.
    #[must_use]
    pub fn begin(self, me: u8) -> Option<Mcas<'a>> {
        let descriptor = self.descriptor(me)?;
        // Relaxed: status: only the lease begins tickets; a former owner's was obtained when the lease was taken.
        let ticket = (descriptor[0].load(Ordering::Relaxed) >> 16).wrapping_add(1) & TICKET;
        // Release: status: published after the references of the last ticket are gone; pairs with the Acquire in `referent`.
        descriptor[0].store(status(ticket, UNDECIDED), Ordering::Release);
        Some(Mcas { descriptor, next: McasRef { lease: me, entry: 0, ticket } })
    }
}

/// One multi-word compare-and-swap. A drop without [`Mcas::release`] leaves the same state as a death.
#[derive(Debug)]
pub struct Mcas<'a> {
    descriptor: &'a [Whole],
    next: McasRef,
}

impl Mcas<'_> {
    /// Installs a reference in one more word, of at most [`MCAS_MAX`]. `take` computes the next value; `None` if the word is not
    /// available. Returns the value that the word has until the commit.
    ///
    /// # Errors
    ///
    /// The word, [`WAITERS`] included, if it is not available; it holds no reference then.
    ///
    /// # Crash
    ///
    /// Until [`Mcas::commit`] every process reads the former value.
    pub fn install<W: McasWord>(&mut self, word: &W, take: impl Fn(u32) -> Option<u32>) -> Result<u32, u32> {
        let reference = self.next.bits();
        let entry = &self.descriptor[1 + usize::from(self.next.entry)];
        loop {
            let seen = word.load();
            let value = seen & !WAITERS;
            // Not available: nothing is installed.
            let Some(after) = take(value) else { return Err(seen) };
            if seen & WAITERS != 0 {
                // Pending: publish it, because the process that stored it may be stopped.
                word.wake();
                continue;
            }
            if mutant!("wait.take_all.by_and_by") {
                // The mutant: each word is taken in its turn.
                if word.compare_exchange(value, after, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                    return Ok(value);
                }
                continue;
            }
            // Release: entry: pairs with the Acquire in `referent`; nobody loads it before the reference is installed.
            entry.store(u64::from(after) << 32 | u64::from(value), Ordering::Release);
            if mutant!("wait.take_all.installed_by_store") {
                word.whole().store(reference, Ordering::Release);
                self.next.entry += 1;
                return Ok(value);
            }
            // AcqRel: wait word: publishes status and entry to all who load the reference, obtains what the last owner or releaser did;
            // pairs with the Acquire in `resolve_reference`. Failure: the word changed, and is loaded again.
            let installed = word.whole().compare_exchange(
                seen.into(),
                reference,
                ordering!("wait.word.install", AcqRel, Relaxed),
                Ordering::Acquire,
            );
            if installed.is_ok() {
                self.next.entry += 1;
                return Ok(value);
            }
        }
    }

    /// Commits: takes all words that have references, if `all` words are installed and nobody made the MCAS fail; whether it did.
    #[must_use]
    pub fn commit(&self, all: bool) -> bool {
        let undecided = status(self.next.ticket, UNDECIDED);
        let decided = undecided - UNDECIDED + if all { SUCCEEDED } else { FAILED };
        // AcqRel: status: the decision. Release for all who resolve by it; Acquire for what a helper decided.
        let ours = self.descriptor[0]
            .compare_exchange(undecided, decided, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        ours && all
    }

    /// Release phase: replaces the reference of `entry` in `word`, after the commit. The lease does this for all words before it begins
    /// again; if it dies before that, its recovery does.
    pub fn release<W: McasWord>(&self, entry: usize, word: &W) {
        let reference = McasRef { entry: entry as u8, ..self.next }.bits();
        // Acquire: as in `resolve`. Another value: a helper was first.
        if word.whole().load(Ordering::Acquire) == reference {
            let _ = word.load();
        }
    }
}
