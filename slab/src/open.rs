//! Open: from a token to a count, or one more count on a held handle.

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

/// The result of the first open in a process, of its part under the stripe's lock.
enum First {
    /// The bit is set, and the count is 1.
    Held,
    /// The bit was this process's before.
    Owned,
    /// The generation is over; the block is to be freed after the stripe is unlocked.
    Over {
        /// The handle word.
        seen: Snapshot,
        /// The block of the generation that this call ended.
        block: Option<BlockRef>,
    },
}

impl Slab<'_> {
    /// Opens a handle of any kind.
    ///
    /// The token must be passed by means that order memory: a pipe, a socket, a lock or a Release/Acquire pair. Otherwise
    /// a handle that was just created may look forged.
    ///
    /// If the first load of the word refutes the token, nothing is written. `free` receives the block of another generation
    /// if this call ends that generation; it runs without private locks.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; no count, no bit and no mark is left behind.
    ///
    /// # Progress
    ///
    /// If this process holds the handle already: lock-free, and no shared word is written once the handle is shared. First open in
    /// this process: lock-free between processes; within one it may wait for the first opens and last closes of handles of
    /// the same stripe. It repeats only if a closer of another process has changed the word.
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
    /// As [`Slab::open`], and [`OpenError::ForeignKind`]; then nothing was written.
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

    /// The fast path of [`Slab::open_kind`]: the process holds the handle already, the handle is shared, and its payload lies in the
    /// entry. Returns the payload's address and length. After `None` the caller takes [`Slab::open_kind`].
    ///
    /// # Progress
    ///
    /// Wait-free, except for sibling threads that count the same handle: one CAS of a private word.
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
        // Fact 2 of `open_held`.
        let seen = entry.word.load();
        if !(seen.is_live(generation) && seen.shared()) {
            self.open_counted(ref_counts, entry, index, generation).ok()?;
        }
        Some((Held::new(index, generation), entry.inline_ptr(), len))
    }

    /// The fast path of [`Slab::held`] for a handle of one kind whose payload lies in the entry. Returns the payload's address and
    /// length. After `None` the caller takes the slow path.
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

    /// The entry of a handle of `kind` that this process holds, and the length of the payload in it; `None` also if the payload lies
    /// in a block.
    #[cfg(not(loom))]
    #[inline]
    fn entry_held(&self, ref_counts: &RefCounts, token: Token, kind: u64) -> Option<(Entry<'_>, usize)> {
        let (index, generation) = (token.index(), token.generation());
        if !ref_counts.local(index).holds(generation) {
            return None;
        }
        let entry = self.entry(index)?;
        // The word first, the caller's count second: see fact 1 of `open_held`. Kind and length of a LIVE generation never change.
        let seen = entry.word.peek();
        let len = entry.len();
        let is_it = token.space_tag() == self.space_tag() && seen.is_live(generation) && entry.kind() == kind;
        (is_it && !len.is_block()).then(|| (entry, len.inline_bytes()))
    }

    /// One more count on a handle that the caller holds: no shared word is accessed.
    ///
    /// # Errors
    ///
    /// [`OpenError::Stale`] if the caller does not hold it, [`OpenError::CountFull`].
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Crash
    ///
    /// Private memory only.
    pub fn reopen(&self, _: &Acquire, ref_counts: &RefCounts, held: Held) -> Result<Held, OpenError> {
        // It need not set the shared flag: the caller's own count stays, so a private close cannot begin before one of the two is
        // closed; the other is then the only count of the process again.
        match ref_counts.increment(held.index(), held.generation(), COUNT_MAX) {
            Increment::Counted => Ok(held),
            Increment::Full => Err(OpenError::CountFull { index: held.index() }),
            Increment::NotHeld => Err(self.not_held(ref_counts, held).into()),
        }
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
                // The kind of a generation never changes: the kind loaded above is that of this generation if it is still LIVE.
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

    /// One more count, up to `most`, if the process holds the handle already; else `None`.
    ///
    /// No lock is taken, so another thread may be closing. Three facts make it sound.
    ///
    /// 1. The word was LIVE g before the count is loaded. `create` stores the count before it publishes LIVE, so the count
    ///    loaded here is {g, n >= 1} or a later one.
    /// 2. An increment from n >= 1 excludes the last close on the slow path, which goes from exactly 1 to 0 by CAS. It
    ///    does not exclude a private close that loaded 1 before: that close does a CAS of the word from LIVE g, not
    ///    shared. This thread loads the word after the increment. If the word is shared, the CAS of the close fails, and the closing
    ///    thread finds our count. If it is not, our CAS sets `shared`, and one of the two CASes fails; if ours fails, the word has
    ///    left g for ever.
    /// 3. In that case our count is left over. The private closer overwrites it with {g+1, owned, 0}, without a look at the former
    ///    value. The decrement here is for corrupted words.
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

    /// The second part of [`Self::open_held`]: loads the word after the increment, and decides.
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
            // The process's bit is set and counts, so a tag would not matter. But a private close needs tag 0.
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

    /// The fast path of [`Slab::open_kind`] for a process that does not hold the handle yet, and a payload in the entry. Returns the
    /// payload's address and length. After `None` the caller takes [`Slab::open_kind`].
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

    /// The body of [`Self::open_unheld`], not inlined, with a result that fits into registers.
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
        // Kind and length of a LIVE generation never change.
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

    /// Opens a handle that the process does not hold: sets its bit.
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
            // Either a sibling thread has opened it meanwhile; or a sibling holds another generation, or has the entry in a cache:
            // then this generation is over. The stripe is still locked, so a sibling cannot close the handle in between.
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

    /// Sets the process's bit, if it is not set, and stores a count of 1 if the handle still has this generation.
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
            // The process has set the bit already: this call must neither set nor clear it.
            return First::Owned;
        }
        // Not owned, and no thread of this process can own it while the stripe is locked.
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

    /// Clears this process's bit again, and runs `free_if_unheld` `[slab-cleared-then-decided]`: the bit may have kept a closer from ending the handle that the
    /// entry has now.
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

    /// Sets the group's bit in the member's map before any holder bit of the group `[slab-group-before-bit]`.
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
