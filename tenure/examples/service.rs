//! A web service whose requests wait for other processes: it awaits their locks, queues and events as it awaits its sockets.
//!
//! `cargo run --release -p tenure --example service -- [REQUESTS] [WORKERS]` asks itself; kill its children while it runs.
//!
//! `GET /square/{number}` makes a place for the answer and an event, pushes their tokens as a job, and awaits the event. A worker process claims
//! the job, stores the answer and sets the event. Only then it acknowledges the job: what a worker that is killed before had claimed, another
//! one gets. If the client goes away, its request is dropped, and with it the place and the event: the tokens of the job are stale then.
//!
//! A ledger counts. Its mutex is locked by requests and by workers; whoever gets it after an owner that was killed is told `abandoned`, and
//! repairs the ledger.

mod workers;

use std::error::Error;
use std::hint::black_box;
use std::net::SocketAddr;
use std::process::{self, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{future::IntoFuture, io};

use axum::extract::{Path, State};
use axum::{Router, http::StatusCode, routing};
use tenure::{
    Member, Space, Token,
    collections::Queue,
    error::OpenHandleError,
    sync::{Event, Mutex, Reset, Shared},
};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use workers::{Result, Start, Workers};

const CLIENTS: usize = 16;
/// Less than the clients: requests wait for room.
const ROOM: u32 = 8;

/// A number, the token of the place for its square, and that of the event. None: there are no more.
pub(crate) type Job = Option<[u64; 3]>;

tenure::made_of_atomics! {
    pub(crate) struct Answer {
        /// Relaxed: the event is set after the store, and the load comes after the wait.
        square: AtomicU64,
    }
}

tenure::made_of_atomics! {
    // Relaxed, all: the first two stand for themselves, the others are protected by the mutexes.
    pub(crate) struct Ledger {
        /// How many requests the clients send.
        pub(crate) requests: AtomicU64,
        begun: AtomicU64,
        /// The number of jobs that were pushed; by `turn`.
        pub(crate) pushed: AtomicU64,
        /// The number of answers; by `lock`, as the next ones.
        pub(crate) answers: AtomicU64,
        /// The number of jobs that were done: the sum of the last ones.
        pub(crate) done: AtomicU64,
        /// The same by the last digit of the number.
        digits: [AtomicU64; 10],
    }
}

impl Ledger {
    /// For each new owner of `lock`: the one before may have been killed between a digit and the sum.
    fn repair(&self, abandoned: bool) {
        if abandoned {
            self.done.store(self.sum(), Relaxed);
        }
    }

    fn sum(&self) -> u64 {
        self.digits.iter().map(|digit| digit.load(Relaxed)).sum()
    }
}

/// What the service and its workers share.
struct Books {
    me: Member,
    jobs: Queue<Job>,
    /// Only requests take it, and keep it while they wait for room: a worker that waited for them would make none.
    turn: Mutex,
    /// Workers take it too, and may be killed as its owners. Nobody waits for anything else meanwhile.
    lock: Mutex,
    ledger: Shared<Ledger>,
}

impl Books {
    fn create(me: &Member) -> Result<Self> {
        let [turn, lock] = [Mutex::create(me.named("turn"))?, Mutex::create(me.named("lock"))?];
        let (jobs, ledger) = (Queue::create(me.named("jobs"), ROOM)?, Shared::create(me.named("ledger"))?);
        Ok(Self { me: me.clone(), jobs, turn, lock, ledger })
    }

    fn open(me: Member) -> Result<Self> {
        let [turn, lock] = [Mutex::open(&me, "turn")?, Mutex::open(&me, "lock")?];
        let (jobs, ledger) = (Queue::open(&me, "jobs")?, Shared::open(&me, "ledger")?);
        Ok(Self { me, jobs, turn, lock, ledger })
    }
}

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["calculator", space] = *arguments.iter().map(|it| &**it).collect::<Vec<_>>() {
        return calculate(space);
    }
    let number = |at: usize, or| arguments.get(at).map_or(Ok(or), |text| text.parse());
    let (requests, workers) = (number(0, 10_000)?, number(1, 3)?.max(1));
    let (program, name) = (std::env::current_exe()?, format!("service-{}", process::id()));
    let start = |role: &str| Command::new(&program).args([role, &*name]).spawn();
    println!("{}", run(&name, requests, workers, &start)?);
    Ok(())
}

/// Runs all of it in a new space.
pub(crate) fn run(name: &str, requests: u64, workers: u64, start: Start<'_>) -> Result<String> {
    let options = Space::options().members(32).handles(1024).container_slots(64).scratch(16 << 20);
    workers::in_space(&options.open(name)?, |me| {
        let (books, mut running) = (Arc::new(Books::create(me)?), Workers::new(me, start)?);
        books.ledger.get()?.requests.store(requests, Relaxed);
        (0..workers).try_for_each(|_| running.add("calculator"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_io().build()?;
        let service = Arc::clone(&books);
        let serving = runtime.spawn(async move {
            let answers = serve(&service).await;
            service.jobs.push_async(&None).await.map_err(io::Error::other)?;
            answers
        });
        while running.next_done()?.is_some() {}
        let answers = runtime.block_on(serving)??;
        let (guard, ledger) = (books.lock.lock()?, books.ledger.get()?);
        ledger.repair(guard.abandoned());
        let numbers = [&ledger.pushed, &ledger.answers, &ledger.done].map(|number| number.load(Relaxed));
        let [pushed, answered, done] = numbers;
        if answered < answers || pushed < answered || pushed < done || done != ledger.sum() {
            return Err(format!("{answers} answers, but in the ledger are {numbers:?}").into());
        }
        let (missing, restarts) = (pushed - done, running.restarts);
        Ok(format!("{answers} answers, {missing} jobs not in the ledger; {restarts} processes were killed"))
    })
}

/// Serves, also others, and asks until all its own requests are answered. Returns their number.
async fn serve(books: &Arc<Books>) -> io::Result<u64> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/square/12");
    let routes = Router::new().route("/square/{number}", routing::get(square)).with_state(Arc::clone(books));
    tokio::spawn(axum::serve(listener, routes).into_future()); // ends with the runtime
    let clients = [(); CLIENTS].map(|()| tokio::spawn(ask(address, Arc::clone(books))));
    let mut answers = 0;
    for client in clients {
        answers += client.await??;
    }
    Ok(answers)
}

async fn square(
    State(books): State<Arc<Books>>,
    Path(number): Path<u16>,
) -> std::result::Result<String, (StatusCode, String)> {
    let failed = |error: Box<dyn Error + Send + Sync>| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    Ok(format!("{}\n", square_of(&books, number).await.map_err(failed)?))
}

async fn square_of(books: &Books, number: u16) -> std::result::Result<u64, Box<dyn Error + Send + Sync>> {
    let (answer, answered) = (Shared::<Answer>::create(&books.me)?, Event::create(&books.me, Reset::Manual)?);
    let job = [number.into(), answer.token().into(), answered.token().into()];
    let (ledger, turn) = (books.ledger.get()?, books.turn.lock_async().await?);
    books.jobs.push_async(&Some(job)).await?; // waits while the queue is full; dropped meanwhile, it is neither pushed nor counted
    ledger.pushed.fetch_add(1, Relaxed);
    drop(turn);
    answered.wait_async().await?;
    let guard = books.lock.lock_async().await?;
    ledger.repair(guard.abandoned());
    ledger.answers.fetch_add(1, Relaxed);
    Ok(answer.get()?.square.load(Relaxed))
}

pub(crate) fn calculate(space: &str) -> Result {
    let books = Books::open(workers::join(space)?)?;
    let ledger = books.ledger.get()?;
    loop {
        let job = books.jobs.claim_with(None)?; // waits while the queue is empty
        let Some(numbers) = job.get()?.as_ref() else {
            return Ok(()); // no more; the drop gives it back, for the other workers
        };
        let [number, answer, answered] = numbers.map(|number| number.to_native());
        let (answer, answered) = (Token::try_from(answer)?, Token::try_from(answered)?);
        let opened = Shared::<Answer>::open(&books.me, answer)
            .and_then(|answer| Ok((answer, Event::open(&books.me, answered)?)));
        match opened {
            Ok((answer, answered)) => {
                answer.get()?.square.store(sum_of_odd(number), Relaxed);
                answered.set()?;
            }
            Err(OpenHandleError::Stale { .. }) => {} // nobody waits for it any more
            Err(error) => return Err(error.into()),
        }
        job.ack()?; // killed before: another worker does it again
        // Killed before this, the job is missing in the ledger.
        let guard = books.lock.lock()?;
        ledger.repair(guard.abandoned());
        ledger.digits[number as usize % 10].fetch_add(1, Relaxed);
        ledger.done.fetch_add(1, Relaxed);
    }
}

/// The square as the sum of the first odd numbers: it takes a while.
fn sum_of_odd(number: u64) -> u64 {
    (0..number).map(|before| black_box(2 * before + 1)).sum()
}

/// A client: asks one question after another. Fails if one has another answer than the square.
async fn ask(address: SocketAddr, books: Arc<Books>) -> io::Result<u64> {
    let ledger = books.ledger.get().map_err(io::Error::other)?;
    let (mut connection, mut answers) = (BufReader::new(TcpStream::connect(address).await?), 0);
    loop {
        let begun = ledger.begun.fetch_add(1, Relaxed);
        if begun >= ledger.requests.load(Relaxed) {
            return Ok(answers);
        }
        let (number, mut head, mut answer) = (!begun as u16, String::new(), String::new()); // large ones first
        let request = format!("GET /square/{number} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        while connection.read_line(&mut head).await? > "\r\n".len() {}
        connection.read_line(&mut answer).await?;
        if answer.trim() != u64::from(number).pow(2).to_string() {
            return Err(io::Error::other(format!("the square of {number}: {head}{answer}")));
        }
        answers += 1;
    }
}
