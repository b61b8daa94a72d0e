//! Slots, locked and versioned values.

use tenure::{Handle, Kind, Locked, LockedGuard, Raw, Versioned};

use super::{Object, Program, timeout, token};
use crate::order::{Answer, Fault, Order, Thing};

impl Program {
    pub(super) fn handle(&self, thing: &Thing) -> Result<&Handle<Raw>, Fault> {
        match self.object(thing)? {
            Object::Raw(handle) => Ok(handle),
            Object::Claim(claim) => Ok(claim),
            _ => Err(Fault::SystemKind),
        }
    }

    fn end_claim(&mut self, slot: u32, thing: &Thing, is_done: bool) -> Result<Answer, Fault> {
        self.member()?.check()?;
        match self.objects.remove(&thing.id).ok_or(Fault::Stale)? {
            Object::Claim(claim) if claim.slot() == slot => {
                if is_done { claim.ack() } else { claim.give_back() }?;
                Ok(Answer::Done)
            }
            other => {
                self.objects.insert(thing.id, other);
                Err(Fault::NotClaimed)
            }
        }
    }

    /// Puts an object into any empty slot.
    fn keep_object(&self, thing: &Thing) -> Result<Answer, Fault> {
        let slots = self.member()?.slots();
        let slot = match self.object(thing)? {
            Object::Mutex(mutex) => slots.keep(mutex),
            Object::Event(event) => slots.keep(event),
            Object::Semaphore(semaphore) => slots.keep(semaphore),
            Object::RwLock(lock) => slots.keep(lock),
            Object::Locked(locked) => slots.keep(locked),
            Object::Versioned(versioned) => slots.keep(versioned),
            Object::Shared(shared) => slots.keep(shared),
            Object::Queue(queue) => slots.keep(queue),
            Object::Map(map) => slots.keep(map),
            _ => return Err(Fault::ForeignKind),
        }?;
        Ok(Answer::Number(slot.into()))
    }

    /// Orders about slots.
    pub(super) fn slots(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Put { slot: None, thing }
                if !matches!(self.object(thing)?, Object::Raw(_) | Object::Claim(_)) =>
            {
                self.keep_object(thing)
            }
            Order::Put { slot, thing } => {
                let (slots, handle) = (self.member()?.slots(), self.handle(thing)?);
                match slot {
                    Some(slot) => slots.put(*slot, handle).map(|()| Answer::Done),
                    None => slots.keep(handle).map(|slot| Answer::Number(slot.into())),
                }
                .map_err(Fault::from)
            }
            Order::Replace { slot, thing } => {
                let former = self.member()?.slots().replace(*slot, self.handle(thing)?)?;
                Ok(Answer::Number(former.map_or(0, u64::from)))
            }
            Order::TakeOut { slot, kind } => {
                let taken = self.member()?.slots().take_raw(*slot, Kind::raw(*kind))?;
                self.thing(Object::Raw(taken))
            }
            Order::Claim { slot, kind } => {
                let claim = self.member()?.slots().claim_raw(*slot, Kind::raw(*kind))?;
                self.thing(Object::Claim(claim))
            }
            Order::Ack { slot, thing } => self.end_claim(*slot, thing, true),
            Order::GiveBack { slot, thing } => self.end_claim(*slot, thing, false),
            Order::Evict(slot) => Ok(Answer::Number(self.member()?.slots().evict(*slot)?.into())),
            Order::FindSlot(found) => {
                let slot = self.member()?.slots().find(token(*found)?)?;
                Ok(Answer::Number(slot.map_or(0, |slot| u64::from(slot) + 1)))
            }
            _ => self.values(order),
        }
    }

    fn locked(&self, thing: &Thing) -> Result<&Locked<[u8]>, Fault> {
        if let Object::Locked(locked) = self.object(thing)? { Ok(locked) } else { Err(Fault::ForeignKind) }
    }

    fn versioned(&self, thing: &Thing) -> Result<&Versioned<[u8]>, Fault> {
        if let Object::Versioned(value) = self.object(thing)? { Ok(value) } else { Err(Fault::ForeignKind) }
    }

    /// The guard that `Order::Lock` has forgotten.
    fn guard(&self, thing: &Thing) -> Result<LockedGuard<'_, [u8]>, Fault> {
        // SAFETY: every order drops or forgets the guard that it makes.
        Ok(unsafe { self.locked(thing)?.adopt() }?)
    }

    /// Orders about values.
    fn values(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Lock { thing, timeout: patience } => {
                let guard = self.locked(thing)?.lock_with(timeout(*patience))?;
                let is_damaged = guard.is_damaged();
                std::mem::forget(guard);
                Ok(Answer::Truth(is_damaged))
            }
            Order::Look(thing) => {
                let guard = self.guard(thing)?;
                let bytes = guard.to_vec();
                std::mem::forget(guard);
                Ok(Answer::Bytes(bytes))
            }
            Order::Change { thing, bytes } => {
                let mut guard = self.guard(thing)?;
                guard[..bytes.len()].copy_from_slice(bytes);
                std::mem::forget(guard);
                Ok(Answer::Done)
            }
            Order::Repaired(thing) => {
                let mut guard = self.guard(thing)?;
                guard.repaired();
                std::mem::forget(guard);
                Ok(Answer::Done)
            }
            Order::UnlockValue(thing) => {
                drop(self.guard(thing)?);
                Ok(Answer::Done)
            }
            Order::GiveUp(thing) => {
                self.guard(thing)?.abandon();
                Ok(Answer::Done)
            }
            Order::Read(thing) => {
                let value = self.versioned(thing)?;
                let mut bytes = vec![0; value.len()];
                let version = value.read_into(&mut bytes)?;
                Ok(Answer::Version(bytes, version))
            }
            Order::Write { thing, bytes } => {
                let value = self.versioned(thing)?;
                if bytes.len() != value.len() {
                    return Err(Fault::Argument);
                }
                Ok(Answer::Number(value.write_from(bytes)?))
            }
            Order::SharedAt(thing) => {
                let Object::Shared(shared) = self.object(thing)? else { return Err(Fault::ForeignKind) };
                let bytes = shared.get()?;
                Ok(Answer::Memory(bytes.as_ptr().expose_provenance() as u64, bytes.len()))
            }
            _ => self.collections(order),
        }
    }
}
