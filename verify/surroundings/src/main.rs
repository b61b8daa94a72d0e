//! Each hostile surrounding times each interface: Rust, C, Python and the malloc.
//!
//! An interface is one program with one scenario. A run is a process that enters a surrounding and then executes the program. What it says
//! is a cell of the table in `docs/surroundings.md`.

mod enter;
mod scenario;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

/// Runs every program in every surrounding, and prints a table of the results.
#[derive(Parser)]
struct Arguments {
    /// Only surroundings with this in their names.
    only: Option<String>,
    /// Write docs/surroundings.md.
    #[arg(long)]
    write: bool,
    /// Fail if a cell is worse than in docs/surroundings.md.
    #[arg(long)]
    compare: bool,
    #[command(subcommand)]
    inner: Option<Inner>,
}

/// What the program starts itself for.
#[derive(Subcommand)]
enum Inner {
    /// Enters a surrounding and executes a program.
    #[command(hide = true)]
    Enter { surrounding: String, program: Vec<String> },
    /// Plays the Rust scenario.
    #[command(hide = true)]
    Scenario { name: String },
}

/// Exit status of a program, or of one that could not enter its surrounding, on a machine that lacks something for it.
const SKIPPED: i32 = 77;
/// After this long a program counts as one that never ends.
const LIMIT: Duration = Duration::from_secs(40);
const INTERFACES: [&str; 4] = ["Rust", "C", "Python", "malloc"];
/// The name of the C library, which `bindings/c/build.rs` gives it.
const SONAME: &str = "libtenure.so.4";
const WORKERS: usize = 3;

/// What a run found, from the best to the worst.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    /// The scenario was played to its end.
    Works,
    /// Not run: a cell that says nothing, whatever the table had.
    Skipped(String),
    /// The library refused, with this text.
    Refused(String),
    /// Killed by a signal, endless, or not as the scenario says.
    Wrong(String),
}

impl Cell {
    fn text(&self) -> String {
        let clean = |text: &str| text.replace(['|', '\n'], " ");
        match self {
            Self::Works => "ok".into(),
            Self::Skipped(why) => format!("SKIPPED: {}", clean(why)),
            Self::Refused(why) => clean(why),
            Self::Wrong(why) => format!("**{}**", clean(why)),
        }
    }

    /// The cell that a table has.
    fn read(text: &str) -> Self {
        match text.trim() {
            "ok" => Self::Works,
            text if text.starts_with("SKIPPED") => Self::Skipped(text.into()),
            text if text.starts_with("**") => Self::Wrong(text.into()),
            text => Self::Refused(text.into()),
        }
    }

    fn rank(&self) -> u32 {
        match self {
            Self::Works | Self::Skipped(_) => 0,
            Self::Refused(_) => 1,
            Self::Wrong(_) => 2,
        }
    }
}

/// The programs, in a folder that every user may read.
struct Programs {
    folder: tempfile::TempDir,
    /// By interface: the command line without the name of the space, or why there is none.
    commands: HashMap<&'static str, Result<Vec<String>, String>>,
}

impl Programs {
    fn prepare() -> std::io::Result<Self> {
        // Not in /tmp, which a surrounding hides; programs of another user have to read it.
        let folder = tempfile::Builder::new().prefix("tenure-surroundings-").tempdir_in("/var/tmp")?;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), readable)?;
        let at = |name: &str| folder.path().join(name);
        let own = std::env::current_exe()?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        let bindings = source.join("../../bindings");
        fs::copy(&own, at("surroundings"))?;
        // C programs look for the first by its name as a shared object.
        for (library, to) in [("libtenure_capi.so", SONAME), ("libtenure_malloc.so", "libtenure_malloc.so")] {
            let folders = [own.parent(), own.parent().and_then(Path::parent)];
            let found = folders.into_iter().flatten().flat_map(|folder| [folder.join("deps"), folder.into()]);
            let found = found.map(|folder| folder.join(library)).find(|path| path.exists());
            fs::copy(
                found.ok_or_else(|| std::io::Error::other(format!("{library} was not built")))?,
                at(to),
            )?;
        }
        fs::create_dir(at("tenure"))?;
        for file in fs::read_dir(bindings.join("python/tenure"))?.flatten() {
            if file.path().extension().is_some_and(|extension| extension == "py") {
                fs::copy(file.path(), at("tenure").join(file.file_name()))?;
            }
        }
        fs::copy(source.join("programs/scenario.py"), at("scenario.py"))?;
        let compile = |name: &str, more: &[&Path]| {
            let mut compiler = Command::new("cc");
            compiler.args([
                "-std=gnu11",
                "-O1",
                "-fno-builtin",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-pthread",
                "-o",
            ]);
            compiler.arg(at(name)).arg(source.join(format!("programs/{name}.c"))).args(more);
            compiler
                .arg("-I")
                .arg(bindings.join("c/include"))
                .arg(format!("-Wl,-rpath,{}", folder.path().display()));
            match compiler.output() {
                Err(_) => Err("no C compiler".to_owned()),
                Ok(output) if output.status.success() => Ok(vec![at(name).display().to_string()]),
                Ok(output) => panic!("{name}.c: {}", String::from_utf8_lossy(&output.stderr)),
            }
        };
        let own = vec![at("surroundings").display().to_string(), "scenario".into()];
        let malloc = compile("memory", &[]).map(|mut command| {
            // The preload must not reach the program that enters the surrounding.
            command.splice(
                0..0,
                ["/usr/bin/env".into(), format!("LD_PRELOAD={}", at("libtenure_malloc.so").display())],
            );
            command
        });
        let python = python().map(|python| {
            let package =
                [format!("PYTHONPATH={}", folder.path().display()), "PYTHONDONTWRITEBYTECODE=1".into()];
            let library = format!("TENURE_LIBRARY={}", at(SONAME).display());
            let command = ["/usr/bin/env".into()].into_iter().chain(package).chain([library, python]);
            command.chain([at("scenario.py").display().to_string()]).collect()
        });
        let c = compile("scenario", &[&at(SONAME)]);
        let commands = INTERFACES.into_iter().zip([Ok(own), c, python, malloc]).collect();
        Ok(Self { folder, commands })
    }

    /// One program in one surrounding.
    fn run(&self, surrounding: &str, interface: &str) -> Cell {
        let mut program = match &self.commands[interface] {
            Ok(program) => program.clone(),
            Err(why) => return Cell::Skipped(why.clone()),
        };
        // Its /dev/shm is its own.
        program.push("scenario".into());
        let mut command = Command::new(self.folder.path().join("surroundings"));
        command.arg("enter").arg(surrounding).arg("--").args(program).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        // SAFETY: one system call that is safe between fork and exec.
        unsafe {
            command.pre_exec(|| {
                enter::die_with_parent();
                Ok(())
            });
        }
        let mut child = command.spawn().expect("a copy of this program runs");
        let (mut said, mut failed) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let read = std::thread::spawn(move || {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let _ = said.read_to_end(&mut out);
            let _ = failed.read_to_end(&mut err);
            let line = |text: &[u8]| {
                String::from_utf8_lossy(text).lines().rfind(|line| !line.is_empty()).map(str::to_owned)
            };
            line(&out).or(line(&err)).unwrap_or_default()
        });
        let started = Instant::now();
        let status = loop {
            match child.try_wait().expect("our child") {
                Some(status) => break Some(status),
                None if started.elapsed() > LIMIT => break None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        // The whole group, with what the program has started.
        // SAFETY: a group that this program made.
        unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
        let _ = child.wait();
        judge(status, &read.join().unwrap_or_default())
    }
}

fn judge(status: Option<ExitStatus>, line: &str) -> Cell {
    let Some(status) = status else { return Cell::Wrong(format!("never ends {line}")) };
    let text = line.split_once(": ").map_or(line, |(_, text)| text).to_owned();
    match (status.code(), status.signal()) {
        (Some(0), _) => Cell::Works,
        (Some(SKIPPED), _) => Cell::Skipped(text),
        (Some(1), _) => Cell::Refused(text),
        (Some(code @ 129..160), _) => Cell::Wrong(format!("killed by signal {}", code - 128)),
        (_, Some(signal)) => Cell::Wrong(format!("killed by signal {signal}")),
        _ => Cell::Wrong(line.to_owned()),
    }
}

/// A Python that every user may run and that is recent enough.
fn python() -> Result<String, String> {
    let recent = |program: &&str| {
        let check = ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"];
        Command::new(program).args(check).output().is_ok_and(|output| output.status.success())
    };
    let found = ["/usr/bin/python3", "/usr/local/bin/python3"].into_iter().find(recent);
    found.map(str::to_owned).ok_or_else(|| "no /usr/bin/python3 from 3.9 on".into())
}

/// Enters and executes; returns only if that fails.
fn enter(surrounding: &str, program: &[String]) -> i32 {
    enter::die_with_parent();
    let surrounding = enter::find(surrounding).expect("a surrounding");
    if let Err(why) = enter::own_room().and_then(|()| (surrounding.enter)()) {
        println!("SKIPPED: {why}");
        return SKIPPED;
    }
    // The limit of processes of another user; a change of user forgets it.
    enter::die_with_parent();
    let error = Command::new(&program[0]).args(&program[1..]).exec();
    println!("SKIPPED: {}: {error}", program[0]);
    SKIPPED
}

type Results = HashMap<(&'static str, &'static str), Cell>;

fn run_all(only: Option<&str>) -> std::io::Result<Results> {
    let programs = Programs::prepare()?;
    let names = enter::ALL.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.name));
    let names: Vec<_> = names.filter(|name| only.is_none_or(|only| name.contains(only))).collect();
    let runs: Vec<_> = names.iter().flat_map(|name| INTERFACES.map(|interface| (*name, interface))).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Results::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                // Relaxed: a number for each.
                while let Some((name, interface)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let cell = programs.run(name, interface);
                    found.lock().unwrap().insert((*name, *interface), cell);
                }
            });
        }
    });
    Ok(found.into_inner().unwrap())
}

const ABOUT: &str = "\
# Surroundings

Made by `cargo run -p tenure-surroundings -- --write`; do not edit. A row is a surrounding, a column an interface: the crate `tenure`, the functions
of `tenure.h`, the Python package, and `libtenure_malloc.so` under a C program. Each cell is one run of one program that entered the surrounding
first, in namespaces of its own.

The programs of the first three create a space with the default options, join, make a handle with a block and a mutex, and fork; the child joins, reads, locks the
mutex, and is killed. The mutex must come back abandoned within 20 s, nothing of the dead may be left, `check` must be clean. The program of the malloc calls
malloc, calloc, realloc, aligned_alloc and free with blocks of up to a MiB, also in threads, threads with the smallest stacks, and a forked child.

`ok`: all of that. Other text: the error that the library, or the language itself, gave. **Bold**: the program was killed, did not end or was told something wrong.
`cargo run -p tenure-surroundings -- --compare` runs all again and fails where a cell is worse than here; a SKIPPED one never is.
";

fn machine() -> String {
    let output = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let release = output("uname", &["-r"]);
    let version: Vec<_> = release.splitn(3, '.').take(2).collect();
    let (date, machine) = (output("date", &["+%F"]), output("uname", &["-m"]));
    format!("Run on {date}, Linux {} {machine}, {cores} processors.\n", version.join("."))
}

fn table(found: &Results) -> String {
    let mut text = format!("{ABOUT}\n{}", machine());
    for (topic, rows) in enter::ALL {
        let _ = write!(text, "\n## {topic}\n\n| | {} |\n|---|---|---|---|---|\n", INTERFACES.join(" | "));
        for row in *rows {
            let cells = INTERFACES
                .map(|interface| found.get(&(row.name, interface)).map_or_else(String::new, Cell::text));
            let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
        }
    }
    text
}

/// The cells of a table, by row and interface.
fn cells(text: &str) -> HashMap<(String, &'static str), Cell> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").map(str::to_owned).collect::<Vec<_>>());
    rows.filter(|row| row.len() == 1 + INTERFACES.len())
        .flat_map(|row| {
            let cells = INTERFACES.into_iter().zip(row[1..].to_vec());
            cells
                .map(move |(interface, cell)| ((row[0].clone(), interface), Cell::read(&cell)))
                .collect::<Vec<_>>()
        })
        .collect()
}

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/surroundings.md")
}

/// What is worse than the document says.
fn worse(found: &Results, known: &str) -> Vec<String> {
    let known = cells(known);
    let mut worse = Vec::new();
    for ((name, interface), cell) in found {
        match known.get(&((*name).to_owned(), *interface)) {
            Some(known) if cell.rank() <= known.rank() => {}
            Some(known) => {
                worse.push(format!("{name}, {interface}: {}; it was {}", cell.text(), known.text()))
            }
            None => worse.push(format!("{name}, {interface}: not in the document: {}", cell.text())),
        }
    }
    worse
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.inner {
        Some(Inner::Enter { surrounding, program }) => {
            return ExitCode::from(enter(surrounding, program) as u8);
        }
        Some(Inner::Scenario { name }) => return ExitCode::from(scenario::play(name) as u8),
        None => {}
    }
    let started = Instant::now();
    let found = run_all(arguments.only.as_deref()).expect("the programs can be prepared");
    let text = table(&found);
    if !arguments.compare {
        print!("{text}");
    }
    for ((name, interface), cell) in &found {
        if let Cell::Skipped(why) = cell {
            println!("SKIPPED: surroundings: {name}, {interface}: {why}");
        }
    }
    println!("{} runs in {:.0} s", found.len(), started.elapsed().as_secs_f64());
    if arguments.write && arguments.only.is_none() {
        fs::write(document(), &text).expect("the document can be written");
    }
    if arguments.compare {
        let worse = worse(&found, &fs::read_to_string(document()).unwrap_or_default());
        worse.iter().for_each(|line| eprintln!("worse: {line}"));
        return if worse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_cell_is_found_and_a_skipped_one_is_none() {
        let row = enter::ALL[0].1[0].name;
        let mut found = Results::new();
        for interface in INTERFACES {
            found.insert((row, interface), Cell::Works);
        }
        let known = table(&found);
        assert_eq!(worse(&found, &known), Vec::<String>::new());
        found.insert((row, "C"), Cell::Skipped("no compiler".into()));
        assert_eq!(worse(&found, &known), Vec::<String>::new());
        for cell in [Cell::Refused("no memory".into()), Cell::Wrong("killed by signal 11".into())] {
            found.insert((row, "C"), cell);
            let known_better = worse(&found, &known);
            assert!(known_better.len() == 1 && known_better[0].contains("it was ok"), "{known_better:?}");
            assert_eq!(worse(&found, &table(&found)), Vec::<String>::new(), "not worse than itself");
        }
    }
}
