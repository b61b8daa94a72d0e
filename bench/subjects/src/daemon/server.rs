//! The daemon's own process: a thread per client, one mutex over the book.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Mutex;

use crate::book::Book;

use super::ring::Rings;
use super::wire::{REPLY, REQUEST, Reply, Request, Verb};

/// The data that all threads of the daemon share.
pub(super) struct Server {
    book: &'static Book,
    rings: &'static Rings,
    alone: Mutex<()>,
}

impl Server {
    pub(super) fn new(book: &'static Book, rings: &'static Rings) -> Self {
        Self { book, rings, alone: Mutex::new(()) }
    }

    /// Serves all clients that connect, until the process is killed.
    pub(super) fn run(&'static self, listener: &UnixListener) -> ! {
        std::thread::spawn(|| self.rings.serve(|client, request| self.answer(client, request)));
        loop {
            if let Ok((stream, _)) = listener.accept() {
                std::thread::spawn(move || self.client(stream));
            }
        }
    }

    fn client(&self, mut stream: UnixStream) {
        let Ok(guard) = self.alone.lock() else { return };
        // SAFETY: the mutex is held; the daemon alone changes the book.
        let entered = unsafe { self.book.enter() };
        drop(guard);
        let Ok(client) = entered else { return };
        let told = stream.write_all(&Reply { failed: false, value: client as u64, more: 0 }.to_bytes());
        if told.is_ok() {
            self.talk(client, &mut stream);
        }
        // Hung up, or killed: the client's holds and blocks come back.
        let Ok(_guard) = self.alone.lock() else { return };
        // SAFETY: the mutex is held, and the client is gone.
        unsafe { self.book.forget(client) };
    }

    /// Answers as many requests at once as have arrived at once.
    fn talk(&self, client: usize, stream: &mut UnixStream) {
        let mut requests = [0; REQUEST * 256];
        let mut replies = Vec::with_capacity(REPLY * 256);
        let mut filled = 0;
        loop {
            match stream.read(&mut requests[filled..]) {
                Ok(0) | Err(_) => return,
                Ok(count) => filled += count,
            }
            let whole = filled / REQUEST * REQUEST;
            replies.clear();
            for bytes in requests[..whole].chunks_exact(REQUEST) {
                let Some(request) = Request::of_bytes(bytes) else { return };
                replies.extend_from_slice(&self.answer(client, request).to_bytes());
            }
            if stream.write_all(&replies).is_err() {
                return;
            }
            requests.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }

    fn answer(&self, client: usize, request: Request) -> Reply {
        let argument = request.argument;
        let Ok(_guard) = self.alone.lock() else { return Reply { failed: true, value: 0, more: 0 } };
        // SAFETY: the mutex is held; the daemon alone changes the book. Offsets come from a client that got them from us:
        // the daemon trusts its clients, as those of 2002 and 2005 did.
        let answer = unsafe {
            match request.verb {
                Verb::New => self.book.create(client, argument),
                Verb::Open => self.book.open(client, argument),
                Verb::Close => self.book.close(client, argument).map(|()| 0),
                Verb::Scratch => self.book.alloc(client, argument as usize),
                Verb::ScratchFree => self.book.free(argument).map(|()| 0),
                Verb::InUse | Verb::Ring => Ok(0),
            }
        };
        let (holds, blocks) = self.book.in_use();
        match (answer, request.verb) {
            (Ok(_), Verb::InUse) => Reply { failed: false, value: holds, more: blocks },
            (Ok(value), _) => Reply { failed: false, value, more: 0 },
            (Err(_), _) => Reply { failed: true, value: 0, more: 0 },
        }
    }
}
