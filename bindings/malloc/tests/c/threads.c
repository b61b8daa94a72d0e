/* Threads that come and go, hand blocks to each other, and free blocks of others; run with the library preloaded. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            exit(1); \
        } \
    } while (0)

enum { SLOTS = 4096, SHORT_LIVES = 3000, HANDS = 8, TURNS = 60000 };

static _Atomic(unsigned char *) slots[SLOTS];
static pthread_key_t first, last;

static unsigned next(unsigned *state) {
    return *state = *state * 1103515245 + 12345;
}

static unsigned char *make(unsigned *state) {
    unsigned pick = next(state) >> 8;
    size_t bytes = pick % 64 == 0 ? pick % 200000 + 16 : pick % 1000 + 16;
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
    CHECK(block[bytes - 1] == bytes % 251 || bytes == sizeof bytes);
    free(block);
}

/* Allocates and frees when the thread ends, and again in later rounds, even after other destructors have run. */
static void destroy(void *value) {
    uintptr_t rounds = (uintptr_t)value;
    free(malloc(rounds * 100));
    char *grown = realloc(calloc(1, 50), 5000);
    CHECK(grown);
    free(grown);
    if (rounds > 1)
        pthread_setspecific(last, (void *)(rounds - 1));
}

static void *short_life(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    pthread_setspecific(first, (void *)1);
    pthread_setspecific(last, (void *)4);
    for (int i = 0; i < 20; i++) {
        unsigned char *old = __atomic_exchange_n(&slots[next(&state) % SLOTS], make(&state), __ATOMIC_SEQ_CST);
        if (old)
            end(old);
    }
    return NULL;
}

static void *hand(void *seed) {
    unsigned state = (unsigned)(uintptr_t)seed;
    for (int i = 0; i < TURNS; i++) {
        unsigned char *old = __atomic_exchange_n(&slots[next(&state) % SLOTS], make(&state), __ATOMIC_SEQ_CST);
        if (old)
            end(old);
    }
    return NULL;
}

/* One thread allocates, one frees. */
enum { RING = 1024, PASSED = 400000 };
static _Atomic(unsigned char *) ring[RING];

static void *producer(void *unused) {
    unsigned state = 5;
    for (int i = 0; i < PASSED; i++) {
        unsigned char *block = make(&state);
        while (__atomic_load_n(&ring[i % RING], __ATOMIC_ACQUIRE))
            sched_yield();
        __atomic_store_n(&ring[i % RING], block, __ATOMIC_RELEASE);
    }
    return unused;
}

static void *consumer(void *unused) {
    for (int i = 0; i < PASSED; i++) {
        unsigned char *block;
        while (!(block = __atomic_load_n(&ring[i % RING], __ATOMIC_ACQUIRE)))
            sched_yield();
        __atomic_store_n(&ring[i % RING], NULL, __ATOMIC_RELEASE);
        end(block);
    }
    return unused;
}

static size_t resident(void) {
    unsigned long size, pages;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm && fscanf(statm, "%lu %lu", &size, &pages) == 2);
    fclose(statm);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int main(void) {
    CHECK(!pthread_key_create(&first, destroy));
    /* Most keys need more than the C library keeps in the thread itself, so that it allocates. */
    for (int i = 0; i < 40; i++)
        CHECK(!pthread_key_create(&last, destroy));
    pthread_t threads[HANDS];
    size_t after_some = 0;
    for (int i = 0; i < SHORT_LIVES; i += HANDS) {
        for (int j = 0; j < HANDS; j++)
            CHECK(!pthread_create(&threads[j], NULL, short_life, (void *)(uintptr_t)(i + j + 1)));
        for (int j = 0; j < HANDS; j++)
            CHECK(!pthread_join(threads[j], NULL));
        if (i == SHORT_LIVES / 3 / HANDS * HANDS)
            after_some = resident();
    }
    /* Threads that came and went leave nothing that grows with their number; there are three times as many now. (The size settles
       after twenty times as many, at thrice this, for any number of threads; the time until then depends on how they overlap.) */
    CHECK(resident() < after_some * 2 + (16 << 20));
    for (int j = 0; j < HANDS; j++)
        CHECK(!pthread_create(&threads[j], NULL, hand, (void *)(uintptr_t)(j * 7 + 1)));
    for (int j = 0; j < HANDS; j++)
        CHECK(!pthread_join(threads[j], NULL));
    CHECK(!pthread_create(&threads[0], NULL, producer, NULL) && !pthread_create(&threads[1], NULL, consumer, NULL));
    CHECK(!pthread_join(threads[0], NULL) && !pthread_join(threads[1], NULL));
    /* A ring of blocks of at most 200 KB, not all that were ever made. */
    CHECK(resident() < (size_t)600 << 20);
    for (int i = 0; i < SLOTS; i++)
        if (slots[i])
            end(slots[i]);
    puts("ok");
    return 0;
}
