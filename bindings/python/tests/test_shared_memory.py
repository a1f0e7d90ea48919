import pytest

import ipcq


def test_write_and_read():
    with ipcq.SharedMemory("m", create=True, size=100_000) as writer:
        reader = ipcq.SharedMemory("m")
        assert (reader.size, len(reader), reader.writable, writer.writable) == (
            100_000,
            100_000,
            False,
            True,
        )
        writer.write(3, b"hello")
        assert reader.read(2, 7) == b"\0hello\0"
        assert len(reader.read()) == 100_000
        assert reader.read(99_999) == b"\0"
        assert reader.read(100_000) == b""
        data = bytes(range(250)) * 400
        writer.write(0, data)
        assert reader.read() == data
        buffer = bytearray(10)
        reader.readinto(5, buffer)
        assert buffer == data[5:15]
        assert "m" in repr(reader)
        assert writer.name == "m"


def test_bounds_and_roles():
    writer = ipcq.SharedMemory("m", True, 16)
    reader = ipcq.SharedMemory("m")
    for call in [
        lambda: writer.write(9, bytes(8)),
        lambda: writer.write(2**63, b"x"),
        lambda: reader.read(0, 17),
        lambda: reader.read(17),
        lambda: reader.readinto(1, bytearray(16)),
    ]:
        with pytest.raises(ValueError, match="16"):
            call()
    with pytest.raises(ipcq.Error, match="read"):
        reader.write(0, b"x")
    assert reader.read() == bytes(16)
    with pytest.raises(ipcq.ProducerExistsError):
        ipcq.SharedMemory("m", True, 16)
    writer.write(0, b"kept")
    writer.close()
    writer.close()
    assert writer.closed
    with pytest.raises(ValueError, match="closed"):
        writer.write(0, b"x")
    with pytest.raises(ipcq.IncompatibleError):
        ipcq.SharedMemory("m", True, 17)
    again = ipcq.SharedMemory("m", True, 16)
    assert again.read(0, 4) == b"kept"
    again.unlink()
    with pytest.raises(FileNotFoundError):
        ipcq.SharedMemory("m")
    assert reader.read(0, 4) == b"kept"
    with pytest.raises(ValueError):  # noqa: PT011
        ipcq.SharedMemory("none", True, 0)


def test_permissions(tmp_path):
    ipcq.SharedMemory("m", True, 16, permissions=0o640)
    assert (tmp_path / "ipcq.m").stat().st_mode & 0o777 == 0o640


def test_buffer_protocol():
    """The memory itself: writable for the writer, read-only for a reader."""
    np = pytest.importorskip("numpy")
    writer = ipcq.SharedMemory("m", True, 64)
    reader = ipcq.SharedMemory("m")
    with memoryview(writer) as w, memoryview(reader) as r:
        assert (w.readonly, w.nbytes, w.format, w.contiguous) == (False, 64, "B", True)
        assert (r.readonly, r.nbytes, r.shape, r.strides) == (True, 64, (64,), (1,))
        w[3:8] = b"hello"
        assert r[3:8] == b"hello"
        with pytest.raises(TypeError, match="read-only"):
            r[0] = 1
    there, here = np.frombuffer(writer, "u8"), np.frombuffer(reader, "u8")
    assert there.flags.writeable
    assert not here.flags.writeable
    there[7] = 99
    assert here[7] == 99
    assert not here.flags.owndata
    writer.write(0, b"by the handle")
    assert here[:1].tobytes() == b"by the h"
    with open("/dev/zero", "rb") as zero:
        assert zero.readinto(writer) == 64
    assert not here.any()
    there[0] = 5
    for handle in (reader, writer):
        handle.close()
        with pytest.raises(ValueError, match="closed"):
            memoryview(handle)
    # Another writer may open it now. Arrays still show the memory.
    with ipcq.SharedMemory("m", True, 64) as other:
        assert other.read(0, 1) == b"\5"
        other.write(0, b"\6")
    assert (there[0], here[0]) == (6, 6)


def test_a_buffer_keeps_the_memory(tmp_path):
    import gc

    m = memoryview(ipcq.SharedMemory("m", True, 16))
    m[0] = 7
    gc.collect()
    assert ipcq.SharedMemory("m").read(0, 1) == b"\x07"
    (tmp_path / "ipcq.m").unlink()
    assert m[0] == 7


def test_no_array_of_what_was_closed():
    """If a buffer raises, numpy alone makes an array of the object, without an error."""
    np = pytest.importorskip("numpy")
    memory = ipcq.SharedMemory("m", create=True, size=4)
    memory.write(0, b"abcd")
    assert np.asarray(memory).tobytes() == memory.__array__().tobytes() == b"abcd"
    memory.__array__()[0] = ord("A")
    assert memory.read() == b"Abcd"
    memory.__array__(copy=True)[0] = 0
    assert memory.read() == b"Abcd"
    memory.close()
    for attempt in (np.asarray, np.array, lambda memory: memory.__array__()):
        with pytest.raises(ipcq.UsageError, match="closed"):
            attempt(memory)
