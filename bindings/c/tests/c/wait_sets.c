/* Sets of waits on an event loop: every kind of object, beside a pipe, between processes of which one is killed. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

enum { KIND = 7 };

static const uint64_t NOW = 0, FOREVER = TENURE_FOREVER;

static tenure_space *space;
static tenure_member *me, *other;
static tenure_local *mine;
static tenure_wait_set *set;
static int fd;

static int is_readable(void)
{
    struct pollfd polled = { fd, POLLIN, 0 };
    HOLDS(poll(&polled, 1, 0) >= 0);
    return polled.revents != 0;
}

/* Nothing is done. */
static void expect_none(void)
{
    tenure_wait_done done = { 9, 9, 9, { 9, NULL, 9 } };
    EXPECT(TENURE_END, tenure_wait_set_take(set, &done));
    HOLDS(done.tag == 0 && done.status == 0 && done.permit == 0 && done.handle.token == 0);
    HOLDS(!is_readable());
}

/* The next wait that is done, by poll. */
static tenure_wait_done next(uint64_t tag, int status)
{
    tenure_wait_done done;
    int result;
    while ((result = tenure_wait_set_take(set, &done)) == TENURE_END) {
        struct pollfd polled = { fd, POLLIN, 0 };
        HOLDS(poll(&polled, 1, 60000) == 1);
    }
    EXPECT(TENURE_OK, result);
    EXPECT(status, done.status);
    HOLDS(done.tag == tag);
    return done;
}

static void one_of_each_kind(void)
{
    tenure_object *event, *mutex, *semaphore, *rwlock, *permits, *queue, *process, *locked, *again;
    tenure_wait_done done;
    tenure_exit ended;
    uint64_t permit, token;
    OK(tenure_event_create(me, NULL, 0, &event));
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    OK(tenure_semaphore_create(me, NULL, 0, 0, 9, &semaphore));
    OK(tenure_rwlock_create(me, NULL, 0, &rwlock));
    OK(tenure_permits_create(me, NULL, 0, 1, &permits));
    OK(tenure_queue_create(me, NULL, 0, KIND, 2, &queue));
    OK(tenure_locked_create(me, NULL, 0, KIND, "x", 1, &locked));
    pid_t child = fork();
    if (child == 0) {
        die_with_parent();
        for (;;)
            pause();
    }
    OK(tenure_process_of(me, NULL, 0, (uint32_t)child, &process));

    /* All block at first. */
    OK(tenure_mutex_lock(mutex, NOW));
    OK(tenure_rwlock_write(rwlock, NOW));
    OK(tenure_permits_acquire(permits, 0, NOW, &permit));
    OK(tenure_wait_set_insert(set, event, TENURE_WHAT_OBJECT, 1));
    OK(tenure_wait_set_insert(set, mutex, TENURE_WHAT_OBJECT, 2));
    OK(tenure_wait_set_insert(set, semaphore, TENURE_WHAT_OBJECT, 3));
    OK(tenure_wait_set_insert(set, process, TENURE_WHAT_OBJECT, 4));
    OK(tenure_wait_set_insert(set, rwlock, TENURE_WHAT_READ, 5));
    OK(tenure_wait_set_insert(set, permits, TENURE_WHAT_PERMIT, 6));
    OK(tenure_wait_set_insert(set, queue, TENURE_WHAT_POP, 7));
    OK(tenure_wait_set_insert(set, queue, TENURE_WHAT_CLAIM, 8));
    HOLDS(is_readable());
    expect_none();
    EXPECT(TENURE_ERR_IN_USE, tenure_object_close(event));
    EXPECT(TENURE_ERR_IN_USE, tenure_leave(me));

    OK(tenure_event_set(event));
    (void)next(1, TENURE_OK);
    OK(tenure_mutex_unlock(mutex));
    (void)next(2, TENURE_OK);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(mutex, NOW));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock(mutex));
    OK(tenure_mutex_unlock_task(mutex));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock_task(mutex));
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    (void)next(3, TENURE_OK);
    HOLDS(kill(child, SIGKILL) == 0);
    (void)next(4, TENURE_OK);
    OK(tenure_process_exit(process, &ended));
    HOLDS(ended.how == TENURE_KILLED && ended.code == SIGKILL);
    expect_end(child, SIGKILL);
    OK(tenure_rwlock_unlock_write(rwlock));
    (void)next(5, TENURE_OK);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_rwlock_write(rwlock, NOW));
    OK(tenure_rwlock_unlock_read(rwlock));
    OK(tenure_permits_give_back(permits, permit));
    done = next(6, TENURE_OK);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_permits_acquire(permits, 0, NOW, &permit));
    OK(tenure_permits_give_back(permits, done.permit));
    /* Two consumers of one queue: each gets one of two elements. */
    OK(tenure_queue_push(queue, "a", 1, 0, NOW));
    OK(tenure_queue_push(queue, "b", 1, 0, NOW));
    int popped = 0, claimed = 0;
    for (int round = 0; round < 2; round++) {
        int result;
        while ((result = tenure_wait_set_take(set, &done)) == TENURE_END) {
            struct pollfd polled = { fd, POLLIN, 0 };
            HOLDS(poll(&polled, 1, 60000) == 1);
        }
        EXPECT(TENURE_OK, done.status);
        HOLDS(done.handle.size == 1);
        if (done.tag == 7) {
            popped++;
            OK(tenure_close(mine, done.handle.token));
        } else {
            HOLDS(done.tag == 8);
            claimed++;
            OK(tenure_queue_ack(queue, done.handle.token));
        }
    }
    HOLDS(popped == 1 && claimed == 1);
    expect_none();

    /* A full queue. */
    OK(tenure_queue_push(queue, "a", 1, 0, NOW));
    OK(tenure_queue_push(queue, "b", 1, 0, NOW));
    OK(tenure_wait_set_insert_push(set, queue, "c", 1, 9));
    expect_none();
    OK(tenure_queue_pop(queue, 0, NOW, &done.handle));
    OK(tenure_close(mine, done.handle.token));
    (void)next(9, TENURE_OK);

    /* What is free needs no wait. A lock that is abandoned is told. */
    OK(tenure_object_token(mutex, &token));
    OK(tenure_object_open(other, TENURE_MUTEX, token, &again));
    OK(tenure_mutex_lock(again, NOW));
    OK(tenure_object_close(again));
    OK(tenure_wait_set_insert(set, mutex, TENURE_WHAT_OBJECT, 2));
    (void)next(2, TENURE_ABANDONED);
    OK(tenure_mutex_abandon_task(mutex));
    EXPECT(TENURE_ABANDONED, tenure_mutex_lock(mutex, NOW));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_wait_set_insert(set, rwlock, TENURE_WHAT_WRITE, 5));
    (void)next(5, TENURE_OK);
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_rwlock_unlock_write(rwlock));
    OK(tenure_rwlock_abandon_task(rwlock));
    OK(tenure_wait_set_insert(set, rwlock, TENURE_WHAT_WRITE, 5));
    (void)next(5, TENURE_ABANDONED);
    OK(tenure_rwlock_unlock_write_task(rwlock));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_rwlock_unlock_write_task(rwlock));

    /* Removed, it takes nothing; another of the same tag takes its place. */
    OK(tenure_wait_set_insert(set, semaphore, TENURE_WHAT_OBJECT, 3));
    OK(tenure_wait_set_insert(set, semaphore, TENURE_WHAT_OBJECT, 3));
    expect_none();
    OK(tenure_wait_set_remove(set, 3));
    EXPECT(TENURE_ERR_NOT_FOUND, tenure_wait_set_remove(set, 3));
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    uint32_t count;
    OK(tenure_semaphore_count(semaphore, &count, NULL));
    HOLDS(count == 1);

    /* Bad input. */
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert(set, event, TENURE_WHAT_READ, 1));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert(set, event, TENURE_WHAT_POP, 1));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert(set, event, TENURE_WHAT_PERMIT, 1));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert(set, queue, TENURE_WHAT_OBJECT, 1));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert_push(set, event, "x", 1, 1));
    EXPECT(TENURE_ERR_NULL, tenure_wait_set_insert_push(set, queue, NULL, 1, 1));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_set_insert(set, event, 6, 1));
    EXPECT(TENURE_ERR_NULL, tenure_wait_set_insert(NULL, event, 0, 1));
    EXPECT(TENURE_ERR_CLOSED, tenure_wait_set_insert((tenure_wait_set *)event, event, 0, 1));
    EXPECT(TENURE_ERR_CLOSED, tenure_wait_set_insert(set, (tenure_object *)set, 0, 1));
    EXPECT(TENURE_ERR_NULL, tenure_wait_set_take(set, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_wait_set_fd(set, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_wait_set_create(me, NULL));
    expect_none();

    OK(tenure_object_close(event));
    OK(tenure_object_close(mutex));
    OK(tenure_object_close(semaphore));
    OK(tenure_object_close(rwlock));
    OK(tenure_object_close(permits));
    OK(tenure_object_close(queue));
    OK(tenure_object_close(process));
    OK(tenure_object_close(locked));
}

static void *notify(void *condvar)
{
    tenure_object *mutex;
    OK(tenure_object_open_named(other, TENURE_MUTEX, "guard", &mutex));
    /* The set gives it up when it waits. */
    OK(tenure_mutex_lock(mutex, FOREVER));
    OK(tenure_condvar_notify((tenure_object *)condvar));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_object_close(mutex));
    return NULL;
}

static void condition_variables(void)
{
    tenure_object *mutex, *condvar;
    pthread_t thread;
    OK(tenure_mutex_create(me, "guard", 0, &mutex));
    OK(tenure_condvar_create(me, NULL, 0, &condvar));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_wait_set_insert_condvar(set, condvar, mutex, 1));
    OK(tenure_mutex_lock(mutex, NOW));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_wait_set_insert_condvar(set, condvar, mutex, 1));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_wait_set_insert(set, mutex, TENURE_WHAT_OBJECT, 1));
    (void)next(1, TENURE_OK);
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert_condvar(set, mutex, mutex, 1));
    EXPECT(TENURE_ERR_FOREIGN_KIND, tenure_wait_set_insert_condvar(set, condvar, condvar, 1));
    OK(tenure_wait_set_insert_condvar(set, condvar, mutex, 1));
    HOLDS(pthread_create(&thread, NULL, notify, condvar) == 0);
    (void)next(1, TENURE_OK);
    HOLDS(pthread_join(thread, NULL) == 0);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(mutex, NOW));
    OK(tenure_mutex_unlock_task(mutex));
    OK(tenure_object_close(mutex));
    OK(tenure_object_close(condvar));
}

/* Another process sets an event and writes into a pipe, in turn: epoll waits for both. */
static void beside_a_pipe(void)
{
    enum { ROUNDS = 50 };
    tenure_object *event, *answer;
    int ends[2], epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event entry;
    OK(tenure_event_create(me, "go", 0, &event));
    OK(tenure_event_create(me, "answer", 0, &answer));
    HOLDS(pipe2(ends, O_CLOEXEC) == 0 && epoll >= 0);
    entry.events = EPOLLIN;
    entry.data.u64 = 1;
    HOLDS(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &entry) == 0);
    entry.data.u64 = 2;
    HOLDS(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &entry) == 0);
    pid_t child = fork();
    if (child == 0) {
        tenure_member *member;
        tenure_object *go, *turn;
        tenure_wait_done done;
        die_with_parent();
        EXPECT(TENURE_ERR_FORKED, tenure_wait_set_insert(set, event, TENURE_WHAT_OBJECT, 1));
        EXPECT(TENURE_ERR_FORKED, tenure_wait_set_take(set, &done));
        EXPECT(TENURE_ERR_FORKED, tenure_wait_set_remove(set, 1));
        OK(tenure_wait_set_close(set));
        OK(tenure_join(space, &member));
        OK(tenure_object_open_named(member, TENURE_ANY, "go", &go));
        OK(tenure_object_open_named(member, TENURE_ANY, "answer", &turn));
        for (int round = 0; round < ROUNDS; round++) {
            if (round % 2)
                HOLDS(write(ends[1], "x", 1) == 1);
            else
                OK(tenure_event_set(go));
            OK(tenure_wait(turn, FOREVER));
        }
        _exit(0); /* what the parent had is no leak of the child */
    }
    OK(tenure_wait_set_insert(set, event, TENURE_WHAT_OBJECT, 5));
    for (int round = 0; round < ROUNDS;) {
        tenure_wait_done done;
        char byte;
        HOLDS(epoll_wait(epoll, &entry, 1, 60000) == 1);
        if (entry.data.u64 == 2) {
            HOLDS(round % 2 == 1 && read(ends[0], &byte, 1) == 1);
        } else if (tenure_wait_set_take(set, &done) == TENURE_OK) {
            HOLDS(round % 2 == 0 && done.tag == 5 && done.status == TENURE_OK);
            OK(tenure_wait_set_insert(set, event, TENURE_WHAT_OBJECT, 5));
        } else {
            continue;
        }
        OK(tenure_event_set(answer));
        round++;
    }
    expect_end(child, 0);

    /* The same by one call. */
    const int fds[1] = { ends[0] };
    tenure_object *objects[1] = { event };
    size_t index = 9;
    OK(tenure_wait_set_remove(set, 5));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_any_or_fd(objects, 1, fds, 1, NOW, &index));
    HOLDS(index == 0);
    HOLDS(write(ends[1], "x", 1) == 1);
    OK(tenure_wait_any_or_fd(objects, 1, fds, 1, FOREVER, &index));
    HOLDS(index == 1);
    OK(tenure_wait_any_or_fd(NULL, 0, fds, 1, FOREVER, &index));
    HOLDS(index == 0);
    OK(tenure_event_set(event));
    OK(tenure_wait_any_or_fd(objects, 1, fds, 1, FOREVER, &index));
    HOLDS(index == 0);
    EXPECT(TENURE_ERR_NULL, tenure_wait_any_or_fd(NULL, 1, fds, 1, NOW, &index));
    EXPECT(TENURE_ERR_NULL, tenure_wait_any_or_fd(objects, 1, NULL, 1, NOW, &index));
    const int none[1] = { -1 };
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_any_or_fd(objects, 1, none, 1, NOW, &index));
    close(ends[0]);
    close(ends[1]);
    close(epoll);
    OK(tenure_object_close(event));
    OK(tenure_object_close(answer));
}

int main(void)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    options.backend = TENURE_MEMFD;
    options.handles = 256;
    options.scratch_bytes = 4 << 20;
    options.container_slots = 64;
    OK(tenure_space_open(&options, NULL, &space));
    OK(tenure_join(space, &me));
    OK(tenure_join(space, &other));
    OK(tenure_local_open(me, &mine));
    OK(tenure_wait_set_create(me, &set));
    OK(tenure_wait_set_fd(set, &fd));
    expect_none();
    one_of_each_kind();
    condition_variables();
    beside_a_pipe();
    tenure_object *event;
    OK(tenure_event_create(me, NULL, 0, &event));
    OK(tenure_wait_set_insert(set, event, TENURE_WHAT_OBJECT, 1));
    expect_none();
    EXPECT(TENURE_ERR_IN_USE, tenure_object_close(event));
    OK(tenure_wait_set_close(set));
    EXPECT(TENURE_ERR_CLOSED, tenure_wait_set_close(set));
    OK(tenure_object_close(event));
    OK(tenure_local_close(mine));
    OK(tenure_leave(me));
    OK(tenure_leave(other));
    expect_unharmed(space, 0, 0);
    OK(tenure_space_close(space));
    puts("wait sets: ok");
    return 0;
}
