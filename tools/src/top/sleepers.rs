//! Which threads sleep on words of a space: the kernel tells for processes that we may trace.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;

use tenure::Space;

/// A process with a thread that sleeps on a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sleeper {
    pub(crate) pid: u32,
    /// The word, in bytes from the start of the segment.
    pub(crate) at: u64,
}

/// Those among the processes that sleep on one word of the space. Who sleeps on several words at once is not found, nor is anybody of
/// whom the kernel does not tell us.
pub(crate) fn sleepers(space: &Space, pids: impl Iterator<Item = u32>) -> Vec<Sleeper> {
    let Some(file) = space.fd().and_then(|fd| fd.as_fd().try_clone_to_owned().ok()) else {
        return Vec::new();
    };
    let Ok(inode) = fs::File::from(file).metadata().map(|metadata| metadata.ino()) else { return Vec::new() };
    let pids: BTreeSet<u32> = pids.collect();
    pids.into_iter().flat_map(|pid| of_process(pid, inode).unwrap_or_default()).collect()
}

fn of_process(pid: u32, inode: u64) -> Option<Vec<Sleeper>> {
    let words = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten().filter_map(|task| {
        let call = fs::read_to_string(task.path().join("syscall")).ok()?;
        let mut words = call.split_whitespace();
        let is_futex = words.next()?.parse() == Ok(libc::SYS_futex);
        is_futex.then(|| number(words.next()?)).flatten()
    });
    let words: Vec<u64> = words.collect();
    if words.is_empty() {
        return None;
    }
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let of_space: Vec<_> = maps.lines().filter_map(|line| region(line, inode)).collect();
    let place = |word: u64| {
        let (start, _, offset) = of_space.iter().find(|(start, end, _)| (*start..*end).contains(&word))?;
        Some(Sleeper { pid, at: offset + (word - start) })
    };
    Some(words.into_iter().filter_map(place).collect())
}

/// Start, end and offset in the file of a mapping of that inode.
fn region(line: &str, inode: u64) -> Option<(u64, u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let offset = fields.nth(1)?;
    (fields.nth(1)?.parse() == Ok(inode)).then_some(())?;
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some((hex(start)?, hex(end)?, hex(offset)?))
}

fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()
}
