//! Open: from a token to a count, or one more count on a held handle.

use std::num::NonZeroU64;

use tenure_core::{Acquire, mutant};

use crate::entry::{BlockRef, Entry};
use crate::error::{OpenError, Stale};
use crate::local::{Busy, COUNT_MAX, COUNT_MAX_RECOVERING, Local, LocalWord, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::Ordering;
use crate::token::Token;
use crate::word::{Share, Snapshot};

/// What a token must be opened as.
#[derive(Clone, Copy)]
pub(crate) enum Want {
    /// Any kind.
    Any,
    /// One kind.
    Kind(u64),
    /// Any kind, by a recovery: it must succeed also where the program has opened the handle as often as it can.
    Recovery,
}

impl Want {
    const fn most(self) -> u64 {
        match self {
            Self::Any | Self::Kind(_) => COUNT_MAX,
            Self::Recovery => COUNT_MAX_RECOVERING,
        }
    }
}

/// Why a handle is not opened; [`Slab::explain`] finds the numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    ForeignSpace = 0,
    /// No such entry is committed.
    Unknown = 1,
    /// The word is not LIVE in the generation.
    Over = 2,
    ForeignKind = 3,
    CountFull = 4,
}

/// A `Held` or a refusal in two registers, which a `Result` would not be: the two numbers of the `Held`, or 0 and the refusal.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    word: Option<NonZeroU64>,
    rest: u64,
}

impl Opened {
    #[inline(always)]
    fn held(held: Held) -> Self {
        let (word, rest) = held.parts();
        Self { word: Some(word), rest }
    }

    const fn refused(refused: Refused) -> Self {
        Self { word: None, rest: refused as u64 }
    }

    #[inline(always)]
    pub(crate) fn get(self) -> Result<Held, Refused> {
        match self.word {
            Some(word) => Ok(Held::from_parts(word, self.rest)),
            None => Err(match self.rest {
                0 => Refused::ForeignSpace,
                1 => Refused::Unknown,
                2 => Refused::Over,
                3 => Refused::ForeignKind,
                _ => Refused::CountFull,
            }),
        }
    }
}

impl Slab<'_> {
    /// Opens a handle of any kind.
    ///
    /// The token must be passed by means that order memory: a pipe, a socket, a lock or a Release/Acquire pair. Otherwise
    /// a handle that was just created may look forged.
    ///
    /// If the first load of the word refutes the token, nothing is written. `free` receives the block of another generation
    /// if this call ends that generation; it runs while no sibling waits.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; no count, no bit and no mark is left behind.
    ///
    /// # Progress
    ///
    /// If this process has opened the handle already: lock-free, and no shared word is written. First open in this process:
    /// lock-free between processes; within one it may wait for a first open or a last close of the same handle. It repeats only if a
    /// closer of another process has changed the word.
    ///
    /// # Crash
    ///
    /// At any point: a bit of a dead lease, which recovery clears.
    #[inline(always)]
    pub fn open(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        self.open_as(acquire, ref_counts, token, Want::Any, free)
    }

    /// Opens a handle of one kind.
    ///
    /// # Errors
    ///
    /// As [`Slab::open`], and [`OpenError::ForeignKind`]; then nothing was written.
    #[inline(always)]
    pub fn open_kind(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        self.open_as(acquire, ref_counts, token, Want::Kind(kind), free)
    }

    /// One more count on a handle that the caller holds.
    ///
    /// # Errors
    ///
    /// [`OpenError::Stale`] if the caller does not hold it, [`OpenError::CountFull`].
    ///
    /// # Progress
    ///
    /// As [`Slab::open`].
    ///
    /// # Crash
    ///
    /// As [`Slab::open`].
    pub fn reopen(&self, acquire: &Acquire, ref_counts: &RefCounts, held: Held) -> Result<Held, OpenError> {
        // The caller holds the handle, so no generation ends here and no block is freed.
        self.open_as(acquire, ref_counts, held.token(self), Want::Any, |_| {})
    }

    #[inline(always)]
    fn open_as(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        want: Want,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (index, generation) = (token.index(), token.generation());
        // A count that is written down: the process holds the handle, and it is shared. Kind and length of a generation never change,
        // and if the count is still the same after they were loaded, they are of this generation.
        if token.space_tag() == self.space_tag()
            && let Some(entry) = self.entry(index)
            && let Some(word) = ref_counts.word(index)
        {
            let local = word.load();
            if local.can_increment(generation, COUNT_MAX) && entry.is_kind(want) {
                let held = Held::new(Snapshot::live(generation, true), index, entry.len());
                if word.increment(local) {
                    return Ok(held);
                }
            }
        }
        match self.open_slow(ref_counts, token, want, free).get() {
            Ok(held) => Ok(held),
            Err(refused) => Err(self.explain(token, want, refused)),
        }
    }

    /// The rest of [`Self::open`].
    #[cold]
    #[inline(never)]
    pub(crate) fn open_slow(
        &self,
        ref_counts: &RefCounts,
        token: Token,
        want: Want,
        free: impl FnMut(BlockRef),
    ) -> Opened {
        if token.space_tag() != self.space_tag() {
            return Opened::refused(Refused::ForeignSpace);
        }
        let (index, generation) = (token.index(), token.generation());
        let (Some(entry), Some(word)) = (self.committed_entry(index), ref_counts.word(index)) else {
            return Opened::refused(Refused::Unknown);
        };
        loop {
            if !entry.word().peek().is_live(generation) {
                return Opened::refused(Refused::Over);
            }
            if !entry.is_kind(want) {
                // The kind of a generation never changes: the kind loaded above is that of this generation if it is still LIVE.
                let live = entry.word().peek().is_live(generation);
                return Opened::refused(if live { Refused::ForeignKind } else { Refused::Over });
            }
            // The word first, the count second: a count of another generation is of a later one, and this one is over.
            let local = word.settled();
            if local == Local::NONE {
                if let Some(busy) = word.exchange(local) {
                    return self.open_first(ref_counts, busy, entry, index, generation, free);
                }
            } else if let Some(opened) = Self::open_again(entry, word, local, want, index, generation) {
                return opened;
            }
        }
    }

    /// One count more than `local`; `None` if a sibling has changed it.
    #[cold]
    #[inline(never)]
    fn open_again(
        entry: Entry<'_>,
        word: LocalWord<'_>,
        local: Local,
        want: Want,
        index: u32,
        generation: u64,
    ) -> Option<Opened> {
        if local.count(generation) == 0 {
            return Some(Opened::refused(Refused::Over));
        }
        if !local.can_increment(generation, want.most()) {
            return Some(Opened::refused(Refused::CountFull));
        }
        let held = Held::new(Snapshot::live(generation, true), index, entry.len());
        word.increment(local).then(|| Opened::held(held))
    }

    /// Opens a handle on which this process has no count that is written down; its siblings wait meanwhile.
    ///
    /// If the process's bit is set already, and the word is LIVE with this generation afterwards, then this process has created the
    /// handle:
    ///
    /// 1. Only a thread that is busy changes the bit, so it was set before, and by a claim (`renew_if_unheld` is one): an opener would have
    ///    written a count down.
    /// 2. Since that claim the bit was set, so no other process could end a generation of the entry or claim it. Its words since then,
    ///    this LIVE one too, are of this process.
    /// 3. So there is one count of the creator, unless it closes before the shared flag is set. A private close is a CAS from LIVE, not
    ///    shared; the flag is set by a CAS from the same value, so one of them fails. A close that is not private waits for this call.
    #[inline(always)]
    fn open_first(
        &self,
        ref_counts: &RefCounts,
        mut busy: Busy<'_>,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
        free: impl FnMut(BlockRef),
    ) -> Opened {
        self.mark_group(ref_counts, index);
        let created = entry.bits().set(ref_counts.lease_index());
        let mut seen = entry.word().load();
        while seen.is_live(generation) {
            let shared = if seen == Snapshot::live(generation, true) {
                Share::Shared
            } else {
                entry.word().share(seen)
            };
            match shared {
                Share::Shared => {
                    busy.set(Local::new(generation, 1 + u64::from(created)));
                    return Opened::held(Held::new(Snapshot::live(generation, true), index, entry.len()));
                }
                Share::Lost(now) => seen = now,
            }
        }
        if !created {
            self.undo_first(ref_counts, busy, index, free);
        }
        Opened::refused(Refused::Over)
    }

    /// Clears this process's bit again, and decides `[slab-cleared-then-decided]`: the bit may have kept a closer from ending the handle that the
    /// entry has now.
    #[cold]
    #[inline(never)]
    fn undo_first(&self, ref_counts: &RefCounts, busy: Busy<'_>, index: u32, free: impl FnMut(BlockRef)) {
        let Some(entry) = self.entry(index) else { return };
        let others = entry.bits().clear(ref_counts.lease_index());
        if others || mutant!("slab.open.no_finish") {
            return;
        }
        let block = self.free_if_unheld(ref_counts, entry, index).block;
        drop(busy);
        block.into_iter().for_each(free);
    }

    /// The count of this process on a token's handle, for callers that keep tokens instead of counts.
    ///
    /// Nothing is counted: the result is a copy of an existing count, like any copy of a [`Held`].
    ///
    /// # Errors
    ///
    /// [`OpenError::ForeignSpace`]; [`OpenError::Stale`] if this process does not hold it.
    ///
    /// # Progress
    ///
    /// Wait-free for a handle that was opened in this process; else it may wait as [`Slab::open`].
    #[inline(always)]
    pub fn held(&self, ref_counts: &RefCounts, token: Token) -> Result<Held, OpenError> {
        let (index, generation) = (token.index(), token.generation());
        if token.space_tag() == self.space_tag()
            && let Some(entry) = self.entry(index)
            && let Some(word) = ref_counts.word(index)
        {
            let local = word.load();
            if local.count(generation) != 0 {
                return Ok(Held::new(Snapshot::live(generation, true), index, entry.len()));
            }
            // A count that is not written down: see `Local`. NONE before and after the look at the bit: a sibling that set the bit meanwhile,
            // to open or to claim, left BUSY or a count, or it failed, and then the word below is not LIVE with this generation.
            if local == Local::NONE
                && index / 64 < self.committed_groups()
                && entry.bits().has(ref_counts.lease_index())
                && word.load() == Local::NONE
            {
                let seen = entry.word().peek();
                let live = Snapshot::live(generation, seen.shared());
                if seen.is_same(live) {
                    return Ok(Held::new(live, index, entry.len()));
                }
            }
        }
        match self.held_slow(ref_counts, token) {
            Some(held) => Ok(held),
            None => Err(self.not_held(token)),
        }
    }

    /// The rest of [`Self::held`]: a sibling is busy with the handle, or this process does not hold it.
    #[cold]
    #[inline(never)]
    fn held_slow(&self, ref_counts: &RefCounts, token: Token) -> Option<Held> {
        let (index, generation) = (token.index(), token.generation());
        let entry = self.committed_entry(index).filter(|_| token.space_tag() == self.space_tag())?;
        let busy = ref_counts.busy(index)?;
        let is_counted = match busy.then() {
            Local::NONE => entry.bits().has(ref_counts.lease_index()),
            local => local.count(generation) != 0,
        };
        if !is_counted {
            return None;
        }
        // See `open_first` for what a set bit means.
        let seen = entry.word().peek();
        let live = Snapshot::live(generation, seen.shared());
        seen.is_same(live).then(|| Held::new(live, index, entry.len()))
    }

    #[cold]
    #[inline(never)]
    fn not_held(&self, token: Token) -> OpenError {
        if token.space_tag() != self.space_tag() {
            return self.explain(token, Want::Any, Refused::ForeignSpace);
        }
        let (index, expected) = (token.index(), token.generation());
        let found = self.committed_entry(index).map_or(0, |entry| entry.word().peek().generation());
        Stale { index, expected, found }.into()
    }

    /// The error of a call that was refused.
    #[cold]
    #[inline(never)]
    pub(crate) fn explain(&self, token: Token, want: Want, refused: Refused) -> OpenError {
        let (index, generation) = (token.index(), token.generation());
        match (refused, want, self.entry(index)) {
            (Refused::ForeignSpace, ..) => {
                OpenError::ForeignSpace { expected: self.space_tag(), found: token.space_tag() }
            }
            (Refused::CountFull, ..) => OpenError::CountFull { index },
            (Refused::Unknown, ..) | (.., None) => OpenError::Forged { index, generation },
            (refused, want, Some(entry)) => {
                let (found, seen) = (entry.kind(), entry.word().peek());
                match want {
                    Want::Kind(expected) if refused == Refused::ForeignKind && seen.is_live(generation) => {
                        OpenError::ForeignKind { expected, found }
                    }
                    _ => OpenError::refuted(index, generation, seen, self.layout().generation_bits()),
                }
            }
        }
    }

    /// Sets the group's bit in the member's map before any holder bit of the group `[slab-group-before-bit]`.
    #[inline(always)]
    pub(crate) fn mark_group(&self, ref_counts: &RefCounts, index: u32) {
        let group = index / 64;
        if !ref_counts.knows_group(group) {
            self.mark_new_group(ref_counts, group);
        }
    }

    #[cold]
    #[inline(never)]
    fn mark_new_group(&self, ref_counts: &RefCounts, group: u32) {
        // SeqCst: group map: ordered before the holder bit that follows; pairs with the load in `recover`.
        self.map_word(ref_counts.lease_index(), group).fetch_or(1 << (group % 64), Ordering::SeqCst);
        ref_counts.learn_group(group);
    }
}
