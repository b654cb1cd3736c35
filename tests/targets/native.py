"""A thread that C has started calls into Python, and from there through C again. Prints READY."""
import ctypes
import threading

libc = ctypes.CDLL(None)
gate = threading.Semaphore(0)
arrived = threading.Semaphore(0)
COMPARE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)


@COMPARE
def compare(a, b):
    stand_still()
    return 0


@ROUTINE
def routine(_):
    # sort() of C, which compares in Python
    libc.qsort((ctypes.c_int * 2)(1, 2), 2, 4, compare)
    return None


def stand_still():
    arrived.release()
    gate.acquire()


thread = ctypes.c_ulong()
assert libc.pthread_create(ctypes.byref(thread), None, routine, None) == 0
arrived.acquire()
print("READY", flush=True)
gate.acquire()
