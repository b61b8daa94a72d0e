//! A report: the measurements, as data, as text and as pictures.

mod machine;
mod plot;
mod readme;
mod text;

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

pub use machine::Machine;
pub use readme::{index, results, update_between};
pub use text::{lifetimes, programs};

use crate::kill::Signals;
use crate::lifetimes::Lifetimes;
use crate::measure::Measured;
use crate::memory::Memory;
use crate::programs::Program;

/// All measurements of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The machine, the time and the build.
    pub machine: Machine,
    /// Times of operations.
    pub measured: Vec<Measured>,
    /// Coming, going and dying.
    #[serde(alias = "lives")]
    pub lifetimes: Vec<Lifetimes>,
    /// Memory at the peak.
    pub memory: Vec<Memory>,
    /// Whole programs over our malloc and others; none in reports from before there was ours.
    #[serde(default)]
    pub programs: Vec<Program>,
    /// The effects of a SIGKILL.
    #[serde(alias = "blows")]
    pub signals: Vec<Signals>,
}

/// The folder of all reports, in the repository that this was built from.
#[must_use]
pub fn folder() -> PathBuf {
    root().join("perf-reports")
}

/// The repository that this was built from.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

const RAW: &str = "raw.json";

impl Report {
    /// `<date>-<commit>-<machine>`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.machine.date, self.machine.commit, self.machine.slug())
    }

    /// Writes the report's folder and returns its path.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn write(&self, folder: &Path) -> io::Result<PathBuf> {
        let folder = folder.join(self.name());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("machine.json"), serde_json::to_string_pretty(&self.machine)? + "\n")?;
        fs::write(folder.join(RAW), serde_json::to_string(self)? + "\n")?;
        fs::write(folder.join("data.csv"), text::csv(self))?;
        fs::write(folder.join("report.md"), text::markdown(self))?;
        for (name, picture) in plot::all(self) {
            fs::write(folder.join(name), picture)?;
        }
        Ok(folder)
    }

    /// Reads a report back.
    ///
    /// # Errors
    /// The errors of the file system, and data that is not a report.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Ok(serde_json::from_str(&fs::read_to_string(folder.join(RAW))?)?)
    }

    /// All reports in a folder, newest first.
    ///
    /// # Errors
    /// As [`Report::read`].
    pub fn read_all(folder: &Path) -> io::Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(folder)?.flatten() {
            if entry.path().join(RAW).exists() {
                all.push(Self::read(&entry.path())?);
            }
        }
        all.sort_by_key(|report| std::cmp::Reverse(report.machine.unix_seconds));
        Ok(all)
    }

    /// The workload of this name.
    #[must_use]
    pub fn workload(&self, id: &str) -> Option<&Measured> {
        self.measured.iter().find(|measured| measured.id == id)
    }
}

/// A number of nanoseconds, with its significant digits.
#[must_use]
pub fn nanoseconds(ns: f64) -> String {
    match ns {
        ns if ns.is_nan() => "-".into(),
        ns if ns < 100.0 => format!("{ns:.1}"),
        ns if ns < 10_000.0 => format!("{ns:.0}"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

/// A ratio.
#[must_use]
pub fn ratio(ratio: f64) -> String {
    match ratio {
        ratio if ratio.is_nan() => "-".into(),
        ratio if ratio < 0.01 => format!("1/{:.0}", 1.0 / ratio),
        ratio if ratio < 10.0 => format!("{ratio:.2}"),
        ratio => format!("{ratio:.0}"),
    }
}
