"""Batches of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from ._errors import Closed, Replaced, UsageError
from ._tables import library

if TYPE_CHECKING:
    from ._ipcq import Consumer
    from ._records import Layout


class Info(NamedTuple):
    """About one message: its sequence, what was lost before it, its length in bytes."""

    sequence: int
    """Its number, from 0, in the order of pushing."""
    lost: int
    """How many messages were lost between the one consumed before and this one."""
    length: int
    """Its bytes."""


class Batch(Collection[bytes]):
    """Messages that follow each other without a gap.

    It is used like a sequence of bytes. It is no collections.abc.Sequence, for which polars and
    pandas would take it apart byte by byte: they take it as the table that it is.
    """

    __slots__ = {
        "__weakref__": "",
        "_count": "",
        "_layout": "",
        "_messages": "",
        "_size": "",
        "data": "Fixed size only, else None: the bytes of all of them, one after the other.",
        "lost": "How many messages were lost between the one consumed before and the first here.",
        "sequence": "The sequence of the first one; batch[i] has sequence + i.",
    }

    data: memoryview | None
    lost: int
    sequence: int

    def __init__(
        self,
        messages: list[bytes] | None,
        data: memoryview | None,
        size: int,
        sequence: int,
        lost: int,
        layout: Layout | None = None,
    ) -> None:
        """Made by Consumer.batches()."""
        self._messages = messages
        self._size = size
        self._layout = layout
        self.data = data
        self.sequence = sequence
        self.lost = lost
        if messages is not None:
            self._count = len(messages)
        else:
            self._count = len(data) // size if data is not None else 0

    @property
    def records(self) -> Any:
        """The messages as a numpy array of the consumer's dtype, without a copy.

        Its fields are attributes, too: records.px, or records["px"].

        Raises TypeError if there is no dtype.
        """
        if self._layout is None or self.data is None:
            raise TypeError("records: the messages of this queue vary in length")
        return self._layout.of_bytes(self.data, self._count)

    @property
    def has_records(self) -> bool:
        """Whether there is a dtype, so that there are records."""
        return self._layout is not None and self.data is not None and self._layout.has_records

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """The messages as a numpy array, for numpy.asarray(batch).

        An array of the dtype, if there is one. Otherwise one of raw bytes (V) of the length of
        the messages, or, where their lengths vary, of bytes objects.
        """
        import numpy as np

        if self.data is None:
            if copy is False:
                raise ValueError("copy: an array of messages of varying length is always a copy")
            array = np.empty(self._count, object)
            array[:] = list(self)
            copy = False
        elif self._layout is not None and self._layout.has_records:
            array = self._layout.array(self.data, self._count)
        else:
            array = np.frombuffer(self.data, f"V{self._size}")
        if dtype is not None and dtype != array.dtype:
            if copy is False:
                raise ValueError("copy: the messages are of another dtype")
            return array.astype(dtype)
        return array.copy() if copy else array

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The messages by the C stream interface of Arrow; a copy.

        pyarrow.table(batch), polars.DataFrame(batch) and duckdb use it. The columns are those of
        to_arrow().
        """
        from ._ipcq import _arrow_stream

        schema = None if self._layout is None else self._layout.schema
        return _arrow_stream(iter([self]), schema, self._size)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a column for each field of the records; a copy.

        Its index is the sequence of each message. A field that is an array or a record itself
        becomes a column of lists or tuples. Without fields there is one column, message.

        Raises ImportError if pandas is not installed.
        """
        from ._tables import to_pandas

        return to_pandas(self)

    def to_arrow(self) -> Any:
        """A pyarrow.Table with a column for each field of the records; a copy.

        A field that is an array or a record itself becomes a fixed-size list or a struct; fixed
        strings become binary. Without fields there is one column, message.

        Raises ImportError if pyarrow is not installed, TypeError for a type that Arrow does not
        have (complex numbers, long doubles).
        """
        return library("pyarrow", "to_arrow()").table(self)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if self._messages is not None:
            return self._messages[index]
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self._count))]
        if index < 0:
            index += self._count
        if not 0 <= index < self._count or self.data is None:
            raise IndexError("batch index out of range")
        return bytes(self.data[index * self._size : (index + 1) * self._size])

    def __iter__(self) -> Iterator[bytes]:
        if self._messages is not None:
            return iter(self._messages)
        return (self[i] for i in range(self._count))

    def __reversed__(self) -> Iterator[bytes]:
        return (self[i] for i in reversed(range(self._count)))

    def __contains__(self, message: object) -> bool:
        return any(mine == message for mine in self)

    def index(self, message: bytes, start: int = 0, stop: int | None = None) -> int:
        """Where a message is first, as list.index(). Raises ValueError if it is not there."""
        return list(self).index(message, start, self._count if stop is None else stop)

    def count(self, message: bytes) -> int:
        """How often a message is there."""
        return list(self).count(message)

    def __repr__(self) -> str:
        return f"<ipcq.Batch of {self._count} from sequence {self.sequence}, {self.lost} lost>"


class Batches(Iterator[Batch], AsyncIterator[Batch]):
    """The batches of a consumer, for `for` and for `async for`; see Consumer.batches()."""

    __slots__ = ("__weakref__", "_layout", "_linger", "_max", "_q", "_size")

    def __init__(self, q: Consumer, max: int, linger: float) -> None:
        """Made by Consumer.batches()."""
        if max < 1:
            raise UsageError("max: at least 1 message")
        if not linger >= 0:
            raise UsageError("linger: a number of seconds from 0 up")
        self._q = q
        self._size = q.message_size
        self._layout = q._layout
        self._max = max
        self._linger = linger

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Batch:
        q = self._q
        try:
            while True:
                if self._linger:
                    q.wait()
                    q._gather(self._linger, self._max)
                elif not self._size:
                    q.wait()
                batch = self._take(not self._linger)
                if batch is not None:
                    return batch
        except Replaced:
            raise
        except Closed:
            raise StopIteration from None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The batches by the C stream interface of Arrow, until the producer closes.

        pyarrow.RecordBatchReader.from_stream(batches) takes them as they come; polars and duckdb
        wait for the end.
        """
        from ._ipcq import _arrow_stream

        return _arrow_stream(self, self._layout.schema, self._size)

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Batch:
        from ._aio import line

        try:
            while True:
                if not self._linger:
                    return await line(self._q).take(self._take)
                await line(self._q).take(self._there)
                await self._gather()
                batch = self._take()
                if batch is not None:
                    return batch
        except Replaced:
            raise
        except Closed:
            raise StopAsyncIteration from None

    def _there(self) -> bool | None:
        return self._q.wait(0) or None

    async def _gather(self) -> None:
        """Lets messages come together; looks once a millisecond, as wait() does."""
        import asyncio

        loop = asyncio.get_running_loop()
        end = loop.time() + self._linger
        while not self._q._gather(0, self._max):
            left = end - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.001))

    def _take(self, wait: bool = False) -> Batch | None:
        """A batch of what is there, if anything is; of fixed size, waits for it if told to."""
        q, size = self._q, self._size
        if not size:
            messages = q.pop_many(self._max)
            if not messages:
                return None
            first = q.last
            return Batch(messages, None, 0, first.sequence, first.lost)
        taken = q._take(self._max, wait)
        if taken is None:
            return None
        buffer, _, sequence, lost = taken
        return Batch(None, memoryview(buffer), size, sequence, lost, self._layout)


class RecordIterator(Iterator[Any], AsyncIterator[Any]):
    """The records of a consumer, for `for` and for `async for`; see Consumer.records()."""

    __slots__ = ("__weakref__", "_q", "_record")

    def __init__(self, q: Consumer) -> None:
        """Made by Consumer.records()."""
        layout = q._layout
        # Raises if there is no dtype.
        _ = layout.form
        self._q = q
        self._record = layout.record

    def __iter__(self) -> RecordIterator:
        return self

    def __next__(self) -> Any:
        try:
            return self._record(self._q.pop())
        except Replaced:
            raise
        except Closed:
            raise StopIteration from None

    def __aiter__(self) -> RecordIterator:
        return self

    async def __anext__(self) -> Any:
        from ._aio import line

        try:
            return self._record(await line(self._q).take(self._q.try_pop))
        except Replaced:
            raise
        except Closed:
            raise StopAsyncIteration from None
