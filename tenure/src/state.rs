//! The state words of the system's own objects: the start of the payload. Holders change them by atomic operations only.

use std::ptr::NonNull;

use tenure_core::sync::Word;

/// The number of state words at the start of a system object's payload.
pub(crate) const STATE_WORDS: usize = 4;
pub(crate) const STATE_BYTES: usize = STATE_WORDS * 8;

/// State words of a container: how many container slots it has, in whole chunks, and the number of the first one. They never change.
pub(crate) const CONTAINER_SLOTS: usize = 2;
pub(crate) const CONTAINER_FIRST: usize = 3;

/// The state words of an object.
pub(crate) type State = [Word; STATE_WORDS];

/// The state words at the start of a payload, if that is long enough and aligned for words.
///
/// # Safety
///
/// The payload is that of a handle of a system kind, which the caller holds for as long as it uses the result.
pub(crate) unsafe fn state_of<'a>(payload: NonNull<[u8]>) -> Option<&'a State> {
    let state = payload.as_ptr().cast::<State>();
    if payload.len() < STATE_BYTES || !state.is_aligned() {
        return None;
    }
    // SAFETY: held, so mapped and at least that long; aligned; no plain reference to these bytes exists, because handles of
    // system kinds are not opened as bytes [`Kind::to_open`]; peers access them atomically [A1].
    Some(unsafe { &*state })
}

/// A copy of the state words at an address, for an inspection that does not hold the handle: the words may be of several moments.
/// `None` if the address is not aligned for words.
///
/// # Safety
///
/// [`STATE_BYTES`] bytes are mapped at the address.
pub(crate) unsafe fn copy_state(at: *mut u8) -> Option<[u64; STATE_WORDS]> {
    use std::sync::atomic::{AtomicU32, Ordering};

    let halves = at.cast::<[AtomicU32; 2 * STATE_WORDS]>();
    // SAFETY: mapped, as the caller promises, and aligned; accessed by halves, as holders access the first word by halves.
    let halves = halves.is_aligned().then(|| unsafe { &*halves })?;
    // Relaxed: an inspection, through a mapping that may be read-only.
    let half = |i: usize| u64::from(halves[i].load(Ordering::Relaxed));
    Some(std::array::from_fn(|i| half(2 * i) | half(2 * i + 1) << 32))
}
