/* Slots, locked and versioned values: on every backend in one process, and between processes of which some are killed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>

enum { KIND = 7, OTHER = 8, SLOTS = 3 };

static const uint64_t NOW = 0, TYPE = UINT64_C(0x1234567890abcdef);

static tenure_space *space;
static tenure_member *me, *other;
static tenure_local *mine, *theirs;

static void slots(void)
{
    tenure_handle a, b, c, d, got;
    uint64_t token = 9;
    uint32_t slot = 9;
    OK(tenure_create(mine, KIND, "a", 1, &a));
    OK(tenure_create(mine, KIND, "b", 1, &b));
    OK(tenure_slot_put(mine, 1, KIND, a.token));
    EXPECT(TENURE_ERR_SLOT_FULL, tenure_slot_put(mine, 1, KIND, b.token));
    EXPECT(TENURE_ERR_KEPT, tenure_slot_put(mine, 0, KIND, a.token));
    EXPECT(TENURE_ERR_NO_SLOT, tenure_slot_put(mine, SLOTS, KIND, b.token));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_slot_put(mine, 0, OTHER, b.token));
    EXPECT(TENURE_ERR_STALE, tenure_slot_put(theirs, 0, KIND, b.token));
    OK(tenure_slot_find(theirs, a.token, &slot));
    HOLDS(slot == 1);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_slot_find(theirs, b.token, &slot));
    HOLDS(slot == 0);

    /* The slot holds it: the creator lets go. */
    OK(tenure_close(mine, a.token));
    OK(tenure_slot_claim(theirs, 1, KIND, &got));
    HOLDS(got.token == a.token && got.size == 1 && *(char *)got.data == 'a');
    EXPECT(TENURE_ERR_CLAIMED, tenure_slot_claim(mine, 1, KIND, &c));
    EXPECT(TENURE_ERR_CLAIMED, tenure_slot_take(mine, 1, KIND, &c));
    EXPECT(TENURE_ERR_CLAIMED, tenure_slot_evict(mine, 1, &token));
    EXPECT(TENURE_ERR_SLOT_FULL, tenure_slot_replace(mine, 1, KIND, b.token, NULL));
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_slot_ack(theirs, 0, KIND, a.token));
    EXPECT(TENURE_ERR_STALE, tenure_slot_ack(mine, 1, KIND, a.token)); /* does not even hold it */
    OK(tenure_slot_give_back(theirs, 1, KIND, a.token));
    EXPECT(TENURE_ERR_STALE, tenure_get(theirs, KIND, a.token, &got));
    OK(tenure_slot_claim(mine, 1, KIND, &got));
    OK(tenure_open(mine, KIND, a.token, &c));
    OK(tenure_slot_ack(mine, 1, KIND, a.token));
    /* Refused without a change: the count of `c` is still there. */
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_slot_ack(mine, 1, KIND, a.token));
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_slot_give_back(mine, 1, KIND, a.token));
    OK(tenure_close(mine, c.token));
    EXPECT(TENURE_ERR_STALE, tenure_open(mine, KIND, a.token, &got));

    /* Any empty slot, and none. */
    OK(tenure_create(mine, KIND, "c", 1, &c));
    OK(tenure_create(mine, KIND, "d", 1, &d));
    OK(tenure_slot_keep(mine, KIND, b.token, &slot));
    HOLDS(slot == 0);
    OK(tenure_slot_keep(mine, KIND, c.token, &slot));
    OK(tenure_slot_keep(mine, KIND, d.token, &slot));
    HOLDS(slot == 2);
    OK(tenure_create(mine, KIND, "e", 1, &a));
    EXPECT(TENURE_ERR_SLOT_FULL, tenure_slot_keep(mine, KIND, a.token, &slot));
    OK(tenure_slot_replace(mine, 1, KIND, a.token, &token));
    HOLDS(token == c.token);
    OK(tenure_slot_evict(theirs, 1, &token));
    HOLDS(token == a.token);
    OK(tenure_slot_replace(mine, 1, KIND, a.token, &token));
    HOLDS(token == 0);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_slot_take(theirs, 1, OTHER, &got));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_slot_claim(theirs, 1, OTHER, &got));
    OK(tenure_slot_take(theirs, 1, KIND, &got));
    HOLDS(got.token == a.token && *(char *)got.data == 'e');
    EXPECT(TENURE_ERR_SLOT_EMPTY, tenure_slot_take(theirs, 1, KIND, &got));
    EXPECT(TENURE_ERR_SLOT_EMPTY, tenure_slot_claim(theirs, 1, KIND, &got));
    EXPECT(TENURE_ERR_SLOT_EMPTY, tenure_slot_evict(theirs, 1, NULL));
    EXPECT(TENURE_ERR_NO_SLOT, tenure_slot_take(theirs, SLOTS, KIND, &got));
    EXPECT(TENURE_ERR_NO_SLOT, tenure_slot_claim(theirs, SLOTS, KIND, &got));
    EXPECT(TENURE_ERR_NO_SLOT, tenure_slot_evict(theirs, UINT32_MAX, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_slot_take(theirs, 0, KIND, NULL));
    OK(tenure_close(theirs, a.token));
    const uint64_t all[] = { a.token, b.token, c.token, d.token };
    for (int i = 0; i < 4; i++)
        OK(tenure_close(mine, all[i]));
    OK(tenure_slot_evict(mine, 0, NULL));
    OK(tenure_slot_evict(mine, 2, NULL));
    expect_unharmed(space, 0, 0);
}

static void zeroed(void)
{
    tenure_handle handle, opened;
    static const size_t sizes[] = { 0, 8, 32, 33, 100000 };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        tenure_block used;
        OK(tenure_alloc(mine, sizes[i] + 1, 64, &used));
        memset(used.data, 'x', used.size);
        OK(tenure_free(mine, used.offset));
        OK(tenure_create_zeroed(mine, KIND, sizes[i], 64, &handle));
        HOLDS(handle.size == sizes[i] && (sizes[i] == 0 || (uintptr_t)handle.data % 64 == 0));
        OK(tenure_open(theirs, KIND, handle.token, &opened));
        for (size_t at = 0; at < opened.size; at++)
            HOLDS(((char *)opened.data)[at] == 0);
        OK(tenure_close(mine, handle.token));
        OK(tenure_close(theirs, handle.token));
    }
    EXPECT(TENURE_ERR_ARGUMENT, tenure_create_zeroed(mine, KIND, 8, 3, &handle));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_create_zeroed(mine, KIND, SIZE_MAX, 0, &handle));
    expect_unharmed(space, 0, 0);
}

static tenure_object *locked;

static void *in_another_thread(void *nothing)
{
    void *data;
    (void)nothing;
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_locked_unlock(locked));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_locked_repaired(locked));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_locked_abandon(locked));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_locked_lock(locked, 0, NOW, &data));
    HOLDS(data == NULL);
    return NULL;
}

static void locked_values(void)
{
    tenure_object *again, *wrong;
    uint64_t token;
    uint32_t kind;
    size_t size;
    void *data;
    pthread_t thread;
    OK(tenure_locked_create(me, "locked", 0, TYPE, "abcde", 5, &locked));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_locked_create(me, "locked", 0, TYPE, "abcde", 5, &wrong));
    HOLDS(wrong == NULL);
    OK(tenure_object_token(locked, &token));
    OK(tenure_object_kind_of(locked, &kind));
    HOLDS(kind == TENURE_LOCKED);
    EXPECT(TENURE_OPENED, tenure_locked_create(other, "locked", TENURE_OR_OPEN, TYPE, NULL, 99, &again));
    OK(tenure_value_size(again, &size));
    HOLDS(size == 5);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_locked_create(other, "locked", TENURE_OR_OPEN, TYPE + 1, NULL, 5, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_locked_open(other, TYPE + 1, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_versioned_open(other, TYPE, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_ANY, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_MUTEX, token, &wrong));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_locked_open_named(other, TYPE, "nothing", &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_mutex_lock(locked, NOW));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait(locked, NOW));
    uint64_t version;
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_versioned_version(locked, &version));

    EXPECT(TENURE_ERR_NOT_OWNER, tenure_locked_unlock(locked));
    EXPECT(TENURE_ERR_NULL, tenure_locked_lock(locked, 0, NOW, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_locked_lock(locked, TENURE_ALL, NOW, &data));
    OK(tenure_locked_lock(locked, 0, TENURE_FOREVER, &data));
    HOLDS((uintptr_t)data % 16 == 0 && memcmp(data, "abcde", 5) == 0);
    EXPECT(TENURE_ERR_DEADLOCK, tenure_locked_lock(locked, 0, NOW, &data));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_locked_lock(again, 0, NOW, &data));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_locked_lock(again, TENURE_DEADLINE | TENURE_INTERRUPTIBLE, 1, &data));
    HOLDS(pthread_create(&thread, NULL, in_another_thread, NULL) == 0);
    HOLDS(pthread_join(thread, NULL) == 0);
    OK(tenure_locked_unlock(locked));
    OK(tenure_locked_lock(again, 0, NOW, &data));
    ((char *)data)[4] = 'z';
    OK(tenure_locked_abandon(again));

    /* Damaged for everybody, until it is repaired. */
    for (int i = 0; i < 2; i++) {
        EXPECT(TENURE_DAMAGED, tenure_locked_lock(i ? again : locked, 0, NOW, &data));
        HOLDS(memcmp(data, "abcdz", 5) == 0);
        OK(tenure_locked_unlock(i ? again : locked));
    }
    EXPECT(TENURE_DAMAGED, tenure_locked_lock(locked, 0, NOW, &data));
    OK(tenure_locked_repaired(locked));
    OK(tenure_locked_unlock(locked));
    OK(tenure_locked_lock(again, 0, NOW, &data));
    OK(tenure_locked_unlock(again));
    OK(tenure_object_close(again));
    OK(tenure_locked_open(other, TYPE, token, &again));
    OK(tenure_object_close(again));
    OK(tenure_locked_open_named(other, TYPE, "locked", &again));
    OK(tenure_object_close(again));
    OK(tenure_object_close(locked));

    /* Zeros; nothing; too much. */
    OK(tenure_locked_create(me, NULL, 0, TYPE, NULL, 100000, &locked));
    OK(tenure_locked_lock(locked, 0, NOW, &data));
    for (int i = 0; i < 100000; i++)
        HOLDS(((char *)data)[i] == 0);
    OK(tenure_locked_unlock(locked));
    OK(tenure_object_close(locked));
    OK(tenure_locked_create(me, NULL, 0, TYPE, NULL, 0, &locked));
    OK(tenure_locked_lock(locked, 0, NOW, &data));
    OK(tenure_locked_unlock(locked));
    OK(tenure_object_close(locked));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_locked_create(me, NULL, 0, TYPE, NULL, SIZE_MAX, &locked));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_locked_create(me, NULL, 0, TYPE, "x", SIZE_MAX, &locked));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_locked_create(me, NULL, 1, TYPE, NULL, 1, &locked));
    EXPECT(TENURE_ERR_NULL, tenure_locked_create(me, NULL, TENURE_OR_OPEN, TYPE, NULL, 1, &locked));
    expect_unharmed(space, 0, 0);
}

static void versioned_values(void)
{
    tenure_object *value, *again, *wrong;
    uint64_t token, version = 9;
    size_t size;
    char found[21];
    OK(tenure_versioned_create(me, NULL, 0, TYPE, "the first of versions", 21, &value));
    OK(tenure_object_token(value, &token));
    OK(tenure_versioned_open(other, TYPE, token, &again));
    OK(tenure_value_size(again, &size));
    HOLDS(size == 21);
    OK(tenure_versioned_read(again, found, 21, &version));
    HOLDS(version == 0 && memcmp(found, "the first of versions", 21) == 0);
    OK(tenure_versioned_write(again, "the other of versions", 21, &version));
    HOLDS(version == 1);
    OK(tenure_versioned_write(value, "the third of versions", 21, NULL));
    OK(tenure_versioned_version(again, &version));
    HOLDS(version == 2);
    OK(tenure_versioned_read(value, found, 21, NULL));
    HOLDS(memcmp(found, "the third of versions", 21) == 0);
    EXPECT(TENURE_ERR_BUFFER, tenure_versioned_read(value, found, 20, &version));
    EXPECT(TENURE_ERR_NULL, tenure_versioned_read(value, NULL, 21, &version));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_versioned_write(value, found, 20, &version));
    EXPECT(TENURE_ERR_NULL, tenure_versioned_write(value, NULL, 21, &version));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_versioned_open(other, TYPE + 1, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_locked_open(other, TYPE, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_locked_unlock(value));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_VERSIONED, token, &wrong));
    OK(tenure_object_close(value));
    OK(tenure_object_close(again));
    OK(tenure_versioned_create(me, "versioned", 0, TYPE, NULL, 100000, &value));
    OK(tenure_versioned_open_named(other, TYPE, "versioned", &again));
    OK(tenure_object_close(again));
    OK(tenure_object_close(value));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_versioned_create(me, NULL, 0, TYPE, NULL, SIZE_MAX / 2, &value));
    expect_unharmed(space, 0, 0);
}

static void shared_values(void)
{
    tenure_object *value, *again, *wrong;
    uint64_t token;
    size_t size;
    void *data, *theirs_data;
    OK(tenure_shared_create(me, "shared", 0, TYPE, 4000, 256, &value));
    OK(tenure_object_token(value, &token));
    EXPECT(TENURE_OPENED, tenure_shared_create(other, "shared", TENURE_OR_OPEN, TYPE, 8, 0, &again));
    OK(tenure_value_size(again, &size));
    HOLDS(size == 4000);
    OK(tenure_shared_data(value, &data));
    OK(tenure_shared_data(again, &theirs_data));
    HOLDS((uintptr_t)data % 256 == 0);
    for (int i = 0; i < 500; i++)
        HOLDS(__atomic_add_fetch((uint64_t *)data + i, 1, __ATOMIC_SEQ_CST) == 1);
    HOLDS(__atomic_load_n((uint64_t *)theirs_data + 499, __ATOMIC_SEQ_CST) == 1);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_shared_open(other, TYPE + 1, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_locked_open(other, TYPE, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_ANY, token, &wrong));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_shared_create(me, NULL, 0, TYPE, 8, 3, &wrong));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_shared_create(me, NULL, 0, TYPE, SIZE_MAX, 0, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_versioned_version(value, &token));
    OK(tenure_object_close(again));
    OK(tenure_shared_open_named(other, TYPE, "shared", &again));
    EXPECT(TENURE_ERR_NULL, tenure_shared_data(again, NULL));
    OK(tenure_object_close(again));
    OK(tenure_object_token(value, &token));
    OK(tenure_shared_open(other, TYPE, token, &again));
    OK(tenure_object_close(again));
    OK(tenure_object_close(value));
    expect_unharmed(space, 0, 0);
}

static tenure_object *rwlock;

static void *read_in_another_thread(void *nothing)
{
    int locked = 9;
    (void)nothing;
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_rwlock_unlock_write(rwlock));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_rwlock_read_with(rwlock, TENURE_INTERRUPTIBLE, NOW, &locked));
    HOLDS(locked == 0);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_rwlock_write_with(rwlock, TENURE_DEADLINE, 1, NULL));
    return NULL;
}

static void read_write_locks(void)
{
    tenure_object *again, *wrong;
    uint64_t token;
    uint32_t kind;
    pthread_t thread;
    int locked = 9;
    OK(tenure_rwlock_create(me, "index", 0, &rwlock));
    OK(tenure_object_token(rwlock, &token));
    OK(tenure_object_kind_of(rwlock, &kind));
    HOLDS(kind == TENURE_RWLOCK);
    EXPECT(TENURE_OPENED, tenure_rwlock_create(other, "index", TENURE_OR_OPEN, &again));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_MUTEX, token, &wrong));
    OK(tenure_rwlock_read(rwlock, NOW));
    OK(tenure_rwlock_read_with(again, 0, TENURE_FOREVER, &locked));
    HOLDS(locked == 1);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_rwlock_write_with(again, 0, NOW, &locked));
    HOLDS(locked == 0);
    OK(tenure_rwlock_unlock_read(again));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_rwlock_unlock_read(again));
    OK(tenure_rwlock_unlock_read(rwlock));
    OK(tenure_rwlock_write_with(rwlock, TENURE_INTERRUPTIBLE, TENURE_FOREVER, &locked));
    HOLDS(locked == 1);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_rwlock_write_with(again, TENURE_ALL, NOW, &locked));
    EXPECT(TENURE_ERR_DEADLOCK, tenure_rwlock_write(rwlock, NOW));
    HOLDS(pthread_create(&thread, NULL, read_in_another_thread, NULL) == 0);
    HOLDS(pthread_join(thread, NULL) == 0);
    OK(tenure_object_close(rwlock)); /* its last object here: abandoned */
    EXPECT(TENURE_ABANDONED, tenure_rwlock_read_with(again, 0, NOW, &locked));
    HOLDS(locked == 2);
    OK(tenure_rwlock_unlock_read(again));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_rwlock_abandon(again));
    EXPECT(TENURE_ABANDONED, tenure_rwlock_write(again, NOW));
    OK(tenure_rwlock_abandon(again));
    EXPECT(TENURE_ABANDONED, tenure_rwlock_write_with(again, 0, NOW, &locked));
    HOLDS(locked == 2);
    OK(tenure_rwlock_unlock_write(again));
    OK(tenure_rwlock_write(again, NOW));
    OK(tenure_rwlock_unlock_write(again));
    OK(tenure_object_close(again));
    expect_unharmed(space, 0, 0);
}

/* The child holds, claims and changes, and is killed. */
static void between_processes(uint32_t backend, const char *name)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_object *value, *shared;
    tenure_handle job;
    tenure_info info;
    void *data;
    int ready[2];
    char byte = 'x';
    options.backend = backend;
    options.members = 8;
    options.handles = 64;
    options.scratch_bytes = 1 << 20;
    options.slots = SLOTS;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_space_info(space, &info));
    HOLDS(info.slots == SLOTS);
    OK(tenure_join(space, &me));
    OK(tenure_local_open(me, &mine));
    OK(tenure_create(mine, KIND, "job", 3, &job));
    OK(tenure_slot_put(mine, 0, KIND, job.token));
    OK(tenure_close(mine, job.token));
    OK(tenure_locked_create(me, "value", 0, TYPE, NULL, 8, &value));
    OK(tenure_shared_create(me, NULL, 0, TYPE, 8, 0, &shared));
    HOLDS(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        tenure_object *inherited = value;
        uint64_t token = job.token;
        die_with_parent();
        EXPECT(TENURE_ERR_FORKED, tenure_slot_claim(mine, 0, KIND, &job));
        EXPECT(TENURE_ERR_FORKED, tenure_slot_put(mine, 0, KIND, token));
        EXPECT(TENURE_ERR_FORKED, tenure_slot_evict(mine, 0, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_locked_lock(inherited, 0, NOW, &data));
        EXPECT(TENURE_ERR_FORKED, tenure_shared_data(shared, &data));
        OK(tenure_join(space, &other));
        OK(tenure_local_open(other, &theirs));
        OK(tenure_slot_claim(theirs, 0, KIND, &job));
        OK(tenure_locked_open_named(other, TYPE, "value", &value));
        OK(tenure_locked_lock(value, 0, TENURE_FOREVER, &data));
        *(uint64_t *)data = 1;
        HOLDS(write(ready[1], &byte, 1) == 1);
        for (;;)
            pause();
    }
    HOLDS(read(ready[0], &byte, 1) == 1);
    EXPECT(TENURE_ERR_CLAIMED, tenure_slot_claim(mine, 0, KIND, &job));
    kill(child, SIGKILL);
    expect_end(child, SIGKILL);
    EXPECT(TENURE_DAMAGED, tenure_locked_lock(value, 0, TENURE_FOREVER, &data));
    HOLDS(*(uint64_t *)data == 1);
    OK(tenure_locked_repaired(value));
    OK(tenure_locked_unlock(value));
    OK(tenure_recover(me, NULL));
    /* The claim of the dead is given back. */
    OK(tenure_slot_claim(mine, 0, KIND, &job));
    HOLDS(memcmp(job.data, "job", 3) == 0);

    /* So is that of a member that leaves. */
    OK(tenure_join(space, &other));
    OK(tenure_local_open(other, &theirs));
    OK(tenure_slot_give_back(mine, 0, KIND, job.token));
    OK(tenure_slot_claim(theirs, 0, KIND, &job));
    OK(tenure_local_close(theirs));
    OK(tenure_leave(other));
    OK(tenure_slot_claim(mine, 0, KIND, &job));
    OK(tenure_slot_ack(mine, 0, KIND, job.token));
    OK(tenure_object_close(value));
    OK(tenure_object_close(shared));
    expect_unharmed(space, 0, 0);
    close(ready[0]);
    close(ready[1]);
    OK(tenure_local_close(mine));
    OK(tenure_leave(me));
    OK(tenure_space_close(space));
}

static void on(uint32_t backend, const char *name)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    options.backend = backend;
    options.members = 8;
    options.handles = 64;
    options.scratch_bytes = 1 << 20;
    options.slots = SLOTS;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_join(space, &me));
    OK(tenure_join(space, &other));
    OK(tenure_local_open(me, &mine));
    OK(tenure_local_open(other, &theirs));
    slots();
    zeroed();
    locked_values();
    versioned_values();
    shared_values();
    read_write_locks();
    OK(tenure_local_close(mine));
    OK(tenure_local_close(theirs));
    OK(tenure_leave(me));
    OK(tenure_leave(other));
    OK(tenure_space_close(space));
}

int main(int argc, char **argv)
{
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    on(TENURE_SHM, argv[1]);
    on(TENURE_MEMFD, NULL);
    on(TENURE_ANONYMOUS, NULL);
    on(TENURE_PRIVATE, NULL);
    OK(tenure_space_remove(TENURE_SHM, argv[1], 0));
#ifdef __SANITIZE_ADDRESS__
    /* The locks of its allocator stay locked in a child that is forked while another thread, the monitor, has them. */
    (void)between_processes;
#else
    between_processes(TENURE_SHM, argv[1]);
    between_processes(TENURE_ANONYMOUS, NULL);
    OK(tenure_space_remove(TENURE_SHM, argv[1], 1));
#endif
    puts("values: ok");
    return 0;
}
