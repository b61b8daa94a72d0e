//! The report as text, and the figures as a table for other programs.

use std::fmt::Write;

use crate::lifetimes::Lifetimes;
use crate::measure::{Comparison, Figures, Measured};
use crate::programs::{Program, beside};
use crate::stats::{Ratio, Verdict};

use super::{Report, nanoseconds, plot, ratio};

/// Writing to a string does not fail.
macro_rules! line {
    ($to:expr, $($what:tt)*) => { let _ = writeln!($to, $($what)*); };
}

pub(super) fn csv(report: &Report) -> String {
    let mut text =
        "workload,subject,members,oversubscribed,private,ns_p50_of_rounds,op_ns_p50,op_ns_p99,op_ns_p999,\
                    tenure_ratio_p50,tenure_ratio_low,tenure_ratio_high,failed\n"
            .to_owned();
    let number = |number: Option<f64>| number.map_or(String::new(), |number| format!("{number:.4}"));
    for measured in &report.measured {
        let comparisons = measured.comparisons();
        for figures in &measured.subjects {
            let compared =
                comparisons.iter().find(|one| std::ptr::eq(one.theirs, figures)).map(|one| one.ratio);
            let tail = |of: fn(&crate::measure::Tail) -> u64| {
                figures.tail_ns.as_ref().map_or(String::new(), |tail| of(tail).to_string())
            };
            line!(
                text,
                "\"{}\",\"{}\",{},{},{},{},{},{},{},{},{},{},\"{}\"",
                measured.id,
                figures.subject,
                figures.members,
                figures.oversubscribed,
                figures.private,
                number(figures.failed.is_none().then(|| figures.ns())),
                tail(|tail| tail.p50),
                tail(|tail| tail.p99),
                tail(|tail| tail.p999),
                number(compared.map(|ratio| ratio.median)),
                number(compared.map(|ratio| ratio.low)),
                number(compared.map(|ratio| ratio.high)),
                figures.failed.as_deref().unwrap_or_default().replace('"', "'"),
            );
        }
    }
    text
}

pub(super) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let machine = &report.machine;
    line!(text, "# Performance, {}\n", machine.date);
    line!(text, "{}.", machine.in_words());
    line!(
        text,
        "`{}`: {} rounds, {} s. Load average before {:.1}, after {:.1}.\n",
        machine.command,
        machine.rounds,
        machine.seconds,
        machine.load_before,
        machine.load_after
    );
    line!(text, "What the columns mean, and what is not claimed, is in [the index](../README.md).\n");
    losses(report, &mut text);
    let drawn: Vec<_> = plot::all(report).into_iter().map(|(name, _)| name).collect();
    let pictures = [
        ("handles.svg", "handles"),
        ("scratch.svg", "scratch memory"),
        ("waiting.svg", "locks and bells"),
        ("recorded.svg", "recorded programs"),
        ("members.svg", "several members"),
        ("backends.svg", "backends"),
        ("containers.svg", "queues and maps"),
    ];
    for (picture, what) in pictures.into_iter().filter(|(picture, _)| drawn.contains(picture)) {
        line!(text, "![{what}]({picture})\n");
    }
    signals(report, &mut text);
    text.push_str(&lifetimes(&report.lifetimes));
    memory(report, &mut text);
    text.push_str(&programs(&report.programs));
    scaling(report, &mut text);
    line!(text, "## Every workload\n");
    for measured in &report.measured {
        workload(measured, &mut text);
    }
    text
}

fn verdict(comparison: &Comparison<'_>) -> &'static str {
    outcome(comparison.verdict())
}

fn outcome(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Wins => "quicker",
        Verdict::Loses => "**slower**",
        Verdict::Inconclusive => "inconclusive",
    }
}

fn of_members(figures: &Figures) -> String {
    match (figures.members, figures.oversubscribed) {
        (members, true) => format!("{members}, oversubscribed"),
        (members, false) => members.to_string(),
    }
}

fn losses(report: &Report, text: &mut String) {
    line!(text, "## Where tenure is slower\n");
    let all = report
        .measured
        .iter()
        .flat_map(|measured| measured.comparisons().into_iter().map(move |c| (measured, c)));
    let mut lost: Vec<_> = all
        .filter(|(_, comparison)| comparison.verdict() == Verdict::Loses)
        .filter(|(_, comparison)| !comparison.theirs.subject.starts_with("tenure"))
        .collect();
    lost.sort_by(|(_, a), (_, b)| b.ratio.median.total_cmp(&a.ratio.median));
    if lost.is_empty() {
        line!(text, "Nowhere in this run.\n");
        return;
    }
    line!(
        text,
        "| workload | members | than | tenure ns | other ns | ratio, 95 % |\n|---|---|---|--:|--:|---|"
    );
    for (measured, comparison) in lost {
        let private = if comparison.theirs.private { " (private to a process)" } else { "" };
        line!(
            text,
            "| {} | {} | {}{private} | {} | {} | {} ({} to {}) |",
            measured.id,
            of_members(comparison.theirs),
            comparison.theirs.subject,
            nanoseconds(comparison.ours.ns()),
            nanoseconds(comparison.theirs.ns()),
            ratio(comparison.ratio.median),
            ratio(comparison.ratio.low),
            ratio(comparison.ratio.high)
        );
    }
    line!(text, "");
}

fn workload(measured: &Measured, text: &mut String) {
    line!(text, "### {}\n\n{}.\n", measured.id, measured.title);
    line!(text, "| subject | members | ns | one by one: p50 | p99 | p99.9 | tenure/this, 95 % | tenure is |");
    line!(text, "|---|---|--:|--:|--:|--:|---|---|");
    let comparisons = measured.comparisons();
    for figures in &measured.subjects {
        let name =
            if figures.private { format!("{} (private)", figures.subject) } else { figures.subject.clone() };
        if let Some(why) = &figures.failed {
            let failed = if why.starts_with("SKIPPED") { "" } else { "failed: " };
            line!(text, "| {name} | {} | {failed}{why} | | | | | |", of_members(figures));
            continue;
        }
        let tail = figures.tail_ns.map_or_else(
            || "| | ".to_owned(),
            |tail| {
                let [p50, p99, p999] = [tail.p50, tail.p99, tail.p999].map(|ns| nanoseconds(ns as f64));
                format!("{p50} | {p99} | {p999}")
            },
        );
        let compared = comparisons.iter().find(|one| std::ptr::eq(one.theirs, figures));
        let compared = compared.map_or_else(
            || " | ".to_owned(),
            |one| {
                let [median, low, high] = [one.ratio.median, one.ratio.low, one.ratio.high].map(ratio);
                format!("{median} ({low} to {high}) | {}", verdict(one))
            },
        );
        line!(
            text,
            "| {name} | {} | {} | {tail} | {compared} |",
            of_members(figures),
            nanoseconds(figures.ns())
        );
    }
    line!(text, "");
}

fn scaling(report: &Report, text: &mut String) {
    line!(text, "## Several members, each with its own\n");
    line!(
        text,
        "An operation's time with so many members at once, divided by that of one. With as many processors as"
    );
    line!(
        text,
        "members 1.0 is perfect; above {} members it is oversubscription, not scaling.\n",
        report.machine.cpus
    );
    line!(text, "| workload | subject | 1: ns | 2 | 4 | 8 |\n|---|---|--:|--:|--:|--:|");
    for measured in report.measured.iter().filter(|measured| measured.id.ends_with("members")) {
        for one in measured.subjects.iter().filter(|figures| figures.members == 1 && figures.failed.is_none())
        {
            let times = |members| {
                let many = measured.of(&one.subject, members);
                many.map_or_else(|| "-".to_owned(), |many| format!("{:.2}", many.ns() / one.ns()))
            };
            line!(
                text,
                "| {} | {} | {} | {} | {} | {} |",
                measured.id,
                one.subject,
                nanoseconds(one.ns()),
                times(2),
                times(4),
                times(8)
            );
        }
    }
    line!(text, "");
}

/// The section on joining, leaving and dying.
#[must_use]
pub fn lifetimes(all: &[Lifetimes]) -> String {
    let mut text = String::new();
    line!(text, "## Coming, going, dying\n");
    line!(text, "| what | subject | ms p50 | ms p99 | a second | times |\n|---|---|--:|--:|--:|--:|");
    for lifetimes in all {
        let [p50, p99] = lifetimes.p50_p99();
        let rate = lifetimes.per_second.map_or_else(String::new, |rate| format!("{rate:.0}"));
        line!(
            text,
            "| {} | {} | {p50:.3} | {p99:.3} | {rate} | {} |",
            lifetimes.what,
            lifetimes.subject,
            lifetimes.ms.len()
        );
    }
    line!(
        text,
        "\n\"A second\" counts whole lifetimes: fork, join, take 100 of each, be killed, be forgotten.\n"
    );
    text
}

fn memory(report: &Report, text: &mut String) {
    line!(text, "## Memory at the peak\n");
    line!(
        text,
        "| recording | subject | alive, MiB | used, MiB | used for a byte alive |\n|---|---|--:|--:|--:|"
    );
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    for one in &report.memory {
        line!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} |",
            one.recording,
            one.subject,
            mib(one.live_bytes),
            mib(one.used_bytes),
            one.per_live_byte()
        );
    }
    line!(text, "");
}

/// The section on whole programs; nothing if there are none.
#[must_use]
pub fn programs(programs: &[Program]) -> String {
    let mut text = String::new();
    if programs.is_empty() {
        return text;
    }
    line!(text, "## Whole programs\n");
    line!(
        text,
        "Programs as they are, with `libtenure_malloc.so` preloaded, or glibc's malloc, or another one; medians of {} rounds.\n",
        programs[0].seconds.len()
    );
    line!(
        text,
        "| program | malloc | ms | tenure/this: time, 95 % | time of processors | tenure is | peak, MiB | tenure/this |\n\
         |---|---|--:|---|---|---|--:|---|"
    );
    for one in beside(programs) {
        let said = one.ratios.map_or_else(
            || [const { String::new() }; 4],
            |[time, cpu, peak]| {
                let said =
                    |one: Ratio| format!("{} ({} to {})", ratio(one.median), ratio(one.low), ratio(one.high));
                [said(time), said(cpu), outcome(cpu.verdict()).into(), said(peak)]
            },
        );
        let [time, cpu, outcome, peak] = said;
        let Program { program, subject, .. } = one.theirs;
        let (ms, mib) = (one.theirs.ms(), one.theirs.peak_mib());
        line!(text, "| {program} | {subject} | {ms:.1} | {time} | {cpu} | {outcome} | {mib:.1} | {peak} |");
    }
    line!(text, "");
    text
}

fn signals(report: &Report, text: &mut String) {
    if report.signals.is_empty() {
        return;
    }
    line!(text, "## What a SIGKILL at a bad moment does\n");
    line!(
        text,
        "A victim works as fast as it can and is hit at a random moment. What is left of it is looked at for half a"
    );
    line!(
        text,
        "second; then a survivor that was there before works on; not done after a second or two, it hangs.\n"
    );
    line!(
        text,
        "| subject | hit | killed | survivor hung | got errors | left behind | contradicts itself | gone after, ms p50 (max) \
         | stopped | survivor hung |\n|---|---|--:|--:|--:|---|--:|--:|--:|--:|"
    );
    for one in &report.signals {
        let left = match (one.kills_leaked, &one.left) {
            (0, _) => "nothing".to_owned(),
            (times, what) => format!("{times}: {}", what.as_deref().unwrap_or("something").replace('|', "/")),
        };
        let gone = if one.reclaimed_ms.is_empty() {
            "never".to_owned()
        } else {
            let of = |at| crate::stats::quantile(&one.reclaimed_ms, at);
            format!("{:.2} ({:.2})", of(0.5), of(1.0))
        };
        let failed = match &one.error {
            Some(error) => format!("{}: {error}", one.kills_failed),
            None => one.kills_failed.to_string(),
        };
        line!(
            text,
            "| {} | {} | {} | {} | {failed} | {left} | {} | {gone} | {} | {} |",
            one.subject,
            one.victim,
            one.kills,
            one.kills_hung,
            one.kills_torn,
            one.stops,
            one.stops_hung
        );
    }
    line!(text, "");
}
