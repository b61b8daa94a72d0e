//! The `tenure` command: looking at segments, cleaning up, replaying recordings, and the demo.
//!
//! ```text
//! tenure ls | stat NAME | check NAME | recover NAME | rm NAME [--force]
//! tenure replay FILE… [--workers N] [--kills N] [--backend B] [--seed S]
//! tenure demo [--seconds S] [--workers N] [--kills N] [--seed S] [--json]      (also without arguments)
//! tenure torture [--seconds S | --operations N] [--members N] [--seed S] [--backend B]… [--crowd] [--json]
//! ```
//!
//! Whatever only looks attaches without joining. Exit status: 0 all is well, 1 something is wrong, 2 refused and nothing
//! done, 130 interrupted.

pub mod cli;
pub mod demo;
pub mod exit;
pub mod inspect;
pub mod meeting;
pub mod pattern;
pub mod table;
pub mod timing;
pub mod torture;
pub mod trace;
pub mod wire;
pub mod worker;

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

use cli::{Cli, Command, Demo};
use demo::{Plan, Verdict};
use exit::Exit;
use serde::Serialize;

/// Does what the command line says.
pub fn run(cli: Cli) -> Exit {
    let answer = match cli.command.unwrap_or_else(|| Command::Demo(Demo::by_default())) {
        Command::Ls { json } => inspect::ls(json),
        Command::Stat(look) => inspect::stat(&look.name, look.json),
        Command::Names(look) => inspect::names(&look.name, look.json),
        Command::Check(look) => inspect::check(&look.name, look.json),
        Command::Recover(name) => inspect::recover(&name),
        Command::Rm { name, force } => inspect::rm(&name, force),
        Command::Replay(replay) => replay.plan().map_err(Into::into).and_then(|plan| play(&plan)),
        Command::Demo(demo) => demo.plan().map_err(Into::into).and_then(|plan| play(&plan)),
        Command::Torture(torture) => torture.plan().map_err(Into::into).and_then(|plan| torment(&plan)),
        Command::Tortured(orders) => torture::run_member(orders).map(|()| (String::new(), Exit::Well)),
        Command::Crowd(orders) => torture::run_crowd(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Compare => timing::compare().map(|text| (text, Exit::Well)),
        Command::Mutex(orders) => demo::owners::play(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Worker(orders) => worker::run(orders).map(|()| (String::new(), Exit::Well)),
    };
    match answer {
        Ok((text, exit)) => {
            // Whoever reads our output may have had enough of it.
            let _ = std::io::stdout().write_all(text.as_bytes());
            exit
        }
        Err(error) => {
            eprintln!("tenure: {}", meeting::in_full(&*error as &dyn Error));
            Exit::Refused
        }
    }
}

fn play(plan: &Plan) -> inspect::Answer {
    if !plan.quiet {
        eprintln!(
            "{} workers on one {} segment for {:.0} s, {} killed and {} stopped at random; seed {}",
            plan.workers,
            plan.backend,
            plan.duration.as_secs_f64(),
            plan.kills,
            plan.stops,
            plan.seed
        );
    }
    let summary = demo::run(plan)?;
    answer(&summary, &summary.verdict, plan.quiet)
}

fn torment(plan: &torture::Plan) -> inspect::Answer {
    if !plan.quiet {
        let until = match plan.operations {
            Some(operations) => format!("{operations} operations each"),
            None if plan.crowd => format!("crowds only, {:.0} s", plan.duration.as_secs_f64()),
            None => format!("{:.0} s", plan.duration.as_secs_f64()),
        };
        let backends: Vec<String> = plan.backends.iter().map(ToString::to_string).collect();
        eprintln!(
            "{} members on {} segments ({}), {until}; seed {}",
            plan.members,
            plan.backends.len(),
            backends.join(", "),
            plan.seed
        );
    }
    let summary = torture::run(plan)?;
    answer(&summary, &summary.verdict, plan.quiet)
}

/// A run's summary, for people or for programs, and what became of it.
fn answer(summary: &(impl Display + Serialize), verdict: &Verdict, quiet: bool) -> inspect::Answer {
    let exit = match verdict {
        verdict if verdict.interrupted => Exit::Interrupted,
        verdict if verdict.is_clean() => Exit::Well,
        _ => Exit::Wrong,
    };
    let text =
        if quiet { format!("{}\n", serde_json::to_string_pretty(summary)?) } else { summary.to_string() };
    Ok((text, exit))
}
