"""Batches as tables of other libraries. The libraries are imported only when they are used."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._batch import Batch

# The name of the only column of a batch without fields.
ONE_COLUMN = "message"


def library(name: str, what: str) -> Any:
    """A library. If it is not installed, the error says what needs it."""
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise ImportError(f"{what} needs {name}: pip install {name}", name=name) from e


def columns(batch: Batch) -> dict[str, Any]:
    """The fields of the records as arrays, or the messages in one column."""
    if not batch.has_records:
        return {ONE_COLUMN: list(batch)}
    import numpy as np

    records = batch.records
    names = records.dtype.names
    if names is None:
        return {ONE_COLUMN: np.array(records)}
    # Contiguous copies.
    return {name: np.array(records[name], order="C") for name in names}


def to_pandas(batch: Batch) -> Any:
    """The result of Batch.to_pandas()."""
    pandas = library("pandas", "to_pandas()")
    # A field that is a record or an array becomes a column of tuples or lists.
    data = {
        name: column
        if isinstance(column, list) or (column.ndim == 1 and column.dtype.names is None)
        else pandas.Series(column.tolist(), dtype=object)
        for name, column in columns(batch).items()
    }
    frame = pandas.DataFrame(data)
    first = batch.sequence
    frame.index = pandas.RangeIndex(first, first + len(batch), name="sequence")
    return frame


def columns_of(data: Any) -> dict[str, Any] | None:
    """The columns of a table of pandas, polars or pyarrow. None for other objects."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(data, (numpy.ndarray, numpy.generic)):
        # Its attributes may be fields.
        return None
    names = getattr(data, "column_names", None)
    if names is None:
        names = getattr(data, "columns", None)
    if names is None or isinstance(data, (dict, tuple)):
        return None
    return {str(name): data[name] for name in names}


def decoded(column: Any) -> Any:
    """Decodes a column of pyarrow, or of pandas by pyarrow, that has a dictionary.

    numpy reads the missing values of such a column as other values.
    """
    if hasattr(getattr(column, "dtype", None), "pyarrow_dtype"):
        arrow = column.array.__arrow_array__()
        return decoded(arrow) if hasattr(arrow.type, "index_type") else column
    kind: Any = getattr(column, "type", None)
    return column.cast(kind.value_type) if hasattr(kind, "index_type") else column


def whole_numbers(column: Any) -> Any:
    """The integers of a column of pandas, polars or pyarrow that has missing values.

    numpy makes floats of such a column. None if no value is missing, or if it has no integers.
    """
    import numpy as np

    if hasattr(column, "null_count"):
        if is_gapless(column):
            return None
        drop = getattr(column, "drop_nulls", None) or column.drop_null
        numbers = np.asarray(drop())
    elif hasattr(getattr(column, "dtype", None), "na_value") and column.hasnans:
        # An extension type of pandas.
        numbers = np.asarray(column.dropna())
    else:
        return None
    return numbers if numbers.dtype.kind in "iu" else None


def objects_of(column: Any) -> list[Any] | None:
    """The values of a column of lists or records, if numpy would change some. None otherwise.

    numpy makes floats of integers if some are missing, and reads records of polars by position.
    """
    if hasattr(getattr(column, "dtype", None), "pyarrow_dtype"):
        column = column.array.__arrow_array__()
    if not hasattr(column, "null_count"):
        return None
    inner = parts(column)
    if not inner or (not any(is_changed(part) for part in inner) and not is_record(column)):
        return None
    values: list[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
    return values


def is_changed(column: Any) -> bool:
    """Whether numpy changes values of a part of a column."""
    inner = parts(column)
    if inner:
        return is_record(column) or any(is_changed(part) for part in inner)
    return not is_gapless(column) and whole_numbers(column) is not None


def is_gapless(column: Any) -> bool:
    """Whether no value of a column of polars or pyarrow is missing."""
    count = column.null_count
    return not (count() if callable(count) else count)


def is_record(column: Any) -> bool:
    """Whether the values of a column of polars are records."""
    return hasattr(column, "struct") and hasattr(column.dtype, "fields")


def parts(column: Any) -> list[Any]:
    """The columns inside a column of lists or records of polars or pyarrow, if it is one."""
    if hasattr(column, "struct"):
        if is_record(column):
            return [column.struct.field(field.name) for field in column.dtype.fields]
        return [column.explode()] if getattr(column.dtype, "inner", None) is not None else []
    types = importlib.import_module("pyarrow").types
    compute = importlib.import_module("pyarrow.compute")
    if types.is_struct(column.type):
        return [compute.struct_field(column, [i]) for i in range(column.type.num_fields)]
    if (
        types.is_list(column.type)
        or types.is_large_list(column.type)
        or (types.is_fixed_size_list(column.type))
    ):
        return [compute.list_flatten(column)]
    return []
