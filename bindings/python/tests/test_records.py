"""Records: the queue stores the dtype of its messages."""

import ctypes
import pickle

import pytest

import ipcq

np = pytest.importorskip("numpy")

TICK = np.dtype([("ts", "u8"), ("px", "f8"), ("qty", "u4")], align=True)
POINT = [("x", "f4"), ("y", "f4")]

EVERYTHING = np.dtype(
    [
        ("flag", "?"),
        *((f"{kind}{size}", f"{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8)),
        ("f2", "f2"),
        ("f4", "f4"),
        ("f8", "f8"),
        ("f16", np.longdouble),
        ("c8", "c8"),
        ("c16", "c16"),
        ("text", "S5"),
        ("words", "U3"),
        ("raw", "V7"),
        ("when", "M8[ns]"),
        ("took", "m8[us]"),
        ("one", "i4", (1,)),
        ("matrix", "f8", (2, 3)),
        ("flags", "?", (3,)),
        ("names", "S4", (2, 2)),
        ("at", np.dtype(POINT, align=True)),
        ("path", np.dtype(POINT, align=True), (2, 2)),
        ("deep", np.dtype([("n", "u2"), ("at", np.dtype([("p", POINT, (2,))]))], align=True)),
        ("größe", "u1"),
    ],
    align=True,
)


def noise(dtype, count):
    """Records with different bytes, all of which are valid values of the fields."""
    rng = np.random.default_rng(count)
    array = np.frombuffer(rng.bytes(dtype.itemsize * count), dtype).copy()
    for name in dtype.names:
        kind = dtype[name].base.kind
        if kind == "b":
            array[name] = rng.integers(2, size=array[name].shape)
        elif kind == "U":
            array[name] = "añ\u20ac"
        elif name == "f16":
            array[name] = rng.random(count)
    return array


def same(a, b):
    """Compares field by field, because the padding does not count."""
    assert a.dtype == b.dtype
    for name in a.dtype.names:
        if a.dtype[name].base.names is not None:
            same(a[name], b[name])
        elif name == "f16":
            # Ten of its bytes are significant.
            assert (a[name] == b[name]).all()
        else:
            assert (
                np.ascontiguousarray(a[name]).tobytes() == np.ascontiguousarray(b[name]).tobytes()
            )


@pytest.mark.filterwarnings("ignore:.*attributes of numpy arrays .flags.")
@pytest.mark.parametrize("asked", [True, False])
def test_everything(asked):
    """A consumer without a dtype gets the same as one with a dtype."""
    array = noise(EVERYTHING, 20)
    with ipcq.Producer("e", capacity=32, dtype=EVERYTHING) as out:
        assert out.message_size == EVERYTHING.itemsize
        q = ipcq.Consumer("e", dtype=EVERYTHING if asked else None)
        assert q.dtype == EVERYTHING
        assert q.dtype.itemsize == EVERYTHING.itemsize
        for name in EVERYTHING.names:
            assert q.dtype.fields[name][:2] == EVERYTHING.fields[name][:2]
        out.push_many(array)
        with q.view() as v:
            same(v.records, array)
            assert (v.records.i4 == array["i4"]).all()
        q.seek(0)
        batch = next(q.batches())
        same(batch.records, array)
        assert (batch.records.at.x == array["at"]["x"]).all()
        assert (batch.records["path"].y[:, 1, 0] == array["path"]["y"][:, 1, 0]).all()
        q.seek(0)
        for i in range(20):
            record = next(q.records())
            assert record["u8"] == record.u8 == array[i]["u8"]
            assert record.text == array[i]["text"]
            assert record.at.x == array[i]["at"]["x"]
            assert record.deep.at.p.shape == (2,)
            assert record["größe"] == array[i]["größe"]
            assert record.dtype == EVERYTHING
            with pytest.raises(ValueError, match="read-only"):
                record["u8"] = 1
        assert q.stats.received == 20


def test_it_is_the_c_struct():
    class Point(ctypes.Structure):
        _fields_ = (("x", ctypes.c_float), ("y", ctypes.c_float))

    class Struct(ctypes.Structure):
        _fields_ = (
            ("side", ctypes.c_char),
            ("px", ctypes.c_double),
            ("flag", ctypes.c_bool),
            ("at", Point * 3),
            ("count", ctypes.c_int16),
            ("name", ctypes.c_char * 5),
            ("long", ctypes.c_longdouble),
            ("last", ctypes.c_uint8),
        )

    dtype = np.dtype(
        [
            ("side", "S1"),
            ("px", "f8"),
            ("flag", "?"),
            ("at", np.dtype(POINT, align=True), (3,)),
            ("count", "i2"),
            ("name", "S5"),
            ("long", np.longdouble),
            ("last", "u1"),
        ],
        align=True,
    )
    with ipcq.Producer("s", capacity=8, dtype=dtype) as out:
        q = ipcq.Consumer("s")
        assert q.message_size == q.dtype.itemsize == ctypes.sizeof(Struct)
        for name in dtype.names:
            assert q.dtype.fields[name][1] == getattr(Struct, name).offset
        struct = Struct(b"b", 1.5, True, ((1, 2), (3, 4), (5, 6)), -7, b"hello", 2.5, 255)
        out.push(struct)
        record = next(q.records())
        assert record.item()[:3] == (b"b", 1.5, True)
        assert record.at["y"].tolist() == [2, 4, 6]
        assert (record["count"], record.name, record.long, record.last) == (-7, b"hello", 2.5, 255)


def test_offsets_that_numpy_did_not_choose():
    """Fields with gaps, in another order, and in a union."""
    dtype = np.dtype(
        {
            "names": ["b", "a", "either", "or"],
            "formats": ["u2", "f8", "u4", "f4"],
            "offsets": [40, 8, 20, 20],
            "itemsize": 50,
        }
    )
    with ipcq.Producer("o", capacity=8, dtype=dtype) as out:
        q = ipcq.Consumer("o")
        assert q.dtype == dtype
        raw = bytes(range(50))
        out.push(raw)
        record = next(q.records())
        assert record.b == 0x2928
        assert record.either == 0x17161514
        with pytest.raises(ipcq.SchemaMismatchError):
            ipcq.Consumer("o", dtype=np.dtype([("b", "u2"), ("rest", "V48")]))


def test_a_mismatch_shows_both_sides():
    ipcq.Producer("ticks", capacity=64, dtype=TICK).close()
    other = np.dtype([("ts", "u8"), ("px", "f4"), ("size", "u4"), ("qty", "u4")], align=True)
    with pytest.raises(
        ipcq.SchemaMismatchError, match="ticks: the queue has other records"
    ) as caught:
        ipcq.Consumer("ticks", dtype=other)
    text = str(caught.value)
    assert isinstance(caught.value, TypeError)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "! px <f8 at 8 px <f4 at 8" in lines
    assert any("size <u4 at 12" in line for line in lines)
    with pytest.raises(ipcq.SchemaMismatchError, match=r"px +<f8 at 8 +px +<f4 at 8"):
        ipcq.Producer("ticks", dtype=other)
    with ipcq.Producer("ticks", dtype=other, replace=True) as out:
        assert out.dtype == ipcq.Consumer("ticks").dtype == other
    # Neither the order of the fields, nor their names, nor the padding may differ.
    for wrong in (
        [("ts", "u8"), ("size", "u4"), ("px", "f4"), ("qty", "u4")],
        [("ts", "u8"), ("px", "f4"), ("size", "u4"), ("quantity", "u4")],
        [("ts", "u8"), ("px", "f4"), ("size", "u4"), ("qty", "i4")],
        [("ts", "u8"), ("px", "f4"), ("size", "u4"), ("qty", "u4", (1,))],
    ):
        with pytest.raises(ipcq.SchemaMismatchError):
            ipcq.Consumer("ticks", dtype=np.dtype(wrong, align=True))
    for plain in ("V24", ("u4", (6,))):
        with pytest.raises(ipcq.SchemaMismatchError, match=r"! - +.message. .*4 at 0"):
            ipcq.Consumer("ticks", dtype=plain)


def test_a_queue_that_says_nothing():
    """The dtype of the consumer counts if its size is right."""
    with ipcq.Producer("n", capacity=64, message_size=24) as out:
        assert out.dtype is None
        out.push(np.array((1, 9.5, 3), TICK))
        q = ipcq.Consumer("n")
        assert q.dtype is None
        with pytest.raises(TypeError, match="dtype"):
            next(q.records())
        with pytest.raises(TypeError, match="dtype"), q.view() as v:
            v.records  # noqa: B018
        assert q.stats.received == 0
        assert next(ipcq.Consumer("n", dtype=TICK).records()).px == 9.5
        with pytest.raises(ipcq.SchemaMismatchError, match=r"16 bytes, but the queue has .* 24"):
            ipcq.Consumer("n", dtype=[("a", "u8"), ("b", "u8")])
        assert next(q.batches())[0][:1] == b"\1"


@pytest.mark.parametrize(
    ("dtype", "error", "text"),
    [
        (">f8", ValueError, "big-endian"),
        ([("a", "u4"), ("b", [("c", ">i2", (3,))])], ValueError, "'b.c' is big-endian .>i2."),
        ([("a", "O")], TypeError, "objects"),
        (object, TypeError, "objects"),
        ([(("a title", "a"), "u4")], ValueError, "title"),
        ([], ValueError, "no bytes"),
        ("V0", ValueError, "no bytes"),
        ([("a\nb" * 200, "u4")], ValueError, "name"),
        ("nonsense", TypeError, "nonsense"),
    ],
)
def test_what_is_refused(dtype, error, text):
    for opens in (ipcq.Producer, ipcq.Consumer):
        with pytest.raises(error, match=text):
            opens("refused", dtype=dtype)
    assert ipcq.queues() == []


def test_plain_dtypes():
    with ipcq.Producer("p", capacity=8, dtype=("f4", (2, 2))) as out:
        assert ipcq.Consumer("p").dtype == np.dtype(("f4", (2, 2)))
        q = ipcq.Consumer("p", dtype=("f4", (2, 2)))
        out.push(np.arange(4, dtype="f4"))
        assert next(q.records()).tolist() == [[0, 1], [2, 3]]
    with ipcq.Producer("q", capacity=8, dtype="u8") as out:
        q = ipcq.Consumer("q", dtype="u8")
        out.push_many(np.arange(3, dtype="u8"))
        record = next(q.records())
        assert (record, record.dtype) == (0, np.dtype("u8"))
        assert next(q.batches()).records.tolist() == [1, 2]


def test_a_message_as_a_record():
    with ipcq.Producer("ticks", capacity=64, dtype=TICK) as out:
        q = ipcq.Consumer("ticks")
        out.push(np.array((1, 9.5, 3), TICK))
        message = next(q.messages())
        assert message.record().tolist() == message.record().tolist() == (1, 9.5, 3)
        assert message.record().px == 9.5
        assert q.last == (0, 0, 24)
    with pytest.raises(StopIteration):
        next(q.records())
    assert message.record().qty == 3


def test_what_was_not_asked_for_is_not_pickled():
    with ipcq.Producer("ticks", capacity=64, dtype=TICK) as out:
        out.push(np.array((1, 9.5, 3), TICK))
        for q in (ipcq.Consumer("ticks"), ipcq.Consumer("ticks", dtype=TICK)):
            again = pickle.loads(pickle.dumps(q))
            assert again.dtype == TICK
            assert next(again.records()).qty == 3
        again = None
    again = pickle.loads(pickle.dumps(out))
    assert again.dtype == TICK
    again.close()
    # A producer without a dtype keeps that of the queue.
    with ipcq.Producer("ticks") as out:
        assert out.dtype == TICK


def test_without_numpy(child):
    ipcq.Producer("ticks", capacity=64, dtype=TICK).close()
    code = """if 1:
        import sys
        import ipcq
        with ipcq.Producer("ticks") as out, ipcq.Consumer("ticks") as q:
            out.push_many([bytes(24)] * 3)
            assert q.pop() == bytes(24)
            batch = next(q.batches(1))
            assert batch[0] == bytes(24)
            assert "numpy" not in sys.modules
            sys.modules["numpy"] = None
            message = next(q.messages())
            for get in (lambda: q.dtype, lambda: batch.records, message.record, q.records):
                try:
                    get()
                except ImportError as e:
                    assert "pip install numpy" in str(e)
                else:
                    raise AssertionError
        print("fine")
    """
    assert child(code).end() == "fine\n"


@pytest.mark.filterwarnings("ignore:.*attributes of numpy arrays .size.")
def test_records_are_a_recarray_in_all_but_speed():
    fields = [("a", "u4"), ("n", [("x", "f8"), ("y", "i2")]), ("v", "f4", (3,)), ("size", "u1")]
    array = np.zeros(4, np.dtype(fields))
    array["a"] = range(4)
    array["n"]["x"] = 0.5
    out = ipcq.Producer("like", dtype=array.dtype)
    out.push_many(array)
    records = next(ipcq.Consumer("like").batches()).records
    like = np.rec.array(array)
    assert isinstance(records, np.recarray)
    for show in (
        lambda r: r.a,
        lambda r: r.n,
        lambda r: r["n"],
        lambda r: r.n.x,
        lambda r: r.v,
        lambda r: r[1],
        lambda r: r[1:3],
        lambda r: r[["a", "v"]],
        lambda r: r[r.a > 1].n,
        lambda r: r.view(array.dtype),
        lambda r: pickle.loads(pickle.dumps(r)),
    ):
        shown, wanted = show(records), show(like)
        assert isinstance(shown, type(wanted))
        assert isinstance(shown, np.recarray) == isinstance(wanted, np.recarray)
        assert shown.dtype == wanted.dtype
        assert shown.dtype.type is wanted.dtype.type
        assert repr(shown) == repr(wanted)
    assert records.size == 4  # an attribute of arrays wins over a field
    assert type(pickle.loads(pickle.dumps(records))) is np.recarray
    with pytest.raises(AttributeError, match="recarray has no attribute nothing"):
        records.nothing  # noqa: B018
    records.a = 7
    records.n.x[1] = 2
    assert records["a"].tolist() == [7] * 4
    assert records["n"]["x"].tolist() == [0.5, 2, 0.5, 0.5]
