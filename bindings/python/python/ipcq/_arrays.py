"""Arrays of records. This module imports numpy. It is imported when there is a dtype to show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    RecArray = np.recarray[Any, Any]
else:
    RecArray = np.recarray


def of_buffer(memory: Any, dtype: Any = None, copy: bool | None = None) -> Any:
    """The array of an object with a buffer, for its __array__. Raises what the buffer raises.

    (If the buffer raises, numpy alone would make an array that has the object as its element.)
    """
    array = np.asarray(memoryview(memory))
    if dtype is not None and dtype != array.dtype:
        if copy is False:
            raise ValueError("copy: the memory has another dtype, so a copy is needed")
        return array.astype(dtype)
    return array.copy() if copy else array


class RecordArray(RecArray):
    """A recarray with faster access to its fields.

    The recarray of numpy looks up every attribute in Python, and makes three arrays to show one
    field. That takes 3.2 us by attribute and 1.7 us by name, more than the rest of a batch. Here it
    takes 1.3 us and 0.4 us.
    """

    if not TYPE_CHECKING:
        # C code finds everything but the fields. __getattr__ is called for what it does not find.
        __getattribute__ = np.ndarray.__getattribute__

    def __getattr__(self, name: str) -> Any:
        fields = self.dtype.fields
        if fields is None or name not in fields:
            raise AttributeError(f"recarray has no attribute {name}")
        return self[name]

    def __getitem__(self, index: Any) -> Any:
        if type(index) is str:
            field = self.view(np.ndarray)[index]
            if field.dtype.names is None:
                return field
        return super().__getitem__(index)

    def __reduce__(self) -> Any:
        # A pickled array can be loaded without this module.
        return self.view(np.recarray).__reduce__()
