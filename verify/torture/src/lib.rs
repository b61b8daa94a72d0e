//! Kills and stops processes that share segments, and checks that they lose nothing: demo, replay of recordings,
//! torture.
//!
//! ```text
//! torture [demo] [--seconds S] [--workers N] [--kills N] [--seed S] [--json]
//! torture replay FILE… [--workers N] [--kills N] [--backend B] [--seed S]
//! torture torture [--seconds S | --operations N] [--members N] [--seed S] [--backend B]… [--crowd] [--json]
//! ```
//!
//! Exit status: 0 all is well, 1 errors found, 2 refused, nothing done, 130 interrupted.

pub mod cli;
pub mod demo;
pub mod meeting;
pub mod negative_control;
pub mod pattern;
pub mod timing;
pub mod torture;
pub mod verdict;
pub mod wire;
pub mod worker;

use std::fmt::Display;

use cli::{Cli, Command, Demo};
use demo::Plan;
use serde::Serialize;
use tenure_tools::exit::{Answer, Exit};
use verdict::Verdict;

/// The reason why a run did not begin, or why one of its processes gave up; the process prints it on standard error.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command line.
pub fn run(cli: Cli) -> Exit {
    let answer = match cli.command.unwrap_or_else(|| Command::Demo(Demo::by_default())) {
        Command::Replay(replay) => replay.plan().map_err(Into::into).and_then(|plan| play(&plan)),
        Command::Demo(demo) => demo.plan().map_err(Into::into).and_then(|plan| play(&plan)),
        Command::Torture(torture) => torture.plan().map_err(Into::into).and_then(|plan| torment(&plan)),
        Command::Tortured(orders) => torture::run_member(orders).map(|()| (String::new(), Exit::Well)),
        Command::Crowd(orders) => torture::run_crowd(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Compare => timing::compare().map(|text| (text, Exit::Well)),
        Command::Mutex(orders) => demo::owners::play(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Worker(orders) => worker::run(orders).map(|()| (String::new(), Exit::Well)),
    };
    Exit::of("torture", answer)
}

fn play(plan: &Plan) -> Answer {
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

fn torment(plan: &torture::Plan) -> Answer {
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

/// Formats the summary of a run, as text or as JSON, and adds the exit status.
fn answer(summary: &(impl Display + Serialize), verdict: &Verdict, quiet: bool) -> Answer {
    let exit = match verdict {
        verdict if verdict.interrupted => Exit::Interrupted,
        verdict if verdict.is_clean() => Exit::Well,
        _ => Exit::Wrong,
    };
    let text =
        if quiet { format!("{}\n", serde_json::to_string_pretty(summary)?) } else { summary.to_string() };
    Ok((text, exit))
}
