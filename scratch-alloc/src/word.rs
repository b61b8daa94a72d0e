//! The two authoritative words: the owner of a unit, and the owner of a block. Only this file packs and unpacks them.

use tenure_core::LeaseId;

/// States of unit words that hot paths ask for.
const SPAN: u64 = 4;
const TAIL: u64 = 5;
const INCARNATION_IN_UNIT: u64 = (1 << 26) - 1;
const INCARNATION_IN_BLOCK: u64 = (1 << 31) - 1;

/// The link of the last block of a list of free blocks: above every granule of a region.
pub(crate) const END: u64 = 1 << 32;
/// Set in the word of a block that a lease owns, so that it is above every link, whatever its other bits.
const LEASED: u64 = 1 << 47;
/// Set in all other words of blocks that are not FREE, for the same reason.
const USED: u64 = 1 << 60;
/// A block that another process freed.
pub(crate) const REMOTE: u64 = 4 | USED;

/// Whether `raw` is the word of a free block: a link.
#[inline]
pub(crate) const fn is_free(raw: u64) -> bool {
    raw <= END
}

/// Whether `raw` is the word of a block that nobody owns, and that the owner of its span, or an adopter, may put into a list.
#[inline]
pub(crate) const fn is_collectable(raw: u64) -> bool {
    is_free(raw) || raw == REMOTE
}

/// The low 20 bits of the offset of a block, where the word of a leased block has them. Offsets are multiples of 16, so the bits
/// below bit 48 are zero. Blocks of less than 2^20 bytes that share a word differ in these bits.
#[inline]
pub(crate) const fn offset_bits(offset: u64) -> u64 {
    offset << 44
}

/// The value of a unit word: `{incarnation:26 | lease:12 | units or distance:16 | class:6 | state:4}`.
///
/// | state | meaning | who may leave it |
/// |---|---|---|
/// | UNBACKED | not committed, no owner | a claimer, to BACKING |
/// | FREE | committed, no owner | a claimer, to HELD; trim, to BACKING |
/// | HELD(i) | claimed by lease i, not yet (or no longer) part of a span; or a later unit of a large span | lease i; its recoverer, to FREE unless a head covers it |
/// | BACKING(i) | lease i is committing or decommitting it | lease i; its recoverer, to UNBACKED |
/// | SPAN(i, class, length) | head of a span of lease i | lease i; its recoverer, to HELD(i) or ABANDONED |
/// | TAIL(i, distance) | later unit of a small span; the head is `distance` back | lease i; its recoverer, to FREE unless a head covers it |
/// | ABANDONED(class, length) | head of a span without owner | an adopter, to SPAN |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Not committed, no owner.
    Unbacked,
    /// Committed, no owner.
    Free,
    /// Claimed by a lease: for a new span, kept for the next large span, or a later unit of a large span.
    Held(Owner),
    /// Being committed or decommitted by a lease.
    Backing(Owner),
    /// Head of a span.
    Span(Owner, Shape),
    /// Later unit of a small span; the distance to the head, in units.
    Tail(Owner, u16),
    /// Head of a span without owner.
    Abandoned(Shape),
    /// Corrupted: the raw word.
    Unknown(u64),
}

/// The lease in a unit word: its index and the low 26 bits of its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Lease index.
    pub lease: u8,
    incarnation: u32,
}

/// Size class and length of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Size class, 63 for a large block.
    pub class: u8,
    /// Length in units, at least 1.
    pub units: u16,
}

impl From<LeaseId> for Owner {
    fn from(id: LeaseId) -> Self {
        Self { lease: id.index, incarnation: (id.incarnation & INCARNATION_IN_UNIT) as u32 }
    }
}

impl Unit {
    const fn pack(state: u64, class: u8, units: u16, lease: u8, incarnation: u32) -> u64 {
        state | (class as u64) << 4 | (units as u64) << 10 | (lease as u64) << 26 | (incarnation as u64) << 38
    }

    const fn shape(raw: u64) -> Shape {
        Shape { class: (raw >> 4) as u8 & 63, units: (raw >> 10) as u16 }
    }

    /// The word.
    #[must_use]
    pub(crate) const fn raw(self) -> u64 {
        match self {
            Self::Unbacked => 0,
            Self::Free => 1,
            Self::Held(o) => Self::pack(2, 0, 0, o.lease, o.incarnation),
            Self::Backing(o) => Self::pack(3, 0, 0, o.lease, o.incarnation),
            Self::Span(o, s) => Self::pack(SPAN, s.class, s.units, o.lease, o.incarnation),
            Self::Tail(o, distance) => Self::pack(TAIL, 0, distance, o.lease, o.incarnation),
            Self::Abandoned(s) => Self::pack(6, s.class, s.units, 0, 0),
            Self::Unknown(raw) => raw,
        }
    }

    /// Decodes `raw`.
    #[must_use]
    pub(crate) const fn from_raw(raw: u64) -> Self {
        let owner = Owner { lease: (raw >> 26) as u8, incarnation: (raw >> 38) as u32 };
        let shape = Self::shape(raw);
        let said = match raw & 15 {
            0 => Self::Unbacked,
            1 => Self::Free,
            2 => Self::Held(owner),
            3 => Self::Backing(owner),
            SPAN => Self::Span(owner, shape),
            TAIL => Self::Tail(owner, shape.units),
            6 => Self::Abandoned(shape),
            _ => Self::Unknown(raw),
        };
        // A word that `raw()` would not write is corrupted.
        if said.raw() == raw { said } else { Self::Unknown(raw) }
    }
}

/// The distance to the head, in units, if `raw` is the word of a later unit of a small span.
#[inline]
pub(crate) const fn tail_distance(raw: u64) -> Option<u32> {
    if raw & 15 == TAIL { Some((raw >> 10) as u16 as u32) } else { None }
}

/// The shape of a span that has an owner, if `raw` is the word of its head. Every bit of such a word has a meaning, so
/// nothing else needs a check.
#[inline]
pub(crate) const fn span_shape(raw: u64) -> Option<Shape> {
    if raw & 15 == SPAN { Some(Unit::shape(raw)) } else { None }
}

/// The value of a block word. The lowest 4 bits are the state, except in a word of at most 2^32: that is a FREE block's.
///
/// | state | word |
/// |---|---|
/// | FREE | the link: the granule of the next block in a list of free blocks of the owning local, or 2^32. Only that local reads it |
/// | LEASE(i, incarnation) | `{granule:16 \| 1 \| incarnation:31 \| lease:12 \| 1:4}`, with the low 16 bits of the block's granule |
/// | ATTACHED(h, g) | `{0:3 \| 1 \| generation:36 \| index:20 \| 2:4}` |
/// | PINNED(i) | `{0:3 \| 1 \| 0:44 \| lease:12 \| 3:4}` |
/// | REMOTE | `{0:3 \| 1 \| 0:56 \| 4:4}` |
///
/// A granule is 16 bytes: the offset of a block is its granule times 16. With the granule in the word, one compare shows that the
/// block is in use, that it has the expected owner, and that it starts at the expected offset.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | FREE -> LEASE(i, incarnation), store | the owning local | recovery frees it, with its span or by -> REMOTE |
/// | LEASE -> FREE, store | the owning local | it is free |
/// | LEASE -> REMOTE | another member, which was given it | the owner finds it at the next scan |
/// | LEASE -> ATTACHED(h, g), store | the owner, entry already names the block | handle never published: `[scratch-attached-garbage]` |
/// | LEASE -> PINNED, PINNED -> REMOTE or FREE | the owner; anyone | - |
/// | ATTACHED(h, g) -> REMOTE (or FREE by the owning local) | anyone once the handle's generation is past g | - |
/// | REMOTE -> FREE, store | the owning local | - |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// No owner. If the span has an owner, one of its locals has the block in a list.
    Free,
    /// Owned by a lease; recovery of the lease frees it.
    Lease {
        /// Lease index.
        lease: u8,
        /// Low 31 bits of the lease's incarnation.
        incarnation: u32,
    },
    /// Owned by a handle; freed when the handle ends.
    Attached {
        /// Handle index, below 2^20.
        index: u32,
        /// Handle generation, below 2^36.
        generation: u64,
    },
    /// No owner, but kept until it is freed explicitly.
    Pinned {
        /// Index of the lease that pinned it, for inspectors.
        lease: u8,
    },
    /// Freed by another process than the span's owner, and not collected by the owner yet.
    Remote,
    /// Corrupted: the raw word.
    Unknown(u64),
}

impl Block {
    /// The owner of a block that `id` allocated.
    #[must_use]
    pub const fn lease(id: LeaseId) -> Self {
        Self::Lease { lease: id.index, incarnation: (id.incarnation & INCARNATION_IN_BLOCK) as u32 }
    }

    /// The word of the block at `offset`. A free block has the link of a last one.
    #[must_use]
    pub const fn raw(self, offset: u64) -> u64 {
        match self {
            Self::Free => END,
            Self::Lease { lease, incarnation } => {
                (1 | (lease as u64) << 4 | (incarnation as u64) << 16 | LEASED) ^ offset_bits(offset)
            }
            Self::Attached { index, generation } => 2 | (index as u64) << 4 | generation << 24 | USED,
            Self::Pinned { lease } => 3 | (lease as u64) << 4 | USED,
            Self::Remote => REMOTE,
            Self::Unknown(raw) => raw,
        }
    }

    /// Decodes the word of the block at `offset`.
    #[must_use]
    pub const fn from_raw(raw: u64, offset: u64) -> Self {
        if is_free(raw) {
            return Self::Free;
        }
        let said = match raw & 15 {
            1 => Self::Lease {
                lease: (raw >> 4) as u8,
                incarnation: (raw >> 16 & INCARNATION_IN_BLOCK) as u32,
            },
            2 => Self::Attached {
                index: (raw >> 4) as u32 & 0xf_ffff,
                generation: raw >> 24 & ((1 << 36) - 1),
            },
            3 => Self::Pinned { lease: (raw >> 4) as u8 },
            4 => Self::Remote,
            _ => Self::Unknown(raw),
        };
        // A word that `raw()` would not write is corrupted.
        if said.raw(offset) == raw { said } else { Self::Unknown(raw) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn unit_words_round_trip(index in 0u8.., incarnation in 0u64.., class in 0u8..64, units in 0u16..) {
            let owner = Owner::from(LeaseId { index, incarnation });
            let shape = Shape { class, units };
            for unit in [Unit::Unbacked, Unit::Free, Unit::Held(owner), Unit::Backing(owner), Unit::Span(owner, shape),
                         Unit::Tail(owner, units), Unit::Abandoned(shape)] {
                prop_assert_eq!(Unit::from_raw(unit.raw()), unit);
                prop_assert_eq!(span_shape(unit.raw()), match unit { Unit::Span(_, shape) => Some(shape), _ => None });
                let distance = match unit { Unit::Tail(_, distance) => Some(distance.into()), _ => None };
                prop_assert_eq!(tail_distance(unit.raw()), distance);
            }
        }

        #[test]
        fn block_words_round_trip(index in 0u8.., incarnation in 0u64.., handle in 0u32..1 << 20, generation in 0u64..1 << 36,
                                  granule in 0u64..1 << 32, other in 0u64..1 << 32) {
            let (offset, other) = (granule << 4, other << 4);
            for block in [Block::Free, Block::lease(LeaseId { index, incarnation }), Block::Pinned { lease: index },
                          Block::Attached { index: handle, generation }, Block::Remote] {
                prop_assert_eq!(Block::from_raw(block.raw(offset), offset), block);
                prop_assert_eq!(is_free(block.raw(offset)), block == Block::Free);
            }
            let lease = Block::lease(LeaseId { index, incarnation });
            let same = offset % (1 << 20) == other % (1 << 20);
            prop_assert_eq!(lease.raw(offset) == lease.raw(other), same);
            prop_assert_eq!(Block::from_raw(lease.raw(offset), other) == lease, same);
        }

        #[test]
        fn any_word_is_read_without_loss(raw in 0u64.., granule in 0u64..1 << 32) {
            prop_assert_eq!(Unit::from_raw(raw).raw(), raw);
            let block = Block::from_raw(raw, granule << 4);
            prop_assert!(block == Block::Free && is_free(raw) || block.raw(granule << 4) == raw);
        }
    }
}
