//! A running program: a process (or, where the memory is private, a thread) that obeys the scenario's orders.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use crate::driver::Driver;
use crate::order::{Answer, Fault, Order, Thing};
use tenure_testkit::{die_with_parent, eventually};

/// The side of the program: obeys until the scenario's side is gone; then it leaves.
pub(crate) fn act(mut driver: Box<dyn Driver>, mut stream: UnixStream) {
    // SAFETY: no memory is involved.
    let thread = unsafe { libc::gettid() };
    let orders = BufReader::new(stream.try_clone().expect("a second descriptor of the stream"));
    let _ = writeln!(stream, "{thread}");
    for line in orders.lines() {
        let Ok(line) = line else { break };
        let order: Order = serde_json::from_str(&line).expect("an order");
        let answer = obey(driver.as_mut(), &order);
        let mut text = serde_json::to_vec(&answer).expect("an answer has a text");
        text.push(b'\n');
        if stream.write_all(&text).is_err() {
            break;
        }
    }
}

/// Obeys an order: here if it is the same in every language, otherwise in the language's driver.
fn obey(driver: &mut dyn Driver, order: &Order) -> Result<Answer, Fault> {
    match order {
        Order::CreateMany { new, most } => {
            let mut things = Vec::new();
            for _ in 0..*most {
                match driver.obey(&Order::Create(new.clone())) {
                    Ok(Answer::Thing(thing)) => things.push(thing),
                    Ok(other) => return Err(Fault::Other(format!("{other:?}"))),
                    Err(fault @ Fault::NotInThisLanguage(_)) => return Err(fault),
                    Err(fault) => return Ok(Answer::Many(things, Some(fault))),
                }
            }
            Ok(Answer::Many(things, None))
        }
        Order::AllocMany { bytes, most } => {
            let mut blocks = Vec::new();
            for _ in 0..*most {
                match driver.obey(&Order::Alloc { bytes: *bytes, align: 16, zeroed: false }) {
                    Ok(Answer::Number(block)) => blocks.push(block),
                    Ok(other) => return Err(Fault::Other(format!("{other:?}"))),
                    Err(fault) => return Ok(Answer::Blocks(blocks, Some(fault))),
                }
            }
            Ok(Answer::Blocks(blocks, None))
        }
        Order::CloseMany(things) => {
            things.iter().try_for_each(|thing| driver.obey(&Order::Close(*thing)).map(drop))?;
            Ok(Answer::Done)
        }
        Order::CountUnder { mutex, block, times } => count_under(driver, mutex, *block, *times),
        Order::CountIn { value, times } => count_in(driver, *value, *times),
        Order::WriteRounds { value, len, times } => {
            for round in 0..*times {
                driver.obey(&Order::Write { thing: *value, bytes: vec![round as u8; *len] })?;
            }
            Ok(Answer::Done)
        }
        Order::AddTo { value, at, times } => {
            let Answer::Memory(start, len) = driver.obey(&Order::SharedAt(*value))? else {
                return Err(Fault::Argument);
            };
            if at % 8 != 0 || at + 8 > len {
                return Err(Fault::TooLarge);
            }
            let word = std::ptr::with_exposed_provenance_mut(start as usize + at);
            // SAFETY: in the value, and aligned; the value is open meanwhile; everybody accesses it so.
            let word = unsafe { AtomicU64::from_ptr(word) };
            // Relaxed: a counter.
            let before = (0..*times).map(|_| word.fetch_add(1, Ordering::Relaxed)).last();
            Ok(Answer::Number(before.unwrap_or_else(|| word.load(Ordering::Relaxed))))
        }
        Order::ReadRounds { value, times } => read_rounds(driver, *value, *times),
        Order::Poke { block, bytes } => {
            let address = address(driver, *block)?;
            // SAFETY: the scenario writes no more than it allocated, and nobody else accesses it meanwhile.
            unsafe { address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
            Ok(Answer::Done)
        }
        Order::Peek { block, len } => {
            let address = address(driver, *block)?;
            // SAFETY: as above.
            Ok(Answer::Bytes(unsafe { std::slice::from_raw_parts(address, *len) }.to_vec()))
        }
        Order::Fork(orders) => fork(driver, orders),
        Order::StartThread => start_thread().map(Answer::Number),
        Order::EndThread(thread) => end_thread(*thread).map(|()| Answer::Done),
        Order::Pipe => {
            let (reader, writer) = std::io::pipe()?;
            Ok(Answer::Pair(reader.into_raw_fd(), writer.into_raw_fd()))
        }
        Order::OpenFile(path) => {
            let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
            Ok(Answer::Number(file.into_raw_fd() as u64))
        }
        Order::WriteTo { fd, bytes } => {
            // SAFETY: a descriptor of this program's.
            let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(*fd) });
            file.write_all(bytes)?;
            Ok(Answer::Done)
        }
        Order::ReadFrom { fd, most } => {
            // SAFETY: a descriptor of this program's.
            let mut file = std::mem::ManuallyDrop::new(unsafe { File::from_raw_fd(*fd) });
            let mut bytes = vec![0; *most];
            let len = file.read(&mut bytes)?;
            bytes.truncate(len);
            Ok(Answer::Bytes(bytes))
        }
        Order::CloseFd(fd) => {
            // SAFETY: a descriptor of this program's, which is not used any more.
            drop(unsafe { File::from_raw_fd(*fd) });
            Ok(Answer::Done)
        }
        order => driver.obey(order),
    }
}

fn address(driver: &mut dyn Driver, block: u64) -> Result<*mut u8, Fault> {
    match driver.obey(&Order::Address(block))? {
        Answer::Number(address) => Ok(std::ptr::with_exposed_provenance_mut(address as usize)),
        other => Err(Fault::Other(format!("{other:?}"))),
    }
}

/// Load, add, store: two programs that are in it at a time lose counts.
fn count_under(driver: &mut dyn Driver, mutex: &Thing, block: u64, times: u32) -> Result<Answer, Fault> {
    let address = address(driver, block)?.cast::<u64>();
    // SAFETY: the first word of a block that all have agreed on, aligned to 16 bytes; atomic, though not as a whole, because
    // the mutex may be broken.
    let word = unsafe { AtomicU64::from_ptr(address) };
    for _ in 0..times {
        driver.obey(&Order::Take { thing: *mutex, timeout: None })?;
        // Relaxed: the mutex orders.
        let seen = word.load(Ordering::Relaxed);
        std::hint::spin_loop();
        word.store(seen + 1, Ordering::Relaxed);
        driver.obey(&Order::Unlock(*mutex))?;
    }
    Ok(Answer::Done)
}

/// Read, add, change: two programs that are in it at a time lose counts.
fn count_in(driver: &mut dyn Driver, value: Thing, times: u32) -> Result<Answer, Fault> {
    for _ in 0..times {
        driver.obey(&Order::Lock { thing: value, timeout: None })?;
        let Answer::Bytes(mut bytes) = driver.obey(&Order::Look(value))? else { return Err(Fault::Argument) };
        bytes.truncate(8);
        let count = bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)) + 1;
        driver.obey(&Order::Change { thing: value, bytes: count.to_le_bytes().to_vec() })?;
        driver.obey(&Order::UnlockValue(value))?;
    }
    Ok(Answer::Done)
}

fn read_rounds(driver: &mut dyn Driver, value: Thing, times: u32) -> Result<Answer, Fault> {
    let (mut last, mut different) = (None, 0);
    for _ in 0..times {
        let Answer::Version(bytes, version) = driver.obey(&Order::Read(value))? else {
            return Err(Fault::Argument);
        };
        if bytes.iter().any(|byte| *byte != bytes[0]) || last.is_some_and(|last| version < last) {
            return Err(Fault::Other(format!("version {version} after {last:?}, not whole: {bytes:?}")));
        }
        different += u64::from(last != Some(version));
        last = Some(version);
    }
    Ok(Answer::Number(different))
}

/// A thread that does nothing, and ends when the sender is dropped.
type Idle = (Sender<()>, JoinHandle<()>);

thread_local! {
    /// The threads that this program has started, by their numbers.
    static STARTED: RefCell<HashMap<u64, Idle>> = RefCell::default();
}

fn start_thread() -> Result<u64, Fault> {
    let (number, told) = channel();
    let (end, until) = channel::<()>();
    let thread = std::thread::Builder::new().spawn(move || {
        // SAFETY: no memory is involved.
        let _ = number.send(unsafe { libc::gettid() });
        let _ = until.recv();
    })?;
    let number = told.recv().map_err(|error| Fault::Other(error.to_string()))? as u64;
    STARTED.with_borrow_mut(|all| all.insert(number, (end, thread)));
    Ok(number)
}

fn end_thread(number: u64) -> Result<(), Fault> {
    let (end, thread) = STARTED.with_borrow_mut(|all| all.remove(&number)).ok_or(Fault::Gone)?;
    drop(end);
    thread.join().map_err(|_| Fault::Other(format!("thread {number} panicked")))
}

/// The child obeys the orders, and ends without leaving anything that its parent holds.
fn fork(driver: &mut dyn Driver, orders: &[Order]) -> Result<Answer, Fault> {
    let (mut mine, mut its) = UnixStream::pair()?;
    // SAFETY: the child only obeys orders and leaves by `_exit`; glibc makes allocation usable in it.
    let child = unsafe { libc::fork() };
    if child == 0 {
        die_with_parent();
        let answers: Vec<_> = orders.iter().map(|order| obey(driver, order)).collect();
        let _ = serde_json::to_vec(&answers).map(|text| its.write_all(&text));
        // SAFETY: ends the child without running anything of its parent's.
        unsafe { libc::_exit(0) };
    }
    drop(its);
    let mut text = Vec::new();
    let read = mine.read_to_end(&mut text);
    reap(child)?;
    read?;
    let answers =
        serde_json::from_slice(&text).map_err(|error| Fault::Other(format!("forked child: {error}")))?;
    Ok(Answer::Answers(answers))
}

/// Waits for a child of ours, which must have ended well.
pub(crate) fn reap(child: i32) -> Result<(), Fault> {
    let mut status = 0;
    // SAFETY: a child of ours, and a place for its status.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } != child {
        return Err(std::io::Error::last_os_error().into());
    }
    if status == 0 {
        Ok(())
    } else {
        Err(Fault::Other(format!("process {child} ended with status {status:#x}")))
    }
}

enum Life {
    Process(i32),
    Thread(Option<JoinHandle<()>>),
    Over,
}

/// The side of the scenario. Dropping it makes the program leave and end, and checks that it succeeded.
pub struct Program {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    life: Life,
    /// The number of orders without an answer.
    unanswered: usize,
    thread: i32,
    killed: Arc<AtomicBool>,
}

impl Program {
    /// Starts a process, forked from this one, or a thread of this one. The driver is made there. `killed` is set when it is
    /// killed.
    pub(crate) fn start(
        as_process: bool,
        driver: impl FnOnce() -> Box<dyn Driver> + Send + 'static,
        killed: Arc<AtomicBool>,
    ) -> Self {
        let (mine, its) = UnixStream::pair().expect("a pair of sockets");
        let life = if as_process {
            // SAFETY: a stage of processes has one thread.
            match unsafe { libc::fork() } {
                0 => {
                    die_with_parent();
                    drop(mine);
                    let end = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| act(driver(), its)));
                    // SAFETY: ends the child without running anything of its parent's.
                    unsafe { libc::_exit(if end.is_ok() { 0 } else { 101 }) };
                }
                child => {
                    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
                    drop(its);
                    Life::Process(child)
                }
            }
        } else {
            Life::Thread(Some(std::thread::spawn(move || act(driver(), its))))
        };
        let mut answers = BufReader::new(mine.try_clone().expect("a second descriptor of the stream"));
        let mut line = String::new();
        answers.read_line(&mut line).expect("the program's first word");
        let thread = line.trim().parse().expect("the number of its thread");
        Self { stream: mine, answers, life, unanswered: 0, thread, killed }
    }

    /// Gives an order without waiting for the answer.
    pub fn begin(&mut self, order: Order) {
        let mut text = serde_json::to_vec(&order).expect("an order has a text");
        text.push(b'\n');
        self.stream.write_all(&text).expect("the program listens");
        self.unanswered += 1;
    }

    /// The answer to the oldest order without one.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn answer(&mut self) -> Result<Answer, Fault> {
        let mut line = String::new();
        let len = self.answers.read_line(&mut line).unwrap_or(0);
        assert!(len > 0, "the program ended instead of answering");
        self.unanswered -= 1;
        let answer: Result<Answer, Fault> = serde_json::from_str(&line).expect("an answer");
        if let Err(Fault::NotInThisLanguage(_) | Fault::NotHere(_)) = &answer {
            // The scenario cannot run here: it ends, even if it expects a fault.
            std::panic::resume_unwind(Box::new(answer.err()));
        }
        answer
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn ask(&mut self, order: Order) -> Result<Answer, Fault> {
        self.begin(order);
        self.answer()
    }

    /// As [`Self::begin`], and waits until the program sleeps (or is done already).
    pub fn begin_and_sleep(&mut self, order: Order) {
        self.begin(order);
        let path = PathBuf::from(format!("/proc/{}", self.thread));
        eventually("the program sleeps", || state_in(&path) == Some('S'));
    }

    /// The process number of the program.
    ///
    /// # Errors
    ///
    /// [`Fault::OneProcessOnly`].
    pub fn pid(&self) -> Result<u32, Fault> {
        if let Life::Process(pid) = self.life { Ok(pid as u32) } else { Err(Fault::OneProcessOnly) }
    }

    /// The number of the thread that obeys.
    pub fn tid(&self) -> u64 {
        self.thread as u64
    }

    fn signal(&self, signal: i32) -> Result<(), Fault> {
        let Life::Process(pid) = self.life else { return Err(Fault::OneProcessOnly) };
        // SAFETY: no memory is involved; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        Ok(())
    }

    /// Stops the program until [`Self::resume`]; all its threads are stopped when this returns.
    ///
    /// # Errors
    ///
    /// [`Fault::OneProcessOnly`].
    pub fn stop(&self) -> Result<(), Fault> {
        self.signal(libc::SIGSTOP)?;
        let threads = format!("/proc/{}/task", self.pid()?);
        eventually("the program stands still", || {
            let mut threads = std::fs::read_dir(&threads).expect("the program's threads").flatten();
            threads.all(|thread| state_in(&thread.path()) == Some('T'))
        });
        Ok(())
    }

    /// Resumes the program.
    ///
    /// # Errors
    ///
    /// [`Fault::OneProcessOnly`].
    pub fn resume(&self) -> Result<(), Fault> {
        self.signal(libc::SIGCONT)
    }

    /// Kills the program; it is gone when this returns.
    ///
    /// # Errors
    ///
    /// [`Fault::OneProcessOnly`].
    pub fn kill(mut self) -> Result<(), Fault> {
        self.signal(libc::SIGKILL)?;
        // Relaxed: read by this thread.
        self.killed.store(true, Ordering::Relaxed);
        if let Life::Process(pid) = std::mem::replace(&mut self.life, Life::Over) {
            // It did not end well.
            let _ = reap(pid);
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        if std::thread::panicking() {
            return;
        }
        // The scenario ended in the middle; the program may wait for an event that never comes.
        if self.unanswered > 0 {
            let _ = self.signal(libc::SIGKILL);
            return;
        }
        match std::mem::replace(&mut self.life, Life::Over) {
            Life::Process(pid) => {
                if let Err(fault) = reap(pid) {
                    panic!("the program did not end well: {fault:?}");
                }
            }
            Life::Thread(thread) => {
                let ended = thread.map(JoinHandle::join);
                assert!(matches!(ended, None | Some(Ok(()))), "the program did not end well");
            }
            Life::Over => {}
        }
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "program {} ({})", self.thread, self.stream.as_raw_fd())
    }
}

/// The state of a thread as the kernel has it: S sleeps, T is stopped. None: it is gone.
fn state_in(folder: &Path) -> Option<char> {
    let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The program that answers first; removed from the list. Its answer is still to be read.
pub(crate) fn next_to_answer(waiting: &mut Vec<(Program, Thing)>) -> (Program, Thing) {
    let is_read = |(program, _): &(Program, Thing)| !program.answers.buffer().is_empty();
    let index = waiting.iter().position(is_read).unwrap_or_else(|| {
        let mut polled: Vec<_> = waiting.iter().map(|(program, _)| readable(program)).collect();
        // SAFETY: so many entries; no timeout.
        let count = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
        assert!(count > 0, "poll: {}", std::io::Error::last_os_error());
        polled.iter().position(|one| one.revents != 0).expect("one that can be read")
    });
    waiting.remove(index)
}

/// Whether it has answered by now.
pub(crate) fn has_answered(program: &Program) -> bool {
    let mut polled = readable(program);
    // SAFETY: one entry, and no waiting.
    !program.answers.buffer().is_empty() || unsafe { libc::poll(&raw mut polled, 1, 0) } > 0
}

fn readable(program: &Program) -> libc::pollfd {
    libc::pollfd { fd: program.stream.as_raw_fd(), events: libc::POLLIN, revents: 0 }
}
