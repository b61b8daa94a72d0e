"""Objects in asyncio: a task waits for events, locks, permits and queues of other processes as it waits for a socket.

    await event                             # as event.wait(); also a semaphore, a process, a thread
    async with aio.lock(mutex) as abandoned:
        ...                                 # no other task, thread or process is in here
    async with aio.permit(permits):
        ...
    job = await aio.get(jobs)
    async with aio.claim(jobs) as job:      # lent: if this process dies, or the body raises an exception, others get it
        work(job.data)

A lock that a task has belongs to the task, not to a thread, so a task that locks it again waits for itself. A wait that is cancelled, or whose
`asyncio.timeout` is over, has taken nothing. Nobody polls: threads of the member sleep for all waits of a loop, and one descriptor wakes it.
"""

import asyncio
import weakref
from ctypes import byref, c_int, c_void_p, string_at

from . import QueueClaim, _library
from ._errors import ForkedChild, check, leave
from ._library import library
from ._objects import _ABANDONED, _END, Event, Mutex, Process, Semaphore, _bytes

# Of tenure_what.
_OBJECT, _READ, _WRITE, _, _CLAIM, _PERMIT = range(6)

# The sets with waits in them, by loop and by member.
_sets = weakref.WeakKeyDictionary()


class _Waits:
    """The waits of one loop for objects of one member: a set, which is open as long as there are any."""

    def __init__(self, loop, member):
        self._loop, self._member, self._futures, self._last = loop, member, {}, 0
        pointer, descriptor = c_void_p(), c_int()
        check(library.tenure_wait_set_create(member._pointer, byref(pointer)))
        self._pointer = pointer.value
        try:
            check(library.tenure_wait_set_fd(self._pointer, byref(descriptor)))
            self._descriptor = descriptor.value
            loop.add_reader(self._descriptor, self._ready)
        except BaseException:
            library.tenure_wait_set_close(self._pointer)
            raise

    def _ready(self):
        done = _library.WaitDone()
        while self._futures and check(library.tenure_wait_set_take(self._pointer, byref(done))) != _END:
            future, error = self._futures.pop(done.tag), None
            # The text of an error is this thread's until its next call.
            try:
                check(done.status)
                future.got = done
            except Exception as found:
                error = found
            if future.done():
                pass  # cancelled, and its task has not run since
            elif error is not None:
                future.set_exception(error)
            else:
                future.set_result(done)
            done = _library.WaitDone()
        self._close_if_idle()

    def begin(self, insert):
        self._last += 1
        check(insert(self._pointer, self._last))
        future = self._futures[self._last] = _Future(loop=self._loop)
        return self._last, future

    def end(self, tag):
        """Ends a wait that has taken nothing."""
        del self._futures[tag]
        library.tenure_wait_set_remove(self._pointer, tag)
        self._close_if_idle()

    def _close_if_idle(self):
        if not self._futures and self._pointer is not None:
            self._loop.remove_reader(self._descriptor)
            pointer, self._pointer = self._pointer, None
            del _sets[self._loop][self._member._pointer]
            library.tenure_wait_set_close(pointer)


class _Future(asyncio.Future):
    """The result of a wait."""

    got = None
    """What it has taken, also for a task that is cancelled."""


async def _done(of, insert, undo):
    """Waits; the result is a WaitDone. `undo` gives back what was taken for a task that was cancelled since."""
    loop = asyncio.get_running_loop()
    sets = _sets.setdefault(loop, {})
    member = of._member
    waits = sets.get(member._pointer)
    if waits is None:
        waits = sets[member._pointer] = _Waits(loop, member)
    try:
        tag, future = waits.begin(insert)
    except BaseException:
        waits._close_if_idle()
        raise
    try:
        return await future
    except BaseException:
        # Cancelled before it was done, or between that and now; or it has failed.
        if tag in waits._futures:
            waits.end(tag)
        elif future.got is not None:
            undo(future.got)
        raise


def _inserting(of, what):
    return lambda pointer, tag: library.tenure_wait_set_insert(pointer, of._pointer, what, tag)


async def wait(of):
    """Waits for an Event, and takes the signal of one that resets itself; takes one from the count of a Semaphore; waits for the end of a Process or
    Thread, and returns its exit. `await event` is the same."""

    if not isinstance(of, (Event, Semaphore, Process)):
        raise TypeError(f"expected an event, a semaphore, a process or a thread, found a {type(of).__name__}")
    await _done(of, _inserting(of, _OBJECT), lambda _: of._give_back(False))
    return of.exit if isinstance(of, Process) else True


class _Scope:
    """For `async with`; also to be awaited, and released by `release`."""

    def __init__(self, of, what, unlock, abandon):
        self._of, self._what, self._unlock, self._abandon = of, what, unlock, abandon

    def _undo(self, done):
        (self._abandon if done.status == _ABANDONED else self._unlock)(self._of._pointer)

    async def acquire(self):
        """Waits for it and takes it; returns whether its last owner went without unlocking."""
        done = await _done(self._of, _inserting(self._of, self._what), self._undo)
        return done.status == _ABANDONED

    def release(self):
        """Unlocks it. Raises NotOwner."""
        check(self._unlock(self._of._pointer))

    async def __aenter__(self):
        return await self.acquire()

    async def __aexit__(self, kind, *_):
        leave(kind, self.release, ForkedChild)


def lock(mutex):
    """A Mutex for `async with`; the value is whether its last owner went without unlocking. It has `acquire` and `release` too."""
    if not isinstance(mutex, Mutex):
        raise TypeError(f"expected a mutex, found a {type(mutex).__name__}")
    return _Scope(mutex, _OBJECT, library.tenure_mutex_unlock_task, library.tenure_mutex_abandon_task)


def read(rwlock):
    """A RwLock for `async with`: reads beside others; the value is whether the last writer went without unlocking."""
    return _Scope(rwlock, _READ, library.tenure_rwlock_unlock_read, library.tenure_rwlock_unlock_read)


def write(rwlock):
    """A RwLock for `async with`: writes alone; the value is whether the last writer went without unlocking."""
    return _Scope(rwlock, _WRITE, library.tenure_rwlock_unlock_write_task, library.tenure_rwlock_abandon_task)


class _Permit:
    def __init__(self, permits):
        self._permits, self._number = permits, None

    async def __aenter__(self):
        give_back = lambda done: library.tenure_permits_give_back(self._permits._pointer, done.permit)  # noqa: E731
        self._number = (await _done(self._permits, _inserting(self._permits, _PERMIT), give_back)).permit

    async def __aexit__(self, kind, *_):
        leave(kind, lambda: check(library.tenure_permits_give_back(self._permits._pointer, self._number)), ForkedChild)


def permit(permits):
    """One of Permits for `async with`."""
    return _Permit(permits)


async def notified(condvar, mutex):
    """Gives up a mutex that this task has by `lock`, waits until somebody notifies the Condvar, and takes the mutex again; whether its last owner went without
    unlocking. It may return without a notification: look again at what you wait for. If it is cancelled, the task does not have the mutex any more, unless
    it was cancelled before it has given it up; so it raises NotOwner from the `async with` of that lock."""

    def insert(pointer, tag):
        return library.tenure_wait_set_insert_condvar(pointer, condvar._pointer, mutex._pointer, tag)

    def undo(done):
        unlock = library.tenure_mutex_abandon_task if done.status == _ABANDONED else library.tenure_mutex_unlock_task
        unlock(mutex._pointer)

    return (await _done(condvar, insert, undo)).status == _ABANDONED


async def put(queue, data):
    """Puts a copy of bytes into a Queue; waits while it is full. If it is cancelled, they are not in the queue, unless it was done already."""
    data = _bytes(data)

    def insert(pointer, tag):
        return library.tenure_wait_set_insert_push(pointer, queue._pointer, data, len(data), tag)

    await _done(queue, insert, lambda _: None)


async def _claimed(queue):
    # A claim, since it can be given back.
    give_back = lambda done: library.tenure_queue_give_back(queue._pointer, done.handle.token)  # noqa: E731
    return (await _done(queue, _inserting(queue, _CLAIM), give_back)).handle


async def get(queue):
    """Takes the oldest element out of a Queue; waits while it is empty. Returns its bytes."""
    found = await _claimed(queue)
    data = string_at(found.data, found.size)
    queue._ack(found)
    return data


class _Claim:
    def __init__(self, queue):
        self._queue, self._claim = queue, None

    async def __aenter__(self):
        self._claim = QueueClaim(self._queue, await _claimed(self._queue))
        return self._claim.__enter__()

    async def __aexit__(self, *exception):
        self._claim.__exit__(*exception)


def claim(queue):
    """The oldest element of a Queue for `async with`: a QueueClaim. Done at the end of the body; given back by an exception, or if this process dies."""
    return _Claim(queue)
