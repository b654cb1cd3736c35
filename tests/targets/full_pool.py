"""full_pool.py KIND SECONDS: three threads of a pool sleep in `slow` for each of many calls. Prints READY.

KIND is executor, thread-pool or queue; `idle` is an executor with less to do than it can, and `spinning` one whose calls
compute."""
import queue
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool

KIND, SECONDS = sys.argv[1], float(sys.argv[2])
SIZE = 3


def slow(number=None):
    time.sleep(0.05)


def spin(number=None):
    end = time.perf_counter() + 0.05
    while time.perf_counter() < end:
        pass


def take(tasks):
    while tasks.get() is not None:
        slow()
        tasks.task_done()


def again_and_again(call):
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        call()


def main():
    print("READY", flush=True)
    if KIND == "thread-pool":
        with ThreadPool(SIZE) as pool:
            again_and_again(lambda: pool.map(slow, range(24), chunksize=1))
    elif KIND == "queue":
        tasks = queue.Queue()
        for number in range(SIZE):
            threading.Thread(target=take, args=(tasks,), name="taker-%d" % number, daemon=True).start()
        time.sleep(0.2)
        again_and_again(lambda: [tasks.put(number) for number in range(24)] and tasks.join())
    elif KIND == "idle":
        with ThreadPoolExecutor(SIZE, thread_name_prefix="jobs") as pool:
            again_and_again(lambda: pool.submit(slow) and time.sleep(0.1))
    else:
        with ThreadPoolExecutor(SIZE, thread_name_prefix="jobs") as pool:
            again_and_again(lambda: list(pool.map(spin if KIND == "spinning" else slow, range(24))))


if __name__ == "__main__":
    main()
