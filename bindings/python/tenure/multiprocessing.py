"""The locks and queues of `multiprocessing`, which no killed process can keep locked or leave broken.

    from tenure import multiprocessing

    lock = multiprocessing.Lock()
    jobs = multiprocessing.Queue()
    multiprocessing.Process(target=work, args=(lock, jobs)).start()

Lock, RLock, Semaphore, BoundedSemaphore, Event, Condition and Queue are called, answer, fail and are passed to a Process as those of
`multiprocessing`, with every start method. Everything else of `multiprocessing` is found here as well and is the same object there: also the
contexts, whose Lock() and so on are not ours.

What differs:

- A process that is killed, or ends, gives back the locks and permits that it has: the next process gets them at once. `RLock.abandoned` says
  whether the owner before went that way. For this, what one process acquired, of a Lock, an RLock or a BoundedSemaphore, another process cannot
  release (ValueError, AssertionError). A Semaphore has no owners and is as in `multiprocessing`.
- A Lock or a Queue may be passed to children of any start method, whatever context it was made for.
- What was put into a Queue is there when `put` returns, also if the process ends right after; what cannot be pickled raises there. A process
  that is killed in `get` or `put` harms no other one. Without a `maxsize` the first 4096 elements are in shared memory, and those after them in
  the process that puts them, until there is room.
- At most 256 wait for a Condition at a time.
- A Condition is notified only by a process that lives long enough: who is killed after a change and before the notification notifies nobody.

SharedMemory is that of `multiprocessing.shared_memory` itself: arrays made over it have to work in forked children, where blocks of tenure are
not mapped.

All of it is in one space in a memfd, which ends with the last process that has it; at most 254 processes can use it at a time.
"""

import collections
import multiprocessing as _multiprocessing
import os
import select
import threading
import time
import weakref
from multiprocessing import context as _context
from multiprocessing import reduction as _reduction
from multiprocessing import util as _util
from multiprocessing.shared_memory import SharedMemory  # noqa: F401
from queue import Full
from typing import Any, Callable, Dict, List, Optional, Tuple

from . import MEMFD, Member, Space
from . import Queue as _Queue
from ._errors import Error, NotOwner, QueueEmpty, QueueFull
from ._library import quick
from ._objects import Event as _Event
from ._objects import Mutex as _Mutex
from ._objects import Object
from ._objects import Permits as _Permits
from ._objects import Semaphore as _Semaphore

# The elements of queues, and the waits of a condition.
_ELEMENT, _WAIT = 1, 2
_UNBOUNDED = 4096
_WAITS = 256


def __getattr__(name: str) -> Any:
    return getattr(_multiprocessing, name)


class _Home:
    """A space, and the membership of this process. Pickled, while a Process starts, it is the same space there."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self._member: Optional[Member] = None
        self._lock = threading.Lock()
        _homes[_identity(space.fileno())] = self

    @property
    def member(self) -> Member:
        with self._lock:
            if self._member is None:
                self._member = self.space.join()
            return self._member

    def _forked(self) -> None:
        self._member, self._lock = None, threading.Lock()

    def __reduce__(self):
        return _home_of, (_reduction.DupFd(self.space.fileno()),)


# The spaces that this process has, by the identity of the file. New objects are made in the first one.
_homes: Dict[Tuple[int, int], _Home] = {}
_first = threading.Lock()


def _identity(fd: int) -> Tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def _home() -> _Home:
    with _first:
        for home in _homes.values():
            return home
        return _Home(Space.open(backend=MEMFD, members=254, handles=1 << 17, scratch=1 << 34, container_slots=1 << 17))


def _home_of(passed) -> _Home:
    """What a pickled _Home becomes."""
    fd = passed.detach()
    try:
        with _first:
            return _homes.get(_identity(fd)) or _Home(Space.attach_fd(fd))
    finally:
        os.close(fd)


class _Shared:
    """One object in a home. Forked children and pickled copies open it by its token."""

    def __init__(self, make: Callable[[Member], Object]) -> None:
        _let_go()
        self._home = _home()
        # None in a forked child that has not opened it yet.
        self._object: Any = make(self._home.member)
        self._token = self._object.token
        self._began()

    def _began(self) -> None:
        self._ready()
        _live.add(self)
        # For children of multiprocessing, as early as possible: the parent may end.
        _util.register_after_fork(self, _Shared._open)

    def _make(self, member: Member) -> Object:
        """Opens it in another process."""
        raise NotImplementedError

    def _ready(self) -> None:
        """Called when it is open."""

    def _unready(self) -> None:
        """Called in a forked child, where it is not open yet."""

    def _open(self) -> Any:
        """Opens everything that a forked child inherited, unless that was done; the object."""
        if self._object is None:
            _open_all()
            if self._object is None:
                # It failed: says why.
                self._open_here()
        return self._object

    def _open_here(self) -> None:
        self._object = self._make(self._home.member)
        self._ready()

    def __getstate__(self):
        _context.assert_spawning(self)
        self._open()
        # The parent has it open at least as long as it has the process.
        kept = vars(_context.get_spawning_popen()).setdefault("_tenure", [])
        kept.append(self)
        return self._home, self._token, self._more()

    def _more(self) -> Any:
        return None

    def __setstate__(self, state) -> None:
        self._home, self._token, more = state
        self._set_more(more)
        self._object = self._make(self._home.member)
        self._began()

    def _set_more(self, more: Any) -> None:
        pass


_live: "weakref.WeakSet[_Shared]" = weakref.WeakSet()
# In a forked child that has not opened all that it inherited: its ends of the pipes below.
_writers: List[int] = []
# In a parent: what a child may still open, as long as the child has the other end of the pipe.
_kept: List[Tuple[int, List[Object]]] = []
_forking: Dict[int, int] = {}


def _let_go() -> None:
    """Lets go of what was kept for children that have opened it, ended, or execute another program."""
    for entry in list(_kept):
        poll = select.poll()
        poll.register(entry[0], select.POLLIN)
        if poll.poll(0) and entry in _kept:
            _kept.remove(entry)
            os.close(entry[0])


def _before_fork() -> None:
    _let_go()
    if _live:
        reader, writer = os.pipe()
        _kept.append((reader, [it._object for it in _live]))
        _forking[threading.get_ident()] = writer


def _in_parent() -> None:
    writer = _forking.pop(threading.get_ident(), None)
    if writer is not None:
        os.close(writer)


def _in_child() -> None:
    global _first
    _first = threading.Lock()
    for home in _homes.values():
        home._forked()
    mine = _forking.pop(threading.get_ident(), None)
    for reader, _ in _kept:
        os.close(reader)
    for writer in _forking.values():
        # Of a thread that forked at the same time.
        os.close(writer)
    _kept.clear()
    _forking.clear()
    if mine is not None:
        _writers.append(mine)
    for it in _live:
        it._object = None
        it._unready()


def _open_all() -> None:
    for it in list(_live):
        try:
            if it._object is None:
                it._open_here()
        except Error:
            # Said when it is used.
            pass
    while _writers:
        os.close(_writers.pop())


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def _time(block: bool, timeout: Optional[float]) -> Tuple[bool, Optional[float]]:
    """The arguments of our `acquire` for those of multiprocessing."""
    if not block:
        return False, None
    return True, None if timeout is None else max(timeout, 0)


class _LockCalls(_Permits._plain):
    def acquire(self, block=True, timeout=None):
        return super().acquire(*_time(block, timeout))

    def release(self):
        try:
            super().release()
        except NotOwner:
            raise ValueError("semaphore or lock released too many times") from None


class _RLockCalls(_Mutex._plain):
    def acquire(self, block=True, timeout=None):
        return super().acquire(*_time(block, timeout))

    def release(self):
        try:
            super().release()
        except NotOwner:
            raise AssertionError("attempt to release recursive lock not owned by thread") from None


class _SemaphoreCalls(_Semaphore._plain):
    def acquire(self, block=True, timeout=None):
        return super().acquire(*_time(block, timeout))


_LockCalls = quick(_LockCalls, "Permits")
_RLockCalls = quick(_RLockCalls, "Mutex")
_SemaphoreCalls = quick(_SemaphoreCalls, "Semaphore")


def _as(kind, object: Object) -> Any:
    """The object with the calls of another class."""
    made = kind(object._member, object._pointer)
    # One of the two closes it.
    object._pointer = 0
    return made


class _Lockable(_Shared):
    """What is acquired and released. Both are attributes, as in multiprocessing: they are the calls of the object itself."""

    def _ready(self) -> None:
        self.acquire, self.release = self._object.acquire, self._object.release

    def _unready(self) -> None:
        self.acquire = lambda *args, **named: self._open().acquire(*args, **named)
        self.release = lambda: self._open().release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_) -> None:
        self.release()


class _Owned(_Lockable):
    """A lock that a Condition can have."""

    def _is_mine(self) -> bool:
        raise NotImplementedError

    def _release_all(self) -> int:
        """Releases it as often as this thread has acquired it."""
        self.release()
        return 1


class Lock(_Owned):
    """As multiprocessing.Lock; any thread of the process that acquired it may release it."""

    def __init__(self) -> None:
        super().__init__(lambda member: _as(_LockCalls, member.permits(1)))

    def _make(self, member: Member) -> Object:
        return _as(_LockCalls, member.open_object(self._token))

    def _is_mine(self) -> bool:
        return self._open()._has_any()

    def __repr__(self) -> str:
        owner = "None" if self._open().available else _process_name() if self._is_mine() else "SomeOtherProcess"
        return f"<Lock(owner={owner})>"


def _process_name() -> str:
    return _multiprocessing.current_process().name


class RLock(_Owned):
    """As multiprocessing.RLock."""

    def __init__(self) -> None:
        super().__init__(lambda member: _as(_RLockCalls, member.mutex(recursive=True)))

    def _make(self, member: Member) -> Object:
        return _as(_RLockCalls, member.open_object(self._token))

    @property
    def abandoned(self) -> bool:
        """For the owner: whether the owner before went without releasing it."""
        return self._open().abandoned

    def _is_mine(self) -> bool:
        return self._open().owner == (self._object._member.lease & 255, threading.get_native_id())

    def _release_all(self) -> int:
        count = 0
        while self._is_mine():
            self.release()
            count += 1
        return count

    def __repr__(self) -> str:
        owner = self._open().owner
        name = "None" if not owner else _process_name() if self._is_mine() else "SomeOther"
        return f"<RLock(owner={name})>"


class Semaphore(_Lockable):
    """As multiprocessing.Semaphore: it has no owners, so that a killed process keeps what it acquired."""

    def __init__(self, value: int = 1) -> None:
        if value < 0:
            raise ValueError("semaphore initial value must be >= 0")
        super().__init__(lambda member: _as(_SemaphoreCalls, member.semaphore(value, 2**30 - 1)))

    def _make(self, member: Member) -> Object:
        return _as(_SemaphoreCalls, member.open_object(self._token))

    def _ready(self) -> None:
        self.acquire = self._object.acquire

    def _unready(self) -> None:
        self.acquire = lambda *args, **named: self._open().acquire(*args, **named)

    def release(self) -> None:
        self._open().release()

    def get_value(self) -> int:
        """The count at the moment."""
        return self._open().count

    def __repr__(self) -> str:
        return f"<Semaphore(value={self.get_value()})>"


class BoundedSemaphore(_Lockable):
    """As multiprocessing.BoundedSemaphore, of 1 to 65536; what a process has acquired when it is killed comes back."""

    def __init__(self, value: int = 1) -> None:
        super().__init__(lambda member: _as(_LockCalls, member.permits(value)))

    def _make(self, member: Member) -> Object:
        return _as(_LockCalls, member.open_object(self._token))

    def get_value(self) -> int:
        """How many are free at the moment."""
        return self._open().available

    def __repr__(self) -> str:
        return f"<BoundedSemaphore(value={self.get_value()}, maxvalue={self._object.total})>"


class Event(_Shared):
    """As multiprocessing.Event."""

    def __init__(self) -> None:
        super().__init__(lambda member: member.event(manual=True))

    def _make(self, member: Member) -> Object:
        return member.open_object(self._token)

    def is_set(self) -> bool:
        return self._open().is_set()

    def set(self) -> None:
        self._open().set()

    def clear(self) -> None:
        self._open().reset()

    def wait(self, timeout: Optional[float] = None) -> bool:
        return self._open().wait(timeout)

    def __repr__(self) -> str:
        return f"<Event at {id(self):#x} {'set' if self.is_set() else 'unset'}>"


class Condition(_Shared):
    """As multiprocessing.Condition, with a Lock or an RLock of this module.

    Each wait has an event of its own, whose token is in a queue. A token of a process that was killed, or whose wait is over, leads nowhere and
    is passed over; a process that is killed while it notifies gives the token back.
    """

    def __init__(self, lock: Optional[_Owned] = None) -> None:
        self._lock = RLock() if lock is None else lock
        if not isinstance(self._lock, _Owned):
            raise TypeError(f"a Condition needs a Lock or an RLock of tenure.multiprocessing, not a {type(lock).__name__}")
        super().__init__(lambda member: member.queue(_WAIT, _WAITS))

    def _make(self, member: Member) -> Object:
        return member.open_queue(_WAIT, self._token)

    def _more(self) -> Any:
        return self._lock

    def _set_more(self, more: Any) -> None:
        self._lock = more

    def acquire(self, *args, **named) -> bool:
        return self._lock.acquire(*args, **named)

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_) -> None:
        self._lock.release()

    def _event(self, token: bytes) -> Optional[_Event]:
        """The event of a wait, if it is not over."""
        try:
            return self._home.member.open_object(int.from_bytes(token, "little"))
        except Error:
            return None

    def _enter(self, token: bytes) -> None:
        waits = self._open()
        try:
            waits.put(token, block=False)
        except QueueFull:
            # Removes those that are over. The lock is ours: nobody else changes the queue.
            for _ in range(waits.qsize()):
                other = waits.get(block=False)
                if self._event(other) is not None:
                    waits.put(other, block=False)
            waits.put(token, block=False)

    def wait(self, timeout: Optional[float] = None) -> bool:
        assert self._lock._is_mine(), "must acquire() condition before using wait()"
        event = self._home.member.event()
        self._enter(event.token.to_bytes(8, "little"))
        count, told, failed = self._lock._release_all(), False, True
        try:
            told, failed = event.wait(timeout), False
        finally:
            for _ in range(count):
                self._lock.acquire()
            # Notified after the time, or after an exception, and before we had the lock again.
            late = not told and event.is_set()
            event.close()
            if late and failed:
                # Another one is to have the notification.
                self.notify()
        return told or late

    def wait_for(self, predicate: Callable[[], Any], timeout: Optional[float] = None) -> Any:
        result = predicate()
        end = None if timeout is None else time.monotonic() + timeout
        while not result:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                break
            self.wait(left)
            result = predicate()
        return result

    def notify(self, n: int = 1) -> None:
        assert self._lock._is_mine(), "lock is not owned"
        waits = self._open()
        while n > 0:
            try:
                claim = waits.claim(block=False)
            except QueueEmpty:
                return
            # Given back if we are killed in here; the event of a wait that was told already is soon closed.
            with claim:
                event = self._event(bytes(claim.data))
                if event is not None:
                    event.set()
                    event.close()
                    n -= 1

    def notify_all(self) -> None:
        self.notify(2**31)

    def __repr__(self) -> str:
        return f"<Condition({self._lock!r}, {self._open().qsize()})>"


class Queue(_Shared):
    """As multiprocessing.Queue."""

    def __init__(self, maxsize: int = 0) -> None:
        self._set_more(maxsize)
        super().__init__(lambda member: member.queue(_ELEMENT, maxsize if maxsize > 0 else _UNBOUNDED))

    def _make(self, member: Member) -> Object:
        return member.open_queue(_ELEMENT, self._token)

    def _more(self) -> Any:
        return self._bounded

    def _set_more(self, more: Any) -> None:
        self._bounded = more if more > 0 else 0
        self._closed, self._joined = False, True
        self._waiting: "collections.deque[bytes]" = collections.deque()
        self._lock = threading.Lock()
        self._thread: Optional[threading.Thread] = None

    def _unready(self) -> None:
        # Those that wait for room are the parent's.
        self._set_more(self._bounded)

    def _usable(self) -> _Queue:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")
        return self._open()

    def put(self, obj: Any, block: bool = True, timeout: Optional[float] = None) -> None:
        queue = self._usable()
        data = bytes(_reduction.ForkingPickler.dumps(obj))
        if self._bounded:
            queue.put(data, *_time(block, timeout))
            return
        with self._lock:
            if not self._waiting:
                try:
                    queue.put(data, block=False)
                    return
                except Full:
                    pass
            self._waiting.append(data)
            if self._thread is None:
                # The process ends after it, unless cancel_join_thread was called.
                self._thread = threading.Thread(target=self._feed, args=(queue,), daemon=not self._joined)
                self._thread.start()

    def _feed(self, queue: _Queue) -> None:
        """Puts what waits for room."""
        while True:
            queue.put(self._waiting[0])
            with self._lock:
                self._waiting.popleft()
                if not self._waiting:
                    self._thread = None
                    return

    def get(self, block: bool = True, timeout: Optional[float] = None) -> Any:
        return _reduction.ForkingPickler.loads(self._usable().get(*_time(block, timeout)))

    def put_nowait(self, obj: Any) -> None:
        self.put(obj, False)

    def get_nowait(self) -> Any:
        return self.get(False)

    def qsize(self) -> int:
        return self._open().qsize() + len(self._waiting)

    def empty(self) -> bool:
        return self._open().empty()

    def full(self) -> bool:
        return bool(self._bounded) and self._open().full()

    def close(self) -> None:
        """This process puts and gets no more."""
        self._closed = True

    def join_thread(self) -> None:
        """Waits until all that this process put is in shared memory."""
        assert self._closed, f"Queue {self!r} not closed"
        thread = self._thread
        if thread is not None:
            thread.join()

    def cancel_join_thread(self) -> None:
        """The process may end although elements wait for room. Before they do."""
        self._joined = False
