"""tenure.aio: tasks of asyncio that wait for objects, between processes of which some are killed."""

import asyncio
import ctypes
import multiprocessing
import os
import signal
import socket
import unittest

import tenure
from tenure import aio

LONG = 60


def name(tag):
    return f"test-{os.getpid()}-python-aio-{tag}"


def die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
    signal.alarm(120)


def partner(space, answers):
    """Sets an event and writes to a socket in turn."""
    die_with_parent()
    me = tenure.Space.attach(space).join()
    go, turn = me.open_object("go"), me.open_object("turn")
    for round in range(50):
        if round % 2:
            answers.send(b"x")
        else:
            go.set()
        turn.wait()


def keeper(space, ready):
    """Locks the mutex, takes the permit and claims the job, and waits to be killed."""
    die_with_parent()
    me = tenure.Space.attach(space).join()
    mutex, permits, jobs = me.open_object("mutex"), me.open_object("permits"), me.open_queue(7, "jobs")
    mutex.acquire()
    permits.acquire()
    job = jobs.claim()
    ready.set()
    signal.pause()
    del job


class Case(unittest.IsolatedAsyncioTestCase):
    def setUp(self):
        self.name = name(self.id().rsplit(".", 1)[1][:20])
        self.space = tenure.Space.open(self.name, container_slots=64, handles=512)
        self.addCleanup(tenure.Space.remove, self.name, force=True)
        self.addCleanup(self.space.close)
        self.me, self.other = self.space.join(), self.space.join()

    def tearDown(self):
        self.assertFalse(any(aio._sets.values()))
        self.me.leave()
        self.other.leave()
        violations, _ = self.space.check()
        self.assertEqual(violations, [])
        stats = self.space.stats
        self.assertEqual((stats["handles_live"], stats["blocks_leased"] + stats["blocks_attached"]), (0, 0))

    async def pending(self, *coroutines):
        """Tasks that wait by now."""
        tasks = [asyncio.ensure_future(it) for it in coroutines]
        for _ in range(3):
            await asyncio.sleep(0)
        self.assertFalse(any(task.done() for task in tasks))
        return tasks

    async def test_each_kind_of_object(self):
        event, manual = self.me.event(), self.me.event(manual=True)
        semaphore, permits = self.me.semaphore(0, 9), self.me.permits(1)
        (task,) = await self.pending(aio.wait(event))
        event.set()
        self.assertTrue(await asyncio.wait_for(task, LONG))
        self.assertFalse(event.is_set())
        manual.set()
        await manual
        self.assertTrue(manual.is_set())
        tasks = await self.pending(aio.wait(semaphore), aio.wait(semaphore))
        semaphore.release(2)
        await asyncio.wait_for(asyncio.gather(*tasks), LONG)
        self.assertEqual(semaphore.count, 0)
        async with aio.permit(permits):
            self.assertEqual(permits.available, 0)
            (task,) = await self.pending(aio.permit(permits).__aenter__())
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
        self.assertEqual(permits.available, 1)
        child = multiprocessing.get_context("spawn").Process(target=os._exit, args=(3,))
        child.start()
        process = self.me.process(child.pid)
        self.assertEqual((await asyncio.wait_for(aio.wait(process), LONG)).code, 3)
        child.join()
        for it in (event, manual, semaphore, permits, process):
            it.close()

    async def test_locks_belong_to_tasks(self):
        mutex, lock, count = self.me.mutex(), self.me.rwlock(), [0]
        theirs = self.other.open_object(mutex.token)

        async def add():
            for _ in range(20):
                async with aio.lock(mutex) as abandoned:
                    self.assertFalse(abandoned)
                    before = count[0]
                    await asyncio.sleep(0)
                    count[0] = before + 1

        await asyncio.wait_for(asyncio.gather(*(add() for _ in range(10))), LONG)
        self.assertEqual(count[0], 200)
        async with aio.lock(mutex):
            self.assertFalse(mutex.acquire(blocking=False))
            self.assertFalse(theirs.acquire(blocking=False))
            with self.assertRaises(tenure.NotOwner):
                mutex.release()
        async with aio.read(lock), aio.read(lock):
            (writer,) = await self.pending(aio.write(lock).acquire())
        self.assertFalse(await asyncio.wait_for(writer, LONG))
        self.assertFalse(lock.acquire_read(blocking=False))
        aio.write(lock).release()
        with self.assertRaises(tenure.NotOwner):
            aio.write(lock).release()
        for it in (theirs, mutex, lock):
            it.close()

    async def test_queues(self):
        jobs = self.me.queue(7, 2)
        (task,) = await self.pending(aio.get(jobs))
        jobs.put(b"one")
        self.assertEqual(await asyncio.wait_for(task, LONG), b"one")
        await aio.put(jobs, b"a")
        await aio.put(jobs, b"b")
        (task,) = await self.pending(aio.put(jobs, b"c"))
        self.assertEqual(jobs.get(), b"a")
        await asyncio.wait_for(task, LONG)
        async with aio.claim(jobs) as job:
            self.assertEqual(bytes(job.data), b"b")
            self.assertEqual((jobs.qsize(), jobs.claimed), (1, 1))
        with self.assertRaises(ZeroDivisionError):
            async with aio.claim(jobs) as job:
                1 / 0
        self.assertEqual(await aio.get(jobs), b"c")
        self.assertEqual((jobs.qsize(), jobs.claimed), (0, 0))
        jobs.close()

    async def test_conditions(self):
        mutex, changed, state = self.me.mutex(), self.me.condvar(), []

        async def consumer():
            async with aio.lock(mutex):
                while not state:
                    await aio.notified(changed, mutex)
                state.pop()

        tasks = await self.pending(consumer(), consumer())
        for _ in range(2):
            async with aio.lock(mutex):
                state.append(1)
            changed.notify_all()
            await asyncio.sleep(0.001)
        await asyncio.wait_for(asyncio.gather(*tasks), LONG)
        with self.assertRaises(tenure.NotOwner):
            await aio.notified(changed, mutex)
        mutex.close()
        changed.close()

    async def test_what_is_cancelled_has_taken_nothing(self):
        event, semaphore, mutex, jobs = self.me.event(), self.me.semaphore(0, 9), self.me.mutex(), self.me.queue(7, 4)
        lock, permits = self.me.rwlock(), self.me.permits(1)
        mutex.acquire()
        lock.acquire_write()
        permits.acquire()
        waits = [
            (aio.wait(event), event.set, event.is_set),
            (aio.wait(semaphore), semaphore.release, lambda: semaphore.count == 1),
            (aio.lock(mutex).acquire(), mutex.release, lambda: mutex.owner is None),
            (aio.get(jobs), lambda: jobs.put(b"x"), lambda: (jobs.qsize(), jobs.claimed) == (1, 0)),
            (aio.write(lock).acquire(), lock.release_write, lambda: lock.acquire_write(blocking=False)),
            (aio.permit(permits).__aenter__(), permits.release, lambda: permits.available == 1),
        ]
        for wait, signal_it, is_there in waits:
            (task,) = await self.pending(wait)
            (waits_of_loop,) = aio._sets[asyncio.get_running_loop()].values()
            # It is done, and the task is cancelled before it has run.
            signal_it()
            future = next(iter(waits_of_loop._futures.values()))
            for _ in range(10**6):
                waits_of_loop._ready()
                if future.done():
                    break
            self.assertTrue(future.done())
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertTrue(is_there())
        with self.assertRaises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.wait(self.me.event()), 0.01)
        for it in (event, semaphore, mutex, jobs, lock, permits):
            it.close()

    async def test_beside_a_socket(self):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        go, turn = self.me.event("go"), self.me.event("turn")
        child = multiprocessing.get_context("spawn").Process(target=partner, args=(self.name, theirs))
        child.start()
        theirs.close()
        loop = asyncio.get_running_loop()
        for round in range(50):
            if round % 2:
                self.assertEqual(await asyncio.wait_for(loop.sock_recv(ours, 1), LONG), b"x")
            else:
                await asyncio.wait_for(aio.wait(go), LONG)
            turn.set()
        child.join()
        ours.close()
        self.assertEqual(child.exitcode, 0)
        go.close()
        turn.close()

    async def test_what_a_killed_process_had_is_had_by_a_task(self):
        mutex, permits, jobs = self.me.mutex("mutex"), self.me.permits(1, "permits"), self.me.queue(7, 4, "jobs")
        jobs.put(b"job")
        context = multiprocessing.get_context("spawn")
        ready = context.Event()
        child = context.Process(target=keeper, args=(self.name, ready))
        child.start()
        await asyncio.get_running_loop().run_in_executor(None, ready.wait)
        lock, permit = aio.lock(mutex), aio.permit(permits)
        tasks = await self.pending(lock.acquire(), permit.__aenter__(), aio.get(jobs))
        child.kill()
        abandoned, _, job = await asyncio.wait_for(asyncio.gather(*tasks), LONG)
        self.assertEqual((abandoned, job), (True, b"job"))
        lock.release()
        await permit.__aexit__(None, None, None)
        child.join()
        for it in (mutex, permits, jobs):
            it.close()

    async def test_bad_input(self):
        mutex, event = self.me.mutex(), self.me.event()
        with self.assertRaises(TypeError):
            await mutex
        with self.assertRaises(TypeError):
            aio.lock(event)
        with self.assertRaises(tenure.ForeignKind):
            await aio.get(mutex)
        (task,) = await self.pending(aio.wait(event))
        with self.assertRaises(tenure.InUse):
            event.close()
        event.set()
        await task
        event.close()
        with self.assertRaises(tenure.Closed):
            await aio.wait(event)
        mutex.close()


if __name__ == "__main__":
    unittest.main()
