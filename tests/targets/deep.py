"""deep.py DEPTH: threads that deep in recursion, one standing still, one running. Prints READY."""
import sys
import threading

depth = int(sys.argv[1])
sys.setrecursionlimit(depth + 1000)
threading.stack_size(1 << 29)
gate = threading.Lock()
gate.acquire()
arrived = threading.Semaphore(0)


def descend(left, then):
    if left:
        return descend(left - 1, then)
    then()


def stand_there():
    arrived.release()
    gate.acquire()


def run_there():
    arrived.release()
    while True:
        sum(range(1000))


for then in stand_there, run_there:
    threading.Thread(target=descend, args=(depth - 1, then), name=then.__name__, daemon=True).start()
    arrived.acquire()
print("READY", flush=True)
gate.acquire()
