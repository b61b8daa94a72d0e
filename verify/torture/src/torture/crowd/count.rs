//! The end of a round: the last recovery, and the comparison of the books of all living members with the space.

use tenure::{BlockInfo, Handle, Member, Raw, Token, error::OpenHandleError, raw::RawBlock};

use crate::Failed;
use crate::pattern;

use super::super::hands::{KIND, NAMES};
use super::super::stage::{self, Room};
use super::board::Slot;
use super::books::Books;
use super::round::Crowd;
use super::script::Round;

/// Number of rounds between two counts of all units.
const UNITS: u64 = 8;

/// The contents of a space when only its director is a member.
pub(super) struct Ground {
    books: Books,
    room: Room,
}

impl Ground {
    /// Reads a space before other members join.
    pub(super) fn of(stage: &stage::Stage, member: &Member) -> Result<Self, Failed> {
        let room = stage::measure(member, stage.segment.space.geometry().unit_bytes)?;
        Ok(Self { books: Books::of(&stage.segment.space), room })
    }
}

impl Crowd<'_> {
    /// Recovers for the last time, and compares and counts.
    ///
    /// # Errors
    /// The director has no membership, or it does not work.
    pub(super) fn count(&mut self, ground: &Ground, round: &Round) -> Result<(), Failed> {
        let member = self.stage.member().cloned().ok_or("the director is no member")?;
        member.recover()?;
        while !round.plain && !self.stage.audit(self.verdict) {}
        member.trim()?;
        self.count_pinned();
        self.check();
        self.compare(&member, ground)?;
        self.count_names(&member);
        self.count_room(&member, ground)
    }

    /// Checks the number of pinned blocks of every victim that was not pinning at its death, and frees all pinned
    /// blocks.
    fn count_pinned(&mut self) {
        let pinned: Vec<BlockInfo> = self.stage.pinned();
        let labels: Vec<_> = pinned.iter().filter_map(|found| self.stage.label(found).ok()).collect();
        for slot in 0..super::board::SLOTS {
            let of = |label: &&super::super::pinned::Label| {
                label.seat == slot as u64 && label.incarnation == self.number
            };
            let found = labels.iter().filter(of).count() as u64;
            let lives = self.children.iter().any(|child| child.slot == slot);
            if let Some(expected) = self.board.slot(slot).pins().filter(|pins| !lives && *pins != found) {
                let text = format!("{}: slot {slot} pinned {expected} blocks, found {found}", self.about());
                self.verdict.lost(text);
            }
            // Reset: in the next round no child may use the slot.
            self.board.slot(slot).set_pins(0);
        }
        self.figures.blocks += pinned.len() as u64;
        self.stage.sweep(&|_, incarnation| incarnation <= self.number, self.verdict);
    }

    /// No member works and no recovery is due: every violation, also a pending one, is an error.
    fn check(&mut self) {
        self.stage.look_at_anchors(self.verdict);
        let report = self.stage.segment.space.check_quiet();
        let about = self.about();
        for problem in report.violations.iter().chain(&report.pending) {
            self.verdict.violation(format!("{about}: {problem}"));
        }
        let expected = 1 + self.children.len() as u16;
        if report.stats.members_live != expected {
            let found = report.stats.members_live;
            self.verdict.leaked(1, format!("{about}: expected {expected} members, found {found}"));
        }
    }

    /// Checks that every handle and every block belongs to a living member and has its contents.
    fn compare(&mut self, member: &Member, ground: &Ground) -> Result<(), Failed> {
        let found = Books::of(&self.stage.segment.space);
        let mut books = ground.books.clone();
        for child in &self.children {
            let slot = self.board.slot(child.slot);
            let lease = slot.lease().ok_or("a child that lives is no member")?;
            for (token, _) in slot.handles() {
                books.enter_handle(lease, Token::try_from(token)?, &found);
            }
            slot.blocks().for_each(|(offset, _)| books.enter_block(lease, offset));
        }
        let about = self.about();
        books.compare(&found, &about, self.verdict);
        self.figures.handles += found.handles();
        self.figures.blocks += found.blocks();
        for child in &self.children {
            if let Err(text) = verify(self.board.slot(child.slot), member) {
                self.verdict.mixed_up(format!("{about}: slot {}: {text}", child.slot));
            }
        }
        Ok(())
    }

    /// Checks that every name belongs to a held handle.
    fn count_names(&mut self, member: &Member) {
        let found = Books::of(&self.stage.segment.space);
        for number in 0..NAMES {
            match member.look_up(&format!("torture/{number}")) {
                Err(OpenHandleError::NoSuchName) => {}
                Ok((_, token)) if found.is_live(token) => self.figures.names += 1,
                other => {
                    let text = format!("{}: name {number} is nobody's, and found: {other:?}", self.about());
                    self.verdict.leaked(1, text);
                }
            }
        }
    }

    /// Checks that all free handles can be allocated; in one round of [`UNITS`], also all units.
    fn count_room(&mut self, member: &Member, ground: &Ground) -> Result<(), Failed> {
        let held = Books::of(&self.stage.segment.space).handles() - ground.books.handles();
        let expected = Room { handles: ground.room.handles - held, units: ground.room.units };
        let found = if self.children.is_empty() && self.number.is_multiple_of(UNITS) {
            self.figures.units += expected.units;
            stage::measure(member, self.stage.segment.space.geometry().unit_bytes)?
        } else {
            Room { handles: stage::measure_handles(member)?, ..expected }
        };
        self.figures.had += found.handles;
        if found != expected {
            let missing = expected.handles.abs_diff(found.handles) + expected.units.abs_diff(found.units);
            let text = format!("{}: {found:?} can be had, expected {expected:?}", self.about());
            self.verdict.leaked(missing, text);
        }
        Ok(())
    }
}

/// Reads the handles and blocks of a living child.
fn verify(slot: &Slot, member: &Member) -> Result<(), String> {
    for (token, identity) in slot.handles() {
        let token = Token::try_from(token).map_err(|error| error.to_string())?;
        let handle: Handle<Raw> =
            member.open_raw(KIND, token).map_err(|error| format!("{token:?} does not open: {error}"))?;
        pattern::check_payload(identity, handle.get().map_err(|error| error.to_string())?)?;
    }
    for (offset, key) in slot.blocks() {
        let bytes = super::child::block_bytes(key);
        let start = member.local().address(RawBlock { offset, len: bytes });
        // SAFETY: the block belongs to a living member, has that many bytes, and nobody writes it.
        unsafe { pattern::verify(start, bytes, bytes, key) }
            .map_err(|at| format!("block at {offset}: byte {at} is not as written"))?;
    }
    Ok(())
}
