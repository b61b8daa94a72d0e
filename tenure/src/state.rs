//! The state words of the system's objects: the start of the payload, which its holders change by atomic operations only.

use tenure_core::sync::Word;

use crate::raw::RawHandle;

/// Words at the start of a system object's payload that its holders change.
pub(crate) const STATE_WORDS: usize = 4;
pub(crate) const STATE_BYTES: usize = STATE_WORDS * 8;

/// The state words of an object.
pub(crate) type State = [Word; STATE_WORDS];

/// The state words of what is held, if its payload is long enough and where words may be.
///
/// The caller holds it for as long as it uses the result.
pub(crate) fn state_of(held: &RawHandle) -> Option<&State> {
    let payload = held.payload();
    let state = payload.as_ptr().cast::<State>();
    if payload.len() < STATE_BYTES || !state.is_aligned() {
        return None;
    }
    // SAFETY: held, so mapped and at least that long; aligned; nobody has a plain reference to these bytes, because handles
    // of system kinds are not opened as bytes [`Kind::to_open`]; peers access them atomically [A1].
    Some(unsafe { &*state })
}

/// A copy of the state words at an address, for one who looks and holds nothing: they may be half old. `None`: no place for words.
///
/// # Safety
///
/// As many bytes as a state has are mapped there.
pub(crate) unsafe fn copy_state(at: *mut u8) -> Option<[u64; STATE_WORDS]> {
    use std::sync::atomic::{AtomicU32, Ordering};

    let halves = at.cast::<[AtomicU32; 2 * STATE_WORDS]>();
    // SAFETY: mapped, as the caller promises, and aligned; halves, as the first word is shared by halves.
    let halves = halves.is_aligned().then(|| unsafe { &*halves })?;
    // Relaxed: a look, through a mapping that may be for reading only.
    let half = |i: usize| u64::from(halves[i].load(Ordering::Relaxed));
    Some(std::array::from_fn(|i| half(2 * i) | half(2 * i + 1) << 32))
}
