//! The daemon that tenure replaces: a process that owns all handles and all scratch memory, and is asked for each of
//! them.
//!
//! A Unix socket per client, a thread and one mutex in the daemon; counts per client, cleaned up when it hangs up. The
//! payloads lie in memory that the clients map, so reading costs them nothing. Two faster variants, to be fair to it:
//! requests in batches, and a ring with futexes instead of the socket.

mod ring;
mod server;
mod wire;

use std::alloc::Layout;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use wire::{Reply, Request, Verb};

use ring::Rings;
use server::Server;
use wire::{REPLY, REQUEST};

use crate::book::Book;
use crate::shared::{Pages, cpu_count, pin_to_cpu};
use crate::subject::{Failed, Handles, Heap, Outcome, Subject};
use crate::team::Child;

/// The processors of the daemon and its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// The kernel places them.
    Any,
    /// All on the last processor: the best case of one client that asks and waits.
    Same,
    /// The daemon on the first processor, the clients on the last one.
    Apart,
}

impl Cpu {
    fn pin_daemon(self) {
        match self {
            Self::Any => {}
            Self::Same => pin_to_cpu(cpu_count() - 1),
            Self::Apart => pin_to_cpu(0),
        }
    }

    fn pin_client(self) {
        if self != Self::Any {
            pin_to_cpu(cpu_count() - 1);
        }
    }
}

/// The way in which clients ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A request and its reply.
    Socket,
    /// As many requests in one message as the caller has.
    Batches,
    /// Through shared memory.
    Ring,
}

/// Requests of a batch.
const BATCH: u32 = 64;

/// The daemon; killed when dropped.
pub struct Daemon {
    name: String,
    way: Way,
    cpu: Cpu,
    pages: Arc<Pages>,
    child: Child,
}

impl Daemon {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no socket, memory or process for it.
    pub fn new(way: Way, cpu: Cpu) -> Outcome<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: a unique number; it publishes nothing.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tenure-bench-{}-{number}", std::process::id());
        let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let pages = Arc::new(Pages::new(RINGS_AT + size_of::<Rings>())?);
        let of_child = Arc::clone(&pages);
        let child = Child::fork(move || {
            cpu.pin_daemon();
            // The threads live as long as the process.
            let pages: &'static Pages = Box::leak(Box::new(of_child));
            let server = Server::new(book(pages), rings(pages));
            Box::leak(Box::new(server)).run(&listener);
        })?;
        Ok(Self { name, way, cpu, pages, child })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        self.child.signal(signal);
    }

    /// The daemon's book, whose counters are guesses to a reader.
    #[must_use]
    pub fn book(&self) -> &Book {
        book(&self.pages)
    }
}

const RINGS_AT: usize = Book::BYTES.next_multiple_of(4096);

fn book(pages: &Pages) -> &Book {
    // SAFETY: the pages begin with Book::BYTES of zeroes, an empty book; the daemon alone changes it.
    unsafe { pages.view() }
}

fn rings(pages: &Pages) -> &Rings {
    // SAFETY: the pages end with zeroes as large as the rings, which consist of atomics and are valid when zero.
    unsafe { &*pages.start().add(RINGS_AT).cast() }
}

/// A connection.
pub struct Client {
    stream: UnixStream,
    way: Way,
    pages: Arc<Pages>,
    number: usize,
    requests: Vec<u8>,
    replies: Vec<u8>,
    tokens: Vec<u64>,
}

impl Subject for Daemon {
    type Member = Client;

    fn join(&self) -> Outcome<Client> {
        self.cpu.pin_client();
        let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(&self.name)?)?;
        let mut first = [0; REPLY];
        stream.read_exact(&mut first)?;
        Ok(Client {
            stream,
            way: self.way,
            pages: Arc::clone(&self.pages),
            number: Reply::of_bytes(&first).value as usize,
            requests: Vec::new(),
            replies: Vec::new(),
            tokens: Vec::new(),
        })
    }
}

impl Client {
    /// Asks and waits for the reply.
    ///
    /// # Errors
    /// When the daemon is gone or refuses.
    #[inline]
    pub fn ask(&mut self, verb: Verb, argument: u64) -> Outcome<Reply> {
        let request = Request { verb, argument };
        let reply = if self.way == Way::Ring {
            rings(&self.pages).ask(self.number, request)
        } else {
            self.stream.write_all(&request.to_bytes())?;
            let mut bytes = [0; REPLY];
            self.stream.read_exact(&mut bytes)?;
            Reply::of_bytes(&bytes)
        };
        if reply.failed { Err(Failed::of("daemon", "refused")) } else { Ok(reply) }
    }

    /// Asks all at once; `each` gets the replies.
    fn ask_all(&mut self, requests: impl Iterator<Item = Request>, mut each: impl FnMut(u64)) -> Outcome<()> {
        self.requests.clear();
        requests.for_each(|request| self.requests.extend_from_slice(&request.to_bytes()));
        self.stream.write_all(&self.requests)?;
        self.replies.resize(self.requests.len() / REQUEST * REPLY, 0);
        self.stream.read_exact(&mut self.replies)?;
        for bytes in self.replies.chunks_exact(REPLY) {
            let reply = Reply::of_bytes(bytes);
            if reply.failed {
                return Err(Failed::of("daemon", "refused"));
            }
            each(reply.value);
        }
        Ok(())
    }
}

impl Handles for Client {
    type Held = u64;

    #[inline]
    fn create(&mut self, payload: u64) -> Outcome<u64> {
        Ok(self.ask(Verb::New, payload)?.value)
    }

    #[inline]
    fn get(&mut self, held: &u64) -> Outcome<u64> {
        // SAFETY: it is held.
        Ok(unsafe { book(&self.pages).payload(*held) })
    }

    fn token(&mut self, held: &u64) -> u64 {
        *held
    }

    #[inline]
    fn open(&mut self, token: u64) -> Outcome<u64> {
        self.ask(Verb::Open, token).map(|_| token)
    }

    #[inline]
    fn close(&mut self, held: u64) -> Outcome<()> {
        self.ask(Verb::Close, held).map(drop)
    }

    fn create_and_close(&mut self, count: u32) -> Outcome<()> {
        if self.way != Way::Batches {
            for payload in 0..count {
                let held = self.create(u64::from(payload))?;
                self.close(held)?;
            }
            return Ok(());
        }
        let mut tokens = std::mem::take(&mut self.tokens);
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            tokens.clear();
            let create = |argument| Request { verb: Verb::New, argument };
            self.ask_all((0..u64::from(batch)).map(create), |token| tokens.push(token))?;
            let close = |&argument: &u64| Request { verb: Verb::Close, argument };
            self.ask_all(tokens.iter().map(close), |_| {})?;
            left -= batch;
        }
        self.tokens = tokens;
        Ok(())
    }
}

impl Heap for Client {
    type Block = u64;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Outcome<u64> {
        Ok(self.ask(Verb::Scratch, layout.size() as u64)?.value)
    }

    #[inline]
    fn free(&mut self, block: u64, _: Layout) -> Outcome<()> {
        self.ask(Verb::ScratchFree, block).map(drop)
    }

    #[inline]
    fn address(&self, block: u64) -> *mut u8 {
        book(&self.pages).address(block)
    }

    #[inline]
    fn word(&self, block: u64) -> u64 {
        block
    }

    #[inline]
    fn of_word(&self, word: u64, _: Layout) -> u64 {
        word
    }
}
