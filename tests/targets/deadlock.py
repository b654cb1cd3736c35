"""Threads that wait for each other for ever.

deadlock.py KIND: `rlocks`, three threads each of which holds a lock and wants the next one's; `join`, two threads one of
which holds a lock and waits for the end of the other, which wants the lock; `import`, two threads one of which holds a lock
and wants a module that the other is importing, which wants the lock. Prints READY when that is so.
"""
import os
import sys
import tempfile
import threading
import time

locks = [threading.RLock() for _ in range(3)]
barrier = threading.Barrier(4)
importing = threading.Event()


def take_two(number):
    with locks[number]:
        barrier.wait()
        with locks[(number + 1) % 3]:
            pass


def wants_lock():
    barrier.wait()
    with locks[0]:
        pass


def joins(other):
    with locks[0]:
        barrier.wait()
        other.join()


def imports():
    import wants_lock_itself


def wants_module():
    with locks[0]:
        barrier.wait()
        imports()


def start(name, target, *args):
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


if sys.argv[1] == "rlocks":
    for number in range(3):
        start("taker-%d" % number, take_two, number)
elif sys.argv[1] == "import":
    barrier = threading.Barrier(3)
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "wants_lock_itself.py"), "w") as file:
            file.write("from __main__ import barrier, importing, locks\nimporting.set()\nbarrier.wait()\nlocks[0].acquire()\n")
        sys.path.insert(0, folder)
        start("importer", imports)
        importing.wait()
    start("wanter", wants_module)
else:
    barrier = threading.Barrier(3)
    start("joiner", joins, start("wanter", wants_lock))
barrier.wait()
time.sleep(0.3)
print("READY", flush=True)
time.sleep(600)
