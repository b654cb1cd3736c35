"""Four threads hold the GIL or a lock for about a millisecond each, in `burn`; where they acquire and release it they do
nothing else.

short_holds.py gil|lock SECONDS. Prints READY.
"""
import sys
import threading
import time

lock = threading.Lock()


def burn():
    until = time.thread_time() + 0.001
    while time.thread_time() < until:
        pass


def nap():
    time.sleep(0.001)


def with_gil():
    nap()
    burn()


def with_lock():
    nap()
    lock.acquire()
    burn()
    lock.release()


def work(turn, end):
    while time.perf_counter() < end:
        turn()


# Nobody is made to release the GIL in the middle of it.
sys.setswitchinterval(1)
turn = {"gil": with_gil, "lock": with_lock}[sys.argv[1]]
print("READY", flush=True)
end = time.perf_counter() + float(sys.argv[2])
threads = [threading.Thread(target=work, args=(turn, end)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
