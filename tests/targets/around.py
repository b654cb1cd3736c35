"""Threads wait for locks, each of which only one variable leads to, in one of the ways there are.

around.py. Each thread has the name that its lock should get. Prints READY; the threads wait soon after.
"""
import collections
import threading
import time


def locked():
    lock = threading.Lock()
    lock.acquire()
    return lock


def make():
    guard = locked()

    def use():
        with guard:
            pass
    use.other = locked()
    return use


class Meta(type):
    pass


class Registry(metaclass=Meta):
    guard = locked()


class Slots:
    __slots__ = ("guard",)


class Pool(Slots):
    __slots__ = ("size", "_Pool__own")

    def __init__(self):
        self.guard = locked()
        self.__own = locked()


class Many(list):
    pass


use = make()
pool = Pool()
by_name = collections.OrderedDict(first=locked())
Pair = collections.namedtuple("Pair", ["left", "right"])
pair = Pair(None, locked())
many = Many([None, locked()])
many.extra = locked()

for lock, name in (
    (use.__closure__[0].cell_contents, "guard in use"),
    (use.other, "use.other"),
    (Registry.guard, "Registry.guard"),
    (pool.guard, "pool.guard"),
    (pool._Pool__own, "pool._Pool__own"),
    (by_name["first"], 'by_name["first"]'),
    (pair.right, "pair[1]"),
    (many[1], "many[1]"),
    (many.extra, "many.extra"),
):
    # Without a function of its own, in which there would be a variable.
    threading.Thread(target=lock.acquire, name=name, daemon=True).start()
del lock
print("READY", flush=True)
time.sleep(1000)
