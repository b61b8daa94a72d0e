"""The whole Python package, on several backends, by several processes, one of which is killed."""

import concurrent.futures
import ctypes
import gc
import multiprocessing
import os
import pathlib
import pickle
import queue
import re
import signal
import subprocess
import tempfile
import threading
import unittest

import tenure
from tenure import _errors, _library

KIND, COUNTER = 7, 8
ROUNDS = 2000
HEADER = pathlib.Path(__file__).parents[2] / "c" / "include" / "tenure.h"


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.alarm(120)


def name(tag):
    return f"test-{os.getpid()}-python-{tag}"


class Case(unittest.TestCase):
    def unharmed(self, space, handles=0, blocks=0):
        violations, _ = space.check()
        self.assertEqual(violations, [])
        stats = space.stats
        used = stats["blocks_leased"] + stats["blocks_attached"] + stats["blocks_pinned"]
        self.assertEqual((stats["handles_live"], used), (handles, blocks))

    def named(self, tag, **options):
        space = tenure.Space.open(name(tag), **options)
        self.addCleanup(tenure.Space.remove, name(tag), force=True)
        self.addCleanup(space.close)
        return space


class Header(unittest.TestCase):
    """The package declares the same as the header."""

    def setUp(self):
        self.text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.S)

    def test_statuses(self):
        found = {name: int(number) for name, number in re.findall(r"(TENURE_ERR_\w+) = (-\d+)", self.text)}
        self.assertGreater(len(found), 20)
        self.assertEqual(set(found.values()), set(_errors.BY_STATUS))
        plainly = {name.replace("TENURE_ERR_", "").replace("_", ""): number for name, number in found.items()}
        odd = {"BADNAME": "NAME", "FORKEDCHILD": "FORKED", "SYSTEM": "OS"}
        for status, kind in _errors.BY_STATUS.items():
            plain = odd.get(kind.__name__.upper(), kind.__name__.upper())
            self.assertEqual(plainly[plain], status)
            self.assertNotEqual(_library.library.tenure_strerror(status), b"unknown status")

    def test_functions(self):
        found = dict(re.findall(r"\b(tenure_\w+)\(([^)]*)\);", self.text))
        known = {**_library.FUNCTIONS, **_library.TEXTS, "tenure_abi_version": ()}
        self.assertEqual(set(found), set(known))
        for function, arguments in found.items():
            count = 0 if arguments.strip() == "void" else arguments.count(",") + 1
            self.assertEqual(count, len(known[function]), function)

    def test_the_extension(self):
        source = pathlib.Path(tenure.__file__).with_name("_native.c")
        if not source.exists():
            source = HEADER.parents[2] / "python" / "tenure" / "_native.c"
        source = source.read_text()
        numbers = dict(re.findall(r"TENURE_(\w+) = (-?\d+)", self.text))
        ours = re.search(r"enum \{ (.*?) \}", source).group(1)
        odd = {"TIMED_OUT": "ERR_TIMEOUT", "NOT_FOUND": "ERR_NOT_FOUND"}
        for ours, number in re.findall(r"(\w+) = (-?\d+)", ours):
            self.assertEqual(numbers[odd.get(ours, ours)], number)
        kinds = {"object": "void *", "handle *": "struct tenure_handle *", "block *": "struct tenure_block *"}
        plain = lambda kind: kind.replace("const ", "").replace(" ", "").replace("structtenure_object*", "void*").replace("structtenure_local*", "void*")  # noqa: E731
        found = dict(re.findall(r"\b(tenure_\w+)\(([^)]*)\);", self.text))
        functions = re.findall(r"X\((\w+), \((.*?)\)\)", source)
        self.assertGreater(len(functions), 15)
        for function, arguments in functions:
            theirs = [re.sub(r"\b\w+$", "", it.strip()) for it in found[function].split(",")]
            ours = [kinds.get(it, it) for it in arguments.split(", ")]
            self.assertEqual([plain(it) for it in theirs], [plain(it) for it in ours], function)

    def test_structures(self):
        widths = {"int32_t": 4, "uint32_t": 4, "uint64_t": 8, "size_t": 8, "void *": 8, "char": 1, "struct tenure_handle": 24}
        for structure, ours in _library.STRUCTURES.items():
            body = re.search(rf"struct {structure} {{(.*?)}}", self.text, flags=re.S).group(1)
            fields = re.findall(r"(u?int32_t|uint64_t|size_t|void \*|char|struct tenure_handle) ?(\w+)(?:\[(\d+)\])?;", body)
            self.assertEqual([field for _, field, _ in fields], [field for field, _ in ours._fields_])
            self.assertEqual(
                [widths[kind] * int(length or 1) for kind, _, length in fields],
                [ctypes.sizeof(kind) for _, kind in ours._fields_],
            )


class Border(Case):
    """Arguments that C would cut are refused."""

    def test_every_number_and_string_of_every_function(self):
        tried = 0
        for function, arguments in _library.FUNCTIONS.items():
            call = getattr(_library.library, function)
            for at, kind in enumerate(arguments):
                wrong = []
                if kind is ctypes.c_char_p:
                    wrong = [(ValueError, b"a\0b")]
                elif issubclass(kind, ctypes._SimpleCData) and kind is not ctypes.c_void_p:
                    bits, signed = 8 * ctypes.sizeof(kind), kind(-1).value < 0
                    least, most = (-1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
                    wrong = [(OverflowError, least - 1), (OverflowError, most + 1), (TypeError, 1.5)]
                for error, value in wrong:
                    values = [0 if kind in _library._RANGES else None for kind in arguments]
                    values[at] = value
                    with self.assertRaises(error, msg=f"{function} {at} {value!r}"):
                        call(*values)
                    tried += 1
        self.assertGreater(tried, 150)

    def test_numbers(self):
        with tenure.Space.open(backend=tenure.PRIVATE) as space, space.join() as me:
            handle, block, semaphore = me.create(KIND, b"abc"), me.alloc(100), me.semaphore(0, 10)
            with tempfile.TemporaryFile() as file:
                for call in (
                    lambda: me.alloc(2**64 + 100),
                    lambda: me.alloc(-1),
                    lambda: me.alloc(100, 2**64 + 64),
                    lambda: block.resize(2**64 + 100),
                    lambda: me.create(2**32 + KIND, b""),
                    lambda: me.create(-1, b""),
                    lambda: me.create(2**32 + KIND, b"", "name"),
                    lambda: me.create_with(KIND, me.alloc(10), 2**64 + 1),
                    lambda: me.open(KIND, handle.token + 2**64),
                    lambda: me.open(2**32 + KIND, handle.token),
                    lambda: me.open_object(semaphore.token + 2**64),
                    lambda: me.semaphore(2**32 + 2, 10),
                    lambda: me.semaphore(1, 2**32 + 7),
                    lambda: me.semaphore(-1, 10),
                    lambda: semaphore.release(2**32 + 1),
                    lambda: semaphore.release(-1),
                    lambda: me.process(2**32),
                    lambda: me.process(2**32 + os.getpid()),
                    lambda: me.thread(2**32),
                    lambda: me.descriptor(2**32 + file.fileno()),
                    lambda: me.share(file, 2**32 + tenure.READ, 0),
                    lambda: me.block_at(block.offset + 2**64, me.lease),
                    lambda: me.free_of(block.offset, me.lease + 2**64),
                    lambda: me.free_pinned(2**64),
                    lambda: handle.word(2**64).load(),
                    lambda: tenure.Space.open(backend=tenure.PRIVATE, handles=2**32),
                    lambda: tenure.Space.open(backend=tenure.PRIVATE, members=2**32 + 3),
                    lambda: tenure.Space.open(backend=tenure.PRIVATE, scratch=2**64 + 2**20),
                    lambda: tenure.Space.open(backend=2**32 + tenure.PRIVATE),
                ):
                    self.assertRaises(OverflowError, call)
            self.assertEqual(semaphore.count, 0)
            self.assertRaises(TypeError, me.alloc, 2.5)
            # A word counts modulo 2**64, and says so.
            with me.create(COUNTER, bytes(8)) as counter:
                counter.word().store(2**64 + 5)
                self.assertEqual(counter.word().load(), 5)

    def test_names(self):
        with tenure.Space.open(backend=tenure.PRIVATE) as space, space.join() as me:
            kept = me.mutex("a"), me.create(KIND, b"", "b")
            with tempfile.TemporaryFile() as file:
                for call in (
                    lambda: me.mutex("a\0b"),
                    lambda: me.mutex("a\0b", or_open=True),
                    lambda: me.event("a\0b"),
                    lambda: me.semaphore(0, 1, "a\0b"),
                    lambda: me.process(name="a\0b"),
                    lambda: me.thread(name="a\0b"),
                    lambda: me.descriptor(file, "a\0b"),
                    lambda: me.create(KIND, b"", "b\0c"),
                    lambda: me.open(KIND, "b\0c"),
                    lambda: me.open_object("a\0b"),
                    lambda: tenure.Space.open(name("cut") + "\0more"),
                    lambda: tenure.Space.attach(name("cut") + "\0more"),
                    lambda: tenure.Space.remove(name("cut") + "\0more"),
                ):
                    self.assertRaises(ValueError, call)
            self.assertRaises(TypeError, me.mutex, 5)
            self.assertEqual([it.name for it in space.names], ["a", "b"])
            del kept


def on_every_backend(test):
    def run(self):
        for backend in (tenure.SHM, tenure.MEMFD, tenure.ANONYMOUS, tenure.PRIVATE):
            named = name("one") if backend == tenure.SHM else None
            with self.subTest(backend=backend):
                try:
                    with tenure.Space.open(named, backend=backend, scratch=8 << 20) as space:
                        test(self, space)
                finally:
                    if named:
                        tenure.Space.remove(named, force=True)

    return run


class One(Case):
    @on_every_backend
    def test_handles(self, space):
        with space.join() as me, space.join() as other:
            for payload in (b"", b"short", b"x" * 5000):
                with me.create(KIND, payload) as handle:
                    self.assertEqual(bytes(handle.data), payload)
                    self.assertTrue(handle.data.readonly)
                    opened = other.open(KIND, handle.token)
                self.assertEqual(bytes(opened.data), payload)
                kept = opened.data
                opened.close()
                if payload:
                    with self.assertRaises(ValueError):
                        kept[0]
                with self.assertRaises(tenure.Closed):
                    opened.data
                with self.assertRaises(tenure.Stale):
                    me.open(KIND, handle.token)
            self.unharmed(space)
        self.assertEqual(space.stats["members_live"], 0)

    @on_every_backend
    def test_members(self, space):
        self.assertEqual(space.members, [])
        with space.join() as me, space.join() as other:
            found = space.members
            self.assertEqual({member.lease for member in found}, {me.lease, other.lease})
            self.assertEqual({(member.pid, member.alive) for member in found}, {(os.getpid(), True)})

    @on_every_backend
    def test_blocks(self, space):
        with space.join() as me, space.join() as other:
            with me.alloc(100) as block:
                self.assertEqual(bytes(block.data), bytes(100))
                block.data[:5] = b"hello"
                part = block.data[1:3]
                with self.assertRaises(BufferError):
                    block.close()
                self.assertEqual(bytes(part), b"el")
                part.release()
                block.resize(5000)
                self.assertEqual(bytes(block.data[:5]), b"hello")
                self.assertEqual(bytes(other.block_at(block.offset, me.lease)[:5]), b"hello")
            self.unharmed(space)
            block = me.alloc(64)
            block.data[:3] = b"big"
            handle = me.create_with(KIND, block, 3)
            self.assertEqual(bytes(handle.data), b"big")
            with self.assertRaises(tenure.Closed):
                block.close()
            handle.close()
            offset, lease = me.alloc(64).give()
            with self.assertRaises(tenure.WrongOwner):
                other.free_of(offset, lease + 256)
            other.free_of(offset, lease)
            offset = me.alloc(64).pin()
            with self.assertRaises(tenure.WrongOwner):
                other.block_at(offset, me.lease)
            self.assertEqual(bytes(other.block_at(offset, None)[:64]), bytes(64))
            other.free_pinned(offset)
            with self.assertRaises(tenure.AlreadyFree):
                other.block_at(offset, None)
            with self.assertRaises(tenure.AlreadyFree):
                me.free_pinned(offset)
            self.unharmed(space)

    @on_every_backend
    def test_sizes_short_and_long(self, space):
        # The extension leaves long ones to ctypes.
        with space.join() as me:
            for size in (0, 1, 1024, 1025, 65535, 65536, 65537, 200_000):
                data = os.urandom(size)
                with me.create(KIND, data) as handle, me.open(KIND, handle.token) as again:
                    self.assertEqual((bytes(handle.data), bytes(again.data)), (data, data))
                with me.alloc(size or 1) as block:
                    self.assertEqual(bytes(block.data[:size]), bytes(size))
            self.unharmed(space)
        with tenure.Space.open(backend=tenure.PRIVATE, container_slots=128) as space, space.join() as me:
            jobs, notes = me.queue(KIND, 8), me.map(64)
            for size in (0, 1, 1024, 1025, 65535, 65536, 65537, 200_000):
                data = os.urandom(size)
                jobs.put(data)
                notes[b"key"] = data
                self.assertEqual((jobs.get(), notes[b"key"], notes.get(b"key")), (data,) * 3)
                self.assertEqual((jobs.qsize(), jobs.claimed), (0, 0))
            for it in (jobs, notes):
                it.close()
            self.unharmed(space)

    @on_every_backend
    def test_resize_keeps_the_alignment(self, space):
        with space.join() as me:
            blocks = [me.alloc(64, 4096) for _ in range(50)]
            for more, block in enumerate(blocks):
                for size in (200 + more, 5000, 100_000, 100):
                    block.resize(size)
                    self.assertEqual(block.offset % 4096, 0, size)
            blocks[0].resize(300, 64)
            blocks[0].resize(3000)
            self.assertEqual(blocks[0].offset % 64, 0)

    @on_every_backend
    def test_blocks_of_the_dead(self, space):
        with space.join() as me:
            owner = space.join()
            block = owner.alloc(4096)
            block.data[:4] = b"take"
            offset, lease = block.give()
            self.assertEqual(bytes(me.block_at(offset, lease)[:4]), b"take")
            # Like a death: blocks that were passed end with their owner.
            owner.leave()
            with space.join() as third:
                with self.assertRaises((tenure.NotABlock, tenure.AlreadyFree)):
                    me.block_at(offset, lease)
                blocks = [third.alloc(4096) for _ in range(16)]
                self.assertIn(offset, [block.offset for block in blocks])
                with self.assertRaises(tenure.WrongOwner):
                    me.block_at(offset, lease)
                self.assertEqual(bytes(me.block_at(offset, third.lease)[:4]), bytes(4))

    @on_every_backend
    def test_slices_of_what_was_dropped(self, space):
        with space.join() as owner, owner.create(KIND, b"payload") as handle:
            me = space.join()
            opened = me.open(KIND, handle.token)
            part = opened.data[1:4]
            del opened
            gc.collect()
            with self.assertRaises(BufferError):
                me.leave()
            self.assertEqual(bytes(part), b"ayl")
            part.release()
            me.leave()

    @on_every_backend
    def test_views_of_passed_blocks(self, space):
        with space.join() as owner, owner.alloc(1 << 20) as block:
            block.data[:4] = b"take"
            me = space.join()
            view = me.block_at(block.offset, owner.lease)
            part = view[1:4]
            with self.assertRaises(BufferError):
                me.leave()
            self.assertEqual(bytes(part), b"ake")
            part.release()
            view = me.block_at(block.offset, owner.lease)
            me.leave()
            with self.assertRaises(ValueError):
                view[0]
            # Of a member that is only dropped: the view keeps the member's memory.
            view = space.join().block_at(block.offset, owner.lease)[1:]
            self.assertEqual(space.stats["members_live"], 2)
            self.assertEqual(bytes(view[:3]), b"ake")
            del view
            self.assertEqual(space.stats["members_live"], 1)

    @on_every_backend
    def test_members_that_are_dropped_leave(self, space):
        for _ in range(200):
            me = space.join()
            me.create(KIND, b"x" * 100)
            me.mutex("lock", or_open=True)
        self.assertEqual(space.stats["members_live"], 1)
        block = space.join().alloc(100)
        data = block.data[:50]
        del block
        self.assertEqual((bytes(data), space.stats["members_live"]), (bytes(50), 2))
        del me, data
        self.assertEqual(space.stats["members_live"], 0)
        self.unharmed(space)

    @on_every_backend
    def test_members_in_cycles_leave(self, space):
        said = []

        class Holder:
            def __init__(self, me):
                self.me, self.itself = me, self
                self.handle, self.block = me.create(KIND, b"x" * 1000), me.alloc(1 << 20)

            def __del__(self):
                # In which order they go is not known.
                for held in (self.handle, self.block):
                    try:
                        said.append(bytes(held.data)[:1])
                    except tenure.Closed:
                        said.append(None)

        for _ in range(5):
            Holder(space.join())
        gc.collect()
        self.assertEqual(len(said), 10)
        self.assertLessEqual(set(said), {None, b"x", b"\0"})
        self.assertEqual(space.stats["members_live"], 0)
        self.unharmed(space)

    @on_every_backend
    def test_a_member_leaves_although_threads_that_used_it_live(self, space):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                started = threading.Barrier(4)

                def use(me, started=started):
                    started.wait()
                    me.alloc(100).close()

                with space.join() as me:
                    for used in [pool.submit(use, me) for _ in range(4)]:
                        used.result()
                self.assertEqual(space.stats["members_live"], 0)
                with self.assertRaises(tenure.Closed):
                    pool.submit(me.alloc, 100).result()

    @on_every_backend
    def test_words(self, space):
        with space.join() as me, me.create(COUNTER, bytes(16)) as counter:
            word = counter.word(8)
            self.assertEqual(word.add(5), 0)
            self.assertEqual(word.compare_exchange(4, 1), (False, 5))
            self.assertEqual(word.compare_exchange(5, -1), (True, 5))
            self.assertEqual(word.load(), 2**64 - 1)
            word.store(3)
            self.assertEqual(bytes(counter.data), bytes(8) + b"\3" + bytes(7))
            with self.assertRaises(tenure.TooLarge):
                counter.word(16).load()
            with self.assertRaises(tenure.Argument):
                counter.word(4).load()

    @on_every_backend
    def test_what_is_forgotten_is_given_back(self, space):
        with space.join() as me:
            me.create(KIND, b"nobody keeps this")
            me.alloc(100)
            self.unharmed(space)
            kept = me.create(KIND, b"kept"), me.alloc(100)
            self.unharmed(space, 1, 1)
        self.unharmed(space)
        for held in kept:
            with self.assertRaises(tenure.Closed):
                held.data
        with self.assertRaises(tenure.Closed):
            me.create(KIND, b"")

    @on_every_backend
    def test_threads(self, space):
        with space.join() as me, me.create(COUNTER, bytes(8)) as counter:

            def work():
                for i in range(ROUNDS):
                    with me.create(KIND, b"x" * (i % 50)), me.alloc(1 + i % 300):
                        counter.word().add(1)

            threads = [threading.Thread(target=work) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(counter.word().load(), 3 * ROUNDS)
            self.unharmed(space, 1)

    @on_every_backend
    def test_mutexes(self, space):
        with space.join() as me, space.join() as other:
            mutex = me.mutex()
            theirs = other.open_object(mutex.token)
            self.assertIsInstance(theirs, tenure.Mutex)
            with mutex as abandoned:
                self.assertIs(abandoned, False)
                self.assertEqual(mutex.owner[0], me.lease & 255)
                self.assertIs(theirs.acquire(blocking=False), False)
                self.assertIs(theirs.acquire(timeout=0.001), False)
                self.assertIs(theirs.wait(0), False)
                for wrong in ({"blocking": False, "timeout": 1}, {"timeout": -2}):
                    with self.assertRaises(ValueError):
                        theirs.acquire(**wrong)
                with self.assertRaises(tenure.NotOwner):
                    theirs.release()
                with self.assertRaises(tenure.Deadlock):
                    mutex.acquire()
            self.assertIsNone(mutex.owner)
            self.assertIs(theirs.acquire(True, -1), True)
            self.assertIs(theirs.abandoned, False)
            theirs.close()
            self.assertIs(mutex.owner, False)
            self.assertIn("abandoned", repr(mutex))
            mutex.acquire()
            self.assertIs(mutex.abandoned, True)
            self.assertIn(f"owned by lease {me.lease & 255}", repr(mutex))
            tenure._objects.check(_library.library.tenure_mutex_abandon(mutex._pointer))
            with mutex as abandoned:
                self.assertIs(abandoned, True)
            with mutex as abandoned:
                self.assertIs(abandoned, False)
            recursive = me.mutex(recursive=True)
            self.assertEqual((mutex.recursive, recursive.recursive), (False, True))
            with recursive, recursive:
                refused = []
                thread = threading.Thread(target=lambda: refused.append(self.fails(recursive.release)))
                thread.start()
                thread.join()
                self.assertEqual(refused, [tenure.NotOwner])
            with self.assertRaises(tenure.Closed):
                theirs.acquire()
            del mutex, recursive
            self.unharmed(space)

    def soon(self, call):
        timer = threading.Timer(0.02, call)
        timer.start()
        return timer

    def fails(self, call):
        with self.assertRaises(tenure.Error) as raised:
            call()
        return type(raised.exception)

    @on_every_backend
    def test_waiting(self, space):
        with space.join() as me, space.join() as other:
            event, manual = me.event(), me.event(manual=True, signalled=True)
            semaphore, mutex = me.semaphore(1, 2), me.mutex()
            self.assertEqual((event.is_set(), manual.reset(), manual.reset()), (False, True, False))
            self.assertEqual(tenure.wait_any([event, manual, semaphore, mutex], 0), (2, False))
            self.assertEqual(tenure.wait_any([event, manual, semaphore, mutex], 0), (3, False))
            with self.assertRaises(tenure.Timeout):
                tenure.wait_any([event, semaphore], 0.001)
            setter = self.soon(event.set)
            self.assertEqual(tenure.wait_any([semaphore, event])[0], 1)
            setter.join()
            mutex.release()
            theirs = other.open_object(mutex.token)
            theirs.acquire()
            theirs.close()
            self.assertEqual(semaphore.release(2), 0)
            with self.assertRaises(tenure.Maximum):
                semaphore.release()
            setter = self.soon(event.set)
            self.assertEqual(tenure.wait_all([event, mutex, semaphore]), [1])
            # It may be in its call still, which keeps us from leaving.
            setter.join()
            mutex.release()
            self.assertEqual((semaphore.count, semaphore.maximum), (1, 2))
            with semaphore:
                self.assertEqual(semaphore.count, 0)
                self.assertIs(semaphore.acquire(False), False)
                self.assertIn("0 of 2", repr(semaphore))
            self.assertIs(event.wait(0), False)
            event.set()
            self.assertIs(event.wait(0), True)
            self.assertEqual(semaphore.count, 1)
            manual.set()
            self.assertEqual(tenure.wait_all([manual], 0), [])
            with self.assertRaises(tenure.Argument):
                tenure.wait_all([manual, manual], 0)
            with self.assertRaises(tenure.Argument):
                tenure.wait_any([])
            with self.assertRaises(tenure.Argument):
                tenure.wait_all([event] * 65)
        # A forgotten object is closed when the member leaves.
        self.unharmed(space)
        with self.assertRaises(tenure.Closed):
            event.set()

    @on_every_backend
    def test_names(self, space):
        with space.join() as me, space.join() as other:
            mutex = me.mutex("Schloß", or_open=True)
            again = other.mutex("Schloß", or_open=True)
            self.assertEqual((mutex.opened, again.opened, again.token), (False, True, mutex.token))
            with self.assertRaises(tenure.NameTaken):
                other.event("Schloß")
            with self.assertRaises(tenure.ForeignKind):
                other.event("Schloß", or_open=True)
            with self.assertRaises(tenure.NotFound):
                me.open_object("schloß")
            with self.assertRaises(tenure.BadName):
                me.mutex("n" * 256)
            event = other.event("event", manual=True)
            raw = me.create(KIND, b"raw bytes", "raw")
            with other.open(KIND, "raw") as opened, other.create(KIND, b"", "raw", or_open=True) as same:
                self.assertEqual((opened.token, same.token), (raw.token, raw.token))
                self.assertEqual(bytes(same.data), b"raw bytes")
            with me.open_object("event") as opened:
                self.assertIsInstance(opened, tenure.Event)
                opened.set()
            self.assertTrue(event.is_set())
            self.assertEqual(
                [tuple(name) for name in space.names],
                [("Schloß", "Mutex", mutex.token, 2), ("event", "Event", event.token, 1), ("raw", KIND, raw.token, 1)],
            )
            for it in (mutex, again, event, raw):
                it.close()
            self.assertEqual(space.names, [])
            self.unharmed(space)

    @on_every_backend
    def test_threads_as_objects(self, space):
        with space.join() as me, space.join() as other:
            try:
                with me.thread() as this:
                    self.assertEqual(this.number, threading.get_native_id())
                    self.assertIsNone(this.exit)
            except tenure.Unsupported as error:
                self.skipTest(str(error))
            begun, go, again = me.event(), me.event(), []

            def work():
                with me.thread(name="worker", or_open=True) as worker:
                    again.append(worker.opened)
                    begun.set()
                    go.wait(60)
                    worker.exiting(-7)
                    again.append(self.fails(lambda: worker.exiting(7)))

            thread = threading.Thread(target=work)
            thread.start()
            begun.wait(60)
            with other.thread(name="worker", or_open=True) as worker:
                self.assertEqual((worker.opened, worker.number), (True, thread.native_id))
                self.assertIsInstance(worker, tenure.Thread)
                self.assertEqual(self.fails(lambda: worker.exiting(7)), tenure.NotOwner)
                with self.assertRaises(tenure.Timeout):
                    worker.wait(0)
                go.set()
                self.assertEqual(worker.wait(60), tenure.Exit(-7, None, False))
                thread.join()
                self.assertEqual(again, [False, tenure.Announced])
            begun.close()
            go.close()
            self.unharmed(space)

    @on_every_backend
    def test_files(self, space):
        with space.join() as me, space.join() as other, tempfile.TemporaryFile() as file:
            with me.descriptor(file) as made, other.open_object(made.token) as opened:
                self.assertNotEqual(opened.fileno(), made.fileno())
                os.write(opened.fileno(), b"by token")
                file.seek(0)
                self.assertEqual(file.read(), b"by token")
            with me.descriptor(file, "file", or_open=True) as made, tempfile.TemporaryFile() as another:
                self.assertFalse(made.opened)
                with other.descriptor(another, "file", or_open=True) as opened:
                    self.assertEqual((opened.opened, opened.token), (True, made.token))
                    self.assertTrue(os.path.sameopenfile(opened.fileno(), file.fileno()))
                with self.assertRaises(tenure.NameTaken):
                    other.descriptor(another, "file")
            with self.assertRaises(tenure.NotFound):
                me.descriptor(987)
            reading = me.share(file, tenure.READ, tenure.READ)
            with other.share(file, tenure.READ, tenure.READ | tenure.DELETE) as also:
                self.assertEqual(len(also.everybody()), 2)
                self.assertEqual(also.modes, (tenure.READ, tenure.READ | tenure.DELETE))
            with self.assertRaisesRegex(tenure.Sharing, "in use by process") as refused:
                other.share(file, tenure.WRITE, tenure.READ)
            self.assertEqual((refused.exception.who.lease, refused.exception.who.access), (me.lease, tenure.READ))
            self.assertEqual(
                reading.everybody(), [tenure.User(os.getpid(), me.lease, tenure.READ, tenure.READ)]
            )
            reading.close()
            with other.share(file, tenure.WRITE, 0):
                pass
            with self.assertRaises(tenure.Argument):
                me.share(file, 8, 0)
            self.unharmed(space)

    @on_every_backend
    def test_errors(self, space):
        with self.assertRaisesRegex(tenure.Geometry, "members"):
            tenure.Space.open(backend=tenure.PRIVATE, members=300)
        with self.assertRaises(tenure.BadName):
            tenure.Space.open("../up")
        with self.assertRaises(tenure.NotFound):
            tenure.Space.attach(name("nobody-made-this"))
        with space.join() as me, me.create(KIND, b"mine") as handle:
            for token, error in (
                (handle.token, tenure.ForeignKind),
                (handle.token ^ 1 << 56, tenure.ForeignSpace),
                (handle.token + (1 << 24), tenure.Forged),
                (0, tenure.ForeignSpace),
            ):
                with self.assertRaises(error):
                    me.open(KIND + 1, token)
            with self.assertRaises(TypeError):
                multiprocessing.get_context("spawn").reducer.ForkingPickler.dumps(handle)
            with self.assertRaises(tenure.TooLarge):
                me.alloc(1 << 40)
            self.unharmed(space, 1)
        for closed in (me.recover, me.leave, me.trim, lambda: me.lease):
            with self.assertRaises(tenure.Closed):
                closed()
        space.close()
        for closed in (space.join, space.close, space.fileno, lambda: space.stats):
            with self.assertRaises(tenure.Closed):
                closed()

    def test_slots(self):
        with tenure.Space.open(backend=tenure.PRIVATE, slots=3) as space:
            self.assertEqual(space.info["slots"], 3)
            with space.join() as me, space.join() as other:
                slots, theirs = me.slots, other.slots
                with me.create(KIND, b"job") as job, me.create(KIND, b"other") as second:
                    slots.put(1, job)
                    self.assertEqual((theirs.find(job.token), theirs.find(second.token)), (1, None))
                    with self.assertRaises(tenure.SlotFull):
                        slots.put(1, second)
                    with self.assertRaises(tenure.Kept):
                        slots.keep(job)
                    with self.assertRaises(tenure.NoSlot):
                        slots.put(3, second)
                    self.assertEqual(slots.keep(second), 0)
                    token = job.token
                with self.assertRaises(tenure.Closed):
                    slots.put(2, job)
                with theirs.claim(1, KIND) as claim:
                    self.assertEqual((claim.slot, claim.token, bytes(claim.data)), (1, token, b"job"))
                    for refused in (lambda: slots.claim(1, KIND), lambda: slots.take(1, KIND), lambda: slots.evict(1)):
                        with self.assertRaises(tenure.Claimed):
                            refused()
                # Given back by the end of the `with`, and by an exception in it.
                with self.assertRaises(ZeroDivisionError), theirs.claim(1, KIND):
                    1 / 0
                with slots.claim(1, KIND) as claim:
                    claim.ack()
                with self.assertRaises(tenure.Closed):
                    claim.ack()
                with self.assertRaises(tenure.SlotEmpty):
                    slots.claim(1, KIND)
                with self.assertRaises(tenure.ForeignKind):
                    slots.take(0, COUNTER)
                with me.create(KIND, b"third") as third:
                    former = slots.replace(0, third)
                    self.assertIsNone(slots.replace(1, slots.take(0, KIND)))
                with self.assertRaises(tenure.Stale):
                    me.open(KIND, former)
                slots.evict(1)
                gc.collect()
                self.unharmed(space)

    def test_objects_in_slots(self):
        with tenure.Space.open(backend=tenure.PRIVATE, slots=3, container_slots=128) as space:
            with space.join() as me:
                jobs, notes = me.queue(KIND, 8, "jobs"), me.map(64, "notes")
                jobs.put(b"job")
                notes[b"a"] = b"1"
                self.assertEqual((me.slots.keep(jobs), me.slots.keep(notes), me.slots.keep(me.mutex("lock"))), (0, 1, 2))
                for refused in (lambda: me.slots.keep(jobs), lambda: me.slots.keep(me.open_object("lock"))):
                    with self.assertRaises(tenure.Kept):
                        refused()
                with self.assertRaises(tenure.SlotFull):
                    me.slots.keep(me.event())
                with self.assertRaises(tenure.ForeignKind):
                    me.slots.keep(me.process())
            self.assertEqual(space.stats["members_live"], 0)
            with space.join() as me:
                self.assertEqual((me.open_queue(KIND, "jobs").get(block=False), me.open_object("notes")[b"a"]), (b"job", b"1"))
                for slot in range(3):
                    me.slots.evict(slot)
                with self.assertRaises(tenure.NotFound):
                    me.open_object("notes")
                gc.collect()
                self.unharmed(space)

    def test_locked_values(self):
        with tenure.Space.open(backend=tenure.PRIVATE) as space, space.join() as me, space.join() as other:
            value = me.locked(9, 1000, "value")
            theirs = other.open_locked(9, "value")
            self.assertEqual((value.size, theirs.size, space.names[0].kind), (1000, 1000, "Locked"))
            for what in (value.token, "value"):
                with self.assertRaises(tenure.ForeignKind):
                    other.open_locked(8, what)
                with self.assertRaises(tenure.ForeignKind):
                    other.open_versioned(9, what)
                with self.assertRaises(tenure.ForeignKind):
                    other.open_object(what)
            self.assertTrue(me.locked(9, b"x", "value", or_open=True).opened)
            with self.assertRaises(tenure.NotOwner):
                value.data
            with self.assertRaises(tenure.NotOwner):
                value.release()
            with value:
                self.assertFalse(value.damaged)
                value.data[:3] = b"tea"
                with self.assertRaises(tenure.Deadlock):
                    value.acquire(blocking=False)
                self.assertFalse(theirs.acquire(blocking=False))
                self.assertFalse(theirs.acquire(timeout=0.001))
                found = []
                for refused in (value.release, value.abandon, value.repaired, lambda: value.data):
                    def run(refused=refused):
                        try:
                            refused()
                        except tenure.NotOwner:
                            found.append(refused)
                    thread = threading.Thread(target=run)
                    thread.start()
                    thread.join()
                self.assertEqual(len(found), 4)
                part = value.data[1:3]
                with self.assertRaises(BufferError):
                    value.release()
                with self.assertRaises(BufferError):
                    value.close()
                self.assertEqual((bytes(part), bytes(value.data[:4])), (b"ea", b"tea\0"))
                part.release()
            with self.assertRaises(ZeroDivisionError), theirs:
                theirs.data[0] = 0
                1 / 0
            for it in (value, theirs):
                with it:
                    self.assertTrue(it.damaged)
            with value:
                value.repaired()
            with theirs:
                self.assertFalse(theirs.damaged)
                self.assertEqual(bytes(theirs.data[:3]), b"\0ea")

    def test_versioned_values(self):
        with tenure.Space.open(backend=tenure.PRIVATE) as space, space.join() as me, space.join() as other:
            value = me.versioned(9, b"first")
            theirs = other.open_versioned(9, value.token)
            self.assertEqual((theirs.read_versioned(), theirs.size), ((b"first", 0), 5))
            self.assertEqual(theirs.write(b"other"), 1)
            self.assertEqual((value.read(), value.version), (b"other", 1))
            with self.assertRaises(tenure.Argument):
                value.write(b"longer")
            with self.assertRaises(tenure.ForeignKind):
                other.open_versioned(8, value.token)

    def test_queues(self):
        with tenure.Space.open(backend=tenure.PRIVATE, container_slots=128) as space:
            self.assertEqual(space.info["container_slots"], 128)
            with space.join() as me, space.join() as other:
                jobs = me.queue(KIND, 2, "jobs")
                theirs = other.open_queue(KIND, "jobs")
                self.assertEqual((space.names[0].kind, theirs.token, theirs.maxsize), ("Queue", jobs.token, 2))
                for what in ("jobs", jobs.token):
                    other.open_queue(KIND, what).close()
                    with self.assertRaises(tenure.ForeignKind):
                        other.open_queue(COUNTER, what)
                    with self.assertRaises(tenure.ForeignKind):
                        other.open_object(what)
                self.assertTrue(me.queue(KIND, 9, "jobs", or_open=True).opened)
                with self.assertRaises(tenure.NameTaken):
                    me.queue(KIND, 9, "jobs")
                with self.assertRaises(tenure.ContainerSlots):
                    me.queue(KIND, 129)
                with self.assertRaises(tenure.Argument):
                    me.queue(KIND, 0)

                # As queue.Queue.
                for get in (theirs.get, theirs.get_handle, theirs.claim):
                    for arguments in ((False,), (True, 0), (True, 0.001)):
                        with self.assertRaises(queue.Empty) as raised:
                            get(*arguments)
                        self.assertIsInstance(raised.exception, tenure.QueueEmpty)
                    with self.assertRaises(ValueError):
                        get(timeout=-1)
                with self.assertRaises(queue.Empty):
                    theirs.get_nowait()
                self.assertTrue(jobs.empty())
                jobs.put(b"one")
                jobs.put_nowait(bytearray(b"two"))
                self.assertTrue(jobs.full())
                for put in (jobs.put_nowait, lambda data: jobs.put(data, timeout=0.001)):
                    with self.assertRaises(queue.Full) as raised:
                        put(b"three")
                    self.assertIsInstance(raised.exception, tenure.QueueFull)
                for wrong in (5, "text", None):
                    with self.assertRaises(TypeError):
                        jobs.put(wrong)
                self.assertEqual((jobs.qsize(), jobs.claimed), (2, 0))
                self.assertIn("kind=7 2 of 2", repr(jobs))
                self.assertEqual((theirs.get(), theirs.get()), (b"one", b"two"))
                jobs.put(b"")
                self.assertEqual(theirs.get(), b"")

                # Handles, as they are.
                with me.create(KIND, b"x" * 1000) as handle, me.create(COUNTER, b"") as wrong:
                    jobs.put(handle)
                    with self.assertRaises(tenure.Kept):
                        jobs.put(handle)
                    with self.assertRaises(tenure.ForeignKind):
                        jobs.put(wrong)
                    token = handle.token
                with self.assertRaises(tenure.Closed):
                    jobs.put(handle)
                with theirs.get_handle() as handle:
                    self.assertEqual((handle.token, handle.size, bytes(handle.data[:2])), (token, 1000, b"xx"))
                with self.assertRaises(tenure.Stale):
                    me.open(KIND, token)
                theirs.close()
                jobs.close()
                gc.collect()
                self.unharmed(space)

    def test_claims_of_queues(self):
        with tenure.Space.open(backend=tenure.PRIVATE, container_slots=64) as space:
            with space.join() as me, space.join() as other:
                jobs = me.queue(KIND, 8)
                theirs = other.open_queue(KIND, jobs.token)
                jobs.put(b"job")
                # Given back by an exception in the `with`; done by its end.
                with self.assertRaises(ZeroDivisionError), theirs.claim() as job:
                    self.assertEqual((bytes(job.data), job.kind, jobs.qsize(), jobs.claimed), (b"job", KIND, 0, 1))
                    with self.assertRaises(queue.Empty):
                        jobs.claim(block=False)
                    1 / 0
                self.assertEqual((jobs.qsize(), jobs.claimed), (1, 0))
                with jobs.claim() as job:
                    job.give_back()
                with jobs.claim() as job:
                    token = job.token
                self.assertEqual((jobs.qsize(), jobs.claimed), (0, 0))
                with self.assertRaises(tenure.Stale):
                    other.open(KIND, token)
                for ended in (job.ack, job.give_back, job.close, lambda: job.data):
                    with self.assertRaises(tenure.Closed):
                        ended()
                jobs.put(b"next")
                with jobs.claim() as job:
                    job.ack()
                self.assertTrue(jobs.empty())

                # A claim that is forgotten is given back; one with slices is not, as long as they are there.
                jobs.put(b"left")
                theirs.claim()
                self.assertEqual(jobs.qsize(), 1)
                claim = theirs.claim()
                part = claim.data[1:]
                del claim
                self.assertEqual((jobs.claimed, bytes(part)), (1, b"eft"))
                with self.assertRaises(BufferError):
                    theirs.close()
                with self.assertRaises(BufferError):
                    other.leave()
                part.release()
                del part
                self.assertEqual(jobs.claimed, 1, "until the queue is closed")
                theirs.close()
                claim = jobs.claim()
                view = claim.data[1:]
                with self.assertRaises(BufferError):
                    claim.ack()
                with self.assertRaises(BufferError):
                    jobs.close()
                view.release()
                # Closing the queue gives its claims back.
                again = other.open_queue(KIND, jobs.token)
                jobs.close()
                with self.assertRaises(tenure.Closed):
                    claim.data
                with self.assertRaises(tenure.Closed):
                    claim.ack()
                self.assertEqual(again.get_nowait(), b"left")
                again.close()
                gc.collect()
                self.unharmed(space)

    def test_maps(self):
        with tenure.Space.open(backend=tenure.PRIVATE, container_slots=128) as space:
            with space.join() as me, space.join() as other:
                prices = me.map(64, "prices")
                theirs = other.open_object("prices")
                self.assertIsInstance(theirs, tenure.Map)
                self.assertEqual((space.names[0].kind, theirs.token), ("Map", prices.token))
                self.assertTrue(me.map(64, "prices", or_open=True).opened)
                with self.assertRaises(tenure.ContainerSlots):
                    me.map(129)
                self.assertEqual((len(prices), list(prices), prices.nbytes), (0, [], 0))
                prices[b"tea"] = b"3.20"
                theirs[bytearray(b"milk")] = memoryview(b"1.10")
                prices[b""] = b""
                large = bytes(range(256)) * 100
                prices[large] = large
                self.assertEqual((theirs[b"tea"], prices[b"milk"], theirs[b""], theirs[large]), (b"3.20", b"1.10", b"", large))
                self.assertTrue(b"tea" in theirs and b"te" not in theirs)
                everything = {b"tea": b"3.20", b"milk": b"1.10", b"": b"", large: large}
                self.assertEqual((len(theirs), dict(theirs.items())), (4, everything))
                self.assertEqual((set(theirs), set(theirs.keys())), (set(everything), set(everything)))
                self.assertEqual(sorted(theirs.values()), sorted(everything.values()))
                del theirs[large]
                self.assertEqual(prices.nbytes, 8 * (3 + 3 + 1))
                for missing in (
                    lambda: prices[b"te"],
                    lambda: prices.__delitem__(b"te"),
                    lambda: prices.pop(b"te"),
                    lambda: prices.hold(b"te"),
                ):
                    with self.assertRaises(KeyError) as raised:
                        missing()
                    self.assertEqual(raised.exception.args, (b"te",))
                self.assertEqual((prices.get(b"te"), prices.get(b"te", 5), prices.pop(b"te", 6)), (None, 5, 6))
                for wrong in (5, "tea", None):
                    for call in (
                        lambda wrong=wrong: prices[wrong],
                        lambda wrong=wrong: wrong in prices,
                        lambda wrong=wrong: prices.__setitem__(wrong, b""),
                        lambda wrong=wrong: prices.__setitem__(b"", wrong),
                        lambda wrong=wrong: prices.hold(wrong),
                    ):
                        self.assertRaises(TypeError, call)
                with self.assertRaises(tenure.TooLarge):
                    prices[b"x"] = bytes(1 << 31)

                self.assertEqual((prices.setdefault(b"tea", b"x"), prices.setdefault(b"new", b"y")), (b"3.20", b"y"))
                self.assertEqual((prices.pop(b"new"), b"new" in prices), (b"y", False))
                self.assertFalse(prices.compare_exchange(b"tea", None, b"x"))
                self.assertFalse(prices.compare_exchange(b"tea", b"3.2", b"x"))
                self.assertTrue(prices.compare_exchange(b"tea", b"3.20", b""))
                self.assertTrue(prices.compare_exchange(b"tea", b"", None))
                self.assertTrue(prices.compare_exchange(b"tea", None, b"4.00"))
                prices.update({b"a": b"1"})
                prices.update([(b"b", b"2")])
                self.assertEqual((theirs[b"tea"], theirs[b"a"], theirs[b"b"]), (b"4.00", b"1", b"2"))

                # Pairs that expire: at once, in a hundred years, and never.
                years = 100 * 365 * 86400
                before = prices.nbytes
                prices.set(b"short", b"x", ttl=0)
                self.assertEqual((theirs.get(b"short"), b"short" in theirs, len(theirs), theirs.pop(b"short", 5)), (None, False, 5, 5))
                self.assertNotIn(b"short", list(theirs))
                for missing in (lambda: theirs.ttl(b"short"), lambda: theirs.ttl(b"te"), lambda: theirs[b"short"]):
                    self.assertRaises(KeyError, missing)
                self.assertEqual(prices.nbytes, before + 32)
                theirs.remove_expired()
                self.assertEqual(prices.nbytes, before)
                prices.set(b"long", b"1", ttl=years)
                self.assertEqual((theirs[b"long"], years / 2 < theirs.ttl(b"long") <= years), (b"1", True))
                self.assertTrue(theirs.compare_exchange(b"long", b"1", b"2"))
                self.assertTrue(years / 2 < prices.ttl(b"long") <= years)
                self.assertEqual((prices.setdefault(b"long", b"3"), prices.ttl(b"long") is None), (b"2", False))
                prices[b"long"] = b"4"
                self.assertIsNone(theirs.ttl(b"long"))
                prices.set(b"long", b"5", ttl=0.0)
                self.assertEqual(theirs.setdefault(b"long", b"6", ttl=1.5 * years), b"6")
                self.assertTrue(years < theirs.ttl(b"long") <= 1.5 * years)
                prices.set(b"long", b"7", ttl=float("inf"))
                self.assertTrue(years < theirs.ttl(b"long"))
                prices.set(b"long", b"8")
                self.assertIsNone(theirs.ttl(b"long"))
                for wrong in (-1, float("nan")):
                    with self.assertRaises(ValueError):
                        prices.set(b"long", b"9", ttl=wrong)
                self.assertRaises(TypeError, lambda: prices.ttl("long"))
                self.assertEqual(prices.pop(b"long"), b"8")

                # Held values stay as they are.
                with prices.hold(b"tea") as view:
                    prices[b"tea"] = b"5.00"
                    self.assertEqual((bytes(view), view.readonly), (b"4.00", True))
                self.assertEqual(bytes(prices.hold(b"")), b"")
                part = prices.hold(b"tea")[1:]
                del prices[b"tea"]
                with self.assertRaises(BufferError):
                    me.leave()
                self.assertEqual(bytes(part), b".00")
                part.release()
                del part

                # A map that is iterated over is in use.
                pairs = prices.items()
                next(pairs)
                with self.assertRaises(tenure.InUse):
                    prices.close()
                del pairs
                prices.clear()
                self.assertEqual(len(theirs), 0)
                bounded = me.map(64, max_bytes=4096)
                for number in range(200):
                    bounded[str(number).encode()] = b"x" * 100
                self.assertTrue(0 < bounded.nbytes <= 4096 and b"199" in bounded)
                with self.assertRaises(tenure.MapFull):
                    for number in range(64 * 16 + 1):
                        prices[str(number).encode()] = b""
                for it in (prices, theirs, bounded):
                    it.close()
                with self.assertRaises(tenure.Closed):
                    prices[b"tea"]
                gc.collect()
                self.unharmed(space)
                # What is open ends with the member, iterations and held values as well.
                third = space.join()
                left = third.map(64)
                left[b"tea"] = left[b"milk"] = b"x"
                pairs, view = left.items(), left.hold(b"tea")
                next(pairs)
                third.leave()
                with self.assertRaises(tenure.Closed):
                    next(pairs)
                with self.assertRaises(ValueError):
                    bytes(view)
                self.unharmed(space)

    def test_read_write_locks(self):
        with tenure.Space.open(backend=tenure.PRIVATE) as space, space.join() as me, space.join() as other:
            lock = me.rwlock("index")
            theirs = other.open_object("index")
            self.assertIsInstance(theirs, tenure.RwLock)
            self.assertTrue(me.rwlock("index", or_open=True).opened)
            self.assertEqual(space.names[0].kind, "RwLock")
            with lock.read() as abandoned, theirs.read():
                self.assertIs(abandoned, False)
                self.assertTrue(lock.acquire_read(blocking=False))
                lock.release_read()
                self.assertFalse(theirs.acquire_write(blocking=False))
                self.assertFalse(theirs.acquire_write(timeout=0.001))
            with self.assertRaises(tenure.NotOwner):
                lock.release_read()
            with lock.write() as abandoned:
                self.assertIs(abandoned, False)
                self.assertFalse(theirs.acquire_read(timeout=0))
                self.assertFalse(theirs.acquire_write(timeout=0))
                for again in (lock.acquire_read, lock.acquire_write):
                    with self.assertRaises(tenure.Deadlock):
                        again()
            with self.assertRaises(tenure.NotOwner):
                lock.release_write()
            with self.assertRaises(ZeroDivisionError), lock.write():
                1 / 0
            # A writer that goes is told of.
            third = space.join()
            its = third.open_object("index")
            self.assertTrue(its.acquire_write())
            third.leave()
            with lock.read() as abandoned:
                self.assertTrue(abandoned and lock.abandoned)
            self.assertFalse(theirs.abandoned)
            self.assertTrue(theirs.acquire_read() and theirs.abandoned)
            theirs.release_read()
            with theirs.write() as abandoned:
                self.assertTrue(abandoned and theirs.abandoned)
            with theirs.write() as abandoned:
                self.assertFalse(abandoned or theirs.abandoned)
            for it in (lock, theirs):
                it.close()

    @on_every_backend
    def test_condition_variables(self, space):
        with space.join() as me, space.join() as other:
            mutex, changed = me.mutex(), me.condvar("changed")
            self.assertTrue(me.condvar("changed", or_open=True).opened)
            self.assertEqual([it.kind for it in space.names], ["Condvar"])
            theirs = other.open_object("changed")
            self.assertIsInstance(theirs, tenure.Condvar)
            told, waiting = [], threading.Event()

            def waits():
                with mutex:
                    waiting.set()
                    while not told:
                        self.assertTrue(changed.wait(mutex))
                    told.append(mutex.owner is not None)

            thread = threading.Thread(target=waits)
            thread.start()
            waiting.wait()
            # It has given the mutex up, or this would wait for ever.
            with mutex:
                told.append(None)
            theirs.notify_all()
            thread.join()
            self.assertEqual(told, [None, True])
            with mutex:
                self.assertIs(changed.wait(mutex, 0.001), False)
                self.assertEqual(mutex.owner[0], me.lease & 255)
            with self.assertRaises(tenure.NotOwner):
                changed.wait(mutex)
            for wrong in (changed, None):
                with self.assertRaises(TypeError):
                    changed.wait(wrong)
            recursive = me.mutex(recursive=True)
            with recursive, self.assertRaises(tenure.Deadlock):
                recursive.acquire()
                changed.wait(recursive)
            # Given up once by the wait that failed, once by the end of `with`.
            self.assertIsNone(recursive.owner)
            del recursive

            value = me.locked(9, b"abc")
            with value:
                part = value.data[1:]
                with self.assertRaises(BufferError):
                    changed.wait(value, 0.001)
                part.release()
                self.assertIs(changed.wait(value, 0.001), False)
                self.assertEqual((bytes(value.data), value.damaged), (b"abc", False))
            with self.assertRaises(tenure.NotOwner):
                changed.wait(value)
            # Another thread locks the same object during the wait.
            waiting.clear()

            def changes():
                waiting.wait()
                with value:
                    value.data[0] += 1
                changed.notify_all()

            thread = threading.Thread(target=changes)
            with value:
                thread.start()
                waiting.set()
                while value.data[0] == ord("a"):
                    self.assertTrue(changed.wait(value))
                self.assertEqual(bytes(value.data), b"bbc")
            thread.join()
            for it in (mutex, value, changed, theirs):
                it.close()
            with self.assertRaises(tenure.Closed):
                changed.notify_all()
            self.unharmed(space)

    @on_every_backend
    def test_permits(self, space):
        with space.join() as me, space.join() as other:
            permits = me.permits(2, "connections")
            self.assertTrue(me.permits(7, "connections", or_open=True).opened)
            self.assertEqual(space.names[0].kind, "Permits")
            theirs = other.open_object("connections")
            self.assertIsInstance(theirs, tenure.Permits)
            with permits as it:
                self.assertIs(it, permits)
                self.assertEqual((permits.available, permits.total), (1, 2))
                self.assertIn("1 of 2", repr(permits))
                self.assertIs(theirs.acquire(), True)
                self.assertIs(permits.acquire(blocking=False), False)
                self.assertIs(permits.acquire(False), False)
                self.assertIs(permits.acquire(timeout=0.001), False)
                for wrong in ({"blocking": False, "timeout": 1}, {"timeout": -2}):
                    with self.assertRaises(ValueError):
                        permits.acquire(**wrong)
            with self.assertRaises(tenure.NotOwner):
                permits.release()
            # In any thread of the process.
            permits.acquire()
            thread = threading.Thread(target=permits.release)
            thread.start()
            thread.join()
            self.assertEqual(permits.available, 1)
            # What a member has comes back when it closes its last object of them.
            theirs.close()
            self.assertEqual(permits.available, 2)
            for wrong in (0, 65537):
                with self.assertRaises(tenure.Argument):
                    me.permits(wrong)
            permits.close()
            with self.assertRaises(tenure.Closed):
                permits.acquire()
            self.unharmed(space)

    def test_a_forked_child_has_no_claim_and_no_lock(self):
        with tenure.Space.open(backend=tenure.ANONYMOUS, slots=1) as space, space.join() as me:
            me.slots.put(0, me.create(KIND, b"job"))
            value = me.locked(9, 8)
            claim = me.slots.claim(0, KIND)
            with value:
                view = value.data
                child = os.fork()
                if child == 0:
                    failed = 0
                    try:
                        value.__exit__(None)
                    except BaseException:
                        failed = 1
                    for refused in (claim.ack, value.release, lambda: value.data, lambda: me.slots.claim(0, KIND), lambda: bytes(view)):
                        try:
                            refused()
                            failed = 1
                        except (tenure.ForkedChild, tenure.NotOwner, tenure.Closed, ValueError):
                            pass
                    os._exit(failed)
                self.assertEqual(os.waitpid(child, 0)[1], 0)
                value.data[0] = 1
            claim.ack()
            del view


def work(space_name, token, connection):
    """Runs in a process of its own."""
    die_with_parent()
    with tenure.Space.attach(space_name) as space, space.join() as me, me.open(COUNTER, token) as counter:
        offset, lease = connection.recv()
        assert bytes(me.block_at(offset, lease)[:4]) == b"take"
        me.free_of(offset, lease)
        for _ in range(ROUNDS):
            counter.word().add(1)
        with me.create(KIND, b"from the child" * 10) as handle:
            connection.send(handle.token)
            connection.recv()


def own(space_name, connection):
    """Runs until it is killed."""
    die_with_parent()
    me = tenure.Space.attach(space_name).join()
    with me.mutex("lock", or_open=True), me.open_object("event") as event:
        event.set()
        connection.recv()


def enter(space_name, connection):
    """Enters itself as the leader, unless there is one."""
    die_with_parent()
    with tenure.Space.attach(space_name) as space, space.join() as me:
        with me.process(name="leader", or_open=True) as leader:
            connection.send((leader.opened, leader.number))
            connection.recv()


def lend(space_name, connection):
    """Has a descriptor with a name until it is killed."""
    die_with_parent()
    me = tenure.Space.attach(space_name, monitor=False).join()
    with tempfile.TemporaryFile() as file, me.descriptor(file, "file"):
        connection.send(None)
        connection.recv()


def hold(space_name, token, connection):
    """Runs until it is killed."""
    die_with_parent()
    me = tenure.Space.attach(space_name).join()
    counter = me.open(COUNTER, token)
    kept = [(me.create(KIND, b"x" * i), me.alloc(1 + i)) for i in range(100)]
    connection.send(len(kept))
    while True:
        with me.create(KIND, b"x" * 100), me.alloc(1000):
            counter.word(8).add(1)


def work_on(space_name, connection):
    """Has claimed, set and locked until it is killed."""
    die_with_parent()
    me = tenure.Space.attach(space_name).join()
    jobs, notes, index = me.open_queue(KIND, "jobs"), me.open_object("notes"), me.open_object("index")
    with jobs.claim() as job, index.write():
        jobs.put(b"its")
        notes[b"killed"] = bytes(job.data)
        connection.send(None)
        connection.recv()


def turn(space_name, connection):
    """Takes turns with another process, by a condition variable, and ends with the lock and a permit."""
    die_with_parent()
    me = tenure.Space.attach(space_name).join()
    value, changed, permits = me.open_locked(9, "turn"), me.open_object("changed"), me.open_object("permits")
    permits.acquire()
    with value:
        for _ in range(100):
            while value.data[0] != 1:
                changed.wait(value)
            value.data[0] = 0
            changed.notify_all()
    # Until then the other one wants the lock back.
    connection.recv()
    with value:
        value.data[0] = 2
        connection.send(None)
        connection.recv()


class Several(Case):
    def run_in(self, context, space_name, target, token):
        ours, theirs = context.Pipe()
        process = context.Process(target=target, args=(space_name, token, theirs), daemon=True)
        process.start()
        theirs.close()
        self.addCleanup(process.kill)
        return process, ours

    def several(self, method):
        context = multiprocessing.get_context(method)
        space = self.named(method)
        with space.join() as me, me.create(COUNTER, bytes(16)) as counter:
            process, pipe = self.run_in(context, name(method), work, counter.token)
            block = me.alloc(100)
            block.data[:4] = b"take"
            pipe.send(block.give())
            for _ in range(ROUNDS):
                counter.word().add(1)
            with me.open(KIND, pipe.recv()) as handle:
                pipe.send(None)
                process.join()
                self.assertEqual(process.exitcode, 0)
                self.assertEqual(bytes(handle.data), b"from the child" * 10)
            self.assertEqual(counter.word().load(), 2 * ROUNDS)
            self.unharmed(space, 1)

            process, pipe = self.run_in(context, name(method), hold, counter.token)
            self.assertEqual(pipe.recv(), 100)
            self.assertGreaterEqual(space.stats["handles_live"], 101)
            process.kill()
            process.join()
            self.assertEqual(process.exitcode, -signal.SIGKILL)
            while space.stats["members_live"] > 1:
                me.recover()
            self.unharmed(space, 1)

    def test_spawn(self):
        self.several("spawn")

    def test_fork(self):
        # Children join by themselves; they neither use nor harm objects that they inherited.
        self.several("fork")

    def test_a_dead_owner_and_how_it_ended(self):
        space = self.named("owner")
        with space.join() as me:
            mutex, event = me.mutex("lock", or_open=True), me.event("event")
            for _ in range(2):
                context = multiprocessing.get_context("spawn")
                ours, theirs = context.Pipe()
                child = context.Process(target=own, args=(name("owner"), theirs), daemon=True)
                child.start()
                theirs.close()
                self.addCleanup(child.kill)
                process = me.process(child.pid)
                self.assertEqual(tenure.wait_any([event, process])[0], 0)
                self.assertIsNone(process.exit)
                self.assertIs(mutex.acquire(blocking=False), False)
                child.kill()
                with mutex as abandoned:
                    self.assertIs(abandoned, True)
                with mutex as abandoned:
                    self.assertIs(abandoned, False)
                self.assertEqual(process.wait(), tenure.Exit(None, signal.SIGKILL, False))
                child.join()
                self.assertEqual(process.exit.signal, signal.SIGKILL)
                process.close()
            with me.process() as this:
                self.assertEqual(this.number, os.getpid())
                self.assertIsNone(this.exit)
            del mutex, event
            while space.stats["members_live"] > 1:
                me.recover()
            self.unharmed(space)

    def test_what_a_killed_process_had_claimed_and_set_is_there(self):
        space = self.named("collections", container_slots=128)
        with space.join() as me:
            jobs, notes, index = me.queue(KIND, 8, "jobs"), me.map(64, "notes"), me.rwlock("index")
            jobs.put(b"job")
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            child = context.Process(target=work_on, args=(name("collections"), theirs), daemon=True)
            child.start()
            self.addCleanup(child.kill)
            ours.recv()
            self.assertEqual((jobs.qsize(), jobs.claimed, index.acquire_read(blocking=False)), (1, 1, False))
            child.kill()
            with index.read() as abandoned:
                self.assertTrue(abandoned)
            # Its own one, and then what was given back, or the other way round.
            self.assertEqual({jobs.get(), jobs.get()}, {b"job", b"its"})
            self.assertEqual(notes[b"killed"], b"job")
            child.join()
            for it in (jobs, notes, index):
                it.close()
            while space.stats["members_live"] > 1:
                me.recover()
            self.unharmed(space)

    def test_turns_and_what_a_killed_process_had(self):
        space = self.named("turns")
        with space.join() as me:
            value, changed, permits = me.locked(9, 1, "turn"), me.condvar("changed"), me.permits(2, "permits")
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            child = context.Process(target=turn, args=(name("turns"), theirs), daemon=True)
            child.start()
            theirs.close()
            self.addCleanup(child.kill)
            with value:
                for _ in range(100):
                    value.data[0] = 1
                    changed.notify_all()
                    while value.data[0] == 1:
                        changed.wait(value)
            permits.acquire()
            self.assertIs(permits.acquire(blocking=False), False)
            ours.send(None)
            ours.recv()
            child.kill()
            # Its permit comes back, and so does the lock, with what it had made of the value.
            self.assertIs(permits.acquire(), True)
            with value:
                self.assertEqual((value.damaged, value.data[0]), (True, 2))
            child.join()
            for it in (value, changed, permits):
                it.close()
            while space.stats["members_live"] > 1:
                me.recover()
            self.unharmed(space)

    def test_a_forked_child_has_no_queue_no_map_and_no_lock(self):
        space = self.named("forked", container_slots=128)
        with space.join() as me:
            jobs, notes, index = me.queue(KIND, 8, "jobs"), me.map(64, "notes"), me.rwlock()
            jobs.put(b"one")
            jobs.put(b"two")
            notes[b"a"] = b"held"
            claim, view, pairs = jobs.claim(), notes.hold(b"a"), notes.items()
            data = claim.data
            index.acquire_write()
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    die_with_parent()
                    for call in (
                        lambda: jobs.put(b"x"),
                        jobs.get,
                        jobs.get_handle,
                        jobs.claim,
                        jobs.qsize,
                        jobs.close,
                        claim.ack,
                        lambda: notes[b"a"],
                        lambda: notes.__setitem__(b"a", b"x"),
                        lambda: notes.setdefault(b"b", b"x"),
                        lambda: notes.pop(b"a"),
                        lambda: b"a" in notes,
                        lambda: len(notes),
                        lambda: notes.hold(b"a"),
                        notes.clear,
                        notes.items,
                        lambda: next(pairs),
                        index.acquire_read,
                        index.release_write,
                        index.read().__enter__,
                    ):
                        with self.assertRaises(tenure.ForkedChild):
                            call()
                    for released in (view, data):
                        with self.assertRaises(ValueError):
                            bytes(released)
                    with claim, jobs, notes:
                        pass
                    with space.join() as child, child.open_queue(KIND, "jobs") as its, child.open_object("notes") as map:
                        with its.claim() as job:
                            map[b"child"] = bytes(job.data)
                    status = 0
                finally:
                    os._exit(status)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual((bytes(data), bytes(view), notes[b"child"]), (b"one", b"held", b"two"))
            self.assertEqual(dict(pairs), {b"a": b"held", b"child": b"two"})
            claim.ack()
            index.release_write()
            view.release()
            for it in (jobs, notes, index):
                it.close()
            self.unharmed(space)

    def test_handlers_run_while_queues_and_locks_are_waited_for(self):
        with tenure.Space.open(backend=tenure.MEMFD, container_slots=64) as space:
            with space.join() as me, space.join() as other:
                jobs, index = me.queue(KIND, 1), me.rwlock()
                for wait in (jobs.get, jobs.get_handle, jobs.claim, lambda: jobs.get(timeout=60)):
                    self.signalled(wait, lambda: jobs.put(b"x"))
                    self.assertEqual((jobs.qsize(), jobs.claimed), (0, 0))
                    self.signalled(wait, lambda: jobs.put(b"x"), raises=False)
                    gc.collect()
                    if not jobs.empty():
                        # The claim was forgotten.
                        jobs.get()
                jobs.put(b"first")
                with me.create(KIND, b"handle") as handle:
                    for data in (b"second", handle):
                        self.signalled(lambda data=data: jobs.put(data), jobs.get)
                        self.assertEqual((jobs.get(), jobs.empty()), (b"first", True))
                        jobs.put(b"first")
                for lock, wait, release in (
                    ("acquire_write", index.acquire_read, index.release_read),
                    ("acquire_write", index.read().__enter__, index.release_read),
                    ("acquire_read", index.acquire_write, index.release_write),
                    ("acquire_write", index.write().__enter__, index.release_write),
                ):
                    theirs = other.open_object(index.token)
                    getattr(theirs, lock)()
                    # Closed by another thread: nobody has it then.
                    self.signalled(wait, theirs.close)
                    self.signalled(wait, theirs.close, raises=False)
                    release()
                for it in (jobs, index):
                    it.close()
                gc.collect()
                self.unharmed(space)

    def test_an_exception_right_after_a_claim_or_a_lock_gives_it_back(self):
        class Stop(Exception):
            pass

        names = ("tenure_queue_claim", "tenure_rwlock_read_with", "tenure_rwlock_write_with", "tenure_permits_acquire")
        before = {name: getattr(_library.library, name) for name in names}

        with tenure.Space.open(backend=tenure.MEMFD, container_slots=64) as space, space.join() as me, space.join() as other:
            jobs, index, permits = me.queue(KIND, 8), me.rwlock(), me.permits(1)
            their_jobs, theirs, their_permits = (other.open_queue(KIND, jobs.token), *(other.open_object(it.token) for it in (index, permits)))

            def stopped(function):
                def call(*arguments):
                    # Only now it is there, so that the extension did not find it.
                    if not jobs.qsize():
                        their_jobs.put(b"job")
                    for release in (theirs.release_write, their_permits.release):
                        try:
                            release()
                        except tenure.NotOwner:
                            pass
                    status = function(*arguments)
                    if status >= 0:
                        # As a handler does that runs when the call has returned.
                        raise Stop
                    return status

                return call

            for name, function in before.items():
                setattr(_library.library, name, stopped(function))
            try:
                reading, writing = index.read(), index.write()
                found, number = _library.Handle(), ctypes.c_uint64()
                for call in (
                    jobs.get,
                    jobs.get_handle,
                    jobs.claim,
                    index.acquire_read,
                    index.acquire_write,
                    reading.__enter__,
                    writing.__enter__,
                    permits.acquire,
                    permits.__enter__,
                ):
                    if jobs.qsize():
                        before["tenure_queue_claim"](their_jobs._pointer, 0, 0, ctypes.byref(found))
                        tenure._objects.check(_library.library.tenure_queue_ack(their_jobs._pointer, found.token))
                    before["tenure_rwlock_write_with"](theirs._pointer, 0, 0, None)
                    before["tenure_permits_acquire"](their_permits._pointer, 0, 0, ctypes.byref(number))
                    their_permits._numbers.append(number.value)
                    with self.assertRaises(Stop):
                        call()
                    self.assertEqual((jobs.qsize(), jobs.claimed, permits.available), (1, 0, 1))
                    with self.assertRaises(tenure.NotOwner):
                        permits.release()
                    with self.assertRaises(tenure.NotOwner):
                        index.release_read()
                    with self.assertRaises(tenure.NotOwner):
                        index.release_write()
            finally:
                for name, function in before.items():
                    setattr(_library.library, name, function)
            self.assertEqual(jobs.get(), b"job")

    def test_one_of_several_is_the_leader(self):
        space = self.named("leader")
        context = multiprocessing.get_context("spawn")
        children = []
        for _ in range(3):
            ours, theirs = context.Pipe()
            child = context.Process(target=enter, args=(name("leader"), theirs), daemon=True)
            child.start()
            theirs.close()
            self.addCleanup(child.kill)
            children.append((child, ours))
        told = [pipe.recv() for _, pipe in children]
        leaders = [child.pid for (child, _), (opened, _) in zip(children, told) if not opened]
        self.assertEqual(len(leaders), 1)
        self.assertEqual({number for _, number in told}, set(leaders))
        self.assertEqual([name.name for name in space.names], ["leader"])
        for child, pipe in children:
            pipe.send(None)
            child.join()
            self.assertEqual(child.exitcode, 0)
        self.unharmed(space)

    def test_a_name_that_was_removed_under_members_is_told(self):
        for backend in (tenure.SHM, tenure.SYSV):
            space = tenure.Space.open(name("unlinked"), scratch=1 << 20, backend=backend)
            self.addCleanup(space.close)
            with space.join():
                self.assertEqual(space.name_state, tenure.CURRENT)
                os.unlink(space.path)
                self.assertEqual(space.name_state, tenure.REMOVED)
                with self.assertRaisesRegex(tenure.InUse, "RemoveIPC"):
                    tenure.Space.open(name("unlinked"), backend=backend)
                with self.assertRaises(tenure.InUse):
                    tenure.Space.remove(name("unlinked"), backend=backend)
                tenure.Space.remove(name("unlinked"), backend=backend, force=True)
                second = tenure.Space.open(name("unlinked"), scratch=1 << 20, backend=backend)
                states = (space.name_state, second.name_state)
                self.assertEqual(states, (tenure.REPLACED, tenure.CONTESTED))
                second.close()
            tenure.Space.remove(name("unlinked"), backend=backend)
            self.doCleanups()

    def test_a_monitor_says_whether_it_hears(self):
        space = self.named("monitor", scratch=1 << 20)
        with space.join() as me:
            self.assertEqual(me.monitor, tenure.Monitor("running", None))
        with tenure.Space.attach(name("monitor"), monitor=False) as quiet, quiet.join() as me:
            self.assertEqual(me.monitor, tenure.Monitor("off", None))

    def test_a_space_of_another_mode_is_refused(self):
        group = os.getegid()
        space = self.named("mode", scratch=1 << 20, mode=0o660, group=group)
        self.assertEqual(os.stat(space.path).st_mode & 0o777, 0o660)
        tenure.Space.attach(name("mode"), mode=0o660, group=group, owner=os.geteuid()).close()
        with self.assertRaisesRegex(tenure.Incompatible, "mode 660"):
            tenure.Space.attach(name("mode"), mode=0o600)
        with self.assertRaises(tenure.Incompatible):
            tenure.Space.attach(name("mode"), owner=os.geteuid() + 1)

    def test_a_reader_creates_nothing_and_sees_read_only_views(self):
        space = self.named("reads", scratch=1 << 20)
        with space.join() as me, me.create(1, bytes(100)) as handle, me.alloc(64) as block:
            with tenure.Space.attach(name("reads"), read_only=True) as readers, readers.join() as reader:
                with reader.open(1, handle.token) as opened:
                    self.assertEqual(bytes(opened.data), bytes(100))
                    with self.assertRaisesRegex(tenure.ReadOnly, "read-only"):
                        opened.word(0).add(1)
                with reader.block_at(block.offset, me.lease) as view:
                    self.assertTrue(view.readonly)
                for refused in (lambda: reader.alloc(8), lambda: reader.create(1, b"tea"), reader.mutex):
                    with self.assertRaises(tenure.ReadOnly):
                        refused()

    def test_a_descriptor_ends_with_its_only_holder(self):
        # Without monitors nobody takes it back before it is asked for.
        space = self.named("lent", monitor=False)
        with space.join() as me, tempfile.TemporaryFile() as file:
            ours, theirs = multiprocessing.Pipe()
            child = multiprocessing.get_context("spawn").Process(target=lend, args=(name("lent"), theirs), daemon=True)
            child.start()
            theirs.close()
            self.addCleanup(child.kill)
            ours.recv()
            self.assertEqual([member.alive for member in space.members], [True, True])
            child.kill()
            child.join()
            self.assertEqual(sorted(member.alive for member in space.members), [False, True])
            with me.descriptor(file, "file", or_open=True) as made:
                self.assertFalse(made.opened)
                self.assertTrue(os.path.sameopenfile(made.fileno(), file.fileno()))
            self.unharmed(space)

    def test_who_reaped_a_process_tells_the_others(self):
        # Without monitors nobody watches: the end of a process that was reaped unseen stays unknown.
        space = self.named("reaped", monitor=False)
        with space.join() as me, space.join() as other:
            child = subprocess.Popen(["sh", "-c", "read line; exit 5"], stdin=subprocess.PIPE)
            self.addCleanup(child.kill)
            process = me.process(child.pid)
            theirs = other.open_object(process.token)
            child.stdin.close()
            _, status = os.waitpid(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(theirs.exit, tenure.Exit(None, None, False))
            process.reaped(status)
            self.assertEqual(theirs.exit, tenure.Exit(5, None, False))
            # A status that is known stays.
            theirs.reaped(signal.SIGKILL)
            self.assertEqual(process.exit.code, 5)
            process.close()
            theirs.close()
            self.unharmed(space)

    def test_a_forked_child_is_no_member(self):
        space = self.named("forked")
        with space.join() as me:
            handle, block = me.create(KIND, b"parent's"), me.alloc(100)
            mutex, event = me.mutex(), me.event()
            mutex.acquire()
            block.data[:4] = b"mine"
            self.assertEqual(bytes(handle.data), b"parent's")
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    die_with_parent()
                    for call in (
                        lambda: me.create(KIND, b""),
                        lambda: me.open(KIND, handle.token),
                        lambda: me.alloc(5),
                        me.recover,
                        me.trim,
                        me.leave,
                        handle.close,
                        block.close,
                        handle.word().load,
                        me.mutex,
                        lambda: me.open_object("x"),
                        lambda: mutex.acquire(0),
                        mutex.release,
                        mutex.close,
                        event.set,
                        lambda: tenure.wait_any([event], 0),
                    ):
                        with self.assertRaises(tenure.ForkedChild):
                            call()
                    for held in (handle, block):
                        with self.assertRaises(tenure.Closed):
                            held.data
                    with handle, block, event:
                        pass
                    with space.join() as child, child.open(KIND, handle.token) as opened:
                        self.assertEqual(bytes(opened.data), b"parent's")
                    status = 0
                finally:
                    os._exit(status)
            self.assertEqual(os.waitpid(child, 0)[1], 0)
            self.assertEqual((bytes(handle.data), bytes(block.data[:4])), (b"parent's", b"mine"))
            handle.close()
            block.close()
            mutex.release()
            self.assertFalse(event.reset())
            mutex.close()
            event.close()
            self.unharmed(space)

    def signalled(self, wait, give, raises=True):
        """Waits while SIGINT comes again and again, until its handler ran a few times; if it does not, `give` ends the wait."""
        armed, handled, gave_up, over = [], [], [], threading.Event()

        def handler(*_):
            if armed:
                handled.append(True)
                if raises and len(handled) == 1:
                    raise KeyboardInterrupt

        def sender():
            for _ in range(2000):
                if over.wait(0.001) or len(handled) >= (1 if raises else 5):
                    break
                os.kill(os.getpid(), signal.SIGINT)
            else:
                gave_up.append(True)
            if gave_up or not raises:
                give()

        before = signal.signal(signal.SIGINT, handler)
        thread = threading.Thread(target=sender)
        thread.start()
        try:
            if raises:
                with self.assertRaises(KeyboardInterrupt):
                    armed.append(True)
                    wait()
            else:
                armed.append(True)
                wait()
        finally:
            over.set()
            thread.join()
            signal.signal(signal.SIGINT, before)
        self.assertEqual(gave_up, [], "the handler did not run during the wait")

    def test_handlers_run_during_waits_and_their_exceptions_end_them(self):
        with tenure.Space.open(backend=tenure.MEMFD) as space, space.join() as me, space.join() as other:
            event, semaphore = me.event(), me.semaphore(0, 9)
            set_already = me.event(signalled=True)
            mutex, recursive = me.mutex(), me.mutex(recursive=True)
            process, thread = me.process(), me.thread()
            for of in (mutex, recursive):
                owned = other.open_object(of.token)
                owned.acquire()
                # Another member owns it; that it ends is what ends a wait that no handler ends.
                for wait in (of.acquire, of.__enter__, of.wait, lambda: of.acquire(timeout=60)):
                    self.signalled(wait, owned.close)
                    self.assertEqual(of.owner[0], other.lease & 255)
                owned.release()
                owned.close()
                self.assertIs(of.acquire(False), True)
                of.release()
            for wait in (semaphore.acquire, semaphore.__enter__):
                self.signalled(wait, semaphore.release)
                semaphore.release()
                self.assertEqual((semaphore.count, semaphore.acquire()), (1, True))
            self.signalled(event.wait, event.set)
            self.signalled(process.wait, lambda: process.reaped(0))
            self.signalled(thread.wait, lambda: thread.reaped(0))
            self.signalled(lambda: tenure.wait_any([event, semaphore, process]), event.set)
            self.signalled(lambda: tenure.wait_all([set_already, event]), event.set)
            permits, changed = me.permits(1), me.condvar()
            owned = other.open_object(permits.token)
            for wait in (permits.acquire, permits.__enter__, lambda: permits.acquire(timeout=60)):
                owned.acquire()
                self.signalled(wait, owned.release)
                self.assertEqual(permits.available, 0)
                owned.release()
            owned.acquire()
            self.signalled(permits.acquire, owned.release, raises=False)
            permits.release()
            for limit in (None, 60):
                with mutex:
                    self.signalled(lambda limit=limit: changed.wait(mutex, limit), changed.notify_all)
                    self.assertEqual(mutex.owner[0], me.lease & 255)
                    # A handler that raises nothing: the wait ends as well, since something may have changed meanwhile.
                    self.signalled(lambda limit=limit: self.assertIs(changed.wait(mutex, limit), True), lambda: None, raises=False)
            for it in (permits, owned, changed):
                it.close()
            self.assertTrue(set_already.is_set())
            self.assertFalse(event.is_set())
            # A handler that raises nothing: the wait goes on.
            self.signalled(event.wait, event.set, raises=False)
            self.signalled(lambda: event.wait(60), event.set, raises=False)
            self.signalled(lambda: tenure.wait_any([event, semaphore]), semaphore.release, raises=False)
            for it in (event, set_already, semaphore, mutex, recursive, process, thread):
                it.close()
            self.unharmed(space)

    def test_an_exception_right_after_a_wait_gives_back_what_was_taken(self):
        class Stop(Exception):
            pass

        wait_with = _library.library.tenure_wait_with

        with tenure.Space.open(backend=tenure.MEMFD) as space, space.join() as me, space.join() as other:
            event, manual = me.event(), me.event(manual=True)
            semaphore, mutex, process = me.semaphore(0, 9), me.mutex(), me.process()
            abandoned = me.mutex()
            their_mutex = other.open_object(mutex.token)
            process.reaped(0)
            every = [event, manual, semaphore, mutex, abandoned, process]

            def stopped(*arguments):
                # Only now they are there, so that the extension did not find them.
                event.set()
                manual.set()
                semaphore.release(3)
                their_mutex.release()
                theirs.close()
                status = wait_with(*arguments)
                if status >= 0:
                    # As a handler does that runs when the call has returned.
                    raise Stop
                return status

            for call in (
                *(it.wait for it in every),
                mutex.__enter__,
                mutex.acquire,
                abandoned.__enter__,
                semaphore.__enter__,
                semaphore.acquire,
                lambda: tenure.wait_all(every),
                *(lambda it=it: tenure.wait_any([it, process]) for it in every),
            ):
                event.reset()
                manual.reset()
                while semaphore.count:
                    semaphore.wait()
                their_mutex.acquire()
                theirs = other.open_object(abandoned.token)
                theirs.acquire()
                _library.library.tenure_wait_with = stopped
                try:
                    with self.assertRaises(Stop):
                        call()
                finally:
                    _library.library.tenure_wait_with = wait_with
                self.assertTrue(event.is_set() and manual.is_set())
                self.assertEqual((semaphore.count, mutex.owner, abandoned.owner), (3, None, False))
            self.assertEqual(tenure.wait_all(every), [4])

    def test_an_exception_of_the_body_is_the_one_that_is_raised(self):
        class Mine(Exception):
            pass

        with tenure.Space.open(backend=tenure.MEMFD) as space:
            kept = []
            with self.assertRaises(Mine), space.join() as me:
                with me.mutex() as _, me.alloc(100) as block, me.create(KIND, b"bytes") as handle:
                    kept += [block.data[1:], handle.data[1:]]
                    raise Mine
            mutex = space.join().mutex()
            with self.assertRaises(Mine), mutex:
                mutex.release()
                raise Mine
            with self.assertRaises(tenure.NotOwner), mutex:
                mutex.release()
            kept.clear()
            del block, handle, me, mutex
            gc.collect()
            self.unharmed(space)

    def test_what_objects_say_of_themselves(self):
        with tenure.Space.open(backend=tenure.MEMFD) as space:
            with space.join() as me:
                block, handle = me.alloc(100), me.create(COUNTER, bytes(8))
                event, process = me.event(), me.process()
                for it, says in (
                    (space, "members=64"),
                    (me, f"lease={me.lease:#x}"),
                    (block, "size=100"),
                    (handle, f"kind={COUNTER} token={handle.token:#x} size=8"),
                    (handle.word(), "0 bytes into <tenure.Handle"),
                    (event, f"token={event.token:#x} not set"),
                    (process, f"number {os.getpid()}, running"),
                ):
                    self.assertIn(says, repr(it))
                    self.assertIn(f"<tenure.{type(it).__name__} ", repr(it))
                event.close()
                block.close()
                self.assertEqual((repr(event), repr(block)), ("<tenure.Event closed>", "<tenure.Block closed>"))
                for it in (me, handle, process):
                    with self.assertRaisesRegex(TypeError, "keep.*alive|open"):
                        pickle.dumps(it)
            self.assertEqual(repr(me), "<tenure.Member closed>")

    def test_a_descriptor_is_enough(self):
        with tenure.Space.open(backend=tenure.MEMFD) as space, space.join() as me, me.create(KIND, b"by fd") as handle:
            fd = os.dup(space.fileno())
            self.addCleanup(os.close, fd)
            with tenure.Space.attach_fd(fd) as again, again.join() as other:
                with other.open(KIND, handle.token) as opened:
                    self.assertEqual(bytes(opened.data), b"by fd")


if __name__ == "__main__":
    unittest.main()
