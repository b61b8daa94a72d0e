//! Plays scenarios, each in a process of its own.

use std::io::{BufRead, BufReader, PipeWriter, Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::{Deserialize, Serialize};
use tenure_testkit::die_with_parent;

use crate::driver::{BACKENDS, Backend, Language};
use crate::negative_control::NegativeControl;
use crate::order::Fault;
use crate::scenarios::Scenario;
use crate::stage::{Stage, name_of};

/// The outcome of a scenario in one backend and language.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The expectation holds.
    Works,
    /// The scenario needs a second process.
    OneProcessOnly,
    /// The missing feature of the language.
    NotInThisLanguage(String),
    /// The missing feature of this machine.
    NotHere(String),
    /// The expectation does not hold: how.
    Failed(String),
}

/// A scenario in one backend and language, and its outcome.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its name.
    pub name: &'static str,
    /// The backend.
    pub backend: Backend,
    /// The language.
    pub language: Language,
    /// The outcome.
    pub outcome: Outcome,
}

/// Plays all of them, in every backend and language, `workers` at a time.
///
/// The caller has one thread only: stages are forked from it.
///
/// # Errors
///
/// When the system refuses a process, a pipe or a folder.
pub fn run(scenarios: &[&'static Scenario], workers: usize) -> std::io::Result<Vec<Run>> {
    let combinations: Vec<_> = scenarios
        .iter()
        .flat_map(|scenario| BACKENDS.map(|backend| (*scenario, backend)))
        .flat_map(|(scenario, backend)| Language::ALL.map(|language| (scenario, backend, language)))
        .collect();
    let folder = tempfile::tempdir()?;
    let mut readers = Vec::new();
    for worker in 0..workers {
        let (reader, mut writer) = std::io::pipe()?;
        // SAFETY: this process has one thread; the child ends by `_exit`.
        if unsafe { libc::fork() } == 0 {
            die_with_parent();
            for (scenario, backend, language) in combinations.iter().skip(worker).step_by(workers) {
                let outcome = play(scenario, *backend, *language, folder.path(), None);
                if let Outcome::Failed(why) = &outcome {
                    eprintln!("FAILED: {} ({backend}, {language}): {why}", scenario.name);
                }
                let line = serde_json::to_string(&outcome).unwrap_or_default();
                if writeln!(writer, "{line}").is_err() {
                    break;
                }
            }
            // SAFETY: ends the child without running anything of its parent's.
            unsafe { libc::_exit(0) };
        }
        readers.push(BufReader::new(reader).lines());
    }
    let mut runs = Vec::new();
    for (index, (scenario, backend, language)) in combinations.into_iter().enumerate() {
        let line = readers[index % workers].next().transpose()?.unwrap_or_default();
        let lost = |error| Outcome::Failed(format!("its worker ended: {error}"));
        let outcome = serde_json::from_str(&line).unwrap_or_else(lost);
        runs.push(Run { name: scenario.name, backend, language, outcome });
    }
    for _ in 0..workers {
        // SAFETY: no memory is involved.
        unsafe { libc::wait(std::ptr::null_mut()) };
    }
    Ok(runs)
}

/// The time limit of a scenario, in seconds: a fail-safe, not an expectation. On a virtual machine with ten times as
/// much to do as it had processors, scenarios of milliseconds once took more than a minute, and never again in 500
/// runs.
const HANGS: u32 = 2 * tenure_testkit::FAIL_SAFE.as_secs() as u32;

/// The first of the scenarios that finds the mistake, and its finding.
///
/// The caller has one thread only.
///
/// # Errors
///
/// When the system refuses a folder.
pub fn play_negative_control(
    scenarios: &[&'static Scenario],
    negative_control: NegativeControl,
) -> std::io::Result<Option<&'static str>> {
    let folder = tempfile::tempdir()?;
    let finds = |scenario: &&&Scenario| {
        let outcome = play(scenario, Backend::Shm, Language::Rust, folder.path(), Some(negative_control));
        matches!(outcome, Outcome::Failed(_))
    };
    Ok(scenarios.iter().find(finds).map(|scenario| scenario.name))
}

fn play(
    scenario: &Scenario,
    backend: Backend,
    language: Language,
    folder: &Path,
    negative_control: Option<NegativeControl>,
) -> Outcome {
    let pipes = || std::io::Result::Ok((std::io::pipe()?, std::io::pipe()?));
    let ((mut result, result_writer), (mut errors, errors_writer)) = match pipes() {
        Ok(pipes) => pipes,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    // SAFETY: a worker has one thread; the child ends by `_exit`.
    let stage = unsafe { libc::fork() };
    if stage == 0 {
        drop((result, errors));
        let stage = || Stage::new(backend, language, scenario.sizes, folder, negative_control);
        in_stage(scenario, stage, result_writer, &errors_writer);
    }
    drop((result_writer, errors_writer));
    let (mut text, mut told) = (String::new(), String::new());
    // The pipe for errors ends with the last process of the stage.
    let _ = errors.read_to_string(&mut told);
    let _ = result.read_to_string(&mut text);
    let mut status = 0;
    // SAFETY: a child of ours, and a place for its status.
    unsafe { libc::waitpid(stage, &raw mut status, 0) };
    let name = name_of(stage as u32);
    let outcome = serde_json::from_str(&text).unwrap_or_else(|_| {
        let hung = libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGALRM;
        Outcome::Failed(if hung { "it hangs".into() } else { format!("it ended with status {status:#x}") })
    });
    let _ = std::fs::remove_dir_all(folder.join(&name));
    if outcome != Outcome::Works {
        // It may not have come to that.
        for backend in [Backend::Shm, Backend::SysV] {
            let _ = tenure::Space::remove(backend, &name, true);
        }
    }
    match outcome {
        Outcome::Failed(why) => Outcome::Failed(format!("{why}\n{told}")),
        outcome => outcome,
    }
}

/// The life of a stage.
fn in_stage(
    scenario: &Scenario,
    stage: impl FnOnce() -> Result<Stage, Fault>,
    mut result: PipeWriter,
    errors: &PipeWriter,
) -> ! {
    die_with_parent();
    // SAFETY: plain numbers; the descriptors are ours.
    unsafe {
        libc::alarm(HANGS);
        libc::dup2(errors.as_raw_fd(), libc::STDERR_FILENO);
        libc::close(errors.as_raw_fd());
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let stage = stage()?;
        match (scenario.play)(&stage) {
            Ok(()) => stage.finish().map(|()| Outcome::Works),
            Err(fault) => {
                let outcome = Outcome::of(fault);
                if matches!(outcome, Outcome::Failed(_)) {
                    return Ok(outcome);
                }
                stage.finish().map(|()| outcome)
            }
        }
    }));
    let outcome = match outcome {
        Ok(outcome) => outcome.unwrap_or_else(Outcome::of),
        Err(cause) => match cause.downcast::<Option<Fault>>() {
            Ok(fault) => fault.map_or_else(|| Outcome::Failed("no fault".into()), Outcome::of),
            Err(_) => Outcome::Failed("it is otherwise".into()),
        },
    };
    let _ = serde_json::to_string(&outcome).map(|text| result.write_all(text.as_bytes()));
    // SAFETY: ends the child without running anything of its parent's.
    unsafe { libc::_exit(0) }
}

impl Outcome {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::OneProcessOnly => Self::OneProcessOnly,
            Fault::NotInThisLanguage(what) => Self::NotInThisLanguage(what),
            Fault::NotHere(what) => Self::NotHere(what),
            fault => Self::Failed(format!("{fault:?}")),
        }
    }
}
