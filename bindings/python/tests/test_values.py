"""Values that numpy would change without a word, and memory that is not plain bytes."""

import array
import asyncio
import collections
import contextlib
import ctypes
import datetime
import decimal
import pickle
import threading
import time

import pytest

import ipcq

np = pytest.importorskip("numpy")

BIG = 2**53 + 1


def queue(dtype):
    with contextlib.suppress(FileNotFoundError):
        ipcq.unlink("q")
    return ipcq.Producer("q", capacity=64, dtype=dtype), ipcq.Consumer("q")


def pushes(out):
    """Every call that takes one message."""
    return [
        out.push,
        out.put,
        out.put_nowait,
        lambda v: asyncio.run(out.aput(v)),
        lambda v: out.push_many([v]),
        lambda v: out.push_many([v, v]),
        lambda v: out.push_many(iter([v])),
    ]


def refused(dtype, value, error=ipcq.UsageError, match="field 'a"):
    """A value of the only field of a record."""
    out, q = queue(np.dtype([("a", dtype)] if not isinstance(dtype, list) else dtype))
    for push in pushes(out):
        for message in ((value,), {"a": value}):
            with pytest.raises(error, match=match):
                push(message)
    assert q.qsize() == 0
    out.close()


# --- memory ---


class Holder(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int64), ("object", ctypes.py_object))


class Packed(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("n", ctypes.c_int64), ("inner", Holder * 1))


class Either(ctypes.Union):
    _fields_ = (("n", ctypes.c_int64), ("text", ctypes.c_char_p))


class PlainPacked(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("a", ctypes.c_int64), ("P", ctypes.c_double * 2))


def not_plain():
    """Buffers of 24 bytes or more, with what they hold."""
    yield np.array([None, "x", [1]], object), "object"
    yield np.zeros(1, [("a", "O"), ("b", "u8", (2,))]), "O"
    yield (ctypes.py_object * 3)(None, None, None), "O"
    yield memoryview(np.array([None] * 3, object)), "O"
    yield (ctypes.c_void_p * 3)(), "P"
    yield (ctypes.c_char_p * 3)(), "z"
    yield (ctypes.c_wchar_p * 3)(), "Z"
    yield (ctypes.POINTER(ctypes.c_int) * 3)(), "&"
    yield (ctypes.CFUNCTYPE(None) * 3)(), "X"
    yield (Holder * 2)(), "O"
    yield Packed(), "py_object"
    yield (Either * 3)(), "c_char_p"
    yield memoryview((Either * 3)()), "c_char_p"


@pytest.mark.parametrize(("data", "held"), list(not_plain()), ids=lambda p: str(p)[:9])
def test_objects_and_pointers_are_no_bytes(data, held):
    size = memoryview(data).nbytes
    out = ipcq.Producer("q", capacity=64, message_size=size)
    q = ipcq.Consumer("q")
    text = f"format .*{held}.*objects or pointers"
    for push in (*pushes(out), out.push_many):
        with pytest.raises(ipcq.UsageError, match=text):
            push(data)
    with out.claim() as claim, pytest.raises(ipcq.UsageError, match=text):
        claim.write(0, data)
    assert q.pop_many() == [bytes(size)]
    out.push(b"A" * size)
    before = bytes(memoryview(data).cast("B")) if held not in "O object" else None
    with pytest.raises(ipcq.UsageError, match=text):
        q.pop_into(data)
    with pytest.raises(ipcq.UsageError, match=text), q.peek() as view:
        view.readinto(data)
    shared = ipcq.SharedMemory("s", create=True, size=size)
    for call in (shared.write, shared.readinto):
        with pytest.raises(ipcq.UsageError, match=text):
            call(0, data)
    assert shared.read() == bytes(size)
    assert before is None or before == bytes(memoryview(data).cast("B"))
    assert q.pop_many() == [b"A" * size]


def test_an_object_is_not_overwritten():
    out = ipcq.Producer("q", capacity=64, message_size=8)
    q = ipcq.Consumer("q")
    out.push(b"A" * 8)
    room = np.array(["kept"], object)
    with pytest.raises(ipcq.UsageError):
        q.pop_into(room)
    assert room[0] == "kept"


def test_objects_of_ctypes_in_a_queue_with_a_dtype():
    out, q = queue(np.dtype("i8"))
    for push in pushes(out):
        with pytest.raises((ipcq.UsageError, ipcq.SchemaMismatchError)):
            push(Either())
    with pytest.raises((ipcq.UsageError, ipcq.SchemaMismatchError)):
        q.pop_into(Either())


@pytest.mark.parametrize(
    "data",
    [
        np.zeros(3, "M8[ns]"),
        np.zeros(3, "c8"),
        np.zeros(1, [("O", "u8"), ("P:z", "f8"), ("&", "i8")]),
        array.array("d", [1, 2, 3]),
        (ctypes.c_int64 * 3)(),
        PlainPacked(),
        memoryview(bytes(24)).cast("Q"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_plain_memory_is_taken(data):
    out = ipcq.Producer("q", capacity=64, message_size=24)
    q = ipcq.Consumer("q")
    out.push(data)
    out.push_many(data)
    assert [len(m) for m in q.pop_many()] == [24, 24]


def test_arrays_of_bytes_objects_are_iterables():
    out = ipcq.Producer("q")
    q = ipcq.Consumer("q")
    assert out.push_many(np.array([b"one", b"three"], object)) == 2
    assert q.pop_many() == [b"one", b"three"]


# --- times ---


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("M8[ns]", np.datetime64("3000-01-01", "s")),
        ("M8[ns]", np.datetime64("3000", "Y")),
        ("M8[ns]", datetime.datetime(3000, 1, 1)),
        ("M8[ns]", datetime.date(3000, 1, 1)),
        ("M8[ns]", "3000-01-01T00:00:00"),
        ("M8[ns]", "12"),
        ("M8[ns]", b"12"),
        ("M8[ns]", -(2**63)),
        ("M8[s]", -(2**63)),
        ("M8[D]", datetime.datetime(2000, 1, 1, 12)),
        ("M8[10s]", np.datetime64("2000-01-01T00:00:05")),
        ("m8[ns]", datetime.timedelta(days=200000)),
        ("m8[ns]", np.timedelta64(10**12, "s")),
        ("m8[ns]", -(2**63)),
        ("m8[ns]", np.int64(-(2**63))),
        ("m8[s]", np.timedelta64(1, "ms")),
        ("m8[D]", np.timedelta64(1, "Y")),
        ("i8", np.timedelta64(5, "s")),
        ("f8", np.timedelta64(5, "s")),
    ],
)
def test_times_out_of_range(dtype, value):
    refused(dtype, value)
    refused((dtype, (2,)), [value, value])
    refused([("a", [("at", dtype)])], (value,), match="field 'a.at'")
    refused([("a", [("at", dtype)], (2,))], [(value,), (value,)], match="field 'a.at'")


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("M8[ns]", datetime.datetime(3000, 1, 1)),
        ("m8[ns]", datetime.timedelta(days=200000)),
        ("M8[s]", -(2**63)),
    ],
)
def test_times_out_of_range_of_a_plain_dtype(dtype, value):
    out, q = queue(np.dtype(dtype))
    for push in pushes(out):
        with pytest.raises(ipcq.UsageError, match="does not fit"):
            push(value)
    assert q.qsize() == 0


def test_an_array_of_times_in_a_field():
    refused(("M8[ns]", (2,)), np.array(["3000-01-01", "2000-01-01"], "M8[D]"))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_objects_that_are_times(library):
    module = pytest.importorskip(library)
    out, _ = queue(np.dtype([("a", "M8[ns]")]))
    late = [datetime.datetime(3000, 1, 1)]
    if library == "pandas":
        frame = module.DataFrame({"a": module.Series(late, dtype=object)})
    else:
        frame = module.DataFrame({"a": late}, schema={"a": module.Object})
    with pytest.raises(ipcq.UsageError, match="'a'"):
        out.push_many(frame)


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("M8[ns]", datetime.datetime(2020, 1, 1), "2020-01-01"),
        ("M8[ns]", np.datetime64("2020-01-01"), "2020-01-01"),
        ("M8[ns]", "2020-01-01", "2020-01-01"),
        ("M8[s]", "3000", "3000-01-01"),
        ("M8[ns]", None, "NaT"),
        ("M8[ns]", "NaT", "NaT"),
        ("M8[ns]", np.datetime64("NaT", "D"), "NaT"),
        ("M8[ns]", 2**63 - 1, 2**63 - 1),
        ("M8[ns]", -(2**63) + 1, -(2**63) + 1),
        ("m8[ns]", np.timedelta64(5, "s"), 5 * 10**9),
        ("m8[s]", datetime.timedelta(days=200000), 200000 * 86400),
        ("m8[s]", np.timedelta64("NaT"), "NaT"),
    ],
)
def test_times_that_are_kept(dtype, value, kept):
    out, q = queue(np.dtype([("a", dtype), ("n", "i8")]))
    for push in pushes(out):
        push((value, -(2**63)))
    kept = np.array(kept, dtype)
    for record in next(q.batches()).records:
        assert record["a"].view("i8") == kept.view("i8")
        assert record["n"] == -(2**63)


LONG = datetime.timedelta(days=200_000_000)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        # numpy wraps these before it converts them to the unit.
        ("m8[us]", LONG),
        ("m8[us]", -LONG),
        ("m8[us]", datetime.timedelta.min),
        ("m8[us]", datetime.timedelta.max),
        ("m8[us]", datetime.timedelta(days=106751992)),
        ("m8[25us]", LONG + datetime.timedelta(microseconds=1)),
        ("m8[ns]", LONG),
        ("m8[s]", datetime.timedelta.max),
        ("M8[ns]", "2300-01-01T00:00:00.000000000"),
        ("M8[us]", "300000-01-01T00:00:00.000000"),
        ("M8[as]", "1970-01-01T00:00:20.000000000000000000"),
        ("M8[fs]", "1970-01-02T00:00:00.000000000000000"),
        ("M8[s]", "300000000000-01-01T00:00:00"),
        ("M8[D]", "99999999999999999999-01-01"),
        ("M8[D]", "99999999999999999-01-01"),
        ("M8[ns]", b"2300-01-01T00:00:00.000000000"),
        # numpy limits these to the largest integer.
        ("m8[us]", "99999999999999999999"),
        ("m8[us]", "-99999999999999999999"),
        ("m8[us]", "1" * 5000),
    ],
)
def test_times_that_numpy_wraps(dtype, value):
    refused(dtype, value)
    refused((dtype, (2,)), [value, value])
    refused((dtype, (2,)), np.array([value, value], object))
    refused([("a", [("at", dtype)])], (value,), match="field 'a.at'")
    out, q = queue(np.dtype(dtype))
    for push in pushes(out) if not isinstance(value, bytes) else ():
        with pytest.raises(ipcq.UsageError, match="does not fit"):
            push(value)
    assert q.qsize() == 0


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_columns_of_times_that_numpy_wraps(library):
    module = pytest.importorskip(library)
    out, q = queue(np.dtype([("a", "m8[us]")]))
    column = {"dtype": object if library == "pandas" else module.Object}
    for value in (LONG, "99999999999999999999"):
        with pytest.raises(ipcq.UsageError, match="'a'"):
            out.push_many(
                module.DataFrame(
                    {
                        "a": module.Series("a", [value], **column)
                        if library == "polars"
                        else module.Series([value], **column)
                    }
                )
            )
    assert q.qsize() == 0


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("m8[us]", datetime.timedelta(days=106751991), 106751991 * 86400 * 10**6),
        ("m8[us]", -datetime.timedelta(days=106751991), -106751991 * 86400 * 10**6),
        ("m8[s]", LONG, 200_000_000 * 86400),
        ("m8[s]", datetime.timedelta.min, -999999999 * 86400),
        ("m8[5ms]", LONG, 200_000_000 * 86400 * 200),
        ("m8[W]", datetime.timedelta(weeks=-140_000_000), -140_000_000),
        ("M8[ns]", "2262-04-11T23:47:16.854775807", 2**63 - 1),
        ("M8[as]", "1970-01-01T00:00:09.000000000000000000", 9 * 10**18),
        ("M8[D]", "300000000000-01-01", 109572749280472),
        ("M8[ms]", "1969-12-31T23:59:59.999", -1),
        ("M8[M]", "1969-12", -1),
        ("m8[us]", "9223372036854775807", 2**63 - 1),
        ("m8[us]", "-5", -5),
    ],
)
def test_times_near_the_limits(dtype, value, kept):
    out, q = queue(np.dtype([("a", dtype)]))
    for push in pushes(out):
        push((value,))
    assert {int(n) for n in next(q.batches()).records["a"].view("i8")} == {kept}
    out.close()
    out, q = queue(np.dtype(dtype))
    for push in pushes(out):
        push(value)
    assert {int(n) for n in next(q.batches()).records.view("i8")} == {kept}


# --- a dtype without fields ---


@pytest.mark.parametrize(
    ("dtype", "value", "kept"),
    [
        ("M8[ns]", None, np.datetime64("NaT")),
        ("M8[ns]", "NaT", np.datetime64("NaT")),
        ("M8[ns]", np.datetime64("NaT"), np.datetime64("NaT")),
        ("M8[ns]", np.datetime64("NaT", "D"), np.datetime64("NaT")),
        ("M8[ns]", np.datetime64("2020-01-01"), np.datetime64("2020-01-01")),
        ("M8[ns]", "2020-01-01", np.datetime64("2020-01-01")),
        ("M8[ns]", datetime.date(2020, 1, 1), np.datetime64("2020-01-01")),
        ("m8[us]", None, np.timedelta64("NaT")),
        ("m8[us]", np.timedelta64("NaT"), np.timedelta64("NaT")),
        ("m8[us]", np.timedelta64(5, "s"), np.timedelta64(5, "s")),
        ("m8[us]", "5", np.timedelta64(5, "us")),
        ("S4", "abcd", b"abcd"),
        ("S4", np.str_("ab"), b"ab"),
        ("U2", "ab", "ab"),
        ("U2", np.str_("a"), "a"),
        ("f8", np.float32(1.5), 1.5),
        ("f8", np.uint8(5), 5.0),
        ("i8", np.int16(-5), -5),
        ("i8", np.bool_(True), 1),
        ("c16", np.complex64(1j), 1j),
    ],
)
def test_a_dtype_without_fields_is_like_a_field(dtype, value, kept):
    for form, message in ((np.dtype([("a", dtype)]), (value,)), (np.dtype(dtype), value)):
        out, q = queue(form)
        for push in pushes(out):
            push(message)
        assert out.push_many([message, message]) == 2
        records = next(q.batches()).records
        for given in (records["a"] if form.names else records).tolist():
            expected = np.array(kept, dtype).item()
            assert (given, type(given)) == (expected, type(expected))
        out.close()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("M8[ns]", np.timedelta64("NaT")),
        ("m8[ns]", np.datetime64("NaT", "ns")),
        ("m8[us]", np.timedelta64(2, "Y")),
        ("m8[Y]", datetime.timedelta(365)),
        ("M8[ns]", np.datetime64("3000-01-01", "s")),
        ("S4", "abcde"),
        ("S4", "\xe9"),
        ("U2", "abc"),
        ("f8", np.complex64(1)),
        ("i8", np.float64(1.5)),
        ("u1", np.int64(300)),
        ("f4", np.int64(16777217)),
    ],
)
def test_a_dtype_without_fields_refuses_what_a_field_refuses(dtype, value):
    refused(dtype, value)
    out, q = queue(np.dtype(dtype))
    for push in pushes(out):
        with pytest.raises(ipcq.UsageError):
            push(value)
    assert q.qsize() == 0


def test_bytes_stay_bytes():
    """In a queue with a dtype without fields, they are the message as it is."""
    for dtype in ("M8[ns]", "S8", "U2", "f8", "V8"):
        out, q = queue(np.dtype(dtype))
        for data in (b"20200101", bytearray(b"20200101"), memoryview(b"20200101")):
            for push in pushes(out):
                push(data)
        assert set(q.pop_many()) == {b"20200101"}
        out.close()


def test_other_arrays_and_objects_stay_refused():
    for dtype, value in (("M8[ns]", np.array("2020-01-01", "M8[D]")), ("f8", np.array(5, "f4"))):
        out, _ = queue(np.dtype(dtype))
        for push in (*pushes(out), lambda v, out=out: out.push_many(v.reshape(1))):
            with pytest.raises(ipcq.SchemaMismatchError):
                push(value)
        out.close()
    out, _ = queue(np.dtype("f8"))
    for value in (None, "1.5", np.str_("1.5")):
        with pytest.raises(TypeError):
            out.push(value)
    out.close()
    out, _ = queue(np.dtype([("a", "f8")]))
    for value in (np.float64(1), np.float32(1), np.uint8(1), np.datetime64("2020"), None, "1"):
        with pytest.raises(TypeError):
            out.push(value)


# --- records in records ---

QUOTE = [("bid", "i8"), ("ask", "i8")]
SWAPPED = np.array([(7, 5), (9, 8)], [("ask", "i8"), ("bid", "i8")])


@pytest.mark.parametrize(
    "other",
    [
        SWAPPED,
        np.array([(7, 5), (9, 8)], [("bid", "i8"), ("size", "i8")]),
        np.array([(7, 5), (9, 8)], [("bid", "i4"), ("ask", "i4")]),
        np.array([(7,), (9,)], [("bid", "i8")]),
        SWAPPED.view(np.recarray),
    ],
)
def test_a_record_in_a_record_has_the_dtype_of_its_field(other):
    for value in (other[0], other[0:1].reshape(())):
        refused([("a", QUOTE)], value, ipcq.SchemaMismatchError)
    for value in (other, list(other), np.array([*map(tuple, other.tolist())], other.dtype)):
        refused([("a", QUOTE, (2,))], value, ipcq.SchemaMismatchError)
    refused([("a", [("b", QUOTE)])], (other[0],), ipcq.SchemaMismatchError, "field 'a.b'")


def test_a_record_in_a_record():
    right = np.array([(7, 5), (9, 8)], QUOTE)
    out, q = queue(np.dtype([("a", QUOTE), ("b", QUOTE, (2,))]))
    for push in pushes(out):
        push((right[0], right))
        push({"a": right[0], "b": list(right)})
        push(({"ask": 5, "bid": 7}, [{"bid": 7, "ask": 5}, (9, 8)]))
    for record in next(q.batches()).records.tolist():
        assert record[0] == (7, 5)
        assert record[1].tolist() == [(7, 5), (9, 8)]


class Quote(ctypes.Structure):
    _fields_ = (("bid", ctypes.c_int64), ("ask", ctypes.c_int64))


class Reverse(ctypes.Structure):
    _fields_ = (("ask", ctypes.c_int64), ("bid", ctypes.c_int64))


def test_a_structure_in_a_record():
    out, q = queue(np.dtype([("a", QUOTE)]))
    out.push((Quote(7, 5),))
    assert next(q.records()).tolist() == ((7, 5),)
    out.close()
    refused([("a", QUOTE)], Reverse(7, 5), ipcq.SchemaMismatchError)


def test_named_tuples_have_the_names_of_the_fields():
    Right = collections.namedtuple("Right", "bid ask")
    Wrong = collections.namedtuple("Wrong", "ask bid")
    Other = collections.namedtuple("Other", "bid size")
    out, q = queue(np.dtype(QUOTE))
    for push in pushes(out):
        push(Right(7, 5))
        for wrong in (Wrong(5, 7), Other(7, 5)):
            with pytest.raises(ipcq.UsageError, match=r"\['bid', 'ask'\]"):
                push(wrong)
    assert {m.tolist() for m in next(q.batches()).records} == {(7, 5)}
    out.close()
    refused([("a", QUOTE)], Wrong(5, 7))
    refused([("a", QUOTE, (1,))], [Wrong(5, 7)])


# --- numbers ---


@pytest.mark.parametrize(
    "value",
    [
        np.complex128(1 + 2j),
        np.complex64(1),
        1 + 2j,
        decimal.Decimal("1e400"),
        np.longdouble("1e4000"),
        np.longdouble("-1e4000"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_numbers_that_floats_cannot_hold(value):
    refused("f8", value)
    refused("f4", value)
    refused(("f8", (2,)), [value, value])
    refused(("f8", (2,)), np.array([value, value]))
    out, _ = queue(np.dtype("f8"))
    with pytest.raises((ipcq.UsageError, ipcq.SchemaMismatchError)):
        out.push(value)


def test_numbers_that_floats_round():
    out, q = queue(np.dtype([("a", "f8"), ("b", "c16")]))
    inf = float("inf")
    for value in (decimal.Decimal("1.1"), np.longdouble(1) / 3, inf, -inf, np.longdouble("inf")):
        out.push((value, value))
        assert next(q.records())["a"] == float(value)
    out.push((decimal.Decimal("nan"), complex("nan+1j")))
    assert np.isnan(next(q.records())["a"])


def test_ints_in_floats():
    """A float may be rounded, and an int may not."""
    for dtype, kept, given in (
        ("f4", 2**24, 2**24 + 1),
        ("f8", 2**53, 2**53 + 1),
        ("f2", 2048, 2049),
    ):
        out, q = queue(np.dtype([("a", dtype)]))
        for number in (kept, float(given), float(kept)):
            out.push((number,))
            assert next(q.records())["a"] == np.dtype(dtype).type(number)
        out.close()
        refused(dtype, given)
        refused(dtype, np.int64(given))
        refused((dtype, (2,)), [given, kept])
        refused(dtype, 10**400)
    for dtype, large in (("f2", 65520.0), ("f4", 1e39), ("f4", np.float64(1e39))):
        refused(dtype, large)


def test_ints_in_long_doubles():
    """numpy rounds an int before it compares it with a long double."""
    for dtype in ("g", "G"):
        limit = 2 ** (np.finfo(dtype).nmant + 1)
        out, q = queue(np.dtype([("a", dtype)]))
        out.push((limit,))
        out.push_many([(limit,)])
        assert next(q.batches()).records["a"].real.tolist() == [limit, limit]
        out.close()
        refused(dtype, 2 * limit + 1)
        refused((dtype, (2,)), [1, 2 * limit + 1])
        out, _ = queue(np.dtype(dtype))
        for push in pushes(out):
            push(limit)
            with pytest.raises(ipcq.UsageError):
                push(2 * limit + 1)
        out.close()


def test_the_largest_ints_in_a_column_of_floats():
    """As a float they are out of range, and some processors convert that to the same int."""
    pyarrow = pytest.importorskip("pyarrow")
    out, q = queue(np.dtype([("a", "f8")]))
    for number, kind in ((2**63 - 1, "int64"), (2**64 - 1, "uint64")):
        with pytest.raises(ipcq.UsageError, match="column 'a'"):
            out.push_many(pyarrow.table({"a": pyarrow.array([number], kind)}))
    out.push_many(pyarrow.table({"a": pyarrow.array([-(2**63)], "int64")}))
    assert next(q.records())["a"] == -(2.0**63)
    out.close()
    refused("i8", np.float64(2**63))
    refused("u8", np.float64(2**64))
    refused("i8", np.longdouble(2**63))


def test_one_number_for_an_array_in_a_record():
    out, q = queue(np.dtype([("a", "f8", (2,))]))
    out.push((5.0,))
    assert next(q.records())["a"].tolist() == [5, 5]


# --- masked values, and which field it is ---


@pytest.mark.filterwarnings("ignore:.*masked element")
def test_masked_values_name_their_field():
    refused("f8", np.ma.masked, match="field 'a' is masked")
    refused("i8", np.ma.masked, match="field 'a' is masked")
    refused(("i8", (2,)), [1, np.ma.masked])
    refused(("f8", (2,)), np.ma.array([1, 2], mask=[0, 1]))
    refused([("a", [("b", "i8")])], (np.ma.masked,), match="field 'a.b' is masked")


@pytest.mark.parametrize(
    "value", ["zz", 2**70, 10**5000, object(), [1, 2], {}, {"x": 1}], ids=lambda v: type(v).__name__
)
def test_a_value_that_numpy_refuses_names_its_field(value):
    fields = [(f"field{n}", "i4") for n in range(40)]
    out, _ = queue(np.dtype([*fields, ("a", [("b", "i8")])]))
    for push in pushes(out):
        with pytest.raises(ipcq.UsageError, match=r"field 'a\.b'") as caught:
            push((*range(40), (value,)))
        assert "field39" not in str(caught.value)


def test_an_error_shows_the_beginning_of_a_value():
    out, _ = queue(np.dtype([("a", "S4")]))
    with pytest.raises(ipcq.UsageError, match="field 'a'") as caught:
        out.push((b"x" * 10**6,))
    assert len(str(caught.value)) < 300


# --- columns in which something is missing ---


def tables(values):
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    pyarrow = pytest.importorskip("pyarrow")
    yield pandas.DataFrame({"a": pandas.Series(values, dtype="Int64")})
    yield pandas.DataFrame({"a": pandas.Series(values, dtype="int64[pyarrow]")})
    yield polars.DataFrame({"a": values})
    yield pyarrow.table({"a": values})
    yield pyarrow.table({"a": pyarrow.array(values).dictionary_encode()})
    yield pyarrow.table({"a": pyarrow.chunked_array([values[:1], values[1:]], pyarrow.int64())})


def test_whole_numbers_where_some_are_missing():
    out, q = queue(np.dtype([("a", "f8")]))
    for frame in tables([BIG, None]):
        with pytest.raises(ipcq.UsageError, match="column 'a' has values of int64"):
            out.push_many(frame)
    assert q.qsize() == 0
    for frame in tables([2**53, None]):
        out.push_many(frame)
        assert next(q.records())["a"] == 2.0**53
        assert np.isnan(next(q.records())["a"])


def test_whole_numbers_inside_of_columns():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    rows, record = np.dtype([("a", "f8", (2,))]), np.dtype([("a", [("x", "f8"), ("y", "i8")])])
    lists, dicts = [[BIG, 1], [None, 2]], [{"x": BIG, "y": 1}, {"x": None, "y": 2}]
    for dtype, frame in (
        (rows, polars.DataFrame({"a": lists})),
        (rows, polars.DataFrame({"a": polars.Series(lists, dtype=polars.Array(polars.Int64, 2))})),
        (rows, polars.DataFrame({"a": [{"x": 1, "y": 1}]})),
        (rows, pyarrow.table({"a": lists})),
        (rows, pyarrow.table({"a": pyarrow.array(lists, pyarrow.list_(pyarrow.int64(), 2))})),
        (record, polars.DataFrame({"a": dicts})),
        (record, pyarrow.table({"a": dicts})),
    ):
        out, q = queue(dtype)
        with pytest.raises(ipcq.UsageError, match="column 'a'"):
            out.push_many(frame)
        out.close()
    out, q = queue(record)
    out.push_many(polars.DataFrame({"a": [{"y": 1, "x": 2}]}))
    assert next(q.records())["a"].tolist() == (2.0, 1)


def test_a_column_of_a_type_that_numpy_has_not():
    polars = pytest.importorskip("polars")
    out, _ = queue(np.dtype([("a", "i8")]))
    with pytest.raises(ipcq.UsageError, match="column 'a'"):
        out.push_many(polars.DataFrame({"a": [2**70]}))


# --- names in texts ---


def test_names_are_escaped_in_texts():
    name = "a\x1b[31m\u202e\nX"
    texts = []

    def note(error, call, *args):
        with pytest.raises(error) as caught:
            call(*args)
        texts.append(str(caught.value))

    out = ipcq.Producer(name, capacity=8, dtype=np.dtype([("a", "u8")]))
    q = ipcq.Consumer(name)
    shared = ipcq.SharedMemory("s" + name, create=True, size=8)
    note(ipcq.Empty, q.get_nowait)
    note(ipcq.Empty, ipcq.wait_any, [q], 0)
    note(ipcq.SchemaMismatchError, out.push, np.zeros(1))
    note(ipcq.UsageError, out.push, (1.5,))
    note(ipcq.UsageError, out.push, ("x",))
    note(ipcq.MessageSizeError, out.push_many, [b"1"])
    with pytest.raises(ipcq.SchemaMismatchError) as caught:
        ipcq.Consumer(name, dtype="f4")
    texts.append(str(caught.value).partition("\n")[0])
    note(ipcq.UsageError, shared.write, 8, b"1")
    note(ipcq.ProducerExistsError, pickle.loads, pickle.dumps(out))
    note(ipcq.ProducerExistsError, pickle.loads, pickle.dumps(shared))
    pickled = pickle.dumps(q)
    texts += [repr(out), repr(q), repr(shared)]
    with pytest.raises(ipcq.UsageError) as caught:
        ipcq.SharedMemory("s" + name, size=9)
    texts.append(str(caught.value))
    q.close()
    shared.close()
    note(ipcq.UsageError, q.pop)
    note(ipcq.UsageError, shared.read)
    out.close()
    note(ipcq.UsageError, out.push, (1,))
    ipcq.unlink(name)
    with ipcq.Producer(name, capacity=8, message_size=8):
        note(ipcq.IncompatibleError, pickle.loads, pickled)
    assert len(texts) >= 16
    for text in texts:
        assert text.isprintable(), text
        assert "a\\u{1b}[31m\\u{202e}\\nX" in text or "a\\x1b[31m\\u202e\\nX" in text, text


def test_names_of_fields_are_escaped_in_texts():
    out = ipcq.Producer("q", capacity=8, dtype=np.dtype([("a\x1b[31m\u202e", "f2"), ("b", "V3")]))
    with pytest.raises(ipcq.UsageError) as caught:
        out.push(("x\x1b", b""))
    assert str(caught.value).isprintable()
    times = ipcq.Producer("t", capacity=8, dtype=np.dtype([("a\x1b[31m", "m8[Y]")]))
    out.push((1, b""))
    times.push((1,))
    with pytest.raises(TypeError, match="Arrow") as caught:
        next(ipcq.Consumer("t").batches()).__arrow_c_stream__()
    assert str(caught.value).isprintable()


def test_another_process_cannot_have_an_open_producer():
    out = ipcq.Producer("q", message_size=8)
    with pytest.raises(ipcq.ProducerExistsError, match=r"detach\(\)") as caught:
        pickle.loads(pickle.dumps(out))
    assert caught.value.errno
    shared = ipcq.SharedMemory("s", create=True, size=8)
    with pytest.raises(ipcq.ProducerExistsError, match=r"close\(\)") as caught:
        pickle.loads(pickle.dumps(shared))
    assert "detach" not in str(caught.value)


# --- the interpreter lock ---

# A busy machine keeps the other thread from running in many tries. A call that holds the lock keeps
# it from running in all of them.
TRIES = 60


class Ticks:
    """Counts how often another thread runs meanwhile, and how long it stood still."""

    def __enter__(self):
        self.count, self.longest, self._over = 0, 0.0, False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        while not self.count:
            time.sleep(0.001)
        self.count, self.longest = 0, 0.0
        self._since = time.perf_counter()
        return self

    def _run(self):
        last = time.perf_counter()
        while not self._over:
            time.sleep(0.0005)
            now = time.perf_counter()
            self.count, self.longest, last = self.count + 1, max(self.longest, now - last), now

    def __exit__(self, *_):
        self.took = time.perf_counter() - self._since
        self._over = True
        self._thread.join()

    def let_in(self):
        """Whether the other thread stood still for a part of the time only."""
        return self.took < 0.01 or (self.count > 1 and self.longest < self.took * 0.6)


@pytest.mark.parametrize("fixed", [True, False])
def test_other_threads_run_during_long_copies(fixed):
    """Of many messages, each of which is too short for it."""
    size, count = 60000, 2048
    sizes = {"capacity": count, "message_size": size} if fixed else {"capacity": 1 << 28}
    out = ipcq.Producer("q", **sizes)
    q = ipcq.Consumer("q")
    messages = [bytes(size)] * count
    kept = []

    def push():
        assert out.push_many(messages) == count

    def pop():
        kept.append(q.pop_many(count))

    def batch():
        kept.append(next(q.batches(count)))

    calls = {"pop": pop, "push": push, "batch": batch}
    with contextlib.suppress(ImportError):
        import pyarrow

        calls["table"] = lambda: kept.append(pyarrow.table(kept[-1]))
    stood_still = set(calls)
    for _ in range(TRIES):
        push()
        for name, call in calls.items():
            with Ticks() as ticks:
                call()
            if ticks.let_in():
                stood_still.discard(name)
        kept.clear()
        if not stood_still:
            break
    assert not stood_still


@pytest.mark.parametrize("way", ["batch[0]", "list(batch)", "batch[:]", "asarray"])
def test_other_threads_run_while_a_message_of_a_batch_is_copied(way):
    size = 1 << 27
    out = ipcq.Producer("q", capacity=2, message_size=size)
    q = ipcq.Consumer("q")
    out.push(bytes(size))
    batch = next(q.batches())
    for _ in range(TRIES):
        with Ticks() as ticks:
            copy = (
                eval(way, {"batch": batch, "asarray": None})
                if way != "asarray"
                else np.array(batch)
            )
        assert len(copy) in (1, size)
        if ticks.let_in():
            break
    else:
        pytest.fail(f"stood still for {ticks.longest} of {ticks.took} seconds")


def test_other_threads_run_while_many_messages_are_collected():
    out = ipcq.Producer("q", capacity=1 << 20, message_size=8)
    messages = [bytes(8)] * (1 << 20)
    for _ in range(TRIES):
        with Ticks() as ticks:
            assert out.push_many(messages) == len(messages)
        if ticks.let_in():
            break
    else:
        pytest.fail(f"stood still for {ticks.longest} of {ticks.took} seconds")
