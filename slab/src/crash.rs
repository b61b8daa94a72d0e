//! Where a process may be killed on purpose: one point between any two stores to shared words.

/// Names a point between two shared stores. It is nothing unless the unit tests are built.
macro_rules! failpoint {
    ($name:literal) => {{
        // The name is checked where it is used: a point that is not in the list does not compile.
        const _: () = assert!($crate::crash::listed($name), "add the point to FAILPOINTS");
        #[cfg(all(test, not(loom)))]
        $crate::crash::hook::passed($name);
    }};
}
pub(crate) use failpoint;

/// The failpoints of this crate, in the order of the source.
pub(crate) const FAILPOINTS: &[&str] = &[
    "slab.group.set",
    "slab.claim.hint_set",
    "slab.claim.bit_set",
    "slab.claim.claimed",
    "slab.claim.lost",
    "slab.claim.block_freed",
    "slab.create.entry_named",
    "slab.create.filled",
    "slab.create.attached",
    "slab.create.published",
    "slab.open.bit_set",
    "slab.open.shared",
    "slab.open.refused",
    "slab.close.renewed",
    "slab.close.block_freed",
    "slab.close.block_forgotten",
    "slab.close.retired",
    "slab.close.bit_cleared",
    "slab.drain.bit_cleared",
    "slab.free_if_unheld.tagged",
    "slab.free_if_unheld.empty",
    "slab.free_if_unheld.freed",
    "slab.free_if_unheld.hint_cleared",
    "slab.recover.unsettled",
    "slab.recover.settled",
    "slab.recover.bit_cleared",
    "slab.recover.block_freed",
    "slab.recover.map_cleared",
    "slab.extend.published",
    "names.extend.published",
    "names.enter.looked",
    "names.enter.entered",
    "names.settle.listed",
    "names.settle.moved",
    "names.settle.done",
];

/// Whether a name is in [`FAILPOINTS`].
pub(crate) const fn listed(name: &str) -> bool {
    let mut i = 0;
    while i < FAILPOINTS.len() {
        if same(FAILPOINTS[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// What the unit tests do at a failpoint of the current thread.
#[cfg(all(test, not(loom)))]
pub(crate) mod hook {
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(&'static str)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls `hook` at every point that `work` passes on this thread; not at points that the hook itself passes.
    pub(crate) fn with<R>(hook: impl FnMut(&'static str), work: impl FnOnce() -> R) -> R {
        let hook: Box<dyn FnMut(&'static str) + '_> = Box::new(hook);
        // SAFETY: the hook is taken out below before what it borrows ends, also when `work` unwinds.
        let hook: Hook = unsafe { std::mem::transmute(hook) };
        struct Out;
        impl Drop for Out {
            fn drop(&mut self) {
                HOOK.with_borrow_mut(|slot| *slot = None);
            }
        }
        HOOK.with_borrow_mut(|slot| *slot = Some(hook));
        let _out = Out;
        work()
    }

    pub(crate) fn passed(name: &'static str) {
        let Some(mut hook) = HOOK.with_borrow_mut(Option::take) else { return };
        // Put back also after the hook returns; one that unwinds is gone, as `Out` would have it.
        hook(name);
        HOOK.with_borrow_mut(|slot| *slot = Some(hook));
    }
}
