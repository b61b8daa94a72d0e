//! Spaces: creating, finding, looking.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::fmt::Display;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use tenure::{Backend, LeaseId, NameState, Options, Report, Space};

use crate::abi::{
    TENURE_ABI_VERSION, TENURE_NO_MONITOR, TENURE_READ_ONLY, TENURE_TINY, TENURE_WITH_GROUP,
    TENURE_WITH_OWNER, tenure_backend, tenure_info, tenure_membership, tenure_name_state, tenure_options,
    tenure_space, tenure_stats,
};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{Room, guard, guard_list, guard_out, null};
use crate::member::lease_word;
use crate::registry::{self, Object, Pin};

impl Object for Space {
    const KIND: u64 = 1;
    const NAME: &'static str = "space";
}

pub(crate) fn space(pointer: *const tenure_space) -> Result<Pin<Space>, Failure> {
    registry::pin(pointer.addr() as u64)
}

#[cold]
pub(crate) fn argument(what: &str, expected: impl Display, found: impl Display) -> Failure {
    fail(tenure_status::TENURE_ERR_ARGUMENT, format_args!("{what}: expected {expected}, found {found}"))
}

/// Refuses flags that a call does not know.
pub(crate) fn only(known: u32, flags: u32) -> Result<(), Failure> {
    if flags & !known == 0 {
        return Ok(());
    }
    Err(argument("flags", format_args!("a sum of bits of {known:#x}"), format_args!("{flags:#x}")))
}

/// A duplicate of a descriptor of the caller's.
pub(crate) fn duplicate(fd: c_int) -> Result<OwnedFd, Failure> {
    if fd < 0 {
        return Err(argument("fd", "0 or more", fd));
    }
    // SAFETY: not -1, and only duplicated; if it is not open the system says so.
    unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned().map_err(|error| {
        fail(
            tenure_status::TENURE_ERR_NOT_FOUND,
            format_args!("fd: expected an open one, found {fd}: {error}"),
        )
    })
}

/// The options and the backend, checked.
///
/// # Safety
///
/// As the functions of the header: null or readable, up to `abi` at least.
unsafe fn options(pointer: *const tenure_options) -> Result<(Options, Backend), Failure> {
    if pointer.is_null() {
        return Err(null("options"));
    }
    // SAFETY: `abi` is the first word of the options of every version.
    let found = unsafe { (&raw const (*pointer).abi).read() };
    if found != TENURE_ABI_VERSION {
        return Err(fail(
            tenure_status::TENURE_ERR_ABI,
            format_args!("options: expected ABI version {TENURE_ABI_VERSION}, found {found}"),
        ));
    }
    // SAFETY: options of this version, as their first word says.
    let asked = unsafe { pointer.read() };
    let backend =
        tenure_backend::of(asked.backend).ok_or_else(|| argument("backend", "0 to 6", asked.backend))?;
    only(
        TENURE_NO_MONITOR | TENURE_TINY | TENURE_WITH_OWNER | TENURE_WITH_GROUP | TENURE_READ_ONLY,
        asked.flags,
    )?;
    for (id, flag, expected) in
        [(asked.owner, TENURE_WITH_OWNER, "owner"), (asked.group, TENURE_WITH_GROUP, "group")]
    {
        if asked.flags & flag == 0 && id != 0 {
            return Err(argument(expected, "0 without its flag", id));
        }
    }
    let mut options = Space::options()
        .monitor(asked.flags & TENURE_NO_MONITOR == 0)
        .read_only(asked.flags & TENURE_READ_ONLY != 0);
    if asked.flags & TENURE_TINY != 0 {
        options = options.tiny();
    }
    if asked.mode != 0 {
        options = options.mode(asked.mode);
    }
    if asked.flags & TENURE_WITH_OWNER != 0 {
        options = options.owner(asked.owner);
    }
    if asked.flags & TENURE_WITH_GROUP != 0 {
        options = options.group(asked.group);
    }
    if asked.members != 0 {
        let members = u16::try_from(asked.members);
        options = options.members(members.map_err(|_| argument("members", "0 to 256", asked.members))?);
    }
    if asked.handles != 0 {
        options = options.handles(asked.handles);
    }
    if asked.generation_bits != 0 {
        let bits = u8::try_from(asked.generation_bits);
        let expected = "0 or 4 to 36";
        options = options
            .generation_bits(bits.map_err(|_| argument("generation bits", expected, asked.generation_bits))?);
    }
    if asked.scratch_bytes != 0 {
        options = options.scratch(asked.scratch_bytes);
    }
    if asked.slots != 0 {
        options = options.slots(asked.slots);
    }
    if asked.container_slots != 0 {
        options = options.container_slots(asked.container_slots);
    }
    if asked.unit_bytes != 0 {
        options = options.unit(asked.unit_bytes);
    }
    if matches!(backend, Backend::Shm | Backend::SysV) {
        options = options.backend(backend);
    }
    Ok((options, backend))
}

/// # Safety
///
/// Null or a string that ends with a zero byte.
unsafe fn bytes_of<'a>(name: *const c_char) -> Result<&'a [u8], Failure> {
    if name.is_null() {
        return Err(null("name"));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// # Safety
///
/// As [`bytes_of`].
pub(crate) unsafe fn text_of<'a>(name: *const c_char) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes_of(name) }?;
    std::str::from_utf8(bytes).map_err(|error| {
        fail(
            tenure_status::TENURE_ERR_NAME,
            format_args!("name: expected UTF-8, found something else: {error}"),
        )
    })
}

fn nameless(name: *const c_char) -> Result<(), Failure> {
    if name.is_null() {
        return Ok(());
    }
    Err(fail(
        tenure_status::TENURE_ERR_ARGUMENT,
        "name: expected NULL, as spaces of this backend have none, found a name",
    ))
}

fn hand_out(space: Space) -> Result<*mut tenure_space, Failure> {
    let pointer = registry::insert(Box::new(space), 0).map_err(|(failure, _)| failure)?;
    Ok(ptr::without_provenance_mut(pointer as usize))
}

/// Creates the space of that name, or attaches to it if it exists; for backends without names (`name` is NULL) creates
/// one.
///
/// A space is never half made: of several creators one wins, and the others attach to its space. It outlives its
/// members. After a reboot it starts afresh.
///
/// Threads: any. Fork: a child may use the spaces that it inherits.
///
/// Returns TENURE_OK and `*space`, to be closed by tenure_space_close; otherwise `*space` is NULL.
///
/// # Safety
///
/// Pointers are NULL or valid: `options` readable, `name` a string, `space` writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_open(
    options: *const tenure_options,
    name: *const c_char,
    space: *mut *mut tenure_space,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let (options, backend) = unsafe { self::options(options) }?;
        if !matches!(backend, Backend::Shm | Backend::SysV | Backend::File) {
            nameless(name)?;
        }
        let opened = match backend {
            // SAFETY: the caller's promise.
            Backend::Shm | Backend::SysV => options.open(unsafe { text_of(name) }?),
            // SAFETY: the caller's promise.
            Backend::File => options.open_file(OsStr::from_bytes(unsafe { bytes_of(name) }?)),
            Backend::Memfd => options.memfd(),
            Backend::Anonymous => options.anonymous(),
            Backend::Private => options.private(),
        };
        hand_out(opened?)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(space, "space", ptr::null_mut(), call) }
}

/// Attaches to the space of that name (or path), which must exist: TENURE_SHM, TENURE_FILE, TENURE_SYSV. Nothing is
/// written.
///
/// Threads: any. Fork: as tenure_space_open.
///
/// Returns TENURE_OK and `*space`; otherwise `*space` is NULL.
///
/// # Safety
///
/// As tenure_space_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_attach(
    options: *const tenure_options,
    name: *const c_char,
    space: *mut *mut tenure_space,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let (options, backend) = unsafe { self::options(options) }?;
        let attached = match backend {
            // SAFETY: the caller's promise.
            Backend::Shm | Backend::SysV => options.attach(unsafe { text_of(name) }?),
            // SAFETY: the caller's promise.
            Backend::File => options.attach_file(OsStr::from_bytes(unsafe { bytes_of(name) }?)),
            Backend::Memfd | Backend::Anonymous | Backend::Private => {
                return Err(fail(
                    tenure_status::TENURE_ERR_UNSUPPORTED,
                    format_args!("backend: expected one with names, found {backend}"),
                ));
            }
        };
        hand_out(attached?)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(space, "space", ptr::null_mut(), call) }
}

/// Attaches to a TENURE_MEMFD space by a file descriptor that was inherited or received, which stays the caller's.
///
/// Threads: any. Fork: as tenure_space_open.
///
/// Returns TENURE_OK and `*space`; otherwise `*space` is NULL.
///
/// # Safety
///
/// As tenure_space_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_attach_fd(
    options: *const tenure_options,
    fd: c_int,
    space: *mut *mut tenure_space,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let (options, _) = unsafe { self::options(options) }?;
        let duplicate = duplicate(fd)?;
        hand_out(options.from_fd(duplicate)?)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(space, "space", ptr::null_mut(), call) }
}

/// Detaches. Members that joined through this space stay members.
///
/// Threads: any. Fork: a child may close spaces that it inherited, which closes nothing of its parent's.
///
/// Returns TENURE_ERR_IN_USE while another thread is in a call with this space, TENURE_ERR_CLOSED if it is not open.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_space_close(space: *mut tenure_space) -> c_int {
    guard(|| {
        drop(registry::take::<Space>(space.addr() as u64)?.free());
        Ok(())
    })
}

/// The properties of the space. Threads: any.
///
/// # Safety
///
/// `info` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_info(space: *const tenure_space, info: *mut tenure_info) -> c_int {
    guard(|| {
        if info.is_null() {
            return Err(null("info"));
        }
        let found = tenure_info::of(&*self::space(space)?);
        // SAFETY: the caller's promise.
        unsafe { info.write(found) };
        Ok(())
    })
}

/// The file descriptor to pass to other processes, for tenure_space_attach_fd; it stays the space's, and closes on
/// exec.
///
/// Threads: any. Returns TENURE_ERR_UNSUPPORTED for spaces that have none.
///
/// # Safety
///
/// `fd` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_fd(space: *const tenure_space, fd: *mut c_int) -> c_int {
    let call = || {
        let space = self::space(space)?;
        let found = space.fd().ok_or_else(|| {
            let backend = space.backend();
            fail(
                tenure_status::TENURE_ERR_UNSUPPORTED,
                format_args!("backend: expected one with a file descriptor, found {backend}"),
            )
        })?;
        Ok(found.as_raw_fd())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(fd, "fd", -1, call) }
}

/// Copies `text` with a zero byte; says how many bytes that takes.
///
/// # Safety
///
/// `buffer` is writable for `size` bytes unless that is 0; `needed` is NULL or writable.
unsafe fn copy_out(text: &[u8], buffer: *mut c_char, size: usize, needed: *mut usize) -> Result<(), Failure> {
    let wanted = text.len() + 1;
    if !needed.is_null() {
        // SAFETY: the caller's promise.
        unsafe { needed.write(wanted) };
    }
    if size == 0 && !needed.is_null() {
        return Ok(());
    }
    if buffer.is_null() {
        return Err(null("buffer"));
    }
    let fits = text.len().min(size.saturating_sub(1));
    if size > 0 {
        // SAFETY: `fits + 1 <= size`, the caller's promise.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), fits);
            buffer.add(fits).write(0);
        }
    }
    if fits < text.len() || size == 0 {
        return Err(fail(
            tenure_status::TENURE_ERR_BUFFER,
            format_args!("buffer: expected {wanted} bytes, found {size}"),
        ));
    }
    Ok(())
}

/// The path of the file behind the space, for backends with a file, as a string in `buffer` of `size` bytes.
///
/// `*needed`, unless `needed` is NULL, is the size of the string in bytes, with the zero at its end; with a `size` of 0
/// only that is stored. Threads: any.
///
/// Returns TENURE_ERR_BUFFER if it does not fit, with as much of it as fits; TENURE_ERR_UNSUPPORTED without a file.
///
/// # Safety
///
/// `buffer` is writable for `size` bytes, `needed` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_path(
    space: *const tenure_space,
    buffer: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> c_int {
    guard(|| {
        let space = self::space(space)?;
        let path = space.path().ok_or_else(|| {
            let backend = space.backend();
            fail(
                tenure_status::TENURE_ERR_UNSUPPORTED,
                format_args!("backend: expected one with a file, found {backend}"),
            )
        })?;
        // SAFETY: the caller's promise.
        unsafe { copy_out(path.as_os_str().as_bytes(), buffer, size, needed) }
    })
}

/// Where the name of the space leads at the moment: `*state` is one of enum tenure_name_state. A file can be removed
/// while members live, by tenure_space_remove with force or by somebody else (systemd's RemoveIPC=, tmpfiles, rm).
/// While they live, nobody creates another space of the name by mistake: the open fails with TENURE_ERR_IN_USE.
///
/// Threads: any.
///
/// # Safety
///
/// `state` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_name_state(space: *const tenure_space, state: *mut u32) -> c_int {
    let call = || {
        let state = match self::space(space)?.name_state() {
            NameState::Unknown => tenure_name_state::TENURE_NAME_UNKNOWN,
            NameState::Current => tenure_name_state::TENURE_NAME_CURRENT,
            NameState::Contested => tenure_name_state::TENURE_NAME_CONTESTED,
            NameState::Removed => tenure_name_state::TENURE_NAME_REMOVED,
            NameState::Replaced => tenure_name_state::TENURE_NAME_REPLACED,
        };
        Ok(state as u32)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(state, "state", 0, call) }
}

/// Counts the objects and bytes in use, in one pass over their words. Threads: any. Writes nothing shared.
///
/// # Safety
///
/// `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_stats(space: *const tenure_space, stats: *mut tenure_stats) -> c_int {
    guard(|| {
        if stats.is_null() {
            return Err(null("stats"));
        }
        let found = tenure_stats::from(self::space(space)?.stats());
        // SAFETY: the caller's promise.
        unsafe { stats.write(found) };
        Ok(())
    })
}

/// The members, in the order of their places: up to `capacity` of them into `all`. `*count` is their number; with a
/// `capacity` of 0 only that is stored. Holds and writes nothing; the kernel tells whether a member is alive.
///
/// Threads: any. TENURE_ERR_BUFFER if they do not fit, with as many as fit.
///
/// # Safety
///
/// `all` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_members(
    space: *const tenure_space,
    all: *mut tenure_membership,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    let call = || {
        let taken: Vec<_> = self::space(space)?.leases().into_iter().filter(|info| info.live).collect();
        Ok(taken.into_iter().map(|info| tenure_membership {
            lease: lease_word(LeaseId { index: info.index, incarnation: info.incarnation }),
            pid: info.pid,
            // Of private memory the kernel knows nothing: its members are this process.
            alive: (info.held != Some(false)).into(),
        }))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_list(Room { to: all, capacity, count }, "all", call) }
}

/// Checks every word. `*violations` counts the impossible states: 0 in a correct space. `*pending` counts the states
/// that an operation in progress, or a recovery that is due, can produce. Either may be NULL. `text` gets the findings,
/// a line each, violations first, as much as fits in `size` bytes; it may be NULL.
///
/// Threads: any. Writes nothing shared. Returns TENURE_OK also when it found violations.
///
/// # Safety
///
/// `text` is NULL or writable for `size` bytes, the others are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_check(
    space: *const tenure_space,
    text: *mut c_char,
    size: usize,
    violations: *mut usize,
    pending: *mut usize,
) -> c_int {
    guard(|| {
        let report: Report = self::space(space)?.check();
        for (count, list) in [(violations, &report.violations), (pending, &report.pending)] {
            if !count.is_null() {
                // SAFETY: the caller's promise.
                unsafe { count.write(list.len()) };
            }
        }
        if !text.is_null() && size > 0 {
            let lines: Vec<_> = report.violations.iter().chain(&report.pending).map(String::as_str).collect();
            // SAFETY: the caller's promise. Text that does not fit is left out.
            let _ = unsafe { copy_out(lines.join("\n").as_bytes(), text, size, ptr::null_mut()) };
        }
        Ok(())
    })
}

/// Removes a TENURE_SHM or TENURE_SYSV space by name, or a TENURE_FILE space by path: nobody can attach to it any
/// more, and its memory goes with its last member. Threads: any.
///
/// Returns TENURE_ERR_IN_USE while members live, unless `force` is not 0; TENURE_ERR_NOT_FOUND.
///
/// # Safety
///
/// `name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_remove(backend: u32, name: *const c_char, force: c_int) -> c_int {
    guard(|| {
        let backend = tenure_backend::of(backend).ok_or_else(|| argument("backend", "0 to 6", backend))?;
        if !matches!(backend, Backend::Shm | Backend::SysV | Backend::File) {
            return Err(fail(
                tenure_status::TENURE_ERR_UNSUPPORTED,
                format_args!("backend: expected one with names, found {backend}"),
            ));
        }
        // SAFETY: the caller's promise.
        Ok(Space::remove(backend, unsafe { text_of(name) }?, force != 0)?)
    })
}
