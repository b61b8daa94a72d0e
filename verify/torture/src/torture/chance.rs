//! The next operation: a pure function of the seed, the seat, the incarnation, the thread and the number of the choice.
//!
//! The state of the system (scheduling, exhausted resources, messages that have arrived) has no influence on it, so two
//! runs with one seed make the same choices in the same order in every incarnation. The scheduler decides how many
//! choices an incarnation makes, and in which state they find the spaces.

use serde::{Deserialize, Serialize};

use crate::pattern::{combine, mix};

macro_rules! acts {
    ($($act:ident $weight:literal $name:literal $what:literal,)*) => {
        /// One operation of a member.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Act {
            $(#[doc = $what] $act,)*
        }

        impl Act {
            /// All acts, with the weight of each and its name in the figures.
            pub(super) const ALL: &[(Self, u64, &str)] = &[$((Self::$act, $weight, $name),)*];
        }
    };
}

acts! {
    Create 120 "create" "A handle through a local, payload of 16 bytes to 256 KiB.",
    CreateOwned 30 "create owned" "The same, as a value that closes itself.",
    CreateTyped 30 "create typed" "A value archived by rkyv.",
    CreateDescriptor 20 "create descriptor" "A memfd that travels by token.",
    Share 20 "share file" "Enters the table of a file, or gives an entry back.",
    CreateWith 40 "create with block" "A handle around a block of ours.",
    Get 120 "get" "Reads every byte of a handle that we hold.",
    Close 160 "close" "Lets go once; if nobody else knew the handle, its token has to be stale afterwards.",
    OpenAgain 60 "open again" "Opens or clones what we hold already.",
    OpenWrong 30 "open wrong" "A forged generation and a foreign kind: both have to be refused.",
    Name 80 "name" "Creates or opens one of a few names, which has to be ours alone then; sometimes only looks it up.",
    Send 80 "send" "Passes a token to another member, and keeps the handle until that one has opened it.",
    Receive 200 "receive" "Opens a token or frees a block that another member sent.",
    Alloc 160 "alloc" "A block of 1 byte to half a MiB.",
    AllocOwned 30 "alloc owned" "The same, as a value that frees itself.",
    AllocZeroed 30 "alloc zeroed" "A block that has to be zero.",
    AllocAligned 30 "alloc aligned" "A block aligned to up to 2 KiB.",
    Resize 60 "resize" "Grows or shrinks a block, in place or not.",
    Verify 60 "verify" "Looks at a block that we own.",
    Free 200 "free" "Frees a block; a second time has to be refused.",
    Give 40 "give block" "Passes a block to another member, who frees it.",
    Pin 12 "pin" "Pins a block, which outlives its owner.",
    Unpin 10 "unpin" "Frees a pinned block.",
    Trim 4 "trim" "Gives memory back to the system.",
    Recover 4 "recover" "Takes back what the dead held.",
    Look 2 "look" "Counts what is in use.",
    Visit 4 "visit" "Joins once more in this process, works, leaves.",
    Fork 2 "fork" "A forked child, which is no member: refused everything, or joins by itself and ends in some way.",
    Outlive 2 "outlive" "Learns through two handles how a child ended, as its parent and as a visitor.",
    Wait 70 "wait" "Waits for one of the things that all share, mostly to use it and to give it back at once.",
    WaitAny 40 "wait any" "Waits for one of several of them.",
    WaitAll 40 "wait all" "Waits for all of several of them.",
    Release 100 "release" "Gives back what a wait gave; without any, unlocks what is not ours: it has to be refused.",
    Work 60 "work" "Writes the pair of words that belongs to the owner of a mutex or of a signal.",
    Pass 30 "pass" "Waits for a manual-reset event that the owner of a mutex sets and resets.",
    Pulse 8 "pulse" "Lets everybody go who waits for another manual-reset event.",
    AwaitPulse 3 "await pulse" "Waits for that, however long it takes.",
    Doom 2 "doom" "A forked child that joins and waits, and is killed at any moment, stopped or not.",
    Family 1 "family" "A space of another backend for ourselves and our child.",
}

/// The next operation, with random numbers for its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) act: Act,
    /// Position of the act in [`Act::ALL`].
    pub(super) index: usize,
    /// The space of the operation is this number modulo the number of spaces.
    pub(super) space: u64,
    /// Selects one of several objects.
    pub(super) which: u64,
    /// Selects an amount or a variant.
    pub(super) how: u64,
    /// Number for the contents; unique within a run.
    pub(super) key: u64,
}

impl Choice {
    /// Choice `number` of a stream.
    pub(super) fn of(stream: u64, number: u64) -> Self {
        let draw = |purpose: u64| combine(&[stream, number, purpose]);
        let total: u64 = Act::ALL.iter().map(|(_, weight, _)| weight).sum();
        let mut rest = draw(1) % total;
        let chosen = Act::ALL.iter().position(|(_, weight, _)| {
            let found = rest < *weight;
            rest = rest.saturating_sub(*weight);
            found
        });
        let index = chosen.unwrap_or(0);
        Self { act: Act::ALL[index].0, index, space: draw(2), which: draw(3), how: draw(4), key: draw(5) }
    }
}

/// The stream of one thread of one incarnation in one seat.
pub(super) fn stream(seed: u64, seat: u64, incarnation: u64, thread: u64) -> u64 {
    combine(&[seed, seat, incarnation, thread, 0x7047])
}

/// The end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// Killed soon after the start of its process, at any point.
    KilledEarly,
    /// Killed while it works, after its last operation.
    Killed,
    /// Releases everything and leaves.
    Leaves,
    /// Executes another program in the middle of its work; that program joins as the next incarnation.
    Executes,
    /// Exits without leaving.
    Exits,
}

/// The planned end of an incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) end: End,
    /// Number of operations of its first thread before the end.
    pub(super) operations: u64,
    /// Number of working threads.
    pub(super) threads: u64,
    /// For [`End::KilledEarly`]: time from the start to the kill, in µs.
    pub(super) early_us: u64,
}

impl Fate {
    pub(super) fn of(seed: u64, seat: u64, incarnation: u64) -> Self {
        let draw = |purpose: u64| combine(&[seed, seat, incarnation, purpose, 0xfa7e]);
        let end = match draw(1) % 100 {
            0..8 => End::KilledEarly,
            8..58 => End::Killed,
            58..78 => End::Leaves,
            78..90 => End::Executes,
            _ => End::Exits,
        };
        // From 32 to 16 Ki; every order of magnitude is equally likely.
        let magnitude = 5 + draw(2) % 9;
        let operations = (1 << magnitude) + draw(3) % (1 << magnitude);
        Self { end, operations, threads: 1 + draw(4) % 2, early_us: draw(5) % 8000 }
    }
}

/// Whether a member is stopped after its report number `report`, and the duration in µs.
pub(super) fn stop(seed: u64, seat: u64, incarnation: u64, report: u64) -> Option<u64> {
    let drawn = combine(&[seed, seat, incarnation, report, 0x5707]);
    // One report in twelve; 0.25 to 64 ms, every order of magnitude is equally likely.
    drawn.is_multiple_of(12).then(|| {
        let magnitude = 8 + mix(drawn) % 8;
        (1 << magnitude) + mix(drawn ^ 1) % (1 << magnitude)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_follow_from_the_seed_and_from_nothing_else() {
        let choices = |seed: u64| -> Vec<Choice> {
            (0..2000).map(|number| Choice::of(stream(seed, 1, 2, 0), number)).collect()
        };
        assert_eq!(choices(7), choices(7));
        assert_ne!(choices(7), choices(8));
        let differs = |other: u64| Choice::of(other, 0) != Choice::of(stream(7, 1, 2, 0), 0);
        assert!([stream(7, 2, 2, 0), stream(7, 1, 3, 0), stream(7, 1, 2, 1)].into_iter().all(differs));
        assert_eq!(Fate::of(7, 1, 2), Fate::of(7, 1, 2));
        assert_eq!(stop(7, 1, 2, 3), stop(7, 1, 2, 3));
    }

    #[test]
    fn everything_comes_up() {
        let mut acts = vec![0; Act::ALL.len()];
        for number in 0..50_000 {
            acts[Choice::of(stream(1, 0, 0, 0), number).index] += 1;
        }
        assert!(acts.iter().all(|times| *times > 0), "{acts:?}");
        let ends = |end: End| (0..1000).filter(|incarnation| Fate::of(1, 0, *incarnation).end == end).count();
        for end in [End::KilledEarly, End::Killed, End::Leaves, End::Executes, End::Exits] {
            assert!(ends(end) > 20, "{end:?}");
        }
        assert!((0..100).any(|report| stop(1, 0, 0, report).is_some()));
    }
}
