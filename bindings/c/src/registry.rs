//! The objects behind the pointers that C holds.
//!
//! Such a pointer is no address but `{1:2 | generation:42 | kind:4 | index:16}`, which no processor accepts as one.
//! The index names a slot of a static table, whose word says which object lives there and how many calls are using it.
//! So an invalid pointer, be it closed, of another type, or garbage, is told from a live one without touching memory
//! that may be gone. A slot whose generations are used up is not used again.
//!
//! No lock: a child forked while other threads are in the middle of a call finds every slot usable, but for those
//! objects that these threads were using, which can no longer be closed there.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU64, AtomicUsize, Ordering};

use crate::error::{Failure, fail, tenure_status};
use crate::local::Seat;
use crate::thread;

const COUNT: usize = 1 << 16;
const LOW: u64 = COUNT as u64 - 1;
const KIND_SHIFT: u32 = 16;
const GENERATION_SHIFT: u32 = 20;
const GENERATION_MAX: u64 = (1 << 42) - 1;
/// Set in every pointer: it is not null, and no address of user space.
const MARK: u64 = 1 << 62;
/// The kind of a slot that is being filled.
const FILLING: u64 = 15;

/// A type that C may hold a pointer to.
pub(crate) trait Object: Sized {
    /// 1 to 14, different for each.
    const KIND: u64;
    /// For messages.
    const NAME: &'static str;
}

/// One place of the table.
///
/// | word | meaning |
/// |---|---|
/// | generation, kind 0, users 0 | free |
/// | generation, FILLING, users 0 | a call is filling it |
/// | the pointer with users n >= 1 in place of the index | open; n - 1 calls (or locals of a member) are using it |
/// | the pointer with users 0 | a call is closing it |
#[repr(align(32))]
struct Slot {
    word: AtomicU64,
    /// For locals: the pointer, while it is open. Zero otherwise.
    local: AtomicU64,
    /// For locals: the thread that may use it.
    thread: AtomicUsize,
    object: AtomicPtr<()>,
}

// All zeroes, so that only used slots cost memory.
static SLOTS: [Slot; COUNT] = [const {
    Slot {
        word: AtomicU64::new(0),
        local: AtomicU64::new(0),
        thread: AtomicUsize::new(0),
        object: AtomicPtr::new(ptr::null_mut()),
    }
}; COUNT];

/// The slot at which a search begins: low ones first, so that slots never used stay without memory.
static HINT: AtomicUsize = AtomicUsize::new(0);

const fn index_of(pointer: u64) -> usize {
    (pointer & LOW) as usize
}

const fn word(pointer: u64, users: u64) -> u64 {
    pointer & !LOW | users
}

/// Puts an object in and returns its pointer. `owner` is the only thread that may use it; 0 if any may.
pub(crate) fn insert<T: Object>(object: Box<T>, owner: usize) -> Result<u64, (Failure, Box<T>)> {
    // Relaxed: a hint; with any value, every slot is looked at.
    let first = HINT.load(Ordering::Relaxed);
    for index in (first..COUNT).chain(0..first) {
        let slot = &SLOTS[index];
        // Relaxed: only the expected value of the CAS.
        let seen = slot.word.load(Ordering::Relaxed);
        let generation = seen >> GENERATION_SHIFT;
        if seen & ((1 << GENERATION_SHIFT) - 1) != 0 || seen & MARK != 0 || generation == GENERATION_MAX {
            continue;
        }
        let filling = seen | FILLING << KIND_SHIFT;
        // Acquire: the call that emptied the slot is done with it; pairs with the Release in `Taken::free`.
        if slot.word.compare_exchange(seen, filling, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let pointer = MARK | seen | T::KIND << KIND_SHIFT | index as u64;
            // Relaxed, all: published by the word.
            slot.object.store(Box::into_raw(object).cast(), Ordering::Relaxed);
            slot.thread.store(owner, Ordering::Relaxed);
            slot.local.store(if owner == 0 { 0 } else { pointer }, Ordering::Relaxed);
            // Release: publishes the object; pairs with the Acquire in `pin` and `take`.
            slot.word.store(word(pointer, 1), Ordering::Release);
            // Relaxed: a hint.
            HINT.store((index + 1) % COUNT, Ordering::Relaxed);
            return Ok(pointer);
        }
    }
    Err((fail(tenure_status::TENURE_ERR_EXHAUSTED, format_args!("all {COUNT} objects are open")), object))
}

/// An object in use: it is not closed meanwhile.
pub(crate) struct Pin<T: Object> {
    pointer: u64,
    object: PhantomData<*const T>,
}

// SAFETY: a count of users, which any thread may lower, and shared references to the object.
unsafe impl<T: Object + Sync> Send for Pin<T> {}
// SAFETY: it gives out shared references only.
unsafe impl<T: Object + Sync> Sync for Pin<T> {}

impl<T: Object> Pin<T> {
    /// Uses the same object once more.
    pub(crate) fn again(&self) -> Result<Self, Failure> {
        pin(self.pointer)
    }
}

impl<T: Object> Deref for Pin<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // Relaxed: `pin` obtained it with the word, which has held the pointer since.
        let object = SLOTS[index_of(self.pointer)].object.load(Ordering::Relaxed).cast::<T>();
        // SAFETY: the slot's word names an object of this kind, put there by `insert` from a box, and while users are
        // above one nobody takes it out. Objects of kinds that are pinned are only ever borrowed shared.
        unsafe { &*object }
    }
}

impl<T: Object> Drop for Pin<T> {
    fn drop(&mut self) {
        // Release: this call's accesses to the object come before its removal; pairs with the Acquire in `take`.
        SLOTS[index_of(self.pointer)].word.fetch_sub(1, Ordering::Release);
    }
}

fn refuse<T: Object>(pointer: u64) -> Failure {
    if pointer == 0 {
        return fail(
            tenure_status::TENURE_ERR_NULL,
            format_args!("{}: expected a pointer, found NULL", T::NAME),
        );
    }
    let other = pointer & MARK == 0 || pointer >> KIND_SHIFT & 15 != T::KIND;
    let why = if other { "this is none" } else { "it was closed" };
    fail(
        tenure_status::TENURE_ERR_CLOSED,
        format_args!("{0}: expected an open {0}, found {pointer:#x}: {why}", T::NAME),
    )
}

fn is_of<T: Object>(pointer: u64) -> bool {
    pointer & MARK != 0 && pointer >> KIND_SHIFT & 15 == T::KIND
}

/// Uses an object.
pub(crate) fn pin<T: Object>(pointer: u64) -> Result<Pin<T>, Failure> {
    if !is_of::<T>(pointer) {
        return Err(refuse::<T>(pointer));
    }
    let slot = &SLOTS[index_of(pointer)];
    // Relaxed: only the expected value of the CAS.
    let mut seen = slot.word.load(Ordering::Relaxed);
    loop {
        if seen & !LOW != pointer & !LOW || seen & LOW == 0 {
            return Err(refuse::<T>(pointer));
        }
        if seen & LOW == LOW {
            return Err(fail(tenure_status::TENURE_ERR_IN_USE, format_args!("{}: too many users", T::NAME)));
        }
        // Acquire: obtains the object; pairs with the Release in `insert`.
        match slot.word.compare_exchange_weak(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed) {
            Ok(_) => return Ok(Pin { pointer, object: PhantomData }),
            Err(now) => seen = now,
        }
    }
}

/// An object taken out of the table, whose slot is still reserved.
pub(crate) struct Taken<T: Object> {
    pointer: u64,
    object: ManuallyDrop<Box<T>>,
}

impl<T: Object> Taken<T> {
    /// Empties the slot and returns the object.
    pub(crate) fn free(mut self) -> Box<T> {
        let next = (self.pointer >> GENERATION_SHIFT & GENERATION_MAX) + 1;
        let slot = &SLOTS[index_of(self.pointer)];
        // Relaxed, both: as in `insert`.
        slot.local.store(0, Ordering::Relaxed);
        slot.thread.store(0, Ordering::Relaxed);
        // Release: pairs with the Acquire in `insert`.
        slot.word.store(next << GENERATION_SHIFT, Ordering::Release);
        // Relaxed: a hint.
        HINT.fetch_min(index_of(self.pointer), Ordering::Relaxed);
        // SAFETY: `self` is not used again.
        unsafe { ManuallyDrop::take(&mut self.object) }
    }
}

/// Takes an object out if nobody is using it.
pub(crate) fn take<T: Object>(pointer: u64) -> Result<Taken<T>, Failure> {
    if !is_of::<T>(pointer) {
        return Err(refuse::<T>(pointer));
    }
    let slot = &SLOTS[index_of(pointer)];
    let (open, closing) = (word(pointer, 1), word(pointer, 0));
    // Acquire: the object, and all accesses of its users; pairs with the Releases in `insert` and `Pin`.
    match slot.word.compare_exchange(open, closing, Ordering::Acquire, Ordering::Relaxed) {
        Ok(_) => {
            let object = slot.object.load(Ordering::Relaxed).cast::<T>();
            // SAFETY: put there by `insert` from a box of this kind; the CAS made us its only owner.
            let object = ManuallyDrop::new(unsafe { Box::from_raw(object) });
            Ok(Taken { pointer, object })
        }
        Err(seen) if seen & !LOW == pointer & !LOW && seen & LOW > 1 => Err(fail(
            tenure_status::TENURE_ERR_IN_USE,
            format_args!("{}: expected nobody using it, found {} calls or locals", T::NAME, (seen & LOW) - 1),
        )),
        Err(_) => Err(refuse::<T>(pointer)),
    }
}

/// A local, for the thread that opened it; the fast path of everything.
///
/// The result must be gone when the call from C ends.
#[inline(always)]
pub(crate) fn seat<'a>(pointer: u64) -> Result<&'a mut Seat, Failure> {
    let slot = &SLOTS[index_of(pointer)];
    // Relaxed, all: if they match, this thread put the object there.
    if slot.local.load(Ordering::Relaxed) == pointer
        && slot.thread.load(Ordering::Relaxed) == thread::current()
    {
        // SAFETY: a box of a `Seat` from `insert`. Only this thread uses it or takes it out, and it is in no other
        // call: none calls back, and signal handlers must not call (the header says so).
        return Ok(unsafe { &mut *slot.object.load(Ordering::Relaxed).cast::<Seat>() });
    }
    other_seat(pointer)
}

/// A local that is bound to no thread.
#[cold]
#[inline(never)]
fn other_seat<'a>(pointer: u64) -> Result<&'a mut Seat, Failure> {
    let slot = &SLOTS[index_of(pointer)];
    // Acquire: obtains the object; pairs with the Release in `insert`. The callers use it one at a time, and their own
    // synchronization orders the use by one thread before the use by the next.
    if is_of::<Seat>(pointer)
        && slot.word.load(Ordering::Acquire) == word(pointer, 1)
        && slot.thread.load(Ordering::Relaxed) == thread::ANY
    {
        // SAFETY: a box of a `Seat` from `insert`. No other call uses it or takes it out meanwhile, as the callers
        // promise.
        return Ok(unsafe { &mut *slot.object.load(Ordering::Relaxed).cast::<Seat>() });
    }
    Err(refuse_seat(pointer))
}

#[cold]
#[inline(never)]
fn refuse_seat(pointer: u64) -> Failure {
    let slot = &SLOTS[index_of(pointer)];
    // Acquire: pairs with the Release in `insert`.
    if is_of::<Seat>(pointer) && slot.word.load(Ordering::Acquire) == word(pointer, 1) {
        return fail(
            tenure_status::TENURE_ERR_WRONG_THREAD,
            format_args!(
                "local: expected the thread that opened it ({:#x}), found another ({:#x})",
                slot.thread.load(Ordering::Relaxed),
                thread::current()
            ),
        );
    }
    refuse::<Seat>(pointer)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Thing(u32);

    impl Object for Thing {
        const KIND: u64 = 9;
        const NAME: &'static str = "thing";
    }

    /// Of this test only: no other test uses its pointer with a bit changed.
    struct Rubbish;

    impl Object for Rubbish {
        const KIND: u64 = 11;
        const NAME: &'static str = "rubbish";
    }

    struct Other;

    impl Object for Other {
        const KIND: u64 = 10;
        const NAME: &'static str = "other";
    }

    /// A test that fills the table up leaves no slot to another test.
    static ALONE: Mutex<()> = Mutex::new(());

    fn put(number: u32) -> u64 {
        insert(Box::new(Thing(number)), 0).unwrap_or_else(|_| panic!("full"))
    }

    fn status<T>(result: Result<T, Failure>) -> i32 {
        result.err().map_or(0, |failure| failure.0)
    }

    #[test]
    fn what_was_closed_stays_closed() {
        let _alone = ALONE.lock();
        let first = put(1);
        assert_eq!(pin::<Thing>(first).ok().map(|thing| thing.0), Some(1));
        assert_eq!(take::<Thing>(first).ok().map(|taken| taken.free().0), Some(1));
        let mut later = vec![put(2)];
        // The slot serves again, but not under the old name.
        while index_of(later[later.len() - 1]) != index_of(first) {
            later.push(put(2));
        }
        let closed = tenure_status::TENURE_ERR_CLOSED as i32;
        assert_eq!(status(pin::<Thing>(first)), closed);
        assert_eq!(status(take::<Thing>(first)), closed);
        for pointer in later {
            drop(take::<Thing>(pointer).ok().unwrap().free());
        }
    }

    #[test]
    fn what_is_used_is_not_closed() {
        let pointer = put(3);
        let pinned = pin::<Thing>(pointer).ok().unwrap();
        assert_eq!(status(take::<Thing>(pointer)), tenure_status::TENURE_ERR_IN_USE as i32);
        assert_eq!(pinned.0, 3);
        drop(pinned);
        let taken = take::<Thing>(pointer).ok().unwrap();
        assert_eq!(status(pin::<Thing>(pointer)), tenure_status::TENURE_ERR_CLOSED as i32);
        drop(taken.free());
    }

    #[test]
    fn garbage_is_refused() {
        let pointer = insert(Box::new(Rubbish), 0).unwrap_or_else(|_| panic!("full"));
        let closed = tenure_status::TENURE_ERR_CLOSED as i32;
        assert_eq!(status(pin::<Rubbish>(0)), tenure_status::TENURE_ERR_NULL as i32);
        assert_eq!(status(pin::<Other>(pointer)), closed);
        for bit in 0..64 {
            assert_eq!(status(pin::<Rubbish>(pointer ^ 1 << bit)), closed, "bit {bit}");
            assert_eq!(status(seat(pointer ^ 1 << bit)), closed, "bit {bit}");
        }
        assert_eq!(status(seat(pointer)), closed);
        drop(take::<Rubbish>(pointer).ok().unwrap().free());
    }

    #[test]
    fn threads_close_while_others_use() {
        let _alone = ALONE.lock();
        for _ in 0..100 {
            let pointer = put(5);
            let closed = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        loop {
                            match pin::<Thing>(pointer) {
                                Ok(thing) => assert_eq!(thing.0, 5),
                                Err(_) => break,
                            }
                            if let Ok(taken) = take::<Thing>(pointer) {
                                assert_eq!(taken.free().0, 5);
                                closed.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    });
                }
            });
            assert_eq!(closed.into_inner(), 1);
        }
    }
}
