//! The producer.

use crate::buffer::{check_plain, Buffer};
use crate::errors;
use crate::handle::{
    self, caught, part, truth, whole, whole_or_none, Dtype, Guard, Guarded, Name, Records, Timeout,
    Waiting, LARGE,
};
use crate::stats::{delivery, ConsumerInfo, Stats};
use ipcq::Ticket;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};
use std::path::PathBuf;
use std::time::Duration;

/// The one who pushes messages into a queue, and creates it where there is none.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR), any other is a path. So is
///         a pathlib.Path in any case.
///     capacity: Messages (message_size or dtype given) or bytes (neither given) that the ring
///         holds, rounded up to a power of two. 0: a ring of about 4 MiB.
///     message_size: Bytes of every message, 1 to 1 GiB. 0: every message has its own length, at most
///         an eighth of the capacity. None: that of the queue if it exists, else 0.
///     dtype: A numpy dtype: messages are records of it, and message_size is its itemsize. Its
///         fields, with align=True those of the C struct, are kept in the queue: consumers get them
///         as their dtype, and are told where theirs differs. Little-endian, and no objects.
///     permissions: Mode bits of the data file. 0: 0o600.
///     control_permissions: Mode bits of the control file. 0: those of the data file.
///     delivery: "lossy", or None, the default: a consumer that falls a whole ring behind loses the
///         oldest messages. "lossless": nothing is overwritten that an attached consumer has not
///         consumed; push() raises Full, put() waits.
///     max_consumers: Places for consumers in the control file (0: 32). No more can attach to a
///         lossless queue; in a lossy one, more are not listed.
///     min_consumers: Lossless: how many must be attached at once before anything is overwritten
///         for the first time. 0: with nobody attached, the producer runs on.
///     evict_after: Lossless: seconds after which a consumer that holds the producer up and
///         consumes nothing is waited for no longer; it goes on, and counts as lost what was
///         overwritten. None: never (but one that died is dropped at once).
///     exclusive: Fail if the queue exists.
///     replace: If what exists does not fit, put a new queue in its place.
///
/// Where the queue exists, what is given must fit it, what is not given is taken from it, and the
/// sequence goes on. Several threads may share a producer; in a forked child it only raises.
/// Closing it (close(), the end of a with block, or being collected) marks the queue closed.
///
/// It can be pickled, for multiprocessing: what comes out opens the queue anew and goes on with its
/// sequence. A queue has one producer, so this one is to be detached before (detach()), or closed;
/// otherwise ProducerExists is raised there. A producer that is open at the normal end of a child of
/// multiprocessing is closed then.
///
/// Raises ProducerExists (another live producer has the queue), Incompatible (it exists with
/// another geometry or layout version, or is damaged), SchemaMismatch (it exists with other records),
/// FileExistsError (exclusive),
/// PermissionError, OSError with ENOSPC, UsageError.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Producer {
    inner: Guarded<Inner>,
    name: Name,
    /// The file, resolved when it was opened.
    path: PathBuf,
    /// 0 if they vary.
    message_size: usize,
    max_message: usize,
    capacity: u64,
    delivery: &'static str,
    records: Records,
    /// What else it was opened with, and is to be if it is pickled.
    given: Py<PyDict>,
}

struct Inner {
    queue: Option<ipcq::Producer>,
    /// Counts claims, so that one that has ended is told from the one that stands.
    claims: u64,
    claimed: bool,
}

/// Other threads of the interpreter may run after this many messages of an iterable.
const TURN: usize = 4096;

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            handle::drop_detached(queue);
        }
    }
}

impl Producer {
    /// Does something with the queue.
    #[inline(always)]
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut ipcq::Producer) -> ipcq::Result<T>,
    ) -> PyResult<T> {
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.is_closed(py));
        };
        let result = caught(|| act(queue));
        drop(inner);
        result.map_err(|e| errors::raise(py, e))
    }

    pub fn panic(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |_| panic!("asked for"))
    }

    /// Takes the queue out of the handle, which is closed then.
    fn take(&self, py: Python<'_>) -> PyResult<Option<ipcq::Producer>> {
        let mut inner = self.inner.lock(py)?;
        inner.claimed = false;
        Ok(inner.queue.take())
    }

    #[cold]
    fn is_closed(&self, py: Python<'_>) -> PyErr {
        handle::closed(py, &self.name, "producer")
    }

    /// Pushes the bytes at a pointer, which stay there for the time of the call.
    #[inline(always)]
    fn push_from(&self, py: Python<'_>, from: *const u8, length: usize) -> PyResult<()> {
        if length >= LARGE {
            let from = from as usize;
            return self.with(py, |q| {
                // SAFETY: readable, as below.
                py.detach(|| unsafe { q.push_raw(from as *const u8, length) })
            });
        }
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.is_closed(py));
        };
        // What takes nothing but a copy cannot panic; to catch that took 6 % of a push.
        // SAFETY: readable: it is a buffer that the caller holds.
        if unsafe { queue.push_quickly(from, length) }.is_some() {
            return Ok(());
        }
        // SAFETY: as above.
        let pushed = caught(|| unsafe { queue.push_raw(from, length) });
        drop(inner);
        pushed.map_err(|e| errors::raise(py, e))
    }

    /// Pushes until all `count` are pushed or the time is over, and returns how many are. `push` is
    /// given how many are pushed, and returns how many more it has pushed; it runs with the interpreter
    /// released if there are many `bytes`.
    fn push_all(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        (count, bytes): (usize, usize),
        push: impl Fn(&mut ipcq::Producer, usize) -> ipcq::Result<usize> + Sync,
    ) -> PyResult<usize> {
        let (mut done, mut full) = (0, None);
        handle::wait_for(py, timeout, self, || {
            done += self.with(py, |q| {
                let pushed = match bytes >= LARGE {
                    true => py.detach(|| push(q, done)),
                    false => push(q, done),
                };
                match pushed {
                    Err(e @ ipcq::Error::Full(_)) => {
                        full = Some(e);
                        Ok(0)
                    }
                    other => other,
                }
            })?;
            Ok((done == count).then_some(()))
        })?;
        match full {
            Some(e) if done == 0 => Err(errors::raise(py, e)),
            _ => Ok(done),
        }
    }

    /// Pushes every item of an iterable, all of which are collected and checked first.
    fn push_each(&self, items: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<usize> {
        let py = items.py();
        let mut messages = Vec::new();
        for item in items.try_iter()? {
            let message = Buffer::of(&self.records.message(&item?)?)?;
            let length = message.len();
            let fits = match self.message_size {
                0 => length <= self.max_message,
                size => length == size,
            };
            if !fits {
                return Err(errors::too_large(
                    py,
                    format!(
                        "{}: item {} has {length} bytes, {}",
                        self.name.display(),
                        messages.len(),
                        match self.message_size {
                            0 => format!("at most {} are possible", self.max_message),
                            size => format!("all messages of this queue have {size}"),
                        }
                    ),
                ));
            }
            messages.push(message);
            if messages.len() % TURN == 0 {
                // Other threads may run.
                py.detach(|| ());
            }
        }
        let places: Vec<_> = messages
            .iter()
            .map(|message| (message.as_ptr() as usize, message.len()))
            .collect();
        let bytes = places.iter().map(|(_, length)| length).sum();
        self.push_all(py, timeout, (places.len(), bytes), |q, done| {
            for (i, &(from, length)) in places[done..].iter().enumerate() {
                // SAFETY: the buffers are held until the end of the call.
                match unsafe { q.push_raw(from as *const u8, length) } {
                    Ok(()) => {}
                    Err(ipcq::Error::Full(_)) if i > 0 => return Ok(i),
                    Err(e) => return Err(e),
                }
            }
            Ok(places.len() - done)
        })
    }
}

impl Waiting for Producer {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        self.with(py, |q| Ok(vec![q.ask()]))
    }

    fn awake(&self, _: Python<'_>) {}
}

#[pymethods]
impl Producer {
    #[new]
    #[pyo3(signature = (name, *, capacity=0, message_size=None, dtype=None, permissions=0,
                        control_permissions=0, delivery=None, max_consumers=0, min_consumers=0,
                        evict_after=None, exclusive=false, replace=false))]
    #[allow(clippy::too_many_arguments)]
    fn new<'py>(
        py: Python<'py>,
        name: Name,
        #[pyo3(from_py_with = whole)] capacity: u64,
        #[pyo3(from_py_with = whole_or_none)] message_size: Option<u32>,
        dtype: Option<Bound<'py, PyAny>>,
        #[pyo3(from_py_with = whole)] permissions: u32,
        #[pyo3(from_py_with = whole)] control_permissions: u32,
        delivery: Option<&str>,
        #[pyo3(from_py_with = whole)] max_consumers: u32,
        #[pyo3(from_py_with = whole)] min_consumers: u32,
        evict_after: Option<f64>,
        #[pyo3(from_py_with = truth)] exclusive: bool,
        #[pyo3(from_py_with = truth)] replace: bool,
    ) -> PyResult<Bound<'py, Self>> {
        let mut options = ipcq::Producer::options()
            .capacity(capacity)
            .permissions(permissions)
            .control_permissions(control_permissions)
            .max_consumers(max_consumers)
            .min_consumers(min_consumers)
            .exclusive(exclusive)
            .replace(replace);
        if let Some(seconds) = evict_after {
            let time = Duration::try_from_secs_f64(seconds)
                .map_err(|_| errors::usage(py, "evict_after: seconds from 0 up, or None"))?;
            options = options.evict_after(time);
        }
        let given = PyDict::new(py);
        given.set_item("permissions", permissions)?;
        given.set_item("control_permissions", control_permissions)?;
        given.set_item("max_consumers", max_consumers)?;
        given.set_item("min_consumers", min_consumers)?;
        given.set_item("evict_after", evict_after)?;
        let mut message_size = message_size;
        let dtype = dtype.map(|d| Dtype::of(&d)).transpose()?;
        if let Some(Dtype { size, schema, .. }) = &dtype {
            if message_size.is_some_and(|given| given as usize != *size) {
                return Err(errors::usage(
                    py,
                    format!("message_size: the records of this dtype have {size} bytes"),
                ));
            }
            message_size =
                Some(u32::try_from(*size).map_err(|_| {
                    errors::too_large(py, format!("dtype: records of {size} bytes"))
                })?);
            options = options.schema(schema.clone());
        }
        if let Some(bytes) = message_size {
            options = options.message_size(bytes);
        }
        options = match delivery {
            None => options,
            Some("lossy") => options.delivery(ipcq::Delivery::Lossy),
            Some("lossless") => options.delivery(ipcq::Delivery::Lossless),
            Some(_) => return Err(errors::usage(py, "delivery: 'lossy' or 'lossless'")),
        };
        let queue = handle::slowly(py, || options.open(&*name))?;
        let queue = queue.map_err(|e| errors::raise(py, e))?;
        let geometry = queue.geometry();
        let producer = Producer {
            records: Records::new(py, &name, dtype, queue.schema())?,
            name,
            path: queue.path().to_owned(),
            message_size: geometry.message_size as usize,
            max_message: queue.max_message(),
            capacity: geometry.capacity,
            delivery: self::delivery(geometry.delivery),
            given: given.unbind(),
            inner: Guarded::new(Inner {
                queue: Some(queue),
                claims: 0,
                claimed: false,
            }),
        };
        let producer = Bound::new(py, producer)?;
        part!(py, "ipcq._again", "close_at_exit")?.call1((&producer,))?;
        Ok(producer)
    }

    /// Pushes one message: any object with a contiguous buffer (bytes, bytearray, memoryview, an
    /// array), or, if the queue has a dtype, what numpy takes for one record of it (a tuple, a dict, a
    /// number). Never waits: put() does.
    ///
    /// Raises Full (in a lossless queue, if a consumer has not caught up), SchemaMismatch if it is an
    /// array, or has a format, of another dtype than that of the queue, TooLarge if it has not the size
    /// of this queue's messages (or, where they vary, is longer than max_message), UsageError for a
    /// value that its field cannot hold or that is masked, while a message is claimed or if the
    /// producer is closed, Error in a forked child. Nothing is pushed then.
    #[pyo3(signature = (data, /))]
    fn push(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(bytes) = data.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            return self.push_from(py, bytes.as_ptr(), bytes.len());
        }
        let data = Buffer::of(&self.records.message(data)?)?;
        self.push_from(py, data.as_ptr(), data.len())
    }

    /// Pushes many messages and returns how many were pushed: all, unless a lossless queue stays
    /// full for timeout seconds (0: does not wait, None: waits for ever).
    ///
    /// In a queue of fixed size, data is an array or any buffer of a whole number of messages. In
    /// any queue it may be an iterable of what push() takes, which is collected and checked before
    /// the first is pushed. In a queue with a dtype it may be a table: a pandas, polars or pyarrow one
    /// with a column for each field, whose values must fit the field. A column with a time zone is
    /// converted to UTC.
    ///
    /// Raises as push(), but Full only if nothing was pushed.
    ///
    /// Examples:
    ///     >>> words = ipcq.Producer("words")
    ///     >>> words.push_many([b"one", b"and another"])
    ///     2
    ///     >>> numbers = ipcq.Producer("numbers", message_size=8)
    ///     >>> numbers.push_many(bytes(8 * 100))
    ///     100
    #[pyo3(signature = (data, /, timeout=0.0))]
    fn push_many(&self, data: &Bound<'_, PyAny>, timeout: Option<f64>) -> PyResult<usize> {
        let timeout = Timeout::seconds(data.py(), timeout)?;
        let data = &self.records.messages(data)?;
        if self.message_size == 0 || !Buffer::is_in(data) {
            if data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>() {
                return Err(PyTypeError::new_err(
                    "push_many: the messages of this queue vary in length: an iterable of them",
                ));
            }
            return self.push_each(data, timeout);
        }
        let (py, size) = (data.py(), self.message_size);
        check_plain(data)?;
        let data = Buffer::of(data)?;
        if data.len() % size != 0 {
            return Err(errors::too_large(
                py,
                format!(
                    "{}: {} bytes are no whole number of messages of {size}",
                    self.name.display(),
                    data.len()
                ),
            ));
        }
        let count = data.len() / size;
        if count == 0 {
            return Ok(0);
        }
        let from = data.as_ptr() as usize;
        self.push_all(py, timeout, (count, data.len()), |q, done| {
            // SAFETY: the buffer is held, and holds so many messages.
            unsafe { q.push_many_raw((from + done * size) as *const u8, size, count - done) }
        })
    }

    /// Room for one message, to be written in place: a context manager that pushes the message
    /// when the block ends, and gives it up if the block raises.
    ///
    /// size is the most bytes it may have; it is not needed in a queue of fixed size. Only one
    /// message can be claimed at a time, and nothing pushed meanwhile.
    ///
    /// Raises as push().
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("greetings")
    ///     >>> with out.claim(5) as message:
    ///     ...     message.write(0, b"hello")
    ///     >>> ipcq.Consumer("greetings").pop()
    ///     b'hello'
    #[pyo3(signature = (size=None))]
    fn claim(
        slf: &Bound<'_, Self>,
        #[pyo3(from_py_with = whole_or_none)] size: Option<usize>,
    ) -> PyResult<Claim> {
        let (py, this) = (slf.py(), slf.get());
        let length = match (size, this.message_size) {
            (Some(size), _) => size,
            (None, 0) => {
                return Err(PyTypeError::new_err(
                    "claim: the messages of this queue vary in length: a size is needed",
                ))
            }
            (None, size) => size,
        };
        let mut inner = this.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(this.is_closed(py));
        };
        match caught(|| queue.claim_raw(length)) {
            Ok(at) => {
                inner.claims += 1;
                inner.claimed = true;
                let ticket = inner.claims;
                drop(inner);
                Ok(Claim {
                    producer: slf.clone().unbind(),
                    at: at as usize,
                    length,
                    ticket,
                })
            }
            Err(e) => {
                drop(inner);
                Err(errors::raise(py, e))
            }
        }
    }

    /// As queue.Queue.put: waits for room, asleep, and raises Full if there is none in time. A lossy
    /// queue is never full.
    #[pyo3(signature = (item, block=true, timeout=None))]
    fn put(
        &self,
        item: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = truth)] block: bool,
        timeout: Option<f64>,
    ) -> PyResult<()> {
        let py = item.py();
        let timeout = if block {
            Timeout::seconds(py, timeout)?
        } else {
            Timeout::NONE
        };
        let data = Buffer::of(&self.records.message(item)?)?;
        let (from, length) = (data.as_ptr() as usize, data.len());
        self.push_all(py, timeout, (1, length), |q, _| {
            // SAFETY: readable: the buffer is held.
            unsafe { q.push_raw(from as *const u8, length) }.map(|()| 1)
        })?;
        Ok(())
    }

    /// As queue.Queue.put_nowait: the same as push().
    fn put_nowait(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.push(item)
    }

    /// As asyncio.Queue.put: a coroutine that pushes a message, and waits for room in the running loop
    /// where a lossless queue is full: it looks again after 0.1 ms, then 0.2, up to every 4 ms. Tasks
    /// of one loop are served in the order in which they came.
    ///
    /// Raises as push(), but for Full. If it is cancelled, nothing was pushed.
    fn aput<'py>(slf: &Bound<'py, Self>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let put = part!(slf.py(), "ipcq._aio", "put")?;
        put.call1((slf, item))
    }

    /// The sequence of the message pushed next.
    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |q| Ok(q.next_sequence()))
    }

    /// The consumers attached and known, the slowest first: all of a lossless queue, of a lossy
    /// one those that may write its control file; but no observers.
    fn consumers(&self, py: Python<'_>) -> PyResult<Vec<ConsumerInfo>> {
        let list = self.with(py, |q| Ok(q.consumers()))?;
        Ok(list.into_iter().map(ConsumerInfo::from).collect())
    }

    /// Figures of the queue, as a Stats.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<Stats> {
        self.with(py, |q| q.stats()).map(Stats::from)
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

    /// Bytes of the longest message.
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

    /// Whether this handle was closed. Whether the queue is closed is another question: stats.closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.queue.is_none())
    }

    /// Closes the queue: consumers drain it and then learn that it is closed. A message that is
    /// claimed is given up. Closing twice is fine. The end of a with block closes it too, also where
    /// an exception ends the block; a process that is killed does not close it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.take(py)?;
        py.detach(|| drop(queue));
        Ok(())
    }

    /// Closes this handle, and leaves the queue open: consumers wait on, and another process can open
    /// it as its producer and continue the sequence. A message that is claimed is given up. Does
    /// nothing if this handle is closed.
    ///
    /// So a producer is handed over: detach it, then open its name in the other process, or pickle it.
    /// (multiprocessing pickles what it is given, unless its start method is fork: the child has this
    /// closed handle then.)
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.take(py)?;
        py.detach(|| queue.map(ipcq::Producer::detach));
        Ok(())
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let options = self.given.bind(py).copy()?;
        // The queue as it is, also if it has to be made again.
        options.set_item("capacity", self.capacity)?;
        options.set_item("delivery", self.delivery)?;
        let dtype = self.records.given(py)?;
        match (dtype.is_none(), self.message_size) {
            (false, _) => options.set_item("dtype", dtype)?,
            (true, 0) => {}
            (true, size) => options.set_item("message_size", size)?,
        }
        handle::reopened(&py.get_type::<Producer>(), &self.path, &options, None)
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
            "<ipcq.Producer '{}', messages {size}, {state}>",
            self.name.display()
        ))
    }
}

/// Room for one message, claimed and not yet pushed; see Producer.claim().
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Claim {
    producer: Py<Producer>,
    at: usize,
    length: usize,
    ticket: u64,
}

impl Claim {
    /// The producer's lock, if this claim stands.
    fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<Option<Guard<'a, Inner>>> {
        let inner = self.producer.get().inner.lock(py)?;
        Ok((inner.claimed && inner.claims == self.ticket).then_some(inner))
    }

    #[cold]
    fn has_ended(&self, py: Python<'_>) -> PyErr {
        let name = self.producer.get().name.display();
        errors::usage(py, format!("{name}: this claim has ended"))
    }

    fn abandon(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Ok(());
        };
        inner.claimed = false;
        if let Some(queue) = &mut inner.queue {
            // Fails only in a forked child, where there is nothing to give up.
            let _ = caught(|| queue.abort_raw());
        }
        Ok(())
    }
}

#[pymethods]
impl Claim {
    /// Copies data (any object with a contiguous buffer) into the message, offset bytes from its
    /// start. Raises UsageError beyond what was claimed, or if the claim has ended, SchemaMismatch if
    /// data is an array of another dtype than that of the queue (data.tobytes() are bytes).
    #[pyo3(signature = (offset, data, /))]
    fn write(
        &self,
        #[pyo3(from_py_with = whole)] offset: usize,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = data.py();
        self.producer.get().records.check(data)?;
        let data = Buffer::of(data)?;
        let Some(inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        match offset.checked_add(data.len()) {
            Some(end) if end <= self.length => {
                let (to, from, size) = (self.at + offset, data.as_ptr() as usize, data.len());
                // SAFETY: inside what was claimed; the claim stands, so the queue is mapped.
                let copy = || unsafe {
                    ipcq::copy_to_shared(to as *mut u8, from as *const u8, size);
                };
                match size >= LARGE {
                    true => py.detach(copy),
                    false => copy(),
                }
                Ok(())
            }
            _ => {
                drop(inner);
                Err(errors::usage(
                    py,
                    format!(
                        "{} bytes at {offset} of a claim of {}",
                        data.len(),
                        self.length
                    ),
                ))
            }
        }
    }

    /// Pushes the first length bytes as a message; None: all of it, which is what a queue of fixed
    /// size needs. Leaving the block does this too.
    ///
    /// Raises TooLarge, UsageError if the claim has ended.
    #[pyo3(signature = (length=None))]
    fn commit(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = whole_or_none)] length: Option<usize>,
    ) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.has_ended(py));
        };
        let result = caught(|| queue.commit_raw(length.unwrap_or(self.length)));
        inner.claimed = result.is_err();
        drop(inner);
        result.map_err(|e| errors::raise(py, e))
    }

    /// Gives the claim up: nothing is pushed. Does nothing if it has ended.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.abandon(py)
    }

    fn __len__(&self) -> usize {
        self.length
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (kind, _value, _traceback))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        _value: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        if !kind.is_none() {
            return self.abandon(py);
        }
        // It may have been committed, with its true length, or given up inside the block.
        let stands = self.lock(py)?.is_some();
        if stands {
            self.commit(py, None)?;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A claim that nobody can end any more would keep the producer from pushing.
        Python::try_attach(|py| {
            if let Err(e) = self.abandon(py) {
                e.write_unraisable(py, None);
            }
        });
    }
}
