"""Handles, locks and scratch memory shared by the processes of one machine: no daemon, and no lock that a dead process can hold.

    import tenure

    with tenure.Space.open("myapp") as space, space.join() as me:
        handle = me.create(KIND, b"an object")         # lives as long as some process holds it
        send(handle.token)                              # a number, to be passed by any means

        with me.open(KIND, token) as handle:            # in another process
            print(bytes(handle.data))                   # a memoryview: nothing was copied
        with me.alloc(4096) as block:                   # freed at the end, or when the process dies
            block.data[:5] = b"hello"

        lock = me.mutex("lock", or_open=True)           # in any number of processes; open as long as what it protects is used
        with lock as abandoned:
            if abandoned:                               # its last owner was killed
                repair()

Mutexes, events, semaphores, processes and threads are objects: of a token or a name, `me.open_object` makes the same
object in another process; `tenure.wait_any` and `tenure.wait_all` wait for several.

Queues hand jobs on, and give back what a dead process had claimed; maps are dictionaries that outlive the processes:

        with me.open_queue(KIND, "jobs").claim() as job:
            me.open_object("results")[bytes(job.data)] = work(job.data)

Signal handlers run during waits; an exception of a handler, that of Ctrl-C for instance, ends the wait, and nothing was taken.

Threads share a member; calls that run at the same time have a cache of their own each. A member that is dropped leaves.
Views of a handle or block cannot be used once it is closed: closing it raises BufferError while slices or arrays made
of its `data` exist.

A forked child (os.fork, or multiprocessing's "fork") is not the member that its parent is: calls with inherited objects
raise ForkedChild and their `data` are released. Slices of them, which Python cannot find, must not be touched there. The
child may join by itself, through the space that it inherited. Children that are spawned attach to the space by name, or
by a file descriptor passed to them.
"""

import gc
import os
import sys
import weakref
from collections import namedtuple
from ctypes import byref, c_int, c_size_t, c_uint32, c_uint64, c_void_p, create_string_buffer, string_at

from . import _library
from ._errors import *  # noqa: F403
from ._errors import Closed, Error, ForkedChild, Interrupted, NotFound, QueueEmpty, QueueFull, Timeout, check, leave
from ._library import library, native, quick, quick_call
from ._objects import (  # noqa: F401
    _INTERRUPTIBLE,
    _OR_OPEN,
    LOCKED,
    VERSIONED,
    Condvar,
    Descriptor,
    Event,
    Exit,
    FileShare,
    Locked,
    Map,
    Mutex,
    Object,
    Permits,
    Process,
    RwLock,
    Semaphore,
    Thread,
    User,
    Value,
    Versioned,
    Waitable,
    listed,
    open_object,
    share,
    shown,
    value,
    wait_all,
    wait_any,
)
from ._objects import _bytes, _limit
from ._objects import _name as _text

Name = namedtuple("Name", "name kind token holders")
Name.__doc__ = """A name in use: of an object, where `kind` is its class's name, or of a handle of that kind."""

Membership = namedtuple("Membership", "lease pid alive")
Membership.__doc__ = """A member: its lease, its process, and False if it is dead and not recovered yet."""

# Of the list of idle locals, and the arguments of the call.
_quick_create, _quick_open, _quick_close = (quick_call(name) for name in ("create", "open", "close"))
_quick_alloc, _quick_free = quick_call("alloc"), quick_call("free")

_SYSTEM_KIND = 1 << 62
_OBJECTS = {1: "Mutex", 2: "Event", 3: "Event", 4: "Semaphore", 5: "Process", 6: "Thread", 7: "Descriptor"}
_OBJECTS |= {9: "Locked", 10: "Versioned", 11: "RwLock", 14: "Shared", 16: "Map", 17: "Queue"}
_OBJECTS |= {19: "Condvar", 20: "Permits"}

READ, WRITE, DELETE = 1, 2, 4

SHM, FILE, MEMFD, ANONYMOUS, SYSV, PRIVATE = range(1, 7)

UNKNOWN, CURRENT, CONTESTED, REMOVED, REPLACED = range(5)

Monitor = namedtuple("Monitor", "state reason")
Monitor.__doc__ = """Whether a member is notified of deaths: "running", "degraded" (late), "failed" or "off", and why."""

__version__ = library.tenure_version().decode()

NATIVE = native is not None
"""Whether the short calls are made by the extension of C: otherwise all are made by ctypes, more slowly."""


def _options(
    backend,
    members,
    handles,
    scratch,
    unit,
    generation_bits,
    monitor,
    tiny,
    mode,
    owner,
    group,
    read_only,
    slots=0,
    container_slots=0,
):
    flags = (0 if monitor else 1) | (2 if tiny else 0) | (16 if read_only else 0)
    flags |= (0 if owner is None else 4) | (0 if group is None else 8)
    return _library.Options(
        _library.ABI_VERSION,
        backend,
        flags,
        members,
        handles,
        generation_bits,
        scratch,
        unit,
        mode,
        owner or 0,
        group or 0,
        slots,
        container_slots,
    )


def _name(name):
    return None if name is None else os.fsencode(name)


class _Opaque:
    """An object that cannot be copied to another process."""

    _instead = "open the space there, by its name or descriptor, and join it"

    def __reduce__(self):
        raise TypeError(
            f"a {type(self).__name__} cannot be sent to another process, since bytes keep nothing alive and are not of one member; "
            + self._instead
        )

    def __repr__(self):
        return shown(self, self._about)


class Space(_Opaque):
    """Memory that processes share. Attached, not joined: it holds nothing and writes nothing."""

    def __init__(self, pointer, read_only):
        self._pointer = pointer
        self._read_only = read_only

    def _about(self):
        info = self.info
        return f"members={info['members']} handles={info['handles']} scratch={info['scratch_bytes']}"

    @classmethod
    def open(
        cls,
        name=None,
        *,
        backend=SHM,
        members=0,
        handles=0,
        scratch=0,
        unit=0,
        generation_bits=0,
        monitor=True,
        tiny=False,
        mode=0,
        owner=None,
        group=None,
        read_only=False,
        slots=0,
        container_slots=0,
    ):
        """Creates the space of that name (FILE: path), or attaches to it; MEMFD, ANONYMOUS and PRIVATE have none.

        A number left out is the default when the space is created, and is ignored when it exists. `mode` (0o600 to
        0o666), `owner` and `group` (ids) let other users in; those who attach give the same. Members that join a space
        opened with `read_only` create and allocate nothing: ReadOnly. `slots` is the number of Member.slots; queues and maps need
        `container_slots`: as many as their capacity, rounded up to a power of two, at least 64.
        """
        options = _options(
            backend,
            members,
            handles,
            scratch,
            unit,
            generation_bits,
            monitor,
            tiny,
            mode,
            owner,
            group,
            read_only,
            slots,
            container_slots,
        )
        pointer = c_void_p()
        check(library.tenure_space_open(byref(options), _name(name), byref(pointer)))
        return cls(pointer.value, read_only)

    @classmethod
    def attach(cls, name, *, backend=SHM, monitor=True, mode=0, owner=None, group=None, read_only=False):
        """Attaches to the space of that name (or path), which must exist."""
        options = _options(backend, 0, 0, 0, 0, 0, monitor, False, mode, owner, group, read_only)
        pointer = c_void_p()
        check(library.tenure_space_attach(byref(options), _name(name), byref(pointer)))
        return cls(pointer.value, read_only)

    @classmethod
    def attach_fd(cls, fd, *, monitor=True, mode=0, owner=None, group=None, read_only=False):
        """Attaches to a MEMFD space by a file descriptor, which stays the caller's."""
        options = _options(MEMFD, 0, 0, 0, 0, 0, monitor, False, mode, owner, group, read_only)
        pointer = c_void_p()
        check(library.tenure_space_attach_fd(byref(options), fd, byref(pointer)))
        return cls(pointer.value, read_only)

    @staticmethod
    def remove(name, *, backend=SHM, force=False):
        """Removes a space by name or path: nobody can attach any more, its memory goes with its last member."""
        check(library.tenure_space_remove(backend, _name(name), int(force)))

    def close(self):
        """Detaches. Members stay members."""
        check(library.tenure_space_close(self._pointer))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.close, Closed)

    def __del__(self):
        # The library knows whether it is open. At the end of the interpreter it is gone.
        if library is not None:
            library.tenure_space_close(self._pointer)

    def fileno(self):
        """The file descriptor to pass to other processes; it stays the space's."""
        fd = c_int()
        check(library.tenure_space_fd(self._pointer, byref(fd)))
        return fd.value

    @property
    def path(self):
        """The file behind the space."""
        needed = c_size_t()
        check(library.tenure_space_path(self._pointer, None, 0, byref(needed)))
        buffer = create_string_buffer(needed.value)
        check(library.tenure_space_path(self._pointer, buffer, needed.value, None))
        return os.fsdecode(buffer.value)

    @property
    def name_state(self):
        """Where the name leads: CURRENT, or CONTESTED, REMOVED, REPLACED after a file was removed under its members.

        UNKNOWN: the space has no name, or its folder cannot be looked at.
        """
        state = c_uint32()
        check(library.tenure_space_name_state(self._pointer, byref(state)))
        return state.value

    @property
    def info(self):
        """The properties of the space, as a dictionary."""
        info = _library.Info()
        check(library.tenure_space_info(self._pointer, byref(info)))
        return {name: getattr(info, name) for name, _ in info._fields_}

    @property
    def stats(self):
        """The counts of objects and bytes in use, as a dictionary."""
        stats = _library.Stats()
        check(library.tenure_space_stats(self._pointer, byref(stats)))
        return {name: getattr(stats, name) for name, _ in stats._fields_}

    def check(self):
        """Checks every word: a list of impossible states, and a list of states that work in progress can produce."""
        text = create_string_buffer(1 << 16)
        violations, pending = c_size_t(), c_size_t()
        check(library.tenure_space_check(self._pointer, text, len(text), byref(violations), byref(pending)))
        lines = text.value.decode(errors="replace").splitlines()
        return lines[: violations.value], lines[violations.value :]

    @property
    def names(self):
        """The names in use, as a list of Name."""
        return [
            Name(
                name.name.decode(),
                _OBJECTS.get(name.kind - _SYSTEM_KIND, name.kind),
                name.token,
                name.holders,
            )
            for name in listed(library.tenure_space_names, self._pointer, _library.Name)
        ]

    @property
    def members(self):
        """The members, as a list of Membership."""
        found = listed(library.tenure_space_members, self._pointer, _library.Membership)
        return [Membership(it.lease, it.pid, bool(it.alive)) for it in found]

    def join(self):
        """Becomes a member."""
        pointer = c_void_p()
        check(library.tenure_join(self._pointer, byref(pointer)))
        return Member(pointer.value, self._read_only)


def _mapped(member, data, size):
    """Memory of the space. It keeps the member, which has it mapped, as long as views of it exist."""
    if not size:
        return bytearray()
    memory = _library.array(size).from_address(data)
    memory.member = member
    return memory


class Member(_Opaque):
    """This process, with the right to hold handles and blocks. Threads may share it.

    It leaves when it is dropped: when nothing refers to it, to its handles, blocks and objects, or to views of these.
    """

    def __init__(self, pointer, read_only):
        self._pointer = pointer
        self._read_only = read_only
        # Locals that no call uses at the moment; each call takes one, and they belong to no thread.
        self._idle = []
        self._held = weakref.WeakSet()
        self._objects = weakref.WeakSet()
        # Views of blocks of others: weak references to the memory and to the first view, by the former's id.
        self._passed = {}
        _members.add(self)

    def _call(self, function, *arguments):
        """Calls a function whose first argument is a local."""
        try:
            local = self._idle.pop()
        except IndexError:
            local = None
        if local is None:
            opened = c_void_p()
            check(library.tenure_local_open_unbound(self._pointer, byref(opened)))
            local = opened.value
        try:
            return check(function(local, *arguments))
        finally:
            self._idle.append(local)

    def _end(self):
        """Leaves; the status. In a forked child, and after leaving, the library refuses."""
        while self._idle:
            library.tenure_local_close(self._idle.pop())
        return library.tenure_leave(self._pointer)

    def leave(self):
        """Gives back every handle, block and object that is held, and the lease.

        Raises BufferError while slices or arrays of held memory, or of blocks that others passed, exist; InUse while
        other threads are in calls of the member.
        """
        for held in list(self._held):
            held._release()
        for memory, view in list(self._passed.values()):
            view = view()
            if view is not None:
                view.release()
            if memory() is not None:
                raise BufferError("views of a block that was passed exist; release them first")
        for it in list(self._objects):
            it._release()
        for it in list(self._objects):
            # Perhaps in use: then the member is in use as well.
            library.tenure_object_close(it._pointer)
        check(self._end())
        for held in list(self._held):
            held._member = None

    def __del__(self):
        if not hasattr(self, "_idle") or library is None:
            return
        if sys.getrefcount(self) > _References.dropped:
            # Part of a cycle, whose other parts may still use the memory: when they are gone, see `_leave_late`.
            _late.append(self)
        else:
            self._end()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.leave, Closed, ForkedChild)

    def _about(self):
        return f"lease={self.lease:#x}"

    @property
    def lease(self):
        """A number that tells this membership from any other; see free_of."""
        lease = c_uint64()
        check(library.tenure_lease(self._pointer, byref(lease)))
        return lease.value

    def recover(self):
        """Recovers dead members; returns their number."""
        recovered = c_size_t()
        check(library.tenure_recover(self._pointer, byref(recovered)))
        return recovered.value

    @property
    def monitor(self):
        """Whether this member is notified of the deaths of others, as its monitor thread finds now."""
        state = c_int()
        check(library.tenure_monitor(self._pointer, byref(state)))
        name = {1: "running", 2: "degraded", 0: "off", -1: "failed"}[state.value]
        has_reason = name in ("degraded", "failed")
        return Monitor(name, library.tenure_last_error().decode(errors="replace") if has_reason else None)

    def trim(self):
        """Gives idle memory back to the system; returns the bytes."""
        given = c_uint64()
        check(library.tenure_trim(self._pointer, byref(given)))
        return given.value

    def create(self, kind, data, name=None, *, or_open=False):
        """Creates a handle of `kind`, a number of the application's choice, with a copy of the bytes of `data`.

        With a name that something has NameTaken is raised; with `or_open` that is opened instead.
        """
        data = bytes(data)
        if name is None:
            quickly = _quick_create(self._idle, kind, data)
            if quickly is not None:
                return Handle(self, kind, _library.Handle(*quickly))
        found = _library.Handle()
        if name is None:
            self._call(library.tenure_create, kind, data, len(data), byref(found))
        else:
            flags = _OR_OPEN if or_open else 0
            content = (kind, data, len(data))
            self._call(library.tenure_create_named, _text(name), flags, *content, byref(found))
        return Handle(self, kind, found)

    def create_with(self, kind, block, size=None):
        """Creates a handle whose payload is the block, or `size` bytes of it; the block belongs to it from now on."""
        found = _library.Handle()
        block._release()
        size = block.size if size is None else size
        self._call(library.tenure_create_with, kind, block.offset, size, byref(found))
        block._member = None
        return Handle(self, kind, found)

    def open(self, kind, token):
        """Opens a handle of `kind` by its token, or by its name: afterwards this process holds it once more."""
        quickly = _quick_open(self._idle, kind, token)
        if quickly is not None:
            return Handle(self, kind, _library.Handle(*quickly))
        found = _library.Handle()
        if isinstance(token, str):
            self._call(library.tenure_open_named, _text(token), kind, byref(found))
        else:
            self._call(library.tenure_open, kind, token, byref(found))
        return Handle(self, kind, found)

    def mutex(self, name=None, *, recursive=False, or_open=False):
        """Creates a Mutex; with `or_open` opens the mutex of that name, if there is one."""
        flags = int(recursive) | (_OR_OPEN if or_open else 0)
        return Mutex._make(library.tenure_mutex_create, self, _text(name), flags)

    def event(self, name=None, *, manual=False, signalled=False, or_open=False):
        """Creates an Event: each signal lets one waiter go, or, if `manual`, all until it is reset."""
        flags = int(manual) | int(signalled) << 1 | (_OR_OPEN if or_open else 0)
        return Event._make(library.tenure_event_create, self, _text(name), flags)

    def semaphore(self, count, maximum, name=None, *, or_open=False):
        """Creates a Semaphore."""
        flags = _OR_OPEN if or_open else 0
        return Semaphore._make(library.tenure_semaphore_create, self, _text(name), flags, count, maximum)

    def condvar(self, name=None, *, or_open=False):
        """Creates a Condvar; with `or_open` opens the one of that name, if there is one."""
        return Condvar._make(library.tenure_condvar_create, self, _text(name), _OR_OPEN if or_open else 0)

    def permits(self, total, name=None, *, or_open=False):
        """Creates Permits: so many, 1 to 65536. With `or_open` those of that name are opened, if there are some, however many."""
        return Permits._make(library.tenure_permits_create, self, _text(name), _OR_OPEN if or_open else 0, total)

    def process(self, number=0, name=None, *, or_open=False):
        """Creates a Process of the process that has that number now; 0 is this one. With `or_open` a process of that name
        is opened instead, even if it has another number."""
        flags = _OR_OPEN if or_open else 0
        return Process._make(library.tenure_process_of, self, _text(name), flags, number)

    def thread(self, number=0, name=None, *, or_open=False):
        """Creates a Thread of the thread that has that number now (threading.get_native_id); 0 is the calling one."""
        flags = _OR_OPEN if or_open else 0
        return Thread._make(library.tenure_thread_of, self, _text(name), flags, number)

    def descriptor(self, file, name=None, *, or_open=False):
        """Creates a Descriptor of a file, or of the number of a descriptor, which stays the caller's. With `or_open` a
        descriptor of that name is opened instead, even if it leads to another file."""
        fd = file if isinstance(file, int) else file.fileno()
        flags = _OR_OPEN if or_open else 0
        return Descriptor._make(library.tenure_descriptor_create, self, _text(name), flags, fd)

    def share(self, file, access, sharing):
        """Enters how we use a file, and let others use it meanwhile, into its table; both are sums of READ, WRITE and
        DELETE. As Windows' share modes, among the members of a space. Raises Sharing; its `who` is the User in the way."""
        return share(self, file if isinstance(file, int) else file.fileno(), access, sharing)

    def locked(self, type, data, name=None, *, or_open=False):
        """Creates a Locked with a copy of the bytes of `data`, or as many zeros if it is a number. `type` is a number of the
        application's choice, with which others open it."""
        return value(Locked, LOCKED, self, type, data, name, or_open)

    def open_locked(self, type, what):
        """Opens a Locked of that type by its token or its name."""
        return value(Locked, LOCKED, self, type, None, what, False)

    def versioned(self, type, data, name=None, *, or_open=False):
        """Creates a Versioned; the arguments are those of `locked`."""
        return value(Versioned, VERSIONED, self, type, data, name, or_open)

    def open_versioned(self, type, what):
        """Opens a Versioned of that type by its token or its name."""
        return value(Versioned, VERSIONED, self, type, None, what, False)

    def rwlock(self, name=None, *, or_open=False):
        """Creates an RwLock; with `or_open` opens the one of that name, if there is one."""
        return RwLock._make(library.tenure_rwlock_create, self, _text(name), _OR_OPEN if or_open else 0)

    def map(self, capacity, name=None, *, max_bytes=0, or_open=False):
        """Creates a Map that is made for so many pairs. If `max_bytes` is not 0, it bounds the bytes of all pairs: pairs that were not
        looked at lately are evicted. Raises ContainerSlots. open_object opens it."""
        flags = _OR_OPEN if or_open else 0
        return Map._make(library.tenure_map_create, self, _text(name), flags, capacity, max_bytes)

    def queue(self, kind, capacity, name=None, *, or_open=False):
        """Creates a Queue for so many elements that wait. They are handles of `kind`, a number of the application's choice, with which
        others open the queue. Raises ContainerSlots."""
        flags = _OR_OPEN if or_open else 0
        return Queue._of(kind, library.tenure_queue_create, self, _text(name), flags, kind, capacity)

    def open_queue(self, kind, what):
        """Opens a Queue of elements of that kind by its token or its name."""
        if isinstance(what, str):
            return Queue._of(kind, library.tenure_queue_open_named, self, kind, _text(what))
        return Queue._of(kind, library.tenure_queue_open, self, kind, what)

    @property
    def slots(self):
        """The Slots of the space, which hold handles as members do."""
        return Slots(self)

    def open_object(self, what):
        """Opens an object by its token or its name: a Mutex, an Event, and so on. Values and queues are opened with their types
        and kinds."""
        return open_object(self, what)

    def alloc(self, size, align=0):
        """Allocates zeroed memory."""
        quickly = _quick_alloc(self._idle, size, align)
        if quickly is not None:
            return Block(self, _library.Block(*quickly), align)
        found = _library.Block()
        self._call(library.tenure_alloc_zeroed, size, align, byref(found))
        return Block(self, found, align)

    def block_at(self, offset, lease):
        """A memoryview of all bytes of a block that the member with that lease owns and passed to us; of a pinned block if
        the lease is None. Raises WrongOwner, NotABlock or AlreadyFree if the block is not that member's any more.

        The view does not tell when that member is killed, or frees the block, and another one gets the memory. To verify
        what was read, call this again: if it raises nothing, the owner has not been killed, so that no other member had the
        memory meanwhile. It does not show whether the owner itself freed the block and allocated it anew.
        """
        found = _library.Block()
        self._call(library.tenure_block_of, offset, 0 if lease is None else lease, byref(found))
        memory = _mapped(self, found.data, found.size)
        view = memoryview(memory).cast("B")
        if self._read_only:
            view = view.toreadonly()
        self._pass(memory, weakref.ref(view))
        return view

    def _pass(self, memory, view):
        """Remembers memory of which others may have views, for `leave`, until nobody has any."""
        key, passed = id(memory), self._passed
        passed[key] = (weakref.ref(memory, lambda _: passed.pop(key, None)), view)

    def free_of(self, offset, lease):
        """Frees a block of the member that has that lease, which passed it to us."""
        self._call(library.tenure_free_of, offset, lease)

    def free_pinned(self, offset):
        """Frees a pinned block; any member may have pinned it."""
        self._call(library.tenure_free_pinned, offset)


class _Held(_Opaque):
    """A handle or a block: some memory, as long as it is open."""

    _instead = "send the token, or give a block away, keep it until it was received, and open it there"

    def _about(self):
        return "closed" if self._member is None else f"{self._place()} size={self.size}"

    def __init__(self, member, data, size):
        self._member = member
        self.size = size
        self._memory = _mapped(member, data, size)
        self._view = None
        member._held.add(self)

    def _whole(self):
        if self._member is None or self._memory is None:
            raise Closed(f"the {type(self).__name__.lower()} was closed")
        if self._view is None:
            self._view = memoryview(self._memory).cast("B")
        return self._view

    def _release(self):
        """Makes `data` unusable, or refuses because somebody has a part of it."""
        view, self._view = self._view, None
        if view is not None:
            view.release()
        # Ours, and that of the call to getrefcount: a third is that of a view.
        if self._memory is not None and sys.getrefcount(self._memory) > 2:
            raise BufferError(f"views of the {type(self).__name__.lower()} exist; release them first")

    def _end(self):
        """Marks this closed for good; returns the member."""
        if self._member is None:
            raise Closed(f"the {type(self).__name__.lower()} was closed")
        self._release()
        return self._member

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if self._member is not None and leave(kind, self.close, ForkedChild):
            self._member = None

    def __del__(self):
        if getattr(self, "_member", None) is not None:
            try:
                self.close()
            except BufferError:
                # Slices live on without us: the member must not leave under them.
                self._member._pass(self._memory, lambda: None)
            except (Error, TypeError):
                pass


class Handle(_Held):
    """An object that lives as long as some process holds it. Closing it gives back one of this process's holds."""

    def __init__(self, member, kind, found):
        super().__init__(member, found.data, found.size)
        self.kind = kind
        self.token = found.token

    def _place(self):
        return f"kind={self.kind} token={self.token:#x}"

    @property
    def data(self):
        """The payload, in place, as a memoryview for reading."""
        self._whole()
        if not self._view.readonly:
            writable, self._view = self._view, self._view.toreadonly()
            writable.release()
        return self._view

    def close(self):
        """Gives it back."""
        member = self._end()
        if not _quick_close(member._idle, self.token):
            member._call(library.tenure_close, self.token)
        self._member = None

    def word(self, position=0):
        """The 64-bit word at that many bytes: for payloads that all users change by atomic operations only."""
        return Word(self, position)


class Claim(Handle):
    """A handle that a slot lends to this member alone. `ack` empties the slot; closing the claim, also by the end of a `with`, and the
    death of this process give the handle back to it."""

    def __init__(self, member, kind, found, slot):
        super().__init__(member, kind, found)
        self.slot = slot

    def _finish(self, function):
        self._end()._call(function, self.slot, self.kind, self.token)
        self._member = None

    def ack(self):
        """Done: the slot is empty, and the handle ends unless somebody else holds it."""
        self._finish(library.tenure_slot_ack)

    def close(self):
        """Gives the handle back to its slot, where any member can claim it."""
        self._finish(library.tenure_slot_give_back)


class Slots:
    """The slots of a space. What is in a slot outlives all members, until it is taken out, replaced or evicted."""

    def __init__(self, member):
        self._member = member

    def _held(self, handle):
        if handle._member is None:
            raise Closed("the handle was closed")
        return handle.kind, handle.token

    def put(self, slot, handle):
        """Puts a handle into an empty slot. The handle stays open here as well. Raises SlotFull, Kept, NoSlot."""
        self._member._call(library.tenure_slot_put, slot, *self._held(handle))

    def keep(self, what):
        """Puts a handle, or an object (a mutex, a value, a queue, a map and so on), into an empty slot, whichever; returns its number.
        Raises SlotFull if there is none, and Kept."""
        slot = c_uint32()
        if isinstance(what, Object):
            if what._member is not self._member:
                raise ValueError("the object is another member's")
            check(library.tenure_slot_keep_object(what._pointer, byref(slot)))
        else:
            self._member._call(library.tenure_slot_keep, *self._held(what), byref(slot))
        return slot.value

    def replace(self, slot, handle):
        """Puts a handle into a slot, empty or not; returns the token of the former one, or None. Raises SlotFull if that is claimed."""
        before = c_uint64()
        self._member._call(library.tenure_slot_replace, slot, *self._held(handle), byref(before))
        return before.value or None

    def take(self, slot, kind):
        """Takes the handle of that kind out of a slot: a Handle. Raises SlotEmpty, Claimed, ForeignKind, NoSlot."""
        found = _library.Handle()
        self._member._call(library.tenure_slot_take, slot, kind, byref(found))
        return Handle(self._member, kind, found)

    def claim(self, slot, kind):
        """Claims the handle of that kind in a slot: a Claim. Raises as `take`."""
        found = _library.Handle()
        self._member._call(library.tenure_slot_claim, slot, kind, byref(found))
        return Claim(self._member, kind, found, slot)

    def evict(self, slot):
        """Empties a slot; returns the token of what was in it, which ends if nobody else holds it. Raises SlotEmpty, Claimed, NoSlot."""
        token = c_uint64()
        self._member._call(library.tenure_slot_evict, slot, byref(token))
        return token.value

    def find(self, token):
        """The number of the slot that holds the handle of that token at the moment, or None."""
        slot = c_uint32()
        try:
            self._member._call(library.tenure_slot_find, token, byref(slot))
        except NotFound:
            return None
        return slot.value


class QueueClaim(Handle):
    """An element that a queue lends to this member alone.

        with jobs.claim() as job:
            work(job.data)          # done at the end of the body; given back by an exception, or if this process dies
    """

    def __init__(self, queue, found):
        super().__init__(queue._member, queue.kind, found)
        self._queue = queue
        if found.size:
            # Slices keep the queue open, whose end gives the element back.
            self._memory.queue = queue
            queue._lent[id(self._memory)] = self._memory
        queue._claims.add(self)
        # From now on this object gives it back, and nobody else: see Queue._claimed.
        found.token = 0

    def _finish(self, function):
        self._end()
        check(function(self._queue._pointer, self.token))
        self._ended()

    def _ended(self):
        self._member = self._memory = None
        self._queue._claims.discard(self)

    def ack(self):
        """Done: the element is out of the queue, and ends unless somebody else holds it."""
        self._finish(library.tenure_queue_ack)

    def give_back(self):
        """Gives the element back to the queue, where any member can get it."""
        self._finish(library.tenure_queue_give_back)

    close = give_back

    def __exit__(self, kind, *_):
        if self._member is not None and leave(kind, self.ack if kind is None else self.give_back, ForkedChild):
            self._member = None


@quick
class Queue(Object):
    """A bounded queue between threads of any processes: first in, first out. What is in it outlives the process that put it there.

        jobs.put(b"one")            # waits while it is full
        jobs.get()                  # waits while it is empty; bytes
        with jobs.claim() as job:   # lent: if this process dies, or the body raises an exception, others get it
            work(job.data)

    `put`, `get`, their timeouts and their exceptions are as those of queue.Queue: QueueFull is a queue.Full, QueueEmpty a queue.Empty.
    A handle is put as it is, without a copy, and got by `get_handle`, or claimed.
    """

    kind = None
    """The kind of its elements."""

    def __init__(self, member, pointer, opened=False):
        super().__init__(member, pointer, opened)
        self._claims = weakref.WeakSet()
        # The memory of claims, and of their slices, by its id.
        self._lent = weakref.WeakValueDictionary()

    @classmethod
    def _of(cls, kind, *arguments):
        queue = cls._make(*arguments)
        queue.kind = kind
        return queue

    def _until(self, block, timeout, late, call):
        """Calls until no signal handler has interrupted it. Raises `late` when the time is over."""
        if not block:
            flags, limit = 0, 0
        elif timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        else:
            flags, limit = _limit(timeout)
        while True:
            try:
                return check(call(flags | _INTERRUPTIBLE, limit))
            except Interrupted:
                pass
            except Timeout as error:
                raise late(str(error)) from None

    def put(self, data, block=True, timeout=None):
        """Puts a copy of bytes, or a Handle of the kind of the queue, which stays open here as well. Raises QueueFull if there was no
        room in time; for handles Kept and ForeignKind."""
        if isinstance(data, Handle):
            if data._member is None:
                raise Closed("the handle was closed")
            put, token = library.tenure_queue_push_handle, data.token
            call = lambda *limit: self._member._call(put, self._pointer, token, *limit)  # noqa: E731
        else:
            data = _bytes(data)
            call = lambda *limit: library.tenure_queue_push(self._pointer, data, len(data), *limit)  # noqa: E731
        self._until(block, timeout, QueueFull, call)

    def put_nowait(self, data):
        """As `put`; does not wait."""
        self.put(data, block=False)

    def _claimed(self, block, timeout, use):
        """Claims the oldest element and uses it; what fails then, or is interrupted, gives it back."""
        # The library stores it before the call returns: an exception of a signal handler may come before the status is.
        found = _library.Handle()
        claim = library.tenure_queue_claim
        try:
            self._until(block, timeout, QueueEmpty, lambda *limit: claim(self._pointer, *limit, byref(found)))
            return use(found)
        except BaseException:
            if found.token:
                library.tenure_queue_give_back(self._pointer, found.token)
            raise

    def _ack(self, found):
        check(library.tenure_queue_ack(self._pointer, found.token))

    def get(self, block=True, timeout=None):
        """Takes the oldest element out; returns its bytes. Raises QueueEmpty if there was none in time."""

        def use(found):
            data = string_at(found.data, found.size)
            self._ack(found)
            return data

        return self._claimed(block, timeout, use)

    def get_nowait(self):
        """As `get`; does not wait."""
        return self.get(block=False)

    def get_handle(self, block=True, timeout=None):
        """Takes the oldest element out, as a Handle: without a copy. Raises QueueEmpty."""

        def use(found):
            handle = self._member.open(self.kind, found.token)
            self._ack(found)
            return handle

        return self._claimed(block, timeout, use)

    def claim(self, block=True, timeout=None):
        """Claims the oldest element: a QueueClaim. Raises QueueEmpty."""
        return self._claimed(block, timeout, lambda found: QueueClaim(self, found))

    def _counts(self):
        counts = c_uint32(), c_uint32(), c_uint32()
        check(library.tenure_queue_len(self._pointer, *(byref(it) for it in counts)))
        return [it.value for it in counts]

    def qsize(self):
        """The number of elements that wait, at the moment."""
        return self._counts()[0]

    def empty(self):
        """Whether no element waits, at the moment."""
        return self.qsize() == 0

    def full(self):
        """Whether as many elements wait as may, at the moment."""
        waiting, _, capacity = self._counts()
        return waiting >= capacity

    @property
    def claimed(self):
        """The number of elements that are claimed, at the moment."""
        return self._counts()[1]

    @property
    def maxsize(self):
        """How many elements may wait; its creator decided that."""
        return self._counts()[2]

    def _about(self):
        return "kind={} {} of {}".format(self.kind, self.qsize(), self.maxsize)

    def _release(self):
        """Closing the queue gives its claims back: it refuses while somebody has views of them."""
        claims = list(self._claims)
        for claim in claims:
            claim._release()
        own = {id(claim._memory) for claim in claims}
        if set(self._lent) - own:
            raise BufferError("views of a claimed element exist; release them first")

    def close(self):
        """Closes it; what it has claimed is given back. InUse while another thread waits for it."""
        super().close()
        for claim in list(self._claims):
            claim._ended()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        leave(kind, self.close, Closed, ForkedChild)


class Word:
    """An atomic word in the payload of a handle. Operations are sequentially consistent, modulo 2**64."""

    def __init__(self, handle, position):
        self._handle = handle
        self._position = position

    def __repr__(self):
        return shown(self, lambda: f"{self._position} bytes into {self._handle!r}: {self.load()}")

    def _call(self, function, *arguments):
        handle = self._handle
        if handle._member is None:
            raise Closed("the handle was closed")
        handle._member._call(function, handle.kind, handle.token, self._position, *arguments)

    def load(self):
        """The value."""
        value = c_uint64()
        self._call(library.tenure_word_load, byref(value))
        return value.value

    def store(self, value):
        """Sets the word to `value`."""
        self._call(library.tenure_word_store, value % 2**64)

    def add(self, summand):
        """Adds; returns the value before."""
        before = c_uint64()
        self._call(library.tenure_word_add, summand % 2**64, byref(before))
        return before.value

    def compare_exchange(self, expected, value):
        """Stores `value` if the word is `expected`; returns whether it was, and the value before."""
        found, exchanged = c_uint64(expected % 2**64), c_int()
        self._call(library.tenure_word_exchange, byref(found), value % 2**64, byref(exchanged))
        return bool(exchanged.value), found.value


class Block(_Held):
    """Scratch memory of this member; freed when it is closed, or with the member."""

    def __init__(self, member, found, align):
        super().__init__(member, found.data, found.size)
        self.offset = found.offset
        self._align = align

    def _place(self):
        return f"offset={self.offset}"

    @property
    def data(self):
        """Its bytes, in place, as a memoryview for reading and writing."""
        return self._whole()

    def resize(self, size, align=None):
        """Makes the block longer or shorter; the first bytes are kept, added bytes are undefined.

        Its alignment is kept as well, unless another one is asked for.
        """
        found = _library.Block()
        align = self._align if align is None else align
        self._end()._call(library.tenure_realloc, self.offset, size, align, byref(found))
        self.offset, self.size, self._align = found.offset, found.size, align
        self._memory = _mapped(self._member, found.data, found.size)

    def close(self):
        """Frees it."""
        member = self._end()
        if not _quick_free(member._idle, self.offset):
            member._call(library.tenure_free, self.offset)
        self._member = None

    def pin(self):
        """Leaves the block without an owner: it outlives all members, until one calls free_pinned. Returns its offset."""
        self._end()._call(library.tenure_pin, self.offset)
        self._member = None
        return self.offset

    def give(self):
        """Gives the block to another process, which frees it; returns its offset and our lease, for free_of."""
        if self._member is None:
            raise Closed("the block was closed")
        self._release()
        lease = self._member.lease
        self._member = None
        return self.offset, lease


class _References:
    """The references to an object that its __del__ counts when nothing else refers to it."""

    dropped = 0

    def __del__(self):
        _References.dropped = sys.getrefcount(self)


_References()

# Members whose cycle is being collected.
_late = []


def _leave_late(phase, _):
    for _ in range(len(_late) if phase == "stop" else 0):
        member = _late.pop(0)
        # Ours, and that of the call to getrefcount: a third is that of an object that is not gone yet.
        if sys.getrefcount(member) > 2:
            _late.append(member)
        else:
            member._end()


gc.callbacks.append(_leave_late)

_members = weakref.WeakSet()


def _in_child():
    for member in list(_members):
        for held in list(member._held):
            if held._view is not None:
                held._view.release()
                held._view = None
            # Not mapped here; asking for `data` raises Closed.
            held._memory = None
        for it in list(member._objects):
            try:
                it._forked()
            except BufferError:
                # Python cannot find the slices.
                pass
        for _, view in list(member._passed.values()):
            view = view()
            if view is not None:
                view.release()


os.register_at_fork(after_in_child=_in_child)
