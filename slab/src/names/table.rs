//! The table: look a name up, enter a handle.

use tenure_core::fault;

use super::layout::{NameHash, NamesLayout, Place, SLOTS};
use super::word::{Intake, Seen, Slot};
use crate::geometry::GeometryError;
use crate::sync::{Ordering, Word};
use crate::token::Token;

/// What the table has to know of handles, and does not know itself.
pub trait Handles {
    /// What comes of a handle with the right name; an error, for instance.
    type Found;

    /// Whether a handle is over: neither LIVE in the token's generation now, nor ever again.
    ///
    /// The handle was seen in the table by an Acquire load.
    fn is_over(&self, token: Token) -> bool;

    /// The hash of the name of a handle; if it is over, anything.
    fn hash(&self, token: Token) -> NameHash;

    /// What the caller looks for, if the handle is not over and has the name that the caller has in mind. `None` goes on
    /// looking.
    fn open(&mut self, token: Token) -> Option<Self::Found>;
}

/// Both buckets of a name are full of handles that are not over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no room among the names: both buckets of this one are full")]
pub struct Full;

/// How [`Names::enter`] ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entered<F> {
    /// The caller's handle has the name.
    New,
    /// Another has it already.
    Found(F),
}

/// The directory of names over borrowed words; copied freely, owns nothing.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    pub(super) words: &'a [Word],
    pub(super) layout: NamesLayout,
    pub(super) space_tag: u8,
}

/// The slots of a name: those of its home, then those of the other bucket.
#[derive(Clone, Copy)]
struct Buckets<'a> {
    home: &'a [Word],
    other: &'a [Word],
}

impl<'a> Buckets<'a> {
    fn intake(self) -> Intake<'a> {
        Intake(&self.home[0])
    }

    fn slot(self, at: u8) -> Option<Slot<'a>> {
        let at = usize::from(at);
        let bucket = if at < SLOTS { self.home } else { self.other };
        if at < 2 * SLOTS { Some(Slot(&bucket[1 + at % SLOTS])) } else { None }
    }

    fn slots(self) -> impl Iterator<Item = (u8, Seen)> + use<'a> {
        let words = self.home[1..].iter().chain(&self.other[1..]);
        words.enumerate().map(|(at, word)| (at as u8, Slot(word).load()))
    }
}

impl<'a> Names<'a> {
    /// A view of `words` as laid out by `layout`. Zeroed words are an empty table of which nothing is committed.
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

    /// The tag of the tokens it deals with.
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

    /// The chunks that must be committed before a handle with a name of this hash can enter: at most two, once each.
    #[must_use]
    pub fn missing(&self, hash: NameHash) -> Vec<u32> {
        let Place { home, other } = self.layout.place(hash);
        let mut chunks = vec![NamesLayout::chunk_of(home), NamesLayout::chunk_of(other)];
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
    /// Memory that was committed but not published is committed again by the next one.
    pub fn extend(&self, chunk: u32) {
        if chunk < self.layout.chunks() {
            // Release: chunk: publishes the commitment; pairs with the Acquire in `is_committed`.
            self.words[chunk as usize / 64].fetch_or(1 << (chunk % 64), Ordering::Release);
        }
    }

    /// `None`: some of it is not committed, so no handle of this name is in the table.
    fn buckets(&self, hash: NameHash) -> Option<Buckets<'a>> {
        let Place { home, other } = self.layout.place(hash);
        let committed = [home, other].iter().all(|bucket| self.is_committed(NamesLayout::chunk_of(*bucket)));
        committed.then(|| Buckets { home: self.bucket(home), other: self.bucket(other) })
    }

    /// Looks a name up: whatever `handles` makes of the handle that has it.
    ///
    /// `None` is true at some moment between call and return. Nothing is written, but by `handles`.
    ///
    /// # Progress
    ///
    /// Wait-free, if `handles` is: one pass over two lines, and [`Handles::open`] only for handles whose name has the same
    /// six bits of hash.
    ///
    /// # Crash
    ///
    /// Nothing is written.
    pub fn find<H: Handles>(&self, hash: NameHash, handles: &mut H) -> Option<H::Found> {
        let buckets = self.buckets(hash)?;
        // The intake first, the slots after: handles go from the former to the latter.
        if let Some(token) = buckets.intake().load().token(self.space_tag)
            && !fault!("names.find.no_intake")
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

    /// Enters a handle under the name that it carries, unless another has the name: whatever `handles` makes of that one.
    ///
    /// The handle is LIVE and the caller's own. It enters at most once; if another has the name, the caller closes it. It
    /// leaves the table by being over, and is not taken out.
    ///
    /// # Errors
    ///
    /// [`Full`]: the handle did not enter. Also when a chunk of [`Names::missing`] is not committed.
    ///
    /// # Progress
    ///
    /// Lock-free: it starts again only when another handle has entered through the same intake, after putting that one into
    /// its slot, whoever it belongs to.
    ///
    /// # Crash
    ///
    /// The CAS of the intake decides: before it the handle is not in the table, from then on it is.
    pub fn enter<H: Handles>(
        &self,
        hash: NameHash,
        mine: Token,
        handles: &mut H,
    ) -> Result<Entered<H::Found>, Full> {
        let buckets = self.buckets(hash).ok_or(Full)?;
        let mut looked = false;
        let mut seen = buckets.intake().load();
        loop {
            if let Some(token) = seen.token(self.space_tag)
                && !handles.is_over(token)
            {
                if let Some(found) = handles.open(token) {
                    return Ok(Entered::Found(found));
                }
                seen = self.settle(buckets, seen, token, handles).ok_or(Full)?;
                continue;
            }
            // All that entered before what we saw are in their slots by now, or over.
            if !(looked && fault!("names.enter.no_second_look"))
                && let Some(found) = self.find_listed(buckets, hash, handles)
            {
                return Ok(Entered::Found(found));
            }
            looked = true;
            let slot = self.free_slot(buckets, handles).ok_or(Full)?;
            let entering = Seen::entering(slot, mine);
            match buckets.intake().change(seen, entering) {
                Ok(()) => {
                    // If its slot is taken and no other is free, it stays where it is, and is found there.
                    let _ = self.settle(buckets, entering, mine, handles);
                    return Ok(Entered::New);
                }
                Err(other) => seen = other,
            }
        }
    }

    /// A free slot, of the bucket that has more of them.
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
            || fault!("names.slot.free_though_held")
    }

    /// Puts the handle that is entering through an intake into a slot, on behalf of whomever, and says what the intake is
    /// then. `None`: it is not over, and no slot of its is free.
    ///
    /// Two helpers at once, one of them killed: nothing is handed over. The intake names the entering handle until a slot does, and
    /// each helper that loses an exchange goes on from the value that it finds; the next one that enters or looks up helps again.
    ///
    /// # Progress
    ///
    /// Lock-free.
    fn settle<H: Handles>(
        &self,
        through: Buckets<'_>,
        mut seen: Seen,
        token: Token,
        handles: &H,
    ) -> Option<Seen> {
        let intake = through.intake();
        // Another name, so its other bucket is another one. If the handle is over by now this may be any hash.
        let hash = handles.hash(token);
        let buckets = self.buckets(hash).filter(|its| std::ptr::eq(its.home, through.home));
        loop {
            let Some(buckets) = buckets else {
                // Over, or corrupted: it cannot be helped.
                return Some(intake.change(seen, seen.done()).map_or_else(|other| other, |()| seen.done()));
            };
            let done = seen.done();
            let slot = buckets.slot(seen.detail());
            let next = match slot.map(|slot| (slot, slot.load())) {
                Some((_, now)) if now.names(token) || fault!("names.settle.done_before_slot") => done,
                Some((slot, now)) if self.is_free(now, handles) => {
                    // Whoever was stopped before this for an hour may put it into a slot that is free again: then it is over,
                    // and the slot still free; or it is in two slots, which does no harm and ends with it.
                    let _ = slot.list(now, Seen::listed(hash.mark(), token));
                    continue;
                }
                _ => Seen::entering(self.free_slot(buckets, handles)?, token),
            };
            match intake.change(seen, next) {
                Ok(()) if next == done => {
                    if let Some(slot) = slot.filter(|_| fault!("names.settle.done_before_slot")) {
                        slot.list(slot.load(), Seen::listed(hash.mark(), token));
                    }
                    return Some(next);
                }
                Ok(()) => seen = next,
                // Somebody sent it to another slot.
                Err(other) if other.names(token) => seen = other,
                Err(other) => return Some(other),
            }
        }
    }
}
