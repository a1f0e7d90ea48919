"""Handles survive everything: every method at every wrong moment."""

import asyncio
import gc
import inspect
import os
import pickle
import random
import subprocess
import sys
import sysconfig
import threading
import tracemalloc

import pytest

import ipcq
from ipcq import _ipcq

DATA = b"12345678"


# Every public method and property of a handle, and a use of it. Add new ones here.
PRODUCER = {
    "push": lambda p: p.push(DATA),
    "push_many": lambda p: p.push_many([DATA]),
    "put": lambda p: p.put(DATA),
    "put_nowait": lambda p: p.put_nowait(DATA),
    "aput": lambda p: asyncio.run(p.aput(DATA)),
    "claim": lambda p: p.claim(),
    "consumers": lambda p: p.consumers(),
    "next_sequence": lambda p: p.next_sequence,
    "stats": lambda p: p.stats,
}
CONSUMER = {
    "pop": lambda q: q.pop(),
    "pop_many": lambda q: q.pop_many(),
    "pop_into": lambda q: q.pop_into(bytearray(8)),
    "peek": lambda q: q.peek(),
    "view": lambda q: q.view(timeout=0),
    "seek": lambda q: q.seek(0),
    "messages": lambda q: next(q.messages()),
    "batches": lambda q: next(q.batches()),
    "records": lambda q: next(q.records()),
    "wait": lambda q: q.wait(0),
    "fileno": lambda q: q.fileno(),
    "get": lambda q: q.get(timeout=0),
    "get_nowait": lambda q: q.get_nowait(),
    "aget": lambda q: asyncio.run(q.aget()),
    "qsize": lambda q: q.qsize(),
    "empty": lambda q: q.empty(),
    "consumers": lambda q: q.consumers(),
    "next_sequence": lambda q: q.next_sequence,
    "stats": lambda q: q.stats,
    "__next__": next,
    "__aiter__": lambda q: asyncio.run(q.__aiter__().__anext__()),
    "__reduce__": pickle.dumps,
}
MEMORY = {
    "write": lambda m: m.write(0, DATA),
    "read": lambda m: m.read(),
    "readinto": lambda m: m.readinto(0, bytearray(8)),
    "__buffer__": memoryview,
}
# The members that a closed handle still has.
STILL = {
    "name", "message_size", "max_message", "capacity", "delivery", "dtype", "closed", "close",
    "size", "writable", "unlink", "last", "detach",
}  # fmt: skip


@pytest.mark.parametrize(
    ("make", "calls"),
    [
        (lambda: ipcq.Producer("h", message_size=8), PRODUCER),
        (lambda: ipcq.Consumer("h", dtype="u8"), CONSUMER),
        (lambda: ipcq.SharedMemory("m", True, 64), MEMORY),
    ],
    ids=["producer", "consumer", "memory"],
)
def test_use_after_close(make, calls):
    ipcq.Producer("h", capacity=8, message_size=8).close()
    handle = make()
    public = {n for n in dir(handle) if not n.startswith("_")}
    assert public - STILL == {n for n in calls if not n.startswith("_")}
    handle.close()
    handle.close()
    assert handle.closed
    assert "closed" in repr(handle) or not hasattr(handle, "stats")
    for name in public & STILL - {"unlink"}:
        getattr(handle, name)
    for name, call in calls.items():
        with pytest.raises(ValueError, match="closed"):
            call(handle)
            pytest.fail(f"{name} did not raise")
    with handle:
        pass


def test_panics_are_errors(pair):
    """And the lock of the handle is free afterwards."""
    for handle in pair:
        with pytest.raises(ipcq.Error, match="internal error, please report it: requested"):
            _ipcq._panic(handle)
    out, q = pair
    out.push(DATA)
    assert q.pop() == DATA


def test_a_module_for_one_interpreter(child):
    """A second interpreter of the process is refused. The first still works."""
    code = """if 1:
        import sys
        import ipcq
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        one = interpreters.create()
        # The exception is raised here or returned.
        try:
            failed = interpreters.run_string(one, "import ipcq")
        except Exception as e:
            failed = e
        assert "ImportError" in str(failed), failed
        with ipcq.Producer("q") as out, ipcq.Consumer("q") as q:
            out.push(b"fine")
            print(q.get())
    """
    assert child(code).end() == "b'fine'\n"


@pytest.mark.parametrize("delivery", ["lossy", "lossless"])
def test_threads_do_anything(delivery):
    """Threads share handles and close them. Only exceptions of ipcq are raised."""
    options = {"capacity": 64, "message_size": 8, "delivery": delivery}
    wrong = []
    rounds = 30

    def act(seed, handles, begin):
        dice = random.Random(seed)
        begin.wait()
        try:
            for _ in range(300):
                handle = dice.choice(handles)
                calls = PRODUCER if isinstance(handle, ipcq.Producer) else CONSUMER
                name = dice.choice([n for n in calls if not n.startswith(("a", "__a", "b", "r"))])
                if name in ("__next__", "messages") or (name == "put" and delivery == "lossless"):
                    continue
                try:
                    got = calls[name](handle)
                    if name == "claim":
                        got.write(0, DATA)
                        got.commit()
                    elif name in ("peek", "view") and got is not None:
                        with got as view:
                            assert view[0] if name == "view" else bytes(view)
                            bytes(memoryview(view))
                    if dice.random() < 0.003:
                        handle.close()
                except (ipcq.Error, BufferError):
                    pass
        except BaseException as e:
            wrong.append(e)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for turn in range(rounds):
            with ipcq.Producer("any", **options) as out:
                handles = [out, *(ipcq.Consumer("any", dtype="u8") for _ in range(2))]
                begin = threading.Barrier(4)
                threads = [
                    threading.Thread(target=act, args=(10 * turn + i, handles, begin))
                    for i in range(4)
                ]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join(120)
                    assert not t.is_alive()
                for q in handles[1:]:
                    if not q.closed:
                        s = q.stats
                        assert s.received + s.lost + s.lag <= s.pushed
                        q.close()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_no_leak_of_anything():
    """Every call, and every way to fail."""
    np = pytest.importorskip("numpy")
    dtype = np.dtype([("n", "u8")])
    array = np.zeros(3, dtype)
    out = ipcq.Producer("leak", capacity=64, dtype=dtype)
    q = ipcq.Consumer("leak")
    words = ipcq.Producer("words", capacity=4096)
    w = ipcq.Consumer("words")
    memory = ipcq.SharedMemory("m", True, 64)
    loop = asyncio.new_event_loop()
    buffer = bytearray(16)

    def fails(error, call, *arguments, **options):
        try:
            call(*arguments, **options)
        except error:
            return
        raise AssertionError("it did not raise")

    async def wait():
        out.push(DATA)
        await q.aget()
        out.push(DATA)
        async for _ in q:
            break
        task = asyncio.ensure_future(q.aget())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await out.aput(DATA)
        await q.messages().__anext__()

    def calls():
        for p, c in ((out, q), (words, w)):
            p.push(DATA)
            p.push_many([DATA] * 9)
            p.put(DATA)
            with p.claim(8) as claim:
                claim.write(0, DATA)
                fails(ValueError, claim.write, 1, DATA)
            c.get()
            next(c.messages())
            bytes(next(c.messages()))
            with c.peek() as view:
                bytes(view)
            with c.view() as v:
                v[0], v.array
                with memoryview(v):
                    fails((BufferError, TypeError), readinto, v)
                fails(IndexError, v.__getitem__, 99)
            fails(ValueError, v.__getitem__, 0)
            fails(ValueError, memoryview, v)
            p.push_many([DATA] * 9)
            c.pop_into(buffer)
            list(next(c.batches(3)))
            c.pop_many()
            c.stats, c.last, c.name, c.dtype, c.consumers(), p.stats, p.consumers()
            assert c.pop() is None
            fails(ipcq.Empty, c.get, timeout=0)
            fails(ipcq.Empty, c.view, timeout=0)
            fails(ipcq.MessageSizeError, p.push, bytes(5000))
            fails(TypeError, p.push, "5")
            fails(
                ipcq.SchemaMismatchError if p is out else ipcq.MessageSizeError,
                p.push,
                np.zeros(1000),
            )
            fails(BufferError, c.pop_into, b"")
            fails(ValueError, c.seek, 2**60)
            fails(ValueError, c.batches, 0)
            fails(ipcq.ProducerExistsError, ipcq.Producer, p.name)
            pickle.loads(pickle.dumps(c)).close()
        out.push_many([DATA] * 3)
        next(q.records())
        q.pop_into(array)
        out.push(array[0])
        out.push_many([(1,), {"n": 2}])
        next(q.records())
        with q.view() as v:
            v.records.n  # noqa: B018
        out.push_many([DATA] * 3)
        next(q.batches()).records  # noqa: B018
        for _ in range(70):
            out.push(DATA)
        fails(ipcq.OverrunError, overrun)
        q.pop_many()
        fails(TypeError, w.records)
        words.push(DATA)
        fails(TypeError, next(w.messages()).record)
        out.push(DATA)
        next(q.messages()).record().n  # noqa: B018
        fails(ipcq.SchemaMismatchError, ipcq.Consumer, "leak", dtype="u8")
        fails(FileNotFoundError, ipcq.Consumer, "nothing")
        fails(ipcq.Error, _ipcq._panic, q)
        with memoryview(memory):
            pass
        with ipcq.SharedMemory("m") as other, memoryview(other):
            pass
        memory.write(0, DATA)
        memory.read()
        fails(ValueError, memory.read, 99)
        ipcq.SharedMemory("m").close()
        loop.run_until_complete(wait())

    def readinto(window):
        with open("/dev/zero", "rb") as zero:
            zero.readinto(window)

    def overrun():
        with q.view():
            for _ in range(70):
                out.push(DATA)

    out.push(DATA)
    quiet = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # the panics
    try:
        classes = [
            ipcq.View,
            ipcq.Messages,
            ipcq.SharedMemory,
            type(q),
            type(out),
            ipcq.Message,
            ipcq.Batch,
        ]

        def counts():
            """References, objects, and 512 bytes each of objects that are not counted there."""
            gc.collect()
            seen = [sys.getrefcount(o) for o in (DATA, buffer, None, q, out, memory, *classes)]
            traced = tracemalloc.get_traced_memory()[0] // 512
            return [*seen, sys.getallocatedblocks(), traced]

        calls()  # opens what stays open
        gc.collect()  # objects that other tests have left
        descriptors = len(os.listdir("/proc/self/fd"))
        rounds = 200
        tracemalloc.start()
        try:
            before, growths = counts(), []
            # The caches of the interpreter grow, too, but less each time. (Its cache of attributes
            # keeps each name that C code makes.) A leak grows by the same number each time.
            while len(growths) < 10:
                for _ in range(rounds):
                    calls()
                after = counts()
                growths.append([b - a for a, b in zip(before, after, strict=True)])
                if all(grown < rounds // 4 for grown in growths[-1]):
                    break
                before = after
            else:
                raise AssertionError(f"in {rounds} rounds each: {growths}")
        finally:
            tracemalloc.stop()
        assert len(os.listdir("/proc/self/fd")) == descriptors
    finally:
        os.dup2(quiet, 2)
        os.close(quiet)
        os.close(null)
        loop.close()
    for handle in (q, out, w, words, memory):
        handle.close()


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"),
    reason="this is no free-threaded interpreter: make test-python PYTHON=python3.14t VENV=.venv-t",
)
def test_without_the_interpreter_lock():
    """Importing the module does not enable it. (The tests of threads run without it, too.)"""
    done = subprocess.run(
        [sys.executable, "-c", "import ipcq, sys; print(sys._is_gil_enabled())"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "False\n"


def test_everything_has_a_docstring():
    """The API page shows them."""
    without = []
    for name in ipcq.__all__:
        if name == "__version__":
            continue
        what = getattr(ipcq, name)
        if not what.__doc__:
            without.append(name)
        if isinstance(what, type) and not issubclass(what, BaseException):
            members = [n for n in dir(what) if not n.startswith("_")]
            without += [f"{name}.{n}" for n in members if not inspect.getdoc(getattr(what, n))]
    assert without == []
