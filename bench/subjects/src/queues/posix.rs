//! POSIX message queues, in the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{CAPACITY, Fifo, short};
use crate::subject::{Outcome, Subject};

/// A message queue without a name, which the members inherit.
pub struct Posix<const N: usize>(Arc<Descriptor>);

/// A member of [`Posix`].
pub struct PosixMember<const N: usize>(Arc<Descriptor>);

struct Descriptor(libc::mqd_t);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: ours, and nobody has it any more.
        unsafe { libc::mq_close(self.0) };
    }
}

impl<const N: usize> Posix<N> {
    /// As long as the kernel allows, up to [`CAPACITY`].
    ///
    /// # Errors
    /// Those of `mq_open`.
    pub fn new() -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a unique number; it publishes nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("/tenure-bench-{}-{number}\0", std::process::id());
        // Without privileges a queue may have ten messages.
        let opened = Self::open(&name, CAPACITY.into()).or_else(|_| Self::open(&name, 10))?;
        // SAFETY: a terminated string.
        unsafe { libc::mq_unlink(name.as_ptr().cast()) };
        Ok(Self(Arc::new(opened)))
    }

    fn open(name: &str, messages: libc::c_long) -> std::io::Result<Descriptor> {
        let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
        // SAFETY: a terminated string, and attributes that live as long as the call; zeroes are valid ones.
        let found = unsafe {
            let mut attributes: libc::mq_attr = std::mem::zeroed();
            attributes.mq_maxmsg = messages;
            attributes.mq_msgsize = N as libc::c_long;
            libc::mq_open(name.as_ptr().cast(), flags, 0o600 as libc::mode_t, &raw mut attributes)
        };
        if found < 0 { Err(std::io::Error::last_os_error()) } else { Ok(Descriptor(found)) }
    }
}

impl<const N: usize> Subject for Posix<N> {
    type Member = PosixMember<N>;

    fn join(&self) -> Outcome<PosixMember<N>> {
        Ok(PosixMember(Arc::clone(&self.0)))
    }
}

impl<const N: usize> Fifo<N> for PosixMember<N> {
    fn push(&mut self, value: &[u8; N]) -> Outcome<()> {
        // SAFETY: an open queue, and `N` bytes.
        match unsafe { libc::mq_send(self.0.0, value.as_ptr().cast(), N, 0) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }

    fn pop(&mut self) -> Outcome<[u8; N]> {
        let mut value = [0; N];
        // SAFETY: an open queue, and `N` bytes of ours; the priority is not asked for.
        match unsafe { libc::mq_receive(self.0.0, value.as_mut_ptr().cast(), N, std::ptr::null_mut()) } {
            bytes if bytes == N as libc::ssize_t => Ok(value),
            bytes if bytes >= 0 => Err(short()),
            _ => Err(std::io::Error::last_os_error().into()),
        }
    }
}
