/* Loads the allocator by dlopen, as a plugin may, and closes it while a thread has a block and a heap of it. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>

static void *(*allocate)(size_t);
static void (*release)(void *);
static pthread_barrier_t barrier;

static void *thread(void *unused) {
    release(allocate(100));
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    release(allocate(100));
    return unused;
}

int main(int count, char **arguments) {
    void *library = count > 1 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : 0;
    pthread_t other;
    if (!library) {
        puts(dlerror());
        return 1;
    }
    *(void **)&allocate = dlsym(library, "malloc");
    *(void **)&release = dlsym(library, "free");
    pthread_barrier_init(&barrier, 0, 2);
    pthread_create(&other, 0, thread, 0);
    pthread_barrier_wait(&barrier);
    if (dlclose(library)) return 1;
    pthread_barrier_wait(&barrier);
    pthread_join(other, 0);
    puts("ok");
    return 0;
}
