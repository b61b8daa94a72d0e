//! Wait words: a mutex, an event, a semaphore or the end of a process, in 32 bits that several processes share.
//!
//! A process may be stopped or killed between any two instructions. "Store the new value, then wake the waiters" is therefore not
//! enough: a process that stops between the two steps keeps all others waiting. The rule here is:
//!
//! > While the waiters bit ([`WAITERS`]) is set, a waiter may be asleep, and the value of the word is available to nobody.
//!
//! Only one step of the kernel clears the bit: [`Word::wake`] changes the word and wakes all waiters under one lock `[A9]`. To change
//! a word whose waiters bit is set, a process stores the new value first and wakes afterwards. Between the two steps the value is
//! *pending*. The wake publishes it, and any process may wake: an operation that finds a pending value wakes before it goes on. A
//! late wake is harmless, because waiters look again and sleep again. Each wake wakes all waiters, since a single one may be stopped
//! or dead and would keep the wake-up from the others.
//!
//! The words of mutexes, auto-reset events and semaphores have 32 more bits. These are zero unless the word holds a reference to an
//! MCAS descriptor ([`McasDescriptors`]), that is, while a process takes several objects at once. Nobody sleeps on such a word: every
//! operation that loads a reference resolves it.
//!
//! What condition variables and permits sleep on is another sort of word, without pending values ([`sequence`]).
//!
//! This crate is pure protocol: callers provide the word and the wake ([`Word`]), and the crate never sleeps.
//! The tables of the words and their transitions are in src/word.rs, src/exit.rs and the module of each object.
//!
//! # Progress
//!
//! Lock-free: a round is repeated only when another operation changed the word. Taking several objects at once is obstruction-free
//! among the operations that do so.
//!
//! # Crash
//!
//! A process that is killed before it wakes leaves a pending value. The next operation on the word, or the recovery of the dead
//! process, publishes it ([`wake_waiters`], [`mutex::abandon`]).

pub mod event;
pub mod exit;
mod mcas;
pub mod mutex;
pub mod permits;
pub mod rwlock;
pub mod semaphore;
pub mod sequence;
pub mod versioned;
mod word;

pub use mcas::{MCAS_DESCRIPTOR_WORDS, MCAS_MAX, Mcas, McasDescriptors, McasRef, McasWord, compare_exchange};
pub use word::{Attempt, Change, Look, WAITERS, Word, attempt, change, set_waiters, wake_waiters};
