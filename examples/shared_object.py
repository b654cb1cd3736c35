#!/usr/bin/env python3
"""Threads that have nothing to tell each other, and still slow each other down: they use the same objects.

On a free-threaded build (python3.13t and later), each call of a method of a shared instance counts its references up
and down, and each append to a shared list takes that list's lock: one cache line goes from core to core. At first the
threads do the same work on objects that each of them has made for itself. That scales with the cores.

On a build with a GIL only one thread runs at a time, and it makes no difference.

Usage: python3.13t shared_object.py [SECONDS]

Look at it with:

    gilscope record --threads -o profile.svg -- python3.13t shared_object.py
"""
import os
import sys
import threading
import time

THREADS = max(2, min(8, os.cpu_count() or 2))

stop = threading.Event()


class Settings:
    """What a program asks again and again."""

    def __init__(self):
        self.limit = 10

    def is_allowed(self, value):
        return value < self.limit


def check_many(settings, results):
    for value in range(1000):
        if settings.is_allowed(value):
            results.append(value)
    results.clear()


def work(settings, results, rounds, index):
    settings = settings or Settings()
    results = [] if results is None else results
    done = 0
    while not stop.is_set():
        check_many(settings, results)
        done += 1
    rounds[index] = done


def run(seconds, settings=None, results=None):
    """Millions of calls a second: on these objects, or on each thread's own."""
    rounds = [0] * THREADS
    threads = [threading.Thread(target=work, args=(settings, results, rounds, index), name="worker-%d" % (index + 1))
               for index in range(THREADS)]
    stop.clear()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(rounds) * 1000 / seconds / 1e6


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    print("%d threads %s a GIL" % (THREADS, "with" if gil else "without"))
    print("with objects of their own: %.2f million calls a second" % run(seconds / 10))
    print("now for %g s they share them" % seconds)
    print("with shared objects: %.2f million calls a second" % run(seconds, Settings(), []))


main()
