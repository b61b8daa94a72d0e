//! A look at the system's own objects by whoever does not hold them: who has a lock, and how full a queue is.

use std::sync::atomic::Ordering;

use tenure_core::sync::Word;
use tenure_scratch_alloc::Scratch;
use tenure_slab::{HandleInfo, HolderSet, Slab, State, Token};
use tenure_wait::{McasRef, WAITERS, event, exit, mutex, permits, rwlock};

use crate::collections::queue;
use crate::kind::Kind;
use crate::report::payload_words;
use crate::state::{CONTAINER_FIRST, CONTAINER_SLOTS, STATE_WORDS, copy_state};
use crate::waiting::{permits::permit_words, rwlock::readers_word};

/// One of the system's own objects, as an inspection sees it; see [`Space::objects`](crate::Space::objects).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectInfo {
    /// Its token.
    pub token: Token,
    /// What it is.
    pub kind: Kind,
    /// The leases that hold it, that is, have it open.
    pub holders: HolderSet,
    /// Its state.
    pub state: ObjectState,
    /// Whether threads may sleep until it changes. The word may say so for a moment longer than they do.
    pub has_waiters: bool,
    /// Where its state begins, in bytes from the start of the segment: the threads that wait for it sleep on words there.
    pub at: u64,
    /// Where its state ends.
    pub end: u64,
}

/// The state of an object, loaded word by word: while others change it, the parts need not belong to one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ObjectState {
    /// A mutex, a read-write lock, a locked or a versioned value.
    Lock {
        /// Who has it, to write.
        owner: Option<LockOwner>,
        /// Whether the last owner did not unlock it: the next one is told.
        abandoned: bool,
        /// Of a read-write lock: the leases that have it to read, and how often.
        readers: Vec<(u8, u32)>,
    },
    /// A member takes it at this moment, together with others.
    InDecision {
        /// The lease of the member.
        lease: u8,
    },
    /// An event.
    Event {
        /// Whether it is signalled.
        signalled: bool,
    },
    /// A semaphore.
    Semaphore {
        /// How often it can be acquired.
        count: u32,
        /// The largest count.
        maximum: u32,
    },
    /// Permits.
    Permits {
        /// Those that nobody has.
        free: u32,
        /// All.
        total: u32,
        /// The leases that have some, and how many.
        owners: Vec<(u8, u32)>,
    },
    /// A queue.
    Queue {
        /// The elements that wait to be claimed.
        waiting: u32,
        /// The elements that are claimed.
        claimed: u32,
        /// How many may wait.
        capacity: u32,
    },
    /// A map.
    Map {
        /// The buckets that have a record.
        used: u32,
        /// All its buckets.
        buckets: u32,
    },
    /// A process or a thread.
    Ended {
        /// Whether it is known to have ended.
        ended: bool,
    },
    /// A descriptor, a file share, a shared value, a condition variable, or words that make no sense.
    Other,
}

/// Who has a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockOwner {
    /// The lease of the member.
    pub lease: u8,
    /// The thread, by the lower 22 bits of its number in its own pid namespace; `None` for a guard that is bound to no thread.
    pub thread: Option<u32>,
}

/// All of them that are in use; `offset` makes an offset in the segment of an address.
pub(crate) fn list(
    slab: &Slab<'_>,
    scratch: &Scratch<'_>,
    space_tag: u8,
    members: u16,
    offset: impl Fn(*const Word) -> u64,
) -> Vec<ObjectInfo> {
    let is_object = |kind: Kind| kind.is_system() && kind != Kind::MAP_RECORD;
    let live = slab.iter().filter(|handle| handle.state == Some(State::Live));
    let objects = live.filter(|handle| is_object(Kind::from_number(handle.kind)));
    objects
        .filter_map(|handle| {
            let words = payload_words(slab, scratch, &handle).filter(|words| words.len() >= STATE_WORDS)?;
            let (state, has_waiters) = look(slab, &handle, words, members);
            // The words are those of the object if it is not over by now.
            let now = slab.inspect(handle.index)?;
            let at = offset(words.as_ptr());
            (now.state == handle.state && now.generation == handle.generation).then_some(())?;
            Some(ObjectInfo {
                token: Token::new(space_tag, handle.generation, handle.index)?,
                kind: Kind::from_number(handle.kind),
                holders: handle.holders,
                state,
                has_waiters,
                at,
                end: at + 8 * words.len() as u64,
            })
        })
        .collect()
}

/// The state, and whether threads may wait for it to change.
fn look(slab: &Slab<'_>, handle: &HandleInfo, words: &[Word], members: u16) -> (ObjectState, bool) {
    let kind = Kind::from_number(handle.kind);
    // SAFETY: at least so many words are mapped.
    let Some(state) = (unsafe { copy_state(words.as_ptr().cast_mut().cast()) }) else {
        return (ObjectState::Other, false);
    };
    let (word, has_waiters) = (state[0] as u32 & !WAITERS, state[0] as u32 & WAITERS != 0);
    // Of the words that only count wakes.
    let is_awaited = |word: u64| word & 1 != 0;
    let is_mcas_word = matches!(kind, Kind::MUTEX | Kind::EVENT_AUTO | Kind::SEMAPHORE);
    if let Some(McasRef { lease, .. }) = McasRef::of(state[0]).filter(|_| is_mcas_word) {
        return (ObjectState::InDecision { lease }, false);
    }
    // Relaxed: an inspection.
    let load = |word: &Word| word.load(Ordering::Relaxed);
    match kind {
        Kind::MUTEX | Kind::LOCKED | Kind::VERSIONED | Kind::RWLOCK => {
            let (owner, abandoned) = match mutex::State::of(word) {
                mutex::State::Owned(owner) => {
                    let thread = Some(owner.thread()).filter(|thread| *thread != 0);
                    (Some(LockOwner { lease: owner.lease(), thread }), false)
                }
                mutex::State::Abandoned => (None, true),
                mutex::State::Free => (None, false),
                mutex::State::Nonsense => return (ObjectState::Other, has_waiters),
            };
            let (mut readers, mut has_waiters) = (Vec::new(), has_waiters);
            for lease in (0..members).map(|lease| lease as u8).filter(|_| kind == Kind::RWLOCK) {
                let word = readers_word(words, lease).map_or(0, load) as u32;
                has_waiters |= word & WAITERS != 0;
                readers.extend(Some((lease, rwlock::readers(word))).filter(|(_, count)| *count > 0));
            }
            (ObjectState::Lock { owner, abandoned, readers }, has_waiters)
        }
        Kind::EVENT_MANUAL | Kind::EVENT_AUTO => {
            (ObjectState::Event { signalled: event::is_available(word) }, has_waiters)
        }
        Kind::SEMAPHORE => (ObjectState::Semaphore { count: word, maximum: state[1] as u32 }, has_waiters),
        Kind::PERMITS => {
            let Some(all) = permit_words(words) else { return (ObjectState::Other, false) };
            let mut counts = std::collections::BTreeMap::new();
            let owners = all.iter().map(|word| permits::owner(load(word)));
            owners.for_each(|owner| *counts.entry(owner).or_insert(0) += 1);
            let free = counts.remove(&0).unwrap_or(0);
            let owner = |(owner, count): (u64, u32)| Some((u8::try_from(owner - 1).ok()?, count));
            let owners = counts.into_iter().filter_map(owner).collect();
            (ObjectState::Permits { free, total: all.len() as u32, owners }, is_awaited(state[0]))
        }
        Kind::QUEUE | Kind::MAP => {
            let [slots, first] = [CONTAINER_SLOTS, CONTAINER_FIRST].map(|word| state[word] as u32);
            // Words that make no sense must not make the look last for ever.
            let slots = slots.min(slab.container_slots());
            let kept = (0..slots).filter_map(|slot| slab.slot(first.checked_add(slot)?));
            let (all, claimed) = kept.fold((0, 0), |(all, claimed), slot| {
                (all + 1, claimed + u32::from(slot.claimed_by.is_some()))
            });
            if kind == Kind::MAP {
                return (ObjectState::Map { used: all, buckets: slots }, false);
            }
            let capacity = words.get(queue::CAPACITY).map_or(0, load) as u32;
            let state_of = ObjectState::Queue { waiting: all - claimed, claimed, capacity };
            (state_of, is_awaited(state[0]) || is_awaited(state[1]))
        }
        Kind::PROCESS | Kind::THREAD => (ObjectState::Ended { ended: exit::is_available(word) }, has_waiters),
        Kind::CONDVAR => (ObjectState::Other, is_awaited(state[0])),
        _ => (ObjectState::Other, false),
    }
}
