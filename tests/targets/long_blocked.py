"""Threads that block for ever, each in another call, and do so a while before READY."""
import os
import signal
import threading
import time

lock = threading.Lock()
lock.acquire()
end = os.pipe()[0]


def sleeper():
    time.sleep(3600)


def reader():
    os.read(end, 1)


def locker():
    lock.acquire()


for function in sleeper, reader, locker:
    threading.Thread(target=function, name=function.__name__, daemon=True).start()
time.sleep(0.3)
print("READY", flush=True)
signal.pause()
