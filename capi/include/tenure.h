/*
 * tenure: handles and scratch memory shared by the processes of one machine, with no daemon and no lock that anybody
 * can die holding. Made by cbindgen from the sources in capi/src; do not edit.
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
 *     tenure_local_close(local); tenure_leave(member); tenure_space_close(space);
 *
 * ERRORS. Every function that can fail answers TENURE_OK (0) or a negative enum tenure_status. What failed changed
 * nothing, and results are then zero or NULL. tenure_strerror names the status, tenure_last_error says what was
 * expected and what was found. A pointer to a space, member or local is a number that the library checks, not an
 * address: passing NULL, one that was closed, or one of another type is TENURE_ERR_NULL or TENURE_ERR_CLOSED, at any
 * time. Pointers to memory of the caller's cannot be checked beyond NULL. Tokens, offsets and leases are numbers and
 * may come from anywhere; wrong ones are errors.
 *
 * THREADS. Spaces and members serve any thread. A local serves the thread that opened it: any other is told
 * TENURE_ERR_WRONG_THREAD. It is closed when its thread ends. Handles and blocks belong to the member: any of its
 * locals may use them and give them back, and it is for the program to see that no thread uses what another one gives
 * back. No function may be called from a signal handler.
 *
 * FORK. A forked child may use the spaces it inherited. It is not the member that its parent is: with members and
 * locals that it inherited every call answers TENURE_ERR_FORKED and does nothing, and pointers into the space that
 * came from them are not mapped. The child becomes a member by calling tenure_join itself. A child of vfork calls
 * nothing but exec. Nothing survives exec but the descriptor of a TENURE_MEMFD space, once its flag FD_CLOEXEC is
 * cleared.
 *
 * DEATH. What a process held when it died, by whatever cause, is taken back by the others; no process waits for
 * another one.
 */


#ifndef TENURE_H
#define TENURE_H

#include <stddef.h>
#include <stdint.h>
/* The options that everything else is compared with: defaults for whatever is created, no demands on what exists. */
#define TENURE_OPTIONS_INIT { TENURE_ABI_VERSION, 0, 0, 0, 0, 0, 0, 0, 0 }


/** The version of this interface. A program is compiled with that of its header; the library refuses any other. */
#define TENURE_ABI_VERSION 1

/**
 * In tenure_options.flags: members run no guardian thread. The dead are then recovered when somebody joins, runs out
 * of something, or calls tenure_recover.
 */
#define TENURE_NO_GUARDIAN 1

/** In tenure_options.flags: small defaults: 32 handles and 8 KiB of scratch for 4 members, under 32 KiB in all. */
#define TENURE_TINY 2

/** What functions answer: TENURE_OK or one of the others, all of them negative. */
typedef enum tenure_status {
    /** Done. */
    TENURE_OK = 0,
    /** A pointer that must not be null is. */
    TENURE_ERR_NULL = -1,
    /** An argument has a value that it cannot have. */
    TENURE_ERR_ARGUMENT = -2,
    /** The caller was compiled with the header of another ABI version. */
    TENURE_ERR_ABI = -3,
    /** Not an open space, member or local: closed already, of another type, or never one. */
    TENURE_ERR_CLOSED = -4,
    /** A local that another thread opened. */
    TENURE_ERR_WRONG_THREAD = -5,
    /** A forked child is not the member that its parent is. It may join by itself. */
    TENURE_ERR_FORKED = -6,
    /** The member has left. */
    TENURE_ERR_LEFT = -7,
    /** It is being used: locals of the member are open, a call is in progress, or a space has living members. */
    TENURE_ERR_IN_USE = -8,
    /** There is no space of that name, or no such file descriptor or file. */
    TENURE_ERR_NOT_FOUND = -9,
    /** A name that no space can have. */
    TENURE_ERR_NAME = -10,
    /** Impossible numbers in the options, or others than those of the existing space. */
    TENURE_ERR_GEOMETRY = -11,
    /** Made by another version, on another boot or kernel, by another backend, or for another user. */
    TENURE_ERR_INCOMPATIBLE = -12,
    /** A file system, memfd or kind of space with which this cannot be done. */
    TENURE_ERR_UNSUPPORTED = -13,
    /** The space, or a handle, contains what no program of ours writes. */
    TENURE_ERR_CORRUPT = -14,
    /** The system has no memory (for shared memory: the file system is full). */
    TENURE_ERR_NO_MEMORY = -15,
    /** As many members as the space can have are alive. */
    TENURE_ERR_FULL = -16,
    /** No handle, or no scratch memory, is free; everything is as it was. */
    TENURE_ERR_EXHAUSTED = -17,
    /** Everybody let go of the handle; or, where it must be held by this process, it is not. */
    TENURE_ERR_STALE = -18,
    /** A token that was never issued. */
    TENURE_ERR_FORGED = -19,
    /** A token of another space. */
    TENURE_ERR_FOREIGN_SPACE = -20,
    /** A handle of another kind. */
    TENURE_ERR_FOREIGN_KIND = -21,
    /** This process holds the handle as often as can be counted. */
    TENURE_ERR_TOO_MANY = -22,
    /** No block starts at that offset. */
    TENURE_ERR_NOT_A_BLOCK = -23,
    /** The block is free already. */
    TENURE_ERR_ALREADY_FREE = -24,
    /** The block is somebody else's: another member's, a handle's, or pinned. */
    TENURE_ERR_WRONG_OWNER = -25,
    /** More bytes than any block, or this payload, can have. */
    TENURE_ERR_TOO_LARGE = -26,
    /** The buffer is too short; the size that is needed was stored. */
    TENURE_ERR_BUFFER = -27,
    /** The system refused; the text says what and why. */
    TENURE_ERR_OS = -28,
    /** A defect of the library, caught at its border. */
    TENURE_ERR_PANIC = -29,
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

/** One thread's access to a member. Handles and blocks are made, used and given back through it. */
typedef struct tenure_local tenure_local;

/** A member of a space: this process, with the right to hold handles and blocks. */
typedef struct tenure_member tenure_member;

/** A space: memory that processes share. Attached, not joined: it holds nothing and writes nothing. */
typedef struct tenure_space tenure_space;

/**
 * How a space is created or found. Begin with TENURE_OPTIONS_INIT. A 0 means the default when the space is created and
 * whatever is found when it exists; any other number must match an existing space.
 */
typedef struct tenure_options {
    /** TENURE_ABI_VERSION of the caller. */
    uint32_t abi;
    /** One of enum tenure_backend; 0 is TENURE_SHM. */
    uint32_t backend;
    /** TENURE_NO_GUARDIAN, TENURE_TINY, or both. */
    uint32_t flags;
    /** The most members at a time, 1 to 256; 64 by default. */
    uint32_t members;
    /** Handles, 1 to 1048576; 65536 by default. */
    uint32_t handles;
    /** Bits of a handle's generation, 4 to 36; 36 by default. */
    uint32_t generation_bits;
    /** Bytes of scratch memory; 1 GiB by default, of which only what is used costs memory. */
    uint64_t scratch_bytes;
    /** Bytes of a unit of scratch, a power of two from 1 KiB to 1 MiB; 64 KiB by default. */
    uint32_t unit_bytes;
    /** 0. */
    uint32_t reserved;
} tenure_options;

/** What a space is; tenure_space_info. */
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
} tenure_info;

/** What is in use; tenure_space_stats. */
typedef struct tenure_stats {
    /** Members; one that died and is not recovered yet counts. */
    uint64_t members_live;
    /** Handles that somebody holds. */
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
    /** Where it lies in this process. Valid until the block is freed, resized or attached, or the member leaves. */
    void *data;
    /** Bytes that were asked for; from tenure_block_at: bytes that there are. */
    size_t size;
} tenure_block;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/** The ABI version of the library. Any thread, any time. */
uint32_t tenure_abi_version(void);

/** The version of the library as text, which lives as long as the process. Any thread, any time. */
const char *tenure_version(void);

/** What a status means, in English: a text that lives as long as the process. Any thread, any time. */
const char *tenure_strerror(int status);

/**
 * What was expected and what was found when a call of this thread failed last: a text of at most 511 bytes of UTF-8,
 * empty if none failed. It is the thread's own and is overwritten when another call of the thread fails.
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
 * Detaches. Members that joined through it stay members.
 *
 * Threads: any. Fork: a child may close what it inherits, which closes nothing of its parent's.
 *
 * Returns TENURE_ERR_IN_USE while another thread is in a call with this space, TENURE_ERR_CLOSED if it is not open.
 */
int tenure_space_close(struct tenure_space *space);

/**
 * Tells what the space is. Threads: any.
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
 * The file behind the space, for those that have one, as a string in `buffer` of `size` bytes.
 *
 * `*needed`, unless `needed` is NULL, is the bytes that it takes, the zero at its end included; with a `size` of 0
 * only that is told. Threads: any.
 *
 * Returns TENURE_ERR_BUFFER if it does not fit, with as much of it as does; TENURE_ERR_UNSUPPORTED without a file.
 *
 * `buffer` is writable for `size` bytes, `needed` is NULL or writable.
 */
int tenure_space_path(const struct tenure_space *space, char *buffer, size_t size, size_t *needed);

/**
 * Counts what is in use, in one pass over the words in use. Threads: any. Writes nothing shared.
 *
 * `stats` is NULL or writable.
 */
int tenure_space_stats(const struct tenure_space *space, struct tenure_stats *stats);

/**
 * Looks at every word. `*violations` counts what can never be: 0 in a correct space. `*pending` counts what
 * operations in progress, or a recovery that is due, explain. Either may be NULL. What was found is told in `text`, a
 * line each, violations first, as much as fits in `size` bytes; it may be NULL.
 *
 * Threads: any. Writes nothing shared. Returns TENURE_OK also when something is wrong with the space.
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
 * Becomes a member of the space: recovers what the dead left behind, and starts the guardian thread unless the
 * options said not to. A process may join more than once.
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
 * were obtained through it are invalid afterwards: what they point to is no longer mapped.
 *
 * Threads: any. Fork: in a child of the member's process nothing is done.
 *
 * Returns TENURE_ERR_IN_USE while locals of it are open or another thread is in a call with it, TENURE_ERR_FORKED in
 * a forked child, TENURE_ERR_CLOSED if it left already.
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
 * Takes back what dead members held, without waiting for a guardian. `*recovered`, unless it is NULL, is how many
 * were recovered.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `recovered` is NULL or writable.
 */
int tenure_recover(const struct tenure_member *member, size_t *recovered);

/**
 * Gives what is idle in this member's caches to everybody, and the memory behind all free scratch to the system;
 * `*bytes`, unless it is NULL, is how much that was. Locals that are open keep what they have.
 *
 * Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
 *
 * `bytes` is NULL or writable.
 */
int tenure_trim(const struct tenure_member *member, uint64_t *bytes);

/**
 * How the member hears of deaths: `*guardian` is 1 if its guardian thread runs, 0 if none was asked for (or the space
 * is private), -1 if there is none because the kernel or a sandbox lacks what it needs. Threads: any.
 *
 * `guardian` is NULL or writable.
 */
int tenure_guardian(const struct tenure_member *member, int *guardian);

/**
 * Opens a local of the member for the calling thread. One a thread is what is meant: it caches free handles and
 * blocks.
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
 * Closes a local. What was created and allocated through it stays the member's: other locals may use it and give it
 * back.
 *
 * Threads: the one that opened it; any other is told TENURE_ERR_WRONG_THREAD. Fork: TENURE_ERR_FORKED in a child of
 * the member's process, where nothing is done.
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
 * As tenure_create, with a block of this member as its payload, of which `size` bytes count; no copy is made. The
 * block belongs to the handle from now on: it is freed when nobody holds the handle any more.
 *
 * Threads, fork: as tenure_create. If it fails the block is still the caller's.
 *
 * `handle` is NULL or writable.
 */
int tenure_create_with(struct tenure_local *local,
                       uint32_t kind,
                       uint64_t offset,
                       size_t size,
                       struct tenure_handle *handle);

/**
 * Opens a handle of `kind` by its token, wherever that came from: afterwards this process holds it once more. What
 * passed the token must order memory, as pipes, sockets, locks and atomics do.
 *
 * Threads, fork: as tenure_create.
 *
 * Returns TENURE_OK and `*handle`, to be given back by tenure_close; otherwise nothing is held and `*handle` is all
 * zero. TENURE_ERR_STALE, TENURE_ERR_FORGED, TENURE_ERR_FOREIGN_SPACE, TENURE_ERR_FOREIGN_KIND tell what is wrong
 * with the token.
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
 * Gives back one of the times that this process holds the handle. With the last of all processes the handle and its
 * payload go.
 *
 * Threads, fork: as tenure_create; any local of the member will do. TENURE_ERR_STALE when this process does not hold
 * it.
 */
int tenure_close(struct tenure_local *local, uint64_t token);

/**
 * Allocates `size` bytes, aligned to `align` (a power of two up to a page; 0 means 16). The contents are whatever was
 * there.
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
 * kept.
 *
 * Threads, fork: as tenure_alloc; any local of the member will do.
 *
 * Returns TENURE_OK and `*block`, which takes the old one's place; otherwise the old one is as it was and `*block` is
 * all zero.
 *
 * As tenure_alloc.
 */
int tenure_realloc(struct tenure_local *local, uint64_t offset, size_t size, size_t align, struct tenure_block *block);

/**
 * Frees a block of this member.
 *
 * Threads, fork: as tenure_alloc; any local of the member will do. TENURE_ERR_ALREADY_FREE, TENURE_ERR_NOT_A_BLOCK and
 * TENURE_ERR_WRONG_OWNER say that nothing was freed, and why.
 */
int tenure_free(struct tenure_local *local, uint64_t offset);

/**
 * Frees a block of the member that has (or had) `lease`, which passed it to us and does not touch it any more.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not that member's.
 */
int tenure_free_of(struct tenure_local *local, uint64_t offset, uint64_t lease);

/**
 * Where a block lies in this process and how many bytes it has: for offsets that others passed, who must keep the
 * block.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_NOT_A_BLOCK or TENURE_ERR_ALREADY_FREE when no block in use starts there.
 *
 * As tenure_alloc.
 */
int tenure_block_at(struct tenure_local *local, uint64_t offset, struct tenure_block *block);

/**
 * Gives a block of this member up to nobody: it outlives everybody, until somebody calls tenure_free_pinned.
 *
 * Threads, fork: as tenure_alloc.
 */
int tenure_pin(struct tenure_local *local, uint64_t offset);

/**
 * Frees a pinned block, whoever pinned it.
 *
 * Threads, fork: as tenure_alloc. TENURE_ERR_WRONG_OWNER when it is not pinned.
 */
int tenure_free_pinned(struct tenure_local *local, uint64_t offset);

/**
 * Reads the 64-bit word at `position`, in bytes and a multiple of 8, of the payload of a handle that this process
 * holds.
 *
 * This and the next three are for payloads whose users agree to change them by such operations only; they order
 * memory as memory_order_seq_cst. C has its own, on tenure_handle.data.
 *
 * Threads: the one that opened the local; the handle must not be closed meanwhile. Fork: TENURE_ERR_FORKED in a child
 * of the member's process. TENURE_ERR_TOO_LARGE when the word does not lie within the payload.
 *
 * `value` is NULL or writable.
 */
int tenure_word_load(struct tenure_local *local, uint32_t kind, uint64_t token, size_t position, uint64_t *value);

/** Stores a word; see tenure_word_load. */
int tenure_word_store(struct tenure_local *local, uint32_t kind, uint64_t token, size_t position, uint64_t value);

/**
 * Adds to a word, modulo 2^64; `*before`, unless it is NULL, is what it was; see tenure_word_load.
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
 * Stores `value` if the word is `*expected`. `*exchanged` says whether it was: 1 or 0; if not, `*expected` is what it
 * is. See tenure_word_load.
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

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* TENURE_H */
