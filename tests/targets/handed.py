"""Threads are handed work through queues that are not written in Python: nobody has to wait for a lock.

handed.py SECONDS. Prints READY.
"""
import queue
import sys
import threading
import time
from multiprocessing.pool import ThreadPool

jobs = queue.SimpleQueue()


def worker():
    while True:
        if jobs.get() is None:
            return
        time.sleep(0.002)


def job(number):
    time.sleep(0.002)
    return number


print("READY", flush=True)
thread = threading.Thread(target=worker, name="worker")
thread.start()
with ThreadPool(3) as pool:
    end = time.perf_counter() + float(sys.argv[1])
    while time.perf_counter() < end:
        jobs.put(1)
        pool.apply(job, (1,))
        time.sleep(0.02)
jobs.put(None)
thread.join()
