"""Every exception. A call that raises changes nothing."""

import errno
import os
import queue
import resource
import signal
import subprocess
import sys
import threading

import pytest

import ipcq


@pytest.mark.parametrize(
    ("name", "also"),
    [
        ("UsageError", ValueError),
        ("Empty", queue.Empty),
        ("Full", queue.Full),
        ("Closed", Exception),
        ("ReplacedError", ipcq.Closed),
        ("OverrunError", Exception),
        ("SchemaMismatchError", TypeError),
        ("MessageSizeError", ValueError),
        ("ProducerExistsError", FileExistsError),
        ("IncompatibleError", ValueError),
    ],
)
def test_classes(name, also):
    cls = getattr(ipcq, name)
    assert issubclass(cls, ipcq.Error)
    assert issubclass(cls, also)
    assert cls.__module__ == "ipcq"


def test_missing():
    with pytest.raises(FileNotFoundError, match="nothing") as caught:
        ipcq.Consumer("nothing")
    assert caught.value.errno == errno.ENOENT
    with pytest.raises(FileNotFoundError, match=r"has to open it first \(.* set open_timeout\)"):
        ipcq.Consumer("nothing", open_timeout=0)
    with pytest.raises(
        FileNotFoundError, match=r"no such queue, and no producer .* within 20ms \(open_timeout\): "
    ) as caught:
        ipcq.Consumer("nothing", open_timeout=0.02)
    assert "open it first" not in str(caught.value)
    with pytest.raises(FileNotFoundError):
        ipcq.unlink("nothing")
    with pytest.raises(FileNotFoundError):
        ipcq.SharedMemory("nothing")


def test_a_second_producer(pair):
    out, q = pair
    with pytest.raises(ipcq.ProducerExistsError, match="pair") as caught:
        ipcq.Producer("pair")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.EBUSY
    out.push(bytes(8))
    assert q.pop() == bytes(8)


def test_exclusive():
    ipcq.Producer("q").close()
    with pytest.raises(FileExistsError) as caught:
        ipcq.Producer("q", exclusive=True)
    assert not isinstance(caught.value, ipcq.Error)
    assert caught.value.errno == errno.EEXIST


def test_another_geometry_and_replace():
    with ipcq.Producer("q", capacity=64, message_size=8) as out:
        out.push(b"12345678")
    with pytest.raises(ipcq.IncompatibleError, match="16") as caught:
        ipcq.Producer("q", capacity=64, message_size=16)
    assert isinstance(caught.value, ValueError)
    q = ipcq.Consumer("q")
    with ipcq.Producer("q", capacity=64, message_size=16, replace=True) as out:
        assert out.next_sequence == 0
        assert q.pop() == b"12345678"
        with pytest.raises(ipcq.ReplacedError, match="replaced"):
            q.get()


def test_not_a_queue(tmp_path):
    (tmp_path / "ipcq.q").write_bytes(b"no queue" * 1000)
    with pytest.raises(ipcq.IncompatibleError):
        ipcq.Consumer("q")
    with pytest.raises(ipcq.IncompatibleError):
        ipcq.Producer("q")
    ipcq.Producer("q", replace=True).close()


def test_wrong_sizes(pair, words):
    out, q = pair
    for data in (b"", b"1234567", b"123456789"):
        with pytest.raises(ipcq.MessageSizeError, match="8"):
            out.push(data)
    assert words[0].max_message == 512
    words[0].push(bytes(512))
    with pytest.raises(ipcq.MessageSizeError, match="512") as caught:
        words[0].push(bytes(513))
    assert isinstance(caught.value, ValueError)
    assert q.pop() is None


@pytest.mark.parametrize("name", ["", "a\0b", "x.ctl", "/"])
def test_bad_names(name):
    with pytest.raises(ValueError):  # noqa: PT011
        ipcq.Producer(name)
    with pytest.raises(ValueError):  # noqa: PT011
        ipcq.Consumer(name)


def test_bad_arguments():
    for wrong in [
        {"capacity": 2**63},
        {"message_size": 2**31},
        {"delivery": "sometimes"},
        {"max_consumers": 100_000},
        {"evict_after": -1},
        {"evict_after": 0, "delivery": "lossless"},
        {"evict_after": 0.0, "delivery": "lossless"},
        {"evict_after": 1e-10, "delivery": "lossless"},
        {"evict_after": float("nan"), "delivery": "lossless"},
        {"evict_after": 10**400, "delivery": "lossless"},
        {"capacity": -1},
        {"capacity": 2**64},
        {"capacity": 10**6000},
        {"message_size": 2**32},
        {"message_size": -1},
        {"permissions": -1},
        {"control_permissions": -1},
        {"max_consumers": -1},
        {"min_consumers": 2**32},
    ]:
        with pytest.raises(ipcq.UsageError):
            ipcq.Producer("q", **wrong)
    for wrong in [{"capacity": "many"}, {"nonsense": 1}]:
        with pytest.raises(TypeError):
            ipcq.Producer("q", **wrong)
    with pytest.raises(TypeError):
        ipcq.Producer(5)
    assert ipcq.queues() == []


def test_seconds_that_no_float_can_hold(words):
    out, q = words
    out.push(b"one")
    for call in [
        lambda n: q.get(timeout=n),
        lambda n: q.get(False, n),
        lambda n: q.view(timeout=n),
        lambda n: q.wait(n),
        lambda n: q.wait(n, at_least=2),
        lambda n: q.batches(linger=n),
        lambda n: ipcq.wait_any([q], timeout=n),
        lambda n: ipcq.Consumer("words", open_timeout=n),
        lambda n: out.put(b"two", timeout=n),
        lambda n: out.push_many([b"two"], timeout=n),
    ]:
        for number in (10**400, -(10**400), 10**6000):
            with pytest.raises(ipcq.UsageError):
                call(number)
        with pytest.raises(TypeError):
            call("1")
    assert q.pop_many() == [b"one"]
    assert ipcq.Producer("q", delivery="lossless", evict_after=1e-9).name == "q"


def test_bad_arguments_of_calls(words):
    out, q = words
    with ipcq.Producer("fixed", message_size=8) as fixed, ipcq.Consumer("fixed") as of_fixed:
        fixed.push(bytes(8))
        for wrong in [
            lambda: ipcq.Consumer("words", start="latest"),
            lambda: ipcq.Consumer("words", start=-1),
            lambda: ipcq.Consumer("words", start=2**64),
            lambda: ipcq.Consumer("words", open_timeout=-1),
            lambda: q.get(timeout=-1),
            lambda: q.pop_many(-1),
            lambda: q.view(-1),
            lambda: of_fixed.view(0),
            lambda: of_fixed.peek(0),
            lambda: of_fixed.peek(-1),
            lambda: q.batches(0),
            lambda: q.batches(-1),
            lambda: q.batches(linger=-1),
            lambda: q.seek(-1),
            lambda: q.wait(at_least=-1),
            lambda: out.claim(-1),
            lambda: of_fixed.peek().read(-1, 2),
            lambda: of_fixed.peek().read(0, -1),
            lambda: ipcq.SharedMemory("m", create=True, size=-1),
            lambda: ipcq.SharedMemory("m", create=True, size=8).read(-1),
            lambda: ipcq.SharedMemory("m", create=True, size=8).write(-1, b"1"),
        ]:
            with pytest.raises(ipcq.UsageError):
                wrong()
        with out.claim(5) as claim:
            with pytest.raises(ipcq.UsageError):
                claim.write(-1, b"1")
            with pytest.raises(ipcq.UsageError):
                claim.commit(-1)
    with pytest.raises(ipcq.UsageError) as caught:
        ipcq.Producer("q", capacity=-1)
    assert str(caught.value) == f"must be an integer from 0 to {2**64 - 1}, not -1"
    assert caught.value.__notes__ == ["while processing 'capacity'"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may do anything")
def test_permission(tmp_path):
    ipcq.Producer("q").close()
    (tmp_path / "ipcq.q").chmod(0)
    with pytest.raises(PermissionError) as caught:
        ipcq.Consumer("q")
    assert caught.value.errno == errno.EACCES


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become another user")
def test_permission_of_another_user(tmp_path):
    ipcq.Producer("q").close()
    ipcq.Producer("open", permissions=0o644).close()
    for path in [tmp_path, *tmp_path.parents][:-2]:
        path.chmod(0o755)

    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(65534)
            ipcq.Consumer("open")
            try:
                ipcq.Consumer("q")
            except PermissionError as e:
                os._exit(0 if e.errno == errno.EACCES else 2)
            os._exit(1)
        except BaseException:
            os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_space(tmp_path):
    code = """if 1:
        import errno, ipcq, resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        try:
            ipcq.Producer("q", capacity=1 << 24)
        except OSError as e:
            assert e.errno in (errno.ENOSPC, errno.EFBIG), e
            assert not isinstance(e, ipcq.Error)
            print("refused")
    """
    assert resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "refused\n"
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_a_forked_child(pair):
    out, q = pair
    out.push(b"before  ")
    pid = os.fork()
    if pid == 0:
        try:
            out.push(b"in child")
        except ipcq.Error as e:
            out.close()
            ok = "forked" in str(e) and q.pop() == b"before  "
            os._exit(0 if ok else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    out.push(b"after   ")
    assert q.pop_many() == [b"before  ", b"after   "]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_while_another_thread_is_in_a_call():
    """The child finds the handle as it is between two calls, or gets an error."""
    size = 8 << 20
    out = ipcq.Producer("large", capacity=2, message_size=size)
    q = ipcq.Consumer("large")
    out.push(bytes(size))
    ended = threading.Event()

    def read():
        buffer = bytearray(size)
        while not ended.is_set():
            q.seek(0)
            q.pop_into(buffer)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(500):
            pid = os.fork()
            if pid == 0:
                # Ends a child that waits for a thread that does not exist in the child.
                signal.alarm(20)
                try:
                    q.stats  # noqa: B018
                    q.pop()
                except ipcq.Error as e:
                    with ipcq.Consumer("large") as again:
                        ok = "forked" in str(e) and again.pop() == bytes(size)
                    os._exit(7 if ok else 2)
                os._exit(0)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert code in (0, 7)
            if code == 7:
                break
        else:
            pytest.fail("no fork met a call")
    finally:
        ended.set()
        reader.join()
    q.close()
    out.close()
