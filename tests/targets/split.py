"""CPU time split 70/20/10 between three functions, first in slices of milliseconds, then of microseconds.

split.py SECONDS [CLOCK]. Prints READY; at the end, for coarse() and fine(), a line `SPLIT <function> <its share> <name>
<its share> ...` of the time spent in them, as they have measured it by CLOCK (of the module time). Meanwhile a thread
sleeps.
"""
import sys
import threading
import time

clock = getattr(time, sys.argv[2] if sys.argv[2:] else "perf_counter")
spent = {}
NAMES = ("seventy", "twenty", "ten")
# The loop is in the function itself, so that all its time is that of its own line.
for name in NAMES:
    exec(compile("""
def %s(duration):
    start = now = clock()
    while now - start < duration:
        now = clock()
    spent["%s"] += now - start
""" % (name, name), "split_made.py", "exec"))


def coarse(end):
    while clock() < end:
        seventy(0.007)
        twenty(0.002)
        ten(0.001)


def fine(end):
    while clock() < end:
        seventy(0.000035)
        twenty(0.000010)
        ten(0.000005)


def sleep_all_the_time():
    while True:
        time.sleep(0.05)


def main(seconds):
    threading.Thread(target=sleep_all_the_time, daemon=True).start()
    print("READY", flush=True)
    for function in coarse, fine:
        spent.update(dict.fromkeys(NAMES, 0.0))
        start = clock()
        function(start + seconds / 2)
        wall = clock() - start
        print("SPLIT", function.__name__, *("%s %.6f" % (name, spent[name] / wall) for name in NAMES), flush=True)


main(float(sys.argv[1]))
