"""Threads wait for locks, each of which only one variable leads to, in one of the ways there are.

around.py. Each thread has the name that its lock should get. Prints READY; the threads wait soon after.
"""
import collections
import io
import logging
import queue
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


def acquire_with_timeout(lock):
    lock.acquire()


class Ledger:
    def __init__(self):
        self.lock = locked()

    def enter(self):
        self.lock.acquire()


class Vault:
    def __init__(self):
        self.lock = locked()

    def open(self):
        acquire_with_timeout(self.lock)


class Desk:
    def __init__(self):
        self.free = threading.Condition(locked())

    def take(self):
        with self.free:
            pass


class Booth:
    def __init__(self):
        self.desk = Desk()

    def enter(self):
        with self.desk.free:
            pass


class Dispatcher:
    def __init__(self):
        self.inbox = queue.Queue()
        self.inbox.mutex.acquire()

    def run(self):
        self.inbox.get()


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
log = logging.getLogger("around.audit")
log.addHandler(logging.StreamHandler(io.StringIO()))
log.handlers[0].acquire()
gate = locked()
for wait, name in (
    # Only functions that run lead to these objects.
    (Ledger().enter, "Ledger.lock"),
    (Vault().open, "Vault.lock"),
    (Desk().take, "Desk.free._lock"),
    (Booth().enter, "Booth.desk.free._lock"),
    (Dispatcher().run, "Dispatcher.inbox.mutex"),
    (lambda lock=locked(): lock.acquire(), "lock in <lambda>"),
    (lambda: acquire_with_timeout(gate), ".gate"),
    (lambda: log.warning("audited"), 'the handler of logger "around.audit"'),
):
    threading.Thread(target=wait, name=name, daemon=True).start()
del wait
print("READY", flush=True)
time.sleep(1000)
