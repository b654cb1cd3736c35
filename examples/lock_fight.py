#!/usr/bin/env python3
"""Four worker threads that share one lock, and hold it while they wait for a disk.

Each prepares a record, which takes next to no time, and appends it to a file with the lock held: 3 ms, because it
waits for the disk each time. So the lock is always taken, and four workers get no more done than one.

Usage: python3 lock_fight.py [SECONDS]

Look at it with (in memory mode, which does not know locks, `--view wall`):

    gilscope record --view lock-wait --threads -o profile.svg -- python3 lock_fight.py
    gilscope dump --pid $(pgrep -f lock_fight.py)
"""
import sys
import tempfile
import threading
import time

stop = threading.Event()


class Journal:
    """A file that several threads write to."""

    def __init__(self):
        self.lock = threading.Lock()
        self.file = tempfile.TemporaryFile("w")
        self.records = 0

    def append(self, record):
        with self.lock:
            self.write(record)

    def write(self, record):
        self.file.write(record + "\n")
        self.file.flush()
        wait_for_disk()
        self.records += 1


def wait_for_disk():
    time.sleep(0.003)  # a slow disk, so that it is the same everywhere


def prepare(number):
    return "%d %d" % (number, sum(range(number % 1000)))


def work(journal):
    number = 0
    while not stop.is_set():
        journal.append(prepare(number))
        number += 1


def run(seconds, workers):
    """Records a second that so many workers write."""
    journal = Journal()
    threads = [threading.Thread(target=work, args=(journal,), name="worker-%d" % (index + 1))
               for index in range(workers)]
    stop.clear()
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in threads:
        thread.join()
    return journal.records / seconds


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    print("1 worker writes %.0f records a second" % run(seconds / 10, 1))
    print("now for %g s there are 4, with one lock" % seconds)
    print("4 workers wrote %.0f records a second" % run(seconds, 4))


main()
