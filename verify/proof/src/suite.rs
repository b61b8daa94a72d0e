//! The rest of the proof: other programs of the workspace, and the figures that they print.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// A program of the workspace that is a part of the proof.
struct Part {
    name: &'static str,
    /// Run by bash in the root of the workspace.
    quick: &'static str,
    full: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        name: "explored interleavings and deaths",
        quick: "cargo test --release -q -p tenure-slab --lib -- --nocapture explore && \
                cargo test --release -q -p tenure-scratch-alloc --lib -- --nocapture explore",
        full: "cargo test --release -q -p tenure-slab -- --nocapture && \
               cargo test --release -q -p tenure-scratch-alloc -- --nocapture",
    },
    Part { name: "models", quick: "verify/models/run --quick", full: "verify/models/run" },
    Part {
        name: "memory orderings",
        quick: "verify/models/orderings --quick",
        full: "verify/models/orderings",
    },
    Part {
        name: "torture",
        quick: "cargo run --release -q -- torture --seconds 20",
        full: "for seed in 1 2 3 4 5 6; do cargo run --release -q -- torture --seconds 100 --seed $seed || exit; done",
    },
    Part { name: "hostile bytes", quick: ".ci/fuzz 10", full: ".ci/fuzz 300" },
    Part {
        name: "surroundings",
        quick: "cargo test --release -q -p tenure --test surroundings",
        full: "cargo test --release -q -p tenure --test surroundings -- --include-ignored",
    },
];

/// The units of the figures: every `N noun` in a line is one, unless another figure of the kind came before it in the
/// line.
const NOUNS: &[&str] = &[
    "states",
    "executions",
    "schedules",
    "stops",
    "deaths",
    "kills",
    "operations",
    "caught",
    "seeds",
    "passed",
    "runs",
];

/// The result of a part.
struct Outcome {
    name: &'static str,
    figures: Vec<(&'static str, u64)>,
    skipped: Vec<String>,
    seconds: f32,
    failed: bool,
}

/// Runs every part; returns whether all of them succeeded.
pub(crate) fn run(quick: bool) -> bool {
    let outcomes: Vec<_> = PARTS.iter().map(|part| part.run(quick)).collect();
    println!("\n{:<36} {:>6}  figures", "the rest", "s");
    for Outcome { name, figures, skipped, seconds, failed } in &outcomes {
        let figures: Vec<_> = figures.iter().map(|(noun, sum)| format!("{sum} {noun}")).collect();
        let verdict = if *failed { "FAILED " } else { "" };
        println!("{name:<36} {seconds:>6.0}  {verdict}{}", figures.join(", "));
        skipped.iter().for_each(|line| println!("{:<36} {:>6}  {line}", "", ""));
    }
    !outcomes.iter().any(|outcome| outcome.failed)
}

impl Part {
    fn run(&self, quick: bool) -> Outcome {
        println!("\n--- {}", self.name);
        let started = Instant::now();
        let (mut figures, mut skipped) = (Vec::new(), Vec::new());
        let command = if quick { self.quick } else { self.full };
        let status = show(command, |line| {
            if line.contains("SKIPPED") {
                skipped.push(line.trim().to_owned());
            }
            count(line, &mut figures);
        });
        let failed = !status.is_ok_and(|status| status.success());
        Outcome { name: self.name, figures, skipped, seconds: started.elapsed().as_secs_f32(), failed }
    }
}

/// Runs a command and passes its output on, line by line.
fn show(command: &str, mut see: impl FnMut(&str)) -> std::io::Result<ExitStatus> {
    let mut child = Command::new("bash")
        .args(["-c", &format!("exec 2>&1; {command}")])
        .current_dir(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")))
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = child.stdout.take().map(BufReader::new);
    for line in lines.into_iter().flat_map(|lines| lines.split(b'\n')) {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}")?;
        see(&line);
    }
    child.wait()
}

/// Adds up the figures of a line.
fn count(line: &str, figures: &mut Vec<(&'static str, u64)>) {
    let words: Vec<&str> =
        line.split_whitespace().map(|word| word.trim_matches([',', ';', '.', ':', '(', ')'])).collect();
    for pair in words.windows(2) {
        let (noun, number) = match (pair[0].replace(['_', ','], "").parse(), pair[1].parse::<u64>()) {
            (Ok(number), _) => (pair[1], number),
            // The format of tables.
            (_, Ok(number)) if pair[0] == words[0] => (pair[0], number),
            _ => continue,
        };
        let Some(noun) = NOUNS.iter().find(|known| **known == noun) else { continue };
        match figures.iter_mut().find(|(known, _)| known == noun) {
            Some((_, sum)) => *sum += number,
            None => figures.push((noun, number)),
        }
    }
}
