"""interrupted.py SECONDS: threads make system calls as a library written in C does, most of which the kernel does not restart
after a stop, between bursts of calls of Python functions. Meanwhile they get signals that they ignore. Prints READY, and in
the end FAILED with how many failed with EINTR."""
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
MILLISECONDS = 1
TGKILL = 234


def three(depth):
    return three(depth - 1) + 1 if depth else 0


class Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def burst():
    for _ in range(300):
        three(5)


def live(call, end, failed):
    while time.perf_counter() < end:
        burst()
        ctypes.set_errno(0)
        if call() < 0 and ctypes.get_errno() == errno.EINTR:
            failed.append(call)


def main():
    queue = select.epoll()
    events = ctypes.create_string_buffer(64)
    receiver, _sender = socket.socketpair()
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 1000 * MILLISECONDS))
    short = ctypes.byref(Time(0, 1000 * 1000 * MILLISECONDS))
    nobody = ctypes.create_string_buffer(128)
    semaphore = LIBC.semget(0, 1, 0o600)
    decrement = ctypes.create_string_buffer(struct.pack("Hhh", 0, -1, 0))
    calls = [
        lambda: LIBC.epoll_wait(queue.fileno(), events, 4, MILLISECONDS),
        lambda: LIBC.recv(receiver.fileno(), events, 4, 0),
        lambda: LIBC.semtimedop(semaphore, decrement, 1, short),
        lambda: LIBC.sigtimedwait(nobody, None, short),
        lambda: LIBC.nanosleep(short, None),
        lambda: LIBC.poll(None, 0, MILLISECONDS),
    ]
    print("READY", flush=True)
    end, failed = time.perf_counter() + float(sys.argv[1]), []
    threads = [threading.Thread(target=live, args=(call, end, failed)) for call in calls]
    for thread in threads:
        thread.start()
    # Ignored unless somebody handles it.
    while any(thread.is_alive() for thread in threads):
        for thread in threads:
            LIBC.syscall(TGKILL, os.getpid(), thread.native_id, signal.SIGWINCH)
        time.sleep(0.002)
    for thread in threads:
        thread.join()
    LIBC.semctl(semaphore, 0, 0)
    print("FAILED %d" % len(failed), flush=True)
    del _sender


if __name__ == "__main__":
    main()
