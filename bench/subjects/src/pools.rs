//! Published allocators over shared memory.

use std::alloc::Layout;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::ptr::NonNull;

use rarena_allocator::sync::Arena;
use rarena_allocator::{Allocator as _, Buffer as _, Options};

use crate::subject::{Failed, Heap, Outcome, Subject};

const BYTES: usize = 1 << 30;

/// `rts-alloc`: slabs owned by workers, blocks of at most 4 KiB.
pub struct Rts {
    file: File,
    /// The one that created it; a worker as well.
    _first: rts_alloc::Allocator,
    /// The number of workers that could join at first.
    capacity: usize,
}

/// A worker.
pub struct RtsMember(rts_alloc::Allocator);

impl Rts {
    /// With workers enough for a team.
    ///
    /// # Errors
    /// The crate's errors.
    pub fn new() -> Outcome<Self> {
        Self::of(BYTES, 1 << 20)
    }

    /// A small one, of which [`Rts::workers`] can be asked: it makes as many worker slots as there is room for.
    ///
    /// # Errors
    /// The crate's errors.
    pub fn countable() -> Outcome<Self> {
        let mut subject = Self::of(16 << 20, 1 << 16)?;
        subject.capacity = subject.joinable();
        Ok(subject)
    }

    fn of(bytes: usize, slab_bytes: u32) -> Outcome<Self> {
        // SAFETY: a terminated name; the answer is checked, and is ours alone.
        let file = unsafe {
            match libc::memfd_create(c"rts-alloc".as_ptr(), libc::MFD_CLOEXEC) {
                -1 => return Err(std::io::Error::last_os_error().into()),
                fd => File::from_raw_fd(fd),
            }
        };
        // SAFETY: created once.
        let first = unsafe { rts_alloc::Allocator::create(&file, bytes, 16, slab_bytes) }
            .map_err(|error| Failed(format!("rts-alloc: {error:?}")))?;
        Ok(Self { file, _first: first, capacity: 0 })
    }

    fn joinable(&self) -> usize {
        let join = || rts_alloc::Allocator::join(&self.file).ok();
        std::iter::from_fn(join).collect::<Vec<_>>().len()
    }

    /// The number of workers, without the creator.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.capacity - self.joinable()
    }
}

impl Subject for Rts {
    type Member = RtsMember;

    fn join(&self) -> Outcome<RtsMember> {
        let joined = rts_alloc::Allocator::join(&self.file);
        joined.map(RtsMember).map_err(|error| Failed(format!("rts-alloc: {error:?}")))
    }
}

impl Heap for RtsMember {
    type Block = NonNull<u8>;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Outcome<NonNull<u8>> {
        self.0.allocate(layout.size() as u32).ok_or_else(|| Failed::of("alloc", "no memory"))
    }

    #[inline]
    fn free(&mut self, block: NonNull<u8>, _: Layout) -> Outcome<()> {
        // SAFETY: the caller got it from `alloc` and frees it once.
        unsafe { self.0.free(block) };
        Ok(())
    }

    #[inline]
    fn address(&self, block: NonNull<u8>) -> *mut u8 {
        block.as_ptr()
    }

    #[inline]
    fn word(&self, block: NonNull<u8>) -> u64 {
        // SAFETY: a block of this allocator.
        unsafe { self.0.offset(block) as u64 }
    }

    #[inline]
    fn of_word(&self, word: u64, _: Layout) -> NonNull<u8> {
        // SAFETY: an offset that `word` answered, of a block that is in use.
        unsafe { self.0.ptr_from_offset(word as usize) }
    }

    fn collect(&mut self) {
        self.0.clean_remote_frees();
    }
}

/// `rarena-allocator`: an arena with a lock-free free list.
pub struct Rarena(Arena);

/// A user of the arena.
pub struct RarenaMember(Arena);

impl Rarena {
    /// In a file of /dev/shm, whose name is gone before this returns.
    ///
    /// # Errors
    /// The crate's errors.
    pub fn new() -> Outcome<Self> {
        let path = format!("/dev/shm/tenure-bench-{}-rarena", std::process::id());
        let options =
            Options::new().with_capacity(BYTES as u32).with_create(true).with_read(true).with_write(true);
        // SAFETY: nobody else knows the file.
        let arena = unsafe { options.map_mut::<Arena, _>(&path) };
        let _ = std::fs::remove_file(&path);
        Ok(Self(arena?))
    }
}

impl Subject for Rarena {
    type Member = RarenaMember;

    fn join(&self) -> Outcome<RarenaMember> {
        Ok(RarenaMember(self.0.clone()))
    }
}

impl Heap for RarenaMember {
    type Block = (u32, u32);

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Outcome<(u32, u32)> {
        let found = self.0.alloc_bytes(layout.size() as u32);
        let mut block = found.map_err(|error| Failed::of("alloc", error))?;
        // SAFETY: freed by `free`, by offset and length.
        unsafe { block.detach() };
        Ok((block.offset() as u32, block.capacity() as u32))
    }

    #[inline]
    fn free(&mut self, (offset, len): (u32, u32), _: Layout) -> Outcome<()> {
        // SAFETY: the caller got both from `alloc` and frees it once.
        unsafe { self.0.dealloc(offset, len) };
        Ok(())
    }

    #[inline]
    fn address(&self, (offset, _): (u32, u32)) -> *mut u8 {
        // SAFETY: inside of the arena.
        unsafe { self.0.raw_mut_ptr().add(offset as usize) }
    }

    #[inline]
    fn word(&self, (offset, len): (u32, u32)) -> u64 {
        u64::from(len) << 32 | u64::from(offset)
    }

    #[inline]
    fn of_word(&self, word: u64, _: Layout) -> (u32, u32) {
        (word as u32, (word >> 32) as u32)
    }
}
