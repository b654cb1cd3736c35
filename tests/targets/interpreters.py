"""interpreters.py own|shared: two sub-interpreters, each run by a thread of its own and standing still inside, and a
third that runs, and now and then sleeps (3.11 does not ask other interpreters for the GIL). Prints READY, or NONE if
this Python can't.
"""
import os
import sys
import threading

try:
    import _interpreters as api
except ImportError:
    import _xxsubinterpreters as api

own = sys.argv[1] == "own"
if own and sys.version_info < (3, 12):
    print("NONE", flush=True)
    sys.exit()
if sys.version_info >= (3, 13):
    def create():
        return api.create("isolated" if own else "legacy")
    run = api.exec
elif sys.version_info >= (3, 9):
    def create():
        return api.create(isolated=own)
    run = api.run_string
else:
    create, run = api.create, api.run_string

CODE = """
import os, time
def inside():
    os.write(%d, b"x")
    %s
inside()
"""
receive, send = os.pipe()


def enter(what):
    run(create(), CODE % (send, what))


for name, what in ("first", "time.sleep(3600)"), ("second", "time.sleep(3600)"), ("third", "while True: sum(range(100000)); time.sleep(0.001)"):
    threading.Thread(target=enter, args=(what,), name=name, daemon=True).start()
for _ in range(3):
    os.read(receive, 1)
print("READY", flush=True)
threading.Event().wait()
