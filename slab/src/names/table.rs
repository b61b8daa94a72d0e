//! The table: find the handle of a name, insert a handle.

use tenure_core::mutant;

use super::layout::{Choices, NameHash, NamesLayout, SLOTS};
use super::word::{PendingSlot, Seen, Slot};
use crate::geometry::GeometryError;
use crate::sync::{Ordering, Word};
use crate::token::Token;

/// The table's access to handles: their lifetimes and names.
pub trait Handles {
    /// The result of opening a handle that has the name; for instance an error.
    type Found;

    /// Whether a handle is over: neither LIVE in the token's generation now, nor ever again.
    ///
    /// The table has loaded the handle with Acquire.
    fn is_over(&self, token: Token) -> bool;

    /// The hash of a handle's name; any value if the handle is over.
    fn hash(&self, token: Token) -> NameHash;

    /// Opens the handle if it is not over and has the name that the caller looks for. After `None` the table looks further.
    fn open(&mut self, token: Token) -> Option<Self::Found>;
}

/// Both buckets of a name are full of handles that are not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room among the names: both buckets of this one are full")]
pub struct Full;

/// The result of [`Names::insert`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inserted<F> {
    /// The caller's handle has the name.
    New,
    /// Another handle has the name.
    Found(F),
}

/// The table of names over borrowed words; copied freely, owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub(super) words: &'a [Word],
    pub(super) layout: NamesLayout,
    pub(super) space_tag: u8,
}

/// The two buckets of a name.
#[derive(Clone, Copy)]
struct Buckets<'a> {
    first: &'a [Word],
    second: &'a [Word],
}

impl<'a> Buckets<'a> {
    /// The pending slot of all handles of the name.
    fn pending_slot(self) -> PendingSlot<'a> {
        PendingSlot(&self.first[0])
    }

    /// A slot by its number: those of the first bucket, then those of the second.
    fn slot(self, at: u8) -> Option<Slot<'a>> {
        let at = usize::from(at);
        let bucket = if at < SLOTS { self.first } else { self.second };
        if at < 2 * SLOTS { Some(Slot(&bucket[1 + at % SLOTS])) } else { None }
    }

    fn slots(self) -> impl Iterator<Item = (u8, Seen)> + use<'a> {
        let words = self.first[1..].iter().chain(&self.second[1..]);
        words.enumerate().map(|(at, word)| (at as u8, Slot(word).load()))
    }
}

impl<'a> Names<'a> {
    /// A view of `words` as laid out by `layout`. Zeroed words are an empty table without a committed chunk.
    ///
    /// # Errors
    ///
    /// Fewer words than the layout has, or a space tag of 0.
    pub fn new(words: &'a [Word], layout: NamesLayout, space_tag: u8) -> Result<Self, GeometryError> {
        layout.check(words.len() as u64)?;
        if space_tag == 0 {
            return Err(GeometryError::SpaceTag);
        }
        Ok(Self { words, layout, space_tag })
    }

    /// The space tag of the tokens in the table.
    #[must_use]
    pub fn space_tag(&self) -> u8 {
        self.space_tag
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &NamesLayout {
        &self.layout
    }

    pub(super) fn is_committed(&self, chunk: u32) -> bool {
        // Acquire: chunk: obtains the commitment of the memory; pairs with the Release in `extend`.
        self.words[chunk as usize / 64].load(Ordering::Acquire) >> (chunk % 64) & 1 != 0
    }

    pub(super) fn bucket(&self, bucket: u32) -> &'a [Word] {
        let at = self.layout.bucket_at(bucket);
        &self.words[at..=at + SLOTS]
    }

    /// The chunks that must be committed before a handle with a name of this hash can be inserted: two at most, without duplicates.
    #[must_use]
    pub fn missing(&self, hash: NameHash) -> Vec<u32> {
        let Choices { first, second } = self.layout.choices(hash);
        let mut chunks = vec![NamesLayout::chunk_of(first), NamesLayout::chunk_of(second)];
        chunks.dedup();
        chunks.retain(|chunk| !self.is_committed(*chunk));
        chunks
    }

    /// Publishes that a chunk is committed; see [`NamesLayout::chunk_range`].
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// Memory that was committed but not published is committed again by the next caller.
    pub fn extend(&self, chunk: u32) {
        if chunk < self.layout.chunks() {
            // Release: chunk: publishes the commitment; pairs with the Acquire in `is_committed`.
            self.words[chunk as usize / 64].fetch_or(1 << (chunk % 64), Ordering::Release);
        }
    }

    /// The buckets of a name; `None` if one of them is not committed, so that no handle of the name is in the table.
    fn buckets(&self, hash: NameHash) -> Option<Buckets<'a>> {
        let Choices { first, second } = self.layout.choices(hash);
        let committed =
            [first, second].iter().all(|bucket| self.is_committed(NamesLayout::chunk_of(*bucket)));
        committed.then(|| Buckets { first: self.bucket(first), second: self.bucket(second) })
    }

    /// Finds the handle that has the name, and returns what [`Handles::open`] returns for it.
    ///
    /// `None` if at some moment between call and return no handle had the name. Writes nothing itself.
    ///
    /// # Progress
    ///
    /// Wait-free if `handles` is: one pass over two lines, and [`Handles::open`] only for handles whose mark is the same.
    ///
    /// # Crash
    ///
    /// Nothing is written.
    pub fn find<H: Handles>(&self, hash: NameHash, handles: &mut H) -> Option<H::Found> {
        let buckets = self.buckets(hash)?;
        // A helper stores the slot first, and DONE in the pending slot afterwards; here the loads are the other way round:
        // - either the pending slot still names the handle here;
        // - or it is DONE or names a later handle, and then the slot, loaded after it, names this one.
        if let Some(token) = buckets.pending_slot().load().token(self.space_tag)
            && let Some(found) = handles.open(token)
        {
            return Some(found);
        }
        self.find_listed(buckets, hash, handles)
    }

    fn find_listed<H: Handles>(
        &self,
        buckets: Buckets<'_>,
        hash: NameHash,
        handles: &mut H,
    ) -> Option<H::Found> {
        buckets
            .slots()
            .filter(|(_, seen)| seen.is_taken() && seen.detail() == hash.mark())
            .filter_map(|(_, seen)| seen.token(self.space_tag))
            .find_map(|token| handles.open(token))
    }

    /// Inserts a handle under its name, unless another handle has the name; then returns what [`Handles::open`] returns for that one.
    ///
    /// The handle is LIVE and the caller's own, and is inserted at most once. If another handle has the name, the caller closes its own.
    /// A handle is never removed: its slot is free when the handle is over.
    ///
    /// # Errors
    ///
    /// [`Full`]: both buckets are full, or a chunk of [`Names::missing`] is not committed. The handle is not inserted.
    ///
    /// # Progress
    ///
    /// Lock-free: it begins again only when another handle was inserted through the same pending slot, after it has helped that one to its
    /// slot.
    ///
    /// # Crash
    ///
    /// The CAS of the pending slot decides: before it the handle is not in the table, after it the handle is.
    pub fn insert<H: Handles>(
        &self,
        hash: NameHash,
        mine: Token,
        handles: &mut H,
    ) -> Result<Inserted<H::Found>, Full> {
        let buckets = self.buckets(hash).ok_or(Full)?;
        let mut looked = false;
        // Of two inserts of one name, the one whose CAS of the pending slot comes second has loaded it before or after the first CAS:
        // - either before: then its CAS fails, and it begins again;
        // - or after: then it finds the first handle here, or in its slot below.
        let mut seen = buckets.pending_slot().load();
        loop {
            // Another insert is not complete: it has the name, or is helped.
            if let Some(token) = seen.token(self.space_tag)
                && !handles.is_over(token)
            {
                if let Some(found) = handles.open(token) {
                    return Ok(Inserted::Found(found));
                }
                seen = self.help(buckets, seen, token, handles).ok_or(Full)?;
                continue;
            }
            // Each handle inserted before `seen` is in its slot, or over.
            if !(looked && mutant!("names.insert.no_second_look"))
                && let Some(found) = self.find_listed(buckets, hash, handles)
            {
                return Ok(Inserted::Found(found));
            }
            looked = true;
            let slot = self.free_slot(buckets, handles).ok_or(Full)?;
            let inserting = Seen::inserting(slot, mine);
            match buckets.pending_slot().compare_exchange(seen, inserting) {
                // Inserted: no handle was inserted through the pending slot since `seen`.
                Ok(()) => {
                    // If its slot is taken and no other is free, the handle stays in the pending slot, and is found there.
                    let _ = self.help(buckets, inserting, mine, handles);
                    return Ok(Inserted::New);
                }
                // Another insert or a helper was first: begin again.
                Err(other) => seen = other,
            }
        }
    }

    /// A free slot, in the bucket that has more of them.
    fn free_slot<H: Handles>(&self, buckets: Buckets<'_>, handles: &H) -> Option<u8> {
        let mut first = [None; 2];
        let mut free = [0; 2];
        for (at, seen) in buckets.slots() {
            if self.is_free(seen, handles) {
                let side = usize::from(at) / SLOTS;
                first[side] = first[side].or(Some(at));
                free[side] += 1;
            }
        }
        first[usize::from(free[1] > free[0])]
    }

    fn is_free<H: Handles>(&self, seen: Seen, handles: &H) -> bool {
        seen.token(self.space_tag).is_none_or(|token| handles.is_over(token))
            || mutant!("names.slot.free_though_held")
    }

    /// Helps an insert: moves the handle that the pending slot names, `token`, to a slot of its name. Returns the value of the pending slot
    /// then; `None` if the handle is not over and none of its slots is free.
    ///
    /// Two helpers at once, one of them killed: neither hands anything to the other. The pending slot names the handle until a slot does.
    /// A helper whose compare-exchange fails continues with the value found, and the next insert helps again.
    ///
    /// # Progress
    ///
    /// Lock-free.
    fn help<H: Handles>(
        &self,
        through: Buckets<'_>,
        mut seen: Seen,
        token: Token,
        handles: &H,
    ) -> Option<Seen> {
        let pending_slot = through.pending_slot();
        // The handle may have another name, and another second bucket. If it is over, the hash may be any.
        let hash = handles.hash(token);
        let buckets = self.buckets(hash).filter(|its| std::ptr::eq(its.first, through.first));
        loop {
            let done = seen.done();
            // The handle is over, or the word corrupted: free the pending slot.
            let Some(buckets) = buckets else {
                return Some(pending_slot.compare_exchange(seen, done).err().unwrap_or(done));
            };
            let slot = buckets.slot(seen.detail());
            let next = match slot.map(|slot| (slot, slot.load())) {
                // The handle is in its slot: DONE.
                Some((_, now)) if now.names(token) || mutant!("names.help.done_before_slot") => done,
                // Its slot is free: store it there, and look again. A helper that was stopped before this, for an hour, finds the slot taken,
                // or free again; then the handle is over, and so the slot stays free, or it is in two slots, which is harmless.
                Some((slot, now)) if self.is_free(now, handles) => {
                    let _ = slot.list(now, Seen::listed(hash.mark(), token));
                    continue;
                }
                // Its slot is taken by another handle: send it to a free one.
                _ => Seen::inserting(self.free_slot(buckets, handles)?, token),
            };
            match pending_slot.compare_exchange(seen, next) {
                // Done.
                Ok(()) if next == done => {
                    if let Some(slot) = slot.filter(|_| mutant!("names.help.done_before_slot")) {
                        slot.list(slot.load(), Seen::listed(hash.mark(), token));
                    }
                    return Some(next);
                }
                // Sent to another slot: go on with that one.
                Ok(()) => {
                    seen = next;
                }
                // Another helper sent it to another slot: go on with that one.
                Err(other) if other.names(token) => seen = other,
                // Another helper is done.
                Err(other) => return Some(other),
            }
        }
    }
}
