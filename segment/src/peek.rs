//! Reading memory that a peer may truncate meanwhile.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

/// Copies `into.len()` mapped bytes that the caller neither owns nor holds; other processes may write them meanwhile. Returns false if
/// no memory backs them any more, so that a load would raise SIGBUS: a peer may have truncated the file, or punched a hole into it on a
/// file system that is full.
///
/// # Safety
///
/// `from` and the bytes after it are in a mapping that stays.
pub unsafe fn peek(from: *const u8, into: &mut [u8]) -> bool {
    let local = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    let remote = libc::iovec { iov_base: from.cast_mut().cast(), iov_len: into.len() };
    // SAFETY: the call writes only to `into`; unreadable memory is an error and not a fault, process_vm_readv(2).
    let copied =
        unsafe { libc::process_vm_readv(libc::getpid(), &raw const local, 1, &raw const remote, 1, 0) };
    match usize::try_from(copied) {
        Ok(copied) => copied == into.len(),
        // A sandbox denies it.
        Err(_) if matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {
            for (at, byte) in into.iter_mut().enumerate() {
                // SAFETY: mapped by the caller's contract; others change the bytes, so the load is atomic.
                let word = unsafe { AtomicU8::from_ptr(from.add(at).cast_mut()) };
                // Relaxed: the caller validates the bytes.
                *byte = word.load(Ordering::Relaxed);
            }
            true
        }
        Err(_) => false,
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

    #[test]
    fn what_is_gone_is_an_answer_and_no_signal() {
        let page = rustix::param::page_size();
        let file = memfd_create("peek", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 2 * page as u64).unwrap();
        rustix::io::pwrite(&file, b"hello", page as u64 - 5).unwrap();
        // SAFETY: a new mapping, unmapped below.
        let at = unsafe {
            mmap(std::ptr::null_mut(), 2 * page, ProtFlags::READ, MapFlags::SHARED, &file, 0).unwrap()
        };
        let mut bytes = [0; 6];
        // SAFETY: inside of the mapping.
        let start = unsafe { at.cast::<u8>().add(page - 5) };
        // SAFETY: as above.
        assert!(unsafe { peek(start, &mut bytes) });
        assert_eq!(&bytes, b"hello\0");
        ftruncate(&file, page as u64).unwrap();
        // SAFETY: as above.
        assert!(unsafe { peek(start, &mut bytes[..5]) } && !unsafe { peek(start, &mut bytes) });
        // SAFETY: no code uses the mapping any more.
        unsafe { munmap(at, 2 * page).unwrap() };
    }
}
