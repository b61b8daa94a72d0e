/* malloc and its family, threads with small stacks, a fork, over the preloaded library. Exit status: 0 ok; 2 wrong. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

/* Sizes of all classes, and of mappings; contents, alignment and zeroes are right. */
static void work(void)
{
    enum { BLOCKS = 60 };
    unsigned char *blocks[BLOCKS];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            size_t size = (size_t)1 << (i / 3);
            size += size / 3 * (size_t)(i % 3);
            blocks[i] = i % 2 ? calloc(1, size) : malloc(size);
            if (!blocks[i])
                end(1, "error", "malloc: ENOMEM");
            holds(!(i % 2) || (!blocks[i][0] && !blocks[i][size - 1]), "calloc is zero");
            memset(blocks[i], i, size);
        }
        for (int i = 0; i < BLOCKS; i++) {
            size_t size = malloc_usable_size(blocks[i]);
            blocks[i] = realloc(blocks[i], size + size / 2);
            if (!blocks[i])
                end(1, "error", "realloc: ENOMEM");
            holds(blocks[i][0] == i, "realloc keeps the contents");
        }
        for (int i = 0; i < BLOCKS; i++)
            free(blocks[i]);
    }
    void *aligned = aligned_alloc(1 << 17, 100);
    if (!aligned)
        end(1, "error", "aligned_alloc: ENOMEM");
    holds((uintptr_t)aligned % (1 << 17) == 0, "aligned_alloc is aligned");
    free(aligned);
}

static void *worker(void *nothing)
{
    work();
    return nothing;
}

static void *small(void *nothing)
{
    free(malloc(5000));
    free(malloc(100));
    return nothing;
}

int main(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    lock_memory("before");
    work();
    lock_memory("after");
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN));
    for (int i = 0; i < 4; i++) {
        pthread_t other;
        int refused = i % 2 ? pthread_create(&other, &attributes, small, NULL) : pthread_create(&other, NULL, worker, NULL);
        if (refused == 0)
            pthread_join(other, NULL);
    }
    pid_t child = fork();
    if (child == 0) {
        work();
        _exit(0);
    }
    int state = 0;
    if (child > 0 && waitpid(child, &state, 0) == child)
        holds(WIFEXITED(state) && WEXITSTATUS(state) == 0, "a forked child goes on");
    malloc_trim(0);
    work();
    if (getenv("SCENARIO_LOCK") && resident_kib() > 64 << 10)
        end(2, "wrong", "locked memory costs more than 64 MiB");
    return 0;
}
