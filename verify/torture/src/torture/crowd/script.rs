//! The plan of a round of a crowd: a pure function of the seed and the number of the round.

use tenure::{Options, Space};

use crate::pattern::combine;

use super::super::chance::Act;

/// Maximum number of waves of recoverers in a round.
pub(super) const WAVES_MAX: u32 = 4;
/// Maximum number of victims in a round.
pub(super) const VICTIMS_MAX: u64 = 3;
/// Number of rounds in one space.
pub(super) const ROUNDS_IN_A_SPACE: u64 = 64;
/// The kind of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// One victim with many handles, and a few recoverers that hold and held nothing; one of them is killed: only
    /// the state of its recovery is left behind.
    Duel,
    /// The same in slow motion.
    SlowDuel,
    /// All operations on handles and blocks.
    Plain,
    /// All operations.
    Full,
}

impl Flavour {
    /// All kinds with their weights.
    const ALL: [(Self, u64); 4] = [(Self::Duel, 2), (Self::SlowDuel, 1), (Self::Plain, 3), (Self::Full, 2)];

    fn draw(draw: &mut Draw) -> Self {
        let mut rest = draw.below(Self::ALL.iter().map(|(_, weight)| weight).sum());
        let chosen = Self::ALL.iter().find(|(_, weight)| {
            let is_it = rest < *weight;
            rest = rest.saturating_sub(*weight);
            is_it
        });
        chosen.map_or(Self::Full, |(flavour, _)| *flavour)
    }
}

/// Draws random numbers, each for one purpose.
struct Draw(u64);

impl Draw {
    fn of(numbers: &[u64]) -> Self {
        Self(combine(numbers))
    }

    fn number(&mut self) -> u64 {
        self.0 = combine(&[self.0, 0xc70d]);
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit.max(1)
    }

    /// True once in `times` draws.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// The options of a small space: rounds are short and handles run out.
pub(super) fn options(seed: u64, number: u64) -> Options {
    let mut draw = Draw::of(&[seed, number, 0x59ace]);
    let handles = [64, 96, 128, 200][draw.below(4) as usize];
    let unit = [4 << 10, 16 << 10][draw.below(2) as usize];
    Space::options()
        .members(super::board::SLOTS as u16)
        .handles(handles)
        .unit(unit)
        .scratch(2 << 20)
        .monitor(false)
}

/// One victim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Victim {
    /// The stream of its choices.
    pub(super) stream: u64,
    /// Number of operations before it reports that it is ready.
    pub(super) operations: u64,
    /// Whether it releases nothing before that.
    pub(super) hoards: bool,
    /// Time from its start to its kill in ns, for a victim that is killed at any point of its start.
    pub(super) early_ns: Option<u64>,
    /// Otherwise: time from the moment when all children are ready to its kill, in ns.
    pub(super) late_ns: u64,
}

/// The action of a recoverer at the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    /// Recovers as a member.
    Recover,
    /// Joins, which recovers.
    Join,
    /// Opens the handles that the victims published, while others recover.
    Open,
}

/// The signal that a recoverer gets during its action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    Nothing,
    /// SIGKILL by its own timer: it is running at that time.
    Kill,
    /// SIGSTOP by its own timer; it is continued after the others.
    Stop,
    /// SIGKILL by the director: it may be waiting for a processor at that time.
    KillFromOutside,
}

/// The end of a recoverer that was not killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Leave,
    /// Exits without leaving.
    Exit,
    /// Keeps its handles and blocks until the next round, and is killed in it.
    Stay,
}

/// One recoverer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Recoverer {
    /// Number of its wave, from 1 to [`Round::waves`].
    pub(super) wave: u32,
    pub(super) deed: Deed,
    pub(super) blow: Blow,
    /// Time of the kill or stop, in thousandths of the duration of a recovery.
    pub(super) permille: u64,
    pub(super) finish: Finish,
    /// Whether it has handles and blocks before the signal: handles of victims, and handles and blocks of its own.
    pub(super) laden: bool,
    pub(super) key: u64,
}

/// One round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Round {
    pub(super) victims: Vec<Victim>,
    pub(super) recoverers: Vec<Recoverer>,
    pub(super) waves: u32,
    /// Whether the first signal comes while the victims are dying.
    pub(super) early_signal: bool,
    /// Whether there are only handles and blocks: a recoverer that opens no objects has no groups of its own.
    pub(super) plain: bool,
    /// Whether its recoverers run in slow motion.
    pub(super) is_slow: bool,
}

impl Round {
    /// The plan of round `number`. It has at most `crowd` recoverers, or 3 in a duel.
    pub(super) fn of(seed: u64, number: u64, crowd: u64) -> Self {
        let mut draw = Draw::of(&[seed, number, 0x70d]);
        let flavour = Flavour::draw(&mut draw);
        if matches!(flavour, Flavour::Duel | Flavour::SlowDuel) {
            return Self::duel(&mut draw, flavour == Flavour::SlowDuel);
        }
        let waves = 1 + draw.below(u64::from(WAVES_MAX)) as u32;
        let victims = 1 + draw.below(VICTIMS_MAX);
        let recoverers = 4.min(crowd) + draw.below(crowd.saturating_sub(3));
        Self {
            victims: (0..victims).map(|_| Victim::draw(&mut draw)).collect(),
            recoverers: (0..recoverers).map(|_| Recoverer::draw(&mut draw, waves)).collect(),
            waves,
            early_signal: draw.once_in(3),
            plain: flavour == Flavour::Plain,
            is_slow: false,
        }
    }

    fn duel(draw: &mut Draw, is_slow: bool) -> Self {
        let victim = Victim { hoards: true, early_ns: None, ..Victim::draw(draw) };
        let recoverers = 2 + draw.below(2);
        let part = |draw: &mut Draw, blow: Blow| Recoverer {
            wave: 1,
            deed: Deed::Recover,
            blow,
            permille: draw.below(1200),
            finish: Finish::Leave,
            laden: false,
            key: draw.number(),
        };
        let blows = [Blow::Kill].into_iter().chain(std::iter::repeat(Blow::Nothing));
        Self {
            victims: vec![victim],
            recoverers: blows.take(recoverers as usize).map(|blow| part(draw, blow)).collect(),
            waves: 1,
            early_signal: false,
            plain: true,
            is_slow: is_slow && super::steps::IS_THERE,
        }
    }

    /// Whether a victim of this round may do such an operation.
    pub(super) fn allows(&self, act: Act, victim: &Victim, operations: u64) -> bool {
        let hoards = victim.hoards && operations < victim.operations;
        match act {
            Act::Send | Act::Receive | Act::Give | Act::Look => false,
            Act::Visit | Act::Fork | Act::Outlive | Act::Doom | Act::Family => false,
            Act::Pass | Act::Pulse | Act::AwaitPulse => false,
            Act::Close | Act::Free => !hoards,
            Act::CreateDescriptor | Act::Share => !self.plain,
            Act::Wait | Act::WaitAny | Act::WaitAll | Act::Release | Act::Work => !self.plain,
            _ => true,
        }
    }
}

impl Victim {
    fn draw(draw: &mut Draw) -> Self {
        let magnitude = draw.below(11);
        Self {
            stream: draw.number(),
            operations: 16 + draw.below(112),
            hoards: draw.once_in(2),
            early_ns: draw.once_in(8).then(|| draw.below(400_000)),
            late_ns: draw.below(1024 << magnitude),
        }
    }
}

impl Recoverer {
    fn draw(draw: &mut Draw, waves: u32) -> Self {
        let deed = match draw.below(16) {
            0..2 => Deed::Join,
            2..4 => Deed::Open,
            _ => Deed::Recover,
        };
        let blow = match draw.below(16) {
            0..6 => Blow::Kill,
            6..8 => Blow::KillFromOutside,
            8..10 => Blow::Stop,
            _ => Blow::Nothing,
        };
        let finish = match draw.below(8) {
            0..3 => Finish::Leave,
            3..6 => Finish::Exit,
            _ => Finish::Stay,
        };
        Self {
            // The first wave is the largest: later ones recover its members.
            wave: 1 + draw.below(u64::from(waves) + 1).saturating_sub(1) as u32,
            deed,
            blow,
            permille: draw.below(1300),
            finish,
            laden: deed != Deed::Join && draw.once_in(3),
            key: draw.number(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_from_the_seed_and_from_nothing_else() {
        assert_eq!(Round::of(7, 3, 12), Round::of(7, 3, 12));
        assert_ne!(Round::of(7, 3, 12), Round::of(8, 3, 12));
        assert_ne!(Round::of(7, 3, 12), Round::of(7, 4, 12));
    }

    #[test]
    fn everything_comes_up_and_nothing_exceeds_the_board() {
        let rounds: Vec<Round> = (0..500).map(|number| Round::of(1, number, 12)).collect();
        let recoverers = || rounds.iter().flat_map(|round| &round.recoverers);
        for blow in [Blow::Nothing, Blow::Kill, Blow::Stop, Blow::KillFromOutside] {
            assert!(recoverers().any(|one| one.blow == blow), "{blow:?}");
        }
        for deed in [Deed::Recover, Deed::Join, Deed::Open] {
            assert!(recoverers().any(|one| one.deed == deed), "{deed:?}");
        }
        for finish in [Finish::Leave, Finish::Exit, Finish::Stay] {
            assert!(recoverers().any(|one| one.finish == finish), "{finish:?}");
        }
        for round in &rounds {
            assert!((2..=12).contains(&round.recoverers.len()), "{round:?}");
            assert!(round.recoverers.iter().all(|one| (1..=round.waves).contains(&one.wave)), "{round:?}");
        }
        let sizes: Vec<usize> = (0..50).map(|number| Round::of(1, number, 2).recoverers.len()).collect();
        assert!(sizes.iter().all(|size| (2..=3).contains(size)), "{sizes:?}");
    }
}
