"""What the messages of a queue are: a numpy dtype, that the queue has or that was asked for."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from ._tables import library


class Layout:
    """The dtype of a handle: the one that was given, or else that of the queue, if it has one.

    numpy is imported when it is asked for, and not before.
    """

    __slots__ = ("_dtype", "_form", "_kind", "_new", "given", "schema")

    given: Any
    schema: str | None

    def __init__(self, given: Any, schema: str | None) -> None:
        self.given = given
        self.schema = schema
        self._dtype = given
        self._form: tuple[Any, tuple[int, ...]] | None = None
        self._kind: Any = None
        self._new: Any = None

    @property
    def dtype(self) -> Any:
        """None if there is none."""
        if self._dtype is None and self.schema is not None:
            self._dtype = dtype_of(json.loads(self.schema))
        return self._dtype

    @property
    def has_records(self) -> bool:
        """Whether there is one."""
        return self.given is not None or self.schema is not None

    @property
    def form(self) -> tuple[Any, tuple[int, ...]]:
        """The dtype of an array of messages, and the shape of each.

        One with fields is that of records whose fields are attributes. numpy would make it so for
        each array anew, which takes longer than all the rest of a batch.

        Raises TypeError if there is none.
        """
        if self._form is None:
            dtype = self.dtype
            if dtype is None:
                raise TypeError(
                    "records: the queue does not say what its messages are: open it with a dtype"
                )
            import numpy as np

            base, shape = dtype.subdtype or (dtype, ())
            self._kind = np.ndarray
            if base.names is not None:
                from ._arrays import Records

                base = np.dtype((np.record, base))
                self._kind = Records
            # Not by the class itself: numpy's own __new__ of a recarray is in Python.
            self._new = partial(np.ndarray.__new__, self._kind)
            self._form = base, shape
        return self._form

    def of_rows(self, rows: Any) -> Any:
        """An array of bytes, a row a message, as an array with a record a message; no copy."""
        base, shape = self.form
        return rows.view(base).reshape((len(rows), *shape)).view(self._kind)

    def of_bytes(self, data: Any, count: int) -> Any:
        """The bytes of so many messages, one after the other, in the same way."""
        base, shape = self._form or self.form
        return self._new((count, *shape), base, data)

    def record(self, data: bytes) -> Any:
        """One message."""
        base, shape = self.form
        import numpy as np

        # Of a plain array: numpy takes an element of the other kind apart in Python.
        return np.ndarray((1, *shape), base, data)[0] if not shape else self.of_bytes(data, 1)[0]


def dtype_of(schema: dict[str, Any]) -> Any:
    """The dtype of a schema."""

    def form(one: Any) -> Any:
        # An array of records, which JSON has no tuple for.
        if isinstance(one, list):
            return dtype_of(one[0]), tuple(one[1])
        return dtype_of(one) if isinstance(one, dict) else one

    np = library("numpy", "dtype")
    return np.dtype({**schema, "formats": [form(one) for one in schema["formats"]]})


def check(given: Any) -> tuple[Any, int, str | None]:
    """A dtype that was given, its size in bytes, and the schema of its fields, if it has any."""
    np = library("numpy", "dtype")
    dtype = np.dtype(given)
    if dtype.hasobject:
        raise TypeError("dtype: records cannot hold Python objects")
    if not dtype.itemsize:
        raise ValueError("dtype: its records have no bytes")
    base = dtype.base
    if base.names is None:
        scalar(base, "dtype")
        return dtype, dtype.itemsize, None
    described = json.dumps(describe(base, ""), ensure_ascii=False)
    # An array of records: what the queue can say is that of one record.
    return dtype, dtype.itemsize, described if dtype.subdtype is None else None


def describe(dtype: Any, path: str) -> dict[str, Any]:
    """A dtype with fields, as the queue keeps it."""
    formats, offsets = [], []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        where = f"{path}{name}"
        if title:
            raise ValueError(f"dtype: field {where!r} has a title, which a queue cannot keep")
        base, shape = field.subdtype or (field, ())
        one: Any = scalar(base, f"field {where!r}")
        if base.names is not None:
            one = describe(base, f"{where}.")
            one = [one, list(shape)] if shape else one
        elif shape:
            sizes = ",".join(map(str, shape)) + ("," if len(shape) == 1 else "")
            one = f"({sizes}){one}"
        formats.append(one)
        offsets.append(offset)
    names = list(dtype.names)
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize}


def scalar(dtype: Any, what: str) -> str:
    """Its format. Messages are little-endian."""
    text: str = dtype.str
    if text.startswith(">"):
        raise ValueError(
            f"dtype: {what} is big-endian ({text}), and messages are little-endian: "
            "use dtype.newbyteorder('<')"
        )
    return text
