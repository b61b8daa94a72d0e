//! Self-explanatory pictures: a dot and a bar for every row, on a logarithmic axis, with the numbers beside them.

use svg::Document;
use svg::node::element::{Circle, Line, Rectangle, Text};

use crate::measure::{Figures, Measured};
use crate::stats::{Verdict, quantile};

use super::{Report, nanoseconds, ratio};

const WIDTH: f64 = 1100.0;
const LEFT: f64 = 430.0;
const RIGHT: f64 = 900.0;
const TOP: f64 = 84.0;
const ROW: f64 = 18.0;

const GREEN: &str = "#18794e";
const RED: &str = "#c0392b";
const GREY: &str = "#777777";
const BLUE: &str = "#1f5fa8";
const INK: &str = "#222222";

struct Row {
    label: String,
    value: f64,
    low: f64,
    high: f64,
    colour: &'static str,
    beside: String,
    /// Set apart from the row before.
    heading: Option<String>,
}

struct Plot {
    title: String,
    explanation: String,
    /// The line that everything is compared with.
    one: Option<f64>,
    number: fn(f64) -> String,
    rows: Vec<Row>,
}

/// File names and contents.
pub(super) fn all(report: &Report) -> Vec<(&'static str, String)> {
    let group = |prefix: &'static str| -> Vec<&Measured> {
        report.measured.iter().filter(|measured| measured.id.starts_with(prefix)).collect()
    };
    let many = |measured: &&Measured| measured.id.contains("members") || measured.id.contains("backends");
    let (members, handles): (Vec<_>, Vec<_>) = group("handle/").into_iter().partition(many);
    let (members_too, scratch): (Vec<_>, Vec<_>) = group("scratch/").into_iter().partition(many);
    let members: Vec<_> = members.into_iter().chain(members_too).collect();
    let recorded = group("recorded/");
    let mut pictures = Vec::new();
    let mut add = |name, plot: Plot| {
        if !plot.rows.is_empty() {
            pictures.push((name, plot.draw().to_string()));
        }
    };
    add("handles.svg", Plot::ratios("Handles: tenure beside the others", &handles));
    add("scratch.svg", Plot::ratios("Scratch memory: tenure beside the others", &scratch));
    add("waiting.svg", Plot::ratios("Locks and bells: tenure beside the others", &group("wait/")));
    add("recorded.svg", Plot::ratios("Recorded programs: tenure beside the others", &recorded));
    add("members.svg", Plot::times("Several members at once", &members, |id| !id.contains("backends")));
    add("backends.svg", Plot::times("tenure in every backend", &members, |id| id.contains("backends")));
    let containers: Vec<_> = group("queue/").into_iter().chain(group("map/")).collect();
    add("containers.svg", Plot::ratios("Queues and maps: tenure beside the others", &containers));
    pictures
}

impl Plot {
    fn ratios(title: &str, measured: &[&Measured]) -> Self {
        let mut rows = Vec::new();
        for one in measured {
            let mut heading = Some(one.title.clone());
            let is_of_one = |members| one.subjects.iter().all(|figures| figures.members == members);
            for comparison in one.comparisons() {
                let found = comparison.ratio;
                let Figures { subject, members, private, .. } = comparison.theirs;
                let bound = if *private { " (private)" } else { "" };
                let count = if is_of_one(*members) { String::new() } else { format!(", {members} at once") };
                rows.push(Row {
                    label: format!("{subject}{bound}{count}"),
                    value: found.median,
                    low: found.low,
                    high: found.high,
                    colour: match comparison.verdict() {
                        Verdict::Wins => GREEN,
                        Verdict::Loses => RED,
                        Verdict::Inconclusive => GREY,
                    },
                    beside: format!(
                        "{}: {} to {}",
                        ratio(found.median),
                        with_unit(comparison.ours.ns()),
                        with_unit(comparison.theirs.ns())
                    ),
                    heading: heading.take(),
                });
            }
        }
        Self {
            title: title.to_owned(),
            explanation: "tenure's time divided by the other's, median and 95 % interval, logarithmic. Left of 1 (green) \
                          tenure is quicker, right of 1 (red) it is slower, grey is inconclusive."
                .to_owned(),
            one: Some(1.0),
            number: ratio,
            rows,
        }
    }

    fn times(title: &str, measured: &[&Measured], wanted: fn(&str) -> bool) -> Self {
        let mut rows = Vec::new();
        for one in measured.iter().filter(|one| wanted(&one.id)) {
            let mut heading = Some(one.title.clone());
            let done = |figures: &&Figures| figures.failed.is_none();
            for figures in one.subjects.iter().filter(done) {
                let crowded = if figures.oversubscribed { ", more than processors" } else { "" };
                rows.push(Row {
                    label: format!("{}, {} at once{crowded}", figures.subject, figures.members),
                    value: figures.ns(),
                    low: quantile(&figures.rounds_ns, 0.05),
                    high: quantile(&figures.rounds_ns, 0.95),
                    colour: if figures.subject.starts_with("tenure") { BLUE } else { GREY },
                    beside: with_unit(figures.ns()),
                    heading: heading.take(),
                });
            }
        }
        Self {
            title: title.to_owned(),
            explanation: "Nanoseconds of an operation of each member, logarithmic: median of the rounds; the bar is 9 of 10 \
                          rounds. Blue is tenure. Less is better."
                .to_owned(),
            one: None,
            number: nanoseconds,
            rows,
        }
    }

    fn draw(&self) -> Document {
        let headings = self.rows.iter().filter(|row| row.heading.is_some()).count();
        let height = TOP + ROW * (self.rows.len() as f64 + 1.5 * headings as f64) + 40.0;
        let lows = self.rows.iter().map(|row| row.low.min(row.value)).chain(self.one);
        let highs = self.rows.iter().map(|row| row.high.max(row.value)).chain(self.one);
        let from = lows.fold(f64::INFINITY, f64::min).max(1e-9).log10().floor();
        let to = highs.fold(0.0, f64::max).max(1e-9).log10().ceil().max(from + 1.0);
        let x = |value: f64| LEFT + (value.max(1e-9).log10() - from) / (to - from) * (RIGHT - LEFT);
        let mut picture = Document::new()
            .set("viewBox", (0, 0, WIDTH as i32, height as i32))
            .set("font-family", "sans-serif")
            .add(rectangle(0.0, 0.0, WIDTH, height, "white"))
            .add(text(16.0, 30.0, &self.title, 20.0, INK).set("font-weight", "bold"))
            .add(text(16.0, 54.0, &self.explanation, 12.0, INK));
        let bottom = height - 30.0;
        for power in from as i32..=to as i32 {
            let value = 10_f64.powi(power);
            let label = if value < 1.0 { format!("1/{:.0}", 1.0 / value) } else { (self.number)(value) };
            picture = picture
                .add(line((x(value), TOP - 6.0), (x(value), bottom), "#dddddd", 1.0))
                .add(text(x(value), TOP - 12.0, &label, 11.0, GREY).set("text-anchor", "middle"))
                .add(text(x(value), bottom + 16.0, &label, 11.0, GREY).set("text-anchor", "middle"));
        }
        if let Some(one) = self.one {
            picture = picture.add(line((x(one), TOP - 6.0), (x(one), bottom), INK, 1.5));
        }
        let mut y = TOP;
        for row in &self.rows {
            if let Some(heading) = &row.heading {
                y += ROW * 1.5;
                picture = picture.add(text(16.0, y, heading, 13.0, INK).set("font-weight", "bold"));
                // Long headings reach into the picture; the rows begin below.
            }
            y += ROW;
            picture = picture
                .add(text(LEFT - 12.0, y, &row.label, 12.0, INK).set("text-anchor", "end"))
                .add(line((x(row.low), y - 4.0), (x(row.high), y - 4.0), row.colour, 3.0))
                .add(
                    Circle::new()
                        .set("cx", round(x(row.value)))
                        .set("cy", round(y - 4.0))
                        .set("r", 4.5)
                        .set("fill", row.colour),
                )
                .add(text(RIGHT + 14.0, y, &row.beside, 12.0, row.colour));
        }
        picture
    }
}

fn round(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

fn text(x: f64, y: f64, words: &str, size: f64, colour: &str) -> Text {
    Text::new(words).set("x", round(x)).set("y", round(y)).set("font-size", size).set("fill", colour)
}

fn line(from: (f64, f64), to: (f64, f64), colour: &str, width: f64) -> Line {
    Line::new()
        .set("x1", round(from.0))
        .set("y1", round(from.1))
        .set("x2", round(to.0))
        .set("y2", round(to.1))
        .set("stroke", colour)
        .set("stroke-width", width)
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, colour: &str) -> Rectangle {
    Rectangle::new().set("x", x).set("y", y).set("width", width).set("height", height).set("fill", colour)
}

/// A time, with its unit where [`nanoseconds`] leaves it out.
fn with_unit(ns: f64) -> String {
    let text = nanoseconds(ns);
    if text.ends_with('s') { text } else { text + " ns" }
}
