"""A thread holds the GIL while it sleeps in C, one computes, one sleeps in C without the GIL.

holder.py SECONDS. Prints READY; at the end `HELD <asleep with the GIL> <computing> <wall>`, in seconds. The GIL is
given up nowhere else than in the calls that release it, so that who measures a time has held it throughout.
"""
import ctypes
import sys
import threading
import time

clock = time.perf_counter
with_gil = ctypes.PyDLL(None).usleep
without_gil = ctypes.CDLL(None).usleep
sys.setswitchinterval(1000)
start = clock()
end = start + float(sys.argv[1])
held = computed = 0.0


def holding():
    global held
    while clock() < end:
        begin = clock()
        with_gil(20000)
        held += clock() - begin
        time.sleep(0.005)


def computing():
    global computed
    while clock() < end:
        begin = now = clock()
        while now - begin < 0.002:
            now = clock()
        computed += now - begin
        time.sleep(0.0002)


def polite():
    while clock() < end:
        without_gil(20000)


threads = [threading.Thread(target=function) for function in (holding, computing, polite)]
print("READY", flush=True)
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("HELD %.6f %.6f %.6f" % (held, computed, clock() - start), flush=True)
