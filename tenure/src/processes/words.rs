//! The state words of handles of processes and threads.

use tenure_segment::process::{Identity, Scope};
use tenure_wait::exit;

use crate::state::STATE_WORDS;

/// The indices of the payload's words: the exit word with the announced code above it, then the identity.
pub(super) const EXIT: usize = 0;
const NUMBER: usize = 1;
const START: usize = 2;
const NAMESPACE_AND_INODE: usize = 3;

pub(super) fn to_words(exit: u32, identity: &Identity) -> [u64; STATE_WORDS] {
    let mut words = [0; STATE_WORDS];
    words[EXIT] = exit.into();
    words[NUMBER] = u64::from(identity.number.unsigned_abs());
    words[START] = identity.start_ticks;
    words[NAMESPACE_AND_INODE] = u64::from(identity.namespace) | u64::from(identity.inode) << 32;
    words
}

pub(super) fn from_words(words: [u64; STATE_WORDS], scope: Scope) -> Result<Identity, String> {
    let (number, names) = (words[NUMBER], words[NAMESPACE_AND_INODE]);
    let identity = i32::try_from(number).ok().filter(|number| *number > 0).map(|number| Identity {
        number,
        scope,
        start_ticks: words[START],
        namespace: names as u32,
        inode: (names >> 32) as u32,
    });
    identity.ok_or_else(|| format!("{number:#x} is no number of a process or thread"))
}

/// The defect in a copy of the state of a handle of a process or thread; `None` if there is none.
pub(crate) fn problem(words: [u64; STATE_WORDS]) -> Option<String> {
    let value = words[EXIT] as u32;
    if !exit::is_valid(value) {
        return Some(format!("{value:#x} is not the exit word of a process or thread"));
    }
    from_words(words, Scope::Process).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_survive_the_words() {
        let identity = Identity {
            number: 4_194_303,
            scope: Scope::Thread,
            start_ticks: u64::MAX,
            namespace: 0xF000_0001,
            inode: 0xFFFF_FFFF,
        };
        let words = to_words(exit::ended(Some(0x8b)), &identity);
        assert_eq!(from_words(words, Scope::Thread), Ok(identity));
        assert_eq!(problem(words), None);
    }

    #[test]
    fn nonsense_is_no_identity() {
        for number in [0, 1 << 31, u64::MAX] {
            let words = [0, number, 1, 1];
            assert!(from_words(words, Scope::Process).is_err() && problem(words).is_some(), "{number}");
        }
        assert!(problem([1 << 20, 1, 1, 1]).is_some());
    }
}
