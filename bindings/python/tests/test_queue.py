"""Every method of the handles, within one process."""

import asyncio
import pickle
import queue
import threading
import time
import weakref
from pathlib import Path

import pytest
from helpers import word

import ipcq


def account(q, start=0):
    s = q.stats
    assert s.received + s.lost + s.lag == s.pushed - start
    return s


def test_push_and_pop(pair):
    out, q = pair
    assert q.pop() is None
    for n in range(10):
        out.push(word(n))
        assert out.next_sequence == n + 1
    assert q.pop() == word(0)
    assert q.get(timeout=1.0) == word(1)
    assert q.pop() == word(2)
    m = next(q.messages())
    assert (m.sequence, m.lost, m.data, bytes(m), len(m)) == (3, 0, word(3), word(3), 8)
    assert repr(m) == f"Message(sequence=3, lost=0, data={word(3)!r})"
    assert q.last == (3, 0, 8)
    assert q.next_sequence == 4
    assert q.get() == word(4)
    assert q.get(block=False) == word(5)
    assert q.get_nowait() == word(6)
    assert q.qsize() == 3
    assert not q.empty()
    assert q.pop_many() == [word(7), word(8), word(9)]
    assert q.empty()
    assert q.pop_many() == []
    assert account(q).received == 10


def test_what_can_be_pushed(words):
    out, q = words
    np = pytest.importorskip("numpy")
    for data in [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"a memoryview")[2:],
        np.arange(5, dtype="u2"),
        np.array((1, 2.5), dtype=[("a", "u4"), ("b", "f8")]),
        b"",
        b"x",
        bytes(range(256)),
    ]:
        out.push(data)
        assert q.get(timeout=0) == bytes(memoryview(data).cast("B") if len(bytes(data)) else b"")
    for data in ["text", 5, None, [1], object()]:
        with pytest.raises(TypeError):
            out.push(data)
    with pytest.raises((BufferError, ValueError)):
        out.push(np.arange(10)[::2])
    assert out.next_sequence == 8


def test_popped_bytes_are_their_own(pair):
    out, q = pair
    kept = []
    for n in range(1000):
        assert q.pop() is None
        out.push(word(n))
        kept.append(q.get())
    assert kept == [word(n) for n in range(1000)]


@pytest.mark.parametrize("size", [1, 7, 64, 1000, 4096, 4097, 70_000])
@pytest.mark.parametrize("fixed", [True, False])
def test_sizes(size, fixed):
    capacity = 16 if fixed else 1 << 20
    with ipcq.Producer("s", capacity=capacity, message_size=size if fixed else None) as out:
        q = ipcq.Consumer("s")
        messages = [bytes([n]) * size for n in range(8)]
        assert out.push_many(messages) == 8
        assert q.pop_many(3) == messages[:3]
        assert q.pop() == messages[3]
        with q.peek() as view:
            assert bytes(view) == messages[4]
        buffer = bytearray(size)
        assert q.pop_into(buffer) == 1
        assert buffer == messages[5]
        assert list(zip(range(2), q, strict=False)) == [(0, messages[6]), (1, messages[7])]
        assert account(q).received == 8


def test_push_many_fixed(pair):
    np = pytest.importorskip("numpy")
    out, q = pair
    assert out.push_many(np.arange(5, dtype="u8")) == 5
    assert out.push_many(b"".join(map(word, range(5, 8)))) == 3
    assert out.push_many(word(n) for n in range(8, 10)) == 2
    assert out.push_many([]) == 0
    assert out.push_many(b"") == 0
    assert q.pop_many() == [word(n) for n in range(10)]
    for wrong in (b"123456789", [word(1), b"1234"]):
        with pytest.raises(ipcq.MessageSizeError):
            out.push_many(wrong)
    with pytest.raises(TypeError):
        out.push_many(5)
    assert q.pop() is None


def test_push_many_varying(words):
    out, q = words
    assert out.push_many([b"a", bytearray(b"bc"), b""]) == 3
    assert q.pop_many(2) == [b"a", b"bc"]
    assert q.pop_many() == [b""]
    with pytest.raises(TypeError):
        out.push_many(b"bytes")
    with pytest.raises(ipcq.MessageSizeError, match="item 1"):
        out.push_many([b"a", bytes(5000)])
    assert q.pop() is None


def test_push_large(words):
    with ipcq.Producer("large", capacity=1 << 22) as out, ipcq.Consumer("large") as q:
        data = bytes(range(256)) * 1024
        out.push(data)
        out.push(bytearray(data))
        out.put(data)
        assert [q.pop() == data for _ in range(3)] == [True] * 3


def test_claim_fixed(pair):
    out, q = pair
    with out.claim() as claim:
        assert len(claim) == 8
        claim.write(0, word(7))
        claim.write(1, b"\x01")
        assert q.pop() is None
        with pytest.raises(ipcq.UsageError, match="claimed"):
            out.push(word(1))
        for beyond in [(1, word(1)), (9, b""), (2**63, b"x")]:
            with pytest.raises(ValueError, match="of a claim of 8"):
                claim.write(*beyond)
    assert q.pop() == b"\x07\x01" + bytes(6)
    with pytest.raises(ValueError, match="ended"):
        claim.write(0, b"x")
    with pytest.raises(ValueError, match="ended"):
        claim.commit()
    claim.abort()
    with pytest.raises(RuntimeError, match="mine"), out.claim():
        raise RuntimeError("mine")
    out.push(word(2))
    assert q.pop() == word(2)
    with pytest.raises(ipcq.MessageSizeError):
        out.claim(9)
    claim = out.claim()
    del claim
    out.push(word(3))
    assert q.pop() == word(3)
    with out.claim() as claim:
        claim.abort()
    assert q.pop() is None


def test_claim_varying(words):
    out, q = words
    with out.claim(100) as claim:
        claim.write(0, b"hello")
        with pytest.raises(ipcq.MessageSizeError):
            claim.commit(101)
        claim.commit(5)
    assert q.pop() == b"hello"
    with pytest.raises(TypeError):
        out.claim()
    with pytest.raises(ipcq.MessageSizeError):
        out.claim(4096)
    old = out.claim(1)
    old.abort()
    new = out.claim(1)
    with pytest.raises(ValueError, match="ended"):
        old.write(0, b"x")
    new.write(0, b"y")
    new.commit()
    assert q.pop() == b"y"
    claim = out.claim(1)
    out.close()
    with pytest.raises(ValueError, match="ended"):
        claim.write(0, b"x")


def test_pop_into_numpy(pair):
    np = pytest.importorskip("numpy")
    out, q = pair
    array = np.zeros(4, dtype="u8")
    assert q.pop_into(array) == 0
    out.push_many(np.arange(10, dtype="u8"))
    assert q.pop_into(array) == 4
    assert array.tolist() == [0, 1, 2, 3]
    assert q.last == (0, 0, 8)
    assert q.pop_into(array[:3]) == 3
    assert array.tolist() == [4, 5, 6, 3]
    assert q.pop_into(array) == 3
    assert array.tolist() == [7, 8, 9, 3]
    assert q.last.sequence == 7
    out.push(word(1))
    with pytest.raises(ipcq.MessageSizeError):
        q.pop_into(bytearray(7))
    with pytest.raises((BufferError, TypeError)):
        q.pop_into(b"read-only")
    with pytest.raises((BufferError, ValueError)):
        q.pop_into(array[::2])
    assert q.pop() == word(1)


def test_pop_into_varying(words):
    out, q = words
    buffer = bytearray(8)
    assert q.pop_into(buffer) == 0
    out.push_many([b"abc", b"123456789"])
    assert q.pop_into(buffer) == 1
    assert q.last == (0, 0, 3)
    assert buffer[:3] == b"abc"
    with pytest.raises(ipcq.MessageSizeError, match="9 bytes"):
        q.pop_into(buffer)
    assert q.pop() == b"123456789"


def test_lost_messages_are_counted(pair):
    out, q = pair
    for n in range(1000):
        out.push(word(n))
    m = next(q.messages())
    assert m.lost == m.sequence > 900
    assert m.data == word(m.sequence)
    s = account(q)
    assert (s.lost, s.received) == (m.lost, 1)
    rest = q.pop_many()
    assert rest == [word(n) for n in range(m.sequence + 1, 1000)]
    account(q)


def test_a_list_ends_where_messages_were_lost(words):
    out, q = words
    out.push(b"first")
    assert q.pop() == b"first"
    for n in range(1000):
        out.push(word(n))
    messages = q.pop_many(10_000)
    info = q.last
    assert info.lost > 0
    assert messages == [word(n) for n in range(info.sequence - 1, 1000)]
    assert account(q).received == 1 + len(messages)


def test_peek(words):
    out, q = words
    assert q.peek() is None
    out.push_many([b"hello", b"world", b"again"])
    with q.peek() as view:
        assert (len(view), view.nbytes, view.sequence, view.lost) == (1, 5, 0, 0)
        assert bytes(view) == view[0] == b"hello"
        assert view.read(1, 3) == b"ell"
        assert view.read(3) == b"lo"
        buffer = bytearray(6)
        assert view.readinto(buffer) == 5
        assert buffer == b"hello\0"
        with pytest.raises(ipcq.MessageSizeError):
            view.readinto(bytearray(4))
        for beyond in [(6, None), (0, 6), (5, 1)]:
            with pytest.raises(ValueError, match="of a view of 5"):
                view.read(*beyond)
        assert q.stats.received == 0
        assert "message 0" in repr(view)
    assert q.stats.received == 1
    with pytest.raises(ValueError, match="ended"):
        bytes(view)
    with pytest.raises(RuntimeError, match="mine"), q.peek():
        raise RuntimeError("mine")
    view = q.peek()
    assert bytes(view) == b"world"
    view.release()
    with pytest.raises(ValueError, match="ended"):
        view.release()
    view = q.peek()
    assert q.pop() == b"again"
    with pytest.raises(ValueError, match="ended"):
        bytes(view)
    assert q.peek() is None


@pytest.mark.parametrize("read", [True, False])
def test_overrun(pair, read):
    out, q = pair
    out.push(word(0))
    with pytest.raises(ipcq.OverrunError, match="message 0"), q.peek() as view:
        for n in range(1, 1000):
            out.push(word(n))
        if read:
            with pytest.raises(ipcq.OverrunError):
                bytes(view)
    m = next(q.messages())
    assert m.lost == m.sequence
    assert m.data == word(m.sequence)
    assert account(q).lost == m.lost


def test_start_and_seek(pair):
    out, _ = pair
    out.push_many(word(n) for n in range(20))

    def first(start):
        return ipcq.Consumer("pair", start=start).pop()

    assert first("oldest") == word(0)
    assert first("newest") == word(19)
    assert first("next") is None
    assert first(5) == word(5)
    assert first(20) is None
    for wrong in [21, -1, "middle", 1.5, None if False else 2**70]:
        with pytest.raises(ValueError):  # noqa: PT011
            first(wrong)
    q = ipcq.Consumer("pair")
    q.seek(10)
    assert q.pop() == word(10)
    q.seek(3)
    assert q.pop() == word(3)
    assert account(q, 3).received == 1
    with pytest.raises(ipcq.UsageError, match="does not exist yet"):
        q.seek(21)
    assert q.pop() == word(4)


def test_timeouts(pair):
    _, q = pair
    for wait in (lambda timeout: q.view(1, timeout), lambda timeout: q.get(True, timeout)):
        begin = time.monotonic()
        with pytest.raises(queue.Empty) as caught:
            wait(timeout=0.02)
        assert time.monotonic() - begin >= 0.02
        assert isinstance(caught.value, ipcq.Empty)
        for wrong in (-1, float("nan")):
            with pytest.raises(ValueError, match="timeout"):
                wait(timeout=wrong)
        with pytest.raises(TypeError):
            wait(timeout="long")
    assert q.wait(0) is False
    with pytest.raises(ipcq.Empty):
        q.get_nowait()
    begin = time.monotonic()
    with pytest.raises(FileNotFoundError, match="no such queue"):
        ipcq.Consumer("nothing", open_timeout=0.02)
    assert time.monotonic() - begin >= 0.02


def test_put(pair):
    out, q = pair
    out.put(word(1))
    out.put(word(2), block=False)
    out.put(word(3), timeout=1)
    out.put_nowait(word(4))
    assert q.pop_many() == [word(n) for n in range(1, 5)]
    with pytest.raises(ipcq.MessageSizeError):
        out.put(b"1")


def test_iteration_ends_at_close(pair):
    out, q = pair
    out.push_many(word(n) for n in range(5))
    out.close()
    assert list(q) == [word(n) for n in range(5)]
    for call in (q.pop, q.get, q.pop_many, q.peek, q.view, lambda: q.pop_into(bytearray(8))):
        with pytest.raises(ipcq.Closed):
            call()
    assert q.stats.closed
    assert not q.stats.producer_alive
    with ipcq.Producer("pair") as again:
        assert again.next_sequence == 5
        again.push(word(5))
        assert q.pop() == word(5)
        assert not q.stats.closed
        assert q.stats.epoch == 2
    assert list(q) == []


def test_batches(pair):
    np = pytest.importorskip("numpy")
    record = np.dtype([("a", "u4"), ("b", "u4")])
    out, _ = pair
    q = ipcq.Consumer("pair", dtype=record)
    with pytest.raises(ValueError, match="max"):
        q.batches(max=0)
    with pytest.raises(ValueError, match="linger"):
        q.batches(linger=-1)
    out.push_many(word(n) for n in range(50))
    out.close()
    seen = []
    for batch in q.batches(max=20):
        assert 1 <= len(batch) <= 20
        assert batch.lost == 0
        assert batch.sequence == len(seen)
        assert batch.records["a"].tolist() == list(range(len(seen), len(seen) + len(batch)))
        assert batch[0] == word(len(seen))
        assert batch[-1] == batch[len(batch) - 1]
        assert batch[1:3] == [batch[1], batch[2]]
        with pytest.raises(IndexError):
            batch[len(batch)]
        seen += batch
    assert seen == [word(n) for n in range(50)]
    assert "Batch" in repr(batch)
    with pytest.raises(TypeError, match="dtype"):
        next(ipcq.Consumer("pair").batches()).records  # noqa: B018


def test_batches_varying_and_linger(words):
    out, q = words
    out.push_many([b"a", b"bb", b"ccc"])
    batches = q.batches(max=2, linger=10)
    batch = next(batches)
    assert (list(batch), batch.sequence, batch[1], batch.data) == ([b"a", b"bb"], 0, b"bb", None)
    out.close()
    assert [list(b) for b in batches] == [[b"ccc"]]


@pytest.mark.parametrize("delivery", ["lossy", "lossless"])
def test_batches_linger_only_until_the_ring_is_half_full(delivery):
    with (
        ipcq.Producer("half", capacity=64, message_size=8, delivery=delivery) as out,
        ipcq.Consumer("half") as q,
    ):
        got = []
        reader = threading.Thread(
            target=lambda: got.extend(next(q.batches(linger=1e6))), daemon=True
        )
        for i in range(32):
            out.push(i.to_bytes(8, "little"))
        reader.start()
        reader.join(30)
        assert [int.from_bytes(m, "little") for m in got] == list(range(32))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_batches_of_varying_length_linger_only_until_the_ring_is_half_full(asynchronous):
    """Otherwise a producer without room and a consumer that lingers would wait for each other."""
    with (
        ipcq.Producer("half", capacity=4096, delivery="lossless") as out,
        ipcq.Consumer("half") as q,
    ):
        pushed = 0
        with pytest.raises(ipcq.Full):
            while True:
                out.push(bytes(400))
                pushed += 1
        got = []
        batches = q.batches(linger=1e6)

        async def take():
            return await batches.__anext__()

        def read():
            got.append(len(asyncio.run(take()) if asynchronous else next(batches)))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(30)
        assert got == [pushed]


def test_wait_for_more_than_the_ring_holds(pair, words):
    (out, q), (_, varying) = pair, words
    out.push_many(word(n) for n in range(64))
    assert q.wait(0, at_least=64)
    with pytest.raises(ipcq.UsageError, match=r"^pair: at_least: .* 64 messages at most, not 65"):
        q.wait(at_least=65)
    with pytest.raises(ipcq.UsageError, match="4096 bytes holds 256 messages at most, not 257"):
        varying.wait(at_least=257)
    assert not varying.wait(0, at_least=256)


def test_wait_for_more_than_will_come(pair):
    out, q = pair
    out.push(word(0))
    assert not q.wait(0, at_least=5)
    out.close()
    assert q.wait(at_least=5)
    q.get()
    with pytest.raises(ipcq.Closed):
        q.wait(at_least=5)


def test_dtype():
    np = pytest.importorskip("numpy")
    tick = np.dtype([("ts", "u8"), ("px", "f8"), ("qty", "u4")], align=True)
    with ipcq.Producer("ticks", capacity=64, dtype=tick) as out:
        assert (out.message_size, out.dtype) == (24, tick)
        q = ipcq.Consumer("ticks", dtype=tick)
        assert q.dtype == tick
        out.push(np.array((1, 9.5, 3), tick))
        array = np.zeros(3, tick)
        assert q.pop_into(array) == 1
        assert array[0].tolist() == (1, 9.5, 3)
        with pytest.raises(ipcq.SchemaMismatchError, match="24") as caught:
            ipcq.Consumer("ticks", dtype="u8")
        assert isinstance(caught.value, TypeError)
    with pytest.raises(ValueError, match="24"):
        ipcq.Producer("x", dtype=tick, message_size=8)
    with pytest.raises(TypeError):
        ipcq.Producer("x", dtype=object)
    with pytest.raises(TypeError):
        ipcq.Producer("x", dtype="nonsense")
    with ipcq.Producer("v"), pytest.raises(ipcq.SchemaMismatchError, match="varying"):
        ipcq.Consumer("v", dtype=tick)


def test_properties(pair, words):
    out, q = pair
    for handle in pair:
        assert handle.name == "pair"
        assert (handle.message_size, handle.max_message, handle.capacity) == (8, 8, 64)
        assert (handle.delivery, handle.dtype, handle.closed) == ("lossy", None, False)
        assert "pair" in repr(handle)
        assert "8 bytes" in repr(handle)
    assert (words[0].message_size, words[0].max_message) == (0, 512)
    s = q.stats
    assert s == q.stats
    assert repr(s) == (
        "Stats(pushed=0, received=0, lost=0, lag=0, oldest=0, capacity=64, message_size=8, "
        "max_message=8, delivery='lossy', epoch=1, consumers=1, producer_alive=True, closed=False, "
        f"id={s.id}, unlinked=False)"
    )
    assert out.stats.pushed == 0
    assert ipcq.queues() == ["pair", "words"]


def test_a_view_of_a_closed_consumer(pair):
    out, q = pair
    out.push(word(1))
    view = q.peek()
    q.close()
    with pytest.raises(ValueError, match="ended"):
        bytes(view)


def test_a_path_is_a_name_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ipcq.Producer("./data.bin", message_size=8) as out:
        out.push(word(1))
        q = ipcq.Consumer(tmp_path / "data.bin")
        assert q.pop() == word(1)
        there = pickle.dumps(ipcq.Consumer("./data.bin"))
        monkeypatch.chdir("/")
        assert pickle.loads(there).pop() == word(1)
    ipcq.unlink(tmp_path / "data.bin")
    assert not list(tmp_path.iterdir())


def test_a_path_object_is_never_a_bare_name(tmp_path, monkeypatch):
    """pathlib removes the `./`: Path("./q") equals Path("q"). Both are a file in this folder."""
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with ipcq.Producer(Path("./q"), capacity=64, message_size=8) as out:
        out.push(word(1))
        assert out.name == "./q"
        for name in ("./q", Path("q"), Path("./q"), folder / "q"):
            assert ipcq.Consumer(name).get(timeout=0) == word(1)
        with pytest.raises(FileNotFoundError):
            ipcq.Consumer("q")
    ipcq.unlink(Path("q"))
    memory = ipcq.SharedMemory(Path("m"), create=True, size=8)
    assert ipcq.SharedMemory("./m").size == 8
    memory.unlink()
    memory.close()
    assert list(folder.iterdir()) == []
    assert ipcq.queues() == []


@pytest.mark.parametrize("yes", [1, [0], "yes"])
@pytest.mark.parametrize("no", [0, [], None, ""])
def test_flags_are_any_objects(yes, no):
    """The same as in queue.Queue."""
    out = ipcq.Producer("f", capacity=4, message_size=1, delivery="lossless", exclusive=yes)
    q = ipcq.Consumer("f", observer=no)
    for _ in range(4):
        out.put(b"x", yes, 1)
    with pytest.raises(ipcq.Full):
        out.put(b"x", block=no)
    for _ in range(4):
        assert q.get(yes, timeout=1) == b"x"
    for block in ({"block": no}, {"block": yes, "timeout": 0}):
        with pytest.raises(ipcq.Empty):
            q.get(**block)
    out.close()
    ipcq.Producer("f", capacity=8, message_size=1, replace=yes).close()
    ipcq.SharedMemory("m", create=yes, size=8)
    assert not ipcq.SharedMemory("m", create=no).writable


def test_weak_references(pair, words):
    out, q = pair
    out.push_many([word(1), word(2)])
    batches = q.batches()
    things = [
        *pair, q.stats, *out.consumers(), ipcq.SharedMemory("m", create=True, size=8), q.view(),
        words[0].claim(1), next(q.messages()), q.messages(), batches, next(batches), q.__aiter__(),
    ]  # fmt: skip
    for thing in things:
        assert weakref.ref(thing)() is thing
    gone = []
    weakref.finalize(things.pop(2), gone.append, 1)
    assert gone == [1]


@pytest.mark.parametrize("linger", [0, 0.01])
def test_a_batch_has_all_that_is_there(linger):
    """Up to max messages in one batch, also across the end of the ring."""
    out = ipcq.Producer("b", capacity=4096, message_size=8)
    q = ipcq.Consumer("b")
    sent = 0
    for count, max, expected in [
        (3000, 4096, [3000]),
        (3000, 1000, [1000] * 3),
        (4000, 10**6, [4000]),
        (1, 4096, [1]),
        (100, 64, [64, 36]),
    ]:
        out.push_many(word(n) for n in range(sent, sent + count))
        batches = q.batches(max, linger)
        for wanted in expected:
            batch = next(batches)
            assert (len(batch), batch.sequence, batch.lost) == (wanted, sent, 0)
            assert list(batch) == [word(n) for n in range(sent, sent + wanted)]
            sent += wanted
