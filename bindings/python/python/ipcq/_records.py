"""The numpy dtype of the messages of a queue, and conversions to and from it."""

from __future__ import annotations

import json
import math
import sys
import warnings
from functools import partial
from typing import Any

from ._errors import SchemaMismatchError, UsageError
from ._tables import columns_of, library

# A queue stores the fields of a record. A dtype without fields is stored as the only field of a
# record, under a name that no field of a struct has.
WHOLE = "(message)"

# The formats of buffers of plain bytes: those of bytes, bytearray and mmap.
BYTES = {"B", "c"}

# Values of these types compare exactly. The scalars of numpy round before they compare.
PLAIN = {bool, int, float, complex, bytes, str}


class Layout:
    """The dtype of a handle: the one that was given, otherwise the queue's, if it has one.

    numpy is imported only when the dtype is used.
    """

    __slots__ = ("__weakref__", "_dtype", "_form", "_kind", "_name", "_new", "given", "schema")

    given: Any
    schema: str | None

    def __init__(self, name: str, given: Any, schema: str | None) -> None:
        self._name = name
        self.given = given
        self.schema = schema
        self._dtype = given
        self._form: tuple[Any, tuple[int, ...]] | None = None
        self._kind: Any = None
        self._new: Any = None

    @property
    def dtype(self) -> Any:
        """The dtype, or None."""
        if self._dtype is None and self.schema is not None:
            self._dtype = dtype_of(json.loads(self.schema))
        return self._dtype

    @property
    def has_records(self) -> bool:
        """Whether there is a dtype."""
        return self.given is not None or self.schema is not None

    @property
    def form(self) -> tuple[Any, tuple[int, ...]]:
        """The dtype of an array of messages, and the shape of each message.

        If it has fields, it is a dtype of records, whose fields are attributes. numpy would convert
        the dtype for each array again, which takes longer than the rest of a batch.

        Raises TypeError without a dtype.
        """
        if self._form is None:
            dtype = self.dtype
            if dtype is None:
                raise TypeError(
                    "records: the queue has no dtype: open the consumer with one (dtype=...)"
                )
            import numpy as np

            base, shape = dtype.subdtype or (dtype, ())
            self._kind = np.ndarray
            if base.names is not None:
                from ._arrays import RecordArray

                warn_of_hidden(base, self._name)
                base = np.dtype((np.record, base))
                self._kind = RecordArray
            # The __new__ of a recarray is slow, because it is written in Python.
            self._new = partial(np.ndarray.__new__, self._kind)
            self._form = base, shape
        return self._form

    def of_rows(self, rows: Any) -> Any:
        """An array of records from an array with a row of bytes for each message. No copy."""
        base, shape = self.form
        return rows.view(base).reshape((len(rows), *shape)).view(self._kind)

    def of_bytes(self, data: Any, count: int) -> Any:
        """An array of records from the bytes of messages, one after the other. No copy."""
        base, shape = self._form or self.form
        return self._new((count, *shape), base, data)

    def array(self, data: Any, count: int) -> Any:
        """The same as of_bytes(), but a plain array of the dtype."""
        import numpy as np

        base, shape = self.plain
        return np.ndarray((count, *shape), base, data)

    def record(self, data: bytes) -> Any:
        """One message as a record."""
        base, shape = self.form
        import numpy as np

        # From a plain array, because numpy indexes a recarray in Python.
        return np.ndarray((1, *shape), base, data)[0] if not shape else self.of_bytes(data, 1)[0]

    # Objects to push, and buffers to fill.

    @property
    def plain(self) -> tuple[Any, tuple[int, ...]]:
        """The same as form, for plain arrays."""
        dtype = self.dtype
        return dtype.subdtype or (dtype, ())

    def check(self, data: Any) -> Any:
        """Raises SchemaMismatchError if a buffer has another dtype than the messages.

        Returns the dtype if all arrays of this type and dtype pass, otherwise None.
        """
        dtype = getattr(data, "dtype", None)
        if dtype is None or not hasattr(dtype, "base"):
            with memoryview(data) as view:
                if view.format.lstrip("@=<>!") in BYTES:
                    return None
                rows = tuple(view.shape or ())
            try:
                dtype = dtype_of_buffer(data)
            except (TypeError, ValueError) as e:
                raise SchemaMismatchError(f"{self._name}: {e}") from None
        else:
            rows = tuple(data.shape)
        base, shape = self.plain
        if dtype is base or is_same(dtype, base):
            self._check_mask(data)
            # A flat array is accepted as it is.
            if shape and len(rows) > 1 and rows[-len(shape) :] != shape:
                raise SchemaMismatchError(
                    f"{self._name}: the messages have the dtype {self.dtype}, but this array has "
                    f"the shape {rows}"
                )
            return None if shape or is_masked(data) else dtype
        if dtype.itemsize == 1 and dtype.char in "BSc":
            return None
        raise SchemaMismatchError(
            f"{self._name}: the messages have the dtype {base}, but this object has {dtype}: "
            "array.astype(q.dtype) converts the values, array.tobytes() gives the bytes unchanged"
        )

    def _check_mask(self, data: Any) -> None:
        """Raises UsageError if values of an array are masked."""
        if is_masked(data) and data.mask.tobytes().strip(b"\0"):
            raise UsageError(
                f"{self._name}: this array has masked values: array.filled(...) replaces them"
            )

    def _check_kept(self, array: Any, given: Any) -> None:
        """Raises UsageError if an array of messages lost values of the objects it was made of."""
        try:
            check_kept(array, given, self.plain[0], "")
        except UsageError as e:
            raise UsageError(f"{self._name}: {e}") from None

    def message(self, item: Any) -> Any:
        """One message, from anything that numpy accepts as one element of the dtype."""
        np = library("numpy", "dtype")
        base, shape = self.plain
        if hasattr(item, "__array__"):
            self._check_mask(item)
            array = np.asarray(item)
            self.check(array)
            return array
        if item is None or (isinstance(item, str) and base.kind != "U"):
            raise TypeError(f"{self._name}: {item!r} is not a message of the dtype {base}")
        item = in_order(item, base)
        # numpy would assign a single number to every field.
        fills = base.names is not None and not isinstance(item, (tuple, list))
        array = self._array(item)
        if fills or array.shape != shape:
            raise TypeError(
                f"{self._name}: a message is one element of the dtype {self.dtype}: a tuple, a "
                "dict or an array of it"
            )
        if base.names is None:
            if type(item) in PLAIN and array.item() == item:
                return array
        elif PLAIN.issuperset(map(type, item)) and array.item() == item:
            return array
        self._check_kept(array[()], item)
        return array

    def messages(self, data: Any) -> Any:
        """Many messages: an object with a buffer, or an iterable of messages."""
        if type(data) is list:
            if data and all(type(item) is tuple for item in data):
                _, shape = self.plain
                array = self._array(data)
                if array.shape == (len(data), *shape):
                    if not are_kept(array, data):
                        for kept, row in zip(array, data, strict=True):
                            self._check_kept(kept, row)
                    return array
            return data
        if isinstance(data, dict):
            raise TypeError(f"{self._name}: a dict is one message: use push()")
        table = columns_of(data)
        if table is not None:
            return self._of_table(table, len(data))
        if hasattr(data, "__array__"):
            self._check_mask(data)
            data = library("numpy", "dtype").asarray(data)
        elif not has_buffer(data):
            return data
        self.check(data)
        return data

    def _array(self, items: Any) -> Any:
        """An array of the dtype. Raises UsageError for values that it cannot hold."""
        np = library("numpy", "dtype")
        base, _ = self.plain
        try:
            return np.array(items, base)
        except (ValueError, OverflowError) as e:
            raise UsageError(f"{self._name}: not a message of the dtype {base}: {e}") from e

    def _of_table(self, table: dict[str, Any], count: int) -> Any:
        """The rows of a table that has a column for each field."""
        import numpy as np

        base, _ = self.plain
        names = base.names
        if names is None or set(names) != set(table):
            raise SchemaMismatchError(
                f"{self._name}: the messages have the fields {list(names or ())}, but the table "
                f"has the columns {list(table)}"
            )
        rows = np.zeros(count, base)
        for name in names:
            field = rows[name]
            column = np.asarray(in_utc(table[name]) if field.dtype.kind == "M" else table[name])
            if column.dtype.hasobject:
                self._of_objects(column.tolist(), field, name)
                continue
            if not fits(column, field):
                raise SchemaMismatchError(
                    f"{self._name}: the column {name!r} has values of {column.dtype} that do not "
                    f"fit the field, {base[name]}"
                )
        return rows

    def _of_objects(self, values: list[Any], field: Any, name: str) -> None:
        """Copies a column of Python objects to a field. Values are checked as push() does."""
        import numpy as np

        if field.dtype.kind == "S":
            values = [v.encode() if isinstance(v, str) else v for v in values]
        shape = field.shape[1:]
        for i, value in enumerate(values):
            try:
                value = in_order(value, field.dtype)
                with np.errstate(all="ignore"):
                    array = np.array(value, field.dtype)
                if array.shape != shape:
                    raise UsageError(f"the value {value!r} does not have the shape {shape}")
                if not (type(value) in PLAIN and array.item() == value):
                    check_kept(array[()], value, field.dtype, name)
            except (TypeError, ValueError, OverflowError) as e:
                raise SchemaMismatchError(
                    f"{self._name}: the column {name!r} has a value that does not fit the field, "
                    f"{self.plain[0][name]}: {e}"
                ) from None
            field[i] = array


def is_masked(data: Any) -> bool:
    """Whether an array may have masked values."""
    ma = sys.modules.get("numpy.ma")
    return ma is not None and isinstance(data, ma.MaskedArray)


def are_kept(array: Any, rows: list[Any]) -> bool:
    """Whether an array certainly has the values of the rows it was made of. Compares columns."""
    import numpy as np

    for name, given in zip(array.dtype.names or (), zip(*rows, strict=True), strict=True):
        kept, types = array[name], set(map(type, given))
        if not types <= PLAIN:
            return False
        if kept.dtype.kind == "f" and types == {float}:
            # Floats may have been rounded.
            if not np.array_equal(np.isfinite(kept), np.isfinite(given)):
                return False
        elif kept.tolist() != list(given):
            return False
    return array.dtype.names is not None


def check_kept(kept: Any, given: Any, dtype: Any, where: str) -> None:
    """Raises UsageError if numpy has changed a value.

    Floats may have been rounded.
    """
    dtype, names = dtype.base, dtype.base.names
    if names is None and not kept.shape:
        if not is_kept(kept, given):
            of = f"of the field {where!r} " if where else ""
            raise UsageError(f"the value {given!r} {of}does not fit {dtype}")
        return
    if not hasattr(given, "__len__") or isinstance(given, (str, bytes)):
        # numpy has assigned it to each element of the field.
        given = [given] * len(names or kept)
    elif getattr(given, "ndim", 1) == 0 and hasattr(given, "tolist"):
        # An array of one record, or a record of numpy.
        given = given.tolist()
    keys = range(len(kept)) if names is None or kept.shape else names
    if len(keys) != len(given):
        raise UsageError(f"{given!r} is not a value of {where or 'a message'}")
    for i, key in enumerate(keys):
        inner = f"{where}.{key}" if where and isinstance(key, str) else where or str(key)
        check_kept(kept[key], given[i], dtype[key] if isinstance(key, str) else dtype, inner)


def is_kept(kept: Any, given: Any) -> bool:
    """Whether a scalar of numpy has the value that it was made of."""
    if type(given) is float and kept.dtype.kind == "f":
        return math.isfinite(given) == math.isfinite(kept)
    import numpy as np

    if is_masked(given):
        return False
    if isinstance(given, np.ndarray):
        given = given[()]
    kind = kept.dtype.kind
    if kind == "V":
        return bytes(given).ljust(kept.dtype.itemsize, b"\0") == bytes(kept)
    if kind in "Mm":
        if given is None or isinstance(given, (int, np.integer)) or np.isnat(kept):
            return True
        as_numpy = getattr(given, "to_numpy", None)
        moment = np.datetime64 if kind == "M" else np.timedelta64
        return bool(kept == (as_numpy() if as_numpy else moment(given)))
    if isinstance(given, bytearray):
        given = bytes(given)
    if kind in "SU":
        if not isinstance(given, (bytes, str)):
            return False
        if isinstance(given, str) and kind == "S":
            given = given.encode()
        elif isinstance(given, bytes) and kind == "U":
            given = given.decode("ascii")
        # numpy removes zeros at the end.
        return bool(kept == given.rstrip("\0" if kind == "U" else b"\0"))
    if given is None or isinstance(given, (bytes, str)):
        return False
    if isinstance(given, np.integer):
        given = int(given)
    if kept.item() == given:
        return True
    if kind not in "fc" or isinstance(given, (int, np.bool_)):
        return False
    return bool(np.isfinite(kept) == np.isfinite(complex(given)))


def in_utc(column: Any) -> Any:
    """Converts a column of pandas that has a time zone to UTC without a time zone.

    numpy has no time zones. polars and pyarrow convert by themselves.
    """
    dtype = getattr(column, "dtype", None)
    # pyarrow_dtype: a column of pandas that is stored by pyarrow.
    zone = getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None)
    if zone is None or not hasattr(column, "dt"):
        return column
    return column.dt.tz_convert("UTC").dt.tz_localize(None)


def has_buffer(data: Any) -> bool:
    """Whether an object supports the buffer protocol."""
    try:
        memoryview(data).release()
    except TypeError:
        return False
    return True


def dtype_of_buffer(data: Any) -> Any:
    """The dtype for the format of a buffer."""
    np = library("numpy", "dtype")
    ctypes = sys.modules.get("ctypes")
    if ctypes is not None and isinstance(data, ctypes._SimpleCData.__base__):
        # The formats of ctypes leave out the padding.
        dtype = np.dtype(type(data))
        while dtype.subdtype is not None:
            dtype = dtype.base
        return dtype
    return np.asarray(data).dtype


def is_same(one: Any, other: Any) -> bool:
    """Whether two dtypes describe the same bytes.

    An array of characters, which ctypes has for `char name[5]`, is a string of that length.
    """
    return bool(one.itemsize == other.itemsize and (one == other or plainly(one) == plainly(other)))


def plainly(dtype: Any) -> Any:
    """A dtype in a form that can be compared, with strings instead of arrays of characters."""
    base, shape = dtype.subdtype or (dtype, ())
    if base.names is not None:
        fields = [(name, plainly(base[name]), base.fields[name][1]) for name in base.names]
        return fields, shape, base.itemsize
    text = base.str
    if shape and text in ("|S1", "<U1"):
        *shape, length = shape
        text = f"{text[:2]}{length}"
    return text, tuple(shape)


# Pairs of kinds of dtypes: values of the first may be converted to the second, if none changes.
WIDER = {"bu", "bi", "ui", "iu", "uf", "if", "uc", "ic", "fc"}


def fits(column: Any, field: Any) -> bool:
    """Copies a column to a field. Returns whether every value is unchanged."""
    import numpy as np

    if column.shape != field.shape:
        return False
    if column.dtype.kind + field.dtype.kind == "US":
        column = np.char.encode(column, "utf-8")
    kinds = column.dtype.kind + field.dtype.kind
    if column.dtype.names is not None or field.dtype.names is not None:
        if column.dtype != field.dtype:
            return False
        field[...] = column
        return True
    if kinds[0] != kinds[1] and kinds not in WIDER:
        return False
    with np.errstate(over="ignore"):
        field[...] = column.astype(field.dtype)
    if kinds in ("ff", "fc", "cc"):
        # Floats may be rounded to the precision of the field.
        return bool((np.isfinite(field) == np.isfinite(column)).all())
    nothing = {"equal_nan": True} if kinds[1] in "Mm" else {}
    back = field.astype(column.dtype)
    return np.array_equal(field, column, **nothing) and np.array_equal(back, column, **nothing)


def in_order(item: Any, dtype: Any) -> Any:
    """Converts a dict with a value for each field to the tuple that numpy accepts."""
    names = dtype.names
    if names is None or not isinstance(item, dict):
        return item
    if item.keys() != set(names):
        raise UsageError(f"a message has the fields {list(names)}, not {list(item)}")
    return tuple(in_order(item[name], dtype[name]) for name in names)


def warn_of_hidden(dtype: Any, name: str) -> None:
    """Warns of fields that cannot be used as attributes, because arrays have such attributes."""
    import numpy as np

    from ._arrays import RecordArray

    hidden: list[str] = []

    def look(dtype: Any) -> None:
        for field in dtype.names or ():
            if hasattr(RecordArray, field) or hasattr(np.record, field):
                hidden.append(field)
            look(dtype[field].base)

    look(dtype.base)
    if hidden:
        # Points at the line of the program that uses the records.
        frame, level = sys._getframe(), 1
        while frame.f_back and frame.f_globals.get("__package__") == __package__:
            frame, level = frame.f_back, level + 1
        warnings.warn(
            f"{name}: some fields have the names of attributes of numpy arrays "
            f"({', '.join(hidden)}): records[{hidden[0]!r}] is the field, records.{hidden[0]} is "
            "not",
            stacklevel=level,
        )


def dtype_of(schema: dict[str, Any]) -> Any:
    """The dtype of a schema."""

    def form(one: Any) -> Any:
        # An array of records. JSON has a list instead of the tuple.
        if isinstance(one, list):
            return dtype_of(one[0]), tuple(one[1])
        return dtype_of(one) if isinstance(one, dict) else one

    np = library("numpy", "dtype")
    formats = [form(one) for one in schema["formats"]]
    if schema["names"] == [WHOLE]:
        return np.dtype(formats[0])
    return np.dtype({**schema, "formats": formats})


def check(given: Any) -> tuple[Any, int, str]:
    """The dtype that the caller gave, its size in bytes, and its schema."""
    np = library("numpy", "dtype")
    dtype = np.dtype(given)
    if dtype.hasobject:
        raise TypeError("dtype: records cannot hold Python objects")
    if not dtype.itemsize:
        raise UsageError("dtype: its records have no bytes")
    if dtype.names is not None:
        schema = describe(dtype, "")
    else:
        schema = {"names": [WHOLE], "formats": [form_of(dtype, "", "dtype")], "offsets": [0]}
        schema["itemsize"] = dtype.itemsize
    return dtype, dtype.itemsize, json.dumps(schema, ensure_ascii=False)


def describe(dtype: Any, path: str) -> dict[str, Any]:
    """A dtype with fields, in the form in which the queue stores it."""
    formats, offsets = [], []
    for name in dtype.names:
        field, offset, *title = dtype.fields[name]
        where = f"{path}{name}"
        if title:
            raise UsageError(f"dtype: field {where!r} has a title, which a queue cannot store")
        formats.append(form_of(field, f"{where}.", f"field {where!r}"))
        offsets.append(offset)
    names = list(dtype.names)
    return {"names": names, "formats": formats, "offsets": offsets, "itemsize": dtype.itemsize}


def form_of(dtype: Any, path: str, what: str) -> Any:
    """The format of a field."""
    base, shape = dtype.subdtype or (dtype, ())
    if base.names is not None:
        record = describe(base, path)
        return [record, list(shape)] if shape else record
    one = scalar(base, what)
    if not shape:
        return one
    sizes = ",".join(map(str, shape)) + ("," if len(shape) == 1 else "")
    return f"({sizes}){one}"


def scalar(dtype: Any, what: str) -> str:
    """The format of a dtype without fields. Messages are little-endian."""
    text: str = dtype.str
    if text.startswith(">"):
        raise UsageError(
            f"dtype: {what} is big-endian ({text}), but messages are little-endian: "
            "use dtype.newbyteorder('<')"
        )
    return text
