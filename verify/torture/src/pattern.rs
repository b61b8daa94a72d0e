//! The bytes written into payloads and blocks; they reveal anything lost, mixed up or overwritten.
//!
//! All bytes are computed from one number: the identity of a handle, or the key of a block. A process that knows the
//! number can check the bytes without having seen the write.

use std::ptr;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Spreads a number over 64 bits (the finaliser of splitmix64); a bijection.
pub fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(GOLDEN);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Combines several numbers, in order, into one.
pub fn combine(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0, |so_far, &number| mix(so_far ^ number))
}

/// The payload size of a handle in bytes: mostly tens, one in sixteen a few KiB, one in 512 up to 256 KiB.
pub fn payload_bytes(identity: u64) -> usize {
    let size = mix(identity ^ 0x5be5);
    let below = |limit: u64| ((size >> 16) % limit) as usize;
    match size & 511 {
        0 => (16 << 10) + below(240 << 10),
        1..=31 => 512 + below(8 << 10),
        _ => 16 + below(112),
    }
}

/// Writes the payload of a handle into `buffer` and replaces its previous contents.
pub fn payload(identity: u64, buffer: &mut Vec<u8>) {
    let bytes = payload_bytes(identity);
    buffer.clear();
    buffer.reserve(bytes + 8);
    for position in (0..bytes).step_by(8) {
        buffer.extend_from_slice(&word(identity, position).to_le_bytes());
    }
    buffer.truncate(bytes);
}

/// Checks every byte of the payload of the handle with that identity.
///
/// # Errors
/// A description of the difference.
pub fn check_payload(identity: u64, found: &[u8]) -> Result<(), String> {
    let expected = payload_bytes(identity);
    if found.len() != expected {
        return Err(format!("payload of {identity:016x}: expected {expected} bytes, found {}", found.len()));
    }
    for (index, chunk) in found.chunks(8).enumerate() {
        let expected = word(identity, index * 8).to_le_bytes();
        if *chunk != expected[..chunk.len()] {
            let at = index * 8;
            return Err(format!(
                "payload of {identity:016x} at byte {at}: expected {:02x?}, found {chunk:02x?}",
                &expected[..chunk.len()]
            ));
        }
    }
    Ok(())
}

/// Fills a block: all of it up to 128 bytes; of larger ones the first and last 64 bytes and a word every 4096.
///
/// # Safety
/// - `start` is valid for writes of `bytes` bytes, and nobody else accesses them.
pub unsafe fn fill(start: *mut u8, bytes: usize, key: u64) {
    each_word(bytes, |position, width| {
        let word = word(key, position).to_le_bytes();
        // SAFETY: `position + width <= bytes`, which the caller vouches for; `width <= 8`.
        unsafe { ptr::copy_nonoverlapping(word.as_ptr(), start.add(position), width) };
        true
    });
}

/// Checks that the bytes written by [`fill`] with `filled_bytes` and `key` are unchanged, as far as they lie in the
/// first `bytes`. On error: the position of the first different word.
///
/// # Safety
/// - `start` is valid for reads of `bytes` bytes, and nobody else writes them.
pub unsafe fn verify(start: *const u8, bytes: usize, filled_bytes: usize, key: u64) -> Result<(), usize> {
    let mut wrong = Ok(());
    each_word(filled_bytes, |position, width| {
        if position + width > bytes {
            return true;
        }
        let mut found = [0; 8];
        // SAFETY: `position + width <= bytes`, which the caller vouches for; `width <= 8`.
        unsafe { ptr::copy_nonoverlapping(start.add(position), found.as_mut_ptr(), width) };
        if found[..width] != word(key, position).to_le_bytes()[..width] {
            wrong = Err(position);
        }
        wrong.is_ok()
    });
    wrong
}

/// Checks that the block is zero at every position that [`fill`] would write. On error: the position of the first
/// non-zero word.
///
/// # Safety
/// - `start` is valid for reads of `bytes` bytes, and nobody else writes them.
pub unsafe fn verify_zero(start: *const u8, bytes: usize) -> Result<(), usize> {
    let mut wrong = Ok(());
    each_word(bytes, |position, width| {
        let mut found = [0; 8];
        // SAFETY: `position + width <= bytes`, which the caller vouches for; `width <= 8`.
        unsafe { ptr::copy_nonoverlapping(start.add(position), found.as_mut_ptr(), width) };
        if found != [0; 8] {
            wrong = Err(position);
        }
        wrong.is_ok()
    });
    wrong
}

const END_BYTES: usize = 64;
const STRIDE_BYTES: usize = 4096;

/// Calls `visit` with the position and width of every word that is written, until it returns false. Words do not
/// overlap.
#[inline(always)]
fn each_word(bytes: usize, mut visit: impl FnMut(usize, usize) -> bool) {
    if bytes < 2 * END_BYTES {
        let mut position = 0;
        while position < bytes {
            if !visit(position, (bytes - position).min(8)) {
                return;
            }
            position += 8;
        }
        return;
    }
    let tail = bytes - END_BYTES;
    let head = (0..END_BYTES).step_by(8);
    let middle = (STRIDE_BYTES..tail.saturating_sub(7).max(STRIDE_BYTES)).step_by(STRIDE_BYTES);
    for position in head.chain(middle).chain((tail..bytes).step_by(8)) {
        if !visit(position, 8) {
            return;
        }
    }
}

#[inline(always)]
fn word(key: u64, position: usize) -> u64 {
    (key ^ (position as u64).wrapping_mul(GOLDEN)).rotate_left(17).wrapping_add(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_their_own_and_nobody_elses() {
        let mut buffer = Vec::new();
        for identity in 0..2000 {
            payload(identity, &mut buffer);
            assert_eq!(check_payload(identity, &buffer), Ok(()));
            assert!(check_payload(identity + 1, &buffer).is_err());
            let last = buffer.len() - 1;
            buffer[last] ^= 1;
            assert!(check_payload(identity, &buffer).is_err());
        }
    }

    #[test]
    fn blocks_of_every_size_are_filled_verified_and_survive_a_change_of_size() {
        let sizes = (0..300).chain([4095, 4096, 4097, 4160, 4168, 8192, 12_345, 100_000]);
        for bytes in sizes {
            let mut block = vec![0; bytes];
            let start = block.as_mut_ptr();
            // SAFETY: `block` has that many bytes and nobody else uses it.
            unsafe {
                assert_eq!(verify_zero(start, bytes), Ok(()));
                fill(start, bytes, 77);
                assert_eq!(verify(start, bytes, bytes, 77), Ok(()));
                assert_eq!(verify(start, bytes / 2, bytes, 77), Ok(()));
                if bytes > 0 {
                    assert!(verify(start, bytes, bytes, 78).is_err());
                    assert!(verify_zero(start, bytes).is_err());
                    *start.add(bytes - 1) ^= 1;
                    assert!(verify(start, bytes, bytes, 77).is_err());
                }
            }
        }
    }
}
