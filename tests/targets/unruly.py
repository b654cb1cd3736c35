"""Does what is hard to follow, for ever, and says every 50 ms that it goes on: prints READY, then BEATs. SIGUSR1 makes it fork,
SIGUSR2 run itself anew by exec."""
import os
import signal
import sys
import threading
import time

lock = threading.Lock()


def deep(depth):
    if depth:
        return deep(depth - 1)
    return sum(range(300))


def recurse():
    while True:
        deep(60)
        time.sleep(0.001)


def hold():
    while True:
        with lock:
            time.sleep(0.002)


def start_threads():
    while True:
        some = [threading.Thread(target=deep, args=(5,)) for _ in range(4)]
        for thread in some:
            thread.start()
        for thread in some:
            thread.join()
        time.sleep(0.01)


def fork(*_):
    if os.fork() == 0:
        # Only this thread is left, and whatever the others held stays held.
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            deep(30)
        os._exit(0)


def again(*_):
    # What is ignored stays so in the new program, until that is ready.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable] + sys.argv)


for function in recurse, hold, hold, start_threads:
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, fork)
signal.signal(signal.SIGUSR2, again)
print("READY", flush=True)
number = 0
while True:
    number += 1
    print("BEAT", number, flush=True)
    time.sleep(0.05)
