"""Threads hold a lock for a moment each, one after the other, so that most of the time three of four wait for it.

in_turn.py SECONDS. Prints READY; at the end `WAITED <seconds>`, what they have waited for it.
"""
import sys
import threading
import time

lock = threading.Lock()
waited = []


def hold(until):
    mine = 0.0
    while time.perf_counter() < until:
        start = time.perf_counter()
        with lock:
            mine += time.perf_counter() - start
            time.sleep(0.002)
        time.sleep(0.001)
    waited.append(mine)


print("READY", flush=True)
until = time.perf_counter() + float(sys.argv[1])
threads = [threading.Thread(target=hold, args=(until,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("WAITED %.6f" % sum(waited), flush=True)
