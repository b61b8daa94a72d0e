/* Memory that is free again does not stay resident for one size and one thread; run with the library preloaded. */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s (%ld MiB resident)\n", __LINE__, #what, resident()); \
            exit(1); \
        } \
    } while (0)

enum { MIB = 1 << 20, LIVE = 64 };

static long resident(void) {
    long pages = 0, all = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &all, &pages) != 2) exit(2);
    fclose(file);
    return pages * 4096 / MIB;
}

static void *blocks[LIVE * MIB / 64];

/* Allocates LIVE MiB of blocks of one size and frees them. */
static void peak(size_t bytes) {
    size_t count = (size_t)LIVE * MIB / bytes;
    for (size_t at = 0; at < count; at++) {
        blocks[at] = malloc(bytes);
        CHECK(blocks[at]);
        memset(blocks[at], 1, bytes);
    }
    for (size_t at = 0; at < count; at++) free(blocks[at]);
}

int main(void) {
    static const size_t sizes[] = {100, 1000, 5000, 30000, 200000, 2000000, 300, 16000, 64};
    for (int round = 0; round < 2; round++) {
        for (size_t at = 0; at < sizeof sizes / sizeof *sizes; at++) {
            peak(sizes[at]);
            /* The blocks, up to an eighth for their words, the array above, and up to 9 MiB kept for later. */
            CHECK(resident() < LIVE + LIVE * 3 / 4);
        }
    }
    /* Light work after the peak: what stays free goes back to the system. */
    for (int at = 0; at < 20000; at++) {
        char *block = malloc(at * 7 % 30000);
        CHECK(block);
        *block = 1;
        free(block);
    }
    CHECK(resident() < LIVE / 2);
    peak(64);
    malloc_trim(0);
    memset(blocks, 0, sizeof blocks);
    /* The array, and next to nothing beside it: no books for the blocks that there were. */
    CHECK(resident() < (long)sizeof blocks / MIB + 6);
    puts("ok");
    return 0;
}
