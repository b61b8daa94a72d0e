//! Runs the conformance suite and prints its table.

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use tenure_conformance::{NegativeControl, all, failures, play_negative_control, run, skipped, table};

/// Runs every scenario in every backend, through Rust and through C, and prints a table of the results.
#[derive(Parser)]
struct Arguments {
    /// Only scenarios with this in their names, or of this topic.
    only: Option<String>,
    /// Write docs/conformance.md.
    #[arg(long)]
    write: bool,
    /// Fail unless docs/conformance.md says the same.
    #[arg(long)]
    compare: bool,
    /// Make one mistake after the other, and fail unless a scenario finds it.
    #[arg(long)]
    negative_control: bool,
    /// The number of scenarios at a time.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

/// Whether every mistake is found.
fn negative_control() -> ExitCode {
    let all = all();
    let mut missed = 0;
    for (negative_control, of) in NegativeControl::ALL {
        let scenarios: Vec<_> =
            all.iter().filter(|scenario| scenario.topic == of || scenario.name == of).copied().collect();
        match play_negative_control(&scenarios, negative_control) {
            Ok(Some(name)) => println!("{negative_control:?} is found: {name}"),
            Ok(None) => {
                eprintln!("{negative_control:?} is not found by {of:?}");
                missed += 1;
            }
            Err(error) => {
                eprintln!("error: {error}");
                missed += 1;
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.negative_control {
        return negative_control();
    }
    let scenarios: Vec<_> = all()
        .into_iter()
        .filter(|scenario| {
            arguments.only.as_ref().is_none_or(|part| scenario.name.contains(part) || scenario.topic == part)
        })
        .collect();
    let runs = match run(&scenarios, arguments.workers.max(1)) {
        Ok(runs) => runs,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (table, failures, skipped) = (table(&scenarios, &runs), failures(&runs), skipped(&runs));
    if !arguments.compare {
        print!("{table}");
    }
    skipped.iter().for_each(|line| println!("{line}"));
    println!(
        "{} scenarios, {} runs, {} failed, {} skipped",
        scenarios.len(),
        runs.len(),
        failures.len(),
        skipped.len()
    );
    let whole = arguments.only.is_none() && skipped.is_empty();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    if !failures.is_empty() {
        return ExitCode::FAILURE;
    }
    if arguments.write && whole {
        if let Err(error) = std::fs::write(&path, &table) {
            eprintln!("error: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    } else if arguments.write {
        eprintln!("error: not written: not all scenarios were run");
        return ExitCode::FAILURE;
    }
    if arguments.compare && whole && std::fs::read_to_string(&path).ok().as_ref() != Some(&table) {
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        for line in table.lines().filter(|line| !old.lines().any(|known| known == *line)) {
            eprintln!("not in docs/conformance.md: {line}");
        }
        eprintln!(
            "error: docs/conformance.md is not what was found; cargo run -p tenure-conformance -- --write"
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
