//! Queues and maps of the C interface.

use std::ptr;
use std::slice;

use tenure_capi::{
    tenure_bytes, tenure_map_clear, tenure_map_contains, tenure_map_exchange, tenure_map_get,
    tenure_map_hold, tenure_map_insert, tenure_map_insert_for, tenure_map_insert_new,
    tenure_map_insert_new_for, tenure_map_iterate, tenure_map_len, tenure_map_next, tenure_map_remove,
    tenure_map_remove_expired, tenure_map_time_left, tenure_object, tenure_object_close, tenure_queue_ack,
    tenure_queue_claim, tenure_queue_give_back, tenure_queue_len, tenure_queue_pop, tenure_queue_pop_many,
    tenure_queue_push, tenure_queue_push_handle, tenure_queue_push_many, tenure_status,
};

use super::faults::{checked, told};
use super::objects::nanoseconds;
use super::{Held, NO_HANDLE, Program};
use crate::order::{Answer, Fault, Order, Sort, Thing};

/// One status says that nothing has a name, and that a key has no value.
fn of_key(fault: Fault) -> Fault {
    if fault == Fault::NoSuchName { Fault::NoSuchKey } else { fault }
}

/// The kind of the elements of a queue.
fn kind_of(held: Held) -> Result<u32, Fault> {
    match held {
        Held::Object { sort: Some(Sort::Queue(kind)), .. } => Ok(kind),
        _ => Err(Fault::ForeignKind),
    }
}

/// The bytes where C says that they are.
///
/// # Safety
///
/// They are there.
unsafe fn copied(data: *const std::ffi::c_void, size: usize) -> Vec<u8> {
    // SAFETY: the caller's promise.
    unsafe { slice::from_raw_parts(data.cast::<u8>(), size) }.to_vec()
}

/// Null for none; what is empty has an address as well.
fn optional(bytes: Option<&[u8]>) -> (*const std::ffi::c_void, usize) {
    bytes.map_or((ptr::null(), 0), |bytes| (bytes.as_ptr().cast(), bytes.len()))
}

impl Program {
    /// Ends a claim; the status.
    pub(super) fn end_lent(&self, queue: u32, token: u64, is_done: bool) -> Result<i32, Fault> {
        let object = self.object(&Thing { id: queue, token: 0 })?;
        let end = if is_done { tenure_queue_ack } else { tenure_queue_give_back };
        // SAFETY: the payload was copied.
        Ok(unsafe { end(object, token) })
    }

    fn pairs(&self, map: *mut tenure_object) -> Result<Answer, Fault> {
        let mut iteration = ptr::null_mut();
        // SAFETY: a place for the result.
        checked(unsafe { tenure_map_iterate(map, &raw mut iteration) })?;
        let mut pairs = Vec::new();
        loop {
            let (mut key, mut value) = ((ptr::null(), 0), (ptr::null(), 0));
            // SAFETY: places for the results.
            let status = told(unsafe {
                tenure_map_next(iteration, &raw mut key.0, &raw mut key.1, &raw mut value.0, &raw mut value.1)
            })?;
            if status == tenure_status::TENURE_END as i32 {
                break;
            }
            // SAFETY: valid until the next call.
            pairs.push(unsafe { (copied(key.0, key.1), copied(value.0, value.1)) });
        }
        checked(tenure_object_close(iteration))?;
        Ok(Answer::Pairs(pairs))
    }

    /// Orders about queues.
    pub(super) fn collections(&mut self, order: &Order) -> Result<Answer, Fault> {
        let mut handle = NO_HANDLE;
        match order {
            Order::Push { queue, bytes, timeout } => {
                let (object, data, time) =
                    (self.object(queue)?, bytes.as_ptr().cast(), nanoseconds(*timeout));
                // SAFETY: the bytes live until it returns.
                checked(unsafe { tenure_queue_push(object, data, bytes.len(), 0, time) })
                    .map(|()| Answer::Done)
            }
            Order::PushHandle { queue, thing, timeout } => {
                let ((_, token), time) = (self.handle(thing)?, nanoseconds(*timeout));
                checked(tenure_queue_push_handle(self.local, self.object(queue)?, token, 0, time))
                    .map(|()| Answer::Done)
            }
            Order::Pop { queue, timeout } => {
                let (object, kind) = (self.object(queue)?, kind_of(self.held(queue)?)?);
                // SAFETY: a place for the result.
                checked(unsafe { tenure_queue_pop(object, 0, nanoseconds(*timeout), &raw mut handle) })?;
                Ok(Answer::Thing(self.keep_handle(handle, kind)))
            }
            Order::PushMany { queue, values, timeout } => {
                let bytes_of =
                    |value: &Vec<u8>| tenure_bytes { data: value.as_ptr().cast(), size: value.len() };
                let all: Vec<_> = values.iter().map(bytes_of).collect();
                let (object, time, mut pushed) = (self.object(queue)?, nanoseconds(*timeout), 0);
                // SAFETY: the bytes live until it returns; a place for the result.
                checked(unsafe {
                    tenure_queue_push_many(object, all.as_ptr(), all.len(), 0, time, &raw mut pushed)
                })?;
                Ok(Answer::Number(pushed as u64))
            }
            Order::PopMany { queue, limit, timeout } => {
                let (object, kind) = (self.object(queue)?, kind_of(self.held(queue)?)?);
                let (mut handles, mut popped) = (vec![NO_HANDLE; *limit], 0);
                // SAFETY: places for the results.
                checked(unsafe {
                    let time = nanoseconds(*timeout);
                    tenure_queue_pop_many(object, handles.as_mut_ptr(), *limit, 0, time, &raw mut popped)
                })?;
                let things = handles[..popped].iter().map(|handle| self.keep_handle(*handle, kind)).collect();
                Ok(Answer::Many(things, None))
            }
            Order::ClaimNext { queue, timeout } => {
                let (object, kind) = (self.object(queue)?, kind_of(self.held(queue)?)?);
                // SAFETY: a place for the result.
                checked(unsafe { tenure_queue_claim(object, 0, nanoseconds(*timeout), &raw mut handle) })?;
                let lent = Held::Lent { queue: queue.id, token: handle.token, kind };
                Ok(Answer::Thing(self.keep(lent, handle.token)))
            }
            Order::AckNext { queue, thing } | Order::GiveBackNext { queue, thing } => {
                let (_, token) = self.handle(thing)?;
                checked(self.end_lent(queue.id, token, matches!(order, Order::AckNext { .. }))?)?;
                self.held.remove(&thing.id);
                Ok(Answer::Done)
            }
            Order::QueueLen(queue) => {
                let (mut waiting, mut claimed) = (0, 0);
                // SAFETY: places for the results, and none for the capacity.
                checked(unsafe {
                    let (object, nothing) = (self.object(queue)?, ptr::null_mut());
                    tenure_queue_len(object, &raw mut waiting, &raw mut claimed, nothing)
                })?;
                Ok(Answer::Pair(waiting as i32, claimed as i32))
            }
            _ => self.maps(order),
        }
    }

    /// Orders about maps.
    fn maps(&mut self, order: &Order) -> Result<Answer, Fault> {
        let mut is = -1;
        match order {
            Order::Insert { map, key, value } | Order::InsertNew { map, key, value } => {
                let insert = if matches!(order, Order::Insert { .. }) {
                    tenure_map_insert
                } else {
                    tenure_map_insert_new
                };
                let (object, data) = (self.object(map)?, value.as_ptr().cast());
                // SAFETY: the bytes and the place for the result live until it returns.
                checked(unsafe {
                    insert(object, key.as_ptr().cast(), key.len(), data, value.len(), &raw mut is)
                })?;
                Ok(Answer::Truth(is != 0))
            }
            Order::Exchange { map, key, expected, new } => {
                let object = self.object(map)?;
                let (expected, new) = (optional(expected.as_deref()), optional(new.as_deref()));
                // SAFETY: as above.
                checked(unsafe {
                    let (key, size) = (key.as_ptr().cast(), key.len());
                    tenure_map_exchange(object, key, size, expected.0, expected.1, new.0, new.1, &raw mut is)
                })?;
                Ok(Answer::Truth(is != 0))
            }
            Order::GetValue { map, key } => {
                let (object, mut value, mut needed) = (self.object(map)?, vec![0_u8; 64], 0);
                let (key, size) = (key.as_ptr().cast(), key.len());
                loop {
                    let (buffer, room) = (value.as_mut_ptr().cast(), value.len());
                    // SAFETY: the key, the buffer and the place for the result live until it returns.
                    let status = unsafe { tenure_map_get(object, key, size, buffer, room, &raw mut needed) };
                    if status != tenure_status::TENURE_ERR_BUFFER as i32 {
                        checked(status).map_err(of_key)?;
                        value.truncate(needed);
                        return Ok(Answer::Bytes(value));
                    }
                    value.resize(needed, 0);
                }
            }
            Order::GetShort { map, key, size } => {
                let (object, mut buffer, mut needed) = (self.object(map)?, vec![7_u8; *size], 0);
                let (data, key_size) = (key.as_ptr().cast(), key.len());
                let to = buffer.as_mut_ptr().cast();
                // SAFETY: as above.
                let status = unsafe { tenure_map_get(object, data, key_size, to, *size, &raw mut needed) };
                assert_eq!(status, tenure_status::TENURE_ERR_BUFFER as i32);
                assert!(buffer.iter().all(|byte| *byte == 7), "nothing is stored");
                Ok(Answer::Number(needed as u64))
            }
            Order::HoldValue { map, key } => {
                let (mut data, mut size, mut object) = (ptr::null(), 0, ptr::null_mut());
                // SAFETY: the key and the places for the results live until it returns.
                checked(unsafe {
                    let (map, key, key_size) = (self.object(map)?, key.as_ptr().cast(), key.len());
                    tenure_map_hold(map, key, key_size, &raw mut data, &raw mut size, &raw mut object)
                })
                .map_err(of_key)?;
                let thing = self.keep(Held::Object { object, sort: None }, 0);
                self.entries.insert(thing.id, (data.cast(), size));
                Ok(Answer::Thing(thing))
            }
            Order::HasKey { map, key } => {
                let (object, data) = (self.object(map)?, key.as_ptr().cast());
                // SAFETY: the key and the place for the result live until it returns.
                checked(unsafe { tenure_map_contains(object, data, key.len(), &raw mut is) })?;
                Ok(Answer::Truth(is != 0))
            }
            Order::RemoveKey { map, key } => {
                let (object, data) = (self.object(map)?, key.as_ptr().cast());
                // SAFETY: the key lives until it returns.
                match checked(unsafe { tenure_map_remove(object, data, key.len()) }).map_err(of_key) {
                    Ok(()) => Ok(Answer::Truth(true)),
                    Err(Fault::NoSuchKey) => Ok(Answer::Truth(false)),
                    Err(fault) => Err(fault),
                }
            }
            Order::Clear(map) => checked(tenure_map_clear(self.object(map)?)).map(|()| Answer::Done),
            Order::MapLen(map) => {
                let (mut count, mut bytes) = (0, 0);
                // SAFETY: places for the results.
                checked(unsafe { tenure_map_len(self.object(map)?, &raw mut count, &raw mut bytes) })?;
                Ok(Answer::Pair(count as i32, bytes as i32))
            }
            Order::Pairs(map) => self.pairs(self.object(map)?),
            Order::InsertFor { map, key, value, time } | Order::InsertNewFor { map, key, value, time } => {
                let insert = if matches!(order, Order::InsertFor { .. }) {
                    tenure_map_insert_for
                } else {
                    tenure_map_insert_new_for
                };
                let (object, data) = (self.object(map)?, value.as_ptr().cast());
                // SAFETY: the bytes and the place for the result live until it returns.
                checked(unsafe {
                    insert(object, key.as_ptr().cast(), key.len(), data, value.len(), *time, &raw mut is)
                })?;
                Ok(Answer::Truth(is != 0))
            }
            Order::TimeLeft { map, key } => {
                let (object, data, mut left) = (self.object(map)?, key.as_ptr().cast(), 0);
                // SAFETY: the key and the place for the result live until it returns.
                checked(unsafe { tenure_map_time_left(object, data, key.len(), &raw mut left) })
                    .map_err(of_key)?;
                Ok(Answer::Number(left))
            }
            Order::RemoveExpired(map) => {
                checked(tenure_map_remove_expired(self.object(map)?)).map(|()| Answer::Done)
            }
            _ => self.objects(order),
        }
    }
}
