// One process makes an object, another one reads it by its number. The same program as bindings/c/examples/hello.c.
//
//     c++ -std=c++17 hello.cpp $(pkg-config --cflags --libs tenure) -o hello
//     ./hello                     prints a token, and holds the object until its input ends
//     ./hello 0123456789abcdef    in another terminal: reads it, and counts the visit
#include <cinttypes>
#include <cstdio>
#include <cstdlib>

#include <tenure.hpp>

// The kind of this program's payloads: a number of our choice, which tells them from those of others.
constexpr std::uint32_t GREETING = 1;

struct greeting {
    std::uint64_t visits; // changed by atomic operations only
    char text[56];
};

int main(int count, char **arguments)
{
    const char *given = std::getenv("HELLO_SPACE"), *name = given ? given : "hello";
    try {
        tenure::options options;
        options.flags = TENURE_TINY; // 32 KiB: the default is large, and for many handles
        const bool first = count < 2;
        {
            const tenure::space space = first ? tenure::space::open(name, options) : tenure::space::attach(name, options);
            const tenure::member me = space.join();
            tenure::local local = me.local();
            if (first) {
                const tenure::handle handle = local.create_value(GREETING, greeting{0, "hello from another process"});
                std::printf("%016" PRIx64 "\n", handle.token());
                std::fflush(stdout);
                while (std::getchar() != EOF)
                    ;
                std::printf("%" PRIu64 " visits\n", __atomic_load_n(handle.word(0), __ATOMIC_RELAXED));
            } else {
                const tenure::handle handle = local.open(GREETING, std::strtoull(arguments[1], nullptr, 16));
                __atomic_fetch_add(handle.word(0), 1, __ATOMIC_RELAXED);
                // In place: nothing was copied.
                std::printf("%s\n", handle.as<greeting>().text);
            }
        }
        // The space outlives its members: who made it removes it.
        if (first)
            tenure::space::remove(name);
    } catch (const tenure::error &error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
