//! The producer.

use crate::buffer::{check_plain, Buffer};
use crate::errors::{self, Failure};
use crate::handle::{
    self, catch_panic, copying, part, seconds_or_none, truth, whole, whole_or_none, Dtype, Guarded,
    Name, Records, Timeout, Turns, Waker,
};
use crate::stats::{delivery, ConsumerInfo, Stats};
use ipcq::__binding::Ticket;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict};
use std::path::PathBuf;
use std::time::Duration;

/// Pushes messages into a queue, and creates the queue if it does not exist.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
///         and a pathlib.Path is always a path.
///     capacity: How many messages (if message_size or dtype is given) or bytes (otherwise) the
///         ring holds. It is rounded up to a power of two. 0: a ring of about 4 MiB.
///     message_size: The bytes of every message, 1 to 1 GiB. 0: messages vary in length, up to an
///         eighth of the capacity. None: the size of the queue if it exists, otherwise 0.
///     dtype: A numpy dtype. The messages are records of it, and message_size is its itemsize. The
///         queue stores its fields, so consumers use them as their dtype, and a consumer with
///         another dtype gets an error. With align=True the fields have the offsets of the C
///         struct. It must be little-endian and have no objects.
///     permissions: The mode bits of the data file. 0: 0o600.
///     control_permissions: The mode bits of the control file. 0: those of the data file.
///     delivery: "lossy", or None (the default): a consumer that falls a whole ring behind loses
///         the oldest messages. "lossless": a message is overwritten only after every attached
///         consumer has consumed it. If the ring is full, push() raises Full and put() waits.
///     max_consumers: The number of consumer slots in the control file. 0: 32. No more consumers
///         can attach to a lossless queue. In a lossy queue, further consumers are not listed.
///     min_consumers: For lossless queues: how many consumers must be attached at the moment in
///         which the first message of the queue is overwritten. 0: the producer need not wait.
///     evict_after: For lossless queues: a consumer that holds back the producer and makes no
///         progress for this many seconds (more than 0) is evicted. It may continue, and counts as
///         lost what was overwritten. None: no consumer is evicted, unless its process has died.
///         A lossy queue refuses it: UsageError.
///     exclusive: Fail if the queue exists.
///     replace: If the queue exists with other properties, put a new queue in its place.
///
/// If the queue exists, the arguments that are given must fit it, the others are taken from it, and
/// the sequence continues. Several threads may share a producer. In a forked child every call
/// raises. Closing the producer (by close(), by the end of a with block, or by garbage collection)
/// marks the queue as closed.
///
/// A producer can be pickled (for multiprocessing). The result opens the queue again and continues
/// its sequence. A queue has one producer, so detach() or close() this one first. Otherwise
/// ProducerExistsError is raised there. A producer that is open at the normal end of a child of
/// multiprocessing is closed then.
///
/// Raises ProducerExistsError (another live producer has the queue), IncompatibleError (the queue
/// exists with other properties or another layout version, or is damaged), SchemaMismatchError (it
/// exists with other records), FileExistsError (exclusive), PermissionError, OSError with ENOSPC,
/// UsageError.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Producer {
    inner: Guarded<Inner>,
    name: Name,
    /// The file, resolved when it was opened.
    path: PathBuf,
    /// 0 if the messages vary in length.
    message_size: usize,
    max_message: usize,
    capacity: u64,
    delivery: &'static str,
    records: Records,
    /// The other arguments that it was opened with, for pickle.
    given: Py<PyDict>,
}

struct Inner {
    /// `None` if the handle was closed.
    queue: Option<ipcq::Producer>,
    /// The number of claims made so far. The last of them is valid while `claimed`.
    claims: u64,
    claimed: bool,
}

impl Inner {
    #[inline(always)]
    fn queue(&mut self) -> Result<&mut ipcq::Producer, Failure> {
        self.queue.as_mut().ok_or(Failure::HandleClosed)
    }
}

/// The number of messages that are collected between two looks at the time.
const TURN: usize = 1024;

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
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        self.inner
            .with(py, act, |failure| self.exception(py, failure))
    }

    #[cold]
    fn exception(&self, py: Python<'_>, failure: Failure) -> PyErr {
        failure.exception(py, &self.name, "producer", "claim")
    }

    #[cfg(feature = "_test")]
    pub fn panic(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |_| panic!("requested"))
    }

    /// Takes the queue out of the handle. The handle is closed afterwards.
    fn take(&self, py: Python<'_>) -> PyResult<Option<ipcq::Producer>> {
        let mut inner = self.inner.lock(py)?;
        inner.claimed = false;
        Ok(inner.queue.take())
    }

    /// Pushes the bytes at a pointer.
    ///
    /// # Safety
    /// `length` bytes are readable there during the call.
    #[inline(always)]
    unsafe fn push_from(&self, py: Python<'_>, from: *const u8, length: usize) -> PyResult<()> {
        let mut inner = self.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.exception(py, Failure::HandleClosed));
        };
        // The fast path only copies, so it cannot panic. To catch panics cost 6 % of a push.
        // SAFETY: the caller's promise.
        if unsafe { ipcq::__binding::try_fast_push(queue, from, length) } {
            return Ok(());
        }
        let from = from as usize;
        let pushed = catch_panic(|| {
            copying(py, length, || {
                // SAFETY: the caller's promise.
                unsafe { queue.push_raw(from as *const u8, length) }
            })
        });
        drop(inner);
        pushed.map_err(|e| errors::raise(py, e))
    }

    /// Pushes until all `count` messages are pushed or the time is over, and returns how many
    /// were pushed. `push` gets that number so far, and returns how many more it has pushed. It
    /// runs with the interpreter released if `bytes` is large.
    fn push_all(
        &self,
        py: Python<'_>,
        timeout: Timeout,
        (count, bytes): (usize, usize),
        push: impl Fn(&mut ipcq::Producer, usize) -> ipcq::Result<usize> + Sync,
    ) -> PyResult<usize> {
        let (mut done, mut full) = (0, None);
        handle::wait_for(py, timeout, self, || {
            done += self.with(py, |inner| {
                let queue = inner.queue()?;
                match copying(py, bytes, || push(queue, done)) {
                    Err(e @ ipcq::Error::Full(_)) => {
                        full = Some(e);
                        Ok(0)
                    }
                    pushed => Ok(pushed?),
                }
            })?;
            Ok((done == count).then_some(()))
        })?;
        match full {
            Some(e) if done == 0 => Err(errors::raise(py, e)),
            _ => Ok(done),
        }
    }

    /// Pushes every item of an iterable. All of them are collected and checked first.
    fn push_each(&self, items: &Bound<'_, PyAny>, timeout: Timeout) -> PyResult<usize> {
        let py = items.py();
        let mut messages = Vec::new();
        let mut turns = Turns::new();
        for item in items.try_iter()? {
            let message = Buffer::of(&self.records.message(&item?)?)?;
            let length = message.len();
            let fits = match self.message_size {
                0 => length <= self.max_message,
                size => length == size,
            };
            if !fits {
                return Err(errors::message_size(
                    py,
                    format!(
                        "{}: item {} has {length} bytes, but {}",
                        self.name.display(),
                        messages.len(),
                        match self.message_size {
                            0 => format!("a message has at most {}", self.max_message),
                            size => format!("all messages of this queue have {size} bytes"),
                        }
                    ),
                ));
            }
            messages.push(message);
            if messages.len() % TURN == 0 {
                turns.offer(py);
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

impl Waker for Producer {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        self.with(py, |inner| {
            Ok(vec![ipcq::__binding::producer_ask(inner.queue()?)])
        })
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
        #[pyo3(from_py_with = seconds_or_none)] evict_after: Option<f64>,
        #[pyo3(from_py_with = truth)] exclusive: bool,
        #[pyo3(from_py_with = truth)] replace: bool,
    ) -> PyResult<Bound<'py, Self>> {
        let mut options = ipcq::Producer::options()
            .exclusive(exclusive)
            .replace(replace);
        // In Python, zero stands for the default.
        if capacity != 0 {
            options = options.capacity(capacity);
        }
        if permissions != 0 {
            options = options.permissions(permissions);
        }
        if control_permissions != 0 {
            options = options.control_permissions(control_permissions);
        }
        if max_consumers != 0 {
            options = options.max_consumers(max_consumers);
        }
        if min_consumers != 0 {
            options = options.min_consumers(min_consumers);
        }
        if let Some(seconds) = evict_after {
            // A time of 0 would evict at once.
            let time = Duration::try_from_secs_f64(seconds).ok();
            let time = time.filter(|time| !time.is_zero()).ok_or_else(|| {
                errors::usage(
                    py,
                    "evict_after: must be a number of seconds, at least 1e-9, or None",
                )
            })?;
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
                    format!("message_size: must be {size}, the itemsize of the dtype, or None"),
                ));
            }
            message_size = Some(u32::try_from(*size).map_err(|_| {
                errors::message_size(py, format!("dtype: records of {size} bytes are too large"))
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
            Some(_) => return Err(errors::usage(py, "delivery: must be 'lossy' or 'lossless'")),
        };
        let queue = handle::slowly(py, || options.open(&*name))?;
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

    /// Pushes one message. Never waits: put() does.
    ///
    /// The message is any object with a contiguous buffer (bytes, bytearray, memoryview, an array).
    /// If the queue has a dtype, it may also be anything that numpy accepts as one record of the
    /// dtype (a tuple, a dict, a number).
    ///
    /// If it raises, the message was not pushed:
    ///
    /// - Full: the queue is lossless and full, because a consumer has not caught up.
    /// - SchemaMismatchError: the object is an array (or has a format) of another dtype.
    /// - MessageSizeError: its size is not that of the messages of the queue. If they vary in
    ///   length, it is longer than max_message.
    /// - UsageError: a value does not fit its field or is masked, a message is claimed, or the
    ///   producer is closed.
    /// - Error: this process is a forked child.
    #[pyo3(signature = (data, /))]
    fn push(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
        if let Ok(bytes) = data.cast::<PyBytes>() {
            let bytes = bytes.as_bytes();
            // SAFETY: the caller holds the bytes object.
            return unsafe { self.push_from(py, bytes.as_ptr(), bytes.len()) };
        }
        let data = Buffer::of(&self.records.message(data)?)?;
        // SAFETY: the buffer is held.
        unsafe { self.push_from(py, data.as_ptr(), data.len()) }
    }

    /// Pushes many messages and returns how many were pushed. These are all of them, unless a
    /// lossless queue stays full for timeout seconds (0: does not wait, None: waits without a
    /// limit).
    ///
    /// In a queue of fixed size, data may be an array or any other buffer of a whole number of
    /// messages. In any queue it may be an iterable of what push() accepts. The iterable is
    /// collected and checked before the first message is pushed. In a queue with a dtype it may
    /// also be a table of pandas, polars or pyarrow with a column for each field. The values must
    /// fit the fields. A column with a time zone is converted to UTC.
    ///
    /// Raises the same as push(), but Full only if nothing was pushed.
    ///
    /// Examples:
    ///     >>> words = ipcq.Producer("words")
    ///     >>> words.push_many([b"one", b"and another"])
    ///     2
    ///     >>> numbers = ipcq.Producer("numbers", message_size=8)
    ///     >>> numbers.push_many(bytes(8 * 100))
    ///     100
    #[pyo3(signature = (data, /, timeout=0.0))]
    fn push_many(
        &self,
        data: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
    ) -> PyResult<usize> {
        let timeout = Timeout::seconds(data.py(), timeout)?;
        let data = &self.records.messages(data)?;
        if self.message_size == 0 || !Buffer::is_in(data) {
            if data.is_instance_of::<PyBytes>() || data.is_instance_of::<PyByteArray>() {
                return Err(PyTypeError::new_err(
                    "push_many: the messages of this queue vary in length, so an iterable of \
                     messages is needed",
                ));
            }
            return self.push_each(data, timeout);
        }
        let (py, size) = (data.py(), self.message_size);
        check_plain(data)?;
        let data = Buffer::of(data)?;
        if data.len() % size != 0 {
            return Err(errors::message_size(
                py,
                format!(
                    "{}: {} bytes are not a whole number of messages of {size} bytes",
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
            // SAFETY: the buffer is held, and has that many messages.
            unsafe { q.push_many_raw((from + done * size) as *const u8, size, count - done) }
        })
    }

    /// Room for one message, to be written in place, as a Claim.
    ///
    /// The Claim is a context manager: it pushes the message when the block ends, and gives it up
    /// if the block raises. size is the most bytes that the message may have. It is not needed in a
    /// queue of fixed size. Only one message can be claimed at a time, and nothing can be pushed
    /// before it is committed or given up.
    ///
    /// Raises the same as push().
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("greetings")
    ///     >>> with out.claim(5) as message:
    ///     ...     message.write(0, b"hello")
    ///     >>> ipcq.Consumer("greetings").get()
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
                    "claim: the messages of this queue vary in length, so a size is needed",
                ))
            }
            (None, size) => size,
        };
        this.with(py, |inner| {
            let at = inner.queue()?.claim_raw(length)?;
            inner.claims += 1;
            inner.claimed = true;
            Ok(Claim {
                producer: slf.clone().unbind(),
                at: at as usize,
                length,
                number: inner.claims,
            })
        })
    }

    /// Pushes one message, and waits for room if a lossless queue is full, like
    /// queue.Queue.put().
    ///
    /// It waits at most timeout seconds, or without a limit if timeout is None. If block is false
    /// it does not wait. A lossy queue is never full.
    ///
    /// Raises Full if no room came in time, otherwise the same as push().
    #[pyo3(signature = (item, block=true, timeout=None))]
    fn put(
        &self,
        item: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = truth)] block: bool,
        #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
    ) -> PyResult<()> {
        let py = item.py();
        let timeout = Timeout::of_queue(py, block, timeout)?;
        let data = Buffer::of(&self.records.message(item)?)?;
        let (from, length) = (data.as_ptr() as usize, data.len());
        self.push_all(py, timeout, (1, length), |q, _| {
            // SAFETY: the buffer is held.
            unsafe { q.push_raw(from as *const u8, length) }.map(|()| 1)
        })?;
        Ok(())
    }

    /// The same as push(), like queue.Queue.put_nowait().
    fn put_nowait(&self, item: &Bound<'_, PyAny>) -> PyResult<()> {
        self.push(item)
    }

    /// Pushes one message, in a coroutine, like asyncio.Queue.put().
    ///
    /// If a lossless queue is full, it waits for room in the running loop: it tries again after 0.1
    /// ms, then after 0.2 ms, up to every 4 ms. The tasks of one loop are served in the order in
    /// which they came.
    ///
    /// Raises the same as push(), except Full. If it is cancelled, nothing was pushed.
    fn aput<'py>(slf: &Bound<'py, Self>, item: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let put = part!(slf.py(), "ipcq._aio", "put")?;
        put.call1((slf, item))
    }

    /// The sequence of the message that is pushed next.
    #[getter]
    fn next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |inner| Ok(inner.queue()?.next_sequence()))
    }

    /// The attached consumers, as a list of ConsumerInfo, the slowest first.
    ///
    /// In a lossless queue these are all consumers but observers. In a lossy queue they are those
    /// that may write the control file.
    fn consumers(&self, py: Python<'_>) -> PyResult<Vec<ConsumerInfo>> {
        let list = self.with(py, |inner| Ok(inner.queue()?.consumers()))?;
        Ok(list.into_iter().map(ConsumerInfo::from).collect())
    }

    /// Figures of the queue, as a Stats.
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

    /// The bytes of the longest message that can be pushed.
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

    /// Whether this handle was closed. stats.closed says whether the queue is closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.queue.is_none())
    }

    /// Closes the queue. Consumers drain it and then get Closed.
    ///
    /// A claimed message is given up. The producer may be closed more than once. The end of a with
    /// block also closes it, even if an exception ends the block. A process that is killed does not
    /// close it.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.take(py)?;
        py.detach(|| drop(queue));
        Ok(())
    }

    /// Closes this handle and leaves the queue open.
    ///
    /// Consumers keep waiting. Another process can open the queue as its producer and continue the
    /// sequence. A claimed message is given up. Does nothing if this handle is closed.
    ///
    /// To hand a producer over, detach it, and then open its name in the other process, or pickle
    /// it. (multiprocessing pickles its arguments, unless the start method is fork. Then the child
    /// has this closed handle.)
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
        // These make the same queue if it has to be made again.
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

/// Room for one message that was claimed and not yet pushed. See Producer.claim().
///
/// len(claim) is the most bytes that the message may have.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Claim {
    producer: Py<Producer>,
    at: usize,
    length: usize,
    /// Which claim of the producer this is.
    number: u64,
}

impl Claim {
    /// Whether this claim has not ended.
    fn stands(&self, inner: &Inner) -> bool {
        inner.claimed && inner.claims == self.number
    }

    /// Does something with the queue, if this claim has not ended.
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        self.producer
            .get()
            .with(py, |inner| match self.stands(inner) {
                true => act(inner),
                false => Err(Failure::Ended),
            })
    }
}

#[pymethods]
impl Claim {
    /// Copies data (any object with a contiguous buffer) into the message, offset bytes from its
    /// start.
    ///
    /// Raises UsageError beyond what was claimed or if the claim has ended, SchemaMismatchError if
    /// data is an array of another dtype than that of the queue (data.tobytes() is always
    /// accepted).
    #[pyo3(signature = (offset, data, /))]
    fn write(
        &self,
        #[pyo3(from_py_with = whole)] offset: usize,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = data.py();
        self.producer.get().records.check(data)?;
        let data = Buffer::of(data)?;
        let (from, size) = (data.as_ptr() as usize, data.len());
        self.with(py, |_| {
            if offset.checked_add(size).is_none_or(|end| end > self.length) {
                let length = self.length;
                return Err(Failure::Crate(ipcq::Error::Invalid(
                    format!("{size} bytes at offset {offset} of a claim of {length} bytes").into(),
                )));
            }
            let to = self.at + offset;
            copying(py, size, || {
                // SAFETY: this is inside the claim. The claim has not ended, so the queue is
                // mapped. The buffer is held.
                unsafe { ipcq::__binding::copy_to_shared(to as *mut u8, from as *const u8, size) }
            });
            Ok(())
        })
    }

    /// Pushes the first length bytes as a message, or all of it if length is None, as a queue of
    /// fixed size needs. Leaving the block does this, too.
    ///
    /// Raises MessageSizeError, UsageError if the claim has ended.
    #[pyo3(signature = (length=None))]
    fn commit(
        &self,
        py: Python<'_>,
        #[pyo3(from_py_with = whole_or_none)] length: Option<usize>,
    ) -> PyResult<()> {
        self.with(py, |inner| {
            let queue = inner.queue()?;
            queue.commit_raw(length.unwrap_or(self.length))?;
            inner.claimed = false;
            Ok(())
        })
    }

    /// Gives the claim up without pushing a message. Does nothing if the claim has ended.
    fn abort(&self, py: Python<'_>) -> PyResult<()> {
        self.producer.get().with(py, |inner| {
            if self.stands(inner) {
                inner.claimed = false;
                // Fails only in a forked child, which has nothing to give up.
                let _ = inner.queue()?.abort_raw();
            }
            Ok(())
        })
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
            return self.abort(py);
        }
        // The block may have committed it with another length, or given it up.
        let producer = self.producer.get();
        match producer.with(py, |inner| Ok(self.stands(inner)))? {
            true => self.commit(py, None),
            false => Ok(()),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A claim that no code can end would keep the producer from pushing.
        Python::try_attach(|py| {
            if let Err(e) = self.abort(py) {
                e.write_unraisable(py, None);
            }
        });
    }
}
