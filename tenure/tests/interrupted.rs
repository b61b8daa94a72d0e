//! Goal: a signal handler ends each kind of wait if the wait is interruptible, and then nothing is taken and no signal of an object is
//! lost; other waits go on. Method: a thread waits, and gets a real signal again and again until it is done. A wait that does not
//! end by the signal ends by its timeout, and its test fails.
#![cfg(feature = "objects")]

use std::os::unix::thread::JoinHandleExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tenure::{
    Member, Space,
    error::WaitError,
    process::{Process, Thread},
    sync::{Event, Mutex, Reset, Semaphore, WaitOptions, Waitable, wait_all, wait_any},
};

/// The handlers that have run.
static HANDLED: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(_: libc::c_int) {
    HANDLED.fetch_add(1, Ordering::Relaxed);
}

/// Installs the handler, without SA_RESTART.
fn install() {
    // SAFETY: zeroes are a valid action; the handler adds to an atomic.
    unsafe {
        let mut action = std::mem::zeroed::<libc::sigaction>();
        action.sa_sigaction = handler as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
}

/// Runs `wait` on another thread; sends it the signal until it is done, or until `enough`.
fn with_signals<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
    enough: impl Fn() -> bool,
) -> std::thread::JoinHandle<T> {
    install();
    let thread = std::thread::spawn(wait);
    while !thread.is_finished() && !enough() {
        // SAFETY: a thread that is not joined.
        unsafe { libc::pthread_kill(thread.as_pthread_t(), libc::SIGUSR1) };
        std::thread::sleep(Duration::from_millis(1));
    }
    thread
}

/// The result of an interruptible wait.
fn interrupted<T: Send + 'static>(wait: impl FnOnce(WaitOptions) -> T + Send + 'static) -> T {
    let options = WaitOptions::new().timeout(Duration::from_secs(60)).interruptible();
    with_signals(move || wait(options), || false).join().unwrap()
}

fn two_members() -> (Member, Member) {
    let space = Space::options().handles(64).scratch(1 << 20).anonymous().unwrap();
    (space.join().unwrap(), space.join().unwrap())
}

#[test]
fn each_kind_of_wait_is_interrupted_and_takes_nothing() {
    let (me, other) = two_members();
    for recursive in [false, true] {
        let owned = if recursive { Mutex::options().recursive(true).create(&me) } else { Mutex::create(&me) }
            .unwrap();
        let theirs = Mutex::open(&other, owned.token()).unwrap();
        let guard = owned.lock().unwrap();
        let result = interrupted(move |options| theirs.acquire(options));
        assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
        drop(guard);
        assert!(!Mutex::open(&other, owned.token()).unwrap().try_lock().unwrap().abandoned());
    }
    let permits = Semaphore::create(&me, 0, 3).unwrap();
    let theirs = Semaphore::open(&other, permits.token()).unwrap();
    let result = interrupted(move |options| theirs.acquire(options));
    assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
    permits.release(1).unwrap();
    assert_eq!(permits.count().unwrap(), 1);
    for reset in [Reset::Auto, Reset::Manual] {
        let event = Event::create(&me, reset).unwrap();
        let theirs = Event::open(&other, event.token()).unwrap();
        let result = interrupted(move |options| theirs.wait(options));
        assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
        event.set().unwrap();
        assert!(event.is_set().unwrap());
    }
    // Both run as long as this test.
    let process = Process::current(&me).unwrap();
    let result = interrupted(move |options| process.wait(options).map(drop));
    assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
    let thread = Thread::current(&me).unwrap();
    let result = interrupted(move |options| thread.wait(options).map(drop));
    assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
}

#[test]
fn waits_for_several_are_interrupted_and_take_nothing() {
    for no_waitv in [false, true] {
        let (me, _) = two_members();
        tenure::testing::pretend_no_waitv(&me, no_waitv);
        let set = Event::options(Reset::Auto).signalled(true).create(&me).unwrap();
        let event = Event::create(&me, Reset::Auto).unwrap();
        let permits = Semaphore::create(&me, 0, 3).unwrap();
        let (e, p) = (event.try_clone().unwrap(), permits.try_clone().unwrap());
        let result = interrupted(move |options| wait_any(&[&e as &dyn Waitable, &p], options));
        assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
        let (s, p) = (set.try_clone().unwrap(), permits.try_clone().unwrap());
        let result = interrupted(move |options| wait_all(&[&s as &dyn Waitable, &p], options));
        assert!(matches!(result, Err(WaitError::Interrupted)), "{result:?}");
        assert!(set.is_set().unwrap());
        event.set().unwrap();
        permits.release(1).unwrap();
        assert_eq!((event.is_set().unwrap(), permits.count().unwrap()), (true, 1));
        assert!(wait_all(&[&set, &event, &permits], Duration::ZERO).unwrap().is_empty());
    }
}

#[test]
fn other_waits_go_on() {
    let (me, other) = two_members();
    let event = Event::create(&me, Reset::Auto).unwrap();
    let theirs = Event::open(&other, event.token()).unwrap();
    let before = HANDLED.load(Ordering::Relaxed);
    let enough = || HANDLED.load(Ordering::Relaxed).wrapping_sub(before) >= 20;
    let waiter = with_signals(move || theirs.wait(Duration::from_secs(60)), enough);
    assert!(!waiter.is_finished(), "{:?}", waiter.join());
    event.set().unwrap();
    waiter.join().unwrap().unwrap();
}

#[test]
fn deadlines_end_waits() {
    let (me, _) = two_members();
    let event = Event::create(&me, Reset::Auto).unwrap();
    let now = Instant::now();
    for deadline in [now, now + Duration::from_millis(2)] {
        let options = WaitOptions::new().deadline(deadline).interruptible();
        assert!(matches!(event.wait(options), Err(WaitError::TimedOut)));
        assert!(Instant::now() >= deadline);
        assert!(matches!(wait_any(&[&event], options), Err(WaitError::TimedOut)));
        assert!(matches!(wait_all(&[&event], options), Err(WaitError::TimedOut)));
    }
    event.set().unwrap();
    event.wait(WaitOptions::new().deadline(now)).unwrap();
}
