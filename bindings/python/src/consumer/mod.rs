//! The consumer. This file has the class; its parts are in the modules below.

mod message;
mod take;
mod view;
mod waiting;

pub use message::{Message, Messages};
pub use take::new_bytes;
pub use view::View;
pub use waiting::wait_any;

use crate::buffer::Buffer;
use crate::errors::{self, Failure};
use crate::handle::{
    self, copying, part, seconds, seconds_or_none, truth, whole, Dtype, Guarded, Name, Poll,
    Records, Timeout, Turns,
};
use crate::stats::{ConsumerInfo, Stats};
use ipcq::__binding::layout::FRAME_HEADER;
use ipcq::{Error, Meta, Start};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyByteArrayMethods, PyBytes, PyDict, PyList, PyString, PyTuple};
use std::path::{Path, PathBuf};
use take::{Inner, Taken};
use waiting::Linger;

/// Receives the messages of a queue. Every consumer sees every message and has its own position.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
///         and a pathlib.Path is always a path.
///     start: Where to begin: at the "oldest" retained message, at the "newest" (the last one that
///         was pushed), at the "next" (only new messages), or at a sequence. If that sequence is no
///         longer retained, the messages from there to the oldest count as lost.
///     open_timeout: How many seconds to wait until the queue exists. None: without a limit.
///     dtype: A numpy dtype. The messages are records of it. It must equal the dtype of the queue,
///         field by field. If the queue has none, only the size is checked. None: use the dtype of
///         the queue, if it has one.
///     observer: Never hold back the producer of a lossless queue, and lose messages instead. An
///         observer needs no permission to write, and is not listed.
///     consumer_name: The name of this consumer in consumers() and in `ipcq stat`.
///
/// Several threads may share a consumer: each message goes to one of them. A consumer can be
/// pickled (for multiprocessing) and copied. The result is another consumer, which continues at the
/// same sequence with its own counts. If the queue was recreated before that, IncompatibleError is
/// raised.
///
/// Raises FileNotFoundError, PermissionError, IncompatibleError (not a queue, damaged, or of
/// another layout version), SchemaMismatchError (dtype), UsageError (a start beyond what was
/// pushed).
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Consumer {
    inner: Guarded<Inner>,
    /// The waiting tasks of asyncio loops, by loop. See `_aio.py`.
    waiters: Py<PyDict>,
    name: Name,
    /// The file, resolved when it was opened, and the id of the queue in it.
    path: PathBuf,
    id: u64,
    /// 0 if the messages vary in length.
    message_size: usize,
    max_message: usize,
    capacity: u64,
    delivery: &'static str,
    records: Records,
    observer: bool,
    consumer_name: Option<String>,
}

/// The number of bytes that are popped between two looks at the time, and the bytes that a short
/// message counts for.
const TURN: usize = 1 << 20;
const SMALL: usize = 256;

/// The parts of a batch: the bytes, the number of messages, the sequence of the first, and how
/// many were lost before it.
type Parts<'py> = (Bound<'py, PyByteArray>, usize, u64, u64);

impl Consumer {
    /// Does something with the queue.
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        self.inner
            .with(py, act, |failure| self.exception(py, failure))
    }

    #[cold]
    fn exception(&self, py: Python<'_>, failure: Failure) -> PyErr {
        failure.exception(py, &self.name, "consumer", "view")
    }

    #[cfg(feature = "_test")]
    pub fn panic(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |_| panic!("requested"))
    }

    #[cold]
    fn empty_error(&self, py: Python<'_>) -> PyErr {
        errors::empty(
            py,
            format!("{}: the queue has no new message", self.name.display()),
        )
    }

    /// Consumes the next message. `None` if the queue is empty.
    #[inline(always)]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<Taken<'py>>> {
        let mut inner = self.inner.lock(py)?;
        let taken = inner.take(py, self.message_size);
        drop(inner);
        taken.map_err(|failure| self.exception(py, failure))
    }

    fn take_within<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Bound<'py, PyBytes>> {
        match handle::wait_for(py, timeout, self, || self.take(py))? {
            Some((bytes, _)) => Ok(bytes),
            None => Err(self.empty_error(py)),
        }
    }

    /// Fills the room with messages. Returns their number and the meta of the first. `None` if
    /// the queue is empty.
    ///
    /// # Safety
    /// `to` is writable for `room` bytes.
    unsafe fn fill(
        &self,
        py: Python<'_>,
        to: *mut u8,
        room: usize,
    ) -> PyResult<Option<(usize, Meta)>> {
        let (to, size) = (to as usize, self.message_size);
        self.with(py, |inner| {
            if room < size {
                return Err(Failure::TooSmall { length: size, room });
            }
            let queue = inner.queue()?;
            let (pop, count) = copying(py, room, || {
                let to = to as *mut u8;
                match size {
                    // SAFETY: the caller's promise.
                    0 => unsafe { queue.pop_raw(to, room) }.map(|pop| (pop, 1)),
                    // SAFETY: there is room for that many.
                    _ => unsafe { queue.pop_many_raw(to, size, room / size) },
                }
            })?;
            let first = inner.found(pop, room)?;
            Ok(first.map(|first| {
                inner.consumed(first);
                (count, first)
            }))
        })
    }

    /// Waits until `at_least` messages are there, or until they use `in_use` of the ring, or
    /// until the producer can push no more.
    fn gather(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        at_least: u64,
        in_use: u64,
    ) -> PyResult<bool> {
        let found = handle::wait_for(py, timeout, &Linger(self), || {
            let (stats, used) = self.with(py, |inner| {
                let queue = inner.queue()?;
                Ok((queue.stats()?, ipcq::__binding::in_use(queue)?))
            })?;
            // No more messages come. One is enough, and a drained queue raises.
            let is_over = stats.closed || (stats.unlinked && !stats.producer_alive);
            match stats.lag >= at_least || used >= in_use {
                true => Ok(Some(())),
                false if is_over => self.ready(py),
                false => Ok(None),
            }
        })?;
        Ok(found.is_some())
    }

    /// A batch of at most `max` messages of fixed size. `None` if the queue is empty.
    fn take_batch<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Option<Parts<'py>>> {
        let size = self.message_size;
        let found = self.with(py, |inner| {
            let (pop, _, adjacent) = inner.queue()?.peek_many_raw(max)?;
            Ok(inner.found(pop, 0)?.map(|first| (first, adjacent)))
        })?;
        let Some((first, adjacent)) = found else {
            return Ok(None);
        };
        let end = first.sequence.wrapping_add(adjacent as u64);
        let count = match end % self.capacity {
            // They end at the end of the ring. There may be more at its beginning.
            0 => max.min(self.capacity as usize),
            _ => adjacent,
        };
        let bytes = count.saturating_mul(size);
        let (buffer, to) = take::new_bytearray(py, bytes)?;
        // SAFETY: the buffer has `bytes` bytes, and no other code refers to it.
        let Some((count, first)) = (unsafe { self.fill(py, to, bytes) })? else {
            return Ok(None);
        };
        // This gives memory back if less than half of it is used.
        buffer.resize(count * size)?;
        Ok(Some((buffer, count, first.sequence, first.lost)))
    }

    /// A view of up to `max` messages, which is waited for.
    fn view_within(slf: &Bound<'_, Self>, max: usize, timeout: Timeout) -> PyResult<Option<View>> {
        let py = slf.py();
        if max == 0 {
            return Err(errors::usage(py, "max: must be at least 1"));
        }
        handle::wait_for(py, timeout, slf.get(), || View::take(py, slf, max))
    }
}

/// Opens the queue. Waits until it exists, and lets signal handlers run during the wait.
fn open(
    py: Python<'_>,
    name: &Path,
    options: &ipcq::ConsumerOptions,
    open_timeout: Option<f64>,
) -> PyResult<ipcq::Consumer> {
    let timeout = Timeout::seconds(py, open_timeout)?;
    let attempt = || match options.open(name) {
        Err(Error::NotFound(_)) => Ok(None),
        opened => opened.map(Some),
    };
    match handle::wait_for(py, timeout, &Poll, || handle::slowly(py, attempt))? {
        Some(queue) => Ok(queue),
        // Once more, for the error.
        None => handle::slowly(py, || {
            options.open(name).map_err(|e| after_wait(e, timeout))
        }),
    }
}

/// The error for a queue that does not exist. The crate has made it for one attempt without a
/// wait. This changes the text to what the crate says after a wait.
fn after_wait(error: Error, timeout: Timeout) -> Error {
    match (timeout.time().filter(|time| !time.is_zero()), error) {
        (Some(time), Error::NotFound(text)) => Error::NotFound(
            text.replacen(
                ": a producer has to open it first (to wait for that, set open_timeout)",
                &format!(", and no producer opened one within {time:?} (open_timeout)"),
                1,
            )
            .into(),
        ),
        (_, error) => error,
    }
}

/// How the requested records differ from those of the queue. If the queue has no schema, only
/// their size is compared.
fn difference(queue: &ipcq::Consumer, requested: &Dtype) -> Option<String> {
    if let Some(have) = queue.schema() {
        let difference = have.difference(&requested.schema, "the queue has", "requested was")?;
        return Some(format!("the queue has other records:\n{difference}"));
    }
    let have = match queue.geometry().message_size as usize {
        size if size == requested.size => return None,
        0 => "messages of varying length".to_owned(),
        size => format!("messages of {size} bytes"),
    };
    Some(format!(
        "the requested dtype has {} bytes, but the queue has {have}",
        requested.size
    ))
}

fn start_of(given: &Bound<'_, PyAny>) -> PyResult<Start> {
    if let Ok(word) = given.cast::<PyString>() {
        match word.to_cow()?.as_ref() {
            "oldest" => return Ok(Start::Oldest),
            "newest" => return Ok(Start::Newest),
            "next" => return Ok(Start::Next),
            _ => {}
        }
    } else if let Ok(sequence) = given.extract() {
        return Ok(Start::At(sequence));
    }
    Err(errors::usage(
        given.py(),
        "start: must be 'oldest', 'newest', 'next' or a sequence",
    ))
}

#[pymethods]
impl Consumer {
    #[new]
    #[pyo3(signature = (name, *, start=None, open_timeout=Some(0.0), dtype=None, observer=false,
                        consumer_name=None),
           text_signature = "(name, *, start='oldest', open_timeout=0.0, dtype=None, \
                             observer=False, consumer_name=None)")]
    fn new(
        py: Python<'_>,
        name: Name,
        start: Option<Bound<'_, PyAny>>,
        #[pyo3(from_py_with = seconds_or_none)] open_timeout: Option<f64>,
        dtype: Option<Bound<'_, PyAny>>,
        #[pyo3(from_py_with = truth)] observer: bool,
        consumer_name: Option<String>,
    ) -> PyResult<Self> {
        let start = start.map_or(Ok(Start::Oldest), |s| start_of(&s))?;
        let dtype = dtype.map(|d| Dtype::of(&d)).transpose()?;
        let mut options = ipcq::Consumer::options().start(start).observer(observer);
        if let Some(consumer_name) = &consumer_name {
            options = options.name(consumer_name);
        }
        let queue = open(py, &name, &options, open_timeout)?;
        let geometry = queue.geometry();
        let message_size = geometry.message_size as usize;
        if let Some(difference) = dtype.as_ref().and_then(|d| difference(&queue, d)) {
            return Err(errors::schema_mismatch(
                py,
                format!("{}: {difference}", name.display()),
            ));
        }
        Ok(Consumer {
            records: Records::new(py, &name, dtype, queue.schema())?,
            name,
            path: queue.path().to_owned(),
            id: geometry.id,
            message_size,
            max_message: queue.max_message(),
            capacity: geometry.capacity,
            delivery: crate::stats::delivery(geometry.delivery),
            observer,
            consumer_name,
            waiters: PyDict::new(py).unbind(),
            inner: Guarded::new(Inner::new(queue)),
        })
    }

    /// The next message as bytes, or None if the queue is empty. Never waits.
    ///
    /// Raises Closed if the producer has closed the queue and this consumer has consumed everything
    /// in it, UsageError if this consumer is closed. Raises ReplacedError (a subclass of Closed) if
    /// the queue was replaced, or was removed and its producer ended without closing it. A call
    /// that waits detects a removal, and pop() raises the error after that.
    fn pop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.take(py)?.map(|(bytes, _)| bytes))
    }

    /// The next message as bytes, like queue.Queue.get().
    ///
    /// It waits for a message, at most timeout seconds, or without a limit if timeout is None. If
    /// block is false it does not wait.
    ///
    /// Raises Empty if no message came in time, otherwise the same as pop(). Ctrl-C ends the wait.
    #[pyo3(signature = (block=true, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = truth)] block: bool,
        #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.take_within(py, Timeout::of_queue(py, block, timeout)?)
    }

    /// The next message as bytes, like queue.Queue.get_nowait(). Never waits.
    ///
    /// Raises Empty if the queue is empty, otherwise the same as pop().
    fn get_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.take_within(py, Timeout::ZERO)
    }

    /// Up to max messages as a list of bytes, which is empty if the queue is empty. Never waits.
    ///
    /// The messages follow each other without a gap: the list ends where messages were lost. The
    /// attribute last has what was lost before the first of them.
    ///
    /// Raises the same as pop().
    #[pyo3(signature = (max=4096))]
    fn pop_many<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = whole)] max: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut messages = Vec::new();
        let mut first = None;
        let mut failed = None;
        let mut copied = 0;
        let mut turns = Turns::new();
        let mut inner = self.inner.lock(py)?;
        while messages.len() < max {
            match inner.take_known(py, first.is_some()) {
                Ok(Some((bytes, meta))) => {
                    copied += meta.length as usize + SMALL;
                    if copied >= TURN {
                        turns.offer(py);
                        copied = 0;
                    }
                    messages.push(bytes);
                    first.get_or_insert(meta);
                }
                Ok(None) => break,
                Err(failure) => {
                    failed = Some(failure);
                    break;
                }
            }
        }
        if let Some(first) = first {
            inner.last = first;
        }
        drop(inner);
        match failed {
            Some(failure) if messages.is_empty() => Err(self.exception(py, failure)),
            // If something else ended the list, the next call raises it.
            _ => PyList::new(py, messages),
        }
    }

    /// Copies messages into a writable buffer (a numpy array, a bytearray, ...) and returns
    /// their number, which is 0 if the queue is empty. Never waits.
    ///
    /// In a queue of fixed size it fills the buffer with messages that follow each other without a
    /// gap. If the messages vary in length, it is one message. The attribute last has the sequence
    /// of the first message, its length, and what was lost before it.
    ///
    /// Raises MessageSizeError if the buffer is too small for one message, SchemaMismatchError if
    /// it is an array of another dtype than that of the messages, and otherwise the same as pop().
    /// If it raises, no message was consumed.
    #[pyo3(signature = (buffer, /))]
    fn pop_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        self.records.check(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        // SAFETY: the buffer is held, and writable.
        let filled = unsafe { self.fill(py, buffer.as_ptr(), buffer.len())? };
        Ok(filled.map_or(0, |(count, _)| count))
    }

    // The parts of a batch of up to max messages of fixed size. None if the queue is empty. With
    // wait, waits for one. For _batch.py.
    fn _take<'py>(&self, py: Python<'py>, max: usize, wait: bool) -> PyResult<Option<Parts<'py>>> {
        let timeout = match wait {
            true => Timeout::NO_LIMIT,
            false => Timeout::ZERO,
        };
        handle::wait_for(py, timeout, self, || self.take_batch(py, max))
    }

    // The next Message, or None if the queue is empty. For _aio.py.
    fn _pop_message(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        let taken = self.take(py)?;
        Ok(taken.map(|(data, meta)| Message::new(self, data, meta)))
    }

    /// Up to max of the next messages in place, as a View, or None if the queue is empty. Never
    /// waits.
    ///
    /// The messages are not copied. The View is a context manager: leaving the block consumes the
    /// messages, unless the block raises. There may be fewer than max messages: only those that are
    /// adjacent in the ring, and only one if the messages vary in length.
    ///
    /// The producer of a lossy queue may overwrite the messages at any time. Then leaving the block
    /// raises OverrunError, and they count as lost. So use results only after the block. In a
    /// lossless queue the messages do not change before the block ends (unless this consumer is an
    /// observer or is evicted).
    ///
    /// Raises UsageError for a max below 1, otherwise the same as pop().
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("images")
    ///     >>> out.push(b"head and a long body")
    ///     >>> q = ipcq.Consumer("images")
    ///     >>> with q.peek() as view:
    ///     ...     head = view.read(0, 4)
    ///     >>> head
    ///     b'head'
    #[pyo3(signature = (max=1))]
    fn peek(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = whole)] max: usize,
    ) -> PyResult<Option<View>> {
        Self::view_within(slf, max, Timeout::ZERO)
    }

    /// Up to max of the next messages in place, as a View. Waits for a message as get() does.
    ///
    /// The View is the same as that of peek().
    ///
    /// Raises Empty if no message came in time, otherwise the same as peek(). Ctrl-C ends the wait.
    ///
    /// Examples:
    ///     >>> import numpy as np
    ///     >>> tick = np.dtype([("price", "f8"), ("quantity", "u4")], align=True)
    ///     >>> out = ipcq.Producer("ticks", dtype=tick)
    ///     >>> out.push_many(np.ones(100, tick))
    ///     100
    ///     >>> q = ipcq.Consumer("ticks")
    ///     >>> with q.view(1024) as view:
    ///     ...     quantity = int(view.records.quantity.sum())
    ///     >>> quantity
    ///     100
    #[pyo3(signature = (max=4096, timeout=None))]
    fn view(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = whole)] max: usize,
        #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
    ) -> PyResult<View> {
        let timeout = Timeout::seconds(slf.py(), timeout)?;
        match Self::view_within(slf, max, timeout)? {
            Some(view) => Ok(view),
            None => Err(slf.get().empty_error(slf.py())),
        }
    }

    /// Moves this consumer to a sequence, from 0 to that of the next message to be pushed.
    ///
    /// If that sequence is no longer retained, the consumer moves to the oldest retained message,
    /// and the messages between the two count as lost. The counts in stats start again.
    ///
    /// Raises UsageError for a sequence beyond what was pushed. Then the consumer has not moved.
    #[pyo3(signature = (sequence, /))]
    fn seek(&self, py: Python<'_>, #[pyo3(from_py_with = whole)] sequence: u64) -> PyResult<()> {
        self.with(py, |inner| {
            inner.peeking = false;
            Ok(inner.queue()?.seek(sequence)?)
        })
    }

    /// The messages with their sequence and what was lost before them: an iterator of Message,
    /// for `for` and `async for`.
    ///
    /// It ends when the producer closes the queue. It waits without a limit, and Ctrl-C ends the
    /// wait.
    ///
    /// Raises ReplacedError as pop() does.
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("words")
    ///     >>> out.push(b"hello")
    ///     >>> out.close()
    ///     >>> for message in ipcq.Consumer("words").messages():
    ///     ...     print(message.sequence, message.lost, message.data)
    ///     0 0 b'hello'
    fn messages(slf: &Bound<'_, Self>) -> Messages {
        Messages {
            consumer: slf.clone().unbind(),
        }
    }

    /// The messages as records of the dtype: an iterator for `for` and `async for`.
    ///
    /// Each record is what Message.record() returns. The iterator ends when the producer closes the
    /// queue. A record is consumed when the loop receives it, so a loop that ends early loses none.
    /// batches() is faster.
    ///
    /// Raises TypeError without a dtype, ReplacedError as pop() does.
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("trades", dtype=[("price", "f8"), ("quantity", "u4")])
    ///     >>> out.push((9.5, 3))
    ///     >>> out.close()
    ///     >>> for trade in ipcq.Consumer("trades").records():
    ///     ...     print(trade.price, trade.quantity)
    ///     9.5 3
    fn records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._batch", "Records")?.call1((slf,))
    }

    /// The messages in batches: an iterator of Batch, each of 1 to max messages, for `for` and
    /// `async for`.
    ///
    /// A batch has the messages that are there, at least one. With linger, the iterator waits until
    /// max messages are there, or half of the ring is used, or linger seconds have passed since the
    /// first message. A batch ends where messages were lost. The iterator ends when the producer
    /// closes the queue. It waits without a limit, and Ctrl-C ends the wait. For a limit, call
    /// wait(seconds) before next(iterator).
    ///
    /// Raises ReplacedError as pop() does, UsageError for a max below 1.
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("words")
    ///     >>> out.push_many([b"one", b"and another"])
    ///     2
    ///     >>> out.close()
    ///     >>> for batch in ipcq.Consumer("words").batches():
    ///     ...     print(batch.sequence, batch.lost, list(batch))
    ///     0 0 [b'one', b'and another']
    #[pyo3(signature = (max=4096, linger=0.0))]
    fn batches<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = whole)] max: usize,
        #[pyo3(from_py_with = seconds)] linger: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._batch", "Batches")?.call1((slf, max, linger))
    }

    /// Waits for a message and returns whether there is one.
    ///
    /// It waits at most timeout seconds, or without a limit if timeout is None. With at_least, it
    /// waits until there are that many messages. If the producer has closed the queue, so that no
    /// more can come, it returns True for fewer.
    ///
    /// Like all calls that wait, it polls for some microseconds and then sleeps until the producer
    /// pushes. For that it needs to write the control file. If it may not, it polls every 0.1 to 4
    /// ms. While it waits for more messages than the first, it polls once a millisecond, so that
    /// the producer need not wake it for each message.
    ///
    /// Raises Closed as pop() does, UsageError for an at_least that is more than the ring can hold.
    #[pyo3(signature = (timeout=None, *, at_least=1))]
    fn wait(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
        #[pyo3(from_py_with = whole)] at_least: u64,
    ) -> PyResult<bool> {
        let timeout = Timeout::seconds(py, timeout)?;
        if at_least > 1 {
            let (most, ring) = match self.message_size {
                0 => (
                    self.capacity / FRAME_HEADER as u64,
                    format!("{} bytes", self.capacity),
                ),
                _ => (self.capacity, "that size".to_owned()),
            };
            if at_least > most {
                return Err(errors::usage(
                    py,
                    format!(
                        "{}: at_least: a ring of {ring} holds {most} messages at most, not \
                         {at_least}",
                        self.name.display()
                    ),
                ));
            }
            return self.gather(py, timeout, at_least, u64::MAX);
        }
        Ok(handle::wait_for(py, timeout, self, || self.ready(py))?.is_some())
    }

    // Waits until at_least messages are there, or half a ring of them. A consumer that waited for a
    // whole ring would lose messages, or stop the producer. For _batch.py.
    fn _gather(&self, py: Python<'_>, timeout: f64, at_least: u64) -> PyResult<bool> {
        let timeout = Timeout::seconds(py, Some(timeout))?;
        self.gather(py, timeout, at_least, self.capacity / 2)
    }

    /// A file descriptor for select, selectors and the add_reader() of asyncio loops.
    ///
    /// It becomes readable when there is a message, or when the queue is at its end, and stays
    /// readable until a pop finds nothing. So call pop() until it returns None, and then wait. The
    /// descriptor may be readable although the queue is empty.
    ///
    /// It belongs to this consumer and is closed with it. Only wait for it, do not read from it.
    /// After a fork it is the parent's: the child calls fileno() for its own.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.with(py, |inner| {
            Ok(ipcq::__binding::consumer_fd(inner.queue()?)?)
        })
    }

    /// The next message as bytes, in a coroutine, like asyncio.Queue.get().
    ///
    /// It waits in the running loop, on a descriptor. Any number of tasks may wait, and they are
    /// served in the order in which they came. A task that is cancelled (asyncio.wait_for,
    /// asyncio.timeout) takes no message with it.
    ///
    /// Raises Closed as pop() does.
    fn aget<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._aio", "get")?.call1((slf,))
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._aio", "Bytes")?.call1((slf,))
    }

    #[getter]
    fn _waiters(&self, py: Python<'_>) -> Py<PyDict> {
        self.waiters.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.waiters)?;
        visit.call(&self.records.layout)
    }

    /// The number of messages that were pushed and neither received nor known to be lost, like
    /// queue.Queue.qsize(). The same as stats.lag.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |inner| Ok(inner.queue()?.stats()?.lag))
    }

    /// Whether the queue has no new message at this moment, like queue.Queue.empty().
    fn empty(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |inner| {
            let (pop, _) = inner.queue()?.peek_raw()?;
            Ok(!matches!(pop, ipcq::Pop::Message(_)))
        })
    }

    /// The sequence of the message that this consumer receives next.
    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |inner| Ok(inner.queue()?.next_sequence()))
    }

    /// The Meta of the message consumed last, or of the first message of the last pop_many(),
    /// pop_into(), batch or view. Before the first message it is (0, 0, 0).
    ///
    /// If several threads share the consumer, this may be the message of another thread. The
    /// messages of messages() have their own sequence and lost.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let last = self.inner.lock(py)?.last;
        part!(py, "ipcq._batch", "Meta")?.call1((last.sequence, last.lost, last.length))
    }

    /// The attached consumers, as a list of ConsumerInfo, the slowest first.
    ///
    /// In a lossless queue these are all consumers but observers. In a lossy queue they are those
    /// that may write the control file.
    fn consumers(&self, py: Python<'_>) -> PyResult<Vec<ConsumerInfo>> {
        let list = self.with(py, |inner| Ok(inner.queue()?.consumers()?))?;
        Ok(list.into_iter().map(ConsumerInfo::from).collect())
    }

    /// Figures of the queue and of this consumer, as a Stats.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        let stats = self.with(py, |inner| Ok(inner.queue()?.stats()?))?;
        Ok(Stats::from(stats))
    }

    /// The name as it was given.
    #[getter]
    fn name(&self) -> std::ffi::OsString {
        self.name.as_os_str().to_owned()
    }

    /// The bytes of every message. 0 if the messages vary in length.
    #[getter]
    fn message_size(&self) -> usize {
        self.message_size
    }

    /// The bytes of the longest message that the queue can hold.
    #[getter]
    fn max_message(&self) -> usize {
        self.max_message
    }

    /// How many messages (fixed size) or bytes (varying length) the ring holds.
    #[getter]
    fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The mode of delivery, "lossy" or "lossless".
    #[getter]
    fn delivery(&self) -> &'static str {
        self.delivery
    }

    /// The numpy dtype of the messages: the one that was given, otherwise the queue's. None if
    /// neither exists.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.records.dtype(py)
    }

    #[getter]
    fn _layout(&self, py: Python<'_>) -> Py<PyAny> {
        self.records.layout.clone_ref(py)
    }

    /// Whether this handle was closed. stats.closed says whether the producer has closed the
    /// queue.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.queue.is_none())
    }

    /// Closes this handle. It may be closed more than once.
    ///
    /// Arrays and memoryviews of a view can still be used: the memory that they show stays mapped
    /// as long as they exist. The producer may overwrite it, also in a lossless queue.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut inner = self.inner.lock(py)?;
        inner.peeking = false;
        // A view that has shown the ring keeps it mapped itself.
        let closed = (inner.queue.take(), inner.mapped.take());
        drop(inner);
        py.detach(|| drop(closed));
        let waiters = self.waiters.bind(py);
        match waiters.is_empty() {
            true => Ok(()),
            false => part!(py, "ipcq._aio", "end")?.call1((waiters,)).map(drop),
        }
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match handle::wait_for(py, Timeout::NO_LIMIT, self, || self.take(py)) {
            Ok(found) => Ok(found.map(|(bytes, _)| bytes)),
            Err(e) => errors::end_of_loop(py, e),
        }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(py);
        options.set_item("start", self.next_sequence(py)?)?;
        options.set_item("dtype", self.records.given(py)?)?;
        options.set_item("observer", self.observer)?;
        options.set_item("consumer_name", self.consumer_name.as_deref())?;
        handle::reopened(
            &py.get_type::<Consumer>(),
            &self.path,
            &options,
            Some(self.id),
        )
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let size = match self.message_size {
            0 => "of varying length".to_owned(),
            size => format!("of {size} bytes"),
        };
        let state = match self.closed(py)? {
            true => "closed".to_owned(),
            false => format!("next sequence {}", self.next_sequence(py)?),
        };
        Ok(format!(
            "<ipcq.Consumer '{}', messages {size}, {state}>",
            self.name.display()
        ))
    }
}
