/*
 * One process makes an object, another one reads it by its number.
 *
 *     cc hello.c $(pkg-config --cflags --libs tenure) -o hello
 *     ./hello                     prints a token, and holds the object until its input ends
 *     ./hello 0123456789abcdef    in another terminal: reads it, and counts the visit
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tenure.h>

/* The kind of this program's payloads: a number of our choice, which tells them from those of others. */
enum { GREETING = 1 };

struct greeting {
    uint64_t visits; /* changed by atomic operations only */
    char text[56];
};

/* Ends the program when a call failed. */
static void must(int status, const char *what)
{
    if (status == TENURE_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", what, tenure_strerror(status), tenure_last_error());
    exit(1);
}

int main(int argc, char **argv)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_space *space;
    tenure_member *member;
    tenure_local *local;
    tenure_handle handle;

    const char *name = getenv("HELLO_SPACE") ? getenv("HELLO_SPACE") : "hello";
    options.flags = TENURE_TINY; /* 32 KiB: the default is large, and for many handles */
    if (argc < 2)
        must(tenure_space_open(&options, name, &space), "open the space");
    else
        must(tenure_space_attach(&options, name, &space), "attach to the space");
    must(tenure_join(space, &member), "join");
    must(tenure_local_open(member, &local), "open a local");

    if (argc < 2) {
        struct greeting greeting = { 0, "hello from another process" };
        must(tenure_create(local, GREETING, &greeting, sizeof greeting, &handle), "create");
        printf("%016" PRIx64 "\n", handle.token);
        fflush(stdout);
        while (getchar() != EOF)
            ;
        uint64_t visits = 0;
        must(tenure_word_load(local, GREETING, handle.token, 0, &visits), "count");
        printf("%" PRIu64 " visits\n", visits);
    } else {
        must(tenure_open(local, GREETING, strtoull(argv[1], NULL, 16), &handle), "open the token");
        must(tenure_word_add(local, GREETING, handle.token, 0, 1, NULL), "count");
        /* In place: nothing was copied. */
        const struct greeting *greeting = (const struct greeting *)handle.data;
        printf("%s\n", greeting->text);
    }

    must(tenure_close(local, handle.token), "close");
    must(tenure_local_close(local), "close the local");
    must(tenure_leave(member), "leave");
    must(tenure_space_close(space), "close the space");
    /* The space outlives its members: who made it removes it, unless a reader is still there. */
    int status = argc < 2 ? tenure_space_remove(TENURE_SHM, name, 0) : TENURE_OK;
    if (status != TENURE_ERR_IN_USE)
        must(status, "remove the space");
    return 0;
}
