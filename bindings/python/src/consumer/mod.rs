//! The consumer: the class itself; its parts are in the modules below.

mod message;
mod take;
mod view;
mod waiting;
mod window;

pub use message::Message;
pub use take::new_bytes;
pub use view::View;
pub use waiting::wait_any;
pub use window::Window;

use crate::buffer::Buffer;
use crate::errors;
use crate::handle::{
    self, caught, part, truth, whole, Dtype, Guarded, Name, Naps, Records, Timeout, LARGE,
};
use crate::stats::{ConsumerInfo, Stats};
use ipcq::layout::FRAME_HEADER;
use ipcq::{Error, Pop, Start};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyByteArrayMethods, PyBytes, PyDict, PyList, PyString, PyTuple};
use std::path::{Path, PathBuf};
use take::{Inner, Taken};
use waiting::Lingering;

/// One of those who pop messages from a queue. Every consumer sees every message, and has its own
/// position; it maps the data read-only.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR), any other is a path. So is
///         a pathlib.Path in any case.
///     start: Where to begin: "oldest" retained message, "newest" (the last one pushed), "next"
///         (only what comes), or a sequence; if that is not retained any more, what is missing is
///         lost.
///     open_timeout: Seconds to wait for the queue to appear; None: for ever.
///     dtype: A numpy dtype: messages are records of it. It must be that of the queue, field by
///         field; if the queue says nothing of its records, then only their size is checked. None:
///         that of the queue, if it has one.
///     observer: Never hold a producer back, also in a queue that is lossless, and lose instead.
///         Needs no write permission. In a lossy queue all consumers are such.
///     consumer_name: What monitors call this consumer.
///
/// Several threads may share a consumer: each message goes to one of them. It can be pickled, for
/// multiprocessing, and copied: what comes out is another consumer that goes on at the same sequence,
/// with counts of its own. If the queue was made anew by then, Incompatible is raised.
///
/// Raises FileNotFoundError, PermissionError, Incompatible (not a queue, damaged, or of another
/// layout version), SchemaMismatch (dtype), UsageError (a start beyond what was pushed).
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Consumer {
    inner: Guarded<Inner>,
    /// Where the tasks of asyncio loops wait, by loop; see `_aio.py`.
    lines: Py<PyDict>,
    name: Name,
    /// The file, resolved when it was opened, and the id of the queue in it.
    path: PathBuf,
    id: u64,
    /// 0 if they vary.
    message_size: usize,
    max_message: usize,
    capacity: u64,
    delivery: &'static str,
    records: Records,
    observer: bool,
    consumer_name: Option<String>,
}

/// How many bytes are popped at most before the other threads of the interpreter have a turn, and
/// what a short message counts for.
const TURN: usize = 1 << 20;
const SMALL: usize = 256;

/// What a batch is made of.
type Taking<'py> = (Bound<'py, PyByteArray>, usize, u64, u64);

impl Consumer {
    /// Does something with the queue.
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Inner) -> Option<ipcq::Result<T>>,
    ) -> PyResult<T> {
        let mut inner = self.inner.lock(py)?;
        // `None` is for a handle that was closed.
        let result = caught(|| act(&mut inner).transpose()).transpose();
        drop(inner);
        match result {
            Some(result) => result.map_err(|e| errors::raise(py, e)),
            None => Err(self.is_closed(py)),
        }
    }

    pub fn panic(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |_| panic!("asked for"))
    }

    #[cold]
    fn is_closed(&self, py: Python<'_>) -> PyErr {
        handle::closed(py, &self.name, "consumer")
    }

    #[cold]
    fn is_empty(&self, py: Python<'_>) -> PyErr {
        errors::empty(
            py,
            format!("{}: the queue has no new message", self.name.display()),
        )
    }

    /// No message: `None` if there is none yet, or an exception.
    #[cold]
    fn none_because(&self, py: Python<'_>, pop: Pop, size: usize) -> PyResult<()> {
        match pop {
            Pop::Message(_) | Pop::Empty => Ok(()),
            Pop::Closed => {
                let stats = self.with(py, |i| i.queue.as_ref().map(|q| q.stats()));
                let removed = match stats {
                    Ok(stats) if stats.unlinked => "; it was removed: open the name again",
                    _ => "",
                };
                Err(errors::closed(
                    py,
                    format!(
                        "{}: the producer has closed the queue, and this consumer has consumed \
                         everything in it{removed}",
                        self.name.display()
                    ),
                ))
            }
            Pop::Superseded => Err(errors::replaced(
                py,
                format!(
                    "{}: the queue was replaced or removed, and this consumer has consumed \
                     everything in it: open it again",
                    self.name.display()
                ),
            )),
            Pop::TooSmall(message) => Err(errors::too_large(
                py,
                format!(
                    "{}: the next message has {} bytes, the buffer {size}",
                    self.name.display(),
                    message.length
                ),
            )),
        }
    }

    /// The next message, if there is one.
    #[inline(always)]
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyBytes>, ipcq::Message)>> {
        let mut inner = self.inner.lock(py)?;
        let taken = inner.take(py, self.message_size);
        drop(inner);
        match taken? {
            Ok(Taken::Message(bytes, message)) => Ok(Some((bytes, message))),
            Ok(Taken::Nothing(Pop::Empty)) => Ok(None),
            Ok(Taken::Nothing(pop)) => self.none_because(py, pop, 0).map(|()| None),
            Ok(Taken::HandleClosed) => Err(self.is_closed(py)),
            Err(e) => Err(errors::raise(py, e)),
        }
    }

    fn pop_within<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Bound<'py, PyBytes>> {
        match handle::wait_for(py, timeout, self, || self.take(py))? {
            Some((bytes, _)) => Ok(bytes),
            None => Err(self.is_empty(py)),
        }
    }

    /// What is there to look at, without a wait; `None` if nothing.
    fn look(&self, py: Python<'_>) -> PyResult<Option<(ipcq::Message, u64)>> {
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.is_closed(py));
        };
        let peeked = caught(|| queue.peek_raw());
        if let Ok((Pop::Message(message), _)) = peeked {
            inner.looks += 1;
            inner.looking = true;
            return Ok(Some((message, inner.looks)));
        }
        drop(inner);
        match peeked {
            Ok((pop, _)) => self.none_because(py, pop, 0).map(|()| None),
            Err(e) => Err(errors::raise(py, e)),
        }
    }

    /// Pops as many messages as fit, and says how many and what is known of the first; `None` if there
    /// is none yet.
    ///
    /// # Safety
    /// `to` is writable for `room` bytes.
    unsafe fn fill(
        &self,
        py: Python<'_>,
        to: *mut u8,
        room: usize,
    ) -> PyResult<Option<(usize, ipcq::Message)>> {
        let size = self.message_size;
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.is_closed(py));
        };
        let result = if size == 0 {
            let to = to as usize;
            // SAFETY: the caller's promise.
            let mut pop = || caught(|| unsafe { queue.pop_raw(to as *mut u8, room) });
            let popped = match room >= LARGE {
                true => py.detach(pop),
                false => pop(),
            };
            popped.map(|pop| match pop {
                Pop::Message(message) => Ok((1, message)),
                other => Err(other),
            })
        } else if room < size {
            drop(inner);
            return Err(errors::too_large(
                py,
                format!(
                    "{}: messages of {size} bytes, but a buffer of {room}",
                    self.name.display()
                ),
            ));
        } else {
            let (to, count) = (to as usize, room / size);
            // SAFETY: the caller's promise; there is room for so many.
            let mut pop = || caught(|| unsafe { queue.pop_many_raw(to as *mut u8, size, count) });
            let popped = match room >= LARGE {
                true => py.detach(pop),
                false => pop(),
            };
            popped.map(|(pop, count)| match pop {
                Pop::Message(first) => Ok((count, first)),
                other => Err(other),
            })
        };
        match result {
            Ok(Ok((count, first))) => {
                inner.note(first);
                Ok(Some((count, first)))
            }
            Ok(Err(pop)) => {
                drop(inner);
                self.none_because(py, pop, room).map(|()| None)
            }
            Err(e) => {
                drop(inner);
                Err(errors::raise(py, e))
            }
        }
    }
}

impl Consumer {
    /// Waits until `at_least` messages are there, or they take `in_use` of the ring, or the producer can
    /// push no more.
    fn gather(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        at_least: u64,
        in_use: u64,
    ) -> PyResult<bool> {
        let found = handle::wait_for(py, timeout, &Lingering(self), || {
            let figures = self.with(py, |i| {
                i.queue.as_ref().map(|q| Ok((q.stats()?, q.in_use()?)))
            })?;
            let (stats, used) = figures;
            // The producer pushes no more: any message is enough, and a drained queue raises.
            let is_over = stats.closed || (stats.unlinked && !stats.producer_alive);
            match stats.lag >= at_least || used >= in_use {
                true => Ok(Some(())),
                false if is_over => self.there(py),
                false => Ok(None),
            }
        })?;
        Ok(found.is_some())
    }

    /// A batch of at most `max` messages of fixed size; `None` if there is none yet.
    fn take_batch<'py>(&self, py: Python<'py>, max: usize) -> PyResult<Option<Taking<'py>>> {
        let size = self.message_size;
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.is_closed(py));
        };
        let found = caught(|| queue.peek_many_raw(max));
        drop(inner);
        let count = match found {
            Ok((Pop::Message(first), _, side_by_side)) => {
                let end = first.sequence.wrapping_add(side_by_side as u64);
                match end % self.capacity {
                    // At the end of the ring, more may be at its beginning.
                    0 => max.min(self.capacity as usize),
                    _ => side_by_side,
                }
            }
            Ok((pop, ..)) => return self.none_because(py, pop, 0).map(|()| None),
            Err(e) => return Err(errors::raise(py, e)),
        };
        let bytes = count.saturating_mul(size);
        let (buffer, to) = take::new_bytearray(py, bytes)?;
        // SAFETY: the buffer has `bytes` bytes, and nobody else has seen it.
        let Some((count, first)) = (unsafe { self.fill(py, to, bytes) })? else {
            return Ok(None);
        };
        // This gives memory back where less than half is in use.
        buffer.resize(count * size)?;
        Ok(Some((buffer, count, first.sequence, first.lost)))
    }
}

/// Opens the queue, and waits for it to appear with signal handlers running meanwhile.
fn open(
    py: Python<'_>,
    name: &Path,
    options: &ipcq::ConsumerOptions,
    open_timeout: Option<f64>,
) -> PyResult<ipcq::Consumer> {
    let timeout = Timeout::seconds(py, open_timeout)?;
    let mut missing = None;
    let open = || handle::slowly(py, || options.open(name));
    let opened = handle::wait_for(py, timeout, &Naps, || match open()? {
        Ok(queue) => Ok(Some(queue)),
        Err(e @ Error::NotFound(_)) => {
            missing = Some(e);
            Ok(None)
        }
        Err(e) => Err(errors::raise(py, e)),
    })?;
    match (opened, missing) {
        (Some(queue), _) => Ok(queue),
        (None, Some(e)) => Err(errors::raise(py, timed_out(e, timeout))),
        // The first attempt is made in any case.
        (None, None) => Err(errors::error(py, "the queue was not opened")),
    }
}

/// The error for a queue that did not appear, which the crate made for one attempt without a wait, as
/// it says it after a wait.
fn timed_out(missing: Error, timeout: Timeout) -> Error {
    let Some(time) = timeout.time().filter(|time| !time.is_zero()) else {
        return missing;
    };
    let text = missing.to_string().replacen(
        ": a producer has to open it first (to wait for that, set open_timeout)",
        &format!(", and no producer opened one within {time:?} (open_timeout)"),
        1,
    );
    Error::NotFound(text.into())
}

/// Where the requested records are not those of the queue. If the queue says nothing of its
/// records, then the caller is believed as long as their size is right.
fn difference(queue: &ipcq::Consumer, asked: &Dtype) -> Option<String> {
    if let Some(have) = queue.schema() {
        let differ = have.difference(&asked.schema, "the queue has", "requested was")?;
        return Some(format!("the queue has other records:\n{differ}"));
    }
    let have = match queue.geometry().message_size as usize {
        size if size == asked.size => return None,
        0 => "messages of varying length".to_owned(),
        size => format!("messages of {size} bytes"),
    };
    Some(format!(
        "the requested dtype has {} bytes, but the queue has {have}",
        asked.size
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
        "start: 'oldest', 'newest', 'next' or a sequence",
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
        open_timeout: Option<f64>,
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
            let shown = name.display();
            return Err(errors::schema_mismatch(
                py,
                format!("{shown}: {difference}"),
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
            lines: PyDict::new(py).unbind(),
            inner: Guarded::new(Inner::new(queue)),
        })
    }

    /// The next message, as bytes. Waits for one at most timeout seconds; None: for ever.
    ///
    /// Raises Empty when the time is over, Closed if the producer has closed the queue and
    /// everything in it was consumed, Replaced (a case of Closed) if the queue was replaced, or was
    /// removed and its producer ended without closing it, UsageError if this consumer is closed. Ctrl-C
    /// ends the wait.
    #[pyo3(signature = (timeout=None))]
    fn pop<'py>(&self, py: Python<'py>, timeout: Option<f64>) -> PyResult<Bound<'py, PyBytes>> {
        self.pop_within(py, Timeout::seconds(py, timeout)?)
    }

    /// The next message, as bytes, or None if there is none yet. Raises Closed as pop().
    fn try_pop<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        Ok(self.take(py)?.map(|(bytes, _)| bytes))
    }

    /// The next message with its sequence and what was lost before it. Waits and raises as pop().
    #[pyo3(signature = (timeout=None))]
    fn pop_message(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Message> {
        match handle::wait_for(py, Timeout::seconds(py, timeout)?, self, || self.take(py))? {
            Some((data, info)) => Ok(Message::new(data, info)),
            None => Err(self.is_empty(py)),
        }
    }

    /// As pop_message(), or None if there is none yet. Raises Closed as pop().
    fn try_pop_message(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        Ok(self.take(py)?.map(|(data, info)| Message::new(data, info)))
    }

    /// The next message as a record of the dtype, with its fields as attributes: record.px, or
    /// record["px"]; of a dtype without fields, a scalar or an array. Waits and raises as pop().
    ///
    /// Raises TypeError if there is no dtype, before anything is consumed.
    #[pyo3(signature = (timeout=None))]
    fn pop_record<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let layout = self.records.layout.bind(py);
        // What fails is to fail before the pop.
        layout.getattr(intern!(py, "form"))?;
        let bytes = self.pop_within(py, Timeout::seconds(py, timeout)?)?;
        layout.call_method1(intern!(py, "record"), (bytes,))
    }

    /// Up to max messages that are there, as a list of bytes; an empty list if there is none yet.
    /// Never waits.
    ///
    /// They follow each other without a gap: the list ends where messages were lost. last tells
    /// what was lost before the first.
    ///
    /// Raises Closed as pop().
    #[pyo3(signature = (max=4096))]
    fn pop_many<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = whole)] max: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let mut messages = Vec::new();
        let mut failed = None;
        let mut first = None;
        let mut copied = 0;
        let mut inner = self.inner.lock(py)?;
        while messages.len() < max {
            match inner.take_known(py, first.is_some()) {
                Ok(Ok(Taken::Message(bytes, message))) => {
                    copied += message.length as usize + SMALL;
                    if copied >= TURN {
                        // The other threads have a turn.
                        py.detach(|| ());
                        copied = 0;
                    }
                    messages.push(bytes);
                    first.get_or_insert(message);
                }
                other => {
                    failed = Some(other);
                    break;
                }
            }
        }
        if let Some(first) = first {
            inner.last = first;
        }
        drop(inner);
        if messages.is_empty() {
            match failed {
                Some(Err(e)) => return Err(e),
                Some(Ok(Err(e))) => return Err(errors::raise(py, e)),
                Some(Ok(Ok(Taken::Nothing(pop)))) => self.none_because(py, pop, 0)?,
                Some(Ok(Ok(Taken::HandleClosed))) => return Err(self.is_closed(py)),
                Some(Ok(Ok(Taken::Message(..)))) | None => {}
            }
        }
        // Whatever stopped a batch that has begun is told by the next call.
        PyList::new(py, messages)
    }

    /// Copies messages that are there into a writable buffer (a numpy array, a bytearray …) and
    /// returns how many: as many as fit in a queue of fixed size, at most one where the lengths
    /// vary; 0 if there is none yet. Never waits.
    ///
    /// They follow each other without a gap. last tells the sequence of the first, its length,
    /// and what was lost before it.
    ///
    /// Raises TooLarge if the buffer is too small for one message, SchemaMismatch if it is an array of
    /// another dtype than that of the messages, and nothing is consumed then; Closed as pop().
    #[pyo3(signature = (buffer, /))]
    fn pop_into(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        self.records.check(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        // SAFETY: the buffer is held, and writable.
        let filled = unsafe { self.fill(py, buffer.as_ptr(), buffer.len())? };
        Ok(filled.map_or(0, |(count, _)| count))
    }

    /// Up to max messages that are there, of fixed size: a bytearray with the bytes of all of them, how
    /// many there are, the sequence of the first and what was lost before it. None if there is none yet;
    /// with wait, waits for one. For _batch.py.
    fn _take<'py>(&self, py: Python<'py>, max: usize, wait: bool) -> PyResult<Option<Taking<'py>>> {
        let timeout = match wait {
            true => Timeout::FOR_EVER,
            false => Timeout::NONE,
        };
        handle::wait_for(py, timeout, self, || self.take_batch(py, max))
    }

    /// The next message in place: a context manager. Nothing is copied before it is asked for,
    /// and leaving the block consumes the message, unless the block raises.
    ///
    /// Waits and raises as pop(). The producer of a lossy queue may overwrite the message
    /// meanwhile: then reading it or leaving the block raises Overrun, and it counts as lost.
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("images")
    ///     >>> out.push(b"head and a long body")
    ///     >>> q = ipcq.Consumer("images")
    ///     >>> with q.peek() as view:
    ///     ...     head = view.read(0, 4)
    ///     >>> head
    ///     b'head'
    #[pyo3(signature = (timeout=None))]
    fn peek(slf: &Bound<'_, Self>, timeout: Option<f64>) -> PyResult<View> {
        let (py, this) = (slf.py(), slf.get());
        match handle::wait_for(py, Timeout::seconds(py, timeout)?, this, || this.look(py))? {
            Some((message, ticket)) => Ok(View {
                consumer: slf.clone().unbind(),
                message,
                ticket,
            }),
            None => Err(this.is_empty(py)),
        }
    }

    /// Up to max of the next messages in place, as many as there are and as lie side by side in the
    /// ring: a context manager, a Window. Nothing is copied, and leaving the block consumes them,
    /// unless the block raises.
    ///
    /// In a queue of fixed size, side by side means up to the end of the ring; where the lengths
    /// vary, a view is of one message.
    ///
    /// Waits and raises as pop(). The producer of a lossy queue may overwrite the messages meanwhile:
    /// then leaving the block raises Overrun, and they count as lost. So act on what was computed
    /// after the block. In a lossless queue they do not change before that (unless this consumer is
    /// an observer, or is evicted).
    ///
    /// Examples:
    ///     >>> import numpy as np
    ///     >>> tick = np.dtype([("price", "f8"), ("quantity", "u4")], align=True)
    ///     >>> out = ipcq.Producer("ticks", dtype=tick)
    ///     >>> out.push_many(np.ones(100, tick))
    ///     100
    ///     >>> q = ipcq.Consumer("ticks")
    ///     >>> with q.view(1024) as v:
    ///     ...     quantity = int(v.records.quantity.sum())
    ///     >>> quantity
    ///     100
    #[pyo3(signature = (max=4096, timeout=None))]
    fn view<'py>(
        slf: &Bound<'py, Self>,
        #[pyo3(from_py_with = whole)] max: usize,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().get_type::<Window>().call1((slf, max, timeout))
    }

    /// Goes to a sequence, from 0 to that of the message pushed next. If it is not retained any
    /// more, the oldest that is takes its place, and what lies between is lost. The counts in
    /// stats begin anew.
    ///
    /// Raises UsageError beyond what was pushed; the position is as before then.
    #[pyo3(signature = (sequence, /))]
    fn seek(&self, py: Python<'_>, #[pyo3(from_py_with = whole)] sequence: u64) -> PyResult<()> {
        self.with(py, |inner| {
            inner.looking = false;
            inner.queue.as_mut().map(|q| q.seek(sequence))
        })
    }

    /// Batches of what is there, for ever: an iterator of Batch, each of 1 to max messages, for `for`
    /// and for `async for`.
    ///
    /// A batch is given as soon as there is a message, or, with linger, when max messages are
    /// there, half the ring is full, or so many seconds have passed since the first was. It ends
    /// where messages were lost. The iterator ends when the producer closes. It waits without a time
    /// limit, and Ctrl-C ends the wait: for a limit, call wait(seconds) before next(iterator).
    ///
    /// Raises Replaced as pop(), UsageError for a max below 1.
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
        linger: f64,
    ) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._batch", "Batches")?.call1((slf, max, linger))
    }

    /// The messages as records of the dtype, one by one, as pop_record() gives them: an iterator for
    /// `for` and for `async for`. It ends when the producer closes. Each record is consumed when it is
    /// given, so a loop that is left early loses none. batches() is faster.
    ///
    /// Raises TypeError if there is no dtype, Replaced as pop().
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("trades", dtype=[("price", "f8"), ("quantity", "u4")])
    ///     >>> out.push((9.5, 3))
    ///     >>> out.close()
    ///     >>> for trade in ipcq.Consumer("trades").records():
    ///     ...     print(trade.price, trade.quantity)
    ///     9.5 3
    fn records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._batch", "RecordIterator")?.call1((slf,))
    }

    /// Waits for a message, at most timeout seconds (None: for ever), and says whether there is
    /// one. With at_least, waits until there are so many, or until the producer has closed the queue
    /// and no more can come: then it returns True although fewer are there.
    ///
    /// Like all waiting calls it looks for some microseconds and then sleeps, without use of the
    /// processor, until the producer pushes. For that it needs to write the control file; where it
    /// may not, it looks again after 0.1 to 4 ms. While it waits for more than the first message it
    /// looks once a millisecond, so that the producer need not wake it for each.
    ///
    /// Raises Closed as pop(), UsageError for an at_least that is more than the ring can hold.
    #[pyo3(signature = (timeout=None, *, at_least=1))]
    fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
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
        Ok(handle::wait_for(py, timeout, self, || self.there(py))?.is_some())
    }

    /// Waits until `at_least` messages are there, or half a ring of them: a consumer that waits for a
    /// whole ring loses messages, or stops the producer. For _batch.py.
    fn _gather(&self, py: Python<'_>, timeout: f64, at_least: u64) -> PyResult<bool> {
        let timeout = Timeout::seconds(py, Some(timeout))?;
        self.gather(py, timeout, at_least, self.capacity / 2)
    }

    /// A descriptor for select, selectors and loop.add_reader of asyncio: it becomes readable when
    /// there is a message, or the queue is at its end, and stays so until a pop finds nothing. So
    /// pop until there is nothing (try_pop() gives None), then wait. It may be readable though
    /// nothing is there.
    ///
    /// It belongs to this consumer and is closed with it: only ever wait for it. After a fork it
    /// is the parent's, and the child asks for its own.
    fn fileno(&self, py: Python<'_>) -> PyResult<i32> {
        self.with(py, |i| i.queue.as_mut().map(|q| q.fd()))
    }

    /// As queue.Queue.get: pop(timeout), or without a wait if not block. Raises Empty, Closed.
    #[pyo3(signature = (block=true, timeout=None))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = truth)] block: bool,
        timeout: Option<f64>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let timeout = if block {
            Timeout::seconds(py, timeout)?
        } else {
            Timeout::NONE
        };
        self.pop_within(py, timeout)
    }

    /// As queue.Queue.get_nowait: pop(0). Raises Empty, Closed.
    fn get_nowait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.pop_within(py, Timeout::NONE)
    }

    /// As asyncio.Queue.get: a coroutine that gives the next message, as bytes. It waits in the running
    /// loop, on a descriptor: any number of tasks may. They are served in the order in which they came,
    /// and one that is cancelled takes no message with it (asyncio.wait_for, asyncio.timeout).
    ///
    /// Raises Closed as pop().
    fn aget<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._aio", "get")?.call1((slf,))
    }

    /// As aget(), with its sequence and what was lost before it.
    fn aget_message<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._aio", "get_message")?.call1((slf,))
    }

    fn __aiter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        part!(slf.py(), "ipcq._aio", "Messages")?.call1((slf,))
    }

    #[getter]
    fn _lines(&self, py: Python<'_>) -> Py<PyDict> {
        self.lines.clone_ref(py)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.lines)?;
        visit.call(&self.records.layout)
    }

    /// As queue.Queue.qsize: how many messages were pushed and neither received nor known to be
    /// lost; stats.lag.
    fn qsize(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.with(py, |i| i.queue.as_ref().map(|q| q.stats()))?.lag)
    }

    /// As queue.Queue.empty: whether there is no message at this moment.
    fn empty(&self, py: Python<'_>) -> PyResult<bool> {
        match self.with(py, |i| i.queue.as_mut().map(|q| q.peek_raw()))? {
            (Pop::Message(_), _) => Ok(false),
            _ => Ok(true),
        }
    }

    /// The sequence of the message wanted next.
    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |i| i.queue.as_ref().map(|q| Ok(q.next_sequence())))
    }

    /// About the message consumed last, or the first one of the last pop_many() or pop_into(), as
    /// a tuple (sequence, lost, length): lost is how many were lost between the one consumed
    /// before and this one. (0, 0, 0) before the first.
    #[getter]
    fn last<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let last = self.inner.lock(py)?.last;
        part!(py, "ipcq._batch", "Info")?.call1((last.sequence, last.lost, last.length))
    }

    /// The consumers attached and known, the slowest first: all of a lossless queue, of a lossy
    /// one those that may write its control file; but no observers.
    fn consumers(&self, py: Python<'_>) -> PyResult<Vec<ConsumerInfo>> {
        let list = self.with(py, |i| i.queue.as_ref().map(|q| q.consumers()))?;
        Ok(list.into_iter().map(ConsumerInfo::from).collect())
    }

    /// Figures of the queue and of this consumer, as a Stats.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        self.with(py, |i| i.queue.as_ref().map(|q| q.stats()))
            .map(Stats::from)
    }

    /// The name as it was given.
    #[getter]
    fn name(&self) -> std::ffi::OsString {
        self.name.as_os_str().to_owned()
    }

    /// Bytes of every message; 0 if they vary.
    #[getter]
    fn message_size(&self) -> usize {
        self.message_size
    }

    /// Bytes of the longest message that can come.
    #[getter]
    fn max_message(&self) -> usize {
        self.max_message
    }

    /// Messages (fixed size) or bytes (varying) that the ring holds.
    #[getter]
    fn capacity(&self) -> u64 {
        self.capacity
    }

    /// "lossy" or "lossless".
    #[getter]
    fn delivery(&self) -> &'static str {
        self.delivery
    }

    /// The numpy dtype of the messages: the one that was given, or else that of the queue; None if
    /// there is neither.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.records.dtype(py)
    }

    #[getter]
    fn _layout(&self, py: Python<'_>) -> Py<PyAny> {
        self.records.layout.clone_ref(py)
    }

    /// Whether this handle was closed. Whether the producer has closed the queue is another question:
    /// stats.closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.queue.is_none())
    }

    /// Lets go of the queue. Closing twice is fine.
    ///
    /// Arrays and memoryviews of a view can be used after it: the memory that they show stays mapped
    /// for as long as they exist. What is in it may be overwritten from then on, also in a lossless
    /// queue.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut inner = self.inner.lock(py)?;
        inner.looking = false;
        let queue = inner.queue.take();
        drop(inner);
        py.detach(|| drop(queue));
        let lines = self.lines.bind(py);
        match lines.is_empty() {
            true => Ok(()),
            false => part!(py, "ipcq._aio", "end")?.call1((lines,)).map(drop),
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
        match handle::wait_for(py, Timeout::FOR_EVER, self, || self.take(py)) {
            Ok(found) => Ok(found.map(|(bytes, _)| bytes)),
            // Rare, and so a comparison with the class does.
            Err(e) if errors::is_end(py, &e) => Ok(None),
            Err(e) => Err(e),
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
