"""A thread makes a free-threaded interpreter stop all others, for one reason; two threads compute meanwhile.

stops.py REASON TIMES. Reasons are the functions below. Prints READY.
"""
import gc
import os
import sys
import threading
import time

over = False


class One:
    pass


class Other:
    pass


changing = One()


def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def type_change():
    changing.__class__ = Other if isinstance(changing, One) else One


def tracing():
    sys.monitoring.use_tool_id(3, "stops")
    sys.monitoring.set_events(3, sys.monitoring.events.PY_START)
    sys.monitoring.set_events(3, 0)
    sys.monitoring.free_tool_id(3)


def stacks():
    sys._current_frames()


def collection():
    gc.collect()


def stopper(reason, times):
    global over
    for _ in range(times):
        reason()
        time.sleep(0.005)
    over = True


def computing():
    while not over:
        pass


gc.disable()
print("READY", flush=True)
threads = [threading.Thread(target=computing), threading.Thread(target=computing),
           threading.Thread(target=stopper, args=(globals()[sys.argv[1]], int(sys.argv[2])), name="stopper")]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
