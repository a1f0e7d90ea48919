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
    # A copy: what is done to it does not show.
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
