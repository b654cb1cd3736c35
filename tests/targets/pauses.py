"""A thread collects garbage, for which a free-threaded interpreter stops all others; two threads compute meanwhile.

pauses.py TIMES. Prints READY; at the end `STALLED <seconds>`: for how long one of the others stood still, in stretches of
more than a millisecond.
"""
import gc
import sys
import threading
import time

garbage = [[number] for number in range(200000)]
over = False
stalled = 0.0


def collector(times):
    global over
    for _ in range(times):
        gc.collect()
        time.sleep(0.01)
    over = True


def victim():
    global stalled
    last = time.perf_counter()
    while not over:
        now = time.perf_counter()
        if now - last > 0.001:
            stalled += now - last
        last = now


def busy():
    while not over:
        pass


print("READY", flush=True)
gc.disable()
threads = [threading.Thread(target=victim, name="victim"), threading.Thread(target=busy, name="busy"),
           threading.Thread(target=collector, args=(int(sys.argv[1]),), name="collector")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("STALLED %.6f" % stalled, flush=True)
