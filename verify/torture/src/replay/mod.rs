//! Replay of recordings: real worker processes share a segment and replay recordings while they are killed and stopped.
//!
//! One coordinator (this process) and several workers ([`crate::worker`]). Only the coordinator knows the whole state:
//! the script gives the wishes of the workers, the book records the holders of every handle, and every answer of a
//! worker and every check by the coordinator is compared with the book.
//!
//! | module | purpose |
//! |---|---|
//! | `material` | the recordings |
//! | `script` | the recorded handles as an endless sequence of steps |
//! | `book` | the expected state: the holders of every token, living and dead |
//! | `seat` | one worker, and the tasks sent to it |
//! | `chaos` | the schedule of kills and stops |
//! | `watch` | measuring the time from a kill to the end of the reclaim |
//! | `director` | what is particular to a replay |
//! | `owners` | a mutex whose owners are killed |
//! | `stage` | the segment, and the coordinator's membership |
//! | `summary` | the table at the end |

mod book;
mod chaos;
mod director;
mod material;
pub mod owners;
mod progress;
mod script;
mod seat;
mod stage;
mod summary;
mod watch;

pub use summary::{Replayed, Summary};

use crate::Failed;
use crate::driver::{self, Interrupt, Plan};
use crate::verdict::Verdict;
use director::Director;
use material::Material;
use stage::Stage;

/// Executes the plan. Errors of the space are in the summary.
///
/// # Errors
/// A recording is malformed, a segment cannot be created, or a worker cannot be started.
pub fn run(plan: &Plan, replayed: &driver::Replayed, interrupt: &Interrupt) -> Result<Summary, Failed> {
    let material = Material::read(&replayed.sources)?;
    let job_titles = material.job_titles.clone();
    let mut stage = Stage::build(plan, &material)?;
    let mut director = Director::new(plan, replayed, material, &stage)?;
    driver::run(&mut director, interrupt)?;
    director.finish();
    let (totals, mut verdict) = (director.totals, director.crew.verdict);
    let owners = match stage.member() {
        Some(me) if replayed.kills > 0 && verdict.is_clean() => {
            owners::run(&stage.segment.meeting, me, &mut verdict)?
        }
        _ => owners::Owners::default(),
    };
    inspect(&mut stage, &mut verdict);
    drop(stage);
    let mut summary = Summary::new((plan, replayed), &job_titles, &totals, verdict);
    summary.owners = owners;
    if replayed.timing && summary.verdict.is_clean() {
        summary.timing = crate::timing::measure()?;
    }
    Ok(summary)
}

/// The last check, after every worker has left: no handle is held, no block is allocated, every word is valid.
fn inspect(stage: &mut Stage, verdict: &mut Verdict) {
    let was_clean = verdict.is_clean();
    if let Some(member) = stage.member()
        && let Err(error) = member.recover()
    {
        verdict.refused(format!("the coordinator cannot recover: {error}"));
    }
    stage.leave();
    let stats = verdict.last_look(&stage.segment.meeting.to_string(), &stage.segment.space);
    let (handles, blocks) = (stats.handles_live, stats.blocks_live());
    if handles > 0 || blocks > 0 {
        let when = if was_clean { "at the end" } else { "after everybody was killed" };
        verdict.leaked(
            handles + blocks,
            format!("{handles} handles and {blocks} blocks are still there {when}"),
        );
    }
}
