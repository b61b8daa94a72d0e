//! Files that appear under their name complete or not at all, and that are removed only if no lease of them is held.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::attachment::{FileId, link_of};
use crate::error::OpenError;
use crate::header::MAGIC;
use crate::host;
use crate::lock;
use crate::name::FileName;
use crate::permissions::Permissions;
use crate::presence;

/// The number of attempts while other processes create or remove the name.
pub(crate) const ATTEMPTS: u32 = 16;

pub(crate) fn os(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> OpenError {
    let place = path.display().to_string();
    move |source| OpenError::Os { what, place, source: source.into() }
}

/// Refuses file systems on which sharing or locks are not reliable.
pub(crate) fn check_file_system(fd: &OwnedFd, path: &Path) -> Result<(), OpenError> {
    let place = || path.display().to_string();
    host::file_system_of(fd)
        .map_err(|source| OpenError::Os { what: "ask for the file system of", place: place(), source })?
        .map_err(|found| OpenError::FileSystem { place: place(), found })
}

/// Refuses the creation of a segment beside living members of another one of this name.
pub(crate) fn check_alone(name: &FileName) -> Result<(), OpenError> {
    let place = name.path().display().to_string();
    if let Some(error) = presence::living_elsewhere(name) {
        return Err(error);
    }
    // A folder that cannot be asked does not keep anybody from creating.
    let is_anybody_unpermitted = || presence::is_anybody_unpermitted(name).unwrap_or(false);
    // In this order: a creator gives the file its name before it ends the permit.
    if is_anybody_unpermitted() && !name.path().exists() && is_anybody_unpermitted() {
        return Err(OpenError::Removed { place });
    }
    Ok(())
}

/// Opens the file of that name, if there is one. Never follows a link.
pub(crate) fn open_existing(
    path: &Path,
    access: OFlags,
    permissions: Permissions,
) -> Result<Option<OwnedFd>, OpenError> {
    let flags = access | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ACCESS) => {
            let refused = foreign(path, permissions);
            return Err(refused.unwrap_or_else(|| os("open the segment", path)(Errno::ACCESS)));
        }
        Err(error) => return Err(os("open the segment", path)(error)),
    };
    check_file_system(&fd, path)?;
    let stat = rustix::fs::fstat(&fd).map_err(os("stat the segment", path))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(OpenError::NotASegment { place: path.display().to_string(), expected: MAGIC, found: 0 });
    }
    Ok(Some(fd))
}

/// The error for a file that may not be opened.
fn foreign(path: &Path, permissions: Permissions) -> Option<OpenError> {
    let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(permissions.refusal(&stat, &path.display().to_string()))
}

/// Makes a file without a name, has it filled, and gives it the name. `None`: another process was first.
///
/// # Crash
///
/// Killed before the name appears: nothing is left (on file systems without O_TMPFILE: an unlocked temporary file, which the next
/// creator removes).
pub(crate) fn create(
    name: &FileName,
    fill: &mut dyn FnMut(&OwnedFd) -> Result<(), OpenError>,
) -> Result<Option<OwnedFd>, OpenError> {
    create_with(name, true, fill)
}

fn create_with(
    name: &FileName,
    unnamed: bool,
    fill: &mut dyn FnMut(&OwnedFd) -> Result<(), OpenError>,
) -> Result<Option<OwnedFd>, OpenError> {
    let directory = &name.directory;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent =
        rustix::fs::open(directory, flags, Mode::empty()).map_err(os("open the directory", directory))?;
    check_file_system(&parent, directory)?;
    remove_leftovers(name);

    let private = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let unnamed = if unnamed {
        match rustix::fs::openat(&parent, ".", flags | OFlags::TMPFILE, private) {
            Ok(fd) => Some(fd),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => None,
            Err(error) => return Err(os("create a file in", directory)(error)),
        }
    } else {
        None
    };
    let (fd, temporary) = match unnamed {
        Some(fd) => (fd, None),
        None => {
            let (fd, path) = create_temporary(name)?;
            (fd, Some(path))
        }
    };
    fill(&fd)?;
    name.permissions.apply(&fd).map_err(os("set the owner, group and mode of a file in", directory))?;
    let target = name.file_name();
    let linked = match &temporary {
        Some(temporary) => rustix::fs::linkat(CWD, &temporary.0, &parent, &target, AtFlags::empty()),
        None => rustix::fs::linkat(CWD, link_of(fd.as_fd()), &parent, &target, AtFlags::SYMLINK_FOLLOW),
    };
    match linked {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(None),
        Err(Errno::NOSPC | Errno::DQUOT) => {
            return Err(OpenError::NoSpace { wanted: 0, place: name.path().display().to_string() });
        }
        Err(error) => return Err(os("name the segment", &name.path())(error)),
    }
    presence::end_permit(name);
    Ok(Some(fd))
}

/// A temporary name. It is removed on drop, after an error as well as after the file got its real name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = rustix::fs::unlink(&self.0);
    }
}

fn temporary_prefix(name: &FileName) -> String {
    format!(".{}.new-", name.file_name())
}

/// Creates a temporary file and locks all its bytes. The lock lasts as long as the descriptor, so a file without it is a leftover.
fn create_temporary(name: &FileName) -> Result<(OwnedFd, Temporary), OpenError> {
    let random = host::random_word().map_err(|source| OpenError::Os {
        what: "get randomness for",
        place: name.path().display().to_string(),
        source,
    })?;
    let path = name.directory.join(format!("{}{random:016x}", temporary_prefix(name)));
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).map_err(os("create", &path))?;
    let temporary = Temporary(path);
    let locked = lock::try_write_all(&fd);
    match locked {
        Ok(true) => Ok((fd, temporary)),
        Ok(false) => Err(os("lock", &temporary.0)(Errno::AGAIN)),
        Err(source) => Err(OpenError::Os { what: "lock", place: temporary.0.display().to_string(), source }),
    }
}

/// Unlinks the files of this place from other boots, and the temporary files of creators that died. Best effort.
pub(crate) fn remove_leftovers(name: &FileName) {
    let Ok(entries) = std::fs::read_dir(&name.directory) else { return };
    let prefix = temporary_prefix(name);
    for entry in entries.flatten() {
        let file_name = entry.file_name();
        let Some(file_name) = file_name.to_str() else { continue };
        presence::tidy(&name.directory, file_name);
        let temporary = file_name.starts_with(&prefix);
        if (temporary || name.is_of_another_boot(file_name)) && is_leftover(&entry.path(), temporary) {
            let _ = rustix::fs::unlink(entry.path());
        }
    }
}

/// Whether the file is our user's, begins with the magic (unless it is temporary), and has no lock.
fn is_leftover(path: &Path, temporary: bool) -> bool {
    let Ok(Some(fd)) = open_existing(path, OFlags::RDWR, Permissions::default()) else { return false };
    let ours = rustix::fs::fstat(&fd).is_ok_and(|stat| u64::from(stat.st_uid) == host::effective_uid());
    let mut magic = [0; 8];
    let marked = matches!(rustix::io::pread(&fd, &mut magic, 0), Ok(8)) && u64::from_le_bytes(magic) == MAGIC;
    ours && (marked || temporary) && matches!(lock::try_write_all(&fd), Ok(true))
}

/// The result of an attempt to unlink.
pub(crate) enum Unlinked {
    Yes,
    /// The name refers to another file by now, or to none.
    Moved,
}

/// Unlinks `path` if it still is `fd`.
pub(crate) fn unlink(path: &Path, fd: &OwnedFd) -> io::Result<Unlinked> {
    let id = FileId::of(fd)?;
    let current =
        match rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(current) => FileId::of(&current)?,
            Err(Errno::NOENT) => return Ok(Unlinked::Moved),
            Err(error) => return Err(error.into()),
        };
    if current != id {
        return Ok(Unlinked::Moved);
    }
    match rustix::fs::unlink(path) {
        Ok(()) => Ok(Unlinked::Yes),
        Err(Errno::NOENT) => Ok(Unlinked::Moved),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::BootId;

    fn name_in(directory: &Path) -> FileName {
        FileName::file(&directory.join("x"), BootId::current().unwrap()).unwrap()
    }

    fn entries(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn without_tmpfile_nothing_half_made_stays() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let name = name_in(directory.path());
        let failed = create_with(&name, false, &mut |_| Err(OpenError::NotFound { place: String::new() }));
        assert!(failed.is_err());
        assert_eq!(entries(directory.path()), 0);
        assert!(create_with(&name, false, &mut |_| Ok(())).unwrap().is_some());
        assert_eq!(entries(directory.path()), 1);
        assert!(create_with(&name, false, &mut |_| Ok(())).unwrap().is_none(), "the second is too late");
        assert!(create_with(&name, true, &mut |_| Ok(())).unwrap().is_none(), "with O_TMPFILE as well");
        assert_eq!(entries(directory.path()), 1);
    }

    #[test]
    fn leftovers_go_and_strangers_stay() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let name = name_in(directory.path());
        let write = |file: &str, bytes: &[u8]| {
            let path = directory.path().join(file);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let temporary = write(&format!("{}1", temporary_prefix(&name)), b"");
        let other_boot = write("x.00000000", b"TENURESG and more");
        let stranger = write("x.11111111", b"somebody's data");
        let held = write("x.22222222", b"TENURESG and more");
        let holder = std::fs::File::open(&held).unwrap();
        assert!(lock::try_read(&holder, 3).unwrap());
        remove_leftovers(&name);
        assert!(!temporary.exists() && !other_boot.exists());
        assert!(stranger.exists() && held.exists());
    }
}
