//! Goal: every operation, alone, has the result of a simple reference model: sets of holders in a map.
//! Method: random operations of several simulated members, one at a time, over private memory, with deaths that clean up
//! nothing; after every step the slab's own `check()` and a comparison with the reference.
#![cfg(not(loom))]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Member, member, recovery};
use proptest::prelude::*;
use tenure_core::sync::Word;
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{
    BlockRef, Cache, Claimed, Closed, Held, INLINE_BYTES, Layout, OpenError, Payload, PutError, RefCounts,
    SLOT_MEMBERS_MAX, Slab, SlotError, State, Token,
};

#[derive(Clone, Debug)]
enum Op {
    Create { who: usize, kind: u64, bytes: Vec<u8>, block: bool },
    Open { who: usize, which: usize, kind: Option<bool> },
    OpenOld { who: usize, which: usize },
    OpenRaw { who: usize, generation: u64, index: u32, tag: u8 },
    Reopen { who: usize, which: usize },
    Close { who: usize, which: usize, cached: bool },
    Drain { who: usize },
    Die { who: usize },
    Recover { dead: usize, by: usize },
    Leave { who: usize },
    Extend,
    Put { who: usize, which: usize, slot: u32, replace: bool },
    Take { who: usize, slot: u32, kind: Option<bool> },
    Evict { who: usize, slot: u32 },
    Claim { who: usize, slot: u32 },
    EndClaim { who: usize, which: usize, ack: bool },
}

/// Slots; the operations name one more.
const SLOTS: u32 = 3;

fn op() -> impl Strategy<Value = Op> {
    let who = 0..4usize;
    let which = any::<usize>();
    let bytes = prop::collection::vec(any::<u8>(), 0..=INLINE_BYTES);
    prop_oneof![
        6 => (who.clone(), 0..3u64, bytes, prop::bool::weighted(0.4))
            .prop_map(|(who, kind, bytes, block)| Op::Create { who, kind, bytes, block }),
        6 => (who.clone(), which, prop::option::of(any::<bool>()))
            .prop_map(|(who, which, kind)| Op::Open { who, which, kind }),
        2 => (who.clone(), which).prop_map(|(who, which)| Op::OpenOld { who, which }),
        1 => (who.clone(), 0..40u64, 0..200u32, prop_oneof![Just(common::SPACE), 1u8..])
            .prop_map(|(who, generation, index, tag)| Op::OpenRaw { who, generation, index, tag }),
        2 => (who.clone(), which).prop_map(|(who, which)| Op::Reopen { who, which }),
        9 => (who.clone(), which, any::<bool>()).prop_map(|(who, which, cached)| Op::Close { who, which, cached }),
        1 => who.clone().prop_map(|who| Op::Drain { who }),
        1 => who.clone().prop_map(|who| Op::Die { who }),
        2 => (who.clone(), who.clone()).prop_map(|(dead, by)| Op::Recover { dead, by }),
        1 => who.clone().prop_map(|who| Op::Leave { who }),
        6 => (who.clone(), which, 0..SLOTS + 1, prop::bool::weighted(0.3))
            .prop_map(|(who, which, slot, replace)| Op::Put { who, which, slot, replace }),
        3 => (who.clone(), 0..SLOTS + 1, prop::option::of(any::<bool>()))
            .prop_map(|(who, slot, kind)| Op::Take { who, slot, kind }),
        2 => (who.clone(), 0..SLOTS + 1).prop_map(|(who, slot)| Op::Evict { who, slot }),
        4 => (who.clone(), 0..SLOTS + 1).prop_map(|(who, slot)| Op::Claim { who, slot }),
        4 => (who, which, any::<bool>()).prop_map(|(who, which, ack)| Op::EndClaim { who, which, ack }),
        1 => Just(Op::Extend),
    ]
}

/// A handle in the reference.
struct Known {
    kind: u64,
    bytes: Vec<u8>,
    block: Option<u64>,
    /// Counts by place in `World::places`.
    holders: BTreeMap<usize, u64>,
    /// The slot that holds it.
    slot: Option<u32>,
}

impl Known {
    fn is_held(&self) -> bool {
        !self.holders.is_empty() || self.slot.is_some()
    }
}

type Key = (u32, u64);

struct Place {
    lease: u8,
    /// `None` after death or leaving.
    member: Option<Member>,
    held: Vec<Held>,
    claims: Vec<Claimed>,
    /// Dead, and not yet recovered.
    dirty: bool,
}

struct World<'a> {
    slab: Slab<'a>,
    places: Vec<Place>,
    known: BTreeMap<(u32, u64), Known>,
    ended: Vec<Token>,
    /// What each slot holds, and the place that has claimed it.
    slots: Vec<Option<(Key, Option<usize>)>>,
    /// The scratch memory: for each attached block the handle and its generation.
    blocks: BTreeMap<u64, (u32, u64)>,
    next_offset: u64,
}

/// The part of the tenure crate: frees a block if it is attached to the handle that the slab names.
fn freer(blocks: &mut BTreeMap<u64, (u32, u64)>) -> impl FnMut(BlockRef) {
    |found| {
        if let Some((index, generation)) = blocks.get(&found.offset)
            && *index == found.index
            && *generation <= found.generation
        {
            blocks.remove(&found.offset);
        }
    }
}

impl<'a> World<'a> {
    fn new(words: &'a [Word], layout: Layout) -> Self {
        let slab = Slab::new(words, layout, common::SPACE).unwrap();
        slab.init();
        slab.verify().unwrap();
        let members = layout.geometry().members;
        let leases: BTreeSet<u8> =
            [0, 1, members / 2, members - 1].into_iter().filter(|l| *l < members).map(|l| l as u8).collect();
        let places = leases.into_iter().map(|lease| Place {
            lease,
            member: Some(member(&slab, lease)),
            held: Vec::new(),
            claims: Vec::new(),
            dirty: false,
        });
        let places = places.collect();
        Self {
            slab,
            places,
            known: BTreeMap::new(),
            ended: Vec::new(),
            slots: vec![None; slab.slots() as usize],
            blocks: BTreeMap::new(),
            next_offset: 64,
        }
    }

    fn step(&mut self, op: Op) {
        let places = self.places.len();
        match op {
            Op::Create { who, kind, bytes, block } => self.create(who % places, kind, &bytes, block),
            Op::Open { who, which, kind } => self.open(who % places, which, kind),
            Op::OpenOld { who, which } => self.open_old(who % places, which),
            Op::OpenRaw { who, generation, index, tag } => {
                self.open_raw(who % places, generation, index, tag)
            }
            Op::Reopen { who, which } => self.reopen(who % places, which),
            Op::Close { who, which, cached } => self.close(who % places, which, cached),
            Op::Drain { who } => {
                if let Some(m) = &mut self.places[who % places].member {
                    self.slab.drain(&m.acquire, &m.ref_counts, &mut m.cache);
                    assert!(m.cache.is_empty());
                }
            }
            Op::Die { who } => {
                let place = &mut self.places[who % places];
                place.dirty |= place.member.take().is_some();
            }
            Op::Recover { dead, by } => self.recover(dead % places, by % places),
            Op::Leave { who } => self.leave(who % places),
            Op::Extend => {
                let groups = self.slab.committed_groups();
                assert!(self.slab.extend(groups + 1) >= groups);
                assert_eq!(self.slab.extend(0), self.slab.committed_groups());
            }
            Op::Put { who, which, slot, replace } => self.put(who % places, which, slot, replace),
            Op::Take { who, slot, kind } => self.take(who % places, slot, kind),
            Op::Evict { who, slot } => self.evict(who % places, slot),
            Op::Claim { who, slot } => self.claim(who % places, slot),
            Op::EndClaim { who, which, ack } => self.end_claim(who % places, which, ack),
        }
    }

    /// The member at a place; a new member joins if the place is empty.
    fn join(&mut self, who: usize) {
        let place = &mut self.places[who];
        if place.member.is_some() {
            return;
        }
        if place.dirty {
            let fresh = RefCounts::new(self.slab.layout(), place.lease).unwrap();
            self.slab.recover(
                &fresh,
                &recovery(place.lease, place.lease),
                |_| false,
                |_, _| {},
                freer(&mut self.blocks),
            );
            self.forget(who);
        }
        self.places[who].member = Some(member(&self.slab, self.places[who].lease));
    }

    /// The reference's part of a recovery.
    fn forget(&mut self, who: usize) {
        self.places[who].held.clear();
        self.places[who].claims.clear();
        self.places[who].dirty = false;
        for claimer in self.slots.iter_mut().flatten().map(|(_, claimer)| claimer) {
            claimer.take_if(|claimer| *claimer == who);
        }
        let slab = self.slab;
        let ended = &mut self.ended;
        self.known.retain(|(index, generation), known| {
            known.holders.remove(&who);
            if !known.is_held() {
                ended.push(Token::new(slab.space_tag(), *generation, *index).unwrap());
            }
            known.is_held()
        });
    }

    fn create(&mut self, who: usize, kind: u64, bytes: &[u8], block: bool) {
        self.join(who);
        let offset = self.next_offset;
        self.next_offset += 64;
        let payload = if block {
            Payload::Block { offset, len: bytes.len() as u64, label: None }
        } else {
            Payload::Inline(bytes)
        };
        let before = self.slab.counts();
        let place = &mut self.places[who];
        let m = place.member.as_mut().unwrap();
        let cached = m.cache.len();
        let mut attached = None;
        let result = self.slab.create(
            &m.acquire,
            &m.ref_counts,
            &mut m.cache,
            kind,
            payload,
            |index, generation| attached = Some((index, generation)),
            freer(&mut self.blocks),
        );
        match result {
            Ok(held) => {
                assert_eq!(attached, Some((held.index(), held.generation())));
                if block {
                    self.blocks.insert(offset, attached.unwrap());
                }
                let known = Known {
                    kind,
                    bytes: bytes.to_vec(),
                    block: block.then_some(offset),
                    holders: BTreeMap::from([(who, 1)]),
                    slot: None,
                };
                assert!(self.known.insert((held.index(), held.generation()), known).is_none());
                place.held.push(held);
            }
            Err(exhausted) => {
                assert_eq!(attached, None);
                assert_eq!((before.free, cached), (0, 0), "{exhausted} with free entries");
                assert_eq!(exhausted.committed, before.committed);
            }
        }
    }

    fn open(&mut self, who: usize, which: usize, kind: Option<bool>) {
        self.join(who);
        let Some(((index, generation), known)) = self.known.iter_mut().nth(which % 16) else { return };
        let token = Token::new(self.slab.space_tag(), *generation, *index).unwrap();
        let place = &mut self.places[who];
        let m = place.member.as_ref().unwrap();
        let before = self.slab.inspect(*index).unwrap();
        match kind {
            Some(false) => {
                let wrong = known.kind + 1;
                let refused = self.slab.open_kind(&m.acquire, &m.ref_counts, token, wrong, common::no_block);
                assert_eq!(refused, Err(OpenError::ForeignKind { expected: wrong, found: known.kind }));
                assert_eq!(self.slab.inspect(*index).unwrap(), before);
                return;
            }
            Some(true) => {
                let kind = known.kind;
                place.held.push(
                    self.slab.open_kind(&m.acquire, &m.ref_counts, token, kind, common::no_block).unwrap(),
                );
            }
            None => {
                place.held.push(self.slab.open(&m.acquire, &m.ref_counts, token, common::no_block).unwrap());
            }
        }
        assert!(self.slab.inspect(*index).unwrap().shared);
        assert_eq!(place.held.last().unwrap().token(&self.slab), token);
        *known.holders.entry(who).or_default() += 1;
    }

    fn open_old(&mut self, who: usize, which: usize) {
        self.join(who);
        if self.ended.is_empty() {
            return;
        }
        let token = self.ended[which % self.ended.len()];
        let before = self.slab.inspect(token.index());
        let m = self.places[who].member.as_ref().unwrap();
        let refused = self.slab.open(&m.acquire, &m.ref_counts, token, common::no_block);
        assert!(matches!(refused, Err(OpenError::Stale(_))), "{refused:?}");
        assert_eq!(self.slab.inspect(token.index()), before, "a stale token disturbed the entry");
    }

    fn open_raw(&mut self, who: usize, generation: u64, index: u32, tag: u8) {
        self.join(who);
        if self.known.contains_key(&(index, generation)) && tag == common::SPACE {
            return;
        }
        let before = self.slab.inspect(index);
        let m = self.places[who].member.as_ref().unwrap();
        let token = Token::new(tag, generation, index).unwrap();
        let refused = self.slab.open(&m.acquire, &m.ref_counts, token, common::no_block);
        let was_issued = before.is_some_and(|info| {
            generation < info.generation
                || generation == info.generation && info.state == Some(State::Retired)
        });
        match refused {
            Err(OpenError::ForeignSpace { expected, found }) => {
                assert_eq!((expected, found), (common::SPACE, tag));
                assert_ne!(expected, found);
            }
            Err(OpenError::Stale(_)) => assert!(was_issued),
            Err(OpenError::Forged { .. }) => assert!(!was_issued),
            other => panic!("{token:?}: {other:?}"),
        }
        assert_eq!(self.slab.inspect(index), before);
    }

    fn reopen(&mut self, who: usize, which: usize) {
        let place = &mut self.places[who];
        let (Some(m), false) = (&place.member, place.held.is_empty()) else { return };
        let held = place.held[which % place.held.len()];
        let again = self.slab.reopen(&m.acquire, &m.ref_counts, held).unwrap();
        assert_eq!(again, held);
        place.held.push(again);
        *self.known.get_mut(&(held.index(), held.generation())).unwrap().holders.get_mut(&who).unwrap() += 1;
    }

    fn close(&mut self, who: usize, which: usize, cached: bool) {
        let place = &mut self.places[who];
        let (Some(m), false) = (&mut place.member, place.held.is_empty()) else { return };
        let which = which % place.held.len();
        let held = place.held.swap_remove(which);
        let key = (held.index(), held.generation());
        let cache: Option<&mut Cache> = if cached { Some(&mut m.cache) } else { None };
        let closed =
            self.slab.close(&m.acquire, &m.ref_counts, cache, held, freer(&mut self.blocks)).unwrap();
        let known = self.known.get_mut(&key).unwrap();
        let count = known.holders.get_mut(&who).unwrap();
        *count -= 1;
        if *count > 0 {
            return assert_eq!(closed, Closed::Counted);
        }
        known.holders.remove(&who);
        if known.is_held() {
            return assert_eq!(closed, Closed::Left);
        }
        assert_eq!(closed, Closed::Ended);
        self.known.remove(&key);
        self.ended.push(held.token(&self.slab));
        let m = self.places[who].member.as_ref().unwrap();
        assert!(self.slab.read(held).is_err());
        assert!(self.slab.reopen(&m.acquire, &m.ref_counts, held).is_err());
        assert!(self.slab.close(&m.acquire, &m.ref_counts, None, held, common::no_block).is_err());
    }

    /// The reference's part of what a slot or a member has let go.
    fn let_go(&mut self, key: Key) {
        if !self.known[&key].is_held() {
            self.known.remove(&key);
            self.ended.push(self.token(key));
        }
    }

    fn token(&self, (index, generation): Key) -> Token {
        Token::new(self.slab.space_tag(), generation, index).unwrap()
    }

    /// The slot is missing, empty or claimed: the error of a take, an evict or a claim.
    fn slot_error(&self, slot: u32) -> Option<SlotError> {
        match self.slots.get(slot as usize) {
            None => Some(SlotError::NoSlot { slot, slots: self.slab.slots() }),
            Some(None) => Some(SlotError::Empty { slot }),
            Some(Some((_, Some(who)))) => Some(SlotError::Claimed { slot, lease: self.places[*who].lease }),
            Some(Some((_, None))) => None,
        }
    }

    fn put(&mut self, who: usize, which: usize, slot: u32, replace: bool) {
        let place = &self.places[who];
        let (Some(m), false) = (&place.member, place.held.is_empty()) else { return };
        let held = place.held[which % place.held.len()];
        let key = (held.index(), held.generation());
        let expected = match (self.slots.get(slot as usize), self.known[&key].slot) {
            (None, _) => Err(PutError::NoSlot { slot, slots: self.slab.slots() }),
            (_, Some(slot)) => Err(PutError::Already { slot }),
            (Some(None), _) => Ok(None),
            (Some(Some((other, None))), _) if replace => Ok(Some(*other)),
            _ => Err(PutError::Full { slot }),
        };
        let put = if replace {
            self.slab.replace(&m.acquire, &m.ref_counts, held, slot, freer(&mut self.blocks))
        } else {
            self.slab.put(&m.acquire, &m.ref_counts, held, slot).map(|()| None)
        };
        assert_eq!(put, expected.map(|other| other.map(|other| self.token(other))));
        if let Ok(other) = expected {
            self.slots[slot as usize] = Some((key, None));
            self.known.get_mut(&key).unwrap().slot = Some(slot);
            if let Some(other) = other {
                self.known.get_mut(&other).unwrap().slot = None;
                self.let_go(other);
            }
        }
    }

    fn take(&mut self, who: usize, slot: u32, kind: Option<bool>) {
        self.join(who);
        let error = self.slot_error(slot);
        let m = self.places[who].member.as_ref().unwrap();
        let mut take = |kind| self.slab.take(&m.acquire, &m.ref_counts, slot, kind, freer(&mut self.blocks));
        if let Some(error) = error {
            return assert_eq!(take(None), Err(error));
        }
        let (key, _) = self.slots[slot as usize].unwrap();
        let found = self.known[&key].kind;
        if kind == Some(false) {
            let refused = OpenError::ForeignKind { expected: found + 1, found };
            return assert_eq!(take(Some(found + 1)), Err(refused.into()));
        }
        let held = take(kind.map(|_| found)).unwrap();
        assert_eq!((held.index(), held.generation()), key);
        self.slots[slot as usize] = None;
        let known = self.known.get_mut(&key).unwrap();
        known.slot = None;
        *known.holders.entry(who).or_default() += 1;
        self.places[who].held.push(held);
    }

    fn evict(&mut self, who: usize, slot: u32) {
        self.join(who);
        let error = self.slot_error(slot);
        let m = self.places[who].member.as_ref().unwrap();
        let evicted = self.slab.evict(&m.acquire, &m.ref_counts, slot, freer(&mut self.blocks));
        if let Some(error) = error {
            return assert_eq!(evicted, Err(error));
        }
        let (key, _) = self.slots[slot as usize].take().unwrap();
        assert_eq!(evicted, Ok(self.token(key)));
        self.known.get_mut(&key).unwrap().slot = None;
        self.let_go(key);
    }

    fn claim(&mut self, who: usize, slot: u32) {
        self.join(who);
        let error = self.slot_error(slot);
        let place = &mut self.places[who];
        let m = place.member.as_ref().unwrap();
        let claimed = self.slab.claim_slot(&m.acquire, &m.ref_counts, slot, None, common::no_block);
        if let Some(error) = error {
            return assert_eq!(claimed, Err(error));
        }
        let claimed = claimed.unwrap();
        let (key, claimer) = self.slots[slot as usize].as_mut().unwrap();
        assert_eq!(
            (claimed.held().index(), claimed.held().generation(), claimed.slot()),
            (key.0, key.1, slot)
        );
        *claimer = Some(who);
        *self.known.get_mut(key).unwrap().holders.entry(who).or_default() += 1;
        place.claims.push(claimed);
    }

    fn end_claim(&mut self, who: usize, which: usize, ack: bool) {
        let place = &mut self.places[who];
        let (Some(m), false) = (&place.member, place.claims.is_empty()) else { return };
        let claimed = place.claims.swap_remove(which % place.claims.len());
        let key = (claimed.held().index(), claimed.held().generation());
        let free = freer(&mut self.blocks);
        let slot = &mut self.slots[claimed.slot() as usize];
        assert_eq!(*slot, Some((key, Some(who))));
        let known = self.known.get_mut(&key).unwrap();
        if ack {
            assert!(self.slab.ack(&m.acquire, claimed));
            *slot = None;
            known.slot = None;
        } else {
            assert!(self.slab.give_back(&m.acquire, claimed));
            *slot = Some((key, None));
        }
        assert!(!self.slab.ack(&m.acquire, claimed), "ended twice");
        self.slab.close(&m.acquire, &m.ref_counts, None, claimed.held(), free).unwrap();
        let count = known.holders.get_mut(&who).unwrap();
        *count -= 1;
        if *count == 0 {
            known.holders.remove(&who);
        }
        self.let_go(key);
    }

    fn recover(&mut self, dead: usize, by: usize) {
        if !self.places[dead].dirty || dead == by {
            return;
        }
        self.join(by);
        let bits = self.bits_of(self.places[dead].lease);
        let m = self.places[by].member.as_ref().unwrap();
        let right = recovery(self.places[dead].lease, self.places[by].lease);
        let recovered =
            self.slab.recover(&m.ref_counts, &right, |_| false, |_, _| {}, freer(&mut self.blocks));
        assert_eq!(recovered.handles, bits);
        let again = self.slab.recover(&m.ref_counts, &right, |_| false, |_, _| {}, freer(&mut self.blocks));
        assert_eq!((again.handles, again.ended), (0, 0), "recovery is not idempotent");
        self.forget(dead);
    }

    fn leave(&mut self, who: usize) {
        let lease = self.places[who].lease;
        if let Some(m) = self.places[who].member.take() {
            self.slab.recover(
                &m.ref_counts,
                &recovery(lease, lease),
                |_| false,
                |_, _| {},
                freer(&mut self.blocks),
            );
            assert_eq!(self.bits_of(lease), 0);
            self.forget(who);
        }
    }

    fn bits_of(&self, lease: u8) -> u32 {
        let all = (0..self.slab.layout().geometry().handles).filter_map(|i| self.slab.inspect(i));
        all.filter(|info| info.holders.contains(lease)).count() as u32
    }

    /// Asserts that the slab is sound and agrees with the reference.
    fn compare(&self) {
        let live = |lease| self.places.iter().any(|p| p.lease == lease && (p.dirty || p.member.is_some()));
        let report = self.slab.check(&live);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(report.counts.live as usize, self.known.len());
        let mut attached = BTreeMap::new();
        for ((index, generation), known) in &self.known {
            let info = self.slab.inspect(*index).unwrap();
            assert_eq!((info.generation, info.state), (*generation, Some(State::Live)));
            assert_eq!(info.kind, known.kind);
            let holders: Vec<u8> = known.holders.keys().map(|who| self.places[*who].lease).collect();
            assert_eq!(info.holders.iter().collect::<Vec<_>>(), holders);
            assert!(self.slab.is_current(*index, *generation));
            if let Some(offset) = known.block {
                attached.insert(offset, (*index, *generation));
            }
        }
        assert_eq!(self.blocks, attached, "blocks and handles disagree");
        let kept = self.slots.iter().enumerate().filter_map(|(slot, kept)| Some((slot as u32, (*kept)?)));
        let kept: Vec<_> = kept
            .map(|(slot, (key, who))| (slot, self.token(key), who.map(|who| self.places[who].lease)))
            .collect();
        let found: Vec<_> = self.slab.kept().map(|info| (info.slot, info.token, info.claimed_by)).collect();
        assert_eq!(found, kept, "slots disagree");
        for (key, known) in &self.known {
            assert_eq!(self.slab.slot_of(self.token(*key)), known.slot);
        }
        for held in self.places.iter().flat_map(|place| &place.held) {
            let known = &self.known[&(held.index(), held.generation())];
            let (kind, contents) = self.slab.read(*held).unwrap();
            assert_eq!(kind, known.kind);
            match (contents, known.block) {
                (Contents::Block { offset, len }, Some(block)) => {
                    assert_eq!((offset, len), (block, known.bytes.len() as u64));
                }
                (Contents::Inline { bytes, len }, None) => assert_eq!(&bytes[..len], &known.bytes),
                other => panic!("{other:?}"),
            }
        }
    }

    /// All members leave or die, and the slots are emptied.
    fn end(mut self) {
        for who in 0..self.places.len() {
            // Joining recovers a dead member: a claim of its goes back.
            self.join(who);
            self.leave(who);
        }
        for slot in 0..self.slab.slots() {
            self.evict(0, slot);
            self.compare();
        }
        for who in 0..self.places.len() {
            self.leave(who);
            self.join(who);
            self.leave(who);
            self.compare();
        }
        let counts = self.slab.counts();
        assert_eq!((counts.live, counts.init, counts.corrupt), (0, 0, 0));
        assert_eq!(self.blocks, BTreeMap::new());
    }
}

fn run(handles: u32, members: u16, generation_bits: u8, groups: u32, ops: Vec<Op>) {
    let slots = if members > SLOT_MEMBERS_MAX { 0 } else { SLOTS };
    let layout = common::layout_with_slots(handles, members, generation_bits, slots);
    let words = common::words(&layout);
    let mut world = World::new(&words, layout);
    world.slab.extend(groups);
    for op in ops {
        world.step(op);
        world.compare();
    }
    world.end();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 1 } else { 512 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn model_members_one_at_a_time(
        handles in prop_oneof![Just(1u32), Just(5), Just(32), Just(64), Just(65), Just(130)],
        members in prop_oneof![Just(1u16), Just(2), Just(8), Just(64), Just(65), Just(256)],
        generation_bits in prop_oneof![Just(4u8), Just(5), Just(36)],
        groups in 0..3u32,
        ops in prop::collection::vec(op(), if cfg!(miri) { 10..20 } else { 20..200 }),
    ) {
        run(handles, members, generation_bits, groups, ops);
    }

    #[test]
    fn model_few_handles_until_all_retire(
        handles in 1..4u32,
        ops in prop::collection::vec(op(), if cfg!(miri) { 20..30 } else { 100..400 }),
    ) {
        run(handles, 3, 4, 1, ops);
    }
}
