/* A forked child is no member: its calls are refused and harm nothing. It may join by itself. */
#define _GNU_SOURCE 1
#include "expect.h"

#include <pthread.h>

enum { KIND = 7 };

/* The locks of AddressSanitizer's allocator stay locked in a child that is forked while another thread holds them. */
#ifdef __SANITIZE_ADDRESS__
#define FLAGS TENURE_NO_MONITOR
#else
#define FLAGS 0
#endif

static tenure_space *space;
static tenure_member *member;
static tenure_local *local;
static tenure_handle handle;
static tenure_block block;
static tenure_object *mutex, *event, *semaphore, *process, *descriptor, *share;

static void inherited(void)
{
    const int forked = TENURE_ERR_FORKED;
    tenure_local *other;
    tenure_handle no_handle;
    tenure_block no_block;
    uint64_t number = 0;
    int integer;
    EXPECT(forked, tenure_recover(member, NULL));
    EXPECT(forked, tenure_trim(member, NULL));
    EXPECT(forked, tenure_local_open(member, &other));
    EXPECT(forked, tenure_local_open_unbound(member, &other));
    EXPECT(forked, tenure_create(local, KIND, "x", 1, &no_handle));
    EXPECT(forked, tenure_create_with(local, KIND, block.offset, 1, &no_handle));
    EXPECT(forked, tenure_open(local, KIND, handle.token, &no_handle));
    EXPECT(forked, tenure_get(local, KIND, handle.token, &no_handle));
    EXPECT(forked, tenure_close(local, handle.token));
    EXPECT(forked, tenure_word_load(local, KIND, handle.token, 0, &number));
    EXPECT(forked, tenure_word_store(local, KIND, handle.token, 0, 1));
    EXPECT(forked, tenure_word_add(local, KIND, handle.token, 0, 1, &number));
    EXPECT(forked, tenure_word_exchange(local, KIND, handle.token, 0, &number, 1, &integer));
    EXPECT(forked, tenure_alloc(local, 64, 0, &no_block));
    EXPECT(forked, tenure_alloc_zeroed(local, 64, 0, &no_block));
    EXPECT(forked, tenure_realloc(local, block.offset, 640, 0, &no_block));
    EXPECT(forked, tenure_free(local, block.offset));
    EXPECT(forked, tenure_free_of(local, block.offset, 256));
    EXPECT(forked, tenure_block_at(local, block.offset, &no_block));
    EXPECT(forked, tenure_block_of(local, block.offset, 256, &no_block));
    EXPECT(forked, tenure_pin(local, block.offset));
    EXPECT(forked, tenure_free_pinned(local, block.offset));
    tenure_object *none = (tenure_object *)1;
    tenure_exit ended;
    uint32_t narrow;
    size_t index;
    EXPECT(forked, tenure_create_named(local, "new", 0, KIND, "x", 1, &no_handle));
    EXPECT(forked, tenure_open_named(local, "mutex", KIND, &no_handle));
    EXPECT(forked, tenure_look_up(member, "mutex", &number, NULL));
    EXPECT(forked, tenure_mutex_create(member, NULL, 0, &none));
    HOLDS(none == NULL);
    EXPECT(forked, tenure_event_create(member, NULL, 0, &none));
    EXPECT(forked, tenure_semaphore_create(member, NULL, 0, 0, 1, &none));
    EXPECT(forked, tenure_process_of(member, NULL, 0, 0, &none));
    EXPECT(forked, tenure_thread_of(member, NULL, 0, 0, &none));
    EXPECT(forked, tenure_object_open(member, TENURE_ANY, handle.token, &none));
    EXPECT(forked, tenure_object_open_named(member, TENURE_ANY, "mutex", &none));
    EXPECT(forked, tenure_mutex_lock(mutex, 0));
    EXPECT(forked, tenure_mutex_unlock(mutex));
    EXPECT(forked, tenure_mutex_owner(mutex, &integer, NULL, NULL));
    EXPECT(forked, tenure_event_set(event));
    EXPECT(forked, tenure_event_reset(event, NULL));
    EXPECT(forked, tenure_event_is_set(event, &integer));
    EXPECT(forked, tenure_semaphore_release(semaphore, 1, NULL));
    EXPECT(forked, tenure_semaphore_count(semaphore, &narrow, NULL));
    EXPECT(forked, tenure_process_exit(process, &ended));
    EXPECT(forked, tenure_process_number(process, &narrow, NULL));
    EXPECT(forked, tenure_process_reaped(process, 0));
    EXPECT(forked, tenure_process_exiting(process, 0));
    EXPECT(forked, tenure_descriptor_create(member, NULL, 0, 0, &none));
    EXPECT(forked, tenure_descriptor_fd(descriptor, &integer));
    EXPECT(forked, tenure_share_enter(member, 0, 0, 0, &none, NULL));
    EXPECT(forked, tenure_share_everybody(share, NULL, 0, &index));
    EXPECT(forked, tenure_share_modes(share, &narrow, NULL));
    EXPECT(forked, tenure_mutex_is_recursive(mutex, &integer));
    EXPECT(forked, tenure_object_close(descriptor));
    EXPECT(forked, tenure_object_close(share));
    tenure_object *all[] = { mutex, event, semaphore, process };
    for (int i = 0; i < 4; i++) {
        EXPECT(forked, tenure_object_token(all[i], &number));
        EXPECT(forked, tenure_object_kind_of(all[i], &narrow));
        EXPECT(forked, tenure_wait(all[i], 0));
        EXPECT(forked, tenure_wait_any(&all[i], 1, 0, &index));
        EXPECT(forked, tenure_wait_all(&all[i], 1, 0, NULL));
        EXPECT(forked, tenure_object_close(all[i]));
    }
    EXPECT(forked, tenure_local_close(local));
    EXPECT(forked, tenure_leave(member));
    HOLDS(strstr(tenure_last_error(), "forked child") != NULL);
}

static void by_itself(void)
{
    tenure_member *child;
    tenure_local *mine;
    tenure_handle opened;
    tenure_stats stats;
    OK(tenure_space_stats(space, &stats));
    HOLDS(stats.members_live == 1 && stats.handles_live == 7);
    OK(tenure_join(space, &child));
    OK(tenure_local_open(child, &mine));
    /* Its parent has it. */
    tenure_object *theirs;
    OK(tenure_object_open_named(child, TENURE_MUTEX, "mutex", &theirs));
    EXPECT(TENURE_ERR_TIMEOUT, tenure_mutex_lock(theirs, 0));
    EXPECT(TENURE_ERR_NOT_OWNER, tenure_mutex_unlock(theirs));
    OK(tenure_object_close(theirs));
    OK(tenure_open(mine, KIND, handle.token, &opened));
    HOLDS(opened.size == 8 && memcmp(opened.data, "parent's", 8) == 0);
    EXPECT(TENURE_ERR_WRONG_OWNER, tenure_free(mine, block.offset));
    OK(tenure_close(mine, handle.token));
    OK(tenure_local_close(mine));
    OK(tenure_leave(child));
    OK(tenure_space_close(space));
}

static int over;

/* Is always in the middle of something. */
static void *busy(void *nothing)
{
    (void)nothing;
    while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
        tenure_local *mine;
        tenure_handle made;
        tenure_block own;
        tenure_stats stats;
        OK(tenure_local_open(member, &mine));
        OK(tenure_create(mine, KIND, "busy", 4, &made));
        OK(tenure_alloc(mine, 100, 0, &own));
        OK(tenure_space_stats(space, &stats));
        OK(tenure_free(mine, own.offset));
        OK(tenure_close(mine, made.token));
        OK(tenure_local_close(mine));
    }
    return NULL;
}

/* Children of a process whose other threads are somewhere in the library find it usable. */
static void while_others_work(const char *name)
{
    enum { THREADS = 3, ROUNDS = 100 };
    pthread_t threads[THREADS];
    tenure_options options = TENURE_OPTIONS_INIT;
    options.members = 4;
    options.scratch_bytes = 1 << 20;
    OK(tenure_space_open(&options, name, &space));
    OK(tenure_join(space, &member));
    for (int i = 0; i < THREADS; i++)
        HOLDS(pthread_create(&threads[i], NULL, busy, NULL) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        pid_t child = fork();
        if (child == 0) {
            tenure_member *own;
            tenure_local *mine;
            tenure_handle made;
            die_with_parent();
            EXPECT(TENURE_ERR_FORKED, tenure_local_open(member, &mine));
            EXPECT(TENURE_ERR_FORKED, tenure_recover(member, NULL));
            OK(tenure_join(space, &own));
            OK(tenure_local_open(own, &mine));
            OK(tenure_create(mine, KIND, "child's", 7, &made));
            OK(tenure_close(mine, made.token));
            OK(tenure_local_close(mine));
            OK(tenure_leave(own));
            _exit(0);
        }
        expect_end(child, 0);
    }
    __atomic_store_n(&over, 1, __ATOMIC_SEQ_CST);
    for (int i = 0; i < THREADS; i++)
        HOLDS(pthread_join(threads[i], NULL) == 0);
    expect_unharmed(space, 0, 0);
    OK(tenure_leave(member));
    OK(tenure_space_close(space));
}

int main(int argc, char **argv)
{
    static const uint32_t backends[] = { TENURE_SHM, TENURE_MEMFD, TENURE_ANONYMOUS };
    HOLDS(argc == 2); /* a name that nobody else uses */
    die_with_parent();
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        tenure_options options = TENURE_OPTIONS_INIT;
        options.backend = backends[i];
        options.flags = FLAGS;
        options.members = 4;
        options.scratch_bytes = 1 << 20;
        OK(tenure_space_open(&options, backends[i] == TENURE_SHM ? argv[1] : NULL, &space));
        OK(tenure_join(space, &member));
        OK(tenure_local_open(member, &local));
        OK(tenure_create(local, KIND, "parent's", 8, &handle));
        OK(tenure_alloc(local, 64, 0, &block));
        memset(block.data, 'b', 64);
        OK(tenure_mutex_create(member, "mutex", 0, &mutex));
        OK(tenure_mutex_lock(mutex, 0));
        OK(tenure_event_create(member, NULL, 0, &event));
        OK(tenure_semaphore_create(member, NULL, 0, 0, 1, &semaphore));
        OK(tenure_process_of(member, NULL, 0, 0, &process));
        OK(tenure_descriptor_create(member, NULL, 0, 0, &descriptor));
        OK(tenure_share_enter(member, 0, TENURE_READ, TENURE_READ, &share, NULL));
        pid_t child = fork();
        if (child == 0) {
            die_with_parent();
            inherited();
            by_itself();
            /* By exit, so that the destructors of the thread and of the process run here. */
            exit(0);
        }
        expect_end(child, 0);
        /* The named one, the descriptor and the file's table have blocks of their own. */
        expect_unharmed(space, 7, 4);
        int was;
        OK(tenure_event_reset(event, &was));
        HOLDS(was == 0);
        EXPECT(TENURE_ERR_DEADLOCK, tenure_mutex_lock(mutex, 0));
        OK(tenure_mutex_unlock(mutex));
        OK(tenure_object_close(mutex));
        OK(tenure_object_close(event));
        OK(tenure_object_close(semaphore));
        OK(tenure_object_close(process));
        OK(tenure_object_close(descriptor));
        OK(tenure_object_close(share));
        HOLDS(memcmp(handle.data, "parent's", 8) == 0);
        for (int j = 0; j < 64; j++)
            HOLDS(((char *)block.data)[j] == 'b');
        OK(tenure_free(local, block.offset));
        OK(tenure_close(local, handle.token));
        OK(tenure_local_close(local));
        OK(tenure_leave(member));
        expect_unharmed(space, 0, 0);
        OK(tenure_space_close(space));
    }
#ifdef __SANITIZE_ADDRESS__
    (void)while_others_work;
#else
    while_others_work(argv[1]);
#endif
    OK(tenure_space_remove(TENURE_SHM, argv[1], 0));
    puts("forks: ok");
    return 0;
}
