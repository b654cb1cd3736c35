"""Two threads compress with one compressor, which has a lock that no variable leads to: it is inside an object written in C.

compressor.py. Prints READY. The module of these objects is `zlib`.
"""
import os
import threading
import time
import zlib

data = os.urandom(1 << 23)
compressor = zlib.compressobj(9)


def compress():
    while True:
        compressor.compress(data)


for number in range(2):
    threading.Thread(target=compress, name="compressing-%d" % number, daemon=True).start()
print("READY", flush=True)
time.sleep(1000)
