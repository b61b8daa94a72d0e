/* Every bad input gives an error that names the expected and the found value, and leaves the space unharmed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>
#include <stdint.h>

enum { KIND = 7 };

static tenure_space *space;
static tenure_member *member;
static tenure_local *local;

static void nulls(void)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *no_space = NULL;
    tenure_member *no_member = NULL;
    tenure_local *no_local = NULL;
    tenure_handle handle;
    tenure_block block;
    tenure_info info;
    tenure_stats stats;
    uint64_t number;
    uint32_t narrow;
    int integer;
    options.backend = TENURE_PRIVATE;
    const int null = TENURE_ERR_NULL;

    EXPECT(null, tenure_space_open(NULL, NULL, &no_space));
    EXPECT(null, tenure_space_open(&options, NULL, NULL));
    options.backend = TENURE_SHM;
    EXPECT(null, tenure_space_open(&options, NULL, &no_space));
    EXPECT(null, tenure_space_attach(&options, NULL, &no_space));
    EXPECT(null, tenure_space_attach(&options, "name", NULL));
    EXPECT(null, tenure_space_attach_fd(&options, 0, NULL));
    EXPECT(null, tenure_space_close(NULL));
    EXPECT(null, tenure_space_info(NULL, &info));
    EXPECT(null, tenure_space_info(space, NULL));
    EXPECT(null, tenure_space_fd(NULL, &integer));
    EXPECT(null, tenure_space_fd(space, NULL));
    EXPECT(null, tenure_space_name_state(NULL, &narrow));
    EXPECT(null, tenure_space_name_state(space, NULL));
    EXPECT(null, tenure_space_path(NULL, NULL, 0, NULL));
    EXPECT(null, tenure_space_path(space, NULL, 0, NULL));
    EXPECT(null, tenure_space_path(space, NULL, 100, NULL));
    EXPECT(null, tenure_space_stats(NULL, &stats));
    EXPECT(null, tenure_space_stats(space, NULL));
    EXPECT(null, tenure_space_check(NULL, NULL, 0, NULL, NULL));
    OK(tenure_space_check(space, NULL, 100, NULL, NULL));
    EXPECT(null, tenure_space_remove(TENURE_SHM, NULL, 0));
    EXPECT(null, tenure_join(NULL, &no_member));
    EXPECT(null, tenure_join(space, NULL));
    EXPECT(null, tenure_leave(NULL));
    EXPECT(null, tenure_lease(NULL, &number));
    EXPECT(null, tenure_lease(member, NULL));
    EXPECT(null, tenure_recover(NULL, NULL));
    OK(tenure_recover(member, NULL));
    EXPECT(null, tenure_trim(NULL, NULL));
    OK(tenure_trim(member, NULL));
    EXPECT(null, tenure_monitor(NULL, &integer));
    EXPECT(null, tenure_monitor(member, NULL));
    EXPECT(null, tenure_local_open(NULL, &no_local));
    EXPECT(null, tenure_local_open(member, NULL));
    EXPECT(null, tenure_local_open_unbound(NULL, &no_local));
    EXPECT(null, tenure_local_open_unbound(member, NULL));
    EXPECT(null, tenure_local_close(NULL));
    EXPECT(null, tenure_create(NULL, KIND, "x", 1, &handle));
    EXPECT(null, tenure_create(local, KIND, NULL, 1, &handle));
    EXPECT(null, tenure_create(local, KIND, "x", 1, NULL));
    EXPECT(null, tenure_create_with(NULL, KIND, 0, 1, &handle));
    EXPECT(null, tenure_create_with(local, KIND, 0, 1, NULL));
    EXPECT(null, tenure_open(NULL, KIND, 1, &handle));
    EXPECT(null, tenure_open(local, KIND, 1, NULL));
    EXPECT(null, tenure_get(NULL, KIND, 1, &handle));
    EXPECT(null, tenure_get(local, KIND, 1, NULL));
    EXPECT(null, tenure_close(NULL, 1));
    EXPECT(null, tenure_alloc(NULL, 1, 0, &block));
    EXPECT(null, tenure_alloc(local, 1, 0, NULL));
    EXPECT(null, tenure_alloc_zeroed(NULL, 1, 0, &block));
    EXPECT(null, tenure_alloc_zeroed(local, 1, 0, NULL));
    EXPECT(null, tenure_realloc(NULL, 0, 1, 0, &block));
    EXPECT(null, tenure_realloc(local, 0, 1, 0, NULL));
    EXPECT(null, tenure_free(NULL, 0));
    EXPECT(null, tenure_free_of(NULL, 0, 0));
    EXPECT(null, tenure_block_at(NULL, 0, &block));
    EXPECT(null, tenure_block_at(local, 0, NULL));
    EXPECT(null, tenure_block_of(NULL, 0, 256, &block));
    EXPECT(null, tenure_block_of(local, 0, 256, NULL));
    EXPECT(null, tenure_pin(NULL, 0));
    EXPECT(null, tenure_free_pinned(NULL, 0));
    EXPECT(null, tenure_word_load(NULL, KIND, 1, 0, &number));
    EXPECT(null, tenure_word_load(local, KIND, 1, 0, NULL));
    EXPECT(null, tenure_word_store(NULL, KIND, 1, 0, 0));
    EXPECT(null, tenure_word_add(NULL, KIND, 1, 0, 0, NULL));
    EXPECT(null, tenure_word_exchange(NULL, KIND, 1, 0, &number, 0, &integer));
    EXPECT(null, tenure_word_exchange(local, KIND, 1, 0, NULL, 0, &integer));
    EXPECT(null, tenure_word_exchange(local, KIND, 1, 0, &number, 0, NULL));
    HOLDS(strlen(tenure_last_error()) > 0);
}

static void nulls_of_objects(void)
{
    tenure_object *object, *none;
    tenure_handle handle;
    tenure_name name;
    uint64_t wide;
    size_t size;
    const int null = TENURE_ERR_NULL;
    OK(tenure_mutex_create(member, NULL, 0, &object));
    EXPECT(null, tenure_mutex_create(NULL, NULL, 0, &none));
    EXPECT(null, tenure_mutex_create(member, NULL, 0, NULL));
    EXPECT(null, tenure_mutex_create(member, NULL, TENURE_OR_OPEN, &none));
    EXPECT(null, tenure_event_create(NULL, NULL, 0, &none));
    EXPECT(null, tenure_event_create(member, NULL, 0, NULL));
    EXPECT(null, tenure_semaphore_create(NULL, NULL, 0, 0, 1, &none));
    EXPECT(null, tenure_semaphore_create(member, NULL, 0, 0, 1, NULL));
    EXPECT(null, tenure_process_of(NULL, NULL, 0, 0, &none));
    EXPECT(null, tenure_process_of(member, NULL, 0, 0, NULL));
    EXPECT(null, tenure_thread_of(NULL, NULL, 0, 0, &none));
    EXPECT(null, tenure_thread_of(member, NULL, 0, 0, NULL));
    EXPECT(null, tenure_descriptor_create(NULL, NULL, 0, 0, &none));
    EXPECT(null, tenure_descriptor_create(member, NULL, 0, 0, NULL));
    EXPECT(null, tenure_process_of(member, NULL, TENURE_OR_OPEN, 0, &none));
    EXPECT(null, tenure_thread_of(member, NULL, TENURE_OR_OPEN, 0, &none));
    EXPECT(null, tenure_descriptor_create(member, NULL, TENURE_OR_OPEN, 0, &none));
    EXPECT(null, tenure_descriptor_fd(object, NULL));
    EXPECT(null, tenure_share_enter(NULL, 0, 0, 0, &none, NULL));
    EXPECT(null, tenure_share_enter(member, 0, 0, 0, NULL, NULL));
    EXPECT(null, tenure_share_everybody(object, NULL, 1, &size));
    EXPECT(null, tenure_share_everybody(object, NULL, 0, NULL));
    EXPECT(null, tenure_share_modes(object, NULL, NULL));
    EXPECT(null, tenure_mutex_is_recursive(object, NULL));
    EXPECT(null, tenure_space_members(space, NULL, 1, &size));
    EXPECT(null, tenure_space_members(space, NULL, 0, NULL));
    EXPECT(null, tenure_space_members(NULL, NULL, 0, &size));
    EXPECT(null, tenure_object_open(NULL, 0, 1, &none));
    EXPECT(null, tenure_object_open(member, 0, 1, NULL));
    EXPECT(null, tenure_object_open_named(NULL, 0, "x", &none));
    EXPECT(null, tenure_object_open_named(member, 0, NULL, &none));
    EXPECT(null, tenure_object_open_named(member, 0, "x", NULL));
    EXPECT(null, tenure_object_token(object, NULL));
    EXPECT(null, tenure_object_kind_of(object, NULL));
    EXPECT(null, tenure_mutex_owner(object, NULL, NULL, NULL));
    EXPECT(null, tenure_event_is_set(object, NULL));
    EXPECT(null, tenure_semaphore_count(object, NULL, NULL));
    EXPECT(null, tenure_process_exit(object, NULL));
    EXPECT(null, tenure_process_number(object, NULL, NULL));
    EXPECT(null, tenure_wait_any(&object, 1, 0, NULL));
    EXPECT(null, tenure_wait_any(NULL, 1, 0, &size));
    EXPECT(null, tenure_wait_any(NULL, 0, 0, &size));
    EXPECT(null, tenure_wait_all(NULL, 1, 0, &wide));
    none = NULL;
    EXPECT(null, tenure_wait_any(&none, 1, 0, &size));
    EXPECT(null, tenure_wait_all(&none, 1, 0, &wide));
    EXPECT(null, tenure_create_named(NULL, "x", 0, KIND, "x", 1, &handle));
    EXPECT(null, tenure_create_named(local, NULL, 0, KIND, "x", 1, &handle));
    EXPECT(null, tenure_create_named(local, "x", 0, KIND, NULL, 1, &handle));
    EXPECT(null, tenure_create_named(local, "x", 0, KIND, "x", 1, NULL));
    EXPECT(null, tenure_open_named(NULL, "x", KIND, &handle));
    EXPECT(null, tenure_open_named(local, NULL, KIND, &handle));
    EXPECT(null, tenure_open_named(local, "x", KIND, NULL));
    EXPECT(null, tenure_look_up(NULL, "x", &wide, &wide));
    EXPECT(null, tenure_look_up(member, NULL, &wide, &wide));
    EXPECT(null, tenure_look_up(member, "x", NULL, NULL));
    EXPECT(null, tenure_space_names(NULL, &name, 1, &size));
    EXPECT(null, tenure_space_names(space, NULL, 1, &size));
    EXPECT(null, tenure_space_names(space, &name, 1, NULL));
    OK(tenure_object_close(object));
}

/* Every call with something that is not an open object. */
static void object_calls(void *wrong, int status)
{
    tenure_object *no_object = (tenure_object *)wrong;
    tenure_exit ended;
    uint64_t wide;
    uint32_t narrow;
    size_t size;
    int integer;
    EXPECT(status, tenure_object_token(no_object, &wide));
    EXPECT(status, tenure_object_kind_of(no_object, &narrow));
    EXPECT(status, tenure_mutex_lock(no_object, 0));
    EXPECT(status, tenure_mutex_unlock(no_object));
    EXPECT(status, tenure_mutex_owner(no_object, &integer, NULL, NULL));
    EXPECT(status, tenure_event_set(no_object));
    EXPECT(status, tenure_event_reset(no_object, NULL));
    EXPECT(status, tenure_event_is_set(no_object, &integer));
    EXPECT(status, tenure_semaphore_release(no_object, 1, NULL));
    EXPECT(status, tenure_semaphore_count(no_object, &narrow, NULL));
    EXPECT(status, tenure_wait(no_object, 0));
    EXPECT(status, tenure_wait_any(&no_object, 1, 0, &size));
    EXPECT(status, tenure_wait_all(&no_object, 1, 0, NULL));
    EXPECT(status, tenure_process_exit(no_object, &ended));
    EXPECT(status, tenure_process_number(no_object, &narrow, NULL));
    EXPECT(status, tenure_process_reaped(no_object, 0));
    EXPECT(status, tenure_process_exiting(no_object, 0));
    EXPECT(status, tenure_descriptor_fd(no_object, &integer));
    EXPECT(status, tenure_share_everybody(no_object, NULL, 0, &size));
    EXPECT(status, tenure_object_close(no_object));
}

/* Objects where others are expected, wrong tokens, wrong flags. */
static void objects(void)
{
    tenure_object *mutex, *event, *semaphore, *process, *none = (tenure_object *)1;
    tenure_handle handle;
    tenure_exit ended;
    uint64_t token, stale;
    uint32_t narrow;
    size_t size;
    int integer;
    const int kind = TENURE_ERR_FOREIGN_KIND;
    OK(tenure_mutex_create(member, NULL, 0, &mutex));
    OK(tenure_event_create(member, NULL, 0, &event));
    OK(tenure_semaphore_create(member, NULL, 0, 0, 1, &semaphore));
    OK(tenure_process_of(member, NULL, 0, 0, &process));
    tenure_object *const not_mutexes[] = { event, semaphore, process };
    tenure_object *const not_events[] = { mutex, semaphore, process };
    tenure_object *const not_semaphores[] = { mutex, event, process };
    tenure_object *const not_processes[] = { mutex, event, semaphore };
    for (int i = 0; i < 3; i++) {
        EXPECT(kind, tenure_mutex_lock(not_mutexes[i], 0));
        EXPECT(kind, tenure_mutex_unlock(not_mutexes[i]));
        EXPECT(kind, tenure_mutex_owner(not_mutexes[i], &integer, NULL, NULL));
        EXPECT(kind, tenure_event_set(not_events[i]));
        EXPECT(kind, tenure_event_reset(not_events[i], NULL));
        EXPECT(kind, tenure_event_is_set(not_events[i], &integer));
        EXPECT(kind, tenure_semaphore_release(not_semaphores[i], 1, NULL));
        EXPECT(kind, tenure_semaphore_count(not_semaphores[i], &narrow, NULL));
        EXPECT(kind, tenure_process_exit(not_processes[i], &ended));
        EXPECT(kind, tenure_process_number(not_processes[i], &narrow, NULL));
        EXPECT(kind, tenure_process_reaped(not_processes[i], 0));
        EXPECT(kind, tenure_process_exiting(not_processes[i], 0));
        EXPECT(kind, tenure_descriptor_fd(not_mutexes[i], &integer));
        EXPECT(kind, tenure_share_everybody(not_mutexes[i], NULL, 0, &size));
        EXPECT(kind, tenure_share_modes(not_mutexes[i], &narrow, NULL));
        EXPECT(kind, tenure_mutex_is_recursive(not_mutexes[i], &integer));
    }
    EXPECT(kind, tenure_mutex_unlock(semaphore));
    HOLDS(strstr(tenure_last_error(), "found a semaphore") != NULL);

    OK(tenure_object_token(mutex, &token));
    EXPECT(kind, tenure_object_open(member, TENURE_EVENT_MANUAL, token, &none));
    HOLDS(none == NULL);
    EXPECT(kind, tenure_object_open(member, TENURE_SEMAPHORE, token, &none));
    EXPECT(kind, tenure_object_open(member, TENURE_PROCESS, token, &none));
    EXPECT(kind, tenure_object_open(member, TENURE_THREAD, token, &none));
    EXPECT(kind, tenure_object_open(member, TENURE_DESCRIPTOR, token, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_object_open(member, TENURE_FILE_SHARE, token, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_object_open(member, 99, token, &none));
    EXPECT(TENURE_ERR_FORGED, tenure_object_open(member, TENURE_ANY, token + (1 << 24), &none));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_object_open(member, TENURE_MUTEX, 0, &none));
    /* The system's objects are no handles of the application's. */
    EXPECT(kind, tenure_open(local, 1, token, &handle));
    EXPECT(kind, tenure_get(local, 1, token, &handle));
    EXPECT(kind, tenure_word_store(local, 1, token, 0, 1));
    OK(tenure_object_token(event, &token));
    EXPECT(kind, tenure_object_open(member, TENURE_EVENT_MANUAL, token, &none));
    OK(tenure_create(local, KIND, "x", 1, &handle));
    EXPECT(kind, tenure_object_open(member, TENURE_ANY, handle.token, &none));
    EXPECT(kind, tenure_object_open(member, TENURE_MUTEX, handle.token, &none));
    OK(tenure_close(local, handle.token));
    EXPECT(TENURE_ERR_STALE, tenure_object_open(member, TENURE_ANY, handle.token, &none));

    EXPECT(TENURE_ERR_ARGUMENT, tenure_mutex_create(member, NULL, 2, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_event_create(member, NULL, 4, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_semaphore_create(member, NULL, 1, 0, 1, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_process_of(member, NULL, 1, 0, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_thread_of(member, "x", 2, 0, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_descriptor_create(member, "x", TENURE_OR_OPEN | 1, 0, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_create_named(local, "x", 1, KIND, "x", 1, &handle));
    EXPECT(TENURE_ERR_NAME, tenure_create_named(local, "", 0, KIND, "x", 1, &handle));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_process_of(member, NULL, 0, UINT32_MAX, &none));
    HOLDS(none == NULL);

    OK(tenure_object_token(mutex, &stale));
    OK(tenure_object_close(mutex));
    object_calls(mutex, TENURE_ERR_CLOSED);
    EXPECT(TENURE_ERR_STALE, tenure_object_open(member, TENURE_MUTEX, stale, &none));
    EXPECT(TENURE_ERR_STALE, tenure_object_open(member, TENURE_ANY, stale, &none));
    /* One of a list is closed: nothing is taken. */
    tenure_object *list[] = { event, mutex };
    size_t index;
    OK(tenure_event_set(event));
    EXPECT(TENURE_ERR_CLOSED, tenure_wait_any(list, 2, 0, &index));
    EXPECT(TENURE_ERR_CLOSED, tenure_wait_all(list, 2, 0, NULL));
    OK(tenure_wait(event, 0));
    OK(tenure_object_close(event));
    OK(tenure_object_close(semaphore));
    OK(tenure_object_close(process));
    expect_unharmed(space, 0, 0);
}

static void options(void)
{
    tenure_options good = TENURE_OPTIONS_INIT, bad;
    tenure_space *none = (tenure_space *)1;
    good.backend = TENURE_PRIVATE;
    bad = good;
    bad.abi = TENURE_ABI_VERSION + 1;
    EXPECT(TENURE_ERR_ABI, tenure_space_open(&bad, NULL, &none));
    HOLDS(none == NULL && strstr(tenure_last_error(), "expected ABI version 4, found 5") != NULL);
    EXPECT(TENURE_ERR_ABI, tenure_space_attach(&bad, "name", &none));
    EXPECT(TENURE_ERR_ABI, tenure_space_attach_fd(&bad, 0, &none));
    /* Options that are not initialised are of ABI version 0. */
    memset(&bad, 0, sizeof bad);
    EXPECT(TENURE_ERR_ABI, tenure_space_open(&bad, NULL, &none));
    struct {
        uint32_t *field, value;
        int status;
    } cases[] = {
        { &bad.backend, 7, TENURE_ERR_ARGUMENT },       { &bad.flags, 32, TENURE_ERR_ARGUMENT },
        { &bad.owner, 1, TENURE_ERR_ARGUMENT },         { &bad.group, 1, TENURE_ERR_ARGUMENT },
        { &bad.mode, 0400, TENURE_ERR_GEOMETRY },       { &bad.mode, 0670, TENURE_ERR_GEOMETRY },
        { &bad.members, 257, TENURE_ERR_GEOMETRY },     { &bad.members, 65536, TENURE_ERR_ARGUMENT },
        { &bad.handles, (1 << 20) + 1, TENURE_ERR_GEOMETRY },
        { &bad.generation_bits, 3, TENURE_ERR_GEOMETRY }, { &bad.generation_bits, 256, TENURE_ERR_ARGUMENT },
        { &bad.unit_bytes, 5000, TENURE_ERR_GEOMETRY },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bad = good;
        *cases[i].field = cases[i].value;
        EXPECT(cases[i].status, tenure_space_open(&bad, NULL, &none));
        HOLDS(none == NULL);
    }
    bad = good;
    bad.scratch_bytes = UINT64_MAX;
    EXPECT(TENURE_ERR_GEOMETRY, tenure_space_open(&bad, NULL, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_space_open(&good, "private spaces have no name", &none));
    EXPECT(TENURE_ERR_UNSUPPORTED, tenure_space_attach(&good, "x", &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_space_attach_fd(&good, -1, &none));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_space_attach_fd(&good, 987, &none));
    EXPECT(TENURE_ERR_UNSUPPORTED, tenure_space_attach_fd(&good, 2, &none));
    good.backend = TENURE_SHM;
    EXPECT(TENURE_ERR_NAME, tenure_space_open(&good, "", &none));
    EXPECT(TENURE_ERR_NAME, tenure_space_open(&good, "../up", &none));
    EXPECT(TENURE_ERR_NAME, tenure_space_open(&good, "no utf-8: \xff", &none));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_space_attach(&good, "test-nobody-made-this", &none));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_space_remove(TENURE_SHM, "test-nobody-made-this", 1));
    EXPECT(TENURE_ERR_UNSUPPORTED, tenure_space_remove(TENURE_PRIVATE, "x", 1));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_space_remove(9, "x", 1));
}

static void buffers(void)
{
    char path[200], cut[4] = "???";
    size_t needed = 0;
    int fd;
    tenure_options priv = TENURE_OPTIONS_INIT;
    tenure_space *other;
    OK(tenure_space_path(space, NULL, 0, &needed));
    HOLDS(needed > 10 && needed < sizeof path);
    EXPECT(TENURE_ERR_BUFFER, tenure_space_path(space, cut, sizeof cut, &needed));
    HOLDS(strlen(cut) == 3 && cut[0] == '/');
    EXPECT(TENURE_ERR_BUFFER, tenure_space_path(space, path, needed - 1, NULL));
    OK(tenure_space_path(space, path, needed, NULL));
    HOLDS(strlen(path) + 1 == needed);
    OK(tenure_space_check(space, cut, 1, NULL, NULL));
    HOLDS(cut[0] == 0);
    priv.backend = TENURE_PRIVATE;
    OK(tenure_space_open(&priv, NULL, &other));
    EXPECT(TENURE_ERR_UNSUPPORTED, tenure_space_path(other, path, sizeof path, NULL));
    EXPECT(TENURE_ERR_UNSUPPORTED, tenure_space_fd(other, &fd));
    HOLDS(fd == -1);
    OK(tenure_space_close(other));
}

static void tokens(void)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *elsewhere;
    tenure_member *stranger;
    tenure_local *theirs;
    tenure_handle handle, foreign, none;
    uint64_t value = 9;
    options.backend = TENURE_MEMFD;
    options.flags = TENURE_TINY;
    OK(tenure_create(local, KIND, "12345678", 8, &handle));
    memset(&none, 'x', sizeof none);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_open(local, KIND + 1, handle.token, &none));
    HOLDS(none.token == 0 && none.data == NULL && none.size == 0);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_get(local, KIND + 1, handle.token, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_word_load(local, KIND + 1, handle.token, 0, &value));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_open(local, KIND, 0, &none));
    /* A generation and an index that no process was given. */
    EXPECT(TENURE_ERR_FORGED, tenure_open(local, KIND, handle.token + (1 << 24), &none));
    EXPECT(TENURE_ERR_FORGED, tenure_open(local, KIND, handle.token | 0xfffff, &none));
    EXPECT(TENURE_ERR_STALE, tenure_close(local, handle.token + (1 << 24)));
    EXPECT(TENURE_ERR_STALE, tenure_close(local, handle.token | 0xfffff));
    /* One token in 255 of another space looks like one of ours. */
    do {
        OK(tenure_space_open(&options, NULL, &elsewhere));
        OK(tenure_join(elsewhere, &stranger));
        OK(tenure_local_open(stranger, &theirs));
        OK(tenure_create(theirs, KIND, "other", 5, &foreign));
        if (foreign.token >> 56 != handle.token >> 56)
            break;
        OK(tenure_local_close(theirs));
        OK(tenure_leave(stranger));
        OK(tenure_space_close(elsewhere));
    } while (1);
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_open(local, KIND, foreign.token, &none));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_get(local, KIND, foreign.token, &none));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_close(local, foreign.token));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_word_add(local, KIND, foreign.token, 0, 1, &value));
    OK(tenure_close(theirs, foreign.token));
    expect_unharmed(elsewhere, 0, 0);
    OK(tenure_local_close(theirs));
    OK(tenure_leave(stranger));
    OK(tenure_space_close(elsewhere));

    EXPECT(TENURE_ERR_ARGUMENT, tenure_word_load(local, KIND, handle.token, 1, &value));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_word_store(local, KIND, handle.token, 8, 1));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_word_store(local, KIND, handle.token, SIZE_MAX - 7, 1));
    OK(tenure_close(local, handle.token));
    EXPECT(TENURE_ERR_STALE, tenure_word_load(local, KIND, handle.token, 0, &value));
    for (uint64_t i = 1, token = handle.token; i < 20000; i++) {
        token = token * 6364136223846793005u + i;
        HOLDS(tenure_open(local, KIND, token, &none) < 0 && tenure_close(local, token) < 0);
    }
    expect_unharmed(space, 0, 0);
}

static void blocks(void)
{
    tenure_block block, none;
    tenure_handle handle;
    memset(&none, 'x', sizeof none);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_alloc(local, 0, 0, &none));
    HOLDS(none.data == NULL && none.offset == 0 && none.size == 0);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_alloc(local, 8, 3, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_alloc(local, 8, 1 << 20, &none));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_alloc(local, SIZE_MAX, 0, &none));
    HOLDS(tenure_alloc(local, SIZE_MAX / 2 - 100, 0, &none) < 0);
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_alloc(local, 1 << 28, 0, &none));
    OK(tenure_alloc(local, 700 << 10, 0, &block));
    EXPECT(TENURE_ERR_EXHAUSTED, tenure_alloc(local, 700 << 10, 0, &none));
    OK(tenure_free(local, block.offset));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_create(local, KIND, "x", SIZE_MAX, &handle));
    OK(tenure_alloc(local, 100, 0, &block));
    memset(block.data, 'b', 100);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_realloc(local, block.offset, 0, 0, &none));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_realloc(local, block.offset, 1 << 28, 0, &none));
    EXPECT(TENURE_ERR_EXHAUSTED, tenure_realloc(local, block.offset, (1 << 20) - 5000, 0, &none));
    HOLDS(((char *)block.data)[99] == 'b');
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_create_with(local, KIND, block.offset, 5000, &handle));
    EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_create_with(local, KIND, block.offset + 1, 5, &handle));
    const uint64_t nowhere[] = { block.offset + 1, block.offset + 16, UINT64_MAX, 1ull << 40, 3 };
    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere; i++) {
        uint64_t at = nowhere[i];
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_free(local, at));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_free_of(local, at, 256));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_realloc(local, at, 5, 0, &none));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_block_at(local, at, &none));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_block_of(local, at, 256, &none));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_pin(local, at));
        EXPECT(TENURE_ERR_NOT_A_BLOCK, tenure_free_pinned(local, at));
    }
    OK(tenure_free(local, block.offset));
    EXPECT(TENURE_ERR_ALREADY_FREE, tenure_free(local, block.offset));
    EXPECT(TENURE_ERR_ALREADY_FREE, tenure_block_at(local, block.offset, &none));
    EXPECT(TENURE_ERR_ALREADY_FREE, tenure_block_of(local, block.offset, 256, &none));
    EXPECT(TENURE_ERR_ALREADY_FREE, tenure_realloc(local, block.offset, 5, 0, &none));
    EXPECT(TENURE_ERR_ALREADY_FREE, tenure_pin(local, block.offset));
    HOLDS(tenure_create_with(local, KIND, block.offset, 5, &handle) < 0);
    expect_unharmed(space, 0, 0);
}

static void exhaustion(void)
{
    tenure_handle handles[64];
    tenure_member *members[8];
    int count = 0;
    while (tenure_create(local, KIND, "x", 1, &handles[count]) == TENURE_OK)
        HOLDS(++count < 64);
    EXPECT(TENURE_ERR_EXHAUSTED, tenure_create(local, KIND, "x", 1, &handles[count]));
    HOLDS(count == 48);
    while (count)
        OK(tenure_close(local, handles[--count].token));
    while (tenure_join(space, &members[count]) == TENURE_OK)
        HOLDS(++count < 8);
    EXPECT(TENURE_ERR_FULL, tenure_join(space, &members[count]));
    HOLDS(count == 3 && members[count] == NULL);
    while (count)
        OK(tenure_leave(members[--count]));
    expect_unharmed(space, 0, 0);
}

/* Every call with something that is not an open object of its type. */
static void space_calls(void *wrong, int status)
{
    tenure_space *no_space = (tenure_space *)wrong;
    tenure_member *joined;
    tenure_stats stats;
    tenure_info info;
    size_t count;
    uint32_t narrow;
    int integer;
    EXPECT(status, tenure_join(no_space, &joined));
    EXPECT(status, tenure_space_stats(no_space, &stats));
    EXPECT(status, tenure_space_info(no_space, &info));
    EXPECT(status, tenure_space_fd(no_space, &integer));
    EXPECT(status, tenure_space_name_state(no_space, &narrow));
    EXPECT(status, tenure_space_path(no_space, NULL, 0, NULL));
    EXPECT(status, tenure_space_names(no_space, NULL, 0, &count));
    EXPECT(status, tenure_space_check(no_space, NULL, 0, NULL, NULL));
    EXPECT(status, tenure_space_close(no_space));
}

static void member_calls(void *wrong, int status)
{
    tenure_member *no_member = (tenure_member *)wrong;
    tenure_local *opened;
    tenure_object *object;
    uint64_t number;
    int integer;
    EXPECT(status, tenure_mutex_create(no_member, NULL, 0, &object));
    EXPECT(status, tenure_event_create(no_member, NULL, 0, &object));
    EXPECT(status, tenure_semaphore_create(no_member, NULL, 0, 0, 1, &object));
    EXPECT(status, tenure_process_of(no_member, NULL, 0, 0, &object));
    EXPECT(status, tenure_thread_of(no_member, NULL, 0, 0, &object));
    EXPECT(status, tenure_descriptor_create(no_member, NULL, 0, 0, &object));
    EXPECT(status, tenure_share_enter(no_member, 0, 0, 0, &object, NULL));
    EXPECT(status, tenure_object_open(no_member, 0, 1ull << 60, &object));
    EXPECT(status, tenure_object_open_named(no_member, 0, "x", &object));
    EXPECT(status, tenure_look_up(no_member, "x", &number, NULL));
    EXPECT(status, tenure_lease(no_member, &number));
    EXPECT(status, tenure_recover(no_member, NULL));
    EXPECT(status, tenure_trim(no_member, NULL));
    EXPECT(status, tenure_monitor(no_member, &integer));
    EXPECT(status, tenure_local_open(no_member, &opened));
    EXPECT(status, tenure_local_open_unbound(no_member, &opened));
    EXPECT(status, tenure_leave(no_member));
}

static void local_calls(void *wrong, int status)
{
    tenure_local *no_local = (tenure_local *)wrong;
    /* Checked only after the local. */
    const uint64_t token = 1ull << 60;
    tenure_handle handle;
    tenure_block block;
    uint64_t number = 0;
    int integer;
    EXPECT(status, tenure_create(no_local, KIND, "x", 1, &handle));
    EXPECT(status, tenure_create_with(no_local, KIND, 0, 1, &handle));
    EXPECT(status, tenure_create_named(no_local, "x", 0, KIND, "x", 1, &handle));
    EXPECT(status, tenure_open_named(no_local, "x", KIND, &handle));
    EXPECT(status, tenure_open(no_local, KIND, token, &handle));
    EXPECT(status, tenure_get(no_local, KIND, token, &handle));
    EXPECT(status, tenure_close(no_local, token));
    EXPECT(status, tenure_alloc(no_local, 1, 0, &block));
    EXPECT(status, tenure_alloc_zeroed(no_local, 1, 0, &block));
    EXPECT(status, tenure_realloc(no_local, 0, 1, 0, &block));
    EXPECT(status, tenure_free(no_local, 0));
    EXPECT(status, tenure_free_of(no_local, 0, 0));
    EXPECT(status, tenure_block_at(no_local, 0, &block));
    EXPECT(status, tenure_block_of(no_local, 0, 256, &block));
    EXPECT(status, tenure_pin(no_local, 0));
    EXPECT(status, tenure_free_pinned(no_local, 0));
    EXPECT(status, tenure_word_load(no_local, KIND, token, 0, &number));
    EXPECT(status, tenure_word_store(no_local, KIND, token, 0, 0));
    EXPECT(status, tenure_word_add(no_local, KIND, token, 0, 0, &number));
    EXPECT(status, tenure_word_exchange(no_local, KIND, token, 0, &number, 0, &integer));
    EXPECT(status, tenure_local_close(no_local));
}

static void calls_with(void *wrong)
{
    if (wrong != (void *)space)
        space_calls(wrong, TENURE_ERR_CLOSED);
    if (wrong != (void *)member)
        member_calls(wrong, TENURE_ERR_CLOSED);
    if (wrong != (void *)local)
        local_calls(wrong, TENURE_ERR_CLOSED);
    object_calls(wrong, TENURE_ERR_CLOSED);
}

/* A member that only reads. */
static void reading(void)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *spaces[2];
    tenure_member *members[2];
    tenure_local *locals[2];
    tenure_handle theirs, ours;
    tenure_block block;
    tenure_object *object;
    char payload[100] = {7};
    uint64_t number = 0;
    int integer;
    options.backend = TENURE_MEMFD;
    options.scratch_bytes = 1 << 20;
    OK(tenure_space_open(&options, NULL, &spaces[0]));
    int fd = -1;
    OK(tenure_space_fd(spaces[0], &fd));
    options.scratch_bytes = 0;
    options.flags = TENURE_READ_ONLY;
    OK(tenure_space_attach_fd(&options, fd, &spaces[1]));
    for (int i = 0; i < 2; i++) {
        OK(tenure_join(spaces[i], &members[i]));
        OK(tenure_local_open(members[i], &locals[i]));
    }
    OK(tenure_create(locals[0], KIND, payload, sizeof payload, &theirs));
    OK(tenure_open(locals[1], KIND, theirs.token, &ours));
    HOLDS(ours.size == sizeof payload && *(const char *)ours.data == 7);
    OK(tenure_word_load(locals[1], KIND, theirs.token, 0, &number));
    HOLDS(number == 7);
    tenure_local *reader = locals[1];
    EXPECT(TENURE_ERR_READ_ONLY, tenure_word_store(reader, KIND, theirs.token, 0, 0));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_word_add(reader, KIND, theirs.token, 0, 1, NULL));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_word_exchange(reader, KIND, theirs.token, 0, &number, 0, &integer));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_create(reader, KIND, "x", 1, &ours));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_create_named(reader, "x", 0, KIND, "x", 1, &ours));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_alloc(reader, 1, 0, &block));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_alloc_zeroed(reader, 1, 0, &block));
    EXPECT(TENURE_ERR_READ_ONLY, tenure_mutex_create(members[1], NULL, 0, &object));
    OK(tenure_close(reader, theirs.token));
    for (int i = 0; i < 2; i++) {
        OK(tenure_local_close(locals[i]));
        OK(tenure_leave(members[i]));
        OK(tenure_space_close(spaces[i]));
    }
}

static void closed(void)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *old_space;
    tenure_member *old_member;
    tenure_local *old_local;
    options.backend = TENURE_PRIVATE;
    OK(tenure_space_open(&options, NULL, &old_space));
    OK(tenure_join(old_space, &old_member));
    OK(tenure_local_open(old_member, &old_local));
    OK(tenure_local_close(old_local));
    OK(tenure_leave(old_member));
    OK(tenure_space_close(old_space));
    /* Also when others took their places. */
    for (int round = 0; round < 3; round++) {
        tenure_space *next;
        calls_with(old_space);
        calls_with(old_member);
        calls_with(old_local);
        OK(tenure_space_open(&options, NULL, &next));
        HOLDS(next != old_space);
        calls_with(old_space);
        OK(tenure_space_close(next));
    }
    /* Of another type, or nothing at all. */
    calls_with(space);
    calls_with(member);
    calls_with(local);
    calls_with(&options);
    calls_with((void *)1);
    calls_with((void *)UINTPTR_MAX);
    expect_unharmed(space, 0, 0);
}

static void *other_thread(void *nothing)
{
    tenure_local *mine;
    tenure_block block;
    (void)nothing;
    local_calls(local, TENURE_ERR_WRONG_THREAD);
    /* Left open: closed when the thread ends. */
    OK(tenure_local_open(member, &mine));
    OK(tenure_alloc(mine, 64, 0, &block));
    OK(tenure_free(mine, block.offset));
    return mine;
}

static void threads(void)
{
    pthread_t thread;
    void *theirs;
    HOLDS(pthread_create(&thread, NULL, other_thread, NULL) == 0);
    HOLDS(pthread_join(thread, &theirs) == 0);
    calls_with(theirs);
    expect_unharmed(space, 0, 0);
}

/* A local that belongs to no thread: any thread uses and closes it, and the end of its opener does not close it. */
static void *opens_unbound(void *mine)
{
    tenure_block block;
    OK(tenure_local_open_unbound(member, (tenure_local **)mine));
    OK(tenure_alloc(*(tenure_local **)mine, 64, 0, &block));
    OK(tenure_free(*(tenure_local **)mine, block.offset));
    return NULL;
}

static void *closes_unbound(void *mine)
{
    OK(tenure_local_close(*(tenure_local **)mine));
    return NULL;
}

static void unbound(void)
{
    pthread_t thread;
    tenure_local *mine;
    tenure_block block;
    HOLDS(pthread_create(&thread, NULL, opens_unbound, &mine) == 0 && pthread_join(thread, NULL) == 0);
    OK(tenure_alloc(mine, 64, 0, &block));
    OK(tenure_free(local, block.offset));
    EXPECT(TENURE_ERR_IN_USE, tenure_leave(member));
    HOLDS(pthread_create(&thread, NULL, closes_unbound, &mine) == 0 && pthread_join(thread, NULL) == 0);
    calls_with(mine);
    expect_unharmed(space, 0, 0);
}

int main(int argc, char **argv)
{
    tenure_options tiny = TENURE_OPTIONS_INIT;
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    tiny.flags = TENURE_TINY;
    tiny.handles = 48;
    tiny.scratch_bytes = 1 << 20;
    tiny.unit_bytes = 1 << 16;
    OK(tenure_space_open(&tiny, argv[1], &space));
    OK(tenure_join(space, &member));
    OK(tenure_local_open(member, &local));
    HOLDS(tenure_last_error()[0] == 0);
    HOLDS(strcmp(tenure_strerror(TENURE_OK), "ok") == 0 && strcmp(tenure_strerror(-99), "unknown status") == 0);
    nulls();
    nulls_of_objects();
    options();
    buffers();
    tokens();
    blocks();
    exhaustion();
    objects();
    closed();
    reading();
    threads();
    unbound();
    expect_unharmed(space, 0, 0);
    EXPECT(TENURE_ERR_IN_USE, tenure_space_remove(TENURE_SHM, argv[1], 0));
    EXPECT(TENURE_ERR_IN_USE, tenure_leave(member));
    OK(tenure_local_close(local));
    OK(tenure_leave(member));
    OK(tenure_space_remove(TENURE_SHM, argv[1], 0));
    OK(tenure_space_close(space));
    puts("bad input: ok");
    return 0;
}
