"""The exceptions. Most of them are also subclasses of an exception of Python."""

import asyncio
import queue


def escaped(text: str) -> str:
    """A text with the characters escaped that a terminal would act on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class Error(Exception):
    """The base class of the exceptions of ipcq."""

    __module__ = "ipcq"


class UsageError(Error, ValueError):
    """An argument is out of its range, or a handle was used after it was closed."""

    __module__ = "ipcq"


class Empty(Error, queue.Empty, asyncio.QueueEmpty):
    """No message came in time."""

    __module__ = "ipcq"


class Full(Error, queue.Full, asyncio.QueueFull):
    """The ring of a lossless queue is full of messages that a consumer has not consumed yet."""

    __module__ = "ipcq"


class Closed(Error):
    """The producer has closed the queue, and this consumer has consumed everything in it.

    A loop over a consumer ends.
    """

    __module__ = "ipcq"


class ReplacedError(Closed):
    """The queue was replaced, or was removed and its producer ended without closing it.

    This consumer has consumed everything in it. A loop over a consumer raises this. Open the name
    again for the queue that has it now.
    """

    __module__ = "ipcq"


class OverrunError(Error):
    """Messages of a view were overwritten while they were peeked at. They count as lost."""

    __module__ = "ipcq"


class SchemaMismatchError(Error, TypeError):
    """The queue has other records than those that were requested, or than those of an array."""

    __module__ = "ipcq"


class MessageSizeError(Error, ValueError):
    """A message does not have the size of this queue, or a buffer is too small for a message."""

    __module__ = "ipcq"


class ProducerExistsError(Error, FileExistsError):
    """Another live producer has the queue."""

    __module__ = "ipcq"


class IncompatibleError(Error, ValueError):
    """The file has other properties or another layout version, is damaged, or is not a queue.

    Unpickling a consumer raises this if the queue was recreated.
    """

    __module__ = "ipcq"
