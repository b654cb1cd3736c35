"""A thread holds the GIL while it sleeps, one spins, one sleeps without the GIL.

holder.py SECONDS. Prints READY; at the end `HELD <share>`, the share of the time for which the first one has slept.
"""
import ctypes
import sys
import threading
import time

clock = time.perf_counter
with_gil = ctypes.PyDLL(None).usleep
without_gil = ctypes.CDLL(None).usleep
end = clock() + float(sys.argv[1])


def holding():
    global held
    start, count = clock(), 0
    while clock() < end:
        with_gil(20000)
        count += 1
        # To return from it may take a wait for the GIL, so it is counted and not measured.
    held = count * 0.0201 / (clock() - start)


def spinning():
    while clock() < end:
        pass


def polite():
    while clock() < end:
        without_gil(20000)


threads = [threading.Thread(target=function) for function in (holding, spinning, polite)]
print("READY", flush=True)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("HELD %.6f" % held, flush=True)
