"""Threads blocked at known lines, in every way a stack can look. Prints READY and waits to be killed."""
import os
import sys
import threading
import time

lock = threading.Lock()
lock.acquire()
started = []


def wait_forever():
    started.append(1)
    lock.acquire()


def deep(depth):
    if depth:
        return deep(depth - 1)
    wait_forever()


def generator():
    yield 1
    wait_forever()
    yield 2


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


def through_c():
    # sorted() calls back from C
    sorted([2, 1], key=lambda item: wait_forever())


async def coroutine():
    await nested()


async def nested():
    wait_forever()


def in_coroutine():
    try:
        coroutine().send(None)
    except StopIteration:
        pass


def sleeper():
    started.append(1)
    time.sleep(3600)


def reader(fd):
    started.append(1)
    os.read(fd, 1)


def main():
    threads = [
        threading.Thread(target=deep, args=(10,), name="deep"),
        threading.Thread(target=deep, args=(300,), name="deeper"),
        threading.Thread(target=in_generator, name="generator"),
        Worker(name="w\u00f6rker \u4e16\u754c"),
        threading.Thread(target=through_c, name="callback"),
        threading.Thread(target=in_coroutine, name="coroutine"),
        threading.Thread(target=sleeper, name="sleeper"),
        threading.Thread(target=reader, args=(os.pipe()[0],), name="reader"),
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    while len(started) < len(threads):
        time.sleep(0.01)
    time.sleep(0.1)
    frames = sys._current_frames()
    names = {thread.ident: thread.name for thread in threads}
    for ident, frame in frames.items():
        if ident in names:
            stack = []
            while frame:
                stack.append("%s:%d" % (frame.f_code.co_name, frame.f_lineno))
                frame = frame.f_back
            sys.stdout.buffer.write(("STACK\t%s\t%s\n" % (names[ident], " ".join(stack))).encode("utf-8"))
    sys.stdout.buffer.write(b"READY\n")
    sys.stdout.buffer.flush()
    time.sleep(3600)


main()
