"""numpy reads the schema that a C program has declared, and then the struct."""

import json
import subprocess
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")
PROGRAM = Path(__file__).resolve().parent.parent.parent / "target/pairs/test_records"


def dtype(schema):
    """As json.loads returns it, except that arrays of records become tuples, as numpy requires."""

    def format_of(one):
        if isinstance(one, list):
            return dtype(one[0]), tuple(one[1])
        return dtype(one) if isinstance(one, dict) else one

    return np.dtype({**schema, "formats": [format_of(one) for one in schema["formats"]]})


def test_numpy_reads_the_struct(tmp_path):
    done = subprocess.run(
        [PROGRAM], env={"IPCQ_DIR": str(tmp_path)}, stdout=subprocess.PIPE, check=True, timeout=60
    )
    schema, struct = done.stdout.splitlines()
    layout = dtype(json.loads(schema))
    record = np.frombuffer(bytes.fromhex(struct.decode()), layout)
    assert record.shape == (1,)
    found = {name: record[0][name].tolist() for name in layout.names if name not in ("raw", "f16")}
    assert record[0]["raw"].tobytes() == bytes([1, 2, 3, 4, 5])
    assert float(record[0]["f16"]) == 4.75
    half = {"f2": 0.0, "f2s": [0.0, 0.0, 0.0]} if "f2" in found else {}
    assert found == half | {
        "flag": True,
        "flags": [False, True],
        "letter": b"q",
        "text": b"six by",
        "names": [b"ab", b"cdef"],
        "s8": -1,
        "i8": -2,
        "u8": 200,
        "i16": -300,
        "u16": 60000,
        "i32": [1, -2, 3],
        "u32": 4000000000,
        "l": -5,
        "ul": 6,
        "ll": -7,
        "u64": 2**64 - 1,
        "size": 9,
        "f4": 1.5,
        "f8": [2.25, -3.5],
        "side": 1,
        "from": (1.5, 2.5),
        "legs": [(3.0, 4.0), (5.0, 6.0)],
        "one": [(8.0,)],
        "matrix": [[1, 2, 3], [4, 5, 6]],
        "cube": [
            [[1, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]],
            [[3, 0, 0, 0], [4, 5, 0, 0], [0, 0, 0, 0]],
        ],
    }
