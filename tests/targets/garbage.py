"""A thread collects garbage again and again; another computes, and stands still meanwhile where there is a GIL.

garbage.py SECONDS [lets_go]. With `lets_go`, each collection calls a function that sleeps without the GIL, so that the other
thread computes in the middle of it. Prints READY; at the end `COLLECTED <seconds> <seconds> <seconds>`: the CPU time of all
collections, how long they took, and for how long of that the other thread stood still.
"""
import gc
import sys
import threading
import time

seconds, lets_go = float(sys.argv[1]), sys.argv[2:] == ["lets_go"]
garbage = [[number] for number in range(300000)]
collected = took = stalled = 0.0
began, ended = [], []
over = False


def let_go(phase, info):
    time.sleep(0.01)


def collector():
    global collected, took, over
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        before = time.thread_time()
        began.append(time.perf_counter())
        gc.collect()
        ended.append(time.perf_counter())
        collected += time.thread_time() - before
        took += ended[-1] - began[-1]
        time.sleep(0.02)
    over = True


def computing():
    global stalled
    last = yielded = time.perf_counter()
    while not over:
        now = time.perf_counter()
        if now - last > 0.001:
            # It stood still. Not for the collection, if the machine did something else: what counts is how much of one there
            # was meanwhile.
            for start, end in zip(reversed(began), reversed(ended + [now] * (len(began) - len(ended)))):
                if end < last:
                    break
                stalled += max(0.0, min(end, now) - max(start, last))
        if now - yielded > 0.001:
            # So that the other takes the GIL.
            time.sleep(0.0001)
            yielded = time.perf_counter()
        last = now


# Nobody is asked to release the GIL in the middle of what is measured.
sys.setswitchinterval(1000)
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
