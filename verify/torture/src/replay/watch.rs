//! Measures the time from a kill until all resources of the worker are reclaimed.
//!
//! While a worker is dying, a thread polls the lease words: they are observed from outside. Tenure itself waits without
//! polling.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use tenure::Space;

use super::book::Incarnation;
use super::seat::{Reclaimed, Replay};
use crate::driver::Event;

/// A worker that was killed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dying {
    pub(super) incarnation: Incarnation,
    pub(super) lease_index: u8,
    pub(super) lease_incarnation: u64,
    pub(super) killed_at: Instant,
}

/// Starts the thread. It ends when the sender is dropped.
pub(super) fn start(space: Arc<Space>, events: Sender<Event<Replay>>) -> std::io::Result<Sender<Dying>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().name("watch".into()).spawn(move || watch(&space, &receiver, &events))?;
    Ok(sender)
}

fn watch(space: &Space, killed: &Receiver<Dying>, events: &Sender<Event<Replay>>) {
    let mut dying: Vec<Dying> = Vec::new();
    loop {
        if dying.is_empty() {
            match killed.recv() {
                Ok(one) => dying.push(one),
                Err(_) => return,
            }
        }
        dying.extend(killed.try_iter());
        let leases = space.leases();
        let now = Instant::now();
        let reclaimed = dying.extract_if(.., |one| {
            let lease = leases.iter().find(|lease| lease.index == one.lease_index);
            lease.is_none_or(|lease| !lease.live || lease.incarnation != one.lease_incarnation)
        });
        for one in reclaimed {
            let elapsed_ns = now.duration_since(one.killed_at).as_nanos() as u64;
            if events.send(Event::Note(Reclaimed { incarnation: one.incarnation, elapsed_ns })).is_err() {
                return;
            }
        }
        thread::sleep(Duration::from_micros(10));
    }
}
