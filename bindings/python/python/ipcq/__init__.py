"""A queue between processes on one host, through shared memory: one producer, many consumers.

>>> with ipcq.Producer("greetings") as out:
...     out.push(b"hello")
>>> with ipcq.Consumer("greetings", open_timeout=5) as q:
...     for message in q:
...         print(message)
b'hello'

Every consumer sees every message and has its own position. One that falls a whole ring behind
loses the oldest messages, and is told how many.
"""

from ._batch import Batch, Batches, Info, RecordIterator
from ._errors import (
    Closed,
    Empty,
    Error,
    Full,
    Incompatible,
    Overrun,
    ProducerExists,
    Replaced,
    SchemaMismatch,
    TooLarge,
    UsageError,
)
from ._ipcq import (
    Claim,
    Consumer,
    ConsumerInfo,
    Message,
    Producer,
    SharedMemory,
    Stats,
    View,
    Window,
    __version__,
    queues,
    unlink,
    wait_any,
)

__all__ = [
    "Batch",
    "Batches",
    "Claim",
    "Closed",
    "Consumer",
    "ConsumerInfo",
    "Empty",
    "Error",
    "Full",
    "Incompatible",
    "Info",
    "Message",
    "Overrun",
    "Producer",
    "ProducerExists",
    "RecordIterator",
    "Replaced",
    "SchemaMismatch",
    "SharedMemory",
    "Stats",
    "TooLarge",
    "UsageError",
    "View",
    "Window",
    "__version__",
    "queues",
    "unlink",
    "wait_any",
]
