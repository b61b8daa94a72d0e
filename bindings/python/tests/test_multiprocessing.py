"""The classes of `tenure.multiprocessing`: the same tests over `multiprocessing`, and what only ours do."""

import ctypes
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import unittest

import tenure
import tenure.multiprocessing

METHODS = ("spawn", "fork", "forkserver")
LONG = 60


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.alarm(120)


def lock_and_count(lock, results, rounds):
    """Adds to a number that only the lock protects."""
    die_with_parent()
    for _ in range(rounds):
        with lock:
            number = results.get(timeout=LONG)
            results.put(number + 1)


def use_everything(lock, rlock, semaphore, bounded, event, condition, jobs, answers):
    die_with_parent()
    with rlock, rlock:
        answers.put(("rlock", rlock.acquire(False)))
        rlock.release()
    answers.put(("lock", lock.acquire(False)))
    answers.put(("semaphore", semaphore.acquire(block=False), semaphore.acquire(True, 0.001), semaphore.acquire(timeout=0.001)))
    semaphore.release()
    with bounded:
        answers.put(("bounded", bounded.get_value()))
    answers.put(("event", event.wait(LONG)))
    with condition:
        answers.put("waits")
        answers.put(("condition", condition.wait(LONG)))
    answers.put(("job", jobs.get(), jobs.get(timeout=LONG)))


def wait_with(condition, answers, timeout):
    die_with_parent()
    with condition:
        answers.put("waits")
        told = condition.wait(timeout)
        answers.put(told)


def touch(lock, answers):
    die_with_parent()
    answers.put(lock.acquire(True, LONG))
    lock.release()


def keep(what, answers):
    """Runs until it is killed."""
    die_with_parent()
    what.acquire()
    answers.put("acquired")
    time.sleep(LONG)


def keep_waiting(condition, answers):
    """Waits until it is killed."""
    die_with_parent()
    with condition:
        answers.put("waits")
        condition.wait()


def take(jobs, answers):
    """Gets until it is killed."""
    die_with_parent()
    answers.put("begins")
    while True:
        jobs.put(jobs.get() + 1)


def fill(jobs, count):
    die_with_parent()
    for number in range(count):
        jobs.put(number)


class Same:
    """A test that both have to pass; `make` has the classes."""

    method = "fork"

    def setUp(self):
        self.context = multiprocessing.get_context(self.method)
        self.make = tenure.multiprocessing if self.ours else self.context

    def start(self, target, *arguments):
        process = self.context.Process(target=target, args=arguments, daemon=True)
        process.start()
        self.addCleanup(process.join)
        self.addCleanup(process.kill)
        return process

    def ends(self, process):
        process.join(LONG)
        self.assertEqual(process.exitcode, 0)

    def test_a_lock(self):
        lock = self.make.Lock()
        self.assertIs(lock.acquire(), True)
        for refused in ((False,), (True, 0.001), (True, 0), (True, -1), (False, 1)):
            self.assertIs(lock.acquire(*refused), False, refused)
        self.assertIs(lock.acquire(block=False), False)
        self.assertIs(lock.acquire(timeout=0.001), False)
        self.assertIn("MainProcess", repr(lock))
        self.assertIsNone(lock.release())
        self.assertIn("None", repr(lock))
        with self.assertRaises(ValueError):
            lock.release()
        with lock as entered:
            self.assertIs(entered, True)
            # Another thread may release it.
            thread = threading.Thread(target=lock.release)
            thread.start()
            thread.join()
            self.assertIs(lock.acquire(False), True)
        with self.assertRaises(TypeError):
            lock.acquire(1, 2, 3)

    def test_a_recursive_lock(self):
        lock = self.make.RLock()
        with self.assertRaises(AssertionError):
            lock.release()
        with lock as entered, lock:
            self.assertIs(entered, True)
            self.assertIs(lock.acquire(False), True)
            lock.release()
            found = []

            def other():
                found.append(lock.acquire(False))
                found.append(lock.acquire(timeout=0.001))
                try:
                    lock.release()
                except AssertionError:
                    found.append("not its own")

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            self.assertEqual(found, [False, False, "not its own"])
        with self.assertRaises(AssertionError):
            lock.release()

    def test_semaphores(self):
        for kind in (self.make.Semaphore, self.make.BoundedSemaphore):
            semaphore = kind(2)
            self.assertEqual(semaphore.get_value(), 2)
            self.assertIs(semaphore.acquire(), True)
            with semaphore:
                self.assertIn("value=0", repr(semaphore))
                self.assertIs(semaphore.acquire(False), False)
                self.assertIs(semaphore.acquire(True, 0.001), False)
                self.assertIs(semaphore.acquire(timeout=-1), False)
            self.assertIsNone(semaphore.release())
            self.assertEqual(semaphore.get_value(), 2)
        with self.assertRaises(ValueError):
            semaphore.release()
        counting = self.make.Semaphore(0)
        counting.release()
        counting.release()
        self.assertEqual((counting.get_value(), self.make.Semaphore().get_value()), (2, 1))

    def test_an_event(self):
        event = self.make.Event()
        self.assertEqual((event.is_set(), event.wait(0), event.wait(0.001)), (False, False, False))
        event.set()
        event.set()
        self.assertEqual((event.is_set(), event.wait(), event.wait(0), event.is_set()), (True, True, True, True))
        self.assertIsNone(event.clear())
        self.assertIs(event.is_set(), False)

    def test_a_condition_in_threads(self):
        for lock in (None, self.make.Lock(), self.make.RLock()):
            condition = self.make.Condition(lock)
            for call in (condition.wait, condition.notify, condition.notify_all):
                with self.assertRaises(AssertionError):
                    call()
            with condition:
                self.assertIs(condition.wait(0.001), False)
                self.assertIs(condition.wait_for(lambda: False, 0.001), False)
                self.assertEqual(condition.wait_for(lambda: 7), 7)
                condition.notify()
                self.assertIs(condition.wait(0.001), False)
            done, waiting = [], threading.Semaphore(0)

            def waits(condition=condition, done=done, waiting=waiting):
                with condition:
                    waiting.release()
                    done.append(condition.wait(LONG))

            threads = [threading.Thread(target=waits) for _ in range(4)]
            for thread in threads:
                thread.start()
                waiting.acquire()
            for notified in (1, 3):
                # All wait, since the lock is to be had.
                with condition:
                    condition.notify(notified - len(done))
                while len(done) < notified:
                    time.sleep(0.001)
                with condition:
                    self.assertEqual(len(done), notified)
            with condition:
                condition.notify_all()
            for thread in threads:
                thread.join()
            self.assertEqual(done, [True] * 4)

    def test_a_recursive_lock_is_given_up_as_a_whole(self):
        condition = self.make.Condition()
        with condition, condition:
            thread = threading.Thread(target=lambda: [condition.acquire(), condition.notify(), condition.release()])
            thread.start()
            self.assertIs(condition.wait(LONG), True)
            thread.join()
            self.assertIs(condition.acquire(False), True)
            condition.release()
        with self.assertRaises(AssertionError):
            condition.release()

    def test_a_queue(self):
        jobs = self.make.Queue(2)
        with self.assertRaises(queue.Empty):
            jobs.get(False)
        with self.assertRaises(queue.Empty):
            jobs.get_nowait()
        with self.assertRaises(queue.Empty):
            jobs.get(timeout=0.001)
        jobs.put({"a": [1, 2]})
        jobs.put_nowait(None)
        for refused in ({"block": False}, {"timeout": 0.001}, {"timeout": -1}):
            with self.assertRaises(queue.Full):
                jobs.put(1, **refused)
        self.assertEqual((jobs.qsize(), jobs.full()), (2, True))
        self.assertEqual((jobs.get(), jobs.get(True, LONG)), ({"a": [1, 2]}, None))
        self.assertEqual((jobs.qsize(), jobs.empty(), jobs.full()), (0, True, False))
        jobs.close()
        for call in (jobs.get, lambda: jobs.put(1)):
            with self.assertRaises(ValueError):
                call()
        jobs.join_thread()
        open_one = self.make.Queue()
        with self.assertRaises(AssertionError):
            open_one.join_thread()

    def test_a_queue_without_a_bound(self):
        jobs = self.make.Queue()
        count = 10_000
        for number in range(count):
            jobs.put(number)
        self.assertIs(jobs.full(), False)
        self.assertEqual([jobs.get(timeout=LONG) for _ in range(count)], list(range(count)))
        # A child ends when all that it put can be had.
        child = self.start(fill, jobs, count)
        self.assertEqual([jobs.get(timeout=LONG) for _ in range(count)], list(range(count)))
        self.ends(child)
        jobs.close()
        jobs.join_thread()

    def test_nothing_is_pickled_but_for_a_child(self):
        for it in (self.make.Lock(), self.make.RLock(), self.make.Semaphore(), self.make.Event(), self.make.Condition(), self.make.Queue()):
            with self.assertRaises(RuntimeError):
                pickle.dumps(it)

    def test_processes_count(self):
        lock, results = self.make.Lock(), self.make.Queue()
        results.put(0)
        children = [self.start(lock_and_count, lock, results, 100) for _ in range(3)]
        for child in children:
            self.ends(child)
        self.assertEqual(results.get(timeout=LONG), 300)

    def test_everything_in_another_process(self):
        make = self.make
        lock, rlock, semaphore, bounded, event = make.Lock(), make.RLock(), make.Semaphore(1), make.BoundedSemaphore(2), make.Event()
        condition, jobs, answers = make.Condition(lock), make.Queue(), make.Queue()
        with lock:
            child = self.start(use_everything, lock, rlock, semaphore, bounded, event, condition, jobs, answers)
            found = [answers.get(timeout=LONG) for _ in range(4)]
            self.assertEqual(found, [("rlock", True), ("lock", False), ("semaphore", True, False, False), ("bounded", 1)])
            event.set()
            self.assertEqual(answers.get(timeout=LONG), ("event", True))
        self.assertEqual(answers.get(timeout=LONG), "waits")
        with condition:
            condition.notify()
        self.assertEqual(answers.get(timeout=LONG), ("condition", True))
        jobs.put("first")
        jobs.put("second")
        self.assertEqual(answers.get(timeout=LONG), ("job", "first", "second"))
        self.ends(child)
        self.assertEqual((semaphore.get_value(), bounded.get_value()), (1, 2))

    def test_a_notification_is_for_as_many_as_it_says(self):
        condition, answers = self.make.Condition(), self.make.Queue()
        children = [self.start(wait_with, condition, answers, LONG) for _ in range(3)]
        for _ in children:
            self.assertEqual(answers.get(timeout=LONG), "waits")
        with condition:
            condition.notify(2)
        self.assertEqual([answers.get(timeout=LONG) for _ in range(2)], [True, True])
        with condition:
            # One still waits.
            self.assertRegex(repr(condition), ", 1[)]>$")
            condition.notify_all()
        self.assertIs(answers.get(timeout=LONG), True)
        for child in children:
            self.ends(child)

    def test_shared_memory(self):
        memory = multiprocessing.shared_memory if not self.ours else tenure.multiprocessing
        block = memory.SharedMemory(create=True, size=100)
        self.addCleanup(block.unlink)
        self.addCleanup(block.close)
        again = memory.SharedMemory(block.name)
        again.buf[:3] = b"abc"
        self.assertEqual(bytes(block.buf[:3]), b"abc")
        copy = pickle.loads(pickle.dumps(block))
        self.assertEqual((copy.name, bytes(copy.buf[:3])), (block.name, b"abc"))
        again.close()
        copy.close()


class Ours:
    """What `multiprocessing` does not do."""

    def killed_with(self, what):
        answers = self.make.Queue()
        child = self.start(keep, what, answers)
        self.assertEqual(answers.get(timeout=LONG), "acquired")
        return child

    def test_the_next_one_gets_what_a_killed_process_had(self):
        for kind in (self.make.Lock, self.make.RLock, self.make.BoundedSemaphore):
            what = kind()
            child = self.killed_with(what)
            self.assertIs(what.acquire(False), False)
            # What another process has this one cannot release.
            with self.assertRaises((ValueError, AssertionError)):
                what.release()
            child.kill()
            self.assertIs(what.acquire(True, LONG), True)
            self.assertIs(getattr(what, "abandoned", True), True)
            what.release()

    def test_a_killed_process_waits_for_no_notification(self):
        for lock in (self.make.Lock(), self.make.RLock()):
            condition, answers = self.make.Condition(lock), self.make.Queue()
            child = self.start(keep_waiting, condition, answers)
            self.assertEqual(answers.get(timeout=LONG), "waits")
            with condition:
                pass
            child.kill()
            child.join()
            other = self.start(wait_with, condition, answers, LONG)
            self.assertEqual(answers.get(timeout=LONG), "waits")
            # One notification is enough: the dead one does not take it.
            with condition:
                self.wait_until_it_holds_nothing(child.pid)
                condition.notify()
            self.assertIs(answers.get(timeout=LONG), True)
            self.ends(other)

    def wait_until_it_holds_nothing(self, pid):
        home = tenure.multiprocessing._home()
        while any(it.pid == pid for it in home.space.members):
            home.member.recover()

    def test_more_waits_than_there_is_room_for(self):
        condition = self.make.Condition()
        with condition:
            for _ in range(tenure.multiprocessing._WAITS + 50):
                self.assertIs(condition.wait(0), False)
            self.assertIs(condition.wait(0.001), False)

    def test_a_queue_outlives_those_that_are_killed_in_it(self):
        jobs, answers = self.make.Queue(), self.make.Queue()
        for round in range(5):
            jobs.put(0)
            child = self.start(take, jobs, answers)
            self.assertEqual(answers.get(timeout=LONG), "begins")
            time.sleep(0.005 * round)
            child.kill()
            child.join()
            while not jobs.empty():
                jobs.get()
            jobs.put("still works")
            self.assertEqual(jobs.get(timeout=LONG), "still works")

    def test_the_parent_may_forget_what_it_passed(self):
        answers = self.make.Queue()
        for _ in range(3):
            lock = self.make.Lock()
            child = self.start(touch, lock, answers)
            del lock
            self.assertIs(answers.get(timeout=LONG), True)
            self.ends(child)

    def test_what_cannot_be_pickled_raises_in_put(self):
        jobs = self.make.Queue()
        with self.assertRaises((pickle.PicklingError, AttributeError)):
            jobs.put(lambda: None)
        self.assertEqual(jobs.qsize(), 0)

    def test_any_start_method_is_good_for_what_was_made(self):
        lock, answers = self.make.Lock(), self.make.Queue()
        for method in METHODS:
            child = multiprocessing.get_context(method).Process(target=touch, args=(lock, answers), daemon=True)
            child.start()
            self.assertIs(answers.get(timeout=LONG), True)
            self.ends(child)


class Forks(unittest.TestCase):
    """Children of os.fork, which multiprocessing knows nothing of."""

    def test_a_child_opens_what_it_inherited(self):
        lock, jobs, condition = tenure.multiprocessing.Lock(), tenure.multiprocessing.Queue(), tenure.multiprocessing.Condition()
        with lock:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    die_with_parent()
                    held = lock.acquire(False)
                    try:
                        lock.release()
                    except ValueError:
                        jobs.put((held, "not ours"))
                    with lock, condition:
                        jobs.put("ours")
                    status = 0
                finally:
                    os._exit(status)
            self.assertEqual(jobs.get(timeout=LONG), (False, "not ours"))
        self.assertEqual(jobs.get(timeout=LONG), "ours")
        self.assertEqual(os.waitpid(child, 0)[1], 0)

    def test_what_is_kept_for_a_child_is_let_go(self):
        kept = tenure.multiprocessing._kept
        lock = tenure.multiprocessing.Lock()
        mine, theirs = os.pipe()
        children = []
        for use in (True, False):
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    die_with_parent()
                    os.close(theirs)
                    if use:
                        with lock:
                            pass
                    # Both wait for the parent.
                    os.read(mine, 1)
                    status = 0
                finally:
                    os._exit(status)
            children.append(child)
        space, token = tenure.multiprocessing._home().space, lock._token
        del lock
        while len(kept) > 1:
            tenure.multiprocessing._let_go()
        # The second one has not opened it: it is there.
        tenure.multiprocessing._home().member.open_object(token).close()
        os.close(theirs)
        for child in children:
            self.assertEqual(os.waitpid(child, 0)[1], 0)
        tenure.multiprocessing._let_go()
        self.assertEqual(kept, [])
        os.close(mine)
        while space.stats["members_live"] > 1:
            tenure.multiprocessing._home().member.recover()
        with self.assertRaises(tenure.Stale):
            tenure.multiprocessing._home().member.open_object(token)
        self.assertEqual(space.check()[0], [])


def add_classes():
    for method in METHODS:
        for ours in (False, True):
            bases = (Same, Ours, unittest.TestCase) if ours else (Same, unittest.TestCase)
            name = f"{'Ours' if ours else 'Theirs'}_{method}"
            globals()[name] = type(name, bases, {"method": method, "ours": ours, "__module__": __name__})


add_classes()

if __name__ == "__main__":
    unittest.main()
