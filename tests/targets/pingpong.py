"""Two threads hand two locks to one another, as fast as they can.

pingpong.py SECONDS [one_cpu] [killed]. With `one_cpu`, there is only one for both. Prints READY; at the end `WAITED
<times>`: how often a lock was not free when it was wanted. With `killed`, it is, in the middle of it.
"""
import os
import signal
import sys
import threading
import time

locks = [threading.Lock(), threading.Lock()]
waited = [0, 0]
over = False


def play(number):
    mine, other = locks[number], locks[1 - number]
    while not over:
        if not mine.acquire(False):
            waited[number] += 1
            mine.acquire()
        other.release()


if "one_cpu" in sys.argv:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
locks[1].acquire()
print("READY", flush=True)
players = [threading.Thread(target=play, args=(number,), daemon=True) for number in range(2)]
for player in players:
    player.start()
time.sleep(float(sys.argv[1]))
if "killed" in sys.argv:
    os.kill(os.getpid(), signal.SIGKILL)
over = True
time.sleep(0.1)
print("WAITED %d" % sum(waited), flush=True)
