"""Starts children one after the other, most of which live only for a moment.

brief_children.py FORKS RUNS SECONDS: forks this often (each child computes a little), runs another Python this often (which
does nothing), and in the end works for some time. Prints READY before the first, and STARTED after the last.
"""
import os
import subprocess
import sys
import time

print("READY", flush=True)
time.sleep(0.7)
forks, runs, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
for _ in range(forks):
    child = os.fork()
    if child == 0:
        sum(range(20_000))
        os._exit(0)
    os.waitpid(child, 0)
for _ in range(runs):
    subprocess.run([sys.executable, "-S", "-c", "pass"], check=True)
print("STARTED", flush=True)
until = time.monotonic() + seconds
while time.monotonic() < until:
    sum(range(1000))
