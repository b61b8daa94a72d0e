"""Mutexes, events, semaphores, processes, threads, descriptors: objects with a token; most can be waited for."""

from collections import namedtuple
from ctypes import byref, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from . import _library
from ._errors import Closed, ForkedChild, Sharing, check
from ._library import library

_ABANDONED, _OPENED, _BUFFER = 1, 2, -27
_OR_OPEN = 1 << 8
_FOREVER = 2**64 - 1

Exit = namedtuple("Exit", "code signal core_dumped")
Exit.__doc__ = """How a process or thread ended: with a code, by a signal, or, if both are None, in an unknown way."""


def _timeout(seconds):
    """Nanoseconds, as C has them; None is for ever."""
    return _FOREVER if seconds is None else min(max(0, int(seconds * 10**9)), _FOREVER - 1)


def _name(name):
    if name is not None and not isinstance(name, str):
        raise TypeError(f"a name is a str, not a {type(name).__name__}")
    return None if name is None else name.encode()


def listed(function, pointer, structure):
    """The list that a function of the library returns; it may grow meanwhile."""
    count, room, status = c_size_t(), 8, _BUFFER
    while status == _BUFFER:
        found = (structure * room)()
        status = function(pointer, found, room, byref(count))
        room = count.value + 8
    check(status)
    return found[: count.value]


class Object:
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
            f"a {type(self).__name__} cannot be sent to another process; send the token, and open it there"
        )

    @property
    def token(self):
        """The number to pass to others, for Member.open_object. It keeps nothing alive."""
        token = c_uint64()
        check(library.tenure_object_token(self._pointer, byref(token)))
        return token.value

    def close(self):
        """Gives it back. InUse while another thread waits for it."""
        check(library.tenure_object_close(self._pointer))

    def __del__(self):
        # The library knows whether it is open, and that a forked child is not the member.
        if hasattr(self, "_pointer"):
            library.tenure_object_close(self._pointer)


class _Closing:
    """With statements that close the object."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.close()
        except (Closed, ForkedChild):
            pass


class Waitable(Object):
    """An object that can be waited for. A wait sleeps in the kernel; Python handles signals when the wait is over."""

    def wait(self, timeout=None):
        """Waits for it and takes it, for at most so many seconds; None waits as long as it takes, 0 does not wait.

        True, for mutexes only, if the last owner went without unlocking. Raises Timeout.
        """
        return check(library.tenure_wait(self._pointer, _timeout(timeout))) == _ABANDONED


class Mutex(Waitable):
    """Mutual exclusion between threads of any processes, which survives the death of its owner.

        with mutex as abandoned:
            if abandoned:           # its last owner died: one process is told
                repair()
    """

    def acquire(self, timeout=None):
        """Locks it for this thread. True if its last owner went without unlocking. Raises Timeout, Deadlock."""
        return check(library.tenure_mutex_lock(self._pointer, _timeout(timeout))) == _ABANDONED

    def release(self):
        """Unlocks it once. Raises NotOwner."""
        check(library.tenure_mutex_unlock(self._pointer))

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        try:
            self.release()
        except ForkedChild:
            pass

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


class Semaphore(Waitable):
    """A count that waiters take from. `with semaphore:` takes one and gives it back."""

    def acquire(self, timeout=None):
        """Takes one. Raises Timeout."""
        self.wait(timeout)

    def release(self, more=1):
        """Adds to the count; returns the count before. Raises Maximum, and adds nothing then."""
        before = c_uint32()
        check(library.tenure_semaphore_release(self._pointer, more, byref(before)))
        return before.value

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        try:
            self.release()
        except ForkedChild:
            pass

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
        super().wait(timeout)
        return self.exit

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


_KINDS = {1: Mutex, 2: Event, 3: Event, 4: Semaphore, 5: Process, 6: Thread, 7: Descriptor}


def open_object(member, what):
    """The object of a token or a name."""
    pointer, kind = c_void_p(), c_uint32()
    if isinstance(what, str):
        check(library.tenure_object_open_named(member._pointer, 0, _name(what), byref(pointer)))
    else:
        check(library.tenure_object_open(member._pointer, 0, what, byref(pointer)))
    check(library.tenure_object_kind_of(pointer, byref(kind)))
    return _KINDS[kind.value](member, pointer.value)


def _pointers(objects):
    objects = list(objects)
    return (c_void_p * len(objects))(*(it._pointer for it in objects)), len(objects)


def wait_any(objects, timeout=None):
    """Waits until one of up to 64 objects is available and takes it; returns its index, and whether it is a mutex whose
    last owner did not unlock it. Raises Timeout."""
    pointers, count = _pointers(objects)
    index = c_size_t()
    status = check(library.tenure_wait_any(pointers, count, _timeout(timeout), byref(index)))
    return index.value, status == _ABANDONED


def wait_all(objects, timeout=None):
    """Waits until all of up to 64 objects are available and takes them; returns the indices of the mutexes whose last
    owner did not unlock them. Raises Timeout, and took nothing then."""
    pointers, count = _pointers(objects)
    bits = c_uint64()
    check(library.tenure_wait_all(pointers, count, _timeout(timeout), byref(bits)))
    return [index for index in range(count) if bits.value >> index & 1]
