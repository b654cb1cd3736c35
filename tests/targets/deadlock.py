"""Threads that wait for each other for ever.

deadlock.py KIND: `rlocks`, three threads each of which holds a lock and wants the next one's; `locks`, the same, and the
locks know no owner; `join`, two threads one of
which holds a lock and waits for the end of the other, which wants the lock; `import`, two threads one of which holds a lock
and wants a module that the other is importing, which wants the lock; `self`, a thread that wants a lock that it has.
Prints READY when that is so. With a second argument, SECONDS, it is ended after that time, as by a watchdog.

Or `released`, threads that only seem to: one has released a lock to be notified, one has it without a `with`, and one
wants it.
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


def take_two_doors(number):
    for number in [number] * 2:
        try:
            with doors[number]:
                take_another(number + 1)
        finally:
            barrier.reset()


def take_another(number):
    try:
        with threading.Lock():
            raise ValueError(number)
    except ValueError:
        barrier.wait()
        with doors[number % 3]:
            pass


def waits_to_be_notified(condition):
    with condition:
        barrier.wait()
        condition.wait()


def keeps(lock):
    barrier.wait()
    lock.acquire()
    barrier.wait()
    time.sleep(600)


def wants(lock):
    with lock:
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


def takes_twice():
    with locks[0]:
        barrier.wait()
        with locks[0]:
            pass


def start(name, target, *args):
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


if sys.argv[1] == "rlocks":
    for number in range(3):
        start("taker-%d" % number, take_two, number)
elif sys.argv[1] == "locks":
    locks = [threading.Lock() for _ in range(3)]
    doors = [threading.Condition(locks[0])] + locks[1:]
    for number in range(3):
        start("taker-%d" % number, take_two_doors, number)
elif sys.argv[1] == "self":
    barrier = threading.Barrier(2)
    locks = [threading.Lock()]
    start("taker", takes_twice)
elif sys.argv[1] == "released":
    barrier = threading.Barrier(2)
    lock = threading.Lock()
    start("notified", waits_to_be_notified, threading.Condition(lock))
    barrier.wait()
    start("keeper", keeps, lock)
    barrier.wait()
    barrier.wait()
    start("wanter", wants, lock)
    barrier = threading.Barrier(1)
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
if len(sys.argv) > 2:
    time.sleep(float(sys.argv[2]))
    os._exit(0)
time.sleep(600)
