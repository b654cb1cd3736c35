"""A thread that runs for 10 ms through two chains of 20 tiny functions called in turn, then sleeps for 10 ms.

Prints READY; at the end `BUSY <busy seconds> <wall seconds>`. Every stack it ever has is a prefix of one chain.
"""
import sys
import time

clock = time.perf_counter
DEPTH = 20
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


def main(seconds):
    print("READY", flush=True)
    start = clock()
    spent = 0.0
    while clock() - start < seconds:
        begin = clock()
        busy(begin + 0.010)
        spent += clock() - begin
        time.sleep(0.010)
    print("BUSY %.6f %.6f" % (spent, clock() - start), flush=True)


main(float(sys.argv[1]))
