"""Two threads hand the GIL to and fro until SIGTERM; then it prints `ENDED` and how often, and exits with 0."""
import signal
import threading
import time

done = False
rounds = [0, 0]


def stop(*_):
    global done
    done = True


def work(number):
    while not done:
        sum(range(1000))
        time.sleep(0.0005)
        rounds[number] += 1


signal.signal(signal.SIGTERM, stop)
threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
for thread in threads:
    thread.start()
print("READY", flush=True)
last = 0
while not done:
    time.sleep(0.01)
    now = sum(rounds)
    print("TICK %d" % (now - last), flush=True)
    last = now
for thread in threads:
    thread.join()
print("ENDED", min(rounds), flush=True)
