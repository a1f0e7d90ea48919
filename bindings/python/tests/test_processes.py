"""Several processes, threads, signals, and the files that stay."""

import os
import signal
import struct
import sys
import threading

import pytest
from helpers import is_asleep

import ipcq

PRODUCER = """if 1:
    import sys, struct, ipcq
    first, count = int(sys.argv[1]), int(sys.argv[2])
    out = ipcq.Producer("far", capacity=1 << 12, message_size=64)
    print(out.next_sequence)
    for n in range(first, first + count):
        out.push(struct.pack("<Q", n) * 8)
    print("pushed")
    sys.stdin.readline()
"""


def record(n):
    return struct.pack("<Q", n) * 8


def test_contents_across_processes(child):
    count = 200_000
    code = """if 1:
        import sys, struct, ipcq
        out = ipcq.Producer("far", capacity=1 << 12, message_size=64)
        sys.stdin.readline()
        for n in range(int(sys.argv[1])):
            out.push(struct.pack("<Q", n) * 8)
    """
    there = child(code, count)
    q = ipcq.Consumer("far", open_timeout=60)
    there.process.stdin.write("go\n")
    there.process.stdin.flush()
    expected = received = 0
    messages = q.messages()
    while True:
        try:
            m = next(messages)
        except StopIteration:
            break
        assert m.sequence == expected + m.lost
        assert m.data == record(m.sequence)
        expected = m.sequence + 1
        received += 1
    assert expected == count
    s = q.stats
    assert (s.received, s.received + s.lost, s.lag) == (received, count, 0)
    there.end()


def test_kill_and_reopen(child, until):
    first = child(PRODUCER, 0, 1000)
    q = ipcq.Consumer("far", open_timeout=60)
    assert first.line() == "0"
    assert first.line() == "pushed"
    os.kill(first.pid, signal.SIGKILL)
    first.end(-signal.SIGKILL)
    assert q.pop_many(10_000) == [record(n) for n in range(1000)]
    assert q.pop() is None
    assert not q.stats.producer_alive
    assert not q.stats.closed
    second = child(PRODUCER, 1000, 500)
    assert second.line() == "1000"
    assert second.line() == "pushed"
    assert q.stats.producer_alive
    assert q.pop_many(10_000) == [record(n) for n in range(1000, 1500)]
    second.end()
    with pytest.raises(ipcq.Closed):
        q.get()
    s = q.stats
    assert (s.received, s.lost, s.lag, s.epoch) == (1500, 0, 0, 2)


@pytest.mark.parametrize(
    "wait",
    [
        "q.get()",
        "q.get(timeout=1e9)",
        "next(q)",
        "next(q.messages())",
        "next(ipcq.Consumer('pair', dtype='u8').records())",
        "q.view()",
        "q.wait()",
        "q.wait(at_least=5)",
        "ipcq.wait_any([q, ipcq.Consumer('pair')])",
        "asyncio.run(q.aget())",
        "asyncio.run(q.batches().__anext__())",
        "asyncio.run(q.messages().__anext__())",
        "next(q.batches())",
        "next(q.batches(linger=1e6))",
        "full().put(bytes(8))",
        "full().push_many(bytes(80), timeout=None)",
        "asyncio.run(full().aput(bytes(8)))",
        "ipcq.Consumer('nothing', open_timeout=None)",
    ],
)
def test_ctrl_c(child, pair, wait, until):
    code = f"""if 1:
        import asyncio, ipcq, signal, sys

        def full():
            global of_full
            out = ipcq.Producer("full", capacity=2, message_size=8, delivery="lossless")
            of_full = ipcq.Consumer("full")
            out.push_many(bytes(16))
            return out

        # A shell starts background processes with SIGINT ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        q = ipcq.Consumer("pair")
        try:
            print("waiting")
            {wait}
        except KeyboardInterrupt:
            sys.exit(7)
    """
    there = child(code)
    assert there.line() == "waiting"

    until(lambda: is_asleep(there.pid))
    os.kill(there.pid, signal.SIGINT)
    there.end(7)


def test_a_sleeping_consumer_gets_it(child):
    code = """if 1:
        import ipcq, sys
        q = ipcq.Consumer("late", open_timeout=None)
        print(q.get())
        print(list(q))
    """
    there = child(code)
    with ipcq.Producer("late") as out:
        out.push(b"hello")
        assert there.line() == "b'hello'"
        out.push(b"world")
    assert there.end() == "[b'world']\n"


def test_other_threads_run_while_one_waits(pair):
    out, q = pair
    found = []
    waiter = threading.Thread(target=lambda: found.append(q.get(timeout=60)))
    waiter.start()
    out.push(b"12345678")
    waiter.join(60)
    assert found == [b"12345678"]


def test_close_ends_a_wait_in_another_thread(pair):
    _, q = pair
    raised = []

    def wait():
        try:
            q.get(timeout=60)
        except ValueError as e:
            raised.append(e)

    waiter = threading.Thread(target=wait)
    waiter.start()
    q.close()
    waiter.join(60)
    assert len(raised) == 1


@pytest.mark.parametrize("size", [64, 100_000])
def test_threads_share_handles(size):
    """Each message goes to exactly one of the threads."""
    with ipcq.Producer("shared", capacity=1 << 28 if size > 64 else 1 << 23) as out:
        q = ipcq.Consumer("shared")
        each, threads = (500 if size > 64 else 5000), 4
        fill = bytes(size - 8)
        got = [[] for _ in range(threads)]
        errors = []
        done = threading.Event()

        def push(k):
            try:
                for n in range(each):
                    out.push(struct.pack("<II", k, n) + fill)
            except BaseException as e:
                errors.append(e)

        def pop(k):
            try:
                while not (done.is_set() and q.empty()):
                    m = q.pop()
                    if m is not None:
                        got[k].append(m[:8])
                    assert q.stats.lost == 0
            except BaseException as e:
                errors.append(e)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            pushers = [threading.Thread(target=push, args=(k,)) for k in range(threads)]
            poppers = [threading.Thread(target=pop, args=(k,)) for k in range(threads)]
            for t in pushers + poppers:
                t.start()
            for t in pushers:
                t.join(120)
            done.set()
            for t in poppers:
                t.join(120)
        finally:
            sys.setswitchinterval(interval)
        assert errors == []
        everything = sorted(m for part in got for m in part)
        wanted = sorted(struct.pack("<II", k, n) for k in range(threads) for n in range(each))
        assert everything == wanted


def test_without_numpy(child):
    code = """if 1:
        import sys
        sys.modules["numpy"] = None
        import ipcq
        with ipcq.Producer("q", message_size=4, capacity=64) as out, ipcq.Consumer("q") as q:
            out.push_many(b"abcdefgh")
            buffer = bytearray(4)
            assert q.pop_into(buffer) == 1 and buffer == b"abcd"
            batch = next(q.batches())
            assert list(batch) == [b"efgh"]
        try:
            ipcq.Consumer("q", dtype="u4")
        except ImportError:
            print("fine")
    """
    assert child(code).end() == "fine\n"


def test_import_does_not_load_numpy(child):
    assert child("import ipcq, sys; print('numpy' in sys.modules)").end() == "False\n"
