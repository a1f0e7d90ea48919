"""Data of one dtype for a queue of another dtype."""

import array
import asyncio
import ctypes

import pytest

import ipcq

np = pytest.importorskip("numpy")

RECORD = np.dtype([("a", "f8"), ("b", "i8")])


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_double), ("b", ctypes.c_int64))


class Swapped(ctypes.Structure):
    _fields_ = (("b", ctypes.c_int64), ("a", ctypes.c_double))


class Named(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char * 5), ("n", ctypes.c_uint16))


def one(dtype, value=7):
    """An array of one element with a value in each field."""
    filled = np.zeros(1, dtype)
    for name in filled.dtype.names:
        filled[name] = value
    return filled


# By the dtype of the queue: data that looks like its messages, but is not.
WRONG = {
    "f8": [
        np.arange(1),
        np.arange(1, dtype=">f8"),
        np.zeros(2, "f4"),
        np.zeros(1, "M8[ns]"),
        np.zeros(1, "c16"),
        np.zeros(1, "S8"),
        np.zeros(1, "V8"),
        np.zeros(2, "U1"),
        np.zeros(1, [("x", "f8")]),
        np.zeros(8, "?"),
        np.zeros(8, "i1"),
        array.array("b", bytes(8)),
        memoryview(bytes(8)).cast("b"),
        np.zeros(1, object),
        array.array("q", [7]),
        array.array("f", [7, 7]),
        memoryview(array.array("Q", [7])),
        memoryview(bytes(8)).cast("l"),
        memoryview(bytes(8)).cast("?"),
        ctypes.c_int64(7),
        (ctypes.c_float * 2)(7, 7),
        ctypes.c_void_p(7),
        Pair(),
    ],
    "M8[ns]": [
        np.zeros(1, "M8[us]"),
        np.zeros(1, "m8[ns]"),
        np.arange(1),
        array.array("q", [7]),
    ],
    ("f4", (2, 2)): [np.arange(4, dtype="i4"), np.zeros(2), array.array("i", [1, 2, 3, 4])],
    "u1": [np.zeros(1, "?"), np.zeros(1, "S2"), np.zeros(1, [("x", "u1")])],
    RECORD: [
        one([("b", "i8"), ("a", "f8")]),
        one([("a", "i8"), ("b", "i8")]),
        one([("a", "f8"), ("c", "i8")]),
        one([("a", "f8"), ("b", "u8")]),
        one([("a", ">f8"), ("b", "i8")]),
        one({"names": ["a", "b"], "formats": ["f8", "i8"], "offsets": [8, 0]}),
        np.zeros(2),
        np.zeros(1, "V16"),
        Swapped(),
        (Swapped * 1)(),
        (ctypes.c_double * 2)(),
    ],
    np.dtype({"names": ["a"], "formats": ["f8"], "itemsize": 16}): [one([("a", "f8")]).repeat(2)],
    np.dtype([("at", RECORD, (2,))]): [one(RECORD).repeat(2), one([("at", RECORD)]).repeat(2)],
}


def key(dtype):
    return str(np.dtype(dtype))


def queue(dtype):
    return ipcq.Producer("q", capacity=64, dtype=dtype), ipcq.Consumer("q")


@pytest.mark.parametrize("dtype", WRONG, ids=key)
def test_another_dtype_is_refused(dtype):
    """Every call that takes data raises it before anything is pushed or consumed."""
    out, q = queue(dtype)
    size = out.message_size
    for wrong in WRONG[dtype]:
        pushes = [out.push, out.put, out.put_nowait, out.push_many]
        pushes.append(lambda wrong: out.push_many([wrong]))
        pushes.append(lambda wrong: out.push_many(iter([bytes(size), wrong])))
        pushes.append(lambda wrong: asyncio.run(out.aput(wrong)))
        for push in pushes:
            with pytest.raises(ipcq.SchemaMismatchError, match="dtype"):
                push(wrong)
    with out.claim() as claim:
        for wrong in WRONG[dtype]:
            with pytest.raises(ipcq.SchemaMismatchError):
                claim.write(0, wrong)
        claim.write(0, bytes(size))
    assert out.next_sequence == 1
    for wrong in WRONG[dtype]:
        if isinstance(wrong, np.ndarray) and wrong.dtype != object:
            room = np.zeros(size, wrong.dtype)
            with pytest.raises(ipcq.SchemaMismatchError):
                q.pop_into(room)
            with pytest.raises(ipcq.SchemaMismatchError), q.peek() as view:
                view.readinto(room)
    assert q.stats.received == 0
    assert q.pop_many() == [bytes(size)]


RIGHT = {
    "f8": [
        np.array([7.0]),
        np.array(7.0),
        np.float64(7),
        7,
        7.0,
        array.array("d", [7]),
        memoryview(array.array("d", [7])),
        ctypes.c_double(7),
        (ctypes.c_double * 1)(7),
    ],
    "i2": [np.int16(7), 7, array.array("h", [7]), (ctypes.c_int16 * 1)(7)],
    "M8[ns]": [
        np.zeros(1, "M8[ns]"),
        np.datetime64(0, "ns"),
        np.datetime64(0, "s").astype("M8[ns]"),
    ],
    ("f4", (2, 2)): [
        np.ones((2, 2), "f4"),
        np.ones(4, "f4"),
        [[1, 1], [1, 1]],
        array.array("f", [1] * 4),
    ],
    RECORD: [
        one(RECORD),
        one(RECORD)[0],
        one(RECORD).view(np.recarray),
        one(RECORD).view(np.recarray)[0],
        one(np.dtype(RECORD, align=True)),
        (7, 7),
        {"b": 7, "a": 7.0},
        Pair(7, 7),
        (Pair * 1)(Pair(7, 7)),
    ],
    np.dtype([("name", "S5"), ("n", "u2")], align=True): [
        (b"me", 7),
        {"name": "me", "n": 7},
        Named(b"me", 7),
    ],
    np.dtype([("at", RECORD), ("w", "u1", (2,))]): [
        ((7, 7), (1, 2)),
        {"at": {"a": 7, "b": 7}, "w": [1, 2]},
    ],
}


@pytest.mark.parametrize("dtype", RIGHT, ids=key)
def test_the_right_dtype_is_taken(dtype):
    """Each way gives the same message."""
    out, q = queue(dtype)
    for right in RIGHT[dtype]:
        out.push(right)
        out.put(right)
        asyncio.run(out.aput(right))
        assert out.push_many([right]) == 1
        assert out.push_many(iter([right])) == 1
        if hasattr(right, "dtype"):
            assert out.push_many(right) == 1
    assert len(set(q.pop_many())) == 1


def test_bytes_have_no_dtype():
    out, q = queue(RECORD)
    raw = one(RECORD).tobytes()
    for plain in (
        raw,
        bytearray(raw),
        memoryview(raw),
        memoryview(raw).cast("c"),
        np.frombuffer(raw, "u1"),
        np.frombuffer(raw, "S1"),
        array.array("B", raw),
        (ctypes.c_char * 16).from_buffer_copy(raw),
        (ctypes.c_uint8 * 16).from_buffer_copy(raw),
    ):
        out.push(plain)
        assert out.push_many(plain) == 1
        with out.claim() as claim:
            claim.write(0, plain)
        assert q.pop_many() == [raw] * 3
    out.push(raw)
    for room in (bytearray(16), np.zeros(16, "u1"), np.zeros(1, RECORD), (ctypes.c_char * 16)()):
        q.seek(out.next_sequence - 1)
        assert q.pop_into(room) == 1
        assert bytes(room) == raw


def test_a_queue_without_a_dtype_takes_any():
    out = ipcq.Producer("any", capacity=64, message_size=8)
    for data in (np.arange(1), np.zeros(1), array.array("d", [7]), np.zeros(1, "M8[ns]")):
        out.push(data)
        out.push_many(data)
    with pytest.raises(TypeError):
        out.push((1, 2))
    assert out.next_sequence == 8


@pytest.mark.parametrize(
    "dtype",
    ["f8", "M8[ns]", "m8[D]", "S12", "U3", "V5", "?", ("u2", (3, 2)), (RECORD, (2,)), "c16"],
)
def test_the_queue_keeps_a_dtype_without_fields(dtype):
    dtype = np.dtype(dtype)
    out = ipcq.Producer("q", capacity=64, dtype=dtype)
    out.push(np.array("abc", dtype) if dtype.kind == "U" else b"\1" * dtype.itemsize)
    for q in (ipcq.Consumer("q"), ipcq.Consumer("q", dtype=dtype)):
        assert q.dtype == dtype
        batch = next(q.batches())
        assert np.asarray(batch).dtype == dtype.base
        assert np.asarray(batch).shape == (1, *dtype.shape)
    for other in ("i8", [("x", dtype)], ("u1", (dtype.itemsize,))):
        with pytest.raises(ipcq.SchemaMismatchError):
            ipcq.Consumer("q", dtype=other)
    out.close()
    with pytest.raises(ipcq.SchemaMismatchError):
        ipcq.Producer("q", dtype=("u1", (dtype.itemsize,)))
    with ipcq.Producer("q", dtype=dtype) as again:
        assert again.dtype == dtype


@pytest.mark.parametrize(
    "wrong",
    [None, "text", 7, (1,), (1, 2, 3), ("x", 2), [1, 2], {"a": 1}, {"a": 1, "c": 3}, {1, 2}],
)
def test_no_record(wrong):
    out, _ = queue(RECORD)
    for push in (out.push, out.put, lambda wrong: out.push_many([wrong])):
        with pytest.raises((TypeError, ValueError)):
            push(wrong)
    assert out.next_sequence == 0


@pytest.mark.parametrize("wrong", [(), (1,), (1, 2, 3), (1, 2**64), ("x", 2)])
def test_values_that_the_dtype_cannot_hold(wrong):
    out, _ = queue(RECORD)
    for push in (
        out.push,
        out.put,
        lambda wrong: out.push_many([wrong]),
        lambda wrong: out.push_many(iter([wrong])),
    ):
        with pytest.raises(ipcq.UsageError, match=r"the (message|field)"):
            push(wrong)
    assert out.next_sequence == 0


def test_many_records():
    out, q = queue(RECORD)
    assert out.push_many([(n, n) for n in range(5)]) == 5
    assert out.push_many([{"a": 5, "b": 5}, (6, 6), one(RECORD, 7), one(RECORD, 8).tobytes()]) == 4
    assert out.push_many((n, n) for n in range(9, 12)) == 3
    assert out.push_many([]) == 0
    assert out.push_many(np.zeros(0, RECORD)) == 0
    assert [r.tolist() for r in next(q.batches()).records] == [(n, n) for n in range(12)]
    with pytest.raises(TypeError, match="dict"):
        out.push_many({"a": [1], "b": [2]})


def table(library, columns):
    module = pytest.importorskip(library)
    return (module.table if library == "pyarrow" else module.DataFrame)(columns)


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_tables(library):
    out, q = queue(RECORD)
    assert out.push_many(table(library, {"b": [1, 2, 3], "a": [0.5, 1.5, 2.5]})) == 3
    assert next(q.records()).tolist() == (0.5, 1)
    assert [r.tolist() for r in next(q.batches()).records] == [(1.5, 2), (2.5, 3)]
    # Integers fit a float.
    assert out.push_many(table(library, {"a": [1, 2], "b": [1, 2]})) == 2
    for wrong in ({"a": [1.0]}, {"a": [1.0], "b": [1], "c": [1]}):
        with pytest.raises(ipcq.SchemaMismatchError):
            out.push_many(table(library, wrong))
    for name, wrong in (("b", [1.5]), ("a", ["x"]), ("b", [None])):
        with pytest.raises(ipcq.UsageError, match=f"column '{name}'"):
            out.push_many(table(library, {"a": [1.0], "b": [1], name: wrong}))
    assert out.next_sequence == 5


def test_a_table_of_narrow_and_wide_fields():
    pandas = pytest.importorskip("pandas")
    dtype = np.dtype([("n", "u1"), ("s", "S3"), ("v", "f4", (2,)), ("ok", "?"), ("at", "M8[ns]")])
    out, q = queue(dtype)
    columns = {
        "n": [1, 255],
        "s": [b"ab", b"abc"],
        "v": [[1, 2], [3, 4]],
        "ok": [True, False],
        "at": np.array([1, 2], "M8[ns]"),
    }
    assert out.push_many(pandas.DataFrame(columns)) == 2
    got = next(q.batches()).records
    for name, column in columns.items():
        assert got[name].tolist() == np.array(column, dtype[name].base).tolist()
    out.push_many(
        pandas.DataFrame({**columns, "s": ["é", "ab"], "at": np.array(["NaT", 3], "M8[us]")})
    )
    got = next(q.batches()).records
    assert got["s"].tolist() == ["é".encode(), b"ab"]
    assert got["at"].astype("i8").tolist() == [-(2**63), 3000]
    for name, wrong in (
        ("n", [1, 256]),
        ("n", [1, -1]),
        ("s", [b"ab", b"abcd"]),
        ("s", ["ab", "éé"]),
        ("ok", [1, 2]),
        ("v", [[1, 2], [3, 1e300]]),
        ("v", [[1, 2], [3, 2**24 + 1]]),
        ("v", [[1, 2, 3], [3, 4, 5]]),
    ):
        with pytest.raises(ipcq.UsageError, match=name):
            out.push_many(pandas.DataFrame({**columns, name: wrong}))


@pytest.mark.parametrize("kind", ["pandas", "pandas by pyarrow", "polars", "pyarrow"])
def test_a_column_with_a_time_zone_is_converted_to_utc(kind):
    pandas = pytest.importorskip("pandas")
    times = pandas.to_datetime(["2024-07-01T12:00:00Z", None]).tz_convert("Europe/Rome")
    frame = pandas.DataFrame({"at": times, "n": [1, 2]})
    if kind == "pandas by pyarrow":
        pytest.importorskip("pyarrow")
        frame = frame.convert_dtypes(dtype_backend="pyarrow")
    elif kind == "polars":
        frame = pytest.importorskip("polars").from_pandas(frame)
    elif kind == "pyarrow":
        frame = pytest.importorskip("pyarrow").table(frame)
    out, q = queue(np.dtype([("at", "M8[ns]"), ("n", "u4")], align=True))
    assert out.push_many(frame) == 2
    got = next(q.batches()).records["at"]
    assert got[0] == np.datetime64("2024-07-01T12:00:00", "ns")
    assert np.isnat(got[1])
    # A column with a time zone does not fit a number.
    numbers = ipcq.Producer("numbers", dtype=[("at", "i8"), ("n", "u4")])
    with pytest.raises(ipcq.UsageError, match="'at'"):
        numbers.push_many(frame)


@pytest.mark.parametrize(
    ("options", "dtype", "values"),
    [
        ({"dtype": RECORD}, RECORD, [(1, 2), (3, 0)]),
        ({"dtype": "f8"}, "f8", [1.5, 0.0]),
        ({"message_size": 4}, "V4", [b"ab\0\0", b"\1\0\0\0"]),
        ({}, object, [b"", b"ab\0"]),
    ],
)
def test_a_batch_as_an_array(options, dtype, values):
    """No zeros are removed."""
    out = ipcq.Producer("q", **options)
    q = ipcq.Consumer("q")
    out.push_many(values)
    batch = next(q.batches())
    plain = np.asarray(batch)
    assert (type(plain), plain.dtype, plain.tolist()) == (np.ndarray, np.dtype(dtype), values)
    assert plain.flags.owndata == (dtype is object)
    assert np.array(batch).flags.owndata
    assert np.asarray(batch, dtype).tolist() == values
    if dtype == "f8":
        assert np.asarray(batch, "i4").tolist() == [1, 0]


def test_records_one_by_one():
    out, q = queue(RECORD)
    out.push_many([(n, n) for n in range(10)])
    for record in q.records():
        if record.b == 3:
            break
    # The loop has ended early and has lost no record.
    assert (q.stats.received, q.next_sequence) == (4, 4)

    async def rest():
        return [int(record.b) async for record in q.records()]

    out.close()
    assert asyncio.run(rest()) == [4, 5, 6, 7, 8, 9]
    assert list(q.records()) == []
    with ipcq.Producer("plain", message_size=8), pytest.raises(TypeError, match="dtype"):
        ipcq.Consumer("plain").records()


HIDDEN = np.dtype([("size", "u4"), ("px", "f8"), ("T", "i8"), ("at", [("data", "i2")])])


@pytest.mark.parametrize("given", [True, False])
def test_fields_named_as_attributes_of_arrays(given):
    out = ipcq.Producer("q", capacity=64, dtype=HIDDEN)
    out.push_many([(1, 2, 3, (4,))] * 5)
    q = ipcq.Consumer("q", dtype=HIDDEN if given else None)
    with pytest.warns(UserWarning, match=r"size, T, data.*records\['size'\]") as told:
        records = next(q.batches(2)).records
    assert told[0].filename == __file__
    assert records["size"].tolist() == [1, 1]
    assert records["at"]["data"].tolist() == [4, 4]
    assert records.px.tolist() == [2, 2]
    # It warns once for each handle.
    assert next(q.records())["T"] == 3
    assert len(next(q.batches()).records) == 2


@pytest.mark.filterwarnings("ignore:.*masked element")
@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ([("a", "S4")], (None,)),
        ([("a", "S4")], (7,)),
        ([("a", "S4")], (b"toolong",)),
        ([("a", "S4")], ("toolong",)),
        ([("a", "U4")], ("toolong",)),
        ([("a", "U4")], (7,)),
        ([("a", "V4")], (b"toolong",)),
        ([("a", "i4")], (1.9,)),
        ([("a", "i4")], ("12",)),
        ([("a", "i4")], (None,)),
        ([("a", "?")], (2,)),
        ([("a", "f8")], (None,)),
        ([("a", "f8")], (2**53 + 1,)),
        ([("a", "f8")], (np.int64(2**53 + 1),)),
        ([("a", "f4")], (1e300,)),
        ([("a", "f8")], (np.ma.masked,)),
        ([("a", "f8")], {"a": 2**53 + 1}),
        ([("a", "i4", (2,))], ([1, 1.5],)),
        ([("a", [("b", "S2")])], (("abc",),)),
        ([("x", "i4"), ("a", "M8[s]")], (1, np.datetime64("2020-01-01T00:00:00.999"))),
    ],
)
def test_a_value_that_would_change(dtype, value):
    """It raises and names the value."""
    out, _ = queue(np.dtype(dtype))
    for push in (out.push, lambda v: out.push_many([v]), lambda v: out.push_many(iter([v]))):
        with (
            np.errstate(all="ignore"),
            pytest.raises((ValueError, TypeError)) as caught,
        ):
            push(value)
        if isinstance(caught.value, ipcq.UsageError):
            assert "the field 'a" in str(caught.value)
    assert out.next_sequence == 0


@pytest.mark.parametrize("wrong", [1.9, 2**40 + 0.5, np.ma.masked])
def test_a_plain_value_that_would_change(wrong):
    out, _ = queue(np.dtype("i8"))
    with pytest.raises((ipcq.UsageError, ipcq.SchemaMismatchError)):
        out.push(wrong)
    assert out.next_sequence == 0


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("i4", 1.0, 1),
        ("i4", True, 1),
        ("f8", 1, 1.0),
        ("f8", np.float32(0.5), 0.5),
        ("f8", np.int8(5), 5.0),
        ("f4", 0.1, float(np.float32(0.1))),
        ("f4", float("inf"), float("inf")),
        ("c8", 1.5, 1.5 + 0j),
        ("u1", np.int64(255), 255),
        ("S4", "abc", b"abc"),
        ("S4", b"ab\0\0", b"ab"),
        ("S4", np.bytes_(b"ab"), b"ab"),
        ("U4", "äöü", "äöü"),
        ("V4", b"ab", b"ab\0\0"),
        ("M8[s]", np.datetime64("2020-01-01"), np.datetime64("2020-01-01T00:00:00").item()),
        ("M8[s]", None, None),
    ],
)
def test_a_value_that_is_kept(dtype, value, kept):
    out, q = queue(np.dtype([("a", dtype), ("b", "i4")]))
    out.push((value, 1))
    out.push({"b": 1, "a": value})
    out.push_many([(value, 1), (value, 1)])
    out.push_many(iter([(value, 1)]))
    for record in next(q.batches()).records:
        assert record["a"].item() == kept


def test_rows_are_not_mixed():
    """The rows of an array are the messages."""
    out, q = queue(np.dtype(("f8", (2, 3))))
    right = np.arange(12.0).reshape(2, 2, 3)
    out.push_many(right)
    out.push(right[0])
    for wrong in (np.zeros((3, 2)), np.zeros((2, 3, 2)), (ctypes.c_double * 2 * 3)()):
        for push in (out.push, out.push_many, q.pop_into):
            with pytest.raises(ipcq.SchemaMismatchError, match="shape"):
                push(wrong)
    with pytest.raises(ipcq.SchemaMismatchError, match="shape"):
        out.push_many(np.zeros((3, 4)))
    out.push((ctypes.c_double * 3 * 2)())
    got = next(q.batches()).records.tolist()
    assert got == [*right.tolist(), right[0].tolist(), [[0.0] * 3] * 2]


@pytest.mark.parametrize("dtype", ["f8", [("a", "f8"), ("b", "i4")]])
def test_masked_values(dtype):
    """A masked value cannot be sent."""
    out, q = queue(np.dtype(dtype))
    whole = np.ma.zeros(2, dtype)
    assert out.push_many(np.zeros(2, dtype)) == out.push_many(whole) == 2
    whole[1] = np.ma.masked
    for push in (out.push_many, lambda a: out.push(a[1:]), lambda a: out.push_many([a[1:]])):
        with pytest.raises(ipcq.UsageError, match="masked"):
            push(whole)
    assert len(q.pop_many()) == 4


def test_columns_of_objects():
    """Each value is checked as push() does, and none is converted to the type of the others."""
    pandas = pytest.importorskip("pandas")
    out, q = queue(np.dtype([("n", "f8"), ("s", "S4")]))

    def push(n, s):
        frame = pandas.DataFrame({"n": pandas.Series(n, dtype=object)})
        frame["s"] = pandas.Series(s, dtype=object)
        return out.push_many(frame)

    assert push([2**53, 0.5], ["é", b"b"]) == 2
    assert [r.tolist() for r in next(q.batches()).records] == [(2.0**53, "é".encode()), (0.5, b"b")]
    for n, s in (
        ([2**53 + 1, 0.5], ["a", "b"]),
        ([1.0, 0.5], [1, "b"]),
        ([1.0, 0.5], [None, "b"]),
        ([1.0, 0.5], ["toolong", "b"]),
        ([1.0, None], ["a", "b"]),
        ([1.0, "2"], ["a", "b"]),
    ):
        with pytest.raises(ipcq.UsageError, match=r"column '(n|s)' .*(float64|S4)"):
            push(n, s)
    assert out.next_sequence == 2
