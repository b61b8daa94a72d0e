//! Facts about the machine: boot, pages, users, randomness, file systems.

use std::fmt;
use std::io;
use std::os::fd::AsFd;

/// The kernel's random id of this boot. No two boots of any machines have the same id, so it also identifies the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootId(pub(crate) [u64; 2]);

impl BootId {
    pub(crate) fn current() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        Self::parse(text.trim()).ok_or_else(|| io::Error::other("boot_id is not a UUID"))
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: String = text.chars().filter(|c| *c != '-').collect();
        if digits.len() != 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let half = |range| u64::from_str_radix(&digits[range], 16).ok();
        Some(Self([half(0..16)?, half(16..32)?]))
    }

    /// The first eight digits; file names end with them.
    pub(crate) fn short(self) -> String {
        format!("{:08x}", self.0[0] >> 32)
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}

pub(crate) fn effective_uid() -> u64 {
    u64::from(rustix::process::geteuid().as_raw())
}

/// A random word that is not zero.
pub(crate) fn random_word() -> io::Result<u64> {
    loop {
        let mut bytes = [0_u8; 8];
        // SAFETY: a local buffer of eight bytes.
        let filled = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if filled < 0 {
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        } else if filled == 8 && bytes != [0; 8] {
            return Ok(u64::from_le_bytes(bytes));
        }
    }
}

/// The file systems that are accepted: the pinned lock was tested there, or is known to be the kernel's own.
const WELCOME: [u64; 4] = [0x0102_1994, 0xEF53, 0x5846_5342, 0x9123_683E];

/// Common file systems that cannot be used, by name.
const KNOWN: [(u64, &str); 10] = [
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x517B, "SMB"),
    (0x6573_5546, "FUSE"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "AFS"),
    (0x00C3_6400, "ceph"),
    (0x794C_7630, "overlayfs"),
    (0x8584_58F6, "ramfs"),
];

/// `Err` names a file system that cannot be used.
pub(crate) fn file_system_of(fd: impl AsFd) -> io::Result<Result<(), String>> {
    let magic = rustix::fs::fstatfs(fd)?.f_type as u64 & 0xFFFF_FFFF;
    if WELCOME.contains(&magic) {
        return Ok(Ok(()));
    }
    let name =
        KNOWN.iter().find(|(number, _)| *number == magic).map_or("an unknown file system", |(_, name)| name);
    Ok(Err(format!("{name} ({magic:#x})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_id_parses_and_shortens() {
        let boot = BootId::parse("0123abcd-4567-89ab-cdef-0123456789ab").unwrap();
        assert_eq!(boot.short(), "0123abcd");
        assert_eq!(boot.to_string(), "0123abcd456789abcdef0123456789ab");
        assert!(BootId::parse("0123abcd").is_none());
        assert!(BootId::parse("g123abcd-4567-89ab-cdef-0123456789ab").is_none());
        assert!(BootId::current().unwrap() == BootId::current().unwrap());
    }

    #[test]
    fn random_words_differ() {
        assert_ne!(random_word().unwrap(), random_word().unwrap());
    }

    #[test]
    fn proc_is_no_place_for_a_segment() {
        let file = std::fs::File::open("/proc/self/stat").unwrap();
        assert!(file_system_of(&file).unwrap().unwrap_err().contains("0x9fa0"));
    }
}
