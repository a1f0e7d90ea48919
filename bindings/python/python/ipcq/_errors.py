"""The exceptions, each with those of Python that it is a case of."""

import asyncio
import queue


def escaped(text: str) -> str:
    """A text with the characters escaped that a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Error(Exception):
    """The base of all exceptions of ipcq's own."""

    __module__ = "ipcq"


class UsageError(Error, ValueError):
    """An argument out of its range, or a handle used after it was closed."""

    __module__ = "ipcq"


class Empty(Error, queue.Empty, asyncio.QueueEmpty):
    """No message came in the time given."""

    __module__ = "ipcq"


class Full(Error, queue.Full, asyncio.QueueFull):
    """The ring of a lossless queue is full of messages that a consumer has yet to read."""

    __module__ = "ipcq"


class Closed(Error):
    """The producer has closed the queue, and it is drained. A loop over a consumer ends."""

    __module__ = "ipcq"


class Replaced(Closed):
    """The queue was replaced, or was removed and its producer ended without closing it.

    Everything that was in it is consumed. A loop over a consumer raises it. Open the name again for
    the queue that has it now.
    """

    __module__ = "ipcq"


class Overrun(Error):
    """A message was overwritten while it was looked at in place; it counts as lost."""

    __module__ = "ipcq"


class SchemaMismatch(Error, TypeError):
    """The records of the queue are not those that were asked for, or that an array holds."""

    __module__ = "ipcq"


class TooLarge(Error, ValueError):
    """A message has not the size of this queue, or a buffer is too small for it."""

    __module__ = "ipcq"


class ProducerExists(Error, FileExistsError):
    """Another live producer has the queue."""

    __module__ = "ipcq"


class Incompatible(Error, ValueError):
    """The file has another geometry or layout version, is damaged, is no queue, or is a new one."""

    __module__ = "ipcq"
