"""A thread keeps a lock for good; another waits for it without end, a third tries again and again.

kept.py SHAPE. Shapes: `rlock`, `lock`, and where objects have locks of their own, `list`. Prints READY when all wait.
"""
import ctypes
import sys
import threading
import time

shape = sys.argv[1]
lock = threading.Lock() if shape == "lock" else threading.RLock()
inventory = [1]
kept = threading.Event()


def asleep(*_):
    kept.set()
    # Without letting go of the critical section.
    ctypes.PyDLL(None).sleep(1000)


def keeper():
    if shape == "list":
        inventory.sort(key=asleep)
    with lock:
        kept.set()
        time.sleep(1000)


def waiter():
    if shape == "list":
        inventory.append(1)
    with lock:
        pass


def trier():
    while shape != "list":
        lock.acquire(timeout=0.05)


for function in keeper, waiter, trier:
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
    kept.wait()
time.sleep(0.1)
print("READY", flush=True)
time.sleep(1000)
