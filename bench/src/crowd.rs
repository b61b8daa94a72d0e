//! A crowd: a thousand threads that wait for one object, and the time until the last of them is awake.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tenure::{
    Space,
    sync::{Event, Reset},
};
use tenure_subjects::{Failed, Outcome};

use crate::lifetimes::Lifetimes;

const CROWD: usize = 1000;
const STACK: usize = 64 << 10;

/// `times` times each.
///
/// # Errors
/// [`Failed`].
pub fn measure(times: usize) -> Outcome<Vec<Lifetimes>> {
    let failed = |error: &dyn std::fmt::Display| Failed::of("crowd", error);
    let space =
        Space::options().handles(16).members(2).scratch(1 << 20).memfd().map_err(|error| failed(&error))?;
    let member = space.join().map_err(|error| failed(&error))?;
    let (mut manual, mut automatic, mut condition, mut counted) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for time in 0..times {
        let event = Event::create(&member, Reset::Manual).map_err(|error| failed(&error))?;
        manual.push(of_crowd(
            || event.wait(None).map_err(|error| failed(&error)),
            || event.set().map_err(|error| failed(&error)),
        )?);

        let (flag, changed) = (Mutex::new(false), Condvar::new());
        let hear = || -> Outcome<()> {
            let set = flag.lock().map_err(|error| failed(&error))?;
            changed.wait_while(set, |set| !*set).map(drop).map_err(|error| failed(&error))
        };
        let tell = || -> Outcome<()> {
            *flag.lock().map_err(|error| failed(&error))? = true;
            changed.notify_all();
            Ok(())
        };
        condition.push(of_crowd(hear, tell)?);

        // Every one of the thousand wakes all that are left, which takes seconds.
        if time % 10 != 0 {
            continue;
        }
        let event = Event::create(&member, Reset::Auto).map_err(|error| failed(&error))?;
        let pass_on =
            || -> Outcome<()> { event.wait(None).and_then(|()| event.set()).map_err(|error| failed(&error)) };
        automatic.push(of_crowd(pass_on, || event.set().map_err(|error| failed(&error)))?);

        // SAFETY: makes a descriptor.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
        if fd < 0 {
            return Err(failed(&std::io::Error::last_os_error()));
        }
        // SAFETY: new, and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let give = || -> Outcome<()> {
            let one = 1u64;
            // SAFETY: eight bytes to read.
            match unsafe { libc::write(fd.as_raw_fd(), (&raw const one).cast(), 8) } {
                8 => Ok(()),
                _ => Err(failed(&std::io::Error::last_os_error())),
            }
        };
        let take_and_give = || -> Outcome<()> {
            let mut number = 0u64;
            // SAFETY: eight bytes to write.
            match unsafe { libc::read(fd.as_raw_fd(), (&raw mut number).cast(), 8) } {
                8 => give(),
                _ => Err(failed(&std::io::Error::last_os_error())),
            }
        };
        counted.push(of_crowd(take_and_give, give)?);
    }
    let all = "1000 threads wait for one thing: until all of them are awake";
    let one_by_one = "1000 threads wait, each lets the next one through: until all have been";
    Ok(vec![
        Lifetimes::new("tenure, manual-reset event", all, manual),
        Lifetimes::new("condition variable (private)", all, condition),
        Lifetimes::new("tenure, auto-reset event", one_by_one, automatic),
        Lifetimes::new("eventfd", one_by_one, counted),
    ])
}

/// Milliseconds from `tell` until the last thread has come out of `hear`.
fn of_crowd(hear: impl Fn() -> Outcome<()> + Sync, tell: impl Fn() -> Outcome<()>) -> Outcome<f64> {
    let (asleep, awake) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let mut threads = Vec::with_capacity(CROWD);
        for _ in 0..CROWD {
            let body = || -> Outcome<()> {
                asleep.fetch_add(1, Ordering::Relaxed);
                hear()?;
                awake.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, body);
            threads.push(thread.map_err(|error| Failed::of("thread", error))?);
        }
        while asleep.load(Ordering::Relaxed) < CROWD {
            thread::yield_now();
        }
        // The threads that were counted last are still on their way into the kernel.
        thread::sleep(Duration::from_millis(20));
        let told = Instant::now();
        tell()?;
        for thread in threads {
            thread.join().map_err(|_| Failed::of("thread", "panicked"))??;
        }
        let ms = told.elapsed().as_secs_f64() * 1e3;
        if awake.load(Ordering::Relaxed) == CROWD {
            Ok(ms)
        } else {
            Err(Failed::of("crowd", "somebody sleeps on"))
        }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn everybody_wakes() {
        let rows = super::measure(1).unwrap();
        assert!(rows.len() == 4 && rows.iter().all(|row| row.ms.len() == 1 && row.ms[0] > 0.0));
    }
}
