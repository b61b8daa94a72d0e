//! Kills along a stretch of instructions between two shared steps. All of them should leave the same state, so that one
//! survivor goes on from it. That is checked, not assumed: at every instruction an actor is killed, each on the very
//! same shared bytes, and its remains are compared with those of the others.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crate::actor::Actor;
use crate::apart::{apart, mark, reset};
use crate::board::Phase;
use crate::case::Case;
use crate::point::{FAIL_SAFE_SECONDS, Fate, Rehearsed, Scene, name_of, start};
use crate::survivor::Survivor;
use crate::sys::{self, PAGE};

/// Kills one actor after the other, each after one of `points` instructions. The survivor goes on from the remains of
/// the last: the board says how many there were, and whether an earlier one left other remains than the last.
///
/// Everything but the actors' own work is apart from the heap, so that every actor finds the same heap.
pub(crate) fn kill_along(scene: &mut Scene, rehearsed: &Rehearsed, cast: &[Case], points: &[(Fate, u32)]) {
    let Rehearsed { case, halves, track } = rehearsed;
    let board = scene.survivor.board;
    let is_long = points.len() > 1 && apart(|| scene.is_repeatable(case));
    let before = is_long.then(|| apart(|| Before::note(&scene.survivor, case)));
    let mut first: Option<(Remains, libc::pid_t)> = None;
    for (at, &(_, n)) in points.iter().enumerate() {
        sys::alarm(FAIL_SAFE_SECONDS);
        let actor = match (&before, &first) {
            (Some(before), Some((first, _))) => before.begin_again(&first.held, case, &mut scene.survivor),
            _ => scene.begin(case, cast, halves),
        };
        let pid = actor.pid;
        let mark = mark();
        let is_there = apart(|| actor.run_to(track, n));
        actor.kill();
        board.played.store(at as u32 + 1, Ordering::Release);
        let Some(before) = &before else { return };
        let left = apart(|| Remains::of(&scene.survivor, case));
        let things = scene.survivor.things.as_ref();
        let is_awake = things.is_some_and(|things| apart(|| things.is_sleeper_awake()));
        let is_same = first.as_ref().is_none_or(|(first, one)| apart(|| first.is_same(&left, *one, pid)));
        let is_odd = !is_there || is_awake;
        board.owes.store(u32::from(at > 0 && (is_odd || !is_same)), Ordering::Release);
        let is_last = at + 1 == points.len();
        if is_last || is_odd || !is_same || scene.survivor.has_met || !before.restore(&scene.survivor, &left)
        {
            return;
        }
        if first.is_none() {
            first = Some((left, pid));
        } else {
            drop(left);
            // SAFETY: since the mark only `left` was allocated apart, and memory that was freed before it.
            unsafe { reset(mark) };
        }
    }
}

/// All possible remains of a dead process: shared bytes and the pages with memory, leases that are still held, files of
/// another space. (Pages that are reserved but were never touched count as blocks only.)
struct Remains {
    bytes: Vec<u8>,
    pages: Vec<u8>,
    blocks: u64,
    held: Vec<Option<bool>>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Remains {
    fn of(survivor: &Survivor, case: &Case) -> Self {
        let mut bytes = vec![0; survivor.shared().len()];
        // Not by the mapping: reading there would give memory to pages that have none.
        survivor.file.read_exact_at(&mut bytes, 0).unwrap();
        let mut pages = vec![0; bytes.len() / PAGE];
        sys::resident(survivor.shared().as_ptr(), &mut pages);
        let held = survivor.space.leases().iter().map(|lease| lease.held).collect();
        let blocks = survivor.file.metadata().unwrap().blocks();
        Self { bytes, pages, blocks, held, files: if case.elsewhere { files() } else { Vec::new() } }
    }

    /// Whether the remains are the same, but for the number of the process that left them.
    fn is_same(&self, other: &Self, mine: libc::pid_t, theirs: libc::pid_t) -> bool {
        self.pages == other.pages
            && self.blocks == other.blocks
            && self.held == other.held
            && self.files == other.files
            && differing_pages(&self.bytes, &other.bytes).all(|page| {
                let words = |bytes: &[u8]| -> Vec<u64> {
                    bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
                };
                let (ours, others) = (words(at(&self.bytes, page)), words(at(&other.bytes, page)));
                ours.iter().zip(&others).all(|(one, other)| is_same_word(*one, *other, mine, theirs))
            })
    }
}

/// Whether two words are equal, or differ only in the number of a process, or of its only thread.
fn is_same_word(one: u64, other: u64, mine: libc::pid_t, theirs: libc::pid_t) -> bool {
    const THREAD: u64 = (1 << 22) - 1;
    let has_numbers =
        |shift: u32| one ^ other == ((mine ^ theirs) as u64) << shift && one >> shift & THREAD == mine as u64;
    one == other || [0, 32].into_iter().any(has_numbers)
}

fn differing_pages<'a>(one: &'a [u8], other: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    (0..one.len() / PAGE).filter(move |page| at(one, *page) != at(other, *page))
}

fn at(bytes: &[u8], page: usize) -> &[u8] {
    &bytes[page * PAGE..][..PAGE]
}

/// The header's random bytes.
const CREATION_ID: std::ops::Range<usize> = 144..152;

/// The files of the space that the actor of this survivor creates, or attaches to.
fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let prefix = format!("tenure-{}.", name_of(std::process::id().into()));
    let paths = std::fs::read_dir("/dev/shm").unwrap().map(|entry| entry.unwrap().path());
    let ours = paths.filter(|path| path.file_name().unwrap().to_string_lossy().contains(&prefix));
    ours.map(|path| {
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(id) = bytes.get_mut(CREATION_ID) {
            id.fill(0);
        }
        (path, bytes)
    })
    .collect()
}

/// Touches every reserved page: pages that were never touched look like missing ones.
fn touch_reserved(survivor: &Survivor) {
    const BLOCKS: u64 = (PAGE / 512) as u64;
    let blocks = || survivor.file.metadata().unwrap().blocks();
    let mut pages = vec![0; survivor.shared().len() / PAGE];
    if blocks() == pages.len() as u64 * BLOCKS {
        return sys::commit(&survivor.file, 0, pages.len());
    }
    sys::resident(survivor.shared().as_ptr(), &mut pages);
    for page in (0..pages.len()).filter(|page| pages[*page] == 0) {
        let before = blocks();
        sys::punch_hole(&survivor.file, page);
        if blocks() < before {
            sys::commit(&survivor.file, page, 1);
        }
    }
}

/// The state before there was an actor, and how to restore it.
struct Before {
    was: Remains,
    mail: [u64; 11],
}

impl Before {
    fn note(survivor: &Survivor, case: &Case) -> Self {
        touch_reserved(survivor);
        Self { was: Remains::of(survivor, case), mail: survivor.board.mail() }
    }

    /// Restores the state before from the state `left`; false if that is impossible.
    fn restore(&self, survivor: &Survivor, left: &Remains) -> bool {
        let is_new = |file: &&(PathBuf, Vec<u8>)| !self.was.files.contains(file);
        if self.was.files.iter().any(|file| !left.files.contains(file))
            || !self.lock_dead(survivor, &left.held)
        {
            return false;
        }
        left.files.iter().filter(is_new).for_each(|(path, _)| std::fs::remove_file(path).unwrap());
        for (page, was) in self.was.pages.iter().enumerate() {
            match (was, left.pages[page]) {
                // It may have been reserved as well.
                (0, is) if is != 0 || self.was.blocks != left.blocks => sys::punch_hole(&survivor.file, page),
                (1, 0) => sys::commit(&survivor.file, page, 1),
                _ => {}
            }
        }
        for page in differing_pages(&self.was.bytes, &left.bytes) {
            survivor.file.write_all_at(at(&self.was.bytes, page), (page * PAGE) as u64).unwrap();
        }
        self.mail.iter().enumerate().for_each(|(slot, number)| survivor.board.post(slot, *number));
        true
    }

    /// The leases of processes that were alive before there was an actor, and are dead now.
    fn dead<'a>(&'a self, held: &'a [Option<bool>]) -> impl Iterator<Item = u8> + 'a {
        let dead = |(was, is): (&Option<bool>, &Option<bool>)| *was == Some(true) && *is != Some(true);
        (0..).zip(self.was.held.iter().zip(held)).filter(move |(_, pair)| dead(*pair)).map(|(lease, _)| lease)
    }

    /// Takes the locks that prove them alive; false, with none of them taken, if another process has one.
    fn lock_dead(&self, survivor: &Survivor, held: &[Option<bool>]) -> bool {
        let is_done = self.dead(held).all(|lease| sys::lock(&survivor.file, lease));
        if !is_done {
            self.dead(held).for_each(|lease| sys::unlock(&survivor.file, lease));
        }
        is_done
    }

    /// Starts another actor. The dead are dead already, but the kernel's locks say that they live until it begins, as
    /// in the first run.
    fn begin_again(&self, held: &[Option<bool>], case: &Case, survivor: &mut Survivor) -> Actor {
        let actor = start(case, survivor);
        for lease in self.dead(held) {
            survivor.signal(lease);
            sys::unlock(&survivor.file, lease);
        }
        survivor.board.set_phase(0, Phase::Begun);
        actor
    }
}

#[cfg(test)]
mod tests {
    use super::is_same_word;

    #[test]
    fn numbers_of_processes_are_told_from_what_else_differs() {
        let (mine, theirs) = (19_312, 19_306);
        assert!(is_same_word(7, 7, mine, theirs));
        for shift in [0, 32] {
            let word = |pid: u64| 0x8540_0000 << (32 - shift) | pid << shift;
            assert!(is_same_word(word(19_312), word(19_306), mine, theirs));
            assert!(!is_same_word(word(19_312), word(19_307), mine, theirs));
            assert!(!is_same_word(word(19_311), word(19_306), mine, theirs));
            assert!(!is_same_word(word(19_312), word(19_306) ^ 1 << 31, mine, theirs));
        }
    }
}
