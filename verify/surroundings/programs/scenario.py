"""The scenario of src/scenario.rs in Python. Exit status: 0 ok; 1 the library refused, with its text; 2 wrong."""
import ctypes
import os
import signal
import sys

import tenure

KIND, SIZE = 7, 100000
LIBC = ctypes.CDLL(None)


class Wrong(Exception):
    pass


def end(status, what, text):
    print(f"{what}: {text}", flush=True)
    os._exit(status)


def holds(is_so, what):
    if not is_so:
        raise Wrong(what)


def resident_kib():
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
    except OSError:
        return 0


def lock_memory(when):
    if os.environ.get("SCENARIO_LOCK") == when and LIBC.mlockall(3):
        end(77, "SKIPPED", "mlockall is refused here")


def partner(name, token, said):
    LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
    space = tenure.Space.attach(name)
    me = space.join()
    handle = me.open(KIND, token)
    data = handle.data
    holds(len(data) == SIZE and data[SIZE - 1] == 3, "the partner reads what was written")
    mutex = me.mutex("lock", or_open=True)
    mutex.acquire()
    block = me.alloc(SIZE)
    block.data[:] = b"\4" * SIZE
    os.write(said, b"x")
    while True:
        signal.pause()


def scenario(name):
    lock_memory("before")
    space = tenure.Space.open(name)
    me = space.join()
    handle = me.create(KIND, b"\3" * SIZE)
    mutex = me.mutex("lock", or_open=True)
    lock_memory("after")
    listen, said = os.pipe()
    try:
        child = os.fork()
    except OSError:
        end(77, "SKIPPED", "no process can be started here")
    if child == 0:
        guarded(lambda: partner(name, handle.token, said))
    os.close(said)
    spoke = os.read(listen, 1) == b"x"
    if spoke:
        os.kill(child, signal.SIGKILL)
    try:
        state = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except ChildProcessError:
        state = 1
    if not spoke:
        # It has said why, unless it was killed.
        holds(state > 0, f"the partner was killed by signal {-state}")
        os._exit(state)
    holds(mutex.acquire(timeout=20), "the death is not heard of within 20 s")
    holds(mutex.abandoned, "the mutex of the dead is not abandoned")
    me.recover()
    mutex.release()
    stats = space.stats
    found = stats["members_live"], stats["handles_live"], stats["blocks_leased"]
    holds(found == (1, 2, 0), "the dead holds something")
    holds(not space.check()[0], "check finds violations")
    if "SCENARIO_LOCK" in os.environ:
        holds(resident_kib() <= 96 << 10, "locked memory costs more than 96 MiB")
    mutex.close()
    handle.close()
    me.trim()
    me.leave()
    space.close()
    tenure.Space.remove(name)


def guarded(run):
    try:
        run()
    except tenure.Error as error:
        end(1, "error", f"{error}")
    except Wrong as error:
        end(2, "wrong", error)
    except BaseException as error:
        end(2, "wrong", f"{type(error).__name__}: {error}")


LIBC.prctl(1, signal.SIGKILL, 0, 0, 0)
guarded(lambda: scenario(sys.argv[1]))
