"""The first thread ends at once, as with pthread_exit in main; two others take turns with the GIL.

first_ended.py SECONDS. Prints READY when the first thread is about to end.
"""
import ctypes
import os
import sys
import threading
import time

EXIT = 60  # the system call that ends one thread, on x86_64


def count_on(until):
    number = 0
    while time.monotonic() < until:
        number += 1
    os._exit(0)


until = time.monotonic() + float(sys.argv[1])
for name in ["first to go on", "second to go on"]:
    threading.Thread(target=count_on, args=(until,), name=name, daemon=True).start()
print("READY", flush=True)
ctypes.CDLL(None).syscall(EXIT, 0)
