"""threads_inside.py: a thread enters a sub-interpreter with a GIL of its own, in which it starts another thread. Both compute, and
sleep now and then. Prints READY."""
import os
import sys
import threading

try:
    import _interpreters as api
except ImportError:
    import _xxsubinterpreters as api

CODE = """
import os, threading, time

def compute():
    while True:
        sum(range(20000))
        time.sleep(0.001)

def inner_loop():
    compute()

threading.Thread(target=inner_loop, name="inner").start()
os.write(%d, b"x")
compute()
"""
receive, send = os.pipe()


def enter():
    if sys.version_info >= (3, 13):
        api.exec(api.create("isolated"), CODE % send)
    else:
        api.run_string(api.create(isolated=True), CODE % send)


threading.Thread(target=enter, name="entered", daemon=True).start()
os.read(receive, 1)
print("READY", flush=True)
threading.Event().wait()
