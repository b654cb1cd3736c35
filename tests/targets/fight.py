"""Four threads compute in Python, so that each waits for the GIL most of the time.

fight.py SECONDS. Prints READY.
"""
import sys
import threading
import time


def compute(until):
    number = 0
    while time.monotonic() < until:
        number += 1


until = time.monotonic() + float(sys.argv[1])
threads = [threading.Thread(target=compute, args=(until,), name=f"fighter {i}") for i in range(4)]
for thread in threads:
    thread.start()
print("READY", flush=True)
for thread in threads:
    thread.join()
