"""Measures one call of the module in one process, and a trivial method in C for comparison.

calls.py count=1000000
"""

from common import SIZE, arg, check, message, now, pin, report
from trivial import Trivial

import ipcq

CHUNK = 512


def timed(call, *arguments):
    """The nanoseconds of one call, measured over a chunk of calls in a loop."""
    numbers = range(CHUNK)
    if arguments:
        (data,) = arguments
        begun = now()
        for _ in numbers:
            call(data)
        return (now() - begun) / CHUNK
    begun = now()
    for _ in numbers:
        call()
    return (now() - begun) / CHUNK


def main():
    pin(0)
    name = f"calls.{now()}"
    trivial = Trivial()
    samples = {"push": [], "put": [], "pop": [], "get": [], "next": []}
    data = message(1)
    out = ipcq.Producer(name, capacity=4096, message_size=SIZE)
    q = ipcq.Consumer(name)
    received = 0
    for _ in range(arg("count", 1000000) // CHUNK):
        samples["push"].append(timed(out.push, data))
        samples["put"].append(timed(trivial.put, data))
        samples["pop"].append(timed(q.pop))
        samples["get"].append(timed(trivial.get))
        assert q.pop() is None, "not all messages were popped"
        received += CHUNK
        out.push_many(data * CHUNK)
        samples["next"].append(timed(q.__next__))
        received += CHUNK
    out.push(message(7))
    check([q.get()], 1, 0)
    stats = q.stats
    assert (stats.received, stats.lost, stats.lag) == (received + 1, 0, 0)
    out.close()
    ipcq.unlink(name)
    medians = {key: round(sorted(value)[len(value) // 2], 2) for key, value in samples.items()}
    report("ipcq", "calls", pushed=received + 1, received=received + 1, lost=0, **medians)


main()
