//! For unit tests: the words of [`sync`](crate::sync), but each access calls a hook first. In the hook the test kills or stops the
//! member that makes the access.
//!
//! A crate has `#[cfg(test)] use tenure_core::testing as sync;` and `#[cfg(not(test))] use tenure_core::sync;`, and no other line for
//! such tests.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::panic::Location;
use std::path::Path;

pub use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, fence, lock, pause};

/// A word of shared memory; each access to it is a step.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Word(AtomicU64);

/// A step: the member is about to do it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The place in the source.
    pub site: Site,
    /// Whether it can change shared memory.
    pub writes: bool,
}

/// A line of the source: the file's path as the compiler was given it, and the number.
pub type Site = (&'static str, u32);

/// The function that is called before each step of the current thread.
type Hook = Box<dyn FnMut(Step)>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Calls `hook` before every step of `work` on this thread, but not before the steps of the hook itself.
pub fn with<R>(hook: impl FnMut(Step), work: impl FnOnce() -> R) -> R {
    struct Out;
    impl Drop for Out {
        fn drop(&mut self) {
            HOOK.set(None);
        }
    }
    let hook: Box<dyn FnMut(Step) + '_> = Box::new(hook);
    // SAFETY: only the lifetime changes; `Out` drops the hook before what it borrows ends, also when `work` unwinds.
    let hook: Hook = unsafe { std::mem::transmute(hook) };
    HOOK.set(Some(hook));
    let _out = Out;
    work()
}

/// A step that is no access to a word, but that other processes see: a callback, a system call.
#[track_caller]
pub fn step() {
    before(true);
}

#[track_caller]
fn before(writes: bool) {
    let Some(mut hook) = HOOK.take() else { return };
    let site = Location::caller();
    // The hook is restored when it returns. A hook that unwinds has killed the member, and is not restored.
    hook(Step { site: (site.file(), site.line()), writes });
    HOOK.set(Some(hook));
}

impl Word {
    /// As [`AtomicU64::new`].
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(AtomicU64::new(value))
    }

    /// As [`AtomicU64::load`].
    #[track_caller]
    pub fn load(&self, order: Ordering) -> u64 {
        before(false);
        self.0.load(order)
    }

    /// As [`AtomicU64::store`].
    #[track_caller]
    pub fn store(&self, value: u64, order: Ordering) {
        before(true);
        self.0.store(value, order);
    }

    /// As [`AtomicU64::compare_exchange`].
    ///
    /// # Errors
    ///
    /// The value, where it is not `current`.
    #[track_caller]
    pub fn compare_exchange(
        &self,
        current: u64,
        new: u64,
        success: Ordering,
        failure: Ordering,
    ) -> Result<u64, u64> {
        before(true);
        self.0.compare_exchange(current, new, success, failure)
    }

    /// As [`AtomicU64::fetch_add`].
    #[track_caller]
    pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
        before(true);
        self.0.fetch_add(value, order)
    }

    /// As [`AtomicU64::fetch_and`].
    #[track_caller]
    pub fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
        before(true);
        self.0.fetch_and(value, order)
    }

    /// As [`AtomicU64::fetch_max`].
    #[track_caller]
    pub fn fetch_max(&self, value: u64, order: Ordering) -> u64 {
        before(true);
        self.0.fetch_max(value, order)
    }

    /// As [`AtomicU64::fetch_or`].
    #[track_caller]
    pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
        before(true);
        self.0.fetch_or(value, order)
    }
}

/// The lines below `src` of a crate that write to words and are not in `passed`, as `file: line`, sorted. Each text of `writes` marks such
/// a line. Unit tests at the end of a file, files called `explore`, and comments do not count.
///
/// # Panics
///
/// If the sources cannot be read.
#[must_use]
pub fn unpassed(folder: &str, writes: &[&str], passed: &BTreeSet<Site>) -> Vec<String> {
    fn look(folder: &Path, below: &str, writes: &[&str], passed: &BTreeSet<Site>, found: &mut Vec<String>) {
        for file in std::fs::read_dir(folder).expect("a source folder").flatten() {
            let (path, name) = (file.path(), file.file_name().to_string_lossy().into_owned());
            let name = format!("{below}{name}");
            if name.starts_with("explore") {
                continue;
            }
            if path.is_dir() {
                look(&path, &format!("{name}/"), writes, passed, found);
                continue;
            }
            let text = std::fs::read_to_string(path).expect("a source");
            let lines = text.lines().take_while(|line| !line.starts_with("mod tests")).zip(1u32..);
            for (line, number) in lines.map(|(line, number)| (line.trim(), number)) {
                let is_write = writes.iter().any(|write| line.contains(write)) && !line.starts_with("//");
                // The compiler was given paths relative to the workspace's folder.
                let is_passed = |site: &Site| site.1 == number && site.0.ends_with(&format!("src/{name}"));
                if is_write && !passed.iter().any(is_passed) {
                    found.push(format!("{name}: {line}"));
                }
            }
        }
    }
    let mut found = Vec::new();
    look(&Path::new(folder).join("src"), "", writes, passed, &mut found);
    found.sort();
    found
}
