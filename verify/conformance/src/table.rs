//! The runs as a table.

use std::fmt::Write;

use crate::driver::{BACKENDS, Backend, Language};
use crate::run::{Outcome, Run};
use crate::scenarios::Scenario;

/// The failures, with their texts.
#[must_use]
pub fn failures(runs: &[Run]) -> Vec<String> {
    let failed = runs.iter().filter_map(|run| match &run.outcome {
        Outcome::Failed(why) => Some((run, why)),
        _ => None,
    });
    failed.map(|(run, why)| format!("{} ({}, {}): {why}", run.name, run.backend, run.language)).collect()
}

/// The features that this machine does not offer.
#[must_use]
pub fn skipped(runs: &[Run]) -> Vec<String> {
    let skipped = runs.iter().filter_map(|run| match &run.outcome {
        Outcome::NotHere(what) => {
            Some(format!("SKIPPED: {} ({}, {}): {what}", run.name, run.backend, run.language))
        }
        _ => None,
    });
    skipped.collect()
}

/// The text of a cell: the languages in which the scenario passes.
fn cell(rust: &Outcome, c: &Outcome) -> &'static str {
    match (rust, c) {
        (Outcome::Works, Outcome::Works) => "Rust, C",
        (Outcome::Works, Outcome::NotInThisLanguage(_)) => "Rust",
        (Outcome::NotInThisLanguage(_), Outcome::Works) => "C",
        (Outcome::OneProcessOnly, _) => "–",
        (Outcome::NotHere(_), _) | (_, Outcome::NotHere(_)) => "not here",
        _ => "**no**",
    }
}

fn outcome<'a>(
    runs: &'a [Run],
    scenario: &Scenario,
    backend: Backend,
    language: Language,
) -> Option<&'a Outcome> {
    let found = runs
        .iter()
        .find(|run| run.name == scenario.name && run.backend == backend && run.language == language);
    found.map(|run| &run.outcome)
}

const ABOUT: &str = "\
# What works where

Made by `cargo run -p tenure-conformance -- --write`; do not edit. Each row is a scenario of the package `conformance`: what a
user may expect of handles. Every one runs in every backend, through the crate `tenure` and through the functions of `tenure.h`,
with a process for each program. Afterwards `check()` must be clean, and no member, handle, block, name, process or file may be
left. `cargo test -p tenure-conformance` runs all of it and compares it with this table.

A cell names the languages through which it is as the row says. A dash: the scenario needs a second process, and private memory
has only one; there its programs are threads, each with a membership of its own.
";

/// The whole document.
#[must_use]
pub fn table(scenarios: &[&'static Scenario], runs: &[Run]) -> String {
    let mut text = ABOUT.to_owned();
    let mut topic = "";
    for scenario in scenarios {
        if scenario.topic != topic {
            topic = scenario.topic;
            let backends: Vec<_> = BACKENDS.iter().map(Backend::to_string).collect();
            let rule = "---|".repeat(backends.len());
            let _ = write!(text, "\n## {topic}\n\n| | {} |\n|---|{rule}\n", backends.join(" | "));
        }
        let cells = BACKENDS.map(|backend| {
            let of = |language| outcome(runs, scenario, backend, language);
            of(Language::Rust).zip(of(Language::C)).map_or("**no**", |(rust, c)| cell(rust, c))
        });
        let _ = writeln!(text, "| {} | {} |", scenario.name, cells.join(" | "));
    }
    text
}
