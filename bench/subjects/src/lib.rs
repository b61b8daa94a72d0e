//! The subjects that tenure is compared with, behind one trait, and teams of processes that take turns being measured.
//!
//! | subject | description |
//! |---|---|
//! | [`tenured`] | tenure, in any backend |
//! | [`daemon`] | a process that owns all handles, asked over a Unix socket, in batches, or through a ring with futexes |
//! | [`mutex`] | the daemon's book in shared memory, behind a mutex of `raw_sync` or a robust one of pthread |
//! | [`heaps`] | allocators that are private to a process: the bound |
//! | [`bounds`] | the shared words of tenure's handles and blocks alone: a lower bound |
//! | `through_c` | tenure through its C interface (feature `c`) |
//! | [`waits`] | mutexes and events: tenure's, pthread's, POSIX semaphores, eventfds, the daemon's |
//! | `tasks` | events for tasks: tenure's by futures, sets and descriptors, eventfds and `Notify` on tokio (feature `published`) |
//! | [`values`] | values of 64 bytes that change: tenure's, a seqlock, a robust mutex over plain words |
//! | [`rwlocks`] | read-write locks: tenure's and pthread's |
//! | `queues` | queues: tenure's, crossbeam's, shaq's, POSIX message queues, redis (feature `published`) |
//! | `caches` | maps: tenure's, 64 mutexes, dashmap, LMDB, redis, memcached (feature `published`) |
//! | [`unrecoverable`] | tenure's allocator without the data that recovery needs: shows the cost of recovery |
//! | `iceoryx` | iceoryx2's pool (feature `rivals`) |
//! | `pools`, `slabs` | published crates (feature `published`) |
//!
//! A [`team::Team`] is forked from a process without threads; its members sleep until it is their turn.

pub mod book;
pub mod bounds;
#[cfg(feature = "published")]
pub mod caches;
pub mod daemon;
pub mod heaps;
#[cfg(feature = "rivals")]
pub mod iceoryx;
pub mod mutex;
#[cfg(feature = "published")]
pub mod pools;
#[cfg(feature = "published")]
pub mod queues;
pub mod rwlocks;
#[cfg(feature = "published")]
pub mod servers;
pub mod shared;
#[cfg(feature = "published")]
pub mod slabs;
pub mod subject;
#[cfg(feature = "published")]
pub mod tasks;
pub mod team;
pub mod tenured;
#[cfg(feature = "c")]
pub mod through_c;
pub mod unrecoverable;
pub mod values;
pub mod waits;
pub mod work;

pub use subject::{Failed, Handles, Heap, Outcome, Subject};
