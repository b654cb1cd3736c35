"""Counts, for ever: prints READY, then `TICK <number>` every 20 ms. A thread recurses, so that its stack moves."""
import threading
import time


def moving(depth):
    if depth:
        moving(depth - 1)
    sum(range(50))


def keep_moving():
    while True:
        moving(20)


threading.Thread(target=keep_moving, daemon=True, name="moving").start()
print("READY", flush=True)
number = 0
while True:
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        moving(3)
    number += 1
    print("TICK", number, flush=True)
    time.sleep(0.01)
