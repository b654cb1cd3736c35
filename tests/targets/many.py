"""many.py COUNT: starts COUNT threads that stand still, then prints READY."""
import sys
import threading

gate = threading.Semaphore(0)
started = threading.Semaphore(0)


def stand_still():
    started.release()
    gate.acquire()


threading.stack_size(128 * 1024)
for number in range(int(sys.argv[1])):
    threading.Thread(target=stand_still, name="still %d" % number, daemon=True).start()
for _ in range(int(sys.argv[1])):
    started.acquire()
print("READY", flush=True)
gate.acquire()
