"""Two threads take a lock again and again and do a little with it.

contend.py SECONDS [own]. With `own`, each thread has a lock of its own. Prints READY; at the end `NO_CPU <share>`, the
part of their time for which the threads could have gone on, had they had a CPU.
"""
import sys
import threading
import time

shared = threading.Lock()
numbers = range(60)
ready = []


def run_delay():
    with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
        return int(file.read().split()[1]) / 1e9


def work(lock, until):
    while time.monotonic() < until:
        for _ in range(100):
            with lock:
                sum(numbers)
    ready.append(run_delay())


print("READY", flush=True)
seconds = float(sys.argv[1])
until = time.monotonic() + seconds
own = sys.argv[2:] == ["own"]
threads = [threading.Thread(target=work, args=(threading.Lock() if own else shared, until)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("NO_CPU %.6f" % (sum(ready) / len(threads) / seconds), flush=True)
