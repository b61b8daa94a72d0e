"""Times short calls of tenure beside those of multiprocessing, interleaved, and prints a table: nanoseconds for a pair of calls.

    python3 bindings/python/bench.py [ROUNDS]       # with the package installed; otherwise with the sources here, without the extension

Each number is the median of the rounds; in a round each subject runs once, in an order of its own. What is timed is a loop in a function
of Python, so that a call of an empty function is shown as well. One thread, nothing is contended.
"""

import multiprocessing
import random
import statistics
import sys
import time
from typing import Callable, Dict, List

# A package that is installed, or in PYTHONPATH, goes before the sources beside this file.
sys.path.append(sys.path.pop(0))

import tenure  # noqa: E402
import tenure.multiprocessing  # noqa: E402

REPEATS = 5000
KIND = 7


def pair(first: Callable, second: Callable) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            first()
            second()

    return run


def entered(lock) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            with lock:
                pass

    return run


def mapped(of) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            of[b"key"] = b"value"
            of[b"key"]

    return run


def passed(queue) -> Callable[[], None]:
    def run() -> None:
        for _ in range(REPEATS):
            queue.put(b"job")
            queue.get()

    return run


def empty() -> None:
    """Costs as much as any function of Python."""


def subjects(me: tenure.Member) -> Dict[str, Callable[[], None]]:
    mutex, event, semaphore, permits, rwlock = me.mutex(), me.event(), me.semaphore(1, 1), me.permits(1), me.rwlock()
    queue, of = me.queue(KIND, 8), me.map(64)
    theirs, ours = multiprocessing.Lock(), tenure.multiprocessing.Lock()
    their_semaphore, their_recursive, our_recursive = multiprocessing.Semaphore(1), multiprocessing.RLock(), tenure.multiprocessing.RLock()
    return {
        "two calls of an empty function": pair(empty, empty),
        "multiprocessing.Lock: acquire, release": pair(theirs.acquire, theirs.release),
        "tenure.Mutex: acquire, release": pair(mutex.acquire, mutex.release),
        "tenure.multiprocessing.Lock: acquire, release": pair(ours.acquire, ours.release),
        "multiprocessing.Lock: with": entered(theirs),
        "tenure.Mutex: with": entered(mutex),
        "tenure.multiprocessing.Lock: with": entered(ours),
        "multiprocessing.RLock: acquire, release": pair(their_recursive.acquire, their_recursive.release),
        "tenure.multiprocessing.RLock: acquire, release": pair(our_recursive.acquire, our_recursive.release),
        "multiprocessing.Semaphore: acquire, release": pair(their_semaphore.acquire, their_semaphore.release),
        "tenure.Semaphore: acquire, release": pair(semaphore.acquire, semaphore.release),
        "tenure.Permits: acquire, release": pair(permits.acquire, permits.release),
        "tenure.RwLock: acquire_read, release_read": pair(rwlock.acquire_read, rwlock.release_read),
        "tenure.Event: set, wait": pair(event.set, event.wait),
        "tenure.Queue: put, get": passed(queue),
        "tenure.Map: set, get": mapped(of),
        "tenure.Member.alloc, Block.close": lambda: [me.alloc(64).close() for _ in range(REPEATS)] and None,
        "tenure.Member.create, Handle.close": lambda: [me.create(KIND, b"object").close() for _ in range(REPEATS)] and None,
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tenure.Space.open(backend=tenure.MEMFD, container_slots=128) as space, space.join() as me:
        every = subjects(me)
        found: Dict[str, List[float]] = {name: [] for name in every}
        order = list(every)
        for _ in range(rounds):
            random.shuffle(order)
            for name in order:
                start = time.perf_counter_ns()
                every[name]()
                found[name].append((time.perf_counter_ns() - start) / REPEATS)
        print(f"tenure {tenure.__version__}, Python {sys.version.split()[0]}, extension: {'yes' if tenure.NATIVE else 'no'}, {rounds} rounds")
        for name in every:
            print(f"{statistics.median(found[name]):8.0f} ns  {name}")
        for ours, theirs in (
            ("tenure.Mutex: acquire, release", "multiprocessing.Lock: acquire, release"),
            ("tenure.Mutex: with", "multiprocessing.Lock: with"),
            ("tenure.multiprocessing.Lock: acquire, release", "multiprocessing.Lock: acquire, release"),
        ):
            ratio = statistics.median(ours / theirs for ours, theirs in zip(found[ours], found[theirs]))
            print(f"{ratio:8.2f}     {ours} / {theirs}")


if __name__ == "__main__":
    main()
