//! Queues, first in, first out, between processes: tenure's, those of published crates, POSIX message queues, a list of redis.

mod posix;
mod rings;

use tenure::{Handle, Kind, Raw, Space, collections::Queue, error::QueueError};

use crate::servers::RedisClient;
use crate::subject::{Failed, Outcome, Subject};

pub use posix::Posix;
pub use rings::{Array, Shaq};

/// Elements of a queue that is full. POSIX message queues may be allowed fewer, and a list of redis has no bound.
pub const CAPACITY: u32 = 1024;

/// A queue of values of `N` bytes, for any number of members on both sides.
pub trait Fifo<const N: usize> {
    /// Appends a value; waits while the queue is full.
    ///
    /// # Errors
    /// [`Failed`].
    fn push(&mut self, value: &[u8; N]) -> Outcome<()>;

    /// Takes the oldest value; waits while there is none.
    ///
    /// # Errors
    /// [`Failed`].
    fn pop(&mut self) -> Outcome<[u8; N]>;

    /// Appends several values, by one call where there is such a call.
    ///
    /// # Errors
    /// [`Failed`].
    fn push_many(&mut self, values: &[[u8; N]]) -> Outcome<()> {
        values.iter().try_for_each(|value| self.push(value))
    }

    /// Takes the oldest `count` values, by one call where there is such a call; the last one.
    ///
    /// # Errors
    /// [`Failed`].
    fn pop_many(&mut self, count: usize) -> Outcome<[u8; N]> {
        (0..count).try_fold([0; N], |_, _| self.pop())
    }
}

/// A queue whose elements are lent, and come back if the borrower dies.
pub trait Jobs<const N: usize>: Fifo<N> {
    /// Borrows the oldest value, and then says that it is done with it; waits while there is none.
    ///
    /// # Errors
    /// [`Failed`].
    fn claim_and_ack(&mut self) -> Outcome<[u8; N]>;
}

/// Repeats until there is a result: after pauses, each twice as long as the one before, and then giving the processor to others, as
/// `crossbeam_utils::Backoff` does.
#[inline]
pub(crate) fn until<R>(mut attempt: impl FnMut() -> Outcome<Option<R>>) -> Outcome<R> {
    let mut failures = 0_u32;
    loop {
        if let Some(result) = attempt()? {
            return Ok(result);
        }
        if failures <= 6 {
            (0..1 << failures).for_each(|_| std::hint::spin_loop());
            failures += 1;
        } else {
            std::thread::yield_now();
        }
    }
}

#[cold]
fn short() -> Failed {
    Failed::of("queue", "a value of another length")
}

const KIND: Kind = Kind::raw(1);

/// tenure's queue, in memory without a name.
pub struct Tenured {
    space: Space,
    sleeps: bool,
}

/// A member with the queue.
pub struct TenuredMember {
    queue: Queue<Raw>,
    /// Of the last batch.
    popped: Vec<Handle<Raw>>,
    sleeps: bool,
}

impl Tenured {
    /// Who finds it empty or full tries again.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn spinning() -> Outcome<Self> {
        Self::new(false)
    }

    /// Who finds it empty or full sleeps, and is woken.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn sleeping() -> Outcome<Self> {
        Self::new(true)
    }

    fn new(sleeps: bool) -> Outcome<Self> {
        let options = Space::options().handles(2 * CAPACITY).container_slots(CAPACITY);
        let space = options.scratch(1 << 20).memfd();
        Ok(Self { space: space.map_err(|error| Failed::of("tenure", error))?, sleeps })
    }
}

impl Subject for Tenured {
    type Member = TenuredMember;

    fn join(&self) -> Outcome<TenuredMember> {
        let member = self.space.join().map_err(|error| Failed::of("join", error))?;
        let queue = Queue::create_or_open_raw(&member, "queue", KIND, CAPACITY);
        let queue = queue.map_err(|error| Failed::of("queue", error))?.into_inner();
        Ok(TenuredMember { queue, popped: Vec::new(), sleeps: self.sleeps })
    }
}

impl<const N: usize> Fifo<N> for TenuredMember {
    #[inline]
    fn push(&mut self, value: &[u8; N]) -> Outcome<()> {
        let pushed = if self.sleeps {
            self.queue.push_with(value, None)
        } else {
            match self.queue.push(value) {
                Err(QueueError::Full { .. }) => return self.push_later(value),
                pushed => pushed,
            }
        };
        pushed.map_err(|error| Failed::of("push", error))
    }

    #[inline]
    fn pop(&mut self) -> Outcome<[u8; N]> {
        let popped = if self.sleeps {
            self.queue.pop_with(None).map_err(|error| Failed::of("pop", error))
        } else {
            until(|| self.queue.pop().map_err(|error| Failed::of("pop", error)))
        }?;
        let bytes = popped.get().map_err(|error| Failed::of("get", error))?;
        bytes.try_into().map_err(|_| short())
    }

    fn push_many(&mut self, mut values: &[[u8; N]]) -> Outcome<()> {
        while !values.is_empty() {
            let pushed = until(|| match self.queue.push_many(values.iter().map(|value| &value[..])) {
                Ok(pushed) => Ok(Some(pushed)),
                Err(QueueError::Full { .. }) => Ok(None),
                Err(error) => Err(Failed::of("push", error)),
            })?;
            values = &values[pushed..];
        }
        Ok(())
    }

    fn pop_many(&mut self, count: usize) -> Outcome<[u8; N]> {
        self.popped.clear();
        while self.popped.len() < count {
            let (queue, popped) = (&self.queue, &mut self.popped);
            until(|| match queue.pop_many(popped, count - popped.len()) {
                Ok(0) => Ok(None),
                Ok(_) => Ok(Some(())),
                Err(error) => Err(Failed::of("pop", error)),
            })?;
        }
        let last = self.popped.last().ok_or_else(short)?;
        let bytes = last.get().map_err(|error| Failed::of("get", error))?;
        bytes.try_into().map_err(|_| short())
    }
}

impl<const N: usize> Jobs<N> for TenuredMember {
    #[inline]
    fn claim_and_ack(&mut self) -> Outcome<[u8; N]> {
        let claim = until(|| self.queue.claim().map_err(|error| Failed::of("claim", error)))?;
        let value = claim.get().map_err(|error| Failed::of("get", error))?.try_into();
        claim.ack().map_err(|error| Failed::of("ack", error))?;
        value.map_err(|_| short())
    }
}

impl TenuredMember {
    #[cold]
    fn push_later(&mut self, value: &[u8]) -> Outcome<()> {
        until(|| match self.queue.push(value) {
            Ok(()) => Ok(Some(())),
            Err(QueueError::Full { .. }) => Ok(None),
            Err(error) => Err(Failed::of("push", error)),
        })
    }
}

const LIST: &[u8] = b"queue";
const LENT: &[u8] = b"lent";

/// A list: the reliable queue of the documentation of redis, whose lent elements are in a second list.
impl<const N: usize> Fifo<N> for RedisClient {
    fn push(&mut self, value: &[u8; N]) -> Outcome<()> {
        self.ask(&[b"LPUSH", LIST, value])?.number().map(drop)
    }

    fn pop(&mut self) -> Outcome<[u8; N]> {
        // With a time of zero it waits without limit; the answer is the list's name and the value.
        let popped = self.ask(&[b"BRPOP", LIST, b"0"])?;
        popped.last().and_then(|value| value.try_into().ok()).ok_or_else(short)
    }
}

impl<const N: usize> Jobs<N> for RedisClient {
    fn claim_and_ack(&mut self) -> Outcome<[u8; N]> {
        let lent = self.ask(&[b"BLMOVE", LIST, LENT, b"RIGHT", b"LEFT", b"0"])?;
        let value: [u8; N] = lent.last().and_then(|value| value.try_into().ok()).ok_or_else(short)?;
        self.ask(&[b"LREM", LENT, b"1", &value])?.number()?;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::Redis;

    fn in_order<S: Subject<Member: Fifo<32>>>(subject: Outcome<S>) {
        let subject = match subject {
            Err(Failed(why)) if why.starts_with("SKIPPED") => return println!("{why}"),
            subject => subject.unwrap(),
        };
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        for number in 0..10 {
            a.push(&[number; 32]).unwrap();
        }
        for number in 0..10 {
            assert_eq!(b.pop().unwrap(), [number; 32]);
        }
        a.push_many(&[1, 2, 3, 4, 5].map(|number| [number; 32])).unwrap();
        assert_eq!((b.pop_many(2).unwrap(), b.pop_many(3).unwrap()), ([2; 32], [5; 32]));
    }

    fn lent<S: Subject<Member: Jobs<8>>>(subject: Outcome<S>) {
        let subject = match subject {
            Err(Failed(why)) if why.starts_with("SKIPPED") => return println!("{why}"),
            subject => subject.unwrap(),
        };
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        for number in 0..10 {
            a.push(&[number; 8]).unwrap();
            assert_eq!(b.claim_and_ack().unwrap(), [number; 8]);
        }
        a.push(&[10; 8]).unwrap();
        assert_eq!(b.pop().unwrap(), [10; 8]);
    }

    #[test]
    fn what_was_pushed_first_is_popped_first() {
        in_order(Tenured::spinning());
        in_order(Tenured::sleeping());
        in_order(Array::<32>::new());
        in_order(Shaq::<32>::new());
        in_order(Posix::<32>::new());
        in_order(Redis::new());
    }

    #[test]
    fn what_was_claimed_and_acknowledged_is_gone() {
        lent(Tenured::spinning());
        lent(Redis::new());
    }
}
