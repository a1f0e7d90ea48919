"""Waiting in an asyncio loop: on the consumer's descriptor, without a thread or a timer a call."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import Closed, Full, Replaced

if TYPE_CHECKING:
    from ._ipcq import Consumer, Message, Producer

T = TypeVar("T")

# So many messages are taken in a row before the other tasks of the loop get their turn.
ROW = 64

# A producer that waits for room looks again after so many seconds, then twice as many …
NAP, LONGEST_NAP = 0.0001, 0.004


# By producer and loop, whose turn it is to wait for room.
turns: weakref.WeakKeyDictionary[Producer, dict[asyncio.AbstractEventLoop, asyncio.Lock]] = (
    weakref.WeakKeyDictionary()
)


def running_loop() -> asyncio.AbstractEventLoop:
    """The loop, or an error that says what to do without one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "this call waits in a running asyncio loop, and there is none. Under another library "
            "(trio, curio) wait until the descriptor q.fileno() is readable, for example by "
            "`await trio.lowlevel.wait_readable(q.fileno())`, and then call q.try_pop() until it "
            "returns None; in place of aput() call push() until it does not raise Full"
        ) from None


def file_of(fd: int) -> tuple[int, int] | None:
    """What file a descriptor is of; None if it is of none."""
    try:
        found = os.fstat(fd)
    except OSError:
        return None
    return found.st_dev, found.st_ino


class Line:
    """The tasks of one loop that wait for one consumer, first come, first served.

    While somebody waits, the loop watches the descriptor. It stays readable until a pop finds
    nothing, so one turn after the other is given; who has the turn pops by itself. So a task that
    is cancelled, with its turn or without, takes no message with it.
    """

    __slots__ = ("__weakref__", "_fd", "_file", "_loop", "_row", "_waiting")

    def __init__(self, fd: int, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = fd
        self._file = file_of(fd)
        self._loop = loop
        self._waiting: OrderedDict[object, asyncio.Future[None]] = OrderedDict()
        self._row = 0

    def __del__(self) -> None:
        # A program may have closed all descriptors, and have another file under the number since.
        if self._file is not None and file_of(self._fd) == self._file:
            os.close(self._fd)

    async def take(self, attempt: Callable[[], T | None]) -> T:
        """What attempt() gives once that is not None."""
        if self._row == ROW:
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
                # In the place that it had, if nothing was there after all.
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
        """The consumer was closed: each finds out by itself."""
        for turn in self._waiting.values():
            if not turn.done():
                turn.set_result(None)

    def end(self) -> None:
        """As _end, from any thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._end)

    @property
    def is_over(self) -> bool:
        return self._loop.is_closed()


def line(q: Consumer) -> Line:
    """Where the tasks of the running loop wait for this consumer."""
    loop = running_loop()
    lines = q._lines
    found = lines.get(loop)
    if found is None:
        for other, its in list(lines.items()):
            if its.is_over:
                del lines[other]
        # A descriptor of its own: the loop is to forget it before it is closed, whoever closes the
        # consumer, and in whatever thread.
        found = lines[loop] = Line(os.dup(q.fileno()), loop)
    return found


def end(lines: dict[asyncio.AbstractEventLoop, Line]) -> None:
    """The consumer was closed."""
    for its in list(lines.values()):
        its.end()
    lines.clear()


async def get(q: Consumer) -> bytes:
    """What Consumer.aget() returns."""
    return await line(q).take(q.try_pop)


async def get_message(q: Consumer) -> Message:
    """What Consumer.aget_message() returns."""
    return await line(q).take(q.try_pop_message)


async def put(out: Producer, item: Any) -> None:
    """What Producer.aput() returns."""
    loop = running_loop()
    locks = turns.setdefault(out, {})
    turn = locks.get(loop)
    if turn is None:
        for other in [other for other in locks if other.is_closed()]:
            del locks[other]
        turn = locks[loop] = asyncio.Lock()
    # First come, first served.
    async with turn:
        nap = NAP
        while True:
            try:
                return out.push(item)
            except Full:
                await asyncio.sleep(nap)
                nap = min(nap * 2, LONGEST_NAP)


class Messages(AsyncIterator[bytes]):
    """What async for goes through on a consumer."""

    __slots__ = ("__weakref__", "_attempt", "_q")

    def __init__(self, q: Consumer) -> None:
        self._q = q
        self._attempt = q.try_pop

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await line(self._q).take(self._attempt)
        except Replaced:
            raise
        except Closed:
            raise StopAsyncIteration from None
