//! Rings of published crates. A process that dies in the middle of an operation stops all others.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use shaq::mpmc;

use super::{CAPACITY, Fifo, until};
use crate::subject::{Failed, Outcome, Subject};

/// crossbeam's `ArrayQueue`, between threads.
pub struct Array<const N: usize>(Arc<ArrayQueue<[u8; N]>>);

/// A thread of [`Array`].
pub struct ArrayMember<const N: usize>(Arc<ArrayQueue<[u8; N]>>);

impl<const N: usize> Array<N> {
    /// An empty one.
    ///
    /// # Errors
    /// None.
    pub fn new() -> Outcome<Self> {
        Ok(Self(Arc::new(ArrayQueue::new(CAPACITY as usize))))
    }
}

impl<const N: usize> Subject for Array<N> {
    type Member = ArrayMember<N>;

    fn join(&self) -> Outcome<ArrayMember<N>> {
        Ok(ArrayMember(Arc::clone(&self.0)))
    }
}

impl<const N: usize> Fifo<N> for ArrayMember<N> {
    #[inline]
    fn push(&mut self, value: &[u8; N]) -> Outcome<()> {
        until(|| Ok(self.0.push(*value).ok()))
    }

    #[inline]
    fn pop(&mut self) -> Outcome<[u8; N]> {
        until(|| Ok(self.0.pop()))
    }
}

/// The crate `shaq`, which rts-alloc uses: its ring for many on both sides, in shared memory.
pub struct Shaq<const N: usize>(File);

/// A member of [`Shaq`].
pub struct ShaqMember<const N: usize> {
    producer: mpmc::Producer<[u8; N]>,
    consumer: mpmc::Consumer<[u8; N]>,
}

impl<const N: usize> Shaq<N> {
    /// An empty one.
    ///
    /// # Errors
    /// The crate's errors.
    pub fn new() -> Outcome<Self> {
        // SAFETY: a terminated name; the answer is checked, and is ours alone.
        let file = unsafe {
            match libc::memfd_create(c"shaq".as_ptr(), libc::MFD_CLOEXEC) {
                -1 => return Err(std::io::Error::last_os_error().into()),
                fd => File::from_raw_fd(fd),
            }
        };
        let bytes = mpmc::minimum_file_size::<[u8; N]>(CAPACITY as usize);
        // SAFETY: created here, once; any bytes are a value in every process.
        let created = unsafe { mpmc::Producer::<[u8; N]>::create(&file, bytes) };
        created.map_err(|error| Failed(format!("shaq: {error:?}")))?;
        Ok(Self(file))
    }
}

impl<const N: usize> Subject for Shaq<N> {
    type Member = ShaqMember<N>;

    fn join(&self) -> Outcome<ShaqMember<N>> {
        // SAFETY: all members use the same type, of which any bytes are a value.
        let producer = unsafe { mpmc::Producer::join(&self.0) };
        let producer = producer.map_err(|error| Failed(format!("shaq: {error:?}")))?;
        Ok(ShaqMember { consumer: producer.join_as_consumer(), producer })
    }
}

impl<const N: usize> Fifo<N> for ShaqMember<N> {
    #[inline]
    fn push(&mut self, value: &[u8; N]) -> Outcome<()> {
        until(|| Ok(self.producer.try_write(*value).ok()))
    }

    #[inline]
    fn pop(&mut self) -> Outcome<[u8; N]> {
        until(|| Ok(self.consumer.try_read()))
    }
}
