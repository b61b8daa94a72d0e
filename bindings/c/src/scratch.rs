//! Scratch memory.

use std::alloc::Layout;
use std::ffi::c_int;
use std::ptr;

use tenure::{Local, raw::RawBlock};

use crate::abi::{tenure_block, tenure_local};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{guard, guard_out};
use crate::local::seat;
use crate::member::lease_of;

const NOTHING: tenure_block = tenure_block { offset: 0, data: ptr::null_mut(), size: 0 };

/// The alignment that 0 stands for: as malloc's.
const ALIGN_DEFAULT: usize = 16;

/// Every block is aligned to as much, and one alignment for all of these is quicker than each its own.
#[inline(always)]
fn is_default(align: usize) -> bool {
    align <= ALIGN_DEFAULT && align & align.wrapping_sub(1) == 0
}

#[inline(always)]
fn layout(size: usize, align: usize) -> Result<Layout, Failure> {
    Layout::from_size_align(size, align).map_err(|_| no_layout(size, align))
}

pub(crate) fn layout_of(size: usize, align: usize) -> Result<Layout, Failure> {
    layout(size, if is_default(align) { ALIGN_DEFAULT } else { align })
}

#[cold]
#[inline(never)]
fn no_layout(size: usize, align: usize) -> Failure {
    if align.is_power_of_two() {
        return fail(
            tenure_status::TENURE_ERR_TOO_LARGE,
            format_args!("size: expected at most {}, found {size}", isize::MAX),
        );
    }
    fail(
        tenure_status::TENURE_ERR_ARGUMENT,
        format_args!("align: expected 0 or a power of two, found {align}"),
    )
}

#[inline(always)]
fn describe(local: &Local<'_>, block: RawBlock) -> tenure_block {
    tenure_block { offset: block.offset, data: local.address(block).cast(), size: block.len }
}

/// Whether a block in use starts there and has as many bytes.
pub(crate) fn fits(local: &Local<'_>, block: RawBlock) -> Result<u64, Failure> {
    let usable = local.usable(block)?;
    if block.len as u64 > usable {
        return Err(fail(
            tenure_status::TENURE_ERR_TOO_LARGE,
            format_args!("size: expected at most the {usable} bytes of the block, found {}", block.len),
        ));
    }
    Ok(usable)
}

/// Allocates `size` bytes, aligned to `align` (a power of two up to a page; 0 means 16). The contents are undefined.
///
/// Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*block`, to be given back by tenure_free, by attaching it to a handle, or with the member;
/// otherwise `*block` is all zero. TENURE_ERR_ARGUMENT for 0 bytes.
///
/// # Safety
///
/// `block` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_alloc(
    local: *mut tenure_local,
    size: usize,
    align: usize,
    block: *mut tenure_block,
) -> c_int {
    if !is_default(align) {
        // SAFETY: the caller's promise.
        return unsafe { alloc_aligned(local, size, align, block) };
    }
    let call = || {
        let local = seat(local)?.local();
        let made = local.alloc(layout(size, ALIGN_DEFAULT)?)?;
        Ok(describe(local, made))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// # Safety
///
/// As [`tenure_alloc`].
#[cold]
#[inline(never)]
unsafe fn alloc_aligned(
    local: *mut tenure_local,
    size: usize,
    align: usize,
    block: *mut tenure_block,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let made = local.alloc(layout_of(size, align)?)?;
        Ok(describe(local, made))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// As tenure_alloc, zeroed.
///
/// # Safety
///
/// As tenure_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_alloc_zeroed(
    local: *mut tenure_local,
    size: usize,
    align: usize,
    block: *mut tenure_block,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let made = local.alloc_zeroed(layout_of(size, align)?)?;
        Ok(describe(local, made))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// Resizes the block at `offset`, in place where that is possible; the first bytes, as many as both sizes have, are
/// kept. Afterwards it is aligned to `align`, as tenure_alloc has it; how it was aligned before does not count.
///
/// Threads, fork: as tenure_alloc; any local of the member will do.
///
/// Returns TENURE_OK and `*block`, which takes the old one's place; otherwise the old one is as it was and `*block` is
/// all zero.
///
/// # Safety
///
/// As tenure_alloc and tenure_free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_realloc(
    local: *mut tenure_local,
    offset: u64,
    size: usize,
    align: usize,
    block: *mut tenure_block,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        // SAFETY: the caller's promise.
        let made = unsafe { local.realloc(RawBlock { offset, len: 0 }, layout_of(size, align)?) }?;
        Ok(describe(local, made))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// Frees a block of this member.
///
/// Threads, fork: as tenure_alloc; any local of the member will do. TENURE_ERR_ALREADY_FREE, TENURE_ERR_NOT_A_BLOCK and
/// TENURE_ERR_WRONG_OWNER say that nothing was freed, and why.
///
/// # Safety
///
/// If a block of this member starts at `offset`, it is the caller's, and nobody uses its bytes any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_free(local: *mut tenure_local, offset: u64) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| Ok(unsafe { seat(local)?.local().free(RawBlock { offset, len: 0 }) }?))
}

/// Frees a block of the member that has (or had) `lease`, which passed it to us and does not touch it any more.
///
/// Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not that member's.
///
/// # Safety
///
/// If it is that member's block, its owner gave it to the caller, and nobody in any process uses its bytes any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_free_of(local: *mut tenure_local, offset: u64, lease: u64) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| Ok(unsafe { seat(local)?.local().free_of(RawBlock { offset, len: 0 }, lease_of(lease)) }?))
}

/// The address of a block in this process, and its bytes. The owner is not checked: the process that passed the offset
/// must live and keep the block. If it may be killed meanwhile, use tenure_block_of.
///
/// Threads, fork: as tenure_alloc. TENURE_ERR_NOT_A_BLOCK or TENURE_ERR_ALREADY_FREE when no block in use starts there.
///
/// # Safety
///
/// As tenure_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_block_at(
    local: *mut tenure_local,
    offset: u64,
    block: *mut tenure_block,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let usable = fits(local, RawBlock { offset, len: 0 })?;
        Ok(describe(local, RawBlock { offset, len: usable as usize }))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// As tenure_block_at, but only for a block that the member with `lease` owns and passed; for a pinned block if `lease`
/// is 0.
///
/// The blocks of a member end with it, and other members get the memory. To verify what was read, call this again:
/// TENURE_OK means that the owner has not died, so that no other member had the memory meanwhile. It does not show
/// whether the owner itself freed the block and allocated it anew: owner and reader agree that it does not.
///
/// Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER, TENURE_ERR_NOT_A_BLOCK or TENURE_ERR_ALREADY_FREE when it is
/// not that member's block, or not any more.
///
/// # Safety
///
/// As tenure_alloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_block_of(
    local: *mut tenure_local,
    offset: u64,
    lease: u64,
    block: *mut tenure_block,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let owner = (lease != 0).then(|| lease_of(lease));
        let usable = local.usable_of(RawBlock { offset, len: 0 }, owner)?;
        Ok(describe(local, RawBlock { offset, len: usable as usize }))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(block, "block", NOTHING, call) }
}

/// Leaves a block of this member without an owner: it outlives all members, until a call of tenure_free_pinned.
///
/// Threads, fork: as tenure_alloc.
///
/// # Safety
///
/// If a block of this member starts at `offset`, it is the caller's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_pin(local: *mut tenure_local, offset: u64) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| Ok(unsafe { seat(local)?.local().pin(RawBlock { offset, len: 0 }) }?))
}

/// Frees a pinned block; any member may have pinned it.
///
/// Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not pinned.
///
/// # Safety
///
/// If it is pinned, nobody in any process uses its bytes any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_free_pinned(local: *mut tenure_local, offset: u64) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| Ok(unsafe { seat(local)?.membership().member.free_pinned(offset) }?))
}
