//! A read-write lock: locked and unlocked for reading and for writing, with and without others who wait.
//!
//! Whoever is killed has it no more once it is recovered; a writer that is killed is told of, to one writer. Nobody who waits for it is
//! forgotten.

use tenure::{error::WaitError, sync::RwLockState};

use super::waiting::{all_is_well, provide, recover, send, things, with_things};
use crate::case::{Case, Script, Stage};
use crate::survivor::Survivor;
use crate::things::{AT_ONCE, What, open};

pub(super) fn all() -> Vec<Case> {
    let case = |name, script: Script| Case::new(name, script).before(provide).after(all_is_well);
    vec![
        case("create and drop a read-write lock", |stage| {
            let me = stage.join();
            stage.begin();
            drop(tenure::sync::RwLock::create(&me).unwrap());
            stage.end();
            me.leave().unwrap();
        }),
        case("lock for reading", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let told = [things.lock.acquire_read(None), things.lock.acquire_read(None)];
                stage.end();
                assert!(told.into_iter().all(|told| !told.unwrap()));
                things.lock.unlock_read().unwrap();
                things.lock.unlock_read().unwrap();
            });
        })
        .meanwhile(read_beside),
        case("try to lock for reading, locked for writing meanwhile", try_read)
            .meanwhile(write_meanwhile)
            .after(unlock_meanwhile),
        case("lock for reading, timing out", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let timed_out = things.lock.acquire_read(AT_ONCE);
                stage.end_among_others();
                assert!(matches!(timed_out, Err(WaitError::TimedOut)), "{timed_out:?}");
            });
        })
        .before(|survivor| {
            provide(survivor);
            assert!(!things(survivor).lock.acquire_write(None).unwrap());
        })
        .after(|survivor| {
            things(survivor).lock.unlock_write().unwrap();
            all_is_well(survivor);
        }),
        case("unlock for reading", |stage| {
            with_things(stage, |things| {
                things.lock.acquire_read(None).unwrap();
                things.lock.acquire_read(None).unwrap();
                stage.begin();
                let unlocked = [things.lock.unlock_read(), things.lock.unlock_read()];
                stage.end();
                unlocked.into_iter().for_each(Result::unwrap);
            });
        })
        .meanwhile(read_beside),
        case("unlock for reading, with a writer that waits", |stage| unlock(stage, What::Read))
            .assist(|survivor| send(survivor, What::Write))
            .after(see_not_told),
        case("lock for writing", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let told = things.lock.acquire_write(None);
                stage.end();
                assert!(!told.unwrap());
                things.lock.unlock_write().unwrap();
            });
        })
        .meanwhile(note_writer)
        .after(told_if_written),
        case("lock for writing, timing out over a reader", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let timed_out = things.lock.acquire_write(AT_ONCE);
                stage.end_among_others();
                assert!(matches!(timed_out, Err(WaitError::TimedOut)), "{timed_out:?}");
            });
        })
        .before(|survivor| {
            provide(survivor);
            assert!(!things(survivor).lock.acquire_read(None).unwrap());
        })
        .meanwhile(note_writer)
        .after(|survivor| {
            things(survivor).lock.unlock_read().unwrap();
            told_if_written(survivor);
        }),
        case("unlock for writing", |stage| {
            with_things(stage, |things| {
                things.lock.acquire_write(None).unwrap();
                stage.begin();
                let unlocked = things.lock.unlock_write();
                stage.end();
                unlocked.unwrap();
            });
        })
        .meanwhile(note_writer)
        .after(told_if_written),
        case("unlock for writing, with a reader that waits", |stage| unlock(stage, What::Write))
            .assist(|survivor| send(survivor, What::Read))
            .after(see_reader),
        case("unlock for writing, with a writer that waits", |stage| unlock(stage, What::Write))
            .assist(|survivor| send(survivor, What::Write))
            .after(see_writer),
        case("close, of a reader", |stage| {
            let me = stage.join();
            let things = open(&me, stage.board);
            let lock = things.lock.try_clone().unwrap();
            drop(things);
            lock.acquire_read(None).unwrap();
            stage.begin();
            drop(lock);
            stage.end();
            me.leave().unwrap();
        }),
        case("recover, of a reader with a writer that waits", recover)
            .after(see_not_told)
            .half("unlock for reading, with a writer that waits", 0),
        case("recover, of a reader that has woken nobody", recover)
            .after(see_not_told)
            .half("unlock for reading, with a writer that waits", 1),
        case("recover, of a writer with a reader that waits", recover)
            .after(see_reader)
            .half("unlock for writing, with a reader that waits", 0),
    ]
}

/// Unlocks what it has for reading or writing, while somebody waits.
fn unlock(stage: &Stage<'_>, what: What) {
    with_things(stage, |things| {
        let (lock, is_reader) = (&things.lock, what == What::Read);
        let told = if is_reader { lock.acquire_read(None) } else { lock.acquire_write(None) };
        told.unwrap();
        stage.meet();
        stage.begin();
        let unlocked = if is_reader { lock.unlock_read() } else { lock.unlock_write() };
        stage.end_among_others();
        unlocked.unwrap();
        // The writer that waited is awake by now, without a close that would wake it.
        let started = std::time::Instant::now();
        while is_reader && matches!(lock.state().unwrap(), RwLockState::Written { .. }) {
            assert!(started.elapsed().as_secs() < 20, "nobody woke the writer");
            std::thread::yield_now();
        }
    });
}

/// Number on the board: whether the survivor has it for writing.
const WRITES: usize = 0;

fn try_read(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let read = things.lock.try_read();
        stage.end_among_others();
        match read {
            Ok(_) => assert_eq!(stage.board.read(WRITES), 0, "a reader beside a writer"),
            Err(error) => assert!(matches!(error, WaitError::WouldBlock), "{error}"),
        }
    });
}

/// Locks it for writing, if it can be had, until nobody is at work any more.
fn write_meanwhile(survivor: &mut Survivor) {
    let board = survivor.board;
    if board.read(WRITES) == 0 && things(survivor).lock.acquire_write(Some(std::time::Duration::ZERO)).is_ok()
    {
        board.post(WRITES, 1);
    }
}

fn unlock_meanwhile(survivor: &mut Survivor) {
    if survivor.board.read(WRITES) == 1 {
        survivor.board.post(WRITES, 0);
        things(survivor).lock.unlock_write().unwrap();
    }
    all_is_well(survivor);
}

/// A reader that is stopped or dead keeps no other reader.
fn read_beside(survivor: &mut Survivor) {
    assert!(!things(survivor).lock.try_read().unwrap().abandoned());
}

/// Records whether the lock is owned by a writer while that is dead or stopped.
fn note_writer(survivor: &mut Survivor) {
    let mine = survivor.me.lease().index;
    let is_written = match things(survivor).lock.state().unwrap() {
        RwLockState::Written { lease, .. } => {
            assert_ne!(lease, mine);
            assert!(matches!(things(survivor).lock.try_read(), Err(WaitError::WouldBlock)));
            true
        }
        RwLockState::Abandoned => true,
        RwLockState::Free | RwLockState::Read { .. } => false,
    };
    survivor.board.post(WRITES, is_written.into());
}

/// One writer is told exactly if the dead actor had claimed the lock.
fn told_if_written(survivor: &mut Survivor) {
    let (written, died) = (survivor.board.read(WRITES) == 1, survivor.actor_died);
    survivor.board.post(WRITES, 0);
    if !survivor.dead_before {
        let told = things(survivor).lock.try_write().unwrap().abandoned();
        assert_eq!(told, died && written, "abandoned");
    }
    all_is_well(survivor);
}

/// The writer that waited got it, and was not told: a reader leaves nothing unfinished.
fn see_not_told(survivor: &mut Survivor) {
    assert!(!things(survivor).see_sleeper(), "abandoned, by a reader");
    all_is_well(survivor);
}

/// The reader that waited got it; if it was told, a writer is.
fn see_reader(survivor: &mut Survivor) {
    let told = things(survivor).see_sleeper();
    let is_abandoned = things(survivor).lock.try_write().unwrap().abandoned();
    // Without a sleeper, because the actor never met it, nobody was told before.
    assert!(!told || is_abandoned, "a reader was told, and no writer is");
    assert!(!is_abandoned || survivor.actor_died || survivor.dead_before, "abandoned, but nobody died");
    all_is_well(survivor);
}

/// The writer that waited got it; nobody is told twice.
fn see_writer(survivor: &mut Survivor) {
    let told = things(survivor).see_sleeper();
    assert!(survivor.actor_died || !told || survivor.dead_before, "abandoned, but nobody died");
    all_is_well(survivor);
}
