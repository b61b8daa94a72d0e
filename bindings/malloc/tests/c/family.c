/* Every function of the malloc family with its edge cases; run with the library preloaded. */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Newer than some C libraries. */
void free_sized(void *, size_t) __attribute__((weak));
void free_aligned_sized(void *, size_t, size_t) __attribute__((weak));
void cfree(void *) __attribute__((weak));

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

/* Hides a size from the compiler, which would warn of the very size that is tested. */
static volatile size_t much = SIZE_MAX;

static int filled(const unsigned char *at, int with, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != with)
            return 0;
    return 1;
}

static void sizes(void) {
    for (size_t bytes = 0; bytes < 70000; bytes += bytes < 2000 ? 1 : 997) {
        unsigned char *a = malloc(bytes), *b = malloc(bytes);
        CHECK(a && b && a != b);
        CHECK((uintptr_t)a % 16 == 0);
        CHECK(malloc_usable_size(a) >= bytes && malloc_usable_size(a) > 0);
        memset(a, 1, malloc_usable_size(a));
        memset(b, 2, malloc_usable_size(b));
        CHECK(filled(a, 1, malloc_usable_size(a)));
        free(a);
        free(b);
    }
    for (size_t bytes = 1 << 16; bytes <= (size_t)200 << 20; bytes *= 2) {
        char *a = malloc(bytes);
        CHECK(a && malloc_usable_size(a) >= bytes);
        a[0] = a[bytes - 1] = 1;
        free(a);
    }
}

static void too_much(void) {
    size_t sizes[] = {much, much / 2 + 1, much - 4095, much - 65536, (size_t)1 << 62, (size_t)1 << 48};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *keep = malloc(10);
        errno = 0;
        CHECK(!malloc(sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!calloc(1, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!realloc(keep, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!aligned_alloc(64, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!memalign(1 << 20, sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!valloc(sizes[i]) && errno == ENOMEM);
        errno = 0;
        CHECK(!pvalloc(sizes[i]) && errno == ENOMEM);
        void *to = &to;
        errno = 7;
        CHECK(posix_memalign(&to, 64, sizes[i]) == ENOMEM && to == &to && errno == 7);
        free(keep);
    }
    errno = 0;
    CHECK(!calloc(much / 8 + 1, 16) && errno == ENOMEM);
    errno = 0;
    CHECK(!reallocarray(NULL, much / 8 + 1, 16) && errno == ENOMEM);
}

static void zeroes(void) {
    /* Twice: memory that was dirty before as well. */
    for (int round = 0; round < 2; round++)
        for (size_t bytes = 1; bytes < (size_t)64 << 20; bytes += bytes / 3 + 1) {
            unsigned char *a = calloc(1, bytes), *b = calloc(bytes, 1);
            CHECK(a && b && filled(a, 0, bytes) && filled(b, 0, bytes));
            memset(a, 255, malloc_usable_size(a));
            memset(b, 255, malloc_usable_size(b));
            free(a);
            free(b);
        }
    void *none = calloc(0, 100);
    CHECK(none);
    free(none);
    none = calloc(100, 0);
    CHECK(none);
    free(none);
}

static void resizing(void) {
    unsigned char *a = realloc(NULL, 1);
    CHECK(a);
    *a = 42;
    for (size_t bytes = 1; bytes < (size_t)100 << 20; bytes = bytes * 5 / 4 + 1) {
        a = realloc(a, bytes);
        CHECK(a && a[0] == 42 && malloc_usable_size(a) >= bytes);
        a[bytes - 1] = 42;
        a = realloc(a, bytes + 1);
        CHECK(a && a[bytes - 1] == 42);
        a[0] = 42;
    }
    for (size_t bytes = (size_t)100 << 20; bytes > 1; bytes = bytes * 2 / 3) {
        a = realloc(a, bytes);
        CHECK(a && a[0] == 42);
    }
    CHECK(!realloc(a, 0));
    a = reallocarray(NULL, 10, 10);
    CHECK(a && malloc_usable_size(a) >= 100);
    memset(a, 5, 100);
    a = reallocarray(a, 100, 1000);
    CHECK(a && filled(a, 5, 100));
    free(a);
}

static void alignment(void) {
    for (size_t align = 1; align <= (size_t)16 << 20; align *= 2)
        for (size_t bytes = 0; bytes < (size_t)80 << 20; bytes = bytes * 7 + 1) {
            char *blocks[6] = {memalign(align, bytes), aligned_alloc(align, bytes), NULL, NULL, NULL, NULL};
            CHECK(align < sizeof(void *) || posix_memalign((void **)&blocks[2], align, bytes) == 0);
            blocks[3] = memalign(align - align / 4, bytes);
            for (int i = 0; i < 4; i++) {
                if (i == 2 && align < sizeof(void *))
                    continue;
                CHECK(blocks[i] && (uintptr_t)blocks[i] % align == 0 && malloc_usable_size(blocks[i]) >= bytes);
                if (bytes)
                    blocks[i][0] = blocks[i][bytes - 1] = (char)i;
            }
            for (int i = 0; i < 4; i++)
                free(blocks[i]);
        }
    void *to = NULL;
    CHECK(posix_memalign(&to, 3, 10) == EINVAL && posix_memalign(&to, 0, 10) == EINVAL);
    CHECK(posix_memalign(&to, 4, 10) == EINVAL && posix_memalign(&to, 24, 10) == EINVAL && !to);
    errno = 0;
    volatile size_t three = 3;
    CHECK(!aligned_alloc(three, 10) && errno == EINVAL);
    void *page = valloc(10), *pages = pvalloc(5000);
    CHECK(page && (uintptr_t)page % 4096 == 0);
    CHECK(pages && (uintptr_t)pages % 4096 == 0 && malloc_usable_size(pages) >= 8192);
    /* An aligned block can be resized and freed as any other one. */
    page = realloc(page, 100000);
    CHECK(page);
    free(page);
    free(pages);
}

static void freeing(void) {
    errno = 99;
    free(NULL);
    free(malloc(10));
    free(malloc((size_t)100 << 20));
    CHECK(errno == 99);
    if (free_sized)
        free_sized(malloc(10), 10);
    if (free_aligned_sized)
        free_aligned_sized(aligned_alloc(64, 128), 64, 128);
    if (cfree)
        cfree(malloc(10));
    CHECK(free_sized && free_aligned_sized && cfree);
    CHECK(malloc_usable_size(NULL) == 0);
}

/* A pointer to no block is left alone. */
static void strangers(void) {
    static char here[4096];
    char there[64];
    char *volatile a = malloc(100);
    char *volatile others[] = {here, here + 16, there, (char *)16, (char *)much, a + 16, a + 1, a + 4096};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        free(others[i]);
        CHECK(malloc_usable_size(others[i]) == 0);
        errno = 0;
        CHECK(!realloc(others[i], 10) && errno == ENOMEM);
    }
    CHECK(malloc_usable_size(a) >= 100);
    char *volatile again = a;
    free(a);
    free(again);
    char *b = malloc(100), *c = malloc(100);
    CHECK(b && c && b != c);
    free(b);
    free(c);
}

static void trimming(void) {
    enum { BLOCKS = 1000 };
    static char *blocks[BLOCKS];
    for (int i = 0; i < BLOCKS; i++)
        memset(blocks[i] = malloc(100000), 3, 100000);
    for (int i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    CHECK(malloc_trim(0) == 1);
    unsigned char *a = calloc(1, 100000);
    CHECK(a && filled(a, 0, 100000));
    free(a);
}

int main(void) {
    sizes();
    too_much();
    zeroes();
    resizing();
    alignment();
    freeing();
    strangers();
    trimming();
    puts("ok");
    return 0;
}
