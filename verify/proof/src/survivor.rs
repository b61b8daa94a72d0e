//! The member that lives: its handles and blocks, the full set of operations it must finish, and the conditions that
//! must hold then.

use std::alloc::Layout;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};

use tenure::{
    Backend, BlockState, Handle, LeaseId, LeaseInfo, Local, Member, Named, Raw, Space, Token,
    collections::{Map, Queue},
    error::{CreateError, OpenHandleError, PutError, SlotError},
    file::{Descriptor, FileShare},
    raw::{RawBlock, RawHandle},
    sync::{Locked, Versioned},
};

use crate::apart::apart;
use crate::board::Board;
use crate::case::{KIND, MEMBERS, Size, Stage};
use crate::peer::Peer;
use crate::sys;
use crate::target::Target;
use crate::things::Things;

/// The contents of a handle or block of so many bytes.
pub(crate) fn payload(len: usize) -> Vec<u8> {
    vec![len as u8 | 1; len]
}

pub(crate) fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, 16).unwrap()
}

/// Whether every byte is as [`payload`] has it.
pub(crate) fn is_intact(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == bytes.len() as u8 | 1)
}

pub(crate) fn fill(local: &Local<'_>, block: RawBlock) {
    // SAFETY: the caller's own block, at least that long.
    unsafe { local.address(block).write_bytes(block.len as u8 | 1, block.len) };
}

pub(crate) fn is_block_intact(local: &Local<'_>, block: RawBlock) -> bool {
    // SAFETY: as above.
    is_intact(unsafe { std::slice::from_raw_parts(local.address(block), block.len) })
}

/// The taken resource, or none if others have all and `may_fail` allows that.
fn taken<T, E: std::fmt::Display>(result: Result<T, E>, may_fail: bool) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) if may_fail && error.to_string().contains("exhausted") => None,
        Err(error) => panic!("the survivor was refused: {error}"),
    }
}

/// The values that processes change: all numbers of one are equal, unless it is damaged.
pub(crate) struct Values {
    pub(crate) locked: Locked<[u64; 3]>,
    pub(crate) versioned: Versioned<[u64; 5]>,
}

/// A map that processes change, three keys of one bucket, and one of another.
pub(crate) struct Mapped {
    pub(crate) map: Map,
    pub(crate) keys: [[u8; 8]; 4],
    /// What the second key must have: only the survivor changes it.
    pub(crate) second: Option<u8>,
}

/// The survivor. It never leaves memory: its process ends without clean-up.
pub(crate) struct Survivor {
    pub(crate) space: &'static Space,
    pub(crate) me: &'static Member,
    pub(crate) local: Local<'static>,
    pub(crate) size: Size,
    pub(crate) board: &'static Board,
    /// Handles that must stay as they are.
    pub(crate) held: Vec<RawHandle>,
    /// Their tokens, and others that scripts need.
    pub(crate) tokens: Vec<Token>,
    /// Handles with names that must stay as they are.
    pub(crate) named: Vec<Handle<Raw>>,
    /// Blocks that must stay as they are.
    pub(crate) blocks: Vec<RawBlock>,
    /// Blocks that another process may have freed or not.
    pub(crate) given: Vec<RawBlock>,
    /// A handle of another local, which a case gives up.
    pub(crate) spare: Option<(Local<'static>, RawHandle)>,
    /// Descriptors and entries in tables of files, until everything is counted.
    pub(crate) descriptors: Vec<Descriptor>,
    pub(crate) shares: Vec<FileShare>,
    /// The objects to wait for.
    pub(crate) things: Option<Things>,
    /// Values that change.
    pub(crate) values: Option<Values>,
    pub(crate) mapped: Option<Mapped>,
    pub(crate) queue: Option<Queue<Raw>>,
    /// A process of which it has a handle.
    pub(crate) target: Option<Target>,
    /// A member with a monitor, which has observed nothing yet: it is stopped.
    pub(crate) witness: Option<Peer>,
    /// A member whose notifications have been signalled, and which is not dead yet.
    pub(crate) dying: Option<Peer>,
    /// Whether the actor met it, and it has played its part.
    pub(crate) has_met: bool,
    /// Whether the actor, or an earlier process, was killed.
    pub(crate) actor_died: bool,
    pub(crate) dead_before: bool,
    /// Whether an opener may keep handles from ending.
    pub(crate) is_delayed: bool,
    /// The leases of members that were dead when the actor began.
    dead: Vec<LeaseId>,
    /// Another member, which joins while a process is stopped.
    guest: Option<(Member, RawHandle, Vec<RawBlock>)>,
    /// The shared bytes: mapped a second time, and opened a second time, so that it has file locks of its own.
    bytes: *const u8,
    byte_count: usize,
    pub(crate) file: File,
}

impl Survivor {
    pub(crate) fn new(size: Size, board: &'static Board) -> Self {
        let space: &'static Space = Box::leak(Box::new(size.options().memfd().unwrap()));
        let me: &'static Member = Box::leak(Box::new(space.join().unwrap()));
        let byte_count = space.bytes() as usize;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&space.fd().unwrap());
        let mut survivor = Self {
            space,
            me,
            local: me.local(),
            size,
            board,
            held: Vec::new(),
            tokens: Vec::new(),
            named: Vec::new(),
            blocks: Vec::new(),
            given: Vec::new(),
            spare: None,
            descriptors: Vec::new(),
            shares: Vec::new(),
            things: None,
            values: None,
            mapped: None,
            queue: None,
            target: None,
            witness: None,
            dying: None,
            has_met: false,
            actor_died: false,
            dead_before: false,
            is_delayed: false,
            dead: Vec::new(),
            guest: None,
            bytes: sys::look_at(fd, byte_count),
            byte_count,
            file: File::options().read(true).write(true).open(format!("/proc/self/fd/{fd}")).unwrap(),
        };
        for len in [8, 100, 32] {
            survivor.create(len);
        }
        let block = survivor.local.alloc(layout(200)).unwrap();
        fill(&survivor.local, block);
        survivor.blocks.push(block);
        survivor
    }

    pub(crate) fn stage(&self) -> Stage<'_> {
        Stage {
            space: self.space,
            tokens: &self.tokens,
            board: self.board,
            guarded: false,
            seat: 0,
            is_shared: false,
        }
    }

    /// All shared bytes, while nobody else is at work.
    pub(crate) fn shared(&self) -> &[u8] {
        // SAFETY: mapped for good, as many bytes; every other process that could write is stopped or gone.
        unsafe { std::slice::from_raw_parts(self.bytes, self.byte_count) }
    }

    /// A number for the shared bytes and the held locks, the same for equal ones: without bytes that differ from one
    /// space to the next, such as the numbers of processes in the lease table.
    pub(crate) fn fingerprint(&self) -> u64 {
        let members = usize::from(MEMBERS);
        let (bytes, mut hasher) = (self.shared(), DefaultHasher::new());
        bytes[..BOOT_ID].hash(&mut hasher);
        bytes[UID..LEASES].hash(&mut hasher);
        for slot in 0..members {
            let lease = &bytes[LEASES + LEASE_BYTES * slot..][..LEASE_BYTES];
            (&lease[..8], &lease[16..]).hash(&mut hasher);
        }
        bytes[notification_offset(members as u8, 0)..].hash(&mut hasher);
        self.space.leases().iter().for_each(|lease| lease.held.hash(&mut hasher));
        hasher.finish()
    }

    /// Whether the shared bytes differ from `seen`; copies them there.
    pub(crate) fn has_changed(&self, seen: &mut Vec<u8>) -> bool {
        let differs = seen.as_slice() != self.shared();
        if differs {
            seen.clear();
            seen.extend_from_slice(self.shared());
        }
        differs
    }

    /// The notification word of slot `owner` towards slot `watcher`. docs/layout.md has its place.
    pub(crate) fn notification(&self, owner: u8, watcher: u8) -> u32 {
        // SAFETY: aligned, inside the mapping, which stays for good; loads only, as it is for reading.
        let notification =
            unsafe { &*self.bytes.add(notification_offset(owner, watcher)).cast::<AtomicU32>() };
        notification.load(Ordering::Acquire)
    }

    /// Signals the notifications of a slot as the kernel does when the thread that armed them ends.
    pub(crate) fn signal(&self, owner: u8) {
        for watcher in slots() {
            let said = self.notification(owner, watcher);
            if said & ARMED != 0 {
                let signalled = (said & !ARMED | SIGNALLED).to_le_bytes();
                self.file.write_all_at(&signalled, notification_offset(owner, watcher) as u64).unwrap();
            }
        }
    }

    /// Creates a handle that must stay.
    pub(crate) fn create(&mut self, len: usize) -> Token {
        let held = self.local.create(KIND, &payload(len)).unwrap();
        self.held.push(held);
        let token = self.local.token(&held);
        self.tokens.push(token);
        token
    }

    /// Holds the handle of that name from now on; no other process may use the name then.
    pub(crate) fn take_name(&mut self, name: &str) {
        let named = self.me.create_or_open_raw(name, KIND, &payload(40)).unwrap();
        self.named.push(named.into_inner());
        self.verify("a name just taken");
    }

    /// Opens the handle of a posted token; a handle that is over is also right.
    pub(crate) fn open_posted(&mut self, slot: usize) {
        let Some(token) = self.posted(slot) else { return };
        match self.local.open(KIND, token) {
            Ok(held) => self.held.push(held),
            Err(OpenHandleError::Stale { .. }) => {}
            Err(error) => panic!("{token}: {error}"),
        }
    }

    /// The posted token.
    pub(crate) fn posted(&self, slot: usize) -> Option<Token> {
        Token::try_from(self.board.read(slot)).ok()
    }

    /// Closes the last handle that it holds.
    pub(crate) fn close_last(&mut self) {
        let held = self.held.pop().unwrap();
        // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
        unsafe { self.local.close(held) }.unwrap();
    }

    fn leeway(&self, exhausted: bool) -> Leeway {
        Leeway { exhausted, delayed: self.is_delayed }
    }

    /// Every operation of a member, on every size; gives everything back.
    pub(crate) fn everything(&mut self, may_fail: bool) {
        for at in 0..self.tokens.len() {
            // Some are over by now.
            if let Ok(held) = self.local.open(KIND, self.tokens[at]) {
                // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
                assert!(is_intact(unsafe { self.local.get(&held) }.unwrap()), "a shared handle changed");
                // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
                unsafe { self.local.close(held) }.unwrap();
            }
        }
        let leeway = self.leeway(may_fail);
        everything(self.me, &mut self.local, self.size, leeway);
        self.verify("meanwhile");
    }

    /// All held handles and blocks are unchanged.
    pub(crate) fn verify(&self, when: &str) {
        for held in &self.held {
            // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
            let bytes =
                unsafe { self.local.get(held) }.unwrap_or_else(|error| panic!("{when}: lost: {error}"));
            assert!(is_intact(bytes), "{when}: a handle's payload changed");
        }
        for handle in &self.named {
            assert!(is_intact(handle.get().unwrap()), "{when}: the payload of a name changed");
            let name = handle.name().unwrap().unwrap();
            let found = self.me.look_up(name).unwrap_or_else(|error| panic!("{when}: {name} lost: {error}"));
            assert_eq!(found, (KIND, handle.token()), "{when}: somebody else has the name");
        }
        for block in &self.blocks {
            assert!(is_block_intact(&self.local, *block), "{when}: a block changed");
        }
    }

    /// A new member comes, works and stays.
    pub(crate) fn welcome_guest(&mut self, may_fail: bool) {
        let guest = self.space.join().unwrap();
        let mut local = guest.local();
        everything(&guest, &mut local, self.size, self.leeway(may_fail));
        if let Some(held) = taken(local.create(KIND, &payload(100)), may_fail) {
            let sizes = [16, 60, self.size.unit_bytes / 2, self.size.unit_bytes];
            let blocks: Vec<_> =
                sizes.iter().filter_map(|len| taken(local.alloc(layout(*len)), may_fail)).collect();
            blocks.iter().for_each(|block| fill(&local, *block));
            drop(local);
            self.guest = Some((guest, held, blocks));
        }
    }

    /// The guest's handles and blocks are unchanged; it leaves.
    pub(crate) fn see_off_guest(&mut self) {
        let Some((guest, held, blocks)) = self.guest.take() else { return };
        let mut local = guest.local();
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        let bytes =
            unsafe { local.get(&held) }.unwrap_or_else(|error| panic!("the guest lost a handle: {error}"));
        assert!(is_intact(bytes), "the guest's handle changed");
        let found = self.space.blocks();
        let (owner, mut kept) = (BlockState::lease(guest.lease()), blocks.iter());
        let is_listed =
            |block: &RawBlock| found.iter().any(|one| (one.offset, one.owner) == (block.offset, owner));
        assert!(kept.all(is_listed), "the guest's blocks are {blocks:?}, but there are {found:?}");
        for block in blocks {
            assert!(is_block_intact(&local, block), "the guest's block changed");
            // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
            unsafe { local.free(block) }.unwrap();
        }
        // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
        unsafe { local.close(held) }.unwrap();
        drop(local);
        guest.leave().unwrap();
    }

    /// Records the leases of dead members that are not recovered.
    pub(crate) fn note_dead(&mut self) {
        let leases = apart(|| self.space.leases());
        let is_dead = |lease: &&LeaseInfo| lease.live && !sys::exists(lease.pid);
        let ids = leases.iter().filter(is_dead).map(LeaseInfo::id);
        self.dead = apart(|| ids.collect());
    }

    /// Whether a lease still belongs to a member that was dead when the actor began. (A joining process has a number of
    /// its own only after its lease is LIVE.)
    pub(crate) fn is_of_the_dead(&self, lease: &LeaseInfo) -> bool {
        lease.live && self.dead.contains(&lease.id())
    }

    /// Recovery has left nothing of the dead to others. Checked before another process joins, works and leaves: an
    /// entry to which no group map leads is found again by the next member that leaves after work in its group.
    pub(crate) fn assert_nothing_is_left(&self) {
        let is_alone = self.witness.is_none()
            && self.dying.is_none()
            && self.things.as_ref().is_none_or(|things| !things.has_sleeper());
        if is_alone {
            let violations = self.space.check_quiet().violations;
            assert!(violations.is_empty(), "after the recovery: {violations:#?}");
        }
    }

    /// No dead member has a lease any more; `others` are alive besides the survivor.
    pub(crate) fn assert_recovered(&self, others: usize) {
        let live = self.space.leases().iter().filter(|lease| lease.live && lease.held != Some(true)).count();
        assert_eq!(live, 0, "a dead member was not recovered");
        let live = self.space.leases().iter().filter(|lease| lease.live).count();
        assert!(live <= 1 + others, "{live} members");
    }

    /// Alone and quiet: exactly the survivor's handles and blocks are in use.
    pub(crate) fn settle(&mut self) {
        self.descriptors.clear();
        self.shares.clear();
        if let Some(things) = self.things.take() {
            assert!(!things.has_sleeper(), "somebody still sleeps");
        }
        self.target = None;
        for info in self.space.slots() {
            assert_eq!(info.claimed_by, None, "claimed by somebody who is not there");
            assert_eq!(self.me.slots().evict(info.slot).unwrap(), info.token);
        }
        for block in self.space.blocks() {
            if matches!(block.owner, BlockState::Pinned { .. }) {
                // SAFETY: it is ours by agreement, and nobody uses its bytes any more.
                unsafe { self.me.free_pinned(block.offset) }.unwrap();
            }
        }
        for block in std::mem::take(&mut self.given) {
            // Or another process has freed it.
            // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
            let _ = unsafe { self.local.free(block) };
        }
        self.verify("afterwards");
        let report = self.space.check_quiet();
        assert!(report.is_clean() && report.pending.is_empty(), "{report:#?}");
        let stats = &report.stats;
        let me = self.me.lease();
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        let attached =
            self.held.iter().filter(|held| unsafe { self.local.get(held) }.unwrap().len() > 32).count();
        let found = (stats.members_live, stats.handles_live, stats.blocks_leased, stats.blocks_attached);
        let (held, attached) = (self.held.len() + self.named.len(), attached + self.named.len());
        let expected = (1, held as u64, self.blocks.len() as u64, attached as u64);
        assert_eq!(found, expected, "members, handles, blocks and attached blocks: lost or leaked");
        assert_eq!(stats.blocks_pinned, 0, "a pinned block is left");
        assert_eq!(stats.handles_by_lease[usize::from(me.index)], expected.1, "handles held by the survivor");
        for handle in self.space.handles() {
            let others = handle.holders.len() - u32::from(handle.holders.contains(me.index));
            assert!(others == 0, "{handle:?} is held by somebody who is not there");
        }
    }

    /// Gives everything up; then all resources can be taken, and after leaving nothing is in use.
    pub(crate) fn end(mut self) {
        self.named.clear();
        assert_eq!(self.space.names(), [], "names without a holder");
        // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
        self.held.drain(..).for_each(|held| unsafe { self.local.close(held) }.unwrap());
        // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
        self.blocks.drain(..).for_each(|block| unsafe { self.local.free(block) }.unwrap());
        let (space, me, size) = (self.space, self.me, self.size);
        drop(self);
        let retired = space.stats().handles_retired;
        me.trim().unwrap();
        let mut local = me.local();
        let (handles, units) = use_up(me, &mut local, size);
        assert_eq!(handles + retired, u64::from(size.handles), "handles that could be created");
        assert_eq!(units, u64::from(size.units), "units that could be allocated");
        drop(local);
        // SAFETY: it came from a box, and nothing borrows from it any more.
        let me = unsafe { Box::from_raw(std::ptr::from_ref(me).cast_mut()) };
        me.leave().unwrap();
        let report = space.check();
        assert!(report.is_clean() && report.pending.is_empty(), "{report:#?}");
        let stats = report.stats;
        let left = stats.handles_live + stats.handles_claimed + stats.blocks_live() + stats.bytes_owned;
        assert_eq!(left, 0, "after everybody left: {stats:?}");
        let leases = space.leases();
        assert!(leases.iter().all(|lease| !lease.live && lease.held == Some(false)), "{leases:?}");
    }
}

/// The tolerances of `everything`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Leeway {
    /// Others may have all handles and memory.
    pub(crate) exhausted: bool,
    /// A stopped opener, or a dead one that is not recovered, may have its bit on an entry that is another handle's by
    /// now: that handle ends only when the opener goes on or is recovered.
    pub(crate) delayed: bool,
}

/// Every operation of a member, on every size.
pub(crate) fn everything(me: &Member, local: &mut Local<'_>, size: Size, leeway: Leeway) {
    let (unit, may_fail) = (size.unit_bytes, leeway.exhausted);
    for len in [8, 100, 300] {
        let Some(held) = taken(local.create(KIND, &payload(len)), may_fail) else { continue };
        let token = local.token(&held);
        let again = local.open(KIND, token).unwrap();
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        assert!(is_intact(unsafe { local.get(&again) }.unwrap()), "a new handle's payload changed");
        // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
        unsafe { local.close(held) }.unwrap();
        // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
        unsafe { local.close(again) }.unwrap();
        match local.open(KIND, token) {
            Err(OpenHandleError::Stale { .. }) => {}
            Ok(again) if leeway.delayed => {
                // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
                let bytes = unsafe { local.get(&again) }.unwrap();
                assert!(is_intact(bytes), "the payload changed before the end");
                // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
                unsafe { local.close(again) }.unwrap();
            }
            other => panic!("{token} is not stale: {other:?}"),
        }
    }
    names(me, leeway);
    keep(me, leeway);
    let mut other = me.local();
    for len in [16, 100, unit / 2, unit + 1] {
        let Some(block) = taken(local.alloc(layout(len)), may_fail) else { continue };
        fill(local, block);
        // SAFETY: the block is ours by a raw value, and nobody uses the old bytes any more.
        let Some(grown) = taken(unsafe { local.realloc(block, layout(2 * len)) }, may_fail) else {
            // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
            unsafe { local.free(block) }.unwrap();
            continue;
        };
        fill(local, grown);
        // SAFETY: the block is ours by a raw value, and nobody uses the old bytes any more.
        let Some(shrunk) = taken(unsafe { local.realloc(grown, layout(len)) }, may_fail) else {
            // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
            unsafe { local.free(grown) }.unwrap();
            continue;
        };
        // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
        unsafe { other.free(shrunk) }.unwrap();
    }
    if let Some(block) = taken(local.alloc(layout(100)), may_fail) {
        fill(local, block);
        // SAFETY: the block is ours by a raw value, and nobody writes it any more.
        match taken(unsafe { local.create_with(KIND, block) }, may_fail) {
            // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
            Some(held) => unsafe { local.close(held) }.unwrap(),
            // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
            None => unsafe { local.free(block) }.unwrap(),
        }
    }
    if let Some(block) = taken(me.alloc(layout(48)), may_fail) {
        let pinned = block.pin().unwrap();
        // SAFETY: it is ours by agreement, and nobody uses its bytes any more.
        unsafe { me.free_pinned(pinned) }.unwrap();
    }
}

/// Names that nobody else uses: created, taken, found, opened, given up.
fn names(me: &Member, Leeway { exhausted: may_fail, delayed }: Leeway) {
    for name in ["survivor", "guest"] {
        let Some(named) = taken(me.create_or_open_raw(name, KIND, &payload(40)), may_fail) else { continue };
        let Named::Created(handle) = named else { panic!("{name} is not used by others") };
        let again = me.named(name).create_raw(KIND, &[]);
        assert!(
            matches!(again, Err(CreateError::NameTaken { token }) if token == handle.token()),
            "{again:?}"
        );
        let opened = me.open_raw(KIND, name).unwrap();
        drop(handle);
        assert!(is_intact(opened.get().unwrap()), "the payload of a name changed");
        drop(opened);
        let found = me.look_up(name);
        assert!(
            matches!(found, Err(OpenHandleError::NoSuchName)) || delayed,
            "{name} has no holder: {found:?}"
        );
    }
}

/// The last two slots of a space with slots, which nobody else uses: put, claimed, given back, acked, replaced, taken, evicted.
fn keep(me: &Member, Leeway { exhausted: may_fail, delayed }: Leeway) {
    let slots = me.slots();
    let Some(slot) = slots.count().checked_sub(2) else { return };
    let create = || taken(me.create_raw(KIND, &payload(100)), may_fail);
    let Some(first) = create() else { return };
    let token = first.token();
    slots.put(slot, &first).unwrap();
    assert_eq!(slots.put(slot + 1, &first), Err(PutError::Already { slot }));
    drop(first);
    let claim = slots.claim_raw(slot, KIND).unwrap();
    assert!(is_intact(claim.get().unwrap()), "the payload of a handle in a slot changed");
    assert!(matches!(slots.take_raw(slot, KIND), Err(SlotError::Claimed { .. })));
    claim.give_back().unwrap();
    slots.claim_raw(slot, KIND).unwrap().ack().unwrap();
    let opened = me.open_raw(KIND, token);
    assert!(
        matches!(opened, Err(OpenHandleError::Stale { .. })) || delayed,
        "{token} has no holder: {opened:?}"
    );
    drop(opened);
    let (Some(second), Some(third)) = (create(), create()) else { return };
    assert_eq!(slots.replace(slot, &second), Ok(None));
    assert_eq!(slots.replace(slot, &third), Ok(Some(second.token())));
    slots.put(slot + 1, &second).unwrap();
    assert_eq!(slots.take_raw(slot, KIND).unwrap().token(), third.token());
    assert_eq!(slots.evict(slot + 1).unwrap(), second.token());
    assert!(matches!(slots.evict(slot + 1), Err(SlotError::Empty { .. })));
}

/// Takes all handles and all units, and gives them back; returns their numbers.
fn use_up(me: &Member, local: &mut Local<'_>, size: Size) -> (u64, u64) {
    let mut held = Vec::with_capacity(size.handles as usize);
    while let Ok(one) = local.create(KIND, b"x") {
        held.push(one);
    }
    // Handles that the member has claimed ahead for calls without a local.
    let mut others = Vec::with_capacity(size.handles as usize);
    while let Ok(one) = me.create_raw(KIND, b"x") {
        others.push(one);
    }
    let mut blocks = Vec::with_capacity(size.units as usize);
    while let Ok(block) = local.alloc(layout(size.unit_bytes)) {
        blocks.push(block);
    }
    let found = ((held.len() + others.len()) as u64, blocks.len() as u64);
    // SAFETY: the count is ours by a raw value, and no slice of the payload is used any more.
    held.into_iter().for_each(|held| unsafe { local.close(held) }.unwrap());
    // SAFETY: the block is ours by a raw value, and nobody uses its bytes any more.
    blocks.into_iter().for_each(|block| unsafe { local.free(block) }.unwrap());
    found
}

/// The thread id in a notification: the thread lives.
pub(crate) const ARMED: u32 = 0x3FFF_FFFF;
/// In a notification: the thread that armed it has ended.
pub(crate) const SIGNALLED: u32 = 0x4000_0000;

/// The bytes that differ between spaces, and the end of them, as in docs/layout.md.
const BOOT_ID: usize = 128;
const UID: usize = 152;
const LEASES: usize = 512;
const LEASE_BYTES: usize = 64;

fn notification_offset(owner: u8, watcher: u8) -> usize {
    let members = usize::from(MEMBERS);
    LEASES + LEASE_BYTES * members + 8 * (usize::from(owner) * members + usize::from(watcher))
}

pub(crate) fn slots() -> impl Iterator<Item = u8> {
    (0..MEMBERS).map(|slot| slot as u8)
}

/// The posted lease.
pub(crate) fn posted_lease(board: &Board, slot: usize) -> LeaseId {
    LeaseId { index: board.read(slot) as u8, incarnation: board.read(slot + 1) }
}

/// Removes a named space, if it exists, in its backend.
pub(crate) fn remove(name: &str) {
    let _ = Space::remove(Backend::Shm, name, true);
    let _ = Space::remove(Backend::SysV, name, true);
    let _ = Space::remove(Backend::File, &format!("/dev/shm/{name}"), true);
    remove_files(name);
}

/// Removes the files of a named space, with the unnamed remains of killed creators: only the next creator of the name would find those.
pub(crate) fn remove_files(name: &str) {
    for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let rest = file.strip_prefix("tenure-").unwrap_or(&file).strip_prefix(name);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.')) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}
