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
