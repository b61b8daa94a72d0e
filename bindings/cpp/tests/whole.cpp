// Every class of tenure.hpp, in one process, between threads, and between processes of which one is killed.
#include <tenure.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include <csignal>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace std::chrono_literals;

#define HOLDS(what) ((what) ? (void)0 : broken(__FILE__, __LINE__, #what))
// `call` throws an error of tenure with that status.
#define THROWS(expected, call) throws(__FILE__, __LINE__, #call, expected, [&] { (void)(call); })

[[noreturn]] static void broken(const char *file, int line, const char *what)
{
    std::fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
    std::exit(1);
}

template <class Call>
static void throws(const char *file, int line, const char *what, tenure_status expected, Call call)
{
    try {
        call();
    } catch (const tenure::error &error) {
        if (error.status() == expected && error.code() == expected)
            return;
        std::fprintf(stderr, "%s\n", error.what());
    }
    broken(file, line, what);
}

template <class T>
constexpr bool only_moved = std::is_nothrow_move_constructible_v<T> && std::is_nothrow_move_assignable_v<T> &&
                            !std::is_copy_constructible_v<T> && !std::is_copy_assignable_v<T>;
static_assert(only_moved<tenure::space> && only_moved<tenure::member> && only_moved<tenure::local>);
static_assert(only_moved<tenure::handle> && only_moved<tenure::block> && only_moved<tenure::mutex>);
static_assert(only_moved<tenure::shared_mutex> && only_moved<tenure::event> && only_moved<tenure::semaphore>);
static_assert(only_moved<tenure::condvar> && only_moved<tenure::permits> && only_moved<tenure::permit>);
static_assert(only_moved<tenure::queue> && only_moved<tenure::claim> && only_moved<tenure::map>);
static_assert(only_moved<tenure::map_entry>);

enum : std::uint32_t { KIND = 7, OTHER = 8 };

struct point {
    double x, y;
};

static tenure::options small()
{
    tenure::options options;
    options.members = 8;
    options.handles = 1024;
    options.scratch_bytes = 16 << 20;
    options.container_slots = 512;
    return options;
}

static void expect_unharmed(const tenure::space &space, std::uint64_t handles, std::uint64_t blocks)
{
    const tenure_stats stats = space.stats();
    HOLDS(space.check() == 0);
    HOLDS(stats.handles_live == handles && stats.blocks_leased == blocks);
}

static void errors(const tenure::space &space)
{
    THROWS(TENURE_ERR_NOT_FOUND, tenure::space::attach("no-such-space-of-anybody"));
    tenure::options wrong;
    wrong.abi = 99;
    THROWS(TENURE_ERR_ABI, tenure::space::open("x", wrong));
    const tenure::error late(TENURE_ERR_TIMEOUT);
    HOLDS(late.code() == std::errc::timed_out && late.code().category() == tenure::category());
    HOLDS(std::string(tenure::category().name()) == "tenure");
    HOLDS(late.code().message() == tenure_strerror(TENURE_ERR_TIMEOUT));
    try {
        (void)space.join().local().open(KIND, 0x1234);
        HOLDS(false);
    } catch (const std::system_error &error) {
        // The library's text, with what it found, and not only the name of the status.
        HOLDS(std::strlen(error.what()) > error.code().message().size());
    }
    // Nothing is left of what the exception went through.
    expect_unharmed(space, 0, 0);
    HOLDS(space.stats().members_live == 0);
}

static void handles(const tenure::space &space)
{
    tenure::member me = space.join();
    tenure::member other = space.join();
    HOLDS(me.lease() != other.lease());
    {
        tenure::local mine = me.local();
        tenure::local theirs = other.local();
        tenure::handle handle = mine.create(KIND, "an object of more than 32 bytes, in a block");
        const std::uint64_t token = handle.token();
        tenure::handle opened = theirs.open(KIND, token);
        handle = mine.create_value(OTHER, point{1, 2}); // gives back the first one
        HOLDS(opened.view() == "an object of more than 32 bytes, in a block");
        HOLDS(handle.as<point>().y == 2);
        THROWS(TENURE_ERR_ARGUMENT, handle.as<int>());
        THROWS(TENURE_ERR_ARGUMENT, handle.word(12));
        THROWS(TENURE_ERR_FOREIGN_KIND, theirs.open(KIND, handle.token()));
        opened.close();
        THROWS(TENURE_ERR_STALE, theirs.open(KIND, token));
        tenure::handle moved = std::move(handle);
        mine.close(moved.release());

        tenure::block block = mine.alloc(5000, 4096);
        HOLDS(block.size() == 5000 && reinterpret_cast<std::uintptr_t>(block.data()) % 4096 == 0);
        std::memcpy(block.data(), "bytes", 6);
        block.resize(9000);
        HOLDS(std::strcmp(static_cast<char *>(block.data()), "bytes") == 0);
        const tenure::given given = block.give(me);
        HOLDS(std::strcmp(static_cast<char *>(theirs.block_of(given).data), "bytes") == 0);
        theirs.free_of(given);
        THROWS(TENURE_ERR_ALREADY_FREE, theirs.free_of(given));
        tenure::block zeros = mine.alloc_zeroed(100);
        HOLDS(static_cast<char *>(zeros.data())[99] == 0);
        tenure::handle with = mine.create_with(KIND, std::move(zeros), 50);
        HOLDS(with.size() == 50);
        zeros = mine.alloc(10);
        zeros.free();
        {
            tenure::block dropped = mine.alloc(10);
            dropped = mine.alloc(20);
            HOLDS(space.stats().blocks_leased == 1);
        }
        HOLDS(space.stats().blocks_leased == 0);
        THROWS(TENURE_ERR_IN_USE, me.leave());
    }
    expect_unharmed(space, 0, 0);
    me.leave();
    other.leave();
}

static void memory(const tenure::space &space)
{
    const tenure::member me = space.join(), other = space.join();
    tenure::local local = me.local(), theirs = other.local();
    tenure::memory_resource scratch(local);
    {
        std::pmr::map<int, std::pmr::string> map(&scratch);
        for (int i = 0; i < 100; i++)
            map.emplace(i, "a text that does not lie in the string itself " + std::to_string(i));
        HOLDS(map.at(42).get_allocator().resource() == &scratch);
        HOLDS(space.stats().blocks_leased == 200);
        // Bytes alone mean the same elsewhere.
        std::pmr::vector<int> numbers({1, 2, 3}, &scratch);
        const tenure_block seen = theirs.block_of({scratch.offset(numbers.data()), me.lease()});
        HOLDS(std::memcmp(seen.data, numbers.data(), 3 * sizeof(int)) == 0 && seen.data != numbers.data());
        void *const page = scratch.allocate(10, 4096), *const nothing = scratch.allocate(0, 1);
        HOLDS(reinterpret_cast<std::uintptr_t>(page) % 4096 == 0 && nothing != nullptr);
        scratch.deallocate(page, 10, 4096);
        scratch.deallocate(nothing, 0, 1);
        bool refused = false;
        try {
            (void)scratch.allocate(std::size_t(1) << 30);
        } catch (const std::bad_alloc &) {
            refused = true;
        }
        HOLDS(refused);
        tenure::memory_resource another(local);
        HOLDS(scratch.is_equal(scratch) && !scratch.is_equal(another));
    }
    expect_unharmed(space, 0, 0);
}

static void locks(const tenure::space &space)
{
    const tenure::member me = space.join(), other = space.join();
    tenure::mutex mutex = tenure::mutex::create(me, "lock");
    tenure::mutex same = tenure::mutex::open(other, "lock");
    tenure::mutex again = tenure::mutex::create_or_open(other, "lock");
    HOLDS(mutex.token() == same.token() && mutex.token() == again.token());
    THROWS(TENURE_ERR_NAME_TAKEN, tenure::mutex::create(me, "lock"));
    THROWS(TENURE_ERR_FOREIGN_KIND, tenure::semaphore::open(me, mutex.token()));
    int counter = 0;
    std::thread thread([&] {
        for (int i = 0; i < 1000; i++) {
            std::lock_guard<tenure::mutex> guard(same);
            counter++;
        }
    });
    for (int i = 0; i < 1000; i++) {
        std::lock_guard<tenure::mutex> guard(mutex);
        counter++;
    }
    thread.join();
    HOLDS(counter == 2000);
    THROWS(TENURE_ERR_NOT_OWNER, mutex.unlock());
    {
        std::unique_lock<tenure::mutex> lock(mutex);
        THROWS(TENURE_ERR_DEADLOCK, mutex.lock());
        std::thread([&] {
            HOLDS(!same.try_lock() && !same.try_lock_for(1ms) && !same.try_lock_for(-1s));
            HOLDS(!same.try_lock_until(std::chrono::steady_clock::now() + 1ms));
            HOLDS(!same.try_lock_until(std::chrono::system_clock::now() + 1ms));
            HOLDS(!same.try_lock_until(std::chrono::steady_clock::time_point::min()));
        }).join();
    }
    HOLDS(mutex.try_lock_for(std::chrono::hours::max()));
    mutex.unlock();
    HOLDS(mutex.try_lock_until(std::chrono::steady_clock::time_point::max()));
    mutex.abandon();
    HOLDS(mutex.try_lock_until(std::chrono::system_clock::now() + 10s) && mutex.abandoned());
    mutex.abandon();
    for (bool told : {true, false}) {
        std::unique_lock<tenure::mutex> lock(same, 10s);
        HOLDS(lock && same.abandoned() == told);
    }
    tenure::mutex recursive = tenure::mutex::create_recursive(me);
    std::scoped_lock both(mutex, recursive);
    recursive.lock();
    recursive.unlock();

    tenure::shared_mutex shared = tenure::shared_mutex::create(me, "readers");
    tenure::shared_mutex theirs = tenure::shared_mutex::open(other, shared.token());
    {
        std::shared_lock<tenure::shared_mutex> one(shared), two(theirs);
        HOLDS(theirs.try_lock_shared() && !theirs.try_lock() && !theirs.try_lock_for(1ms));
        HOLDS(!theirs.try_lock_until(std::chrono::steady_clock::now() + 1ms));
        HOLDS(theirs.try_lock_shared_for(1s) && theirs.try_lock_shared_until(std::chrono::system_clock::now() + 1s));
        for (int i = 0; i < 3; i++)
            theirs.unlock_shared();
    }
    {
        std::unique_lock<tenure::shared_mutex> writer(shared);
        std::thread([&] { HOLDS(!theirs.try_lock_shared() && !theirs.try_lock_shared_for(1ms)); }).join();
        writer.release()->abandon();
    }
    for (bool told : {true, true}) {
        std::shared_lock<tenure::shared_mutex> reader(theirs);
        HOLDS(theirs.abandoned() == told);
    }
    for (bool told : {true, false}) {
        std::lock_guard<tenure::shared_mutex> writer(shared);
        HOLDS(shared.abandoned() == told);
    }
    std::shared_lock<tenure::shared_mutex> reader(theirs);
    HOLDS(!theirs.abandoned());
}

static void times()
{
    using tenure::detail::nanoseconds;
    HOLDS(nanoseconds(1s) == 1000000000 && nanoseconds(0s) == 0 && nanoseconds(-1s) == 0);
    HOLDS(nanoseconds(std::chrono::duration<double, std::pico>(1)) == 1);
    HOLDS(nanoseconds(std::chrono::hours::max()) == TENURE_FOREVER && nanoseconds(std::chrono::hours::min()) == 0);
    HOLDS(nanoseconds(std::chrono::nanoseconds::max()) == TENURE_FOREVER);
    HOLDS(nanoseconds(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN())) == 0);
}

static void waits(const tenure::space &space)
{
    const tenure::member me = space.join(), other = space.join();
    using sort = tenure::event::sort;
    tenure::event automatic = tenure::event::create(me, sort::automatic, "event", true);
    tenure::event manual = tenure::event::create_or_open(me, sort::manual, "stop");
    tenure::event theirs = tenure::event::open(other, "stop");
    tenure::mutex mutex = tenure::mutex::create(me);
    THROWS(TENURE_ERR_FOREIGN_KIND, tenure::event::open(other, mutex.token()));
    HOLDS(automatic.try_wait() && !automatic.try_wait_for(1ms) && !manual.is_set());
    HOLDS(!automatic.try_wait_until(std::chrono::steady_clock::now() + 1ms));
    std::thread setter([&] { theirs.set(); });
    manual.wait();
    setter.join();
    HOLDS(manual.try_wait() && theirs.clear() && !manual.try_wait());

    tenure::semaphore semaphore = tenure::semaphore::create(me, 1, 3);
    semaphore.acquire();
    HOLDS(!semaphore.try_acquire() && !semaphore.try_acquire_for(1ms));
    semaphore.release(3);
    THROWS(TENURE_ERR_MAXIMUM, semaphore.release());
    HOLDS(semaphore.count() == 3 && semaphore.try_acquire_until(std::chrono::system_clock::now() + 1s));

    HOLDS(!tenure::wait_any_for(1ms, automatic, manual));
    const tenure::taken taken = tenure::wait_any(automatic, manual, semaphore);
    HOLDS(taken.index == 2 && !taken.abandoned);
    HOLDS(!tenure::wait_all_for(1ms, semaphore, manual));
    manual.set();
    mutex.lock();
    mutex.abandon();
    HOLDS(tenure::wait_all(semaphore, manual, mutex) == 4);
    mutex.unlock();
    HOLDS(semaphore.count() == 0);

    tenure::condvar condvar = tenure::condvar::create(me, "changed");
    tenure::condvar their_condvar = tenure::condvar::open(other, "changed");
    tenure::mutex their_mutex = tenure::mutex::open(other, mutex.token());
    bool ready = false;
    {
        std::unique_lock<tenure::mutex> lock(mutex);
        std::thread notifier([&] {
            std::lock_guard<tenure::mutex> guard(their_mutex);
            ready = true;
            their_condvar.notify_all();
        });
        condvar.wait(lock, [&] { return ready; });
        HOLDS(condvar.wait_for(lock, std::chrono::hours::max(), [&] { return ready; }));
        HOLDS(!condvar.wait_for(lock, 1ms, [] { return false; }));
        HOLDS(!condvar.wait_for(lock, std::chrono::hours::min(), [] { return false; }));
        HOLDS(!condvar.wait_until(lock, std::chrono::steady_clock::now() + 1ms, [] { return false; }));
        HOLDS(!condvar.wait_until(lock, std::chrono::system_clock::now() + 1ms, [] { return false; }));
        HOLDS(lock.owns_lock());
        notifier.join();
        lock.unlock();
        THROWS(TENURE_ERR_NOT_OWNER, condvar.wait(lock));
    }
    tenure::mutex recursive = tenure::mutex::create_recursive(me);
    recursive.lock();
    {
        // Given up once, and the lock knows.
        std::unique_lock<tenure::mutex> lock(recursive);
        THROWS(TENURE_ERR_DEADLOCK, condvar.wait(lock));
        HOLDS(!lock.owns_lock());
    }
    recursive.unlock();

    tenure::permits permits = tenure::permits::create(me, 2);
    tenure::permits same = tenure::permits::open(other, permits.token());
    {
        tenure::permit one = permits.acquire();
        tenure::permit two = same.acquire();
        HOLDS(one.number() != two.number() && !permits.try_acquire() && !permits.try_acquire_for(1ms));
        HOLDS(!permits.try_acquire_until(std::chrono::system_clock::now() + 1ms));
        two.give_back();
        HOLDS(permits.try_acquire_for(1s) && permits.available() == 0);
    }
    HOLDS(permits.available() == 2);
}

static void collections(const tenure::space &space)
{
    const tenure::member me = space.join(), other = space.join();
    tenure::local local = other.local();
    tenure::queue queue = tenure::queue::create(me, KIND, 2, "jobs");
    tenure::queue theirs = tenure::queue::open(other, KIND, "jobs");
    THROWS(TENURE_ERR_FOREIGN_KIND, tenure::queue::open(other, OTHER, queue.token()));
    HOLDS(!queue.try_pop(local) && !theirs.try_pop_for(local, 1ms) && !theirs.try_claim());
    queue.push("first");
    HOLDS(queue.try_push("second") && !queue.try_push("third") && !queue.try_push_for("third", 1ms));
    HOLDS(!queue.try_push_until("third", std::chrono::steady_clock::now() + 1ms) && queue.size() == 2);
    HOLDS(theirs.pop(local).view() == "first");
    {
        tenure::claim claim = theirs.claim_next();
        HOLDS(claim.view() == "second" && !theirs.try_claim_for(1ms));
        // Not done: the next one gets it.
    }
    std::optional<tenure::claim> claim = theirs.try_claim();
    HOLDS(claim && claim->view() == "second");
    claim->ack();
    HOLDS(queue.size() == 0);

    tenure::map map = tenure::map::create(me, 64, 0, "prices");
    tenure::map same = tenure::map::open(other, "prices");
    HOLDS(!map.insert("tea", "1") && map.insert("tea", "2") && !map.insert_new("tea", "3"));
    HOLDS(!map.insert("", "") && same.get("") == "" && !same.get("coffee"));
    {
        const std::optional<tenure::map_entry> entry = same.hold("tea");
        HOLDS(entry && map.insert("tea", "4") && entry->view() == "2" && same.get("tea") == "4");
    }
    HOLDS(!map.exchange("tea", "2", "5") && map.exchange("tea", "4", "5") && map.exchange("milk", std::nullopt, std::string_view()));
    HOLDS(map.contains("milk") && map.exchange("milk", "", std::nullopt) && !map.contains("milk"));
    HOLDS(!map.insert_for("soon", "gone", 1ns));
    std::this_thread::sleep_for(1ms);
    HOLDS(!map.contains("soon") && !map.insert_for("late", "there", 1h));
    std::map<std::string, std::string> seen;
    map.for_each([&](std::string_view key, std::string_view value) { seen.emplace(key, value); });
    HOLDS((seen == std::map<std::string, std::string>{{"", ""}, {"tea", "5"}, {"late", "there"}}));
    struct stop {};
    try {
        map.for_each([](std::string_view, std::string_view) { throw stop(); });
        HOLDS(false);
    } catch (stop) {
    }
    HOLDS(same.erase("tea") && !same.erase("tea"));
    map.clear();
    HOLDS(map.size() == 0);
    map.close(); // no iteration is left
}

// Takes everything that can be taken, says so, and never returns.
static void until_killed(const char *name, int out)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(120);
    const tenure::space space = tenure::space::attach(name);
    const tenure::member me = space.join();
    tenure::local local = me.local();
    tenure::memory_resource scratch(local);
    std::pmr::vector<int> numbers(1000, 1, &scratch);
    const tenure::handle handle = local.create(KIND, "only here");
    tenure::mutex mutex = tenure::mutex::open(me, "mutex");
    tenure::shared_mutex shared = tenure::shared_mutex::open(me, "shared");
    tenure::permits permits = tenure::permits::open(me, "permits");
    tenure::queue queue = tenure::queue::open(me, KIND, "queue");
    const std::lock_guard<tenure::mutex> lock(mutex);
    const std::lock_guard<tenure::shared_mutex> writer(shared);
    const tenure::permit permit = permits.acquire();
    const tenure::claim claim = queue.claim_next();
    HOLDS(write(out, "!", 1) == 1);
    for (;;)
        pause();
}

static void deaths(const tenure::space &space, const char *self, const char *name)
{
    const tenure::member me = space.join();
    tenure::mutex mutex = tenure::mutex::create(me, "mutex");
    tenure::shared_mutex shared = tenure::shared_mutex::create(me, "shared");
    tenure::permits permits = tenure::permits::create(me, 1, "permits");
    tenure::queue queue = tenure::queue::create(me, KIND, 4, "queue");
    queue.push("work");
    const std::uint64_t handles = space.stats().handles_live, blocks = space.stats().blocks_leased;
    int ends[2];
    HOLDS(pipe(ends) == 0);
    const pid_t child = fork();
    HOLDS(child >= 0);
    if (child == 0) {
        const std::string out = std::to_string(ends[1]);
        execl(self, self, name, out.c_str(), static_cast<char *>(nullptr));
        _exit(127);
    }
    close(ends[1]);
    char said;
    HOLDS(read(ends[0], &said, 1) == 1);
    close(ends[0]);
    HOLDS(!mutex.try_lock() && !shared.try_lock_shared() && !permits.try_acquire() && !queue.try_claim());
    kill(child, SIGKILL);
    int status = 0;
    HOLDS(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    {
        std::lock_guard<tenure::mutex> lock(mutex);
        HOLDS(mutex.abandoned());
    }
    {
        std::lock_guard<tenure::shared_mutex> lock(shared);
        HOLDS(shared.abandoned());
    }
    (void)permits.acquire();
    tenure::claim claim = queue.claim_next();
    HOLDS(claim.view() == "work");
    claim.ack();
    // A monitor may be faster, or in the middle of it.
    while (space.stats().members_live > 1)
        (void)me.recover();
    const tenure_stats stats = space.stats();
    HOLDS(stats.handles_live == handles - 1 && stats.blocks_leased == blocks && space.check() == 0);
}

// A child may destroy what its parent had, and that does nothing.
static void forks(const tenure::space &space)
{
    tenure::member me = space.join();
    tenure::mutex mutex = tenure::mutex::create(me);
    std::lock_guard<tenure::mutex> outer(mutex);
    const pid_t child = fork();
    HOLDS(child >= 0);
    if (child == 0) {
        alarm(120);
        {
            std::lock_guard<tenure::mutex> guard(mutex, std::adopt_lock);
        }
        THROWS(TENURE_ERR_FORKED, mutex.lock());
        THROWS(TENURE_ERR_FORKED, me.local());
        tenure::member own = space.join();
        tenure::mutex opened = tenure::mutex::create(own);
        opened.lock();
        opened.unlock();
        opened.close();
        own.leave();
        _exit(0);
    }
    int status = 0;
    HOLDS(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    std::thread([&] { HOLDS(!mutex.try_lock()); }).join();
}

int main(int count, char **arguments)
{
    try {
        if (count == 3)
            until_killed(arguments[1], std::atoi(arguments[2]));
        HOLDS(count == 2); // a name that nobody else uses
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(120);
        tenure::space space = tenure::space::open(arguments[1], small());
        HOLDS(space.info().created == 1 && space.info().members == 8);
        errors(space);
        times();
        handles(space);
        memory(space);
        locks(space);
        waits(space);
        collections(space);
        deaths(space, arguments[0], arguments[1]);
        forks(space);
        expect_unharmed(space, 0, 0);
        const tenure::space anonymous = tenure::space::anonymous(small());
        handles(anonymous);
        tenure::options memfd = small();
        memfd.backend = TENURE_MEMFD;
        const tenure::space first = tenure::space::open(nullptr, memfd), second = tenure::space::attach_fd(first.fd());
        const tenure::member member = first.join();
        HOLDS(second.stats().members_live == 1);
        space.close();
        tenure::space::remove(arguments[1]);
        THROWS(TENURE_ERR_NOT_FOUND, tenure::space::attach(arguments[1]));
    } catch (const std::exception &error) {
        std::fprintf(stderr, "thrown: %s\n", error.what());
        return 1;
    }
    std::puts("whole: ok");
}
