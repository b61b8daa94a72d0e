/* Everything that the header offers, on every backend, by one process with two members. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <fcntl.h>

enum { KIND = 7, OTHER = 8 };

static void handles(tenure_space *space, tenure_local *one, tenure_local *two)
{
    static const size_t sizes[] = { 0, 5, 32, 33, 5000 };
    char payload[5000];
    tenure_handle made, opened, again;
    memset(payload, 'p', sizeof payload);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        OK(tenure_create(one, KIND, payload, sizes[i], &made));
        HOLDS(made.size == sizes[i] && memcmp(made.data, payload, sizes[i]) == 0);
        OK(tenure_open(two, KIND, made.token, &opened));
        HOLDS(opened.token == made.token && opened.size == sizes[i]);
        HOLDS(memcmp(opened.data, payload, sizes[i]) == 0);
        OK(tenure_close(one, made.token));
        EXPECT(TENURE_ERR_STALE, tenure_close(one, made.token));
        /* Still held by the other. */
        OK(tenure_get(two, KIND, made.token, &again));
        HOLDS(again.data == opened.data && again.size == opened.size);
        OK(tenure_open(two, KIND, made.token, &again));
        OK(tenure_close(two, made.token));
        OK(tenure_close(two, made.token));
        EXPECT(TENURE_ERR_STALE, tenure_get(two, KIND, made.token, &again));
        EXPECT(TENURE_ERR_STALE, tenure_open(one, KIND, made.token, &again));
    }
    expect_unharmed(space, 0, 0);
}

static void attached(tenure_space *space, tenure_local *one, tenure_local *two)
{
    tenure_block block;
    tenure_handle made, opened;
    OK(tenure_alloc(one, 1000, 0, &block));
    memset(block.data, 'b', 1000);
    OK(tenure_create_with(one, KIND, block.offset, 900, &made));
    HOLDS(made.data == block.data && made.size == 900);
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free(one, block.offset));
    expect_unharmed(space, 1, 1);
    OK(tenure_open(two, KIND, made.token, &opened));
    HOLDS(opened.size == 900 && ((char *)opened.data)[899] == 'b');
    OK(tenure_close(one, made.token));
    OK(tenure_close(two, made.token));
    expect_unharmed(space, 0, 0);
}

static void words(tenure_local *one, tenure_local *two)
{
    const uint64_t zero[2] = { 0, 0 };
    uint64_t value = 9;
    int exchanged = 9;
    tenure_handle made, opened;
    OK(tenure_create(one, KIND, zero, sizeof zero, &made));
    OK(tenure_open(two, KIND, made.token, &opened));
    OK(tenure_word_add(one, KIND, made.token, 8, 5, &value));
    HOLDS(value == 0);
    OK(tenure_word_add(two, KIND, made.token, 8, 6, NULL));
    OK(tenure_word_load(one, KIND, made.token, 8, &value));
    HOLDS(value == 11);
    /* C's own operations do as well. */
    HOLDS(__atomic_add_fetch((uint64_t *)opened.data + 1, 1, __ATOMIC_SEQ_CST) == 12);
    value = 11;
    OK(tenure_word_exchange(two, KIND, made.token, 8, &value, 70, &exchanged));
    HOLDS(!exchanged && value == 12);
    OK(tenure_word_exchange(two, KIND, made.token, 8, &value, 70, &exchanged));
    HOLDS(exchanged && value == 12);
    OK(tenure_word_store(one, KIND, made.token, 0, 3));
    HOLDS(((uint64_t *)made.data)[0] == 3 && ((uint64_t *)made.data)[1] == 70);
    OK(tenure_close(one, made.token));
    OK(tenure_close(two, made.token));
}

static void scratch(tenure_space *space, tenure_member *member, tenure_local *one, tenure_local *two)
{
    tenure_block block, moved, looked;
    uint64_t lease = 0, bytes = 0;
    static const size_t aligns[] = { 0, 1, 16, 64, 1024 };
    for (size_t i = 0; i < sizeof aligns / sizeof *aligns; i++) {
        OK(tenure_alloc_zeroed(one, 100, aligns[i], &block));
        HOLDS(block.size == 100 && ((char *)block.data)[0] == 0 && ((char *)block.data)[99] == 0);
        HOLDS(!aligns[i] || (uintptr_t)block.data % aligns[i] == 0);
        memset(block.data, 'x', 100);
        OK(tenure_realloc(one, block.offset, 3000, aligns[i], &moved));
        HOLDS(moved.size == 3000 && ((char *)moved.data)[0] == 'x' && ((char *)moved.data)[99] == 'x');
        /* The other member sees the same bytes at another address. */
        OK(tenure_block_at(two, moved.offset, &looked));
        HOLDS(looked.size >= 3000 && looked.offset == moved.offset && ((char *)looked.data)[99] == 'x');
        OK(tenure_lease(member, &lease));
        OK(tenure_block_of(two, moved.offset, lease, &looked));
        HOLDS(looked.size >= 3000 && looked.offset == moved.offset && ((char *)looked.data)[99] == 'x');
        EXPECT(TENURE_ERR_WRONG_OWNER, tenure_block_of(two, moved.offset, lease + 256, &looked));
        EXPECT(TENURE_ERR_WRONG_OWNER, tenure_block_of(two, moved.offset, 0, &looked));
        HOLDS(looked.data == NULL && looked.size == 0);
        OK(tenure_free(one, moved.offset));
        EXPECT(TENURE_ERR_ALREADY_FREE, tenure_free(one, moved.offset));
    }
    OK(tenure_alloc(one, 64, 0, &block));
    OK(tenure_lease(member, &lease));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free(two, block.offset));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free_of(two, block.offset, lease + 256));
    OK(tenure_free_of(two, block.offset, lease));
    OK(tenure_alloc(one, 64, 0, &block));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free_pinned(two, block.offset));
    OK(tenure_pin(one, block.offset));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free(one, block.offset));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_block_of(two, block.offset, lease, &looked));
    OK(tenure_block_of(two, block.offset, 0, &looked));
    OK(tenure_free_pinned(two, block.offset));
    OK(tenure_trim(member, &bytes));
    expect_unharmed(space, 0, 0);
}

static void whole(tenure_space *space, uint32_t backend)
{
    tenure_member *first, *second;
    tenure_local *one, *two;
    tenure_info info;
    tenure_stats stats;
    size_t recovered = 99;
    int monitor = 99;
    OK(tenure_space_info(space, &info));
    HOLDS(info.backend == backend && info.created == 1 && info.members == 8);
    HOLDS(info.handles == 1000 && info.scratch_bytes >= 4 << 20 && info.bytes > 4 << 20);
    OK(tenure_join(space, &first));
    OK(tenure_join(space, &second));
    OK(tenure_monitor(first, &monitor));
    HOLDS(monitor == (backend == TENURE_PRIVATE ? 0 : 1) || monitor == -1);
    OK(tenure_local_open(first, &one));
    OK(tenure_local_open(second, &two));
    handles(space, one, two);
    attached(space, one, two);
    words(one, two);
    scratch(space, first, one, two);
    OK(tenure_recover(second, &recovered));
    HOLDS(recovered == 0);
    EXPECT(TENURE_ERR_IN_USE, tenure_leave(first));
    OK(tenure_local_close(one));
    OK(tenure_leave(first));
    /* A handle or block that is not given back goes with the member. */
    tenure_handle kept;
    tenure_block block;
    OK(tenure_create(two, KIND, "kept", 4, &kept));
    OK(tenure_alloc(two, 64, 0, &block));
    OK(tenure_local_close(two));
    OK(tenure_leave(second));
    expect_unharmed(space, 0, 0);
    OK(tenure_space_stats(space, &stats));
    HOLDS(stats.members_live == 0 && stats.handles_claimed == 0 && stats.handles_capacity == 1000);
}

int main(int argc, char **argv)
{
    HOLDS(argc == 2); /* a name, or the beginning of one, that nobody else uses */
    die_with_parent();
    HOLDS(tenure_abi_version() == TENURE_ABI_VERSION);
    HOLDS(strchr(tenure_version(), '.') != NULL);
    static const uint32_t backends[] = { TENURE_SHM,       TENURE_FILE, TENURE_MEMFD,
                                         TENURE_ANONYMOUS, TENURE_SYSV, TENURE_PRIVATE };
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        uint32_t backend = backends[i];
        tenure_options options = TENURE_OPTIONS_INIT;
        tenure_space *space, *again;
        char name[300], path[300];
        size_t needed = 0;
        options.backend = backend;
        options.members = 8;
        options.handles = 1000;
        options.scratch_bytes = 4 << 20;
        snprintf(name, sizeof name, backend == TENURE_FILE ? "/tmp/tenure-%s" : "%s", argv[1]);
        int named = backend == TENURE_SHM || backend == TENURE_FILE || backend == TENURE_SYSV;
        OK(tenure_space_open(&options, named ? name : NULL, &space));
        whole(space, backend);
        tenure_options any = TENURE_OPTIONS_INIT;
        any.backend = backend;
        if (named) {
            tenure_info info;
            OK(tenure_space_attach(&any, name, &again));
            OK(tenure_space_info(again, &info));
            HOLDS(info.created == 0 && info.handles == 1000);
            OK(tenure_space_close(again));
            any.handles = 1001;
            EXPECT(TENURE_ERR_GEOMETRY, tenure_space_attach(&any, name, &again));
            HOLDS(strstr(tenure_last_error(), "expected 1001") && strstr(tenure_last_error(), "1000"));
            OK(tenure_space_path(space, path, sizeof path, &needed));
            HOLDS(needed == strlen(path) + 1 && access(path, F_OK) == 0);
            uint32_t state = 9;
            OK(tenure_space_name_state(space, &state));
            HOLDS(state == TENURE_NAME_CURRENT);
            any.handles = 0;
            any.mode = 0660;
            EXPECT(TENURE_ERR_INCOMPATIBLE, tenure_space_attach(&any, name, &again));
            HOLDS(strstr(tenure_last_error(), "mode 600") && strstr(tenure_last_error(), "mode 660"));
            any.mode = 0;
            any.flags = TENURE_WITH_OWNER;
            any.owner = (uint32_t)geteuid() + 1;
            EXPECT(TENURE_ERR_INCOMPATIBLE, tenure_space_attach(&any, name, &again));
            any.owner = (uint32_t)geteuid();
            OK(tenure_space_attach(&any, name, &again));
            OK(tenure_space_close(again));
            if (backend == TENURE_FILE) {
                HOLDS(tenure_space_remove(backend, name, 0) == TENURE_OK);
            } else {
                OK(tenure_space_remove(backend, name, 0));
            }
            HOLDS(access(path, F_OK) != 0);
            OK(tenure_space_name_state(space, &state));
            HOLDS(state == TENURE_NAME_REMOVED);
            EXPECT(TENURE_ERR_NOT_FOUND, tenure_space_attach(&any, name, &again));
        }
        int fd = -1;
        if (backend == TENURE_MEMFD) {
            OK(tenure_space_fd(space, &fd));
            OK(tenure_space_attach_fd(&any, fd, &again));
            OK(tenure_space_close(again));
            HOLDS(fcntl(fd, F_GETFD) >= 0);
        }
        OK(tenure_space_close(space));
        EXPECT(TENURE_ERR_CLOSED, tenure_space_close(space));
    }
    puts("whole: ok");
    return 0;
}
