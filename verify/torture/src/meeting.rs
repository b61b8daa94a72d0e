//! Where the processes of one run find their segment.

use std::os::fd::AsRawFd;

use tenure::{Backend, Options, Space};
use tenure_tools::attach::{AttachError, attach};

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

impl Meeting {
    /// Creates the segment under `name`; the answer's name is the one to attach to.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn create(backend: Backend, name: &str, options: Options) -> Result<(Self, Space), AttachError> {
        let refused = |error| AttachError::Refused { name: name.to_owned(), error };
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
            Backend::Anonymous | Backend::Private => return Err(AttachError::NotShareable(backend)),
        };
        Ok((meeting, space))
    }

    /// Attaches to a segment that exists. Looks only, until somebody joins through it.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn attach(&self, options: Options) -> Result<Space, AttachError> {
        attach(self.backend, &self.name, options)
    }
}
