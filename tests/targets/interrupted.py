"""interrupted.py SECONDS: threads make system calls that the kernel does not restart after a stop, as a library written in C
does, between bursts of calls of Python functions. Prints READY, and in the end FAILED with how many failed with EINTR."""
import ctypes
import errno
import select
import socket
import struct
import sys
import threading
import time

LIBC = ctypes.CDLL(None, use_errno=True)
MILLISECONDS = 1


def three(depth):
    return three(depth - 1) + 1 if depth else 0


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
    calls = [
        lambda: LIBC.epoll_wait(queue.fileno(), events, 4, MILLISECONDS),
        lambda: LIBC.recv(receiver.fileno(), events, 4, 0),
    ]
    print("READY", flush=True)
    end, failed = time.perf_counter() + float(sys.argv[1]), []
    threads = [threading.Thread(target=live, args=(call, end, failed)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("FAILED %d" % len(failed), flush=True)
    del _sender


if __name__ == "__main__":
    main()
