"""Handles that are given to another process. They are opened there and continue."""

import copy
import multiprocessing
import os
import pickle
import sys
import threading
from pathlib import Path

import pytest
from helpers import word

import ipcq

METHODS = ["spawn", "forkserver", "fork"]


def end(process):
    process.join(60)
    assert process.exitcode == 0


def consume(q, results):
    results.put((q.next_sequence, [q.get(timeout=60) for _ in range(5)]))


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
    # This consumer has its own position.
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
    # Messages that are overwritten by then count as lost.
    text = pickle.dumps(q)
    out.push_many(word(n) for n in range(10, 300))
    m = next(pickle.loads(text).messages())
    assert m.sequence == 4 + m.lost > 200


def test_the_name(pair, monkeypatch, tmp_path):
    """It is the same queue, even in a process with another IPCQ_DIR."""
    text = pickle.dumps(pair[1])
    monkeypatch.setenv("IPCQ_DIR", "/nowhere")
    assert pickle.loads(text).name == str(tmp_path / "ipcq.pair")
    monkeypatch.delenv("IPCQ_DIR")
    assert pickle.loads(pickle.dumps(pair[1])).name == str(tmp_path / "ipcq.pair")


def test_a_handle_keeps_its_file(tmp_path, monkeypatch):
    """Even if the process changes its folder, and another queue has the same name there."""
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        monkeypatch.chdir(folder)
        monkeypatch.setenv("IPCQ_DIR", str(folder))
        for name in ("./q", "bare"):
            with ipcq.Producer(name, capacity=64, message_size=8) as out:
                out.push(folder.name.encode().ljust(8))
        ipcq.SharedMemory("./m", create=True, size=8).close()
    monkeypatch.chdir(here)
    monkeypatch.setenv("IPCQ_DIR", str(here))
    out = ipcq.Producer("./q")
    consumers = [ipcq.Consumer("./q"), ipcq.Consumer("bare"), ipcq.Consumer(Path("q"))]
    memory = ipcq.SharedMemory("./m")
    monkeypatch.chdir(there)
    monkeypatch.setenv("IPCQ_DIR", str(there))
    for q in consumers:
        assert pickle.loads(pickle.dumps(q)).get(timeout=0) == b"here    "
    out.close()
    with pickle.loads(pickle.dumps(out)) as again:
        assert again.next_sequence == 1
        again.push(b"again   ")
    assert consumers[0].pop_many() == [b"here    ", b"again   "]
    memory.unlink()
    assert not (here / "m").exists()
    assert (there / "m").exists()


def test_a_queue_that_was_made_anew(pair):
    """A position belongs to the messages of one queue."""
    out, q = pair
    out.push_many(word(n) for n in range(10))
    q.pop_many(5)
    text, id = pickle.dumps(q), q.stats.id
    assert out.stats.id == id
    assert pickle.loads(text).stats.id == id
    out.close()
    q.pop_many()
    assert not q.stats.unlinked
    with pytest.raises(ipcq.Closed, match=r"everything in it$"):
        q.get()
    ipcq.unlink("pair")
    assert q.stats.unlinked
    with pytest.raises(ipcq.Closed, match="removed: open the name again"):
        q.get()
    with ipcq.Producer("pair", capacity=64, message_size=8) as out:
        out.push_many(word(n) for n in range(20))
        assert not out.stats.unlinked
        assert out.stats.id != id
        with pytest.raises(ipcq.IncompatibleError, match="recreated"):
            pickle.loads(text)


def end_of_child(out, how):
    out.push(word(0))
    if how == "exit":
        sys.exit(0)


def open_and_keep(name, how):
    global kept
    kept = ipcq.Producer(name, message_size=8)
    end_of_child(kept, how)


@pytest.mark.parametrize("how", ["return", "exit"])
@pytest.mark.parametrize("method", METHODS)
def test_a_child_closes_its_producer_at_its_end(method, how, tmp_path):
    """A producer that is an argument, and a producer in a global variable."""
    context = multiprocessing.get_context(method)
    for target in (end_of_child, open_and_keep):
        if target is end_of_child:
            if method == "fork":
                continue
            what = ipcq.Producer("p", message_size=8)
            what.detach()
        else:
            # A fork server keeps the IPCQ_DIR with which it was started.
            what = str(tmp_path / "ipcq.p")
        process = context.Process(target=target, args=(what, how))
        process.start()
        end(process)
        q = ipcq.Consumer("p")
        assert q.get(timeout=0) == word(0)
        with pytest.raises(ipcq.Closed):
            q.get(timeout=0)
        ipcq.unlink("p")


def test_a_child_leaves_the_producers_of_others_open(pair):
    out, q = pair
    for method in METHODS:
        process = multiprocessing.get_context(method).Process(target=int)
        process.start()
        end(process)
    out.push(word(1))
    assert q.pop() == word(1)
    assert not q.stats.closed


def test_handing_over(pair):
    """Consumers see no end between two producers."""
    out, q = pair
    out.push_many([word(0), word(1)])
    got = []
    thread = threading.Thread(target=lambda: got.extend(q))
    thread.start()
    out.detach()
    out.detach()
    assert out.closed
    with pytest.raises(ValueError, match="closed"):
        out.push(word(2))
    s = ipcq.Consumer("pair", observer=True).stats
    assert (s.closed, s.producer_alive) == (False, False)
    process = multiprocessing.get_context("spawn").Process(target=produce, args=(out,))
    process.start()
    end(process)
    thread.join(60)
    assert got == [word(n) for n in range(4)]


def test_detaching_gives_a_claim_up(pair):
    out, q = pair
    claim = out.claim()
    out.detach()
    with pytest.raises(ValueError, match="ended"):
        claim.commit()
    with pickle.loads(pickle.dumps(out)) as again:
        again.push(word(7))
        assert q.pop() == word(7)


def test_a_producer_is_opened_where_it_is_closed():
    options = {"capacity": 64, "permissions": 0o640, "delivery": "lossless", "min_consumers": 1}
    out = ipcq.Producer("p", message_size=8, **options)
    text = pickle.dumps(out)
    for again in (lambda: pickle.loads(text), lambda: copy.copy(out), lambda: copy.deepcopy(out)):
        with pytest.raises(ipcq.ProducerExistsError, match="another live producer"):
            again()
    out.push(word(0))
    out.close()
    again = pickle.loads(text)
    assert (again.next_sequence, again.capacity, again.message_size) == (1, 64, 8)
    again.close()
    # If the queue no longer exists, the same queue is made again.
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
    with pytest.raises(ipcq.ProducerExistsError):
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


MANY = 300_000


def push_in_a_thread(name):
    from multiprocessing.util import Finalize

    out = ipcq.Producer(name, message_size=8)
    ending = threading.Event()
    # The last reference, except that of the module.
    Finalize(None, ending.set, exitpriority=-999)

    def push():
        ending.wait()
        for n in range(MANY):
            out.push(word(n))

    threading.Thread(target=push).start()


def push_in_an_executor(name):
    from concurrent.futures import ThreadPoolExecutor

    global pool
    pool = ThreadPoolExecutor(2)
    out = ipcq.Producer(name, message_size=8)
    for n in range(MANY // 100):
        pool.submit(out.push, word(n))


@pytest.mark.parametrize(
    ("work", "count"), [(push_in_a_thread, MANY), (push_in_an_executor, MANY // 100)]
)
@pytest.mark.parametrize("method", METHODS)
def test_the_threads_of_a_child_push_to_their_end(method, work, count, tmp_path):
    """Its producers are closed after its threads, as at the end of a program."""
    path = str(tmp_path / "ipcq.p")
    process = multiprocessing.get_context(method).Process(target=work, args=(path,))
    process.start()
    end(process)
    q = ipcq.Consumer(path)
    assert q.stats.pushed == count
    assert q.stats.closed
