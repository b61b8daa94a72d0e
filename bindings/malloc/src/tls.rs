//! A thread's heap, in two instructions.
//!
//! `thread_local!` in a shared library calls `__tls_get_addr`, and the C library may allocate in there. A preloaded
//! library is there when the first thread starts, so its variables can lie at a constant distance from the thread pointer
//! (the initial-exec model), which stable Rust has no word for.

use std::arch::{asm, global_asm};
use std::ptr::NonNull;

use crate::heap::Heap;

// Two words: the thread's heap, or null; and whether the thread has given its heap back for good.
global_asm!(
    ".pushsection .tbss,\"awT\",%nobits",
    ".hidden tenure_malloc_thread",
    ".globl tenure_malloc_thread",
    ".type tenure_malloc_thread,%tls_object",
    ".balign 16",
    "tenure_malloc_thread:",
    ".zero 16",
    ".size tenure_malloc_thread, 16",
    ".popsection",
);

/// The address of the two words of this thread. The same in a forked child.
#[inline(always)]
pub(crate) fn words() -> NonNull<[usize; 2]> {
    let at: *mut [usize; 2];
    #[cfg(target_arch = "x86_64")]
    // SAFETY: reads the distance of the symbol above from the thread pointer, and that pointer, which lies at its own address.
    unsafe {
        asm!(
            "mov {at}, qword ptr [rip + tenure_malloc_thread@GOTTPOFF]",
            "add {at}, qword ptr fs:[0]",
            at = out(reg) at,
            options(pure, readonly, nostack),
        );
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above; here the thread pointer is a register.
    unsafe {
        asm!(
            "adrp {at}, :gottprel:tenure_malloc_thread",
            "ldr {at}, [{at}, :gottprel_lo12:tenure_malloc_thread]",
            "mrs {thread}, tpidr_el0",
            "add {at}, {at}, {thread}",
            at = out(reg) at,
            thread = out(reg) _,
            options(pure, readonly, nostack),
        );
    }
    // SAFETY: no thread's variables lie at address zero.
    unsafe { NonNull::new_unchecked(at) }
}

/// This thread's heap, or null.
#[inline(always)]
pub(crate) fn heap() -> *mut Heap {
    #[cfg(target_arch = "x86_64")]
    {
        let heap: *mut Heap;
        // SAFETY: as in `words`, and reads the first of them.
        unsafe {
            asm!(
                "mov {heap}, qword ptr [rip + tenure_malloc_thread@GOTTPOFF]",
                "mov {heap}, qword ptr fs:[{heap}]",
                heap = out(reg) heap,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        heap
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: a variable of this thread, which nobody borrows.
    unsafe {
        words().as_ref()[0] as *mut Heap
    }
}

/// Makes `heap` this thread's.
pub(crate) fn set_heap(heap: *mut Heap) {
    // SAFETY: as above.
    unsafe { words().as_mut()[0] = heap as usize };
}

/// Whether this thread has given its heap back and will not get another one.
pub(crate) fn ended() -> bool {
    // SAFETY: as above.
    unsafe { words().as_ref()[1] != 0 }
}

/// Marks the thread so.
pub(crate) fn end() {
    // SAFETY: as above.
    unsafe { words().as_mut()[1] = 1 };
}
