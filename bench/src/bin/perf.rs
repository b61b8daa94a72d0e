//! Measures everything and writes a report: `cargo perf`, `cargo perf --quick`.

use clap::Parser;
use tenure_bench::measure::{Effort, measure};
use tenure_bench::workloads;

/// Measures tenure beside the daemon, the mutex and the rivals, in turn.
#[derive(Parser)]
struct Arguments {
    /// Few rounds: for a look, not for a report.
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let arguments = Arguments::parse();
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    for workload in workloads::all().iter().filter(|workload| workload.id.contains(&arguments.only)) {
        let measured = measure(workload, effort);
        println!("\n{}: {}", measured.id, measured.title);
        for figures in &measured.subjects {
            let tail = figures
                .tail_ns
                .map_or(String::new(), |t| format!("p50 {} p99 {} p99.9 {}", t.p50, t.p99, t.p999));
            println!(
                "  {:24} {} {:10.1} {tail} {}",
                figures.subject,
                figures.members,
                figures.ns(),
                figures.failed.as_deref().unwrap_or("")
            );
        }
        for one in measured.comparisons() {
            println!(
                "    tenure/{} x{}: {:.3} [{:.3}, {:.3}] {:?}",
                one.theirs.subject,
                one.theirs.members,
                one.ratio.median,
                one.ratio.low,
                one.ratio.high,
                one.verdict()
            );
        }
    }
}
