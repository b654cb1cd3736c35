"""Threads whose functions, files, names and locks are called what a terminal, a page or a parser might obey.

hostile_names.py SECONDS [LIBRARY]. LIBRARY is a copy of the extension module _random: a thread works in it with the GIL.
"""
import ctypes
import importlib.machinery
import importlib.util
import sys
import threading
import time

NAMES = [
    "\x1b]0;OWNED\x07",
    "\x1b[2J\x1b[1;31mALARM\x1b[0m",
    "</script><img src=x onerror=alert(1)>",
    "two\nlines\rand\ttabs",
    "\u202etxt.exe\u2066",
    "\"'&<>]]>--><!--",
    "\x9b31mC1\x7f",
    "par\u2028a\u2029graph",
    ";semi;colon 99",
    "zero\u200b\u200d\u2060\ufeffwidth",
    "tag\U000e0041\U000e0042",
    "not\ufffe\uffff\ufdd0characters",
    "Z\u0301" + "\u0302" * 300 + "algo",
    "wide\u7ebf\u7a0b\u540d",
    "long" + "g" * 100000,
    "lone\udc80\ud800surrogate",
]
SOURCE = """
def work(lock):
    while time.perf_counter() < end:
        with lock:
            for number in range(20000):
                pass
            time.sleep(0.004)
"""


class Holder:
    pass


end = time.perf_counter() + float(sys.argv[1])
holder, threads = Holder(), []
for name in NAMES:
    scope = {"time": time, "end": end}
    exec(compile(SOURCE, name, "exec"), scope)
    function = scope["work"]
    named = {"co_name": name}
    if hasattr(function.__code__, "co_qualname"):
        named["co_qualname"] = name
    function.__code__ = function.__code__.replace(**named)
    lock = threading.Lock()
    setattr(holder, name, lock)
    globals()[name] = lock
    threads += [threading.Thread(target=function, args=(lock,), name=name, daemon=True) for _ in range(2)]


def in_library(path):
    loader = importlib.machinery.ExtensionFileLoader("_random", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_random", loader, origin=path))
    loader.exec_module(module)
    numbers = module.Random()
    while time.perf_counter() < end:
        numbers.getrandbits(1 << 22)


if len(sys.argv) > 2:
    threads.append(threading.Thread(target=in_library, args=(sys.argv[2],), name=NAMES[0], daemon=True))
# PR_SET_NAME: at most 15 bytes.
ctypes.CDLL(None).prctl(15, b"\x1b[31m\xe2\x80\xaeco\n", 0, 0, 0)
for thread in threads:
    thread.start()
print("READY", flush=True)
for thread in threads:
    thread.join()
