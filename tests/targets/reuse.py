"""Functions that are made, called and thrown away, so that the next ones get the memory of their code.

reuse.py SECONDS. Prints READY. In `made_N.py`, N a multiple of 10, `outer_N` at line N + 1 calls `inner_N` at lines
N + 2 and N + 3: in a true stack all these numbers agree.
"""
import sys
import time

clock = time.perf_counter


def run_pairs(seconds):
    end = clock() + seconds
    number = 0
    while clock() < end:
        # The numbers come back, so that there are not too many names; never soon.
        number = (number + 10) % 5000
        source = "\n" * number + "def outer_%d(end): inner_%d(end)\ndef inner_%d(end):\n while clock() < end: pass"
        space = {"clock": clock}
        exec(compile(source % (number, number, number), "made_%d.py" % number, "exec"), space)
        space["outer_%d" % number](clock() + 0.0007)


print("READY", flush=True)
run_pairs(float(sys.argv[1]))
