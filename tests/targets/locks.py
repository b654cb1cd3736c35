"""One thread holds a lock for known times, another waits for it, and measures how long.

locks.py SHAPE SECONDS [own]. Shapes are the functions below; each returns what to do with the lock held for a while, and
what to do that needs it for a moment. With `own`, each thread has a lock of its own: nobody waits. Prints READY; at the
end `WAITED <seconds>`, the time that the second thread spent in what needs the lock, off the CPU, and `NO_CPU <seconds>`,
for how much of that it could have gone on, had it had a CPU.

Shapes of free-threaded builds only hold the lock of an object in a critical section, which a call of
ctypes.PyDLL(None).usleep does not suspend: to the interpreter, the thread runs on.
"""
import collections
import ctypes
import functools
import io
import logging
import queue
import sys
import threading
import time

HELD = 0.004
FREE = 0.002

attached = ctypes.PyDLL(None).usleep
detached = ctypes.CDLL(None).usleep


def hold_attached(*_):
    attached(int(HELD * 1e6))


def hold_detached():
    detached(int(HELD * 1e6))


class Slow:
    """Equal to nothing, after a while. All have one hash, so that containers compare them."""

    def __hash__(self):
        return 1

    def __eq__(self, other):
        hold_attached()
        return False


class Quick:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        return False


def shared_list():
    inventory = [1]

    def key(_):
        # The other may have put a second item in: they are compared.
        hold_attached()
        return 0

    def hold():
        inventory.sort(key=key)

    def use():
        try:
            inventory.append(1)
            inventory.pop()
        except IndexError:
            pass
    return hold, use


def shared_dict():
    prices = {Slow(): 1}

    def hold():
        prices.pop(Quick(), None)

    def use():
        prices["x"] = 1
    return hold, use


def shared_set():
    names = {Slow()}

    def hold():
        names.discard(Quick())

    def use():
        names.add("x")
    return hold, use


def shared_deque():
    jobs = collections.deque([Slow()])

    def hold():
        jobs.count(Quick())

    def use():
        jobs.append(1)
        jobs.pop()
    return hold, use


def attribute():
    class Account:
        pass
    account = Account()
    account.balance = 1
    vars(account)[Slow()] = 1

    def hold():
        vars(account).pop(Quick(), None)

    def use():
        account.balance = 2
    return hold, use


def lru_cache():
    @functools.lru_cache(maxsize=1)
    def slow_square(number):
        if number < 0:
            hold_attached()
        return number * number
    numbers = iter(range(-1, -10**9, -1))
    positive = iter(range(10**9))
    return lambda: slow_square(next(numbers)), lambda: slow_square(next(positive))


def type_lock():
    class Meta(type):
        def mro(cls):
            if cls.__name__ == "Held":
                hold_attached()
            return super().mro()

    class Base(metaclass=Meta):
        pass

    def hold():
        Meta("Held", (Base,), {})

    def use():
        type("Quick", (), {})
    return hold, use


def lock():
    guard = threading.Lock()

    def hold():
        with guard:
            hold_detached()

    def use():
        with guard:
            pass
    return hold, use


def impatient():
    """The lock is held for long. Who waits gives up soon, and tries again."""
    guard = threading.Lock()

    def hold():
        with guard:
            for _ in range(30):
                hold_detached()

    def use():
        while not guard.acquire(timeout=0.005):
            pass
        guard.release()
    return hold, use


def rlock():
    guard = threading.RLock()

    def hold():
        with guard:
            with guard:
                hold_detached()

    def use():
        with guard:
            with guard:
                pass
    return hold, use


def condition():
    ready = threading.Condition()

    def hold():
        with ready:
            hold_detached()
            ready.notify_all()

    def use():
        with ready:
            pass
    return hold, use


def work_queue():
    jobs = queue.Queue()

    def hold():
        with jobs.mutex:
            hold_detached()

    def use():
        jobs.put(1)
        jobs.get()
    return hold, use


def log_handler():
    class Slowly(logging.Handler):
        def emit(self, record):
            if record.msg == "hold":
                hold_detached()
    log = logging.Logger("log")
    log.addHandler(Slowly())
    return lambda: log.warning("hold"), lambda: log.warning("use")


def buffered_file():
    class Slowly(io.RawIOBase):
        def writable(self):
            return True

        def write(self, data):
            if threading.current_thread().name == "holder":
                hold_detached()
            return len(data)
    log = io.BufferedWriter(Slowly(), 16)
    return lambda: log.write(bytes(100)), lambda: log.write(b"x")


def import_lock():
    # What `import` does for a module that another thread is importing.
    import importlib._bootstrap as bootstrap
    module_lock = bootstrap._get_module_lock("slow_module")

    def hold():
        with bootstrap._ModuleLockManager("slow_module"):
            hold_detached()

    def use():
        with bootstrap._ModuleLockManager("slow_module"):
            pass
        return module_lock
    return hold, use


def native_mutex():
    # Zero is PTHREAD_MUTEX_INITIALIZER.
    mutex = (ctypes.c_char * 64)()
    library = ctypes.CDLL(None)

    def hold():
        library.pthread_mutex_lock(mutex)
        hold_detached()
        library.pthread_mutex_unlock(mutex)

    def use():
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_unlock(mutex)
    return hold, use


def holder_loop(hold, end):
    while time.perf_counter() < end:
        hold()
        time.sleep(FREE)


def off_cpu(use, waited):
    ready = run_delay()
    before = time.perf_counter() - time.thread_time()
    use()
    waited[0] += time.perf_counter() - time.thread_time() - before
    waited[1] += run_delay() - ready


def run_delay():
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        # In another root.
        return 0.0


def victim_loop(use, end, waited):
    while time.perf_counter() < end:
        off_cpu(use, waited)
        time.sleep(FREE / 4)


def main(shape, seconds, own):
    make = globals()[shape]
    hold, use = make()
    if own:
        use = make()[1]
    use()
    waited = [0.0, 0.0]
    print("READY", flush=True)
    end = time.perf_counter() + seconds
    threads = [threading.Thread(target=holder_loop, args=(hold, end), name="holder"),
               threading.Thread(target=victim_loop, args=(use, end, waited), name="victim")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("WAITED %.6f\nNO_CPU %.6f" % tuple(waited), flush=True)


main(sys.argv[1], float(sys.argv[2]), sys.argv[3:] == ["own"])
