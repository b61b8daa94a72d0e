//! Progress on standard error: a bar on a terminal, otherwise a line at intervals; nothing when quiet.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Interval of the lines when standard error is not a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(3);

/// Shows the progress of a run on standard error.
pub(super) struct Progress {
    kind: Kind,
    duration: Duration,
}

enum Kind {
    Bar(ProgressBar),
    Lines { next: Duration },
    Quiet,
}

impl Progress {
    pub(super) fn new(duration: Duration, quiet: bool) -> Self {
        let kind = if quiet {
            Kind::Quiet
        } else if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(duration.as_millis() as u64);
            let style = ProgressStyle::with_template("[{elapsed_precise}] {bar:30} {msg}");
            if let Ok(style) = style {
                bar.set_style(style);
            }
            Kind::Bar(bar)
        } else {
            Kind::Lines { next: LINE_INTERVAL }
        };
        Self { kind, duration }
    }

    pub(super) fn show(&mut self, elapsed: Duration, operations: u64, kills: u32, stops: u32) {
        let text = || format!("{:.1} M operations, {kills} kills, {stops} stops", operations as f64 / 1e6);
        match &mut self.kind {
            Kind::Bar(bar) => {
                bar.set_position(elapsed.min(self.duration).as_millis() as u64);
                bar.set_message(text());
            }
            Kind::Lines { next } if elapsed >= *next => {
                *next += LINE_INTERVAL;
                eprintln!("{:3.0} s: {}", elapsed.as_secs_f64(), text());
            }
            Kind::Lines { .. } | Kind::Quiet => {}
        }
    }

    pub(super) fn finish(&self) {
        if let Kind::Bar(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}
