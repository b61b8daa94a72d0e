//! A program that uses the functions of `tenure.h`, through the C calling convention, as a C program does.

mod collections;
mod faults;
mod objects;
mod values;

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::os::fd::RawFd;
use std::ptr;
use std::sync::Arc;

use tenure_capi::{
    TENURE_ABI_VERSION, TENURE_OR_OPEN, tenure_alloc, tenure_alloc_zeroed, tenure_backend, tenure_block,
    tenure_block_at, tenure_close, tenure_create, tenure_create_named, tenure_create_with, tenure_free,
    tenure_free_of, tenure_free_pinned, tenure_get, tenure_handle, tenure_join, tenure_lease, tenure_leave,
    tenure_local, tenure_local_close, tenure_local_open, tenure_look_up, tenure_member, tenure_name,
    tenure_object, tenure_object_close, tenure_open, tenure_open_named, tenure_options, tenure_pin,
    tenure_realloc, tenure_recover, tenure_space, tenure_space_attach, tenure_space_attach_fd,
    tenure_space_check, tenure_space_close, tenure_space_fd, tenure_space_names, tenure_space_open,
    tenure_space_remove, tenure_space_stats, tenure_stats, tenure_status,
};

use crate::driver::{Backend, Driver, OpenSpace, Place, Sizes};
use crate::order::{Answer, Fault, InUse, New, Order, Sort, Thing};
use faults::{checked, told};

/// A space that is closed when nobody uses it any more.
struct Attached(*mut tenure_space);

// SAFETY: a space serves any thread; see tenure.h.
unsafe impl Send for Attached {}
// SAFETY: as above.
unsafe impl Sync for Attached {}

impl Drop for Attached {
    fn drop(&mut self) {
        tenure_space_close(self.0);
    }
}

fn backend(place: &Place) -> u32 {
    (match place.backend {
        Backend::Shm => tenure_backend::TENURE_SHM,
        Backend::File => tenure_backend::TENURE_FILE,
        Backend::Memfd => tenure_backend::TENURE_MEMFD,
        Backend::Anonymous => tenure_backend::TENURE_ANONYMOUS,
        Backend::SysV => tenure_backend::TENURE_SYSV,
        Backend::Private => tenure_backend::TENURE_PRIVATE,
    }) as u32
}

fn options(place: &Place) -> tenure_options {
    tenure_options {
        abi: TENURE_ABI_VERSION,
        backend: backend(place),
        flags: 0,
        members: 0,
        handles: 0,
        generation_bits: 0,
        scratch_bytes: 0,
        unit_bytes: 0,
        mode: 0,
        owner: 0,
        group: 0,
        slots: 0,
        container_slots: 0,
    }
}

/// The name by which the space is found.
fn name(place: &Place) -> Result<Option<CString>, Fault> {
    let text = match place.backend {
        Backend::Shm | Backend::SysV => place.name.clone(),
        Backend::File => place.path.to_str().ok_or(Fault::Argument)?.to_owned(),
        _ => return Ok(None),
    };
    CString::new(text).map(Some).map_err(|_| Fault::Argument)
}

fn pointer(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

pub(crate) fn create(place: &Place, sizes: &Sizes) -> Result<Arc<dyn OpenSpace>, Fault> {
    let options = tenure_options {
        members: sizes.members.into(),
        handles: sizes.handles,
        generation_bits: sizes.generation_bits.into(),
        scratch_bytes: sizes.scratch,
        slots: sizes.slots,
        container_slots: sizes.container_slots,
        ..options(place)
    };
    let (name, mut space) = (name(place)?, ptr::null_mut());
    // SAFETY: the options, the name and the place for the result live until it returns.
    checked(unsafe { tenure_space_open(&raw const options, pointer(name.as_ref()), &raw mut space) })?;
    Ok(Arc::new(Attached(space)))
}

pub(crate) fn attach(place: &Place, fd: Option<RawFd>) -> Result<Arc<dyn OpenSpace>, Fault> {
    let (options, name, mut space) = (options(place), name(place)?, ptr::null_mut());
    let options = &raw const options;
    // SAFETY: as for `create`.
    checked(unsafe {
        match fd {
            Some(fd) if place.backend == Backend::Memfd => {
                tenure_space_attach_fd(options, fd, &raw mut space)
            }
            _ => tenure_space_attach(options, pointer(name.as_ref()), &raw mut space),
        }
    })?;
    Ok(Arc::new(Attached(space)))
}

pub(crate) fn remove(place: &Place) -> Result<(), Fault> {
    let Some(name) = name(place)? else { return Ok(()) };
    // SAFETY: the name lives until it returns.
    checked(unsafe { tenure_space_remove(backend(place), name.as_ptr(), 0) })
}

impl OpenSpace for Attached {
    fn fd(&self) -> Option<RawFd> {
        let mut fd = -1;
        // SAFETY: a place for the result.
        checked(unsafe { tenure_space_fd(self.0, &raw mut fd) }).ok().map(|()| fd)
    }

    fn driver(self: Arc<Self>) -> Box<dyn Driver> {
        Box::new(Program {
            space: self,
            member: ptr::null_mut(),
            local: ptr::null_mut(),
            held: HashMap::new(),
            locked: HashMap::new(),
            entries: HashMap::new(),
            last: 0,
        })
    }
}

const NO_HANDLE: tenure_handle = tenure_handle { token: 0, data: ptr::null_mut(), size: 0 };
const NO_BLOCK: tenure_block = tenure_block { offset: 0, data: ptr::null_mut(), size: 0 };

/// An object held under a number.
#[derive(Clone, Copy)]
enum Held {
    /// A handle of bytes.
    Handle { token: u64, kind: u32 },
    /// A handle that a queue has lent: its number, and that of the handle.
    Lent { queue: u32, token: u64, kind: u32 },
    /// Anything else. Opens of files and held values are of no sort: they have no token.
    Object { object: *mut tenure_object, sort: Option<Sort> },
}

struct Program {
    space: Arc<Attached>,
    member: *mut tenure_member,
    local: *mut tenure_local,
    held: HashMap<u32, Held>,
    /// Where the values are that were locked.
    locked: HashMap<u32, *mut u8>,
    /// The held values of maps, and their sizes.
    entries: HashMap<u32, (*const u8, usize)>,
    last: u32,
}

impl Drop for Program {
    fn drop(&mut self) {
        // The stage finds an error here: a member that has not left.
        let _ = self.leave();
    }
}

/// A string of C's.
fn text(name: &str) -> Result<CString, Fault> {
    CString::new(name).map_err(|_| Fault::Argument)
}

fn missing<T>(what: &str) -> Result<T, Fault> {
    Err(Fault::NotInThisLanguage(what.into()))
}

impl Program {
    fn joined(&self) -> Result<(), Fault> {
        if self.member.is_null() { Err(Fault::NotMember) } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<(), Fault> {
        self.joined()?;
        for (_, held) in std::mem::take(&mut self.held) {
            match held {
                // SAFETY: the count is ours, and nobody uses the payload through it any more.
                Held::Handle { token, .. } => unsafe { tenure_close(self.local, token) },
                Held::Object { object, .. } => tenure_object_close(object),
                // The object of the queue gives it back.
                Held::Lent { .. } => 0,
            };
        }
        checked(tenure_local_close(self.local))?;
        checked(tenure_leave(self.member))?;
        (self.member, self.local) = (ptr::null_mut(), ptr::null_mut());
        Ok(())
    }

    fn keep(&mut self, held: Held, token: u64) -> Thing {
        self.last += 1;
        self.held.insert(self.last, held);
        Thing { id: self.last, token }
    }

    fn keep_handle(&mut self, handle: tenure_handle, kind: u32) -> Thing {
        self.keep(Held::Handle { token: handle.token, kind }, handle.token)
    }

    fn held(&self, thing: &Thing) -> Result<Held, Fault> {
        self.held.get(&thing.id).copied().ok_or(Fault::Stale)
    }

    /// Creates it, with a name or without; true: it was not there.
    fn create(&mut self, name: Option<&str>, or_open: bool, new: &New) -> Result<(Thing, bool), Fault> {
        let flags = if or_open { TENURE_OR_OPEN } else { 0 };
        let name = name.map(text).transpose()?;
        let New::Raw { kind, bytes } = new else { return self.create_object(name.as_deref(), flags, new) };
        let mut handle = NO_HANDLE;
        let (data, size, result) = (bytes.as_ptr().cast(), bytes.len(), &raw mut handle);
        // SAFETY: the name, the bytes and the place for the result live until it returns.
        let status = told(unsafe {
            match &name {
                None => tenure_create(self.local, *kind, data, size, result),
                Some(name) => {
                    tenure_create_named(self.local, name.as_ptr(), flags, *kind, data, size, result)
                }
            }
        })?;
        Ok((self.keep_handle(handle, *kind), status != tenure_status::TENURE_OPENED as i32))
    }

    fn open(&mut self, sort: Sort, token: u64) -> Result<Answer, Fault> {
        let Sort::Raw(kind) = sort else { return self.open_object(sort, token).map(Answer::Thing) };
        let mut handle = NO_HANDLE;
        // SAFETY: a place for the result.
        checked(unsafe { tenure_open(self.local, kind, token, &raw mut handle) })?;
        Ok(Answer::Thing(self.keep_handle(handle, kind)))
    }

    fn open_named(&mut self, sort: Sort, name: &str) -> Result<Answer, Fault> {
        let name = text(name)?;
        let Sort::Raw(kind) = sort else { return self.open_named_object(sort, &name).map(Answer::Thing) };
        let mut handle = NO_HANDLE;
        // SAFETY: the name and the place for the result live until it returns.
        checked(unsafe { tenure_open_named(self.local, name.as_ptr(), kind, &raw mut handle) })?;
        Ok(Answer::Thing(self.keep_handle(handle, kind)))
    }

    fn names(&self) -> Result<Answer, Fault> {
        let mut count = 0;
        // SAFETY: a place for the result, and none for names.
        checked(unsafe { tenure_space_names(self.space.0, ptr::null_mut(), 0, &raw mut count) })?;
        let nameless = tenure_name { token: 0, kind: 0, holders: 0, name: [0; 256] };
        let mut names = vec![nameless; count];
        // SAFETY: as many places as are said.
        checked(unsafe { tenure_space_names(self.space.0, names.as_mut_ptr(), count, &raw mut count) })?;
        let names = names.iter().take(count).map(|found| {
            // SAFETY: it ends with a zero byte.
            let name = unsafe { CStr::from_ptr(found.name.as_ptr()) };
            (name.to_string_lossy().into_owned(), found.token)
        });
        Ok(Answer::Names(names.collect()))
    }

    /// Orders about the space and the membership.
    fn membership(&mut self, order: &Order) -> Result<Answer, Fault> {
        let mut number = 0;
        match order {
            Order::Join => {
                let (mut member, mut local) = (ptr::null_mut(), ptr::null_mut());
                // SAFETY: places for the results.
                checked(unsafe { tenure_join(self.space.0, &raw mut member) })?;
                // SAFETY: as above.
                checked(unsafe { tenure_local_open(member, &raw mut local) })?;
                (self.member, self.local) = (member, local);
                // Handles of the parent's member, after a fork.
                self.held.clear();
                self.entries.clear();
                Ok(Answer::Done)
            }
            Order::Leave => self.leave().map(|()| Answer::Done),
            Order::Lease => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_lease(self.member, &raw mut number) })?;
                Ok(Answer::Number(number))
            }
            Order::Recover => {
                let mut count = 0;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_recover(self.member, &raw mut count) })?;
                Ok(Answer::Number(count as u64))
            }
            Order::Check => {
                let mut text = vec![0_u8; 8192];
                let (mut violations, mut pending) = (0, 0);
                // SAFETY: the buffer and the places for the results live until it returns.
                checked(unsafe {
                    let buffer = text.as_mut_ptr().cast();
                    tenure_space_check(
                        self.space.0,
                        buffer,
                        text.len(),
                        &raw mut violations,
                        &raw mut pending,
                    )
                })?;
                let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
                let lines = String::from_utf8_lossy(&text[..end]).into_owned();
                let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
                let pending = lines.split_off(violations.min(lines.len()));
                Ok(Answer::Report(lines, pending))
            }
            Order::Stats => {
                // SAFETY: plain numbers, which may all be zero.
                let mut stats: tenure_stats = unsafe { std::mem::zeroed() };
                // SAFETY: a place for the result.
                checked(unsafe { tenure_space_stats(self.space.0, &raw mut stats) })?;
                Ok(Answer::InUse(InUse {
                    members: stats.members_live,
                    handles: stats.handles_live,
                    claimed: stats.handles_claimed,
                    leased: stats.blocks_leased,
                    attached: stats.blocks_attached,
                    pinned: stats.blocks_pinned,
                }))
            }
            Order::Names => self.names(),
            _ => missing(&format!("{order:?}")),
        }
    }

    /// Orders about scratch memory.
    fn scratch(&mut self, order: &Order) -> Result<Answer, Fault> {
        let mut block = NO_BLOCK;
        let result = &raw mut block;
        match order {
            Order::Alloc { bytes, align, zeroed } => {
                let alloc = if *zeroed { tenure_alloc_zeroed } else { tenure_alloc };
                // SAFETY: a place for the result.
                checked(unsafe { alloc(self.local, *bytes, *align, result) })?;
                Ok(Answer::Number(block.offset))
            }
            Order::Resize { block: old, bytes } => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_realloc(self.local, *old, *bytes, 0, result) })?;
                Ok(Answer::Number(block.offset))
            }
            // SAFETY: the block is the program's, and nobody uses its bytes any more.
            Order::Free(block) => checked(unsafe { tenure_free(self.local, *block) }).map(|()| Answer::Done),
            Order::FreeOf { block, lease } => {
                // SAFETY: its owner gave it to us, and nobody uses its bytes any more.
                checked(unsafe { tenure_free_of(self.local, *block, *lease) }).map(|()| Answer::Done)
            }
            // SAFETY: the block is the program's.
            Order::Pin(block) => checked(unsafe { tenure_pin(self.local, *block) }).map(|()| Answer::Done),
            Order::FreePinned(block) => {
                // SAFETY: nobody uses its bytes any more.
                checked(unsafe { tenure_free_pinned(self.local, *block) }).map(|()| Answer::Done)
            }
            Order::Address(offset) => {
                // SAFETY: a place for the result.
                checked(unsafe { tenure_block_at(self.local, *offset, result) })?;
                Ok(Answer::Number(block.data.addr() as u64))
            }
            _ => missing(&format!("{order:?}")),
        }
    }
}

impl Driver for Program {
    fn obey(&mut self, order: &Order) -> Result<Answer, Fault> {
        let needs_membership = !matches!(order, Order::Join | Order::Check | Order::Stats | Order::Names);
        if needs_membership {
            self.joined()?;
        }
        match order {
            Order::Create(new) => self.create(None, false, new).map(|(thing, _)| Answer::Thing(thing)),
            Order::CreateNamed { name, new } => {
                self.create(Some(name), false, new).map(|(thing, _)| Answer::Thing(thing))
            }
            Order::CreateOrOpen { name, new } => self
                .create(Some(name), true, new)
                .map(|(thing, created)| Answer::CreatedOrOpened(thing, created)),
            Order::CreateWith { kind, block, len } => {
                let mut handle = NO_HANDLE;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_create_with(self.local, *kind, *block, *len, &raw mut handle) })?;
                Ok(Answer::Thing(self.keep_handle(handle, *kind)))
            }
            Order::Open { sort, token } => self.open(*sort, *token),
            Order::OpenNamed { name, sort } => self.open_named(*sort, name),
            Order::LookUp(name) => {
                let (name, mut token) = (text(name)?, 0);
                // SAFETY: the name and the place for the result live until it returns.
                checked(unsafe {
                    tenure_look_up(self.member, name.as_ptr(), &raw mut token, ptr::null_mut())
                })?;
                Ok(Answer::Number(token))
            }
            Order::Clone(thing) => match self.held(thing)? {
                Held::Handle { kind, .. } | Held::Lent { kind, .. } => {
                    self.open(Sort::Raw(kind), thing.token)
                }
                Held::Object { sort: Some(sort), .. } => self.open(sort, thing.token),
                Held::Object { sort: None, .. } => Err(Fault::Argument),
            },
            Order::Get(thing) => {
                if let Some((data, size)) = self.entries.get(&thing.id) {
                    // SAFETY: the value, which stays as it is while the entry is open.
                    return Ok(Answer::Bytes(unsafe { std::slice::from_raw_parts(*data, *size) }.to_vec()));
                }
                let (Held::Handle { token, kind } | Held::Lent { token, kind, .. }) = self.held(thing)?
                else {
                    return Err(Fault::SystemKind);
                };
                let mut handle = NO_HANDLE;
                // SAFETY: a place for the result.
                checked(unsafe { tenure_get(self.local, kind, token, &raw mut handle) })?;
                // SAFETY: the payload, which is immutable while we hold the handle.
                let bytes = unsafe { std::slice::from_raw_parts(handle.data.cast::<u8>(), handle.size) };
                Ok(Answer::Bytes(bytes.to_vec()))
            }
            Order::Close(thing) => {
                checked(match self.held.get(&thing.id) {
                    Some(Held::Object { object, .. }) => tenure_object_close(*object),
                    Some(Held::Lent { queue, token, .. }) => self.end_lent(*queue, *token, false)?,
                    // Held or not: the library checks it.
                    // SAFETY: if it is held, the count is this thing's, whose payload was copied.
                    _ => unsafe { tenure_close(self.local, thing.token) },
                })?;
                self.held.remove(&thing.id);
                self.entries.remove(&thing.id);
                Ok(Answer::Done)
            }
            Order::Alloc { .. }
            | Order::Resize { .. }
            | Order::Free(_)
            | Order::FreeOf { .. }
            | Order::Pin(_)
            | Order::FreePinned(_)
            | Order::Address(_) => self.scratch(order),
            _ => self.slots(order),
        }
    }
}
