"""A thread keeps the GIL for long turns while another beats every few milliseconds.

keeps_gil.py SECONDS WHAT. WHAT: `call`, turns of one C call that does not look whether it is asked to release the GIL, or
`python`, turns as long of Python code, which does. Prints READY; at the end `KEPT <turns> <mean seconds>`.
"""
import re
import sys
import threading
import time

seconds, what = float(sys.argv[1]), sys.argv[2]
pattern = re.compile(r"(x+)+$")
subject = "x" * 12 + "y"
# Until a match takes a tenth of a second of CPU time.
while True:
    began = time.process_time()
    pattern.match(subject)
    if time.process_time() - began > 0.06:
        break
    subject = "x" + subject
turns = []
end = time.perf_counter() + seconds


def call():
    pattern.match(subject)


def python():
    until = time.thread_time() + 0.1
    while time.thread_time() < until:
        pass


def keeper():
    turn = {"call": call, "python": python}[what]
    while time.perf_counter() < end:
        before = time.thread_time()
        turn()
        turns.append(time.thread_time() - before)
        time.sleep(0.01)


def beating():
    while time.perf_counter() < end:
        time.sleep(0.005)


print("READY", flush=True)
threads = [threading.Thread(target=function, name=function.__name__) for function in (keeper, beating)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("KEPT %d %.6f" % (len(turns), sum(turns) / len(turns)), flush=True)
