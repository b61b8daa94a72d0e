// tenure for C++17: classes over tenure.h, in this header only. Link with the C library: -ltenure.
//
//     tenure::space space = tenure::space::open("myapp");
//     tenure::member me = space.join();
//     tenure::mutex mutex = tenure::mutex::create_or_open(me, "ledger");
//     {
//         std::lock_guard<tenure::mutex> guard(mutex);
//         if (mutex.abandoned())               // its last owner died: repair what it protects
//             repair();
//     }
//
// tenure.h says what each call does, and its rules for threads, for fork and for deaths hold here. In addition:
//
// ERRORS. A call that fails throws tenure::error: its code() is an enum tenure_status, its what() has the library's text. A time that passes
// is no error: the functions with "try" in their name say so by their result. Results that are no errors and positive are results here.
//
// LIFE. An object of these classes owns what it stands for, and gives it back when it is destroyed. It is moved, never copied. An object
// that was moved from may be destroyed or assigned to, and nothing else. Locals and shared objects end before their member, and handles and
// blocks before their local; variables that are declared in that order do. A destructor ignores errors: what it cannot give back, because another thread is in a
// call with it for instance, the member gives back when the process ends. close() and leave() throw instead.
//
// COST. The functions are inline: a call of C, and a test of its result. Nothing is allocated, unless the result is a string.

#ifndef TENURE_HPP
#define TENURE_HPP

#include <tenure.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory_resource>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace tenure {

/// The category of the codes of tenure: its numbers are those of enum tenure_status.
inline const std::error_category &category() noexcept
{
    class category final : public std::error_category {
    public:
        const char *name() const noexcept override { return "tenure"; }
        std::string message(int status) const override { return tenure_strerror(status); }
        std::error_condition default_error_condition(int status) const noexcept override
        {
            switch (status) {
            case TENURE_ERR_ARGUMENT: return std::errc::invalid_argument;
            case TENURE_ERR_UNSUPPORTED: return std::errc::not_supported;
            case TENURE_ERR_NO_MEMORY:
            case TENURE_ERR_EXHAUSTED: return std::errc::not_enough_memory;
            case TENURE_ERR_TIMEOUT: return std::errc::timed_out;
            case TENURE_ERR_DEADLOCK: return std::errc::resource_deadlock_would_occur;
            case TENURE_ERR_NOT_OWNER: return std::errc::operation_not_permitted;
            case TENURE_ERR_INTERRUPTED: return std::errc::interrupted;
            default: return std::error_condition(status, *this);
            }
        }
    };
    static const category the;
    return the;
}

/// What a call that failed throws: code() is the status, what() has the expected and the found value.
class error : public std::system_error {
public:
    explicit error(int status) : std::system_error(status, category(), tenure_last_error()) {}
    error(int status, const char *text) : std::system_error(status, category(), text) {}
    /// The status: TENURE_ERR_STALE for instance.
    tenure_status status() const noexcept { return static_cast<tenure_status>(code().value()); }
};

namespace detail {

[[noreturn]] inline void fail(int status) { throw error(status); }

inline int check(int status)
{
    if (status < 0)
        fail(status);
    return status;
}

/// Nanoseconds, rounded up, so that nothing ends early: 0 for no time at all, TENURE_FOREVER for more than 64 bits have.
template <class Rep, class Period>
std::uint64_t nanoseconds(const std::chrono::duration<Rep, Period> &time)
{
    if (!(time > time.zero()))
        return 0;
    if (std::chrono::duration<long double, std::nano>(time).count() >= 9e18L)
        return TENURE_FOREVER;
    return static_cast<std::uint64_t>(std::chrono::ceil<std::chrono::nanoseconds>(time).count());
}

/// Calls `attempt(flags, time)` until it succeeds or the moment has come. The clock of deadlines in C is the steady one's; any other may be set, so
/// that it is read again after each attempt.
template <class Clock, class Duration, class Attempt>
bool until(const std::chrono::time_point<Clock, Duration> &moment, Attempt attempt)
{
    if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
        return attempt(TENURE_DEADLINE, nanoseconds(moment.time_since_epoch()));
    } else {
        for (;;) {
            if (attempt(0, nanoseconds(moment - Clock::now())))
                return true;
            if (Clock::now() >= moment)
                return false;
        }
    }
}

/// Whether it was done; a time that passed is no error.
inline bool in_time(int status)
{
    if (status == TENURE_ERR_TIMEOUT || status == TENURE_ERR_QUEUE_EMPTY || status == TENURE_ERR_QUEUE_FULL)
        return false;
    check(status);
    return true;
}

/// A pointer of C that is given back.
template <class T, int (*Close)(T *)>
class owner {
public:
    owner() noexcept = default;
    explicit owner(T *it) noexcept : it_(it) {}
    owner(owner &&other) noexcept : it_(std::exchange(other.it_, nullptr)) {}
    owner &operator=(owner &&other) noexcept
    {
        if (this != &other) {
            reset();
            it_ = std::exchange(other.it_, nullptr);
        }
        return *this;
    }
    ~owner() { reset(); }
    T *get() const noexcept { return it_; }
    void close()
    {
        if (it_)
            check(Close(it_));
        it_ = nullptr;
    }

private:
    void reset() noexcept
    {
        if (it_)
            (void)Close(it_);
        it_ = nullptr;
    }
    T *it_ = nullptr;
};

} // namespace detail

/// The options of C, with their defaults: set the fields that shall differ.
struct options : tenure_options {
    options() noexcept : tenure_options TENURE_OPTIONS_INIT {}
};

class local;
class member;

/// Memory that processes share. Attached, not joined: it holds nothing and writes nothing.
class space {
public:
    /// Creates the space of that name, or attaches to it. Without a name, for the backends that have none: creates one.
    [[nodiscard]] static space open(const char *name, const options &options = {})
    {
        tenure_space *it;
        detail::check(tenure_space_open(&options, name, &it));
        return space(it);
    }
    /// Attaches to the space of that name, which must exist.
    [[nodiscard]] static space attach(const char *name, const options &options = {})
    {
        tenure_space *it;
        detail::check(tenure_space_attach(&options, name, &it));
        return space(it);
    }
    /// Attaches to a TENURE_MEMFD space by a file descriptor, which stays the caller's.
    [[nodiscard]] static space attach_fd(int fd, const options &options = {})
    {
        tenure_space *it;
        detail::check(tenure_space_attach_fd(&options, fd, &it));
        return space(it);
    }
    /// Anonymous shared memory, which forked children inherit.
    [[nodiscard]] static space anonymous(options options = {})
    {
        options.backend = TENURE_ANONYMOUS;
        return open(nullptr, options);
    }
    /// Removes a space by name: nobody can attach any more.
    static void remove(const char *name, tenure_backend backend = TENURE_SHM, bool force = false)
    {
        detail::check(tenure_space_remove(backend, name, force));
    }
    /// Becomes a member.
    [[nodiscard]] member join() const;
    int fd() const
    {
        int fd;
        detail::check(tenure_space_fd(native(), &fd));
        return fd;
    }
    tenure_info info() const
    {
        tenure_info info;
        detail::check(tenure_space_info(native(), &info));
        return info;
    }
    tenure_stats stats() const
    {
        tenure_stats stats;
        detail::check(tenure_space_stats(native(), &stats));
        return stats;
    }
    /// The number of impossible states: 0 in a correct space.
    std::size_t check() const
    {
        std::size_t violations;
        detail::check(tenure_space_check(native(), nullptr, 0, &violations, nullptr));
        return violations;
    }
    void close() { it_.close(); }
    tenure_space *native() const noexcept { return it_.get(); }

private:
    explicit space(tenure_space *it) noexcept : it_(it) {}
    detail::owner<tenure_space, tenure_space_close> it_;
};

/// This process, with the right to hold handles, blocks and objects. Any thread may use it.
class member {
public:
    /// A thread's access to handles and blocks: one for each thread.
    [[nodiscard]] tenure::local local() const;
    /// A number that tells this membership from any other.
    std::uint64_t lease() const
    {
        std::uint64_t lease;
        detail::check(tenure_lease(native(), &lease));
        return lease;
    }
    /// Recovers dead members; their number.
    std::size_t recover() const
    {
        std::size_t recovered;
        detail::check(tenure_recover(native(), &recovered));
        return recovered;
    }
    /// Leaves, and gives back everything that is still held.
    void leave() { it_.close(); }
    tenure_member *native() const noexcept { return it_.get(); }

private:
    friend class space;
    explicit member(tenure_member *it) noexcept : it_(it) {}
    detail::owner<tenure_member, tenure_leave> it_;
};

inline member space::join() const
{
    tenure_member *it;
    detail::check(tenure_join(native(), &it));
    return member(it);
}

/// Bytes that live as long as some process holds them. Destroyed by the thread of the local that made it, before that local.
class handle {
public:
    handle(handle &&other) noexcept : local_(std::exchange(other.local_, nullptr)), it_(other.it_) {}
    handle &operator=(handle &&other) noexcept
    {
        if (this != &other) {
            reset();
            local_ = std::exchange(other.local_, nullptr);
            it_ = other.it_;
        }
        return *this;
    }
    ~handle() { reset(); }
    /// The number to pass to others. It keeps nothing alive.
    std::uint64_t token() const noexcept { return it_.token; }
    /// The payload, in place. Nobody changes it, unless all its users agree to do so by atomic operations only.
    const void *data() const noexcept { return it_.data; }
    std::size_t size() const noexcept { return it_.size; }
    std::string_view view() const noexcept { return {static_cast<const char *>(it_.data), it_.size}; }
    /// The payload as a value: TENURE_ERR_ARGUMENT if it has not the size of one. It is for the kind to say that the bytes are a T.
    template <class T>
    const T &as() const
    {
        static_assert(std::is_trivially_copyable_v<T>, "a value of which the bytes are all there is");
        static_assert(alignof(T) <= (sizeof(T) <= 32 ? 8 : 16), "payloads are aligned to 16 bytes, to 8 up to 32 bytes");
        if (it_.size != sizeof(T))
            throw error(TENURE_ERR_ARGUMENT, "the payload has another size than the type");
        return *static_cast<const T *>(it_.data);
    }
    /// A word of 64 bits of the payload, for atomic operations by all that hold it: C++17 has the compiler's, as __atomic_fetch_add.
    std::uint64_t *word(std::size_t position) const
    {
        if (position % 8 != 0 || it_.size < 8 || position > it_.size - 8)
            throw error(TENURE_ERR_ARGUMENT, "expected a multiple of 8 within the payload");
        return reinterpret_cast<std::uint64_t *>(static_cast<char *>(it_.data) + position);
    }
    /// Forgets it: this process holds it until local::close with its token.
    std::uint64_t release() noexcept
    {
        local_ = nullptr;
        return it_.token;
    }
    void close()
    {
        if (local_)
            detail::check(tenure_close(local_, it_.token));
        local_ = nullptr;
    }

private:
    friend class local;
    friend class queue;
    handle(tenure_local *local, const tenure_handle &it) noexcept : local_(local), it_(it) {}
    void reset() noexcept
    {
        if (local_)
            (void)tenure_close(local_, it_.token);
        local_ = nullptr;
    }
    tenure_local *local_;
    tenure_handle it_;
};

/// A block on its way to another process: both numbers are the same in every process.
struct given {
    std::uint64_t offset;
    std::uint64_t lease;
};

/// Scratch memory, freed when it is destroyed, or with the member. Destroyed by the thread of the local that made it, before that local.
class block {
public:
    block(block &&other) noexcept : local_(std::exchange(other.local_, nullptr)), it_(other.it_) {}
    block &operator=(block &&other) noexcept
    {
        if (this != &other) {
            reset();
            local_ = std::exchange(other.local_, nullptr);
            it_ = other.it_;
        }
        return *this;
    }
    ~block() { reset(); }
    void *data() const noexcept { return it_.data; }
    std::size_t size() const noexcept { return it_.size; }
    /// Its name: the same number in every process.
    std::uint64_t offset() const noexcept { return it_.offset; }
    /// Resizes it, in place where that is possible.
    void resize(std::size_t size, std::size_t align = 0)
    {
        tenure_block resized;
        detail::check(tenure_realloc(local_, it_.offset, size, align, &resized));
        it_ = resized;
    }
    /// Gives it to another process, which frees it by local::free_of. This one does not touch it any more.
    given give(const member &member)
    {
        const given given{it_.offset, member.lease()};
        local_ = nullptr;
        return given;
    }
    void free()
    {
        if (local_)
            detail::check(tenure_free(local_, it_.offset));
        local_ = nullptr;
    }

private:
    friend class local;
    block(tenure_local *local, const tenure_block &it) noexcept : local_(local), it_(it) {}
    void reset() noexcept
    {
        if (local_)
            (void)tenure_free(local_, it_.offset);
        local_ = nullptr;
    }
    tenure_local *local_;
    tenure_block it_;
};

/// A thread's access to handles and blocks. It serves the thread that made it.
class local {
public:
    /// A handle of a kind, a number of the application's choice, with a copy of the bytes.
    [[nodiscard]] handle create(std::uint32_t kind, const void *data, std::size_t size)
    {
        tenure_handle it;
        detail::check(tenure_create(native(), kind, data, size, &it));
        return {native(), it};
    }
    [[nodiscard]] handle create(std::uint32_t kind, std::string_view bytes) { return create(kind, bytes.data(), bytes.size()); }
    /// A handle with a copy of a value; other processes have it by handle::as. It has no pointers: they mean nothing there.
    template <class T>
    [[nodiscard]] handle create_value(std::uint32_t kind, const T &value)
    {
        static_assert(std::is_trivially_copyable_v<T> && !std::is_pointer_v<T>, "a value of which the bytes are all there is");
        return create(kind, &value, sizeof value);
    }
    /// A handle whose payload is the block, which belongs to it from now on; `size` of its bytes count.
    [[nodiscard]] handle create_with(std::uint32_t kind, block &&block, std::size_t size)
    {
        tenure_handle it;
        detail::check(tenure_create_with(native(), kind, block.it_.offset, size, &it));
        block.local_ = nullptr;
        return {native(), it};
    }
    /// Opens a handle by its token: afterwards this process holds it once more.
    [[nodiscard]] handle open(std::uint32_t kind, std::uint64_t token)
    {
        tenure_handle it;
        detail::check(tenure_open(native(), kind, token, &it));
        return {native(), it};
    }
    /// Closes a handle that was released.
    void close(std::uint64_t token) { detail::check(tenure_close(native(), token)); }
    /// Memory, aligned to 16 bytes or to a power of two up to a page; its contents are undefined.
    [[nodiscard]] block alloc(std::size_t size, std::size_t align = 0)
    {
        tenure_block it;
        detail::check(tenure_alloc(native(), size, align, &it));
        return {native(), it};
    }
    [[nodiscard]] block alloc_zeroed(std::size_t size, std::size_t align = 0)
    {
        tenure_block it;
        detail::check(tenure_alloc_zeroed(native(), size, align, &it));
        return {native(), it};
    }
    /// A block that another member gave to this process; free_of frees it.
    tenure_block block_of(given given)
    {
        tenure_block it;
        detail::check(tenure_block_of(native(), given.offset, given.lease, &it));
        return it;
    }
    void free_of(given given) { detail::check(tenure_free_of(native(), given.offset, given.lease)); }
    void close() { it_.close(); }
    tenure_local *native() const noexcept { return it_.get(); }

private:
    friend class member;
    explicit local(tenure_local *it) noexcept : it_(it) {}
    detail::owner<tenure_local, tenure_local_close> it_;
};

inline local member::local() const
{
    tenure_local *it;
    detail::check(tenure_local_open(native(), &it));
    return tenure::local(it);
}

/// Scratch memory for std::pmr containers, for the thread of one local.
///
/// The containers are this process's own: they store addresses, and the memory has another address in every process. So put into them what only
/// this process reads. Bytes alone may be read by others as well, by offset() and local::block_of: those of a vector of numbers for instance, as
/// long as it is not changed. If the process dies, the memory is recovered with the rest; no destructor runs. In a forked child it is not mapped.
///
/// It lives longer than the containers, and the local longer than it. Everything is used by the local's thread.
class memory_resource : public std::pmr::memory_resource {
public:
    explicit memory_resource(local &local) noexcept : local_(local.native()) {}
    memory_resource(const memory_resource &) = delete;
    memory_resource &operator=(const memory_resource &) = delete;
    /// The offset of the block at an address that was allocated here: the same number in every process.
    std::uint64_t offset(const void *data) const noexcept { return reinterpret_cast<std::uintptr_t>(data) - base_; }

private:
    void *do_allocate(std::size_t size, std::size_t align) override
    {
        tenure_block it;
        const int status = tenure_alloc(local_, size ? size : 1, align, &it);
        if (status < 0) {
            if (status == TENURE_ERR_EXHAUSTED || status == TENURE_ERR_TOO_LARGE || status == TENURE_ERR_NO_MEMORY ||
                status == TENURE_ERR_ARGUMENT)
                throw std::bad_alloc();
            detail::fail(status);
        }
        // A member maps its scratch memory in one piece: an address is its offset and a number that never changes.
        base_ = reinterpret_cast<std::uintptr_t>(it.data) - it.offset;
        return it.data;
    }
    // A block that another thread gives back stays the member's.
    void do_deallocate(void *data, std::size_t, std::size_t) override { (void)tenure_free(local_, offset(data)); }
    bool do_is_equal(const std::pmr::memory_resource &other) const noexcept override { return this == &other; }

    tenure_local *local_;
    std::uintptr_t base_ = 0;
};

/// What all shared objects have in common. Any thread may use them.
class object {
public:
    /// The number to pass to others. It keeps nothing alive.
    std::uint64_t token() const
    {
        std::uint64_t token;
        detail::check(tenure_object_token(native(), &token));
        return token;
    }
    void close() { it_.close(); }
    tenure_object *native() const noexcept { return it_.get(); }

protected:
    explicit object(tenure_object *it) noexcept : it_(it) {}
    object(object &&) noexcept = default;
    object &operator=(object &&) noexcept = default;
    ~object() = default;
    /// Waits as tenure_wait, and takes the object: false when the time has passed.
    bool take(std::uint32_t flags, std::uint64_t time, bool *abandoned = nullptr) const
    {
        tenure_object *const it = native();
        const int status = flags ? tenure_wait_with(&it, 1, flags, time, nullptr, nullptr) : tenure_wait(it, time);
        if (abandoned)
            *abandoned = status == TENURE_ABANDONED;
        return detail::in_time(status);
    }

private:
    detail::owner<tenure_object, tenure_object_close> it_;
};

namespace detail {

/// How objects of class T, which are of a kind of enum tenure_object_kind, are opened.
template <class T, std::uint32_t Kind>
struct opened {
    /// Opens one by its token, which came by any means.
    [[nodiscard]] static T open(const member &member, std::uint64_t token)
    {
        tenure_object *it;
        check(tenure_object_open(member.native(), Kind, token, &it));
        return T(it);
    }
    /// Opens the one that has the name.
    [[nodiscard]] static T open(const member &member, const char *name)
    {
        tenure_object *it;
        check(tenure_object_open_named(member.native(), Kind, name, &it));
        return T(it);
    }
};

} // namespace detail

/// Mutual exclusion between threads of any processes. Lockable and TimedLockable: for std::lock_guard, std::unique_lock, std::scoped_lock.
///
/// When an owner dies, or leaves without unlocking, the next one gets the mutex, and abandoned() says so to it alone. Keep the mutex open as long as
/// you use what it protects: when nobody has it open it ends, and with it what is known of the death.
class mutex : public object, public detail::opened<mutex, TENURE_MUTEX> {
public:
    [[nodiscard]] static mutex create(const member &member, const char *name = nullptr) { return make(member, name, 0); }
    [[nodiscard]] static mutex create_or_open(const member &member, const char *name) { return make(member, name, TENURE_OR_OPEN); }
    /// One that its owner can lock again, and unlocks as often.
    [[nodiscard]] static mutex create_recursive(const member &member, const char *name = nullptr)
    {
        return make(member, name, TENURE_RECURSIVE);
    }

    void lock() { abandoned_ = detail::check(tenure_mutex_lock(native(), TENURE_FOREVER)) == TENURE_ABANDONED; }
    bool try_lock() { return done(tenure_mutex_lock(native(), 0)); }
    template <class Rep, class Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period> &time)
    {
        return done(tenure_mutex_lock(native(), detail::nanoseconds(time)));
    }
    template <class Clock, class Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        bool abandoned = false;
        const bool locked = detail::until(
            moment, [&](std::uint32_t flags, std::uint64_t time) { return take(flags, time, &abandoned); });
        if (locked)
            abandoned_ = abandoned;
        return locked;
    }
    /// In a forked child, where the parent's thread has the mutex, it does nothing, so that a guard can be destroyed there.
    void unlock()
    {
        const int status = tenure_mutex_unlock(native());
        if (status < 0 && status != TENURE_ERR_FORKED)
            detail::fail(status);
    }
    /// For the owner, after it locked this object: whether the owner before died, or left without unlocking.
    bool abandoned() const noexcept { return abandoned_; }
    /// Unlocks it, and the next owner is told that it was abandoned.
    void abandon() { detail::check(tenure_mutex_abandon(native())); }

private:
    friend struct detail::opened<mutex, TENURE_MUTEX>;
    friend class condvar;
    explicit mutex(tenure_object *it) noexcept : object(it) {}
    static mutex make(const member &member, const char *name, std::uint32_t flags)
    {
        tenure_object *it;
        detail::check(tenure_mutex_create(member.native(), name, flags, &it));
        return mutex(it);
    }
    bool done(int status)
    {
        if (!detail::in_time(status))
            return false;
        abandoned_ = status == TENURE_ABANDONED;
        return true;
    }
    // Only the owner reads or writes it, and the mutex itself orders owners.
    bool abandoned_ = false;
};

/// Any number of readers or one writer, between threads of any processes. SharedTimedLockable: for std::shared_lock and std::unique_lock. A
/// reader that dies keeps nobody waiting.
class shared_mutex : public object, public detail::opened<shared_mutex, TENURE_RWLOCK> {
public:
    [[nodiscard]] static shared_mutex create(const member &member, const char *name = nullptr) { return make(member, name, 0); }
    [[nodiscard]] static shared_mutex create_or_open(const member &member, const char *name)
    {
        return make(member, name, TENURE_OR_OPEN);
    }
    shared_mutex(shared_mutex &&other) noexcept : object(std::move(other)), abandoned_(other.abandoned()) {}
    shared_mutex &operator=(shared_mutex &&other) noexcept
    {
        abandoned_.store(other.abandoned(), std::memory_order_relaxed);
        object::operator=(std::move(other));
        return *this;
    }

    void lock() { done(tenure_rwlock_write(native(), TENURE_FOREVER)); }
    bool try_lock() { return done(tenure_rwlock_write(native(), 0)); }
    template <class Rep, class Period>
    bool try_lock_for(const std::chrono::duration<Rep, Period> &time)
    {
        return done(tenure_rwlock_write(native(), detail::nanoseconds(time)));
    }
    template <class Clock, class Duration>
    bool try_lock_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) {
            return done(tenure_rwlock_write_with(native(), flags, time, nullptr));
        });
    }
    void unlock() { given_up(tenure_rwlock_unlock_write(native())); }

    void lock_shared() { done(tenure_rwlock_read(native(), TENURE_FOREVER)); }
    bool try_lock_shared() { return done(tenure_rwlock_read(native(), 0)); }
    template <class Rep, class Period>
    bool try_lock_shared_for(const std::chrono::duration<Rep, Period> &time)
    {
        return done(tenure_rwlock_read(native(), detail::nanoseconds(time)));
    }
    template <class Clock, class Duration>
    bool try_lock_shared_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) {
            return done(tenure_rwlock_read_with(native(), flags, time, nullptr));
        });
    }
    void unlock_shared() { given_up(tenure_rwlock_unlock_read(native())); }

    /// For whoever has locked this object: whether the last writer died, or left without unlocking. Each reader is told, until a writer was.
    bool abandoned() const noexcept { return abandoned_.load(std::memory_order_relaxed); }
    /// Unlocks it for writing, and the next ones are told that it was abandoned.
    void abandon() { detail::check(tenure_rwlock_abandon(native())); }

private:
    friend struct detail::opened<shared_mutex, TENURE_RWLOCK>;
    explicit shared_mutex(tenure_object *it) noexcept : object(it) {}
    static shared_mutex make(const member &member, const char *name, std::uint32_t flags)
    {
        tenure_object *it;
        detail::check(tenure_rwlock_create(member.native(), name, flags, &it));
        return shared_mutex(it);
    }
    bool done(int status)
    {
        if (!detail::in_time(status))
            return false;
        const bool abandoned = status == TENURE_ABANDONED;
        if (abandoned != this->abandoned())
            abandoned_.store(abandoned, std::memory_order_relaxed);
        return true;
    }
    static void given_up(int status)
    {
        if (status < 0 && status != TENURE_ERR_FORKED)
            detail::fail(status);
    }
    // Relaxed: readers that have the lock at one time store the same, since only a writer changes what they are told, and the lock orders writers and readers.
    std::atomic<bool> abandoned_{false};
};

/// One thread signals it and others wait for it.
class event : public object, public detail::opened<event, TENURE_ANY> {
public:
    enum class sort : std::uint32_t {
        /// Signalled until one waiter has taken the signal.
        automatic = 0,
        /// Signalled until clear().
        manual = TENURE_MANUAL_RESET,
    };
    [[nodiscard]] static event create(const member &member, sort sort, const char *name = nullptr, bool signalled = false)
    {
        return make(member, name, flags(sort, signalled));
    }
    [[nodiscard]] static event create_or_open(const member &member, sort sort, const char *name, bool signalled = false)
    {
        return make(member, name, flags(sort, signalled) | TENURE_OR_OPEN);
    }
    [[nodiscard]] static event open(const member &member, std::uint64_t token) { return checked(opened::open(member, token)); }
    [[nodiscard]] static event open(const member &member, const char *name) { return checked(opened::open(member, name)); }

    void set() { detail::check(tenure_event_set(native())); }
    /// Whether it was signalled.
    bool clear()
    {
        int was;
        detail::check(tenure_event_reset(native(), &was));
        return was != 0;
    }
    bool is_set() const
    {
        int is;
        detail::check(tenure_event_is_set(native(), &is));
        return is != 0;
    }
    void wait() { take(0, TENURE_FOREVER); }
    bool try_wait() { return take(0, 0); }
    template <class Rep, class Period>
    bool try_wait_for(const std::chrono::duration<Rep, Period> &time)
    {
        return take(0, detail::nanoseconds(time));
    }
    template <class Clock, class Duration>
    bool try_wait_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) { return take(flags, time); });
    }

private:
    friend struct detail::opened<event, TENURE_ANY>;
    explicit event(tenure_object *it) noexcept : object(it) {}
    static std::uint32_t flags(sort sort, bool signalled)
    {
        return static_cast<std::uint32_t>(sort) | (signalled ? TENURE_SIGNALLED : 0);
    }
    static event make(const member &member, const char *name, std::uint32_t flags)
    {
        tenure_object *it;
        detail::check(tenure_event_create(member.native(), name, flags, &it));
        return event(it);
    }
    // An event of either sort.
    static event checked(event it)
    {
        std::uint32_t kind;
        detail::check(tenure_object_kind_of(it.native(), &kind));
        if (kind != TENURE_EVENT_MANUAL && kind != TENURE_EVENT_AUTOMATIC)
            throw error(TENURE_ERR_FOREIGN_KIND, "expected an event");
        return it;
    }
};

/// A count that is taken from and released to, by anybody. What a dead process took is lost: see permits.
class semaphore : public object, public detail::opened<semaphore, TENURE_SEMAPHORE> {
public:
    [[nodiscard]] static semaphore create(const member &member, std::uint32_t count, std::uint32_t maximum, const char *name = nullptr)
    {
        return make(member, name, 0, count, maximum);
    }
    [[nodiscard]] static semaphore create_or_open(
        const member &member, std::uint32_t count, std::uint32_t maximum, const char *name)
    {
        return make(member, name, TENURE_OR_OPEN, count, maximum);
    }
    void release(std::uint32_t more = 1) { detail::check(tenure_semaphore_release(native(), more, nullptr)); }
    void acquire() { take(0, TENURE_FOREVER); }
    bool try_acquire() { return take(0, 0); }
    template <class Rep, class Period>
    bool try_acquire_for(const std::chrono::duration<Rep, Period> &time)
    {
        return take(0, detail::nanoseconds(time));
    }
    template <class Clock, class Duration>
    bool try_acquire_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) { return take(flags, time); });
    }
    std::uint32_t count() const
    {
        std::uint32_t count;
        detail::check(tenure_semaphore_count(native(), &count, nullptr));
        return count;
    }

private:
    friend struct detail::opened<semaphore, TENURE_SEMAPHORE>;
    explicit semaphore(tenure_object *it) noexcept : object(it) {}
    static semaphore make(
        const member &member, const char *name, std::uint32_t flags, std::uint32_t count, std::uint32_t maximum)
    {
        tenure_object *it;
        detail::check(tenure_semaphore_create(member.native(), name, flags, count, maximum, &it));
        return semaphore(it);
    }
};

/// To wait, with a mutex, for what another thread of any process will change under it.
class condvar : public object, public detail::opened<condvar, TENURE_CONDVAR> {
public:
    [[nodiscard]] static condvar create(const member &member, const char *name = nullptr) { return make(member, name, 0); }
    [[nodiscard]] static condvar create_or_open(const member &member, const char *name) { return make(member, name, TENURE_OR_OPEN); }

    /// Wakes all that wait.
    void notify_all() { detail::check(tenure_condvar_notify(native())); }
    /// Gives up the lock, sleeps until somebody notifies, and locks again. It may also return without that: look again. mutex::abandoned() says
    /// whether an owner died meanwhile.
    void wait(std::unique_lock<mutex> &lock) { sleep(lock, 0, TENURE_FOREVER); }
    template <class Predicate>
    void wait(std::unique_lock<mutex> &lock, Predicate done)
    {
        while (!done())
            wait(lock);
    }
    template <class Rep, class Period>
    std::cv_status wait_for(std::unique_lock<mutex> &lock, const std::chrono::duration<Rep, Period> &time)
    {
        return sleep(lock, 0, detail::nanoseconds(time)) ? std::cv_status::no_timeout : std::cv_status::timeout;
    }
    template <class Rep, class Period, class Predicate>
    bool wait_for(std::unique_lock<mutex> &lock, const std::chrono::duration<Rep, Period> &time, Predicate done)
    {
        const std::uint64_t wait_at_most = detail::nanoseconds(time);
        // A moment that the clock cannot have is never reached.
        if (wait_at_most >= static_cast<std::uint64_t>(INT64_MAX) / 2) {
            wait(lock, done);
            return true;
        }
        const std::chrono::nanoseconds limit(static_cast<std::chrono::nanoseconds::rep>(wait_at_most));
        return wait_until(lock, std::chrono::steady_clock::now() + limit, done);
    }
    template <class Clock, class Duration>
    std::cv_status wait_until(std::unique_lock<mutex> &lock, const std::chrono::time_point<Clock, Duration> &moment)
    {
        if constexpr (std::is_same_v<Clock, std::chrono::steady_clock>) {
            const bool woken = sleep(lock, TENURE_DEADLINE, detail::nanoseconds(moment.time_since_epoch()));
            return woken ? std::cv_status::no_timeout : std::cv_status::timeout;
        } else {
            // Another clock may have been set meanwhile.
            sleep(lock, 0, detail::nanoseconds(moment - Clock::now()));
            return Clock::now() < moment ? std::cv_status::no_timeout : std::cv_status::timeout;
        }
    }
    template <class Clock, class Duration, class Predicate>
    bool wait_until(std::unique_lock<mutex> &lock, const std::chrono::time_point<Clock, Duration> &moment, Predicate done)
    {
        while (!done())
            if (wait_until(lock, moment) == std::cv_status::timeout)
                return done();
        return true;
    }

private:
    friend struct detail::opened<condvar, TENURE_CONDVAR>;
    explicit condvar(tenure_object *it) noexcept : object(it) {}
    static condvar make(const member &member, const char *name, std::uint32_t flags)
    {
        tenure_object *it;
        detail::check(tenure_condvar_create(member.native(), name, flags, &it));
        return condvar(it);
    }
    bool sleep(std::unique_lock<mutex> &lock, std::uint32_t flags, std::uint64_t time)
    {
        mutex *const mutex = lock.mutex();
        if (!mutex || !lock.owns_lock())
            throw error(TENURE_ERR_NOT_OWNER, "the lock is not locked");
        const int status = tenure_condvar_wait(native(), mutex->native(), flags, time);
        // These return with the lock given up: `lock` must not unlock it.
        if (status == TENURE_ERR_DEADLOCK || status == TENURE_ERR_OS)
            lock.release();
        if (status >= 0 || status == TENURE_ERR_TIMEOUT)
            mutex->abandoned_ = status == TENURE_ABANDONED;
        return detail::in_time(status);
    }
};

/// A permit, given back when it is destroyed; before the object that it came from.
class permit {
public:
    permit(permit &&other) noexcept : from_(std::exchange(other.from_, nullptr)), number_(other.number_) {}
    permit &operator=(permit &&other) noexcept
    {
        if (this != &other) {
            reset();
            from_ = std::exchange(other.from_, nullptr);
            number_ = other.number_;
        }
        return *this;
    }
    ~permit() { reset(); }
    std::uint64_t number() const noexcept { return number_; }
    void give_back()
    {
        if (from_)
            detail::check(tenure_permits_give_back(from_, number_));
        from_ = nullptr;
    }

private:
    friend class permits;
    permit(tenure_object *from, std::uint64_t number) noexcept : from_(from), number_(number) {}
    void reset() noexcept
    {
        if (from_)
            (void)tenure_permits_give_back(from_, number_);
        from_ = nullptr;
    }
    tenure_object *from_;
    std::uint64_t number_;
};

/// So many permits, which members own: what a member has when it dies comes back.
class permits : public object, public detail::opened<permits, TENURE_PERMITS> {
public:
    [[nodiscard]] static permits create(const member &member, std::uint32_t total, const char *name = nullptr)
    {
        return make(member, name, 0, total);
    }
    [[nodiscard]] static permits create_or_open(const member &member, std::uint32_t total, const char *name)
    {
        return make(member, name, TENURE_OR_OPEN, total);
    }
    [[nodiscard]] permit acquire() { return *get(0, TENURE_FOREVER); }
    [[nodiscard]] std::optional<permit> try_acquire() { return get(0, 0); }
    template <class Rep, class Period>
    [[nodiscard]] std::optional<permit> try_acquire_for(const std::chrono::duration<Rep, Period> &time)
    {
        return get(0, detail::nanoseconds(time));
    }
    template <class Clock, class Duration>
    [[nodiscard]] std::optional<permit> try_acquire_until(const std::chrono::time_point<Clock, Duration> &moment)
    {
        std::optional<permit> got;
        detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) { return (got = get(flags, time)).has_value(); });
        return got;
    }
    /// How many are free at the moment.
    std::uint32_t available() const
    {
        std::uint32_t available;
        detail::check(tenure_permits_count(native(), &available, nullptr));
        return available;
    }

private:
    friend struct detail::opened<permits, TENURE_PERMITS>;
    explicit permits(tenure_object *it) noexcept : object(it) {}
    static permits make(const member &member, const char *name, std::uint32_t flags, std::uint32_t total)
    {
        tenure_object *it;
        detail::check(tenure_permits_create(member.native(), name, flags, total, &it));
        return permits(it);
    }
    std::optional<permit> get(std::uint32_t flags, std::uint64_t time)
    {
        std::uint64_t number;
        if (!detail::in_time(tenure_permits_acquire(native(), flags, time, &number)))
            return std::nullopt;
        return permit(native(), number);
    }
};

/// An element that a queue lends, until ack(); when it is destroyed before, or the process dies, others get it. Before the queue it came from.
class claim {
public:
    claim(claim &&other) noexcept : from_(std::exchange(other.from_, nullptr)), it_(other.it_) {}
    claim &operator=(claim &&other) noexcept
    {
        if (this != &other) {
            reset();
            from_ = std::exchange(other.from_, nullptr);
            it_ = other.it_;
        }
        return *this;
    }
    ~claim() { reset(); }
    const void *data() const noexcept { return it_.data; }
    std::size_t size() const noexcept { return it_.size; }
    std::string_view view() const noexcept { return {static_cast<const char *>(it_.data), it_.size}; }
    /// The element is done: it is out of the queue.
    void ack()
    {
        if (from_)
            detail::check(tenure_queue_ack(from_, it_.token));
        from_ = nullptr;
    }

private:
    friend class queue;
    claim(tenure_object *from, const tenure_handle &it) noexcept : from_(from), it_(it) {}
    void reset() noexcept
    {
        if (from_)
            (void)tenure_queue_give_back(from_, it_.token);
        from_ = nullptr;
    }
    tenure_object *from_;
    tenure_handle it_;
};

/// First in, first out, between threads of any processes; what is in it outlives the process that pushed it. Needs options.container_slots.
class queue : public object {
public:
    [[nodiscard]] static queue create(
        const member &member, std::uint32_t kind, std::uint32_t capacity, const char *name = nullptr)
    {
        return make(member, name, 0, kind, capacity);
    }
    [[nodiscard]] static queue create_or_open(
        const member &member, std::uint32_t kind, std::uint32_t capacity, const char *name)
    {
        return make(member, name, TENURE_OR_OPEN, kind, capacity);
    }
    [[nodiscard]] static queue open(const member &member, std::uint32_t kind, std::uint64_t token)
    {
        tenure_object *it;
        detail::check(tenure_queue_open(member.native(), kind, token, &it));
        return queue(it);
    }
    [[nodiscard]] static queue open(const member &member, std::uint32_t kind, const char *name)
    {
        tenure_object *it;
        detail::check(tenure_queue_open_named(member.native(), kind, name, &it));
        return queue(it);
    }

    /// Pushes a copy of the bytes.
    void push(std::string_view bytes) { put(bytes, 0, TENURE_FOREVER); }
    bool try_push(std::string_view bytes) { return put(bytes, 0, 0); }
    template <class Rep, class Period>
    bool try_push_for(std::string_view bytes, const std::chrono::duration<Rep, Period> &time)
    {
        return put(bytes, 0, detail::nanoseconds(time));
    }
    template <class Clock, class Duration>
    bool try_push_until(std::string_view bytes, const std::chrono::time_point<Clock, Duration> &moment)
    {
        return detail::until(moment, [&](std::uint32_t flags, std::uint64_t time) { return put(bytes, flags, time); });
    }

    /// Takes the oldest element out: if the process dies then, the element ends with it. The handle is given back through the local.
    [[nodiscard]] handle pop(local &local) { return *get(local, 0, TENURE_FOREVER); }
    [[nodiscard]] std::optional<handle> try_pop(local &local) { return get(local, 0, 0); }
    template <class Rep, class Period>
    [[nodiscard]] std::optional<handle> try_pop_for(local &local, const std::chrono::duration<Rep, Period> &time)
    {
        return get(local, 0, detail::nanoseconds(time));
    }

    /// Borrows the oldest element: if the process dies before claim::ack, others get it.
    [[nodiscard]] claim claim_next() { return *lend(0, TENURE_FOREVER); }
    [[nodiscard]] std::optional<claim> try_claim() { return lend(0, 0); }
    template <class Rep, class Period>
    [[nodiscard]] std::optional<claim> try_claim_for(const std::chrono::duration<Rep, Period> &time)
    {
        return lend(0, detail::nanoseconds(time));
    }

    /// How many wait at the moment.
    std::uint32_t size() const
    {
        std::uint32_t waiting;
        detail::check(tenure_queue_len(native(), &waiting, nullptr, nullptr));
        return waiting;
    }

private:
    explicit queue(tenure_object *it) noexcept : object(it) {}
    static queue make(
        const member &member, const char *name, std::uint32_t flags, std::uint32_t kind, std::uint32_t capacity)
    {
        tenure_object *it;
        detail::check(tenure_queue_create(member.native(), name, flags, kind, capacity, &it));
        return queue(it);
    }
    bool put(std::string_view bytes, std::uint32_t flags, std::uint64_t time)
    {
        return detail::in_time(tenure_queue_push(native(), bytes.data(), bytes.size(), flags, time));
    }
    std::optional<handle> get(local &local, std::uint32_t flags, std::uint64_t time)
    {
        tenure_handle it;
        if (!detail::in_time(tenure_queue_pop(native(), flags, time, &it)))
            return std::nullopt;
        return handle(local.native(), it);
    }
    std::optional<claim> lend(std::uint32_t flags, std::uint64_t time)
    {
        tenure_handle it;
        if (!detail::in_time(tenure_queue_claim(native(), flags, time, &it)))
            return std::nullopt;
        return claim(native(), it);
    }
};

/// A value of a map, which stays as it is as long as this exists, also after it was replaced or removed.
class map_entry : public object {
public:
    std::string_view view() const noexcept { return value_; }

private:
    friend class map;
    map_entry(tenure_object *it, std::string_view value) noexcept : object(it), value_(value) {}
    std::string_view value_;
};

/// From bytes to bytes, between threads of any processes, without a lock; what is in it outlives the process that inserted it. Needs
/// options.container_slots.
class map : public object, public detail::opened<map, TENURE_MAP> {
public:
    /// For `capacity` pairs; if `max_bytes` is not 0, an insertion that exceeds it evicts pairs that were not looked at lately.
    [[nodiscard]] static map create(
        const member &member, std::uint32_t capacity, std::uint64_t max_bytes = 0, const char *name = nullptr)
    {
        return make(member, name, 0, capacity, max_bytes);
    }
    [[nodiscard]] static map create_or_open(
        const member &member, std::uint32_t capacity, std::uint64_t max_bytes, const char *name)
    {
        return make(member, name, TENURE_OR_OPEN, capacity, max_bytes);
    }

    /// Inserts or replaces; whether the key had a value.
    bool insert(std::string_view key, std::string_view value)
    {
        int replaced;
        detail::check(tenure_map_insert(native(), key.data(), key.size(), value.data(), value.size(), &replaced));
        return replaced != 0;
    }
    /// As insert; the pair expires after that time.
    template <class Rep, class Period>
    bool insert_for(std::string_view key, std::string_view value, const std::chrono::duration<Rep, Period> &time)
    {
        int replaced;
        detail::check(tenure_map_insert_for(
            native(), key.data(), key.size(), value.data(), value.size(), detail::nanoseconds(time), &replaced));
        return replaced != 0;
    }
    /// Inserts unless the key has a value; whether it did.
    bool insert_new(std::string_view key, std::string_view value)
    {
        int inserted;
        detail::check(tenure_map_insert_new(native(), key.data(), key.size(), value.data(), value.size(), &inserted));
        return inserted != 0;
    }
    /// Replaces the value if it is the expected one, in one step; whether it was. No value at all is an empty optional.
    bool exchange(std::string_view key, std::optional<std::string_view> expected, std::optional<std::string_view> value)
    {
        int exchanged;
        detail::check(tenure_map_exchange(native(), key.data(), key.size(), data(expected), expected ? expected->size() : 0,
            data(value), value ? value->size() : 0, &exchanged));
        return exchanged != 0;
    }
    /// A copy of the value.
    std::optional<std::string> get(std::string_view key) const
    {
        const std::optional<map_entry> entry = hold(key);
        if (!entry)
            return std::nullopt;
        return std::string(entry->view());
    }
    /// The value in place; nothing is copied.
    [[nodiscard]] std::optional<map_entry> hold(std::string_view key) const
    {
        const void *value;
        std::size_t size;
        tenure_object *entry;
        const int status = tenure_map_hold(native(), key.data(), key.size(), &value, &size, &entry);
        if (status == TENURE_ERR_NOT_FOUND)
            return std::nullopt;
        detail::check(status);
        return map_entry(entry, {static_cast<const char *>(value), size});
    }
    bool contains(std::string_view key) const
    {
        int is;
        detail::check(tenure_map_contains(native(), key.data(), key.size(), &is));
        return is != 0;
    }
    /// Whether the key had a value.
    bool erase(std::string_view key)
    {
        const int status = tenure_map_remove(native(), key.data(), key.size());
        if (status == TENURE_ERR_NOT_FOUND)
            return false;
        detail::check(status);
        return true;
    }
    void clear() { detail::check(tenure_map_clear(native())); }
    std::size_t size() const
    {
        std::size_t size;
        detail::check(tenure_map_len(native(), &size, nullptr));
        return size;
    }
    /// Calls `visit(key, value)` with copies, which are valid during the call.
    template <class Visit>
    void for_each(Visit visit) const
    {
        tenure_object *it;
        detail::check(tenure_map_iterate(native(), &it));
        const detail::owner<tenure_object, tenure_object_close> pairs(it);
        const void *key, *value;
        std::size_t key_size, value_size;
        while (detail::check(tenure_map_next(pairs.get(), &key, &key_size, &value, &value_size)) != TENURE_END)
            visit(std::string_view(static_cast<const char *>(key), key_size),
                std::string_view(static_cast<const char *>(value), value_size));
    }

private:
    friend struct detail::opened<map, TENURE_MAP>;
    explicit map(tenure_object *it) noexcept : object(it) {}
    static map make(
        const member &member, const char *name, std::uint32_t flags, std::uint32_t capacity, std::uint64_t max_bytes)
    {
        tenure_object *it;
        detail::check(tenure_map_create(member.native(), name, flags, capacity, max_bytes, &it));
        return map(it);
    }
    // NULL is for no value; an empty one has an address.
    static const char *data(const std::optional<std::string_view> &bytes)
    {
        if (!bytes)
            return nullptr;
        return bytes->data() ? bytes->data() : "";
    }
};

/// What a wait for several objects took.
struct taken {
    /// The place of the object.
    std::size_t index;
    /// Whether it is a mutex whose last owner died, or left without unlocking it.
    bool abandoned;
};

/// Waits until one of the objects (mutexes, events, semaphores) can be taken, and takes it: the first one in the list. Nothing after that time.
template <class Rep, class Period, class... Objects>
std::optional<taken> wait_any_for(const std::chrono::duration<Rep, Period> &time, const Objects &...objects)
{
    tenure_object *const all[] = {objects.native()...};
    taken taken{};
    const int status = tenure_wait_any(all, sizeof...(objects), detail::nanoseconds(time), &taken.index);
    if (!detail::in_time(status))
        return std::nullopt;
    taken.abandoned = status == TENURE_ABANDONED;
    return taken;
}

template <class... Objects>
taken wait_any(const Objects &...objects)
{
    return *wait_any_for(std::chrono::hours::max(), objects...);
}

/// Waits until all of the objects can be taken, and takes all or none. The result has a bit for each mutex whose last owner died; nothing after that time.
template <class Rep, class Period, class... Objects>
std::optional<std::uint64_t> wait_all_for(const std::chrono::duration<Rep, Period> &time, const Objects &...objects)
{
    tenure_object *const all[] = {objects.native()...};
    std::uint64_t abandoned = 0;
    if (!detail::in_time(tenure_wait_all(all, sizeof...(objects), detail::nanoseconds(time), &abandoned)))
        return std::nullopt;
    return abandoned;
}

template <class... Objects>
std::uint64_t wait_all(const Objects &...objects)
{
    return *wait_all_for(std::chrono::hours::max(), objects...);
}

} // namespace tenure

/// For comparisons: `error.code() == TENURE_ERR_STALE`.
inline std::error_code make_error_code(tenure_status status) noexcept { return {static_cast<int>(status), tenure::category()}; }

template <>
struct std::is_error_code_enum<tenure_status> : std::true_type {};

#endif
