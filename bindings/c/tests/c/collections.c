/* Queues: on every backend in one process, and between processes of which some are killed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>

enum { KIND = 7, OTHER = 8, CONTAINER_SLOTS = 128 };

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
    tenure_handle a, b, got;
    uint64_t token, queue_token, kind_number;
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
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait(queue, NOW));
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

static void open_space(uint32_t backend, const char *name)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_info info;
    options.backend = backend;
    options.members = 8;
    options.handles = 256;
    options.scratch_bytes = 1 << 20;
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
    tenure_object *queue;
    tenure_handle job, a;
    int ready[2];
    char byte = 'x';
    open_space(backend, name);
    OK(tenure_queue_create(me, "jobs", 0, KIND, 2, &queue));
    OK(tenure_create(mine, KIND, "a", 1, &a));
    OK(tenure_queue_push(queue, "job", 3, 0, NOW));
    OK(tenure_queue_claim(queue, 0, NOW, &job));
    HOLDS(pipe(ready) == 0);
    pid_t child = fork();
    if (child == 0) {
        tenure_object *inherited = queue;
        uint32_t waiting;
        die_with_parent();
        EXPECT(TENURE_ERR_FORKED, tenure_queue_push(inherited, "x", 1, 0, NOW));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_push_handle(mine, inherited, a.token, 0, NOW));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_pop(inherited, 0, FOREVER, &job));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_claim(inherited, 0, NOW, &a));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_ack(inherited, job.token));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_give_back(inherited, job.token));
        EXPECT(TENURE_ERR_FORKED, tenure_queue_len(inherited, &waiting, NULL, NULL));
        EXPECT(TENURE_ERR_FORKED, tenure_object_close(inherited));
        OK(tenure_join(space, &other));
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
