//! The backend and name under which the processes of a run find their segment.

use std::os::fd::AsRawFd;
use std::sync::Arc;

use tenure::{Backend, Options, Space};
use tenure_tools::attach::{AttachError, attach};

/// A backend and the name of the segment in it; the same pair in every process.
#[derive(Debug, Clone)]
pub struct Meeting {
    /// Backend of the segment.
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

    /// Parses the output of `Display`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (backend, name) =
            text.split_once(':').ok_or_else(|| format!("expected BACKEND:NAME, found {text:?}"))?;
        let backend = backend.parse().map_err(|error: tenure::error::SegmentError| error.to_string())?;
        Ok(Self { backend, name: name.to_owned() })
    }
}

/// Prefix of the segment names of runs; a process id and a random number follow.
const PREFIX: &str = "run-";

/// The segment of a run: created under a unique name, and removed when this value is dropped, however the run ends.
#[derive(Debug)]
pub struct Segment {
    /// Backend and name for the other processes of the run.
    pub meeting: Meeting,
    /// The space, attached in this process.
    pub space: Arc<Space>,
}

impl Segment {
    /// Creates a segment.
    ///
    /// # Errors
    /// The backend cannot be shared, or tenure refuses.
    pub fn create(backend: Backend, options: Options) -> Result<Self, AttachError> {
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>());
        let (meeting, space) = Meeting::create(backend, &name, options)?;
        Ok(Self { meeting, space: Arc::new(space) })
    }

    /// Removes the segments of runs that were killed before they could remove them.
    pub fn sweep(backend: Backend) {
        for listed in Space::list().unwrap_or_default().iter().filter(|listed| listed.backend == backend) {
            let process = listed.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
            let Some((process, _)) = process else { continue };
            if !std::path::Path::new("/proc").join(process).exists() {
                // Refused while the segment has a living member; that is correct.
                let _ = Space::remove(listed.backend, &listed.name, false);
            }
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A memfd needs no removal, and an error here cannot be handled.
        let _ = Space::remove(self.meeting.backend, &self.meeting.name, true);
    }
}

impl Meeting {
    /// Creates the segment under `name`; other processes attach with the returned `Self`.
    ///
    /// # Errors
    /// The backend cannot be shared, or tenure refuses.
    fn create(backend: Backend, name: &str, options: Options) -> Result<(Self, Space), AttachError> {
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

    /// Attaches to an existing segment. The space is read-only until a member joins through it.
    ///
    /// # Errors
    /// The backend cannot be shared, or tenure refuses.
    pub fn attach(&self, options: Options) -> Result<Space, AttachError> {
        attach(self.backend, &self.name, options)
    }
}
