//! Where the processes of one run find their segment.

use std::os::fd::AsRawFd;
use std::sync::Arc;

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

/// What the segments of runs are called: this, a process id, and something random.
const PREFIX: &str = "run-";

/// The segment of a run: made under a name of its own, removed when it is dropped, however the run ends.
#[derive(Debug)]
pub struct Segment {
    /// Where the other processes of the run find it.
    pub meeting: Meeting,
    /// Our view of it.
    pub space: Arc<Space>,
}

impl Segment {
    /// Makes one.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn create(backend: Backend, options: Options) -> Result<Self, AttachError> {
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>());
        let (meeting, space) = Meeting::create(backend, &name, options)?;
        Ok(Self { meeting, space: Arc::new(space) })
    }

    /// Removes the segments of runs that were killed before they could do it themselves.
    pub fn sweep(backend: Backend) {
        for listed in Space::list().unwrap_or_default().iter().filter(|listed| listed.backend == backend) {
            let process = listed.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
            let Some((process, _)) = process else { continue };
            if !std::path::Path::new("/proc").join(process).exists() {
                // Refused while somebody is a member, and right so.
                let _ = Space::remove(listed.backend, &listed.name, false);
            }
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // A memfd goes by itself, and about a segment that cannot be removed nothing is left to be done.
        let _ = Space::remove(self.meeting.backend, &self.meeting.name, true);
    }
}

impl Meeting {
    /// Creates the segment under `name`; the answer's name is the one to attach to.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
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

    /// Attaches to a segment that exists. Looks only, until somebody joins through it.
    ///
    /// # Errors
    /// A backend that cannot be shared, or what tenure says.
    pub fn attach(&self, options: Options) -> Result<Space, AttachError> {
        attach(self.backend, &self.name, options)
    }
}
