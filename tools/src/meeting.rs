//! Where the processes of one run find their segment.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use tenure::{Backend, Options, Space};

/// A backend and what the segment is called in it; the same two words in every process.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// How the bytes come to be.
    pub backend: Backend,
    /// A name, or a path for files and memfds.
    pub name: String,
}

impl std::fmt::Display for Meeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.backend, self.name)
    }
}

impl std::str::FromStr for Meeting {
    type Err = String;

    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let (backend, name) =
            text.split_once(':').ok_or_else(|| format!("expected BACKEND:NAME, found {text:?}"))?;
        let backend = backend.parse().map_err(|error: tenure::SegmentError| error.to_string())?;
        Ok(Self { backend, name: name.to_owned() })
    }
}

/// Why there is no space.
#[derive(Debug, thiserror::Error)]
pub enum MeetingError {
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

impl Meeting {
    /// Creates the segment under `name`; the answer's name is the one to attach to.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn create(backend: Backend, name: &str, options: Options) -> Result<(Self, Space), MeetingError> {
        let refused = |error| MeetingError::Refused { name: name.to_owned(), error };
        let mut meeting = Self { backend, name: name.to_owned() };
        let space = match backend {
            Backend::Shm | Backend::SysV => options.backend(backend).open(name).map_err(refused)?,
            Backend::File => {
                let path = std::env::temp_dir().join(name);
                meeting.name = path.display().to_string();
                options.open_file(&path).map_err(refused)?
            }
            Backend::Memfd => {
                let space = options.memfd().map_err(refused)?;
                if let Some(fd) = space.fd() {
                    meeting.name = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
                }
                space
            }
            Backend::Anonymous | Backend::Private => return Err(MeetingError::NotShareable(backend)),
        };
        Ok((meeting, space))
    }

    /// Attaches to a segment that exists. Looks only, until somebody joins through it.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn attach(&self, options: Options) -> Result<Space, MeetingError> {
        let refused = |error| MeetingError::Refused { name: self.name.clone(), error };
        match self.backend {
            Backend::Shm | Backend::SysV => options.backend(self.backend).attach(&self.name).map_err(refused),
            Backend::File => options.attach_file(&self.name).map_err(refused),
            Backend::Memfd => {
                let file = File::options().read(true).write(true).open(&self.name);
                let file = file.and_then(|file| file.as_fd().try_clone_to_owned());
                let fd: OwnedFd =
                    file.map_err(|error| MeetingError::Descriptor { name: self.name.clone(), error })?;
                options.from_fd(fd).map_err(refused)
            }
            Backend::Anonymous | Backend::Private => Err(MeetingError::NotShareable(self.backend)),
        }
    }
}

/// An error with everything that led to it.
pub fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
