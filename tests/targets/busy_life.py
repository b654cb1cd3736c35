"""Does everything a profiler could disturb, and counts what came of it.

busy_life.py. Prints READY; at the end `DONE` and the counts, which are the same every time.
"""
import os
import signal
import subprocess
import sys
import threading
import time

THREADS, FORKS, EXECS, SIGNALS, SLEEPS = 200, 20, 5, 1000, 100
counts = dict.fromkeys(["threads", "forks", "execs", "signals", "alarms", "sleeps", "pipes"], 0)
lock = threading.Lock()


def count(what):
    with lock:
        counts[what] += 1


def busy(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(10))


def work(depth):
    if depth:
        return work(depth - 1)
    busy(0.001)
    count("threads")


def start_threads():
    for _ in range(THREADS // 10):
        threads = [threading.Thread(target=work, args=(depth,)) for depth in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def fork():
    for number in range(FORKS):
        pid = os.fork()
        if pid == 0:
            busy(0.005)
            os._exit(number)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == number:
            count("forks")


def execute():
    for number in range(EXECS):
        if subprocess.call([sys.executable, "-I", "-S", "-c", "raise SystemExit(%d)" % number]) == number:
            count("execs")


def get_signals():
    signal.signal(signal.SIGUSR1, lambda *_: count_signal("signals"))
    for number in range(SIGNALS):
        os.kill(os.getpid(), signal.SIGUSR1)
        while counts["signals"] == number:
            sum(range(10))
    # A timer that is set anew by its own handler fires as often as it is set.
    signal.signal(signal.SIGALRM, again)
    signal.setitimer(signal.ITIMER_REAL, 0.001)
    while counts["alarms"] < 200:
        time.sleep(0.01)


def count_signal(what):
    # The main thread may hold the lock.
    counts[what] += 1


def again(*_):
    count_signal("alarms")
    if counts["alarms"] < 200:
        signal.setitimer(signal.ITIMER_REAL, 0.001)


def sleep():
    for _ in range(SLEEPS):
        start = time.monotonic()
        time.sleep(0.002)
        if time.monotonic() - start >= 0.002:
            count("sleeps")
        busy(0.001)


def talk():
    from_me, to_you = os.pipe()
    from_you, to_me = os.pipe()

    def echo():
        for _ in range(1000):
            os.write(to_me, os.read(from_me, 1))

    thread = threading.Thread(target=echo)
    thread.start()
    for _ in range(1000):
        os.write(to_you, b"x")
        counts["pipes"] += os.read(from_you, 1) == b"x"
    thread.join()


print("READY", flush=True)
for part in start_threads, fork, execute, get_signals, sleep, talk:
    part()
print("DONE", *("%s=%d" % item for item in sorted(counts.items())), flush=True)
sys.exit(7)
