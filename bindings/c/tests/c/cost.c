/* One operation many times, for `bindings/c/cost` to count its instructions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tenure.h"

int main(int argc, char **argv)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *member;
    tenure_local *local;
    tenure_block block;
    tenure_handle handle, kept;
    tenure_object *mutex, *event;
    int failed = 0;
    if (argc != 3)
        return 2;
    const char *what = argv[1];
    const long rounds = atol(argv[2]);
    options.backend = TENURE_MEMFD;
    options.flags = TENURE_NO_MONITOR;
    options.scratch_bytes = 64 << 20;
    failed |= tenure_space_open(&options, NULL, &space);
    failed |= tenure_join(space, &member);
    failed |= tenure_local_open(member, &local);
    failed |= tenure_create(local, 1, "8 bytes.", 8, &kept);
    failed |= tenure_mutex_create(member, NULL, 0, &mutex);
    failed |= tenure_event_create(member, NULL, 0, &event);
    /* Warm. */
    failed |= tenure_mutex_lock(mutex, TENURE_FOREVER) | tenure_mutex_unlock(mutex);
    failed |= tenure_alloc(local, 64, 0, &block) | tenure_free(local, block.offset);
    failed |= tenure_create(local, 1, "8 bytes.", 8, &handle) | tenure_close(local, handle.token);
    if (strcmp(what, "alloc_free_64") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_alloc(local, 64, 0, &block) | tenure_free(local, block.offset);
    } else if (strcmp(what, "create_close") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_create(local, 1, &i, 8, &handle) | tenure_close(local, handle.token);
    } else if (strcmp(what, "open_close_held") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_open(local, 1, kept.token, &handle) | tenure_close(local, handle.token);
    } else if (strcmp(what, "get") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_get(local, 1, kept.token, &handle);
    } else if (strcmp(what, "word_add") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_word_add(local, 1, kept.token, 0, 1, NULL);
    } else if (strcmp(what, "lock_unlock") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_mutex_lock(mutex, TENURE_FOREVER) | tenure_mutex_unlock(mutex);
    } else if (strcmp(what, "set_wait") == 0) {
        for (long i = 0; i < rounds; i++)
            failed |= tenure_event_set(event) | tenure_wait(event, TENURE_FOREVER);
    } else {
        return 2;
    }
    return failed != 0;
}
