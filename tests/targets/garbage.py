"""A thread collects garbage again and again; another computes, and stands still meanwhile where there is a GIL.

garbage.py SECONDS [lets_go]. With `lets_go`, each collection calls a function that sleeps without the GIL, so that the other
thread computes in the middle of it. Prints READY; at the end `COLLECTED <seconds> <seconds> <seconds>`: the CPU time of all
collections, how long they took, and for how long the other thread stood still in stretches of more than half of the
shortest one.
"""
import gc
import sys
import threading
import time

seconds, lets_go = float(sys.argv[1]), sys.argv[2:] == ["lets_go"]
garbage = [[number] for number in range(300000)]
collected = took = stalled = 0.0
shortest = 1e9
over = False


def let_go(phase, info):
    time.sleep(0.01)


def collector():
    global collected, took, shortest, over
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        before, began = time.thread_time(), time.perf_counter()
        gc.collect()
        one = time.thread_time() - before
        collected += one
        took += time.perf_counter() - began
        shortest = min(shortest, one)
        time.sleep(0.02)
    over = True


def computing():
    global stalled
    last = time.perf_counter()
    while not over:
        now = time.perf_counter()
        if now - last > shortest / 2:
            stalled += now - last
        last = now


gc.collect()
gc.disable()
if lets_go:
    gc.callbacks.append(let_go)
print("READY", flush=True)
threads = [threading.Thread(target=function, name=function.__name__) for function in (collector, computing)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("COLLECTED %.6f %.6f %.6f" % (collected, took, stalled), flush=True)
