//! Names of segments for tests; shared memory left behind is removed.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

use tenure::{Backend, Options, Space};

pub(crate) use tenure_testkit::{
    Process, among_signals, deny, die_with_parent, end_of, eventually, in_fork, in_role, linger, listen,
    reap, returns, role, say, scope, threads,
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

/// Starts this test binary as `what` over a space, and waits until it says so.
pub(crate) fn start(name: &Name, what: &str, says: &str) -> Process {
    let mut process = Process::start(&[&name.0, what]);
    process.receive(says);
    process
}

/// The place of a number in the bytes of a space, where it stands once, and the file of these bytes.
pub(crate) fn position(space: &Space, number: u64) -> (File, u64) {
    let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut image = vec![0; space.bytes() as usize];
    file.read_exact_at(&mut image, 0).unwrap();
    let mut all = image.chunks_exact(8).enumerate().filter(|(_, word)| *word == number.to_le_bytes());
    let at = all.next().expect("the number").0 as u64;
    assert!(all.next().is_none());
    (file, 8 * at)
}
