"""signalled.py SECONDS: a thread gets signals one after the other while others call functions. Prints READY, and in the end LOST
with how many signals never arrived, and SENT with how many there were."""
import signal
import sys
import threading
import time

SIGNALS = [signal.SIGTRAP, signal.SIGUSR1, signal.SIGWINCH, signal.SIGRTMIN + 3]
PATIENCE = 2.0

arrived = dict.fromkeys(SIGNALS, 0)


def handle(number, _frame):
    arrived[number] += 1


def climb(depth):
    return climb(depth - 1) + 1 if depth else 0


def keep_calling(end):
    while time.perf_counter() < end:
        climb(8)


def main():
    for number in SIGNALS:
        signal.signal(number, handle)
    end = time.perf_counter() + float(sys.argv[1])
    print("READY", flush=True)
    threads = [threading.Thread(target=keep_calling, args=(end,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    sent = lost = 0
    while time.perf_counter() < end:
        for number in SIGNALS:
            before = arrived[number]
            signal.pthread_kill(threading.get_ident(), number)
            sent += 1
            until = time.perf_counter() + PATIENCE
            while arrived[number] == before and time.perf_counter() < until:
                climb(4)
            lost += arrived[number] == before
    for thread in threads:
        thread.join()
    print("LOST %d" % lost)
    print("SENT %d" % sent, flush=True)


if __name__ == "__main__":
    main()
