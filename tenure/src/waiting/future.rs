//! Waits as futures: a poll takes the object, or leaves its waker with the member's sleepers.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use tenure_segment::sleepers::Sleep;
use tenure_wait::Attempt;

use super::error::WaitError;
use super::source::{Gained, Source, set_waiters};
use super::word::HalfWord;
use crate::error::NotMember;
use crate::shared::Shared;

/// A step of a wait on a [sequence](tenure_wait::sequence).
pub(crate) enum Step<'w, R> {
    Done(R),
    /// Not available: the word, and its marked value, to sleep on.
    Sleep(HalfWord<'w>, u32),
}

/// The place of a future among the member's sleepers; none before it has to wait.
pub(crate) struct Place {
    shared: Arc<Shared>,
    sleep: Option<Sleep>,
}

impl Place {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), sleep: None }
    }

    /// The answer of a poll whose step this was.
    ///
    /// # Errors
    ///
    /// Those of the step; as [`Place::sleep`].
    pub(crate) fn poll<R, E: From<WaitError>>(
        &mut self,
        step: Result<Step<'_, R>, E>,
        context: &Context<'_>,
    ) -> Poll<Result<R, E>> {
        match step? {
            Step::Done(result) => Poll::Ready(Ok(result)),
            Step::Sleep(word, marked) => {
                self.sleep(word.futex(), marked, context)?;
                Poll::Pending
            }
        }
    }

    /// Calls the waker of `context` when the word is not `marked` any more. The caller has looked at what it waits for since it has seen that
    /// value.
    ///
    /// # Errors
    ///
    /// [`WaitError::Os`]: no thread can be started, or none is permitted to sleep.
    pub(crate) fn sleep(
        &mut self,
        word: &std::sync::atomic::AtomicU32,
        marked: u32,
        context: &Context<'_>,
    ) -> Result<(), WaitError> {
        if !self.sleep.as_ref().is_some_and(|sleep| sleep.renew(marked, context.waker())) {
            self.sleep = None;
            // SAFETY: a word of the segment, which is mapped until `Shared` is dropped, and that closes the sleepers first.
            let sleep = unsafe { self.shared.objects.sleepers.add(word, marked, context.waker().clone()) };
            self.sleep = Some(sleep?);
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // In a forked child a thread that does not exist may have the list locked.
        if self.shared.lease.check() == Err(NotMember::ForkedChild) {
            std::mem::forget(self.sleep.take());
        }
    }
}

/// Waits for one object, as [`wait_for`](super::source::wait_for).
///
/// It takes the object in a poll that returns it. Dropped before, it has taken nothing, and keeps no wake-up from others.
pub(crate) async fn taken(source: &(impl Source + Sync)) -> Result<Gained, WaitError> {
    let (mut memory, mut place) = (None, Place::new(source.object().shared()));
    poll_fn(move |context| {
        loop {
            match source.attempt(&mut memory)? {
                Attempt::Taken(gained) => return Poll::Ready(Ok(gained)),
                Attempt::Blocked(seen) => {
                    if let Some(marked) = set_waiters(source, seen)? {
                        place.sleep(source.word()?.futex(), marked, context)?;
                        return Poll::Pending;
                    }
                }
            }
        }
    })
    .await
}
