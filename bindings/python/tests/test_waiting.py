"""Consumers that sleep: one, several, by descriptor."""

import asyncio
import os
import resource
import select
import signal
import threading
import time

import pytest
from helpers import is_asleep, word

import ipcq


def asleep(thread):
    return is_asleep(f"self/task/{thread.native_id}")


def test_a_thread_that_sleeps_lets_the_others_run(pair, until):
    out, q = pair
    got = []
    thread = threading.Thread(target=lambda: got.extend(q))
    thread.start()
    for n in range(50):
        until(lambda: asleep(thread))
        out.push(word(n))
        until(lambda n=n: len(got) == n + 1)
    # Others may use the handle meanwhile.
    until(lambda: asleep(thread))
    assert q.try_pop() is None
    assert q.stats.received == 50
    out.close()
    thread.join()
    assert got == [word(n) for n in range(50)]


def test_closing_the_handle_ends_a_wait(pair, until):
    _, q = pair
    raised = []

    def wait():
        try:
            q.pop()
        except ValueError as e:
            raised.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: asleep(thread))
    q.close()
    thread.join()
    assert "closed" in str(raised[0])


def test_a_signal_handler_runs_and_the_wait_goes_on(pair):
    out, q = pair
    before = signal.signal(signal.SIGALRM, lambda *_: out.push(word(9)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert q.pop(timeout=30) == word(9)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_sleeping_costs_no_processor_time(pair):
    _, q = pair
    usage = resource.getrusage(resource.RUSAGE_SELF)
    since = time.monotonic()
    assert q.wait(2) is False
    took = time.monotonic() - since
    after = resource.getrusage(resource.RUSAGE_SELF)
    used = after.ru_utime + after.ru_stime - usage.ru_utime - usage.ru_stime
    assert took >= 2
    assert used / took < 0.001


def test_wait_any():
    outs = [ipcq.Producer(f"q{i}", capacity=64, message_size=8) for i in range(5)]
    qs = [ipcq.Consumer(f"q{i}") for i in range(5)]
    with pytest.raises(ipcq.Empty):
        ipcq.wait_any(qs, 0)
    with pytest.raises(ipcq.Empty):
        ipcq.wait_any(qs, timeout=0.02)
    for i in (3, 0, 4):
        outs[i].push(word(i))
        assert ipcq.wait_any(qs) == i
        assert ipcq.wait_any([qs[i], qs[i]], 0) == 0
        assert qs[i].try_pop() == word(i)
    outs[2].close()
    assert ipcq.wait_any(qs) == 2
    with pytest.raises(ipcq.Closed):
        qs[2].try_pop()
    for wrong in ([], qs * 26):
        with pytest.raises(ValueError, match="from 1 to 128"):
            ipcq.wait_any(wrong, 0)
    with pytest.raises(TypeError):
        ipcq.wait_any([outs[0]], 0)
    qs[1].close()
    with pytest.raises(ValueError, match="closed"):
        ipcq.wait_any(qs, 0)


def test_wait_any_sleeps_until_one_has_something(until):
    outs = [ipcq.Producer(f"q{i}", capacity=64, message_size=8) for i in range(3)]
    qs = [ipcq.Consumer(f"q{i}") for i in range(3)]
    got = []

    def collect():
        while len(got) < 30:
            i = ipcq.wait_any(qs)
            got.append((i, qs[i].try_pop()))

    thread = threading.Thread(target=collect)
    thread.start()
    for n in range(30):
        until(lambda: asleep(thread))
        outs[n % 3].push(word(n))
        until(lambda n=n: len(got) == n + 1)
    thread.join()
    assert got == [(n % 3, word(n)) for n in range(30)]


def readable(fd, seconds=0):
    return bool(select.select([fd], [], [], seconds)[0])


def test_fileno(pair):
    out, q = pair
    fd = q.fileno()
    assert fd == q.fileno()
    assert not readable(q)
    for n in range(20):
        out.push(word(n))
        assert readable(q, 30)
        assert q.pop() == word(n)
        assert readable(q)
        assert q.try_pop() is None
        assert not readable(q)
    out.close()
    assert readable(q, 30)
    with pytest.raises(ipcq.Closed):
        q.try_pop()
    q.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(fd)
    with pytest.raises(ValueError, match="closed"):
        q.fileno()


def test_add_reader(pair):
    out, q = pair

    async def receive(count):
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        got = []

        def ready():
            while (message := q.try_pop()) is not None:
                got.append(message)
            if len(got) == count:
                done.set_result(got)

        loop.add_reader(q, ready)
        try:
            for n in range(count):
                out.push(word(n))
                await asyncio.sleep(0)
            return await asyncio.wait_for(done, 30)
        finally:
            loop.remove_reader(q)

    assert asyncio.run(receive(50)) == [word(n) for n in range(50)]
