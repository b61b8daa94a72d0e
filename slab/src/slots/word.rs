//! The words of slots: the home word of a handle, and the slot word. Only this file packs and accesses them.

use tenure_core::ordering;

use crate::geometry::HANDLES_MAX;
use crate::sync::{Ordering, Word};
use crate::word::GENERATION_BITS;

/// The most members of a slab with slots: a slot word names the lease that has claimed the slot in 8 bits, with two values for other uses.
pub const SLOT_MEMBERS_MAX: u16 = 254;

const SLOT_BITS: u32 = 32;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;
const TURN_BITS: u32 = 23;
const TURN_MAX: u64 = (1 << TURN_BITS) - 1;
const BY_SHIFT: u32 = SLOT_BITS + TURN_BITS;

const _: () = assert!(BY_SHIFT + 9 == 64);

/// One value of a home word: `{by:9 | turn:23 | slot:32}`.
///
/// | field | meaning |
/// |---|---|
/// | by | 0, or the lease plus 1 of the member that is putting the handle into `slot` |
/// | turn | how often the handle was put, plus the puts that failed |
/// | slot | 0, or the number plus 1 of the slot that the handle was put into last; whether it is there, the slot says |
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Home(u64);

impl Home {
    pub(crate) const fn slot(self) -> Option<u32> {
        (self.0 as u32).checked_sub(1)
    }

    pub(crate) const fn by(self) -> Option<u16> {
        ((self.0 >> BY_SHIFT) as u16).checked_sub(1)
    }

    /// How often the handle was put. It tells two puts into one slot apart.
    pub(crate) const fn turn(self) -> u64 {
        self.0 >> SLOT_BITS & TURN_MAX
    }

    /// The value while `me` puts the handle into `slot`; `None` after the last turn.
    pub(crate) const fn begun(self, me: u8, slot: u32) -> Option<Self> {
        if self.turn() == TURN_MAX {
            return None;
        }
        Some(Self(
            (me as u64 + 1) << BY_SHIFT | (self.turn() + 1) << SLOT_BITS | (slot as u64 + 1) & SLOT_MASK,
        ))
    }

    const fn settled(self) -> Self {
        Self(self.0 & ((1 << BY_SHIFT) - 1))
    }
}

/// A home word in place. "its bit" is the bit of the process that changes it, in the holder set of the handle.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | any -> 0 (store) | the claimer, word INIT, its bit set | INIT with a dead bit |
/// | {0, q, r} -> {me, q+1, s} | a holder that has seen that slot r does not name the handle | recovery settles it; slot s names the handle or does not |
/// | {j, q, s} -> {0, q, s} | the putter, its bit set; a recoverer of j; a taker that holds the handle and has seen it in s afterwards | - |
///
/// `by` is only that of a lease whose bit is set: the putter settles before it closes, and recovery before it clears the bit. So a handle
/// without holder bits is not being put anywhere. The turn makes each put a value of its own: a putter that stopped before its CAS fails
/// if others have put the handle since.
#[derive(Clone, Copy)]
pub(crate) struct HomeWord<'a>(&'a Word);

impl<'a> HomeWord<'a> {
    pub(crate) const fn new(word: &'a Word) -> Self {
        Self(word)
    }

    pub(crate) fn load(self) -> Home {
        // SeqCst: home word: ordered after the load of the holder bits and before that of the slot: a put whose bit is not seen any more has
        // changed the word; pairs with `begin`.
        Home(self.0.load(ordering!("slab.home.load", SeqCst, Relaxed)))
    }

    /// {0, q, r} -> {me, q+1, s}.
    pub(crate) fn begin(self, seen: Home, begun: Home) -> bool {
        // SeqCst: home word: ordered before the change of the slot; pairs with `load`. Failure decides nothing: Relaxed.
        self.0.compare_exchange(seen.0, begun.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// {j, q, s} -> {0, q, s}, unless somebody else has done it.
    pub(crate) fn settle(self, begun: Home) {
        // SeqCst: home word: after the change of the slot: a process that loads it with `load` sees the slot as that put left it. Failure: the
        // same was done by another process.
        let order = ordering!("slab.home.settle", SeqCst, Relaxed);
        let _ = self.0.compare_exchange(begun.0, begun.settled().0, order, Ordering::Relaxed);
    }

    /// any -> 0, by the claimer of an INIT entry: a new generation was never put.
    pub(crate) fn reset(self) {
        // Relaxed, both: home word: only the claimer has a use for it; the handle word publishes it.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }
}

const MARK_SHIFT: u32 = 56;
const GENERATION_SHIFT: u32 = 20;
/// The largest number in an EMPTY word of a container slot.
pub(crate) const NUMBER_MAX: u64 = (1 << MARK_SHIFT) - 1;
const READY: u64 = 1;
/// The mark of a slot that lease 0 has claimed.
const CLAIMED: u64 = 2;

const _: () =
    assert!(GENERATION_SHIFT + GENERATION_BITS == MARK_SHIFT && 1 << GENERATION_SHIFT == HANDLES_MAX);
const _: () = assert!(CLAIMED + SLOT_MEMBERS_MAX as u64 == 1 << (64 - MARK_SHIFT));

/// One value of a slot word: `{mark:8 | generation:36 | index:20}`.
///
/// | mark | meaning |
/// |---|---|
/// | 0 | EMPTY; the whole word is 0, except in a container slot |
/// | 1 | READY: the slot holds the handle |
/// | 2 + lease | CLAIMED: it holds the handle, which is lent to that lease |
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Kept(u64);

impl Kept {
    pub(crate) const EMPTY: Self = Self(0);

    /// EMPTY, with a number of the container; see [`Self::number`].
    pub(crate) const fn empty(number: u64) -> Self {
        Self(number & NUMBER_MAX)
    }

    /// The number in an EMPTY word.
    pub(crate) const fn number(self) -> u64 {
        self.0 & NUMBER_MAX
    }

    pub(crate) const fn ready(index: u32, generation: u64) -> Self {
        Self(READY << MARK_SHIFT | generation << GENERATION_SHIFT | index as u64)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0 as u32 & (HANDLES_MAX - 1)
    }

    pub(crate) const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT & ((1 << GENERATION_BITS) - 1)
    }

    const fn mark(self) -> u64 {
        self.0 >> MARK_SHIFT
    }

    pub(crate) const fn is_ready(self) -> bool {
        self.mark() == READY
    }

    /// The lease that has claimed it.
    pub(crate) const fn claimer(self) -> Option<u8> {
        if self.mark() >= CLAIMED { Some((self.mark() - CLAIMED) as u8) } else { None }
    }

    /// Whether it holds nothing. A container may have put a number of its own into such a word.
    pub(crate) const fn is_empty(self) -> bool {
        self.mark() == 0
    }

    /// Whether it holds the handle, claimed or not.
    pub(crate) const fn names(self, index: u32, generation: u64) -> bool {
        self.mark() != 0 && self.index() == index && self.generation() == generation
    }

    pub(crate) const fn claimed(self, me: u8) -> Self {
        Self(self.returned().0 + ((CLAIMED - READY + me as u64) << MARK_SHIFT))
    }

    pub(crate) const fn returned(self) -> Self {
        Self::ready(self.index(), self.generation())
    }
}

/// A slot word in place. The places of slots are never used for anything else.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | EMPTY -> (h, g) READY | the putter: home of h is {me, .., s}, its bit is set | recovery settles the home word; the slot holds h |
/// | (k, f) READY -> (h, g) READY | the same, the group of k in its map | also: recovery decides about k |
/// | (h, g) READY -> EMPTY | a taker, its bit set | a dead bit: recovery ends h, unless others hold it |
/// | (h, g) READY -> EMPTY | an evictor, the group of h in its map | recovery decides about h |
/// | (h, g) READY -> CLAIMED j | claimer j, its bit set | recovery makes it READY, then clears the bit |
/// | (h, g) CLAIMED j -> READY | j; a recoverer of j | a bit more or less |
/// | (h, g) CLAIMED j -> EMPTY | j | a dead bit: recovery ends h |
/// | EMPTY -> EMPTY, another number | a holder of the container; only in container slots | - |
///
/// A slot and the holder bits of its handle are a Dekker pair: whoever clears the last bit, and whoever empties the slot, decides whether
/// the handle is held, and each leaves that to the other if it sees the other's hold. Both changes and both looks are SeqCst `[D]`:
/// - either the closer, which has cleared its bit, sees that the slot is EMPTY: then it decides;
/// - or it does not: then the evictor's load of the bits is after the closer's change, and the evictor decides.
#[derive(Clone, Copy)]
pub(crate) struct SlotWord<'a>(&'a Word);

impl<'a> SlotWord<'a> {
    pub(crate) const fn new(word: &'a Word) -> Self {
        Self(word)
    }

    /// Loads the word for a caller that is about to open what is in it, or to change it.
    pub(crate) fn load(self) -> Kept {
        // SeqCst: slot word: obtains, from the put, the handle and its change of the home word; pairs with `put`.
        Kept(self.0.load(ordering!("slab.slot.load", SeqCst, Relaxed)))
    }

    /// Loads the word after a fence.
    #[inline]
    pub(crate) fn peek(self) -> Kept {
        // Relaxed: slot word: ordered by the caller's fence.
        Kept(self.0.load(Ordering::Relaxed))
    }

    /// Loads the word for a caller that decides whether the handle is held.
    pub(crate) fn look(self) -> Kept {
        // SeqCst [D]: slot word: ordered after the change of the holder bits; pairs with `evict`.
        Kept(self.0.load(ordering!("slab.slot.look", SeqCst, Acquire)))
    }

    /// EMPTY or (k, f) READY -> (h, g) READY.
    pub(crate) fn put(self, seen: Kept, ready: Kept) -> bool {
        // SeqCst [D]: slot word: publishes the handle and the change of its home word; pairs with `load`. As `evict` for what was there.
        // Failure decides nothing: Relaxed.
        let order = ordering!("slab.slot.put", SeqCst, Relaxed);
        self.0.compare_exchange(seen.0, ready.0, order, Ordering::Relaxed).is_ok()
    }

    /// (h, g) READY -> EMPTY, by a process that does not hold the handle.
    pub(crate) fn evict(self, seen: Kept) -> bool {
        // SeqCst [D]: slot word: before the load of the holder bits; pairs with `look`. Failure decides nothing: Relaxed.
        let order = ordering!("slab.slot.evict", SeqCst, AcqRel);
        self.0.compare_exchange(seen.0, Kept::EMPTY.0, order, Ordering::Relaxed).is_ok()
    }

    /// EMPTY -> EMPTY with another number, by a holder of the container.
    pub(crate) fn renumber(self, seen: Kept, number: u64) {
        // SeqCst: slot word: as the others. Failure: another one was faster.
        let new = Kept::empty(number).0;
        let _ = self.0.compare_exchange(seen.0, new, Ordering::SeqCst, Ordering::Relaxed);
    }

    /// The other rows of the table. The caller, or the dead claimer, holds the handle: whoever clears that bit decides.
    pub(crate) fn exchange(self, seen: Kept, new: Kept) -> bool {
        // SeqCst: slot word: as the others. Failure decides nothing: Relaxed.
        self.0.compare_exchange(seen.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }
}

/// One value of a chunk word: `{mark:8 | generation:36 | index:20}`.
///
/// | mark | meaning |
/// |---|---|
/// | 0 | FREE; the whole word is 0 |
/// | 1 | OWNED: the slots of the chunk belong to the handle, a container |
/// | 2 | FREEING: that container is over, and the slots are EMPTY; a member that looked before may still load them |
#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(crate) struct Chunk(u64);

const FREEING: u64 = 2;

impl Chunk {
    pub(crate) const FREE: Self = Self(0);

    pub(crate) const fn owned(index: u32, generation: u64) -> Self {
        Self(Kept::ready(index, generation).0)
    }

    /// Index and generation of the container; `None` if it is FREE or no possible value.
    pub(crate) const fn owner(self) -> Option<(u32, u64)> {
        let as_kept = Kept(self.0);
        if matches!(as_kept.mark(), READY | FREEING) {
            Some((as_kept.index(), as_kept.generation()))
        } else {
            None
        }
    }

    pub(crate) const fn is_freeing(self) -> bool {
        Kept(self.0).mark() == FREEING
    }

    const fn freeing(self) -> Self {
        Self(self.0 & ((1 << MARK_SHIFT) - 1) | FREEING << MARK_SHIFT)
    }
}

/// A chunk word in place. "over" is a generation that has ended, and never comes back; the holders of a container are the only ones that
/// put into its slots, so that then nobody does.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | FREE -> (c, g) OWNED | the creator of c, whose entry is INIT | recovery ends c, then sweeps |
/// | (c, g) OWNED -> FREEING | a sweeper that has emptied the slots; (c, g) is over | the next sweeper goes on |
/// | (c, g) FREEING -> FREE | a member that has seen no hazard of the chunk afterwards | - |
///
/// A sweeper may be stopped between its load of a slot and its CAS. If the chunk had another container by then, with the same handle in the
/// same slot, that CAS would take it from there. So a sweeper announces the chunk in its hazard word before it looks whether the chunk
/// is still OWNED by the container that is over (Michael 2004, "Hazard pointers"). Hazard and chunk word are a Dekker pair `[D]`:
/// - either whoever frees the chunk sees the hazard, and does not; then the sweeper does, or its recoverer;
/// - or it does not: then the sweeper's look sees FREEING, and it leaves the slots alone.
#[derive(Clone, Copy)]
pub(crate) struct ChunkWord<'a>(&'a Word);

impl<'a> ChunkWord<'a> {
    pub(crate) const fn new(word: &'a Word) -> Self {
        Self(word)
    }

    pub(crate) fn load(self) -> Chunk {
        // SeqCst [D]: chunk word: ordered after the caller's change of its hazard; pairs with `begin_free`.
        Chunk(self.0.load(ordering!("slab.chunk.load", SeqCst, Relaxed)))
    }

    /// FREE -> OWNED.
    pub(crate) fn claim(self, owner: Chunk) -> bool {
        // AcqRel: chunk word: obtains from `free` that the slots are EMPTY; publishes that the owner is INIT to sweepers, which look whether it
        // is over. Failure decides nothing.
        let order = ordering!("slab.chunk.claim", AcqRel, Relaxed);
        self.0.compare_exchange(Chunk::FREE.0, owner.0, order, Ordering::Relaxed).is_ok()
    }

    /// OWNED -> FREE, by the creator of a container that gets no slots: nobody can have put anything.
    pub(crate) fn give_back(self, owner: Chunk) {
        // Release: chunk word: as `free`. If it fails, the segment is corrupted.
        let _ = self.0.compare_exchange(owner.0, Chunk::FREE.0, Ordering::Release, Ordering::Relaxed);
    }

    /// OWNED -> FREEING.
    pub(crate) fn begin_free(self, seen: Chunk) {
        // SeqCst [D]: chunk word: before the loads of the hazards; pairs with `load`. Failure: another sweeper was faster.
        let order = ordering!("slab.chunk.begin_free", SeqCst, AcqRel);
        let _ = self.0.compare_exchange(seen.0, seen.freeing().0, order, Ordering::Relaxed);
    }

    /// FREEING -> FREE.
    pub(crate) fn free(self, freeing: Chunk) {
        // AcqRel: chunk word: publishes that the slots are EMPTY; pairs with `claim`. Failure: another one was faster.
        let _ = self.0.compare_exchange(freeing.0, Chunk::FREE.0, Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// The hazard word of a lease in place: the chunk + 1 that the member sweeps, or 0.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | 0 -> chunk + 1 (store) | the member | recovery stores 0, and then sweeps |
/// | any -> 0 (store) | the member; a recoverer of its lease | recovery sweeps |
#[derive(Clone, Copy)]
pub(crate) struct Hazard<'a>(&'a Word);

impl<'a> Hazard<'a> {
    pub(crate) const fn new(word: &'a Word) -> Self {
        Self(word)
    }

    pub(crate) fn chunk(self) -> Option<u32> {
        // SeqCst [D]: hazard: ordered after `begin_free`; pairs with `set`. Acquire: what the sweeper did with the slots comes before.
        (self.0.load(ordering!("slab.hazard.load", SeqCst, Acquire)) as u32).checked_sub(1)
    }

    pub(crate) fn set(self, chunk: u32) {
        // SeqCst [D]: hazard: before the look at the chunk word; pairs with `chunk`.
        self.0.store(u64::from(chunk) + 1, ordering!("slab.hazard.set", SeqCst, Release));
    }

    pub(crate) fn clear(self) {
        // SeqCst [D]: hazard: after the last access to the slots, and before the look whether the chunk is to be freed: of two that end at
        // once one sees no hazard.
        self.0.store(0, ordering!("slab.hazard.clear", SeqCst, Release));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn kept_round_trips(generation in 0..1u64 << GENERATION_BITS, index in 0..HANDLES_MAX, me in 0..254u8) {
            let ready = Kept::ready(index, generation);
            prop_assert_eq!((ready.index(), ready.generation(), ready.claimer()), (index, generation, None));
            prop_assert!(ready.is_ready() && !ready.is_empty() && ready.names(index, generation));
            prop_assert!(!ready.names(index ^ 1, generation) && !ready.names(index, generation ^ 1));
            let claimed = ready.claimed(me);
            prop_assert_eq!((claimed.index(), claimed.generation(), claimed.claimer()), (index, generation, Some(me)));
            prop_assert!(!claimed.is_ready() && claimed.names(index, generation));
            prop_assert_eq!(claimed.returned(), ready);
        }

        #[test]
        fn home_round_trips(me: u8, slots in prop::collection::vec(0..u32::MAX, 1..9)) {
            let mut home = Home(0);
            prop_assert_eq!((home.slot(), home.by()), (None, None));
            for (turn, slot) in slots.into_iter().enumerate() {
                let begun = home.begun(me, slot).unwrap();
                prop_assert_eq!((begun.by(), begun.slot()), (Some(me.into()), Some(slot)));
                prop_assert_eq!(begun.turn(), turn as u64 + 1);
                home = begun.settled();
                prop_assert_eq!((home.by(), home.slot(), home.turn()), (None, Some(slot), turn as u64 + 1));
            }
        }
    }

    #[test]
    fn the_last_turn_is_the_last() {
        let last = Home(TURN_MAX << SLOT_BITS | 7);
        assert_eq!(last.begun(3, 1), None);
        assert_eq!(Home((TURN_MAX - 1) << SLOT_BITS).begun(3, 1).unwrap().turn(), TURN_MAX);
    }

    #[test]
    fn zero_is_empty_and_only_zero() {
        assert!(Kept::EMPTY.is_empty() && !Kept::EMPTY.names(0, 0) && !Kept::EMPTY.is_ready());
        assert!(Kept(5).is_empty() && !Kept(5).names(5, 0));
    }

    #[test]
    fn a_chunk_keeps_its_owner_until_it_is_free() {
        let owned = Chunk::owned(7, 9);
        assert_eq!((owned.owner(), owned.is_freeing()), (Some((7, 9)), false));
        assert_eq!((owned.freeing().owner(), owned.freeing().is_freeing()), (Some((7, 9)), true));
        assert_eq!((Chunk::FREE.owner(), Chunk::owned(0, 0).owner()), (None, Some((0, 0))));
        assert_eq!(Chunk(3 << MARK_SHIFT | 7).owner(), None);
    }
}
