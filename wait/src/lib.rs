//! Wait words: what a mutex, an event and a semaphore are, in 32 bits that several processes share.
//!
//! A process may be stopped or killed between any two instructions, so "store the new value, then wake who sleeps" does
//! not do: between the two, others wait for somebody who stands still. The rule here is:
//!
//! > While [`ASLEEP`] is set somebody may be asleep, and then the value of the word is not offered to anybody.
//!
//! The only thing that clears `ASLEEP` is one step of the kernel, [`Word::wake`], which changes the word and wakes all who
//! sleep under one lock `[A9]`. Whoever changes a word with the bit set *stages* the new value first, then wakes; the change takes
//! effect with the wake, whoever makes it. Anybody who meets a staged value makes it himself. It is safe for anybody at any
//! time, an hour late as well: at worst somebody looks again and goes back to sleep. All sleepers are woken each time, since one
//! who is woken may be stopped, or dead, and must not keep the wake-up to himself.
//!
//! Words of which those who wait take something have 32 bits more, which are zero unless the word is reserved for one who takes
//! several at once ([`Records`]): nobody sleeps on those, and whoever meets them decides.
//!
//! This crate is pure protocol: it is told how to change a word and how to wake ([`Word`]), and never sleeps itself.
//! docs/architecture.md has the words and transitions.
//!
//! # Progress
//!
//! Lock-free: a round is repeated only when somebody else changed the word. Taking several at once is obstruction-free among
//! those who do.
//!
//! # Crash
//!
//! Killed between staging and waking, a process leaves a staged value, which the next one to come by, or its recovery,
//! offers ([`settle`], [`mutex::settle`]).

pub mod event;
pub mod exit;
pub mod mutex;
pub mod semaphore;
mod take_all;
mod word;

pub use take_all::{RECORD_WORDS, Records, Reservable, Reservation, TAKE_MAX, Taking, exchange};
pub use word::{ASLEEP, Attempt, Change, Look, Word, attempt, change, mark, settle};
