/* Zeroed blocks where free memory could not be given back, because it is locked; run with the library preloaded. */
#define _GNU_SOURCE
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

enum { BYTES = 1 << 20, LOCKED = 64 << 10 };

static void dirty_blocks_are_zeroed(void) {
    for (int round = 0; round < 3; round++) {
        unsigned char *block = calloc(1, BYTES);
        CHECK(block);
        for (size_t at = 0; at < BYTES; at++) CHECK(block[at] == 0);
        memset(block, 0xAA, BYTES);
        free(block);
        malloc_trim(0);
    }
}

int main(void) {
    unsigned char *block = malloc(BYTES);
    CHECK(block);
    memset(block, 0xAA, BYTES);
    if (mlock(block + BYTES / 2, LOCKED)) {
        fprintf(stderr, "SKIPPED: no memory to be locked here\n");
    }
    free(block);
    CHECK(malloc_trim(0));
    dirty_blocks_are_zeroed();
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) {
        fprintf(stderr, "SKIPPED: not all memory to be locked here\n");
    }
    dirty_blocks_are_zeroed();
    block = malloc(BYTES);
    CHECK(block);
    free(block);
    malloc_trim(0);
    /* A second call gives nothing back: memory that could not be given back is not counted. */
    CHECK(!malloc_trim(0));
    puts("ok");
    return 0;
}
