"""Threads that wait for each other for ever.

deadlock.py KIND: `rlocks`, three threads each of which holds a lock and wants the next one's; `join`, two threads one of
which holds a lock and waits for the end of the other, which wants the lock. Prints READY when that is so.
"""
import sys
import threading
import time

locks = [threading.RLock() for _ in range(3)]
barrier = threading.Barrier(4)


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


def start(name, target, *args):
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    thread.start()
    return thread


if sys.argv[1] == "rlocks":
    for number in range(3):
        start("taker-%d" % number, take_two, number)
else:
    barrier = threading.Barrier(3)
    start("joiner", joins, start("wanter", wants_lock))
barrier.wait()
time.sleep(0.3)
print("READY", flush=True)
time.sleep(600)
