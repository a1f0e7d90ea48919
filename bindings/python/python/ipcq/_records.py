"""Messages as numpy arrays of a dtype."""

from __future__ import annotations

from typing import Any


def of_rows(rows: Any, dtype: Any) -> Any:
    """An array of bytes, a row a message, as an array of records, a message each; no copy."""
    base, shape = dtype.subdtype or (dtype, ())
    return rows.view(base).reshape((len(rows), *shape))
