"""Messages in place, in the ring itself."""

import gc
import os
import struct
import threading

import pytest

import ipcq

RECORD = [("n", "u8"), ("square", "f8")]


def record(n):
    return struct.pack("<Qd", n, float(n * n))


@pytest.fixture
def squares():
    with (
        ipcq.Producer("squares", capacity=64, message_size=16) as out,
        ipcq.Consumer("squares", dtype=pytest.importorskip("numpy").dtype(RECORD)) as q,
    ):
        yield out, q


def account(q):
    s = q.stats
    assert s.received + s.lost + s.lag == s.pushed
    return s


def test_records_and_bytes(squares):
    np = pytest.importorskip("numpy")
    out, q = squares
    out.push_many(record(n) for n in range(10))
    with q.view(4) as v:
        assert (len(v), v.sequence, v.lost) == (4, 0, 0)
        assert "messages 0 to 3" in repr(v)
        assert v.records["n"].tolist() == [0, 1, 2, 3]
        assert v.records["square"].sum() == 14
        assert v.array.shape == (4, 16)
        assert v.array.strides == (32, 1)
        assert bytes(v.array[2]) == record(2)
        for array in (v.array, v.records):
            assert not array.flags.writeable
            assert not array.flags.owndata
            with pytest.raises(ValueError, match=r"WRITEABLE|read-only"):
                array.flags.writeable = True
        with pytest.raises(ValueError, match="read-only"):
            v.array[0, 0] = 1
        assert [v[i] for i in range(4)] == [record(n) for n in range(4)]
        assert list(v) == [record(n) for n in range(4)]
        assert v[-1] == record(3)
        for beyond in (4, -5, 2**62):
            with pytest.raises(IndexError):
                v[beyond]
        m = memoryview(v)
        assert (m.readonly, m.format, m.shape, m.strides) == (True, "B", (4, 16), (32, 1))
        assert m.tobytes() == b"".join(record(n) for n in range(4))
        assert m[3, 0] == 3
        # The messages are not contiguous in the ring.
        for whole in (lambda: np.frombuffer(v, "u1"), lambda: bytearray(8).__setitem__(0, v)):
            with pytest.raises((BufferError, ValueError, TypeError)):
                whole()
        assert q.stats.received == 0
        del m, array
    assert account(q).received == 4
    assert q.last == (0, 0, 16)
    with q.view() as v:
        assert v.sequence == 4
        assert len(v) == 6
    assert account(q).lag == 0
    assert q.pop() is None


@pytest.mark.parametrize("size", [1, 16, 48, 70_000])
def test_copies_of_a_run(size):
    """read() and readinto() copy the messages without the gaps between them in the ring."""
    with ipcq.Producer("run", capacity=16, message_size=size) as out:
        q = ipcq.Consumer("run")
        messages = [bytes((n * 31 + i) & 255 for i in range(size)) for n in range(5)]
        whole = b"".join(messages)
        out.push_many(messages)
        with q.peek(max=5) as v:
            assert (len(v), v.nbytes) == (5, 5 * size)
            assert bytes(v) == v.read() == whole
            assert list(v) == messages
            for offset in {0, 1, size - 1, size, size + 1, 3 * size, 5 * size - 1, 5 * size}:
                assert v.read(offset) == whole[offset:]
                for length in {0, 1, size, size + 1, 2 * size + 1}:
                    if offset + length <= 5 * size:
                        assert v.read(offset, length) == whole[offset : offset + length]
            room = bytearray(5 * size + 1)
            assert v.readinto(room) == 5 * size
            assert room == whole + b"\0"
            with pytest.raises(ipcq.MessageSizeError, match=f"the buffer has {5 * size - 1}"):
                v.readinto(bytearray(5 * size - 1))
            with pytest.raises(ipcq.UsageError, match=f"of a view of {5 * size} bytes"):
                v.read(5 * size, 1)
        assert account(q).received == 5
        assert q.peek(max=5) is None


def test_an_index_that_is_no_size(squares):
    """Of a view and of a batch."""
    out, q = squares
    out.push_many(record(n) for n in range(3))
    with q.view() as v:
        for beyond in (2**70, -(2**70), 2**63, -(2**63), 3, -4):
            with pytest.raises(IndexError):
                v[beyond]
        for wrong in ("0", 1.0, None):
            with pytest.raises(TypeError):
                v[wrong]
    out.push_many(record(n) for n in range(3))
    words = ipcq.Producer("words")
    words.push(b"one")
    for batch in (next(q.batches()), next(ipcq.Consumer("words").batches())):
        for beyond in (2**70, -(2**70), 2**63, -(2**63), 3, -4):
            with pytest.raises(IndexError):
                batch[beyond]


def descriptors():
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


ENDS = {
    "block": "with q.view() as v: a = show(v)",
    "release": "v = q.view(); a = show(v); v.release()",
    "peek": "with q.peek() as v: a = show(v)",
    "exception": "try:\n    with q.view() as v: a = show(v); 1 / 0\nexcept ZeroDivisionError: pass",
    "another call": (
        "v = q.view(); a = show(v); q.seek(1)\ntry: v.release()\nexcept ipcq.UsageError: pass"
    ),
    "close": "v = q.view(); a = show(v); q.close()",
}


@pytest.mark.parametrize("show", ["array", "records", "memoryview", "asarray"])
@pytest.mark.parametrize("end", ENDS)
def test_the_array_of_an_ended_view_keeps_no_consumer(end, show):
    """A lossless producer does not wait for it, and only the ring stays mapped."""
    np = pytest.importorskip("numpy")
    shows = {
        "array": lambda v: v.array,
        "records": lambda v: v.records["n"],
        "memoryview": memoryview,
        "asarray": np.asarray,
    }
    options = {"delivery": "lossless", "capacity": 8, "dtype": np.dtype(RECORD)}
    with ipcq.Producer("held", **options) as out:
        before = descriptors()

        def shown():
            names = {"q": ipcq.Consumer("held"), "show": shows[show], "ipcq": ipcq}
            out.push((7, 49))
            exec(ENDS[end], names)
            return names["a"]

        array = shown()
        assert descriptors() <= before + 1
        assert out.consumers() == []
        for n in range(20):
            out.push((n, 0))
        # The array is still the ring.
        assert bytes(np.asarray(array).tobytes())[:1] == bytes([15])
        assert descriptors() <= before + 1
        del array
        assert descriptors() == before


def test_the_array_of_a_view_that_has_not_ended_keeps_its_consumer():
    """The messages do not change before the view ends."""
    np = pytest.importorskip("numpy")
    options = {"delivery": "lossless", "capacity": 8, "dtype": np.dtype(RECORD)}
    with ipcq.Producer("held", **options) as out:
        out.push((7, 49))
        array = ipcq.Consumer("held").view().records
        gc.collect()
        assert len(out.consumers()) == 1
        with pytest.raises(ipcq.Full):
            for _ in range(20):
                out.push((1, 1))
        assert array["n"].tolist() == [7]
        del array
        gc.collect()
        assert out.consumers() == []
        out.push((1, 1))


def test_calls_of_an_ended_view(squares):
    out, q = squares
    out.push_many(record(n) for n in range(3))
    with q.view() as v:
        array = v.array
    assert array[2].tobytes() == record(2)
    for call in (
        v.release,
        v.read,
        lambda: v[0],
        lambda: bytes(v),
        lambda: v.array,
        lambda: v.records,
        lambda: v.readinto(bytearray(64)),
        lambda: memoryview(v),
        lambda: v.__exit__(None, None, None) or v.read(),
    ):
        with pytest.raises(ipcq.UsageError, match=r"^squares: this view has ended$"):
            call()
    v.__exit__(ValueError, ValueError(), None)
    assert (len(v), v.sequence, v.nbytes) == (3, 0, 48)


def test_a_peek_is_of_one_message_by_default(squares):
    out, q = squares
    assert q.peek() is None
    out.push_many(record(n) for n in range(10))
    for n, max in [(1, 1), (3, 3), (6, 100)]:
        with q.peek() if max == 1 else q.peek(max) as v:
            assert len(v) == n
    assert q.peek(2) is None
    assert account(q).received == 10


def test_an_overrun_of_a_copy(squares):
    """Every way to copy raises it."""
    out, q = squares
    for copy in (bytes, list, lambda v: v.read(0, 1), lambda v: v.readinto(bytearray(64)), iter):
        q.seek(out.next_sequence)
        out.push_many(record(n) for n in range(4))
        with pytest.raises(ipcq.OverrunError, match="some of the messages"), q.view(4) as v:
            out.push_many(record(n) for n in range(80))
            if copy is not iter:
                with pytest.raises(ipcq.OverrunError, match="some of the messages"):
                    copy(v)
        account_from(q)


def account_from(q):
    """The account after a seek, which starts the counts again."""
    s = q.stats
    assert s.received == 0
    assert s.lost + s.lag == 84


def test_it_is_the_ring_itself(squares):
    """An array shows what the producer writes later."""
    out, q = squares
    out.push(record(1))
    with pytest.raises(ipcq.OverrunError), q.view() as v:
        numbers = v.records["n"]
        assert numbers.tolist() == [1]
        for _ in range(64):
            out.push(record(77))
        assert numbers.tolist() == [77]
    del numbers, v


def test_overrun_of_a_part(squares):
    out, q = squares
    out.push_many(record(n) for n in range(40))
    with pytest.raises(ipcq.OverrunError, match="0 to 39"), q.view(40) as v:
        assert v.records["n"].tolist() == list(range(40))
        for n in range(40, 66):
            out.push(record(n))
        # The last messages are not overwritten, but the block raises for all of them.
        assert v.records["n"].tolist()[30:] == list(range(30, 40))
        for i in (0, 39):
            with pytest.raises(ipcq.OverrunError):
                v[i]
    s = account(q)
    assert s.received == 0
    assert 0 < s.lost < 40
    m = next(q.messages())
    assert (m.sequence, m.lost, m.data) == (s.lost, s.lost, record(s.lost))
    assert q.pop_many() == [record(n) for n in range(m.sequence + 1, 66)]
    assert account(q).lag == 0


def test_it_ends_at_the_end_of_the_ring(squares):
    out, q = squares
    seen = []
    n = 0
    for turn in range(50):
        for _ in range(turn % 31):
            out.push(record(n))
            n += 1
        while not q.empty():
            with q.view() as v:
                assert v.sequence == len(seen)
                assert len(v) == min(q.stats.lag, 64 - v.sequence % 64)
                seen += v.records["n"].tolist()
    assert seen == list(range(n))
    assert account(q).lost == 0


def test_lossless_does_not_change():
    np = pytest.importorskip("numpy")
    with ipcq.Producer("l", capacity=16, message_size=16, delivery="lossless") as out:
        q = ipcq.Consumer("l", dtype=np.dtype(RECORD))
        out.push_many(record(n) for n in range(16))
        with q.view() as v:
            taken = v.records
            for _ in range(3):
                with pytest.raises(ipcq.Full):
                    out.push(record(99))
            assert taken["n"].tolist() == list(range(16))
        out.push(record(99))
        assert q.pop() == record(99)
        assert account(q).received == 17
        del taken, v


def test_varying_lengths_one_by_one(words):
    np = pytest.importorskip("numpy")
    out, q = words
    out.push_many([b"hello", b"a longer one", b""])
    with q.view(10) as v:
        assert len(v) == 1
        assert memoryview(v).shape == (1, 5)
        assert bytes(v[0]) == bytes(memoryview(v)) == b"hello"
        assert np.frombuffer(v, "S5")[0] == b"hello"
        assert v.array.tobytes() == b"hello"
        with pytest.raises(TypeError, match="dtype"):
            v.records  # noqa: B018
    with q.view() as v:
        assert v[0] == b"a longer one"
    with q.view() as v:
        assert (v[0], v.array.shape) == (b"", (1, 0))
    assert account(q).received == 3


@pytest.mark.parametrize("of_dtype", [("f4", (2, 2)), "u8", [("a", "u2", (3,)), ("b", "S10")]])
def test_dtypes(of_dtype):
    np = pytest.importorskip("numpy")
    dtype = np.dtype(of_dtype)
    raw = bytes(range(1, 1 + dtype.itemsize))
    with ipcq.Producer("d", capacity=8, dtype=dtype) as out:
        q = ipcq.Consumer("d", dtype=dtype)
        out.push_many(raw * 3)
        with q.view() as v:
            assert v.records.tobytes() == raw * 3
            assert len(v.records) == 3
            assert not v.records.flags.owndata
            expected = np.frombuffer(raw * 3, dtype)
            assert v.records.dtype == expected.dtype
            assert repr(np.asarray(v.records).tolist()) == repr(expected.tolist())


def test_waiting_and_ends(pair):
    out, q = pair
    with pytest.raises(ipcq.Empty):
        q.view(timeout=0)
    with pytest.raises(ipcq.Empty):
        q.view(5, timeout=0.01)
    with pytest.raises(ValueError, match="max"):
        q.view(0)
    for wrong in (-1, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            q.view(timeout=wrong)
    with pytest.raises(TypeError):
        q.view("many")
    with pytest.raises(ipcq.UsageError):
        q.view(-1)
    got = []

    def wait():
        with q.view() as v:
            got.append(v[0])

    thread = threading.Thread(target=wait)
    thread.start()
    out.push(b"12345678")
    thread.join()
    assert got == [b"12345678"]
    out.close()
    with pytest.raises(ipcq.Closed):
        q.view()


def test_a_block_that_raises_consumes_nothing(pair):
    out, q = pair
    out.push(b"12345678")
    with pytest.raises(RuntimeError, match="mine"), q.view():
        raise RuntimeError("mine")
    assert q.stats.received == 0
    with q.view() as v:
        v.release()
        with pytest.raises(ValueError, match="ended"):
            v.release()
        with pytest.raises(ValueError, match="ended"):
            v[0]
        with pytest.raises(ValueError, match="ended"):
            memoryview(v)
    assert q.stats.received == 1


@pytest.mark.parametrize("act", ["pop", "get", "peek", "view"])
def test_a_later_call_of_the_consumer_ends_it(pair, act):
    out, q = pair
    out.push_many(b"%08d" % n for n in range(4))
    with pytest.raises(ValueError, match="ended"), q.view(2) as v:
        getattr(q, act)()
        with pytest.raises(ValueError, match="ended"):
            memoryview(v)
    assert account(q).received == (1 if act in ("pop", "get") else 0)


def test_looking_again_does_not_end_it(pair):
    out, q = pair
    out.push_many(b"%08d" % n for n in range(4))
    with q.view(3):
        assert not q.empty()
        assert q.wait(0)
        assert q.qsize() == 4
    assert q.pop() == b"%08d" % 3


def test_arrays_outlive_the_consumer(squares):
    """After a close the producer can continue, and arrays of the ring can still be read."""
    out, q = squares
    out.push_many(record(n) for n in range(3))
    with pytest.raises(ValueError, match="ended"), q.view() as v:
        array = v.array
        m = memoryview(v)
        q.close()
    assert q.closed
    assert out.stats.consumers == 0
    sliced = array[1:]
    del array, v, q
    gc.collect()
    assert bytes(sliced[0]) == record(1)
    assert m.tobytes() == b"".join(record(n) for n in range(3))


def test_an_array_outlives_its_names(tmp_path):
    np = pytest.importorskip("numpy")
    out = ipcq.Producer("gone", capacity=8, message_size=16)
    out.push(record(5))
    array = ipcq.Consumer("gone", dtype=np.dtype(RECORD)).view().records
    out.close()
    ipcq.unlink("gone")
    gc.collect()
    assert array["n"].tolist() == [5]
    assert array["square"].tolist() == [25.0]


def test_while_a_producer_laps(child):
    """A block that ends without OverrunError has seen what was pushed."""
    np = pytest.importorskip("numpy")
    code = """if 1:
        import sys, ipcq, numpy as np
        out = ipcq.Producer("race", capacity=256, message_size=64)
        sys.stdin.readline()
        block = np.empty((64, 8), "u8")
        for start in range(0, 2_000_000, 64):
            block[:] = np.arange(start, start + 64, dtype="u8")[:, None]
            out.push_many(block)
    """
    there = child(code)
    q = ipcq.Consumer("race", open_timeout=60, dtype=np.dtype(("u8", (8,))))
    there.process.stdin.write("go\n")
    there.process.stdin.flush()
    expected = good = overrun = 0
    while True:
        try:
            with q.view() as v:
                copy = v.records.copy()
        except ipcq.OverrunError:
            overrun += 1
            continue
        except ipcq.Closed:
            break
        first = v.sequence
        assert first == expected + v.lost
        expected = first + len(v)
        assert (copy == np.arange(first, expected, dtype="u8")[:, None]).all()
        good += len(v)
    s = account(q)
    assert (s.received, s.lag) == (good, 0)
    there.end()


def test_it_looks_like_a_class():
    assert "ring itself" in ipcq.View.__doc__
    assert ipcq.View.__module__ == ipcq.SharedMemory.__module__ == "ipcq"
    with pytest.raises(TypeError):
        type("Mine", (ipcq.View,), {})
    with pytest.raises(TypeError):
        ipcq.View()


def test_no_array_of_what_has_ended(squares):
    """If a buffer raises, numpy alone makes an array of the object, without an error."""
    np = pytest.importorskip("numpy")
    out, q = squares
    out.push_many(bytes(16 * out.message_size))
    with q.view(4) as view:
        assert np.asarray(view).shape == (4, view.array.shape[1])
        assert view.__array__().tolist() == view.array.tolist()
        assert np.asarray(view, "u2").dtype == "u2"
        with pytest.raises(ValueError, match="copy"):
            view.__array__("u2", copy=False)
    left = q.view(4)
    q.seek(0)
    for ended in (view, left):
        for attempt in (
            lambda ended=ended: ended.array,
            lambda ended=ended: ended.records,
            lambda ended=ended: np.asarray(ended),
            lambda ended=ended: np.array(ended),
        ):
            with pytest.raises(ipcq.UsageError, match="view has ended"):
                attempt()
    with q.peek() as one:
        assert np.asarray(one).tobytes() == bytes(one)
        assert not np.asarray(one).flags.owndata
    with pytest.raises(ipcq.UsageError, match="view has ended"):
        np.asarray(one)
    view = q.view(4)
    q.close()
    for attempt in (lambda: view.array, lambda: view.records, lambda: np.asarray(view)):
        with pytest.raises(ipcq.UsageError, match="view has ended"):
            attempt()
