//! From a token to a count: open, and one more count of what is held.

#[cfg(not(loom))]
use std::ptr::NonNull;

use tenure_core::{Acquire, fault};

use crate::close::Decision;
use crate::entry::{BlockRef, Entry};
use crate::error::{OpenError, Stale};
use crate::local::{COUNT_MAX, Increment, Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::{MutexGuard, Ordering};
use crate::token::Token;
use crate::word::{Share, Snapshot};

/// What became of the first open in a process, as far as the handle's stripe is locked for it.
enum First {
    /// The bit is set, and one is counted.
    Held,
    /// The bit was this process's before.
    Owned,
    /// Another generation is there; the block is to be freed once the stripe is unlocked.
    Over {
        /// The word that says so.
        seen: Snapshot,
        /// What a handle that ended meanwhile has left.
        block: Option<BlockRef>,
    },
}

impl Slab<'_> {
    /// Opens a handle, whatever its kind.
    ///
    /// The token is passed by something that orders memory, as every pipe, socket, lock and Release/Acquire pair does;
    /// otherwise a handle just created may look forged.
    ///
    /// A token that the word refutes at first sight disturbs nobody: nothing is written. `free` receives the block of
    /// another generation if this call happens to be the one that ends it; it runs without private locks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; no count, no bit and no mark is left behind.
    ///
    /// # Progress
    ///
    /// Held by this process already: lock-free, and no shared word is written once the handle is shared. First open in this
    /// process: lock-free between processes; within one it may wait for the first opens and last closes of handles of
    /// the same stripe. It repeats only when a closer of another process came between.
    ///
    /// # Crash
    ///
    /// At any point: a bit of a dead lease, which recovery clears.
    pub fn open(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        self.open_checked(acquire, ref_counts, token, None, free)
    }

    /// Opens a handle of one kind.
    ///
    /// # Errors
    ///
    /// As [`Slab::open`], and [`OpenError::ForeignKind`]; then nothing was written at all.
    pub fn open_kind(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        self.open_checked(acquire, ref_counts, token, Some(kind), free)
    }

    /// [`Slab::open_kind`], where it is a matter of counting: the process holds the handle already, others were told of
    /// it, and its payload lies in the entry, which is returned as address and length. `None` decides nothing.
    ///
    /// # Progress
    ///
    /// Wait-free but for sibling threads counting the same handle: one CAS of a private word.
    ///
    /// # Crash
    ///
    /// Private memory only.
    #[cfg(not(loom))]
    #[inline]
    pub fn open_again(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
    ) -> Option<(Held, *const u8, usize)> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (index, generation) = (token.index(), token.generation());
        let (entry, len) = self.entry_held(ref_counts, token, kind)?;
        let Increment::Counted = ref_counts.increment(index, generation, COUNT_MAX) else { return None };
        // Fact 2.
        let seen = entry.word.load();
        if !(seen.is_live(generation) && seen.shared()) {
            self.open_counted(ref_counts, entry, index, generation).ok()?;
        }
        Some((Held::new(index, generation), entry.inline_ptr(), len))
    }

    /// [`Slab::held`] of one kind, where the payload lies in the entry, which is returned as address and length. `None` decides
    /// nothing.
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// Nothing is written.
    #[cfg(not(loom))]
    #[inline]
    #[must_use]
    pub fn held_inline(
        &self,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
    ) -> Option<(Held, *const u8, usize)> {
        let (entry, len) = self.entry_held(ref_counts, token, kind)?;
        Some((Held::new(token.index(), token.generation()), entry.inline_ptr(), len))
    }

    /// The entry of a handle of `kind` that this process holds, and the length of the payload in it; `None` also where that lies
    /// elsewhere.
    #[cfg(not(loom))]
    #[inline]
    fn entry_held(&self, ref_counts: &RefCounts, token: Token, kind: u64) -> Option<(Entry<'_>, usize)> {
        let (index, generation) = (token.index(), token.generation());
        if !ref_counts.local(index).holds(generation) {
            return None;
        }
        let entry = self.entry(index)?;
        // The word first, the count that matters second: see fact 1 of `open_held`. What holds of a LIVE generation stays so.
        let seen = entry.word.peek();
        let len = entry.len();
        let is_it = token.space_tag() == self.space_tag() && seen.is_live(generation) && entry.kind() == kind;
        (is_it && !len.is_block()).then(|| (entry, len.inline_bytes()))
    }

    /// One more count of what the caller holds: no shared word is touched.
    ///
    /// # Errors
    ///
    /// [`OpenError::Stale`] when the caller does not hold it, [`OpenError::CountFull`].
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Crash
    ///
    /// Private memory only.
    pub fn reopen(&self, _: &Acquire, ref_counts: &RefCounts, held: Held) -> Result<Held, OpenError> {
        // It does not set the shared flag, and need not: the caller's own count stays, so a private close cannot begin
        // before both are given back, and the last one to be is a process's only count again.
        match ref_counts.increment(held.index(), held.generation(), COUNT_MAX) {
            Increment::Counted => Ok(held),
            Increment::Full => Err(OpenError::CountFull { index: held.index() }),
            Increment::NotHeld => Err(self.not_held(ref_counts, held).into()),
        }
    }

    /// The count that a token stands for in this process, for callers that keep tokens in place of counts.
    ///
    /// Nothing is counted: the result is a copy of what was counted before, as any copy of a [`Held`].
    ///
    /// # Errors
    ///
    /// [`OpenError::ForeignSpace`]; [`OpenError::Stale`] when this process does not hold it.
    ///
    /// # Progress
    ///
    /// Wait-free: one load of a private word.
    #[inline]
    pub fn held(&self, ref_counts: &RefCounts, token: Token) -> Result<Held, OpenError> {
        let held = Held::new(token.index(), token.generation());
        if token.space_tag() != self.space_tag() {
            return Err(OpenError::ForeignSpace { expected: self.space_tag(), found: token.space_tag() });
        }
        if !ref_counts.local(held.index()).holds(held.generation()) {
            return Err(self.not_held(ref_counts, held).into());
        }
        Ok(held)
    }

    fn open_checked(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        kind: Option<u64>,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (index, generation) = (token.index(), token.generation());
        if token.space_tag() != self.space_tag() {
            return Err(OpenError::ForeignSpace { expected: self.space_tag(), found: token.space_tag() });
        }
        let forged = OpenError::Forged { index, generation };
        if index >= self.committed_handles() {
            return Err(forged);
        }
        let entry = self.entry(index).ok_or(forged)?;
        let seen = entry.word.peek();
        if !seen.is_live(generation) {
            return Err(self.refuted(index, generation, seen));
        }
        if let Some(expected) = kind {
            let found = entry.kind();
            if found != expected {
                // The kind of a generation never changes: what was read belongs to it if it is still LIVE.
                let seen = entry.word.peek();
                return Err(if seen.is_live(generation) {
                    OpenError::ForeignKind { expected, found }
                } else {
                    self.refuted(index, generation, seen)
                });
            }
        }
        if let Some(result) = self.open_held(ref_counts, entry, index, generation, COUNT_MAX) {
            return result;
        }
        self.open_first(ref_counts, entry, index, generation, free)
    }

    /// The process may hold it already: one more count, up to `most`. `None`: it does not.
    ///
    /// No lock is taken, so another thread may be closing. Three facts make it sound.
    ///
    /// 1. The word was LIVE g before the count is looked at. `create` stores the count before it publishes LIVE, so
    ///    what we see is {g, n >= 1} or later; never a count that is still to come.
    /// 2. A count taken from n >= 1 excludes the last close the long way, which goes from exactly 1 to 0 by CAS. It
    ///    does not exclude a private close that read 1 before: that one goes on to CAS the word from LIVE g, not
    ///    shared. We look at the word after counting: if it is shared, that CAS fails, and its thread finds our count;
    ///    if it is not, our CAS sets `shared`, and one of the two CASes fails. If ours does, the word has left g for good.
    /// 3. A count that is left over in that case is overwritten by the private closer with {g+1, owned, 0}, which
    ///    it stores whatever it finds. Taking it back, here, is for corrupted words.
    pub(crate) fn open_held(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
        most: u64,
    ) -> Option<Result<Held, OpenError>> {
        match ref_counts.increment(index, generation, most) {
            Increment::NotHeld => None,
            Increment::Full => Some(Err(OpenError::CountFull { index })),
            Increment::Counted => Some(self.open_counted(ref_counts, entry, index, generation)),
        }
    }

    /// The look at the word after counting, and what follows from it.
    #[inline(never)]
    fn open_counted(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
    ) -> Result<Held, OpenError> {
        let mut seen = entry.word.load();
        while seen.is_live(generation) {
            // The process's bit is set and legitimate, so a tag would not matter; but a private close needs tag 0.
            if seen.shared() {
                return Ok(Held::new(index, generation));
            }
            match entry.word.share(seen) {
                Share::Shared => return Ok(Held::new(index, generation)),
                Share::Lost(now) => seen = now,
            }
        }
        let _ = ref_counts.give(index, generation);
        Err(self.refuted(index, generation, seen))
    }

    /// [`Slab::open_kind`], where the process does not hold the handle yet, and its payload lies in the entry, whose address
    /// and length are returned. `None` decides nothing.
    ///
    /// # Progress
    ///
    /// As [`Slab::open`].
    ///
    /// # Crash
    ///
    /// As [`Slab::open`].
    #[cfg(not(loom))]
    #[inline]
    pub fn open_unheld(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
        free: impl FnMut(BlockRef),
    ) -> Option<(Held, *const u8, usize)> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (data, len) = self.open_unheld_at(ref_counts, token, kind, free)?;
        Some((Held::new(token.index(), token.generation()), data.as_ptr().cast_const(), len))
    }

    /// Apart from [`Self::open_unheld`], with a result that fits into registers.
    #[cfg(not(loom))]
    #[inline(never)]
    fn open_unheld_at(
        &self,
        ref_counts: &RefCounts,
        token: Token,
        kind: u64,
        mut free: impl FnMut(BlockRef),
    ) -> Option<(NonNull<u8>, usize)> {
        let (index, generation) = (token.index(), token.generation());
        if token.space_tag() != self.space_tag() || index >= self.committed_handles() {
            return None;
        }
        let entry = self.entry(index)?;
        // What holds of a LIVE generation stays so.
        let (seen, len) = (entry.word.peek(), entry.len());
        if !seen.is_live(generation) || entry.kind() != kind || len.is_block() {
            return None;
        }
        let guard = ref_counts.lock(index);
        match self.take_first(ref_counts, &guard, entry, index, generation) {
            First::Held => NonNull::new(entry.inline_ptr().cast_mut()).map(|data| (data, len.inline_bytes())),
            First::Owned => None,
            First::Over { block, .. } => {
                drop(guard);
                block.into_iter().for_each(&mut free);
                None
            }
        }
    }

    /// The process does not hold it: set its bit.
    #[cold]
    pub(crate) fn open_first(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Held, OpenError> {
        let guard = ref_counts.lock(index);
        match self.take_first(ref_counts, &guard, entry, index, generation) {
            First::Held => Ok(Held::new(index, generation)),
            // Either a sibling thread opened it meanwhile, or it holds another generation, or has it in a cache: then ours is
            // over. The stripe is still locked, so it cannot be closed in between.
            First::Owned => self
                .open_held(ref_counts, entry, index, generation, COUNT_MAX)
                .unwrap_or_else(|| Err(self.refuted(index, generation, entry.word.peek()))),
            First::Over { seen, block } => {
                drop(guard);
                block.into_iter().for_each(&mut free);
                Err(self.refuted(index, generation, seen))
            }
        }
    }

    /// Sets the process's bit, if it is not set, and counts one if the handle is still that generation.
    #[inline(always)]
    fn take_first(
        &self,
        ref_counts: &RefCounts,
        guard: &MutexGuard<'_, ()>,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
    ) -> First {
        let me = ref_counts.lease_index();
        let seen = entry.word.peek();
        if !seen.is_live(generation) {
            return First::Over { seen, block: None };
        }
        // The word first, the count second: see fact 1 of `open_held`.
        if ref_counts.local(index).owned() {
            // The bit is ours already, so it must not be set, nor ever cleared here.
            return First::Owned;
        }
        // Not owned, and nobody in this process can come to own it while we have the stripe.
        self.mark_group(ref_counts, index);
        entry.bits().set(me);
        let mut seen = entry.word.load();
        while seen.is_live(generation) {
            let held = if seen.tag() == 0 && seen.shared() { Share::Shared } else { entry.word.share(seen) };
            match held {
                Share::Shared => {
                    ref_counts.set_local(index, Local::new(generation, true, 1));
                    return First::Held;
                }
                Share::Lost(now) => seen = now,
            }
        }
        self.undo_first(ref_counts, guard, entry, index, seen)
    }

    /// Our bit may have kept a closer from freeing whatever is there now: take it away and decide ourselves `[I5]`.
    #[cold]
    #[inline(never)]
    fn undo_first(
        &self,
        ref_counts: &RefCounts,
        guard: &MutexGuard<'_, ()>,
        entry: Entry<'_>,
        index: u32,
        seen: Snapshot,
    ) -> First {
        entry.bits().clear(ref_counts.lease_index());
        if fault!("slab.open.no_finish") {
            return First::Over { seen, block: None };
        }
        let Decision { block, .. } = self.free_if_unheld(ref_counts, guard, index, entry);
        First::Over { seen, block }
    }

    /// Sets the group's bit in the member's map before any holder bit of the group `[I8]`.
    #[inline]
    pub(crate) fn mark_group(&self, ref_counts: &RefCounts, index: u32) {
        let group = index / 64;
        if !ref_counts.knows_group(group) {
            // SeqCst: group map: ordered before the holder bit that follows; pairs with the load in `recover`.
            self.map_word(ref_counts.lease_index(), group).fetch_or(1 << (group % 64), Ordering::SeqCst);
            ref_counts.learn_group(group);
        }
    }

    pub(crate) fn refuted(&self, index: u32, generation: u64, seen: Snapshot) -> OpenError {
        OpenError::refuted(index, generation, seen, self.layout().generation_bits())
    }

    pub(crate) fn not_held(&self, ref_counts: &RefCounts, held: Held) -> Stale {
        let found = ref_counts.local(held.index()).generation();
        Stale { index: held.index(), expected: held.generation(), found }
    }
}
