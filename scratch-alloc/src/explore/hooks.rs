//! What happens at each access to a shared word: usually nothing; where a test says so, another member works or this
//! one dies.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    static STEPS: Cell<Option<u64>> = const { Cell::new(None) };
    static PLAN: RefCell<Vec<(u64, Act)>> = const { RefCell::new(Vec::new()) };
    /// Points passed since the last step.
    static PASSED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    /// Points right after which somebody died.
    static DIED_AT: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

enum Act {
    Die,
    /// Lives at least as long as the call to `run` that has it.
    Work(*mut (dyn FnMut() + 'static)),
}

struct Killed;

/// The running member is about to access a shared word.
pub(crate) fn step() {
    let Some(now) = STEPS.get() else { return };
    STEPS.set(Some(now + 1));
    let due = PLAN.with_borrow_mut(|plan| {
        let at = plan.iter().position(|(step, _)| *step == now)?;
        Some(plan.remove(at).1)
    });
    match due {
        None => PASSED.with_borrow_mut(Vec::clear),
        Some(Act::Die) => {
            died();
            resume_unwind(Box::new(Killed));
        }
        Some(Act::Work(work)) => {
            // What the others do is not counted.
            STEPS.set(None);
            // SAFETY: `run` is on the stack below us and keeps it borrowed; it was removed from the plan: nobody else has it.
            unsafe { (*work)() };
            STEPS.set(Some(now + 1));
        }
    }
}

/// The running member passed a failpoint.
pub(crate) fn passed(name: &'static str) {
    if STEPS.get().is_some() {
        PASSED.with_borrow_mut(|passed| passed.push(name));
    }
}

fn died() {
    PASSED.with_borrow_mut(|passed| DIED_AT.with_borrow_mut(|died| died.extend(passed.drain(..))));
}

/// The failpoints at which a member died in this thread so far.
pub(super) fn died_at() -> BTreeSet<&'static str> {
    DIED_AT.with_borrow(Clone::clone)
}

/// How far a member got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It died before its next step.
    Died,
    /// It finished after so many steps.
    Finished(u64),
}

/// Has `member` work; before its step `at`, another one does `work`; before its step `dies`, it dies.
pub(super) fn run(
    member: impl FnOnce(),
    work: Option<(u64, &mut dyn FnMut())>,
    dies: Option<u64>,
) -> Outcome {
    let mut plan = Vec::new();
    if let Some((at, work)) = work {
        let work: *mut (dyn FnMut() + '_) = work;
        // SAFETY: only the lifetime changes; the plan is emptied before this call returns.
        plan.push((
            at,
            Act::Work(unsafe { std::mem::transmute::<*mut (dyn FnMut() + '_), *mut dyn FnMut()>(work) }),
        ));
    }
    plan.extend(dies.map(|at| (at, Act::Die)));
    PLAN.set(plan);
    PASSED.with_borrow_mut(Vec::clear);
    STEPS.set(Some(0));
    let ended = catch_unwind(AssertUnwindSafe(member));
    let steps = STEPS.replace(None).unwrap_or(0);
    PLAN.with_borrow_mut(Vec::clear);
    match ended {
        Ok(()) => {
            // Dying after the last step is dying idle.
            died();
            Outcome::Finished(steps)
        }
        Err(killed) if killed.is::<Killed>() => Outcome::Died,
        Err(failure) => resume_unwind(failure),
    }
}
