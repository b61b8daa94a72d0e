//! The header as a value: the creator writes it once, all others read and validate it. The offsets are those of
//! [`LAYOUT`](crate::layout::LAYOUT).

use std::io;
use std::os::fd::AsFd;

use crate::error::OpenError;
use crate::host::{self, BootId};
use crate::layout::{HEADER_BYTES, Plan, VERSION, mixed_hash};
use crate::permissions::Permissions;

pub(crate) const MAGIC: u64 = u64::from_le_bytes(*b"TENURESG");
const BYTE_ORDER: u64 = 0x0807_0605_0403_0201;
const WORDS: usize = HEADER_BYTES as usize / 8;

/// The offset of each field, in words.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const VERSION: usize = 1;
    pub(super) const LAYOUT_HASH: usize = 2;
    pub(super) const HEADER_BYTES: usize = 3;
    pub(super) const MEMBERS: usize = 4;
    pub(super) const DATA_AREA_OFFSET: usize = 5;
    pub(super) const DATA_AREA_BYTES: usize = 6;
    pub(super) const TOTAL_BYTES: usize = 7;
    pub(super) const GEOMETRY: usize = 8;
    pub(super) const BOOT: usize = 16;
    pub(super) const CREATION: usize = 18;
    pub(super) const UID: usize = 19;
    pub(super) const PAGE_BYTES: usize = 20;
    pub(super) const BYTE_ORDER: usize = 21;
    pub(super) const BACKEND: usize = 22;
    pub(super) const SHMID: usize = 23;
}

/// The contents of a valid header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) plan: Plan,
    pub(crate) geometry: [u64; 8],
    /// The layout hash of the data area's owner, mixed with the segment's own.
    pub(crate) layout_hash: u64,
    pub(crate) creation_id: u64,
    pub(crate) backend: u64,
    pub(crate) shmid: i32,
}

impl Header {
    /// The words as the creator writes them.
    pub(crate) fn words(&self) -> io::Result<[u64; WORDS]> {
        let mut words = [0; WORDS];
        words[at::MAGIC] = MAGIC;
        words[at::VERSION] = VERSION;
        words[at::LAYOUT_HASH] = self.layout_hash;
        words[at::HEADER_BYTES] = HEADER_BYTES;
        words[at::MEMBERS] = u64::from(self.plan.members);
        words[at::DATA_AREA_OFFSET] = self.plan.data_area_offset;
        words[at::DATA_AREA_BYTES] = self.plan.data_area_bytes;
        words[at::TOTAL_BYTES] = self.plan.total_bytes();
        words[at::GEOMETRY..at::GEOMETRY + 8].copy_from_slice(&self.geometry);
        words[at::BOOT..at::BOOT + 2].copy_from_slice(&BootId::current()?.0);
        words[at::CREATION] = self.creation_id;
        words[at::UID] = host::effective_uid();
        words[at::PAGE_BYTES] = host::page_bytes();
        words[at::BYTE_ORDER] = BYTE_ORDER;
        words[at::BACKEND] = self.backend;
        words[at::SHMID] = self.shmid as u64;
        Ok(words)
    }

    /// Writes the words to the beginning of a mapping that no other process sees yet.
    ///
    /// # Safety
    ///
    /// `base` is aligned and starts a mapping of at least a header that only the caller can reach.
    pub(crate) unsafe fn write(&self, base: *mut u8) -> io::Result<()> {
        let words = self.words()?;
        // SAFETY: within the mapping by the caller's contract; plain stores suffice before it is published.
        unsafe { std::ptr::copy_nonoverlapping(words.as_ptr(), base.cast::<u64>(), WORDS) };
        Ok(())
    }

    /// Reads and validates the header of a file without mapping the file, so that a short file cannot cause a fault.
    ///
    /// `layout_hash` is the caller's, not yet mixed; `memory` tells whether the file holds the whole segment.
    pub(crate) fn read_file(
        fd: impl AsFd,
        place: &str,
        layout_hash: u64,
        memory: bool,
        permissions: Permissions,
    ) -> Result<Self, OpenError> {
        let os = |what, source: rustix::io::Errno| OpenError::Os {
            what,
            place: place.to_owned(),
            source: source.into(),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|e| os("stat the segment", e))?;
        permissions.accept(&stat, place)?;
        let mut bytes = [0_u8; HEADER_BYTES as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::io::pread(&fd, &mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(os("read the header", e)),
            }
        }
        let mut words = [0_u64; WORDS];
        for (word, chunk) in words.iter_mut().zip(bytes[..filled].chunks_exact(8)) {
            *word = u64::from_le_bytes(chunk.try_into().expect("chunks of eight"));
        }
        let size = stat.st_size as u64;
        Self::judge(&words, filled as u64, memory.then_some(size), place, layout_hash)
    }

    /// The creation id in a file, if it begins with the magic.
    pub(crate) fn creation_of(fd: impl AsFd) -> Option<u64> {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            let read = rustix::io::pread(&fd, &mut bytes, 8 * at as u64);
            matches!(read, Ok(8)).then(|| u64::from_le_bytes(bytes))
        };
        (word(at::MAGIC)? == MAGIC).then(|| word(at::CREATION)).flatten()
    }

    /// Validates the header at the beginning of a mapping that is at least a header long.
    ///
    /// # Safety
    ///
    /// `base` is aligned and starts a readable mapping of at least a header.
    pub(crate) unsafe fn read_mapping(
        base: *const u8,
        place: &str,
        layout_hash: u64,
    ) -> Result<Self, OpenError> {
        let mut words = [0; WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            // SAFETY: within the mapping by the caller's contract. Volatile, because another process can corrupt the words
            // meanwhile. Each word is read once only.
            *word = unsafe { base.cast::<u64>().add(i).read_volatile() };
        }
        Self::judge(&words, HEADER_BYTES, None, place, layout_hash)
    }

    fn judge(
        words: &[u64; WORDS],
        filled: u64,
        size: Option<u64>,
        place: &str,
        data_area_hash: u64,
    ) -> Result<Self, OpenError> {
        let place = || place.to_owned();
        let expect =
            |index: usize, expected: u64| (words[index] != expected).then_some((expected, words[index]));

        if words[at::MAGIC] == MAGIC.swap_bytes() {
            let found = words[at::BYTE_ORDER];
            return Err(OpenError::ByteOrder { place: place(), expected: BYTE_ORDER, found });
        }
        if filled == 0 {
            return Err(OpenError::Truncated { place: place(), expected: HEADER_BYTES, found: 0 });
        }
        if let Some((expected, found)) = expect(at::MAGIC, MAGIC) {
            return Err(OpenError::NotASegment { place: place(), expected, found });
        }
        if filled < HEADER_BYTES {
            return Err(OpenError::Truncated { place: place(), expected: HEADER_BYTES, found: filled });
        }
        if let Some((expected, found)) = expect(at::VERSION, VERSION) {
            return Err(OpenError::Version { place: place(), expected, found });
        }
        if let Some((expected, found)) = expect(at::BYTE_ORDER, BYTE_ORDER) {
            return Err(OpenError::ByteOrder { place: place(), expected, found });
        }
        let here = BootId::current().map_err(|source| OpenError::Os {
            what: "read the boot id",
            place: place(),
            source,
        })?;
        let boot = BootId([words[at::BOOT], words[at::BOOT + 1]]);
        if boot != here {
            return Err(OpenError::Boot {
                place: place(),
                expected: here.to_string(),
                found: boot.to_string(),
            });
        }
        if let Some((expected, found)) = expect(at::LAYOUT_HASH, mixed_hash(data_area_hash)) {
            return Err(OpenError::LayoutHash { place: place(), expected, found });
        }
        if let Some((expected, found)) = expect(at::PAGE_BYTES, host::page_bytes()) {
            return Err(OpenError::PageBytes { place: place(), expected, found });
        }
        let plan = Plan::new(words[at::MEMBERS], words[at::DATA_AREA_BYTES])
            .map_err(|n| OpenError::Geometry { what: n.what, found: n.found, limit: n.limit })?;
        let fixed = [
            (at::HEADER_BYTES, "header length", HEADER_BYTES),
            (at::DATA_AREA_OFFSET, "data area offset", plan.data_area_offset),
            (at::DATA_AREA_BYTES, "data area bytes", plan.data_area_bytes),
            (at::TOTAL_BYTES, "total bytes", plan.total_bytes()),
        ];
        for (index, what, expected) in fixed {
            if let Some((limit, found)) = expect(index, expected) {
                return Err(OpenError::Geometry { what, found, limit });
            }
        }
        if let Some(found) = size.filter(|size| *size < plan.total_bytes()) {
            return Err(OpenError::Truncated { place: place(), expected: plan.total_bytes(), found });
        }
        let mut geometry = [0; 8];
        geometry.copy_from_slice(&words[at::GEOMETRY..at::GEOMETRY + 8]);
        Ok(Self {
            plan,
            geometry,
            layout_hash: words[at::LAYOUT_HASH],
            creation_id: words[at::CREATION],
            backend: words[at::BACKEND],
            shmid: words[at::SHMID] as i32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> [u64; WORDS] {
        let plan = Plan::new(8, 8192).unwrap();
        let header = Header {
            plan,
            geometry: [7; 8],
            layout_hash: mixed_hash(5),
            creation_id: 1,
            backend: 1,
            shmid: 0,
        };
        let words = header.words().unwrap();
        assert_eq!(Header::judge(&words, HEADER_BYTES, Some(plan.total_bytes()), "x", 5).unwrap(), header);
        words
    }

    fn judge(change: impl FnOnce(&mut [u64; WORDS])) -> OpenError {
        let mut words = sound();
        change(&mut words);
        Header::judge(&words, HEADER_BYTES, Some(1 << 20), "x", 5).unwrap_err()
    }

    #[test]
    fn each_fault_has_its_own_word() {
        use OpenError as E;
        assert!(matches!(judge(|w| w[at::MAGIC] = 1), E::NotASegment { found: 1, .. }));
        assert!(matches!(judge(|w| w[at::MAGIC] = MAGIC.swap_bytes()), E::ByteOrder { .. }));
        assert!(matches!(judge(|w| w[at::BYTE_ORDER] = 1), E::ByteOrder { found: 1, .. }));
        assert!(matches!(judge(|w| w[at::VERSION] = 0), E::Version { expected: VERSION, found: 0, .. }));
        assert!(matches!(judge(|w| w[at::BOOT] ^= 1), E::Boot { .. }));
        assert!(matches!(judge(|w| w[at::BOOT + 1] ^= 1), E::Boot { .. }));
        assert!(matches!(judge(|w| w[at::LAYOUT_HASH] ^= 1), E::LayoutHash { .. }));
        assert!(matches!(judge(|w| w[at::PAGE_BYTES] *= 2), E::PageBytes { .. }));
        assert!(matches!(judge(|w| w[at::MEMBERS] = 0), E::Geometry { what: "members", .. }));
        assert!(matches!(judge(|w| w[at::MEMBERS] = 257), E::Geometry { what: "members", .. }));
        assert!(matches!(judge(|w| w[at::MEMBERS] = 100), E::Geometry { what: "data area offset", .. }));
        assert!(matches!(
            judge(|w| w[at::DATA_AREA_BYTES] = u64::MAX),
            E::Geometry { what: "data area bytes", .. }
        ));
        assert!(matches!(
            judge(|w| w[at::DATA_AREA_BYTES] = 8191),
            E::Geometry { what: "data area bytes", .. }
        ));
        assert!(matches!(
            judge(|w| w[at::DATA_AREA_BYTES] = 1 << 40),
            E::Geometry { what: "total bytes", .. }
        ));
        assert!(matches!(judge(|w| w[at::HEADER_BYTES] = 8), E::Geometry { what: "header length", .. }));
    }

    #[test]
    fn short_files_are_truncated() {
        let words = sound();
        let judge = |filled, size| Header::judge(&words, filled, Some(size), "x", 5).unwrap_err();
        assert!(matches!(judge(0, 0), OpenError::Truncated { expected: HEADER_BYTES, found: 0, .. }));
        assert!(matches!(judge(100, 100), OpenError::Truncated { expected: HEADER_BYTES, found: 100, .. }));
        assert!(matches!(judge(512, 512), OpenError::Truncated { expected: 12288, found: 512, .. }));
    }
}
