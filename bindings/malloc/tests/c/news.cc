// C++ new and delete end up in the preloaded library; run with it.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#define CHECK(what) \
    do { \
        if (!(what)) { \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #what); \
            std::exit(1); \
        } \
    } while (0)

struct alignas(256) Wide {
    char bytes[1000];
};

struct AtEnd {
    std::vector<std::string> words;
    ~AtEnd() { words.emplace_back(1000, 'x'); }
};

thread_local AtEnd at_end;
static AtEnd at_exit;

int main() {
    for (int i = 0; i < 1000; i++) {
        auto one = std::make_unique<Wide>();
        std::unique_ptr<Wide[]> many(new Wide[i % 7 + 1]);
        CHECK(reinterpret_cast<std::uintptr_t>(one.get()) % 256 == 0);
        CHECK(reinterpret_cast<std::uintptr_t>(many.get()) % 256 == 0);
        int *plain = new int(i);
        CHECK(malloc_usable_size(plain) == 16);
        delete plain;
    }
    volatile std::size_t much = SIZE_MAX / 2;
    bool refused = false;
    try {
        delete[] new char[much];
    } catch (const std::bad_alloc &) {
        refused = true;
    }
    CHECK(refused && !new (std::nothrow) char[much]);
    std::vector<std::thread> threads;
    for (int t = 0; t < 200; t++)
        threads.emplace_back([t] {
            std::map<std::string, std::vector<int>> map;
            for (int i = 0; i < 500; i++)
                map[std::to_string(i * t)].push_back(i);
            at_end.words.assign(t, "at the end of a thread");
        });
    for (auto &thread : threads)
        thread.join();
    at_exit.words.assign(10, "at exit");
    std::puts("ok");
}
