//! A case: one operation, what comes before it, and what the survivor does meanwhile.

use std::arch::asm;

use tenure::{JoinError, Kind, Member, Options, Space, Token};

use crate::board::{Board, Phase};
use crate::survivor::{Leeway, Survivor};

/// The kind of every handle.
pub(crate) const KIND: Kind = Kind::raw(3);

/// What a traced process does: prepares, `begin`s, does one thing, `end`s, looks whether it was done right, cleans up.
pub(crate) type Script = fn(&Stage<'_>);
/// The survivor's part.
pub(crate) type Part = fn(&mut Survivor);

/// What a script works with.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) space: &'a Space,
    pub(crate) tokens: &'a [Token],
    pub(crate) board: &'static Board,
    /// Whether those who join play their monitors by hand.
    pub(crate) guarded: bool,
    /// Which of the actors this one is.
    pub(crate) seat: usize,
    /// Another actor is at work meanwhile.
    pub(crate) is_shared: bool,
}

/// Where on the board a member that plays its monitor says which slot it has, plus one.
pub(crate) const SLOT: usize = 7;

/// A stop that the tracer sees.
#[inline(always)]
fn stop() {
    // SAFETY: a breakpoint trap, which the tracer takes; every script is traced.
    unsafe { asm!("int3") };
}

impl Stage<'_> {
    pub(crate) fn join(&self) -> Member {
        let me = self.try_join().unwrap();
        if self.guarded {
            self.board.post(SLOT, u64::from(me.lease().index) + 1);
        }
        me
    }

    #[inline(always)]
    pub(crate) fn try_join(&self) -> Result<Member, JoinError> {
        if self.guarded { self.space.join_monitoring_by_hand() } else { self.space.join() }
    }

    /// What this actor must put up with when it does everything.
    pub(crate) fn leeway(&self) -> Leeway {
        Leeway { exhausted: false, delayed: self.is_shared }
    }

    /// Waits until the survivor has played its part.
    pub(crate) fn meet(&self) {
        self.board.set_phase(self.seat, Phase::Meeting);
        stop();
    }

    #[inline(always)]
    pub(crate) fn begin(&self) {
        self.board.set_phase(self.seat, Phase::Begun);
        stop();
    }

    /// The operation is over. When the actor goes on, nobody else is at work, and everything must be in order: leaving
    /// would mend some of what an operation forgot.
    #[inline(always)]
    pub(crate) fn end(&self) {
        if self.is_shared {
            return self.end_among_others();
        }
        self.board.set_phase(self.seat, Phase::Ended);
        stop();
        let report = self.space.check_quiet();
        assert!(report.is_clean() && report.pending.is_empty(), "after the operation: {report:#?}");
    }

    /// As `end`, where somebody else may be at work: one who was woken.
    #[inline(always)]
    pub(crate) fn end_among_others(&self) {
        self.board.set_phase(self.seat, Phase::Ended);
        stop();
        let report = self.space.check();
        assert!(report.is_clean(), "after the operation: {report:#?}");
    }
}

/// Sizes of a space, small so that scans are short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) handles: u32,
    pub(crate) generation_bits: u8,
    pub(crate) units: u32,
    pub(crate) unit_bytes: usize,
}

/// Everything committed at creation.
pub(crate) const SMALL: Size = Size { handles: 72, generation_bits: 36, units: 40, unit_bytes: 1 << 10 };
/// Scratch memory is committed as it is used.
pub(crate) const LAZY: Size = Size { handles: 72, generation_bits: 36, units: 66, unit_bytes: 4 << 10 };
/// More units than are there from the start.
pub(crate) const LONG: Size = Size { handles: 72, generation_bits: 36, units: 1100, unit_bytes: 4 << 10 };
/// More handles than are committed at creation.
pub(crate) const WIDE: Size = Size { handles: 1030, generation_bits: 36, units: 40, unit_bytes: 1 << 10 };
/// Handles wear out after 16 uses.
pub(crate) const WORN: Size = Size { handles: 72, generation_bits: 4, units: 40, unit_bytes: 1 << 10 };

/// Members of every space: a survivor, its guest, a traced process, the dead.
pub(crate) const MEMBERS: u16 = 6;

impl Size {
    pub(crate) fn options(self) -> Options {
        Space::options()
            .members(MEMBERS)
            .handles(self.handles)
            .generation_bits(self.generation_bits)
            .scratch(u64::from(self.units) * self.unit_bytes as u64)
            .unit(self.unit_bytes as u32)
            .monitor(false)
    }
}

/// Somebody who was killed in the middle of another case, when the traced process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) case: &'static str,
    /// After so many of its shared steps: stores that others see, and system calls. More than it has: after the last.
    pub(crate) steps: u32,
    /// It runs only when those before it are dead: a recoverer who dies.
    pub(crate) late: bool,
}

/// One operation.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) size: Size,
    pub(crate) script: Script,
    pub(crate) before: Part,
    pub(crate) assist: Part,
    pub(crate) meanwhile: Part,
    /// After the dead was recovered, or the stopped one is done.
    pub(crate) after: Part,
    pub(crate) halves: Vec<Half>,
    /// Others may find everything used up while the traced process lives.
    pub(crate) uses_up: bool,
    /// The operation is about another space than the survivor's, one with a name.
    pub(crate) elsewhere: bool,
    /// What it changes is neither in the survivor's space nor in a file: every kill has a survivor of its own. Played around its
    /// system calls, and elsewhere at one instruction in so many.
    pub(crate) sampled: bool,
    /// All slots are somebody's, of the living or of the dead: one who joins recovers in the dead's own name, and keeps others from
    /// that until it has.
    pub(crate) full_house: bool,
    /// Everybody on stage plays a monitor by hand: the very steps that its threads make elsewhere.
    pub(crate) guarded: bool,
}

impl Case {
    pub(crate) fn new(name: &'static str, script: Script) -> Self {
        Self {
            name,
            size: SMALL,
            script,
            before: |_| {},
            assist: |_| {},
            meanwhile: |_| {},
            after: |_| {},
            halves: Vec::new(),
            uses_up: false,
            elsewhere: false,
            sampled: false,
            full_house: false,
            guarded: false,
        }
    }

    pub(crate) fn size(self, size: Size) -> Self {
        Self { size, ..self }
    }

    /// What the survivor does before the traced process exists.
    pub(crate) fn before(self, before: Part) -> Self {
        Self { before, ..self }
    }

    /// What the survivor does when the traced process meets it.
    pub(crate) fn assist(self, assist: Part) -> Self {
        Self { assist, ..self }
    }

    /// What the survivor does, besides everything, while the traced process is stopped or after it died.
    pub(crate) fn meanwhile(self, meanwhile: Part) -> Self {
        Self { meanwhile, ..self }
    }

    /// What the survivor does when nobody is at work any more: the dead was recovered, or the stopped one is done.
    pub(crate) fn after(self, after: Part) -> Self {
        Self { after, ..self }
    }

    pub(crate) fn half(mut self, case: &'static str, steps: u32) -> Self {
        self.halves.push(Half { case, steps, late: false });
        self
    }

    pub(crate) fn elsewhere(self) -> Self {
        Self { elsewhere: true, ..self }
    }

    pub(crate) fn sampled(self) -> Self {
        Self { sampled: true, ..self }
    }

    pub(crate) fn full_house(self) -> Self {
        Self { full_house: true, ..self }
    }

    pub(crate) fn guarded(self) -> Self {
        Self { guarded: true, ..self }
    }

    pub(crate) fn uses_up(self) -> Self {
        Self { uses_up: true, ..self }
    }
}
