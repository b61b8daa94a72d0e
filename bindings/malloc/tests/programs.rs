//! Unmodified programs, with the library and without: both outputs must be the same. A program that is not installed is
//! named in one line.

mod common;

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{command, preloaded, succeed};

/// Whether a program runs at all; a line that says so if not.
fn installed(program: &str, arguments: &[&str]) -> bool {
    let found = Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: {program} {} does not run here", arguments.join(" "));
    }
    found
}

/// Runs a program with the library and without, in fresh folders that `prepare` fills; compares its output, and the
/// files named in `files`.
fn compare(program: &str, arguments: &[&str], files: &[&str], prepare: impl Fn(&Path)) {
    let [with, without] = [true, false].map(|with| {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let mut command = if with { preloaded(program) } else { command(program) };
        let output = succeed(command.args(arguments).current_dir(folder.path()));
        let files: Vec<_> = files.iter().map(|file| fs::read(folder.path().join(file)).unwrap()).collect();
        (output.stdout, files)
    });
    assert!(!with.0.is_empty() || !with.1.is_empty(), "{program} says nothing");
    assert!(with == without, "{program} says something else with the library");
}

#[test]
fn sqlite() {
    const QUERIES: &str = "
        create table t(a integer primary key, b text, c real);
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 30000)
            insert into t select i, printf('%x %s', i * 2654435761 % 4294967296, hex(zeroblob(i % 50))), i / 7.0 from n;
        create index tb on t(b);
        select count(*), sum(c), max(length(b)) from t where b > '8';
        select substr(b, 1, 2) k, count(*), group_concat(a) from t group by k order by 2 desc, 1 limit 3;
        update t set b = b || b where a % 3 = 0;
        delete from t where a % 5 = 1;
        select count(*), sum(length(x.b)) from t x join t y on x.b = y.b;
        pragma integrity_check;
        vacuum;";
    if installed("sqlite3", &["--version"]) {
        compare("sqlite3", &["test.db", ".read queries"], &["test.db"], |folder| {
            fs::write(folder.join("queries"), QUERIES).unwrap();
        });
    }
}

#[test]
fn python_allocating_with_malloc() {
    const PROGRAM: &str = r#"
import collections, hashlib, json, os, re, subprocess, sys, threading, zlib
def work(n):
    rows = [{"id": i, "name": "n%d" % i, "tags": [str(j) for j in range(i % 7)]} for i in range(n)]
    text = json.dumps(rows)
    counts = collections.Counter(tag for row in json.loads(text) for tag in row["tags"])
    return hashlib.sha256(zlib.compress(text.encode()) + repr(sorted(counts.items())).encode()).hexdigest()
print(work(20000))
found = {}
threads = [threading.Thread(target=lambda i=i: found.__setitem__(i, work(1000 * i))) for i in range(8)]
for t in threads: t.start()
for _ in range(5):
    pid = os.fork()
    if pid == 0: os._exit(0 if len(work(3000)) == 64 else 1)
    assert os.waitpid(pid, 0)[1] == 0
for t in threads: t.join()
print(sorted(found.items()))
print(subprocess.run([sys.executable, "-c", "print(sum(range(100000)))"], capture_output=True).stdout)
print(len(re.findall("a+b", "aaab" * 100000)), len(bytearray(100 << 20)), sum(map(len, ["x" * i for i in range(5000)])))
"#;
    if installed("python3", &["--version"]) {
        // By default it takes arenas from the system and asks malloc for larger objects only.
        let arguments = [
            "-c",
            "import os, sys; os.environ['PYTHONMALLOC'] = 'malloc'; os.execv(sys.executable, \
                                [sys.executable, 'program.py'])",
        ];
        compare("python3", &arguments, &[], |folder| fs::write(folder.join("program.py"), PROGRAM).unwrap());
    }
}

#[test]
fn python_runs_parts_of_its_own_tests() {
    const PARTS: &[&str] = &[
        "test_bytes",
        "test_capi",
        "test_dict",
        "test_fork1",
        "test_gc",
        "test_json",
        "test_list",
        "test_memoryview",
        "test_pickle",
        "test_re",
        "test_set",
        "test_thread",
        "test_threadsignals",
        "test_unicode",
    ];
    if installed("python3", &["-c", "import test.test_dict, test.libregrtest"]) {
        let folder = tempfile::tempdir().unwrap();
        let mut python = preloaded("python3");
        python.args(["-m", "test", "-q", "-w", "--timeout", "500"]).args(PARTS).current_dir(folder.path());
        let output = succeed(&mut python);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("SUCCESS"), "{text}");
    }
}

#[test]
fn perl() {
    const PROGRAM: &str = r#"
my (%words, @lists);
for my $i (1 .. 100000) { $words{substr($i * 2654435761 % 4294967296, 0, 4)} .= $i % 10; push @{$lists[$i % 1000]}, {n => $i, v => [1 .. 3]}; }
my $text = join ",", map { "$_=$words{$_}" } sort keys %words;
$text =~ s/(\d)(\d)/$2$1/g;
if (my $pid = fork) { waitpid $pid, 0; print $? >> 8, "\n" } else { @lists = (); exit 3 }
print length $text, " ", scalar(@{$lists[7]}), " ", unpack("%32C*", $text), "\n", `echo child`;
"#;
    if installed("perl", &["-v"]) {
        compare("perl", &["program.pl"], &[], |folder| {
            fs::write(folder.join("program.pl"), PROGRAM).unwrap()
        });
    }
}

#[test]
fn git() {
    const SCRIPT: &str = r#"
set -e
export HOME=$PWD GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q -b main repo && cd repo
for i in 1 2 3 4 5 6 7 8; do
    export GIT_AUTHOR_DATE="2026-01-0$i 00:00:00 +0000" GIT_COMMITTER_DATE="2026-01-0$i 00:00:00 +0000"
    for f in 1 2 3 4 5 6 7 8 9; do seq $((i * f)) $((i * f * 50)) >file$f; done
    git add . && git commit -q -m "commit $i"
done
git branch other HEAD~4 && git checkout -q other && echo more >file10 && git add . && git commit -q -m other
git merge -q -s ours -m merge main
git -c pack.threads=4 repack -a -d -f -q && git fsck --full --strict && git gc -q
git log -p --stat --graph | cksum
git blame file9 | cksum
git clone -q . ../clone 2>/dev/null && git -C ../clone rev-parse HEAD && git -C ../clone grep -c 7 | cksum
"#;
    if installed("git", &["--version"]) {
        compare("sh", &["script"], &[], |folder| fs::write(folder.join("script"), SCRIPT).unwrap());
    }
}

/// A C program of many functions.
fn c_source() -> String {
    let mut text = String::from("#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n");
    for i in 0..80 {
        writeln!(
            text,
            "int f{i}(int a, int b) {{ int s = 0; for (int i = 0; i < a; i++) {{ s += i * b ^ {i}; \
             if (s & {}) s += b; else s -= (int)strlen(\"abc{i}\"); }} return s; }}",
            i % 7 + 1
        )
        .unwrap();
    }
    text + "int main(void) { return 0; }\n"
}

#[test]
fn gcc() {
    if installed("gcc", &["--version"]) {
        let arguments = ["-O2", "-S", "-frandom-seed=1", "-o", "program.s", "program.c"];
        compare("gcc", &arguments, &["program.s"], |folder| {
            fs::write(folder.join("program.c"), c_source()).unwrap();
        });
    }
}

/// Its own program brings an allocator of its own; the linker that it starts does not.
#[test]
fn rustc() {
    const PROGRAM: &str = r#"
use std::collections::HashMap;
fn main() {
    let handles: Vec<_> = (0..4u64).map(|t| std::thread::spawn(move || {
        let map: HashMap<u64, String> = (0..5000).map(|i| (i * t, format!("{i} {t}"))).collect();
        map.values().map(String::len).sum::<usize>()
    })).collect();
    println!("{:?}", handles.into_iter().map(|h| h.join().unwrap()).collect::<Vec<_>>());
}
"#;
    if installed("rustc", &["--version"]) {
        compare("sh", &["-c", "rustc -O program.rs && ./program"], &[], |folder| {
            fs::write(folder.join("program.rs"), PROGRAM).unwrap();
        });
    }
}

#[test]
fn sort_with_threads() {
    if installed("sort", &["--version"]) {
        let arguments = ["--parallel=4", "-S", "8M", "-o", "sorted", "lines"];
        compare("sort", &arguments, &["sorted"], |folder| {
            let lines = (0..300_000u64).fold(String::new(), |mut lines, i| {
                writeln!(lines, "{:x} {i}", i.wrapping_mul(0x9e37_79b9_7f4a_7c15)).unwrap();
                lines
            });
            fs::write(folder.join("lines"), lines).unwrap();
        });
    }
}

/// A server on a socket in `folder`, which ends with the value.
struct Redis(std::process::Child);

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn redis(mut server: Command, folder: &Path) -> Redis {
    let options = [
        "--port",
        "0",
        "--unixsocket",
        "socket",
        "--save",
        "",
        "--enable-debug-command",
        "yes",
        "--dir",
        ".",
    ];
    server.args(options).args(["--io-threads", "3", "--activedefrag", "no"]).current_dir(folder);
    let server = Redis(server.stdout(std::process::Stdio::null()).spawn().unwrap());
    let (socket, started) = (folder.join("socket"), Instant::now());
    let listens = || {
        let mut ping = command("redis-cli");
        let answer = ping.args(["-s", "socket", "ping"]).current_dir(folder).output().unwrap();
        answer.stdout.starts_with(b"PONG")
    };
    while !(socket.exists() && listens()) {
        assert!(started.elapsed() < Duration::from_secs(60), "the server does not start");
        std::thread::sleep(Duration::from_millis(20));
    }
    server
}

fn redis_cli(folder: &Path, arguments: &[impl AsRef<OsStr>]) -> String {
    let output = succeed(command("redis-cli").args(["-s", "socket"]).args(arguments).current_dir(folder));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn redis_under_its_own_benchmark() {
    const TESTS: &str = "set,get,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange_100,mset";
    if !installed("redis-server", &["--version"]) || !installed("redis-benchmark", &["--version"]) {
        return;
    }
    let [with, without] = [true, false].map(|with| {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let program = "redis-server";
        let _server = redis(if with { preloaded(program) } else { command(program) }, folder.path());
        let benchmark = ["-s", "socket", "-q", "-n", "5000", "-r", "1000", "-P", "8", "-t", TESTS];
        succeed(command("redis-benchmark").args(benchmark).current_dir(folder.path()));
        // The benchmark leaves random data; only data that is not random is compared.
        redis_cli(folder.path(), &["flushall"]);
        let script = "for i = 1, 20000 do redis.call('hset', 'h' .. i % 100, 'k' .. i, string.rep('v', i % 500)) \
                      redis.call('zadd', 'z' .. i % 10, i, 'm' .. i) redis.call('append', 's' .. i % 1000, i) end";
        redis_cli(folder.path(), &["eval", script, "0"]);
        let before = redis_cli(folder.path(), &["debug", "digest"]);
        // Forks, and reads back the data that the child wrote.
        redis_cli(folder.path(), &["debug", "reload"]);
        redis_cli(folder.path(), &["bgsave"]);
        let after = redis_cli(folder.path(), &["debug", "digest"]);
        // The child writes into the folder that goes.
        let started = Instant::now();
        while redis_cli(folder.path(), &["info", "persistence"]).contains("rdb_bgsave_in_progress:1") {
            assert!(started.elapsed() < Duration::from_secs(60), "saving does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(before == after && before.trim().len() == 40, "{before} {after}");
        after
    });
    assert_eq!(with, without);
}
