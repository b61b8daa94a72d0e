"""Two programs share a queue, a map and a lock; the second one is killed with the lock, and the first one is told.

    python3 two_processes.py
"""

import os
import signal
import subprocess
import sys

import tenure

KIND = 1


def first(space: tenure.Space, name: str) -> None:
    with space.join() as me:
        jobs, results, lock = me.queue(KIND, 64, "jobs"), me.map(64, "results"), me.mutex("lock")
        for job in (b"tea", b"milk"):
            jobs.put(job)
        other = subprocess.Popen([sys.executable, __file__, name], stdout=subprocess.PIPE)
        assert other.stdout is not None
        other.stdout.readline()
        print("results:", {key.decode(): value.decode() for key, value in sorted(results.items())})
        other.send_signal(signal.SIGKILL)
        with lock as abandoned:
            print("the lock's last owner was killed:", abandoned)
        other.wait()
        other.stdout.close()


def second(name: str) -> None:
    me = tenure.Space.attach(name).join()
    jobs, results, lock = me.open_queue(KIND, "jobs"), me.open_object("results"), me.open_object("lock")
    while not jobs.empty():
        with jobs.claim() as job:
            results[bytes(job.data)] = bytes(job.data).upper()
    with lock:
        print("done", flush=True)
        # Until it is killed.
        signal.pause()


def main() -> None:
    if len(sys.argv) > 1:
        second(sys.argv[1])
        return
    name = f"example-{os.getpid()}"
    with tenure.Space.open(name, container_slots=128) as space:
        try:
            first(space, name)
        finally:
            tenure.Space.remove(name, force=True)


if __name__ == "__main__":
    main()
