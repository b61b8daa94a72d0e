//! Runs the loom tests of the crates, and prints the number of interleavings: `verify/models/orderings` adds these up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use loom::model::Builder;

/// Tries every interleaving with at most `preemptions` preemptions (`None`: no limit), and prints the number of interleavings.
pub fn explore(preemptions: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let mut model = Builder::new();
    model.preemption_bound = preemptions;
    explore_in(&model, test);
}

/// As [`explore`], within the bounds of a model.
pub fn explore_in(model: &Builder, test: impl Fn() + Sync + Send + 'static) {
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        test();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}
