//! Attaching to an existing segment, in any backend.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use tenure::{Backend, Options, Space};

use crate::exit::in_full;

/// The reason why there is no space.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// The backend cannot be shared at all, or only with child processes.
    #[error("expected a backend that other programs can attach (shm, file, memfd or sysv), found {0}")]
    NotShareable(Backend),
    /// Tenure refused the segment.
    #[error("{name}: {}", in_full(error))]
    Refused {
        /// Name of the segment.
        name: String,
        /// Reason of the refusal.
        error: tenure::error::OpenError,
    },
    /// The memory of an anonymous space of another process cannot be opened.
    #[error(
        "{name}: expected an anonymous space of a process whose memory we may open (CAP_CHECKPOINT_RESTORE), found: {error}"
    )]
    Anonymous {
        /// Path of its locks.
        name: String,
        /// Error of the system.
        error: io::Error,
    },
    /// The memfd of another process cannot be opened.
    #[error("{name}: expected a memfd of a living process, found: {error}")]
    Descriptor {
        /// Path of the memfd.
        name: String,
        /// Error of the system.
        error: io::Error,
    },
}

/// The creation id of the anonymous space whose locks the descriptor leads to.
fn locks_of(name: &str) -> Option<u64> {
    let target = std::fs::read_link(name).ok()?;
    let id = target.to_str()?.strip_prefix("/memfd:tenure-locks-")?.get(..16)?;
    u64::from_str_radix(id, 16).ok()
}

/// The memory of the anonymous space, among what the process of the descriptor has mapped.
fn memory_of(descriptor: &Path, creation_id: u64) -> io::Result<File> {
    let none =
        || io::Error::new(io::ErrorKind::NotFound, "the process does not map the memory of these locks");
    let process = descriptor.parent().and_then(Path::parent).ok_or_else(none)?;
    let mut failure = None;
    for line in std::fs::read_to_string(process.join("maps"))?.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(access)) = (fields.next(), fields.next()) else { continue };
        if !access.ends_with('s')
            || fields.next_back() != Some("(deleted)")
            || fields.next_back() != Some("/dev/zero")
        {
            continue;
        }
        let range: Vec<_> = range.split('-').map(|number| number.trim_start_matches('0')).collect();
        // Magic and creation id: docs/layout.md.
        let (mut magic, mut id) = ([0; 8], [0; 8]);
        let opened = File::open(process.join("map_files").join(range.join("-")));
        let read = opened.and_then(|file| {
            file.read_exact_at(&mut magic, 0)?;
            file.read_exact_at(&mut id, 144)?;
            Ok(file)
        });
        match read {
            Ok(file) if &magic == b"TENURESG" && u64::from_le_bytes(id) == creation_id => return Ok(file),
            Ok(_) => {}
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(none))
}

/// Attaches to an existing segment; `name` is a path for the backends file and memfd. The space is read-only until a
/// member joins through it.
///
/// # Errors
/// The backend cannot be shared, or tenure refuses.
pub fn attach(backend: Backend, name: &str, options: Options) -> Result<Space, AttachError> {
    let refused = |error| AttachError::Refused { name: name.to_owned(), error };
    match backend {
        Backend::Shm | Backend::SysV => options.backend(backend).attach(name).map_err(refused),
        Backend::File => options.attach_file(name).map_err(refused),
        Backend::Memfd => {
            let Some(locks) = locks_of(name) else {
                let file = File::options().read(true).write(true).open(name);
                let file = file.map_err(|error| AttachError::Descriptor { name: name.to_owned(), error })?;
                return options.from_fd(OwnedFd::from(file)).map_err(refused);
            };
            let failed = |error| AttachError::Anonymous { name: name.to_owned(), error };
            let companion = OwnedFd::from(File::open(name).map_err(failed)?);
            let memory = OwnedFd::from(memory_of(Path::new(name), locks).map_err(failed)?);
            options.look_at_anonymous(&memory, &companion).map_err(refused)
        }
        Backend::Anonymous | Backend::Private => Err(AttachError::NotShareable(backend)),
    }
}
