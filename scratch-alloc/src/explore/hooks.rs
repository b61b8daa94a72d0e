//! Hooks at the steps of a member; a step is an access to a shared word. At a step that a test chooses, another member works or this one
//! dies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use tenure_core::testing::{Site, Step, with};

thread_local! {
    /// Writes right after which a member died.
    static DIED_AT: RefCell<BTreeSet<Site>> = const { RefCell::new(BTreeSet::new()) };
}

struct Killed;

/// The source lines of writes right after which a member died in this thread so far.
pub(super) fn died_at() -> BTreeSet<Site> {
    DIED_AT.with_borrow(Clone::clone)
}

/// The end of a member's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The member died before its next step.
    Died,
    /// The member finished after this number of steps.
    Finished(u64),
}

/// Runs `member`; before its step `at` another member does `work`; before its step `dies` it dies.
pub(super) fn run(
    member: impl FnOnce(),
    mut work: Option<(u64, &mut dyn FnMut())>,
    dies: Option<u64>,
) -> Outcome {
    let (steps, written) = (Cell::new(0), Cell::new(None));
    let died = || DIED_AT.with_borrow_mut(|died| died.extend(written.get()));
    let hook = |step: Step| {
        let now = steps.replace(steps.get() + 1);
        if dies == Some(now) {
            died();
            resume_unwind(Box::new(Killed));
        }
        if let Some((at, work)) = &mut work
            && *at == now
        {
            work();
        }
        if step.writes {
            written.set(Some(step.site));
        }
    };
    match catch_unwind(AssertUnwindSafe(|| with(hook, member))) {
        Ok(()) => {
            // A death after the last step is the death of an idle member.
            died();
            Outcome::Finished(steps.get())
        }
        Err(killed) if killed.is::<Killed>() => Outcome::Died,
        Err(failure) => resume_unwind(failure),
    }
}
