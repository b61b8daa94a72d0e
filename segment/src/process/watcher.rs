//! A thread that watches processes. It sleeps in the kernel until one of them ends or is reaped, or until its owner sends an order.
//! It uses no timeout.
//!
//! Where the kernel permits (`close_range` of Linux 5.9) the thread has its own descriptor table: its pidfds count against no limit
//! of the program, are not inherited by forked children, and survive a program that closes all descriptors. Only the waker, through
//! which the owner wakes the thread, is in the program's table. If it is closed, the owner has to start a new watcher.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use tenure_core::sync::lock;

use super::PidError;
use super::identity::Identity;
use super::pidfd::{Look, PidFd, Status};
use crate::attachment::FileId;
use crate::thread::{Thread, take_own_table};

/// The monitor's stack size, plus the buffers for files of `/proc`.
const STACK: usize = 64 << 10;

/// The key of the wake-up socket in the epoll set.
const WAKER: u64 = 0;

/// The function that is called when a process has ended, with its status if that is known. Otherwise it is called a second time if
/// the status becomes known, which is when the process is reaped. It must neither wait nor call the watcher.
pub type Ended = Box<dyn Fn(Option<Status>) + Send>;

/// The state that the owner's threads and the watching thread share.
#[derive(Default)]
struct Desk {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    last_key: u64,
    watched: HashMap<u64, Ended>,
    orders: Vec<Order>,
    answers: HashMap<u64, Result<(), PidError>>,
    /// The owner wants the thread to end.
    stop: bool,
    /// The thread takes no orders any more.
    closed: bool,
}

enum Order {
    Watch { key: u64, identity: Identity },
    Forget { key: u64 },
    Look { key: u64 },
}

/// A running watcher; see the module. Only the process that started it may drop it: a forked child must forget it.
pub struct Watcher {
    desk: Arc<Desk>,
    /// `None` only while it is dropped.
    waker: Option<OwnedFd>,
    waker_id: FileId,
    thread: Option<Thread>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("watched", &lock(&self.desk.state).watched.len())
            .finish_non_exhaustive()
    }
}

/// A watched process, until [`Watch::end`].
pub struct Watch {
    desk: Arc<Desk>,
    key: u64,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Watch {
    /// Ends the watch: when this returns, `ended` does not run and will not run. The watcher then closes its pidfd.
    pub fn end(self, watcher: Option<&Watcher>) {
        {
            let mut state = lock(&self.desk.state);
            if state.watched.remove(&self.key).is_none() {
                // The process has ended, and the thread has closed its pidfd already.
                return;
            }
            state.orders.push(Order::Forget { key: self.key });
        }
        if let Some(watcher) = watcher.filter(|watcher| Arc::ptr_eq(&watcher.desk, &self.desk)) {
            watcher.wake();
        }
    }
}

impl Watcher {
    /// Starts a watcher without processes to watch.
    ///
    /// # Errors
    ///
    /// Out of descriptors, memory or threads.
    pub fn start() -> io::Result<Self> {
        let (waker, wakeups) = UnixStream::pair()?;
        let (waker, wakeups) = (OwnedFd::from(waker), OwnedFd::from(wakeups));
        let waker_id = FileId::of(&waker)?;
        let desk = Arc::new(Desk::default());
        let (ready, started) = mpsc::channel();
        let (twin, number) = (Arc::clone(&desk), wakeups.as_raw_fd());
        let thread = Thread::start(c"tenure-watcher", STACK, move || {
            let twin = Closing(twin);
            let is_own_table = take_own_table(number);
            // SAFETY: in our own table it is our copy, which no other code closes; otherwise the owner passes it to us.
            let wakeups = unsafe { OwnedFd::from_raw_fd(number) };
            let set = Set::new(wakeups);
            let failed = set.as_ref().err().map(|error| error.raw_os_error());
            let _ = ready.send((is_own_table, failed));
            if let Ok(set) = set {
                set.watch(&twin.0);
            }
        })?;
        match started.recv() {
            Ok((is_own_table, failed)) => {
                if !is_own_table {
                    let _ = wakeups.into_raw_fd();
                }
                match failed {
                    None => Ok(Self { desk, waker: Some(waker), waker_id, thread: Some(thread) }),
                    Some(errno) => {
                        thread.join();
                        Err(io::Error::from_raw_os_error(errno))
                    }
                }
            }
            Err(_) => Err(io::Error::other("the watcher ended at once")),
        }
    }

    /// Watches a process until it ends; it may have ended already. Waits for the thread, which never waits while it has orders.
    ///
    /// The thread calls `ended`. The kernel may tell a status only until the process is reaped: `ended` gets it if this call returns
    /// before that.
    ///
    /// # Errors
    ///
    /// [`PidError`]; `ended` was not called and will not be.
    pub fn watch(&self, identity: Identity, ended: Ended) -> Result<Watch, PidError> {
        let key = {
            let mut state = lock(&self.desk.state);
            state.last_key += 1;
            let key = state.last_key;
            state.watched.insert(key, ended);
            key
        };
        match self.ask(key, Order::Watch { key, identity }) {
            Ok(()) => Ok(Watch { desk: Arc::clone(&self.desk), key }),
            Err(error) => {
                lock(&self.desk.state).watched.remove(&key);
                Err(error)
            }
        }
    }

    /// Makes the thread check the process at once. When this returns and the process has ended, `ended` has been called, provided that
    /// the thread watches the process and can be reached.
    pub fn look(&self, watch: &Watch) {
        if Arc::ptr_eq(&self.desk, &watch.desk) {
            // On failure the thread continues to watch, and only this request is lost.
            let _ = self.ask(watch.key, Order::Look { key: watch.key });
        }
    }

    /// Sends an order about `key` and waits for the answer; one order about a key at a time.
    fn ask(&self, key: u64, order: Order) -> Result<(), PidError> {
        lock(&self.desk.state).orders.push(order);
        let is_awake = self.wake();
        let mut state = lock(&self.desk.state);
        loop {
            if let Some(answer) = state.answers.remove(&key) {
                return answer;
            }
            if !is_awake || state.closed {
                let source = io::Error::other("somebody closed a descriptor of the watcher");
                return Err(PidError::Os { what: "reach the watcher", source });
            }
            state = self.desk.answered.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether it can still take orders; otherwise the owner has to start another watcher. It continues to watch its processes.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.waker().is_some() && !lock(&self.desk.state).closed
    }

    /// The waker, unless other code of this process has closed or replaced it.
    fn waker(&self) -> Option<BorrowedFd<'_>> {
        let waker = self.waker.as_ref()?;
        (FileId::of(waker).ok()? == self.waker_id).then(|| waker.as_fd())
    }

    /// Wakes the thread, which then takes its orders. Returns whether that was possible.
    fn wake(&self) -> bool {
        let Some(waker) = self.waker() else { return false };
        let flags = libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT;
        // SAFETY: one byte of ours. The descriptor is ours or, if it was closed just now, another file of the process: that is sent
        // a byte or, if it is no socket, `send` fails.
        let sent = unsafe { libc::send(waker.as_raw_fd(), [1_u8].as_ptr().cast(), 1, flags) };
        // A full socket has wake-ups that the thread has not read yet.
        sent == 1 || io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        lock(&self.desk.state).stop = true;
        let is_awake = self.wake();
        match self.thread.take() {
            Some(thread) if is_awake => thread.join(),
            // The thread ends with the last process that it watches, or with this process.
            thread => drop(thread),
        }
        if self.waker().is_none()
            && let Some(waker) = self.waker.take()
        {
            // The number refers to another file by now.
            let _ = waker.into_raw_fd();
        }
    }
}

/// On drop, tells threads that wait for an answer that none will come, also if the watching thread panics.
struct Closing(Arc<Desk>);

impl Drop for Closing {
    fn drop(&mut self) {
        lock(&self.0.state).closed = true;
        self.0.answered.notify_all();
    }
}

/// The processes that the thread watches, as descriptors in its table.
struct Set {
    epoll: OwnedFd,
    wakeups: OwnedFd,
    open: HashMap<u64, PidFd>,
    has_waker: bool,
}

impl Set {
    fn new(wakeups: OwnedFd) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &wakeups, EventData::new_u64(WAKER), EventFlags::IN)?;
        Ok(Self { epoll, wakeups, open: HashMap::new(), has_waker: true })
    }

    fn watch(mut self, desk: &Desk) {
        let mut events = Vec::with_capacity(16);
        while self.has_waker || !self.open.is_empty() {
            events.clear();
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(Errno::INTR) => {}
                // The kernel refuses by now, or other code that shares the table has closed the epoll descriptor.
                Err(_) => return,
            }
            for event in &events {
                let (key, flags) = (event.data.u64(), event.flags);
                if key != WAKER {
                    self.has_ended(desk, key, flags.contains(EventFlags::HUP));
                } else if !self.take_orders(desk) {
                    return;
                }
            }
        }
    }

    /// Takes orders. Returns false if the owner wants the thread to end.
    fn take_orders(&mut self, desk: &Desk) -> bool {
        let mut bytes = [0; 64];
        if let Ok(0) = rustix::io::read(&self.wakeups, &mut bytes) {
            // The waker was closed: no more orders will come.
            let _ = epoll::delete(&self.epoll, &self.wakeups);
            self.has_waker = false;
        }
        let orders = {
            let mut state = lock(&desk.state);
            if state.stop {
                return false;
            }
            std::mem::take(&mut state.orders)
        };
        for order in orders {
            let (key, answer) = match order {
                Order::Watch { key, identity } => (key, self.add(key, &identity)),
                Order::Forget { key } => {
                    self.remove(key);
                    continue;
                }
                Order::Look { key } => {
                    if self.open.get(&key).is_some_and(|pidfd| pidfd.look() != Look::Running) {
                        self.has_ended(desk, key, false);
                    }
                    (key, Ok(()))
                }
            };
            lock(&desk.state).answers.insert(key, answer);
        }
        if !self.has_waker {
            lock(&desk.state).closed = true;
        }
        desk.answered.notify_all();
        true
    }

    fn add(&mut self, key: u64, identity: &Identity) -> Result<(), PidError> {
        let pidfd = PidFd::open_same(identity)?;
        epoll::add(&self.epoll, &pidfd, EventData::new_u64(key), EventFlags::IN)
            .map_err(PidError::os("watch a process"))?;
        self.open.insert(key, pidfd);
        Ok(())
    }

    fn remove(&mut self, key: u64) {
        if let Some(pidfd) = self.open.remove(&key) {
            let _ = epoll::delete(&self.epoll, &pidfd);
        }
    }

    fn has_ended(&mut self, desk: &Desk, key: u64, is_reaped: bool) {
        let Some(pidfd) = self.open.get(&key) else { return };
        let status = pidfd.status();
        {
            // `Watch::end` waits for this lock.
            let mut state = lock(&desk.state);
            match state.watched.get(&key) {
                Some(ended) => ended(status),
                None => return self.remove(key),
            }
            if status.is_some() || is_reaped {
                state.watched.remove(&key);
                return self.remove(key);
            }
        }
        // The kernel reports reaping (EPOLLHUP) whatever events are requested: request no others.
        let _ = epoll::modify(&self.epoll, pidfd, EventData::new_u64(key), EventFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::mpsc;

    use super::*;
    use crate::process::Scope;

    fn start(script: &str) -> std::process::Child {
        Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).spawn().unwrap()
    }

    fn identity(child: &std::process::Child) -> Identity {
        PidFd::open(child.id() as i32, Scope::Process).unwrap().identity().unwrap().unwrap()
    }

    fn told(watcher: &Watcher, identity: Identity) -> (Watch, mpsc::Receiver<Option<Status>>) {
        let (tell, told) = mpsc::channel();
        let watch = watcher.watch(identity, Box::new(move |status| tell.send(status).unwrap())).unwrap();
        (watch, told)
    }

    #[test]
    fn ends_are_told_once_with_their_status() {
        let watcher = Watcher::start().unwrap();
        for (script, expected) in
            [("read x; exit 7", Status::exited(7)), ("read x; kill -9 $$", Status::killed(9, false))]
        {
            let mut child = start(script);
            let (watch, told) = told(&watcher, identity(&child));
            assert!(told.try_recv().is_err());
            // The end of its input.
            drop(child.stdin.take());
            assert_eq!(told.recv().unwrap(), Some(expected));
            child.wait().unwrap();
            watch.end(Some(&watcher));
            assert!(told.recv().is_err(), "told once");
        }
    }

    #[test]
    fn what_is_forgotten_is_not_told() {
        let watcher = Watcher::start().unwrap();
        let mut child = start("read x");
        let (watch, told) = told(&watcher, identity(&child));
        watch.end(Some(&watcher));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(told.recv().is_err());
        assert!(lock(&watcher.desk.state).watched.is_empty());
    }

    #[test]
    fn the_dead_are_gone_or_told_at_once() {
        let watcher = Watcher::start().unwrap();
        let mut child = start("exit 3");
        let identity = identity(&child);
        let pidfd = PidFd::open_same(&identity).unwrap();
        while pidfd.look() == Look::Running {
            std::thread::yield_now();
        }
        assert_eq!(pidfd.look(), Look::Ended(Some(Status::exited(3))));
        let (watch, told) = told(&watcher, identity);
        assert_eq!(told.recv().unwrap(), Some(Status::exited(3)));
        watcher.look(&watch);
        child.wait().unwrap();
        let refused = watcher.watch(identity, Box::new(|_| panic!("told")));
        assert!(matches!(refused, Err(PidError::Gone)), "{refused:?}");
        // From Linux 6.15 on, a descriptor opened before still yields the status.
        if let Look::Ended(Some(status)) = pidfd.look() {
            assert_eq!(status, Status::exited(3));
        } else {
            println!(
                "SKIPPED: this kernel does not tell the status of one that was reaped (PIDFD_INFO_EXIT, Linux 6.15)"
            );
        }
    }

    #[test]
    fn a_closed_waker_is_noticed_and_what_is_watched_stays_watched() {
        let watcher = Watcher::start().unwrap();
        let mut child = start("read x; exit 5");
        let (_watch, told) = told(&watcher, identity(&child));
        // Like a program that closes all descriptors that it does not know.
        // SAFETY: the watcher permits that; no other code has the number until /dev/null is put there below.
        let number = watcher.waker.as_ref().unwrap().as_raw_fd();
        let null = std::fs::File::open("/dev/null").unwrap();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::dup2(null.as_raw_fd(), number) }, number);
        assert!(!watcher.is_reachable());
        assert!(watcher.watch(identity(&child), Box::new(|_| ())).is_err());
        drop(child.stdin.take());
        assert_eq!(told.recv().unwrap(), Some(Status::exited(5)));
        child.wait().unwrap();
        drop(watcher);
        // SAFETY: put there above; the watcher has left it alone.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }

    /// Descriptors of processes in a table.
    fn pidfds(table: &str) -> usize {
        let Ok(entries) = std::fs::read_dir(table) else { return 0 };
        let names = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        names.filter(|name| name.to_string_lossy().contains("pidfd")).count()
    }

    #[test]
    fn the_thread_has_a_table_of_its_own() {
        let watcher = Watcher::start().unwrap();
        let mut children: Vec<_> = (0..20).map(|_| start("read x; exit 0")).collect();
        let kept: Vec<_> = children.iter().map(|child| told(&watcher, identity(child))).collect();
        // Other tests of this process have watchers as well, of fewer processes.
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let has_all = |thread: &std::fs::DirEntry| pidfds(&format!("{}/fd", thread.path().display())) == 20;
        let with_all: Vec<_> = threads.map(Result::unwrap).filter(has_all).collect();
        assert_eq!(with_all.len(), 1, "{with_all:?}");
        assert!(pidfds("/proc/self/fd") < 20);
        for (child, (_, told)) in children.iter_mut().zip(kept) {
            drop(child.stdin.take());
            // Before it is reaped: older kernels tell no status after that.
            assert_eq!(told.recv().unwrap(), Some(Status::exited(0)));
            child.wait().unwrap();
        }
    }
}
