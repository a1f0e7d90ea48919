"""The numpy dtype of the messages of a queue, and conversions to and from it."""

from __future__ import annotations

import json
import math
import re
import sys
import warnings
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Any

from ._errors import SchemaMismatchError, UsageError, escaped
from ._tables import columns_of, decoded, library, objects_of, whole_numbers

# A queue stores the fields of a record. A dtype without fields is stored as the only field of a
# record, under a name that no field of a struct has.
WHOLE = "(message)"

# The formats of buffers of plain bytes: those of bytes, bytearray and mmap.
BYTES = {"B", "c"}

# Values of these types compare exactly. The scalars of numpy round before they compare.
PLAIN = {bool, int, float, complex, bytes, str}

# The integer that numpy stores for NaT. Callers push None or NaT instead of it.
NO_TIME = -(2**63)

# The microseconds of the units of times that Python's timedelta can have.
MICROSECONDS = {
    "W": 604_800_000_000,
    "D": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1000,
    "us": 1,
}

# The units of times below a microsecond.
FINE = {"ns", "ps", "fs", "as"}

# An error shows at most this many characters of a value.
SHOWN = 80


class Layout:
    """The dtype of a handle: the one that was given, otherwise the queue's, if it has one.

    numpy is imported only when the dtype is used.
    """

    __slots__ = (
        "__weakref__",
        "_compares",
        "_dtype",
        "_form",
        "_kind",
        "_new",
        "given",
        "name",
        "schema",
    )

    given: Any
    name: str
    schema: str | None

    def __init__(self, name: str, given: Any, schema: str | None) -> None:
        self.name = name
        self.given = given
        self.schema = schema
        self._compares: bool | None = None
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

                warn_of_hidden(base, self.name)
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
                raise SchemaMismatchError(f"{self.name}: {e}") from None
        else:
            rows = tuple(data.shape)
        base, shape = self.plain
        if dtype is base or is_same(dtype, base):
            self._check_mask(data)
            # A flat array is accepted as it is.
            if shape and len(rows) > 1 and rows[-len(shape) :] != shape:
                raise SchemaMismatchError(
                    f"{self.name}: the messages have the dtype {self.dtype}, but this array has "
                    f"the shape {rows}"
                )
            return None if shape or is_masked(data) else dtype
        if dtype.itemsize == 1 and dtype.char in "BSc" and not is_scalar(data):
            return None
        raise SchemaMismatchError(
            f"{self.name}: the messages have the dtype {base}, but this object has {dtype}: "
            "array.astype(q.dtype) converts the values, array.tobytes() gives the bytes unchanged"
        )

    def _check_mask(self, data: Any) -> None:
        """Raises UsageError if values of an array are masked."""
        if is_masked(data) and data.mask.tobytes().strip(b"\0"):
            raise UsageError(
                f"{self.name}: this array has masked values: array.filled(...) replaces them"
            )

    def _check_kept(self, array: Any, given: Any) -> None:
        """Raises UsageError if an array of messages lost values of the objects it was made of."""
        try:
            check_kept(array, given, self.plain[0], "")
        except UsageError as e:
            raise UsageError(f"{self.name}: {e}") from None

    def _arranged(self, item: Any) -> Any:
        """One message in the form that numpy accepts. Raises as arranged()."""
        try:
            return arranged(item, self.dtype, "")
        except (UsageError, SchemaMismatchError) as e:
            raise type(e)(f"{self.name}: {e}") from None

    def message(self, item: Any) -> Any:
        """One message, from anything that numpy accepts as one element of the dtype."""
        np = library("numpy", "dtype")
        base, shape = self.plain
        if hasattr(item, "__array__"):
            scalar = is_scalar(item)
            if base.names is not None or not scalar:
                self._check_mask(item)
                array = np.asarray(item)
                self.check(item if scalar else array)
                return array
        if (item is None and base.kind not in "mM") or (
            isinstance(item, str) and base.kind not in "SUmM"
        ):
            raise TypeError(f"{self.name}: {shown(item)} is not a message of the dtype {base}")
        if not (type(item) is tuple and PLAIN.issuperset(map(type, item))):
            item = self._arranged(item)
        # numpy would assign a single number to every field.
        fills = base.names is not None and not isinstance(item, (tuple, list))
        array = self._array(item)
        if fills or array.shape != shape:
            raise TypeError(
                f"{self.name}: a message is one element of the dtype {self.dtype}: a tuple, a "
                "dict or an array of it"
            )
        if self.compares:
            if base.names is None:
                if type(item) in PLAIN and item != NO_TIME and array.item() == item:
                    return array
            elif PLAIN.issuperset(map(type, item)) and array.item() == item and NO_TIME not in item:
                return array
        self._check_kept(array[()], item)
        return array

    @property
    def compares(self) -> bool:
        """Whether `==` compares a message exactly with plain values.

        It does not if a field is an array, or a long double, which rounds an int before.
        """
        if self._compares is None:
            base, _ = self.plain
            fields = [base] if base.names is None else [base[name] for name in base.names]
            self._compares = not any(field.shape or field.char in "gG" for field in fields)
        return self._compares

    def messages(self, data: Any) -> Any:
        """Many messages: an object with a buffer, or an iterable of messages."""
        if type(data) is list:
            if data and all(type(item) is tuple for item in data):
                _, shape = self.plain
                if not PLAIN.issuperset(map(type, chain.from_iterable(data))):
                    data = [self._arranged(item) for item in data]
                array = self._array(data)
                if array.shape == (len(data), *shape):
                    if not are_kept(array, data):
                        for kept, row in zip(array, data, strict=True):
                            self._check_kept(kept, row)
                    return array
            return data
        if isinstance(data, dict):
            raise TypeError(f"{self.name}: a dict is one message: use push()")
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
        except (TypeError, ValueError, OverflowError, RuntimeWarning) as e:
            rows = items if type(items) is list and base.names is not None else [items]
            for row in rows:
                why = misfit(row, base, "")
                if why is not None:
                    raise UsageError(f"{self.name}: {why}") from e
            # numpy raises TypeError for a time that its unit cannot hold, too.
            if isinstance(e, TypeError) and base.kind not in "mM":
                raise
            raise UsageError(
                f"{self.name}: not a message of the dtype {base}: {escaped(str(e))}"
            ) from e

    def _of_table(self, table: dict[str, Any], count: int) -> Any:
        """The rows of a table that has a column for each field."""
        import numpy as np

        base, _ = self.plain
        names = base.names
        if names is None or set(names) != set(table):
            raise SchemaMismatchError(
                f"{self.name}: the messages have the fields {list(names or ())}, but the table "
                f"has the columns {list(table)}"
            )
        rows = np.zeros(count, base)
        for name in names:
            field = rows[name]
            try:
                values = decoded(table[name])
                objects = objects_of(values)
                if objects is not None:
                    self._of_objects(objects, field, name)
                    continue
                column = np.asarray(in_utc(values) if field.dtype.kind == "M" else values)
                # numpy makes floats of integers if some are missing.
                numbers = whole_numbers(values)
            except (UsageError, SchemaMismatchError):
                raise
            except Exception as e:
                # The library has types that numpy does not have.
                raise UsageError(f"{self.name}: the column {name!r}: {escaped(str(e))}") from e
            if numbers is None or fits(numbers, np.zeros(len(numbers), field.dtype)):
                if column.dtype.hasobject:
                    self._of_objects(column.tolist(), field, name)
                    continue
                if fits(column, field):
                    continue
            kind = (column if numbers is None else numbers).dtype
            raise UsageError(
                f"{self.name}: the column {name!r} has values of {kind} that do not fit the "
                f"field, {base[name]}"
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
                value = arranged(value, np.dtype((field.dtype, shape)), name)
                with np.errstate(all="ignore"):
                    array = np.array(value, field.dtype)
                if array.shape != shape:
                    raise UsageError(f"the value {shown(value)} does not have the shape {shape}")
                if not (type(value) in PLAIN and value != NO_TIME and array.item() == value):
                    check_kept(array[()], value, field.dtype, name)
            except SchemaMismatchError as e:
                raise SchemaMismatchError(f"{self.name}: {e}") from None
            except (TypeError, ValueError, OverflowError) as e:
                raise UsageError(
                    f"{self.name}: the column {name!r} has a value that does not fit the field, "
                    f"{self.plain[0][name]}: {escaped(str(e))}"
                ) from None
            field[i] = array


def is_masked(data: Any) -> bool:
    """Whether an array may have masked values."""
    ma = sys.modules.get("numpy.ma")
    return ma is not None and isinstance(data, ma.MaskedArray)


def is_scalar(data: Any) -> bool:
    """Whether an object is a scalar of numpy: a value, and neither bytes nor a record."""
    np = library("numpy", "dtype")
    return isinstance(data, np.generic) and not isinstance(data, (bytes, np.void))


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
        elif kept.dtype.char in "gG":
            return False
        elif kept.dtype.kind in "mM":
            if types != {int} or NO_TIME in given or kept.astype("i8").tolist() != list(given):
                return False
        elif kept.tolist() != list(given):
            return False
    return array.dtype.names is not None


def check_kept(kept: Any, given: Any, dtype: Any, where: str) -> None:
    """Raises UsageError if numpy has changed a value.

    Floats may have been rounded.
    """
    dtype, names = dtype.base, dtype.base.names
    if hasattr(given, "__array__") and given.dtype == dtype and kept.shape == given.shape:
        # numpy has copied the bytes.
        return
    if names is None and not kept.shape:
        if not is_kept(kept, given):
            raise UsageError(does_not_fit(given, dtype, where))
        return
    if not hasattr(given, "__len__") or isinstance(given, (str, bytes)):
        # numpy has assigned it to each element of the field.
        given = [given] * len(names or kept)
    elif getattr(given, "ndim", 1) == 0 and hasattr(given, "tolist"):
        # An array of one record, or a record of numpy.
        given = given.tolist()
    keys = range(len(kept)) if names is None or kept.shape else names
    if len(keys) != len(given):
        raise UsageError(f"{shown(given)} is not a value of {where or 'a message'}")
    for i, key in enumerate(keys):
        if isinstance(key, str):
            check_kept(kept[key], given[i], dtype[key], f"{where}.{key}" if where else key)
        else:
            check_kept(kept[key], given[i], dtype, where)


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
        if not isinstance(given, (bytes, bytearray, memoryview, np.void)):
            return False
        data: Any = given
        return bytes(data).ljust(kept.dtype.itemsize, b"\0") == bytes(kept)
    if kind in "Mm":
        return is_same_time(kept, given)
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
    if given is None or isinstance(given, (bytes, str, np.datetime64, np.timedelta64)):
        return False
    if isinstance(given, (complex, np.complexfloating)) and kind != "c":
        return False
    if isinstance(given, np.integer):
        given = int(given)
    if isinstance(given, int) and kept.dtype.char in "gG":
        # numpy would round the int before it compares.
        return bool(np.isfinite(kept) and int(kept.real) == given and not kept.imag)
    if isinstance(given, np.floating) and kind in "iub":
        return bool(np.isfinite(given) and int(given) == given and int(kept) == int(given))
    if kept.item() == given:
        return True
    if kind not in "fc" or isinstance(given, (int, np.bool_)):
        return False
    # A float may be rounded. If it became infinite, then the given value must be infinite or NaN.
    parts = ((kept.real, given.real), (kept.imag, given.imag)) if kind == "c" else ((kept, given),)
    return all(np.isfinite(k) or g in (math.inf, -math.inf) or g != g for k, g in parts)


def is_same_time(kept: Any, given: Any) -> bool:
    """Whether a datetime64 or timedelta64 is the time that it was made of. Units may differ."""
    import numpy as np

    if given is None:
        return True
    # timedelta64 is a subclass of np.integer.
    if isinstance(given, (int, np.integer)) and not isinstance(given, np.timedelta64):
        return not np.isnat(kept) and int(kept.astype("i8")) == given
    as_numpy = getattr(given, "to_numpy", None)
    moment = np.datetime64 if kept.dtype.kind == "M" else np.timedelta64
    try:
        if isinstance(given, bytes):
            given = given.decode("ascii")
        time = as_numpy() if as_numpy else moment(given)
        if isinstance(given, str) and not is_text_of(kept, given):
            return False
        if np.isnat(time) or np.isnat(kept):
            return bool(np.isnat(time) and np.isnat(kept))
        if np.datetime_data(time.dtype)[0] == "generic":
            return int(time.astype("i8")) == int(kept.astype("i8"))
        # numpy wraps a time that is out of range. Converted back, it differs.
        back = kept.astype(time.dtype)
        return bool(back == time and back.astype("i8") == time.astype("i8"))
    except (TypeError, ValueError, OverflowError):
        return False


def is_text_of(kept: Any, text: str) -> bool:
    """Whether a datetime64 or timedelta64 that was made of a text is that time, to the second.

    numpy wraps times, and limits numbers, that are too large for the unit that a text implies.
    """
    import numpy as np

    if text.strip().lower() in ("", "nat"):
        return bool(np.isnat(kept))
    if kept.dtype.kind == "m":
        return int(text) == int(kept.astype("i8"))
    # A longer year does not fit an integer.
    if re.match(r"\s*[+-]?\d{19}", text):
        return False
    # A year is right for any text, a day for shorter years, and a second for still shorter ones.
    # numpy refuses to convert the smallest units to the largest in one step.
    is_fine = np.datetime_data(kept.dtype)[0] in FINE
    time = kept.astype("M8[us]").astype("M8[s]") if is_fine else kept
    moment: Any = np.datetime64
    return all(moment(text, unit) == time.astype(f"M8[{unit}]") for unit in "YDs")


def exact(duration: timedelta, dtype: Any, where: str) -> Any:
    """A duration in a form that numpy converts to a dtype of durations without a change.

    numpy counts microseconds in 64 bits, and wraps. Raises UsageError if the dtype cannot hold it.
    """
    microseconds = (duration.days * 86400 + duration.seconds) * 10**6 + duration.microseconds
    if abs(microseconds) < 2**63:
        return duration
    np = library("numpy", "dtype")
    unit, multiple = np.datetime_data(dtype)
    if unit in MICROSECONDS:
        count, rest = divmod(microseconds, MICROSECONDS[unit] * multiple)
        if not rest and abs(count) < 2**63:
            return np.timedelta64(count, (unit, multiple))
    raise UsageError(does_not_fit(duration, dtype, where))


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
    with np.errstate(all="ignore"):
        field[...] = column.astype(field.dtype)
        back = field.astype(column.dtype)
    if kinds[0] in "iu" and kinds[1] in "fc":
        # Some processors convert a float that is out of range to the largest integer.
        top = 2.0 ** (8 * column.dtype.itemsize - (kinds[0] == "i"))
        if not (field.real < top).all():
            return False
    if kinds in ("ff", "fc", "cc"):
        # Floats may be rounded to the precision of the field.
        return bool((np.isfinite(field) == np.isfinite(column)).all())
    nothing = {"equal_nan": True} if kinds[1] in "Mm" else {}
    return np.array_equal(field, column, **nothing) and np.array_equal(back, column, **nothing)


def shown(value: Any) -> str:
    """The text of a value for an error: short, and with control characters escaped."""
    try:
        text = escaped(repr(value))
    except Exception:
        # The integer has too many digits, for example.
        return f"of the type {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def does_not_fit(value: Any, dtype: Any, where: str) -> str:
    """The text of the error for a value that does not fit its field."""
    of = f"of the field {where!r} " if where else ""
    return f"the value {shown(value)} {of}does not fit {dtype}"


def arranged(item: Any, dtype: Any, where: str) -> Any:
    """Converts a value of a dtype to the form that numpy accepts. Dicts become tuples at any depth.

    Raises UsageError for values that numpy would change: masked values, complex values for a real
    field, and named tuples with other fields. Raises SchemaMismatchError for records of another
    dtype, because numpy assigns their values by position.
    """
    base, shape = dtype.subdtype or (dtype, ())
    names = base.names
    if isinstance(item, complex) and base.kind != "c":
        raise UsageError(does_not_fit(item, base, where))
    if type(item) in PLAIN or item is None:
        return item
    # The durations of pandas convert themselves.
    if base.kind == "m" and isinstance(item, timedelta) and not hasattr(item, "to_numpy"):
        return exact(item, base, where)
    of = f"the field {where!r}" if where else "the message"
    if isinstance(item, dict) and names is not None and not shape:
        if item.keys() != set(names):
            raise UsageError(f"{of} has the fields {list(names)}, not {list(item)}")
        item = tuple(item[name] for name in names)
    if isinstance(item, tuple) and names is not None:
        fields = getattr(item, "_fields", names)
        if tuple(fields) != names:
            raise UsageError(
                f"{of} has the fields {list(names)}, but this {type(item).__name__} has "
                f"{list(fields)}: tuple(...) assigns its values by position"
            )
        if len(item) != len(names):
            raise UsageError(f"{of} has {len(names)} fields, but this tuple has {len(item)}")
        if PLAIN.issuperset(map(type, item)):
            return tuple(item)
        inner = f"{where}." if where else ""
        return tuple(
            arranged(value, base[name], inner + name)
            for name, value in zip(names, item, strict=True)
        )
    if is_masked(item) and item.mask.tobytes().strip(b"\0"):
        raise UsageError(f"a value of {of} is masked")
    given = getattr(item, "dtype", None)
    if getattr(given, "kind", "O") != "O":
        return checked(item, given, base, of)
    if given is not None and hasattr(item, "tolist"):
        # An array of objects.
        return arranged(item.tolist(), dtype, where)
    if isinstance(item, (list, tuple)):
        rest = base if len(shape) < 2 else with_shape(base, shape[1:])
        if not PLAIN.issuperset(map(type, item)):
            values = [arranged(value, rest, where) for value in item]
            return values if isinstance(item, list) else tuple(values)
        return item
    if names is not None and has_buffer(item) and not isinstance(item, (bytes, bytearray)):
        # A structure of ctypes. numpy would assign it to every field.
        np = library("numpy", "dtype")
        array = np.asarray(item)
        checked(array, dtype_of_buffer(item), base, of)
        return array.view(base)[()] if not array.shape else array.view(base)
    return item


def with_shape(base: Any, shape: tuple[int, ...]) -> Any:
    """The dtype of an array of this shape."""
    return library("numpy", "dtype").dtype((base, shape))


def checked(item: Any, given: Any, base: Any, of: str) -> Any:
    """Returns an array or a scalar of numpy if it may be assigned to a field of the dtype."""
    if given.names is not None or base.names is not None:
        if not is_same(given, base):
            raise SchemaMismatchError(f"{of} has the dtype {base}, but this value has {given}")
    elif given.kind == "c" and base.kind != "c":
        raise UsageError(f"{of} has the dtype {base}, but this value has {given}")
    return item


def misfit(value: Any, dtype: Any, where: str) -> str | None:
    """Why numpy rejects a value, with the name of the innermost field. None if it accepts it."""
    import numpy as np

    base, shape = dtype.subdtype or (dtype, ())
    names = base.names
    if names is not None and not shape and isinstance(value, tuple):
        if len(value) != len(names):
            of = f"the field {where!r}" if where else "the message"
            return f"{of} has {len(names)} fields, but this tuple has {len(value)}"
        inner = f"{where}." if where else ""
        for name, part in zip(names, value, strict=True):
            why = misfit(part, base[name], inner + name)
            if why is not None:
                return why
        return None
    if names is not None and shape and isinstance(value, list):
        rest = base if len(shape) < 2 else with_shape(base, shape[1:])
        for part in value:
            why = misfit(part, rest, where)
            if why is not None:
                return why
    if not where:
        return None
    try:
        np.zeros(1, [("", dtype)])[0] = (value,)
    except (TypeError, ValueError, OverflowError, RuntimeWarning) as e:
        what = dtype if names is None else "its records"
        return f"{does_not_fit(value, what, where)}: {escaped(str(e))}"
    return None


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


def pointers_of(data: Any) -> str | None:
    """The name of a type of pointer or Python object inside an object of ctypes, or None."""
    import ctypes

    pointers: Any = (ctypes._Pointer, ctypes._CFuncPtr)  # type: ignore[attr-defined]
    kinds: list[Any] = [type(data.obj if isinstance(data, memoryview) else data)]
    while kinds:
        kind = kinds.pop()
        if issubclass(kind, (ctypes.Structure, ctypes.Union)):
            for one in kind.__mro__:
                kinds += [field[1] for field in vars(one).get("_fields_", ())]
        elif issubclass(kind, ctypes.Array):
            kinds.append(kind._type_)
        elif issubclass(kind, pointers) or getattr(kind, "_type_", None) in tuple("OPzZX"):
            return str(kind.__name__)
    return None
