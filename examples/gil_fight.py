#!/usr/bin/env python3
"""Three threads that fight for the GIL.

    cruncher    computes in pure Python, and gives the GIL up only when it is asked to: every 5 ms
    client      asks a server 0.1 ms away again and again, and after each answer must get the GIL back
    legacy      calls native code that sleeps 20 ms without letting go of the GIL, so that nobody else runs

Usage: python3 gil_fight.py [SECONDS]

Look at it with:

    gilscope record --view wall --threads -o waiters.svg -- python3 gil_fight.py
    gilscope record --view gil-hold --threads -o holders.svg -- python3 gil_fight.py
"""
import sys
import threading
import time

try:
    import ctypes
except ImportError:  # Python was built without it
    ctypes = None

stop = threading.Event()
answers = 0


def is_prime(number):
    for divisor in range(2, int(number ** 0.5) + 1):
        if number % divisor == 0:
            return False
    return True


def count_primes(first, last):
    return sum(1 for number in range(first, last) if is_prime(number))


def crunch():
    first = 2
    while not stop.is_set():
        count_primes(first, first + 2000)
        first += 2000


def wait_for_answer():
    time.sleep(0.0001)  # gives the GIL up, as reading from a socket does, and then waits until it gets it back


def ask():
    global answers
    while not stop.is_set():
        wait_for_answer()
        answers += 1


def call_native_code():
    # PyDLL does not give the GIL up, nor do many extension modules.
    ctypes.PyDLL(None).usleep(20000)


def use_legacy_library():
    while not stop.is_set():
        call_native_code()
        time.sleep(0.1)


def run(seconds, **functions):
    """Runs functions as threads, which get their names."""
    global answers
    answers = 0
    stop.clear()
    threads = [threading.Thread(target=function, name=name) for name, function in functions.items()]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return answers / seconds


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    threads = {"cruncher": crunch, "client": ask}
    if ctypes:
        threads["legacy"] = use_legacy_library
    print("client alone gets %.0f answers a second" % run(seconds / 20, client=ask))
    print("now for %g s it shares the GIL with cruncher and legacy" % seconds)
    print("client got %.0f answers a second" % run(seconds, **threads))


main()
