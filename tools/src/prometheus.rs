//! The numbers of a space in the text format of Prometheus, version 0.0.4.

use std::fmt::Write as _;

use serde_json::json;
use tenure::Space;

use crate::cli::Name;
use crate::shown::{Finding, Shown};
use crate::top::view::View;

/// Shows the numbers of a space as metrics.
pub(crate) fn metrics(name: &Name) -> Finding {
    let space = name.attach()?;
    let text = text(&space, &View::now(&space, &name.name));
    Ok(Shown::well(text.clone(), json!(text)))
}

/// Labels of a sample after those that all have.
type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text as far as it is written.
struct Text {
    text: String,
    /// The labels that all samples have.
    common: String,
}

impl Text {
    /// Begins a metric: all of its samples follow.
    fn gauge(&mut self, name: &'static str, help: &str) -> Gauge<'_> {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
        Gauge { text: self, name }
    }
}

/// A metric of which samples are written.
struct Gauge<'a> {
    text: &'a mut Text,
    name: &'static str,
}

impl Gauge<'_> {
    fn sample(&mut self, labels: Labels<'_>, value: u64) -> &mut Self {
        let Text { text, common } = &mut *self.text;
        let _ = write!(text, "{}{{{common}", self.name);
        for (label, of) in labels {
            let _ = write!(text, ",{label}=\"{}\"", escaped(of));
        }
        let _ = writeln!(text, "}} {value}");
        self
    }
}

/// The value of a label between its quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n")
}

fn text(space: &Space, view: &View) -> String {
    let common = format!("space=\"{}\",backend=\"{}\"", escaped(&view.name), view.backend);
    let mut out = Text { text: String::new(), common };
    let (stats, geometry, memory) = (space.stats(), space.geometry(), &view.memory);

    out.gauge("tenure_space_size_bytes", "Address space of the segment.").sample(&[], view.bytes);
    if let Some(resident) = view.bytes_resident {
        out.gauge("tenure_space_resident_bytes", "Memory behind the segment.").sample(&[], resident);
    }

    let of_state = |alive| view.members.iter().filter(|member| member.alive == alive).count() as u64;
    out.gauge("tenure_members", "Leases that are taken; the dead ones are to be recovered.")
        .sample(&[("state", "alive")], of_state(Some(true)))
        .sample(&[("state", "dead")], of_state(Some(false)))
        .sample(&[("state", "unknown")], of_state(None));
    out.gauge("tenure_members_capacity", "Leases of the geometry.").sample(&[], geometry.members.into());
    let mut held = out.gauge("tenure_member_handles", "Handles that a member holds.");
    for member in &view.members {
        let (lease, pid) = (member.index.to_string(), member.pid.to_string());
        let process = member.process.as_deref().unwrap_or("");
        held.sample(&[("lease", &lease), ("pid", &pid), ("process", process)], member.handles);
    }

    let mut kinds = out.gauge("tenure_handles", "Handles in use, by kind.");
    for of_kind in &view.kinds {
        kinds.sample(&[("kind", &of_kind.kind)], of_kind.count);
    }
    let mut kinds = out.gauge("tenure_handles_payload_bytes", "Payloads of the handles in use, by kind.");
    for of_kind in &view.kinds {
        kinds.sample(&[("kind", &of_kind.kind)], of_kind.bytes);
    }
    out.gauge("tenure_handles_claimed", "Handles that members have claimed in advance.")
        .sample(&[], stats.handles_claimed);
    out.gauge("tenure_handles_retired", "Handles that have used up their generations.")
        .sample(&[], stats.handles_retired);
    out.gauge("tenure_handles_capacity", "Handles of the geometry.").sample(&[], stats.handles_capacity);

    out.gauge("tenure_blocks", "Blocks in use, by owner: a member, a handle, or nobody.")
        .sample(&[("owner", "member")], memory.leased)
        .sample(&[("owner", "handle")], memory.attached)
        .sample(&[("owner", "nobody")], memory.pinned);
    out.gauge("tenure_scratch_used_bytes", "Blocks in use.").sample(&[], memory.bytes_live);
    out.gauge("tenure_scratch_owned_bytes", "Scratch memory that members own, in use or not.")
        .sample(&[], memory.bytes_owned);
    out.gauge("tenure_scratch_committed_bytes", "Scratch memory with memory behind it.")
        .sample(&[], memory.bytes_committed);
    out.gauge("tenure_scratch_capacity_bytes", "Scratch memory of the geometry.")
        .sample(&[], memory.bytes_capacity);

    let mut owned = out.gauge("tenure_lock_owned", "Whether a member has the lock, to write.");
    let is_lock = |lock: &&crate::top::view::Lock| lock.is_lock;
    for lock in view.locks.iter().filter(is_lock) {
        owned.sample(&[("object", &lock.what), ("kind", &lock.kind)], lock.owner.is_some().into());
    }
    let mut awaited = out.gauge("tenure_object_awaited", "Whether threads may wait for the object.");
    for lock in &view.locks {
        awaited.sample(&[("object", &lock.what), ("kind", &lock.kind)], lock.has_waiters.into());
    }

    let mut elements = out.gauge("tenure_queue_elements", "Elements of a queue.");
    for queue in &view.queues {
        elements.sample(&[("object", &queue.what), ("state", "waiting")], queue.waiting.into());
        elements.sample(&[("object", &queue.what), ("state", "claimed")], queue.claimed.into());
    }
    let mut room = out.gauge("tenure_queue_capacity_elements", "Elements that may wait in a queue.");
    for queue in &view.queues {
        room.sample(&[("object", &queue.what)], queue.capacity.into());
    }
    out.text
}
