//! Measures everything and writes a report: `cargo perf`, `cargo perf --quick`.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tenure_bench::measure::{Effort, Measured, measure};
use tenure_bench::report::{
    self, Machine, Report, folder, index, nanoseconds, ratio, results, root, update_between,
};
use tenure_bench::{crowd, kill, lifetimes, memory, programs, workloads};

/// Measures tenure beside the daemon, the mutex and the rivals, in turn.
#[derive(Parser)]
struct Arguments {
    /// Few rounds: for a look, not for a report. Writes into `target` unless told otherwise.
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this, and no report.
    #[arg(long)]
    only: Option<String>,
    /// Only the effects of a SIGKILL, and no report.
    #[arg(long)]
    kills: bool,
    /// Only joining, leaving and dying, and no report.
    #[arg(long)]
    lifetimes: bool,
    /// Only whole programs over our malloc and others, and no report.
    #[arg(long)]
    programs: bool,
    /// The report's folder.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Nothing is measured: README and index are made anew from the newest report.
    #[arg(long)]
    readme: bool,
    /// The number of hits of each subject with each signal.
    #[arg(long)]
    signals: Option<u32>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("perf: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.readme {
        return publish();
    }
    let effort = if arguments.quick { Effort::QUICK } else { Effort::FULL };
    let signals = arguments.signals.unwrap_or(if arguments.quick { 3 } else { 10 });
    if arguments.kills {
        println!("{}", serde_json::to_string_pretty(&kill::measure(signals)?)?);
        return Ok(());
    }
    let of_lifetimes = if arguments.quick { 20 } else { 200 };
    if arguments.lifetimes {
        print!("{}", report::lifetimes(&lifetimes::measure(of_lifetimes)?));
        return Ok(());
    }
    let of_programs = if arguments.quick { 3 } else { 15 };
    if arguments.programs {
        print!("{}", report::programs(&programs::measure(of_programs)?));
        return Ok(());
    }
    if let Some(only) = &arguments.only {
        let all = workloads::all();
        all.iter().filter(|workload| workload.id.contains(only)).for_each(|one| show(&measure(one, effort)));
        return Ok(());
    }
    let started = Instant::now();
    let mut machine = Machine::here(effort.rounds);
    eprintln!("whole programs ...");
    let programs = programs::measure(of_programs)?;
    let mut measured = Vec::new();
    for workload in workloads::all() {
        measured.push(measure(&workload, effort));
        measured.iter().rev().take(1).for_each(show);
    }
    eprintln!("joining, leaving, dying ...");
    let mut lifetimes = lifetimes::measure(of_lifetimes)?;
    lifetimes.extend(crowd::measure(if arguments.quick { 2 } else { 20 })?);
    eprintln!("memory ...");
    let memory = memory::measure()?;
    eprintln!("what a SIGKILL does ...");
    let signals = kill::measure(signals)?;
    machine.finish(started.elapsed().as_secs());
    let report = Report { machine, measured, lifetimes, memory, programs, signals };
    let to = arguments.out.clone();
    let to = to.unwrap_or_else(|| if arguments.quick { root().join("target/perf") } else { folder() });
    let written = report.write(&to)?;
    println!("\n{}", written.join("report.md").display());
    if !arguments.quick && arguments.out.is_none() {
        publish()?;
    }
    Ok(())
}

/// Makes the files that depend on the newest report anew: the README's table, and the index.
fn publish() -> Result<(), Box<dyn Error>> {
    let reports = Report::read_all(&folder())?;
    let newest = reports.first().ok_or("there is no report")?;
    for (file, name, with) in [
        (root().join("README.md"), "results", results(newest)),
        (folder().join("README.md"), "reports", index(&reports)),
    ] {
        let text = fs::read_to_string(&file)?;
        let text =
            update_between(&text, name, &with).ok_or_else(|| format!("{}: no markers", file.display()))?;
        fs::write(file, text)?;
    }
    Ok(())
}

fn show(measured: &Measured) {
    println!("\n{}: {}", measured.id, measured.title);
    let comparisons = measured.comparisons();
    for figures in &measured.subjects {
        let tail = figures.tail_ns.map_or_else(String::new, |tail| {
            let [p50, p99, p999] = [tail.p50, tail.p99, tail.p999].map(|ns| nanoseconds(ns as f64));
            format!("{p50} / {p99} / {p999}")
        });
        let compared = comparisons.iter().find(|one| std::ptr::eq(one.theirs, figures));
        let compared = compared.map_or_else(String::new, |one| {
            let [median, low, high] = [one.ratio.median, one.ratio.low, one.ratio.high].map(ratio);
            format!("tenure/this {median} [{low}, {high}] {:?}", one.verdict())
        });
        println!(
            "  {:24} {} {:>10} {tail:28} {compared}{}",
            figures.subject,
            figures.members,
            nanoseconds(figures.ns()),
            figures.failed.as_deref().unwrap_or("")
        );
    }
}
