"""A child that waits for a lock which a thread of its parent held at the fork.

forked_lock.py KIND: `lock`, `rlock`. Prints CHILD and the child's pid when the child is about to wait; the child prints nothing.
"""
import os
import sys
import threading
import time

lock = threading.RLock() if sys.argv[1] == "rlock" else threading.Lock()
held = threading.Event()


def holder():
    with lock:
        held.set()
        time.sleep(600)


def work():
    with lock:
        pass


threading.Thread(target=holder, name="holder", daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    work()
    os._exit(0)
try:
    time.sleep(0.3)
    print("CHILD", pid, flush=True)
    time.sleep(600)
finally:
    os.kill(pid, 9)
