"""One thread holds the GIL while it sleeps; another computes, and times how long it is kept from that.

stall.py SECONDS. Prints READY; at the end `SHORT <seconds> <times>` and `STALLED <seconds> <times> HELD <seconds>
<times>`: what the computing thread lost in stalls of 0.1 to 2 ms (it had no CPU, or the GIL went to and fro), in stalls
of more than 2 ms, and for how long the other one slept with the GIL held, all between their first and last sleep.
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
short = []
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
        elif now - last > 0.0001:
            short.append(now - last)
        last = now


holder = threading.Thread(target=holding, args=(clock() + float(sys.argv[1]),), name="holder")
computing = threading.Thread(target=victim, name="victim")
print("READY", flush=True)
computing.start()
holder.start()
holder.join()
computing.join()
print("SHORT %.6f %d" % (sum(short), len(short)))
print("STALLED %.6f %d HELD %.6f %d" % (sum(stalls), len(stalls), sum(held), len(held)), flush=True)
