"""Two threads use the same objects, in known proportions, and so fight for their reference counts (free-threaded builds).

counts.py SHAPE SECONDS [own]. Shapes are the functions below; each makes objects and returns the one whose count is used
most and a loop that uses them. With `own`, each thread has objects of its own. Prints `OBJECT <address> <type>` for the
objects in descending order of their uses, then READY.
"""
import sys
import threading
import time


class Shared:
    __slots__ = ()

    def call(self):
        pass


def method():
    """A method of one instance."""
    one = Shared()

    def loop(one=one):
        for _ in range(2000):
            one.call()  # HERE
    return [one], loop


def list_item():
    """An item of a list: the list is each thread's own, the item is not."""
    item = Shared()
    names = threading.local()

    def loop():
        try:
            items = names.items
        except AttributeError:
            items = names.items = [item]
        for _ in range(2000):
            items[0]  # HERE
    return [item], loop


def dict_value():
    """A value of a dict that is each thread's own."""
    value = Shared()
    names = threading.local()

    def loop():
        try:
            table = names.table
        except AttributeError:
            table = names.table = {"key": value}
        for _ in range(2000):
            table["key"]  # HERE
    return [value], loop


def closure():
    """A variable of an enclosing function."""
    value = Shared()

    def loop():
        for _ in range(2000):
            value  # HERE
    return [value], loop


def lock():
    """A lock that nobody ever takes."""
    gate = threading.Lock()

    def loop(gate=gate):
        for _ in range(2000):
            gate.locked()  # HERE
    return [gate], loop


def module_function():
    """A function of the module: it is not counted."""
    def loop():
        for _ in range(2000):
            nothing()  # HERE
    return [nothing], loop


def nothing():
    pass


def ratio():
    """Three objects, of which one is used three times as often as another, and twice as often as the last."""
    # Not in one cache line.
    a, b, c = [Shared() for _ in range(12)][::4]

    def loop(a=a, b=b, c=c):
        for _ in range(500):
            a; b; a; c; a; b; a; a; b; a; c  # HERE
    return [a, b, c], loop


def main():
    shape, seconds, own = globals()[sys.argv[1]], float(sys.argv[2]), sys.argv[3:] == ["own"]
    made = [shape(), shape() if own else None]
    made[1] = made[1] or made[0]
    stop = False
    rounds = [0, 0]

    def run(index):
        loop = made[index][1]
        while not stop:
            loop()
            rounds[index] += 1

    threads = [threading.Thread(target=run, args=(index,), name="user-%d" % index) for index in range(2)]
    for thread in threads:
        thread.start()
    for thing in made[0][0]:
        print("OBJECT", hex(id(thing)), type(thing).__name__)
    print("READY", flush=True)
    time.sleep(seconds)
    stop = True
    for thread in threads:
        thread.join()
    print("ROUNDS", sum(rounds), flush=True)


main()
