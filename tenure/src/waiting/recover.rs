//! Recovery of the wait words of objects, and their inspection for `check`.

use tenure_core::mutant;
use tenure_core::sync::Word;
use tenure_slab::HolderSet;
use tenure_wait::exit;
use tenure_wait::{
    self as wait, McasDescriptors, McasRef, WAITERS, event, mutex, permits, rwlock, semaphore, sequence,
};

use super::permits::permit_words;
use super::rwlock::readers_word;
use super::word::{HalfWord, WholeWord};
use crate::kind::Kind;

/// Recovers the wait words of an object that the dead lease `dead` held, before the holder bit of that lease is cleared: abandons a mutex
/// that it owned, withdraws its readers, and wakes the waiters. `words` are those of the payload, the state words first.
///
/// Each call loads the word, and thereby resolves a reference to the dead lease's MCAS descriptor: that MCAS succeeded or failed.
///
/// The caller holds the handle, or no other process may end it. Every recoverer calls this, at any time, until the bit is cleared.
///
/// # Crash
///
/// The next recoverer starts over.
pub(crate) fn recover(kind: Kind, words: &[Word], mcas: &McasDescriptors<'_>, dead: u8) {
    let Some(state) = words.first_chunk() else { return };
    match kind {
        Kind::MUTEX | Kind::LOCKED | Kind::VERSIONED | Kind::RWLOCK => {
            mutex::abandon(&WholeWord::of(state, mcas, Kind::MUTEX), dead);
            if kind == Kind::RWLOCK
                && let Some(readers) = readers_word(words, dead)
            {
                rwlock::withdraw_all(&HalfWord::at(readers));
            }
        }
        Kind::EVENT_AUTO | Kind::SEMAPHORE => wait::wake_waiters(&WholeWord::of(state, mcas, kind)),
        Kind::EVENT_MANUAL | Kind::PROCESS | Kind::THREAD => wait::wake_waiters(&HalfWord::of(state)),
        // What the dead one had claimed is in the queue again: see `Slab::recover`.
        // The fence: ordered after the slots, as in `Queue`: either a sleeper sees them, or this sees that it sleeps.
        Kind::QUEUE => {
            std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
            state[..2].iter().for_each(|word| sequence::wake(&HalfWord::at(word)));
        }
        // Whoever waits looks again: the dead one may have changed something and notified nobody.
        Kind::CONDVAR if !mutant!("wait.condvar.nobody_woken") => sequence::wake(&HalfWord::of(state)),
        Kind::PERMITS => {
            if let Some(all) = permit_words(words).filter(|_| !mutant!("wait.permits.not_given_back")) {
                permits::recover(all, dead);
            }
            // In any case: it may have given one back, and woken nobody.
            if !mutant!("wait.permits.nobody_woken") {
                sequence::wake(&HalfWord::of(state));
            }
        }
        _ => {}
    }
}

/// Whether the lease has a lock: to write, or to read. While it is taken together with others, it is not said to have it.
pub(crate) fn has_lock(kind: Kind, words: &[Word], lease: u8) -> bool {
    if !matches!(kind, Kind::MUTEX | Kind::LOCKED | Kind::VERSIONED | Kind::RWLOCK) {
        return false;
    }
    // Relaxed, both: information only.
    let load = |word: &Word| word.load(std::sync::atomic::Ordering::Relaxed);
    let word = words.first().map_or(0, load);
    let is_owner =
        |word| matches!(mutex::State::of(word), mutex::State::Owned(owner) if owner.lease() == lease);
    let is_reader =
        || readers_word(words, lease).is_some_and(|readers| rwlock::readers(load(readers) as u32) > 0);
    word >> 32 == 0 && is_owner(word as u32) || kind == Kind::RWLOCK && is_reader()
}

/// The findings of `check` in an object's state.
pub(crate) struct Findings {
    pub(crate) violations: Vec<String>,
    /// States that an operation in progress or a recovery that is due can produce.
    pub(crate) pending: Vec<String>,
}

/// Inspects a copy of an object's state; finds nothing in other kinds.
pub(crate) fn inspect(kind: Kind, state: [u64; 4], holders: &HolderSet) -> Findings {
    let mut found = Findings { violations: Vec::new(), pending: Vec::new() };
    let is_mcas_word = matches!(kind, Kind::MUTEX | Kind::EVENT_AUTO | Kind::SEMAPHORE);
    if let Some(McasRef { lease, .. }) = McasRef::of(state[0]).filter(|_| is_mcas_word) {
        if holders.contains(lease) {
            found.pending.push(format!("{kind}: lease {lease} is taking it, together with others"));
        } else {
            found
                .violations
                .push(format!("reference to the MCAS descriptor of lease {lease}, which does not hold it"));
        }
        return found;
    }
    let (word, high) = (state[0] as u32, state[0] >> 32);
    let value = word & !WAITERS;
    let mut wrong = |is: bool, what: String| {
        if is {
            found.violations.push(what);
        }
    };
    let is_available = match kind {
        Kind::MUTEX | Kind::LOCKED | Kind::VERSIONED | Kind::RWLOCK => {
            match mutex::State::of(word) {
                mutex::State::Nonsense => wrong(true, format!("{word:#x} is not the word of a mutex")),
                mutex::State::Owned(owner) => {
                    wrong(
                        !holders.contains(owner.lease()),
                        format!("owned by {owner:?}, which does not hold it"),
                    );
                }
                mutex::State::Free | mutex::State::Abandoned => {}
            }
            let most = u64::from(kind == Kind::MUTEX);
            wrong(state[2] > most, format!("a mutex with flags {:#x}", state[2]));
            mutex::is_available(value)
        }
        Kind::EVENT_MANUAL => event::is_available(value),
        Kind::EVENT_AUTO => {
            wrong(event::generation(value) != 0, format!("{word:#x} is not the word of an auto-reset event"));
            event::is_available(value)
        }
        Kind::SEMAPHORE => {
            let maximum = state[1];
            let fits = (1..=u64::from(semaphore::MAXIMUM)).contains(&maximum);
            wrong(!fits, format!("a semaphore with a maximum of {maximum}"));
            wrong(u64::from(value) > maximum, format!("a count of {value}, but a maximum of {maximum}"));
            semaphore::is_available(value)
        }
        Kind::PROCESS | Kind::THREAD => {
            if let Some(problem) = crate::processes::problem(state) {
                wrong(true, problem);
            }
            exit::is_available(value)
        }
        Kind::QUEUE => {
            wrong(state[1] >> 32 != 0, "not the wait words of a queue".into());
            false
        }
        // Nothing in the word is available.
        Kind::CONDVAR | Kind::PERMITS => false,
        _ => return found,
    };
    // The upper half of an exit word is the announced code; of any other wait word it is zero.
    let high = if matches!(kind, Kind::PROCESS | Kind::THREAD) { 0 } else { high };
    wrong(high != 0, format!("{high:#x} beside the wait word"));
    if word & WAITERS != 0 && is_available {
        found.pending.push(format!("{kind}: changed, and its waiters are not woken yet"));
    }
    found
}
