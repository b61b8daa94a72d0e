//! tenure: a space of any backend, a member per process, a local per thread.

use std::alloc::Layout;
use std::path::PathBuf;
use std::sync::Mutex;

use tenure::{
    Backend, Kind, LeaseId, Local, Member, Options, Space,
    raw::{RawBlock, RawHandle},
};

use crate::subject::{Failed, Handles, Heap, Outcome, Subject};

const KIND: Kind = Kind::raw(1);

/// A space. Its memory goes with the last process that has it.
pub struct Tenure {
    space: Space,
    /// Threads of one process share a member; processes that forked from each other do not.
    common: Option<Mutex<Option<&'static Member>>>,
    made: Option<PathBuf>,
}

impl Tenure {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn processes() -> Outcome<Self> {
        Self::over(options().memfd(), None)
    }

    /// As [`Tenure::processes`], without monitor threads: a dead member is recovered only by another member's call.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn unguarded() -> Outcome<Self> {
        Self::over(options().monitor(false).memfd(), None)
    }

    /// Members are threads of one process, and share one lease.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn threads() -> Outcome<Self> {
        Self::over(options().memfd(), Some(Mutex::new(None)))
    }

    /// In a backend; names are made up from the process id and removed at the end.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn in_backend(backend: Backend) -> Outcome<Self> {
        let name = format!("bench-{}", std::process::id());
        let path = std::env::temp_dir().join(format!("tenure-{name}"));
        let space = match backend {
            Backend::Shm | Backend::SysV => options().backend(backend).open(&name),
            Backend::File => options().open_file(&path),
            Backend::Memfd => options().memfd(),
            Backend::Anonymous => options().anonymous(),
            Backend::Private => options().private(),
        };
        let mut subject = Self::over(space, None)?;
        subject.made = subject.space.path().map(Into::into);
        Ok(subject)
    }

    fn over(
        space: Result<Space, tenure::error::OpenError>,
        common: Option<Mutex<Option<&'static Member>>>,
    ) -> Outcome<Self> {
        let space = space.map_err(|error| Failed::of("tenure", error))?;
        Ok(Self { space, common, made: None })
    }

    /// The space itself.
    #[must_use]
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// A member, for as long as the process lives.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn member(&self) -> Outcome<&'static Member> {
        let join = || {
            let member = self.space.join().map_err(|error| Failed::of("join", error))?;
            Ok(&*Box::leak(Box::new(member)))
        };
        let Some(common) = &self.common else { return join() };
        let mut common = common.lock().map_err(|error| Failed::of("join", error))?;
        match *common {
            Some(member) => Ok(member),
            None => Ok(*common.insert(join()?)),
        }
    }
}

fn options() -> Options {
    Space::options().handles(1 << 14).scratch(1 << 30)
}

/// A thread's cache of a member.
pub struct Seat {
    local: Local<'static>,
}

impl Seat {
    /// Tenure's own.
    #[must_use]
    pub fn local(&self) -> &Local<'static> {
        &self.local
    }
}

impl Subject for Tenure {
    type Member = Seat;

    fn join(&self) -> Outcome<Seat> {
        Ok(Seat { local: self.member()?.local() })
    }

    /// Removes the name or the file, which would outlive the subject's processes.
    fn settle(&self) {
        if let (Some(name), backend) = (self.space.name(), self.space.backend()) {
            let _ = Space::remove(backend, name, true);
        }
        if let Some(path) = &self.made {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Handles for Seat {
    type Held = RawHandle;

    #[inline(always)]
    fn create(&mut self, payload: u64) -> Outcome<RawHandle> {
        self.local.create(KIND, &payload.to_le_bytes()).map_err(|error| Failed::of("create", error))
    }

    #[inline(always)]
    fn get(&mut self, held: &RawHandle) -> Outcome<u64> {
        // SAFETY: the caller holds it, and payloads are written at creation only; the slice is used in this function.
        let bytes = unsafe { self.local.get(held) }.map_err(|error| Failed::of("get", error))?;
        bytes.try_into().map(u64::from_le_bytes).map_err(|error| Failed::of("get", error))
    }

    #[inline(always)]
    fn token(&mut self, held: &RawHandle) -> u64 {
        self.local.token(held).into()
    }

    #[inline(always)]
    fn open(&mut self, token: u64) -> Outcome<RawHandle> {
        let token = token.try_into().map_err(|error| Failed::of("token", error))?;
        self.local.open(KIND, token).map_err(|error| Failed::of("open", error))
    }

    #[inline(always)]
    fn close(&mut self, held: RawHandle) -> Outcome<()> {
        // SAFETY: as the trait has it, the count is the caller's; `get` returns a copy.
        unsafe { self.local.close(held) }.map_err(|error| Failed::of("close", error))
    }
}

impl Heap for Seat {
    type Block = RawBlock;

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Outcome<RawBlock> {
        self.local.alloc(layout).map_err(|error| Failed::of("alloc", error))
    }

    #[inline(always)]
    fn free(&mut self, block: RawBlock, _: Layout) -> Outcome<()> {
        // SAFETY: as the trait has it, the block is the caller's, who uses it no more.
        unsafe { self.local.free(block) }.map_err(|error| Failed::of("free", error))
    }

    #[inline(always)]
    fn address(&self, block: RawBlock) -> *mut u8 {
        self.local.address(block)
    }

    #[inline(always)]
    fn realloc(&mut self, block: RawBlock, _: Layout, new: Layout) -> Outcome<RawBlock> {
        // SAFETY: as for `free`.
        unsafe { self.local.realloc(block, new) }.map_err(|error| Failed::of("realloc", error))
    }

    #[inline(always)]
    fn word(&self, block: RawBlock) -> u64 {
        block.offset
    }

    #[inline(always)]
    fn of_word(&self, word: u64, layout: Layout) -> RawBlock {
        RawBlock { offset: word, len: layout.size() }
    }

    fn owner(&self) -> [u64; 2] {
        let LeaseId { index, incarnation } = self.local.owner();
        [index.into(), incarnation]
    }

    #[inline(always)]
    fn free_passed(&mut self, block: RawBlock, _: Layout, [index, incarnation]: [u64; 2]) -> Outcome<()> {
        let owner = LeaseId { index: index as u8, incarnation };
        if owner == self.local.owner() {
            // SAFETY: as for `free`.
            return unsafe { self.local.free(block) }.map_err(|error| Failed::of("free", error));
        }
        // SAFETY: as the trait has it, its owner passed the block to us.
        unsafe { self.local.free_of(block, owner) }.map_err(|error| Failed::of("free_of", error))
    }
}
