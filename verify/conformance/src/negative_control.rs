//! Drivers that do one thing wrong, to see that the scenarios find it: a suite that cannot fail shows nothing.

use crate::driver::Driver;
use crate::order::{Answer, End, Fault, New, Order, Sort};

/// The one mistake of a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegativeControl {
    /// Closing closes nothing.
    CloseNothing,
    /// Another byte comes back.
    AnotherByte,
    /// Stale tokens are called forged.
    StaleIsForged,
    /// An object is opened although it is of another kind.
    AnyKind,
    /// Leaving leaves nothing.
    StayMember,
    /// Nobody is told that a mutex was abandoned.
    NeverAbandoned,
    /// Everybody is told that a mutex was abandoned.
    AlwaysAbandoned,
    /// Every member gets a mutex, locked or not.
    LockNothing,
    /// A writer of a read-write lock is only a reader.
    WriteAsReader,
    /// A timeout is reported as a deadlock.
    TimeoutIsDeadlock,
    /// The wrong one of several objects is reported.
    AnotherIndex,
    /// An event is set again when it was taken.
    SetAgain,
    /// A semaphore gets one more than it was given.
    OneMore,
    /// Names that differ in case only are the same.
    IgnoreCase,
    /// Every member is reported as the creator.
    CreatedByAll,
    /// No member is reported as the creator.
    NeverCreated,
    /// A process ended well, however it ended.
    EndedWell,
    /// Opens of files conflict with nothing.
    ShareAll,
    /// Freed memory is not freed.
    FreeNothing,
    /// Pinned memory is not pinned.
    PinNothing,
    /// No process and no thread has ended, ever.
    NeverEnded,
    /// The calling thread's number is used in place of the given one.
    AnotherThread,
    /// Codes that are announced are forgotten.
    AnnounceNothing,
    /// The status of a reaped process is forgotten.
    ReapNothing,
    /// What is done is given back.
    AckNothing,
    /// What is claimed is taken.
    ClaimTakes,
    /// A versioned value is not written.
    WriteNothing,
    /// A shared value is shorter than asked for.
    TooShort,
    /// No permit is acquired.
    AcquireNothing,
    /// An empty queue is reported as a timeout.
    EmptyIsTimeout,
    /// A full queue is reported as a timeout.
    FullIsTimeout,
    /// Nothing is inserted into a map.
    InsertNothing,
    /// Nothing is removed from a map.
    RemoveNothing,
    /// A map has no bound.
    NoBound,
    /// An iteration sees one pair twice.
    OnePairTwice,
    /// No pair of a map expires.
    NeverExpires,
    /// The memory of pairs that have expired is not given back.
    KeepExpired,
    /// A value that replaces another expires as well.
    AlwaysExpires,
}

impl NegativeControl {
    /// All of them, each with the topic of a scenario that must find it, or with that scenario.
    pub const ALL: [(Self, &str); 65] = [
        (Self::CloseNothing, "Handles"),
        (Self::AnotherByte, "Handles"),
        (Self::StaleIsForged, "Handles"),
        (Self::AnyKind, "Handles"),
        (Self::StayMember, "Members"),
        (Self::NeverAbandoned, "Mutexes"),
        (Self::AlwaysAbandoned, "Mutexes"),
        (Self::LockNothing, "Mutexes"),
        (Self::TimeoutIsDeadlock, "Mutexes"),
        (Self::WriteAsReader, "Read-write locks"),
        (Self::NeverAbandoned, "a writer was killed: readers are told, until one writer was"),
        (
            Self::AlwaysAbandoned,
            "a reader was killed: a writer that waits gets the lock, and is told nothing",
        ),
        (Self::AnotherIndex, "Waiting for several things"),
        (Self::SetAgain, "Events"),
        (Self::OneMore, "Semaphores"),
        (Self::IgnoreCase, "Names"),
        (Self::CreatedByAll, "Names"),
        (Self::EndedWell, "Processes"),
        (Self::ShareAll, "File sharing"),
        (Self::FreeNothing, "Scratch memory"),
        (Self::PinNothing, "Scratch memory"),
        (Self::AckNothing, "Slots"),
        (Self::ClaimTakes, "Slots"),
        (Self::NeverAbandoned, "Locked values"),
        (Self::AlwaysAbandoned, "Locked values"),
        (Self::AnotherByte, "Locked values"),
        (Self::WriteNothing, "Versioned values"),
        (Self::TooShort, "Shared values"),
        (Self::NeverAbandoned, "Condition variables"),
        (Self::AlwaysAbandoned, "Condition variables"),
        (Self::TimeoutIsDeadlock, "Condition variables"),
        (Self::AcquireNothing, "Permits"),
        (Self::AnnounceNothing, "the code that a process announced is told whole, all 32 bits of it"),
        (Self::AnnounceNothing, "only the process itself announces its code, and once"),
        (Self::EndedWell, "a process that announced a code and was killed was killed"),
        (Self::ReapNothing, "who reaped a process tells those who were not told how it ended"),
        (Self::NeverEnded, "a thread that ends is told to who waits for it, and its process goes on"),
        (Self::AnotherThread, "the threads of one process are told apart"),
        (Self::TimeoutIsDeadlock, "a thread that runs has not ended: waiting times out"),
        (Self::EndedWell, "the threads of a process that is killed end with it"),
        (
            Self::AnnounceNothing,
            "a thread announces its code, all 32 bits of it; only the thread itself, and once",
        ),
        (Self::AnotherThread, "there is no handle of a thread that is gone"),
        (Self::AnotherIndex, "waiting for any with a thread ends when the thread ends"),
        (Self::CloseNothing, "a thread is opened as a thread only, and its handle ends with its last holder"),
        (Self::CreatedByAll, "processes, threads and descriptors have names"),
        (
            Self::NeverCreated,
            "the only holder of a descriptor with a name was killed: who creates or opens it creates it",
        ),
        (
            Self::CreatedByAll,
            "of many who enter themselves under a name at once one does, and all know which",
        ),
        (
            Self::CreatedByAll,
            "of many who put their own file under a name at once one does, and all have that one",
        ),
        (Self::AckNothing, "Queues"),
        (Self::ClaimTakes, "who had claimed an element leaves: another gets it"),
        (Self::AnotherByte, "elements leave a queue in the order in which they were pushed"),
        (Self::EmptyIsTimeout, "Queues"),
        (Self::FullIsTimeout, "Queues"),
        (Self::CreatedByAll, "a queue has a name: one creates it, and all have that one"),
        (Self::InsertNothing, "Maps"),
        (Self::RemoveNothing, "Maps"),
        (Self::NoBound, "a map with a bound keeps it: pairs that nobody looks at are evicted"),
        (Self::OnePairTwice, "an iteration sees every pair once"),
        (Self::AlwaysAbandoned, "of many who insert one new key at once one does"),
        (Self::AnotherByte, "a held value stays as it is while it is replaced and removed"),
        (Self::NeverExpires, "a pair that has expired is in no answer, and a new one is inserted over it"),
        (
            Self::NeverExpires,
            "the time until a pair expires is told; so is that it never does, and that there is none",
        ),
        (
            Self::NeverExpires,
            "a value that replaces another does not expire; by an exchange it expires when the other would have",
        ),
        (
            Self::KeepExpired,
            "the memory of pairs that have expired is given back, and no other pair is removed",
        ),
        (
            Self::AlwaysExpires,
            "a value that replaces another does not expire; by an exchange it expires when the other would have",
        ),
    ];
}

/// A driver that obeys as its inner one, except for one mistake.
pub(crate) struct Saboteur {
    pub(crate) driver: Box<dyn Driver>,
    pub(crate) negative_control: NegativeControl,
}

impl Saboteur {
    /// The order to give instead; or an answer, if none is to be given.
    fn instead(&self, order: &Order) -> Result<Order, Answer> {
        let mut order = order.clone();
        match (self.negative_control, &mut order) {
            (NegativeControl::CloseNothing, Order::Close(_))
            | (NegativeControl::StayMember, Order::Leave)
            | (NegativeControl::FreeNothing, Order::Free(_) | Order::FreeOf { .. })
            | (NegativeControl::PinNothing, Order::Pin(_))
            | (NegativeControl::AnnounceNothing, Order::Exiting { .. })
            | (NegativeControl::ReapNothing, Order::Reaped { .. }) => return Err(Answer::Done),
            (NegativeControl::LockNothing, Order::Take { .. }) => return Err(Answer::Truth(false)),
            (NegativeControl::LockNothing, Order::Unlock(_)) => return Err(Answer::Done),
            (NegativeControl::AnyKind, Order::Open { sort: Sort::Raw(kind), .. }) => {
                *kind = crate::wishes::KIND
            }
            (NegativeControl::WriteNothing, Order::Write { .. }) => return Err(Answer::Number(1)),
            (NegativeControl::TooShort, Order::Create(New::Shared { size, .. })) => *size /= 2,
            (NegativeControl::AcquireNothing, Order::Acquire { permits, .. }) => {
                order = Order::Available(*permits);
            }
            (NegativeControl::AckNothing, Order::Ack { slot, thing }) => {
                order = Order::GiveBack { slot: *slot, thing: *thing };
            }
            (NegativeControl::AckNothing, Order::AckNext { queue, thing }) => {
                order = Order::GiveBackNext { queue: *queue, thing: *thing };
            }
            (NegativeControl::ClaimTakes, Order::ClaimNext { queue, timeout }) => {
                order = Order::Pop { queue: *queue, timeout: *timeout };
            }
            (NegativeControl::InsertNothing, Order::Insert { .. }) => return Err(Answer::Truth(false)),
            (NegativeControl::RemoveNothing, Order::RemoveKey { .. }) => return Err(Answer::Truth(true)),
            (NegativeControl::NeverExpires, Order::InsertFor { map, key, value, .. }) => {
                return Ok(Order::Insert { map: *map, key: key.clone(), value: value.clone() });
            }
            (NegativeControl::NeverExpires, Order::InsertNewFor { map, key, value, .. }) => {
                return Ok(Order::InsertNew { map: *map, key: key.clone(), value: value.clone() });
            }
            (NegativeControl::AlwaysExpires, Order::Insert { map, key, value }) => {
                let (map, key, value) = (*map, key.clone(), value.clone());
                return Ok(Order::InsertFor { map, key, value, time: 1 << 60 });
            }
            (NegativeControl::KeepExpired, Order::RemoveExpired(_)) => return Err(Answer::Done),
            (NegativeControl::NoBound, Order::Create(New::Map { max_bytes, .. })) => *max_bytes = 0,
            (NegativeControl::ClaimTakes, Order::Claim { slot, kind }) => {
                order = Order::TakeOut { slot: *slot, kind: *kind };
            }
            (NegativeControl::AnotherThread, Order::Create(New::Thread(tid))) => {
                // SAFETY: no memory is involved.
                *tid = unsafe { libc::getpid() } as u32;
            }
            (NegativeControl::WriteAsReader, Order::LockWrite { lock, timeout }) => {
                return Ok(Order::LockRead { lock: *lock, timeout: *timeout });
            }
            (NegativeControl::WriteAsReader, Order::UnlockWrite(lock)) => {
                return Ok(Order::UnlockRead(*lock));
            }
            (NegativeControl::OneMore, Order::Release { more, .. }) => *more += 1,
            (
                NegativeControl::IgnoreCase,
                Order::CreateNamed { name, .. } | Order::OpenNamed { name, .. },
            ) => {
                *name = name.to_lowercase();
            }
            (NegativeControl::ShareAll, Order::Share { sharing, access, .. }) => {
                (sharing.read, sharing.write, sharing.delete) = (true, true, true);
                (access.write, access.delete) = (false, false);
            }
            _ => {}
        }
        Ok(order)
    }

    fn falsify(&mut self, order: &Order, answer: Answer) -> Answer {
        match (self.negative_control, answer) {
            (NegativeControl::AnotherByte, Answer::Bytes(mut bytes)) => {
                bytes.iter_mut().last().into_iter().for_each(|byte| *byte ^= 1);
                Answer::Bytes(bytes)
            }
            (NegativeControl::OnePairTwice, Answer::Pairs(mut pairs)) => {
                pairs.extend(pairs.first().cloned());
                Answer::Pairs(pairs)
            }
            (NegativeControl::NeverAbandoned, Answer::Truth(_)) => Answer::Truth(false),
            (NegativeControl::AlwaysAbandoned, Answer::Truth(_)) => Answer::Truth(true),
            (NegativeControl::AnotherIndex, Answer::Woken(index, abandoned)) => {
                Answer::Woken(index + 1, abandoned)
            }
            (NegativeControl::CreatedByAll, Answer::CreatedOrOpened(thing, _)) => {
                Answer::CreatedOrOpened(thing, true)
            }
            (NegativeControl::NeverEnded, Answer::Exit(_)) => Answer::Exit(None),
            (NegativeControl::NeverCreated, Answer::CreatedOrOpened(thing, _)) => {
                Answer::CreatedOrOpened(thing, false)
            }
            (NegativeControl::EndedWell, Answer::Exit(Some(_))) => Answer::Exit(Some(End::Code(0))),
            (NegativeControl::SetAgain, answer) => {
                if let Order::Take { thing, .. } = order {
                    let _ = self.driver.obey(&Order::Set(*thing));
                }
                answer
            }
            (_, answer) => answer,
        }
    }
}

impl Driver for Saboteur {
    fn obey(&mut self, order: &Order) -> Result<Answer, Fault> {
        let instead = match self.instead(order) {
            Ok(order) => order,
            Err(answer) => return Ok(answer),
        };
        match (self.negative_control, self.driver.obey(&instead)) {
            (NegativeControl::StaleIsForged, Err(Fault::Stale)) => Err(Fault::Forged),
            (NegativeControl::TimeoutIsDeadlock, Err(Fault::TimedOut)) => Err(Fault::Deadlock),
            (NegativeControl::EmptyIsTimeout, Err(Fault::QueueEmpty))
            | (NegativeControl::FullIsTimeout, Err(Fault::QueueFull)) => Err(Fault::TimedOut),
            (_, Ok(answer)) => Ok(self.falsify(order, answer)),
            (_, Err(fault)) => Err(fault),
        }
    }
}
