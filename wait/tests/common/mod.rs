//! The interleavings that the loom tests try.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries every interleaving with at most so many preemptions (`None`: as many as there are), and says how many those were.
pub(crate) fn explore(preemptions: Option<usize>, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    model.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        test();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}
