//! The command: the choice of points, and the output.

use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;

use crate::apart::{mark, reset};
use crate::case::Case;
use crate::cases;
use crate::pair::{Choice, Standing};
use crate::point::{Fate, Violation};
use crate::pool::{Pool, Tally};
use crate::sys::{self, SharedSlice, Status};

/// Kill and stop a member after every instruction of every operation, and check the state; then run the rest of the
/// proof.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// A selection for ten minutes on two processors: every instruction of the short operations, and of the long ones
    /// those around the steps that others see.
    #[arg(long)]
    quick: bool,
    /// Only the cases, or faults, whose name contains this.
    #[arg(long)]
    case: Option<String>,
    /// Only after this many instructions; of pairs, in this place of the first.
    #[arg(long)]
    at: Option<u32>,
    /// Only the pairs: two operations at once.
    #[arg(long)]
    pairs: bool,
    /// Of pairs, only in this place of the second, with `--at`.
    #[arg(long, requires = "at")]
    and: Option<u32>,
    /// The negative controls without the pairs: which of them do operations one at a time show?
    #[arg(long)]
    without_pairs: bool,
    /// The negative controls instead, in a build with the feature `faults`; without either option they come last.
    #[arg(long)]
    faults: bool,
    /// Not the rest: models, memory orderings, torture, hostile bytes, surroundings.
    #[arg(long)]
    points_only: bool,
    /// Only every so many instructions, for a first look.
    #[arg(long, default_value_t = 1)]
    every: u32,
    /// Only this fate: killed or stopped.
    #[arg(long, value_parser = ["killed", "stopped"])]
    fate: Option<String>,
    /// The most kills that share a survivor, of those between which others see no change; with 1 each has its own.
    #[arg(long, default_value_t = 32)]
    stretch: usize,
}

/// Whether this process may trace its children.
fn may_trace() -> bool {
    // SAFETY: the harness has one thread.
    let Some(pid) = (unsafe { sys::fork() }) else { sys::exit(i32::from(!sys::ask_to_be_traced())) };
    sys::wait(pid) == Status::Exited(0)
}

pub(crate) fn main() -> ExitCode {
    let options = Options::parse();
    crate::apart::use_region(true);
    if !may_trace() {
        println!("SKIPPED: this system does not permit ptrace");
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let mut proof = Proof {
        pool: Pool::new(options.stretch),
        all: cases::all(),
        options,
        tally: Tally::default(),
        failed: 0,
    };
    if proof.options.faults {
        return faults(&proof);
    }
    println!(
        "{:<46} {:>14} {:>9} {:>9} {:>9} {:>11} {:>6} {:>6}",
        "operation", "instructions", "killed", "stopped", "survivors", "violations", "cpu s", "s"
    );
    if !proof.options.pairs {
        let rehearsed = proof.operations();
        proof.recoveries(&rehearsed);
    }
    if proof.options.pairs || !proof.options.is_partial() {
        proof.pairs();
    }
    let whole = !proof.options.is_partial();
    let faults_missed = whole && !negative_controls();
    let Proof { tally, failed, options: Options { points_only, quick, .. }, .. } = proof;
    println!(
        "\n{} points killed, {} points stopped, {} violations, {} survivors, {:.0} s of processors in {:.0} s",
        tally.killed,
        tally.stopped,
        tally.violations + failed,
        tally.survivors,
        sys::seconds_of_children(),
        started.elapsed().as_secs_f32()
    );
    if tally.agreeing > 0 {
        println!("{} points of pairs agreed with one that was played", tally.agreeing);
    }
    if tally.slow > 0 {
        println!("{} survivors were not done in time, but were the second time", tally.slow);
    }
    if tally.drifted > 0 {
        println!("{} of the points were at another instruction than the rehearsal's", tally.drifted);
    }
    let others_failed = whole && !points_only && !crate::suite::run(quick);
    if tally.violations + failed > 0 || faults_missed || others_failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Options {
    /// Whether only some points were asked for.
    fn is_partial(&self) -> bool {
        self.pairs || self.case.is_some() || self.at.is_some() || self.fate.is_some() || self.every > 1
    }
}

#[cfg(feature = "faults")]
fn faults(proof: &Proof) -> ExitCode {
    let (faults, missed) = crate::faults::run(&proof.pool, &proof.all, proof.options.without_pairs, |name| {
        proof.is_wanted(name)
    });
    println!("{} of {faults} faults caught", faults - missed);
    if missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

#[cfg(not(feature = "faults"))]
fn faults(_: &Proof) -> ExitCode {
    eprintln!("built without faults: cargo proof-faults");
    ExitCode::from(2)
}

/// Builds the product with its faults, elsewhere, and has them hunted; whether all were caught.
fn negative_controls() -> bool {
    println!();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "-q", "-p", "tenure-proof", "--features", "faults", "--target-dir"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/faults"))
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--", "--faults"])
        .status();
    status.is_ok_and(|status| status.success())
}

struct Proof {
    pool: Pool,
    all: Vec<Case>,
    options: Options,
    tally: Tally,
    /// Cases that could not be rehearsed.
    failed: u64,
}

/// When something began: by the clock, and in seconds of processors.
struct Begun(Instant, f64);

impl Begun {
    fn now() -> Self {
        Self(Instant::now(), sys::seconds_of_children())
    }
}

impl Proof {
    fn is_wanted(&self, name: &str) -> bool {
        self.options.case.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// Every instruction of every operation; how many shared steps each has.
    fn operations(&mut self) -> Vec<(Case, u32)> {
        let wanted: Vec<_> = self.all.iter().filter(|case| self.is_wanted(case.name)).cloned().collect();
        let mut rehearsed = Vec::new();
        for case in wanted {
            let mark = mark();
            let steps = self.operation(&case);
            // What a case leaves behind would be copied into every process that is forked later: half of the time of a whole run.
            // SAFETY: of what was allocated for the case nothing is left but numbers.
            unsafe { reset(mark) };
            rehearsed.extend(steps.map(|steps| (case, steps)));
        }
        rehearsed
    }

    /// The number of its shared steps.
    fn operation(&mut self, case: &Case) -> Option<u32> {
        let begun = Begun::now();
        let rehearsed = match self.pool.rehearse(case, &self.all) {
            Ok(rehearsed) => rehearsed,
            Err(what) => {
                self.failed += 1;
                println!("{:<46} FAILED while rehearsed: {what}", case.name);
                return None;
            }
        };
        let Options { at, every, quick, ref fate, .. } = self.options;
        let track = &rehearsed.track;
        let all = || (1..=track.len()).filter(|n| !track.is_one_more_round(*n));
        let count = all().count();
        // Between two shared steps, others see no difference. Without `--quick` all of it is played nevertheless.
        let stride = if case.sampled { (count / SAMPLED) as u32 + 1 } else { QUICK_ELSEWHERE };
        let is_sampled = at.is_none() && (case.sampled || quick && count > SHORT);
        let is_wanted = |n: &u32| {
            at.is_none_or(|only| only == *n)
                && n.is_multiple_of(every.max(1))
                && (!is_sampled || n.is_multiple_of(stride) || rehearsed.is_near_a_step(*n))
        };
        let fates = || {
            let is_asked = |one: &Fate| fate.as_ref().is_none_or(|only| only == one.verb());
            [Fate::Killed, Fate::Stopped].into_iter().filter(is_asked)
        };
        let points =
            SharedSlice::collect(|| fates().flat_map(|one| all().filter(is_wanted).map(move |n| (one, n))));
        let result = self.pool.play(&rehearsed, &self.all, &points);
        let mark = if is_sampled { "sampled " } else { "" };
        self.row(case.name, &format!("{mark}{count}"), &begun, result);
        Some(rehearsed.track.steps.len() as u32)
    }

    /// Recovery of members that were killed between any two of their shared steps, in every operation.
    fn recoveries(&mut self, rehearsed: &[(Case, u32)]) {
        if self.options.at.is_some() || self.options.fate.is_some() {
            return;
        }
        println!();
        let begun = Begun::now();
        let mut cases = Vec::new();
        for (case, steps) in rehearsed.iter().filter(|(case, _)| case.halves.is_empty() && !case.sampled) {
            cases.extend((1..=*steps).map(|steps| cases::recover_after(case, steps)));
        }
        let (stride, sample) = if self.options.quick { (QUICK_STRIDE, QUICK_STATES) } else { (1, 1) };
        let states = cases.len();
        let cases: Vec<_> = cases.into_iter().step_by(sample).collect();
        let mark = if sample > 1 { format!("{} of ", cases.len()) } else { String::new() };
        let result = self.pool.play_steps(&cases, &self.all, stride);
        self.row(
            "recover, of one killed at any shared step",
            &format!("{mark}{states} states"),
            &begun,
            result,
        );
        if let Some((_, steps)) = rehearsed.iter().find(|(case, _)| case.name == "recover, rich") {
            let begun = Begun::now();
            let cases: Vec<_> = (1..=*steps).map(cases::recover_rich_after).step_by(sample).collect();
            let result = self.pool.play_steps(&cases, &self.all, stride);
            self.row(
                "recover, after a recoverer was killed",
                &format!("{} states", cases.len()),
                &begun,
                result,
            );
        }
    }

    /// Two operations at once, at all pairs of their shared steps.
    fn pairs(&mut self) {
        println!("\n{:<46} {:>14}", "two at once", "places");
        let Options { at, and, every, quick, .. } = self.options;
        let only = at.zip(and).map(|(first, second)| Standing { first, second });
        let at_most = if quick { QUICK_PAIRS } else { u64::MAX };
        let choice = Choice { every: every.max(1).into(), at_most, only };
        let wanted: Vec<_> = cases::pairs().into_iter().filter(|pair| self.is_wanted(pair.name)).collect();
        for pair in wanted {
            let (begun, mark) = (Begun::now(), mark());
            match self.pool.rehearse_pair(&pair, &self.all) {
                Ok(rehearsed) => {
                    let result = self.pool.play_pair(&rehearsed, choice);
                    self.row(pair.name, &rehearsed.places().to_string(), &begun, result);
                }
                Err(what) => {
                    self.failed += 1;
                    println!("{:<46} FAILED while rehearsed: {what}", pair.name);
                }
            }
            // SAFETY: as in `operations`.
            unsafe { reset(mark) };
        }
    }

    fn row(&mut self, name: &str, size: &str, begun: &Begun, (tally, violations): (Tally, Vec<Violation>)) {
        self.tally += tally;
        let Tally { killed, stopped, survivors, violations: count, .. } = tally;
        let (seconds, of_processors) =
            (begun.0.elapsed().as_secs_f64(), sys::seconds_of_children() - begun.1);
        println!(
            "{name:<46} {size:>14} {killed:>9} {stopped:>9} {survivors:>9} {count:>11} {of_processors:>6.1} {seconds:>6.1}"
        );
        violations.iter().for_each(report);
    }
}

/// With `--quick`, operations of more instructions are played near their shared steps, and elsewhere at one instruction
/// in so many.
const SHORT: usize = 400;
const QUICK_ELSEWHERE: u32 = 128;
/// The number of instructions that are played of a case that is always sampled, besides those near a shared step.
const SAMPLED: usize = 1000;
/// With `--quick`, one in so many of a recoverer's shared steps is played, where it recovers many states.
const QUICK_STRIDE: usize = 8;
/// With `--quick`, so many points of a pair, or all if there are no more.
const QUICK_PAIRS: u64 = 150;
/// With `--quick`, one in so many of the states is recovered.
const QUICK_STATES: usize = 16;

fn report(violation: &Violation) {
    let Violation { case, point, again, address, what } = violation;
    println!("  VIOLATION: {case}: {point}");
    println!("    at {address:#x} {}", symbol(*address).unwrap_or_default());
    what.lines().for_each(|line| println!("    {line}"));
    println!("    again: cargo proof {again}");
}

/// The function at an address, where `addr2line` is installed.
fn symbol(address: u64) -> Option<String> {
    let program = std::env::current_exe().ok()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let first = maps.lines().find(|line| line.ends_with(&*program.to_string_lossy()))?;
    let base = u64::from_str_radix(first.split('-').next()?, 16).ok()?;
    let output = Command::new("addr2line")
        .args(["-Cfe"])
        .arg(&program)
        .arg(format!("{:#x}", address.checked_sub(base)?))
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().replace('\n', ", "))
}
