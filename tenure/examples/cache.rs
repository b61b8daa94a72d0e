//! A cache that several processes share and no death empties: each looks for what it needs, computes what is missing and inserts it.
//!
//! `cargo run --release -p tenure --example cache -- [WORKERS] [LOOKUPS] [BYTES]`; kill its children while it runs.
//!
//! What is in a map belongs to the map: it stays when the worker that inserted it is killed. With `max_bytes` an insertion evicts what was not
//! looked at lately. No operation takes a lock, so no worker waits for one that is killed or stopped.

mod workers;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::process::{self, Command};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tenure::{Map, MapOptions, Shared, Space};
use workers::{Result, Start, Workers};

const KEYS: u64 = 10_000;

tenure::made_of_atomics! {
    // Relaxed, all: each number stands for itself. The parent reads them after the ends of the others.
    pub(crate) struct Counts {
        /// The number of lookups, of all workers together.
        pub(crate) lookups: AtomicU64,
        begun: AtomicU64,
        hits: AtomicU64,
        misses: AtomicU64,
        pub(crate) inserted: AtomicU64,
    }
}

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let ["worker", space] = *arguments.iter().map(|it| &**it).collect::<Vec<_>>() {
        return work(space);
    }
    let number = |at: usize, or| arguments.get(at).map_or(Ok(or), |text| text.parse());
    let (workers, lookups, bytes) = (number(0, 3)?, number(1, 1_000_000)?, number(2, 2 << 20)?);
    let (program, name) = (std::env::current_exe()?, format!("cache-{}", process::id()));
    let start = |role: &str| Command::new(&program).args([role, &*name]).spawn();
    println!("{}", run(&name, workers, lookups, bytes, &start)?);
    Ok(())
}

/// Runs all of it in a new space.
pub(crate) fn run(name: &str, workers: u64, lookups: u64, bytes: u64, start: Start<'_>) -> Result<String> {
    let options = Space::options().members(32).handles(8192).container_slots(4096).scratch(256 << 20);
    workers::in_space(&options.open(name)?, |me| {
        let cache = Map::create_named(me, "cache", MapOptions::new(4096).max_bytes(bytes))?;
        let counts = Shared::<Counts>::create_named(me, "counts")?;
        let (counts, mut running) = (counts.get()?, Workers::new(me, start)?);
        counts.lookups.store(lookups, Relaxed);
        (0..workers).try_for_each(|_| running.add("worker"))?;
        while running.next_done()?.is_some() {}
        // A worker that was killed between an insertion and its count is missing in the latter.
        let evictions = counts.inserted.load(Relaxed).saturating_sub(cache.len()? as u64);
        let [hits, misses] = [&counts.hits, &counts.misses].map(|count| count.load(Relaxed));
        let restarts = running.restarts;
        Ok(format!("{hits} hits, {misses} misses, {evictions} evictions; {restarts} processes were killed"))
    })
}

pub(crate) fn work(space: &str) -> Result {
    let me = workers::join(space)?;
    let (cache, counts) = (Map::open_named(&me, "cache")?, Shared::<Counts>::open_named(&me, "counts")?);
    let (counts, mut value) = (counts.get()?, Vec::new());
    while counts.begun.fetch_add(1, Relaxed) < counts.lookups.load(Relaxed) {
        let key = random_key();
        if cache.get_into(&key.to_le_bytes(), &mut value)? {
            counts.hits.fetch_add(1, Relaxed);
            continue;
        }
        counts.misses.fetch_add(1, Relaxed);
        if !cache.insert(&key.to_le_bytes(), &compute(key))? {
            counts.inserted.fetch_add(1, Relaxed); // nobody else was faster
        }
    }
    Ok(())
}

/// Small keys are wanted more often.
fn random_key() -> u64 {
    let random = || RandomState::new().build_hasher().finish();
    1 + random() % (1 + random() % KEYS)
}

/// The numbers from `key` down to 1 by the rule of Collatz.
pub(crate) fn compute(key: u64) -> Vec<u8> {
    let next = |n: &u64| (*n != 1).then(|| if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 });
    std::iter::successors(Some(key), next).flat_map(u64::to_le_bytes).collect()
}
