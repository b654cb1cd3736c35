"""Threads that get in each other's way for a part of the time, for gates: gated.py SECONDS HELD_MS PAUSE_MS

Two threads take a lock again and again, hold it for HELD_MS in `handler`, asleep, and then sleep for PAUSE_MS without it. If
HELD_MS is 0 they never take it.
"""
import sys
import threading
import time

seconds, held, pause = float(sys.argv[1]), float(sys.argv[2]) / 1e3, float(sys.argv[3]) / 1e3
lock = threading.Lock()


def handler():
    with lock:
        time.sleep(held)


def serve(deadline):
    while time.monotonic() < deadline:
        if held:
            handler()
        sum(range(2000))
        time.sleep(pause)


deadline = time.monotonic() + seconds
threads = [threading.Thread(target=serve, args=(deadline,), name="server-%d" % number) for number in range(2)]
for thread in threads:
    thread.start()
print("READY", flush=True)
for thread in threads:
    thread.join()
