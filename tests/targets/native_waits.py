"""Threads that wait in native code, without the GIL, for what is no lock.

native_waits.py: "joiner" waits for the end of a thread of the C library's, and "latch" at a semaphore of the C library's. Prints
READY when they do.

native_waits.py circle: the first thread keeps the GIL and waits for the end of a native thread, which wants the GIL. Prints
READY before that; nothing of it can go on.
"""
import ctypes
import sys
import threading
import time

libc = ctypes.CDLL(None)


def create(function, argument, library=libc):
    thread = ctypes.c_ulong()
    assert library.pthread_create(ctypes.byref(thread), None, function, argument) == 0
    return thread


def joins():
    libc.pthread_join(create(ctypes.cast(libc.sleep, ctypes.c_void_p), ctypes.c_void_p(600)), None)


def waits():
    semaphore = ctypes.create_string_buffer(64)
    libc.sem_init(semaphore, 0, 0)
    libc.sem_wait(semaphore)


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
def wants_gil(_):
    return 0


def keeps_gil():
    # Calls of this library keep the GIL.
    library = ctypes.PyDLL(None)
    library.pthread_join(create(wants_gil, None, library), None)


if len(sys.argv) > 1:
    sys.setswitchinterval(1000)
    print("READY", flush=True)
    keeps_gil()
else:
    threading.Thread(target=joins, name="joiner", daemon=True).start()
    threading.Thread(target=waits, name="latch", daemon=True).start()
    time.sleep(0.3)
    print("READY", flush=True)
    time.sleep(600)
