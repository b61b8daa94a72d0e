//! Heaps: one local of the allocator per thread, taken when the thread first allocates and given back when it ends.
//!
//! A heap is never destroyed. The next thread goes on with it, and with the free memory in its spans.

use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use tenure_scratch_alloc::Local;

use crate::lock::{Guard, Lock};
use crate::region::{self, Pages, Region};
use crate::{arena, tls};

/// The allocator of one thread.
pub(crate) struct Heap {
    pub(crate) local: Local<'static>,
    /// The start of the payloads.
    pub(crate) base: *mut u8,
    pub(crate) pages: Pages,
    /// The next one in the list of all.
    next: *mut Heap,
    /// The next one in the list of heaps that no thread has.
    next_idle: *mut Heap,
    idle: bool,
}

/// Bytes that a heap and its private state need at first, and more.
const NEEDED: usize = 24 << 10;

struct Pool {
    all: *mut Heap,
    idle: *mut Heap,
}

static POOL: Lock<Pool> = Lock::new(Pool { all: ptr::null_mut(), idle: ptr::null_mut() });

/// For threads that have given their heap back at their end, but still run destructors of others.
static COMMON: Lock<*mut Heap> = Lock::new(ptr::null_mut());

/// The key whose destructor gives a heap back, or -1.
static KEY: AtomicI32 = AtomicI32::new(-1);

/// Holds the locks while the process forks.
pub(crate) fn hold() -> [Guard; 2] {
    [COMMON.hold(), POOL.hold()]
}

impl Heap {
    fn new(region: &'static Region) -> Self {
        Self {
            local: Local::new(region.scratch, &region.me),
            base: region.scratch.address(0),
            pages: Pages::default(),
            next: ptr::null_mut(),
            next_idle: ptr::null_mut(),
            idle: false,
        }
    }
}

/// Makes threads give their heaps back when they end. Before that, a thread that ends keeps its heap for ever.
pub(crate) fn watch_threads() {
    let mut key = 0;
    // SAFETY: a variable for the key, and a function that stays as long as the process.
    if unsafe { libc::pthread_key_create(&raw mut key, Some(ended)) } == 0 {
        // Relaxed: keys are plain numbers to the C library.
        KEY.store(key as i32, Ordering::Relaxed);
    }
}

/// A heap that nobody has, or a new one; null without memory.
fn take() -> *mut Heap {
    let idle = POOL.with(|pool| {
        let heap = pool.idle;
        // SAFETY: heaps live as long as the process, and the pool's lock guards its lists.
        if let Some(heap) = unsafe { heap.as_mut() } {
            pool.idle = heap.next_idle;
            heap.idle = false;
        }
        heap
    });
    if !idle.is_null() {
        return idle;
    }
    let Some(region) = region::get() else { return ptr::null_mut() };
    if !arena::has_room(NEEDED) {
        return ptr::null_mut();
    }
    let heap = make(region);
    POOL.with(|pool| {
        // SAFETY: just made.
        unsafe { (*heap).next = pool.all };
        pool.all = heap;
    });
    heap
}

/// Not inlined: the callers of a thread with a small stack need no room for a heap.
#[inline(never)]
fn make(region: &'static Region) -> *mut Heap {
    Box::into_raw(Box::new(Heap::new(region)))
}

fn give_back(heap: *mut Heap) {
    POOL.with(|pool| {
        // SAFETY: heaps live as long as the process; no thread has this one any more.
        let owned = unsafe { &mut *heap };
        owned.next_idle = pool.idle;
        owned.idle = true;
        pool.idle = heap;
    });
}

/// The thread's heap ends with it. Destructors of others may follow: they are served by the common heap.
extern "C" fn ended(heap: *mut libc::c_void) {
    tls::end();
    tls::set_heap(ptr::null_mut());
    give_back(heap.cast());
}

/// A heap for this thread, from now on; null if it has had its own, or without memory.
#[cold]
pub(crate) fn attach() -> *mut Heap {
    crate::begin();
    // The C library may have allocated meanwhile, and so attached a heap.
    let mine = tls::heap();
    if !mine.is_null() {
        return mine;
    }
    let heap = if tls::ended() { ptr::null_mut() } else { take() };
    if !heap.is_null() {
        // First: the C library may allocate to remember it.
        tls::set_heap(heap);
        // Relaxed: see `watch_threads`.
        let key = KEY.load(Ordering::Relaxed);
        if key >= 0 {
            // SAFETY: a key that was created and never deleted.
            unsafe { libc::pthread_setspecific(key as libc::pthread_key_t, heap.cast()) };
        }
    }
    heap
}

/// Runs `body` with this thread's heap or, if it cannot have one, with the common one.
pub(crate) fn with<R>(body: impl FnOnce(&mut Heap) -> R) -> Option<R> {
    let mut heap = tls::heap();
    if heap.is_null() {
        heap = attach();
    }
    // SAFETY: this thread's own; no reference to it is kept between calls.
    if let Some(heap) = unsafe { heap.as_mut() } {
        return Some(body(heap));
    }
    COMMON.with(|common| {
        if common.is_null() {
            *common = take();
        }
        // SAFETY: the thread that holds the lock has exclusive access.
        unsafe { common.as_mut() }.map(body)
    })
}

/// Gives back to the system the free memory of this thread's heap and of heaps that no thread has; returns the bytes.
pub(crate) fn trim() -> u64 {
    POOL.with(|pool| {
        let mut heap = pool.idle;
        // SAFETY: nobody takes an idle heap while the pool is locked.
        while let Some(idle) = unsafe { heap.as_mut() } {
            idle.local.release_idle();
            heap = idle.next_idle;
        }
    });
    with(|heap| heap.local.trim(&heap.pages)).unwrap_or(0)
}

/// In a forked child: gives the spans of threads that the child lacks to the remaining heaps, and their heaps to the
/// pool.
pub(crate) fn after_fork() {
    let mine = tls::heap();
    let common = COMMON.with(|common| *common);
    let (mut kept, mut lost) = (Vec::new(), Vec::new());
    POOL.with(|pool| {
        let mut heap = pool.all;
        // SAFETY: heaps live as long as the process. Those in use by threads that are not there may be half changed, but
        // not these two fields, which only change under the lock.
        while let Some(one) = unsafe { heap.as_ref() } {
            let alive = one.idle || heap == mine || heap == common;
            if alive {
                kept.push(heap)
            } else {
                lost.push(heap)
            }
            heap = one.next;
        }
    });
    if lost.is_empty() {
        return;
    }
    let Some(region) = region::get() else { return };
    with(|heir| {
        // SAFETY: nobody is inside of these: there is no other thread, and the heir is not among them.
        let others: Vec<&Local<'static>> = kept
            .iter()
            .filter(|heap| !ptr::eq(**heap, heir))
            .map(|heap| unsafe { &(**heap).local })
            .collect();
        heir.local.inherit(&others, &heir.pages);
    });
    for heap in lost {
        // SAFETY: nobody uses it; its value is not dropped, because it may be half changed.
        unsafe {
            let (next, local) = ((*heap).next, Local::new(region.scratch, &region.me));
            heap.write(Heap { local, next, ..Heap::new(region) });
        }
        give_back(heap);
    }
}
