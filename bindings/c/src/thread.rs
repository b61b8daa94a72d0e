//! The identity of the calling thread, in one instruction.

/// Instead of a thread's number: any thread. No address of a control block.
pub(crate) const ANY: usize = 1;

/// A number that no other thread of this process has while this one lives; never 0. A forked child's only thread keeps
/// its own.
#[inline(always)]
pub(crate) fn current() -> usize {
    pointer()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn pointer() -> usize {
    let pointer: usize;
    // SAFETY: the ABI keeps the address of the thread's control block in its first word, at fs:0 (ELF TLS, variant II).
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) pointer, options(nostack, preserves_flags, readonly, pure));
    }
    pointer
}

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[inline(always)]
fn pointer() -> usize {
    let pointer: usize;
    // SAFETY: reads the register that the ABI keeps the thread's control block in.
    unsafe {
        std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer, options(nostack, preserves_flags, nomem, pure));
    }
    pointer
}

#[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
fn pointer() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| std::ptr::from_ref(here).addr())
}

#[cfg(test)]
mod tests {
    use super::current;

    #[test]
    fn threads_differ() {
        let here = current();
        assert_ne!(here, 0);
        assert_eq!(here, current());
        assert_ne!(std::thread::scope(|scope| scope.spawn(current).join().unwrap()), here);
    }
}
