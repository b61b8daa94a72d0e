//! Queues and maps.

use std::time::Duration;

use tenure::{
    Raw,
    collections::{Map, Queue},
    error::QueueError,
};

use super::{Object, Program, timeout};
use crate::order::{Answer, Fault, Order, Thing};

impl Program {
    fn queue(&self, thing: &Thing) -> Result<&Queue<Raw>, Fault> {
        if let Object::Queue(queue) = self.object(thing)? { Ok(queue) } else { Err(Fault::ForeignKind) }
    }

    fn map(&self, thing: &Thing) -> Result<&Map, Fault> {
        if let Object::Map(map) = self.object(thing)? { Ok(map) } else { Err(Fault::ForeignKind) }
    }

    fn end_lent(&mut self, thing: &Thing, is_done: bool) -> Result<Answer, Fault> {
        self.member()?.check()?;
        match self.objects.remove(&thing.id).ok_or(Fault::Stale)? {
            Object::Claim(claim) => {
                if is_done { claim.ack() } else { claim.give_back() }?;
                Ok(Answer::Done)
            }
            other => {
                self.objects.insert(thing.id, other);
                Err(Fault::NotClaimed)
            }
        }
    }

    /// Orders about queues and maps.
    pub(super) fn collections(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Push { queue, bytes, timeout: Some(0) } => {
                Ok(self.queue(queue)?.push(bytes).map(|()| Answer::Done)?)
            }
            Order::Push { queue, bytes, timeout: patience } => {
                Ok(self.queue(queue)?.push_with(bytes, timeout(*patience)).map(|()| Answer::Done)?)
            }
            Order::PushHandle { queue, thing, timeout: Some(0) } => {
                Ok(self.queue(queue)?.push_handle(self.handle(thing)?).map(|()| Answer::Done)?)
            }
            Order::PushHandle { queue, thing, timeout: patience } => {
                let pushed = self.queue(queue)?.push_handle_with(self.handle(thing)?, timeout(*patience));
                Ok(pushed.map(|()| Answer::Done)?)
            }
            Order::Pop { queue, timeout: patience } => {
                let queue = self.queue(queue)?;
                let popped = taken(*patience, || queue.pop(), || queue.pop_with(timeout(*patience)))?;
                self.thing(Object::Raw(popped))
            }
            Order::PushMany { queue, values, timeout: patience } => {
                let (queue, all) = (self.queue(queue)?, || values.iter().map(Vec::as_slice));
                let pushed = match patience {
                    Some(0) => queue.push_many(all()),
                    _ => queue.push_many_with(all(), timeout(*patience)),
                };
                Ok(Answer::Number(pushed? as u64))
            }
            Order::PopMany { queue, limit, timeout: patience } => {
                let (queue, mut popped) = (self.queue(queue)?, Vec::new());
                let count = match patience {
                    Some(0) => queue.pop_many(&mut popped, *limit),
                    _ => queue.pop_many_with(&mut popped, *limit, timeout(*patience)),
                }?;
                assert_eq!(count, popped.len());
                if count == 0 && *limit > 0 {
                    return Err(Fault::QueueEmpty);
                }
                let mut things = Vec::new();
                for handle in popped {
                    match self.thing(Object::Raw(handle))? {
                        Answer::Thing(thing) => things.push(thing),
                        other => return Ok(other),
                    }
                }
                Ok(Answer::Many(things, None))
            }
            Order::ClaimNext { queue, timeout: patience } => {
                let queue = self.queue(queue)?;
                let claim = taken(*patience, || queue.claim(), || queue.claim_with(timeout(*patience)))?;
                self.thing(Object::Claim(claim))
            }
            Order::AckNext { thing, .. } => self.end_lent(thing, true),
            Order::GiveBackNext { thing, .. } => self.end_lent(thing, false),
            Order::QueueLen(queue) => {
                let len = self.queue(queue)?.len()?;
                Ok(Answer::Pair(len.waiting as i32, len.claimed as i32))
            }
            Order::Insert { map, key, value } => Ok(Answer::Truth(self.map(map)?.insert(key, value)?)),
            Order::InsertNew { map, key, value } => Ok(Answer::Truth(self.map(map)?.insert_new(key, value)?)),
            Order::Exchange { map, key, expected, new } => {
                let (expected, new) = (expected.as_deref(), new.as_deref());
                Ok(Answer::Truth(self.map(map)?.compare_exchange(key, expected, new)?))
            }
            Order::GetValue { map, key } => {
                self.map(map)?.get(key)?.map(Answer::Bytes).ok_or(Fault::NoSuchKey)
            }
            Order::GetShort { .. } => Err(Fault::NotInThisLanguage("a buffer of the caller's".into())),
            Order::HoldValue { map, key } => {
                let entry = self.map(map)?.get_handle(key)?.ok_or(Fault::NoSuchKey)?;
                self.thing(Object::Entry(entry))
            }
            Order::HasKey { map, key } => Ok(Answer::Truth(self.map(map)?.contains_key(key)?)),
            Order::RemoveKey { map, key } => Ok(Answer::Truth(self.map(map)?.remove(key)?)),
            Order::Clear(map) => Ok(self.map(map)?.clear().map(|()| Answer::Done)?),
            Order::MapLen(map) => {
                let map = self.map(map)?;
                Ok(Answer::Pair(map.len()? as i32, map.bytes()? as i32))
            }
            Order::Pairs(map) => {
                Ok(Answer::Pairs(self.map(map)?.iter().collect::<Result<_, _>>().map_err(Fault::from)?))
            }
            Order::InsertFor { map, key, value, time } => {
                let time = Duration::from_nanos(*time);
                Ok(Answer::Truth(self.map(map)?.insert_for(key, value, time)?))
            }
            Order::InsertNewFor { map, key, value, time } => {
                let time = Duration::from_nanos(*time);
                Ok(Answer::Truth(self.map(map)?.insert_new_for(key, value, time)?))
            }
            Order::TimeLeft { map, key } => {
                let left = self.map(map)?.time_left(key)?.ok_or(Fault::NoSuchKey)?;
                Ok(Answer::Number(if left == Duration::MAX { u64::MAX } else { left.as_nanos() as u64 }))
            }
            Order::RemoveExpired(map) => Ok(self.map(map)?.remove_expired().map(|()| Answer::Done)?),
            _ => self.scratch(order),
        }
    }
}

/// Tries if the timeout is 0, waits otherwise.
fn taken<T>(
    patience: Option<u64>,
    attempt: impl FnOnce() -> Result<Option<T>, QueueError>,
    wait: impl FnOnce() -> Result<T, QueueError>,
) -> Result<T, Fault> {
    if patience == Some(0) { attempt()?.ok_or(Fault::QueueEmpty) } else { Ok(wait()?) }
}
