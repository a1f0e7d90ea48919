from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Final, Literal, Self, SupportsIndex, final

from typing_extensions import Buffer

from ._aio import Waiters
from ._batch import Batch, Batches, Meta, Records
from ._records import Layout

__all__ = [
    "Claim",
    "Consumer",
    "ConsumerInfo",
    "Message",
    "Messages",
    "Producer",
    "SharedMemory",
    "Stats",
    "View",
    "__version__",
    "queues",
    "unlink",
    "wait_any",
]

__version__: Final[str]

@final
class Producer:
    """Pushes messages into a queue, and creates the queue if it does not exist.

    Args:
        name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
            and a pathlib.Path is always a path.
        capacity: How many messages (if message_size or dtype is given) or bytes (otherwise) the
            ring holds. It is rounded up to a power of two. 0: a ring of about 4 MiB.
        message_size: The bytes of every message, 1 to 1 GiB. 0: messages vary in length, up to an
            eighth of the capacity. None: the size of the queue if it exists, otherwise 0.
        dtype: A numpy dtype. The messages are records of it, and message_size is its itemsize. The
            queue stores its fields, so consumers use them as their dtype, and a consumer with
            another dtype gets an error. With align=True the fields have the offsets of the C
            struct. It must be little-endian and have no objects.
        permissions: The mode bits of the data file. 0: 0o600.
        control_permissions: The mode bits of the control file. 0: those of the data file.
        delivery: "lossy", or None (the default): a consumer that falls a whole ring behind loses
            the oldest messages. "lossless": a message is overwritten only after every attached
            consumer has consumed it. If the ring is full, push() raises Full and put() waits.
        max_consumers: The number of consumer slots in the control file. 0: 32. No more consumers
            can attach to a lossless queue. In a lossy queue, further consumers are not listed.
        min_consumers: For lossless queues: how many consumers must be attached at the moment in
            which the first message of the queue is overwritten. 0: the producer need not wait.
        evict_after: For lossless queues: a consumer that holds back the producer and makes no
            progress for this many seconds (more than 0) is evicted. It may continue, and counts as
            lost what was overwritten. None: no consumer is evicted, unless its process has died.
            A lossy queue refuses it: UsageError.
        exclusive: Fail if the queue exists.
        replace: If the queue exists with other properties, put a new queue in its place.

    If the queue exists, the arguments that are given must fit it, the others are taken from it, and
    the sequence continues. Several threads may share a producer. In a forked child every call
    raises. Closing the producer (by close(), by the end of a with block, or by garbage collection)
    marks the queue as closed.

    A producer can be pickled (for multiprocessing). The result opens the queue again and continues
    its sequence. A queue has one producer, so detach() or close() this one first. Otherwise
    ProducerExistsError is raised there. A producer that is open at the normal end of a child of
    multiprocessing is closed then.

    Raises ProducerExistsError (another live producer has the queue), IncompatibleError (the queue
    exists with other properties or another layout version, or is damaged), SchemaMismatchError (it
    exists with other records), FileExistsError (exclusive), PermissionError, OSError with ENOSPC,
    UsageError.
    """

    def __new__(
        cls,
        name: str | PathLike[str],
        *,
        capacity: int = 0,
        message_size: int | None = None,
        dtype: Any = None,
        permissions: int = 0,
        control_permissions: int = 0,
        delivery: Literal["lossy", "lossless"] | None = None,
        max_consumers: int = 0,
        min_consumers: int = 0,
        evict_after: float | None = None,
        exclusive: object = False,
        replace: object = False,
    ) -> Self: ...
    # No narrower type includes what numpy accepts as a record.
    def push(self, data: Buffer | Any, /) -> None:
        """Pushes one message. Never waits: put() does.

        The message is any object with a contiguous buffer (bytes, bytearray, memoryview, an array).
        If the queue has a dtype, it may also be anything that numpy accepts as one record of the
        dtype (a tuple, a dict, a number).

        If it raises, the message was not pushed:

        - Full: the queue is lossless and full, because a consumer has not caught up.
        - SchemaMismatchError: the object is an array (or has a format) of another dtype.
        - MessageSizeError: its size is not that of the messages of the queue. If they vary in
          length, it is longer than max_message.
        - UsageError: a value does not fit its field or is masked, a message is claimed, or the
          producer is closed.
        - Error: this process is a forked child.
        """
    def push_many(
        self, data: Buffer | Iterable[Buffer | Any] | Any, /, timeout: float | None = 0.0
    ) -> int:
        """Pushes many messages and returns how many were pushed. These are all of them, unless a
        lossless queue stays full for timeout seconds (0: does not wait, None: waits without a
        limit).

        In a queue of fixed size, data may be an array or any other buffer of a whole number of
        messages. In any queue it may be an iterable of what push() accepts. The iterable is
        collected and checked before the first message is pushed. In a queue with a dtype it may
        also be a table of pandas, polars or pyarrow with a column for each field. The values must
        fit the fields. A column with a time zone is converted to UTC.

        Raises the same as push(), but Full only if nothing was pushed.

        Examples:
            >>> words = ipcq.Producer("words")
            >>> words.push_many([b"one", b"and another"])
            2
            >>> numbers = ipcq.Producer("numbers", message_size=8)
            >>> numbers.push_many(bytes(8 * 100))
            100
        """
    def claim(self, size: int | None = None) -> Claim:
        """Room for one message, to be written in place, as a Claim.

        The Claim is a context manager: it pushes the message when the block ends, and gives it up
        if the block raises. size is the most bytes that the message may have. It is not needed in a
        queue of fixed size. Only one message can be claimed at a time, and nothing can be pushed
        before it is committed or given up.

        Raises the same as push().

        Examples:
            >>> out = ipcq.Producer("greetings")
            >>> with out.claim(5) as message:
            ...     message.write(0, b"hello")
            >>> ipcq.Consumer("greetings").get()
            b'hello'
        """
    def put(self, item: Buffer | Any, block: object = True, timeout: float | None = None) -> None:
        """Pushes one message, and waits for room if a lossless queue is full, like
        queue.Queue.put().

        It waits at most timeout seconds, or without a limit if timeout is None. If block is false
        it does not wait. A lossy queue is never full.

        Raises Full if no room came in time, otherwise the same as push().
        """
    def put_nowait(self, item: Buffer | Any) -> None:
        """The same as push(), like queue.Queue.put_nowait()."""
    def aput(self, item: Buffer | Any) -> Coroutine[Any, Any, None]:
        """Pushes one message, in a coroutine, like asyncio.Queue.put().

        If a lossless queue is full, it waits for room in the running loop: it tries again after 0.1
        ms, then after 0.2 ms, up to every 4 ms. The tasks of one loop are served in the order in
        which they came.

        Raises the same as push(), except Full. If it is cancelled, nothing was pushed.
        """
    def consumers(self) -> list[ConsumerInfo]:
        """The attached consumers, as a list of ConsumerInfo, the slowest first.

        In a lossless queue these are all consumers but observers. In a lossy queue they are those
        that may write the control file.
        """
    @property
    def next_sequence(self) -> int:
        """The sequence of the message that is pushed next."""
    @property
    def stats(self) -> Stats:
        """Figures of the queue, as a Stats."""
    @property
    def name(self) -> str:
        """The name as it was given."""
    @property
    def message_size(self) -> int:
        """The bytes of every message. 0 if the messages vary in length."""
    @property
    def max_message(self) -> int:
        """The bytes of the longest message that can be pushed."""
    @property
    def capacity(self) -> int:
        """How many messages (fixed size) or bytes (varying length) the ring holds."""
    @property
    def delivery(self) -> Literal["lossy", "lossless"]:
        """The mode of delivery, "lossy" or "lossless"."""
    @property
    def dtype(self) -> Any:
        """The numpy dtype of the messages: the one that was given, otherwise the queue's. None if
        neither exists.
        """
    @property
    def closed(self) -> bool:
        """Whether this handle was closed. stats.closed says whether the queue is closed."""
    def close(self) -> None:
        """Closes the queue. Consumers drain it and then get Closed.

        A claimed message is given up. The producer may be closed more than once. The end of a with
        block also closes it, even if an exception ends the block. A process that is killed does not
        close it.
        """
    def detach(self) -> None:
        """Closes this handle and leaves the queue open.

        Consumers keep waiting. Another process can open the queue as its producer and continue the
        sequence. A claimed message is given up. Does nothing if this handle is closed.

        To hand a producer over, detach it, and then open its name in the other process, or pickle
        it. (multiprocessing pickles its arguments, unless the start method is fork. Then the child
        has this closed handle.)
        """
    def __enter__(self) -> Self: ...
    def __exit__(self, *_args: object) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Claim:
    """Room for one message that was claimed and not yet pushed. See Producer.claim().

    len(claim) is the most bytes that the message may have.
    """

    def write(self, offset: int, data: Buffer, /) -> None:
        """Copies data (any object with a contiguous buffer) into the message, offset bytes from its
        start.

        Raises UsageError beyond what was claimed or if the claim has ended, SchemaMismatchError if
        data is an array of another dtype than that of the queue (data.tobytes() is always
        accepted).
        """
    def commit(self, length: int | None = None) -> None:
        """Pushes the first length bytes as a message, or all of it if length is None, as a queue of
        fixed size needs. Leaving the block does this, too.

        Raises MessageSizeError, UsageError if the claim has ended.
        """
    def abort(self) -> None:
        """Gives the claim up without pushing a message. Does nothing if the claim has ended."""
    def __len__(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class Consumer:
    """Receives the messages of a queue. Every consumer sees every message and has its own position.

    Args:
        name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
            and a pathlib.Path is always a path.
        start: Where to begin: at the "oldest" retained message, at the "newest" (the last one that
            was pushed), at the "next" (only new messages), or at a sequence. If that sequence is no
            longer retained, the messages from there to the oldest count as lost.
        open_timeout: How many seconds to wait until the queue exists. None: without a limit.
        dtype: A numpy dtype. The messages are records of it. It must equal the dtype of the queue,
            field by field. If the queue has none, only the size is checked. None: use the dtype of
            the queue, if it has one.
        observer: Never hold back the producer of a lossless queue, and lose messages instead. An
            observer needs no permission to write, and is not listed.
        consumer_name: The name of this consumer in consumers() and in `ipcq stat`.

    Several threads may share a consumer: each message goes to one of them. A consumer can be
    pickled (for multiprocessing) and copied. The result is another consumer, which continues at the
    same sequence with its own counts. If the queue was recreated before that, IncompatibleError is
    raised.

    Raises FileNotFoundError, PermissionError, IncompatibleError (not a queue, damaged, or of
    another layout version), SchemaMismatchError (dtype), UsageError (a start beyond what was
    pushed).
    """

    def __new__(
        cls,
        name: str | PathLike[str],
        *,
        start: Literal["oldest", "newest", "next"] | SupportsIndex = "oldest",
        open_timeout: float | None = 0.0,
        dtype: Any = None,
        observer: object = False,
        consumer_name: str | None = None,
    ) -> Self: ...
    def pop(self) -> bytes | None:
        """The next message as bytes, or None if the queue is empty. Never waits.

        Raises Closed if the producer has closed the queue and this consumer has consumed everything
        in it, UsageError if this consumer is closed. Raises ReplacedError (a subclass of Closed) if
        the queue was replaced, or was removed and its producer ended without closing it. A call
        that waits detects a removal, and pop() raises the error after that.
        """
    def get(self, block: object = True, timeout: float | None = None) -> bytes:
        """The next message as bytes, like queue.Queue.get().

        It waits for a message, at most timeout seconds, or without a limit if timeout is None. If
        block is false it does not wait.

        Raises Empty if no message came in time, otherwise the same as pop(). Ctrl-C ends the wait.
        """
    def get_nowait(self) -> bytes:
        """The next message as bytes, like queue.Queue.get_nowait(). Never waits.

        Raises Empty if the queue is empty, otherwise the same as pop().
        """
    def pop_many(self, max: int = 4096) -> list[bytes]:
        """Up to max messages as a list of bytes, which is empty if the queue is empty. Never waits.

        The messages follow each other without a gap: the list ends where messages were lost. The
        attribute last has what was lost before the first of them.

        Raises the same as pop().
        """
    def pop_into(self, buffer: Buffer, /) -> int:
        """Copies messages into a writable buffer (a numpy array, a bytearray, ...) and returns
        their number, which is 0 if the queue is empty. Never waits.

        In a queue of fixed size it fills the buffer with messages that follow each other without a
        gap. If the messages vary in length, it is one message. The attribute last has the sequence
        of the first message, its length, and what was lost before it.

        Raises MessageSizeError if the buffer is too small for one message, SchemaMismatchError if
        it is an array of another dtype than that of the messages, and otherwise the same as pop().
        If it raises, no message was consumed.
        """
    def peek(self, max: int = 1) -> View | None:
        """Up to max of the next messages in place, as a View, or None if the queue is empty. Never
        waits.

        The messages are not copied. The View is a context manager: leaving the block consumes the
        messages, unless the block raises. There may be fewer than max messages: only those that are
        adjacent in the ring, and only one if the messages vary in length.

        The producer of a lossy queue may overwrite the messages at any time. Then leaving the block
        raises OverrunError, and they count as lost. So use results only after the block. In a
        lossless queue the messages do not change before the block ends (unless this consumer is an
        observer or is evicted).

        Raises UsageError for a max below 1, otherwise the same as pop().

        Examples:
            >>> out = ipcq.Producer("images")
            >>> out.push(b"head and a long body")
            >>> q = ipcq.Consumer("images")
            >>> with q.peek() as view:
            ...     head = view.read(0, 4)
            >>> head
            b'head'
        """
    def view(self, max: int = 4096, timeout: float | None = None) -> View:
        """Up to max of the next messages in place, as a View. Waits for a message as get() does.

        The View is the same as that of peek().

        Raises Empty if no message came in time, otherwise the same as peek(). Ctrl-C ends the wait.

        Examples:
            >>> import numpy as np
            >>> tick = np.dtype([("price", "f8"), ("quantity", "u4")], align=True)
            >>> out = ipcq.Producer("ticks", dtype=tick)
            >>> out.push_many(np.ones(100, tick))
            100
            >>> q = ipcq.Consumer("ticks")
            >>> with q.view(1024) as view:
            ...     quantity = int(view.records.quantity.sum())
            >>> quantity
            100
        """
    def seek(self, sequence: int, /) -> None:
        """Moves this consumer to a sequence, from 0 to that of the next message to be pushed.

        If that sequence is no longer retained, the consumer moves to the oldest retained message,
        and the messages between the two count as lost. The counts in stats start again.

        Raises UsageError for a sequence beyond what was pushed. Then the consumer has not moved.
        """
    def messages(self) -> Messages:
        """The messages with their sequence and what was lost before them: an iterator of Message,
        for `for` and `async for`.

        It ends when the producer closes the queue. It waits without a limit, and Ctrl-C ends the
        wait.

        Raises ReplacedError as pop() does.

        Examples:
            >>> out = ipcq.Producer("words")
            >>> out.push(b"hello")
            >>> out.close()
            >>> for message in ipcq.Consumer("words").messages():
            ...     print(message.sequence, message.lost, message.data)
            0 0 b'hello'
        """
    def records(self) -> Records:
        """The messages as records of the dtype: an iterator for `for` and `async for`.

        Each record is what Message.record() returns. The iterator ends when the producer closes the
        queue. A record is consumed when the loop receives it, so a loop that ends early loses none.
        batches() is faster.

        Raises TypeError without a dtype, ReplacedError as pop() does.

        Examples:
            >>> out = ipcq.Producer("trades", dtype=[("price", "f8"), ("quantity", "u4")])
            >>> out.push((9.5, 3))
            >>> out.close()
            >>> for trade in ipcq.Consumer("trades").records():
            ...     print(trade.price, trade.quantity)
            9.5 3
        """
    def batches(self, max: int = 4096, linger: float = 0.0) -> Batches:
        """The messages in batches: an iterator of Batch, each of 1 to max messages, for `for` and
        `async for`.

        A batch has the messages that are there, at least one. With linger, the iterator waits until
        max messages are there, or half of the ring is used, or linger seconds have passed since the
        first message. A batch ends where messages were lost. The iterator ends when the producer
        closes the queue. It waits without a limit, and Ctrl-C ends the wait. For a limit, call
        wait(seconds) before next(iterator).

        Raises ReplacedError as pop() does, UsageError for a max below 1.

        Examples:
            >>> out = ipcq.Producer("words")
            >>> out.push_many([b"one", b"and another"])
            2
            >>> out.close()
            >>> for batch in ipcq.Consumer("words").batches():
            ...     print(batch.sequence, batch.lost, list(batch))
            0 0 [b'one', b'and another']
        """
    def wait(self, timeout: float | None = None, *, at_least: int = 1) -> bool:
        """Waits for a message and returns whether there is one.

        It waits at most timeout seconds, or without a limit if timeout is None. With at_least, it
        waits until there are that many messages. If the producer has closed the queue, so that no
        more can come, it returns True for fewer.

        Like all calls that wait, it polls for some microseconds and then sleeps until the producer
        pushes. For that it needs to write the control file. If it may not, it polls every 0.1 to 4
        ms. While it waits for more messages than the first, it polls once a millisecond, so that
        the producer need not wake it for each message.

        Raises Closed as pop() does, UsageError for an at_least that is more than the ring can hold.
        """
    def fileno(self) -> int:
        """A file descriptor for select, selectors and the add_reader() of asyncio loops.

        It becomes readable when there is a message, or when the queue is at its end, and stays
        readable until a pop finds nothing. So call pop() until it returns None, and then wait. The
        descriptor may be readable although the queue is empty.

        It belongs to this consumer and is closed with it. Only wait for it, do not read from it.
        After a fork it is the parent's: the child calls fileno() for its own.
        """
    def aget(self) -> Coroutine[Any, Any, bytes]:
        """The next message as bytes, in a coroutine, like asyncio.Queue.get().

        It waits in the running loop, on a descriptor. Any number of tasks may wait, and they are
        served in the order in which they came. A task that is cancelled (asyncio.wait_for,
        asyncio.timeout) takes no message with it.

        Raises Closed as pop() does.
        """
    def qsize(self) -> int:
        """The number of messages that were pushed and neither received nor known to be lost, like
        queue.Queue.qsize(). The same as stats.lag.
        """
    def empty(self) -> bool:
        """Whether the queue has no new message at this moment, like queue.Queue.empty()."""
    def consumers(self) -> list[ConsumerInfo]:
        """The attached consumers, as a list of ConsumerInfo, the slowest first.

        In a lossless queue these are all consumers but observers. In a lossy queue they are those
        that may write the control file.
        """
    @property
    def next_sequence(self) -> int:
        """The sequence of the message that this consumer receives next."""
    @property
    def last(self) -> Meta:
        """The Meta of the message consumed last, or of the first message of the last pop_many(),
        pop_into(), batch or view. Before the first message it is (0, 0, 0).

        If several threads share the consumer, this may be the message of another thread. The
        messages of messages() have their own sequence and lost.
        """
    @property
    def stats(self) -> Stats:
        """Figures of the queue and of this consumer, as a Stats."""
    @property
    def name(self) -> str:
        """The name as it was given."""
    @property
    def message_size(self) -> int:
        """The bytes of every message. 0 if the messages vary in length."""
    @property
    def max_message(self) -> int:
        """The bytes of the longest message that the queue can hold."""
    @property
    def capacity(self) -> int:
        """How many messages (fixed size) or bytes (varying length) the ring holds."""
    @property
    def delivery(self) -> Literal["lossy", "lossless"]:
        """The mode of delivery, "lossy" or "lossless"."""
    @property
    def dtype(self) -> Any:
        """The numpy dtype of the messages: the one that was given, otherwise the queue's. None if
        neither exists.
        """
    @property
    def closed(self) -> bool:
        """Whether this handle was closed. stats.closed says whether the producer has closed the
        queue.
        """
    def close(self) -> None:
        """Closes this handle. It may be closed more than once.

        Arrays and memoryviews of a view can still be used: the memory that they show stays mapped
        as long as they exist. The producer may overwrite it, also in a lossless queue.
        """
    def __enter__(self) -> Self: ...
    def __exit__(self, *_args: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def __aiter__(self) -> AsyncIterator[bytes]: ...
    # For the other modules of the package.
    def _take(self, max: int, wait: bool) -> tuple[bytearray, int, int, int] | None: ...
    def _pop_message(self) -> Message | None: ...
    def _gather(self, timeout: float, at_least: int) -> bool: ...
    @property
    def _layout(self) -> Layout: ...
    @property
    def _waiters(self) -> dict[AbstractEventLoop, Waiters]: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Message:
    """A message: its bytes, its sequence, and what was lost before it.

    bytes(message) is its data, and len(message) is the number of bytes.
    """

    @property
    def sequence(self) -> int:
        """The sequence of the message. The first message of a queue has sequence 0."""
    @property
    def lost(self) -> int:
        """The number of messages that were lost directly before this one."""
    @property
    def data(self) -> bytes:
        """The bytes of the message."""
    def record(self) -> Any:
        """The message as a record of the consumer's dtype.

        The fields of the record are attributes: record.price, or record["price"]. If the dtype has
        no fields, this is a scalar or an array.

        Raises TypeError if the consumer has no dtype.

        Examples:
            >>> out = ipcq.Producer("trades", dtype=[("price", "f8"), ("quantity", "u4")])
            >>> out.push((9.5, 3))
            >>> out.close()
            >>> for message in ipcq.Consumer("trades").messages():
            ...     print(message.sequence, message.record().price)
            0 9.5
        """
    def __bytes__(self) -> bytes: ...
    def __len__(self) -> int: ...

@final
class Messages:
    """An iterator over the messages of a consumer, for `for` and `async for`. See
    Consumer.messages().
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> Message: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Message]: ...

@final
class View:
    """Messages in place, in the ring itself: one message, or a run of messages that are adjacent in
    the ring. See Consumer.peek() and Consumer.view().

    A view is a context manager. Leaving the block consumes the messages, unless the block raises.
    len(view) is the number of messages, view[i] is a copy of one of them, and a loop over the view
    gives a copy of each. bytes(view) is a copy of all of them, one after the other.

    It has the buffer protocol: memoryview(view) and numpy.asarray(view) are the memory itself,
    read-only, with one row of bytes for each message.

    A copy is checked: it is right, or OverrunError is raised. Data that is read through array,
    records or a memoryview is not checked when it is read. It was right if the block ends without
    an OverrunError.
    """

    @property
    def sequence(self) -> int:
        """The sequence of the first message. view[i] has sequence + i."""
    @property
    def lost(self) -> int:
        """The number of messages that were lost directly before the first message of the view."""
    @property
    def nbytes(self) -> int:
        """The number of bytes of all messages of the view together."""
    @property
    def array(self) -> Any:
        """The messages as a numpy array of bytes, one row for each message, without a copy.

        The array is read-only. It is the ring itself. It may be used after the block, and after the
        consumer was closed, but the producer may overwrite it from the end of the block on. It
        keeps the ring mapped as long as it exists. It keeps the consumer attached only until the
        view is released.

        Raises UsageError if the view has ended.
        """
    @property
    def records(self) -> Any:
        """The messages as a numpy array of the consumer's dtype, without a copy, like array.

        Its fields are attributes, too: records.price, or records["price"].

        Raises TypeError if the consumer has no dtype, UsageError if the view has ended.
        """
    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Copies size bytes from offset, or all bytes from there on if size is None.

        The offset counts the bytes of the messages one after the other, without gaps.

        Raises OverrunError if the messages were overwritten, UsageError beyond their end or if the
        view has ended.
        """
    def readinto(self, buffer: Buffer, /) -> int:
        """Copies all messages into a writable buffer, one after the other, and returns nbytes.

        Raises MessageSizeError if the buffer is too small, SchemaMismatchError if it is an array of
        another dtype than that of the messages, otherwise the same as read(). After an OverrunError
        the contents of the buffer are undefined.
        """
    def release(self) -> None:
        """Consumes the messages. Leaving the block does the same.

        Raises OverrunError if a message was overwritten: discard what was computed from them. The
        messages count as lost, except that the last of them may come again if they were not
        overwritten. Raises UsageError if the view has ended.
        """
    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> bytes: ...
    def __iter__(self) -> Iterator[bytes]: ...
    def __bytes__(self) -> bytes: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class SharedMemory:
    """Memory that processes of one host share. One process writes it, and any number of others read
    it.

    Args:
        name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
            and a pathlib.Path is always a path.
        create: True: a writer. It creates the memory and reserves space for it. If the memory
            exists, its size must be the same, and its contents are kept. False: a reader, which
            maps the memory read-only.
        size: The number of bytes, for a writer.
        permissions: The mode bits of a new file. 0: 0o600.

    A reader may see parts of old and new contents together. Use a Producer if that matters. Several
    threads may share a handle. A handle can be pickled and copied. The result is opened again in
    the same role, so a writer must be closed before (otherwise ProducerExistsError is raised).

    Raises FileNotFoundError, PermissionError, ProducerExistsError (another live process writes the
    memory), IncompatibleError (it exists with another size), OSError with ENOSPC, UsageError.

    It has the buffer protocol: memoryview(memory) and numpy.frombuffer(memory, ...) are the memory
    itself, without a copy. They are writable only if the handle is a writer.
    """

    def __new__(
        cls,
        name: str | PathLike[str],
        create: object = False,
        size: int = 0,
        *,
        permissions: int = 0,
    ) -> Self: ...
    def write(self, offset: int, data: Buffer, /) -> None:
        """Copies data (any object with a contiguous buffer) to offset.

        Raises Error if this handle is a reader, UsageError beyond the end or if the handle is
        closed. If it raises, nothing was written.
        """
    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Copies size bytes from offset, or all bytes from there on if size is None.

        Raises UsageError beyond the end or if the handle is closed.
        """
    def readinto(self, offset: int, buffer: Buffer, /) -> None:
        """Fills all of a writable buffer with bytes from offset.

        Raises UsageError beyond the end or if the handle is closed.
        """
    @property
    def size(self) -> int:
        """The number of bytes."""
    @property
    def name(self) -> str:
        """The name as it was given."""
    @property
    def writable(self) -> bool:
        """Whether this handle is a writer."""
    @property
    def closed(self) -> bool:
        """Whether this handle was closed."""
    def close(self) -> None:
        """Closes this handle. After that another process may write the memory. It may be closed
        more than once.

        Arrays and memoryviews of the memory can still be used: the memory stays mapped as long as
        they exist.
        """
    def unlink(self) -> None:
        """Removes the name. Open handles keep the memory until they are closed.

        Raises FileNotFoundError, PermissionError.
        """
    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_args: object) -> None: ...
    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class ConsumerInfo:
    """An attached consumer, at one moment."""

    @property
    def name(self) -> str:
        """Its consumer_name, at most 63 bytes of it."""
    @property
    def pid(self) -> int:
        """The pid of its process, for information. The system may have given it to another
        process.
        """
    @property
    def sequence(self) -> int:
        """The sequence that it receives next, as it has published it. A consumer publishes its
        position when it finds the queue empty, and every 64 messages at the latest.
        """
    @property
    def lag(self) -> int:
        """The number of messages that were pushed and not consumed, according to that sequence."""
    @property
    def lost(self) -> int:
        """The number of messages that it has lost since it attached."""
    @property
    def asleep(self) -> bool:
        """Whether it sleeps until a message is pushed."""

@final
class Stats:
    """Figures of a queue and of the handle that made them, at one moment.

    For a consumer, received + lost + lag == pushed - (its start sequence) at every moment.
    """

    @property
    def pushed(self) -> int:
        """The number of messages that were ever pushed. It is the sequence of the next message."""
    @property
    def received(self) -> int:
        """The number of messages that this consumer has received since its start position. 0 for a
        producer.
        """
    @property
    def lost(self) -> int:
        """The number of messages that this consumer has lost since its start position. 0 for a
        producer.
        """
    @property
    def lag(self) -> int:
        """The number of messages that were pushed and that this consumer has neither received nor
        knows to be lost. 0 for a producer.
        """
    @property
    def oldest(self) -> int:
        """The oldest sequence that is retained."""
    @property
    def capacity(self) -> int:
        """How many messages (fixed size) or bytes (varying length) the ring holds."""
    @property
    def message_size(self) -> int:
        """The bytes of every message. 0 if the messages vary in length."""
    @property
    def max_message(self) -> int:
        """The bytes of the longest message that can be pushed."""
    @property
    def delivery(self) -> Literal["lossy", "lossless"]:
        """The mode of delivery, "lossy" or "lossless"."""
    @property
    def epoch(self) -> int:
        """How many times a producer has opened the queue."""
    @property
    def consumers(self) -> int:
        """The number of attached consumers that have a consumer slot."""
    @property
    def producer_alive(self) -> bool:
        """Whether a producer has the queue open at this moment."""
    @property
    def closed(self) -> bool:
        """Whether the producer has closed the queue, and no producer has opened it since. (The
        closed of a handle says whether that handle was closed.)
        """
    @property
    def id(self) -> int:
        """Identifies the queue. Another id under the same name means that the queue was recreated,
        so a sequence that was saved before belongs to other messages.
        """
    @property
    def unlinked(self) -> bool:
        """Whether the queue was unlinked or replaced, so that the name no longer refers to it. Open
        the name again for the queue that has it now.
        """
    def __eq__(self, other: object, /) -> bool: ...

def _arrow_stream(batches: Iterator[Batch], schema: str | None, size: int) -> object: ...
def _part(data: Buffer, offset: int, size: int) -> bytes: ...
def queues() -> list[str]:
    """The names of all queues in the directory of bare names (/dev/shm, or $IPCQ_DIR), sorted."""

def wait_any(consumers: Sequence[Consumer], timeout: float | None = None) -> int:
    """Waits until one of several consumers has a message or is at the end of its queue, and returns
    the index of the first such consumer.

    It waits at most timeout seconds, or without a limit if timeout is None. To be fair to all
    queues, take what each of them has before you wait again.

    Raises Empty when the time is over, UsageError for no consumer, for more than 128 of them, or
    for one that is closed. Ctrl-C ends the wait.
    """

def unlink(name: str | PathLike[str]) -> None:
    """Removes a queue: its data file, and the files that belong to it.

    The queue is removed even if a producer or consumers have it open. (The command `ipcq unlink`
    refuses if a producer has it open.) Open handles keep the memory until they are closed. A
    producer that opens the name afterwards makes a new queue. It gets ProducerExistsError until the
    old producer has ended.

    Raises FileNotFoundError if the queue does not exist, PermissionError.
    """
