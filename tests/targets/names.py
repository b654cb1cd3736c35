"""Four threads fight for one object that a variable of some module leads to.

names.py SHAPE SECONDS. Shapes are the functions below, each of which uses the object once.
"""
import abc
import functools
import random
import sys
import threading
import time

inventory = []


class Account:
    balance = 0


account = Account()


@functools.lru_cache(maxsize=8)
def slow_square(number):
    return number * number


class Shape(abc.ABC):
    pass


def abstract(number):
    isinstance(account, Shape)


def builtin(_):
    inventory.append(1)
    inventory.pop()


def instance(number):
    account.balance = number


def cache(number):
    slow_square(number & 15)


def library(_):
    random.random()


def module(number):
    globals()["latest"] = number


def work(use, end):
    while time.perf_counter() < end:
        for number in range(1000):
            try:
                use(number)
            except IndexError:
                pass  # another has taken it


use, end = globals()[sys.argv[1]], time.perf_counter() + float(sys.argv[2])
threads = [threading.Thread(target=work, args=(use, end)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
