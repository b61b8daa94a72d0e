//! Threads that sleep on words of shared memory for those who must not sleep themselves: futures.
//!
//! A thread sleeps on up to 127 words at once, and on a word of its own, whose change makes it look at its list again. There are as many
//! threads as the words need, so nobody polls, however many wait. They run until the [`Sleepers`] are closed.
//!
//! A thread compares each word with the value that its future has seen, instead of asking the kernel which words were woken, since the kernel
//! names one of them only. A word that was woken and has the same value again is one that its future would sleep on again. Only if no word
//! differs, all futures of the thread look for themselves.

use std::io;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use tenure_core::sync::lock;

use crate::futex::{self, Deadline, Slept, WORDS_MAX};
use crate::thread::Thread;

/// The most words of one thread, beside its own.
const GROUP: usize = WORDS_MAX - 1;
/// Wakers run on it.
const STACK: usize = 256 << 10;

/// Threads that sleep for others; none before the first [`Sleepers::add`].
#[derive(Default)]
pub struct Sleepers {
    groups: Mutex<Vec<Arc<Group>>>,
    /// For tests: as without `futex_waitv`.
    by_threads: bool,
}

/// A place in the list of a thread: the waker is called once, after the word has become another one. Dropped, the waker is not called any more.
pub struct Sleep {
    group: Arc<Group>,
    place: usize,
}

struct Group {
    /// Changes with each addition to the list, and when the thread is to end.
    news: AtomicU32,
    /// 1 while the thread may access the words of its list; it becomes 1 while the list is locked, and not over.
    is_inside: AtomicU32,
    list: Mutex<List>,
    by_threads: bool,
}

#[derive(Default)]
struct List {
    /// None of them is given to another [`Sleep`] while its `Sleep` exists.
    places: Vec<Place>,
    /// The thread ends, and takes nobody any more.
    is_over: bool,
    /// The kernel's answer, if it did not let the thread sleep.
    refused: Option<io::Error>,
}

#[derive(Default)]
struct Place {
    is_taken: bool,
    /// `None` after the waker was called.
    entry: Option<Entry>,
}

struct Entry {
    word: NonNull<AtomicU32>,
    expected: u32,
    waker: Waker,
}

// SAFETY: the address of an atomic, which stays mapped: see `Sleepers::add`.
unsafe impl Send for Entry {}

impl Entry {
    /// # Safety
    ///
    /// The sleepers are not closed, and the word is not used after they are.
    unsafe fn word<'w>(&self) -> &'w AtomicU32 {
        // SAFETY: mapped until then: see `Sleepers::add`.
        unsafe { self.word.as_ref() }
    }
}

impl Sleepers {
    /// Calls `waker` from another thread as soon as the word is not `expected`, which it may be already. It may also be called earlier.
    ///
    /// # Errors
    ///
    /// A thread cannot be started, or was not permitted to sleep.
    ///
    /// # Safety
    ///
    /// The word stays mapped until the `Sleepers` are closed.
    pub unsafe fn add(&self, word: &AtomicU32, expected: u32, waker: Waker) -> io::Result<Sleep> {
        let mut entry = Entry { word: NonNull::from(word), expected, waker };
        let mut groups = lock(&self.groups);
        // The last ones are the likeliest to have room.
        for at in (0..groups.len()).rev() {
            match groups[at].take_place(entry) {
                Ok(place) => return Ok(Sleep { group: Arc::clone(&groups[at]), place }),
                Err((_, Some(refused))) => {
                    groups.swap_remove(at);
                    return Err(refused);
                }
                Err((back, None)) => entry = back,
            }
        }
        let group = Arc::new(Group {
            news: AtomicU32::new(0),
            is_inside: AtomicU32::new(0),
            list: Mutex::new(List {
                places: vec![Place { is_taken: true, entry: Some(entry) }],
                ..List::default()
            }),
            by_threads: self.by_threads,
        });
        let its = Arc::clone(&group);
        // It ends by itself: see `close`.
        drop(Thread::start(c"tenure-future", STACK, move || its.run())?);
        groups.push(Arc::clone(&group));
        Ok(Sleep { group, place: 0 })
    }

    /// Ends all threads: when this returns, none of them accesses a word any more. It may be called by a waker, on one of these threads. In a
    /// forked child, which has none of them, what they share stays as it is.
    pub fn close(&mut self, is_forked: bool) {
        let groups = std::mem::take(self.groups.get_mut().unwrap_or_else(PoisonError::into_inner));
        if is_forked {
            // Another thread of the parent may have been in the middle of changing them.
            std::mem::forget(groups);
            return;
        }
        for group in groups {
            lock(&group.list).is_over = true;
            group.tell();
            // Acquire: pairs with the Release in `run`, after the last access.
            while group.is_inside.load(Ordering::Acquire) != 0 {
                // If the kernel refuses, it refuses the thread as well, which leaves then.
                let _ = futex::sleep(&group.is_inside, 1, &Deadline::NEVER);
            }
        }
    }
}

impl Group {
    /// Adds an entry to the list, or returns it if there is no room, or the thread has ended, and then what the kernel has answered to it.
    fn take_place(&self, entry: Entry) -> Result<usize, (Entry, Option<io::Error>)> {
        let mut list = lock(&self.list);
        if list.is_over {
            let refused = list.refused.take().unwrap_or_else(|| io::ErrorKind::Interrupted.into());
            return Err((entry, Some(refused)));
        }
        let free = list.places.iter().position(|place| !place.is_taken);
        let place = match free {
            Some(place) => place,
            None if list.places.len() < GROUP => {
                list.places.push(Place::default());
                list.places.len() - 1
            }
            None => return Err((entry, None)),
        };
        list.places[place] = Place { is_taken: true, entry: Some(entry) };
        // While the list is locked: a thread that has seen this news, and not the wake yet, would sleep, be woken, and not know by whom.
        self.tell();
        drop(list);
        Ok(place)
    }

    /// Makes the thread look at its list again.
    fn tell(&self) {
        // Release: pairs with the Acquire in `run`, which comes before the look at the list.
        self.news.fetch_add(1, Ordering::Release);
        futex::rouse(&self.news, NonZeroU32::MAX);
    }

    fn run(&self) {
        // Somebody was woken, and it is not known who.
        let mut is_anybody_woken = false;
        loop {
            // Acquire: pairs with the Release in `tell`.
            let news = self.news.load(Ordering::Acquire);
            let mut words = Vec::with_capacity(WORDS_MAX);
            words.push((&self.news, news));
            let mut wakers = Vec::new();
            {
                let mut list = lock(&self.list);
                if list.is_over {
                    return;
                }
                // Relaxed: under the lock, which `close` takes before it looks.
                self.is_inside.store(1, Ordering::Relaxed);
                // SAFETY: closing waits until this thread is not inside.
                // Acquire: whoever is woken sees what came before the change.
                let differs =
                    |entry: &Entry| unsafe { entry.word() }.load(Ordering::Acquire) != entry.expected;
                let wake_all = std::mem::take(&mut is_anybody_woken)
                    && !list.places.iter().filter_map(|place| place.entry.as_ref()).any(differs);
                for place in &mut list.places {
                    let Some(entry) = &place.entry else { continue };
                    if wake_all || differs(entry) {
                        wakers.extend(place.entry.take().map(|entry| entry.waker));
                    } else {
                        // SAFETY: as above.
                        words.push((unsafe { entry.word() }, entry.expected));
                    }
                }
            }
            let slept = if wakers.is_empty() {
                futex::sleep_any(&words, &Deadline::NEVER, self.by_threads)
            } else {
                Ok(Slept::TimedOut)
            };
            drop(words);
            // Release: after the last access to a word; pairs with the Acquire in `close`.
            self.is_inside.store(0, Ordering::Release);
            futex::rouse(&self.is_inside, NonZeroU32::MAX);
            match slept {
                Ok(Slept::TimedOut) => {}
                // Relaxed: the next round looks at the list again in any case.
                Ok(_) => is_anybody_woken = self.news.load(Ordering::Relaxed) == news,
                Err(error) => {
                    // Everybody looks; who wants to sleep again gets another thread, or is told.
                    let mut list = lock(&self.list);
                    (list.is_over, list.refused) = (true, Some(error));
                    wakers.extend(list.places.iter_mut().filter_map(|place| Some(place.entry.take()?.waker)));
                }
            }
            for waker in wakers {
                // Code of an executor, which may panic; the others are to be woken all the same.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                    // Its drop may panic as well.
                    std::mem::forget(payload);
                }
            }
        }
    }
}

impl Sleep {
    /// Sleeps on with another waker. False if the waker was called already, or the word is to be another one: then this is over.
    pub fn renew(&self, expected: u32, waker: &Waker) -> bool {
        // Outside of the lock, both the clone and the drop of the former one: they are an executor's code.
        let mut waker = waker.clone();
        match &mut lock(&self.group.list).places[self.place].entry {
            Some(entry) if entry.expected == expected => {
                std::mem::swap(&mut entry.waker, &mut waker);
                true
            }
            _ => false,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let place = std::mem::take(&mut lock(&self.group.list).places[self.place]);
        // Outside of the lock: the drop of a waker may drop what sleeps here as well.
        drop(place);
    }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::task::Wake;
    use std::time::Duration;

    struct Tell(Mutex<Sender<usize>>, usize);

    impl Wake for Tell {
        fn wake(self: Arc<Self>) {
            lock(&self.0).send(self.1).unwrap();
        }
    }

    fn wakers() -> (impl Fn(usize) -> Waker, Receiver<usize>) {
        let (told, heard) = channel();
        (move |number| Arc::new(Tell(Mutex::new(told.clone()), number)).into(), heard)
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn each_word_wakes_its_own_waker_once() {
        let words: Vec<AtomicU32> = (0..1000).map(AtomicU32::new).collect();
        let (waker, heard) = wakers();
        let mut sleepers = Sleepers::default();
        let sleeps: Vec<Sleep> = words
            .iter()
            .zip(0..)
            .map(|(word, number)| {
                // SAFETY: the words live longer than the sleepers.
                unsafe { sleepers.add(word, number as u32, waker(number)) }.unwrap()
            })
            .collect();
        assert_eq!(lock(&sleepers.groups).len(), 1000usize.div_ceil(GROUP));
        for (number, word) in words.iter().enumerate().rev() {
            word.store(u32::MAX, Ordering::Release);
            futex::rouse(word, std::num::NonZeroU32::MAX);
            assert_eq!(heard.recv_timeout(LONG), Ok(number));
            assert!(!sleeps[number].renew(number as u32, &waker(0)));
        }
        drop(sleeps);
        // The places are free again.
        let again = AtomicU32::new(7);
        // SAFETY: as above.
        let sleep = unsafe { sleepers.add(&again, 7, waker(1)) }.unwrap();
        assert_eq!(lock(&sleepers.groups).len(), 1000usize.div_ceil(GROUP));
        assert!(sleep.renew(7, &waker(2)) && !sleep.renew(8, &waker(3)));
        again.store(0, Ordering::Release);
        futex::rouse(&again, std::num::NonZeroU32::MAX);
        assert_eq!(heard.recv_timeout(LONG), Ok(2));
        // One that has changed before.
        // SAFETY: as above.
        let _sleep = unsafe { sleepers.add(&again, 7, waker(4)) }.unwrap();
        assert_eq!(heard.recv_timeout(LONG), Ok(4));
        sleepers.close(false);
        assert!(heard.try_recv().is_err());
    }

    /// What the drop of a waker drops may sleep in the same list.
    #[test]
    fn a_waker_that_owns_another_sleep_is_replaced() {
        struct Owner(#[expect(dead_code, reason = "owned")] Option<Sleep>);
        impl Wake for Owner {
            fn wake(self: Arc<Self>) {}
        }
        let word = AtomicU32::new(7);
        let (waker, heard) = wakers();
        let mut sleepers = Sleepers::default();
        // SAFETY: the words live longer than the sleepers.
        let add = |word, waker| unsafe { sleepers.add(word, 7, waker) }.unwrap();
        let owned = add(&word, waker(1));
        let sleep = add(&word, Arc::new(Owner(Some(owned))).into());
        assert!(sleep.renew(7, &waker(2)));
        word.store(8, Ordering::Release);
        futex::rouse(&word, NonZeroU32::MAX);
        assert_eq!(heard.recv_timeout(LONG), Ok(2));
        sleepers.close(false);
        assert!(heard.try_recv().is_err());
    }

    /// Also a word that has its former value again, if it is the only one that was woken.
    #[test]
    fn whoever_is_woken_looks() {
        let words = [AtomicU32::new(7), AtomicU32::new(7)];
        let (waker, heard) = wakers();
        for by_threads in [false, true] {
            let mut sleepers = Sleepers { by_threads, ..Sleepers::default() };
            // SAFETY: the words live longer than the sleepers.
            let _sleeps = [0, 1].map(|at| unsafe { sleepers.add(&words[at], 7, waker(at)) }.unwrap());
            // As soon as somebody sleeps on it.
            while futex::rouse(&words[1], NonZeroU32::MAX) == 0 {
                std::thread::yield_now();
            }
            let mut both = [heard.recv_timeout(LONG).unwrap(), heard.recv_timeout(LONG).unwrap()];
            both.sort_unstable();
            assert_eq!(both, [0, 1]);
            sleepers.close(false);
        }
    }

    /// The last owner of the sleepers may be a waker.
    #[test]
    fn a_waker_closes_the_sleepers() {
        struct Closes(Mutex<Option<Sleepers>>, Mutex<Sender<usize>>);
        impl Wake for Closes {
            fn wake(self: Arc<Self>) {
                let mut sleepers = lock(&self.0).take().unwrap();
                sleepers.close(false);
                lock(&self.1).send(1).unwrap();
            }
        }
        let word = AtomicU32::new(7);
        let (told, heard) = channel();
        let sleepers = Sleepers::default();
        let closes = Arc::new(Closes(Mutex::new(None), Mutex::new(told)));
        // SAFETY: the word lives longer than the sleepers.
        let sleep = unsafe { sleepers.add(&word, 7, Arc::clone(&closes).into()) }.unwrap();
        *lock(&closes.0) = Some(sleepers);
        word.store(8, Ordering::Release);
        futex::rouse(&word, NonZeroU32::MAX);
        assert_eq!(heard.recv_timeout(LONG), Ok(1));
        drop(sleep);
    }

    #[test]
    fn one_that_is_dropped_is_not_woken() {
        let word = AtomicU32::new(7);
        let (waker, heard) = wakers();
        let mut sleepers = Sleepers::default();
        // SAFETY: the words live longer than the sleepers.
        let add = |word, number| unsafe { sleepers.add(word, 7, waker(number)) }.unwrap();
        drop(add(&word, 1));
        let _second = add(&word, 2);
        word.store(8, Ordering::Release);
        futex::rouse(&word, std::num::NonZeroU32::MAX);
        assert_eq!(heard.recv_timeout(LONG), Ok(2));
        sleepers.close(false);
        assert!(heard.try_recv().is_err());
    }
}
