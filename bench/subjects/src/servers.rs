//! Servers that are not ours: redis and memcached, each started on a Unix socket in a folder of its own, and killed when dropped. The kernel
//! kills them if the process that started them is killed.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::subject::{Failed, Outcome, Subject};

/// The time in which a server must have started.
const STARTED_WITHIN: Duration = Duration::from_secs(10);

/// A folder of one process, removed when dropped there: in forked children it is left alone.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    owner: u32,
}

impl Folder {
    /// A new one, in memory if there is a file system for that.
    pub(crate) fn new(of: &str) -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a unique number; it publishes nothing.
        let (owner, number) = (process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let path = parent.join(format!("tenure-bench-{of}-{owner}-{number}"));
        fs::create_dir(&path)?;
        Ok(Self { path, owner })
    }

    fn is_ours(&self) -> bool {
        self.owner == process::id()
    }

    /// Removes it, once all that need its names have opened them.
    pub(crate) fn remove(&self) {
        if self.is_ours() {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A running server.
struct Server {
    child: process::Child,
    folder: Folder,
}

impl Server {
    /// Starts a program with these arguments, of which `SOCKET` is replaced, and waits until it can be connected to.
    fn start(program: &'static str, arguments: &[&str]) -> Outcome<Self> {
        let folder = Folder::new(program)?;
        let socket = folder.path.join(SOCKET);
        let mut command = Command::new(program);
        for argument in arguments {
            match *argument {
                SOCKET => command.arg(&socket),
                argument => command.arg(argument),
            };
        }
        command.current_dir(&folder.path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let parent = process::id();
        // SAFETY: system calls only, in a process that has nothing else to do before it becomes the program.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::getppid() as u32 == parent { Ok(()) } else { Err(std::io::ErrorKind::Other.into()) }
            });
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failed(format!("SKIPPED: {program} is not installed")),
            _ => Failed::of(program, error),
        })?;
        let mut server = Self { child, folder };
        let started = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            if let Ok(Some(status)) = server.child.try_wait() {
                return Err(Failed(format!("{program}: {status}")));
            }
            if started.elapsed() > STARTED_WITHIN {
                return Err(Failed::of(program, "it does not listen"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn connect(&self) -> Outcome<Link> {
        let stream = UnixStream::connect(self.folder.path.join(SOCKET))?;
        Ok(Link { stream: BufReader::new(stream), out: Vec::new(), line: Vec::new() })
    }
}

/// The name of the socket in the folder.
const SOCKET: &str = "socket";

impl Drop for Server {
    fn drop(&mut self) {
        if self.folder.is_ours() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A connection: requests are collected and sent at once, replies are lines and bodies of known length.
pub(crate) struct Link {
    stream: BufReader<UnixStream>,
    pub(crate) out: Vec<u8>,
    line: Vec<u8>,
}

impl Link {
    pub(crate) fn send(&mut self) -> Outcome<()> {
        self.stream.get_mut().write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> Outcome<&[u8]> {
        self.line.clear();
        self.stream.read_until(b'\n', &mut self.line)?;
        self.line.strip_suffix(b"\r\n").ok_or_else(|| Failed::of("server", "it has hung up"))
    }

    /// A body, which ends like a line.
    pub(crate) fn body(&mut self, bytes: usize, to: &mut Vec<u8>) -> Outcome<()> {
        to.resize(bytes + 2, 0);
        self.stream.read_exact(to)?;
        to.truncate(bytes);
        Ok(())
    }
}

/// The number at the end of a line.
pub(crate) fn number(line: &[u8]) -> Option<i64> {
    let digits = line.rsplit(|byte| matches!(byte, b' ' | b':' | b'$' | b'*')).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cold]
fn unexpected(line: &[u8]) -> Failed {
    Failed::of("unexpected reply", String::from_utf8_lossy(line))
}

/// redis, which writes nothing to disk.
pub struct Redis(Server);

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// That it is not installed; that it does not start.
    pub fn new() -> Outcome<Self> {
        let arguments = ["--port", "0", "--unixsocket", SOCKET, "--save", "", "--appendonly", "no"];
        Server::start("redis-server", &arguments).map(Self)
    }
}

/// A client of redis.
pub struct RedisClient {
    pub(crate) link: Link,
    values: Vec<Vec<u8>>,
}

/// A reply of redis.
pub(crate) enum Reply<'c> {
    Status,
    Number(i64),
    Nothing,
    Values(&'c [Vec<u8>]),
}

impl Reply<'_> {
    pub(crate) fn number(&self) -> Outcome<i64> {
        if let Self::Number(number) = self { Ok(*number) } else { Err(unexpected(b"no number")) }
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        if let Self::Values(values) = self { values.last().map(Vec::as_slice) } else { None }
    }
}

impl Subject for Redis {
    type Member = RedisClient;

    fn join(&self) -> Outcome<RedisClient> {
        Ok(RedisClient { link: self.0.connect()?, values: Vec::new() })
    }

    fn settle(&self) {
        self.0.folder.remove();
    }
}

impl RedisClient {
    /// Sends a request and waits for the reply.
    pub(crate) fn ask(&mut self, words: &[&[u8]]) -> Outcome<Reply<'_>> {
        self.request(words);
        self.link.send()?;
        self.reply()
    }

    /// Adds a request to those that are sent together.
    pub(crate) fn request(&mut self, words: &[&[u8]]) {
        let out = &mut self.link.out;
        // Writing to a vector does not fail.
        let _ = write!(out, "*{}\r\n", words.len());
        for word in words {
            let _ = write!(out, "${}\r\n", word.len());
            out.extend_from_slice(word);
            out.extend_from_slice(b"\r\n");
        }
    }

    pub(crate) fn reply(&mut self) -> Outcome<Reply<'_>> {
        let line = self.link.line()?;
        let count = match line {
            [b'+', ..] => return Ok(Reply::Status),
            [b':', ..] => return number(line).map(Reply::Number).ok_or_else(|| unexpected(line)),
            [b'$', b'-', ..] => return Ok(Reply::Nothing),
            [b'$', ..] => None,
            [b'*', ..] => Some(number(line).ok_or_else(|| unexpected(line))?.max(0) as usize),
            line => return Err(unexpected(line)),
        };
        let mut bytes = number(line);
        self.values.resize(count.unwrap_or(1), Vec::new());
        for value in &mut self.values {
            if count.is_some() {
                bytes = number(self.link.line()?);
            }
            let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
            self.link.body(bytes.ok_or_else(|| Failed::of("redis", "a value without a length"))?, value)?;
        }
        Ok(Reply::Values(&self.values))
    }
}

/// memcached, with two threads.
pub struct Memcached(Server);

impl Memcached {
    /// Starts one.
    ///
    /// # Errors
    /// That it is not installed; that it does not start.
    pub fn new() -> Outcome<Self> {
        Server::start("memcached", &["-s", SOCKET, "-a", "0600", "-m", "512", "-t", "2", "-u", "root"])
            .map(Self)
    }
}

/// A client of memcached.
pub struct MemcachedClient(pub(crate) Link);

impl Subject for Memcached {
    type Member = MemcachedClient;

    fn join(&self) -> Outcome<MemcachedClient> {
        Ok(MemcachedClient(self.0.connect()?))
    }

    fn settle(&self) {
        self.0.folder.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::team::Child;

    #[test]
    fn a_server_ends_with_its_owner_and_leaves_nothing() {
        let redis = match Redis::new() {
            Err(Failed(why)) if why.starts_with("SKIPPED") => return println!("{why}"),
            redis => redis.unwrap(),
        };
        let (pid, folder) = (redis.0.child.id(), redis.0.folder.path.clone());
        redis.join().unwrap();
        assert!(folder.join(SOCKET).exists());
        drop(redis);
        assert!(!folder.exists());
        // SAFETY: asks whether there is such a process; it was reaped.
        assert_eq!(unsafe { libc::kill(pid as i32, 0) }, -1);
    }

    #[test]
    fn a_server_ends_with_a_process_that_is_killed() {
        // The child is killed before it can drop anything.
        let folder = Folder::new("killed").unwrap();
        let path = folder.path.clone();
        let mut child = Child::fork(move || {
            let started = Redis::new().inspect(|redis| {
                std::os::unix::fs::symlink(&redis.0.folder.path, path.join("server")).unwrap();
            });
            if let Err(Failed(why)) = &started {
                fs::write(path.join("why"), why).unwrap();
            }
            std::thread::sleep(Duration::from_secs(3600));
        })
        .unwrap();
        let server = loop {
            if let Ok(server) = fs::read_link(folder.path.join("server")) {
                break server;
            }
            if let Ok(why) = fs::read_to_string(folder.path.join("why")) {
                assert!(why.is_empty() || why.starts_with("SKIPPED"), "{why}");
                return println!("{why}");
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        UnixStream::connect(server.join(SOCKET)).unwrap();
        child.kill();
        while UnixStream::connect(server.join(SOCKET)).is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_dir_all(server).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_skipped() {
        let missing = Server::start("no-such-program", &[]);
        assert_eq!(missing.err(), Some(Failed("SKIPPED: no-such-program is not installed".into())));
    }
}
