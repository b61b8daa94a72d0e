//! The types and numbers of the header.

use std::ffi::{c_char, c_void};

use tenure::{Backend, Geometry, Stats};

/// The version of this interface. A program is compiled with that of its header; the library refuses any other.
pub const TENURE_ABI_VERSION: u32 = 4;

/// A space: memory that processes share. Attached, not joined: it holds nothing and writes nothing.
pub struct tenure_space {
    _opaque: [u8; 0],
}

/// A member of a space: this process, with the right to hold handles and blocks.
pub struct tenure_member {
    _opaque: [u8; 0],
}

/// One thread's access to a member. Handles and blocks are made, used and given back through it.
pub struct tenure_local {
    _opaque: [u8; 0],
}

/// A mutex, read-write lock, event, semaphore, process, thread, descriptor, locked, versioned or shared value, queue or map that this member holds, an entry in a file's table, or a held value of a map or an iteration over it.
pub struct tenure_object {
    _opaque: [u8; 0],
}

/// A set of waits: see tenure_wait_set_create.
pub struct tenure_wait_set {
    _opaque: [u8; 0],
}

/// What a wait of a set does when it can: see tenure_wait_set_insert.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_what {
    /// As tenure_wait: locks a mutex, waits for an event and resets it if it is automatic, takes one from the count of a semaphore, waits for the end of a process
    /// or thread.
    TENURE_WHAT_OBJECT = 0,
    /// As tenure_rwlock_read.
    TENURE_WHAT_READ = 1,
    /// As tenure_rwlock_write.
    TENURE_WHAT_WRITE = 2,
    /// As tenure_queue_pop: `handle` is that of the element.
    TENURE_WHAT_POP = 3,
    /// As tenure_queue_claim: `handle` is that of the element.
    TENURE_WHAT_CLAIM = 4,
    /// As tenure_permits_acquire: `permit` is the number of the permit.
    TENURE_WHAT_PERMIT = 5,
}

/// The kind of a tenure_object.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_object_kind {
    /// In calls that open an object: any kind.
    TENURE_ANY = 0,
    /// tenure_mutex_create.
    TENURE_MUTEX = 1,
    /// tenure_event_create, with TENURE_MANUAL_RESET.
    TENURE_EVENT_MANUAL = 2,
    /// tenure_event_create, without.
    TENURE_EVENT_AUTOMATIC = 3,
    /// tenure_semaphore_create.
    TENURE_SEMAPHORE = 4,
    /// tenure_process_of.
    TENURE_PROCESS = 5,
    /// tenure_thread_of.
    TENURE_THREAD = 6,
    /// tenure_descriptor_create.
    TENURE_DESCRIPTOR = 7,
    /// tenure_share_enter.
    TENURE_FILE_SHARE = 8,
    /// tenure_locked_create; opened by tenure_locked_open.
    TENURE_LOCKED = 9,
    /// tenure_versioned_create; opened by tenure_versioned_open.
    TENURE_VERSIONED = 10,
    /// tenure_rwlock_create.
    TENURE_RWLOCK = 11,
    /// tenure_shared_create; opened by tenure_shared_open.
    TENURE_SHARED = 14,
    /// tenure_map_create.
    TENURE_MAP = 16,
    /// tenure_queue_create; opened by tenure_queue_open.
    TENURE_QUEUE = 17,
    /// tenure_map_hold.
    TENURE_MAP_ENTRY = 18,
    /// tenure_map_iterate.
    TENURE_MAP_ITERATION = 256,
    /// tenure_condvar_create.
    TENURE_CONDVAR = 19,
    /// tenure_permits_create.
    TENURE_PERMITS = 20,
}

/// How the memory of a space comes to be: tenure_options.backend.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_backend {
    /// A file in /dev/shm, by name; 0 means the same.
    TENURE_SHM = 1,
    /// A file, by path, on tmpfs, ext4, xfs or btrfs. The file is called PATH.BOOT: a reboot starts afresh.
    TENURE_FILE = 2,
    /// A sealed memfd without a name, passed on as a file descriptor: tenure_space_fd, tenure_space_attach_fd.
    TENURE_MEMFD = 3,
    /// Anonymous shared memory without a name, inherited by forked children.
    TENURE_ANONYMOUS = 4,
    /// System V shared memory, by name.
    TENURE_SYSV = 5,
    /// Private memory without a name: sharing switched off, same calls.
    TENURE_PRIVATE = 6,
}

use tenure_backend::{TENURE_ANONYMOUS, TENURE_FILE, TENURE_MEMFD, TENURE_PRIVATE, TENURE_SHM, TENURE_SYSV};

impl tenure_backend {
    pub(crate) const fn of(number: u32) -> Option<Backend> {
        Some(match number {
            0 | 1 => Backend::Shm,
            2 => Backend::File,
            3 => Backend::Memfd,
            4 => Backend::Anonymous,
            5 => Backend::SysV,
            6 => Backend::Private,
            _ => return None,
        })
    }

    const fn from(backend: Backend) -> Self {
        match backend {
            Backend::Shm => TENURE_SHM,
            Backend::File => TENURE_FILE,
            Backend::Memfd => TENURE_MEMFD,
            Backend::Anonymous => TENURE_ANONYMOUS,
            Backend::SysV => TENURE_SYSV,
            Backend::Private => TENURE_PRIVATE,
        }
    }
}

/// Where the name of a space leads; tenure_space_name_state.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_name_state {
    /// The space has no name, or its folder cannot be looked at.
    TENURE_NAME_UNKNOWN = 0,
    /// The name leads to this space, and no other space of the name has members.
    TENURE_NAME_CURRENT = 1,
    /// The name leads to this space. Another space that had the name before, and was removed, has members, too.
    TENURE_NAME_CONTESTED = 2,
    /// The space was removed: no file has the name. Its members go on.
    TENURE_NAME_REMOVED = 3,
    /// The space was removed, and another one has the name: who opens the name does not meet the members of this one.
    TENURE_NAME_REPLACED = 4,
}

/// In tenure_options.flags: members run no monitor thread. Dead members are then recovered when a member joins, runs
/// out of something, or calls tenure_recover.
pub const TENURE_NO_MONITOR: u32 = 1;
/// In tenure_options.flags: small defaults: 32 handles and 8 KiB of scratch for 4 members, under 32 KiB in all.
pub const TENURE_TINY: u32 = 2;
/// In tenure_options.flags: tenure_options.owner counts.
pub const TENURE_WITH_OWNER: u32 = 4;
/// In tenure_options.flags: tenure_options.group counts.
pub const TENURE_WITH_GROUP: u32 = 8;
/// In tenure_options.flags: the members that join by this space only read. Payloads in blocks are mapped read-only: a
/// store ends the process by SIGSEGV. Calls that create, allocate or write a word return TENURE_ERR_READ_ONLY. Payloads
/// of up to 32 bytes lie among the words of the protocol, which stay writable.
pub const TENURE_READ_ONLY: u32 = 16;

/// In the flags of calls that create an object or handle with a name: if the name is in use, its object is opened. One
/// step: of any number of concurrent calls with one name, exactly one creates.
pub const TENURE_OR_OPEN: u32 = 1 << 8;
/// In the flags of tenure_mutex_create: its owner can lock it again, and unlocks it as often.
pub const TENURE_RECURSIVE: u32 = 1;
/// In the flags of tenure_event_create: signalled until a reset; otherwise until one waiter has taken the signal.
pub const TENURE_MANUAL_RESET: u32 = 1;
/// In the flags of tenure_event_create: signalled from the start.
pub const TENURE_SIGNALLED: u32 = 2;
/// For timeouts, which are in nanoseconds: as long as it takes. 0 is for not waiting at all.
pub const TENURE_FOREVER: u64 = 0xffff_ffff_ffff_ffff;
/// In the flags of tenure_wait_with: takes all objects, as tenure_wait_all; otherwise one, as tenure_wait_any.
pub const TENURE_ALL: u32 = 1;
/// In the flags of tenure_wait_with: a signal handler that runs during the wait ends it.
pub const TENURE_INTERRUPTIBLE: u32 = 2;
/// In the flags of tenure_wait_with: the time is a deadline, in nanoseconds of CLOCK_MONOTONIC; otherwise a timeout.
pub const TENURE_DEADLINE: u32 = 4;
/// The most objects that can be waited for at once.
pub const TENURE_WAIT_MAX: usize = 64;
/// tenure_name.kind of an object is this plus one of enum tenure_object_kind. (Rust's typed handles have kinds of 2^63
/// and more.)
pub const TENURE_SYSTEM_KIND: u64 = 0x4000_0000_0000_0000;

/// A mode of using a file, or of letting others use it: reading.
pub const TENURE_READ: u32 = 1;
/// A mode of using a file, or of letting others use it: writing.
pub const TENURE_WRITE: u32 = 2;
/// A mode of using a file, or of letting others use it: deleting and renaming.
pub const TENURE_DELETE: u32 = 4;

/// How a space is created or found. Begin with TENURE_OPTIONS_INIT. A 0 means the default when the space is created,
/// and is ignored when it exists; any other number must match an existing space.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_options {
    /// TENURE_ABI_VERSION of the caller.
    pub abi: u32,
    /// One of enum tenure_backend; 0 is TENURE_SHM.
    pub backend: u32,
    /// Any of TENURE_NO_MONITOR, TENURE_TINY, TENURE_WITH_OWNER, TENURE_WITH_GROUP, TENURE_READ_ONLY.
    pub flags: u32,
    /// The most members at a time, 1 to 256; 64 by default.
    pub members: u32,
    /// Handles, 1 to 1048576; 65536 by default.
    pub handles: u32,
    /// Bits of a handle's generation, 4 to 36; 36 by default.
    pub generation_bits: u32,
    /// Bytes of scratch memory; 1 GiB by default. Only the part in use costs memory.
    pub scratch_bytes: u64,
    /// Bytes of a unit of scratch, a power of two from 1 KiB to 1 MiB; 64 KiB by default.
    pub unit_bytes: u32,
    /// Who may use the space, as the mode of a file: 0600, the default, to 0666. All need both reading and writing; the
    /// umask does not matter. An existing space with another mode is refused; with 0 any is accepted.
    pub mode: u32,
    /// With TENURE_WITH_OWNER: the user id of the space's owner. Only root can give a space to another user.
    pub owner: u32,
    /// With TENURE_WITH_GROUP: its group id. The creator is in that group, or root. Whoever attaches accepts the space
    /// of any owner, as long as it has that group.
    pub group: u32,
    /// Slots, up to 1048576; none by default. With slots, at most 254 members. See tenure_slot_put.
    pub slots: u32,
    /// Slots for what queues and maps hold, up to 1048576, rounded up to a multiple of 64; none by default. With any, at most 254
    /// members.
    pub container_slots: u32,
}

/// The properties of a space; tenure_space_info.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_info {
    /// One of enum tenure_backend.
    pub backend: u32,
    /// 1 if the call that opened it created it, otherwise 0.
    pub created: u32,
    /// The most members at a time.
    pub members: u32,
    /// Handles.
    pub handles: u32,
    /// Bits of a handle's generation.
    pub generation_bits: u32,
    /// Bytes of a unit of scratch.
    pub unit_bytes: u32,
    /// Bytes of scratch memory.
    pub scratch_bytes: u64,
    /// Bytes of the whole segment, most of them without memory behind them.
    pub bytes: u64,
    /// Slots.
    pub slots: u32,
    /// Slots for what queues and maps hold.
    pub container_slots: u32,
}

impl tenure_info {
    pub(crate) fn of(space: &tenure::Space) -> Self {
        let Geometry { members, handles, generation_bits, scratch_bytes, unit_bytes, slots, container_slots } =
            space.geometry();
        Self {
            backend: tenure_backend::from(space.backend()) as u32,
            created: space.created().into(),
            members: members.into(),
            handles,
            generation_bits: generation_bits.into(),
            unit_bytes,
            scratch_bytes,
            bytes: space.bytes(),
            slots,
            container_slots,
        }
    }
}

/// The counts of objects and bytes in use; tenure_space_stats.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_stats {
    /// Members; one that died and is not recovered yet counts.
    pub members_live: u64,
    /// Handles that a member holds.
    pub handles_live: u64,
    /// Handles claimed ahead by members and not created yet.
    pub handles_claimed: u64,
    /// Handles used up.
    pub handles_retired: u64,
    /// Handles there are.
    pub handles_capacity: u64,
    /// Blocks owned by members.
    pub blocks_leased: u64,
    /// Blocks that belong to handles.
    pub blocks_attached: u64,
    /// Blocks that only tenure_free_pinned ends.
    pub blocks_pinned: u64,
    /// Bytes of those blocks.
    pub bytes_live: u64,
    /// Bytes of scratch owned by members, used or not.
    pub bytes_owned: u64,
    /// Bytes of scratch with memory behind them.
    pub bytes_committed: u64,
    /// Bytes of scratch there are.
    pub bytes_capacity: u64,
}

impl From<Stats> for tenure_stats {
    fn from(stats: Stats) -> Self {
        Self {
            members_live: stats.members_live.into(),
            handles_live: stats.handles_live,
            handles_claimed: stats.handles_claimed,
            handles_retired: stats.handles_retired,
            handles_capacity: stats.handles_capacity,
            blocks_leased: stats.blocks_leased,
            blocks_attached: stats.blocks_attached,
            blocks_pinned: stats.blocks_pinned,
            bytes_live: stats.bytes_live,
            bytes_owned: stats.bytes_owned,
            bytes_committed: stats.bytes_committed,
            bytes_capacity: stats.bytes_capacity,
        }
    }
}

/// A handle that this process holds once more than before.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_handle {
    /// The number to pass to other processes, and to tenure_close. It keeps nothing alive by itself.
    pub token: u64,
    /// The payload, in place, aligned to 16 bytes (to 8 up to 32 bytes of payload). It is immutable, except for kinds
    /// whose users all agree to change it by atomic operations only. Valid until this process closes the handle for
    /// the last time.
    pub data: *mut c_void,
    /// Bytes of payload.
    pub size: usize,
}

/// A wait of a set that is done.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_wait_done {
    /// The number that it was given.
    pub tag: u64,
    /// TENURE_OK, TENURE_ABANDONED, or the error that it ended with.
    pub status: i32,
    /// Of TENURE_WHAT_PERMIT: the permit; otherwise 0.
    pub permit: u64,
    /// Of TENURE_WHAT_POP and TENURE_WHAT_CLAIM: the element; otherwise all zero.
    pub handle: tenure_handle,
}

/// A block of scratch memory of this member.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_block {
    /// Its name: the same number in every process of the space.
    pub offset: u64,
    /// The address in this process. Valid until the block is freed, resized or attached, or the member leaves.
    pub data: *mut c_void,
    /// Bytes that were asked for; from tenure_block_at: bytes that there are.
    pub size: usize,
}

/// Something that has a name; tenure_space_names.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_name {
    /// Its token.
    pub token: u64,
    /// The application's number for it; for objects TENURE_SYSTEM_KIND plus one of enum tenure_object_kind.
    pub kind: u64,
    /// The number of members that hold it.
    pub holders: u32,
    /// The name: at most 255 bytes of UTF-8, and a zero byte.
    pub name: [c_char; 256],
}

/// A member of a space; tenure_space_members.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_membership {
    /// Its lease, as tenure_lease.
    pub lease: u64,
    /// Its process, in its own pid namespace; information only, the number of a dead process may have been given to
    /// another one.
    pub pid: u32,
    /// 1 if the member lives; 0 if it is dead and not recovered yet.
    pub alive: u32,
}

/// How a process or thread ended: tenure_exit.how.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_how {
    /// It runs, or is stopped.
    TENURE_RUNS = 0,
    /// By itself, with an exit code.
    TENURE_EXITED = 1,
    /// By a signal.
    TENURE_KILLED = 2,
    /// It has ended, and no holder of the object knows how. That may become known: tenure_process_reaped.
    TENURE_ENDED = 3,
}

/// How a process or thread ended; tenure_process_exit.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_exit {
    /// One of enum tenure_how.
    pub how: u32,
    /// The exit code, or the signal's number.
    pub code: i32,
    /// 1 if the kernel wrote a core dump, otherwise 0.
    pub core_dumped: u32,
}

/// A member that uses a file, with its modes of use; tenure_share_enter.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_conflict {
    /// Its lease, as tenure_lease.
    pub lease: u64,
    /// Its process, in its own pid namespace; 0 when it has left by now.
    pub pid: u32,
    /// How the member uses the file: a sum of TENURE_READ, TENURE_WRITE and TENURE_DELETE.
    pub access: u32,
    /// How the member lets others use the file: a sum of the same.
    pub sharing: u32,
    /// 0.
    pub reserved: u32,
}

/// The ABI version of the library. Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_abi_version() -> u32 {
    TENURE_ABI_VERSION
}

/// The version of the library as text, which lives as long as the process. Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
