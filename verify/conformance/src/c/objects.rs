//! The objects of the C interface: mutexes, events, semaphores, processes, descriptors and opens of files.

use std::ffi::CStr;
use std::ptr;

use tenure_capi::{
    TENURE_DELETE, TENURE_FOREVER, TENURE_MANUAL_RESET, TENURE_READ, TENURE_RECURSIVE, TENURE_SIGNALLED,
    TENURE_WRITE, tenure_conflict, tenure_descriptor_create, tenure_descriptor_fd, tenure_event_create,
    tenure_event_is_set, tenure_event_reset, tenure_event_set, tenure_exit, tenure_how, tenure_locked_create,
    tenure_map_create, tenure_mutex_create, tenure_mutex_lock, tenure_mutex_unlock, tenure_object,
    tenure_object_kind, tenure_object_open, tenure_object_open_named, tenure_object_token,
    tenure_process_exit, tenure_process_exiting, tenure_process_number, tenure_process_of,
    tenure_process_reaped, tenure_queue_create, tenure_rwlock_create, tenure_rwlock_read,
    tenure_rwlock_unlock_read, tenure_rwlock_unlock_write, tenure_rwlock_write, tenure_semaphore_count,
    tenure_semaphore_create, tenure_semaphore_release, tenure_share_enter, tenure_shared_create,
    tenure_status, tenure_thread_of, tenure_versioned_create, tenure_wait, tenure_wait_all, tenure_wait_any,
};

use super::faults::{checked, told};
use super::{Held, Program, missing};
use crate::order::{Answer, End, Fault, Modes, New, Order, Sort, Thing};

const ABANDONED: i32 = tenure_status::TENURE_ABANDONED as i32;

pub(super) fn nanoseconds(timeout: Option<u64>) -> u64 {
    timeout.map_or(TENURE_FOREVER, |milliseconds| milliseconds * 1_000_000)
}

fn bits(modes: Modes) -> u32 {
    let all = [(modes.read, TENURE_READ), (modes.write, TENURE_WRITE), (modes.delete, TENURE_DELETE)];
    all.into_iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum()
}

fn modes(bits: u32) -> Modes {
    let has = |bit| bits & bit != 0;
    Modes { read: has(TENURE_READ), write: has(TENURE_WRITE), delete: has(TENURE_DELETE) }
}

/// The kinds among which C tells events apart.
fn kinds(sort: Sort) -> Result<&'static [tenure_object_kind], Fault> {
    Ok(match sort {
        Sort::Mutex => &[tenure_object_kind::TENURE_MUTEX],
        Sort::Event => &[tenure_object_kind::TENURE_EVENT_MANUAL, tenure_object_kind::TENURE_EVENT_AUTOMATIC],
        Sort::RwLock => &[tenure_object_kind::TENURE_RWLOCK],
        Sort::Semaphore => &[tenure_object_kind::TENURE_SEMAPHORE],
        Sort::Process => &[tenure_object_kind::TENURE_PROCESS],
        Sort::Thread => &[tenure_object_kind::TENURE_THREAD],
        Sort::Descriptor => &[tenure_object_kind::TENURE_DESCRIPTOR],
        Sort::Map => &[tenure_object_kind::TENURE_MAP],
        Sort::Raw(_) | Sort::Locked(_) | Sort::Versioned(_) | Sort::Shared(_) | Sort::Queue(_) => {
            return Err(Fault::Argument);
        }
        Sort::Typed => return missing("typed values"),
    })
}

/// Whether it is opened with the number of a type or kind.
fn has_a_type(sort: Sort) -> bool {
    matches!(sort, Sort::Locked(_) | Sort::Versioned(_) | Sort::Shared(_) | Sort::Queue(_))
}

/// As the first kind that it is.
fn first_that_fits(
    sort: Sort,
    mut open: impl FnMut(u32) -> Result<*mut tenure_object, Fault>,
) -> Result<*mut tenure_object, Fault> {
    let mut found = Err(Fault::ForeignKind);
    for kind in kinds(sort)? {
        found = open(*kind as u32);
        if found != Err(Fault::ForeignKind) {
            break;
        }
    }
    found
}

impl Program {
    fn keep_object(&mut self, object: *mut tenure_object, sort: Sort) -> Result<Thing, Fault> {
        let mut token = 0;
        // SAFETY: a place for the result.
        checked(unsafe { tenure_object_token(object, &raw mut token) })?;
        Ok(self.keep(Held::Object { object, sort: Some(sort) }, token))
    }

    pub(super) fn object(&self, thing: &Thing) -> Result<*mut tenure_object, Fault> {
        if let Held::Object { object, .. } = self.held(thing)? { Ok(object) } else { Err(Fault::ForeignKind) }
    }

    fn all(&self, things: &[Thing]) -> Result<Vec<*mut tenure_object>, Fault> {
        things.iter().map(|thing| self.object(thing)).collect()
    }

    /// True: it was not there.
    pub(super) fn create_object(
        &mut self,
        name: Option<&CStr>,
        flags: u32,
        new: &New,
    ) -> Result<(Thing, bool), Fault> {
        let name = name.map_or(ptr::null(), CStr::as_ptr);
        let mut object = ptr::null_mut();
        let (member, result) = (self.member, &raw mut object);
        let flag = |is: bool, flag| if is { flag } else { 0 };
        // SAFETY: the name and the place for the result live until it returns.
        let status = unsafe {
            match new {
                New::Mutex { recursive } => {
                    let flags = flags | flag(*recursive, TENURE_RECURSIVE);
                    tenure_mutex_create(member, name, flags, result)
                }
                New::Event { manual, signalled } => {
                    let flags =
                        flags | flag(*manual, TENURE_MANUAL_RESET) | flag(*signalled, TENURE_SIGNALLED);
                    tenure_event_create(member, name, flags, result)
                }
                New::RwLock => tenure_rwlock_create(member, name, flags, result),
                New::Semaphore { count, maximum } => {
                    tenure_semaphore_create(member, name, flags, *count, *maximum, result)
                }
                New::Process(pid) => tenure_process_of(member, name, flags, *pid, result),
                New::Thread(tid) => tenure_thread_of(member, name, flags, *tid, result),
                New::Descriptor(fd) => {
                    let status = tenure_descriptor_create(member, name, flags, *fd, result);
                    // The program was told to give up this descriptor of its own; the object has one of its own.
                    libc::close(*fd);
                    status
                }
                New::Locked { of, bytes } => {
                    let data = bytes.as_ptr().cast();
                    tenure_locked_create(member, name, flags, *of, data, bytes.len(), result)
                }
                New::Versioned { of, bytes } => {
                    let data = bytes.as_ptr().cast();
                    tenure_versioned_create(member, name, flags, *of, data, bytes.len(), result)
                }
                New::Shared { of, size, align } => {
                    tenure_shared_create(member, name, flags, *of, *size, *align, result)
                }
                New::Queue { kind, capacity } => {
                    tenure_queue_create(member, name, flags, *kind, *capacity, result)
                }
                New::Map { capacity, max_bytes } => {
                    tenure_map_create(member, name, flags, *capacity, *max_bytes, result)
                }
                New::Raw { .. } => return Err(Fault::Argument),
                New::Typed { .. } => return missing("typed values"),
            }
        };
        // One status says that nothing has a name, and that nobody has a number.
        let gone = |fault| if fault == Fault::NoSuchName { Fault::Gone } else { fault };
        let status = told(status).map_err(gone)?;
        Ok((self.keep_object(object, new.sort())?, status != tenure_status::TENURE_OPENED as i32))
    }

    pub(super) fn open_object(&mut self, sort: Sort, token: u64) -> Result<Thing, Fault> {
        if has_a_type(sort) {
            let object = self.open_value(sort, token)?;
            return self.keep_object(object, sort);
        }
        let object = first_that_fits(sort, |kind| {
            let mut object = ptr::null_mut();
            // SAFETY: a place for the result.
            checked(unsafe { tenure_object_open(self.member, kind, token, &raw mut object) }).map(|()| object)
        })?;
        self.keep_object(object, sort)
    }

    pub(super) fn open_named_object(&mut self, sort: Sort, name: &CStr) -> Result<Thing, Fault> {
        if has_a_type(sort) {
            let object = self.open_named_value(sort, name)?;
            return self.keep_object(object, sort);
        }
        let object = first_that_fits(sort, |kind| {
            let mut object = ptr::null_mut();
            // SAFETY: the name and the place for the result live until it returns.
            let status =
                unsafe { tenure_object_open_named(self.member, kind, name.as_ptr(), &raw mut object) };
            checked(status).map(|()| object)
        })?;
        self.keep_object(object, sort)
    }

    fn take(&self, thing: &Thing, timeout: Option<u64>) -> Result<Answer, Fault> {
        let Held::Object { object, sort } = self.held(thing)? else { return Err(Fault::ForeignKind) };
        let timeout = nanoseconds(timeout);
        let status = match sort {
            Some(Sort::Mutex) => tenure_mutex_lock(object, timeout),
            _ => tenure_wait(object, timeout),
        };
        Ok(Answer::Truth(told(status)? == ABANDONED))
    }

    fn exit_of(&self, thing: &Thing) -> Result<Answer, Fault> {
        let mut exit = tenure_exit { how: 0, code: 0, core_dumped: 0 };
        // SAFETY: a place for the result.
        checked(unsafe { tenure_process_exit(self.object(thing)?, &raw mut exit) })?;
        let how = [tenure_how::TENURE_RUNS, tenure_how::TENURE_EXITED, tenure_how::TENURE_KILLED];
        Ok(Answer::Exit(match how.into_iter().find(|how| *how as u32 == exit.how) {
            Some(tenure_how::TENURE_RUNS) => None,
            Some(tenure_how::TENURE_EXITED) => Some(End::Code(exit.code)),
            Some(tenure_how::TENURE_KILLED) => Some(End::Signal(exit.code)),
            _ => Some(End::Unknown),
        }))
    }

    /// Orders about objects; all others are about the membership.
    pub(super) fn objects(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Take { thing, timeout } => self.take(thing, *timeout),
            Order::TakeAny { things, timeout } => {
                let (objects, mut index) = (self.all(things)?, 0);
                // SAFETY: the list and the place for the result live until it returns.
                let status = told(unsafe {
                    tenure_wait_any(objects.as_ptr(), objects.len(), nanoseconds(*timeout), &raw mut index)
                })?;
                Ok(Answer::Woken(index, status == ABANDONED))
            }
            Order::TakeAll { things, timeout } => {
                let (objects, mut which) = (self.all(things)?, 0_u64);
                // SAFETY: as above.
                let status = told(unsafe {
                    tenure_wait_all(objects.as_ptr(), objects.len(), nanoseconds(*timeout), &raw mut which)
                })?;
                assert_eq!(status == ABANDONED, which != 0, "the answer and what it points out agree");
                Ok(Answer::Indices((0..things.len()).filter(|index| which >> index & 1 != 0).collect()))
            }
            Order::Unlock(thing) => checked(tenure_mutex_unlock(self.object(thing)?)).map(|()| Answer::Done),
            Order::LockRead { lock, timeout } => {
                let status = tenure_rwlock_read(self.object(lock)?, nanoseconds(*timeout));
                Ok(Answer::Truth(told(status)? == ABANDONED))
            }
            Order::UnlockRead(lock) => {
                checked(tenure_rwlock_unlock_read(self.object(lock)?)).map(|()| Answer::Done)
            }
            Order::LockWrite { lock, timeout } => {
                let status = tenure_rwlock_write(self.object(lock)?, nanoseconds(*timeout));
                Ok(Answer::Truth(told(status)? == ABANDONED))
            }
            Order::UnlockWrite(lock) => {
                checked(tenure_rwlock_unlock_write(self.object(lock)?)).map(|()| Answer::Done)
            }
            Order::Set(thing) => checked(tenure_event_set(self.object(thing)?)).map(|()| Answer::Done),
            Order::Reset(thing) => {
                let mut was = -1;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_event_reset(self.object(thing)?, &raw mut was) })?;
                Ok(Answer::Truth(was != 0))
            }
            Order::IsSet(thing) => {
                let mut is = -1;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_event_is_set(self.object(thing)?, &raw mut is) })?;
                Ok(Answer::Truth(is != 0))
            }
            Order::Release { thing, more } => {
                let mut before = 0;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_semaphore_release(self.object(thing)?, *more, &raw mut before) })?;
                Ok(Answer::Number(before.into()))
            }
            Order::Count(thing) => {
                let mut count = 0;
                let nothing = ptr::null_mut();
                // SAFETY: a place for the result, and none for the maximum.
                checked(unsafe { tenure_semaphore_count(self.object(thing)?, &raw mut count, nothing) })?;
                Ok(Answer::Number(count.into()))
            }
            _ => self.system(order),
        }
    }

    /// Orders about processes and files.
    fn system(&mut self, order: &Order) -> Result<Answer, Fault> {
        let mut object = ptr::null_mut();
        let result = &raw mut object;
        match order {
            Order::ExitOf(thing) => self.exit_of(thing),
            Order::WaitForExit { thing, timeout } => {
                self.take(thing, *timeout)?;
                self.exit_of(thing)
            }
            Order::NumberOf(thing) => {
                let (mut number, nothing) = (0, ptr::null_mut());
                // SAFETY: a place for the result, and none for the time.
                checked(unsafe { tenure_process_number(self.object(thing)?, &raw mut number, nothing) })?;
                Ok(Answer::Number(number.into()))
            }
            Order::Exiting { thing, code } => {
                checked(tenure_process_exiting(self.object(thing)?, *code)).map(|()| Answer::Done)
            }
            Order::Reaped { thing, status } => {
                checked(tenure_process_reaped(self.object(thing)?, *status)).map(|()| Answer::Done)
            }
            Order::Duplicate(thing) => {
                let mut fd = -1;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_descriptor_fd(self.object(thing)?, &raw mut fd) })?;
                // SAFETY: no memory is involved.
                let own = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
                u64::try_from(own).map(Answer::Number).map_err(|_| std::io::Error::last_os_error().into())
            }
            Order::Share { fd, access, sharing } => {
                let mut who = tenure_conflict { lease: 0, pid: 0, access: 0, sharing: 0, reserved: 0 };
                let (access, sharing) = (bits(*access), bits(*sharing));
                // SAFETY: places for the results.
                let status =
                    unsafe { tenure_share_enter(self.member, *fd, access, sharing, result, &raw mut who) };
                if status == tenure_status::TENURE_ERR_SHARING as i32 {
                    let (access, sharing) = (modes(who.access), modes(who.sharing));
                    return Err(Fault::Conflict { pid: who.pid, access, sharing });
                }
                checked(status)?;
                Ok(Answer::Thing(self.keep(Held::Object { object, sort: None }, 0)))
            }
            _ => self.membership(order),
        }
    }
}
