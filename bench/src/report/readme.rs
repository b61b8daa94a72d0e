//! The small table of the README and the index of reports, both made from the reports.

use std::fmt::Write;

use crate::stats::Verdict;

use super::{Report, nanoseconds, ratio};

/// The rows of the README's table: workload, text, members, and the other subject.
const ROWS: &[(&str, &str, usize, &str)] = &[
    ("handle create, close", "handle/new+close", 1, "daemon, same processor"),
    ("handle create, close", "handle/new+close", 1, "daemon, batches of 64"),
    ("handle create, get, close", "handle/create+get+close", 1, "robust-mutex"),
    ("handle create, get, close, two processes", "handle/create+get+close, members", 2, "robust-mutex"),
    ("handle open, close, held by us", "handle/open+close, own", 1, "robust-mutex"),
    ("handle open, close, two processes, one handle", "handle/open+close, contended", 2, "robust-mutex"),
    ("alloc, free 64 B, 8 held", "scratch/pair, held", 1, "mimalloc"),
    ("alloc, free 16..1024 B, batches of 1000", "scratch/batch", 1, "mimalloc"),
    ("alloc, free 64 KiB..4 MiB", "scratch/64 KiB..4 MiB", 1, "mimalloc"),
    ("alloc here, free in another process", "scratch/A allocates, B frees, processes", 2, "rts-alloc"),
    ("mutex lock, unlock", "wait/lock+unlock", 1, "robust-mutex"),
    ("mutex lock, unlock, two processes, one mutex", "wait/lock+unlock, contended", 2, "robust-mutex"),
    ("wake another process", "wait/wake-up, processes", 2, "pthread"),
    ("recorded sqlite, a step", "recorded/sqlite", 1, "mimalloc"),
    ("recorded gcc, a step", "recorded/gcc", 1, "mimalloc"),
    ("read lock, unlock, two processes, one lock", "wait/read+unlock, members", 2, "pthread"),
    ("push here, pop in another process, 8 B", "queue/push+pop, 8 bytes", 2, "shaq"),
    ("push here, pop in another process, 8 B", "queue/push+pop, 8 bytes", 2, "POSIX queue"),
    ("map: get 100 B of 1024 keys, two processes", "map/get, 1024 keys", 2, "64 robust mutexes"),
    (
        "map: 9 get, 1 insert, of 65536 keys, two processes",
        "map/90 % get, 65536 keys",
        2,
        "64 robust mutexes",
    ),
    ("map: 9 get, 1 insert, of 65536 keys, two processes", "map/90 % get, 65536 keys", 2, "LMDB"),
];

/// The README's table of results.
#[must_use]
pub fn results(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "Medians in ns of one run, all subjects in turn: {}; `{}`. Only ratios mean anything (95 % interval).",
        report.machine.in_words(),
        report.machine.command
    );
    let _ = writeln!(text, "\n| | tenure | beside | ns | tenure/other |\n|---|--:|---|--:|---|");
    for (what, id, members, subject) in ROWS {
        let Some(measured) = report.workload(id) else { continue };
        let comparisons = measured.comparisons();
        let Some(one) =
            comparisons.iter().find(|one| one.theirs.subject == *subject && one.theirs.members == *members)
        else {
            continue;
        };
        let [median, low, high] = [one.ratio.median, one.ratio.low, one.ratio.high].map(ratio);
        let word = match one.verdict() {
            Verdict::Wins => String::new(),
            Verdict::Loses => ": **slower**".into(),
            Verdict::Inconclusive => ": inconclusive".into(),
        };
        let private = if one.theirs.private { " (private)" } else { "" };
        let _ = writeln!(
            text,
            "| {what} | {} | {subject}{private} | {} | {median} ({low} to {high}){word} |",
            nanoseconds(one.ours.ns()),
            nanoseconds(one.theirs.ns())
        );
    }
    let _ = writeln!(
        text,
        "\nAll rows, the ones that tenure loses first, and what a SIGKILL does to each: \
         [perf-reports/{0}](perf-reports/{0}/report.md).",
        report.name()
    );
    text
}

/// The index: newest first.
#[must_use]
pub fn index(reports: &[Report]) -> String {
    let mut text =
        "| report | machine | rounds | load before | slower than another |\n|---|---|--:|--:|--:|\n"
            .to_owned();
    for report in reports {
        let comparisons = || report.measured.iter().flat_map(|measured| measured.comparisons());
        let others = || comparisons().filter(|one| !one.theirs.subject.starts_with("tenure"));
        let lost = others().filter(|one| one.verdict() == Verdict::Loses).count();
        let _ = writeln!(
            text,
            "| [{0}]({0}/report.md) | {1} | {2} | {3:.1} | {lost} of {4} comparisons |",
            report.name(),
            report.machine.in_words(),
            report.machine.rounds,
            report.machine.load_before,
            others().count()
        );
    }
    text
}

/// Replaces the text between `<!-- NAME -->` and `<!-- end of NAME -->`; nothing when they are not there.
#[must_use]
pub fn update_between(text: &str, name: &str, with: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let from = text.find(&begin)? + begin.len();
    let to = from + text[from..].find(&end)?;
    Some(format!("{}{}{}", &text[..from], with, &text[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_is_replaced() {
        let text = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n";
        let with = update_between(text, "x", "new\n").unwrap();
        assert_eq!(with, "a\n<!-- x -->\nnew\n<!-- end of x -->\nb\n");
        assert_eq!(update_between(text, "y", ""), None);
    }
}
