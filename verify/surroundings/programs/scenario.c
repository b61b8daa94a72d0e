/* The scenario of src/scenario.rs in C. Exit status: 0 ok; 1 the library refused, with its text; 2 wrong. */
#define _GNU_SOURCE 1
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "tenure.h"

enum { KIND = 7, SIZE = 100000, PAGE = 4096 };

static int ok(int status)
{
    if (status < 0) {
        char text[1000];
        snprintf(text, sizeof text, "%s: %s", tenure_strerror(status), tenure_last_error());
        end(1, "error", text);
    }
    return status;
}

static void partner(const char *name, uint64_t token, int said)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *me;
    tenure_local *local;
    tenure_handle handle;
    tenure_block block;
    tenure_object *mutex;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    ok(tenure_space_attach(&options, name, &space));
    ok(tenure_join(space, &me));
    ok(tenure_local_open(me, &local));
    ok(tenure_open(local, KIND, token, &handle));
    holds(handle.size == SIZE && ((const char *)handle.data)[SIZE - 1] == 3, "the partner reads what was written");
    ok(tenure_mutex_create(me, "lock", TENURE_OR_OPEN, &mutex));
    ok(tenure_mutex_lock(mutex, TENURE_FOREVER));
    ok(tenure_alloc(local, SIZE, 0, &block));
    memset(block.data, 4, SIZE);
    holds(write(said, "x", 1) == 1, "the partner speaks");
    for (;;)
        pause();
}

int main(int argc, char **argv)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *me;
    tenure_local *local;
    tenure_handle handle;
    tenure_object *mutex;
    tenure_stats stats;
    size_t violations = 0, pending = 0;
    int pipes[2], state;
    char byte;
    const char *name = argc > 1 ? argv[1] : "scenario";
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    lock_memory("before");
    ok(tenure_space_open(&options, name, &space));
    ok(tenure_join(space, &me));
    ok(tenure_local_open(me, &local));
    char *bytes = malloc(SIZE);
    memset(bytes, 3, SIZE);
    ok(tenure_create(local, KIND, bytes, SIZE, &handle));
    free(bytes);
    ok(tenure_mutex_create(me, "lock", TENURE_OR_OPEN, &mutex));
    lock_memory("after");
    holds(pipe(pipes) == 0, "a pipe");
    pid_t child = fork();
    if (child < 0)
        end(77, "SKIPPED", "no process can be started here");
    if (child == 0) {
        close(pipes[0]);
        partner(name, handle.token, pipes[1]);
    }
    close(pipes[1]);
    if (read(pipes[0], &byte, 1) != 1) {
        /* It has said why, unless it was killed. */
        if (waitpid(child, &state, 0) != child)
            _exit(1);
        holds(WIFEXITED(state), "the partner was killed");
        _exit(WEXITSTATUS(state));
    }
    kill(child, SIGKILL);
    waitpid(child, &state, 0);
    int status = tenure_mutex_lock(mutex, 20000000000ull);
    holds(status != TENURE_ERR_TIMEOUT, "the death is not heard of within 20 s");
    ok(status);
    holds(status == TENURE_ABANDONED, "the mutex of the dead is not abandoned");
    ok(tenure_recover(me, NULL));
    ok(tenure_mutex_unlock(mutex));
    ok(tenure_space_stats(space, &stats));
    holds(stats.members_live == 1 && stats.handles_live == 2 && stats.blocks_leased == 0, "the dead holds something");
    ok(tenure_space_check(space, NULL, 0, &violations, &pending));
    holds(violations == 0, "check finds violations");
    if (getenv("SCENARIO_LOCK") && resident_kib() > 64 << 10)
        end(2, "wrong", "locked memory costs more than 64 MiB");
    ok(tenure_object_close(mutex));
    ok(tenure_close(local, handle.token));
    ok(tenure_trim(me, NULL));
    ok(tenure_local_close(local));
    ok(tenure_leave(me));
    ok(tenure_space_close(space));
    ok(tenure_space_remove(TENURE_SHM, name, 0));
    return 0;
}
