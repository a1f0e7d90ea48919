"""Lossless delivery: the producer waits, and nothing is lost."""

import os
import queue
import signal
import threading

import numpy as np
import pytest
from helpers import word

import ipcq


@pytest.fixture
def out():
    with ipcq.Producer(
        "q", capacity=8, message_size=8, delivery="lossless", max_consumers=2
    ) as producer:
        yield producer


def fill(out):
    """Pushes until the queue is full. Returns how many messages were pushed."""
    first = out.next_sequence
    while True:
        try:
            out.push(word(out.next_sequence))
        except ipcq.Full:
            return out.next_sequence - first


def test_full(out):
    with ipcq.Consumer("q", consumer_name="slow") as slow, ipcq.Consumer("q") as fast:
        assert fill(out) == 8
        with pytest.raises(queue.Full):
            out.put_nowait(word(8))
        with pytest.raises(ipcq.Full):
            out.put(word(8), timeout=0.001)
        with pytest.raises(ipcq.Full):
            out.push_many([word(8)])
        with pytest.raises(ipcq.Full):
            out.claim()
        for call in (
            out.push,
            out.put_nowait,
            lambda m: out.put(m, timeout=0),
            lambda _: out.claim(),
        ):
            with pytest.raises(ipcq.Full) as caught:
                call(word(8))
            assert "q: the queue is full: it waits for consumer" in str(caught.value)
            assert f"(process {os.getpid()}), which is 8 messages behind" in str(caught.value)
        assert [fast.get() for _ in range(8)] == [word(n) for n in range(8)]
        assert fill(out) == 0
        assert [(c.name, c.sequence, c.lag, c.lost) for c in out.consumers()] == [
            ("slow", 0, 8, 0),
            ("", 8, 0, 0),
        ]
        assert out.consumers() == fast.consumers()
        assert out.consumers()[0].pid == os.getpid()
        assert "slow" in repr(out.consumers()[0])
        assert out.stats.consumers == slow.stats.consumers == 2
        with pytest.raises(ipcq.Error, match="max_consumers"):
            ipcq.Consumer("q")
        with ipcq.Consumer("q", observer=True) as observer:
            assert observer.pop() == word(0)
        with slow.peek() as view:
            assert fill(out) == 0
            assert view.read() == word(0)
        assert fill(out) == 1
        assert slow.stats.lost == 0


def test_a_producer_waits(out):
    count = 20_000
    received = []

    def consume():
        with ipcq.Consumer("q") as q:
            ready.set()
            for message in q:
                received.append(message)
            assert q.stats.lost == 0

    ready = threading.Event()
    thread = threading.Thread(target=consume)
    thread.start()
    ready.wait()
    for n in range(count):
        out.put(word(n))
    batch = np.arange(count, 2 * count, dtype="<u8")
    assert out.push_many(batch, timeout=None) == count
    assert out.push_many(map(word, range(2 * count, 2 * count + 100)), timeout=None) == 100
    out.close()
    thread.join()
    assert received == [word(n) for n in range(2 * count + 100)]


def test_as_much_as_fits(out):
    with ipcq.Consumer("q") as q:
        batch = np.arange(20, dtype="<u8")
        assert out.push_many(batch) == 8
        assert q.pop_many() == [word(n) for n in range(8)]
        assert out.push_many(batch[8:], timeout=0.001) == 8


def test_first_wrap_waits():
    with ipcq.Producer(
        "q", capacity=8, delivery="lossless", message_size=8, min_consumers=1
    ) as out:
        assert fill(out) == 8
        with ipcq.Consumer("q") as q:
            assert q.pop() == word(0)
            assert fill(out) == 1
    with pytest.raises(ValueError, match="min_consumers"):
        ipcq.Producer("other", min_consumers=1)


def test_eviction():
    with (
        ipcq.Producer(
            "q", capacity=8, delivery="lossless", message_size=8, evict_after=0.001
        ) as out,
        ipcq.Consumer("q") as q,
    ):
        for n in range(100):
            out.put(word(n))
        m = next(q.messages())
        assert m.lost == m.sequence > 0
        assert m.data == word(m.sequence)
    with pytest.raises(ValueError, match="evict_after"):
        ipcq.Producer("other", evict_after=-1)
    with pytest.raises(ipcq.UsageError, match="evict_after is for lossless queues"):
        ipcq.Producer("other", evict_after=1)


CONSUMER = """if 1:
    import sys, ipcq
    with ipcq.Consumer("q", consumer_name="child") as q:
        print("attached")
        sys.stdin.readline()
"""


def test_the_dead_are_dropped(out, child):
    there = child(CONSUMER)
    assert there.line() == "attached"
    assert fill(out) == 8
    there.process.send_signal(signal.SIGSTOP)
    with pytest.raises(ipcq.Full):
        out.put(word(8), timeout=0.2)
    assert [(c.name, c.pid) for c in out.consumers()] == [("child", there.pid)]
    there.process.kill()
    there.process.wait()
    out.put(word(8), timeout=60)
    assert out.consumers() == []


def test_interrupted_while_full(out):
    with ipcq.Consumer("q"):
        fill(out)

        def interrupt(_signal, _frame):
            raise KeyError("interrupted")

        before = signal.signal(signal.SIGALRM, interrupt)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            with pytest.raises(KeyError):
                out.put(word(8))
        finally:
            signal.signal(signal.SIGALRM, before)
        assert out.next_sequence == 8
