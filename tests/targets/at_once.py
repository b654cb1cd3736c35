"""Blocks as soon as it can, and ends."""
import time
time.sleep(0.05)
