/* Queues and maps: on every backend in one process, and between processes of which some are killed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>

enum { KIND = 7, OTHER = 8, CONTAINER_SLOTS = 192 };

static const uint64_t NOW = 0, SHORT = 1000000, FOREVER = TENURE_FOREVER;

static tenure_space *space;
static tenure_member *me, *other;
static tenure_local *mine, *theirs;

static int is(const tenure_handle *handle, const char *text)
{
    return handle->size == strlen(text) && memcmp(handle->data, text, handle->size) == 0;
}

static void expect_len(tenure_object *queue, uint32_t waiting, uint32_t claimed)
{
    uint32_t found[3] = { 9, 9, 9 };
    OK(tenure_queue_len(queue, found, found + 1, found + 2));
    HOLDS(found[0] == waiting && found[1] == claimed && found[2] == 2);
    OK(tenure_queue_len(queue, found, NULL, NULL));
}

static void *push_late(void *queue)
{
    uint32_t waiting, claimed;
    usleep(1000); /* most times the other thread sleeps by now */
    OK(tenure_queue_push((tenure_object *)queue, "late", 4, 0, FOREVER));
    OK(tenure_queue_len((tenure_object *)queue, &waiting, &claimed, NULL));
    return NULL;
}

static void queues(void)
{
    tenure_object *queue, *again, *wrong, *mutex;
    tenure_handle a, b, got, several[3];
    const tenure_bytes values[2] = {{"one", 3}, {"two", 3}};
    uint64_t token, queue_token, kind_number;
    size_t count;
    uint32_t kind;
    pthread_t thread;
    char *large = (char *)calloc(1, 100000);
    OK(tenure_queue_create(me, "jobs", 0, KIND, 2, &queue));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_queue_create(me, "jobs", 0, KIND, 2, &wrong));
    HOLDS(wrong == NULL);
    EXPECT(TENURE_OPENED, tenure_queue_create(other, "jobs", TENURE_OR_OPEN, KIND, 99, &again));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_create(other, "jobs", TENURE_OR_OPEN, OTHER, 2, &wrong));
    OK(tenure_object_token(queue, &queue_token));
    OK(tenure_object_kind_of(queue, &kind));
    HOLDS(kind == TENURE_QUEUE);
    OK(tenure_look_up(other, "jobs", &token, &kind_number));
    HOLDS(token == queue_token && kind_number == TENURE_SYSTEM_KIND + TENURE_QUEUE);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_open(other, OTHER, queue_token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_ANY, queue_token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_QUEUE, queue_token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_MUTEX, queue_token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_open(theirs, KIND, queue_token, &got));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_queue_open_named(other, KIND, "nothing", &wrong));
    /* A wait for a queue takes nothing. */
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(queue, NOW));
    OK(tenure_queue_push(queue, "x", 1, 0, NOW));
    OK(tenure_wait(queue, NOW));
    OK(tenure_wait_any(&queue, 1, FOREVER, &count));
    HOLDS(count == 0);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_all(&queue, 1, NOW, NULL));

    /* Several at once: as many as fit, and as there are. */
    OK(tenure_queue_push_many(queue, values, 2, 0, NOW, &count));
    HOLDS(count == 1);
    EXPECT(TENURE_ERR_QUEUE_FULL, tenure_queue_push_many(queue, values, 2, 0, NOW, &count));
    HOLDS(count == 0);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_push_many(queue, values, 2, 0, SHORT, &count));
    OK(tenure_queue_pop_many(queue, several, 3, 0, FOREVER, &count));
    HOLDS(count == 2 && is(&several[0], "x") && is(&several[1], "one"));
    OK(tenure_close(mine, several[0].token));
    OK(tenure_close(mine, several[1].token));
    EXPECT(TENURE_ERR_QUEUE_EMPTY, tenure_queue_pop_many(queue, several, 3, 0, NOW, &count));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_pop_many(queue, several, 3, 0, SHORT, &count));
    OK(tenure_queue_push_many(queue, NULL, 0, 0, NOW, &count));
    OK(tenure_queue_pop_many(queue, NULL, 0, 0, NOW, &count));
    HOLDS(count == 0);
    EXPECT(TENURE_ERR_NULL, tenure_queue_push_many(queue, NULL, 1, 0, NOW, &count));
    EXPECT(TENURE_ERR_NULL, tenure_queue_pop_many(queue, NULL, 1, 0, NOW, &count));
    EXPECT(TENURE_ERR_NULL, tenure_queue_push_many(queue, values, 1, 0, NOW, NULL));
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    OK(tenure_object_token(mutex, &token));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_open(other, KIND, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_pop(mutex, 0, NOW, &got));
    OK(tenure_object_close(mutex));

    /* First in, first out; full and empty are no timeouts. */
    EXPECT(TENURE_ERR_QUEUE_EMPTY, tenure_queue_pop(queue, 0, NOW, &got));
    EXPECT(TENURE_ERR_QUEUE_EMPTY, tenure_queue_claim(queue, 0, NOW, &got));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_pop(queue, 0, SHORT, &got));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_claim(queue, TENURE_DEADLINE | TENURE_INTERRUPTIBLE, NOW, &got));
    HOLDS(got.token == 0 && got.data == NULL && got.size == 0);
    OK(tenure_queue_push(queue, "first", 5, 0, NOW));
    OK(tenure_queue_push(again, large, 100000, 0, FOREVER));
    expect_len(again, 2, 0);
    EXPECT(TENURE_ERR_QUEUE_FULL, tenure_queue_push(queue, "x", 1, 0, NOW));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_push(queue, "x", 1, 0, SHORT));
    OK(tenure_queue_pop(again, 0, NOW, &got));
    HOLDS(is(&got, "first"));
    OK(tenure_close(theirs, got.token));
    OK(tenure_queue_pop(queue, 0, FOREVER, &got));
    HOLDS(got.size == 100000 && ((char *)got.data)[99999] == 0);
    OK(tenure_close(mine, got.token));
    OK(tenure_queue_push(queue, NULL, 0, 0, NOW));
    OK(tenure_queue_pop(queue, 0, NOW, &got));
    HOLDS(got.size == 0);
    OK(tenure_close(mine, got.token));
    EXPECT(TENURE_ERR_NULL, tenure_queue_push(queue, NULL, 1, 0, NOW));
    EXPECT(TENURE_ERR_NULL, tenure_queue_pop(queue, 0, NOW, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_queue_pop(queue, TENURE_ALL, NOW, &got));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_queue_push(queue, "x", SIZE_MAX, 0, NOW));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_queue_push(queue, large, SIZE_MAX / 2, 0, NOW));

    /* Handles: the queue holds them. */
    OK(tenure_create(mine, KIND, "a", 1, &a));
    OK(tenure_create(mine, OTHER, "b", 1, &b));
    OK(tenure_queue_push_handle(mine, queue, a.token, 0, NOW));
    EXPECT(TENURE_ERR_KEPT, tenure_queue_push_handle(mine, queue, a.token, 0, NOW));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_push_handle(mine, queue, b.token, 0, NOW));
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_queue_push_handle(mine, again, a.token, 0, NOW));
    EXPECT(TENURE_ERR_STALE, tenure_queue_push_handle(theirs, again, a.token, 0, NOW));
    OK(tenure_close(mine, b.token));
    OK(tenure_queue_push(queue, "x", 1, 0, NOW));
    OK(tenure_close(mine, a.token));
    OK(tenure_queue_pop(again, 0, NOW, &got));
    HOLDS(got.token == a.token && is(&got, "a"));
    OK(tenure_queue_push(queue, "y", 1, 0, NOW));
    EXPECT(TENURE_ERR_QUEUE_FULL, tenure_queue_push_handle(theirs, again, a.token, 0, NOW));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_queue_push_handle(theirs, again, a.token, 0, SHORT));
    OK(tenure_close(theirs, a.token));
    EXPECT(TENURE_ERR_STALE, tenure_open(theirs, KIND, a.token, &got));

    /* Claims: lent, given back, done. */
    OK(tenure_queue_claim(again, 0, FOREVER, &got));
    HOLDS(is(&got, "x"));
    expect_len(queue, 1, 1);
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_queue_ack(queue, got.token));
    OK(tenure_queue_give_back(again, got.token));
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_queue_give_back(again, got.token));
    EXPECT(TENURE_ERR_NOT_CLAIMED, tenure_queue_ack(again, got.token));
    expect_len(queue, 2, 0);
    OK(tenure_queue_claim(queue, 0, NOW, &a));
    OK(tenure_queue_claim(queue, 0, NOW, &b));
    HOLDS(is(&a, "x") && is(&b, "y"));
    EXPECT(TENURE_ERR_QUEUE_EMPTY, tenure_queue_pop(again, 0, NOW, &got));
    OK(tenure_queue_ack(queue, b.token));
    expect_len(queue, 0, 1);
    /* Closing the object gives its claims back. */
    OK(tenure_object_close(queue));
    expect_len(again, 1, 0);
    OK(tenure_queue_claim(again, 0, NOW, &got));
    HOLDS(got.token == a.token);
    OK(tenure_queue_ack(again, got.token));
    EXPECT(TENURE_ERR_STALE, tenure_open(mine, KIND, a.token, &got));

    /* A push wakes. */
    HOLDS(pthread_create(&thread, NULL, push_late, again) == 0);
    OK(tenure_queue_claim(again, TENURE_INTERRUPTIBLE, FOREVER, &got));
    HOLDS(is(&got, "late"));
    OK(tenure_queue_ack(again, got.token));
    HOLDS(pthread_join(thread, NULL) == 0);

    OK(tenure_queue_open(me, KIND, queue_token, &queue));
    OK(tenure_object_close(queue));
    OK(tenure_queue_open_named(me, KIND, "jobs", &queue));
    OK(tenure_queue_push(queue, "left", 4, 0, NOW));
    OK(tenure_object_close(queue));
    EXPECT(TENURE_ERR_CLOSED, tenure_queue_push(queue, "x", 1, 0, NOW));
    OK(tenure_object_close(again)); /* its last holder: its elements end with it */
    EXPECT(TENURE_ERR_STALE, tenure_queue_open(me, KIND, queue_token, &queue));

    EXPECT(TENURE_ERR_ARGUMENT, tenure_queue_create(me, NULL, 0, KIND, 0, &queue));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_queue_create(me, NULL, 1, KIND, 1, &queue));
    EXPECT(TENURE_ERR_CONTAINER_SLOTS, tenure_queue_create(me, NULL, 0, KIND, CONTAINER_SLOTS + 1, &queue));
    HOLDS(queue == NULL);
    free(large);
    expect_unharmed(space, 0, 0);
}

static void expect_value(tenure_object *map, const char *key, const char *value)
{
    char found[100];
    size_t needed = 9;
    int has = -1;
    OK(tenure_map_contains(map, key, strlen(key), &has));
    HOLDS(has == (value != NULL));
    if (value) {
        OK(tenure_map_get(map, key, strlen(key), found, sizeof found, &needed));
        HOLDS(needed == strlen(value) && memcmp(found, value, needed) == 0);
    } else {
        EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_get(map, key, strlen(key), found, sizeof found, &needed));
        HOLDS(needed == 0);
    }
}

static void expect_pairs(tenure_object *map, size_t pairs)
{
    size_t count = 9999, key_size, value_size, seen = 0;
    uint64_t bytes = 0;
    const void *key, *value;
    tenure_object *iteration;
    int status, has;
    OK(tenure_map_len(map, &count, &bytes));
    HOLDS(count == pairs && (bytes >= 8 * pairs) == 1);
    OK(tenure_map_len(map, &count, NULL));
    OK(tenure_map_iterate(map, &iteration));
    while ((status = tenure_map_next(iteration, &key, &key_size, &value, &value_size)) == TENURE_OK) {
        HOLDS(key != NULL && value != NULL);
        OK(tenure_map_contains(map, key, key_size, &has));
        HOLDS(has == 1);
        seen++;
    }
    HOLDS(seen == pairs);
    EXPECT(TENURE_END, status);
    EXPECT(TENURE_END, tenure_map_next(iteration, &key, &key_size, NULL, NULL));
    HOLDS(key == NULL && key_size == 0);
    EXPECT(TENURE_ERR_IN_USE, tenure_object_close(map));
    OK(tenure_object_close(iteration));
    EXPECT(TENURE_ERR_CLOSED, tenure_map_next(iteration, &key, &key_size, &value, &value_size));
}

static void maps(void)
{
    tenure_object *map, *again, *wrong, *entry, *bounded;
    uint64_t token, found_token, kind_number, bytes;
    uint32_t kind;
    size_t needed, size, count;
    const void *value;
    char buffer[8];
    char *large = (char *)calloc(1, 100000);
    int did = 9;
    OK(tenure_map_create(me, "prices", 0, 64, 0, &map));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_map_create(me, "prices", 0, 64, 0, &wrong));
    EXPECT(TENURE_OPENED, tenure_map_create(other, "prices", TENURE_OR_OPEN, 64, 0, &again));
    OK(tenure_object_token(map, &token));
    OK(tenure_object_kind_of(map, &kind));
    HOLDS(kind == TENURE_MAP);
    OK(tenure_look_up(other, "prices", &found_token, &kind_number));
    HOLDS(found_token == token && kind_number == TENURE_SYSTEM_KIND + TENURE_MAP);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(other, TENURE_MUTEX, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_open(other, KIND, token, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_create(other, "prices", TENURE_OR_OPEN, KIND, 2, &wrong));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_queue_push(map, "x", 1, 0, NOW));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait(map, NOW));
    expect_pairs(map, 0);

    /* Inserted, replaced, exchanged, removed. */
    OK(tenure_map_insert(map, "tea", 3, "green", 5, &did));
    HOLDS(did == 0);
    expect_value(again, "tea", "green");
    expect_value(again, "te", NULL);
    OK(tenure_map_insert(again, "tea", 3, "black", 5, &did));
    HOLDS(did == 1);
    OK(tenure_map_insert(again, "coffee", 6, NULL, 0, NULL));
    OK(tenure_map_insert(again, NULL, 0, "nothing", 7, NULL));
    expect_value(map, "tea", "black");
    expect_value(map, "coffee", "");
    expect_value(map, "", "nothing");
    expect_pairs(map, 3);
    OK(tenure_map_insert_new(map, "tea", 3, "white", 5, &did));
    HOLDS(did == 0);
    OK(tenure_map_insert_new(map, "milk", 4, "white", 5, &did));
    HOLDS(did == 1);
    OK(tenure_map_exchange(map, "tea", 3, "green", 5, "white", 5, &did));
    HOLDS(did == 0);
    OK(tenure_map_exchange(map, "tea", 3, "black", 5, "white", 5, &did));
    HOLDS(did == 1);
    OK(tenure_map_exchange(map, "milk", 4, NULL, 0, "blue", 4, &did));
    HOLDS(did == 0);
    OK(tenure_map_exchange(map, "coffee", 6, "", 0, NULL, 0, &did));
    HOLDS(did == 1);
    OK(tenure_map_exchange(map, "coffee", 6, NULL, 0, "strong", 6, &did));
    HOLDS(did == 1);
    expect_value(again, "tea", "white");
    expect_value(again, "milk", "white");
    expect_value(again, "coffee", "strong");
    OK(tenure_map_remove(again, "milk", 4));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_remove(again, "milk", 4));
    expect_value(map, "milk", NULL);

    /* The buffer of the caller. */
    memset(buffer, 'x', sizeof buffer);
    EXPECT(TENURE_ERR_BUFFER, tenure_map_get(map, "coffee", 6, buffer, 5, &needed));
    HOLDS(needed == 6 && memcmp(buffer, "xxxxxxxx", 8) == 0);
    EXPECT(TENURE_ERR_BUFFER, tenure_map_get(map, "coffee", 6, buffer, 5, NULL));
    EXPECT(TENURE_ERR_BUFFER, tenure_map_get(map, "coffee", 6, NULL, 0, NULL));
    OK(tenure_map_get(map, "coffee", 6, NULL, 0, &needed));
    HOLDS(needed == 6);
    OK(tenure_map_get(map, "coffee", 6, buffer, 6, NULL));
    HOLDS(memcmp(buffer, "strongxx", 8) == 0);
    EXPECT(TENURE_ERR_NULL, tenure_map_get(map, "coffee", 6, NULL, 6, &needed));
    EXPECT(TENURE_ERR_NULL, tenure_map_get(map, NULL, 6, buffer, 6, &needed));
    EXPECT(TENURE_ERR_NULL, tenure_map_insert(map, "x", 1, NULL, 1, &did));
    EXPECT(TENURE_ERR_NULL, tenure_map_contains(map, "x", 1, NULL));

    /* Large ones, and ones that are too large. */
    OK(tenure_map_insert(map, large, 100000, large, 100000, NULL));
    OK(tenure_map_get(again, large, 100000, NULL, 0, &needed));
    HOLDS(needed == 100000);
    memset(large, 'x', 99999);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_get(again, large, 100000, NULL, 0, &needed));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_map_insert(map, "x", 1, "x", SIZE_MAX, NULL));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_map_insert(map, "x", 1, large, (size_t)1 << 32, NULL));
    expect_value(map, "x", NULL);
    expect_pairs(map, 4);

    /* A held value stays as it is. */
    OK(tenure_map_hold(again, "tea", 3, &value, &size, &entry));
    HOLDS(size == 5 && memcmp(value, "white", 5) == 0 && (uintptr_t)value % 8 == 0);
    OK(tenure_object_kind_of(entry, &kind));
    HOLDS(kind == TENURE_MAP_ENTRY);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_token(entry, &found_token));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_map_next(entry, NULL, NULL, NULL, NULL));
    OK(tenure_map_insert(map, "tea", 3, "black", 5, NULL));
    OK(tenure_map_clear(map));
    HOLDS(memcmp(value, "white", 5) == 0);
    expect_pairs(again, 0);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_hold(map, "tea", 3, &value, &size, &wrong));
    HOLDS(value == NULL && size == 0 && wrong == NULL);

    /* A bound. */
    OK(tenure_map_create(me, NULL, 0, 64, 4096, &bounded));
    for (int i = 0; i < 1000; i++)
        OK(tenure_map_insert(bounded, &i, sizeof i, large, 100, NULL));
    OK(tenure_map_len(bounded, &count, &bytes));
    HOLDS(bytes <= 4096 && count > 0 && count <= 4096 / 120);
    OK(tenure_object_close(bounded));

    OK(tenure_object_open_named(me, TENURE_MAP, "prices", &wrong));
    OK(tenure_object_close(wrong));
    OK(tenure_map_insert(again, "left", 4, "behind", 6, NULL));
    OK(tenure_object_close(map));
    OK(tenure_object_open(me, TENURE_ANY, token, &map));
    expect_value(map, "left", "behind");
    OK(tenure_object_close(map));
    OK(tenure_object_close(again)); /* its last holder: its pairs end with it */
    EXPECT(TENURE_ERR_STALE, tenure_object_open(me, TENURE_MAP, token, &map));
    HOLDS(memcmp(tenure_strerror(TENURE_END), "ok", 2) == 0);
    OK(tenure_object_close(entry));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_map_create(me, NULL, 1, 64, 0, &map));
    EXPECT(TENURE_ERR_CONTAINER_SLOTS, tenure_map_create(me, NULL, 0, CONTAINER_SLOTS + 1, 0, &map));
    free(large);
    expect_unharmed(space, 0, 0);
}

static void expect_left(tenure_object *map, const char *key, uint64_t least, uint64_t most)
{
    uint64_t left = 9;
    OK(tenure_map_time_left(map, key, strlen(key), &left));
    HOLDS(least <= left && left <= most);
}

/* Pairs that have expired at once, that do in years, and that never do. */
static void expiry(void)
{
    const uint64_t years = (uint64_t)1 << 60;
    tenure_object *map, *again;
    uint64_t token, left = 9, bytes;
    size_t count;
    int did = 9;
    OK(tenure_map_create(me, NULL, 0, 64, 0, &map));
    OK(tenure_object_token(map, &token));
    OK(tenure_object_open(other, TENURE_MAP, token, &again));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_time_left(map, "tea", 3, &left));
    HOLDS(left == 0);
    OK(tenure_map_insert_for(map, "tea", 3, "green", 5, 0, &did));
    HOLDS(did == 0);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_time_left(again, "tea", 3, &left));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_map_remove(again, "tea", 3));
    expect_value(again, "tea", NULL);
    expect_pairs(again, 0);
    OK(tenure_map_len(again, &count, &bytes));
    HOLDS(count == 0 && bytes == 32);
    OK(tenure_map_remove_expired(again));
    OK(tenure_map_len(map, &count, &bytes));
    HOLDS(count == 0 && bytes == 0);

    OK(tenure_map_insert_for(map, "tea", 3, "green", 5, 0, NULL));
    OK(tenure_map_insert_new_for(map, "tea", 3, "black", 5, years, &did));
    HOLDS(did == 1);
    expect_value(again, "tea", "black");
    expect_left(again, "tea", years / 2, years);
    OK(tenure_map_insert_new_for(again, "tea", 3, "white", 5, 0, &did));
    HOLDS(did == 0);
    OK(tenure_map_exchange(again, "tea", 3, "black", 5, "blue", 4, &did));
    HOLDS(did == 1);
    expect_left(map, "tea", years / 2, years);
    OK(tenure_map_insert_for(map, "tea", 3, "red", 3, FOREVER - 1, &did));
    HOLDS(did == 1);
    expect_left(again, "tea", 2 * years, FOREVER - 1);
    OK(tenure_map_insert_for(map, "tea", 3, "red", 3, FOREVER, &did));
    HOLDS(did == 1);
    expect_left(again, "tea", FOREVER, FOREVER);
    OK(tenure_map_insert_for(map, "tea", 3, "red", 3, years, &did));
    OK(tenure_map_insert(again, "tea", 3, "green", 5, &did));
    HOLDS(did == 1);
    expect_left(map, "tea", FOREVER, FOREVER);
    OK(tenure_map_insert_new_for(again, "milk", 4, "white", 5, FOREVER, &did));
    HOLDS(did == 1);
    expect_left(map, "milk", FOREVER, FOREVER);
    OK(tenure_map_remove_expired(map));
    expect_pairs(map, 2);
    OK(tenure_object_close(map));
    OK(tenure_object_close(again));
    expect_unharmed(space, 0, 0);
}

/* What every function of an object says of one that is `it`: NULL, or closed. */
static void expect_of_none(int status, tenure_object *it)
{
    tenure_handle handle;
    tenure_object *object;
    uint32_t waiting;
    uint64_t left;
    size_t size;
    int found;
    EXPECT(status, tenure_queue_push(it, "x", 1, 0, NOW));
    EXPECT(status, tenure_queue_push_handle(mine, it, 1, 0, NOW));
    EXPECT(status, tenure_queue_pop(it, 0, NOW, &handle));
    EXPECT(status, tenure_queue_claim(it, 0, NOW, &handle));
    EXPECT(status, tenure_queue_ack(it, 1));
    EXPECT(status, tenure_queue_give_back(it, 1));
    EXPECT(status, tenure_queue_len(it, &waiting, NULL, NULL));
    EXPECT(status, tenure_map_insert(it, "k", 1, "x", 1, NULL));
    EXPECT(status, tenure_map_insert_new(it, "k", 1, "x", 1, &found));
    EXPECT(status, tenure_map_insert_for(it, "k", 1, "x", 1, 0, NULL));
    EXPECT(status, tenure_map_insert_for(it, "k", 1, "x", 1, FOREVER, NULL));
    EXPECT(status, tenure_map_insert_new_for(it, "k", 1, "x", 1, 0, &found));
    EXPECT(status, tenure_map_time_left(it, "k", 1, &left));
    EXPECT(status, tenure_map_remove_expired(it));
    EXPECT(status, tenure_map_exchange(it, "k", 1, NULL, 0, "x", 1, &found));
    EXPECT(status, tenure_map_get(it, "k", 1, NULL, 0, &size));
    EXPECT(status, tenure_map_hold(it, "k", 1, NULL, &size, &object));
    EXPECT(status, tenure_map_contains(it, "k", 1, &found));
    EXPECT(status, tenure_map_remove(it, "k", 1));
    EXPECT(status, tenure_map_clear(it));
    EXPECT(status, tenure_map_len(it, &size, NULL));
    EXPECT(status, tenure_map_iterate(it, &object));
    EXPECT(status, tenure_map_next(it, NULL, NULL, NULL, NULL));
}

/* A slot holds an object with all that is in it, while no member lives. */
static void in_slots(void)
{
    tenure_object *queue, *map, *process, *again;
    tenure_handle job;
    uint32_t slot = 9;
    OK(tenure_queue_create(me, "jobs", 0, KIND, 2, &queue));
    OK(tenure_map_create(me, "prices", 0, 64, 0, &map));
    OK(tenure_queue_push(queue, "job", 3, 0, NOW));
    OK(tenure_map_insert(map, "tea", 3, "green", 5, NULL));
    OK(tenure_slot_keep_object(queue, &slot));
    HOLDS(slot == 0);
    EXPECT(TENURE_ERR_KEPT, tenure_slot_keep_object(queue, &slot));
    OK(tenure_slot_keep_object(map, &slot));
    HOLDS(slot == 1);
    OK(tenure_process_of(me, NULL, 0, 0, &process));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_slot_keep_object(process, &slot));
    EXPECT(TENURE_ERR_NULL, tenure_slot_keep_object(map, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_slot_keep_object(NULL, &slot));
    OK(tenure_object_close(process));
    OK(tenure_object_close(queue));
    OK(tenure_object_close(map));
    OK(tenure_mutex_create(me, NULL, 0, &again));
    EXPECT(TENURE_ERR_SLOT_FULL, tenure_slot_keep_object(again, &slot));
    OK(tenure_object_close(again));
    OK(tenure_queue_open_named(other, KIND, "jobs", &queue));
    OK(tenure_object_open_named(other, TENURE_MAP, "prices", &map));
    OK(tenure_queue_pop(queue, 0, NOW, &job));
    HOLDS(is(&job, "job"));
    expect_value(map, "tea", "green");
    OK(tenure_close(theirs, job.token));
    OK(tenure_object_close(queue));
    OK(tenure_object_close(map));
    OK(tenure_slot_evict(mine, 0, NULL));
    OK(tenure_slot_evict(mine, 1, NULL));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_object_open_named(me, TENURE_MAP, "prices", &map));
    expect_unharmed(space, 0, 0);
}

static void bad_input(void)
{
    tenure_object *queue, *map, *none, *iteration;
    tenure_handle handle;
    uint32_t waiting;
    uint64_t left;
    int found;
    expect_of_none(TENURE_ERR_NULL, NULL);
    expect_of_none(TENURE_ERR_CLOSED, (tenure_object *)space);
    EXPECT(TENURE_ERR_NULL, tenure_queue_create(NULL, NULL, 0, KIND, 2, &none));
    EXPECT(TENURE_ERR_NULL, tenure_queue_create(me, NULL, 0, KIND, 2, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_queue_create(me, NULL, TENURE_OR_OPEN, KIND, 2, &none));
    EXPECT(TENURE_ERR_NULL, tenure_queue_open_named(NULL, KIND, "jobs", &none));
    EXPECT(TENURE_ERR_FOREIGN_SPACE, tenure_queue_open(me, KIND, 1, &none));
    EXPECT(TENURE_ERR_NULL, tenure_queue_open(me, KIND, 1, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_queue_open_named(me, KIND, NULL, &none));
    EXPECT(TENURE_ERR_NULL, tenure_map_create(NULL, NULL, 0, 64, 0, &none));
    EXPECT(TENURE_ERR_NULL, tenure_map_create(me, NULL, 0, 64, 0, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_create(me, NULL, TENURE_OR_OPEN, 64, 0, &none));
    OK(tenure_queue_create(me, NULL, 0, KIND, 2, &queue));
    OK(tenure_map_create(me, NULL, 0, 64, 0, &map));
    EXPECT(TENURE_ERR_NULL, tenure_queue_claim(queue, 0, NOW, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_queue_len(queue, NULL, &waiting, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_queue_push_handle(NULL, queue, 1, 0, NOW));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_queue_push(queue, "x", 1, TENURE_ALL, NOW));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_queue_claim(queue, UINT32_MAX, NOW, &handle));
    EXPECT(TENURE_ERR_NULL, tenure_map_insert_new(map, "k", 1, "x", 1, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_insert_new_for(map, "k", 1, "x", 1, 0, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_insert_for(map, NULL, 1, "x", 1, 0, &found));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_map_insert_for(map, "k", 1, "x", SIZE_MAX, 0, &found));
    EXPECT(TENURE_ERR_NULL, tenure_map_time_left(map, "k", 1, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_time_left(map, NULL, 1, &left));
    EXPECT(TENURE_ERR_NULL, tenure_map_exchange(map, "k", 1, NULL, 0, "x", 1, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_exchange(map, NULL, 1, NULL, 0, "x", 1, &found));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_map_exchange(map, "k", 1, "x", SIZE_MAX, "x", 1, &found));
    EXPECT(TENURE_ERR_TOO_LARGE, tenure_map_get(map, "k", SIZE_MAX, NULL, 0, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_hold(map, "k", 1, NULL, NULL, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_len(map, NULL, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_map_iterate(map, NULL));
    OK(tenure_map_iterate(map, &iteration));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_map_next(map, NULL, NULL, NULL, NULL));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_map_clear(iteration));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_map_remove_expired(iteration));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_map_insert_for(iteration, "k", 1, "x", 1, 0, NULL));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait(iteration, NOW));
    EXPECT(TENURE_END, tenure_map_next(iteration, NULL, NULL, NULL, NULL));
    OK(tenure_object_close(iteration));
    OK(tenure_object_close(map));
    OK(tenure_object_close(queue));
    expect_of_none(TENURE_ERR_CLOSED, queue);
    expect_of_none(TENURE_ERR_CLOSED, iteration);
    expect_unharmed(space, 0, 0);
}

static void open_space(uint32_t backend, const char *name)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_info info;
    options.backend = backend;
    options.members = 8;
    options.handles = 256;
    options.scratch_bytes = 1 << 20;
    options.slots = 2;
    options.container_slots = CONTAINER_SLOTS;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_space_info(space, &info));
    HOLDS(info.container_slots == CONTAINER_SLOTS);
    OK(tenure_join(space, &me));
    OK(tenure_local_open(me, &mine));
}

/* The child pushes and claims, and is killed. */
static void between_processes(uint32_t backend, const char *name)
{
    tenure_object *queue, *map;
    tenure_handle job, a;
    int ready[2];
    char byte = 'x';
    open_space(backend, name);
    OK(tenure_queue_create(me, "jobs", 0, KIND, 2, &queue));
    OK(tenure_map_create(me, "prices", 0, 64, 0, &map));
    OK(tenure_create(mine, KIND, "a", 1, &a));
    OK(tenure_queue_push(queue, "job", 3, 0, NOW));
    OK(tenure_queue_claim(queue, 0, NOW, &job));
    HOLDS(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        tenure_object *inherited = queue, *its_map = map, *entry;
        uint32_t waiting;
        uint64_t left;
        size_t size;
        int found;
        die_with_parent();
        EXPECT(TENURE_ERR_FORKED, tenure_queue_push(inherited, "x", 1, 0, NOW));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_push_handle(mine, inherited, a.token, 0, NOW));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_pop(inherited, 0, FOREVER, &job));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_claim(inherited, 0, NOW, &a));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_ack(inherited, job.token));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_give_back(inherited, job.token));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_len(inherited, &waiting, NULL, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_object_close(inherited));
        EXPECT(TENURE_ERR_FORKED, tenure_map_insert(its_map, "tea", 3, "x", 1, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_map_insert_new(its_map, "tea", 3, "x", 1, &found));
        EXPECT(TENURE_ERR_FORKED, tenure_map_insert_for(its_map, "tea", 3, "x", 1, 0, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_map_insert_new_for(its_map, "tea", 3, "x", 1, 0, &found));
        EXPECT(TENURE_ERR_FORKED, tenure_map_time_left(its_map, "tea", 3, &left));
        EXPECT(TENURE_ERR_FORKED, tenure_map_remove_expired(its_map));
        EXPECT(TENURE_ERR_FORKED, tenure_map_exchange(its_map, "tea", 3, NULL, 0, "x", 1, &found));
        EXPECT(TENURE_ERR_FORKED, tenure_map_get(its_map, "tea", 3, NULL, 0, &size));
        EXPECT(TENURE_ERR_FORKED, tenure_map_hold(its_map, "tea", 3, NULL, &size, &entry));
        EXPECT(TENURE_ERR_FORKED, tenure_map_contains(its_map, "tea", 3, &found));
        EXPECT(TENURE_ERR_FORKED, tenure_map_remove(its_map, "tea", 3));
        EXPECT(TENURE_ERR_FORKED, tenure_map_clear(its_map));
        EXPECT(TENURE_ERR_FORKED, tenure_map_len(its_map, &size, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_map_iterate(its_map, &entry));
        OK(tenure_join(space, &other));
        OK(tenure_object_open_named(other, TENURE_MAP, "prices", &its_map));
        OK(tenure_map_insert(its_map, "tea", 3, "green", 5, NULL));
        OK(tenure_queue_open_named(other, KIND, "jobs", &queue));
        EXPECT(TENURE_ERR_QUEUE_EMPTY, tenure_queue_claim(queue, 0, NOW, &a));
        HOLDS(write(ready[1], &byte, 1) == 1);
        OK(tenure_queue_claim(queue, 0, FOREVER, &job));
        HOLDS(is(&job, "job"));
        OK(tenure_queue_push(queue, "its", 3, 0, NOW));
        HOLDS(write(ready[1], &byte, 1) == 1);
        for (;;)
            pause();
    }
    HOLDS(read(ready[0], &byte, 1) == 1);
    expect_len(queue, 0, 1);
    OK(tenure_queue_give_back(queue, job.token));
    HOLDS(read(ready[0], &byte, 1) == 1);
    expect_len(queue, 1, 1);
    kill(child, SIGKILL);
    expect_end(child, SIGKILL);
    OK(tenure_recover(me, NULL));
    /* The claim of the dead is given back, and what it pushed is there. */
    expect_len(queue, 2, 0);
    OK(tenure_queue_claim(queue, 0, NOW, &job));
    HOLDS(is(&job, "job"));
    OK(tenure_queue_ack(queue, job.token));
    OK(tenure_queue_pop(queue, 0, NOW, &job));
    HOLDS(is(&job, "its"));
    OK(tenure_close(mine, job.token));
    expect_value(map, "tea", "green");
    OK(tenure_object_close(map));
    OK(tenure_close(mine, a.token));
    OK(tenure_object_close(queue));
    expect_unharmed(space, 0, 0);
    close(ready[0]);
    close(ready[1]);
    OK(tenure_local_close(mine));
    OK(tenure_leave(me));
    OK(tenure_space_close(space));
}

static void on(uint32_t backend, const char *name)
{
    open_space(backend, name);
    OK(tenure_join(space, &other));
    OK(tenure_local_open(other, &theirs));
    queues();
    maps();
    expiry();
    in_slots();
    bad_input();
    OK(tenure_local_close(mine));
    OK(tenure_local_close(theirs));
    OK(tenure_leave(me));
    OK(tenure_leave(other));
    OK(tenure_space_close(space));
}

int main(int argc, char **argv)
{
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    on(TENURE_SHM, argv[1]);
    on(TENURE_MEMFD, NULL);
    on(TENURE_ANONYMOUS, NULL);
    on(TENURE_PRIVATE, NULL);
    OK(tenure_space_remove(TENURE_SHM, argv[1], 0));
#ifdef __SANITIZE_ADDRESS__
    /* The locks of its allocator stay locked in a child that is forked while another thread, the monitor, has them. */
    (void)between_processes;
#else
    between_processes(TENURE_SHM, argv[1]);
    between_processes(TENURE_ANONYMOUS, NULL);
    OK(tenure_space_remove(TENURE_SHM, argv[1], 1));
#endif
    puts("collections: ok");
    return 0;
}
