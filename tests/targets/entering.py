"""Threads of C that need the GIL to call into Python, while another thread sleeps with it for 0.2 s.

entering.py COUNT: that number of them, one after the other. Prints READY; at the end `ENTERED <count>`.
"""
import ctypes
import sys

# All of these keep the GIL.
libc = ctypes.PyDLL(None)
ROUTINE = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
entered = 0


@ROUTINE
def routine(_):
    global entered
    entered += 1
    return None


print("READY", flush=True)
for _ in range(int(sys.argv[1])):
    thread = ctypes.c_ulong()
    assert libc.pthread_create(ctypes.byref(thread), None, routine, None) == 0
    libc.usleep(200000)
    # Without the GIL, or it would never end.
    ctypes.CDLL(None).pthread_join(thread, None)
print("ENTERED", entered, flush=True)
