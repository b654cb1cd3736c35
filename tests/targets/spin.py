"""spin.py SECONDS [CODE]: runs for so long and exits with CODE. Prints READY."""
import sys
import time


def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


print("READY", flush=True)
spin(float(sys.argv[1]))
sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
