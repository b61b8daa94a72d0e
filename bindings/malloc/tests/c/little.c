/* Little room, by the first argument; run with the library preloaded, "fill" also without it.
 *
 *   fill BYTES   allocates blocks of that size, or of mixed sizes for 0, until there are no more; prints their MiB, and frees them
 *   locked       all memory is locked, and little may be
 *   stacks       threads whose first call is malloc need less than 4 KiB of stack for it
 *   aligned      blocks with large alignments need no mapping each */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

enum { MIB = 1 << 20, STACK = 64 << 10, ALIGNED = 3000 };

static uint64_t next(uint64_t *state) {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static size_t mixed(uint64_t *state) {
    uint64_t pick = next(state) % 100, more = next(state);
    return pick < 50 ? 16 + more % 112 : pick < 80 ? 128 + more % 900 : pick < 95 ? 1024 + more % 8000 : 9000 + more % 100000;
}

static void fill(size_t bytes) {
    uint64_t state = 88172645463325252u;
    size_t total = 0;
    void **last = NULL;
    for (;;) {
        size_t size = bytes ? bytes : mixed(&state);
        void **block = malloc(size);
        if (!block) break;
        memset(block, 1, size);
        *block = last;
        last = block;
        total += size;
    }
    CHECK(errno == ENOMEM);
    while (last) {
        void **before = *last;
        free(last);
        last = before;
    }
    void *block = malloc(10 * MIB);
    CHECK(block);
    free(block);
    /* More than the limit allows: no block, or one that is aligned. */
    for (size_t align = 4096; align <= 128 * MIB; align *= 2) {
        block = aligned_alloc(align, 50 * MIB);
        CHECK((uintptr_t)block % align == 0);
        free(block);
    }
    printf("%zu\n", total / MIB);
}

static long resident_mib(void) {
    long all, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%ld %ld", &all, &pages) == 2);
    fclose(file);
    return pages * 4096 / MIB;
}

static void locked(void) {
    /* At most 64 MiB, and not with a right that no limit binds: nothing happens to the machine if it would be more. */
    struct rlimit limit;
    CHECK(!getrlimit(RLIMIT_MEMLOCK, &limit));
    if (limit.rlim_max > 64 * MIB) limit.rlim_max = 64 * MIB;
    limit.rlim_cur = limit.rlim_max;
    if (limit.rlim_max < 8 * MIB || setrlimit(RLIMIT_MEMLOCK, &limit) || (geteuid() == 0 && setuid(65534))) {
        puts("SKIPPED: no 8 MiB to be locked here");
        return;
    }
    free(malloc(10));
    CHECK(mlockall(MCL_CURRENT | MCL_FUTURE) == 0);
    for (size_t size = 16; size < MIB / 8; size *= 2) {
        void *block = malloc(size);
        CHECK(block);
        free(block);
    }
    CHECK(resident_mib() < 40);
    puts("ok");
}

static void *nothing(void *unused) {
    return unused;
}

static void *allocates(void *unused) {
    void *blocks[2] = {malloc(5000), malloc(100)};
    free(blocks[0]);
    free(blocks[1]);
    return unused;
}

/* Bytes of a stack that a thread used. */
static size_t stack_of(void *(*thread)(void *)) {
    static const unsigned char UNUSED = 0xA5;
    unsigned char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    memset(stack, UNUSED, STACK);
    pthread_attr_t attributes;
    pthread_t id;
    pthread_attr_init(&attributes);
    CHECK(!pthread_attr_setstack(&attributes, stack, STACK));
    CHECK(!pthread_create(&id, &attributes, thread, NULL));
    CHECK(!pthread_join(id, NULL));
    size_t unused = 0;
    while (unused < STACK && stack[unused] == UNUSED) unused++;
    munmap(stack, STACK);
    return STACK - unused;
}

static void stacks(void) {
    stack_of(nothing);
    /* The first such thread: later ones find the heap of an ended one. */
    size_t without = stack_of(nothing), with = stack_of(allocates);
    if (with > without + 4096) {
        fprintf(stderr, "%zu bytes of stack, without malloc %zu\n", with, without);
        exit(1);
    }
    puts("ok");
}

static int mappings(void) {
    int lines = 0, byte;
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file);
    while ((byte = fgetc(file)) != EOF) lines += byte == '\n';
    fclose(file);
    return lines;
}

static void aligned(void) {
    static unsigned char *blocks[ALIGNED];
    int before = mappings();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < ALIGNED; i++) {
            size_t align = (size_t)128 << (10 + i % 3 * (i % 100 == 0) * 3);
            blocks[i] = aligned_alloc(align, 100 + i);
            CHECK(blocks[i] && (uintptr_t)blocks[i] % align == 0);
            CHECK(malloc_usable_size(blocks[i]) >= (size_t)(100 + i));
            memset(blocks[i], i, 100 + i);
        }
        CHECK(mappings() < before + 100);
        for (int i = 0; i < ALIGNED; i++) CHECK(blocks[i][0] == (unsigned char)i && blocks[i][99 + i] == (unsigned char)i);
        for (int i = 0; i < ALIGNED; i++) free(blocks[i]);
    }
    unsigned char *block = aligned_alloc(256 << 10, 300000);
    CHECK(block && (uintptr_t)block % (256 << 10) == 0);
    memset(block, 7, 300000);
    block = realloc(block, 900000);
    CHECK(block && block[299999] == 7);
    free(block);
    block = aligned_alloc((size_t)64 * MIB, 100);
    CHECK(block && (uintptr_t)block % ((size_t)64 * MIB) == 0);
    free(block);
    puts("ok");
}

int main(int count, char **arguments) {
    const char *what = count > 1 ? arguments[1] : "";
    if (!strcmp(what, "fill")) fill(count > 2 ? (size_t)atol(arguments[2]) : 0);
    if (!strcmp(what, "locked")) locked();
    if (!strcmp(what, "stacks")) stacks();
    if (!strcmp(what, "aligned")) aligned();
    return 0;
}
