"""Consumers that sleep: one of them, several of them, and on a descriptor."""

import _thread
import asyncio
import os
import resource
import select
import signal
import sys
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
    # Other threads may use the handle while one waits.
    until(lambda: asleep(thread))
    assert q.pop() is None
    assert q.stats.received == 50
    out.close()
    thread.join()
    assert got == [word(n) for n in range(50)]


def test_closing_the_handle_ends_a_wait(pair, until):
    _, q = pair
    raised = []

    def wait():
        try:
            q.get()
        except ValueError as e:
            raised.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: asleep(thread))
    q.close()
    thread.join()
    assert "closed" in str(raised[0])


def test_a_signal_handler_runs_and_the_wait_continues(pair):
    out, q = pair
    before = signal.signal(signal.SIGALRM, lambda *_: out.push(word(9)))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert q.get(timeout=30) == word(9)
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
        assert qs[i].pop() == word(i)
    outs[2].close()
    assert ipcq.wait_any(qs) == 2
    with pytest.raises(ipcq.Closed):
        qs[2].pop()
    for wrong in ([], qs * 26):
        with pytest.raises(ValueError, match="from 1 to 128"):
            ipcq.wait_any(wrong, 0)
    with pytest.raises(TypeError):
        ipcq.wait_any([outs[0]], 0)
    qs[1].close()
    with pytest.raises(ValueError, match="closed"):
        ipcq.wait_any(qs, 0)


@pytest.mark.parametrize(
    ("count", "shown"), [(1, "q0"), (4, "q0, q1, q2, q3"), (6, "q0, q1, q2, q3 and 2 more")]
)
def test_wait_any_names_the_queues(count, shown):
    outs = [ipcq.Producer(f"q{i}") for i in range(count)]
    qs = [ipcq.Consumer(out.name) for out in outs]
    with pytest.raises(ipcq.Empty, match=f"^{shown}: "):
        ipcq.wait_any(qs, 0)


def test_a_wait_for_a_queue_to_appear_looks_seldom(child):
    """The same as in C: after the first moment, one attempt every 20 ms, after one sleep."""
    code = """if True:
    import ipcq, resource
    before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
    try:
        ipcq.Consumer("nothing", open_timeout=1)
    except FileNotFoundError:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
    """
    assert int(child(code).end()) < 250


def test_wait_any_sleeps_until_one_has_something(until):
    outs = [ipcq.Producer(f"q{i}", capacity=64, message_size=8) for i in range(3)]
    qs = [ipcq.Consumer(f"q{i}") for i in range(3)]
    got = []

    def collect():
        while len(got) < 30:
            i = ipcq.wait_any(qs)
            got.append((i, qs[i].pop()))

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
        assert q.pop() is None
        assert not readable(q)
    out.close()
    assert readable(q, 30)
    with pytest.raises(ipcq.Closed):
        q.pop()
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
            while (message := q.pop()) is not None:
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


class Stop(Exception):
    """A signal handler raises it."""


def full():
    out = ipcq.Producer("full", capacity=2, message_size=8, delivery="lossless")
    out.push_many(bytes(16))
    return out


# Calls that wait, and what ends the wait. `full` is a producer without room, `last` its consumer.
WAITS = {
    "get with a timeout": (lambda q, out: q.get(timeout=60), "push"),
    "get": (lambda q, out: q.get(), "push"),
    "messages": (lambda q, out: next(q.messages()), "push"),
    "for": (lambda q, out: next(q), "push"),
    "records": (lambda q, out: next(q.records()), "push"),
    "batches": (lambda q, out: next(q.batches()), "push"),
    "batches with linger": (lambda q, out: next(q.batches(linger=60)), "push"),
    "wait": (lambda q, out: q.wait(), "push"),
    "wait for more": (lambda q, out: q.wait(at_least=2), "push"),
    "wait_any": (lambda q, out: ipcq.wait_any([q, q]), "push"),
    "view": (lambda q, out: q.view(), "push"),
    "put": (lambda q, out: out.put(bytes(8)), "pop"),
    "push_many": (lambda q, out: out.push_many(bytes(16), timeout=None), "pop"),
    "push_many of a list": (lambda q, out: out.push_many([bytes(8)] * 2, timeout=60), "pop"),
    "open": (lambda q, out: ipcq.Consumer("later", open_timeout=None), "open"),
}


@pytest.mark.parametrize("at", ["asleep", "the end of the sleep"])
@pytest.mark.parametrize("wait", WAITS)
def test_a_handler_that_raises_ends_the_wait(wait, at, until):
    """No message is consumed or pushed, even if the sleep has just ended because of a message.

    In that case the signal is pending until the handler has run.
    """
    call, ended_by = WAITS[wait]
    out = ipcq.Producer("waits", capacity=64, dtype="u8")
    q = ipcq.Consumer("waits")
    blocked = full()
    last = ipcq.Consumer("full")
    main = threading.get_native_id()

    def stop(*_):
        raise Stop

    def end():
        until(lambda: is_asleep(f"self/task/{main}"))
        # No other thread runs before the signal is pending.
        sys.setswitchinterval(60)
        if at != "asleep":
            if ended_by == "push":
                out.push(word(7))
            elif ended_by == "pop":
                last.pop()
            else:
                ipcq.Producer("later").detach()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        sys.setswitchinterval(interval)

    interval = sys.getswitchinterval()
    before = signal.signal(signal.SIGUSR1, stop)
    thread = threading.Thread(target=end)
    try:
        with pytest.raises(Stop):
            thread.start()
            call(q, blocked)
            thread.join()
    finally:
        thread.join()
        signal.signal(signal.SIGUSR1, before)
    if at != "asleep" and ended_by == "push":
        assert q.pop_many() == [word(7)]
    assert q.pop() is None
    assert blocked.next_sequence == 2


def released(call, undo):
    """Whether another thread runs during a call."""
    gate, done = _thread.allocate_lock(), _thread.allocate_lock()
    gate.acquire()
    done.acquire()
    ran = []

    def other():
        while True:
            gate.acquire()
            ran.append(True)
            done.release()

    # It runs only if this thread releases the interpreter.
    interval = sys.getswitchinterval()
    _thread.start_new_thread(other, ())
    try:
        for _ in range(300):
            sys.setswitchinterval(60)
            gate.release()
            result = call()
            if ran:
                return True
            sys.setswitchinterval(interval)
            done.acquire()
            ran.clear()
            undo(result)
        return False
    finally:
        sys.setswitchinterval(interval)


BIG = 1 << 20


def nothing(_):
    pass


def test_what_takes_long_lets_other_threads_run():
    options = {"capacity": 16, "message_size": BIG}
    out, words = ipcq.Producer("big", **options), ipcq.Producer("words", capacity=16 * BIG)
    q, w = ipcq.Consumer("big"), ipcq.Consumer("words")
    memory = ipcq.SharedMemory("memory", create=True, size=4 * BIG)
    data, items, room = bytes(BIG), [bytes(1000)] * 1000, bytearray(BIG)
    out.push(data)

    def opened():
        return ipcq.Producer("other", **options)

    def close(handle):
        handle.close()

    def refill(_):
        out.push(data)
        words.push(data)
        words.push_many(items * 2)

    file = os.path.join(os.environ["IPCQ_DIR"], "ipcq.memory")

    def other_memory():
        return ipcq.SharedMemory("other memory", create=True, size=BIG)

    refill(None)
    calls = {
        "open a producer": (opened, close),
        "open a consumer": (lambda: ipcq.Consumer("big"), close),
        "close a producer": (lambda p=[]: opened().close(), nothing),
        "drop a consumer": (lambda: ipcq.Consumer("big") and None, nothing),
        "queues": (ipcq.queues, nothing),
        "push": (lambda: out.push(data), nothing),
        "put": (lambda: out.put(data), nothing),
        "push_many": (lambda: out.push_many(data), nothing),
        "push_many of short items": (lambda: words.push_many(items), nothing),
        "pop": (lambda: q.seek(out.next_sequence - 1) or q.pop(), nothing),
        "pop of any length": (lambda: w.pop(), lambda _: words.push(data)),
        "read of a view": (lambda: q.seek(out.next_sequence - 1) or q.peek().read(), nothing),
        "pop_into": (lambda: q.seek(out.next_sequence - 1) or q.pop_into(room), nothing),
        "pop_into of any length": (lambda: w.pop_into(room), refill),
        "pop_many of short items": (lambda: w.pop_many(2000), refill),
        "batches": (lambda: next(q.batches()), refill),
        "open memory": (other_memory, close),
        "write memory": (lambda: memory.write(0, data), nothing),
        "read memory": (lambda: memory.read(), nothing),
        "read memory into": (lambda: memory.readinto(0, room), nothing),
        "unlink": (lambda: ipcq.unlink("other"), lambda _: opened().close()),
        "unlink memory": (memory.unlink, lambda _: open(file, "w").close()),
    }
    opened().close()
    assert not released(lambda: bytes(BIG), nothing)
    missing = []
    for name, (call, undo) in calls.items():
        if name == "pop of any length":
            w.seek(words.next_sequence)
            words.push(data)
        if not released(call, undo):
            missing.append(name)
        if name in ("pop_into of any length", "pop_many of short items", "batches"):
            refill(None)
    assert missing == []
