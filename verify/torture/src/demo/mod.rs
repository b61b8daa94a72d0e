//! The main job: real worker processes share a segment and replay recordings while they are killed and stopped.
//!
//! One coordinator (this process) and a number of workers ([`crate::worker`]). The coordinator is the only one who knows
//! the whole: the script says who wishes to hold what, the book says who holds what, and every answer of a
//! worker and every look of the coordinator's own is compared with it.
//!
//! | module | what it owns |
//! |---|---|
//! | `plan` | what a run is to do |
//! | `script` | the recorded handles as an endless sequence of steps |
//! | `book` | the truth: who holds which token, what the dead held |
//! | `seat` | one worker process, its pipes and what is on its way |
//! | `chaos` | when somebody is killed or stopped |
//! | `watch` | measuring the time from a kill to the end of the reclaim |
//! | `director` | the loop that brings them together |
//! | `owners` | a mutex whose owners are killed |
//! | `stage` | the segment, and the coordinator's membership |
//! | `summary` | the table at the end |

mod book;
mod chaos;
mod director;
pub mod owners;
mod plan;
mod progress;
mod script;
mod seat;
mod stage;
mod summary;
mod watch;

use std::sync::mpsc;

pub use plan::{Material, Plan};
pub use summary::{Replayed, Summary};

use crate::Failed;
use crate::meeting::Segment;
use crate::verdict::Verdict;
use director::Director;
use seat::Event;
use stage::Stage;

/// Does what the plan says. Whatever goes wrong with the space is in the summary.
///
/// # Errors
/// A malformed recording, a segment that cannot be made, a worker that cannot be started.
pub fn run(plan: &Plan) -> Result<Summary, Failed> {
    let material = Material::read(&plan.sources)?;
    let job_titles = material.job_titles.clone();
    let (tell, events) = mpsc::channel();
    let interrupted = tell.clone();
    // Before there is anything that an interrupt could leave behind.
    ctrlc::set_handler(move || {
        // Nobody listens any more when the run is over.
        let _ = interrupted.send(Event::Interrupted);
    })?;
    Segment::sweep(plan.backend);
    let mut stage = Stage::build(plan, &material)?;
    let (totals, mut verdict) = Director::new(plan, material, &stage, (tell, events))?.run()?;
    let owners = match stage.member() {
        Some(me) if plan.kills > 0 && verdict.is_clean() => {
            owners::run(&stage.segment.meeting, me, &mut verdict)?
        }
        _ => owners::Owners::default(),
    };
    inspect(&mut stage, &mut verdict);
    drop(stage);
    let mut summary = Summary::new(plan, &job_titles, &totals, verdict);
    summary.owners = owners;
    if plan.timing && summary.verdict.is_clean() {
        summary.timing = crate::timing::measure()?;
    }
    Ok(summary)
}

/// The last look, when everybody has left: nothing is held, nothing is owned, every word is as it must be.
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
