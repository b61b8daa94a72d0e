//! Jobs that no death loses: one producer and several consumers with a queue between them, any of which may be killed at any moment.
//!
//! `cargo run --release -p tenure --example jobs -- [JOBS] [CONSUMERS]`; kill its children while it runs.
//!
//! A job is a block that the producer fills and makes a handle of. The handle travels, the bytes stay where they are. The queue is bounded: a
//! producer that is faster than the consumers sleeps. What a killed consumer had claimed, another one gets. The producer notes how far it is
//! after each push: killed between the two, it pushes that job again when it is started again. So each job is done at least once.

mod workers;

use std::alloc::Layout;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use tenure::{Kind, Member, Raw, Space, collections::Queue, sync::Shared};
use workers::{Result, Start, Workers};

/// Of the jobs.
pub(crate) const JOB: Kind = Kind::raw(1);
const JOBS_MAX: usize = 1_000_000;

tenure::made_of_atomics! {
    // Relaxed, all: each number stands for itself. The end of a process comes before what its parent does then, and before the next one starts.
    pub(crate) struct Books {
        /// The number of jobs.
        pub(crate) jobs: AtomicU64,
        /// Those before this one are in the queue, or done.
        pub(crate) next: AtomicU64,
        /// How often each was done.
        pub(crate) done: [AtomicU8; JOBS_MAX],
    }
}

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [role, space] = &arguments[..]
        && ["producer", "consumer"].contains(&&**role)
    {
        return work(role, space);
    }
    let number = |at: usize, or| arguments.get(at).map_or(Ok(or), |text| text.parse());
    let (jobs, consumers) = (number(0, JOBS_MAX)?.min(JOBS_MAX), number(1, 3)?.max(1));
    let (program, name) = (std::env::current_exe()?, format!("jobs-{}", process::id()));
    let start = |role: &str| Command::new(&program).args([role, &*name]).spawn();
    println!("{}", run(&name, jobs, consumers, &start)?);
    Ok(())
}

/// Runs all of it in a new space.
pub(crate) fn run(name: &str, jobs: usize, consumers: usize, start: Start<'_>) -> Result<String> {
    let options = Space::options().members(32).handles(4096).container_slots(1024).scratch(64 << 20);
    workers::in_space(&options.open(name)?, |me| {
        let (queue, books) = shared(me)?;
        let (books, mut workers) = (books.get()?, Workers::new(me, start)?);
        books.jobs.store(jobs as u64, Relaxed);
        workers.add("producer")?;
        (0..consumers).try_for_each(|_| workers.add("consumer"))?;
        while let Some(role) = workers.next_done()? {
            if role == "producer" {
                queue.push(&[])?; // all jobs are done: no more, for each of the consumers
            }
        }
        let count = |is: fn(u8) -> bool| books.done[..jobs].iter().filter(|n| is(n.load(Relaxed))).count();
        let (lost, repeated, restarts) = (count(|n| n == 0), count(|n| n > 1), workers.restarts);
        if lost > 0 {
            return Err(format!("{lost} jobs were lost").into());
        }
        Ok(format!("{jobs} jobs done, {repeated} of them more than once; {restarts} processes were killed"))
    })
}

/// What all processes share; it lives as long as one of them has it open.
fn shared(me: &Member) -> Result<(Queue<Raw>, Shared<Books>)> {
    let queue = Queue::create_or_open_raw(me, "jobs", JOB, 1000)?.into_inner();
    Ok((queue, Shared::create_or_open(me, "books")?.into_inner()))
}

pub(crate) fn work(role: &str, space: &str) -> Result {
    let me = workers::join(space)?;
    if role == "producer" { produce(&me) } else { consume(&me) }
}

fn produce(me: &Member) -> Result {
    let (queue, books) = shared(me)?;
    let books = books.get()?;
    for number in books.next.load(Relaxed)..books.jobs.load(Relaxed) {
        let mut block = me.alloc(Layout::array::<u8>(100 + number as usize * 7919 % 4901)?)?;
        block[..8].copy_from_slice(&number.to_le_bytes());
        block[8..].fill(number as u8);
        let job = me.create_with(JOB, block)?;
        queue.push_handle_with(&job, None)?; // waits while the queue is full
        books.next.store(number + 1, Relaxed); // killed before: the job comes twice
    }
    Ok(queue.wait_until_empty(None)?)
}

fn consume(me: &Member) -> Result {
    let (queue, books) = shared(me)?;
    let books = books.get()?;
    loop {
        let job = queue.claim_with(None)?; // waits while the queue is empty
        let Some((number, rest)) = job.get()?.split_first_chunk() else {
            return Ok(()); // no more; the drop gives it back, for the other consumers
        };
        let number = u64::from_le_bytes(*number);
        if rest.iter().any(|byte| *byte != number as u8) {
            return Err(format!("job {number} is damaged").into());
        }
        books.done[number as usize].fetch_add(1, Relaxed);
        job.ack()?; // killed before: another consumer does it again
    }
}
