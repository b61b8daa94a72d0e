/* Mutexes, events, semaphores, names, files, processes: on every backend in one process, and between processes of which
 * some are killed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>
#include <sys/stat.h>

enum { KIND = 7 };

static const uint64_t NOW = 0, SECOND = 1000000000;

static tenure_space *space;
static tenure_member *me, *other;
static tenure_object *mutex, *event, *semaphore;

static void *in_another_thread(void *nothing)
{
    (void)nothing;
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock(mutex));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(mutex, NOW));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(mutex, SECOND / 1000));
    return NULL;
}

static void run(void *(*thread)(void *))
{
    pthread_t number;
    HOLDS(pthread_create(&number, NULL, thread, NULL) == 0);
    HOLDS(pthread_join(number, NULL) == 0);
}

static uint64_t token_of(const tenure_object *object)
{
    uint64_t token;
    OK(tenure_object_token(object, &token));
    return token;
}

static uint32_t kind_of(const tenure_object *object)
{
    uint32_t kind;
    OK(tenure_object_kind_of(object, &kind));
    return kind;
}

static void mutexes(void)
{
    tenure_object *theirs;
    int owned;
    uint32_t lease, thread;
    uint64_t mine;
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    HOLDS(kind_of(mutex) == TENURE_MUTEX);
    OK(tenure_mutex_owner(mutex, &owned, NULL, NULL));
    HOLDS(owned == 0);
    OK(tenure_mutex_lock(mutex, TENURE_FOREVER));
    OK(tenure_mutex_owner(mutex, &owned, &lease, &thread));
    OK(tenure_lease(me, &mine));
    HOLDS(owned == 1 && lease == (mine & 255) && thread != 0);
    EXPECT(TENURE_ERR_DEADLOCK, tenure_mutex_lock(mutex, TENURE_FOREVER));
    EXPECT(TENURE_ERR_DEADLOCK, tenure_wait(mutex, NOW));
    run(in_another_thread);
    OK(tenure_object_open(other, TENURE_MUTEX, token_of(mutex), &theirs));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(theirs, NOW));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock(theirs));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_wait(theirs, NOW));
    /* Its owner closes it: one process is told. */
    OK(tenure_object_close(theirs));
    OK(tenure_mutex_owner(mutex, &owned, NULL, NULL));
    HOLDS(owned == -1);
    EXPECT(TENURE_ABANDONED, tenure_mutex_lock(mutex, NOW));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_mutex_lock(mutex, NOW));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_object_close(mutex));

    OK(tenure_mutex_create(me, NULL, TENURE_RECURSIVE, &mutex));
    OK(tenure_mutex_lock(mutex, NOW));
    OK(tenure_wait(mutex, NOW));
    OK(tenure_mutex_unlock(mutex));
    run(in_another_thread);
    OK(tenure_mutex_is_recursive(mutex, &owned));
    HOLDS(owned == 1);
    OK(tenure_mutex_unlock(mutex));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock(mutex));
    OK(tenure_object_close(mutex));
    expect_unharmed(space, 0, 0);
}

static void events(void)
{
    int is, was;
    OK(tenure_event_create(me, NULL, TENURE_SIGNALLED, &event));
    HOLDS(kind_of(event) == TENURE_EVENT_AUTOMATIC);
    OK(tenure_event_is_set(event, &is));
    HOLDS(is == 1);
    OK(tenure_wait(event, TENURE_FOREVER));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(event, NOW));
    OK(tenure_event_set(event));
    OK(tenure_event_set(event));
    OK(tenure_event_reset(event, &was));
    HOLDS(was == 1);
    OK(tenure_event_reset(event, &was));
    HOLDS(was == 0);
    OK(tenure_event_reset(event, NULL));
    OK(tenure_object_close(event));

    OK(tenure_event_create(me, NULL, TENURE_MANUAL_RESET, &event));
    HOLDS(kind_of(event) == TENURE_EVENT_MANUAL);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(event, SECOND / 1000));
    OK(tenure_event_set(event));
    OK(tenure_wait(event, NOW));
    OK(tenure_wait(event, NOW));
    OK(tenure_object_close(event));
    expect_unharmed(space, 0, 0);
}

static void semaphores(void)
{
    tenure_object *none;
    uint32_t count, maximum, before;
    OK(tenure_semaphore_create(me, NULL, 0, 1, 3, &semaphore));
    OK(tenure_wait(semaphore, NOW));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(semaphore, NOW));
    OK(tenure_semaphore_release(semaphore, 2, &before));
    HOLDS(before == 0);
    EXPECT(TENURE_ERR_MAXIMUM, tenure_semaphore_release(semaphore, 2, &before));
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    OK(tenure_semaphore_count(semaphore, &count, &maximum));
    HOLDS(count == 3 && maximum == 3);
    OK(tenure_semaphore_count(semaphore, &count, NULL));
    OK(tenure_object_close(semaphore));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_semaphore_create(me, NULL, 0, 2, 1, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_semaphore_create(me, NULL, 0, 0, 0, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_semaphore_create(me, NULL, 0, 0, 1u << 30, &none));
    HOLDS(none == NULL);
    expect_unharmed(space, 0, 0);
}

static void *sets_the_event(void *nothing)
{
    (void)nothing;
    usleep(20000);
    /* In use by the waiting thread, or not yet. */
    OK(tenure_event_set(event));
    return NULL;
}

static void many(void)
{
    tenure_object *all[64], *theirs;
    pthread_t thread;
    size_t index;
    uint64_t abandoned;
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    OK(tenure_event_create(me, NULL, 0, &event));
    OK(tenure_semaphore_create(me, NULL, 0, 1, 1, &semaphore));
    tenure_object *three[] = { event, semaphore, mutex };
    OK(tenure_wait_any(three, 3, NOW, &index));
    HOLDS(index == 1);
    OK(tenure_wait_any(three, 3, NOW, &index));
    HOLDS(index == 2);
    HOLDS(pthread_create(&thread, NULL, sets_the_event, NULL) == 0);
    OK(tenure_wait_any(three, 2, TENURE_FOREVER, &index));
    HOLDS(index == 0);
    HOLDS(pthread_join(thread, NULL) == 0);
    OK(tenure_mutex_unlock(mutex));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_any(three, 2, SECOND / 1000, &index));
    HOLDS(index == 0);

    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_all(three, 3, NOW, NULL));
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    OK(tenure_object_open(other, TENURE_ANY, token_of(mutex), &theirs));
    OK(tenure_mutex_lock(theirs, NOW));
    OK(tenure_object_close(theirs));
    HOLDS(pthread_create(&thread, NULL, sets_the_event, NULL) == 0);
    EXPECT(TENURE_ABANDONED, tenure_wait_all(three, 3, TENURE_FOREVER, &abandoned));
    HOLDS(abandoned == 4);
    HOLDS(pthread_join(thread, NULL) == 0);
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_wait_all(&mutex, 1, NOW, &abandoned));
    HOLDS(abandoned == 0);
    OK(tenure_object_open(other, TENURE_ANY, token_of(mutex), &theirs));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_mutex_lock(theirs, NOW));
    OK(tenure_object_close(theirs));
    EXPECT(TENURE_ABANDONED, tenure_wait_any(&mutex, 1, NOW, &index));
    OK(tenure_mutex_unlock(mutex));

    for (size_t i = 0; i < 64; i++)
        OK(tenure_event_create(me, NULL, i == 63 ? TENURE_SIGNALLED : 0, &all[i]));
    OK(tenure_wait_any(all, 64, TENURE_FOREVER, &index));
    HOLDS(index == 63);
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_any(all, 65, NOW, &index));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_any(all, 0, NOW, &index));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_all(all, SIZE_MAX, NOW, NULL));
    for (size_t i = 0; i < 64; i++)
        OK(tenure_object_close(all[i]));
    for (size_t i = 0; i < 3; i++)
        OK(tenure_object_close(three[i]));
    expect_unharmed(space, 0, 0);
}

static void names(void)
{
    tenure_object *made, *theirs, *none;
    tenure_local *local;
    tenure_handle handle, opened;
    tenure_name found[3];
    size_t count;
    int recursive;
    uint64_t token, kind;
    char longest[257];
    memset(longest, 'n', sizeof longest);
    longest[256] = 0;
    EXPECT(TENURE_ERR_NAME, tenure_mutex_create(me, longest, 0, &none));
    EXPECT(TENURE_ERR_NAME, tenure_mutex_create(me, "", 0, &none));
    EXPECT(TENURE_ERR_NAME, tenure_mutex_create(me, "\xff", 0, &none));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_object_open_named(me, TENURE_ANY, longest, &none));
    longest[255] = 0;
    OK(tenure_mutex_create(me, longest, 0, &made));
    OK(tenure_space_names(space, found, 3, &count));
    HOLDS(count == 1 && strcmp(found[0].name, longest) == 0);
    OK(tenure_object_close(made));

    OK(tenure_local_open(me, &local));
    OK(tenure_mutex_create(me, "mutex", 0, &made));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_mutex_create(other, "mutex", 0, &none));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_event_create(other, "mutex", 0, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_event_create(other, "mutex", TENURE_OR_OPEN, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open_named(other, TENURE_SEMAPHORE, "mutex", &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_open_named(local, "mutex", KIND, &handle));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_object_open_named(other, TENURE_ANY, "Mutex", &none));
    HOLDS(none == NULL);
    EXPECT(TENURE_OPENED, tenure_mutex_create(other, "mutex", TENURE_OR_OPEN | TENURE_RECURSIVE, &theirs));
    OK(tenure_mutex_is_recursive(theirs, &recursive));
    HOLDS(token_of(theirs) == token_of(made) && recursive == 0);
    OK(tenure_object_close(theirs));
    OK(tenure_object_open_named(other, TENURE_ANY, "mutex", &theirs));
    HOLDS(token_of(theirs) == token_of(made) && kind_of(theirs) == TENURE_MUTEX);
    OK(tenure_object_close(theirs));

    OK(tenure_create_named(local, "raw", 0, KIND, "payload", 8, &handle));
    HOLDS(handle.size == 8 && strcmp((char *)handle.data, "payload") == 0);
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_create_named(local, "raw", 0, KIND, "another", 8, &opened));
    HOLDS(opened.data == NULL && opened.token == 0);
    EXPECT(TENURE_OPENED, tenure_create_named(local, "raw", TENURE_OR_OPEN, KIND, "another", 8, &opened));
    HOLDS(opened.token == handle.token && strcmp((char *)opened.data, "payload") == 0);
    OK(tenure_close(local, handle.token));
    OK(tenure_open_named(local, "raw", KIND, &opened));
    HOLDS(opened.token == handle.token);
    OK(tenure_close(local, handle.token));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_open_named(local, "raw", KIND + 1, &opened));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open_named(me, TENURE_ANY, "raw", &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_mutex_create(me, "raw", TENURE_OR_OPEN, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open(me, TENURE_ANY, handle.token, &none));
    OK(tenure_look_up(other, "raw", &token, &kind));
    HOLDS(token == handle.token && kind == KIND);
    OK(tenure_look_up(other, "mutex", &token, NULL));
    HOLDS(token == token_of(made));

    OK(tenure_event_create(me, "event", TENURE_OR_OPEN | TENURE_SIGNALLED, &event));
    EXPECT(TENURE_OPENED, tenure_event_create(other, "event", TENURE_OR_OPEN, &theirs));
    OK(tenure_wait(theirs, NOW));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(event, NOW));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_event_create(other, "event", TENURE_OR_OPEN | TENURE_MANUAL_RESET, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_open_named(other, TENURE_EVENT_MANUAL, "event", &none));
    OK(tenure_space_names(space, NULL, 0, &count));
    HOLDS(count == 3);
    EXPECT(TENURE_ERR_BUFFER, tenure_space_names(space, found, 2, &count));
    HOLDS(count == 3 && strcmp(found[1].name, "mutex") == 0);
    OK(tenure_space_names(space, found, 3, &count));
    HOLDS(strcmp(found[0].name, "event") == 0 && found[0].kind == TENURE_SYSTEM_KIND + TENURE_EVENT_AUTOMATIC);
    HOLDS(found[0].holders == 2 && found[0].token == token_of(event));
    HOLDS(strcmp(found[2].name, "raw") == 0 && found[2].kind == KIND && found[2].holders == 1);
    OK(tenure_object_close(theirs));
    OK(tenure_object_close(event));
    OK(tenure_object_close(made));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_object_open_named(me, TENURE_MUTEX, "mutex", &none));
    OK(tenure_close(local, handle.token));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_open_named(local, "raw", KIND, &opened));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_look_up(me, "raw", &token, &kind));
    OK(tenure_semaphore_create(me, "semaphore", TENURE_OR_OPEN, 0, 2, &semaphore));
    EXPECT(TENURE_OPENED, tenure_semaphore_create(other, "semaphore", TENURE_OR_OPEN, 9, 9, &theirs));
    OK(tenure_semaphore_release(theirs, 1, NULL));
    OK(tenure_wait(semaphore, NOW));
    OK(tenure_object_close(theirs));
    OK(tenure_object_close(semaphore));
    OK(tenure_local_close(local));
    expect_unharmed(space, 0, 0);
}

static void processes(void)
{
    tenure_object *made, *theirs, *none;
    uint32_t number;
    OK(tenure_process_of(me, "process", TENURE_OR_OPEN, 0, &made));
    HOLDS(kind_of(made) == TENURE_PROCESS);
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_process_of(other, "process", 0, 0, &none));
    /* Any kind. */
    EXPECT(TENURE_OPENED, tenure_process_of(other, "process", TENURE_OR_OPEN, (uint32_t)getppid(), &theirs));
    HOLDS(token_of(theirs) == token_of(made));
    OK(tenure_process_number(theirs, &number, NULL));
    HOLDS(number == (uint32_t)getpid());
    OK(tenure_object_close(theirs));
    /* The number counts only when a handle is created. */
    EXPECT(TENURE_OPENED, tenure_process_of(other, "process", TENURE_OR_OPEN, UINT32_MAX, &theirs));
    OK(tenure_object_close(theirs));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_process_of(other, "another", TENURE_OR_OPEN, UINT32_MAX, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_mutex_create(other, "process", TENURE_OR_OPEN, &none));
    HOLDS(none == NULL);
    OK(tenure_object_close(made));
    expect_unharmed(space, 0, 0);
}

/* The name of a thread, and its announcement of its end. */
static uint32_t number_of_thread;

static void *announces_and_ends(void *nothing)
{
    tenure_object *self;
    (void)nothing;
    OK(tenure_thread_of(me, "thread", TENURE_OR_OPEN, 0, &self));
    OK(tenure_process_number(self, &number_of_thread, NULL));
    OK(tenure_event_set(event));
    OK(tenure_wait(semaphore, TENURE_FOREVER));
    OK(tenure_process_exiting(self, -559038737));
    EXPECT(TENURE_ERR_ANNOUNCED, tenure_process_exiting(self, 1));
    OK(tenure_object_close(self));
    return NULL;
}

static void threads(void)
{
    tenure_object *thread, *none;
    tenure_exit exit;
    pthread_t ends;
    uint32_t number;
    int status = tenure_thread_of(me, NULL, 0, 0, &thread);
    if (status == TENURE_ERR_UNSUPPORTED) {
        puts("SKIPPED: threads: this kernel has no pidfds of them");
        return;
    }
    OK(status);
    HOLDS(kind_of(thread) == TENURE_THREAD);
    OK(tenure_process_exit(thread, &exit));
    HOLDS(exit.how == TENURE_RUNS);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(thread, SECOND / 1000));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_process_reaped(thread, 0));
    OK(tenure_object_close(thread));

    OK(tenure_event_create(me, NULL, 0, &event));
    OK(tenure_semaphore_create(me, NULL, 0, 0, 1, &semaphore));
    HOLDS(pthread_create(&ends, NULL, announces_and_ends, NULL) == 0);
    OK(tenure_wait(event, TENURE_FOREVER));
    /* Not the caller: the process that has the name. */
    EXPECT(TENURE_OPENED, tenure_thread_of(other, "thread", TENURE_OR_OPEN, 0, &thread));
    OK(tenure_process_number(thread, &number, NULL));
    HOLDS(number == number_of_thread && number != 0);
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_thread_of(other, "thread", 0, 0, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_process_of(other, "thread", TENURE_OR_OPEN, 0, &none));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_process_exiting(thread, 1));
    OK(tenure_process_exit(thread, &exit));
    HOLDS(exit.how == TENURE_RUNS);
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    OK(tenure_wait(thread, TENURE_FOREVER));
    OK(tenure_process_exit(thread, &exit));
    HOLDS(exit.how == TENURE_EXITED && exit.code == -559038737);
    HOLDS(pthread_join(ends, NULL) == 0);
    OK(tenure_object_close(thread));
    OK(tenure_object_close(event));
    OK(tenure_object_close(semaphore));
    expect_unharmed(space, 0, 0);
}

static void files(const char *scratch)
{
    struct stat of_pipe, of_theirs;
    tenure_object *made, *theirs, *none, *reading, *also;
    tenure_conflict who, all[2];
    char text[6] = "";
    int pipe_of[2], fd, same;
    uint32_t access, sharing;
    size_t count;
    uint64_t lease;
    HOLDS(pipe(pipe_of) == 0);
    OK(tenure_descriptor_create(me, NULL, 0, pipe_of[1], &made));
    HOLDS(kind_of(made) == TENURE_DESCRIPTOR);
    OK(tenure_object_open(other, TENURE_ANY, token_of(made), &theirs));
    OK(tenure_descriptor_fd(made, &same));
    OK(tenure_descriptor_fd(theirs, &fd));
    HOLDS(fd != pipe_of[1] && same != pipe_of[1] && fd != same);
    HOLDS(write(fd, "hello", 5) == 5);
    OK(tenure_object_close(made));
    OK(tenure_object_close(theirs));
    close(pipe_of[1]);
    /* Everybody has closed it: the end. */
    HOLDS(read(pipe_of[0], text, 6) == 5 && strcmp(text, "hello") == 0 && read(pipe_of[0], text, 6) == 0);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_descriptor_create(me, NULL, 0, 987, &none));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_descriptor_create(me, NULL, 0, -1, &none));
    HOLDS(none == NULL);
    OK(tenure_descriptor_create(me, "pipe", TENURE_OR_OPEN, pipe_of[0], &made));
    EXPECT(TENURE_ERR_NAME_TAKEN, tenure_descriptor_create(other, "pipe", 0, pipe_of[0], &none));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_descriptor_create(other, "pipe", TENURE_OR_OPEN, 987, &none));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_process_of(other, "pipe", TENURE_OR_OPEN, 0, &none));
    /* The flags accept a descriptor of another file. */
    EXPECT(TENURE_OPENED, tenure_descriptor_create(other, "pipe", TENURE_OR_OPEN, STDERR_FILENO, &theirs));
    OK(tenure_descriptor_fd(theirs, &fd));
    HOLDS(fstat(fd, &of_theirs) == 0 && fstat(pipe_of[0], &of_pipe) == 0);
    HOLDS(of_theirs.st_ino == of_pipe.st_ino && of_theirs.st_dev == of_pipe.st_dev);
    OK(tenure_object_close(theirs));
    OK(tenure_object_open_named(other, TENURE_DESCRIPTOR, "pipe", &theirs));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait(theirs, NOW));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_mutex_lock(theirs, NOW));
    OK(tenure_object_close(theirs));
    OK(tenure_object_close(made));
    close(pipe_of[0]);

    FILE *file = fopen(scratch, "w");
    HOLDS(file != NULL);
    fd = fileno(file);
    OK(tenure_share_enter(me, fd, TENURE_READ, TENURE_READ, &reading, &who));
    HOLDS(who.lease == 0 && who.pid == 0 && kind_of(reading) == TENURE_FILE_SHARE);
    OK(tenure_share_enter(other, fd, TENURE_READ, TENURE_READ | TENURE_WRITE, &also, NULL));
    EXPECT(TENURE_ERR_SHARING, tenure_share_enter(other, fd, TENURE_WRITE, TENURE_READ, &none, &who));
    OK(tenure_lease(me, &lease));
    HOLDS(none == NULL && who.lease == lease && who.pid == (uint32_t)getpid());
    HOLDS(who.access == TENURE_READ && who.sharing == TENURE_READ);
    EXPECT(TENURE_ERR_SHARING, tenure_share_enter(other, fd, TENURE_WRITE, TENURE_READ, &none, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_share_enter(me, fd, 8, 0, &none, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_share_enter(me, fd, 0, 8, &none, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_share_enter(me, -1, 0, 0, &none, NULL));
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    OK(tenure_share_modes(also, &access, &sharing));
    HOLDS(access == TENURE_READ && sharing == (TENURE_READ | TENURE_WRITE));
    OK(tenure_share_modes(reading, &access, NULL));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_share_modes(mutex, &access, &sharing));
    OK(tenure_object_close(mutex));
    OK(tenure_share_everybody(reading, NULL, 0, &count));
    HOLDS(count == 2);
    EXPECT(TENURE_ERR_BUFFER, tenure_share_everybody(reading, all, 1, &count));
    OK(tenure_share_everybody(also, all, 2, &count));
    HOLDS(all[0].access == TENURE_READ && all[1].access == TENURE_READ && all[0].lease != all[1].lease);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_object_token(reading, &lease));
    HOLDS(lease == 0);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_descriptor_fd(reading, &same));
    OK(tenure_object_close(reading));
    OK(tenure_share_enter(other, fd, TENURE_WRITE, TENURE_READ, &reading, NULL));
    OK(tenure_object_close(reading));
    OK(tenure_object_close(also));
    fclose(file);
    unlink(scratch);
    expect_unharmed(space, 0, 0);
}

/* The last of several objects in one thousand is found as fast as the first; and they are many. */
static void a_thousand(void)
{
    static tenure_object *all[1000];
    char name[20];
    tenure_object *found;
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "name %d", i);
        OK(tenure_event_create(me, name, 0, &all[i]));
    }
    OK(tenure_object_open_named(me, TENURE_ANY, "name 999", &found));
    HOLDS(token_of(found) == token_of(all[999]));
    OK(tenure_object_close(found));
    for (int i = 0; i < 1000; i++)
        OK(tenure_object_close(all[i]));
    expect_unharmed(space, 0, 0);
}

static void members(void)
{
    tenure_membership all[4];
    size_t count;
    uint64_t mine, theirs;
    OK(tenure_lease(me, &mine));
    OK(tenure_lease(other, &theirs));
    OK(tenure_space_members(space, NULL, 0, &count));
    HOLDS(count == 2);
    EXPECT(TENURE_ERR_BUFFER, tenure_space_members(space, all, 1, &count));
    HOLDS(count == 2);
    OK(tenure_space_members(space, all, 4, &count));
    HOLDS(count == 2 && all[0].alive == 1 && all[1].alive == 1 && all[0].lease != all[1].lease);
    for (int i = 0; i < 2; i++) {
        HOLDS(all[i].lease == mine || all[i].lease == theirs);
        HOLDS(all[i].pid == (uint32_t)getpid());
    }
}

static void on(uint32_t backend, const char *name, const char *scratch)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    options.backend = backend;
    options.members = 4;
    options.handles = 2048;
    options.scratch_bytes = 8 << 20;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_join(space, &me));
    OK(tenure_join(space, &other));
    members();
    mutexes();
    events();
    semaphores();
    many();
    names();
    processes();
    threads();
    files(scratch);
    a_thousand();
    /* An open object keeps the member. */
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    EXPECT(TENURE_ERR_IN_USE, tenure_leave(me));
    OK(tenure_object_close(mutex));
    OK(tenure_leave(me));
    OK(tenure_leave(other));
    OK(tenure_space_close(space));
}

/* The child of a fork joins by itself, does its part and then sleeps or ends; its objects are in `mutex` and so on. */
static pid_t child_that(void (*part)(tenure_member *mine))
{
    pid_t child = fork();
    if (child == 0) {
        tenure_member *mine;
        die_with_parent();
        OK(tenure_join(space, &mine));
        part(mine);
        exit(0);
    }
    HOLDS(child > 0);
    return child;
}

static void locks_and_waits_to_be_killed(tenure_member *mine)
{
    tenure_object *theirs, *ready;
    EXPECT(TENURE_OPENED, tenure_mutex_create(mine, "shared", TENURE_OR_OPEN, &theirs));
    OK(tenure_mutex_lock(theirs, TENURE_FOREVER));
    OK(tenure_object_open_named(mine, TENURE_ANY, "ready", &ready));
    OK(tenure_event_set(ready));
    for (;;)
        pause();
}

static void ends_with_seven(tenure_member *mine)
{
    tenure_object *go, *self;
    OK(tenure_object_open_named(mine, TENURE_EVENT_MANUAL, "go", &go));
    OK(tenure_object_open_named(mine, TENURE_PROCESS, "child", &self));
    OK(tenure_wait(go, TENURE_FOREVER));
    OK(tenure_process_exiting(self, 0x12307));
    EXPECT(TENURE_ERR_ANNOUNCED, tenure_process_exiting(self, 1));
    exit(7);
}

/* One of all the processes that are here at the same time is the leader, and everybody knows which. */
static void enters_itself(tenure_member *mine)
{
    tenure_object *leader, *leaders, *arrived, *go;
    uint32_t number;
    OK(tenure_object_open_named(mine, TENURE_SEMAPHORE, "leaders", &leaders));
    OK(tenure_object_open_named(mine, TENURE_SEMAPHORE, "arrived", &arrived));
    OK(tenure_object_open_named(mine, TENURE_EVENT_MANUAL, "go", &go));
    int entered = tenure_process_of(mine, "leader", TENURE_OR_OPEN, 0, &leader);
    OK(tenure_process_number(leader, &number, NULL));
    if (entered == TENURE_OK)
        OK(tenure_semaphore_release(leaders, 1, NULL));
    else
        EXPECT(TENURE_OPENED, entered);
    HOLDS((number == (uint32_t)getpid()) == (entered == TENURE_OK));
    OK(tenure_semaphore_release(arrived, 1, NULL));
    OK(tenure_wait(go, TENURE_FOREVER));
    tenure_object *all[] = { leader, leaders, arrived, go };
    for (int i = 0; i < 4; i++)
        OK(tenure_object_close(all[i]));
    OK(tenure_leave(mine));
}

static void waits_to_be_killed(tenure_member *mine)
{
    (void)mine;
    for (;;)
        pause();
}

/* Children: the first of them makes the objects. */
static void between_processes(uint32_t backend, const char *name)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    tenure_object *ready, *process, *again, *go;
    tenure_exit exit;
    uint32_t number;
    uint64_t started;
    size_t index;
    options.backend = backend;
    options.members = 8;
    options.handles = 64;
    options.scratch_bytes = 1 << 20;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_join(space, &me));
    OK(tenure_mutex_create(me, "shared", 0, &mutex));
    OK(tenure_event_create(me, "ready", 0, &ready));
    OK(tenure_event_create(me, "go", TENURE_MANUAL_RESET, &go));

    /* A mutex's owner is killed. */
    for (int round = 0; round < 3; round++) {
        pid_t child = child_that(locks_and_waits_to_be_killed);
        OK(tenure_wait(ready, TENURE_FOREVER));
        OK(tenure_process_of(me, NULL, 0, (uint32_t)child, &process));
        OK(tenure_process_number(process, &number, &started));
        HOLDS(number == (uint32_t)child && started != 0);
        tenure_object *both[] = { mutex, process };
        EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_any(both, 2, NOW, &index));
        kill(child, SIGKILL);
        /* Both come, in any order. */
        EXPECT(TENURE_ABANDONED, tenure_mutex_lock(mutex, TENURE_FOREVER));
        OK(tenure_mutex_unlock(mutex));
        OK(tenure_wait(process, TENURE_FOREVER));
        OK(tenure_mutex_lock(mutex, NOW));
        OK(tenure_mutex_unlock(mutex));
        OK(tenure_process_exit(process, &exit));
        HOLDS(exit.how == TENURE_KILLED && exit.code == SIGKILL);
        expect_end(child, SIGKILL);
        OK(tenure_process_exit(process, &exit));
        HOLDS(exit.how == TENURE_KILLED && exit.code == SIGKILL && exit.core_dumped == 0);
        OK(tenure_object_close(process));
    }

    /* The code of one that ends by itself. */
    int released[2];
    char byte;
    HOLDS(pipe(released) == 0);
    pid_t child = fork();
    if (child == 0) {
        tenure_member *mine;
        die_with_parent();
        HOLDS(read(released[0], &byte, 1) == 1);
        OK(tenure_join(space, &mine));
        ends_with_seven(mine);
    }
    OK(tenure_process_of(me, "child", 0, (uint32_t)child, &process));
    HOLDS(write(released[1], "x", 1) == 1);
    OK(tenure_process_exit(process, &exit));
    HOLDS(exit.how == TENURE_RUNS);
    OK(tenure_object_open(me, TENURE_PROCESS, token_of(process), &again));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_process_exiting(process, 1));
    OK(tenure_event_set(go));
    OK(tenure_wait(again, TENURE_FOREVER));
    int status = 0;
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
    OK(tenure_process_reaped(process, status));
    OK(tenure_process_exit(again, &exit));
    HOLDS(exit.how == TENURE_EXITED && exit.code == 0x12307);
    OK(tenure_object_close(again));
    OK(tenure_object_close(process));
    close(released[0]);
    close(released[1]);
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_process_of(me, NULL, 0, (uint32_t)child, &process));
    HOLDS(process == NULL);

    /* Ourselves. */
    OK(tenure_process_of(me, NULL, 0, 0, &process));
    OK(tenure_process_number(process, &number, NULL));
    HOLDS(number == (uint32_t)getpid());
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait(process, SECOND / 1000));
    OK(tenure_object_close(process));
    child = child_that(waits_to_be_killed);
    OK(tenure_process_of(me, NULL, 0, (uint32_t)child, &process));
    kill(child, SIGTERM);
    OK(tenure_wait_any(&process, 1, TENURE_FOREVER, &index));
    OK(tenure_process_exit(process, &exit));
    HOLDS(exit.how == TENURE_KILLED && exit.code == SIGTERM);
    expect_end(child, SIGTERM);
    OK(tenure_object_close(process));

    /* Several create or open at the same time. */
    tenure_object *leaders, *arrived;
    pid_t all[3];
    OK(tenure_event_reset(go, NULL));
    OK(tenure_semaphore_create(me, "leaders", 0, 0, 3, &leaders));
    OK(tenure_semaphore_create(me, "arrived", 0, 0, 3, &arrived));
    for (int i = 0; i < 3; i++)
        all[i] = child_that(enters_itself);
    for (int i = 0; i < 3; i++)
        OK(tenure_wait(arrived, TENURE_FOREVER));
    OK(tenure_semaphore_count(leaders, &number, NULL));
    HOLDS(number == 1);
    EXPECT(TENURE_OPENED, tenure_process_of(me, "leader", TENURE_OR_OPEN, 0, &process));
    OK(tenure_process_number(process, &number, NULL));
    HOLDS(number == (uint32_t)all[0] || number == (uint32_t)all[1] || number == (uint32_t)all[2]);
    OK(tenure_event_set(go));
    for (int i = 0; i < 3; i++)
        expect_end(all[i], 0);
    OK(tenure_object_close(process));
    OK(tenure_object_close(leaders));
    OK(tenure_object_close(arrived));

    OK(tenure_object_close(mutex));
    OK(tenure_object_close(ready));
    OK(tenure_object_close(go));
    OK(tenure_recover(me, NULL));
    expect_unharmed(space, 0, 0);
    OK(tenure_leave(me));
    OK(tenure_space_close(space));
}

int main(int argc, char **argv)
{
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    char scratch[200];
    /* Removed by the test as well. */
    snprintf(scratch, sizeof scratch, "/tmp/tenure-%s", argv[1]);
    on(TENURE_SHM, argv[1], scratch);
    on(TENURE_MEMFD, NULL, scratch);
    on(TENURE_ANONYMOUS, NULL, scratch);
    on(TENURE_SYSV, argv[1], scratch);
    on(TENURE_PRIVATE, NULL, scratch);
    OK(tenure_space_remove(TENURE_SYSV, argv[1], 0));
    OK(tenure_space_remove(TENURE_SHM, argv[1], 0));
#ifdef __SANITIZE_ADDRESS__
    /* The locks of its allocator stay locked in a child that is forked while another thread, the monitor, has them. */
    (void)between_processes;
#else
    between_processes(TENURE_SHM, argv[1]);
    between_processes(TENURE_ANONYMOUS, NULL);
    /* A thread of ours that waited for the dead process may hold the lock of its lease for another moment. */
    OK(tenure_space_remove(TENURE_SHM, argv[1], 1));
#endif
    puts("objects: ok");
    return 0;
}
