"""tasks.py SECONDS: an asyncio program, whose coroutines compute, await one another and sleep. Prints READY."""
import asyncio
import sys
import time


async def compute():
    end = time.perf_counter() + 0.01
    while time.perf_counter() < end:
        pass


async def middle():
    await compute()
    await asyncio.sleep(0.005)


async def job(end):
    while time.perf_counter() < end:
        await middle()


async def main(seconds):
    print("READY", flush=True)
    end = time.perf_counter() + seconds
    await asyncio.gather(*[job(end) for _ in range(2)])


asyncio.run(main(float(sys.argv[1])))
