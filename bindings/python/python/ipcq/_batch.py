"""Batches of messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from ._errors import Closed, ReplacedError, UsageError
from ._ipcq import _arrow_stream, _part
from ._tables import library

if TYPE_CHECKING:
    from ._ipcq import Consumer
    from ._records import Layout


class Meta(NamedTuple):
    """The properties of a message without its bytes. See Consumer.last."""

    sequence: int
    """The sequence of the message. The first message of a queue has sequence 0."""
    lost: int
    """The number of messages that were lost directly before this one."""
    length: int
    """The number of bytes of the message."""


class Batch(Collection[bytes]):
    """Messages that follow each other without a gap.

    It is used like a sequence of bytes objects. It is not a collections.abc.Sequence, because
    polars and pandas would then split it into single bytes. They accept it as a table instead.
    """

    __slots__ = {
        "__weakref__": "",
        "_count": "",
        "_layout": "",
        "_messages": "",
        "_size": "",
        "data": "The bytes of all messages, one after the other. None if they vary in length.",
        "lost": "The number of messages that were lost directly before the first message.",
        "sequence": "The sequence of the first message. batch[i] has sequence + i.",
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
        """Consumer.batches() makes it."""
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

        Its fields are attributes, too: records.price, or records["price"].

        Raises TypeError without a dtype.
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

        If there is a dtype, it is an array of the dtype. Otherwise it is an array of raw bytes
        (V), or of bytes objects if the messages vary in length.
        """
        import numpy as np

        if self.data is None:
            if copy is False:
                raise ValueError("copy: messages of varying length can only be copied")
            array = np.empty(self._count, object)
            array[:] = list(self)
        elif self._layout is not None and self._layout.has_records:
            array = self._layout.array(self.data, self._count)
        else:
            array = np.frombuffer(self.data, f"V{self._size}")
        if dtype is not None and dtype != array.dtype:
            if copy is False:
                raise ValueError("copy: the messages have another dtype, so a copy is needed")
            return array.astype(dtype)
        if not copy or self.data is None:
            return array
        # As bytes: numpy would hold the interpreter lock while it copies records.
        copied = np.empty(array.shape, array.dtype)
        copied.reshape(-1).view("u1")[:] = np.frombuffer(self.data, "u1")
        return copied

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A copy of the messages by the C stream interface of Arrow.

        pyarrow.table(batch), polars.DataFrame(batch) and duckdb use it. The columns are those of
        to_arrow().
        """
        schema = None if self._layout is None else self._layout.schema
        return _arrow_stream(iter([self]), schema, self._size)

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with a column for each field of the records. It is a copy.

        Its index is the sequence of each message. A field that is an array or a record becomes a
        column of lists or tuples. Without fields there is one column, message.

        Raises ImportError if pandas is not installed.
        """
        from ._tables import to_pandas

        return to_pandas(self)

    def to_arrow(self) -> Any:
        """A pyarrow.Table with a column for each field of the records. It is a copy.

        A field that is an array or a record becomes a fixed-size list or a struct. Fixed strings
        become binary. Without fields there is one column, message.

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
        return _part(self.data, index * self._size, self._size)

    def __iter__(self) -> Iterator[bytes]:
        if self._messages is not None:
            return iter(self._messages)
        return (self[i] for i in range(self._count))

    def __reversed__(self) -> Iterator[bytes]:
        return (self[i] for i in reversed(range(self._count)))

    def __contains__(self, message: object) -> bool:
        return any(mine == message for mine in self)

    def index(self, message: bytes, start: int = 0, stop: int | None = None) -> int:
        """The index of the first message that is equal, like list.index().

        Raises ValueError if no message is equal.
        """
        return list(self).index(message, start, self._count if stop is None else stop)

    def count(self, message: bytes) -> int:
        """The number of messages that are equal, like list.count()."""
        return list(self).count(message)

    def __repr__(self) -> str:
        return f"<ipcq.Batch of {self._count} from sequence {self.sequence}, {self.lost} lost>"


class Batches(Iterator[Batch], AsyncIterator[Batch]):
    """An iterator over batches, for `for` and `async for`. See Consumer.batches()."""

    __slots__ = ("__weakref__", "_layout", "_linger", "_max", "_q", "_size")

    def __init__(self, q: Consumer, max: int, linger: float) -> None:
        """Consumer.batches() makes it."""
        if max < 1:
            raise UsageError("max: must be at least 1")
        if not linger >= 0:
            raise UsageError("linger: must be a number of seconds, at least 0")
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
        except ReplacedError:
            raise
        except Closed:
            raise StopIteration from None

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The batches by the C stream interface of Arrow, until the producer closes the queue.

        pyarrow.RecordBatchReader.from_stream(batches) gives each batch when it comes. polars and
        duckdb wait for the end.
        """
        return _arrow_stream(self, self._layout.schema, self._size)

    def __aiter__(self) -> Batches:
        return self

    async def __anext__(self) -> Batch:
        from ._aio import waiters

        try:
            while True:
                if not self._linger:
                    return await waiters(self._q).take(self._take)
                await waiters(self._q).take(self._is_ready)
                await self._gather()
                batch = self._take()
                if batch is not None:
                    return batch
        except ReplacedError:
            raise
        except Closed:
            raise StopAsyncIteration from None

    def _is_ready(self) -> bool | None:
        return self._q.wait(0) or None

    async def _gather(self) -> None:
        """Waits for more messages. Polls once a millisecond, as wait() does."""
        import asyncio

        loop = asyncio.get_running_loop()
        end = loop.time() + self._linger
        while not self._q._gather(0, self._max):
            left = end - loop.time()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.001))

    def _take(self, wait: bool = False) -> Batch | None:
        """A batch, or None if the queue is empty. With wait, waits if the size is fixed."""
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


class Records(Iterator[Any], AsyncIterator[Any]):
    """An iterator over records, for `for` and `async for`. See Consumer.records()."""

    __slots__ = ("__weakref__", "_q", "_record")

    def __init__(self, q: Consumer) -> None:
        """Consumer.records() makes it."""
        layout = q._layout
        # Raises without a dtype.
        _ = layout.form
        self._q = q
        self._record = layout.record

    def __iter__(self) -> Records:
        return self

    def __next__(self) -> Any:
        try:
            return self._record(self._q.get())
        except ReplacedError:
            raise
        except Closed:
            raise StopIteration from None

    def __aiter__(self) -> Records:
        return self

    async def __anext__(self) -> Any:
        from ._aio import waiters

        try:
            return self._record(await waiters(self._q).take(self._q.pop))
        except ReplacedError:
            raise
        except Closed:
            raise StopAsyncIteration from None
