"""Every call and every loop reports a queue that was replaced or removed."""

import asyncio
import os
import signal

import pytest
from helpers import word

import ipcq

np = pytest.importorskip("numpy")

PRODUCER = """if 1:
    import ipcq, sys, time
    out = ipcq.Producer("q", capacity=64, dtype="<u8")
    for n in range(3):
        out.push(n.to_bytes(8, "little"))
    print("ready")
    time.sleep(600)
"""


def plain(q, got):
    got.extend(q)


def batches(q, got):
    for batch in q.batches():
        got.extend(batch)


def lingering(q, got):
    for batch in q.batches(linger=0.01):
        got.extend(batch)


def messages(q, got):
    got.extend(message.data for message in q.messages())


def records(q, got):
    got.extend(word(int(n)) for n in q.records())


def in_a_loop(messages):
    async def main(q, got):
        async for item in messages(q):
            if isinstance(item, ipcq.Batch):
                got.extend(item)
            else:
                got.append(
                    bytes(item) if isinstance(item, bytes | ipcq.Message) else word(int(item))
                )

    return lambda q, got: asyncio.run(main(q, got))


LOOPS = {
    "for": plain,
    "batches": batches,
    "lingering batches": lingering,
    "messages": messages,
    "records": records,
    "async for": in_a_loop(lambda q: q),
    "async batches": in_a_loop(lambda q: q.batches()),
    "async lingering batches": in_a_loop(lambda q: q.batches(linger=0.01)),
    "async messages": in_a_loop(lambda q: q.messages()),
    "async records": in_a_loop(lambda q: q.records()),
}


@pytest.fixture
def drained():
    """The messages that each loop has to receive."""
    return [word(n) for n in range(3)]


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("how", ["unlinked", "replaced"])
def test_a_loop_raises_it(loop, how, child, drained):
    producer = child(PRODUCER)
    assert producer.line() == "ready"
    q, got = ipcq.Consumer("q"), []
    if how == "unlinked":
        ipcq.unlink("q")
    os.kill(producer.pid, signal.SIGKILL)
    producer.process.wait()
    if how == "replaced":
        ipcq.Producer("q", message_size=16, replace=True).close()
    with pytest.raises(ipcq.ReplacedError, match=r"replaced or removed.*open it again"):
        loop(q, got)
    assert got == drained
    with pytest.raises(ipcq.ReplacedError):
        loop(q, got)
    assert got == drained


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
@pytest.mark.parametrize("unlinked", [False, True])
def test_a_loop_over_a_closed_queue_ends(loop, unlinked, drained):
    with ipcq.Producer("q", capacity=64, dtype="<u8") as out:
        for message in drained:
            out.push(message)
    q, got = ipcq.Consumer("q"), []
    if unlinked:
        ipcq.unlink("q")
    loop(q, got)
    loop(q, got)
    assert got == drained


def test_loops_over_messages_of_any_length():
    for loop in (plain, messages, batches, lingering, LOOPS["async batches"]):
        out = ipcq.Producer("v", capacity=4096)
        out.push_many([b"one", b"and another"])
        q, got = ipcq.Consumer("v"), []
        out.close()
        ipcq.Producer("v", capacity=8192, replace=True).close()
        with pytest.raises(ipcq.ReplacedError):
            loop(q, got)
        assert got == [b"one", b"and another"]
        ipcq.unlink("v")


CALLS = {
    "pop": lambda q: q.pop(),
    "get": lambda q: q.get(),
    "get(timeout=0)": lambda q: q.get(timeout=0),
    "get_nowait": lambda q: q.get_nowait(),
    "next of messages": lambda q: next(q.messages()),
    "next of records": lambda q: next(q.records()),
    "pop_many": lambda q: q.pop_many(),
    "pop_into": lambda q: q.pop_into(bytearray(8)),
    "peek": lambda q: q.peek(),
    "view": lambda q: q.view(),
    "wait": lambda q: q.wait(),
    "wait for many": lambda q: q.wait(at_least=5),
    "next of batches": lambda q: next(q.batches()),
    "aget": lambda q: asyncio.run(in_turn(q.aget)),
    "next of async messages": lambda q: asyncio.run(in_turn(q.messages().__anext__)),
}


async def in_turn(get):
    return await get()


def test_every_call_raises_it():
    out = ipcq.Producer("q", capacity=64, dtype="<u8")
    q = ipcq.Consumer("q")
    out.push(7)
    with ipcq.Consumer("q") as other:
        out.close()
        ipcq.Producer("q", message_size=16, replace=True).close()
        # One message is enough, because no more can come.
        assert other.wait(at_least=5)
        assert other.pop() == word(7)
    assert q.pop() == word(7)
    for call in CALLS.values():
        with pytest.raises(ipcq.ReplacedError):
            call(q)
    assert ipcq.wait_any([q], 0) == 0


def test_waiting_for_many_of_a_closed_queue():
    with ipcq.Producer("q", capacity=64, message_size=8) as out:
        out.push(word(1))
    q = ipcq.Consumer("q")
    assert q.wait(at_least=5)
    q.get()
    with pytest.raises(ipcq.Closed) as caught:
        q.wait(at_least=5)
    assert type(caught.value) is ipcq.Closed
