"""The Python package: whatever it offers, on several backends, by several processes, one of which is killed."""

import ctypes
import multiprocessing
import os
import pathlib
import re
import signal
import threading
import unittest

import tenure
from tenure import _errors, _library

KIND, COUNTER = 7, 8
ROUNDS = 2000
HEADER = pathlib.Path(__file__).parents[2] / "include" / "tenure.h"


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
    """What the package says of the library is what the header says."""

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

    def test_structures(self):
        widths = {"uint32_t": 4, "uint64_t": 8, "size_t": 8, "void *": 8}
        for structure, ours in _library.STRUCTURES.items():
            body = re.search(rf"struct {structure} {{(.*?)}}", self.text, flags=re.S).group(1)
            fields = re.findall(r"(uint32_t|uint64_t|size_t|void \*) ?(\w+);", body)
            self.assertEqual([field for _, field in fields], [field for field, _ in ours._fields_])
            self.assertEqual([widths[kind] for kind, _ in fields], [ctypes.sizeof(kind) for _, kind in ours._fields_])


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
                self.assertEqual(bytes(other.block_at(block.offset)[:5]), b"hello")
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
            other.free_pinned(offset)
            with self.assertRaises(tenure.AlreadyFree):
                me.free_pinned(offset)
            self.unharmed(space)

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


def work(space_name, token, connection):
    """In a process of its own."""
    die_with_parent()
    with tenure.Space.attach(space_name) as space, space.join() as me, me.open(COUNTER, token) as counter:
        offset, lease = connection.recv()
        assert bytes(me.block_at(offset)[:4]) == b"take"
        me.free_of(offset, lease)
        for _ in range(ROUNDS):
            counter.word().add(1)
        with me.create(KIND, b"from the child" * 10) as handle:
            connection.send(handle.token)
            connection.recv()


def hold(space_name, token, connection):
    """Until it is killed."""
    die_with_parent()
    me = tenure.Space.attach(space_name).join()
    counter = me.open(COUNTER, token)
    kept = [(me.create(KIND, b"x" * i), me.alloc(1 + i)) for i in range(100)]
    connection.send(len(kept))
    while True:
        with me.create(KIND, b"x" * 100), me.alloc(1000):
            counter.word(8).add(1)


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
        # Children join by themselves; what they inherited of their parent's they neither use nor harm.
        self.several("fork")

    def test_a_forked_child_is_no_member(self):
        space = self.named("forked")
        with space.join() as me:
            handle, block = me.create(KIND, b"parent's"), me.alloc(100)
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
                    ):
                        with self.assertRaises(tenure.ForkedChild):
                            call()
                    for held in (handle, block):
                        with self.assertRaises(tenure.Closed):
                            held.data
                    with handle, block:
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
            self.unharmed(space)

    def test_a_descriptor_is_enough(self):
        with tenure.Space.open(backend=tenure.MEMFD) as space, space.join() as me, me.create(KIND, b"by fd") as handle:
            fd = os.dup(space.fileno())
            self.addCleanup(os.close, fd)
            with tenure.Space.attach_fd(fd) as again, again.join() as other:
                with other.open(KIND, handle.token) as opened:
                    self.assertEqual(bytes(opened.data), b"by fd")


if __name__ == "__main__":
    unittest.main()
