"""The cache backend of the examples: over Django's class if Django is there, otherwise over the example's own."""

import ctypes
import importlib.util
import multiprocessing
import os
import pathlib
import signal
import sys
import time
import unittest
from unittest import mock

import tenure

EXAMPLE = pathlib.Path(__file__).parents[1] / "examples" / "django_cache.py"
ROUNDS = 200


def load(with_django=True):
    spec = importlib.util.spec_from_file_location("django_cache", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    hidden = {} if with_django else {"django.core.cache.backends.base": None}
    with mock.patch.dict(sys.modules, hidden):
        spec.loader.exec_module(module)
    return module


def has_django():
    try:
        import django.core.cache.backends.base  # noqa: F401
    except ImportError:
        return False
    return True


def count(location, connection):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    cache = load().TenureCache(location, {})
    cache.set("other", os.getpid())
    for _ in range(ROUNDS):
        cache.incr("count")
    connection.send(cache.add("once", os.getpid()))
    connection.recv()


class WithoutDjango(unittest.TestCase):
    with_django = False

    def setUp(self):
        self.location = f"test-{os.getpid()}-cache"
        self.addCleanup(tenure.Space.remove, self.location, force=True)
        self.cache = self.made()

    def made(self, **params):
        return load(self.with_django).TenureCache(self.location, params)

    def test_get_and_set(self):
        cache = self.cache
        self.assertEqual((cache.get("a"), cache.get("a", 7), cache.has_key("a"), "a" in cache), (None, 7, False, False))
        for value in (1, "text", b"bytes", [1, {"a": None}], None):
            cache.set("a", value)
            self.assertEqual((cache.get("a", "none"), cache.has_key("a"), "a" in cache), (value, True, True))
        cache.set("a", "second", version=2)
        self.assertEqual((cache.get("a"), cache.get("a", version=2)), (None, "second"))
        self.assertEqual((cache.delete("a"), cache.delete("a"), cache.get("a", version=2)), (True, False, "second"))
        cache.set("b", 1)
        self.assertEqual(cache.get_many(["a", "b", "c"]), {"b": 1})
        cache.clear()
        self.assertEqual((cache.get("b"), cache.get("a", version=2)), (None, None))

    def test_add_and_count(self):
        cache = self.cache
        self.assertEqual((cache.add("a", 1), cache.add("a", 2), cache.get("a")), (True, False, 1))
        self.assertEqual((cache.incr("a"), cache.incr("a", 5), cache.decr("a"), cache.get("a")), (2, 7, 6, 6))
        for call in (cache.incr, cache.decr):
            with self.assertRaises(ValueError):
                call("none")

    def test_timeouts(self):
        cache = self.cache
        cache.set("short", 1, 0.01)
        cache.set("long", 2, 1000)
        cache.set("ever", 3, None)
        cache.set("default", 4)
        cache.set("none", 5, 0)
        self.assertIs(cache.add("negative", 5, -1), True)
        while "short" in cache:
            time.sleep(0.001)
        self.assertEqual(cache.get_many(["short", "long", "ever", "default", "none", "negative"]), {"long": 2, "ever": 3, "default": 4})
        left = {key: cache._map.ttl(cache._key(key, None)) for key in ("long", "ever", "default")}
        self.assertTrue(900 < left["long"] <= 1000 and left["ever"] is None and 200 < left["default"] <= 300, left)
        # A count keeps the time that is left; a touch gives it anew.
        cache.incr("long")
        self.assertLess(cache._map.ttl(cache._key("long", None)), 1000)
        self.assertEqual((cache.touch("long", None), cache.touch("short"), cache.get("long")), (True, False, 3))
        self.assertIsNone(cache._map.ttl(cache._key("long", None)))
        self.assertEqual((cache.touch("long", 0), cache.get("long")), (True, None))

    def test_it_is_one_cache_for_all_processes(self):
        cache = self.cache
        cache.set("count", 0)
        context = multiprocessing.get_context("spawn")
        children = []
        for _ in range(2):
            ours, theirs = context.Pipe()
            child = context.Process(target=count, args=(self.location, theirs), daemon=True)
            child.start()
            theirs.close()
            self.addCleanup(child.kill)
            children.append((child, ours))
        self.assertEqual(sorted(ours.recv() for _, ours in children), [False, True])
        self.assertEqual(cache.get("count"), 2 * ROUNDS)
        self.assertIn(cache.get("once"), [child.pid for child, _ in children])
        for child, _ in children:
            child.kill()
            child.join()
        self.assertEqual(cache.incr("count"), 2 * ROUNDS + 1)

    def test_a_forked_worker_and_a_restart(self):
        cache = self.cache
        cache.set("a", "parent")
        child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)
                if cache.get("a") == "parent":
                    cache.set("a", "child")
                    status = 0
            finally:
                os._exit(status)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(cache.get("a"), "child")
        # Nobody has it: it is there for the next one.
        del cache, self.cache
        self.assertEqual(self.made().get("a"), "child")

    def test_a_bound(self):
        cache = self.made(OPTIONS={"MAX_BYTES": 1 << 20, "MAX_ENTRIES": 1000})
        for number in range(200):
            cache.set(f"key{number}", bytes(20_000))
        self.assertLessEqual(cache._map.nbytes, 1 << 20)
        self.assertEqual(len(cache.get("key199")), 20_000)
        self.assertIsNone(cache.get("key0"))


@unittest.skipUnless(has_django(), "no Django")
class WithDjango(WithoutDjango):
    with_django = True

    def test_what_django_adds(self):
        cache = self.cache
        self.assertEqual(cache.set_many({"a": 1, "b": 2}), [])
        self.assertEqual(cache.get_or_set("c", lambda: 3), 3)
        cache.delete_many(["a"])
        self.assertEqual((cache.get_many(["a", "b", "c"]), cache.incr_version("b")), ({"b": 2, "c": 3}, 2))
        self.assertEqual((cache.get("b"), cache.get("b", version=2)), (None, 2))


if __name__ == "__main__":
    unittest.main()
