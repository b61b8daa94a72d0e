/*
 * tenure: handles and scratch memory shared by the processes of one machine, with no daemon and no lock that anybody
 * can die holding. Made by cbindgen from the sources in bindings/c/src; do not edit.
 *
 * Link with -ltenure, or ask pkg-config for tenure. In short:
 *
 *     tenure_options options = TENURE_OPTIONS_INIT;
 *     tenure_space_open(&options, "myapp", &space);           create or attach
 *     tenure_join(space, &member);                            a process becomes a member
 *     tenure_local_open(member, &local);                      one for each of its threads
 *     tenure_create(local, kind, data, size, &handle);        an object; handle.token is a number to pass by any means
 *     tenure_open(local, kind, token, &handle);               ... in another process
 *     tenure_close(local, token);                             the last one to let go frees it
 *     tenure_alloc(local, size, 0, &block);                   memory, freed by tenure_free, or when the process dies
 *     tenure_mutex_create(member, "lock", TENURE_OR_OPEN, &mutex);       objects: to be locked, signalled, waited for,
 *     if (tenure_mutex_lock(mutex, TENURE_FOREVER) == TENURE_ABANDONED)  by a name or by tokens; after an
 *         repair();                                                      owner's death exactly one process is told
 *     tenure_mutex_unlock(mutex);                             keep it open as long as you use what it protects
 *     tenure_object_close(mutex); tenure_local_close(local); tenure_leave(member); tenure_space_close(space);
 *
 * ERRORS. Every function that can fail returns TENURE_OK (0) or a negative enum tenure_status; some have a second result
 * that is no error and is positive: TENURE_ABANDONED, TENURE_OPENED, TENURE_DAMAGED, TENURE_END. A call that
 * failed changed nothing, and its results are zero or NULL. tenure_strerror names the status, tenure_last_error names
 * the expected and the found value. A pointer to a space, member, local or object is a number that the library checks,
 * not an address: passing NULL, a closed one, or one of another type is TENURE_ERR_NULL or TENURE_ERR_CLOSED, at any
 * time. Pointers to the caller's memory cannot be checked beyond NULL. Tokens, offsets and leases are numbers and
 * may come from anywhere; wrong ones are errors.
 *
 * THREADS. Spaces, members and objects serve any thread; a mutex belongs to the thread that locked it. A local serves
 * the thread that opened it: any other gets TENURE_ERR_WRONG_THREAD. It is closed when its thread ends. Handles and
 * blocks belong to the member: any of its locals may use them and give them back, and the program must ensure that
 * no thread uses one after another thread gave it back. No function may be called from a signal handler.
 *
 * FORK. A forked child may use the spaces it inherited. It is not the member that its parent is: with members, locals
 * and objects that it inherited every call returns TENURE_ERR_FORKED and does nothing, and pointers into the space that
 * came from them are not mapped. The child becomes a member by calling tenure_join itself. A child of vfork calls
 * nothing but exec. Only the descriptor of a TENURE_MEMFD space survives exec, once its flag FD_CLOEXEC is cleared.
 *
 * DEATH. When a process dies, by any cause, the other processes recover its handles, blocks and objects; no process
 * waits for another one.
 */


#ifndef TENURE_H
#define TENURE_H

#include <stddef.h>
#include <stdint.h>
/* The default options: defaults when a space is created, no demands on an existing one. */
#define TENURE_OPTIONS_INIT { TENURE_ABI_VERSION, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }


/** The version of this interface. A program is compiled with that of its header; the library refuses any other. */
#define TENURE_ABI_VERSION 4

/**
 * In tenure_options.flags: members run no monitor thread. Dead members are then recovered when a member joins, runs
 * out of something, or calls tenure_recover.
 */
#define TENURE_NO_MONITOR 1

/** In tenure_options.flags: small defaults: 32 handles and 8 KiB of scratch for 4 members, under 32 KiB in all. */
#define TENURE_TINY 2

/** In tenure_options.flags: tenure_options.owner counts. */
#define TENURE_WITH_OWNER 4

/** In tenure_options.flags: tenure_options.group counts. */
#define TENURE_WITH_GROUP 8

/**
 * In tenure_options.flags: the members that join by this space only read. Payloads in blocks are mapped read-only: a
 * store ends the process by SIGSEGV. Calls that create, allocate or write a word return TENURE_ERR_READ_ONLY. Payloads
 * of up to 32 bytes lie among the words of the protocol, which stay writable.
 */
#define TENURE_READ_ONLY 16

/**
 * In the flags of calls that create an object or handle with a name: if the name is in use, its object is opened. One
 * step: of any number of concurrent calls with one name, exactly one creates.
 */
#define TENURE_OR_OPEN (1 << 8)

/** In the flags of tenure_mutex_create: its owner can lock it again, and unlocks it as often. */
#define TENURE_RECURSIVE 1

/** In the flags of tenure_event_create: signalled until a reset; otherwise until one waiter has taken the signal. */
#define TENURE_MANUAL_RESET 1

/** In the flags of tenure_event_create: signalled from the start. */
#define TENURE_SIGNALLED 2

/** For timeouts, which are in nanoseconds: as long as it takes. 0 is for not waiting at all. */
#define TENURE_FOREVER 18446744073709551615ull

/** In the flags of tenure_wait_with: takes all objects, as tenure_wait_all; otherwise one, as tenure_wait_any. */
#define TENURE_ALL 1

/** In the flags of tenure_wait_with: a signal handler that runs during the wait ends it. */
#define TENURE_INTERRUPTIBLE 2

/** In the flags of tenure_wait_with: the time is a deadline, in nanoseconds of CLOCK_MONOTONIC; otherwise a timeout. */
#define TENURE_DEADLINE 4

/** The most objects that can be waited for at once. */
#define TENURE_WAIT_MAX 64

/**
 * tenure_name.kind of an object is this plus one of enum tenure_object_kind. (Rust's typed handles have kinds of 2^63
 * and more.)
 */
#define TENURE_SYSTEM_KIND 4611686018427387904

/** A mode of using a file, or of letting others use it: reading. */
#define TENURE_READ 1

/** A mode of using a file, or of letting others use it: writing. */
#define TENURE_WRITE 2

/** A mode of using a file, or of letting others use it: deleting and renaming. */
#define TENURE_DELETE 4

/**
 * The result of a function: TENURE_OK, or an error, which is negative. A few functions, which say so, have two results
 * that are no errors: the second one is positive.
 */
typedef enum tenure_status {
    /** Done. */
    TENURE_OK = 0,
    /**
     * Done, and the mutex is the caller's: its last owner died, or left without unlocking it, so that the data it
     * protects may be inconsistent. No other process gets this result.
     */
    TENURE_ABANDONED = 1,
    /** Done: something had the name already and was opened. */
    TENURE_OPENED = 2,
    /**
     * Done: the value is locked, and an owner died or gave up in the middle of a change of it. Every owner gets this result, until one calls
     * tenure_locked_repaired.
     */
    TENURE_DAMAGED = 3,
    /** Done: there is nothing more; see tenure_map_next. */
    TENURE_END = 4,
    /** A pointer is null that must not be. */
    TENURE_ERR_NULL = -1,
    /** An argument has a value that it cannot have. */
    TENURE_ERR_ARGUMENT = -2,
    /** The caller was compiled with the header of another ABI version. */
    TENURE_ERR_ABI = -3,
    /** Not an open space, member, local or object: a closed one, one of another type, or garbage. */
    TENURE_ERR_CLOSED = -4,
    /** A local that another thread opened. */
    TENURE_ERR_WRONG_THREAD = -5,
    /** A forked child is not the member that its parent is. It may join by itself. */
    TENURE_ERR_FORKED = -6,
    /** The member has left. */
    TENURE_ERR_LEFT = -7,
    /** The object is in use: locals of the member are open, a call is in progress, or a space has living members. */
    TENURE_ERR_IN_USE = -8,
    /**
     * There is no space of that name, nothing in the space has it, the key has no value in the map, or there is no such file
     * descriptor, file or process.
     */
    TENURE_ERR_NOT_FOUND = -9,
    /** The name is not valid for a space, or for an object in a space. */
    TENURE_ERR_NAME = -10,
    /** Impossible numbers in the options, or numbers that differ from those of the existing space. */
    TENURE_ERR_GEOMETRY = -11,
    /** Made by another version, on another boot or kernel, by another backend, or for another user. */
    TENURE_ERR_INCOMPATIBLE = -12,
    /** The file system, memfd, kind of space, kernel or process does not support this. */
    TENURE_ERR_UNSUPPORTED = -13,
    /** The space, or a handle, contains bytes that no program of ours writes. */
    TENURE_ERR_CORRUPT = -14,
    /** The system has no memory (for shared memory: the file system is full). */
    TENURE_ERR_NO_MEMORY = -15,
    /** Living members have all leases of the space. */
    TENURE_ERR_FULL = -16,
    /** No handle, or no scratch memory, is free; nothing was changed. */
    TENURE_ERR_EXHAUSTED = -17,
    /** No member holds the handle any more; or this process does not hold it, although the call requires that. */
    TENURE_ERR_STALE = -18,
    /** A token that was never issued. */
    TENURE_ERR_FORGED = -19,
    /** A token of another space. */
    TENURE_ERR_FOREIGN_SPACE = -20,
    /** A handle, or an object, of another kind. */
    TENURE_ERR_FOREIGN_KIND = -21,
    /** This process holds the handle as often as can be counted. */
    TENURE_ERR_TOO_MANY = -22,
    /** No block starts at that offset. */
    TENURE_ERR_NOT_A_BLOCK = -23,
    /** The block is free already. */
    TENURE_ERR_ALREADY_FREE = -24,
    /** The block has another owner: another member, a handle, or none because it is pinned. */
    TENURE_ERR_WRONG_OWNER = -25,
    /** More bytes than any block, or this payload, can have. */
    TENURE_ERR_TOO_LARGE = -26,
    /** The buffer is too short; the size that is needed was stored. */
    TENURE_ERR_BUFFER = -27,
    /** The system refused the call; the text has the call and the reason. */
    TENURE_ERR_OS = -28,
    /** A defect of the library, caught at its border. */
    TENURE_ERR_PANIC = -29,
    /** The wait timed out; nothing was taken. */
    TENURE_ERR_TIMEOUT = -30,
    /** This thread owns the mutex already, and it is not recursive. */
    TENURE_ERR_DEADLOCK = -31,
    /** This thread does not own the mutex, or is not the process or thread that the object names. */
    TENURE_ERR_NOT_OWNER = -32,
    /** More than the semaphore's maximum, or a mutex locked more often than is counted; nothing was changed. */
    TENURE_ERR_MAXIMUM = -33,
    /** Something has the name. */
    TENURE_ERR_NAME_TAKEN = -34,
    /** The process has announced its code already, or has ended. */
    TENURE_ERR_ANNOUNCED = -35,
    /** No process that has the descriptor can give it to this one; the text says which has it, and why. */
    TENURE_ERR_REFUSED = -36,
    /** Another member uses the file in a way that excludes this one; the text says which. */
    TENURE_ERR_SHARING = -37,
    /** A signal handler ran during the wait, which was to end then; nothing was taken. */
    TENURE_ERR_INTERRUPTED = -38,
    /** The member only reads: see TENURE_READ_ONLY. */
    TENURE_ERR_READ_ONLY = -39,
    /** The space has no slot of that number. */
    TENURE_ERR_NO_SLOT = -40,
    /** The slot holds nothing. */
    TENURE_ERR_SLOT_EMPTY = -41,
    /** The slot holds another handle; for tenure_slot_replace: one that is claimed; for tenure_slot_keep: so do all slots. */
    TENURE_ERR_SLOT_FULL = -42,
    /** A slot holds this handle already. */
    TENURE_ERR_KEPT = -43,
    /** Another holder of the handle is putting it into a slot, or is stopped while it does. */
    TENURE_ERR_IN_TRANSIT = -44,
    /** The handle was put into slots as often as it can be. */
    TENURE_ERR_PUT_TOO_OFTEN = -45,
    /** A member has claimed what is in the slot. */
    TENURE_ERR_CLAIMED = -46,
    /** This member has not claimed that handle in that slot; or not by that object of the queue. */
    TENURE_ERR_NOT_CLAIMED = -47,
    /** The queue has no element that waits, and the call only tries. */
    TENURE_ERR_QUEUE_EMPTY = -48,
    /** The queue has no room for one more element, and the call only tries. */
    TENURE_ERR_QUEUE_FULL = -49,
    /** So many container slots in a row are not free, or the space has not so many: see tenure_options.container_slots. */
    TENURE_ERR_CONTAINER_SLOTS = -50,
    /** The bucket of the key has as many pairs as it can have: the map has far more than its capacity. */
    TENURE_ERR_MAP_FULL = -51,
} tenure_status;

/** How the memory of a space comes to be: tenure_options.backend. */
typedef enum tenure_backend {
    /** A file in /dev/shm, by name; 0 means the same. */
    TENURE_SHM = 1,
    /** A file, by path, on tmpfs, ext4, xfs or btrfs. The file is called PATH.BOOT: a reboot starts afresh. */
    TENURE_FILE = 2,
    /** A sealed memfd without a name, passed on as a file descriptor: tenure_space_fd, tenure_space_attach_fd. */
    TENURE_MEMFD = 3,
    /** Anonymous shared memory without a name, inherited by forked children. */
    TENURE_ANONYMOUS = 4,
    /** System V shared memory, by name. */
    TENURE_SYSV = 5,
    /** Private memory without a name: sharing switched off, same calls. */
    TENURE_PRIVATE = 6,
} tenure_backend;

/** The kind of a tenure_object. */
typedef enum tenure_object_kind {
    /** In calls that open an object: any kind. */
    TENURE_ANY = 0,
    /** tenure_mutex_create. */
    TENURE_MUTEX = 1,
    /** tenure_event_create, with TENURE_MANUAL_RESET. */
    TENURE_EVENT_MANUAL = 2,
    /** tenure_event_create, without. */
    TENURE_EVENT_AUTOMATIC = 3,
    /** tenure_semaphore_create. */
    TENURE_SEMAPHORE = 4,
    /** tenure_process_of. */
    TENURE_PROCESS = 5,
    /** tenure_thread_of. */
    TENURE_THREAD = 6,
    /** tenure_descriptor_create. */
    TENURE_DESCRIPTOR = 7,
    /** tenure_share_enter. */
    TENURE_FILE_SHARE = 8,
    /** tenure_locked_create; opened by tenure_locked_open. */
    TENURE_LOCKED = 9,
    /** tenure_versioned_create; opened by tenure_versioned_open. */
    TENURE_VERSIONED = 10,
    /** tenure_rwlock_create. */
    TENURE_RWLOCK = 11,
    /** tenure_shared_create; opened by tenure_shared_open. */
    TENURE_SHARED = 14,
    /** tenure_map_create. */
    TENURE_MAP = 16,
    /** tenure_queue_create; opened by tenure_queue_open. */
    TENURE_QUEUE = 17,
    /** tenure_map_hold. */
    TENURE_MAP_ENTRY = 18,
    /** tenure_map_iterate. */
    TENURE_MAP_ITERATION = 256,
    /** tenure_condvar_create. */
    TENURE_CONDVAR = 19,
    /** tenure_permits_create. */
    TENURE_PERMITS = 20,
} tenure_object_kind;

/** How a process or thread ended: tenure_exit.how. */
typedef enum tenure_how {
    /** It runs, or is stopped. */
    TENURE_RUNS = 0,
    /** By itself, with an exit code. */
    TENURE_EXITED = 1,
    /** By a signal. */
    TENURE_KILLED = 2,
    /** It has ended, and no holder of the object knows how. That may become known: tenure_process_reaped. */
    TENURE_ENDED = 3,
} tenure_how;

/** Where the name of a space leads; tenure_space_name_state. */
typedef enum tenure_name_state {
    /** The space has no name, or its folder cannot be looked at. */
    TENURE_NAME_UNKNOWN = 0,
    /** The name leads to this space, and no other space of the name has members. */
    TENURE_NAME_CURRENT = 1,
    /** The name leads to this space. Another space that had the name before, and was removed, has members, too. */
    TENURE_NAME_CONTESTED = 2,
    /** The space was removed: no file has the name. Its members go on. */
    TENURE_NAME_REMOVED = 3,
    /** The space was removed, and another one has the name: who opens the name does not meet the members of this one. */
    TENURE_NAME_REPLACED = 4,
} tenure_name_state;

/** What a wait of a set does when it can: see tenure_wait_set_insert. */
typedef enum tenure_what {
    /**
     * As tenure_wait: locks a mutex, waits for an event and resets it if it is automatic, takes one from the count of a semaphore, waits for the end of a process
     * or thread.
     */
    TENURE_WHAT_OBJECT = 0,
    /** As tenure_rwlock_read. */
    TENURE_WHAT_READ = 1,
    /** As tenure_rwlock_write. */
    TENURE_WHAT_WRITE = 2,
    /** As tenure_queue_pop: `handle` is that of the element. */
    TENURE_WHAT_POP = 3,
    /** As tenure_queue_claim: `handle` is that of the element. */
    TENURE_WHAT_CLAIM = 4,
    /** As tenure_permits_acquire: `permit` is the number of the permit. */
    TENURE_WHAT_PERMIT = 5,
} tenure_what;

/** One thread's access to a member. Handles and blocks are made, used and given back through it. */
typedef struct tenure_local tenure_local;

/** A member of a space: this process, with the right to hold handles and blocks. */
typedef struct tenure_member tenure_member;

/** A mutex, read-write lock, event, semaphore, process, thread, descriptor, locked, versioned or shared value, queue or map that this member holds, an entry in a file's table, or a held value of a map or an iteration over it. */
typedef struct tenure_object tenure_object;

/** A space: memory that processes share. Attached, not joined: it holds nothing and writes nothing. */
typedef struct tenure_space tenure_space;

/** A set of waits: see tenure_wait_set_create. */
typedef struct tenure_wait_set tenure_wait_set;

/**
 * How a space is created or found. Begin with TENURE_OPTIONS_INIT. A 0 means the default when the space is created,
 * and is ignored when it exists; any other number must match an existing space.
 */
typedef struct tenure_options {
    /** TENURE_ABI_VERSION of the caller. */
    uint32_t abi;
    /** One of enum tenure_backend; 0 is TENURE_SHM. */
    uint32_t backend;
    /** Any of TENURE_NO_MONITOR, TENURE_TINY, TENURE_WITH_OWNER, TENURE_WITH_GROUP, TENURE_READ_ONLY. */
    uint32_t flags;
    /** The most members at a time, 1 to 256; 64 by default. */
    uint32_t members;
    /** Handles, 1 to 1048576; 65536 by default. */
    uint32_t handles;
    /** Bits of a handle's generation, 4 to 36; 36 by default. */
    uint32_t generation_bits;
    /** Bytes of scratch memory; 1 GiB by default. Only the part in use costs memory. */
    uint64_t scratch_bytes;
    /** Bytes of a unit of scratch, a power of two from 1 KiB to 1 MiB; 64 KiB by default. */
    uint32_t unit_bytes;
    /**
     * Who may use the space, as the mode of a file: 0600, the default, to 0666. All need both reading and writing; the
     * umask does not matter. An existing space with another mode is refused; with 0 any is accepted.
     */
    uint32_t mode;
    /** With TENURE_WITH_OWNER: the user id of the space's owner. Only root can give a space to another user. */
    uint32_t owner;
    /**
     * With TENURE_WITH_GROUP: its group id. The creator is in that group, or root. Whoever attaches accepts the space
     * of any owner, as long as it has that group.
     */
    uint32_t group;
    /** Slots, up to 1048576; none by default. With slots, at most 254 members. See tenure_slot_put. */
    uint32_t slots;
    /**
     * Slots for what queues and maps hold, up to 1048576, rounded up to a multiple of 64; none by default. With any, at most 254
     * members.
     */
    uint32_t container_slots;
} tenure_options;

/** The properties of a space; tenure_space_info. */
typedef struct tenure_info {
    /** One of enum tenure_backend. */
    uint32_t backend;
    /** 1 if the call that opened it created it, otherwise 0. */
    uint32_t created;
    /** The most members at a time. */
    uint32_t members;
    /** Handles. */
    uint32_t handles;
    /** Bits of a handle's generation. */
    uint32_t generation_bits;
    /** Bytes of a unit of scratch. */
    uint32_t unit_bytes;
    /** Bytes of scratch memory. */
    uint64_t scratch_bytes;
    /** Bytes of the whole segment, most of them without memory behind them. */
    uint64_t bytes;
    /** Slots. */
    uint32_t slots;
    /** Slots for what queues and maps hold. */
    uint32_t container_slots;
} tenure_info;

/** The counts of objects and bytes in use; tenure_space_stats. */
typedef struct tenure_stats {
    /** Members; one that died and is not recovered yet counts. */
    uint64_t members_live;
    /** Handles that a member holds. */
    uint64_t handles_live;
    /** Handles claimed ahead by members and not created yet. */
    uint64_t handles_claimed;
    /** Handles used up. */
    uint64_t handles_retired;
    /** Handles there are. */
    uint64_t handles_capacity;
    /** Blocks owned by members. */
    uint64_t blocks_leased;
    /** Blocks that belong to handles. */
    uint64_t blocks_attached;
    /** Blocks that only tenure_free_pinned ends. */
    uint64_t blocks_pinned;
    /** Bytes of those blocks. */
    uint64_t bytes_live;
    /** Bytes of scratch owned by members, used or not. */
    uint64_t bytes_owned;
    /** Bytes of scratch with memory behind them. */
    uint64_t bytes_committed;
    /** Bytes of scratch there are. */
    uint64_t bytes_capacity;
} tenure_stats;

/** A member of a space; tenure_space_members. */
typedef struct tenure_membership {
    /** Its lease, as tenure_lease. */
    uint64_t lease;
    /**
     * Its process, in its own pid namespace; information only, the number of a dead process may have been given to
     * another one.
     */
    uint32_t pid;
    /** 1 if the member lives; 0 if it is dead and not recovered yet. */
    uint32_t alive;
} tenure_membership;

/** A handle that this process holds once more than before. */
typedef struct tenure_handle {
    /** The number to pass to other processes, and to tenure_close. It keeps nothing alive by itself. */
    uint64_t token;
    /**
     * The payload, in place, aligned to 16 bytes (to 8 up to 32 bytes of payload). It is immutable, except for kinds
     * whose users all agree to change it by atomic operations only. Valid until this process closes the handle for
     * the last time.
     */
    void *data;
    /** Bytes of payload. */
    size_t size;
} tenure_handle;

/** A block of scratch memory of this member. */
typedef struct tenure_block {
    /** Its name: the same number in every process of the space. */
    uint64_t offset;
    /** The address in this process. Valid until the block is freed, resized or attached, or the member leaves. */
    void *data;
    /** Bytes that were asked for; from tenure_block_at: bytes that there are. */
    size_t size;
} tenure_block;

/** Something that has a name; tenure_space_names. */
typedef struct tenure_name {
    /** Its token. */
    uint64_t token;
    /** The application's number for it; for objects TENURE_SYSTEM_KIND plus one of enum tenure_object_kind. */
    uint64_t kind;
    /** The number of members that hold it. */
    uint32_t holders;
    /** The name: at most 255 bytes of UTF-8, and a zero byte. */
    char name[256];
} tenure_name;

/** Bytes of the caller's: `data` is NULL if `size` is 0. Laid out as an iovec of POSIX. */
typedef struct tenure_bytes {
    /** Where they are. */
    const void *data;
    /** How many. */
    size_t size;
} tenure_bytes;

/** A wait of a set that is done. */
typedef struct tenure_wait_done {
    /** The number that it was given. */
    uint64_t tag;
    /** TENURE_OK, TENURE_ABANDONED, or the error that it ended with. */
    int32_t status;
    /** Of TENURE_WHAT_PERMIT: the permit; otherwise 0. */
    uint64_t permit;
    /** Of TENURE_WHAT_POP and TENURE_WHAT_CLAIM: the element; otherwise all zero. */
    struct tenure_handle handle;
} tenure_wait_done;

/** How a process or thread ended; tenure_process_exit. */
typedef struct tenure_exit {
    /** One of enum tenure_how. */
    uint32_t how;
    /** The exit code, or the signal's number. */
    int32_t code;
    /** 1 if the kernel wrote a core dump, otherwise 0. */
    uint32_t core_dumped;
} tenure_exit;

/** A member that uses a file, with its modes of use; tenure_share_enter. */
typedef struct tenure_conflict {
    /** Its lease, as tenure_lease. */
    uint64_t lease;
    /** Its process, in its own pid namespace; 0 when it has left by now. */
    uint32_t pid;
    /** How the member uses the file: a sum of TENURE_READ, TENURE_WRITE and TENURE_DELETE. */
    uint32_t access;
    /** How the member lets others use the file: a sum of the same. */
    uint32_t sharing;
    /** 0. */
    uint32_t reserved;
} tenure_conflict;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/** The ABI version of the library. Any thread, any time. */
uint32_t tenure_abi_version(void);

/** The version of the library as text, which lives as long as the process. Any thread, any time. */
const char *tenure_version(void);

/** The meaning of a status, in English: a text that lives as long as the process. Any thread, any time. */
const char *tenure_strerror(int status);

/**
 * The text of the calling thread's last failed call, with the expected and the found value: at most 511 bytes of
 * UTF-8, empty if no call failed. It belongs to the thread; the thread's next failed call overwrites it.
 */
const char *tenure_last_error(void);

/**
 * Creates the space of that name, or attaches to it if it exists; for backends without names (`name` is NULL) creates
 * one.
 *
 * A space is never half made: of several creators one wins, and the others attach to its space. It outlives its
 * members. After a reboot it starts afresh.
 *
 * Threads: any. Fork: a child may use the spaces that it inherits.
 *
 * Returns TENURE_OK and `*space`, to be closed by tenure_space_close; otherwise `*space` is NULL.
 *
 * Pointers are NULL or valid: `options` readable, `name` a string, `space` writable.
 */
int tenure_space_open(const struct tenure_options *options, const char *name, struct tenure_space **space);

/**
 * Attaches to the space of that name (or path), which must exist: TENURE_SHM, TENURE_FILE, TENURE_SYSV. Nothing is
 * written.
 *
 * Threads: any. Fork: as tenure_space_open.
 *
 * Returns TENURE_OK and `*space`; otherwise `*space` is NULL.
 *
 * As tenure_space_open.
 */
int tenure_space_attach(const struct tenure_options *options, const char *name, struct tenure_space **space);

/**
 * Attaches to a TENURE_MEMFD space by a file descriptor that was inherited or received, which stays the caller's.
 *
 * Threads: any. Fork: as tenure_space_open.
 *
 * Returns TENURE_OK and `*space`; otherwise `*space` is NULL.
 *
 * As tenure_space_open.
 */
int tenure_space_attach_fd(const struct tenure_options *options, int fd, struct tenure_space **space);

/**
 * Detaches. Members that joined through this space stay members.
 *
 * Threads: any. Fork: a child may close spaces that it inherited, which closes nothing of its parent's.
 *
 * Returns TENURE_ERR_IN_USE while another thread is in a call with this space, TENURE_ERR_CLOSED if it is not open.
 */
int tenure_space_close(struct tenure_space *space);

/**
 * The properties of the space. Threads: any.
 *
 * `info` is NULL or writable.
 */
int tenure_space_info(const struct tenure_space *space, struct tenure_info *info);

/**
 * The file descriptor to pass to other processes, for tenure_space_attach_fd; it stays the space's, and closes on
 * exec.
 *
 * Threads: any. Returns TENURE_ERR_UNSUPPORTED for spaces that have none.
 *
 * `fd` is NULL or writable.
 */
int tenure_space_fd(const struct tenure_space *space, int *fd);

/**
 * The path of the file behind the space, for backends with a file, as a string in `buffer` of `size` bytes.
 *
 * `*needed`, unless `needed` is NULL, is the size of the string in bytes, with the zero at its end; with a `size` of 0
 * only that is stored. Threads: any.
 *
 * Returns TENURE_ERR_BUFFER if it does not fit, with as much of it as fits; TENURE_ERR_UNSUPPORTED without a file.
 *
 * `buffer` is writable for `size` bytes, `needed` is NULL or writable.
 */
int tenure_space_path(const struct tenure_space *space, char *buffer, size_t size, size_t *needed);

/**
 * Where the name of the space leads at the moment: `*state` is one of enum tenure_name_state. A file can be removed
 * while members live, by tenure_space_remove with force or by somebody else (systemd's RemoveIPC=, tmpfiles, rm).
 * While they live, nobody creates another space of the name by mistake: the open fails with TENURE_ERR_IN_USE.
 *
 * Threads: any.
 *
 * `state` is NULL or writable.
 */
int tenure_space_name_state(const struct tenure_space *space, uint32_t *state);

/**
 * Counts the objects and bytes in use, in one pass over their words. Threads: any. Writes nothing shared.
 *
 * `stats` is NULL or writable.
 */
int tenure_space_stats(const struct tenure_space *space, struct tenure_stats *stats);

/**
 * The members, in the order of their places: up to `capacity` of them into `all`. `*count` is their number; with a
 * `capacity` of 0 only that is stored. Holds and writes nothing; the kernel tells whether a member is alive.
 *
 * Threads: any. TENURE_ERR_BUFFER if they do not fit, with as many as fit.
 *
 * `all` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
 */
int tenure_space_members(const struct tenure_space *space,
                         struct tenure_membership *all,
                         size_t capacity,
                         size_t *count);

/**
 * Checks every word. `*violations` counts the impossible states: 0 in a correct space. `*pending` counts the states
 * that an operation in progress, or a recovery that is due, can produce. Either may be NULL. `text` gets the findings,
 * a line each, violations first, as much as fits in `size` bytes; it may be NULL.
 *
 * Threads: any. Writes nothing shared. Returns TENURE_OK also when it found violations.
 *
 * `text` is NULL or writable for `size` bytes, the others are NULL or writable.
 */
int tenure_space_check(const struct tenure_space *space, char *text, size_t size, size_t *violations, size_t *pending);

/**
 * Removes a TENURE_SHM or TENURE_SYSV space by name, or a TENURE_FILE space by path: nobody can attach to it any
 * more, and its memory goes with its last member. Threads: any.
 *
 * Returns TENURE_ERR_IN_USE while members live, unless `force` is not 0; TENURE_ERR_NOT_FOUND.
 *
 * `name` is NULL or a string.
 */
int tenure_space_remove(uint32_t backend, const char *name, int force);

/**
 * Becomes a member of the space: recovers dead members, and starts the monitor thread unless the options forbid it. A
 * process may join more than once.
 *
 * Threads: any. Fork: a child is no member until it joins by itself, which it may do through the space that it
 * inherited.
 *
 * Returns TENURE_OK and `*member`, to be ended by tenure_leave; otherwise `*member` is NULL. TENURE_ERR_FULL when as
 * many members as the space has leases are alive.
 *
 * `member` is NULL or writable.
 */
int tenure_join(const struct tenure_space *space, struct tenure_member **member);

/**
 * Leaves: gives back every handle and block that the member still holds, and its lease. Pointers into the space that
 * were obtained through the member are invalid afterwards: their memory is no longer mapped.
 *
 * Threads: any. Fork: in a child of the member's process nothing is done.
 *
 * Returns TENURE_ERR_IN_USE while locals or objects of it are open or another thread is in a call with it,
 * TENURE_ERR_FORKED in a forked child, TENURE_ERR_CLOSED if it left already.
 */
int tenure_leave(struct tenure_member *member);

/**
 * The member's lease: a number that tells this membership from any other of the space; for tenure_free_of. Threads:
 * any.
 *
 * `lease` is NULL or writable.
 */
int tenure_lease(const struct tenure_member *member, uint64_t *lease);

/**
 * Recovers dead members without waiting for a monitor. `*recovered`, unless it is NULL, is the number of members
 * recovered. Returns TENURE_ERR_OS if there are other members and the kernel cannot be asked which of them are dead.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `recovered` is NULL or writable.
 */
int tenure_recover(const struct tenure_member *member, size_t *recovered);

/**
 * Returns idle handles and memory in this member's caches to the space, and the memory behind all free scratch to the
 * system; `*bytes`, unless it is NULL, is the bytes returned to the system. Open locals keep their caches.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `bytes` is NULL or writable.
 */
int tenure_trim(const struct tenure_member *member, uint64_t *bytes);

/**
 * Whether the member is notified of deaths, as its monitor thread finds at the moment of the call: `*monitor` is 1 if
 * it is; 2 if the monitor lacks something and looks at intervals of at most 0.1 s; 0 if no monitor was asked for, or
 * the space is private; -1 if dead members are not recovered until they can be again, or the monitor could not be
 * started. With 2 and -1 tenure_last_error has the reason. Threads: any.
 *
 * `monitor` is NULL or writable.
 */
int tenure_monitor(const struct tenure_member *member, int *monitor);

/**
 * Opens a local of the member for the calling thread: a cache of free handles and blocks. Open one per thread.
 *
 * Threads: any; the local then belongs to the thread that opened it, and is closed when that thread ends.
 * Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*local`, to be closed by tenure_local_close; otherwise `*local` is NULL.
 *
 * `local` is NULL or writable.
 */
int tenure_local_open(const struct tenure_member *member, struct tenure_local **local);

/**
 * As tenure_local_open, but the local is bound to no thread: any thread may use and close it, one at a time, and the
 * end of a thread does not close it. For bindings with pools of threads: they keep a stack of such locals and take one
 * for each call. Concurrent use by two threads is undefined behaviour and is not detected.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*local`, to be closed by tenure_local_close; otherwise `*local` is NULL.
 *
 * `local` is NULL or writable.
 */
int tenure_local_open_unbound(const struct tenure_member *member, struct tenure_local **local);

/**
 * Closes a local. Handles and blocks that were made through it stay the member's: other locals may use them and give
 * them back.
 *
 * Threads: the one that opened it; any other gets TENURE_ERR_WRONG_THREAD, unless it was opened by
 * tenure_local_open_unbound. Fork: TENURE_ERR_FORKED in a child of the member's process, where nothing is done.
 */
int tenure_local_close(struct tenure_local *local);

/**
 * Creates a handle of `kind`, a number that the application chooses, with a copy of `size` bytes at `data` (NULL for
 * none) as its payload. It is held once by this process.
 *
 * Up to 32 bytes lie with the handle; more take a block of scratch.
 *
 * Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*handle`, to be given back by tenure_close; otherwise nothing was created and `*handle` is
 * all zero.
 *
 * `data` is readable for `size` bytes, `handle` is NULL or writable.
 */
int tenure_create(struct tenure_local *local,
                  uint32_t kind,
                  const void *data,
                  size_t size,
                  struct tenure_handle *handle);

/**
 * As tenure_create, with `size` zeros as its payload, none of them passed in; aligned to `align`, a power of two, or to 16 if it
 * is 0. For payloads whose users agree to change them by atomic operations only.
 *
 * Threads, fork: as tenure_create. TENURE_ERR_ARGUMENT for an impossible alignment.
 *
 * `handle` is NULL or writable.
 */
int tenure_create_zeroed(struct tenure_local *local,
                         uint32_t kind,
                         size_t size,
                         size_t align,
                         struct tenure_handle *handle);

/**
 * As tenure_create, with a block of this member as its payload, of which `size` bytes count; no copy is made. The
 * block belongs to the handle from now on: it is freed when nobody holds the handle any more.
 *
 * Threads, fork: as tenure_create. If it fails the block is still the caller's.
 *
 * `handle` is NULL or writable. If a block of this member starts at `offset`, it is the caller's, who does not write it
 * any more.
 */
int tenure_create_with(struct tenure_local *local,
                       uint32_t kind,
                       uint64_t offset,
                       size_t size,
                       struct tenure_handle *handle);

/**
 * Opens a handle of `kind` by its token: afterwards this process holds it once more. The token may come by any means
 * that orders memory, as pipes, sockets, locks and atomics do.
 *
 * Threads, fork: as tenure_create.
 *
 * Returns TENURE_OK and `*handle`, to be given back by tenure_close; otherwise nothing is held and `*handle` is all
 * zero. TENURE_ERR_STALE, TENURE_ERR_FORGED, TENURE_ERR_FOREIGN_SPACE, TENURE_ERR_FOREIGN_KIND: the fault of the
 * token.
 *
 * `handle` is NULL or writable.
 */
int tenure_open(struct tenure_local *local, uint32_t kind, uint64_t token, struct tenure_handle *handle);

/**
 * The payload of a handle of `kind` that this process holds already. It is not held once more.
 *
 * Threads, fork: as tenure_create. TENURE_ERR_STALE when this process does not hold it.
 *
 * `handle` is NULL or writable.
 */
int tenure_get(struct tenure_local *local, uint32_t kind, uint64_t token, struct tenure_handle *handle);

/**
 * Gives back one of the times that this process holds the handle. When the last process gives the last one back, the
 * handle and its payload are freed.
 *
 * Threads, fork: as tenure_create; any local of the member will do. TENURE_ERR_STALE when this process does not hold
 * it.
 *
 * If this member holds the handle, one of its counts is the caller's: no object stands for it. With the last of the
 * member's counts, nobody in this process uses the payload any more.
 */
int tenure_close(struct tenure_local *local, uint64_t token);

/**
 * Allocates `size` bytes, aligned to `align` (a power of two up to a page; 0 means 16). The contents are undefined.
 *
 * Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*block`, to be given back by tenure_free, by attaching it to a handle, or with the member;
 * otherwise `*block` is all zero. TENURE_ERR_ARGUMENT for 0 bytes.
 *
 * `block` is NULL or writable.
 */
int tenure_alloc(struct tenure_local *local, size_t size, size_t align, struct tenure_block *block);

/**
 * As tenure_alloc, zeroed.
 *
 * As tenure_alloc.
 */
int tenure_alloc_zeroed(struct tenure_local *local, size_t size, size_t align, struct tenure_block *block);

/**
 * Resizes the block at `offset`, in place where that is possible; the first bytes, as many as both sizes have, are
 * kept. Afterwards it is aligned to `align`, as tenure_alloc has it; how it was aligned before does not count.
 *
 * Threads, fork: as tenure_alloc; any local of the member will do.
 *
 * Returns TENURE_OK and `*block`, which takes the old one's place; otherwise the old one is as it was and `*block` is
 * all zero.
 *
 * As tenure_alloc and tenure_free.
 */
int tenure_realloc(struct tenure_local *local, uint64_t offset, size_t size, size_t align, struct tenure_block *block);

/**
 * Frees a block of this member.
 *
 * Threads, fork: as tenure_alloc; any local of the member will do. TENURE_ERR_ALREADY_FREE, TENURE_ERR_NOT_A_BLOCK and
 * TENURE_ERR_WRONG_OWNER say that nothing was freed, and why.
 *
 * If a block of this member starts at `offset`, it is the caller's, and nobody uses its bytes any more.
 */
int tenure_free(struct tenure_local *local, uint64_t offset);

/**
 * Frees a block of the member that has (or had) `lease`, which passed it to us and does not touch it any more.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not that member's.
 *
 * If it is that member's block, its owner gave it to the caller, and nobody in any process uses its bytes any more.
 */
int tenure_free_of(struct tenure_local *local, uint64_t offset, uint64_t lease);

/**
 * The address of a block in this process, and its bytes. The owner is not checked: the process that passed the offset
 * must live and keep the block. If it may be killed meanwhile, use tenure_block_of.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_NOT_A_BLOCK or TENURE_ERR_ALREADY_FREE when no block in use starts there.
 *
 * As tenure_alloc.
 */
int tenure_block_at(struct tenure_local *local, uint64_t offset, struct tenure_block *block);

/**
 * As tenure_block_at, but only for a block that the member with `lease` owns and passed; for a pinned block if `lease`
 * is 0.
 *
 * The blocks of a member end with it, and other members get the memory. To verify what was read, call this again:
 * TENURE_OK means that the owner has not died, so that no other member had the memory meanwhile. It does not show
 * whether the owner itself freed the block and allocated it anew: owner and reader agree that it does not.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER, TENURE_ERR_NOT_A_BLOCK or TENURE_ERR_ALREADY_FREE when it is
 * not that member's block, or not any more.
 *
 * As tenure_alloc.
 */
int tenure_block_of(struct tenure_local *local, uint64_t offset, uint64_t lease, struct tenure_block *block);

/**
 * Leaves a block of this member without an owner: it outlives all members, until a call of tenure_free_pinned.
 *
 * Threads, fork: as tenure_alloc.
 *
 * If a block of this member starts at `offset`, it is the caller's.
 */
int tenure_pin(struct tenure_local *local, uint64_t offset);

/**
 * Frees a pinned block; any member may have pinned it.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not pinned.
 *
 * If it is pinned, nobody in any process uses its bytes any more.
 */
int tenure_free_pinned(struct tenure_local *local, uint64_t offset);

/**
 * Reads the 64-bit word at `position`, in bytes and a multiple of 8, of the payload of a handle that this process
 * holds.
 *
 * This and the next three are for payloads whose users agree to change them by such operations only; they order
 * memory as memory_order_seq_cst. C has its own, on tenure_handle.data. Those that change the word are refused to a member that only
 * reads: TENURE_ERR_READ_ONLY.
 *
 * Threads: the one that opened the local; the handle must not be closed meanwhile. Fork: TENURE_ERR_FORKED in a child
 * of the member's process. TENURE_ERR_TOO_LARGE when the word does not lie within the payload.
 *
 * `value` is NULL or writable.
 */
int tenure_word_load(struct tenure_local *local,
                     uint32_t kind,
                     uint64_t token,
                     size_t position,
                     uint64_t *value);

/** Stores a word; see tenure_word_load. */
int tenure_word_store(struct tenure_local *local, uint32_t kind, uint64_t token, size_t position, uint64_t value);

/**
 * Adds to a word, modulo 2^64; `*before`, unless it is NULL, is the value before; see tenure_word_load.
 *
 * `before` is NULL or writable.
 */
int tenure_word_add(struct tenure_local *local,
                    uint32_t kind,
                    uint64_t token,
                    size_t position,
                    uint64_t summand,
                    uint64_t *before);

/**
 * Stores `value` if the word is `*expected`. `*exchanged` is 1 if it was stored, otherwise 0; then `*expected` becomes
 * the word's value. See tenure_word_load.
 *
 * `expected` and `exchanged` are NULL or writable.
 */
int tenure_word_exchange(struct tenure_local *local,
                         uint32_t kind,
                         uint64_t token,
                         size_t position,
                         uint64_t *expected,
                         uint64_t value,
                         int *exchanged);

/**
 * As tenure_create, with a name; see tenure_object_open_named. `flags` is 0 or TENURE_OR_OPEN: then a handle of this
 * kind with that name is opened, and `data` is not read.
 *
 * A handle with a name takes a block of scratch, with a payload of any size.
 *
 * Threads, fork: as tenure_create.
 *
 * Returns TENURE_OK, or TENURE_OPENED, and `*handle`, to be given back by tenure_close; otherwise nothing was created
 * and `*handle` is all zero. TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the
 * name.
 *
 * `name` is NULL or a string, `data` is readable for `size` bytes, `handle` is NULL or writable.
 */
int tenure_create_named(struct tenure_local *local,
                        const char *name,
                        uint32_t flags,
                        uint32_t kind,
                        const void *data,
                        size_t size,
                        struct tenure_handle *handle);

/**
 * As tenure_open, by name: TENURE_ERR_NOT_FOUND when nothing has it. Threads, fork: as tenure_create.
 *
 * `name` is NULL or a string, `handle` is NULL or writable.
 */
int tenure_open_named(struct tenure_local *local, const char *name, uint32_t kind, struct tenure_handle *handle);

/**
 * The token of the object or handle with that name, and its kind, as in tenure_name.kind, unless `kind` is NULL. The
 * call holds it only while it runs. TENURE_ERR_NOT_FOUND when the name is not in use. Threads: any. Fork:
 * TENURE_ERR_FORKED in a child of the member's process.
 *
 * `name` is NULL or a string, `token` and `kind` are NULL or writable.
 */
int tenure_look_up(const struct tenure_member *member, const char *name, uint64_t *token, uint64_t *kind);

/**
 * The names in use, in the order of their bytes: up to `capacity` of them into `names`. Other members may change them
 * during the call. `*count` is their number; with a `capacity` of 0 only that is stored. Holds and writes nothing.
 *
 * Threads: any. TENURE_ERR_BUFFER if they do not fit, with as many as fit.
 *
 * `names` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
 */
int tenure_space_names(const struct tenure_space *space, struct tenure_name *names, size_t capacity, size_t *count);

/**
 * Puts a handle of `kind` that this process holds into an empty slot. From then on the slot holds it as well, as a
 * process does: what is in a slot outlives all members, until it is taken out, replaced or evicted. The caller still
 * holds its handle. Slots are numbered from 0; tenure_options.slots says how many there are.
 *
 * A handle with a name, in a slot, is a root: it is found by its name when the processes that made it are gone.
 *
 * Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Progress: waits for no process; it repeats only if others change the same slot or handle. Crash: if the process is
 * killed, the slot holds the handle or not. Both are so for all functions of slots.
 *
 * TENURE_ERR_SLOT_FULL; TENURE_ERR_KEPT when a slot holds the handle already: it is in one at most;
 * TENURE_ERR_IN_TRANSIT; TENURE_ERR_PUT_TOO_OFTEN after 2^23 puts; TENURE_ERR_NO_SLOT; TENURE_ERR_STALE when this
 * process does not hold the handle.
 */
int tenure_slot_put(struct tenure_local *local, uint32_t slot, uint32_t kind, uint64_t token);

/**
 * As tenure_slot_put, into an empty slot, whichever: `*slot` is its number. TENURE_ERR_SLOT_FULL when none is empty.
 * Threads, fork: as tenure_slot_put.
 *
 * `slot` is NULL or writable.
 */
int tenure_slot_keep(struct tenure_local *local, uint32_t kind, uint64_t token, uint32_t *slot);

/**
 * Puts a mutex, read-write lock, condition variable, event, semaphore, set of permits, value, queue or map into an empty slot, whichever: `*slot` is its number. From then on
 * the slot holds it as well, with all that is in it, until tenure_slot_evict. With a name it is found when the processes that made it are
 * gone. The caller's object stays open.
 *
 * Threads: any. Fork, results: as tenure_slot_keep; TENURE_ERR_FOREIGN_KIND for an object that no slot can hold.
 *
 * `slot` is NULL or writable.
 */
int tenure_slot_keep_object(const struct tenure_object *object,
                            uint32_t *slot);

/**
 * As tenure_slot_put, also in the place of another handle, in one step. That one ends if nobody else holds it;
 * `*before`, unless it is NULL, is its token, or 0 if the slot was empty. TENURE_ERR_SLOT_FULL when the other handle is
 * claimed. Threads, fork: as tenure_slot_put.
 *
 * `before` is NULL or writable.
 */
int tenure_slot_replace(struct tenure_local *local, uint32_t slot, uint32_t kind, uint64_t token, uint64_t *before);

/**
 * Takes the handle out of a slot: the slot is empty, and this process holds the handle, to be given back by
 * tenure_close. If the process dies, the handle ends with it; tenure_slot_claim is for work that must not be lost.
 *
 * Threads, fork: as tenure_slot_put.
 *
 * Returns TENURE_OK and `*handle`; otherwise the slot is unchanged and `*handle` is all zero. TENURE_ERR_SLOT_EMPTY;
 * TENURE_ERR_CLAIMED; TENURE_ERR_FOREIGN_KIND when what is there is of another kind; TENURE_ERR_NO_SLOT.
 *
 * `handle` is NULL or writable.
 */
int tenure_slot_take(struct tenure_local *local, uint32_t slot, uint32_t kind, struct tenure_handle *handle);

/**
 * Claims the handle in a slot: the slot still holds it, and lends it to this member alone, until tenure_slot_ack or
 * tenure_slot_give_back, which also close the handle. If the process dies, recovery gives it back.
 *
 * Threads, fork, results: as tenure_slot_take.
 *
 * `handle` is NULL or writable.
 */
int tenure_slot_claim(struct tenure_local *local, uint32_t slot, uint32_t kind, struct tenure_handle *handle);

/**
 * Ends a claim and closes its handle: the slot is empty, and the handle ends unless somebody else holds it.
 *
 * Threads, fork: as tenure_slot_put; any local of the member will do. TENURE_ERR_NOT_CLAIMED when this member has not
 * claimed that handle in that slot.
 *
 * The count of the claim is the caller's, as for tenure_close.
 */
int tenure_slot_ack(struct tenure_local *local, uint32_t slot, uint32_t kind, uint64_t token);

/**
 * Gives what was claimed back to its slot, where any member can claim it, and closes its handle. Otherwise as
 * tenure_slot_ack. Threads, fork: as there.
 *
 * As tenure_slot_ack.
 */
int tenure_slot_give_back(struct tenure_local *local, uint32_t slot, uint32_t kind, uint64_t token);

/**
 * Empties a slot, whatever the kind. What was in it ends if nobody else holds it; `*token`, unless it is NULL, is its
 * token. TENURE_ERR_SLOT_EMPTY; TENURE_ERR_CLAIMED; TENURE_ERR_NO_SLOT. Threads, fork: as tenure_slot_put.
 *
 * `token` is NULL or writable.
 */
int tenure_slot_evict(struct tenure_local *local, uint32_t slot, uint64_t *token);

/**
 * The slot that holds the handle at the moment: `*slot` is its number. TENURE_ERR_NOT_FOUND when none does. Threads,
 * fork: as tenure_slot_put.
 *
 * `slot` is NULL or writable.
 */
int tenure_slot_find(struct tenure_local *local, uint64_t token, uint32_t *slot);

/**
 * Opens an object by its token, which may come by any means: afterwards this member holds it once more. `kind` is one
 * of enum tenure_object_kind; TENURE_ANY accepts every kind but TENURE_LOCKED, TENURE_VERSIONED and TENURE_SHARED, which
 * are opened with their types, and TENURE_QUEUE, which is opened with the kind of its elements.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*object`, to be given back by tenure_object_close; otherwise `*object` is NULL.
 * TENURE_ERR_STALE, TENURE_ERR_FORGED, TENURE_ERR_FOREIGN_SPACE, TENURE_ERR_FOREIGN_KIND: the fault of the token.
 * TENURE_ERR_UNSUPPORTED for a process that this one cannot see. TENURE_ERR_REFUSED for a descriptor that no member
 * can give.
 *
 * `object` is NULL or writable.
 */
int tenure_object_open(const struct tenure_member *member,
                       uint32_t kind,
                       uint64_t token,
                       struct tenure_object **object);

/**
 * Opens the object with that name, as tenure_object_open. TENURE_ERR_NOT_FOUND when the name is not in use.
 *
 * A name is 1 to 255 bytes of UTF-8, compared byte by byte: upper and lower case are different. All kinds of objects
 * and handles of a space share one directory. A name is given at creation, and ends with the object's last holder,
 * also when that holder is killed.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_object_open_named(const struct tenure_member *member,
                             uint32_t kind,
                             const char *name,
                             struct tenure_object **object);

/**
 * The number to pass to other processes, for tenure_object_open. It keeps nothing alive by itself. Threads: any.
 *
 * `token` is NULL or writable.
 */
int tenure_object_token(const struct tenure_object *object, uint64_t *token);

/**
 * The kind of the object: one of enum tenure_object_kind. Threads: any.
 *
 * `kind` is NULL or writable.
 */
int tenure_object_kind_of(const struct tenure_object *object, uint32_t *kind);

/**
 * Closes an object. The object ends with the last holder of all processes. A mutex that a thread of this member owns
 * is abandoned when the member closes its last object of it.
 *
 * Threads: any. TENURE_ERR_IN_USE while another thread is in a call with it, waiting for instance. Fork:
 * TENURE_ERR_FORKED in a child of the member's process, where nothing is done.
 */
int tenure_object_close(struct tenure_object *object);

/**
 * Creates a mutex: mutual exclusion between threads of any processes, which survives the death of its owner. `name` is
 * NULL for none; `flags` are TENURE_RECURSIVE and TENURE_OR_OPEN.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a mutex had the name
 * and TENURE_OR_OPEN was given: tenure_mutex_is_recursive tells whether that mutex is recursive. Otherwise nothing was
 * created and `*object` is NULL. TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the
 * name.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_mutex_create(const struct tenure_member *member,
                        const char *name,
                        uint32_t flags,
                        struct tenure_object **object);

/**
 * Locks a mutex: without a system call when it is free. `timeout` is in nanoseconds: 0 only tries, TENURE_FOREVER
 * waits as long as it takes. The calling thread is the owner and must call tenure_mutex_unlock; if it ends without
 * doing so, the mutex stays locked until its process leaves, dies, or closes the mutex.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED: locked as well. TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread
 * owns it and it is not recursive.
 */
int tenure_mutex_lock(const struct tenure_object *object, uint64_t timeout);

/**
 * Unlocks a mutex once. Threads: the owner; any other thread gets TENURE_ERR_NOT_OWNER. Fork:
 * TENURE_ERR_FORKED in a child of the member's process.
 */
int tenure_mutex_unlock(const struct tenure_object *object);

/**
 * Gives a mutex back as one whose owner died: the next owner gets TENURE_ABANDONED. For an owner that leaves the protected
 * data inconsistent. A recursive mutex is free afterwards, however often it was locked. Threads, fork: as
 * tenure_mutex_unlock.
 */
int tenure_mutex_abandon(const struct tenure_object *object);

/**
 * The owner of the mutex at the moment: `*owned` is 1 if there is one, 0 if there is none, -1 if there is none because
 * the last owner left without unlocking it. `*lease`, unless it is NULL, is the place of the owner's lease, that is
 * the lowest 8 bits of its tenure_lease; `*thread`, unless it is NULL, is the owner thread's number. Threads: any.
 *
 * `owned`, `lease` and `thread` are NULL or writable.
 */
int tenure_mutex_owner(const struct tenure_object *object, int *owned, uint32_t *lease, uint32_t *thread);

/**
 * Whether a mutex is recursive: `*is` is 1 or 0. Its creator decided that; the flags of calls that open it do not
 * change it. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `is` is NULL or writable.
 */
int tenure_mutex_is_recursive(const struct tenure_object *object, int *is);

/**
 * Creates an event: one thread signals it and others wait for it. `name` is NULL for none; `flags` are
 * TENURE_MANUAL_RESET, TENURE_SIGNALLED and TENURE_OR_OPEN.
 *
 * Threads, fork, results: as tenure_mutex_create; TENURE_ERR_FOREIGN_KIND also for an event of the other sort.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_event_create(const struct tenure_member *member,
                        const char *name,
                        uint32_t flags,
                        struct tenure_object **object);

/**
 * Signals an event; one that is signalled stays so. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
 * process.
 */
int tenure_event_set(const struct tenure_object *object);

/**
 * Takes the signal of an event away; `*was`, unless it is NULL, is 1 if the event was signalled, otherwise 0. Threads,
 * fork: as tenure_event_set.
 *
 * `was` is NULL or writable.
 */
int tenure_event_reset(const struct tenure_object *object, int *was);

/**
 * Whether an event is signalled at the moment: `*is` is 1 or 0. Takes nothing. Threads, fork: as tenure_event_set.
 *
 * `is` is NULL or writable.
 */
int tenure_event_is_set(const struct tenure_object *object, int *is);

/**
 * Creates a semaphore with a count and a maximum, which is from 1 to 2^30-1. `name` is NULL for none; `flags` is 0 or
 * TENURE_OR_OPEN.
 *
 * Threads, fork, results: as tenure_mutex_create; TENURE_ERR_ARGUMENT for an impossible count or maximum.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_semaphore_create(const struct tenure_member *member,
                            const char *name,
                            uint32_t flags,
                            uint32_t count,
                            uint32_t maximum,
                            struct tenure_object **object);

/**
 * Adds to the count of a semaphore; `*before`, unless it is NULL, is the count before. TENURE_ERR_MAXIMUM if that
 * would exceed the maximum: nothing is added then. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
 * process.
 *
 * `before` is NULL or writable.
 */
int tenure_semaphore_release(const struct tenure_object *object, uint32_t more, uint32_t *before);

/**
 * The count of a semaphore at the moment, and its maximum, unless `maximum` is NULL. Threads, fork: as
 * tenure_semaphore_release.
 *
 * `count` and `maximum` are NULL or writable.
 */
int tenure_semaphore_count(const struct tenure_object *object, uint32_t *count, uint32_t *maximum);

/**
 * Waits for a mutex, event, semaphore, process, thread or queue, and takes it: locks the mutex, resets an auto-reset event,
 * takes one from the semaphore's count. Manual-reset events stay signalled, and processes ended. For a queue it waits until an
 * element waits in it, and takes nothing. `timeout` is in nanoseconds: 0 does not wait, TENURE_FOREVER waits as long as it takes. A waiting thread sleeps in the kernel.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK, or for a mutex TENURE_ABANDONED; TENURE_ERR_TIMEOUT; for mutexes the errors of tenure_mutex_lock;
 * TENURE_ERR_UNSUPPORTED for a process whose end cannot be observed from here.
 */
int tenure_wait(const struct tenure_object *object,
                uint64_t timeout);

/**
 * Waits until one of up to TENURE_WAIT_MAX objects is available, and takes it, as tenure_wait: the first available one
 * in the list. `*index` is its place. From a queue it takes nothing: a queue is available while an element waits in it, so a
 * tenure_queue_pop may succeed now.
 *
 * Threads, fork: as tenure_wait.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED if it is a mutex whose last owner did not unlock it. Otherwise nothing was
 * taken and `*index` is 0: TENURE_ERR_TIMEOUT; TENURE_ERR_ARGUMENT for no objects, or too many.
 *
 * `objects` is NULL or readable for `count` pointers, `index` is NULL or writable.
 */
int tenure_wait_any(struct tenure_object *const *objects,
                    size_t count,
                    uint64_t timeout,
                    size_t *index);

/**
 * Waits until all of up to TENURE_WAIT_MAX objects are available, and takes them, as tenure_wait. While one of them is
 * not available it takes none; killed or stopped at any instruction, it has taken all or none. They are different
 * objects, opened by one member. `*abandoned`, unless it is NULL, has a bit for each mutex whose last owner did not
 * unlock it: 1 for the first of the list, 2 for the second, 4 for the third and so on.
 *
 * Threads, fork: as tenure_wait.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED if there is any such mutex. Otherwise nothing was taken: TENURE_ERR_TIMEOUT;
 * TENURE_ERR_ARGUMENT for no objects, too many, one of them twice, those of several members, or a queue.
 *
 * `objects` is NULL or readable for `count` pointers, `abandoned` is NULL or writable.
 */
int tenure_wait_all(struct tenure_object *const *objects, size_t count, uint64_t timeout, uint64_t *abandoned);

/**
 * Waits as tenure_wait_any, or, with TENURE_ALL, as tenure_wait_all; `count` may be 1. `flags` is a sum of TENURE_ALL,
 * TENURE_INTERRUPTIBLE and TENURE_DEADLINE. `time` is a timeout in nanoseconds, or with TENURE_DEADLINE a time of
 * CLOCK_MONOTONIC in nanoseconds; TENURE_FOREVER waits as long as it takes.
 *
 * With TENURE_INTERRUPTIBLE a signal handler that runs while the thread sleeps ends the wait: TENURE_ERR_INTERRUPTED.
 * Nothing was taken then, and no signal of an object is lost. A handler that was installed with SA_RESTART need not end the
 * wait, and one that runs just before the thread sleeps does not end it. Without TENURE_INTERRUPTIBLE, and in all other
 * functions, waits go on after handlers, until the same deadline.
 *
 * `*index`, unless it is NULL, is the place of the object that was taken, 0 with TENURE_ALL, and `count` if nothing was
 * taken. `*abandoned`, unless it is NULL, has a bit for each taken mutex whose last owner did not unlock it.
 *
 * Threads, fork: as tenure_wait.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED if there is any such mutex. Otherwise nothing was taken: TENURE_ERR_INTERRUPTED,
 * and as tenure_wait_any and tenure_wait_all.
 *
 * `objects` is NULL or readable for `count` pointers, `index` and `abandoned` are NULL or writable.
 */
int tenure_wait_with(struct tenure_object *const *objects,
                     size_t count,
                     uint32_t flags,
                     uint64_t time,
                     size_t *index,
                     uint64_t *abandoned);

/**
 * Creates a read-write lock: any number of readers, or one writer, between threads of any processes. A reader that dies keeps no
 * writer waiting. It takes 64 bytes of scratch memory for each member of the geometry. `name` is NULL for none; `flags` is 0 or
 * TENURE_OR_OPEN.
 *
 * Threads, fork, results: as tenure_mutex_create.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_rwlock_create(const struct tenure_member *member,
                         const char *name,
                         uint32_t flags,
                         struct tenure_object **object);

/**
 * Locks a read-write lock for reading: without a system call when no writer has it or waits for it. `timeout` is as in
 * tenure_mutex_lock. To be unlocked by tenure_rwlock_unlock_read, in any thread of this member; a member that dies, leaves, or closes the
 * lock, has it for reading no more.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED: locked as well, but the last writer died or left without unlocking; each reader is told, until
 * a writer was. TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread has it for writing.
 */
int tenure_rwlock_read(const struct tenure_object *object,
                       uint64_t timeout);

/**
 * As tenure_rwlock_read. `flags` is 0, or a sum of TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout, or a deadline: see
 * tenure_wait_with. `*locked`, unless it is NULL, is 1 if it was locked, 2 if it was and the result is TENURE_ABANDONED, otherwise 0. Threads, fork: as there.
 *
 * `locked` is NULL or writable.
 */
int tenure_rwlock_read_with(const struct tenure_object *object,
                            uint32_t flags,
                            uint64_t time,
                            int *locked);

/**
 * As tenure_rwlock_write, with the arguments of tenure_rwlock_read_with. Threads, fork: as there.
 *
 * `locked` is NULL or writable.
 */
int tenure_rwlock_write_with(const struct tenure_object *object, uint32_t flags, uint64_t time, int *locked);

/**
 * Unlocks a read-write lock for reading once. Threads: any; TENURE_ERR_NOT_OWNER when no thread of this member has it for reading. Fork:
 * TENURE_ERR_FORKED in a child of the member's process.
 */
int tenure_rwlock_unlock_read(const struct tenure_object *object);

/**
 * Locks a read-write lock for writing. From the moment that it has claimed the lock, readers that come wait for this writer; it waits for those that
 * were before it. `timeout`, threads, fork: as tenure_mutex_lock, also what becomes of the lock when its owner ends.
 *
 * Returns TENURE_OK, or TENURE_ABANDONED: locked as well, but the last writer died or left without unlocking; one writer is told.
 * TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread has it for writing. A thread that has it for reading waits for itself.
 */
int tenure_rwlock_write(const struct tenure_object *object,
                        uint64_t timeout);

/**
 * Unlocks a read-write lock for writing. Threads: the writer; any other thread gets TENURE_ERR_NOT_OWNER. Fork: TENURE_ERR_FORKED in a
 * child of the member's process.
 */
int tenure_rwlock_unlock_write(const struct tenure_object *object);

/**
 * Unlocks a read-write lock for writing as one whose writer died: readers and the next writer get TENURE_ABANDONED. For a writer that leaves
 * the protected data inconsistent. Threads, fork: as tenure_rwlock_unlock_write.
 */
int tenure_rwlock_abandon(const struct tenure_object *object);

/**
 * Creates a condition variable: to wait, with a mutex or a locked value, for what another thread of any process will change under that
 * lock. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
 *
 * Threads, fork, results: as tenure_mutex_create.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_condvar_create(const struct tenure_member *member,
                          const char *name,
                          uint32_t flags,
                          struct tenure_object **object);

/**
 * Gives up `lock`, a mutex or a locked value that this thread has locked, sleeps until somebody notifies, and locks it again, however long
 * that takes. It may also return without a notification: look again at what you wait for. `flags` are TENURE_INTERRUPTIBLE and
 * TENURE_DEADLINE; `time` is the limit of the sleep, as in tenure_wait_with. A pointer into a locked value is the same as before.
 *
 * When a process dies that has the condition variable open, all that wait return, since it may have changed something and notified nobody.
 *
 * Threads: the one that has the lock. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns with the lock locked: TENURE_OK; TENURE_ABANDONED, of a mutex whose last owner died or left without unlocking it, and TENURE_DAMAGED, of a
 * value that is damaged, both also after the time; TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED. Returns with the lock given up once:
 * TENURE_ERR_DEADLOCK when this thread has locked the recursive mutex more than once; TENURE_ERR_OS when the system does not let it sleep. Changes nothing:
 * TENURE_ERR_NOT_OWNER when this thread does not have the lock; TENURE_ERR_FOREIGN_KIND when `lock` is none; TENURE_ERR_ARGUMENT.
 */
int tenure_condvar_wait(const struct tenure_object *object,
                        const struct tenure_object *lock,
                        uint32_t flags,
                        uint64_t time);

/**
 * Wakes all that wait with the condition variable; without waiters it makes no system call. The caller may have the lock or not; it has changed
 * before, under the lock, what they wait for. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 */
int tenure_condvar_notify(const struct tenure_object *object);

/**
 * Creates so many permits, 1 to 65536, which members own: a semaphore that loses none. What a member has when it dies, leaves, or closes the
 * object comes back, and wakes those that wait. Each takes 8 bytes of scratch memory. `name` is NULL for none; `flags` is 0 or
 * TENURE_OR_OPEN.
 *
 * Threads, fork, results: as tenure_mutex_create; TENURE_ERR_ARGUMENT for an impossible number.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_permits_create(const struct tenure_member *member,
                          const char *name,
                          uint32_t flags,
                          uint32_t total,
                          struct tenure_object **object);

/**
 * Acquires a permit; `*permit` is its number, to be given back by tenure_permits_give_back, in any thread of this member. `flags` are
 * TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is as in tenure_wait_with.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; TENURE_ERR_TIMEOUT: at one moment no permit was free; TENURE_ERR_INTERRUPTED.
 *
 * `permit` is NULL or writable.
 */
int tenure_permits_acquire(const struct tenure_object *object,
                           uint32_t flags,
                           uint64_t time,
                           uint64_t *permit);

/**
 * Gives back a permit. Threads: any; TENURE_ERR_NOT_OWNER when this member does not have it, or not any more. Fork: TENURE_ERR_FORKED in
 * a child of the member's process.
 */
int tenure_permits_give_back(const struct tenure_object *object,
                             uint64_t permit);

/**
 * How many permits are free at the moment, and how many there are, unless `total` is NULL. Threads: any. Fork: TENURE_ERR_FORKED in a child
 * of the member's process.
 *
 * `available` and `total` are NULL or writable.
 */
int tenure_permits_count(const struct tenure_object *object,
                         uint32_t *available,
                         uint32_t *total);

/**
 * Creates a value with the lock that protects it: `size` bytes, a copy of those at `data`, or zeros if that is NULL.
 * They are aligned to 16 bytes, and have no other owner than the object: neither outlives the other. `type` is a number
 * of the application's choice; only who knows it opens the value. (Rust's number of a type T is
 * `Kind::of_plain::<T>().number()`.) `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
 *
 * If the owner of the lock dies in the middle of a change, the value is damaged: every next owner is told so, until one
 * calls tenure_locked_repaired.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK, or TENURE_OPENED, and `*object`, to be given back by tenure_object_close; otherwise nothing was
 * created and `*object` is NULL. One that was opened has the size that it was created with: see tenure_value_size.
 * TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind or type has the name.
 *
 * `name` is NULL or a string, `data` is NULL or readable for `size` bytes, `object` is NULL or writable.
 */
int tenure_locked_create(const struct tenure_member *member,
                         const char *name,
                         uint32_t flags,
                         uint64_t type,
                         const void *data,
                         size_t size,
                         struct tenure_object **object);

/**
 * Opens a locked value by its token: afterwards this member holds it once more. `type` is that of its creation.
 *
 * Threads, fork, results: as tenure_object_open; TENURE_ERR_FOREIGN_KIND also for one of another type.
 *
 * `object` is NULL or writable.
 */
int tenure_locked_open(const struct tenure_member *member,
                       uint64_t type,
                       uint64_t token,
                       struct tenure_object **object);

/**
 * As tenure_locked_open, by name: TENURE_ERR_NOT_FOUND when the name is not in use. Threads, fork: as there.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_locked_open_named(const struct tenure_member *member,
                             uint64_t type,
                             const char *name,
                             struct tenure_object **object);

/**
 * Locks a value, as tenure_mutex_lock, and tells where it is: `*data` may be read and written until this thread calls
 * tenure_locked_unlock; after that, and in other threads, it may not. A member that only reads does not write it.
 * `flags` is 0, or a sum of TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout, or a deadline: see
 * tenure_wait_with.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Progress: without a system call when it is free; waits for the owner otherwise. Crash: an owner that is killed at any
 * instruction leaves the value damaged, or has not locked yet, or has unlocked already.
 *
 * Returns TENURE_OK, or TENURE_DAMAGED: locked as well. Otherwise `*data` is NULL: TENURE_ERR_TIMEOUT;
 * TENURE_ERR_INTERRUPTED; TENURE_ERR_DEADLOCK when this thread has it locked already.
 *
 * `data` is NULL or writable.
 */
int tenure_locked_lock(const struct tenure_object *object, uint32_t flags, uint64_t time, void **data);

/**
 * Unlocks a value. Threads: the one that locked it; any other gets TENURE_ERR_NOT_OWNER. Fork: TENURE_ERR_FORKED in a
 * child of the member's process.
 */
int tenure_locked_unlock(const struct tenure_object *object);

/**
 * Says that a damaged value, which this thread has locked, makes sense again. If the process dies before it unlocks,
 * the value is damaged again. Threads, fork: as tenure_locked_unlock.
 */
int tenure_locked_repaired(const struct tenure_object *object);

/**
 * Unlocks a value and leaves it damaged: for an owner that gives up in the middle of a change. Threads, fork: as
 * tenure_locked_unlock.
 */
int tenure_locked_abandon(const struct tenure_object *object);

/**
 * Creates a value that is read and replaced as a whole: `size` bytes, a copy of those at `data`, or zeros if that is
 * NULL. Every read returns one whole value, whatever becomes of the writers: it lies in two copies, of which writers
 * write the one that is not read.
 *
 * Everything else as tenure_locked_create.
 *
 * As tenure_locked_create.
 */
int tenure_versioned_create(const struct tenure_member *member,
                            const char *name,
                            uint32_t flags,
                            uint64_t type,
                            const void *data,
                            size_t size,
                            struct tenure_object **object);

/**
 * Opens a versioned value by its token; see tenure_locked_open.
 *
 * `object` is NULL or writable.
 */
int tenure_versioned_open(const struct tenure_member *member,
                          uint64_t type,
                          uint64_t token,
                          struct tenure_object **object);

/**
 * Opens a versioned value by its name; see tenure_locked_open_named.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_versioned_open_named(const struct tenure_member *member,
                                uint64_t type,
                                const char *name,
                                struct tenure_object **object);

/**
 * Reads the value into `buffer`, which has exactly its size: one that some writer has written, whole, and never an older
 * one than this thread has read or written before. `*version`, unless it is NULL, is its version: the number of writes
 * until then.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Progress: waits for nobody; it repeats only when a writer has finished meanwhile. TENURE_ERR_BUFFER for a buffer of
 * another size, in which nothing is stored: see tenure_value_size.
 *
 * `buffer` is NULL or writable for `size` bytes, `version` is NULL or writable.
 */
int tenure_versioned_read(const struct tenure_object *object,
                          void *buffer,
                          size_t size,
                          uint64_t *version);

/**
 * Replaces the value by the `size` bytes at `data`, exactly as many as it has. `*version`, unless it is NULL, is the
 * version of what was written.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Progress: waits for other writers, as tenure_mutex_lock with TENURE_FOREVER does for the owner. Crash: a writer that is
 * killed at any instruction has written nothing or everything. TENURE_ERR_ARGUMENT for another size;
 * TENURE_ERR_READ_ONLY for a member that only reads.
 *
 * `data` is NULL or readable for `size` bytes, `version` is NULL or writable.
 */
int tenure_versioned_write(const struct tenure_object *object,
                           const void *data,
                           size_t size,
                           uint64_t *version);

/**
 * The version of a versioned value: the number of writes until now. Threads: any. Fork: TENURE_ERR_FORKED in a child of
 * the member's process.
 *
 * `version` is NULL or writable.
 */
int tenure_versioned_version(const struct tenure_object *object, uint64_t *version);

/**
 * Creates a value that all who have it open change at any time, by atomic operations only: `size` zeros, aligned to
 * `align`, a power of two, or to 16 if it is 0.
 *
 * In Rust it is a `Shared<[AtomicU8]>`. Everything else as tenure_locked_create; TENURE_ERR_ARGUMENT for an impossible alignment; TENURE_ERR_READ_ONLY for a
 * member that only reads, which neither creates nor opens one.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_shared_create(const struct tenure_member *member,
                         const char *name,
                         uint32_t flags,
                         uint64_t type,
                         size_t size,
                         size_t align,
                         struct tenure_object **object);

/**
 * Opens a shared value by its token; see tenure_locked_open.
 *
 * `object` is NULL or writable.
 */
int tenure_shared_open(const struct tenure_member *member,
                       uint64_t type,
                       uint64_t token,
                       struct tenure_object **object);

/**
 * Opens a shared value by its name; see tenure_locked_open_named.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_shared_open_named(const struct tenure_member *member,
                             uint64_t type,
                             const char *name,
                             struct tenure_object **object);

/**
 * Where a shared value is, until this object of it is closed: for atomic operations only, by any thread of this process.
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, where it is not mapped.
 *
 * `data` is NULL or writable.
 */
int tenure_shared_data(const struct tenure_object *object,
                       void **data);

/**
 * The size in bytes of a locked, versioned or shared value, which never changes. Threads: any. Fork: TENURE_ERR_FORKED in a child
 * of the member's process.
 *
 * `size` is NULL or writable.
 */
int tenure_value_size(const struct tenure_object *object,
                      size_t *size);

/**
 * Creates a queue: bounded, first in, first out, between threads of any processes. Its elements are handles of `kind`, a number of
 * the application's choice, and `capacity` of them may wait: 1 to 2^20. It takes the next power of two of container slots, at least 64:
 * see tenure_options.container_slots. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN. One that was opened has the capacity
 * that it was created with.
 *
 * The queue holds what is in it, so an element outlives the process that pushed it. tenure_queue_pop takes an element out: if the
 * process dies then, the element ends with it. tenure_queue_claim lends it: if the process dies before tenure_queue_ack, others get it.
 * (In Rust it is a `Queue<Raw>`.)
 *
 * Elements leave in the order in which they were pushed. One that was given back, by its claimer or after its death, comes next, or
 * at the latest after the elements that were pushed up to that moment.
 *
 * Threads, fork, results: as tenure_mutex_create. TENURE_ERR_CONTAINER_SLOTS; TENURE_ERR_ARGUMENT for an impossible capacity;
 * TENURE_ERR_FOREIGN_KIND also when a queue of elements of another kind has the name.
 *
 * Progress: no function of queues waits for a process that is stopped, nor for one that keeps an element claimed; those with a time
 * sleep while the queue is empty, or full. Crash: if the process is killed, a push or a pop is done or not done.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_queue_create(const struct tenure_member *member,
                        const char *name,
                        uint32_t flags,
                        uint32_t kind,
                        uint32_t capacity,
                        struct tenure_object **object);

/**
 * Opens a queue by its token: afterwards this member holds it once more. `kind` is that of its elements.
 *
 * Threads, fork, results: as tenure_object_open; TENURE_ERR_FOREIGN_KIND also for a queue of elements of another kind.
 *
 * `object` is NULL or writable.
 */
int tenure_queue_open(const struct tenure_member *member, uint32_t kind, uint64_t token, struct tenure_object **object);

/**
 * As tenure_queue_open, by name: TENURE_ERR_NOT_FOUND when the name is not in use. Threads, fork: as there.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_queue_open_named(const struct tenure_member *member,
                            uint32_t kind,
                            const char *name,
                            struct tenure_object **object);

/**
 * Pushes a new handle with a copy of the `size` bytes at `data` (NULL for none), in any number. `flags` is 0, or a sum of
 * TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout in nanoseconds, or a deadline: see tenure_wait_with. With a timeout of 0 it
 * only tries: TENURE_ERR_QUEUE_FULL.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; otherwise nothing was changed: TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED; TENURE_ERR_EXHAUSTED when no handle, or no
 * memory, is free.
 *
 * `data` is readable for `size` bytes.
 */
int tenure_queue_push(const struct tenure_object *object,
                      const void *data,
                      size_t size,
                      uint32_t flags,
                      uint64_t time);

/**
 * Pushes new handles with copies of the first of `count` values, in their order, until one finds no room: `*pushed` is how many. It costs
 * less than as many calls of tenure_queue_push, and others may push in between. `flags` and `time` are as there: it waits only while
 * there is no room for the first value.
 *
 * Threads, fork: as tenure_queue_push.
 *
 * Returns TENURE_OK if it has pushed at least one, or `count` is 0; otherwise `*pushed` is 0, and the results are those of
 * tenure_queue_push. If the process is killed meanwhile, the queue has got the first values, each as a whole, and not the others.
 *
 * `values` is NULL or readable for `count` of them, each of which is readable for its bytes; `pushed` is NULL or writable.
 */
int tenure_queue_push_many(const struct tenure_object *object,
                           const struct tenure_bytes *values,
                           size_t count,
                           uint32_t flags,
                           uint64_t time,
                           size_t *pushed);

/**
 * Takes up to `limit` of the oldest elements out of a queue, in their order: this process holds the handles, each to be given back by
 * tenure_close. `*popped` is how many. It costs less than as many calls of tenure_queue_pop, and others may pop in between. `flags` and
 * `time` are as there: it waits only while the queue is empty.
 *
 * Threads, fork: as tenure_queue_pop.
 *
 * Returns TENURE_OK if it has popped at least one, or `limit` is 0; otherwise `*popped` is 0, and the results are those of
 * tenure_queue_pop. If the process is killed meanwhile, the first of these elements end with it, and the others are in the queue.
 *
 * `handles` is NULL or writable for `limit` of them, `popped` is NULL or writable.
 */
int tenure_queue_pop_many(const struct tenure_object *object,
                          struct tenure_handle *handles,
                          size_t limit,
                          uint32_t flags,
                          uint64_t time,
                          size_t *popped);

/**
 * Pushes a handle that this process holds, of the kind of the elements. From then on the queue holds it as well; the caller still
 * holds its handle. `flags` and `time` are as in tenure_queue_push.
 *
 * Threads: the one that opened the local, which is one of the queue's member. Fork, results: as tenure_queue_push; TENURE_ERR_STALE when
 * this process does not hold the handle; TENURE_ERR_KEPT when a slot or a queue holds it already; TENURE_ERR_WRONG_OWNER for a local of
 * another member; TENURE_ERR_IN_TRANSIT; TENURE_ERR_PUT_TOO_OFTEN after 2^23 pushes.
 */
int tenure_queue_push_handle(struct tenure_local *local,
                             const struct tenure_object *object,
                             uint64_t token,
                             uint32_t flags,
                             uint64_t time);

/**
 * Takes the oldest element out of a queue: this process holds the handle, to be given back by tenure_close. `flags` and `time` are as in
 * tenure_queue_push; with a timeout of 0 it only tries: TENURE_ERR_QUEUE_EMPTY. If the process dies, the element ends with it;
 * tenure_queue_claim is for work that must not be lost.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*handle`; otherwise `*handle` is all zero: TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED.
 *
 * `handle` is NULL or writable.
 */
int tenure_queue_pop(const struct tenure_object *object,
                     uint32_t flags,
                     uint64_t time,
                     struct tenure_handle *handle);

/**
 * Claims the oldest element of a queue: it leaves the queue at tenure_queue_ack. Until then it is lent to this member, and
 * tenure_queue_give_back, closing the object, and the death of the process give it back: then others get it, next, or at the latest after what was pushed up to then.
 * `*handle` is valid until the claim ends; tenure_close does not end it.
 *
 * `flags`, `time`, threads, fork, results: as tenure_queue_pop.
 *
 * `handle` is NULL or writable.
 */
int tenure_queue_claim(const struct tenure_object *object,
                       uint32_t flags,
                       uint64_t time,
                       struct tenure_handle *handle);

/**
 * Ends a claim and closes its handle: the element is out of the queue, and ends unless somebody else holds it.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_NOT_CLAIMED when this object has not claimed that
 * handle, or the claim has ended.
 *
 * Nobody in this process uses the payload through the claim any more.
 */
int tenure_queue_ack(const struct tenure_object *object,
                     uint64_t token);

/**
 * Gives what was claimed back to the queue, where any member can take it, and closes its handle. Otherwise as tenure_queue_ack.
 * Threads, fork: as there.
 *
 * As tenure_queue_ack.
 */
int tenure_queue_give_back(const struct tenure_object *object,
                           uint64_t token);

/**
 * The length of a queue at the moment: `*waiting` elements wait, and, unless these are NULL, `*claimed` are claimed, and `*capacity` may
 * wait. It looks at every slot of the queue. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `waiting`, `claimed` and `capacity` are NULL or writable.
 */
int tenure_queue_len(const struct tenure_object *object,
                     uint32_t *waiting,
                     uint32_t *claimed,
                     uint32_t *capacity);

/**
 * Creates an empty map from bytes to bytes, between threads of any processes. What is in the map belongs to the map: it outlives the
 * process that inserted it, and any member can replace and remove it. It is opened by tenure_object_open, as TENURE_MAP.
 *
 * It is made for `capacity` pairs: it takes as many container slots, rounded up to a power of two, at least 64 (see
 * tenure_options.container_slots), and at most as many handles as it has pairs. With more pairs it becomes slower, and refuses a pair
 * whose bucket has 16. If `max_bytes` is not 0, it bounds the bytes of all pairs: 8 for each, 8 more for one that expires, and its key
 * and value in whole words of 8 bytes. An insertion that exceeds the bound evicts pairs that were not looked at lately.
 *
 * `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN. One that was opened has the capacity and the bound that it was created with.
 *
 * Threads, fork, results: as tenure_mutex_create. TENURE_ERR_CONTAINER_SLOTS.
 *
 * Progress: no function of maps takes a lock or waits for another process; one is repeated only if another one has changed the same
 * bucket meanwhile. Crash: if the process is killed, its change was made or not.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_map_create(const struct tenure_member *member,
                      const char *name,
                      uint32_t flags,
                      uint32_t capacity,
                      uint64_t max_bytes,
                      struct tenure_object **object);

/**
 * Inserts a copy of the `value_size` bytes at `value` under the `key_size` bytes at `key`, or replaces the value that the key has, in one
 * step. Any bytes will do, none as well: then the pointer may be NULL. `*replaced`, unless it is NULL, is 1 if the key had a value,
 * otherwise 0. The pair does not expire, whatever was said of the one that it replaces.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; otherwise the map is unchanged, but for pairs that were evicted: TENURE_ERR_MAP_FULL; TENURE_ERR_EXHAUSTED when no
 * handle, or no memory, is free; TENURE_ERR_TOO_LARGE; TENURE_ERR_READ_ONLY for a member that only reads.
 *
 * `key` is readable for `key_size` bytes, `value` for `value_size`; `replaced` is NULL or writable.
 */
int tenure_map_insert(const struct tenure_object *object,
                      const void *key,
                      size_t key_size,
                      const void *value,
                      size_t value_size,
                      int *replaced);

/**
 * As tenure_map_insert, for `time` nanoseconds: afterwards the pair is in no answer. Its memory comes back with the next change of its
 * bucket, with an eviction, or by tenure_map_remove_expired; until then it counts in the bytes of tenure_map_len. 0: it has expired at
 * once. TENURE_FOREVER: it does not expire. Threads, fork, results: as there.
 *
 * The time is that of CLOCK_BOOTTIME: it goes on while the machine is suspended, and setting the machine's clock does not change it. A
 * process in a time namespace whose clock is moved sees deadlines moved.
 *
 * As tenure_map_insert.
 */
int tenure_map_insert_for(const struct tenure_object *object,
                          const void *key,
                          size_t key_size,
                          const void *value,
                          size_t value_size,
                          uint64_t time,
                          int *replaced);

/**
 * As tenure_map_insert, but a value that the key has stays: `*inserted` is 1 if it had none, otherwise 0. Of any number of
 * concurrent calls with one key, one inserts. Threads, fork: as there.
 *
 * As tenure_map_insert; `inserted` is NULL or writable.
 */
int tenure_map_insert_new(const struct tenure_object *object,
                          const void *key,
                          size_t key_size,
                          const void *value,
                          size_t value_size,
                          int *inserted);

/**
 * As tenure_map_insert_new, for `time` nanoseconds: see tenure_map_insert_for. Threads, fork, results: as there.
 *
 * As tenure_map_insert_new.
 */
int tenure_map_insert_new_for(const struct tenure_object *object,
                              const void *key,
                              size_t key_size,
                              const void *value,
                              size_t value_size,
                              uint64_t time,
                              int *inserted);

/**
 * The time until the pair of a key expires: `*left`, in nanoseconds, is at least 1, and TENURE_FOREVER if the pair does not expire.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; TENURE_ERR_NOT_FOUND when the key has no value, also when it has expired. Then, and after an error, `*left` is 0.
 *
 * `key` is readable for `key_size` bytes, `left` is NULL or writable.
 */
int tenure_map_time_left(const struct tenure_object *object,
                         const void *key,
                         size_t key_size,
                         uint64_t *left);

/**
 * If the value of the key is the `expected_size` bytes at `expected`, makes it the `value_size` bytes at `value`, in one step. NULL
 * stands for no value: an `expected` of NULL inserts, a `value` of NULL removes. `*exchanged` is 1 if the value was the expected one,
 * otherwise 0. A value that replaces another one expires when that would have expired. Threads, fork, results: as tenure_map_insert.
 *
 * `key` is readable for `key_size` bytes; `expected` and `value` are NULL or readable for their sizes; `exchanged` is NULL or
 * writable.
 */
int tenure_map_exchange(const struct tenure_object *object,
                        const void *key,
                        size_t key_size,
                        const void *expected,
                        size_t expected_size,
                        const void *value,
                        size_t value_size,
                        int *exchanged);

/**
 * Copies the value of a key into `buffer` of `size` bytes. `*needed`, unless it is NULL, is the size of the value; with a `size` of 0 only
 * that is stored.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; TENURE_ERR_NOT_FOUND when the key has no value; TENURE_ERR_BUFFER for a buffer that is too short, in which nothing is
 * stored. The value may be replaced by a longer one between two calls.
 *
 * `key` is readable for `key_size` bytes; `buffer` is writable for `size` bytes unless that is 0; `needed` is NULL or writable.
 */
int tenure_map_get(const struct tenure_object *object,
                   const void *key,
                   size_t key_size,
                   void *buffer,
                   size_t size,
                   size_t *needed);

/**
 * Holds the value of a key: `*value`, in shared memory, of `*size` bytes, stays as it is until `*entry` is closed by
 * tenure_object_close, also after it was replaced or removed in the map. Its address is a multiple of 8. Nothing is copied. An entry has
 * no token.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, where it is not mapped.
 *
 * Returns TENURE_OK; otherwise `*entry` is NULL: TENURE_ERR_NOT_FOUND when the key has no value; TENURE_ERR_TOO_MANY when this process
 * holds too many entries of one bucket.
 *
 * `key` is readable for `key_size` bytes; `value`, `size` and `entry` are NULL or writable.
 */
int tenure_map_hold(const struct tenure_object *object,
                    const void *key,
                    size_t key_size,
                    const void **value,
                    size_t *size,
                    struct tenure_object **entry);

/**
 * Whether a key has a value at the moment: `*is` is 1 or 0. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `key` is readable for `key_size` bytes, `is` is NULL or writable.
 */
int tenure_map_contains(const struct tenure_object *object,
                        const void *key,
                        size_t key_size,
                        int *is);

/**
 * Removes the value of a key. TENURE_ERR_NOT_FOUND when it has none. Threads, fork, results: as tenure_map_insert.
 *
 * `key` is readable for `key_size` bytes.
 */
int tenure_map_remove(const struct tenure_object *object, const void *key, size_t key_size);

/** Removes all pairs, bucket by bucket: pairs that others insert meanwhile may stay. Threads, fork: as tenure_map_insert. */
int tenure_map_clear(const struct tenure_object *object);

/**
 * Gives back the memory of pairs that have expired, bucket by bucket. For maps without a bound, now and then, by any member. Threads, fork:
 * as tenure_map_insert. TENURE_ERR_READ_ONLY for a member that only reads.
 */
int tenure_map_remove_expired(const struct tenure_object *object);

/**
 * The number of pairs, counted bucket by bucket: exact if nobody changes the map meanwhile. `*bytes`, unless it is NULL, is the bytes of
 * all pairs, as tenure_map_create counts them, with those that have expired and whose memory was not given back. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `count` and `bytes` are NULL or writable.
 */
int tenure_map_len(const struct tenure_object *object,
                   size_t *count,
                   uint64_t *bytes);

/**
 * Begins an iteration over all pairs: see tenure_map_next. `*iteration` is to be closed by tenure_object_close; until then the map's
 * object is in use, and cannot be closed. It has no token.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. If it fails, `*iteration` is NULL.
 *
 * `iteration` is NULL or writable.
 */
int tenure_map_iterate(const struct tenure_object *object,
                       struct tenure_object **iteration);

/**
 * The next pair of an iteration: copies of the key and the value, which are valid until the next call with this iteration. Each pair
 * that is in the map during the whole iteration is seen once; one that is inserted or removed meanwhile may be seen or not.
 *
 * Threads: any, one at a time. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK; TENURE_END when there are no more pairs. Then, and after an error, the pointers are NULL and the sizes 0.
 *
 * `key`, `key_size`, `value` and `value_size` are NULL or writable.
 */
int tenure_map_next(const struct tenure_object *iteration,
                    const void **key,
                    size_t *key_size,
                    const void **value,
                    size_t *value_size);

/**
 * Makes a set of waits: for an event loop that waits for objects beside sockets and other descriptors, with poll, epoll, or what is built on
 * them.
 *
 * tenure_wait_set_insert adds a wait, with a number of the caller's choice. The descriptor of tenure_wait_set_fd is readable as long as
 * tenure_wait_set_take has something to do; that gives one wait after the other that is done. A wait has taken nothing before that, and one
 * that is removed takes nothing.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, also in all functions of sets.
 *
 * Returns TENURE_OK and `*set`, to be closed by tenure_wait_set_close before the member leaves; otherwise `*set` is NULL.
 *
 * `set` is NULL or writable.
 */
int tenure_wait_set_create(const struct tenure_member *member,
                           struct tenure_wait_set **set);

/**
 * Closes a set and its descriptor; its waits have taken nothing. Threads: any; TENURE_ERR_IN_USE while another call uses it. Fork: works in
 * a child, and changes nothing of the parent.
 */
int tenure_wait_set_close(struct tenure_wait_set *set);

/**
 * The descriptor of a set, readable as long as tenure_wait_set_take has something to do. It is the set's: the caller neither reads nor
 * closes it. Threads: any.
 *
 * `fd` is NULL or writable.
 */
int tenure_wait_set_fd(const struct tenure_wait_set *set,
                       int *fd);

/**
 * Adds a wait for an object to a set; `what` is a tenure_what. `tag` is any number; a wait that has the same tag in the set is removed. The object must be of the
 * set's member or of another one that this process is, and cannot be closed while the wait is in the set: TENURE_ERR_IN_USE.
 *
 * A lock that a wait takes belongs to no thread: it is unlocked by any thread, by tenure_mutex_unlock_task, tenure_rwlock_unlock_read or
 * tenure_rwlock_unlock_write_task. A wait for a lock that this process has waits until it is unlocked: there is no TENURE_ERR_DEADLOCK.
 *
 * Threads: any.
 *
 * Returns TENURE_OK; TENURE_ERR_FOREIGN_KIND when the object is not of a kind for `what`; TENURE_ERR_ARGUMENT.
 */
int tenure_wait_set_insert(const struct tenure_wait_set *set,
                           const struct tenure_object *object,
                           uint32_t what,
                           uint64_t tag);

/**
 * Adds a push to a set: it waits until the queue has room, and pushes a new handle with a copy of the `size` bytes at `data`, which is made now. Otherwise
 * as tenure_wait_set_insert. Threads: any.
 *
 * `data` is readable for `size` bytes.
 */
int tenure_wait_set_insert_push(const struct tenure_wait_set *set,
                                const struct tenure_object *queue,
                                const void *data,
                                size_t size,
                                uint64_t tag);

/**
 * Adds a wait with a condition variable to a set: it begins in the next tenure_wait_set_take, gives up the mutex, which was taken by a set, waits until
 * somebody notifies, and takes the mutex again. Until then the mutex is the set's, so the caller changes nothing that it protects; a
 * wait that is removed leaves the mutex locked if it has not begun, and unlocked if it has. Otherwise as tenure_wait_set_insert; TENURE_ERR_NOT_OWNER when no
 * set of this process has the mutex. Threads: any.
 */
int tenure_wait_set_insert_condvar(const struct tenure_wait_set *set,
                                   const struct tenure_object *condvar,
                                   const struct tenure_object *mutex,
                                   uint64_t tag);

/**
 * Removes a wait from a set: it has taken nothing, and takes nothing. TENURE_ERR_NOT_FOUND when the set has none with that tag: it was
 * given to a caller already. Threads: any.
 */
int tenure_wait_set_remove(const struct tenure_wait_set *set,
                           uint64_t tag);

/**
 * Takes a wait that is done out of a set: `*done` says which it is, and what it has taken. Does not wait. Threads: any.
 *
 * Returns TENURE_OK; TENURE_END and a `*done` of zeros when no wait is done. The result of the wait itself is in `done->status`; when that is an error,
 * tenure_last_error tells it.
 *
 * `done` is NULL or writable.
 */
int tenure_wait_set_take(const struct tenure_wait_set *set,
                         struct tenure_wait_done *done);

/**
 * Unlocks a mutex that a set of this process has taken. Threads: any; TENURE_ERR_NOT_OWNER when none has. Fork: TENURE_ERR_FORKED in a child
 * of the member's process.
 */
int tenure_mutex_unlock_task(const struct tenure_object *mutex);

/** As tenure_mutex_unlock_task; the next owner gets TENURE_ABANDONED, as of tenure_mutex_abandon. Threads, fork: as there. */
int tenure_mutex_abandon_task(const struct tenure_object *mutex);

/**
 * Unlocks a read-write lock that a set of this process has taken for writing. Threads: any; TENURE_ERR_NOT_OWNER when none has. Fork:
 * TENURE_ERR_FORKED in a child of the member's process.
 */
int tenure_rwlock_unlock_write_task(const struct tenure_object *rwlock);

/** As tenure_rwlock_unlock_write_task; others get TENURE_ABANDONED, as of tenure_rwlock_abandon. Threads, fork: as there. */
int tenure_rwlock_abandon_task(const struct tenure_object *rwlock);

/**
 * As tenure_wait_any, of `count` objects, which may be 0, or until one of `fd_count` descriptors can be read without waiting, has hung up or has
 * failed: then `*index` is `count` and its place in `fds`, and nothing was read. If several of all these are, it takes the first object. For a wait now and then; an
 * event loop keeps a wait set.
 *
 * Threads, fork, results: as tenure_wait_any.
 *
 * `objects` is NULL, with a `count` of 0, or readable for `count` pointers; `fds` likewise for `fd_count` open descriptors, which stay open
 * until the call returns; `index` is NULL or writable.
 */
int tenure_wait_any_or_fd(struct tenure_object *const *objects,
                          size_t count,
                          const int *fds,
                          size_t fd_count,
                          uint64_t timeout,
                          size_t *index);

/**
 * Creates an object of the process that has the number `pid` now, in the caller's pid namespace; 0 is the caller. The
 * object stands for that process and for no later one with its number. The process need not be a member, but the
 * caller must see it. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a process had the name
 * and TENURE_OR_OPEN was given: it may be another one than `pid`. Otherwise nothing was created and `*object` is NULL.
 * TENURE_ERR_NOT_FOUND when no process has the number and nothing was opened; TENURE_ERR_ARGUMENT when it is a
 * thread's; TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the name.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_process_of(const struct tenure_member *member,
                      const char *name,
                      uint32_t flags,
                      uint32_t pid,
                      struct tenure_object **object);

/**
 * As tenure_process_of, for a thread: 0 is the calling one. TENURE_ERR_UNSUPPORTED before Linux 6.9.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_thread_of(const struct tenure_member *member,
                     const char *name,
                     uint32_t flags,
                     uint32_t tid,
                     struct tenure_object **object);

/**
 * How a process or thread ended, if it did. Does not wait; tenure_wait does. Every process that holds the object can
 * read it, also long after the end.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_UNSUPPORTED when no process has
 * reported the end, and this one cannot observe it.
 *
 * `exit` is NULL or writable.
 */
int tenure_process_exit(const struct tenure_object *object, struct tenure_exit *exit);

/**
 * The number of a process or thread, in the pid namespace of the process that created the object. Once it was reaped,
 * another may have the number. `*started`, unless it is NULL, is the start time of a process, in clock ticks since the
 * machine booted; 0 if unknown, and for threads. Threads: any.
 *
 * `number` and `started` are NULL or writable.
 */
int tenure_process_number(const struct tenure_object *object, uint32_t *number, uint64_t *started);

/**
 * Tells all holders how the process ended; call it in the process that reaped it. `status` is the number that waitpid
 * stored. A status that is known already stays. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
 * process.
 */
int tenure_process_reaped(const struct tenure_object *object, int status);

/**
 * Called by the process, or thread, itself: announces the code with which it is about to end, with all 32 bits; the
 * kernel keeps 8. The code counts once it has ended, unless the kernel reports another end; it can be announced once.
 *
 * Threads: any of the process; for a thread's object that thread. Fork: TENURE_ERR_FORKED in a child of the member's
 * process. TENURE_ERR_NOT_OWNER when the object is another's; TENURE_ERR_ANNOUNCED.
 */
int tenure_process_exiting(const struct tenure_object *object, int32_t code);

/**
 * Creates an object of a file descriptor of any kind: a file, pipe, socket, memfd or eventfd. A process that opens its
 * token, or its name, gets a duplicate of it from any member that has it open. `name` is NULL for none; `flags` is 0
 * or TENURE_OR_OPEN. The object has a duplicate of `fd`, which closes on exec; `fd` itself stays the caller's.
 *
 * Takes 16 bytes of scratch for every member that the space can have.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a descriptor had the
 * name and TENURE_OR_OPEN was given: it may lead to another file than `fd`. Otherwise nothing was created and
 * `*object` is NULL. TENURE_ERR_NOT_FOUND when `fd` is not open, even if the name is in use; TENURE_ERR_NAME_TAKEN;
 * TENURE_ERR_FOREIGN_KIND when an object of another kind has the name; TENURE_ERR_REFUSED when no member can give the
 * descriptor that has the name.
 *
 * `name` is NULL or a string, `object` is NULL or writable.
 */
int tenure_descriptor_create(const struct tenure_member *member,
                             const char *name,
                             uint32_t flags,
                             int fd,
                             struct tenure_object **object);

/**
 * The file descriptor of this member. It belongs to the object and is closed with this member's last object of it:
 * duplicate it to keep it longer. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `fd` is NULL or writable.
 */
int tenure_descriptor_fd(const struct tenure_object *object, int *fd);

/**
 * Asks to use the file behind `fd` in the modes `access` while letting others use it in the modes `sharing`. Enters
 * both into the file's table, unless an entry there excludes them: one step, so that of two calls that exclude each
 * other exactly one enters. Both are sums of TENURE_READ, TENURE_WRITE and TENURE_DELETE. As Windows' open and share
 * modes, among the members of a space: the kernel does not know of it. A file is identified by device and inode, not
 * by path.
 *
 * Closing the object gives the entry back, and so does dying. `fd` stays the caller's.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * Returns TENURE_OK and `*object`, to be given back by tenure_object_close; otherwise `*object` is NULL.
 * TENURE_ERR_SHARING when an entry excludes this one: `*who`, unless it is NULL, has that entry; otherwise it is all
 * zero.
 *
 * `object` and `who` are NULL or writable.
 */
int tenure_share_enter(const struct tenure_member *member,
                       int fd,
                       uint32_t access,
                       uint32_t sharing,
                       struct tenure_object **object,
                       struct tenure_conflict *who);

/**
 * The members that have entries for the file of an entry, this member as well, each with the sum of its modes: up to
 * `capacity` into `all`. `*count` is their number; with a `capacity` of 0 only that is stored.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_BUFFER if they do not fit, with
 * as many as fit.
 *
 * `all` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
 */
int tenure_share_everybody(const struct tenure_object *object,
                           struct tenure_conflict *all,
                           size_t capacity,
                           size_t *count);

/**
 * The modes of this entry, `*access` and `*sharing`, as they were asked for; tenure_share_everybody has the sum of a
 * member's entries. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `access` and `sharing` are NULL or writable.
 */
int tenure_share_modes(const struct tenure_object *object, uint32_t *access, uint32_t *sharing);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TENURE_H */
