"""Handles that go to another process: they are opened there, and go on where they were."""

import copy
import multiprocessing
import os
import pickle

import pytest
from helpers import word

import ipcq

METHODS = ["spawn", "forkserver", "fork"]


def end(process):
    process.join(60)
    assert process.exitcode == 0


def consume(q, results):
    results.put((q.next_sequence, [q.pop(60) for _ in range(5)]))


@pytest.mark.parametrize("method", METHODS)
def test_consumer(pair, method):
    out, q = pair
    out.push_many(word(n) for n in range(10))
    q.pop_many(3)
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=consume, args=(q, results))
    process.start()
    assert results.get(timeout=60) == (3, [word(n) for n in range(3, 8)])
    end(process)
    # This one goes on by itself.
    assert q.pop() == word(3)


def produce(out):
    assert out.next_sequence == 2
    out.push_many([word(2), word(3)])


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_producer(method):
    out = ipcq.Producer("p", capacity=64, message_size=8, delivery="lossless", evict_after=5)
    q = ipcq.Consumer("p")
    out.push_many([word(0), word(1)])
    out.close()
    process = multiprocessing.get_context(method).Process(target=produce, args=(out,))
    process.start()
    end(process)
    assert q.pop_many() == [word(n) for n in range(4)]


def read(memory, results):
    results.put((memory.writable, memory.read(0, 5)))


def write(memory):
    memory.write(0, b"there")


@pytest.mark.parametrize("method", METHODS)
def test_shared_memory(method):
    writer = ipcq.SharedMemory("m", True, 64, permissions=0o640)
    reader = ipcq.SharedMemory("m")
    writer.write(0, b"hello")
    context = multiprocessing.get_context(method)
    results = context.Queue()
    process = context.Process(target=read, args=(reader, results))
    process.start()
    assert results.get(timeout=60) == (False, b"hello")
    end(process)
    if method != "fork":
        writer.close()
        process = context.Process(target=write, args=(writer,))
        process.start()
        end(process)
        assert reader.read(0, 5) == b"there"


def test_a_consumer_keeps_its_options(pair):
    np = pytest.importorskip("numpy")
    out, _ = pair
    out.push_many(word(n) for n in range(10))
    q = ipcq.Consumer("pair", dtype=np.dtype("u8"), consumer_name="me")
    q.pop_many(4)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(q, protocol))
        assert other.dtype == q.dtype
        assert (other.next_sequence, other.stats.received) == (4, 0)
        assert other.pop() == word(4)
    assert sum(c.name == "me" for c in out.consumers()) == 2
    assert q.stats.received == 4
    for copied in (copy.copy(q), copy.deepcopy(q)):
        assert copied.pop() == word(4)
    # What is gone by then is lost, and counted.
    text = pickle.dumps(q)
    out.push_many(word(n) for n in range(10, 300))
    m = pickle.loads(text).pop_message()
    assert m.sequence == 4 + m.lost > 200


def test_the_name(pair, monkeypatch, tmp_path):
    """It is the same queue in a process with another IPCQ_DIR."""
    text = pickle.dumps(pair[1])
    monkeypatch.setenv("IPCQ_DIR", "/nowhere")
    assert pickle.loads(text).name == str(tmp_path / "ipcq.pair")
    monkeypatch.delenv("IPCQ_DIR")
    assert b"pair" in pickle.dumps(pair[1])
    with pytest.raises(FileNotFoundError, match=r"/dev/shm/ipcq[.]pair"):
        pickle.loads(pickle.dumps(pair[1]))


def test_a_producer_is_opened_where_it_is_closed():
    options = {"capacity": 64, "permissions": 0o640, "delivery": "lossless", "min_consumers": 1}
    out = ipcq.Producer("p", message_size=8, **options)
    text = pickle.dumps(out)
    for again in (lambda: pickle.loads(text), lambda: copy.copy(out), lambda: copy.deepcopy(out)):
        with pytest.raises(ipcq.ProducerExists, match="another live producer"):
            again()
    out.push(word(0))
    out.close()
    again = pickle.loads(text)
    assert (again.next_sequence, again.capacity, again.message_size) == (1, 64, 8)
    again.close()
    # Where there is no queue any more it is made as it was.
    ipcq.unlink("p")
    again = pickle.loads(pickle.dumps(again))
    assert (again.next_sequence, again.capacity, again.delivery) == (0, 64, "lossless")
    assert os.stat(os.path.join(os.environ["IPCQ_DIR"], "ipcq.p")).st_mode & 0o777 == 0o640
    again.close()
    with pytest.raises(FileExistsError):
        ipcq.Producer("p", exclusive=True)
    varying = ipcq.Producer("v", capacity=4096)
    varying.close()
    assert pickle.loads(pickle.dumps(varying)).message_size == 0


def test_shared_memory_in_its_role():
    writer = ipcq.SharedMemory("m", True, 64)
    reader = pickle.loads(pickle.dumps(ipcq.SharedMemory("m")))
    assert not reader.writable
    with pytest.raises(ipcq.ProducerExists):
        pickle.loads(pickle.dumps(writer))
    writer.write(0, b"kept")
    writer.close()
    again = pickle.loads(pickle.dumps(writer))
    assert again.writable
    assert reader.read(0, 4) == b"kept"
    assert copy.copy(reader).read(0, 4) == b"kept"


def test_what_cannot_be_pickled(pair):
    out, q = pair
    out.push(word(1))
    claim, view = out.claim(), q.peek()
    for what in (claim, view, q.view()):
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(what)
