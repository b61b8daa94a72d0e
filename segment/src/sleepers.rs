//! Threads that sleep on words of shared memory for those who must not sleep themselves: futures.
//!
//! A thread sleeps on up to [`GROUP`] words at once, and on a word of its own, whose change makes it look at its list again. There are as many
//! threads as the words need, so nobody polls, however many wait. They run until the [`Sleepers`] are dropped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use crate::futex::{self, Deadline, WORDS_MAX};
use crate::thread::Thread;

/// The most words of one thread, beside its own.
const GROUP: usize = WORDS_MAX - 1;
/// Wakers run on it.
const STACK: usize = 256 << 10;

/// Threads that sleep for others; none before the first [`Sleepers::add`].
#[derive(Default)]
pub struct Sleepers(Mutex<Vec<(Arc<Group>, Thread)>>);

/// A place in the list of a thread: the waker is called once, after the word has become another one. Dropped, the waker is not called any more.
pub struct Sleep {
    group: Arc<Group>,
    place: usize,
}

struct Group {
    /// Changes with each addition to the list, and when the thread is to end.
    news: AtomicU32,
    /// The number of the thread, once it runs.
    thread: AtomicU64,
    list: Mutex<List>,
}

#[derive(Default)]
struct List {
    /// None of them is given to another [`Sleep`] while its `Sleep` exists.
    places: Vec<Place>,
    is_over: bool,
    /// The kernel's answer, if it does not let the thread sleep.
    refused: Option<i32>,
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sleepers {
    /// Calls `waker` from another thread as soon as the word is not `expected`, which it may be already.
    ///
    /// # Errors
    ///
    /// A thread cannot be started, or is not permitted to sleep.
    ///
    /// # Safety
    ///
    /// The word stays mapped until the `Sleepers` are dropped.
    pub unsafe fn add(&self, word: &AtomicU32, expected: u32, waker: Waker) -> io::Result<Sleep> {
        let entry = Entry { word: NonNull::from(word), expected, waker };
        let mut groups = lock(&self.0);
        if let Some(errno) = groups.iter().find_map(|(group, _)| lock(&group.list).refused) {
            return Err(io::Error::from_raw_os_error(errno));
        }
        // The last ones are the likeliest to have room.
        let entry =
            match groups.iter().rev().try_fold(entry, |entry, (group, _)| match group.take_place(entry) {
                Ok(place) => Err(Sleep { group: Arc::clone(group), place }),
                Err(entry) => Ok(entry),
            }) {
                Err(sleep) => return Ok(sleep),
                Ok(entry) => entry,
            };
        let group = Arc::new(Group {
            news: AtomicU32::new(0),
            thread: AtomicU64::new(0),
            list: Mutex::new(List {
                places: vec![Place { is_taken: true, entry: Some(entry) }],
                ..List::default()
            }),
        });
        let its = Arc::clone(&group);
        let thread = Thread::start(c"tenure-future", STACK, move || its.run())?;
        groups.push((Arc::clone(&group), thread));
        Ok(Sleep { group, place: 0 })
    }

    /// Ends all threads. In a forked child, which has none of them, the threads and what they share stay as they are.
    pub fn close(&self, is_forked: bool) {
        if is_forked {
            // If a thread of the parent has it locked, dropping it is harmless as well.
            if let Ok(mut groups) = self.0.try_lock() {
                std::mem::forget(std::mem::take(&mut *groups));
            }
            return;
        }
        let groups = std::mem::take(&mut *lock(&self.0));
        for (group, thread) in groups {
            lock(&group.list).is_over = true;
            group.tell();
            // A waker may have dropped the last owner of these sleepers: a thread does not wait for itself, and ends by itself.
            // Relaxed: the only thread whose number matters is this one.
            if group.thread.load(Ordering::Relaxed) == futex::thread_id().into() {
                drop(thread);
            } else {
                thread.join();
            }
        }
    }
}

impl Group {
    /// Adds an entry to the list, or returns it if there is no room.
    fn take_place(&self, entry: Entry) -> Result<usize, Entry> {
        let mut list = lock(&self.list);
        let free = list.places.iter().position(|place| !place.is_taken);
        let place = match free {
            Some(place) => place,
            None if list.places.len() < GROUP => {
                list.places.push(Place::default());
                list.places.len() - 1
            }
            None => return Err(entry),
        };
        list.places[place] = Place { is_taken: true, entry: Some(entry) };
        drop(list);
        self.tell();
        Ok(place)
    }

    /// Makes the thread look at its list again.
    fn tell(&self) {
        // Release: pairs with the Acquire in `run`, which comes before the look at the list.
        self.news.fetch_add(1, Ordering::Release);
        futex::rouse(&self.news, std::num::NonZeroU32::MAX);
    }

    fn run(&self) {
        // Relaxed: see `close`.
        self.thread.store(futex::thread_id().into(), Ordering::Relaxed);
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
                for place in &mut list.places {
                    let Some(entry) = &place.entry else { continue };
                    // SAFETY: mapped until the sleepers are dropped, which joins this thread.
                    let word = unsafe { entry.word.as_ref() };
                    // Acquire: whoever is woken sees what came before the change.
                    if word.load(Ordering::Acquire) == entry.expected {
                        words.push((word, entry.expected));
                    } else {
                        wakers.extend(place.entry.take().map(|entry| entry.waker));
                    }
                }
            }
            if wakers.is_empty()
                && let Err(error) = futex::sleep_any(&words, &Deadline::NEVER, false)
            {
                // Everybody looks, and is told when they ask to sleep again.
                let mut list = lock(&self.list);
                (list.is_over, list.refused) = (true, Some(error.raw_os_error().unwrap_or(libc::EINVAL)));
                wakers.extend(list.places.iter_mut().filter_map(|place| Some(place.entry.take()?.waker)));
            }
            for waker in wakers {
                // Code of an executor, which may panic; the others are to be woken all the same.
                let _ = catch_unwind(AssertUnwindSafe(|| waker.wake()));
            }
        }
    }
}

impl Sleep {
    /// Sleeps on with another waker. False if the waker was called already, or the word is to be another one: then this is over.
    pub fn renew(&self, expected: u32, waker: &Waker) -> bool {
        let mut list = lock(&self.group.list);
        match &mut list.places[self.place].entry {
            Some(entry) if entry.expected == expected => {
                entry.waker.clone_from(waker);
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
        let sleepers = Sleepers::default();
        let sleeps: Vec<Sleep> = words
            .iter()
            .zip(0..)
            .map(|(word, number)| {
                // SAFETY: the words live longer than the sleepers.
                unsafe { sleepers.add(word, number as u32, waker(number)) }.unwrap()
            })
            .collect();
        assert_eq!(lock(&sleepers.0).len(), 1000usize.div_ceil(GROUP));
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
        assert_eq!(lock(&sleepers.0).len(), 1000usize.div_ceil(GROUP));
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

    #[test]
    fn one_that_is_dropped_is_not_woken() {
        let word = AtomicU32::new(7);
        let (waker, heard) = wakers();
        let sleepers = Sleepers::default();
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
