"""churn.py SECONDS: threads that come and go, some hundreds a second, and now and then one that lives for 0.15 s.

Prints READY; at the end `THREADS <how many>`.
"""
import sys
import threading
import time

clock = time.perf_counter
end = clock() + float(sys.argv[1])
count = 0


def live_shortly(seconds):
    until = clock() + seconds
    while clock() < until:
        pass


def live_longer():
    while clock() < end:
        thread = threading.Thread(target=time.sleep, args=(0.15,), name="long %f" % clock())
        thread.start()
        thread.join()


def start_threads():
    global count
    while clock() < end:
        threads = []
        for number in range(10):
            count += 1
            # Most never get a turn of their own before they are to end.
            seconds = (0, 0, 0.0005, 0.002)[count % 4]
            thread = threading.Thread(target=live_shortly, args=(seconds,), name="short %d" % count)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()


print("READY", flush=True)
threading.Thread(target=live_longer).start()
start_threads()
print("THREADS", count, flush=True)
