//! How the loom tests of the crates try interleavings, and say how many: `verify/models/orderings` adds those up.
#![allow(dead_code, reason = "each test file uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::model::Builder;

/// Tries every interleaving with at most so many preemptions (`None`: as many as there are), and says how many those were.
pub(crate) fn explore(preemptions: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = preemptions;
    explore_in(&model, test);
}

/// As [`explore`], within the bounds of a model.
pub(crate) fn explore_in(model: &Builder, test: impl Fn() + Sync + Send + 'static) {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        test();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}
