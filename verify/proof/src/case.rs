//! A case: one operation, its preparation, and the survivor's part meanwhile.

use std::arch::asm;

use tenure::{Kind, Member, Options, Space, Token, error::JoinError};

use crate::board::{Board, Phase};
use crate::survivor::{Leeway, Survivor};

/// The kind of every handle.
pub(crate) const KIND: Kind = Kind::raw(3);

/// The script of a traced process: it prepares, `begin`s, does one operation, `end`s, checks the result, cleans up.
pub(crate) type Script = fn(&Stage<'_>);
/// The survivor's part.
pub(crate) type Part = fn(&mut Survivor);

/// The arguments of a script.
#[derive(Clone, Copy)]
pub(crate) struct Stage<'a> {
    pub(crate) space: &'a Space,
    pub(crate) tokens: &'a [Token],
    pub(crate) board: &'static Board,
    /// Whether new members play their monitors by hand.
    pub(crate) guarded: bool,
    /// The index of this actor.
    pub(crate) seat: usize,
    /// Whether another actor is at work meanwhile.
    pub(crate) is_shared: bool,
}

/// The board word in which a member that plays its monitor posts its slot, plus one.
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
        if self.guarded {
            // SAFETY: the actor has one thread.
            unsafe { tenure::testing::join_monitoring_by_hand(self.space) }
        } else {
            self.space.join()
        }
    }

    /// The tolerances of `everything` when this actor runs it.
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

    /// Ends the operation. When the actor goes on, nobody else is at work, and everything must be in order: leaving
    /// would repair a part of the operation's omissions.
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

    /// As `end`, where others may be at work: a sleeper that was woken.
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
    pub(crate) slots: u32,
    pub(crate) container_slots: u32,
}

/// Everything committed at creation.
pub(crate) const SMALL: Size =
    Size { handles: 72, generation_bits: 36, units: 40, unit_bytes: 1 << 10, slots: 0, container_slots: 0 };
/// Scratch memory is committed as it is used.
pub(crate) const LAZY: Size =
    Size { handles: 72, generation_bits: 36, units: 66, unit_bytes: 4 << 10, slots: 0, container_slots: 0 };
/// More units than are there from the start.
pub(crate) const LONG: Size =
    Size { handles: 72, generation_bits: 36, units: 1100, unit_bytes: 4 << 10, slots: 0, container_slots: 0 };
/// More handles than are committed at creation.
pub(crate) const WIDE: Size =
    Size { handles: 1030, generation_bits: 36, units: 40, unit_bytes: 1 << 10, slots: 0, container_slots: 0 };
/// With slots.
pub(crate) const KEEPING: Size = Size { slots: 4, ..SMALL };
/// With slots for a map of the survivor's, and one more.
pub(crate) const MAPPED: Size = Size { container_slots: 128, ..SMALL };
/// With slots for a queue of the survivor's, and one more.
pub(crate) const QUEUED: Size = Size { container_slots: 128, ..SMALL };
/// With slots for one queue.
pub(crate) const QUEUED_ONCE: Size = Size { container_slots: 64, ..SMALL };
/// Handles wear out after 16 uses.
pub(crate) const WORN: Size =
    Size { handles: 72, generation_bits: 4, units: 40, unit_bytes: 1 << 10, slots: 0, container_slots: 0 };

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
            .slots(self.slots)
            .container_slots(self.container_slots)
            .monitor(false)
    }
}

/// A process that was killed in the middle of another case, before the traced process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Half {
    pub(crate) case: &'static str,
    /// The number of its shared steps (stores that others see, and system calls) before the kill. A larger number than
    /// it has: after the last.
    pub(crate) steps: u32,
    /// Whether it runs only when those before it are dead: a recoverer that dies.
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
    /// The survivor's part after the dead was recovered, or the stopped one is done.
    pub(crate) after: Part,
    pub(crate) halves: Vec<Half>,
    /// Whether others may find everything used up while the traced process lives.
    pub(crate) uses_up: bool,
    /// Whether the operation is about another space than the survivor's, one with a name.
    pub(crate) elsewhere: bool,
    /// Whether the operation changes neither the survivor's space nor a file: every kill has a survivor of its own.
    /// Played around its system calls, and elsewhere at one instruction in so many.
    pub(crate) sampled: bool,
    /// Whether all slots have an owner, living or dead: a joining process takes over a dead owner's slot, and nobody
    /// else can recover that owner until the join is done.
    pub(crate) full_house: bool,
    /// Whether all processes play their monitors by hand: the same steps that monitor threads make elsewhere.
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

    /// The survivor's part before the traced process exists.
    pub(crate) fn before(self, before: Part) -> Self {
        Self { before, ..self }
    }

    /// The survivor's part when the traced process meets it.
    pub(crate) fn assist(self, assist: Part) -> Self {
        Self { assist, ..self }
    }

    /// The survivor's part, besides `everything`, while the traced process is stopped or after it died.
    pub(crate) fn meanwhile(self, meanwhile: Part) -> Self {
        Self { meanwhile, ..self }
    }

    /// The survivor's part when nobody is at work any more: the dead was recovered, or the stopped one is done.
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
