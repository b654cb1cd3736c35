"""One thread holds the GIL while it sleeps; another computes, and times how long it is kept from that.

stall.py SECONDS. Prints READY; at the end `STALLED <seconds> <times> HELD <seconds> <times>`: what the computing thread
lost in stalls of more than 2 ms, and for how long the other one slept with the GIL held, both between their first and
last sleep.
"""
import ctypes
import sys
import threading
import time

clock = time.perf_counter
usleep_with_gil = ctypes.PyDLL(None).usleep
usleep_without_gil = ctypes.CDLL(None).usleep
held = []
stalls = []
done = False


def holding(end):
    global done
    while clock() < end:
        start = clock()
        usleep_with_gil(20000)
        held.append(clock() - start)
        usleep_without_gil(10000)
    done = True


def victim():
    last = clock()
    while not done:
        now = clock()
        if now - last > 0.002:
            stalls.append(now - last)
        last = now


holder = threading.Thread(target=holding, args=(clock() + float(sys.argv[1]),), name="holder")
computing = threading.Thread(target=victim, name="victim")
print("READY", flush=True)
computing.start()
holder.start()
holder.join()
computing.join()
print("STALLED %.6f %d HELD %.6f %d" % (sum(stalls), len(stalls), sum(held), len(held)), flush=True)
