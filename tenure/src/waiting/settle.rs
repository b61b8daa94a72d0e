//! After the death of a holder, and for `check`.

use tenure_slab::HolderSet;
use tenure_wait::exit;
use tenure_wait::{self as wait, ASLEEP, Records, Reservation, event, mutex, semaphore};

use super::word::{HalfWord, WholeWord};
use crate::kind::Kind;
use crate::state::State;

/// Puts an object in order that the dead lease `dead` held, before its bit goes: what it owned is abandoned, what it began is
/// finished. Looking at a word makes it plain: what the dead had reserved is taken, or is not.
///
/// The caller holds the handle, or nobody else may end it. Every recoverer calls it, at any time, until the bit is gone.
///
/// # Crash
///
/// The next recoverer starts over.
pub(crate) fn settle(kind: Kind, state: &State, records: &Records<'_>, dead: u8) {
    match kind {
        Kind::MUTEX => mutex::settle(&WholeWord::of(state, records, kind), dead),
        Kind::EVENT_AUTO | Kind::SEMAPHORE => wait::settle(&WholeWord::of(state, records, kind)),
        Kind::EVENT_MANUAL | Kind::PROCESS | Kind::THREAD => wait::settle(&HalfWord::of(state)),
        _ => {}
    }
}

/// What is wrong with an object's state.
pub(crate) struct Findings {
    pub(crate) violations: Vec<String>,
    pub(crate) pending: Vec<String>,
}

/// Looks at a copy of an object's state; of no other kinds.
pub(crate) fn inspect(kind: Kind, state: [u64; 4], holders: &HolderSet) -> Findings {
    let mut found = Findings { violations: Vec::new(), pending: Vec::new() };
    let is_taken = matches!(kind, Kind::MUTEX | Kind::EVENT_AUTO | Kind::SEMAPHORE);
    if let Some(Reservation { lease, .. }) = Reservation::of(state[0]).filter(|_| is_taken) {
        if holders.contains(lease) {
            found.pending.push(format!("{kind}: lease {lease} is taking it, together with others"));
        } else {
            found.violations.push(format!("reserved for lease {lease}, which does not hold it"));
        }
        return found;
    }
    let (word, high) = (state[0] as u32, state[0] >> 32);
    let value = word & !ASLEEP;
    let mut wrong = |is: bool, what: String| {
        if is {
            found.violations.push(what);
        }
    };
    let offers = match kind {
        Kind::MUTEX => {
            match mutex::State::of(word) {
                mutex::State::Nonsense => wrong(true, format!("{word:#x} is not the word of a mutex")),
                mutex::State::Owned(owner) => {
                    wrong(
                        !holders.contains(owner.lease),
                        format!("owned by {owner:?}, which does not hold it"),
                    );
                }
                mutex::State::Free | mutex::State::Abandoned => {}
            }
            wrong(state[2] > 1, format!("a mutex with flags {:#x}", state[2]));
            mutex::offers(value)
        }
        Kind::EVENT_MANUAL => event::offers(value),
        Kind::EVENT_AUTO => {
            wrong(event::generation(value) != 0, format!("{word:#x} is not the word of an automatic event"));
            event::offers(value)
        }
        Kind::SEMAPHORE => {
            let maximum = state[1];
            let fits = (1..=u64::from(semaphore::MAXIMUM)).contains(&maximum);
            wrong(!fits, format!("a semaphore with a maximum of {maximum}"));
            wrong(u64::from(value) > maximum, format!("a count of {value}, but a maximum of {maximum}"));
            semaphore::offers(value)
        }
        Kind::PROCESS | Kind::THREAD => {
            if let Some(problem) = crate::processes::problem(state) {
                wrong(true, problem);
            }
            exit::offers(value)
        }
        _ => return found,
    };
    // Of a process or thread, the code that it announced.
    let high = if matches!(kind, Kind::PROCESS | Kind::THREAD) { 0 } else { high };
    wrong(high != 0, format!("{high:#x} beside the wait word"));
    if word & ASLEEP != 0 && offers {
        found.pending.push(format!("{kind}: changed, and those who wait are not woken yet"));
    }
    found
}
