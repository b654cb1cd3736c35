"""Starts many threads, forks, and becomes itself anew; being stopped meanwhile must make no difference.

restless.py THREADS. Prints READY and its pid; at the end `DONE <threads> <forks> <lives>`, and exits with 0.
"""
import os
import sys
import threading

FORKS = 10
LIVES = 2
wanted = int(sys.argv[1])
life, threads_before, forks_before = map(int, sys.argv[2:]) if len(sys.argv) > 2 else (1, 0, 0)
lived = 0
forks = 0
lock = threading.Lock()


def live():
    global lived
    with lock:
        lived += 1


def start_threads(count):
    while count:
        batch = [threading.Thread(target=live) for _ in range(min(count, 20))]
        count -= len(batch)
        for thread in batch:
            thread.start()
        for thread in batch:
            thread.join()


def fork(number):
    pid = os.fork()
    if pid == 0:
        start_threads(3)
        os._exit(lived & 0x7f)
    global forks
    forks += os.waitpid(pid, 0)[1] >> 8 == (lived + 3) & 0x7f


if life == 1:
    print("READY %d" % os.getpid(), flush=True)
for number in range(FORKS):
    start_threads(wanted // LIVES // FORKS)
    fork(number)
totals = [threads_before + lived, forks_before + forks]
if life < LIVES:
    os.execv(sys.executable, [sys.executable, __file__, str(wanted), str(life + 1)] + list(map(str, totals)))
print("DONE %d %d %d" % (totals[0], totals[1], life), flush=True)
