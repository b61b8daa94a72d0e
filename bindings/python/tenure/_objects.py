"""Mutexes, read-write locks, condition variables, events, semaphores, permits, processes, threads, descriptors, values, maps: objects, most of them with a token."""

import time
import weakref
from _thread import get_ident
from collections import namedtuple
from ctypes import addressof, byref, c_int, c_size_t, c_uint32, c_uint64, c_void_p, create_string_buffer, string_at
from sys import getrefcount

from . import _library
from ._errors import Buffer, Closed, Error, ForeignKind, ForkedChild, Interrupted, NotFound, NotOwner, Sharing, System, Timeout, check, leave
from ._library import NativeObject, library, quick

_ABANDONED = 1
_OPENED = 2
_DAMAGED = 3
_END = 4
_AUTO_RESET = 3
_ALL, _INTERRUPTIBLE, _DEADLINE = 1, 2, 4
_OR_OPEN = 1 << 8
_FOREVER = 2**64 - 1

Exit = namedtuple("Exit", "code signal core_dumped")
Exit.__doc__ = """How a process or thread ended: with a code, by a signal, or, if both are None, in an unknown way."""


def _limit(seconds):
    """The flags and the time of tenure_wait_with; None is for ever. A deadline, so that a wait that goes on after a signal ends in time."""
    if seconds is None:
        return 0, _FOREVER
    nanoseconds = int(seconds * 10**9)
    if nanoseconds <= 0:
        return 0, 0
    return _DEADLINE, min(time.monotonic_ns() + nanoseconds, _FOREVER - 1)


def _seconds(blocking, timeout):
    """The timeout for which `acquire` waits; its arguments are those of threading.Lock.acquire, or a timeout of None."""
    if timeout is None or timeout == -1:
        return None if blocking else 0
    if not blocking:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0:
        raise ValueError("timeout value must be a non-negative number")
    return timeout


def shown(it, about):
    """The repr of an object: its class, and what `about` returns; never an exception of ours."""
    try:
        about = about()
    except Closed:
        about = "closed"
    except Error as error:
        about = type(error).__name__
    return f"<tenure.{type(it).__name__} {about}>"


def _name(name):
    if name is not None and not isinstance(name, str):
        raise TypeError(f"a name is a str, not a {type(name).__name__}")
    return None if name is None else name.encode()


def listed(function, pointer, structure):
    """The list that a function of the library returns; it may grow meanwhile."""
    count, room, status = c_size_t(), 8, Buffer.status
    while status == Buffer.status:
        found = (structure * room)()
        status = function(pointer, found, room, byref(count))
        room = count.value + 8
    check(status)
    return found[: count.value]


class Object(NativeObject):
    """An open object of a member. Closing it gives it back; so does dropping the last reference to it."""

    def __init__(self, member, pointer, opened=False):
        self._pointer = pointer
        # Keeps the member from leaving.
        self._member = member
        self.opened = opened
        """Whether an object had the name, and was opened instead of created."""
        member._objects.add(self)

    @classmethod
    def _make(cls, function, member, *arguments):
        pointer = c_void_p()
        status = check(function(member._pointer, *arguments, byref(pointer)))
        return cls(member, pointer.value, status == _OPENED)

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} cannot be sent to another process, since bytes keep nothing alive and are not of one member; "
            "send the token, keep this open until it was received, and open it there with Member.open_object"
        )

    def __repr__(self):
        return shown(self, lambda: f"token={self.token:#x} {self._about()}".rstrip())

    def _about(self):
        return ""

    @property
    def token(self):
        """The number to pass to others, for Member.open_object. It keeps nothing alive."""
        token = c_uint64()
        check(library.tenure_object_token(self._pointer, byref(token)))
        return token.value

    def _release(self):
        """Called before it is closed."""

    def _forked(self):
        """Called in a forked child, where nothing is mapped."""
        self._release()

    def close(self):
        """Gives it back. InUse while another thread waits for it."""
        self._release()
        check(library.tenure_object_close(self._pointer))

    def __del__(self):
        # The library knows whether it is open, and that a forked child is not the member. At the end of the interpreter it is gone.
        if hasattr(self, "_pointer") and library is not None:
            library.tenure_object_close(self._pointer)


class _Closing:
    """With statements that close the object. An exception of the body goes before one of the close."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.close, Closed, ForkedChild)


class Waitable(Object):
    """An object that can be waited for. A wait sleeps in the kernel. A signal handler that runs in the meantime, which is in the main
    thread, runs at once; if it raises an exception, that of Ctrl-C for instance, the wait ends with it, and nothing was taken."""

    def wait(self, timeout=None):
        """Waits for it and takes it, for at most so many seconds; None waits as long as it takes, 0 does not wait.

        True, or False if it was not to be had in time.
        """
        try:
            _wait((self,), timeout)
        except Timeout:
            return False
        return True

    def __await__(self):
        """As `wait`, in a task of asyncio: see tenure.aio. A mutex is for `async with tenure.aio.lock(mutex)`."""
        from . import aio

        return aio.wait(self).__await__()

    def _taken(self, abandoned):
        """Called when a wait took it; `abandoned` is about mutexes."""

    def _give_back(self, abandoned):
        """Undoes a wait that took it."""


@quick
class Mutex(Waitable):
    """Mutual exclusion between threads of any processes, which survives the death of its owner.

        with mutex as abandoned:
            if abandoned:           # its last owner died: one process is told
                repair()

    `acquire` and `release` are as those of threading.Lock; `abandoned` tells the same.
    """

    abandoned = False
    """Whether the owner before us went without unlocking. For the owner, after `acquire`, `wait`, wait_any or wait_all."""

    def acquire(self, blocking=True, timeout=None):
        """Locks it for this thread, as threading.Lock.acquire: True, or False if it was not to be had in time. Raises Deadlock."""
        return self.wait(_seconds(blocking, timeout))

    def _taken(self, abandoned):
        self.abandoned = abandoned

    def _give_back(self, abandoned):
        check((library.tenure_mutex_abandon if abandoned else library.tenure_mutex_unlock)(self._pointer))

    def _giving_up(self):
        """Called before a condition variable gives it up; the result is for `_has_again`."""

    def _has_again(self, _, status):
        """Called after it."""
        if status is not None and status >= 0:
            self.abandoned = status == _ABANDONED

    def _about(self):
        owner = self.owner
        if not owner:
            return "free" if owner is None else "free, abandoned"
        return f"owned by lease {owner[0]}, thread {owner[1]}"

    def release(self):
        """Unlocks it once. Raises NotOwner."""
        check(library.tenure_mutex_unlock(self._pointer))

    def __enter__(self):
        self.wait()
        return self.abandoned

    def __exit__(self, kind, *_):
        leave(kind, self.release, ForkedChild)

    @property
    def recursive(self):
        """Whether its owner can lock it again. Its creator decided that, not a call that opens it."""
        found = c_int()
        check(library.tenure_mutex_is_recursive(self._pointer, byref(found)))
        return bool(found.value)

    @property
    def owner(self):
        """The lease index and thread of the owner; None without an owner, False if the last one did not unlock it."""
        owned, lease, thread = c_int(), c_uint32(), c_uint32()
        check(library.tenure_mutex_owner(self._pointer, byref(owned), byref(lease), byref(thread)))
        return {0: None, -1: False}.get(owned.value, (lease.value, thread.value))


@quick
class RwLock(Object):
    """Any number of readers, or one writer, between threads of any processes. A reader that dies keeps nobody waiting.

        with lock.read() as abandoned:      # beside other readers
            ...
        with lock.write() as abandoned:     # alone
            if abandoned:                   # the last writer died: readers are told until one writer was
                repair()

    The arguments of `acquire_read` and `acquire_write` are those of threading.Lock.acquire. A thread that reads and begins to write
    waits for itself.
    """

    abandoned = False
    """Whether the last writer went without unlocking: what the last `acquire_read` or `acquire_write` of this object found."""

    def _acquire(self, function, give_back, blocking, timeout):
        """Whether the lock was abandoned; None if it was not to be had in time."""
        flags, limit = _limit(_seconds(blocking, timeout))
        # The library stores it before the call returns: an exception of a signal handler may come before `status` is.
        locked, status = c_int(), Interrupted.status
        try:
            while status == Interrupted.status:
                status = function(self._pointer, flags | _INTERRUPTIBLE, limit, byref(locked))
            if status == Timeout.status:
                return None
            self.abandoned = abandoned = check(status) == _ABANDONED
            return abandoned
        except BaseException:
            if locked.value == 2 and give_back is library.tenure_rwlock_unlock_write:
                # The next writer is to be told instead.
                library.tenure_rwlock_abandon(self._pointer)
            elif locked.value:
                give_back(self._pointer)
            raise

    def acquire_read(self, blocking=True, timeout=None):
        """Locks it for reading: True, or False if it was not to be had in time. Raises Deadlock for the thread that writes."""
        lock, unlock = library.tenure_rwlock_read_with, library.tenure_rwlock_unlock_read
        return self._acquire(lock, unlock, blocking, timeout) is not None

    def release_read(self):
        """Unlocks it for reading once, in any thread. Raises NotOwner."""
        check(library.tenure_rwlock_unlock_read(self._pointer))

    def acquire_write(self, blocking=True, timeout=None):
        """Locks it for writing: True, or False if it was not to be had in time. Raises Deadlock."""
        lock, unlock = library.tenure_rwlock_write_with, library.tenure_rwlock_unlock_write
        return self._acquire(lock, unlock, blocking, timeout) is not None

    def release_write(self):
        """Unlocks it for writing. Raises NotOwner."""
        check(library.tenure_rwlock_unlock_write(self._pointer))

    def read(self):
        """For `with`: reads; the value is whether the last writer went without unlocking."""
        return _Locking(self, library.tenure_rwlock_read_with, library.tenure_rwlock_unlock_read)

    def write(self):
        """For `with`: writes; the value is whether the last writer went without unlocking."""
        return _Locking(self, library.tenure_rwlock_write_with, library.tenure_rwlock_unlock_write)


class _Locking:
    """A side of a read-write lock, for `with`."""

    def __init__(self, of, lock, unlock):
        self._of = of
        self._functions = lock, unlock

    def __enter__(self):
        return self._of._acquire(*self._functions, True, None)

    def __exit__(self, kind, *_):
        leave(kind, lambda: check(self._functions[1](self._of._pointer)), ForkedChild)


class Condvar(_Closing, Object):
    """To wait, with a mutex or a Locked value, for what another thread of any process will change under that lock.

        with mutex:
            while not ready():              # look again after each wait
                changed.wait(mutex)

        with mutex:                         # in another process
            make_ready()
            changed.notify_all()

    When a process dies that has the condition variable open, all that wait return: it may have changed something and notified nobody.
    """

    def wait(self, lock, timeout=None):
        """Gives up `lock`, a Mutex or a Locked that this thread has locked once, sleeps until somebody notifies, for at most so many
        seconds, and locks it again, however long that takes. False if the time is over, otherwise True: look then whether what you wait for is
        there, since nobody need have notified. Whether the lock's last owner went without unlocking is in `abandoned`, and in `damaged`.

        A signal handler that runs during the wait ends it: with True, or with the handler's exception. The lock is locked then as well. Slices
        of the `data` of a Locked must be released before, and `data` be asked for anew. Raises NotOwner; Deadlock, for a recursive mutex that
        is locked more than once: it is unlocked once then."""
        if not isinstance(lock, (Mutex, Locked)):
            raise TypeError(f"a condition variable waits with a Mutex or a Locked, not with a {type(lock).__name__}")
        flags, limit = _limit(timeout)
        before, status = lock._giving_up(), None
        try:
            status = library.tenure_condvar_wait(self._pointer, lock._pointer, flags | _INTERRUPTIBLE, limit)
        finally:
            lock._has_again(before, status)
        if status == Timeout.status:
            return False
        if status != Interrupted.status:
            check(status)
        return True

    def notify_all(self):
        """Wakes all that wait. The caller may have the lock or not; it has changed before, under the lock, what they wait for."""
        check(library.tenure_condvar_notify(self._pointer))


@quick
class Event(_Closing, Waitable):
    """One thread signals an event, others wait for it."""

    def set(self):
        """Signals it."""
        check(library.tenure_event_set(self._pointer))

    def reset(self):
        """Takes the signal away; returns whether the event was signalled."""
        was = c_int()
        check(library.tenure_event_reset(self._pointer, byref(was)))
        return bool(was.value)

    def is_set(self):
        """Whether it is signalled at the moment."""
        found = c_int()
        check(library.tenure_event_is_set(self._pointer, byref(found)))
        return bool(found.value)

    def _give_back(self, abandoned):
        kind = c_uint32()
        check(library.tenure_object_kind_of(self._pointer, byref(kind)))
        # A signal of a manual-reset event is not taken.
        if kind.value == _AUTO_RESET:
            self.set()

    def _about(self):
        return "set" if self.is_set() else "not set"


@quick
class Semaphore(Waitable):
    """A count that waiters take from. `with semaphore:` takes one and gives it back."""

    def acquire(self, blocking=True, timeout=None):
        """Takes one, as threading.Semaphore.acquire: True, or False if there was none in time."""
        return self.wait(_seconds(blocking, timeout))

    def release(self, more=1):
        """Adds to the count; returns the count before. Raises Maximum, and adds nothing then."""
        before = c_uint32()
        check(library.tenure_semaphore_release(self._pointer, more, byref(before)))
        return before.value

    def __enter__(self):
        self.wait()
        return self

    def _give_back(self, abandoned):
        self.release()

    def _about(self):
        return "{} of {}".format(*self._counts())

    def __exit__(self, kind, *_):
        leave(kind, self.release, ForkedChild)

    def _counts(self):
        count, maximum = c_uint32(), c_uint32()
        check(library.tenure_semaphore_count(self._pointer, byref(count), byref(maximum)))
        return count.value, maximum.value

    @property
    def count(self):
        """The count at the moment."""
        return self._counts()[0]

    @property
    def maximum(self):
        """The maximum of the count."""
        return self._counts()[1]


@quick
class Permits(Object):
    """A fixed number of permits that processes own: a semaphore that loses none. `with permits:` takes one and gives it back.

    Those of a process that dies, leaves, or closes its last object of them come back by themselves. `acquire` and `release` are as those
    of threading.BoundedSemaphore; what one process acquired another one cannot release: that is a Semaphore. wait_any takes none.
    """

    _number = 0
    """A permit that this object has by a call of the extension, or 0."""

    def __init__(self, member, pointer, opened=False):
        super().__init__(member, pointer, opened)
        # The others that it has.
        self._numbers = []

    def acquire(self, blocking=True, timeout=None):
        """Takes a permit, as threading.BoundedSemaphore.acquire: True, or False if there was none in time."""
        flags, limit = _limit(_seconds(blocking, timeout))
        # The library stores it before the call returns: an exception of a signal handler may come before `status` is.
        number, status = c_uint64(), Interrupted.status
        try:
            while status == Interrupted.status:
                status = library.tenure_permits_acquire(self._pointer, flags | _INTERRUPTIBLE, limit, byref(number))
            if status == Timeout.status:
                return False
            check(status)
            self._numbers.append(number.value)
        except BaseException:
            if number.value:
                if number.value in self._numbers:
                    self._numbers.remove(number.value)
                library.tenure_permits_give_back(self._pointer, number.value)
            raise
        return True

    def release(self):
        """Gives back a permit that this object has; in any thread. Raises NotOwner."""
        try:
            number = self._numbers.pop()
        except IndexError:
            # 0 is of no permit: the library says what is wrong.
            number, self._number = self._number, 0
        check(library.tenure_permits_give_back(self._pointer, number))

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.release, ForkedChild)

    def _has_any(self):
        return bool(self._number or self._numbers)

    def _counts(self):
        available, total = c_uint32(), c_uint32()
        check(library.tenure_permits_count(self._pointer, byref(available), byref(total)))
        return available.value, total.value

    def _about(self):
        return "{} of {}".format(*self._counts())

    @property
    def available(self):
        """How many are free at the moment."""
        return self._counts()[0]

    @property
    def total(self):
        """How many there are; their creator decided that."""
        return self._counts()[1]


class Process(_Closing, Waitable):
    """A process, and no later one with its number; a Thread is the same for a thread."""

    @property
    def number(self):
        """Its number, in the pid namespace of the process that created the object."""
        number = c_uint32()
        check(library.tenure_process_number(self._pointer, byref(number), None))
        return number.value

    @property
    def exit(self):
        """How it ended, an Exit; None while it runs."""
        found = _library.Exit()
        check(library.tenure_process_exit(self._pointer, byref(found)))
        if found.how == 0:
            return None
        code, signal = {1: (found.code, None), 2: (None, found.code)}.get(found.how, (None, None))
        return Exit(code, signal, bool(found.core_dumped))

    def wait(self, timeout=None):
        """Waits for its end; returns how it ended. Raises Timeout."""
        _wait((self,), timeout)
        return self.exit

    def _about(self):
        return f"number {self.number}, {self.exit or 'running'}"

    def reaped(self, status):
        """Tells all holders how it ended; call it after reaping it. `status` is as os.waitpid has it."""
        check(library.tenure_process_reaped(self._pointer, status))

    def exiting(self, code):
        """For the process itself: announces the 32 bit code with which it is about to end."""
        check(library.tenure_process_exiting(self._pointer, code))


class Thread(Process):
    """A thread; see Process. Number, exit, wait and exiting are as there."""


class Descriptor(_Closing, Object):
    """A file descriptor that travels by token: a process that opens it gets a duplicate."""

    def fileno(self):
        """This member's descriptor; it is closed with the object. os.dup makes one to keep."""
        fd = c_int()
        check(library.tenure_descriptor_fd(self._pointer, byref(fd)))
        return fd.value


User = namedtuple("User", "pid lease access sharing")
User.__doc__ = """A member that uses a file, and its modes (used, and left to others): sums of READ, WRITE and DELETE."""


class FileShare(_Closing, Object):
    """An entry in the table of a file: how this member uses it, and lets others use it. It has no token."""

    @property
    def modes(self):
        """The modes of this entry: of use, and of letting others use the file."""
        access, sharing = c_uint32(), c_uint32()
        check(library.tenure_share_modes(self._pointer, byref(access), byref(sharing)))
        return access.value, sharing.value

    def everybody(self):
        """The members that have entries for the file, this one as well, each with the sum of its modes: a list of User."""
        return [_user(it) for it in listed(library.tenure_share_everybody, self._pointer, _library.Conflict)]


def _user(found):
    return User(found.pid, found.lease, found.access, found.sharing)


def share(member, fd, access, sharing):
    """An entry; the `who` of Sharing is the User in the way."""
    pointer, who = c_void_p(), _library.Conflict()
    try:
        check(library.tenure_share_enter(member._pointer, fd, access, sharing, byref(pointer), byref(who)))
    except Sharing as error:
        error.who = _user(who)
        raise
    return FileShare(member, pointer.value)


class Value(Object):
    """A Locked or a Versioned value: bytes that change, of a size that does not."""

    @property
    def size(self):
        """Its bytes."""
        size = c_size_t()
        check(library.tenure_value_size(self._pointer, byref(size)))
        return size.value


class Locked(Value):
    """Bytes and the lock that protects them, in one object.

        with value:
            if value.damaged:           # an owner died, or raised an exception, in the middle of a change
                repair(value.data)
                value.repaired()
            value.data[0] += 1

    `acquire` and `release` are as those of threading.Lock. If the body of a `with` raises an exception, the value is damaged.
    """

    damaged = False
    """Whether an owner died or gave up in the middle of a change. For the owner; every owner is told, until one calls `repaired`."""

    _memory, _view, _owner = None, None, None

    def acquire(self, blocking=True, timeout=None):
        """Locks it for this thread: True, or False if it was not to be had in time. Raises Deadlock."""
        flags, limit = _limit(_seconds(blocking, timeout))
        # The library stores it before the call returns: an exception of a signal handler may come before `status` is.
        data, status = c_void_p(), Interrupted.status
        try:
            while status == Interrupted.status:
                status = library.tenure_locked_lock(self._pointer, flags | _INTERRUPTIBLE, limit, byref(data))
            if status == Timeout.status:
                return False
            damaged = check(status) == _DAMAGED
            self.damaged, self._memory, self._owner = damaged, self._bytes_at(data.value), get_ident()
        except BaseException:
            if data.value:
                self._memory = self._owner = None
                library.tenure_locked_unlock(self._pointer)
            raise
        return True

    def _bytes_at(self, address):
        memory = _library.array(self.size).from_address(address)
        # Views of it keep it open.
        memory.of = self
        return memory

    def _giving_up(self):
        """Called before a condition variable gives it up; the result is for `_has_again`. Another thread may lock this object meanwhile."""
        if self._owner != get_ident():
            raise NotOwner("the value is not locked by this thread")
        self._release()
        address = addressof(self._memory)
        self._memory = self._owner = None
        return address

    def _has_again(self, address, status):
        """Called after it. A value stays where it is."""
        if status == System.status:
            # The one failure that leaves it given up.
            return
        self._memory, self._owner = self._bytes_at(address), get_ident()
        if status is not None and (status >= 0 or status in (Timeout.status, Interrupted.status)):
            self.damaged = status == _DAMAGED

    @property
    def data(self):
        """The bytes, in place, as a memoryview for reading and writing: for the owner, until it releases. Raises NotOwner."""
        if self._owner != get_ident() or self._memory is None:
            raise NotOwner("the value is not locked by this thread")
        if self._view is None:
            view = memoryview(self._memory).cast("B")
            self._view = view.toreadonly() if self._member._read_only else view
        return self._view

    def _release(self):
        """Makes `data` unusable, or refuses because somebody has a part of it."""
        view, self._view = self._view, None
        if view is not None:
            view.release()
        # Ours, and that of the call to getrefcount: a third is that of a view.
        if self._memory is not None and getrefcount(self._memory) > 2:
            raise BufferError("views of the value exist; release them first")

    def _forked(self):
        try:
            self._release()
        finally:
            self._memory = None

    def _end(self, function):
        """Unlocks."""
        if self._owner != get_ident():
            raise NotOwner("the value is not locked by this thread")
        self._release()
        check(function(self._pointer))
        self._memory = self._owner = None

    def release(self):
        """Unlocks it. Raises NotOwner; BufferError while slices of `data` exist."""
        self._end(library.tenure_locked_unlock)

    def abandon(self):
        """Unlocks it and leaves it damaged: for an owner that gives up in the middle of a change. Raises as `release`."""
        self._end(library.tenure_locked_abandon)

    def repaired(self):
        """For the owner: says that the value makes sense again. Raises NotOwner."""
        check(library.tenure_locked_repaired(self._pointer))
        self.damaged = False

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.release if kind is None else self.abandon, ForkedChild)


class Versioned(Value):
    """Bytes that are read and replaced as a whole: a read returns one whole version, whatever becomes of the writers."""

    def read(self):
        """The bytes. Waits for nobody."""
        return self.read_versioned()[0]

    def read_versioned(self):
        """The bytes and their version, which is the number of writes until then."""
        size, version = self.size, c_uint64()
        buffer = create_string_buffer(size)
        check(library.tenure_versioned_read(self._pointer, buffer, size, byref(version)))
        return buffer.raw, version.value

    def write(self, data):
        """Replaces them, by as many bytes; returns the version. Killed in the middle, the old ones stand."""
        data, version = bytes(data), c_uint64()
        check(library.tenure_versioned_write(self._pointer, data, len(data), byref(version)))
        return version.value

    @property
    def version(self):
        """The number of writes until now."""
        version = c_uint64()
        check(library.tenure_versioned_version(self._pointer, byref(version)))
        return version.value


def value(kind, functions, member, type, data, name, or_open):
    """Creates a Locked or Versioned; `functions` create, open and open by name. Without data it is opened."""
    create, by_token, by_name = functions
    if data is None:
        if isinstance(name, str):
            return kind._make(by_name, member, type, _name(name))
        return kind._make(by_token, member, type, name)
    flags = _OR_OPEN if or_open else 0
    # A number stands for so many zeros.
    data, size = (None, data) if isinstance(data, int) else (bytes(data), len(data))
    return kind._make(create, member, _name(name), flags, type, data, size)


LOCKED = (library.tenure_locked_create, library.tenure_locked_open, library.tenure_locked_open_named)
VERSIONED = (library.tenure_versioned_create, library.tenure_versioned_open, library.tenure_versioned_open_named)


def _bytes(data):
    """The bytes of an object that has some: no number, of which `bytes` makes zeros."""
    return data if isinstance(data, bytes) else bytes(memoryview(data))


class _Entry(Object):
    """A held value of a map: open as long as views of it exist."""

    _memory = _view = staticmethod(lambda: None)

    def _release(self):
        view = self._view()
        if view is not None:
            view.release()
        if self._memory() is not None:
            raise BufferError("views of a value of a map exist; release them first")


class _Iteration(Object):
    """An iteration over a map, which is in use meanwhile: closed before it."""

    def _release(self):
        library.tenure_object_close(self._pointer)


@quick
class Map(_Closing, Object):
    """A map from bytes to bytes, without a lock. What is in it belongs to it, and outlives the process that put it there.

        prices[b"tea"] = b"3.20"
        prices[b"tea"], prices.get(b"milk"), b"tea" in prices, len(prices)
        del prices[b"tea"]
        prices.set(b"tea", b"3.30", ttl=60)      # for a minute: afterwards as if it were not there

    Keys and values are bytes, or objects that have some; what is returned are copies. Raises KeyError where a dict does.

    Every method that is not about all pairs is one step: of any number of concurrent `setdefault` with one key one sets it, and of
    concurrent `pop` one gets it. `keys`, `values`, `items` and `iter` are iterators: they see once each pair that is there all the time.
    """

    def get(self, key, default=None):
        """The value of a key, or the default."""
        key, size, status = _bytes(key), 256, Buffer.status
        while status == Buffer.status:
            buffer, needed = create_string_buffer(size), c_size_t()
            status = library.tenure_map_get(self._pointer, key, len(key), buffer, size, byref(needed))
            size = max(needed.value, 1)
        if status == NotFound.status:
            return default
        check(status)
        return string_at(buffer, needed.value)

    def __getitem__(self, key):
        value = self.get(key)
        if value is None:
            raise KeyError(key)
        return value

    def __setitem__(self, key, value):
        key, value = _bytes(key), _bytes(value)
        check(library.tenure_map_insert(self._pointer, key, len(key), value, len(value), None))

    def set(self, key, value, *, ttl=None):
        """Sets the value of a key, as `map[key] = value`, for `ttl` seconds; None is for ever. A pair that has expired is in no answer; its
        memory comes back with the next change nearby, or by `remove_expired`. Seconds while the machine is suspended count as well."""
        key, value, time = _bytes(key), _bytes(value), _time_to_live(ttl)
        check(library.tenure_map_insert_for(self._pointer, key, len(key), value, len(value), time, None))

    def ttl(self, key):
        """The seconds until the pair of a key expires, or None if it does not. Raises KeyError."""
        data, left = _bytes(key), c_uint64()
        status = library.tenure_map_time_left(self._pointer, data, len(data), byref(left))
        if status == NotFound.status:
            raise KeyError(key)
        check(status)
        return None if left.value == _FOREVER else left.value / 10**9

    def remove_expired(self):
        """Gives back the memory of pairs that have expired. For maps without `max_bytes`, now and then, by any member."""
        check(library.tenure_map_remove_expired(self._pointer))

    def __delitem__(self, key):
        data = _bytes(key)
        status = library.tenure_map_remove(self._pointer, data, len(data))
        if status == NotFound.status:
            raise KeyError(key)
        check(status)

    def __contains__(self, key):
        key, found = _bytes(key), c_int()
        check(library.tenure_map_contains(self._pointer, key, len(key), byref(found)))
        return bool(found.value)

    def _len(self, with_bytes):
        count, total = c_size_t(), c_uint64()
        check(library.tenure_map_len(self._pointer, byref(count), byref(total) if with_bytes else None))
        return count.value, total.value

    def __len__(self):
        return self._len(False)[0]

    @property
    def nbytes(self):
        """The bytes of all pairs, as `max_bytes` counts them: 8 for each, 8 more for one that expires, and its key and value in whole
        words of 8 bytes. Those that have expired count until their memory is given back."""
        return self._len(True)[1]

    def setdefault(self, key, value, *, ttl=None):
        """The value of a key, which is the given one if it had none, then for `ttl` seconds; None is for ever."""
        key, value = _bytes(key), _bytes(value)
        while True:
            found = value if self.add(key, value, ttl=ttl) else self.get(key)
            # None: it was removed, or has expired, in the meantime.
            if found is not None:
                return found

    def add(self, key, value, *, ttl=None):
        """Sets the value of a key if it has none, then for `ttl` seconds; None is for ever. Returns whether it had none."""
        key, value, time, inserted = _bytes(key), _bytes(value), _time_to_live(ttl), c_int()
        check(library.tenure_map_insert_new_for(self._pointer, key, len(key), value, len(value), time, byref(inserted)))
        return bool(inserted.value)

    def compare_exchange(self, key, expected, value):
        """Makes `value` the value of a key if it is `expected`; None is no value. Returns whether it was. A value that replaces another one
        expires when that would have expired."""
        key, exchanged = _bytes(key), c_int()
        both = [(None, 0) if it is None else (it, len(it)) for it in (_optional(expected), _optional(value))]
        check(library.tenure_map_exchange(self._pointer, key, len(key), *both[0], *both[1], byref(exchanged)))
        return bool(exchanged.value)

    def pop(self, key, *default):
        """Removes the value of a key and returns it; without one the default, or raises KeyError."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {1 + len(default)}")
        while True:
            value = self.get(key)
            if value is None:
                if default:
                    return default[0]
                raise KeyError(key)
            if self.compare_exchange(key, value, None):
                return value

    def update(self, pairs):
        """Sets the pairs of a mapping, or of an iterable of pairs, one after the other."""
        for key, value in pairs.items() if hasattr(pairs, "items") else pairs:
            self[key] = value

    def clear(self):
        """Removes all pairs; such as others set in the meantime may stay."""
        check(library.tenure_map_clear(self._pointer))

    def items(self):
        """The pairs, as an iterator. The map cannot be closed before the iterator is at its end, or gone."""
        pointer = c_void_p()
        check(library.tenure_map_iterate(self._pointer, byref(pointer)))
        pairs = _Iteration(self._member, pointer.value)
        return self._pairs(pairs)

    def _pairs(self, pairs):
        key, key_size, value, value_size = c_void_p(), c_size_t(), c_void_p(), c_size_t()
        found = tuple(byref(it) for it in (key, key_size, value, value_size))
        try:
            while check(library.tenure_map_next(pairs._pointer, *found)) != _END:
                yield string_at(key.value, key_size.value), string_at(value.value, value_size.value)
        finally:
            pairs._release()

    def keys(self):
        """The keys, as an iterator; see `items`."""
        return (key for key, _ in self.items())

    def values(self):
        """The values, as an iterator; see `items`."""
        return (value for _, value in self.items())

    __iter__ = keys

    def hold(self, key):
        """The value of a key in place, as a memoryview for reading: it stays as it is while the view, or a slice of it, exists,
        also after it was replaced or removed. Raises KeyError."""
        data, size, pointer, name = c_void_p(), c_size_t(), c_void_p(), _bytes(key)
        held = byref(data), byref(size), byref(pointer)
        status = library.tenure_map_hold(self._pointer, name, len(name), *held)
        if status == NotFound.status:
            raise KeyError(key)
        check(status)
        entry = _Entry(self._member, pointer.value)
        if not size.value:
            return memoryview(b"")
        memory = _library.array(size.value).from_address(data.value)
        # Views of it keep it open.
        memory.entry = entry
        view = memoryview(memory).cast("B").toreadonly()
        entry._memory, entry._view = weakref.ref(memory), weakref.ref(view)
        return view


def _time_to_live(seconds):
    """Nanoseconds for the library. None is for ever, and any number of seconds is less."""
    if seconds is None:
        return _FOREVER
    if seconds < 0:
        raise ValueError("'ttl' must be a non-negative number")
    return int(min(seconds * 10**9, _FOREVER - 1))


def _optional(data):
    return None if data is None else _bytes(data)


_KINDS = {1: Mutex, 2: Event, 3: Event, 4: Semaphore, 5: Process, 6: Thread, 7: Descriptor, 11: RwLock, 16: Map}
_KINDS |= {19: Condvar, 20: Permits}


def open_object(member, what):
    """The object of a token or a name."""
    pointer, kind = c_void_p(), c_uint32()
    if isinstance(what, str):
        check(library.tenure_object_open_named(member._pointer, 0, _name(what), byref(pointer)))
    else:
        check(library.tenure_object_open(member._pointer, 0, what, byref(pointer)))
    check(library.tenure_object_kind_of(pointer, byref(kind)))
    if kind.value not in _KINDS:
        library.tenure_object_close(pointer)
        raise ForeignKind(f"this package has no class for objects of kind {kind.value}")
    return _KINDS[kind.value](member, pointer.value)


def _wait(objects, timeout, every=False):
    """Waits until one of the objects, or every one of them, is available, and takes it. Its index, and a bit for each mutex that was
    abandoned. Raises Timeout.

    A signal handler runs when the call of the library was interrupted, or right after it took something. If the handler raises an
    exception, what was taken is given back."""
    count = len(objects)
    pointers = (c_void_p * count)(*(it._pointer for it in objects))
    flags, limit = _limit(timeout)
    flags |= _INTERRUPTIBLE | (_ALL if every else 0)
    # The library stores them before the call returns: an exception may come before `status` is.
    index, bits, status = c_size_t(count), c_uint64(), Interrupted.status
    try:
        while status == Interrupted.status:
            status = library.tenure_wait_with(pointers, count, flags, limit, byref(index), byref(bits))
        check(status)
        at, abandoned = index.value, bits.value
        for taken in range(count) if every else (at,):
            objects[taken]._taken(bool(abandoned >> taken & 1))
        return at, abandoned
    except BaseException:
        if index.value != count:
            for taken in range(count) if every else (index.value,):
                objects[taken]._give_back(bits.value >> taken & 1)
        raise


def wait_any(objects, timeout=None):
    """Waits until one of up to 64 objects is available and takes it; returns its index, and whether it is a mutex whose
    last owner did not unlock it. Raises Timeout."""
    index, abandoned = _wait(list(objects), timeout)
    return index, abandoned != 0


def wait_all(objects, timeout=None):
    """Waits until all of up to 64 objects are available and takes them; returns the indices of the mutexes whose last
    owner did not unlock them. Raises Timeout, and took nothing then."""
    objects = list(objects)
    _, abandoned = _wait(objects, timeout, every=True)
    return [index for index in range(len(objects)) if abandoned >> index & 1]
