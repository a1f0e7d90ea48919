"""Shared by the Python benchmarks: arguments, pinning, messages that can be checked, JSON."""

import json
import os
import signal
import struct
import subprocess
import sys
import time

STAMPS = struct.Struct("<Q")
SIZE = 64


def arg(name, otherwise):
    """The value of the argument name=value, as the type of the default."""
    for text in sys.argv[1:]:
        key, _, value = text.partition("=")
        if key == name:
            return type(otherwise)(value)
    return otherwise


def pin(side):
    os.sched_setaffinity(0, {arg(f"cpu{side}", side)})


def message(sequence):
    """A message like that of stamp() in benches/c/bench.h: two of its words are the sequence."""
    pattern = bytearray((i * 31 + 7) & 255 for i in range(SIZE))
    STAMPS.pack_into(pattern, 0, sequence)
    STAMPS.pack_into(pattern, SIZE - 8, sequence)
    return bytes(pattern)


def messages(count):
    middle = message(0)[8:-8]
    return [STAMPS.pack(i) + middle + STAMPS.pack(i) for i in range(count)]


def check(received, pushed, counted_lost):
    """Checks every byte, and received + lost = pushed. Returns how many messages were lost."""
    import numpy as np

    rows = np.frombuffer(b"".join(received), np.uint8).reshape(-1, SIZE)
    numbers = rows[:, :8].copy().view("<u8")[:, 0]
    last = rows[:, -8:].copy().view("<u8")[:, 0]
    middle = np.frombuffer(message(0)[8:-8], np.uint8)
    assert (numbers == last).all(), "torn"
    assert (rows[:, 8:-8] == middle).all(), "not what was sent"
    assert (np.diff(numbers.astype(np.int64)) > 0).all(), "out of order"
    lost = pushed - len(rows)
    assert lost == counted_lost, f"{lost} lost, but {counted_lost} counted"
    return lost


def report(peer, measure, **figures):
    print(json.dumps({"peer": peer, "measure": measure, "size": SIZE, **figures}))


def percentiles(samples):
    """The same points as print_percentiles() of benches/c/bench.h."""
    at = [0, 0.1, 1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 98, 99, 99.5, 99.9, 99.99, 100]
    samples = sorted(samples)
    points = [[p, samples[int((len(samples) - 1) * p / 100)]] for p in at]
    by = dict(map(tuple, points))
    return {"p50": by[50], "p99": by[99], "samples": len(samples), "percentiles": points}


def forked(work):
    """Runs work() in a forked process that ends with this one. Returns a function that joins it."""
    from ctypes import CDLL

    pid = os.fork()
    if pid == 0:
        CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)

    def join():
        _, status = os.waitpid(pid, 0)
        assert status == 0, "the other process failed"

    return join


class Barrier:
    """A barrier for two forked processes."""

    def __init__(self):
        self.pipes = [os.pipe(), os.pipe()]

    def meet(self, side):
        os.write(self.pipes[side][1], b"x")
        os.read(self.pipes[1 - side][0], 1)


class Feed:
    """A C program that pushes (benches/c/feed.c). It has opened the queue, and waits for go()."""

    def __init__(self, program, **arguments):
        words = [f"{key}={value}" for key, value in arguments.items()]
        self.process = subprocess.Popen(
            [program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout.readline() == b"ready\n", "feed failed"

    def go(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self):
        self.go()
        assert self.process.wait() == 0, "feed failed"


now = time.perf_counter_ns
