//! The place and time of a measurement.

use std::process::Command;

use serde::{Deserialize, Serialize};

/// The machine, the time and the build.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// Day, UTC.
    pub date: String,
    /// The same, to the second.
    pub unix_seconds: u64,
    /// Short hash of the commit that was built; `+` when the working tree had changes.
    pub commit: String,
    /// Name of the processor.
    pub cpu: String,
    /// The number of processors.
    pub cpus: usize,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Whether a hypervisor is below.
    pub virtual_machine: bool,
    /// Kernel release.
    pub kernel: String,
    /// Compiler.
    pub rustc: String,
    /// Command line.
    pub command: String,
    /// Built with allocators in C and C++.
    pub rivals: bool,
    /// Rounds of each workload.
    pub rounds: usize,
    /// Load average of a minute, before.
    pub load_before: f64,
    /// Load average of a minute, after; it includes the measurement.
    pub load_after: f64,
    /// Duration, in seconds.
    pub seconds: u64,
}

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn told(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(super::root()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

/// Load average of a minute.
fn load() -> f64 {
    file("/proc/loadavg").split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(f64::NAN)
}

impl Machine {
    /// This one, now.
    #[must_use]
    pub fn here(rounds: usize) -> Self {
        let cpuinfo = file("/proc/cpuinfo");
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let meminfo = file("/proc/meminfo");
        let memory = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0);
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let unix_seconds = since.map_or(0, |since| since.as_secs());
        let changes = told("git", &["status", "--porcelain", "--untracked-files=no"]);
        let commit = told("git", &["rev-parse", "--short=7", "HEAD"]);
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            date: date(unix_seconds),
            unix_seconds,
            commit: commit + if changes.is_empty() { "" } else { "+" },
            cpu: field("model name"),
            cpus: tenure_subjects::shared::cpu_count(),
            memory_bytes: memory * 1024,
            virtual_machine: field("flags").contains("hypervisor"),
            kernel: file("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or_default()
                .to_owned(),
            rustc: told("rustc", &["--version"]),
            command: ["cargo perf".to_owned()].into_iter().chain(arguments).collect::<Vec<_>>().join(" "),
            rivals: cfg!(feature = "rivals"),
            rounds,
            load_before: load(),
            load_after: f64::NAN,
            seconds: 0,
        }
    }

    /// Records the end of the run.
    pub fn finish(&mut self, seconds: u64) {
        self.load_after = load();
        self.seconds = seconds;
    }

    /// A short name, made of processors.
    #[must_use]
    pub fn slug(&self) -> String {
        let words = self.cpu.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let cpu: Vec<String> = words.take(2).map(str::to_lowercase).collect();
        format!("{}-x{}", cpu.join("-"), self.cpus)
    }

    /// In words, for people.
    #[must_use]
    pub fn in_words(&self) -> String {
        let kind = if self.virtual_machine { "virtual machine" } else { "machine" };
        format!(
            "{}, {} x {} {kind}, {:.0} GiB, Linux {}, {}, commit {}",
            self.date,
            self.cpus,
            self.cpu,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.rustc.split(' ').take(2).collect::<Vec<_>>().join(" "),
            self.commit
        )
    }
}

/// The day of a Unix time, as year, month and day (days from civil, Howard Hinnant's algorithm).
fn date(unix_seconds: u64) -> String {
    let days = (unix_seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_795_219_200), "2026-11-21");
    }
}
