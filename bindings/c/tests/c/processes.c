/* Two programs (this one, executed anew) share a space: they pass handles and blocks, count together, and one of them
 * is killed in the middle of its work; the other recovers the handles and blocks that it held. */
#define _GNU_SOURCE 1
#include "expect.h"

enum { KIND = 7, COUNTER = 8, ROUNDS = 20000 };

/* The message in the pipe. */
struct message {
    uint64_t token, offset, lease;
};

static void child(const char *name, const char *what, int in, int out)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *member;
    tenure_local *local;
    tenure_handle counter, handle;
    tenure_block block;
    struct message message;
    die_with_parent();
    OK(tenure_space_attach(&options, name, &space));
    OK(tenure_join(space, &member));
    OK(tenure_local_open(member, &local));
    HOLDS(read(in, &message, sizeof message) == sizeof message);
    OK(tenure_open(local, COUNTER, message.token, &counter));
    HOLDS(counter.size == 16);
    if (strcmp(what, "work") == 0) {
        OK(tenure_block_of(local, message.offset, message.lease, &block));
        HOLDS(strcmp((char *)block.data, "from the parent") == 0);
        OK(tenure_free_of(local, message.offset, message.lease));
        for (int i = 0; i < ROUNDS; i++)
            __atomic_add_fetch((uint64_t *)counter.data, 1, __ATOMIC_SEQ_CST);
        OK(tenure_create(local, KIND, "from the child", 15, &handle));
        OK(tenure_alloc(local, 64, 0, &block));
        strcpy((char *)block.data, "also from the child");
        message.token = handle.token;
        message.offset = block.offset;
        OK(tenure_lease(member, &message.lease));
        HOLDS(write(out, &message, sizeof message) == sizeof message);
        /* Held until the parent has opened it. */
        HOLDS(read(in, &message, sizeof message) == sizeof message);
        OK(tenure_close(local, handle.token));
        OK(tenure_close(local, counter.token));
        OK(tenure_local_close(local));
        OK(tenure_leave(member));
        OK(tenure_space_close(space));
        exit(0);
    }
    /* Works until it is killed, holding handles and blocks. */
    const char payload[100] = "in the entry, or in a block";
    for (uint64_t i = 0;; i++) {
        OK(tenure_create(local, KIND, payload, i % 3 ? 8 : sizeof payload, &handle));
        OK(tenure_alloc(local, 16 + i % 2000, 0, &block));
        memset(block.data, 'k', block.size);
        if (i >= 200) {
            /* Some stay. */
            OK(tenure_free(local, block.offset));
            OK(tenure_close(local, handle.token));
        }
        OK(tenure_word_add(local, COUNTER, counter.token, 8, 1, NULL));
        if (i == 1000)
            HOLDS(write(out, &message, sizeof message) == sizeof message);
    }
}

static pid_t start(const char *self, const char *name, const char *what, int *to, int *from)
{
    int down[2], up[2];
    char in[20], out[20];
    HOLDS(pipe(down) == 0 && pipe(up) == 0);
    snprintf(in, sizeof in, "%d", down[0]);
    snprintf(out, sizeof out, "%d", up[1]);
    pid_t pid = fork();
    if (pid == 0) {
        close(down[1]);
        close(up[0]);
        execl(self, self, name, what, in, out, (char *)NULL);
        _exit(127);
    }
    HOLDS(pid > 0);
    close(down[0]);
    close(up[1]);
    *to = down[1];
    *from = up[0];
    return pid;
}

int main(int argc, char **argv)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *member;
    tenure_local *local;
    tenure_handle counter, handle;
    tenure_block block;
    struct message message;
    tenure_stats stats;
    int to, from;
    const uint64_t zero[2] = { 0, 0 };
    if (argc == 5)
        child(argv[1], argv[2], atoi(argv[3]), atoi(argv[4]));
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    options.members = 4;
    options.scratch_bytes = 16 << 20;
    OK(tenure_space_open(&options, argv[1], &space));
    OK(tenure_join(space, &member));
    OK(tenure_local_open(member, &local));
    OK(tenure_create(local, COUNTER, zero, sizeof zero, &counter));

    pid_t worker = start(argv[0], argv[1], "work", &to, &from);
    OK(tenure_alloc(local, 64, 0, &block));
    strcpy((char *)block.data, "from the parent");
    message.token = counter.token;
    message.offset = block.offset;
    OK(tenure_lease(member, &message.lease));
    HOLDS(write(to, &message, sizeof message) == sizeof message);
    for (int i = 0; i < ROUNDS; i++)
        OK(tenure_word_add(local, COUNTER, counter.token, 0, 1, NULL));
    HOLDS(read(from, &message, sizeof message) == sizeof message);
    OK(tenure_open(local, KIND, message.token, &handle));
    HOLDS(handle.size == 15 && strcmp((char *)handle.data, "from the child") == 0);
    OK(tenure_block_of(local, message.offset, message.lease, &block));
    HOLDS(strcmp((char *)block.data, "also from the child") == 0);
    OK(tenure_free_of(local, message.offset, message.lease));
    HOLDS(write(to, &message, sizeof message) == sizeof message);
    expect_end(worker, 0);
    HOLDS(__atomic_load_n((uint64_t *)counter.data, __ATOMIC_SEQ_CST) == 2 * ROUNDS);
    HOLDS(strcmp((char *)handle.data, "from the child") == 0);
    OK(tenure_close(local, handle.token));
    EXPECT(TENURE_ERR_STALE, tenure_open(local, KIND, handle.token, &handle));
    close(to);
    close(from);

    for (int round = 0; round < 3; round++) {
        pid_t victim = start(argv[0], argv[1], "until killed", &to, &from);
        message.token = counter.token;
        HOLDS(write(to, &message, sizeof message) == sizeof message);
        HOLDS(read(from, &message, sizeof message) == sizeof message);
        OK(tenure_space_stats(space, &stats));
        HOLDS(stats.members_live == 2 && stats.handles_live >= 201 && stats.blocks_leased >= 200);
        kill(victim, SIGKILL);
        expect_end(victim, SIGKILL);
        /* A monitor may be faster, or in the middle of it. */
        do {
            OK(tenure_recover(member, NULL));
            OK(tenure_space_stats(space, &stats));
        } while (stats.members_live > 1);
        expect_unharmed(space, 1, 0);
        close(to);
        close(from);
    }
    HOLDS(__atomic_load_n((uint64_t *)counter.data + 1, __ATOMIC_SEQ_CST) > 3000);
    OK(tenure_close(local, counter.token));
    OK(tenure_local_close(local));
    OK(tenure_leave(member));
    expect_unharmed(space, 0, 0);
    /* A thread of ours that waited for the dead process may hold the lock of its lease for another moment. */
    int removed;
    while ((removed = tenure_space_remove(TENURE_SHM, argv[1], 0)) == TENURE_ERR_IN_USE)
        usleep(1000);
    OK(removed);
    OK(tenure_space_close(space));
    puts("processes: ok");
    return 0;
}
