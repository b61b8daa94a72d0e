//! Slots, locked and versioned values of the C interface.

use std::ffi::CStr;
use std::ptr;

use tenure_capi::{
    tenure_locked_abandon, tenure_locked_lock, tenure_locked_open, tenure_locked_open_named,
    tenure_locked_repaired, tenure_locked_unlock, tenure_object, tenure_queue_open, tenure_queue_open_named,
    tenure_shared_data, tenure_shared_open, tenure_shared_open_named, tenure_slot_ack, tenure_slot_claim,
    tenure_slot_evict, tenure_slot_find, tenure_slot_give_back, tenure_slot_keep, tenure_slot_keep_object,
    tenure_slot_put, tenure_slot_replace, tenure_slot_take, tenure_status, tenure_value_size,
    tenure_versioned_open, tenure_versioned_open_named, tenure_versioned_read, tenure_versioned_write,
};

use super::faults::{checked, told};
use super::objects::nanoseconds;
use super::{Held, NO_HANDLE, Program};
use crate::order::{Answer, Fault, Order, Sort, Thing};

const DAMAGED: i32 = tenure_status::TENURE_DAMAGED as i32;

impl Program {
    /// Kind and token of a handle.
    pub(super) fn handle(&self, thing: &Thing) -> Result<(u32, u64), Fault> {
        if let Held::Handle { token, kind } | Held::Lent { token, kind, .. } = self.held(thing)? {
            Ok((kind, token))
        } else {
            Err(Fault::SystemKind)
        }
    }

    /// Orders about slots.
    pub(super) fn slots(&mut self, order: &Order) -> Result<Answer, Fault> {
        let (mut handle, mut number, mut slot_number) = (NO_HANDLE, 0, 0);
        match order {
            Order::Put { slot: Some(slot), thing } => {
                let (kind, token) = self.handle(thing)?;
                checked(tenure_slot_put(self.local, *slot, kind, token)).map(|()| Answer::Done)
            }
            Order::Put { slot: None, thing } => {
                if let Held::Object { object, .. } = self.held(thing)? {
                    // SAFETY: a place for the result.
                    checked(unsafe { tenure_slot_keep_object(object, &raw mut slot_number) })?;
                    return Ok(Answer::Number(slot_number.into()));
                }
                let (kind, token) = self.handle(thing)?;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_slot_keep(self.local, kind, token, &raw mut slot_number) })?;
                Ok(Answer::Number(slot_number.into()))
            }
            Order::Replace { slot, thing } => {
                let (kind, token) = self.handle(thing)?;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_slot_replace(self.local, *slot, kind, token, &raw mut number) })?;
                Ok(Answer::Number(number))
            }
            Order::TakeOut { slot, kind } => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_slot_take(self.local, *slot, *kind, &raw mut handle) })?;
                Ok(Answer::Thing(self.keep_handle(handle, *kind)))
            }
            Order::Claim { slot, kind } => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_slot_claim(self.local, *slot, *kind, &raw mut handle) })?;
                Ok(Answer::Thing(self.keep_handle(handle, *kind)))
            }
            Order::Ack { slot, thing } | Order::GiveBack { slot, thing } => {
                let (kind, token) = self.handle(thing)?;
                let end =
                    if matches!(order, Order::Ack { .. }) { tenure_slot_ack } else { tenure_slot_give_back };
                // SAFETY: if there is a claim, its count is this thing's, whose payload was copied.
                checked(unsafe { end(self.local, *slot, kind, token) })?;
                self.held.remove(&thing.id);
                Ok(Answer::Done)
            }
            Order::Evict(slot) => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_slot_evict(self.local, *slot, &raw mut number) })?;
                Ok(Answer::Number(number))
            }
            Order::FindSlot(token) => {
                // SAFETY: a place for the result.
                match checked(unsafe { tenure_slot_find(self.local, *token, &raw mut slot_number) }) {
                    Ok(()) => Ok(Answer::Number(u64::from(slot_number) + 1)),
                    Err(Fault::NoSuchName) => Ok(Answer::Number(0)),
                    Err(fault) => Err(fault),
                }
            }
            _ => self.values(order),
        }
    }

    pub(super) fn open_value(&self, sort: Sort, token: u64) -> Result<*mut tenure_object, Fault> {
        let mut object = ptr::null_mut();
        if let Sort::Queue(kind) = sort {
            // SAFETY: a place for the result.
            let status = unsafe { tenure_queue_open(self.member, kind, token, &raw mut object) };
            return checked(status).map(|()| object);
        }
        let (open, of) = match sort {
            Sort::Locked(of) => (tenure_locked_open as unsafe extern "C" fn(*const _, _, _, _) -> _, of),
            Sort::Versioned(of) => (tenure_versioned_open as _, of),
            Sort::Shared(of) => (tenure_shared_open as _, of),
            _ => return Err(Fault::Argument),
        };
        // SAFETY: a place for the result.
        checked(unsafe { open(self.member, of, token, &raw mut object) }).map(|()| object)
    }

    pub(super) fn open_named_value(&self, sort: Sort, name: &CStr) -> Result<*mut tenure_object, Fault> {
        let mut object = ptr::null_mut();
        if let Sort::Queue(kind) = sort {
            // SAFETY: the name and the place for the result live until it returns.
            let status =
                unsafe { tenure_queue_open_named(self.member, kind, name.as_ptr(), &raw mut object) };
            return checked(status).map(|()| object);
        }
        let (open, of) = match sort {
            Sort::Locked(of) => {
                (tenure_locked_open_named as unsafe extern "C" fn(*const _, _, _, _) -> _, of)
            }
            Sort::Versioned(of) => (tenure_versioned_open_named as _, of),
            Sort::Shared(of) => (tenure_shared_open_named as _, of),
            _ => return Err(Fault::Argument),
        };
        // SAFETY: the name and the place for the result live until it returns.
        checked(unsafe { open(self.member, of, name.as_ptr(), &raw mut object) }).map(|()| object)
    }

    fn size(&self, thing: &Thing) -> Result<usize, Fault> {
        let mut size = 0;
        // SAFETY: a place for the result.
        checked(unsafe { tenure_value_size(self.object(thing)?, &raw mut size) })?;
        Ok(size)
    }

    /// The bytes of a value that was locked.
    fn locked(&self, thing: &Thing) -> Result<*mut [u8], Fault> {
        let data = *self.locked.get(&thing.id).ok_or(Fault::NotOwner)?;
        Ok(ptr::slice_from_raw_parts_mut(data, self.size(thing)?))
    }

    /// Orders about values.
    fn values(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Lock { thing, timeout } => {
                let (object, mut data) = (self.object(thing)?, ptr::null_mut());
                // SAFETY: a place for the result.
                let status =
                    told(unsafe { tenure_locked_lock(object, 0, nanoseconds(*timeout), &raw mut data) })?;
                self.locked.insert(thing.id, data.cast());
                Ok(Answer::Truth(status == DAMAGED))
            }
            // SAFETY: this program has it locked.
            Order::Look(thing) => Ok(Answer::Bytes(unsafe { &*self.locked(thing)? }.to_vec())),
            Order::Change { thing, bytes } => {
                // SAFETY: this program has it locked.
                let value = unsafe { &mut *self.locked(thing)? };
                value[..bytes.len()].copy_from_slice(bytes);
                Ok(Answer::Done)
            }
            Order::Repaired(thing) => {
                checked(tenure_locked_repaired(self.object(thing)?)).map(|()| Answer::Done)
            }
            Order::UnlockValue(thing) => {
                checked(tenure_locked_unlock(self.object(thing)?))?;
                self.locked.remove(&thing.id);
                Ok(Answer::Done)
            }
            Order::GiveUp(thing) => {
                checked(tenure_locked_abandon(self.object(thing)?))?;
                self.locked.remove(&thing.id);
                Ok(Answer::Done)
            }
            Order::Read(thing) => {
                let (mut bytes, mut version) = (vec![0_u8; self.size(thing)?], 0);
                let buffer = bytes.as_mut_ptr().cast();
                // SAFETY: the buffer and the place for the result live until it returns.
                checked(unsafe {
                    tenure_versioned_read(self.object(thing)?, buffer, bytes.len(), &raw mut version)
                })?;
                Ok(Answer::Version(bytes, version))
            }
            Order::Write { thing, bytes } => {
                let (data, mut version) = (bytes.as_ptr().cast(), 0);
                // SAFETY: the bytes and the place for the result live until it returns.
                checked(unsafe {
                    tenure_versioned_write(self.object(thing)?, data, bytes.len(), &raw mut version)
                })?;
                Ok(Answer::Number(version))
            }
            Order::SharedAt(thing) => {
                let mut data = ptr::null_mut();
                // SAFETY: a place for the result.
                checked(unsafe { tenure_shared_data(self.object(thing)?, &raw mut data) })?;
                Ok(Answer::Memory(data.expose_provenance() as u64, self.size(thing)?))
            }
            _ => self.collections(order),
        }
    }
}
