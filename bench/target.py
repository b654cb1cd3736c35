"""What bench/compare lets the profilers look at. Runs on Python 3.8 and later.

    python target.py deep       16 busy threads, each 30 frames deep
    python target.py blocked    100 blocked threads, 2 busy
    python target.py crowd      998 sleeping threads, 2 busy

Prints READY. Then, for every line on its standard input: the units of work that the busy threads have done, and the
time, so that the caller can tell how fast it is. Ends with its standard input.
"""
import sys
import threading
import time

BUSY = {"deep": 16, "blocked": 2, "crowd": 2}
IDLE = {"deep": 0, "blocked": 100, "crowd": 998}
DEPTH = {"deep": 30, "blocked": 10, "crowd": 10}

done = []
never = threading.Lock()
never.acquire()


def work(index):
    """The leaf: some arithmetic, a loop of it being one unit of work."""
    total = 0
    while True:
        for i in range(1000):
            total = (total + i * i) % 1000003
        done[index] += 1


def call(depth, leaf, argument):
    if depth > 2:
        return call(depth - 1, leaf, argument)
    return leaf(argument)


def sleep(_):
    while True:
        time.sleep(3600)


def block(_):
    never.acquire()


def start(*arguments):
    threading.Thread(target=call, args=arguments, daemon=True).start()


def main(workload):
    threading.stack_size(256 * 1024)
    leaf = sleep if workload == "crowd" else block
    # `run` and `_bootstrap` are frames, too.
    depth = DEPTH[workload] - 2
    for _ in range(IDLE[workload]):
        start(depth, leaf, None)
    for index in range(BUSY[workload]):
        done.append(0)
        start(depth, work, index)
    print("READY", flush=True)
    for _ in sys.stdin:
        print(sum(done), time.perf_counter(), flush=True)


main(sys.argv[1])
