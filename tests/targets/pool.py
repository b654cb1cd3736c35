"""pool.py fork|spawn SECONDS: two child processes that compute, one of which has one of its own. Prints READY."""
import multiprocessing
import os
import sys
import time


def tell(what):
    # In one piece, whoever else writes.
    os.write(1, ("CHILD %s %d\n" % (what, os.getpid())).encode())


def compute(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def first_child(seconds):
    tell("first_child")
    compute(seconds)


def second_child(seconds):
    tell("second_child")
    inner = multiprocessing.Process(target=grandchild, args=(seconds,))
    inner.start()
    compute(seconds)
    inner.join()


def grandchild(seconds):
    tell("grandchild")
    compute(seconds)


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    print("READY", flush=True)
    tell("<module>")
    children = [multiprocessing.Process(target=f, args=(float(sys.argv[2]),)) for f in (first_child, second_child)]
    for child in children:
        child.start()
    for child in children:
        child.join()
