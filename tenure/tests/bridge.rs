//! The example `bridge`: jobs of the example `jobs` go from a producer in one space, as if on one host, to a consumer in another one. Both
//! bridges, the producer, the consumer and the server are killed meanwhile.
#![cfg(feature = "objects")]
#![allow(clippy::duplicate_mod, reason = "each example has a module that both use")]

#[path = "../examples/bridge.rs"]
#[allow(dead_code, reason = "its main function")]
mod bridge;
mod common;
#[path = "../examples/jobs.rs"]
#[allow(dead_code, reason = "its main function")]
mod jobs;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;

use common::{Name, Process, die_with_parent, eventually, role};
use tenure::{Member, Raw, Space, collections::Queue, sync::Shared};

const ROUNDS: usize = 10;
/// The number of jobs of each round.
const STEP: usize = 200;
/// Of both queues: they become full in each round. Less than the slots, so that they do while some elements are claimed.
const CAPACITY: u32 = 60;
const SUBJECT: &str = "tenure.jobs";

/// Arguments: the space, the role, and the server.
#[test]
fn child() {
    let Some(role) = role() else { return };
    match &*role[1] {
        "out" | "in" => {
            if let Err(error) = bridge::run(&role[1], &role[0], "jobs", SUBJECT, &role[2]) {
                println!("{}: {error}", role[1]); // it has lost the server, and is started again
                process::exit(1);
            }
        }
        worker => jobs::work(worker, &role[0]).unwrap(),
    }
}

/// A server of NATS. It is killed when the value is dropped.
struct Server {
    child: Child,
    port: u16,
    store: tempfile::TempDir,
}

impl Server {
    /// None if the program is not there.
    fn start() -> Option<Self> {
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let store = tempfile::tempdir().unwrap();
        match Self::spawn(port, &store) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            child => Some(Self { child: child.unwrap(), port, store }),
        }
    }

    fn spawn(port: u16, store: &tempfile::TempDir) -> io::Result<Child> {
        let mut command = Command::new("nats-server");
        command.args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"]).arg(store.path());
        // SAFETY: plain numbers.
        unsafe {
            command.pre_exec(|| {
                die_with_parent();
                Ok(())
            })
        };
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn wait_until_it_listens(&mut self) {
        eventually("the server listens", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                println!("the server: {status}"); // its port may be in use for a moment
                self.child = Self::spawn(self.port, &self.store).unwrap();
            }
            TcpStream::connect(self.address()).is_ok()
        });
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Of the processes of a host.
const WORKER: usize = 0;
const BRIDGE: usize = 1;

/// As if a host: a space, and what runs there.
struct Host {
    /// With their arguments: the worker and the bridge. Killed before the space is removed.
    processes: [(Process, [String; 3]); 2],
    jobs: Queue<Raw>,
    books: Shared<jobs::Books>,
    /// By its end the workers learn that nobody looks after them any more.
    supervisor: tenure::process::Process,
    me: Member,
    space: Space,
    name: Name,
}

impl Host {
    fn new(roles: [&str; 2], server: &str) -> Self {
        let name = Name::new(roles[BRIDGE]);
        let space =
            name.open(Space::options().members(16).handles(512).container_slots(64).scratch(64 << 20));
        let me = space.join().unwrap();
        let jobs = Queue::create_raw(me.named("jobs"), jobs::JOB, CAPACITY).unwrap();
        let books = Shared::<jobs::Books>::create(me.named("books")).unwrap();
        let own = me.named("supervisor");
        let supervisor = tenure::process::Process::of_pid(own, process::id()).unwrap();
        let processes = roles.map(|role| {
            let arguments = [&*name.0, role, server].map(str::to_owned);
            (start(&arguments), arguments)
        });
        Self { processes, jobs, books, supervisor, me, space, name }
    }

    /// Kills one of the processes, and starts it again.
    fn kill(&mut self, which: usize) {
        let (process, arguments) = &mut self.processes[which];
        process.kill_only();
        eventually("it is dead", || !process.is_running());
        *process = start(arguments);
    }

    /// Starts again what has ended without having done its work.
    fn start_again(&mut self) {
        for (process, arguments) in &mut self.processes {
            if arguments[1] != "producer" && !process.is_running() {
                *process = start(arguments);
            }
        }
    }

    /// The number of jobs that were pushed here.
    fn pushed(&self) -> usize {
        self.books.get().unwrap().next.load(Relaxed) as usize
    }

    /// The number of jobs that were done here.
    fn done(&self) -> usize {
        self.books.get().unwrap().done.iter().filter(|done| done.load(Relaxed) > 0).count()
    }

    /// The number of elements in the queue.
    fn queued(&self) -> u32 {
        let len = self.jobs.len().unwrap();
        len.waiting + len.claimed
    }

    /// Kills all that runs. Expects that nothing is left in the space.
    fn end(self) {
        let Self { processes, jobs, books, supervisor, me, space, name: _name } = self;
        processes.into_iter().for_each(|(process, _)| process.kill());
        me.recover().unwrap();
        drop((jobs, books, supervisor));
        me.leave().unwrap();
        let report = space.check_quiet();
        assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
        assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
    }
}

fn start(arguments: &[String; 3]) -> Process {
    Process::start(&arguments.each_ref().map(|it| &**it))
}

#[test]
fn all_jobs_arrive_although_all_processes_are_killed() {
    let Some(mut server) = Server::start() else { return println!("SKIPPED: no nats-server") };
    server.wait_until_it_listens();
    let address = server.address();
    let mut from = Host::new(["producer", "out"], &address);
    let mut to = Host::new(["consumer", "in"], &address);
    for round in 1..=ROUNDS {
        let jobs = STEP * round;
        from.books.get().unwrap().jobs.store(jobs as u64, Relaxed);
        to.processes[WORKER].0.stop();
        if round == ROUNDS / 2 {
            server_dies(&mut server, &mut from);
        } else {
            from.kill(WORKER); // the next one makes the jobs of this round
        }
        wait_for("half of the jobs are made", &mut from, &mut to, |from, _| from.pushed() + STEP / 2 >= jobs);
        from.kill(WORKER);
        from.kill(BRIDGE);
        wait_for("the queue is full", &mut from, &mut to, |_, to| to.queued() >= CAPACITY);
        if round % 2 == 0 {
            to.kill(WORKER);
            wait_for("half of the jobs are done", &mut from, &mut to, |_, to| to.done() + STEP / 2 >= jobs);
        } // else `in` has a message for which there is no room
        to.kill(BRIDGE);
        to.kill(WORKER);
    }
    let jobs = STEP * ROUNDS;
    wait_for("all jobs are done", &mut from, &mut to, |from, to| to.done() == jobs && from.queued() == 0);
    let books = to.books.get().unwrap();
    let repeated = books.done.iter().filter(|done| done.load(Relaxed) > 1).count();
    println!("{jobs} jobs done, {repeated} of them more than once");
    from.end();
    to.end();
}

/// Waits for progress; meanwhile starts again what ends because it has lost the server.
fn wait_for(what: &str, from: &mut Host, to: &mut Host, is_so: impl Fn(&Host, &Host) -> bool) {
    eventually(what, || {
        from.start_again();
        to.start_again();
        is_so(from, to)
    });
}

/// Kills the server when `out` has work, and starts it again when `out` has noticed.
fn server_dies(server: &mut Server, from: &mut Host) {
    from.start_again();
    from.processes[BRIDGE].0.stop();
    from.kill(WORKER); // the next one makes the jobs of this round
    eventually("the queue is full", || from.queued() >= CAPACITY);
    server.kill();
    // It sends a job, hears nothing, and ends: that job must be sent again.
    from.processes[BRIDGE].0.signal(libc::SIGCONT);
    eventually("`out` has noticed", || !from.processes[BRIDGE].0.is_running());
    server.wait_until_it_listens();
}
