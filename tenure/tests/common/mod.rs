//! Names of segments for tests; shared memory left behind is removed.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use tenure::{Backend, Options, Space};

pub(crate) use tenure_testkit::{
    Process, deny, die_with_parent, end_of, eventually, in_fork, in_role, linger, listen, reap, returns,
    role, say, scope, threads,
};

/// A unique name; its segment is removed also when the test fails.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(tag: &str) -> Self {
        Self(tenure_testkit::unique_name(tag))
    }

    pub(crate) fn open(&self, options: Options) -> Space {
        options.open(&self.0).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Space::remove(Backend::Shm, &self.0, true);
    }
}
