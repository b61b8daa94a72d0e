//! The handle word. Only this file packs and accesses it.
//!
//! `{generation:36 | state:8 | 0:3 | shared:1 | closer tag:16}`
//!
//! Shared flag and closer tag are the low bits: a word is LIVE in a generation if it equals another such word above them.
//!
//! | state | meaning | generation | who may leave it |
//! |---|---|---|---|
//! | FREE | not in use | the next to be issued | a claimer whose bit is set, to INIT |
//! | INIT | claimed: in a cache, or being filled | the next to be issued | its claimer, to LIVE; `free_if_unheld`, to FREE |
//! | LIVE, shared 0 | held once, by the creator's process: nobody has opened it | issued | as below; the creator, to INIT, by one CAS |
//! | LIVE, shared 1 | opened at least once since creation | issued | `free_if_unheld`, to FREE |
//! | RETIRED | its last generation is over | the last issued | nobody |
//! | anything else | corrupted | - | nobody; every operation refuses it |
//!
//! A closer tag does not change the holders of the handle. A tag other than 0 names the member that is deciding whether the handle has
//! no holder.

use tenure_core::{mutant, ordering};

use crate::sync::{Ordering, Word};

/// The width of a generation in the word and in a token.
pub(crate) const GENERATION_BITS: u32 = 36;

const TAG_MASK: u64 = 0xffff;
const SHARED: u64 = 1 << 16;
/// The number of low bits that do not tell which handle it is: closer tag and shared flag.
const LOW_BITS: u32 = 17;
const ZERO_MASK: u64 = 7 << LOW_BITS;
const STATE_SHIFT: u32 = 20;
const STATE_MASK: u64 = 0xff << STATE_SHIFT;
const GENERATION_SHIFT: u32 = 28;

const _: () = assert!(GENERATION_SHIFT + GENERATION_BITS == 64 && LOW_BITS + 3 == STATE_SHIFT);

/// The state field of a handle word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Not in use; its generation is the next to be issued. Zeroed memory is FREE.
    Free = 0,
    /// Claimed by a member whose holder bit is set; not yet a handle.
    Init = 1,
    /// A handle.
    Live = 2,
    /// Used up: its last generation was issued and is over.
    Retired = 3,
}

/// One value of a handle word.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Snapshot(u64);

impl Snapshot {
    pub(crate) const fn new(generation: u64, tag: u16, shared: bool, state: State) -> Self {
        Self(
            generation << GENERATION_SHIFT
                | (state as u64) << STATE_SHIFT
                | if shared { SHARED } else { 0 }
                | tag as u64,
        )
    }

    /// LIVE in this generation, tag 0.
    #[inline]
    pub(crate) const fn live(generation: u64, shared: bool) -> Self {
        Self::new(generation, 0, shared, State::Live)
    }

    #[inline]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    pub(crate) const fn tag(self) -> u16 {
        (self.0 & TAG_MASK) as u16
    }

    #[inline]
    pub(crate) const fn shared(self) -> bool {
        self.0 & SHARED != 0
    }

    /// The state, or `None` for a word that no transition can have written.
    pub(crate) const fn state(self) -> Option<State> {
        if self.0 & ZERO_MASK != 0 {
            return None;
        }
        match (self.0 & STATE_MASK) >> STATE_SHIFT {
            0 => Some(State::Free),
            1 => Some(State::Init),
            2 => Some(State::Live),
            3 => Some(State::Retired),
            _ => None,
        }
    }

    /// Whether generation and state are those of `other`, regardless of the tag and the shared flag.
    #[inline]
    pub(crate) const fn is_same(self, other: Self) -> bool {
        (self.0 ^ other.0) >> LOW_BITS == 0
    }

    /// Whether it is LIVE with this generation, regardless of the tag and the shared flag.
    #[inline]
    pub(crate) const fn is_live(self, generation: u64) -> bool {
        self.is_same(Self::live(generation, false))
    }

    /// Whether this generation is issued or about to be: INIT or LIVE.
    #[inline]
    pub(crate) const fn is_current(self, generation: u64) -> bool {
        self.is_live(generation) || self.is_same(Self::new(generation, 0, false, State::Init))
    }

    /// INIT with the next generation, of a word that is LIVE and not shared.
    #[inline(always)]
    const fn renewed(self) -> Self {
        const STEP: u64 =
            (1 << GENERATION_SHIFT) - (((State::Live as u64) - (State::Init as u64)) << STATE_SHIFT);
        Self(self.0 + STEP)
    }

    /// From this word on a LIVE word is of the last generation.
    pub(crate) const fn retire_from(generation_bits: u32) -> Self {
        Self(((1 << generation_bits) - 1) << GENERATION_SHIFT)
    }

    /// What [`Self::renewed`] is in a cache.
    #[inline(always)]
    pub(crate) const fn claimed_next(self, index: u32) -> Claimed {
        Claimed(self.0 + ((1 << GENERATION_SHIFT) - ((State::Live as u64) << STATE_SHIFT)) + index as u64)
    }

    const fn tagged(self, tag: u16) -> Self {
        Self(self.0 & !TAG_MASK | tag as u64)
    }
}

/// An entry that the caller has claimed, and the generation that it will issue: `{generation:36 | 0:8 | index:20}`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Claimed(u64);

impl Claimed {
    pub(crate) const NONE: Self = Self(0);

    #[inline(always)]
    pub(crate) const fn new(generation: u64, index: u32) -> Self {
        Self(generation << GENERATION_SHIFT | index as u64)
    }

    #[inline(always)]
    pub(crate) const fn index(self) -> u32 {
        self.0 as u32 & (crate::geometry::HANDLES_MAX - 1)
    }

    #[inline(always)]
    pub(crate) const fn generation(self) -> u64 {
        self.0 >> GENERATION_SHIFT
    }

    /// The word that publishes it: LIVE, not shared.
    #[inline(always)]
    pub(crate) const fn live(self) -> Snapshot {
        Snapshot(self.0 & !(crate::geometry::HANDLES_MAX as u64 - 1) | (State::Live as u64) << STATE_SHIFT)
    }
}

/// The result of a claim.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Claim {
    /// INIT, and the caller's.
    Claimed,
    /// Another process was first.
    Lost,
}

/// The result of an attempt to set the shared flag.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// The word is LIVE, tag 0, shared: the caller, whose bit or count is set already, holds the handle.
    Shared,
    /// The word has changed; its new value.
    Lost(Snapshot),
}

/// The result of a private close.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Renew {
    /// INIT with the next generation; still the caller's.
    Renewed,
    /// RETIRED; the caller still has to clear its bit.
    Retired,
    /// Somebody opened it or is deciding about it: take the slow path.
    Refused,
}

/// The value of a word after [`HandleWord::reserve`] has stored the caller's tag; the argument of [`HandleWord::release`].
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Reserved(Snapshot);

impl Reserved {
    pub(crate) const fn generation(self) -> u64 {
        self.0.generation()
    }
}

/// The result of a release.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Release {
    /// FREE with the next generation.
    Freed,
    /// RETIRED.
    Retired,
    /// An opener or a newer closer has changed the word; it decides.
    Overtaken,
}

/// A handle word in place. "bit" is the process's bit in the holder set.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | FREE g -> INIT g | a claimer whose bit is already set | INIT with a dead bit: recovery finishes it |
/// | INIT g -> LIVE g, tag 0, shared 0 (store) | the claimer, payload written | LIVE with a dead bit: recovery finishes it |
/// | LIVE g, any tag -> LIVE g, tag 0, shared 1 | an opener whose bit is already set | a dead bit |
/// | any tag -> my tag | `free_if_unheld` | a stale tag; overwritten or reset by the next one |
/// | g, my tag -> FREE g+1 | `free_if_unheld`, after reading an empty holder set | attached block is garbage `[scratch-attached-garbage]`; the entry still names it |
/// | LIVE g, tag 0, shared 0 -> INIT g+1 | the creator, closing; its bit stays set | INIT with a dead bit |
/// | LIVE g, my tag -> INIT g+1 | `renew_if_unheld`, after reading an empty holder set and setting its bit | INIT with a dead bit |
/// | (g+1 would not fit) -> RETIRED | instead of FREE or INIT in the two rows above | the entry is not used again |
///
/// The holder set `bits` and this word are a Dekker pair. An opener sets its bit and then loads the word; `free_if_unheld` stores its tag
/// in the word and then loads `bits`; both are SeqCst, at every access marked `[D]` below:
/// - either the opener's bit is seen by the closer's load of `bits`: then the closer gives up, and the opener decides when it closes;
/// - or it is not: then the closer's tag is seen by the opener's load of the word. The opener's CAS to tag 0 and the closer's CAS to
///   FREE expect the same value, so one of them fails.
#[derive(Clone, Copy)]
pub(crate) struct HandleWord<'a>(&'a Word);

impl<'a> HandleWord<'a> {
    pub(crate) const fn new(word: &'a Word) -> Self {
        Self(word)
    }

    /// Loads the word for a caller that decides nothing by it alone, or that holds the handle already.
    #[inline]
    pub(crate) fn peek(self) -> Snapshot {
        // Acquire: word: obtains kind, length and payload; pairs with the Release in `publish`.
        Snapshot(self.0.load(ordering!("slab.word.peek", Acquire, Relaxed)))
    }

    /// Loads the word for a caller that has just set a bit, or is about to store its tag.
    pub(crate) fn load(self) -> Snapshot {
        // SeqCst [D]: word: ordered after the caller's `bits |= me`; pairs with the tag CAS in `reserve`.
        Snapshot(self.0.load(ordering!("slab.word.load", SeqCst, Acquire)))
    }

    /// FREE g -> INIT g. The caller's bit is set.
    pub(crate) fn claim(self, seen: Snapshot) -> Claim {
        let init = Snapshot::new(seen.generation(), 0, false, State::Init);
        debug_assert_eq!(seen.state(), Some(State::Free));
        // SeqCst [D]: word: publishes the claimer's bit to any `free_if_unheld` that tags INIT; obtains, from the CAS that freed
        // the entry, all accesses of earlier holders to the payload. Failure decides nothing: Relaxed.
        match self.0.compare_exchange(
            seen.0,
            init.0,
            ordering!("slab.word.claim", SeqCst, Relaxed),
            Ordering::Relaxed,
        ) {
            Ok(_) => Claim::Claimed,
            Err(_) => Claim::Lost,
        }
    }

    /// INIT g, any tag -> LIVE g, tag 0, shared 0, by a plain store.
    ///
    /// Only the claimer calls it. Meanwhile others can at most change the tag of the INIT word. A `free_if_unheld` that does so finds
    /// the claimer's bit, which was set before the word became INIT, and gives up before its CAS to FREE.
    #[inline(always)]
    pub(crate) fn publish(self, live: Snapshot) {
        // Release: word: publishes kind, length and payload; pairs with the loads in `peek` and `load`.
        // It need not be SeqCst: no decision of this thread follows that reads `bits`.
        self.0.store(live.0, ordering!("slab.word.publish", Release, Relaxed));
    }

    /// LIVE g, any tag -> LIVE g, tag 0, shared 1. The bit of the caller's process is set already.
    pub(crate) fn share(self, seen: Snapshot) -> Share {
        let shared = Snapshot::live(seen.generation(), true);
        // SeqCst [D]: word: removes any tag stored before; pairs with the CAS in `release`, which then fails.
        match self.0.compare_exchange(
            seen.0,
            shared.0,
            ordering!("slab.word.share", SeqCst, Relaxed),
            Ordering::SeqCst,
        ) {
            Ok(_) => Share::Shared,
            Err(now) => Share::Lost(Snapshot(now)),
        }
    }

    /// LIVE g, tag 0, shared 0 -> INIT g+1, or RETIRED if `live` is not below `retire_from`: the whole of a private close.
    #[inline(always)]
    pub(crate) fn renew(self, live: Snapshot, retire_from: Snapshot) -> Renew {
        debug_assert!(live == Snapshot::live(live.generation(), false));
        let mut expected = live;
        if mutant!("slab.renew.though_shared") {
            expected = self.load();
        }
        let retire = live.0 >= retire_from.0;
        let new =
            if retire { Snapshot::new(live.generation(), 0, false, State::Retired) } else { live.renewed() };
        // SeqCst [D]: word: ends generation g; an opener's CAS in `share` expects the same value, so one of them fails.
        if self.0.compare_exchange(expected.0, new.0, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            Renew::Refused
        } else if retire {
            Renew::Retired
        } else {
            Renew::Renewed
        }
    }

    /// any tag -> my tag. `None`: the word changed since `seen`; the process that changed it is responsible.
    pub(crate) fn reserve(self, seen: Snapshot, tag: u16) -> Option<Reserved> {
        let mine = seen.tagged(tag);
        // SeqCst [D]: word: announces the decision before the load of `bits`; pairs with `load` after an opener's bit.
        self.0
            .compare_exchange(
                seen.0,
                mine.0,
                ordering!("slab.word.reserve", SeqCst, AcqRel),
                Ordering::Relaxed,
            )
            .ok()
            .map(|_| Reserved(mine))
    }

    /// LIVE g, my tag -> INIT g+1, and the caller's. The caller has loaded an empty holder set after [`Self::reserve`], and has set its bit since. `None` if
    /// an opener or a newer closer has changed the word, or if it was not LIVE, or if g+1 would not fit.
    pub(crate) fn renew_reserved(
        self,
        reserved: Reserved,
        index: u32,
        generation_bits: u32,
    ) -> Option<Claimed> {
        let (generation, next) = (reserved.generation(), reserved.generation() + 1);
        if !reserved.0.is_live(generation) || next >> generation_bits != 0 {
            return None;
        }
        let new = Snapshot::new(next, 0, false, State::Init);
        // SeqCst [D]: word: as `release`; and it publishes the caller's bit, as `claim`. Failure decides nothing: Relaxed.
        let renewed = self.0.compare_exchange(reserved.0.0, new.0, Ordering::SeqCst, Ordering::Relaxed);
        renewed.ok().map(|_| Claimed::new(next, index))
    }

    /// g, my tag -> FREE g+1 (or RETIRED). The caller has loaded an empty holder set after [`Self::reserve`].
    pub(crate) fn release(self, reserved: Reserved, generation_bits: u32) -> Release {
        let generation = reserved.generation();
        let next = generation + u64::from(!mutant!("slab.release.same_generation"));
        let retire = next >> generation_bits != 0;
        let new = if retire {
            Snapshot::new(generation, 0, false, State::Retired)
        } else {
            Snapshot::new(next, 0, false, State::Free)
        };
        // SeqCst [D]: word: publishes that the accesses of all holders are over (obtained from `bits`); pairs with `claim`.
        let expected = if mutant!("slab.release.any_tag") { self.load() } else { reserved.0 };
        match self.0.compare_exchange(
            expected.0,
            new.0,
            ordering!("slab.word.release", SeqCst, Relaxed),
            Ordering::Relaxed,
        ) {
            Ok(_) if retire => Release::Retired,
            Ok(_) => Release::Freed,
            Err(_) => Release::Overtaken,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn states() -> impl Strategy<Value = State> {
        prop_oneof![Just(State::Free), Just(State::Init), Just(State::Live), Just(State::Retired)]
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn pack_round_trips(generation in 0..1u64 << GENERATION_BITS, tag: u16, shared: bool, state in states()) {
            let word = Snapshot::new(generation, tag, shared, state);
            prop_assert_eq!(word.generation(), generation);
            prop_assert_eq!(word.tag(), tag);
            prop_assert_eq!(word.shared(), shared);
            prop_assert_eq!(word.state(), Some(state));
            prop_assert_eq!(word.raw() >> 17 & 7, 0);
            prop_assert_eq!(word.is_live(generation), state == State::Live);
            prop_assert_eq!(word.is_current(generation), matches!(state, State::Live | State::Init));
            prop_assert!(!word.is_live(generation ^ 1));
            prop_assert_eq!(word.tagged(7).tag(), 7);
            prop_assert_eq!(word.tagged(7).generation(), generation);
        }

        #[test]
        fn any_bits_are_refused_or_a_known_state(raw: u64) {
            let word = Snapshot::from_raw(raw);
            match word.state() {
                Some(state) => {
                    prop_assert_eq!(Snapshot::new(word.generation(), word.tag(), word.shared(), state).raw(), raw);
                }
                None => prop_assert!(raw >> 17 & 7 != 0 || raw >> 20 & 0xff > 3),
            }
        }
    }

    #[test]
    fn zeroed_memory_is_free_generation_zero() {
        let word = Snapshot::from_raw(0);
        assert_eq!((word.state(), word.generation(), word.tag()), (Some(State::Free), 0, 0));
    }

    #[test]
    fn the_last_generation_retires_on_both_ways_out() {
        let word = Word::new(Snapshot::new(15, 0, false, State::Live).raw());
        let handle = HandleWord::new(&word);
        assert_eq!(handle.renew(Snapshot::live(15, false), Snapshot::retire_from(4)), Renew::Retired);
        assert_eq!((handle.peek().state(), handle.peek().generation()), (Some(State::Retired), 15));

        let word = Word::new(Snapshot::new(15, 0, true, State::Live).raw());
        let handle = HandleWord::new(&word);
        let reserved = handle.reserve(handle.load(), 3).unwrap();
        assert_eq!(handle.release(reserved, 4), Release::Retired);
        assert_eq!((handle.peek().state(), handle.peek().tag()), (Some(State::Retired), 0));
    }

    #[test]
    fn what_is_live_and_reserved_is_renewed_before_the_last_generation() {
        let renewed = |state, generation| {
            let word = Word::new(Snapshot::new(generation, 0, true, state).raw());
            let handle = HandleWord::new(&word);
            let reserved = handle.reserve(handle.load(), 3).unwrap();
            let claimed = handle.renew_reserved(reserved, 7, 4);
            assert_eq!(handle.peek().tag(), if claimed.is_some() { 0 } else { 3 });
            claimed.map(|claimed| (handle.peek().state(), claimed))
        };
        assert_eq!(renewed(State::Live, 14), Some((Some(State::Init), Claimed::new(15, 7))));
        assert_eq!(renewed(State::Live, 15), None);
        assert_eq!(renewed(State::Init, 3), None);
        let word = Word::new(Snapshot::new(3, 0, true, State::Live).raw());
        let handle = HandleWord::new(&word);
        let reserved = handle.reserve(handle.load(), 3).unwrap();
        assert!(matches!(handle.share(handle.load()), Share::Shared));
        assert_eq!(handle.renew_reserved(reserved, 7, 4), None);
    }

    #[test]
    fn a_tag_or_a_share_refuses_the_private_close() {
        let word = Word::new(Snapshot::new(3, 0, false, State::Live).raw());
        let handle = HandleWord::new(&word);
        let reserved = handle.reserve(handle.load(), 9).unwrap();
        assert_eq!(handle.renew(Snapshot::live(3, false), Snapshot::retire_from(36)), Renew::Refused);
        assert!(matches!(handle.share(handle.load()), Share::Shared));
        assert_eq!(handle.renew(Snapshot::live(3, false), Snapshot::retire_from(36)), Renew::Refused);
        assert_eq!(handle.release(reserved, 36), Release::Overtaken);
    }
}
