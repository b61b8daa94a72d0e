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
pub mod driver;
pub mod meeting;
pub mod negative_control;
pub mod pattern;
pub mod replay;
pub mod timing;
pub mod torture;
pub mod verdict;
pub mod wire;
pub mod worker;

use std::fmt::Display;

use cli::{Cli, Command, Demo};
use driver::{Interrupt, Plan, Work};
use meeting::Segment;
use serde::Serialize;
use tenure_tools::exit::{Answer, Exit};
use verdict::Verdict;

/// The reason why a run did not begin, or why one of its processes gave up; the process prints it on standard error.
pub type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Runs the command line.
pub fn run(cli: Cli) -> Exit {
    let preset = |plan: Result<Plan, String>| plan.map_err(Into::into).and_then(|plan| execute(&plan));
    let answer = match cli.command.unwrap_or_else(|| Command::Demo(Demo::by_default())) {
        Command::Demo(demo) => preset(demo.plan()),
        Command::Replay(replay) => preset(replay.plan()),
        Command::Torture(torture) => preset(torture.plan()),
        Command::Tortured(orders) => torture::run_member(orders).map(|()| (String::new(), Exit::Well)),
        Command::Crowd(orders) => torture::run_crowd(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Compare => timing::compare().map(|text| (text, Exit::Well)),
        Command::Mutex(orders) => replay::owners::play(&orders).map(|()| (String::new(), Exit::Well)),
        Command::Worker(orders) => worker::run(orders).map(|()| (String::new(), Exit::Well)),
    };
    Exit::of("torture", answer)
}

/// Executes the plan.
fn execute(plan: &Plan) -> Answer {
    if !plan.quiet {
        eprintln!("{plan}");
    }
    let interrupt = Interrupt::install()?;
    plan.backends.iter().for_each(|backend| Segment::sweep(*backend));
    match &plan.work {
        Work::Replay(replayed) => {
            let summary = replay::run(plan, replayed, &interrupt)?;
            answer(&summary, &summary.verdict, plan.quiet)
        }
        Work::Random(random) => {
            let summary = torture::run(plan, *random, &interrupt)?;
            answer(&summary, &summary.verdict, plan.quiet)
        }
    }
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
