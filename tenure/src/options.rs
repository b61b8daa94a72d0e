//! Options of a space: the numbers of its geometry, its backend, and the calls that create it or attach to it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use tenure_segment::{Backend, Permissions, Place};

use crate::deaths::{Death, OnDeath};
use crate::error::OpenError;
use crate::geometry::{Geometry, Plan};
use crate::space::Space;

/// Options of a space; see [`Space::options`]. An option that is not set takes its default when the space is created, and is
/// ignored when the space exists. An option that is set must match the existing space.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let space = tenure::Space::options()
///     .members(8)
///     .handles(1024)
///     .scratch(16 << 20) // bytes
///     .anonymous()?;
/// assert_eq!((space.geometry().members, space.geometry().handles), (8, 1024));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Options {
    members: Option<u16>,
    handles: Option<u32>,
    generation_bits: Option<u8>,
    scratch_bytes: Option<u64>,
    unit_bytes: Option<u32>,
    slots: Option<u32>,
    container_slots: Option<u32>,
    base: Geometry,
    sysv: bool,
    pub(crate) monitor: bool,
    pub(crate) read_only: bool,
    pub(crate) permissions: Permissions,
    pub(crate) on_death: Option<OnDeath>,
    pub(crate) replaces_unused: bool,
}

impl Options {
    pub(crate) fn new() -> Self {
        Self {
            members: None,
            handles: None,
            generation_bits: None,
            scratch_bytes: None,
            unit_bytes: None,
            slots: None,
            container_slots: None,
            base: Geometry::default(),
            sysv: false,
            monitor: true,
            read_only: false,
            permissions: Permissions::default(),
            on_death: None,
            replaces_unused: false,
        }
    }

    /// Sets the largest number of members at a time, 1 to 256; 64 by default.
    pub fn members(mut self, members: u16) -> Self {
        self.members = Some(members);
        self
    }

    /// Sets the number of handles, 1 to 2^20; 65,536 by default.
    pub fn handles(mut self, handles: u32) -> Self {
        self.handles = Some(handles);
        self
    }

    /// Sets the bits of a generation, 4 to 36; 36 by default. An index is retired after `1 << bits` uses, so few bits retire
    /// indices early, which only tests need.
    pub fn generation_bits(mut self, bits: u8) -> Self {
        self.generation_bits = Some(bits);
        self
    }

    /// Sets the bytes of scratch memory, up to 2^20 units; 1 GiB by default. Only the bytes in use cost memory.
    pub fn scratch(mut self, bytes: u64) -> Self {
        self.scratch_bytes = Some(bytes);
        self
    }

    /// Sets the bytes of a scratch unit, a power of two from 1 KiB to 1 MiB; 64 KiB by default.
    pub fn unit(mut self, bytes: u32) -> Self {
        self.unit_bytes = Some(bytes);
        self
    }

    /// Sets the number of slots, 0 to 2^20; none by default. A slot holds a handle as a member does, so that the handle outlives all
    /// members: see [`Slots`](crate::Slots). A space with slots has at most 254 members.
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// Sets the number of slots for what queues and maps hold, 0 to 2^20; none by default. It is rounded up to a multiple of 64, and each
    /// queue and map takes a power of two of them, at least 64: see `Queue` and `Map`. A space with such slots has at most 254 members.
    pub fn container_slots(mut self, slots: u32) -> Self {
        self.container_slots = Some(slots.checked_next_multiple_of(64).unwrap_or(slots));
        self
    }

    /// Takes the defaults for embedded use: the whole segment is under 32 KiB; see [`Geometry::tiny`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().tiny().private()?;
    /// assert!(space.bytes() < 32 << 10);
    /// # Ok(()) }
    /// ```
    pub fn tiny(mut self) -> Self {
        self.base = Geometry::tiny();
        self
    }

    /// Sets whether members run a monitor thread, which recovers dead members at once; on by default. Without monitors, recovery
    /// happens when a process joins, when a member runs out of handles or memory, or when a member calls
    /// [`Member::recover`](crate::Member::recover).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().monitor(false).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?; // starts no thread
    /// assert_eq!(me.monitor_state(), tenure::MonitorState::Off);
    /// # Ok(()) }
    /// ```
    pub fn monitor(mut self, on: bool) -> Self {
        self.monitor = on;
        self
    }

    /// Sets whether the members that join by this `Space` only read; off by default. The payloads that lie in blocks are then mapped
    /// read-only: a store by such a member, by mistake or through a wild pointer, ends the process by SIGSEGV and changes no byte. The
    /// words of the protocol stay writable, and with them payloads of up to 32 bytes, which lie among them.
    ///
    /// A reader opens handles, reads, waits, locks, frees and recovers as every member. It creates and allocates nothing:
    /// [`ReadOnly`](crate::error::ReadOnly).
    ///
    /// This is a guard against mistakes. A program that means to write can map the file again. In a [private](Self::private) space,
    /// where nobody else writes anything to be read, the memory stays writable. The mapping of the payloads is that of the `Space`: it lasts
    /// as long as the space or its members, also in forked children.
    ///
    /// ```
    /// use tenure::{error::{AllocError, ReadOnly}, Kind, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = Space::options().scratch(1 << 20).memfd()?;
    /// let me = space.join()?;
    /// let handle = me.create_raw(Kind::raw(1), &[7; 100])?;
    ///
    /// let fd = space.fd().ok_or("no descriptor")?.try_clone_to_owned()?; // usually in another process
    /// let reader = Space::options().read_only(true).from_fd(fd)?.join()?;
    /// assert_eq!(reader.open_raw(Kind::raw(1), handle.token())?.get()?, [7; 100]);
    /// let refused = reader.alloc(std::alloc::Layout::new::<u64>());
    /// assert!(matches!(refused, Err(AllocError::ReadOnly(ReadOnly))));
    /// # Ok(()) }
    /// ```
    pub fn read_only(mut self, on: bool) -> Self {
        self.read_only = on;
        self
    }

    /// Sets whether [`Options::open`] and [`Options::open_file`] replace a space that exists with another geometry and in which nobody lives; off by default. It is for
    /// programs whose settings change from one run to the next. What is in the space is lost, also what its slots and queues hold.
    ///
    /// A space is never replaced while it has a member, living or stopped, while a process joins it, or while members live in an earlier space of that
    /// name; the error is [`OpenError::Geometry`] then. A process that has opened the old space and joins afterwards is refused with
    /// [`JoinError::Removed`](crate::error::JoinError::Removed), and opens it again. Between the old space and the new one the name leads to
    /// nothing for a moment: an [attach](Self::attach) may find none, and of several that open it then, one creates it.
    ///
    /// ```
    /// use tenure::{error::OpenError, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-replace-{}", std::process::id());
    /// let before = Space::options().handles(64).scratch(1 << 20).open(&name)?;
    /// let me = before.join()?;
    /// let options = Space::options().handles(128).scratch(1 << 20).replace_unused(true);
    /// let refused = options.clone().open(&name);
    /// assert!(matches!(refused, Err(OpenError::Geometry { what: "handles", expected: 128, found: 64 })));
    ///
    /// me.leave()?;
    /// let after = options.open(&name)?;
    /// assert!(after.created() && after.geometry().handles == 128);
    /// # tenure::Space::remove(tenure::Backend::Shm, &name, false)?;
    /// # Ok(()) }
    /// ```
    pub fn replace_unused(mut self, on: bool) -> Self {
        self.replaces_unused = on;
        self
    }

    /// Sets what the members that join by this `Space` call when they have recovered a dead member: to write it to a log, for instance.
    ///
    /// Each member calls it for the deaths in whose recovery it took part, with what it took back itself: by its monitor, in its join, when it ran out
    /// of something, or in [`Member::recover`](crate::Member::recover). When several survivors notice a death at the same moment, each of them may
    /// have a part, and their numbers add up; one that finds everything done is not told. To learn that one process has ended, wait for a
    /// [`Process`](crate::process::Process).
    ///
    /// The calls are made one after the other, on a thread that the join starts for them, after the recovery and without any lock of tenure: they may use
    /// the member, take long, and panic. The thread blocks signals. What was told before the member leaves is still called, perhaps after it has left;
    /// the leave does not wait for it. What the closure owns is dropped afterwards; if that is the member itself, it never leaves.
    ///
    /// ```
    /// # use std::sync::mpsc;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (send, deaths) = mpsc::channel();
    /// let options = tenure::Space::options().scratch(1 << 20);
    /// let space = options.on_death(move |death| _ = send.send(*death)).anonymous()?;
    /// let me = space.join()?;
    ///
    /// // SAFETY: the child only calls what is below and never returns.
    /// let child = unsafe { libc::fork() };
    /// if child == 0 {
    ///     let victim = space.join().unwrap();
    ///     let _block = victim.alloc(std::alloc::Layout::new::<[u8; 4096]>()).unwrap();
    ///     // SAFETY: no preconditions.
    ///     unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    /// }
    /// let death = deaths.recv()?;
    /// assert_eq!((death.pid, death.blocks), (child.try_into()?, 1));
    /// # // SAFETY: our child.
    /// # unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    /// # Ok(()) }
    /// ```
    pub fn on_death(mut self, call: impl Fn(&Death) + Send + Sync + 'static) -> Self {
        self.on_death = Some(OnDeath::new(call));
        self
    }

    /// Sets who may use the space, as the mode of a file: `0o600`, the default, to `0o666`. All need both reading and writing. The
    /// umask does not matter. Whoever attaches with a mode is refused if the space has another one. Whoever gives none accepts any
    /// mode. The others who get in are trusted like oneself: they can write every byte.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-mode-{}", std::process::id());
    /// # // SAFETY: no arguments.
    /// # let group = unsafe { libc::getegid() };
    /// // For all users in a group, whoever of them comes first:
    /// let shared = || tenure::Space::options().scratch(1 << 20).mode(0o660).group(group);
    /// let space = shared().open(&name)?;
    /// let again = shared().open(&name)?; // usually in a process of another user
    /// assert!(tenure::Space::options().mode(0o600).open(&name).is_err());
    /// # tenure::Space::remove(tenure::Backend::Shm, &name, false)?;
    /// # Ok(()) }
    /// ```
    pub fn mode(mut self, mode: u32) -> Self {
        self.permissions.mode = Some(mode);
        self
    }

    /// Sets the group of the space; see [`Options::mode`]. The creator is in that group, or root. Whoever attaches accepts the space of
    /// any owner, as long as it has that group. In a folder with the setgid bit that proves nothing about the owner: there the files of all
    /// who may write to the folder are of the folder's group.
    pub fn group(mut self, gid: u32) -> Self {
        self.permissions.group = Some(gid);
        self
    }

    /// Sets the owner of the space. Only root can give a space to another user, for a server whose workers give up root's rights
    /// before they join. Whoever attaches accepts the space of that user only; for root that is the way to a space of another user.
    pub fn owner(mut self, uid: u32) -> Self {
        self.permissions.owner = Some(uid);
        self
    }

    /// Sets the backend of [`Options::open`] and [`Options::attach`]: [`Backend::Shm`] by default, or [`Backend::SysV`].
    ///
    /// ```
    /// # use tenure::{Backend, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let options = Space::options().backend(Backend::SysV).handles(64);
    /// let missing = options.attach("nobody-made-this");
    /// assert!(missing.is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics for each other backend. Those are not opened by name and have methods of their own, such as [`Options::memfd`].
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
    /// The creation is atomic: of several creators one wins, and the others attach to its space. A space outlives its members;
    /// after a reboot it is empty again. [`Space::remove`] removes it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-open-{}", std::process::id());
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).open(&name)?;
    /// assert!(space.created());
    /// let again = tenure::Space::options().open(&name)?; // usually in another process
    /// assert!(!again.created());
    ///
    /// let other = tenure::Space::options().handles(65).open(&name);
    /// assert!(matches!(other, Err(tenure::error::OpenError::Geometry { expected: 65, found: 64, .. })));
    /// # tenure::Space::remove(tenure::Backend::Shm, &name, false)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the name is invalid; the geometry is impossible or differs from that of the existing space; permission or
    /// memory is missing; or an object of that name exists and is not a space of this user and this version.
    ///
    /// # Crash
    ///
    /// A creator that is killed leaves a complete space or none.
    pub fn open(self, name: &str) -> Result<Space, OpenError> {
        let place = self.named(name);
        self.create(place)
    }

    /// Attaches to the space `name`, which must exist. This writes nothing, and is all that an inspection needs.
    ///
    /// ```
    /// use tenure::{error::{OpenError, SegmentError}, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let missing = Space::options().attach("nobody-made-this");
    /// assert!(matches!(missing, Err(OpenError::Segment(SegmentError::NotFound { .. }))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`], for instance [`SegmentError::NotFound`](crate::error::SegmentError::NotFound).
    pub fn attach(self, name: &str) -> Result<Space, OpenError> {
        let place = self.named(name);
        self.find(place)
    }

    /// As [`Options::open`], in a file of this host. The name of the file is `path` with the identity of the boot as a suffix.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).open_file("/var/tmp/orders")?;
    /// assert!(space.path().is_some());
    /// # Ok(()) }
    /// ```
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

    /// Creates a space without a name in a sealed memfd. [`Space::fd`] returns the descriptor to pass to other processes.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).memfd()?;
    /// assert!(space.fd().is_some() && space.name().is_none());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn memfd(self) -> Result<Space, OpenError> {
        self.create(Place::Memfd(None))
    }

    /// Attaches to a space by its file descriptor, which another process got from [`Space::fd`] and passed, for instance through a
    /// Unix socket.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).memfd()?;
    /// let fd = space.fd().ok_or("no descriptor")?.try_clone_to_owned()?;
    ///
    /// // Usually in another process:
    /// let same = tenure::Space::options().from_fd(fd)?;
    /// assert_eq!(same.geometry(), space.geometry());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn from_fd(self, fd: OwnedFd) -> Result<Space, OpenError> {
        self.find(Place::Memfd(Some(fd)))
    }

    /// Creates a space for this process and the children that it forks.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?; // a forked child inherits `space` and joins by itself
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn anonymous(self) -> Result<Space, OpenError> {
        self.create(Place::Anonymous)
    }

    /// Attaches to the [anonymous](Self::anonymous) space of another process, only to look at it: whoever joins is refused. A process that may trace the
    /// other one opens `locks` by `/proc/PID/fd/N`: the memfd that is named `tenure-locks-` and the id of the creation. With CAP_CHECKPOINT_RESTORE it opens
    /// `memory` by `/proc/PID/map_files`. The `tenure` command does so.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn look_at_anonymous(self, memory: &OwnedFd, locks: &OwnedFd) -> Result<Space, OpenError> {
        Space::look_at_anonymous(memory, locks, &self)
    }

    /// Creates a space for this process alone. The interface is the same, and no memory is shared.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().tiny().private()?;
    /// assert_eq!(space.backend(), tenure::Backend::Private);
    /// # Ok(()) }
    /// ```
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
            slots: self.slots.unwrap_or(base.slots),
            container_slots: self.container_slots.unwrap_or(base.container_slots),
        }
    }

    fn create(self, place: Place) -> Result<Space, OpenError> {
        let plan = Plan::new(self.geometry())?;
        Space::create(place, &plan, self)
    }

    fn find(self, place: Place) -> Result<Space, OpenError> {
        Space::attach(place, self)
    }

    /// Compares each option that is set with the geometry of the existing space.
    pub(crate) fn accept(&self, found: Geometry) -> Result<(), OpenError> {
        let pairs = [
            ("members", self.members.map(u64::from), found.members.into()),
            ("handles", self.handles.map(u64::from), found.handles.into()),
            ("generation bits", self.generation_bits.map(u64::from), found.generation_bits.into()),
            ("scratch bytes", self.scratch_bytes, found.scratch_bytes),
            ("unit bytes", self.unit_bytes.map(u64::from), found.unit_bytes.into()),
            ("slots", self.slots.map(u64::from), found.slots.into()),
            ("container slots", self.container_slots.map(u64::from), found.container_slots.into()),
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
