//! For tests and the proof only: what a program has no reason to call.

#[cfg(feature = "objects")]
use tenure_core::sync::Ordering;
use tenure_segment::JoinOptions;

use crate::error::JoinError;
use crate::member::Member;
use crate::space::Space;

pub use crate::geometry::{FILES_LAYOUT, OBJECTS_LAYOUT};

#[cfg(feature = "objects")]
pub use crate::files::Way;

/// Becomes a member whose monitor is not a thread: this thread calls [`play_monitor`] instead.
///
/// # Safety
///
/// This thread drops the last of the member, or it ends with the process: its robust list is restored then.
///
/// # Errors
///
/// As [`Space::join`].
pub unsafe fn join_monitoring_by_hand(space: &Space) -> Result<Member, JoinError> {
    space.join_as(JoinOptions { monitor: true, by_hand: true })
}

/// Runs one round of the monitor. Only for a member of [`join_monitoring_by_hand`], and only in the thread that joined.
pub fn play_monitor(member: &Member) {
    member.shared().lease.play_monitor();
}

/// With `true`, [`wait_any`](crate::sync::wait_any) behaves as on a kernel without `futex_waitv`; `false` ends that.
#[cfg(feature = "objects")]
pub fn pretend_no_waitv(member: &Member, yes: bool) {
    // Relaxed: the test sets it before it waits, in the same thread.
    member.shared().objects.books.no_waitv.store(yes, Ordering::Relaxed);
}

/// As [`Descriptor::open`](crate::file::Descriptor::open), but tries only the given way.
///
/// # Errors
///
/// As [`Descriptor::open`](crate::file::Descriptor::open).
#[cfg(feature = "objects")]
pub fn open_by(
    member: &Member,
    token: crate::Token,
    way: Way,
) -> Result<crate::file::Descriptor, crate::error::DescriptorError> {
    crate::file::Descriptor::open_by(member, token.into(), way)
}

/// Keys that fall into one bucket of a map, except the last one.
#[cfg(feature = "objects")]
#[must_use]
pub fn neighbours<const N: usize>(map: &crate::collections::Map) -> [[u8; 8]; N] {
    let mut keys = (0u64..).map(u64::to_le_bytes);
    let mut found = [keys.next().unwrap_or_default(); N];
    for at in 1..N {
        let is_wanted = |key: &[u8; 8]| (map.slot_of(key) == map.slot_of(&found[0])) == (at + 1 < N);
        found[at] = keys.find(is_wanted).unwrap_or_default();
    }
    found
}

/// Flips a bit of one of the words of a queue.
#[cfg(feature = "objects")]
pub fn flip<T>(queue: &crate::collections::Queue<T>, word: usize, bit: u32) {
    queue.flip(word, bit);
}
