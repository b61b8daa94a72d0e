//! How a space is created or found.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tenure_segment::{Backend, Place};

use crate::error::OpenError;
use crate::geometry::{Geometry, Plan};
use crate::space::Space;

/// Options of a space; see [`Space::options`]. What is left out takes the default when a space is created and whatever is
/// found when it exists; what is given must match.
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    members: Option<u16>,
    handles: Option<u32>,
    generation_bits: Option<u8>,
    scratch_bytes: Option<u64>,
    unit_bytes: Option<u32>,
    base: Geometry,
    sysv: bool,
    pub(crate) monitor: bool,
}

impl Options {
    pub(crate) fn new() -> Self {
        Self {
            members: None,
            handles: None,
            generation_bits: None,
            scratch_bytes: None,
            unit_bytes: None,
            base: Geometry::default(),
            sysv: false,
            monitor: true,
        }
    }

    /// The most members at a time, 1 to 256; 64 by default.
    pub fn members(mut self, members: u16) -> Self {
        self.members = Some(members);
        self
    }

    /// Handles, 1 to 2^20; 65,536 by default.
    pub fn handles(mut self, handles: u32) -> Self {
        self.handles = Some(handles);
        self
    }

    /// Bits of a generation, 4 to 36; 36 by default. Few bits make indices retire early: for tests.
    pub fn generation_bits(mut self, bits: u8) -> Self {
        self.generation_bits = Some(bits);
        self
    }

    /// Bytes of scratch memory, up to 2^20 units; 1 GiB by default, of which only what is used costs memory.
    pub fn scratch(mut self, bytes: u64) -> Self {
        self.scratch_bytes = Some(bytes);
        self
    }

    /// Bytes of a scratch unit, a power of two from 1 KiB to 1 MiB; 64 KiB by default.
    pub fn unit(mut self, bytes: u32) -> Self {
        self.unit_bytes = Some(bytes);
        self
    }

    /// Defaults for embedded use: the whole segment is under 32 KiB; see [`Geometry::tiny`].
    pub fn tiny(mut self) -> Self {
        self.base = Geometry::tiny();
        self
    }

    /// Whether members run a monitor thread, which recovers the dead at once; on by default. Without it recovery happens
    /// when somebody joins, runs out of something, or calls [`Member::recover`](crate::Member::recover).
    pub fn monitor(mut self, on: bool) -> Self {
        self.monitor = on;
        self
    }

    /// Which backend [`Options::open`] and [`Options::attach`] use: [`Backend::Shm`] by default, or [`Backend::SysV`].
    ///
    /// # Panics
    ///
    /// For backends that are not opened by name: they have methods of their own.
    pub fn backend(mut self, backend: Backend) -> Self {
        assert!(matches!(backend, Backend::Shm | Backend::SysV), "{backend} is not opened by name");
        self.sysv = backend == Backend::SysV;
        self
    }

    fn named(&self, name: &str) -> Place {
        if self.sysv { Place::SysV(name.into()) } else { Place::Shm(name.into()) }
    }

    /// Creates the space `name`, or attaches to it if it exists.
    ///
    /// A space is never half made: of several creators one wins and the others attach to its space. It outlives its
    /// members; after a reboot it starts afresh.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: bad name, impossible geometry or one that differs from the existing space's, no permission, no
    /// memory, or something of that name that is no space of ours.
    pub fn open(self, name: &str) -> Result<Space, OpenError> {
        let place = self.named(name);
        self.create(place)
    }

    /// Attaches to the space `name`, which must exist. Looking needs no more than this; nothing is written.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn attach(self, name: &str) -> Result<Space, OpenError> {
        let place = self.named(name);
        self.find(place)
    }

    /// As [`Options::open`], in a file of this host. The file's name gets the boot's identity as a suffix.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn open_file(self, path: impl Into<PathBuf>) -> Result<Space, OpenError> {
        self.create(Place::File(path.into()))
    }

    /// As [`Options::attach`], in a file.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn attach_file(self, path: impl Into<PathBuf>) -> Result<Space, OpenError> {
        self.find(Place::File(path.into()))
    }

    /// Creates a space without a name in a sealed memfd, to be passed on by [`Space::fd`].
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn memfd(self) -> Result<Space, OpenError> {
        self.create(Place::Memfd(None))
    }

    /// Attaches to a space by a file descriptor that another process got from [`Space::fd`] and passed.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn from_fd(self, fd: OwnedFd) -> Result<Space, OpenError> {
        self.find(Place::Memfd(Some(fd)))
    }

    /// Creates a space for this process and the children it forks.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn anonymous(self) -> Result<Space, OpenError> {
        self.create(Place::Anonymous)
    }

    /// Creates a space for this process alone: the same interface, nothing shared.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn private(self) -> Result<Space, OpenError> {
        self.create(Place::Private)
    }

    fn geometry(&self) -> Geometry {
        let base = self.base;
        Geometry {
            members: self.members.unwrap_or(base.members),
            handles: self.handles.unwrap_or(base.handles),
            generation_bits: self.generation_bits.unwrap_or(base.generation_bits),
            scratch_bytes: self.scratch_bytes.unwrap_or(base.scratch_bytes),
            unit_bytes: self.unit_bytes.unwrap_or(base.unit_bytes),
        }
    }

    fn create(self, place: Place) -> Result<Space, OpenError> {
        let plan = Plan::new(self.geometry())?;
        Space::create(place, &plan, self)
    }

    fn find(self, place: Place) -> Result<Space, OpenError> {
        Space::attach(place, self)
    }

    /// Whether what was asked for is what was found.
    pub(crate) fn accept(&self, found: Geometry) -> Result<(), OpenError> {
        let pairs = [
            ("members", self.members.map(u64::from), found.members.into()),
            ("handles", self.handles.map(u64::from), found.handles.into()),
            ("generation bits", self.generation_bits.map(u64::from), found.generation_bits.into()),
            ("scratch bytes", self.scratch_bytes, found.scratch_bytes),
            ("unit bytes", self.unit_bytes.map(u64::from), found.unit_bytes.into()),
        ];
        for (what, expected, found) in pairs {
            if let Some(expected) = expected
                && expected != found
            {
                return Err(OpenError::Geometry { what, expected, found });
            }
        }
        Ok(())
    }
}
