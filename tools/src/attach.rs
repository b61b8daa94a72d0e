//! Attaching to an existing segment, in any backend.

use std::fs::File;
use std::os::fd::OwnedFd;

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
    /// The memfd of another process cannot be opened.
    #[error("{name}: expected a memfd of a living process, found: {error}")]
    Descriptor {
        /// Path of the memfd.
        name: String,
        /// Error of the system.
        error: std::io::Error,
    },
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
            let file = File::options().read(true).write(true).open(name);
            let file = file.map_err(|error| AttachError::Descriptor { name: name.to_owned(), error })?;
            options.from_fd(OwnedFd::from(file)).map_err(refused)
        }
        Backend::Anonymous | Backend::Private => Err(AttachError::NotShareable(backend)),
    }
}
