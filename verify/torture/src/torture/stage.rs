//! The spaces of a run, and the director's membership in each: it checks the space, frees pinned blocks of dead
//! members, holds a few handles during the whole run, and measures at the beginning and at the end how many resources
//! can be had.

use std::alloc::Layout;
use std::time::{Duration, Instant};

use tenure::{
    Backend, BlockInfo, BlockState, Handle, Kind, LeaseInfo, Member, Options, Raw, Space,
    error::ScratchError, raw::RawBlock,
};

use crate::Failed;
use crate::meeting::Segment;
use crate::pattern;
use crate::verdict::Verdict;

use super::audit::{Auditor, Audits, Progress};
use super::commons::Founded;
use super::pinned::Label;

/// Number of handles for the common objects, in addition to the few handles of a tight space.
const COMMON: u32 = 12;
/// Number of handles that the director holds in each space.
const ANCHORS: u64 = 8;
/// Time after which an audit is given up because a stopped member has not recorded the outcome of its wait.
const AUDIT: Duration = Duration::from_secs(1);
const ANCHOR_KIND: Kind = Kind::raw(0x7049);

/// The number of resources that can be allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) handles: u64,
    pub(super) units: u64,
}

/// One space.
pub(super) struct Stage {
    /// Dropped first, in this order: the handles, the member, and the segment last.
    anchors: Vec<(Handle<Raw>, u64)>,
    auditor: Option<Auditor>,
    member: Option<Member>,
    room: Room,
    pub(super) segment: Segment,
}

impl Stage {
    /// Creates a space; every second one is so tight that it is exhausted most of the time.
    pub(super) fn build(backend: Backend, index: usize, seats: usize, seed: u64) -> Result<Self, Failed> {
        // A seat has a member, possibly a dead one that is not yet recovered when the next one joins, and two threads
        // with guests.
        let members = (8 * seats + 16).min(256) as u16;
        let options = Space::options().members(members).monitor(false);
        let options = if index % 2 == 1 {
            options
                .handles(12 * seats as u32 + COMMON)
                .unit(4 << 10)
                .scratch((256 << 10) * seats.max(4) as u64)
        } else {
            options.handles(1024 * seats as u32).scratch((24 << 20) * seats as u64)
        };
        Self::with(backend, options, pattern::combine(&[seed, index as u64]))
    }

    /// Creates a space with `options`.
    pub(super) fn with(backend: Backend, options: Options, key: u64) -> Result<Self, Failed> {
        let segment = Segment::create(backend, options)?;
        let member = segment.space.join()?;
        let room = measure(&member, segment.space.geometry().unit_bytes)?;
        let (mut anchors, mut payload) = (Vec::new(), Vec::new());
        for anchor in 0..ANCHORS {
            let identity = pattern::combine(&[key, anchor]);
            pattern::payload(identity, &mut payload);
            anchors.push((member.create_raw(ANCHOR_KIND, &payload)?, identity));
        }
        let auditor = Some(Auditor::new(Founded::make(&member)?));
        Ok(Self { anchors, auditor, member: Some(member), room, segment })
    }

    /// The director's membership, until the last check.
    pub(super) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    pub(super) fn name(&self) -> String {
        format!("{} {}", self.segment.meeting.backend, self.segment.meeting.name)
    }

    /// Checks every word of the space and the director's handles, while members work.
    pub(super) fn look(&self, verdict: &mut Verdict) {
        for violation in self.segment.space.check().violations {
            verdict.violation(format!("{}: {violation}", self.name()));
        }
        self.look_at_anchors(verdict);
    }

    /// Verifies the director's handles.
    pub(super) fn look_at_anchors(&self, verdict: &mut Verdict) {
        for (anchor, identity) in &self.anchors {
            match anchor.get() {
                Ok(payload) => {
                    if let Err(text) = pattern::check_payload(*identity, payload) {
                        verdict.mixed_up(format!("{}: the director's {text}", self.name()));
                    }
                }
                Err(error) => verdict.lost(format!("{}: the director's {anchor:?}: {error}", self.name())),
            }
        }
    }

    /// Sets and resets the pulse event: all its waiters continue.
    pub(super) fn pulse(&self, verdict: &mut Verdict) {
        if let Some(auditor) = &self.auditor {
            auditor.pulse(verdict);
        }
    }

    /// Begins an audit, or continues the present one; returns true when it is over.
    pub(super) fn audit(&mut self, verdict: &mut Verdict) -> bool {
        let name = self.name();
        let (Some(auditor), Some(member)) = (&mut self.auditor, &self.member) else { return true };
        match auditor.closed_at() {
            None => auditor.begin(member),
            Some(since) if since.elapsed() > AUDIT => {
                auditor.give_up(member);
                return true;
            }
            Some(_) => {}
        }
        auditor.go_on(&name, &self.segment.space, member, verdict) == Progress::Done
    }

    /// The last audit, after all members are gone.
    fn last_audit(&mut self, patience: Duration, verdict: &mut Verdict) -> Audits {
        let name = self.name();
        let (Some(mut auditor), Some(member)) = (self.auditor.take(), &self.member) else {
            return Audits::default();
        };
        let started = Instant::now();
        auditor.begin(member);
        while let Progress::Busy(why) = auditor.go_on(&name, &self.segment.space, member, verdict) {
            if started.elapsed() > patience {
                verdict.stuck(format!("{name}: nobody is left, but {why}"));
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        auditor.finish(verdict);
        auditor.figures
    }

    /// Verifies and frees the pinned blocks of incarnations that are `over`; returns their number.
    pub(super) fn sweep(&self, over: &dyn Fn(u64, u64) -> bool, verdict: &mut Verdict) -> u64 {
        let Some(member) = &self.member else { return 0 };
        let mut swept = 0;
        for found in self.pinned() {
            match self.label(&found) {
                Ok(label) if over(label.seat, label.incarnation) => {
                    // SAFETY: the incarnation that used it is over; the label was read through a pointer into a copy.
                    match unsafe { member.free_pinned(found.offset) } {
                        Ok(()) => swept += 1,
                        Err(_) if !self.is_still(&found, Ok(label)) => {}
                        Err(error) => verdict.refused(format!("{}: cannot sweep: {error}", self.name())),
                    }
                }
                Ok(_) => {}
                // It may have been freed and reused since we saw it.
                Err(text) if self.is_still(&found, Err(text.clone())) => {
                    verdict.mixed_up(format!("{}: pinned at {}: {text}", self.name(), found.offset));
                }
                Err(_) => {}
            }
        }
        swept
    }

    /// Reads the label of a block that was pinned when it was listed.
    pub(super) fn label(&self, found: &BlockInfo) -> Result<Label, String> {
        let mut copy = vec![0; found.bytes as usize];
        if let Some(member) = &self.member {
            let start = member.local().address(RawBlock { offset: found.offset, len: copy.len() });
            // SAFETY: the block lies in the payloads of the space; if another member writes it meanwhile, it is not
            // pinned any more and the bytes read are not used.
            unsafe { start.copy_to_nonoverlapping(copy.as_mut_ptr(), copy.len()) };
        }
        Label::read(&copy)
    }

    fn is_still(&self, found: &BlockInfo, label: Result<Label, String>) -> bool {
        self.label(found) == label && self.pinned().contains(found)
    }

    pub(super) fn pinned(&self) -> Vec<BlockInfo> {
        let mut blocks = self.segment.space.blocks();
        blocks.retain(|block| matches!(block.owner, BlockState::Pinned { .. }));
        blocks
    }

    /// The last check, after all members have left: no handle is held, no block is owned, every word is valid, and as
    /// many resources can be allocated as at the beginning.
    pub(super) fn finish(&mut self, patience: Duration, verdict: &mut Verdict) -> Audits {
        let name = self.name();
        let started = Instant::now();
        // A forked child of a killed member dies soon after it; the director does not know it.
        let others = |lease: &LeaseInfo| lease.held == Some(true) && lease.pid != std::process::id();
        while self.segment.space.leases().iter().any(others) {
            if started.elapsed() > patience {
                verdict
                    .stuck(format!("{name}: somebody is still a member: {:?}", self.segment.space.leases()));
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let audits = self.last_audit(patience, verdict);
        self.look(verdict);
        self.anchors.clear();
        let Some(member) = self.member.take() else { return audits };
        if let Err(error) = member.recover() {
            verdict.refused(format!("{name}: the director cannot recover: {error}"));
        }
        if let Err(error) = member.leave() {
            verdict.refused(format!("{name}: the director cannot leave: {error}"));
        }
        // With a new membership, which holds nothing, not even in caches.
        let again = self.segment.space.join().map_err(Failed::from);
        let room = again.and_then(|member| {
            let room = measure(&member, self.segment.space.geometry().unit_bytes)?;
            member.leave()?;
            Ok(room)
        });
        match room {
            Ok(room) if room == self.room => {}
            Ok(room) => {
                let missing = self.room.handles.abs_diff(room.handles) + self.room.units.abs_diff(room.units);
                verdict.leaked(missing, format!("{name}: {room:?} fits in, {:?} did at first", self.room));
            }
            Err(error) => verdict.refused(format!("{name}: {error}")),
        }
        let stats = verdict.last_look(&name, &self.segment.space);
        let (handles, blocks) = (stats.handles_live, stats.blocks_live());
        let members = u64::from(stats.members_live);
        if handles + blocks + members > 0 || stats.bytes_owned > 0 {
            verdict.leaked(
                handles + blocks + members,
                format!(
                    "{name}: {handles} handles, {blocks} blocks, {} bytes and {members} members are left",
                    stats.bytes_owned
                ),
            );
        }
        audits
    }
}

/// Allocates all handles and units, and frees them.
pub(super) fn measure(member: &Member, unit_bytes: u32) -> Result<Room, Failed> {
    let room = Room { handles: measure_handles(member)?, units: measure_units(member, unit_bytes)? };
    member.trim()?;
    Ok(room)
}

/// Creates handles until none is free, closes them, and returns their number.
pub(super) fn measure_handles(member: &Member) -> Result<u64, Failed> {
    let mut local = member.local();
    let mut held = Vec::new();
    loop {
        match local.create(ANCHOR_KIND, &[]) {
            Ok(one) => held.push(one),
            Err(tenure::error::CreateError::Exhausted { .. }) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let handles = held.len() as u64;
    // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
    held.into_iter().try_for_each(|one| unsafe { local.close(one) })?;
    Ok(handles)
}

/// Allocates units until none is free, frees them, and returns their number.
fn measure_units(member: &Member, unit_bytes: u32) -> Result<u64, Failed> {
    let mut local = member.local();
    let layout = Layout::from_size_align(unit_bytes as usize, 1)?;
    let mut blocks = Vec::new();
    loop {
        match local.alloc(layout) {
            Ok(one) => blocks.push(one),
            Err(tenure::error::AllocError::Scratch(ScratchError::Exhausted { .. })) => break,
            Err(error) => return Err(error.into()),
        }
    }
    let units = blocks.len() as u64;
    // SAFETY: we own the block as a raw value, and nobody uses its bytes any more.
    blocks.into_iter().try_for_each(|one| unsafe { local.free(one) })?;
    Ok(units)
}
