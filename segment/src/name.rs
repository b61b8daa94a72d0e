//! Backends, places, and the names that files get.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::OpenError;
use crate::host::BootId;
use crate::permissions::Permissions;

/// The directory of POSIX shared memory.
pub(crate) const SHM_DIRECTORY: &str = "/dev/shm";

/// The prefix of the names of segment files there.
pub(crate) const SHM_PREFIX: &str = "tenure-";

/// The suffix of the lock file of a SysV segment.
pub(crate) const SYSV_SUFFIX: &str = ".sysv";

const NAME_MAX: usize = 200;

/// The kind of memory of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// A file in `/dev/shm`.
    Shm,
    /// A file in a directory of the caller's choice, on tmpfs, ext4, xfs or btrfs.
    File,
    /// A sealed memfd, passed on as a file descriptor. It cannot be truncated under its users.
    Memfd,
    /// Anonymous shared memory, inherited by forked children.
    Anonymous,
    /// System V shared memory, for sandboxes that refuse shared file mappings. The memory is freed with its last user.
    SysV,
    /// Private memory: the same calls without sharing.
    Private,
}

impl Backend {
    const ALL: [(Self, &'static str, u64); 6] = [
        (Self::Shm, "shm", 1),
        (Self::File, "file", 2),
        (Self::Memfd, "memfd", 3),
        (Self::Anonymous, "anonymous", 4),
        (Self::SysV, "sysv", 5),
        (Self::Private, "private", 6),
    ];

    /// The number in the header.
    pub(crate) fn code(self) -> u64 {
        Self::ALL[self as usize].2
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::ALL[*self as usize].1)
    }
}

impl FromStr for Backend {
    type Err = OpenError;

    /// Reads what `Display` writes.
    ///
    /// # Errors
    ///
    /// [`OpenError::InvalidName`] for anything else.
    fn from_str(text: &str) -> Result<Self, OpenError> {
        let found = Self::ALL.iter().find(|(_, name, _)| *name == text);
        found.map(|(backend, ..)| *backend).ok_or_else(|| OpenError::InvalidName {
            name: text.to_owned(),
            why: "backends are shm, file, memfd, anonymous, sysv, private",
        })
    }
}

/// The place of an existing or new segment.
#[derive(Debug)]
pub enum Place {
    /// By name: 1 to 200 bytes of `A-Z a-z 0-9 . _ -`, not beginning with a dot.
    Shm(String),
    /// By path. The file itself is named PATH.BOOT, with eight digits of the boot id: after a reboot the segment is a new one.
    File(PathBuf),
    /// `None` creates a segment, `Some` attaches the passed one.
    Memfd(Option<OwnedFd>),
    /// Creates a segment; forked children inherit it.
    Anonymous,
    /// By name, as `Shm`; the name is that of a small lock file.
    SysV(String),
    /// Creates a segment.
    Private,
}

impl Place {
    /// The same place once more, if it has a name.
    #[must_use]
    pub fn by_name(&self) -> Option<Self> {
        match self {
            Self::Shm(name) => Some(Self::Shm(name.clone())),
            Self::File(path) => Some(Self::File(path.clone())),
            Self::SysV(name) => Some(Self::SysV(name.clone())),
            Self::Memfd(_) | Self::Anonymous | Self::Private => None,
        }
    }

    /// The backend that serves this place.
    #[must_use]
    pub const fn backend(&self) -> Backend {
        match self {
            Self::Shm(_) => Backend::Shm,
            Self::File(_) => Backend::File,
            Self::Memfd(_) => Backend::Memfd,
            Self::Anonymous => Backend::Anonymous,
            Self::SysV(_) => Backend::SysV,
            Self::Private => Backend::Private,
        }
    }
}

/// The files that belong to a named place.
#[derive(Clone, Debug)]
pub(crate) struct FileName {
    /// The name as given by users.
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
    /// The file name up to the dot before the boot digits.
    pub(crate) stem: String,
    /// The part of the file name after the boot digits.
    pub(crate) suffix: &'static str,
    boot: BootId,
    /// Who gets in.
    pub(crate) permissions: Permissions,
}

impl FileName {
    pub(crate) fn with(self, permissions: Permissions) -> Self {
        Self { permissions, ..self }
    }

    pub(crate) fn shm(name: &str, boot: BootId) -> Result<Self, OpenError> {
        Self::in_shm(name, "", boot)
    }

    pub(crate) fn sysv(name: &str, boot: BootId) -> Result<Self, OpenError> {
        Self::in_shm(name, SYSV_SUFFIX, boot)
    }

    fn in_shm(name: &str, suffix: &'static str, boot: BootId) -> Result<Self, OpenError> {
        if let Some(why) = fault_of(name) {
            return Err(OpenError::InvalidName { name: name.to_owned(), why });
        }
        let stem = format!("{SHM_PREFIX}{name}");
        let permissions = Permissions::default();
        Ok(Self { name: name.to_owned(), directory: SHM_DIRECTORY.into(), stem, suffix, boot, permissions })
    }

    pub(crate) fn file(path: &Path, boot: BootId) -> Result<Self, OpenError> {
        let invalid = |why| OpenError::InvalidName { name: path.display().to_string(), why };
        let whole = std::path::absolute(path).map_err(|_| invalid("it is empty"))?;
        let (Some(directory), Some(file)) = (whole.parent(), whole.file_name()) else {
            return Err(invalid("it has no file name"));
        };
        let stem = file.to_str().ok_or_else(|| invalid("its file name is not UTF-8"))?.to_owned();
        if stem.len() > NAME_MAX {
            return Err(invalid("its file name is longer than 200 bytes"));
        }
        let name = whole.display().to_string();
        let permissions = Permissions::default();
        Ok(Self { name, directory: directory.to_owned(), stem, suffix: "", boot, permissions })
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{}.{}{}", self.stem, self.boot.short(), self.suffix)
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.join(self.file_name())
    }

    /// Whether `file_name` is the name that this place has on another boot.
    pub(crate) fn is_of_another_boot(&self, file_name: &str) -> bool {
        let digits = file_name
            .strip_prefix(self.stem.as_str())
            .and_then(|rest| rest.strip_prefix('.'))
            .and_then(|rest| rest.strip_suffix(self.suffix));
        digits.is_some_and(|digits| is_boot_digits(digits) && digits != self.boot.short())
    }
}

/// Splits a file name of `/dev/shm` into name, boot digits and backend.
pub(crate) fn parse_shm_file(file_name: &str) -> Option<(&str, &str, Backend)> {
    let rest = file_name.strip_prefix(SHM_PREFIX)?;
    let (rest, backend) = match rest.strip_suffix(SYSV_SUFFIX) {
        Some(rest) if rest.rsplit_once('.').is_some_and(|(_, boot)| is_boot_digits(boot)) => {
            (rest, Backend::SysV)
        }
        _ => (rest, Backend::Shm),
    };
    let (name, boot) = rest.rsplit_once('.')?;
    (is_boot_digits(boot) && fault_of(name).is_none()).then_some((name, boot, backend))
}

fn is_boot_digits(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn fault_of(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_MAX {
        Some("it is longer than 200 bytes")
    } else if name.starts_with('.') {
        Some("it begins with a dot")
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-')) {
        Some("only A-Z a-z 0-9 . _ - are allowed")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boot() -> BootId {
        BootId([0x0123_abcd_0000_0000, 1])
    }

    #[test]
    fn names_that_are_refused_say_why() {
        for name in ["", ".hidden", "a/b", "a b", "..", "ä", &"x".repeat(201)] {
            assert!(matches!(FileName::shm(name, boot()), Err(OpenError::InvalidName { .. })), "{name:?}");
        }
        for name in ["a", "A.b_c-9", "-", &"x".repeat(200)] {
            assert!(FileName::shm(name, boot()).is_ok(), "{name:?}");
        }
        assert!(matches!(FileName::file(Path::new("/"), boot()), Err(OpenError::InvalidName { .. })));
        assert!(matches!(FileName::file(Path::new(""), boot()), Err(OpenError::InvalidName { .. })));
    }

    #[test]
    fn file_names_round_trip() {
        let shm = FileName::shm("a.b", boot()).unwrap();
        assert_eq!(shm.path(), Path::new("/dev/shm/tenure-a.b.0123abcd"));
        assert_eq!(parse_shm_file(&shm.file_name()), Some(("a.b", "0123abcd", Backend::Shm)));
        let sysv = FileName::sysv("a.b", boot()).unwrap();
        assert_eq!(parse_shm_file(&sysv.file_name()), Some(("a.b", "0123abcd", Backend::SysV)));
        assert_eq!(parse_shm_file("tenure-a.b"), None);
        assert_eq!(parse_shm_file("other-a.0123abcd"), None);
    }

    #[test]
    fn only_the_same_name_of_another_boot_is_a_leftover() {
        let shm = FileName::shm("a", boot()).unwrap();
        assert!(shm.is_of_another_boot("tenure-a.ffffffff"));
        for file in
            ["tenure-a.0123abcd", "tenure-a.ffffffff.sysv", "tenure-a.b.ffffffff", "tenure-a.FFFFFFFF", "a"]
        {
            assert!(!shm.is_of_another_boot(file), "{file}");
        }
    }

    #[test]
    fn backends_round_trip_as_text() {
        for (backend, name, code) in Backend::ALL {
            assert_eq!(backend.to_string(), name);
            assert_eq!(name.parse::<Backend>().unwrap(), backend);
            assert_eq!(backend.code(), code);
        }
        assert!("posix".parse::<Backend>().is_err());
    }
}
