//! Attaching to a segment that exists, in whichever backend.

use std::fs::File;
use std::os::fd::OwnedFd;

use tenure::{Backend, Options, Space};

use crate::exit::in_full;

/// Why there is no space.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Only relatives or nobody could share it.
    #[error("expected a backend that other programs can attach (shm, file, memfd or sysv), found {0}")]
    NotShareable(Backend),
    /// Tenure refused.
    #[error("{name}: {}", in_full(error))]
    Refused {
        /// What was to be opened.
        name: String,
        /// Why not.
        error: tenure::OpenError,
    },
    /// The memfd of another process cannot be opened.
    #[error("{name}: expected a memfd of a living process, found: {error}")]
    Descriptor {
        /// Its path.
        name: String,
        /// What the system said.
        error: std::io::Error,
    },
}

/// Attaches to a segment that exists; `name` is a path for the backends file and memfd. Looks only, until somebody joins
/// through it.
///
/// # Errors
/// A backend that cannot be shared, or what tenure says.
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
