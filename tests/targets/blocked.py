"""Threads blocked at known places, in every way a stack can look.

Prints a line of JSON per thread, [tid, ident, name, [[qualified name, name, file, line], ...]], innermost frame
first, as sys._current_frames() has it. Then READY, and waits to be killed.
"""
import concurrent.futures
import functools
import json
import linecache
import os
import sys
import threading
import time
import _thread

gate = threading.Lock()
gate.acquire()
tids = {}


def here():
    tids[_thread.get_ident()] = threading.get_native_id()


def wait_forever(*_):
    here()
    gate.acquire()  # blocks


def deep(depth):
    return deep(depth - 1) if depth else wait_forever()


def generator():
    yield 1
    yield wait_forever()


def outer_generator():
    yield from generator()


def in_generator():
    for _ in outer_generator():
        pass


class Worker(threading.Thread):
    def run(self):
        self.method(lambda: wait_forever())

    def method(self, call):
        def inner():
            call()
        inner()


def called_back():
    # From C, and from C again.
    sorted([2, 1], key=lambda item: list(map(functools.partial(wait_forever, item), [1])))


@functools.lru_cache(None)
def cached():
    wait_forever()


async def coroutine():
    async with Context():
        pass


class Context:
    async def __aenter__(self):
        async for _ in self.items():
            pass

    async def __aexit__(self, *_):
        pass

    async def items(self):
        yield 1
        yield [wait_forever() for _ in "x"]


def in_coroutine():
    coroutine().send(None)


def in_class_body():
    class Body:
        class Inner:
            wait_forever()


def in_handler():
    try:
        raise KeyError
    except KeyError:
        try:
            pass
        finally:
            {item: wait_forever() for item in "x"}


class Magic:
    @property
    def value(self):
        return self.missing

    def __getattr__(self, name):
        return self()

    def __call__(self):
        wait_forever()


class Finalized:
    def __del__(self):
        wait_forever()


def in_finalizer():
    Finalized()


def many_lines():
    return (
        1,
        next(
            wait_forever(
                *[
                ],
            )
            for _ in "x"
        ),
    )


def größe():
    def 𠀀():
        wait_forever()
    𠀀()


class Importer:
    """Makes importing any module block, with the import system's own frames around it."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "a_module_that_blocks":
            from importlib.machinery import ModuleSpec
            return ModuleSpec(name, Importer)

    @staticmethod
    def create_module(spec):
        return None

    @staticmethod
    def exec_module(module):
        exec(compile("\n\nwait_forever()", "/made/up/module.py", "exec"), globals())


def importing():
    import a_module_that_blocks


# Lines far apart, forward and back; instructions beyond 65,536.
made = ["def far():", "    x = 0"]
made += ["    x += 1"] * 9000 + [""] * 500 + ["    back(x)"]
made += ["def back(x):", "    return wait_forever("] + [""] * 400 + ["        x)"]
exec(compile("\n".join(made), "<made>", "exec"))


def sleeper():
    here()
    time.sleep(3600)  # blocks


def reader():
    end = os.pipe()[0]
    here()
    os.read(end, 1)  # blocks


def renamed():
    threading.current_thread().name = "its new name"
    wait_forever()


def start(name, function, *arguments):
    threading.Thread(target=function, args=arguments, name=name, daemon=True).start()


def is_settled(frame):
    return linecache.getline(__file__, frame.f_lineno).endswith("# blocks\n")


def report(count):
    frames = {}
    while len(frames) < count or not all(map(is_settled, frames.values())):
        time.sleep(0.01)
        frames = sys._current_frames()
        del frames[_thread.get_ident()]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in frames.items():
        stack = []
        while frame:
            code = frame.f_code
            qualified = getattr(code, "co_qualname", code.co_name)
            stack.append([qualified, code.co_name, code.co_filename, frame.f_lineno])
            frame = frame.f_back
        print(json.dumps([tids[ident], ident, names.get(ident), stack]))
    print("READY", flush=True)


def main():
    sys.meta_path.insert(0, Importer)
    start("deep", deep, 10)
    start("deeper", deep, 300)
    start("generator", in_generator)
    worker = Worker(name="w\u00f6rker \u4e16\u754c \U0001f40d", daemon=True)
    worker.start()
    start("callback", called_back)
    start("cached", cached)
    start("coroutine", in_coroutine)
    start("class body", in_class_body)
    start("handler", in_handler)
    start("magic", lambda: Magic().value)
    start("finalizer", in_finalizer)
    start("many lines", many_lines)
    start("n" * 300, größe)
    start("importing", importing)
    start("far", far)
    start("sleeper", sleeper)
    start("reader", reader)
    start("renamed", renamed)
    _thread.start_new_thread(wait_forever, ())
    concurrent.futures.ThreadPoolExecutor(1, "pool").submit(wait_forever)
    threading.Timer(0, wait_forever).start()
    start("reporter", report, 22)
    wait_forever()


main()
