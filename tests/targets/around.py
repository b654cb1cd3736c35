"""Threads wait for locks that no variable leads to but those of a function: one from around it, and an attribute.

around.py. Prints READY; the threads wait soon after.
"""
import threading
import time


def make():
    guard = threading.Lock()

    def use():
        with guard:
            pass
    use.other = threading.Lock()
    for lock, name in (guard, "for guard"), (use.other, "for other"):
        lock.acquire()
        # Without a function of its own, in which there would be a variable.
        threading.Thread(target=lock.acquire, name=name, daemon=True).start()
    return use


use = make()
print("READY", flush=True)
time.sleep(1000)
