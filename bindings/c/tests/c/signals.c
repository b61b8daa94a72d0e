/* Signals during waits: a thread waits, and gets a signal again and again until it is done. A wait that does not end by
 * the signal ends by its time, and is not what is expected. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>
#include <time.h>

static const uint64_t MINUTE = 60 * (uint64_t)1000000000;

static volatile sig_atomic_t handled;
static tenure_object *objects[3];
static size_t count;
static uint32_t flags;
static volatile int done;

static void handler(int signal)
{
    (void)signal;
    handled = handled + 1;
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void *waits(void *status)
{
    size_t index = 99;
    uint64_t abandoned = 99;
    uint64_t time = flags & TENURE_DEADLINE ? now() + MINUTE : MINUTE;
    *(int *)status = tenure_wait_with(objects, count, flags, time, &index, &abandoned);
    HOLDS(abandoned == 0);
    HOLDS(index == (*(int *)status == TENURE_OK ? 0 : count));
    __atomic_store_n(&done, 1, __ATOMIC_RELEASE);
    return NULL;
}

/* Waits in another thread, and signals it until it is done, or `times` times; then signals `event`. */
static int signalled(int times, const tenure_object *event)
{
    static const struct timespec pause = {0, 1000000};
    pthread_t thread;
    int status = 99;
    handled = 0;
    done = 0;
    HOLDS(pthread_create(&thread, NULL, waits, &status) == 0);
    while (!__atomic_load_n(&done, __ATOMIC_ACQUIRE) && handled < times) {
        HOLDS(pthread_kill(thread, SIGUSR1) == 0);
        nanosleep(&pause, NULL);
    }
    if (event)
        OK(tenure_event_set(event));
    HOLDS(pthread_join(thread, NULL) == 0);
    return status;
}

static void interrupted(size_t objects_count, uint32_t more)
{
    uint32_t deadline;
    for (deadline = 0; deadline <= TENURE_DEADLINE; deadline += TENURE_DEADLINE) {
        count = objects_count;
        flags = TENURE_INTERRUPTIBLE | more | deadline;
        EXPECT(TENURE_ERR_INTERRUPTED, signalled(1 << 30, NULL));
    }
}

int main(int argc, char **argv)
{
    tenure_options options = TENURE_OPTIONS_INIT;
    struct sigaction action;
    tenure_space *space;
    tenure_member *me;
    tenure_object *mutex, *recursive, *event, *set, *semaphore, *process;
    size_t index = 99;
    uint32_t free_permits;
    int is, recursion;
    (void)argc;
    (void)argv;
    options.backend = TENURE_ANONYMOUS;
    OK(tenure_space_open(&options, NULL, &space));
    OK(tenure_join(space, &me));
    OK(tenure_mutex_create(me, NULL, 0, &mutex));
    OK(tenure_mutex_create(me, NULL, TENURE_RECURSIVE, &recursive));
    OK(tenure_event_create(me, NULL, 0, &event));
    OK(tenure_event_create(me, NULL, TENURE_SIGNALLED, &set));
    OK(tenure_semaphore_create(me, NULL, 0, 0, 3, &semaphore));
    OK(tenure_process_of(me, NULL, 0, 0, &process));
    /* Without SA_RESTART. */
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    HOLDS(sigaction(SIGUSR1, &action, NULL) == 0);

    /* Each kind alone. */
    for (recursion = 0; recursion < 2; recursion++) {
        objects[0] = recursion ? recursive : mutex;
        OK(tenure_mutex_lock(objects[0], 0));
        interrupted(1, 0);
        OK(tenure_mutex_unlock(objects[0]));
        OK(tenure_mutex_lock(objects[0], 0));
        OK(tenure_mutex_unlock(objects[0]));
    }
    objects[0] = event;
    interrupted(1, 0);
    objects[0] = semaphore;
    interrupted(1, 0);
    objects[0] = process;
    interrupted(1, 0);
    OK(tenure_semaphore_release(semaphore, 1, NULL));
    OK(tenure_semaphore_count(semaphore, &free_permits, NULL));
    HOLDS(free_permits == 1);
    OK(tenure_wait(semaphore, 0));

    /* Any, and all: what is available is not taken. */
    objects[0] = event;
    objects[1] = semaphore;
    objects[2] = process;
    interrupted(3, 0);
    objects[0] = set;
    interrupted(2, TENURE_ALL);
    OK(tenure_event_is_set(set, &is));
    HOLDS(is == 1);

    /* Other waits go on. */
    objects[0] = event;
    count = 1;
    flags = 0;
    OK(signalled(20, event));
    flags = TENURE_DEADLINE;
    OK(signalled(20, event));
    HOLDS(handled >= 20);

    /* Deadlines, and what flags there are. */
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_with(objects, 1, TENURE_DEADLINE, now() + 1000000, &index, NULL));
    HOLDS(index == 1);
    EXPECT(TENURE_ERR_TIMEOUT, tenure_wait_with(objects, 2, TENURE_DEADLINE, 0, NULL, NULL));
    EXPECT(TENURE_ERR_ARGUMENT, tenure_wait_with(objects, 1, 8, 0, NULL, NULL));
    EXPECT(TENURE_ERR_NULL, tenure_wait_with(NULL, 1, 0, 0, NULL, NULL));
    objects[0] = set;
    OK(tenure_wait_with(objects, 1, TENURE_DEADLINE, TENURE_FOREVER, &index, NULL));
    HOLDS(index == 0);

    /* An owner can hand a mutex on as abandoned. */
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_abandon(mutex));
    OK(tenure_mutex_lock(mutex, 0));
    OK(tenure_mutex_abandon(mutex));
    EXPECT(TENURE_ABANDONED, tenure_mutex_lock(mutex, 0));
    OK(tenure_mutex_unlock(mutex));
    OK(tenure_mutex_lock(mutex, 0));
    OK(tenure_mutex_unlock(mutex));
    puts("signals: ok");
    return 0;
}
