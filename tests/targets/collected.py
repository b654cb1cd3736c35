"""Two threads make garbage that refers to itself, and collect it; a callback counts it.

collected.py SECONDS. Prints READY; at the end `COLLECTED <collections> <full> <objects freed> <seconds> <seconds>`: how long
they took, with all waits in them, at least (from callback to callback) and at most (from before the call to behind it).
"""
import gc
import sys
import threading
import time

seconds = float(sys.argv[1])
number = full = freed = 0
began = took = around = 0.0
kept = [[number] for number in range(100000)]


def counts(phase, info):
    global number, full, freed, began, took
    if phase == "start":
        began = time.perf_counter()
    else:
        number += 1
        full += info["generation"] == 2
        freed += info["collected"]
        took += time.perf_counter() - began


class Node:
    def __init__(self):
        self.own = self


def making(end):
    global around
    while time.perf_counter() < end:
        for _ in range(2000):
            Node()
        before = time.perf_counter()
        gc.collect()
        around += time.perf_counter() - before


gc.disable()
gc.collect()
print("READY", flush=True)
gc.callbacks.append(counts)
end = time.perf_counter() + seconds
threads = [threading.Thread(target=making, args=(end,), name="making-%d" % index) for index in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gc.callbacks.clear()
print("COLLECTED %d %d %d %.6f %.6f" % (number, full, freed, took, around), flush=True)
