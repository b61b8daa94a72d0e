//! Whole programs as they are, over the malloc of `libtenure_malloc.so` and over others: time and memory, in turn.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tenure_subjects::team::Child;
use tenure_subjects::{Failed, Outcome};

use crate::stats::{Ratio, median};

/// The preloaded libraries: a name and where the library may be.
const RIVALS: &[(&str, &[&str])] = &[
    ("mimalloc", &["libmimalloc.so.2", "libmimalloc.so.3", "libmimalloc.so"]),
    ("jemalloc", &["libjemalloc.so.2"]),
];
const FOLDERS: &[&str] =
    &["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib"];
const OURS: &str = "tenure";

/// One program over one allocator.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    /// The program.
    pub program: String,
    /// The allocator.
    pub subject: String,
    /// Seconds from begin to end, each round.
    pub seconds: Vec<f64>,
    /// Seconds of processors, each round.
    pub cpu_seconds: Vec<f64>,
    /// The most memory of its largest process, in KiB, each round.
    pub peak_kib: Vec<f64>,
}

/// One program over our allocator beside another.
pub struct Beside<'a> {
    /// The other allocator.
    pub theirs: &'a Program,
    /// Ours divided by theirs: time, time of processors, memory. None for ours itself.
    pub ratios: Option<[Ratio; 3]>,
}

/// The programs, run by `sh` in a folder that has been prepared. Lines that start a server name its library.
const SCRIPTS: &[(&str, &str, &str)] = &[
    ("sqlite", "sqlite3", "exec sqlite3 :memory: '.read queries'"),
    ("python", "python3", "PYTHONMALLOC=malloc exec python3 program.py"),
    ("perl", "perl", "exec perl program.pl lines"),
    ("git log -p", "git", "exec git -C repository log -p --stat"),
    ("git status", "git", "for i in 1 2 3 4 5 6 7 8 9 10; do git -C repository status; done"),
    ("gcc -O2", "gcc", "exec gcc -O2 -S -o /dev/null program.c"),
    ("sort, two threads", "sort", "exec sort --parallel=2 -S 200M -o /dev/null lines"),
    ("redis-server under redis-benchmark", "redis-benchmark", REDIS),
];

/// The library is for the server alone.
const REDIS: &str = "library=$LD_PRELOAD; unset LD_PRELOAD; rm -f socket
    LD_PRELOAD=$library redis-server --port 0 --unixsocket socket --save '' --dir . & server=$!
    while ! [ -S socket ]; do sleep 0.01; done
    redis-benchmark -s socket -q -n 30000 -r 20000 -P 16 -d 100 -t set,get,lpush,lrange_100,sadd,hset,zadd,mset
    redis-cli -s socket shutdown nosave; wait $server";

/// Runs every program over every allocator, `rounds` times in turn. Programs that are not installed are named on
/// standard error.
///
/// To be called early: a child's memory is counted from the fork, when it still has this process's.
///
/// # Errors
/// [`Failed`] when a program fails.
pub fn measure(rounds: usize) -> Outcome<Vec<Program>> {
    let subjects = subjects()?;
    let folder = std::env::temp_dir().join(format!("tenure-programs-{}", std::process::id()));
    // By a child: in this process its allocations would count for every program.
    let prepared = Child::fork(|| drop(prepare(&folder)));
    let measured = prepared.map_err(|error| Failed::of("programs", error)).and_then(|mut child| {
        child.wait();
        run_all(rounds, &subjects, &folder)
    });
    let _ = fs::remove_dir_all(&folder);
    measured
}

/// Compares each one with ours of the same program.
#[must_use]
pub fn beside(all: &[Program]) -> Vec<Beside<'_>> {
    let ours = |program: &str| all.iter().find(|one| one.subject == OURS && one.program == program);
    all.iter()
        .map(|theirs| {
            let ours = ours(&theirs.program).filter(|_| theirs.subject != OURS);
            let ratios = ours.map(|ours| {
                [
                    Ratio::of(&ours.seconds, &theirs.seconds),
                    Ratio::of(&ours.cpu_seconds, &theirs.cpu_seconds),
                    Ratio::of(&ours.peak_kib, &theirs.peak_kib),
                ]
            });
            Beside { theirs, ratios }
        })
        .collect()
}

impl Program {
    /// Milliseconds, the median of the rounds.
    #[must_use]
    pub fn ms(&self) -> f64 {
        median(&self.seconds) * 1e3
    }

    /// MiB at the peak, the median of the rounds.
    #[must_use]
    pub fn peak_mib(&self) -> f64 {
        median(&self.peak_kib) / 1024.0
    }
}

/// Names and libraries. The C library's own is preloaded as well: some programs bring another one.
fn subjects() -> Outcome<Vec<(&'static str, PathBuf)>> {
    let own = std::env::current_exe().map_err(|error| Failed::of("programs", error))?;
    let ours = ["libtenure_malloc.so", "deps/libtenure_malloc.so"]
        .map(|file| own.with_file_name(file))
        .into_iter()
        .find(|path| path.exists());
    let ours = ours.ok_or_else(|| Failed::of("programs", "libtenure_malloc.so was not built"))?;
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let libc =
        maps.lines().find_map(|line| Some(&line[line.find('/')?..]).filter(|path| path.contains("libc.so")));
    let mut all = vec![(OURS, ours)];
    all.extend(libc.map(|path| ("glibc", PathBuf::from(path))));
    for (name, files) in RIVALS {
        let mut paths =
            FOLDERS.iter().flat_map(|folder| files.iter().map(|file| Path::new(folder).join(file)));
        match paths.find(|path| path.exists()) {
            Some(path) => all.push((name, path)),
            None => eprintln!("SKIPPED: programs over {name}: {} is not installed", files[0]),
        }
    }
    Ok(all)
}

fn run_all(rounds: usize, subjects: &[(&'static str, PathBuf)], folder: &Path) -> Outcome<Vec<Program>> {
    let mut all = Vec::new();
    for (program, needs, script) in SCRIPTS {
        if Command::new(needs).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err()
        {
            eprintln!("SKIPPED: {program}: {needs} is not installed");
            continue;
        }
        let mut measured: Vec<_> = subjects
            .iter()
            .map(|(subject, _)| Program {
                program: (*program).into(),
                subject: (*subject).into(),
                seconds: Vec::new(),
                cpu_seconds: Vec::new(),
                peak_kib: Vec::new(),
            })
            .collect();
        // The first round is not counted: files are read from disk.
        for round in 0..=rounds {
            for turn in 0..subjects.len() {
                let which = (round + turn) % subjects.len();
                let [seconds, cpu, peak] = run(program, script, &subjects[which].1, folder)?;
                if round > 0 {
                    measured[which].seconds.push(seconds);
                    measured[which].cpu_seconds.push(cpu);
                    measured[which].peak_kib.push(peak);
                }
            }
        }
        all.extend(measured);
    }
    Ok(all)
}

/// Seconds, seconds of processors, KiB at the peak.
fn run(program: &str, script: &str, library: &Path, folder: &Path) -> Outcome<[f64; 3]> {
    let failed = |what: String| Failed::of("programs", format!("{program}: {what}"));
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder).env("LD_PRELOAD", library).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let begin = Instant::now();
    let child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: our child, which nobody else waits for, and room for the answers.
    let waited = unsafe { libc::wait4(child.id() as libc::pid_t, &raw mut status, 0, usage.as_mut_ptr()) };
    let seconds = begin.elapsed().as_secs_f64();
    if waited < 0 || status != 0 {
        return Err(failed(format!("over {}: status {status:#x}", library.display())));
    }
    // SAFETY: zeroed at first, filled by the system.
    let usage = unsafe { usage.assume_init() };
    let of = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok([seconds, of(usage.ru_utime) + of(usage.ru_stime), usage.ru_maxrss as f64])
}

fn prepare(folder: &Path) -> Outcome<()> {
    let io = |error| Failed::of("programs", error);
    fs::create_dir_all(folder.join("repository")).map_err(io)?;
    for (file, text) in [
        ("queries", QUERIES.into()),
        ("program.py", PYTHON.into()),
        ("program.pl", PERL.into()),
        ("program.c", c()),
    ] {
        fs::write(folder.join(file), text).map_err(io)?;
    }
    let lines = (0..600_000u64).fold(String::new(), |mut lines, i| {
        let _ = writeln!(lines, "{:x} {i}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        lines
    });
    fs::write(folder.join("lines"), lines).map_err(io)?;
    fs::write(folder.join("history"), history()).map_err(io)?;
    // Without git, the programs that need it are skipped.
    let import =
        "cd repository && git init -q && git fast-import --quiet <../history && git reset -q --hard main";
    let _ = Command::new("sh").args(["-c", import]).current_dir(folder).output();
    Ok(())
}

const QUERIES: &str = "
    create table t(a integer primary key, b text, c real);
    with recursive n(i) as (select 1 union all select i + 1 from n where i < 40000)
        insert into t select i, printf('%x %s', i * 2654435761 % 4294967296, hex(zeroblob(i % 40))), i / 7.0 from n;
    create index tb on t(b);
    select count(*), sum(c) from t where b > '8';
    select substr(b, 1, 3) k, count(*), group_concat(a) from t group by k order by 2 desc, 1;
    update t set b = b || b where a % 3 = 0;
    select count(*) from t x join t y on x.b = y.b;
";

const PYTHON: &str = r#"
import json, re, collections
rows = [{"id": i, "name": "n%d" % i, "tags": [str(j) for j in range(i % 7)], "v": i * 1.5} for i in range(15000)]
text = json.dumps(rows)
for _ in range(3):
    counts = collections.Counter(tag for row in json.loads(text) for tag in row["tags"])
    names = sorted(re.findall(r"n(\d+)", text), key=lambda name: name[::-1])
print(sorted(counts.items()), len("".join(names)), names[5])
"#;

const PERL: &str = r#"
my (%words, $n);
while (<>) { my ($word, $number) = split; $words{substr $word, 0, 4} .= $number % 10; last if ++$n > 200000 }
my @rows = map { {n => $_, v => [1 .. 3]} } 1 .. 50000;
my $text = join ",", map { "$_=$words{$_}" } sort keys %words;
print length $text, " ", scalar @rows, "\n";
"#;

fn c() -> String {
    let mut text = String::from("#include <string.h>\n");
    for i in 0..60 {
        let _ = writeln!(
            text,
            "int f{i}(int a, int b) {{ int s = 0; for (int i = 0; i < a; i++) {{ s += i * b ^ {i}; \
             if (s & {}) s += b; else s -= (int)strlen(\"abc{i}\"); }} return s; }}",
            i % 7 + 1
        );
    }
    text
}

/// Two hundred commits, each of which changes some of two hundred files.
fn history() -> String {
    let mut text = String::new();
    for commit in 0..200 {
        let at = 1_767_225_600 + commit * 3600;
        let _ = write!(text, "commit refs/heads/main\ncommitter a <a@b> {at} +0000\ndata 5\nhello\n");
        for file in (0..200).filter(|file| commit == 0 || (file * 7 + commit) % 23 == 0) {
            let lines = (0..200).fold(String::new(), |mut lines, line| {
                let changed = if line % 17 == commit % 17 { commit } else { 0 };
                let _ = writeln!(lines, "line {line} of file {file}, changed in {changed}");
                lines
            });
            let _ = write!(text, "M 100644 inline file{file}\ndata {}\n{lines}\n", lines.len());
        }
    }
    text
}
