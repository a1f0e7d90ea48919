"""A queue between processes on one host, through shared memory: one producer, many consumers.

>>> with ipcq.Producer("greetings") as out:
...     out.push(b"hello")
>>> with ipcq.Consumer("greetings", open_timeout=5) as q:
...     for message in q:
...         print(message)
b'hello'

Every consumer sees every message and has its own position. A consumer that falls a whole ring
behind loses the oldest messages, and learns exactly how many.
"""

from ._batch import Batch, Batches, Meta, Records
from ._errors import (
    Closed,
    Empty,
    Error,
    Full,
    IncompatibleError,
    MessageSizeError,
    OverrunError,
    ProducerExistsError,
    ReplacedError,
    SchemaMismatchError,
    UsageError,
)
from ._ipcq import (
    Claim,
    Consumer,
    ConsumerInfo,
    Message,
    Messages,
    Producer,
    SharedMemory,
    Stats,
    View,
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
    "IncompatibleError",
    "Message",
    "MessageSizeError",
    "Messages",
    "Meta",
    "OverrunError",
    "Producer",
    "ProducerExistsError",
    "Records",
    "ReplacedError",
    "SchemaMismatchError",
    "SharedMemory",
    "Stats",
    "UsageError",
    "View",
    "__version__",
    "queues",
    "unlink",
    "wait_any",
]
