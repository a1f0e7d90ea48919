"""Batches as tables of pandas and pyarrow."""

import pytest

import ipcq

np = pytest.importorskip("numpy")

TICK = np.dtype(
    [
        ("ts", "u8"),
        ("px", "f8"),
        ("qty", "u4"),
        ("side", "S4"),
        ("open", "?"),
        ("levels", "f4", (2, 2)),
        ("at", [("x", "i2"), ("y", "i2")]),
        ("raw", "V3"),
    ],
    align=True,
)


def ticks(count):
    array = np.zeros(count, TICK)
    array["ts"] = np.arange(count)
    array["px"] = np.arange(count) / 2
    array["qty"] = 7
    array["side"] = b"buy"
    array["open"][::2] = True
    array["levels"] = np.arange(4 * count).reshape(count, 2, 2)
    array["at"]["y"] = -np.arange(count)
    array["raw"] = b"\1\2\3"
    return array


@pytest.fixture
def batch():
    with ipcq.Producer("t", capacity=64, dtype=TICK) as out, ipcq.Consumer("t", dtype=TICK) as q:
        out.push_many(ticks(10))
        q.pop_many(4)
        yield next(q.batches())


def test_pandas(batch):
    pandas = pytest.importorskip("pandas")
    frame = batch.to_pandas()
    expected = ticks(10)[4:]
    assert list(frame.columns) == list(TICK.names)
    assert frame.index.equals(pandas.RangeIndex(4, 10))
    assert frame.index.name == "sequence"
    for name in ("ts", "px", "qty", "open"):
        assert frame[name].dtype == TICK[name]
        assert frame[name].tolist() == expected[name].tolist()
    assert frame["side"].tolist() == [b"buy"] * 6
    assert frame["levels"].tolist() == expected["levels"].tolist()
    assert frame["at"].tolist() == [(0, -n) for n in range(4, 10)]
    # It is a copy, so changes do not show.
    frame.loc[4, "px"] = 99
    assert batch.records["px"][0] == 2


def test_arrow(batch):
    arrow = pytest.importorskip("pyarrow")
    table = batch.to_arrow()
    expected = ticks(10)[4:]
    assert table.column_names == list(TICK.names)
    assert table.num_rows == 6
    types = {name: str(table.schema.field(name).type) for name in TICK.names}
    assert types == {
        "ts": "uint64",
        "px": "double",
        "qty": "uint32",
        "side": "binary",
        "open": "bool",
        "levels": "fixed_size_list<item: fixed_size_list<item: float>[2]>[2]",
        "at": "struct<x: int16, y: int16>",
        "raw": "fixed_size_binary[3]",
    }
    for name in ("ts", "px", "qty", "open", "levels"):
        assert table[name].to_pylist() == expected[name].tolist()
    assert table["side"].to_pylist() == [b"buy"] * 6
    assert table["at"].to_pylist() == [{"x": 0, "y": -n} for n in range(4, 10)]
    assert table["raw"].to_pylist() == [b"\1\2\3"] * 6
    table.validate(full=True)
    assert isinstance(table, arrow.Table)


@pytest.mark.parametrize("of_dtype", ["f4", None])
def test_one_column(of_dtype):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    with ipcq.Producer("o", capacity=8, message_size=4) as out:
        out.push_many(np.array([1.5, 2.5], "f4"))
        batch = next(ipcq.Consumer("o", dtype=of_dtype).batches())
        frame, table = batch.to_pandas(), batch.to_arrow()
        expected = [1.5, 2.5] if of_dtype else list(batch)
        assert frame["message"].tolist() == expected
        assert table["message"].to_pylist() == expected


def test_varying_lengths(words):
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    out, q = words
    out.push_many([b"a", b"", b"ccc"])
    batch = next(q.batches())
    assert batch.to_pandas()["message"].tolist() == [b"a", b"", b"ccc"]
    assert batch.to_arrow()["message"].to_pylist() == [b"a", b"", b"ccc"]


@pytest.mark.parametrize("name", ["pandas", "pyarrow"])
def test_without_the_library(batch, monkeypatch, name):
    monkeypatch.setitem(__import__("sys").modules, name, None)
    convert = batch.to_pandas if name == "pandas" else batch.to_arrow
    with pytest.raises(ImportError, match=f"pip install {name}") as caught:
        convert()
    assert caught.value.name == name


EVERY = np.dtype(
    [
        *((f"{kind}{size}", f"{kind}{size}") for kind in "ui" for size in (1, 2, 4, 8)),
        *((f"f{size}", f"f{size}") for size in (2, 4, 8)),
        ("flag", "?"),
        ("text", "S5"),
        ("words", "U3"),
        ("raw", "V7"),
        *((f"M{unit}", f"M8[{unit}]") for unit in ("W", "D", "h", "m", "s", "ms", "us", "ns")),
        *((f"m{unit}", f"m8[{unit}]") for unit in ("D", "h", "m", "s", "ms", "us", "ns", "25us")),
        ("flags", "?", (2, 5)),
        ("names", "S4", (2,)),
        ("matrix", "i2", (2, 3)),
        ("at", [("x", "f4"), ("deep", [("n", "u2"), ("list", "i8", (2,))], (3,))]),
    ],
    align=True,
)


def every(count):
    rng = np.random.default_rng(count)
    array = np.zeros(count, EVERY)
    for name in EVERY.names:
        kind, shape = EVERY[name].base.kind, array[name].shape
        if kind in "Mm":
            array[name] = rng.integers(-1000, 100_000, shape).astype(EVERY[name])
            array[name][::5] = "NaT"
        elif kind in "uif":
            array[name] = rng.integers(0, 100, shape)
        elif kind == "b":
            array[name] = rng.integers(0, 2, shape)
        elif kind == "S":
            array[name] = b"a\0b"
            array[name][1::2] = b""
        elif kind == "U":
            array[name] = "a\u20ac\U0001f600"
        elif kind == "V" and EVERY[name].names is None:
            array[name] = b"\0\1\2\3\4\5\0"
    array["at"]["x"] = rng.random(count)
    array["at"]["deep"]["n"] = rng.integers(0, 100, (count, 3))
    array["at"]["deep"]["list"] = rng.integers(-100, 100, (count, 3, 2))
    return array


@pytest.mark.filterwarnings("ignore:.*attributes of numpy arrays")
@pytest.mark.parametrize("count", [1, 2, 17])
def test_every_type_of_arrow(count):
    arrow = pytest.importorskip("pyarrow")
    array = every(count)
    with ipcq.Producer("every", capacity=64, dtype=EVERY) as out:
        q = ipcq.Consumer("every")
        out.push_many(array)
        table = arrow.table(next(q.batches()))
    table.validate(full=True)
    assert table.column_names == list(EVERY.names)
    for name in EVERY.names:
        column, field = table[name], array[name]
        if field.dtype.kind in "Mm":
            unit = "D" if column.type == arrow.date32() else column.type.unit
            assert column.null_count == len(field[::5])
            wanted = field.astype(f"{field.dtype.kind}8[{unit}]").astype("i8").tolist()
            plain = column.cast(arrow.int32() if unit == "D" else arrow.int64())
            wanted = [None if n % 5 == 0 else value for n, value in enumerate(wanted)]
            assert plain.to_pylist() == wanted
        elif name == "at":
            assert column.to_pylist() == [
                {
                    "x": one["x"],
                    "deep": [{"n": d["n"], "list": d["list"].tolist()} for d in one["deep"]],
                }
                for one in field
            ]
        elif name == "raw":
            assert column.to_pylist() == [b"\0\1\2\3\4\5\0"] * count
        else:
            assert column.to_pylist() == field.tolist()


@pytest.mark.parametrize("dtype", ["c16", np.longdouble, "M8[Y]", "M8[ps]", "M8"])
def test_types_that_arrow_does_not_have(dtype):
    pytest.importorskip("pyarrow")
    with ipcq.Producer("no", capacity=64, dtype=[("a", "u1"), ("b", dtype)]) as out:
        out.push(bytes(out.message_size))
        batch = next(ipcq.Consumer("no").batches())
        with pytest.raises(TypeError, match="b: Arrow has no type for"):
            batch.to_arrow()
        assert len(batch.records) == 1


def test_a_stream_of_batches():
    """It gives each batch when it comes, and ends when the producer closes."""
    arrow = pytest.importorskip("pyarrow")
    out = ipcq.Producer("s", capacity=64, dtype=TICK)
    q = ipcq.Consumer("s")
    reader = arrow.RecordBatchReader.from_stream(q.batches(4))
    assert reader.schema.names == list(TICK.names)
    for _ in range(3):
        out.push_many(ticks(6))
        for count, first in ((4, 0), (2, 4)):
            taken = reader.read_next_batch()
            assert taken["ts"].to_pylist() == list(range(first, first + count))
    out.push_many(ticks(10))
    out.close()
    assert reader.read_all()["ts"].to_pylist() == list(range(10))
    assert q.stats.received == 28
    q.close()
    reader = arrow.RecordBatchReader.from_stream(q.batches())
    with pytest.raises(OSError, match="closed"):
        reader.read_next_batch()


def test_polars(batch, words):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(batch)
    assert frame.shape == (6, len(TICK.names))
    assert frame["px"].to_list() == [2, 2.5, 3, 3.5, 4, 4.5]
    out, q = words
    out.push_many([b"ab\0\0", b"", b"\1\0\0\0"])
    frame = polars.DataFrame(next(q.batches()))
    assert frame.columns == ["message"]
    assert frame["message"].to_list() == [b"ab\0\0", b"", b"\1\0\0\0"]


def test_a_table_outlives_everything(child):
    """The data can be used and dropped until the interpreter has ended."""
    pytest.importorskip("pyarrow")
    code = """if 1:
        import gc, sys
        import ipcq, pyarrow
        out = ipcq.Producer("q", capacity=64, dtype=[("n", "u8"), ("s", "S3")])
        q = ipcq.Consumer("q")
        out.push_many([(n, b"abc") for n in range(50)])
        batch = next(q.batches())
        table, sys.kept = pyarrow.table(batch), batch.__arrow_c_stream__()
        sys.more = [q.batches().__arrow_c_stream__() for _ in range(3)]
        del batch
        q.close(); out.close(); del q, out
        gc.collect()
        assert table["n"].to_pylist() == list(range(50))
        assert table["s"].to_pylist() == [b"abc"] * 50
        sys.table = table
        print("right")
    """
    assert child(code).end() == "right\n"


def test_a_batch_is_used_like_a_sequence(words):
    out, q = words
    out.push_many([b"a", b"b", b"a"])
    batch = next(q.batches())
    assert (len(batch), batch[0], batch[-1], batch[1:]) == (3, b"a", b"a", [b"b", b"a"])
    assert (list(reversed(batch)), batch.index(b"b"), batch.count(b"a")) == (
        [b"a", b"b", b"a"],
        1,
        2,
    )
    assert (b"b" in batch, b"c" in batch, batch.index(b"a", 1)) == (True, False, 2)
    with pytest.raises(ValueError, match="not in"):
        batch.index(b"c")


@pytest.mark.filterwarnings("ignore:.*fields are named")
@pytest.mark.parametrize("name", ["columns", "column_names"])
def test_an_array_is_no_table(name):
    """Fields may have any names."""
    dtype = np.dtype([(name, "i4"), ("x", "i4")])
    out = ipcq.Producer("q", dtype=dtype)
    q = ipcq.Consumer("q")
    assert out.push_many(np.ones(3, dtype).view(np.recarray)) == 3
    records = next(q.batches()).records
    assert out.push_many(records) == 3
    assert out.push_many([records[0]]) == 1
    assert [r.tolist() for r in next(q.batches()).records] == [(1, 1)] * 4
