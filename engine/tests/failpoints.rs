//! Killed at every named point of all three crates, a process loses nothing of the others' and leaks nothing of its own.
//!
//! Method: a child does everything once, with one point armed, and dies of it by SIGKILL. The parent, which holds handles
//! and blocks all the while, recovers, looks at everything, and does everything itself. Twice: with a space in which
//! nobody died before, and with one in which somebody died in the middle of everything, so that the child dies recovering.

mod common;

use std::alloc::Layout;
use std::collections::BTreeSet;

use common::{Name, Process, linger, role, say};
use tenure::{Kind, Local, Member, Options, Scratch, Space, Token};

const KIND: Kind = Kind::raw(3);
const UNIT: usize = 4 << 10;
/// Bytes of the handle that outlives the victim, in a size of its own.
const LEFT: usize = 1500;

/// Small, so that everything runs out; lazily committed, so that everything grows; nobody recovers but on request.
fn options() -> Options {
    Space::options().members(4).handles(2048).scratch(1100 * UNIT as u64).unit(UNIT as u32).monitor(false)
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let [name, what, point, time, tokens @ ..] = &role[..] else { panic!("{role:?}") };
    let tokens: Vec<Token> = tokens.iter().map(|token| token.parse().unwrap()).collect();
    if what == "victim" {
        let space = Space::options().monitor(false).attach(name).unwrap();
        let me = space.join().unwrap();
        let kept = leave_a_mess(&me, &tokens);
        say("ready", me.local().token(kept.last().unwrap()));
        linger();
        drop(kept);
        return;
    }
    tenure_segment::crash::arm_from(point, time.parse().unwrap());
    let space = Space::options().monitor(false).attach(name).unwrap();
    let me = space.join().unwrap();
    everything(&me, &tokens);
    me.leave().unwrap();
}

fn bytes(len: usize) -> Layout {
    Layout::from_size_align(len, 16).unwrap()
}

/// Holds something of every sort.
fn leave_a_mess(me: &Member, tokens: &[Token]) -> Vec<tenure::Held> {
    let mut local = me.local();
    let mut held: Vec<_> = tokens.iter().map(|token| local.open(KIND, *token).unwrap()).collect();
    for len in [8, 100, LEFT] {
        held.push(local.create(KIND, &vec![1; len]).unwrap());
        local.alloc(bytes(len)).unwrap();
    }
    local.alloc(bytes(3 * UNIT)).unwrap();
    #[cfg(feature = "waiting")]
    {
        let mutex = tenure::Mutex::create(me).unwrap();
        mutex.acquire(None).unwrap();
        std::mem::forget(mutex);
    }
    held
}

/// Every operation, on every path.
fn everything(me: &Member, tokens: &[Token]) {
    let mut local = me.local();
    let first: Vec<_> = tokens.iter().map(|token| local.open(KIND, *token).unwrap()).collect();
    let second: Vec<_> = tokens.iter().map(|token| local.open(KIND, *token).unwrap()).collect();
    first.into_iter().chain(second).for_each(|held| local.close(held).unwrap());

    // Handles: cached, refilled, private, with a block; stale.
    let mut held: Vec<_> = (0..200u64).map(|i| local.create(KIND, &i.to_le_bytes()).unwrap()).collect();
    held.extend((0..5).map(|i| local.create(KIND, &[i; 300]).unwrap()));
    for _ in 0..16 {
        let again = local.create(KIND, b"worn").unwrap();
        local.close(again).unwrap();
    }
    let gone = local.token(&held[0]);
    held.into_iter().for_each(|held| local.close(held).unwrap());
    assert!(local.open(KIND, gone).is_err());

    let with_block = local.create(KIND, &[9; 300]).unwrap();
    local.close(with_block).unwrap();

    #[cfg(feature = "names")]
    names(me);

    // Blocks: every class, spans of several units, large, split, grown, shrunk, moved.
    let mut blocks = Vec::new();
    for len in [1, 100, 600, LEFT, UNIT / 2, UNIT + 1, 5 * UNIT] {
        blocks.extend((0..3).map(|_| local.alloc(bytes(len)).unwrap()));
    }
    blocks.drain(..).for_each(|block| local.free(block).unwrap());
    let run = local.alloc(bytes(9 * UNIT)).unwrap();
    local.free(run).unwrap();
    let run = local.alloc(bytes(9 * UNIT)).unwrap();
    local.free(run).unwrap();
    let part = local.alloc(bytes(4 * UNIT)).unwrap();
    let part = local.realloc(part, bytes(2 * UNIT)).unwrap();
    let part = local.realloc(part, bytes(3 * UNIT)).unwrap();
    let part = local.realloc(part, bytes(40)).unwrap();

    // Handed on: from another thread's cache, pinned, attached by hand.
    let mut other = me.local();
    other.free(part).unwrap();
    let strange: Vec<_> = (0..40).map(|_| other.alloc(bytes(64)).unwrap()).collect();
    strange.into_iter().for_each(|block| local.free(block).unwrap());
    (0..80)
        .map(|_| other.alloc(bytes(64)).unwrap())
        .collect::<Vec<_>>()
        .into_iter()
        .for_each(|b| other.free(b).unwrap());
    let pinned = me.alloc(bytes(128)).unwrap().pin().unwrap();
    me.free_pinned(pinned).unwrap();
    let block = other.alloc(bytes(200)).unwrap();
    let attached = other.create_with(KIND, block).unwrap();
    local.close(attached).unwrap();
    use_up(&mut local);
    drop((local, other));
    me.recover().unwrap();
    me.trim().unwrap();
}

/// Created, found, taken, opened, given up.
#[cfg(feature = "names")]
fn names(me: &Member) {
    for name in ["first", "second", "third", "fourth", "fifth", "sixth"] {
        let created = me.create_raw_named(name, KIND, b"named").unwrap();
        assert!(me.create_raw_named(name, KIND, b"").is_err());
        let opened = me.open_raw_named(name, KIND).unwrap();
        let found = me.create_or_open_raw(name, KIND, b"").unwrap();
        assert!(!found.is_created() && found.into_inner().token() == created.token());
        drop(created);
        assert_eq!(opened.get().unwrap(), b"named");
    }
    assert!(me.create_or_open_raw("first", KIND, b"").unwrap().is_created());
}

/// Takes whatever there is and gives it back.
fn use_up(local: &mut Local<'_>) {
    let mut blocks: Vec<Scratch> = Vec::new();
    while let Ok(block) = local.alloc(bytes(UNIT / 2)) {
        blocks.push(block);
    }
    blocks.into_iter().for_each(|block| local.free(block).unwrap());
    let mut held = Vec::new();
    while let Ok(one) = local.create(KIND, b"") {
        held.push(one);
    }
    assert!(held.len() > 1000);
    held.into_iter().for_each(|held| local.close(held).unwrap());
}

/// What the parent holds while children die.
struct Treasure {
    shared: Vec<tenure::Handle<tenure::Raw>>,
    block: tenure::Block,
}

impl Treasure {
    fn new(me: &Member) -> Self {
        let shared =
            [&b"small"[..], &[4; 32], &[5; 700]].map(|payload| me.create_raw(KIND, payload).unwrap());
        let mut block = me.alloc(bytes(1000)).unwrap();
        block.fill(77);
        Self { shared: shared.into(), block }
    }

    fn tokens(&self) -> Vec<String> {
        self.shared.iter().map(|handle| handle.token().to_string()).collect()
    }

    fn is_intact(&self) -> bool {
        self.block.iter().all(|byte| *byte == 77)
            && [&b"small"[..], &[4; 32], &[5; 700]]
                .iter()
                .zip(&self.shared)
                .all(|(payload, handle)| handle.get().unwrap() == *payload)
    }
}

/// Whether the child died there; everything that must hold afterwards is asserted.
fn dies_at(options: Options, point: &str, time: u32, after_a_death: bool) -> bool {
    let name = Name::new("crash");
    let space = name.open(options);
    let me = space.join().unwrap();
    let treasure = Treasure::new(&me);
    let tokens = treasure.tokens();
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let inherited = after_a_death.then(|| {
        // Two: the child takes the lease of one, and recovers the other as the owner of another lease.
        let victims = [(); 2].map(|()| {
            let mut victim = Process::start(&[&[name.0.as_str(), "victim", "", "0"], &tokens[..]].concat());
            let token = victim.hear("ready").unwrap().parse().unwrap();
            (victim, token)
        });
        let inherited = me.open_raw(KIND, victims[0].1).unwrap();
        victims.into_iter().for_each(|(victim, _)| victim.kill());
        inherited
    });
    let time_text = time.to_string();
    let child = Process::start(&[&[name.0.as_str(), "armed", point, &time_text], &tokens[..]].concat());
    let died = child.was_killed();

    me.recover().unwrap();
    assert!(treasure.is_intact(), "{point} #{time}: lost");
    for block in space.blocks().iter().filter(|b| matches!(b.owner, tenure::BlockOwner::Pinned { .. })) {
        // It died between pinning and freeing what it had pinned.
        me.free_pinned(block.offset).unwrap();
    }
    let report = space.check_quiet();
    assert!(report.is_clean(), "{point} #{time}: {report:#?}");
    let stats = &report.stats;
    let more = u64::from(after_a_death);
    assert_eq!((stats.members_live, stats.handles_live), (1, 3 + more), "{point} #{time}: leaked {stats:?}");
    assert_eq!(
        (stats.blocks_leased, stats.blocks_attached),
        (1, 1 + more),
        "{point} #{time}: leaked {stats:?}"
    );
    assert!(
        inherited.as_ref().is_none_or(|handle| handle.get().unwrap() == [1; LEFT]),
        "{point} #{time}: lost"
    );

    everything(&me, &treasure.shared.iter().map(tenure::Handle::token).collect::<Vec<_>>());
    assert!(treasure.is_intact(), "{point} #{time}: lost afterwards");
    drop((treasure, inherited));
    me.trim().unwrap();
    me.leave().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{point} #{time}: {report:#?}");
    let stats = report.stats;
    assert_eq!(
        stats.handles_live + stats.handles_claimed + stats.blocks_live() + stats.bytes_owned,
        0,
        "{point}"
    );
    died
}

/// Points that `everything` does not reach: creation and monitors, whose kill tests are the segment's, and the losing side
/// of races, which the threads of the slab's and the steps of the allocator's own tests reach.
const ELSEWHERE: &[&str] = &[
    "segment.create.",
    "segment.join.unpinned",
    "segment.join.guarded",
    "slab.claim.lost",
    "slab.open.refused",
    "names.settle.moved",
    "scratch.claim.returned",
    "scratch.abandon.head_stored",
];
/// Points that only handles used up reach.
const WORN: &[&str] = &["slab.close.retired"];

#[test]
fn crash_everywhere_and_every_point_is_hit() {
    let all = [tenure_segment::crash::ALL, tenure_slab::FAILPOINTS, tenure_scratch_alloc::FAILPOINTS];
    let all = all.into_iter().flatten().copied();
    let mut missed = BTreeSet::new();
    for point in all.filter(|point| !ELSEWHERE.iter().any(|prefix| point.starts_with(prefix))) {
        let options = if WORN.contains(&point) { options().generation_bits(4) } else { options() };
        let times = [(1, true), (2, true), (1, false), (5, false)];
        if !times.map(|(time, dead)| dies_at(options.clone(), point, time, dead)).contains(&true) {
            missed.insert(point);
        }
    }
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
