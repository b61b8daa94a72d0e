/* Forks while other threads allocate; children that go on, start threads and fork again; run with the library preloaded. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            _exit(1); \
        } \
    } while (0)

enum { SLOTS = 8192, HANDS = 3, FORKS = 6, DEPTH = 3 };

static _Atomic(unsigned char *) slots[SLOTS];
static _Atomic int stop;
static size_t at_first;

static unsigned next(unsigned *state) {
    return *state = *state * 1103515245 + 12345;
}

static unsigned char *make(unsigned *state) {
    unsigned pick = next(state) >> 8;
    size_t bytes = pick % 50 == 0 ? pick % 300000 + 16 : pick % 2000 + 16;
    unsigned char *block = malloc(bytes);
    CHECK(block);
    memcpy(block, &bytes, sizeof bytes);
    memset(block + sizeof bytes, (int)(bytes % 251), bytes - sizeof bytes);
    return block;
}

static void end(unsigned char *block) {
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    for (size_t i = sizeof bytes; i < bytes; i += 13)
        CHECK(block[i] == bytes % 251);
    free(block);
}

static void *hand(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    while (!stop) {
        unsigned char *old = __atomic_exchange_n(&slots[next(&state) % SLOTS], make(&state), __ATOMIC_SEQ_CST);
        if (old)
            end(old);
        /* Large enough to be mappings of their own, which are under a lock. */
        if (next(&state) % 4096 == 0)
            free(malloc((size_t)40 << 20));
    }
    return NULL;
}

/* Handlers of others may allocate around a fork. */
static void handler(void) {
    free(malloc(100));
    free(malloc((size_t)40 << 20));
    char *grown = malloc(10);
    for (size_t bytes = 10; bytes < 100000; bytes *= 2)
        CHECK((grown = realloc(grown, bytes)));
    free(grown);
}

static size_t resident(void) {
    unsigned long size, pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu %lu", &size, &pages) == 2);
    fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void life(int depth);

static void fork_once(int depth) {
    pid_t parent = getpid();
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        alarm(600);
        /* Everything the other threads had published is there and whole. */
        unsigned state = 3;
        for (int i = 0; i < SLOTS; i++) {
            unsigned char *old = slots[i];
            slots[i] = make(&state);
            if (old)
                end(old);
        }
        if (depth < DEPTH)
            life(depth + 1);
        /* The memory of the lost threads is free now, and comes together with the rest. */
        for (int i = 0; i < SLOTS; i++) {
            if (slots[i])
                end(slots[i]);
            slots[i] = NULL;
        }
        CHECK(malloc_trim(0));
        if (getenv("SHOW"))
            fprintf(stderr, "depth %d: resident %zu KiB, at first %zu\n", depth, resident() >> 10, at_first >> 10);
        CHECK(resident() < at_first + ((size_t)16 << 20));
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void life(int depth) {
    pthread_t threads[HANDS];
    stop = 0;
    for (int i = 0; i < HANDS; i++)
        CHECK(!pthread_create(&threads[i], NULL, hand, (void *)(uintptr_t)(depth * 100 + i + 1)));
    for (int i = 0; i < (depth ? 2 : FORKS); i++)
        fork_once(depth ? depth : i % DEPTH == 0 ? 1 : DEPTH);
    stop = 1;
    for (int i = 0; i < HANDS; i++)
        CHECK(!pthread_join(threads[i], NULL));
}

int main(void) {
    alarm(1800);
    at_first = resident();
    CHECK(!pthread_atfork(handler, handler, handler));
    life(0);
    puts("ok");
    return 0;
}
