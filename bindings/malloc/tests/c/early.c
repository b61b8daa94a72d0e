/* A library whose constructor runs before the allocator's: it has threads that allocate, and forks. Every child goes on. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

int early_failures = -1;
static volatile int stop;

static void *busy(void *seed) {
    unsigned s = (unsigned)(unsigned long)seed;
    void *big = malloc(40 << 20);
    while (!stop) {
        void *some[8];
        big = realloc(big, (size_t)(34 + rand_r(&s) % 200) << 20);
        for (int i = 0; i < 8; i++) some[i] = malloc(rand_r(&s) % 200000);
        for (int i = 0; i < 8; i++) free(some[i]);
    }
    free(big);
    return 0;
}

static void *brief(void *unused) {
    void *some[200];
    for (int i = 0; i < 200; i++) memset(some[i] = malloc(i * 7 + 1), 1, i * 7 + 1);
    for (int i = 0; i < 200; i++) free(some[i]);
    return unused;
}

static void child(void) {
    pthread_t thread;
    alarm(20);
    free(malloc(40 << 20));
    for (int i = 1; i < 300; i++) {
        void *at = malloc(i * 977);
        memset(at, 1, i * 977);
        free(at);
    }
    if (pthread_create(&thread, 0, brief, 0) || pthread_join(thread, 0)) _exit(1);
    _exit(0);
}

__attribute__((constructor)) static void early(void) {
    pthread_t threads[3];
    early_failures = 0;
    for (long i = 0; i < 3; i++) pthread_create(&threads[i], 0, busy, (void *)i);
    for (int i = 0; i < 40 && !early_failures; i++) {
        int status;
        pid_t pid = fork();
        if (!pid) child();
        if (waitpid(pid, &status, 0) != pid || status) early_failures++;
    }
    stop = 1;
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
}
