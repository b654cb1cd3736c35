"""Two threads take a lock again and again and do a little with it.

contend.py SECONDS [own]. With `own`, each thread has a lock of its own. Prints READY.
"""
import sys
import threading
import time

shared = threading.Lock()
numbers = range(60)


def work(lock, until):
    while time.monotonic() < until:
        for _ in range(100):
            with lock:
                sum(numbers)


print("READY", flush=True)
until = time.monotonic() + float(sys.argv[1])
own = sys.argv[2:] == ["own"]
threads = [threading.Thread(target=work, args=(threading.Lock() if own else shared, until)) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
