//! Segments for tests, and the roles of their processes.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tenure_core::{LeaseId, Recovery};
use tenure_segment::{
    Backend, DataArea, JoinOptions, Lease, OpenError, Permissions, Place, Reclaim, Segment, Spec,
};

pub(crate) use tenure_testkit::{
    Process, deny_all, end_of, eventually, in_fork, is_root, reap, scope, threads, while_nobody_starts,
};

pub(crate) const HASH: u64 = 77;
pub(crate) const MEMBERS: u16 = 8;

/// A unique name, removed on drop, also if the test fails.
pub(crate) struct Name {
    pub(crate) backend: Backend,
    pub(crate) text: String,
}

impl Name {
    pub(crate) fn new(backend: Backend, tag: &str) -> Self {
        Self { backend, text: tenure_testkit::unique_name(tag) }
    }

    pub(crate) fn shm(tag: &str) -> Self {
        Self::new(Backend::Shm, tag)
    }

    pub(crate) fn place(&self) -> Place {
        place(self.backend, &self.text)
    }

    pub(crate) fn segment(&self) -> Segment {
        open_or_create(self.place(), &spec())
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _alone = while_nobody_starts();
        let _ = Segment::remove(&self.place(), true);
    }
}

pub(crate) fn place(backend: Backend, name: &str) -> Place {
    match backend {
        Backend::Shm => Place::Shm(name.into()),
        Backend::SysV => Place::SysV(name.into()),
        // A file system that is always accepted.
        Backend::File => Place::File(format!("/dev/shm/{name}").into()),
        other => panic!("{other} has no name"),
    }
}

pub(crate) fn spec() -> Spec {
    let all: Range<u64> = 0..16384;
    Spec {
        members: MEMBERS,
        data_area_bytes: 16384,
        geometry: [1, 2, 3, 4, 5, 6, 7, 8],
        layout_hash: HASH,
        commit: vec![all],
        permissions: Permissions::default(),
    }
}

pub(crate) fn members(members: u16) -> Spec {
    Spec { members, ..spec() }
}

pub(crate) fn open_or_create(place: Place, spec: &Spec) -> Segment {
    Segment::open_or_create(place, spec, &mut mark).unwrap()
}

/// The initialisation that tests look for.
pub(crate) fn mark(data_area: DataArea<'_>) {
    data_area.words()[2047].store(4711, Ordering::Relaxed);
}

pub(crate) fn is_marked(data_area: DataArea<'_>) -> bool {
    data_area.words()[2047].load(Ordering::Relaxed) == 4711
}

/// The `Reclaim` of tests. In a test data area word i is nonzero if lease i holds something, word 256 + i counts its
/// reclamations, and word 512 + i is the recoverer's index plus one.
pub(crate) struct Clear;

impl Reclaim for Clear {
    fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery) {
        let dead = usize::from(recovery.dead().index);
        let words = data_area.words();
        words[dead].store(0, Ordering::SeqCst);
        words[512 + dead].store(u64::from(recovery.by()) + 1, Ordering::SeqCst);
        words[256 + dead].fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn hold(data_area: DataArea<'_>, id: LeaseId) {
    data_area.words()[usize::from(id.index)].store(id.incarnation, Ordering::SeqCst);
}

pub(crate) fn held(data_area: DataArea<'_>, index: u8) -> bool {
    data_area.words()[usize::from(index)].load(Ordering::SeqCst) != 0
}

pub(crate) fn reclaimed_by(data_area: DataArea<'_>, index: u8) -> Option<u8> {
    data_area.words()[512 + usize::from(index)].load(Ordering::SeqCst).checked_sub(1).map(|by| by as u8)
}

pub(crate) const GUARDED: JoinOptions = JoinOptions::guarded(true);
pub(crate) const ALONE: JoinOptions = JoinOptions::guarded(false);

pub(crate) fn join(segment: &Segment, options: JoinOptions) -> Lease {
    let lease = segment.join(options, Arc::new(Clear)).unwrap();
    hold(lease.data_area(), lease.id());
    lease
}

/// The child's side.
pub(crate) struct Stage {
    pub(crate) arguments: Vec<String>,
}

impl Stage {
    pub(crate) fn say(&self, word: impl std::fmt::Display) {
        tenure_testkit::say(word, "");
    }

    /// The next word from the parent; the process ends when the parent is gone.
    pub(crate) fn listen(&self) -> String {
        tenure_testkit::listen()
    }

    /// Argument `i` is a backend, the next one a name.
    pub(crate) fn place(&self, i: usize) -> Place {
        place(self.arguments[i].parse().unwrap(), &self.arguments[i + 1])
    }

    pub(crate) fn attach(&self) -> Result<Segment, OpenError> {
        Segment::open(self.place(0), HASH, Permissions::default())
    }
}

pub(crate) type Role = fn(&Stage);

/// The body of every `child`.
pub(crate) fn enter(roles: &[(&str, Role)]) {
    let Some(mut arguments) = tenure_testkit::role() else { return };
    let role = arguments.remove(0);
    let stage = Stage { arguments };
    let roles: HashMap<_, _> = roles.iter().copied().collect();
    roles[role.as_str()](&stage);
}
