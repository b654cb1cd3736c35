"""One thread is long in a C library that has a lock, and another waits for it there. catalog.py LIBRARY HOLD USE SECONDS:
which functions of catalog.c the first and the second call. Prints READY.
"""
import ctypes
import sys
import threading
import time

library = ctypes.CDLL(sys.argv[1])
hold, use = (getattr(library, name) for name in sys.argv[2:4])
end = time.perf_counter() + float(sys.argv[4])


def updating():
    while time.perf_counter() < end:
        hold(4000)
        time.sleep(0.002)


def looking_up():
    while time.perf_counter() < end:
        use(0)
        time.sleep(0.001)


print("READY", flush=True)
threads = [threading.Thread(target=updating, name="updating"), threading.Thread(target=looking_up, name="looking_up")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
