"""Batches of messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from ._errors import Closed

if TYPE_CHECKING:
    from ._ipcq import Consumer


class Info(NamedTuple):
    """About one message."""

    sequence: int
    """Its sequence."""
    lost: int
    """How many messages were lost between the one consumed before and this one."""
    length: int
    """Its length in bytes."""


class Batch(Sequence[bytes]):
    """Messages that follow each other without a gap: a sequence of bytes."""

    __slots__ = {
        "_count": None,
        "_dtype": None,
        "_messages": None,
        "_size": None,
        "data": "Fixed size only, else None: the bytes of all of them, one after the other.",
        "lost": "How many messages were lost between the one consumed before and the first here.",
        "sequence": "The sequence of the first one; batch[i] has sequence + i.",
    }

    def __init__(
        self,
        messages: list[bytes] | None,
        data: memoryview | None,
        size: int,
        info: Info,
        dtype: Any = None,
    ) -> None:
        """Made by Consumer.batches()."""
        self._messages = messages
        self._size = size
        self._dtype = dtype
        self.data: memoryview | None = data
        self.sequence: int = info.sequence
        self.lost: int = info.lost
        if messages is not None:
            self._count = len(messages)
        else:
            self._count = len(data) // size if data is not None else 0

    @property
    def records(self) -> Any:
        """The messages as a numpy array of the consumer's dtype, without a copy.

        Raises TypeError if the consumer was opened without a dtype.
        """
        if self._dtype is None or self.data is None:
            raise TypeError("records: the consumer was opened without a dtype")
        import numpy

        return numpy.frombuffer(self.data, self._dtype, self._count)

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

    def __repr__(self) -> str:
        return f"<ipcq.Batch of {self._count} from sequence {self.sequence}, {self.lost} lost>"


def batches(q: Consumer, max: int, linger: float) -> Iterator[Batch]:
    """What Consumer.batches() returns. The arguments are checked at the call."""
    if max < 1:
        raise ValueError("max: at least 1 message")
    if not linger >= 0:
        raise ValueError("linger: a number of seconds from 0 up")
    return _batches(q, max, linger)


def _batches(q: Consumer, max: int, linger: float) -> Iterator[Batch]:
    size = q.message_size
    dtype = q.dtype
    # As many messages came together as last time, perhaps: no need to make room for all of max.
    room = min(max, 64)
    try:
        while True:
            q.wait()
            if linger:
                q.wait(linger, at_least=max)
            if not size:
                messages = q.pop_many(max)
                if messages:
                    yield Batch(messages, None, 0, q.last)
                continue
            buffer = bytearray(room * size)
            count = q.pop_into(buffer)
            if count:
                yield Batch(None, memoryview(buffer)[: count * size], size, q.last, dtype)
                room = min(max, room * 4) if count == room else room
    except Closed:
        return
