//! The layout of a segment outside of its data area: the text, which is the contract, and the same as numbers.

use tenure_core::MEMBERS_MAX;

/// The layout of the segment's own bytes. docs/layout.md has the same text; a test compares the two.
pub const LAYOUT: &str = "\
segment (version 2): [header | lease table | notifications | zeroes up to a multiple of 4096 | data area]

header, 512 bytes
offset  field            meaning
     0  magic            the bytes TENURESG
     8  version          1
    16  layout hash      FNV-1a of this text, continued over the hash that the owner of the data area gives
    24  header length    512
    32  members          slots in the lease table, 1 to 256
    40  data area offset 512 + 64*members + 8*members*members, rounded up to a multiple of 4096
    48  data area bytes  a multiple of 4096
    56  total bytes      data area offset + data area bytes; no file of this segment is ever shorter
    64  geometry         8 words that belong to the owner of the data area
   128  boot id          2 words; unique for one boot of one kernel, so it names the host as well
   144  creation id      random, never zero
   152  uid              effective user id of the creator
   160  page bytes       page size of the creator
   168  byte order       0x0807060504030201
   176  backend          1 shm, 2 file, 3 memfd, 4 anonymous, 5 sysv, 6 private
   184  shmid            sysv: identifier of the memory; otherwise zero
   192  zero             up to 448
   448  membership       u32 futex: counts joins, a hint; then u32 zero
   456  zero             up to 512

lease table, 64 bytes a member
     0  lease            {incarnation:56 | state:8}; state 0 FREE, 1 LIVE, anything else counts as a dirty LIVE
     8  pid              of the last owner, in its own namespace; information only
    16  zero             up to 64

notifications, 8 bytes a cell, members x members; row = owner, column = watcher
     0  notification     u32 futex: 0, or thread id | 0x80000000; the kernel sets 0x40000000 when the owner's thread ends
     4  zero             u32

sysv: the memory is as above, and a lock file of 4096 bytes repeats the header
byte i of the file (anonymous: of a companion memfd; sysv: of the lock file) is the lock of lease i
";

/// The version of [`LAYOUT`].
pub const VERSION: u64 = 2;

/// The bytes of the header.
pub const HEADER_BYTES: u64 = 512;

/// The bytes of one line of the lease table.
pub const LEASE_BYTES: u64 = 64;

/// The bytes of one death notification.
pub const NOTIFICATION_BYTES: u64 = 8;

/// The alignment of the data area and of its length.
pub const DATA_AREA_ALIGN: u64 = 4096;

/// The offset of the membership futex.
pub const MEMBERSHIP_OFFSET: u64 = 448;

/// The hash of [`LAYOUT`].
pub const LAYOUT_HASH: u64 = fnv1a(FNV_START, LAYOUT.as_bytes());

/// The start value of an FNV-1a hash.
pub const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over `bytes`, continuing from `hash`; start with [`FNV_START`].
#[must_use]
pub const fn fnv1a(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// The hash in the header if the owner of the data area gives `data_area_hash`.
#[must_use]
pub const fn mixed_hash(data_area_hash: u64) -> u64 {
    fnv1a(LAYOUT_HASH, &data_area_hash.to_le_bytes())
}

/// The offsets of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) members: u16,
    pub(crate) data_area_offset: u64,
    pub(crate) data_area_bytes: u64,
}

impl Plan {
    /// The plan for `members` and a data area of at least `data_area_bytes`; `Err` has the number that is out of range, and its limit.
    pub(crate) const fn new(members: u64, data_area_bytes: u64) -> Result<Self, Nonsense> {
        if members == 0 || members > MEMBERS_MAX as u64 {
            return Err(Nonsense { what: "members", found: members, limit: MEMBERS_MAX as u64 });
        }
        let data_area_offset =
            (HEADER_BYTES + LEASE_BYTES * members + NOTIFICATION_BYTES * members * members)
                .next_multiple_of(DATA_AREA_ALIGN);
        let limit = (i64::MAX as u64) - data_area_offset - DATA_AREA_ALIGN;
        if data_area_bytes == 0 || data_area_bytes > limit {
            return Err(Nonsense { what: "data area bytes", found: data_area_bytes, limit });
        }
        let data_area_bytes = data_area_bytes.next_multiple_of(DATA_AREA_ALIGN);
        Ok(Self { members: members as u16, data_area_offset, data_area_bytes })
    }

    pub(crate) const fn total_bytes(&self) -> u64 {
        self.data_area_offset + self.data_area_bytes
    }

    pub(crate) const fn lease_offset(&self, index: u8) -> u64 {
        HEADER_BYTES + LEASE_BYTES * index as u64
    }

    pub(crate) const fn notification_offset(&self, owner: u8, watcher: u8) -> u64 {
        HEADER_BYTES
            + LEASE_BYTES * self.members as u64
            + NOTIFICATION_BYTES * (owner as u64 * self.members as u64 + watcher as u64)
    }
}

/// A number that no segment can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nonsense {
    pub(crate) what: &'static str,
    pub(crate) found: u64,
    pub(crate) limit: u64,
}

const _: () = assert!(MEMBERSHIP_OFFSET + 8 <= HEADER_BYTES);
const _: () = assert!(MEMBERS_MAX as usize - 1 <= u8::MAX as usize);
// Eight members and a data area of 24 KiB stay below 32 KiB.
const _: () = assert!(matches!(Plan::new(8, 24 << 10), Ok(plan) if plan.total_bytes() < 32 << 10));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_md_carries_the_same_text() {
        let file = include_str!("../../docs/layout.md");
        assert!(
            file.contains(&format!("```text\n{LAYOUT}```\n")),
            "docs/layout.md and segment/src/layout.rs differ"
        );
    }

    #[test]
    fn tables_do_not_overlap() {
        for members in [1, 2, 8, 9, 64, 255, 256] {
            let plan = Plan::new(members, 1).unwrap();
            let last = (members - 1) as u8;
            assert_eq!(plan.lease_offset(0), HEADER_BYTES);
            assert_eq!(plan.lease_offset(last) + LEASE_BYTES, plan.notification_offset(0, 0));
            assert!(plan.notification_offset(last, last) + NOTIFICATION_BYTES <= plan.data_area_offset);
            assert_eq!(plan.data_area_offset % DATA_AREA_ALIGN, 0);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (members, bytes) in [(0, 1), (257, 1), (1, 0), (1, u64::MAX), (1, i64::MAX as u64), (u64::MAX, 1)]
        {
            assert!(Plan::new(members, bytes).is_err(), "{members} {bytes}");
        }
    }
}
