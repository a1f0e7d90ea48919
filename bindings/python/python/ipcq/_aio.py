"""Waiting in an asyncio loop, on the descriptor of a consumer, without threads or timers."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import Closed, Full, ReplacedError

if TYPE_CHECKING:
    from ._ipcq import Consumer, Message, Producer

T = TypeVar("T")

# How many messages are taken in a row before the other tasks of the loop may run.
MAX_IN_A_ROW = 64

# How many seconds a producer waits for room before it tries again: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.0001, 0.004


# A lock for each producer and loop, for the tasks that wait for room.
put_locks: weakref.WeakKeyDictionary[Producer, dict[asyncio.AbstractEventLoop, asyncio.Lock]] = (
    weakref.WeakKeyDictionary()
)


def running_loop() -> asyncio.AbstractEventLoop:
    """The running loop. If no loop runs, the error says what to do instead."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "this call needs a running asyncio loop. With another library (trio, curio), wait "
            "until the descriptor q.fileno() is readable, for example with "
            "`await trio.lowlevel.wait_readable(q.fileno())`, and then call q.pop() until it "
            "returns None. Instead of aput(), call push() until it does not raise Full"
        ) from None


def file_of(fd: int) -> tuple[int, int] | None:
    """Identifies the file of a descriptor. None if the descriptor is closed."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Waiters:
    """The tasks of one loop that wait for one consumer. They are served in order.

    While a task waits, the loop watches the descriptor. It stays readable until a pop finds
    nothing. So the loop wakes one task after the other, and each of them pops a message itself. A
    task that is cancelled takes no message with it, even if it was woken.
    """

    __slots__ = ("__weakref__", "_fd", "_file", "_loop", "_row", "_waiting")

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = fd
        self._file = file_of(fd)
        self._loop = loop
        self._waiting: OrderedDict[object, asyncio.Future[None]] = OrderedDict()
        self._row = 0

    def __del__(self) -> None:
        # A program may have closed all descriptors, and opened another file under this number.
        if self._file is not None and file_of(self._fd) == self._file:
            os.close(self._fd)

    async def take(self, attempt: Callable[[], T | None]) -> T:
        """Waits until attempt() returns something other than None, and returns that."""
        if self._row == MAX_IN_A_ROW:
            self._row = 0
            await asyncio.sleep(0)
        if not self._waiting:
            found = attempt()
            if found is not None:
                self._row += 1
                return found
            self._loop.add_reader(self._fd, self._ready)
        place = object()
        try:
            while True:
                # If another consumer of the handle took the message, the task keeps its place.
                turn = self._waiting[place] = self._loop.create_future()
                await turn
                self._row = 0
                found = attempt()
                if found is not None:
                    return found
        finally:
            del self._waiting[place]
            if not self._waiting:
                self._loop.remove_reader(self._fd)

    def _ready(self) -> None:
        turn = next(iter(self._waiting.values()))
        if not turn.done():
            turn.set_result(None)

    def _end(self) -> None:
        """Wakes all tasks, because the consumer was closed. Their attempts raise."""
        for turn in self._waiting.values():
            if not turn.done():
                turn.set_result(None)

    def end(self) -> None:
        """The same as _end, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    @property
    def is_over(self) -> bool:
        """Whether the loop was closed."""
        return self._loop.is_closed()


def waiters(q: Consumer) -> Waiters:
    """The tasks of the running loop that wait for this consumer."""
    loop = running_loop()
    by_loop = q._waiters
    found = by_loop.get(loop)
    if found is None:
        for other, theirs in list(by_loop.items()):
            if theirs.is_over:
                del by_loop[other]
        # A descriptor of its own: the loop must stop watching it before it is closed, even if
        # another thread closes the consumer.
        found = by_loop[loop] = Waiters(os.dup(q.fileno()), loop)
    return found


def end(by_loop: dict[asyncio.AbstractEventLoop, Waiters]) -> None:
    """Wakes all tasks of a consumer that was closed."""
    for theirs in list(by_loop.values()):
        theirs.end()
    by_loop.clear()


async def get(q: Consumer) -> bytes:
    """The coroutine of Consumer.aget()."""
    return await waiters(q).take(q.pop)


async def next_message(q: Consumer) -> Message:
    """The coroutine of Messages.__anext__()."""
    try:
        return await waiters(q).take(q._pop_message)
    except ReplacedError:
        raise
    except Closed:
        raise StopAsyncIteration from None


async def put(out: Producer, item: Any) -> None:
    """The coroutine of Producer.aput()."""
    loop = running_loop()
    locks = put_locks.setdefault(out, {})
    lock = locks.get(loop)
    if lock is None:
        for other in [other for other in locks if other.is_closed()]:
            del locks[other]
        lock = locks[loop] = asyncio.Lock()
    # The tasks are served in order.
    async with lock:
        pause = FIRST_PAUSE
        while True:
            try:
                return out.push(item)
            except Full:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)


class Bytes(AsyncIterator[bytes]):
    """The iterator of `async for message in q`."""

    __slots__ = ("__weakref__", "_attempt", "_q")

    def __init__(self, q: Consumer) -> None:
        self._q = q
        self._attempt = q.pop

    def __aiter__(self) -> Bytes:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await waiters(self._q).take(self._attempt)
        except ReplacedError:
            raise
        except Closed:
            raise StopAsyncIteration from None
