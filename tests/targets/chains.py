"""A thread that runs for 10 ms through two chains of 20 tiny functions called in turn, then sleeps for 10 ms.

chains.py SECONDS. Prints READY; at the end `BUSY <least> <most> <wall>`, seconds of the time in run_chains(). Every
stack it has in there is run_chains() alone, or a prefix of one chain. A thread that wakes up late because there was no
CPU for it may be said to run or to sleep: the least and the most that it was busy.
"""
import sys
import time

clock = time.perf_counter
DEPTH = 20
LATE = 0.0001
source = []
for chain in "ab":
    source.append("def %s%d():\n    return 1\n" % (chain, DEPTH - 1))
    for level in reversed(range(DEPTH - 1)):
        source.append("def %s%d():\n    return %s%d()\n" % (chain, level, chain, level + 1))
exec(compile("".join(source), "chains_made.py", "exec"))


def busy(until):
    while clock() < until:
        a0()
        b0()


def run_chains(seconds):
    start = awake = clock()
    ran = late = 0.0
    while awake - start < seconds:
        busy(awake + 0.010)
        bed = clock()
        time.sleep(0.010)
        ran += bed - awake
        awake = clock()
        late += max(awake - bed - 0.010 - LATE, 0)
    print("BUSY %.6f %.6f %.6f" % (ran, ran + late, awake - start), flush=True)


print("READY", flush=True)
run_chains(float(sys.argv[1]))
