"""Arrays of shared memory stay valid after the handle and until the interpreter has ended."""

import subprocess
import sys

import pytest

import ipcq

HEAD = """
import array, ctypes, gc, sys, threading
import ipcq
import numpy as np

def memory():
    writer = ipcq.SharedMemory("m", create=True, size=4096)
    writer.write(0, b"8 bytes!" * 512)
    return writer

def reader():
    memory()
    return ipcq.SharedMemory("m")

def ring():
    out = ipcq.Producer("q", capacity=64, message_size=8)
    out.push(b"8 bytes!")
    return out, ipcq.Consumer("q")
"""

# Ways to get an array, or something else, of the memory of an object.
WAYS = {
    "memoryview": "memoryview(x)",
    "a part of a memoryview": "memoryview(x)[:5]",
    "a cast memoryview": "memoryview(x).cast('B')",
    "ndarray": "np.ndarray((8,), 'u1', x)",
    "ndarray of a memoryview": "np.ndarray((8,), 'u1', memoryview(x))",
    "ndarray of a released memoryview": (
        "(lambda m: (np.ndarray((8,), 'u1', m), m.release())[0])(memoryview(x))"
    ),
    "a part of an ndarray": "np.ndarray((8,), 'u1', x)[:5]",
    "ndarray of an ndarray": "np.ndarray((8,), 'u1', np.ndarray((8,), 'u1', x))",
    "frombuffer": "np.frombuffer(x, 'u8')",
    "asarray": "np.asarray(x)",
    "asarray of a memoryview": "np.asarray(memoryview(x))",
    "a matrix": "np.ndarray((8,), 'u1', x).view(np.matrix)",
    "a recarray": "np.rec.array(np.ndarray((1,), [('n', 'u8')], x))",
    "records": "np.recarray((1,), [('n', 'u8')], buf=x)",
}
WRITERS = {
    "ctypes": "(ctypes.c_char * 8).from_buffer(x)",
    "ctypes of a memoryview": "(ctypes.c_char * 8).from_buffer(memoryview(x))",
}
OBJECTS = {
    "writer": "x = memory(); owner = x",
    "reader": "x = reader(); owner = x",
    "view": "out, owner = ring(); x = owner.view()",
}


def run(code, tmp_path, **options):
    done = subprocess.run(
        [sys.executable, "-c", HEAD + code],
        env={"IPCQ_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("of", OBJECTS)
def test_it_outlives_the_handle(of, tmp_path):
    """The handle is closed, collected and unlinked, and other memory is mapped."""
    pytest.importorskip("numpy")
    ways = {**WAYS, **WRITERS} if of == "writer" else WAYS
    code = f"""
for way in {list(ways.values())!r}:
    {OBJECTS[of].replace("; ", chr(10) + "    ")}
    a = eval(way)
    assert bytes(a)[:5] == b"8 byt", way
    owner.close()
    assert bytes(a)[:5] == b"8 byt", way
    x = owner = out = None
    gc.collect()
    ipcq.unlink({"q" if of == "view" else "m"!r})
    others = [np.full(1 << 20, n, "u1") for n in range(8)]
    assert bytes(a)[:5] == b"8 byt", way
print("right")
"""
    assert run(code, tmp_path) == (0, "right\n", "")


def test_a_writer_writes_on():
    np = pytest.importorskip("numpy")
    with ipcq.SharedMemory("m", create=True, size=64) as writer:
        array = np.ndarray((8,), "u8", writer)
    array[3] = 7
    assert ipcq.SharedMemory("m").read(24, 1) == b"\7"


def mappings(file):
    with open("/proc/self/maps") as f:
        return sum(line.rstrip().endswith(str(file)) for line in f)


@pytest.mark.parametrize("of", ["memory", "view"])
def test_it_goes_with_the_last_that_shows_it(of, tmp_path):
    """A handle that has shown nothing unmaps the memory when it is closed."""
    for shows in (False, True):
        with ipcq.Producer("q", capacity=64, message_size=8) as out:
            out.push(b"8 bytes!")
            if of == "memory":
                file = tmp_path / "m"
                owner = ipcq.SharedMemory(file, create=True, size=64)
                shown = memoryview(owner) if shows else None
            else:
                file = tmp_path / "ipcq.q"
                owner = ipcq.Consumer("q")
                shown = memoryview(owner.view()) if shows else None
            out.close()
            owner.close()
            assert mappings(file) == (1 if shows else 0)
            del owner
            assert mappings(file) == (1 if shows else 0)
            del shown
            assert mappings(file) == 0


ENDS = {
    "a global": (0, "a = {way}"),
    "an attribute of a module": (0, "sys.kept = {way}"),
    "a cycle": (0, "a = [{way}]; a.append(a); gc.disable()"),
    "an exception": (1, "a = {way}; 1 / 0"),
    "an exception in a block": (1, "with x:\n    a = {way}\n    1 / 0"),
    "sys.exit": (3, "a = {way}; sys.exit(3)"),
    "a thread": (
        0,
        "event = threading.Event()\n"
        "def hold():\n    a = {way}\n    event.set()\n    threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start(); event.wait()",
    ),
}


@pytest.mark.parametrize("of", OBJECTS)
@pytest.mark.parametrize("end", ENDS)
def test_at_the_end_of_the_interpreter(of, end, tmp_path):
    pytest.importorskip("numpy")
    status, code = ENDS[end]
    for way in ("memoryview(x)", "np.asarray(x)"):
        program = f"{OBJECTS[of]}\n{code.format(way=way)}\n"
        assert run(program, tmp_path)[0] == status
        for file in tmp_path.iterdir():
            file.unlink()


HANDLES = """
out, q = ring()
words = ipcq.Producer("words")
claim, view, batches, shown = words.claim(5), q.peek(), q.batches(), memory()
sys.kept = [out, q, words, claim, view, batches, shown, q.view()]
"""


def test_handles_at_the_end_of_the_interpreter(tmp_path):
    """Even if they are destroyed after everything else."""
    assert run(HANDLES + "q.pop()\n", tmp_path) == (0, "", "")
    assert run(HANDLES + "del sys.kept\nsys.exit(4)\n", tmp_path)[0] == 4


@pytest.mark.parametrize(
    "call",
    [
        "q.get(timeout=0.001)",
        "q.get()",
        "next(q.batches())",
        "q.pop()",
        "out.push(bytes(8))",
        "q.pop_into(bytearray(1 << 20))",
        "ipcq.Consumer('nothing', open_timeout=0.01)",
    ],
)
def test_daemon_threads_at_the_end_of_the_interpreter(call, tmp_path):
    """Their calls never return. The interpreter lets other threads run while it shuts down."""
    code = f"""
import time
out, q = ring()
begun = threading.Semaphore(0)

def work():
    begun.release()
    while True:
        try:
            {call}
        except (ipcq.Empty, FileNotFoundError):
            pass

class Slow:
    sleep = staticmethod(time.sleep)

    def __del__(self):
        self.sleep(0.3)

sys.kept = Slow()
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
    begun.acquire()
print("end")
"""
    assert run(code, tmp_path)[:2] == (0, "end\n")
