"""CPU time split 70/20/10 between three functions, first in slices of milliseconds, then of microseconds.

split.py SECONDS [CLOCK]. Prints READY; at the end, for coarse() and fine(), a line `SPLIT <function> <its share> <name>
<its share> ...` of the time spent in them, as they have measured it by CLOCK (of the module time), and a line
`NO_CPU <function> <share>` of the time for which it could have gone on, had it had a CPU. Meanwhile a thread sleeps.
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


def run_delay():
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except OSError:
        # In another root.
        return 0.0


def main(seconds):
    threading.Thread(target=sleep_all_the_time, daemon=True).start()
    print("READY", flush=True)
    for function in coarse, fine:
        spent.update(dict.fromkeys(NAMES, 0.0))
        ready, begun, start = run_delay(), time.perf_counter(), clock()
        function(start + seconds / 2)
        wall = clock() - start
        ready = (run_delay() - ready) / (time.perf_counter() - begun)
        print("SPLIT", function.__name__, *("%s %.6f" % (name, spent[name] / wall) for name in NAMES), flush=True)
        print("NO_CPU %s %.6f" % (function.__name__, ready), flush=True)


main(float(sys.argv[1]))
