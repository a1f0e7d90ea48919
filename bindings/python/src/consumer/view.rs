//! Messages in place, in the ring itself.

use super::take::{new_bytes, Inner};
use super::{Consumer, Meta};
use crate::buffer::Buffer;
use crate::errors::{self, Failure};
use crate::export::{self, Shown};
use crate::handle::{self, copying, whole, whole_or_none};
use ipcq::__binding::{consumer_ask, consumer_awake, copy_from_shared, Ticket};
use ipcq::{Error, Pop};
use pyo3::exceptions::{PyIndexError, PyOverflowError};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Messages in place, in the ring itself: one message, or a run of messages that are adjacent in
/// the ring. See Consumer.peek() and Consumer.view().
///
/// A view is a context manager. Leaving the block consumes the messages, unless the block raises.
/// len(view) is the number of messages, view[i] is a copy of one of them, and a loop over the view
/// gives a copy of each. bytes(view) is a copy of all of them, one after the other.
///
/// It has the buffer protocol: memoryview(view) and numpy.asarray(view) are the memory itself,
/// read-only, with one row of bytes for each message.
///
/// A copy is checked: it is right, or OverrunError is raised. Data that is read through array,
/// records or a memoryview is not checked when it is read. It was right if the block ends without
/// an OverrunError.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct View {
    owner: Mutex<Owner>,
    first: Meta,
    count: usize,
    at: usize,
    /// Bytes from the start of one message to the start of the next.
    stride: usize,
    /// Which view of the consumer this is.
    number: u64,
    released: AtomicBool,
    /// Set once the view has shown the ring. It keeps the ring mapped as long as the view exists.
    mapped: OnceLock<Arc<Ticket>>,
}

/// The objects that a view refers to. An array refers to its view as long as the array exists. So a
/// view gives up its consumer when the view ends. Otherwise an array would keep the consumer
/// attached, and a lossless producer would wait for it.
enum Owner {
    Consumer(Py<Consumer>),
    /// The view was released, or its block was left, or a call has found that the consumer was
    /// used otherwise. This is the `Layout` of the consumer.
    Ended(Py<PyAny>),
}

impl Drop for View {
    fn drop(&mut self) {
        // The last reference unmaps the ring, unless the consumer has it open.
        if let Some(last) = self.mapped.take().and_then(Arc::into_inner) {
            handle::drop_detached(last);
        }
    }
}

impl View {
    /// A view of up to `max` messages. `None` if the queue is empty.
    pub(super) fn take(
        py: Python<'_>,
        consumer: &Bound<'_, Consumer>,
        max: usize,
    ) -> PyResult<Option<Self>> {
        consumer.get().with(py, |inner| {
            let queue = inner.queue()?;
            let stride = queue.stride();
            let (pop, at, count) = queue.peek_many_raw(max)?;
            let Some(first) = inner.found(pop, 0)? else {
                return Ok(None);
            };
            inner.views += 1;
            inner.peeking = true;
            Ok(Some(View {
                number: inner.views,
                owner: Mutex::new(Owner::Consumer(consumer.clone().unbind())),
                first,
                count,
                at: at as usize,
                stride,
                released: AtomicBool::new(false),
                mapped: OnceLock::new(),
            }))
        })
    }

    /// The consumer, if this view has not ended.
    fn consumer(&self, py: Python<'_>) -> PyResult<Py<Consumer>> {
        let layout = match &*self.owner.lock().unwrap_or_else(PoisonError::into_inner) {
            Owner::Consumer(consumer) => return Ok(consumer.clone_ref(py)),
            Owner::Ended(layout) => layout.clone_ref(py),
        };
        let name = layout.bind(py).getattr(intern!(py, "name"))?;
        Err(errors::usage(py, format!("{name}: this view has ended")))
    }

    /// Gives up the consumer.
    fn end(&self, py: Python<'_>, consumer: &Consumer) {
        let ended = Owner::Ended(consumer.records.layout.clone_ref(py));
        let mut owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        let given_up = std::mem::replace(&mut *owner, ended);
        // Python code may run when the consumer is dropped.
        drop(owner);
        drop(given_up);
    }

    /// Does something with the queue, if this view has not ended.
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        self.with_of(py, &self.consumer(py)?, act)
    }

    fn with_of<T>(
        &self,
        py: Python<'_>,
        consumer: &Py<Consumer>,
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        let mut stands = true;
        let result = consumer.get().with(py, |inner| {
            stands = inner.peeking && inner.views == self.number;
            match stands {
                true => act(inner),
                false => Err(Failure::Ended),
            }
        });
        if !stands {
            self.end(py, consumer.get());
        }
        result
    }

    fn last(&self) -> u64 {
        self.first.sequence.wrapping_add(self.count as u64 - 1)
    }

    /// Bytes of one message.
    fn length(&self) -> usize {
        self.first.length as usize
    }

    fn overrun(&self) -> Failure {
        Failure::Overrun {
            first: self.first.sequence,
            last: self.last(),
        }
    }

    /// Copies `size` bytes from `offset` of the messages, as if they were one after the other,
    /// to `to`. Fails if they were overwritten.
    ///
    /// # Safety
    /// The messages have that many bytes, and `to` is writable for them.
    unsafe fn copy_out(
        &self,
        py: Python<'_>,
        offset: usize,
        to: *mut u8,
        size: usize,
    ) -> PyResult<()> {
        let (at, stride, length) = (self.at, self.stride, self.length());
        let to = to as usize;
        self.with(py, |inner| {
            copying(py, size, || {
                let mut done = 0;
                while done < size {
                    let (index, within) = ((offset + done) / length, (offset + done) % length);
                    let part = (length - within).min(size - done);
                    let from = at + index * stride + within;
                    // SAFETY: `from` is inside a message. The queue stays mapped, because the lock
                    // is held. The caller has promised the rest.
                    unsafe {
                        copy_from_shared((to + done) as *mut u8, from as *const u8, part);
                    }
                    done += part;
                }
            });
            // The first message is overwritten first. If it is still there, the copy is right.
            match inner.queue()?.peek_raw()? {
                (Pop::Message(m), _) if m.sequence == self.first.sequence => Ok(()),
                _ => Err(self.overrun()),
            }
        })
    }

    fn show(&self, py: Python<'_>) -> PyResult<Shown> {
        self.with(py, |inner| {
            let mapped = match &inner.mapped {
                Some(mapped) => mapped.clone(),
                None => {
                    // A ticket keeps the ring mapped. It is not used for waiting.
                    let queue = inner.queue()?;
                    let mapped = Arc::new(consumer_ask(queue));
                    consumer_awake(queue);
                    inner.mapped = Some(mapped.clone());
                    mapped
                }
            };
            // Fails if the view has shown the ring before.
            let _ = self.mapped.set(mapped);
            Ok(Shown {
                at: self.at as *mut u8,
                rows: Some((self.count, self.stride)),
                size: self.length(),
                writable: false,
            })
        })
    }
}

#[pymethods]
impl View {
    /// The sequence of the first message. view[i] has sequence + i.
    #[getter]
    fn sequence(&self) -> u64 {
        self.first.sequence
    }

    /// The number of messages that were lost directly before the first message of the view.
    #[getter]
    fn lost(&self) -> u64 {
        self.first.lost
    }

    /// The number of bytes of all messages of the view together.
    #[getter]
    fn nbytes(&self) -> usize {
        self.count * self.length()
    }

    /// The messages as a numpy array of bytes, one row for each message, without a copy.
    ///
    /// The array is read-only. It is the ring itself. It may be used after the block, and after the
    /// consumer was closed, but the producer may overwrite it from the end of the block on. It
    /// keeps the ring mapped as long as it exists. It keeps the consumer attached only until the
    /// view is released.
    ///
    /// Raises UsageError if the view has ended.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::__array__(slf, None, None)
    }

    // numpy.asarray(view) ignores what the buffer raises, and then calls this.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        export::array(slf.as_any(), dtype, copy)
    }

    /// The messages as a numpy array of the consumer's dtype, without a copy, like array.
    ///
    /// Its fields are attributes, too: records.price, or records["price"].
    ///
    /// Raises TypeError if the consumer has no dtype, UsageError if the view has ended.
    #[getter]
    fn records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let consumer = slf.get().consumer(slf.py())?;
        let layout = consumer.get().records.layout.bind(slf.py());
        // Without a dtype this raises, before the array is made.
        layout.getattr(intern!(slf.py(), "form"))?;
        let array = Self::array(slf)?;
        layout.call_method1(intern!(slf.py(), "of_rows"), (array,))
    }

    /// Copies size bytes from offset, or all bytes from there on if size is None.
    ///
    /// The offset counts the bytes of the messages one after the other, without gaps.
    ///
    /// Raises OverrunError if the messages were overwritten, UsageError beyond their end or if the
    /// view has ended.
    #[pyo3(signature = (offset=0, size=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = whole)] offset: usize,
        #[pyo3(from_py_with = whole_or_none)] size: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let size = size.unwrap_or(self.nbytes().saturating_sub(offset));
        if offset
            .checked_add(size)
            .is_none_or(|end| end > self.nbytes())
        {
            return Err(errors::usage(
                py,
                format!(
                    "{size} bytes at offset {offset} of a view of {} bytes",
                    self.nbytes()
                ),
            ));
        }
        let (bytes, to) = new_bytes(py, size)?;
        // SAFETY: the range was checked, and the new object has that many bytes.
        unsafe { self.copy_out(py, offset, to, size)? };
        Ok(bytes)
    }

    /// Copies all messages into a writable buffer, one after the other, and returns nbytes.
    ///
    /// Raises MessageSizeError if the buffer is too small, SchemaMismatchError if it is an array of
    /// another dtype than that of the messages, otherwise the same as read(). After an OverrunError
    /// the contents of the buffer are undefined.
    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        self.consumer(py)?.get().records.check(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        if buffer.len() < self.nbytes() {
            return Err(errors::message_size(
                py,
                format!(
                    "the view has {} bytes, but the buffer has {}",
                    self.nbytes(),
                    buffer.len()
                ),
            ));
        }
        // SAFETY: the buffer is large enough, and is held.
        unsafe { self.copy_out(py, 0, buffer.as_ptr(), self.nbytes())? };
        Ok(self.nbytes())
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, 0, None)
    }

    fn __len__(&self) -> usize {
        self.count
    }

    fn __getitem__<'py>(&self, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = index.py();
        let index: isize = match index.extract() {
            Err(e) if PyErr::is_instance_of::<PyOverflowError>(&e, py) => isize::MAX,
            extracted => extracted?,
        };
        let index = match index < 0 {
            true => index.wrapping_add(self.count as isize),
            false => index,
        };
        if index < 0 || index as usize >= self.count {
            return Err(PyIndexError::new_err("view index out of range"));
        }
        self.read(py, index as usize * self.length(), Some(self.length()))
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: the object is a sequence, because it has `__getitem__`. The result is a new
        // reference, or null with an exception set.
        unsafe { Bound::from_owned_ptr_or_err(slf.py(), pyo3::ffi::PySeqIter_New(slf.as_ptr())) }
    }

    /// Consumes the messages. Leaving the block does the same.
    ///
    /// Raises OverrunError if a message was overwritten: discard what was computed from them. The
    /// messages count as lost, except that the last of them may come again if they were not
    /// overwritten. Raises UsageError if the view has ended.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let consumer = self.consumer(py)?;
        let released = self.with_of(py, &consumer, |inner| {
            inner.peeking = false;
            self.released.store(true, Ordering::Relaxed);
            let (first, count) = (self.first.sequence, self.count);
            match inner.queue()?.release_many_raw(first, count) {
                Ok(()) => {
                    inner.consumed(self.first);
                    Ok(())
                }
                // Invalid: a copy has noticed it before.
                Err(Error::Overrun(_) | Error::Invalid(_)) => Err(self.overrun()),
                Err(e) => Err(e.into()),
            }
        });
        if self.released.load(Ordering::Relaxed) {
            self.end(py, consumer.get());
        }
        released
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives room for the buffer. `show` has kept the memory mapped for
        // as long as this object exists.
        unsafe {
            (*view).obj = null_mut();
            let shown = slf.get().show(slf.py())?;
            export::fill(slf.into_any(), &shown, view, flags)
        }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: `__getbuffer__` has filled it.
        unsafe { export::release(view) }
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
            // It may have ended before.
            let Ok(consumer) = self.consumer(py) else {
                return Ok(());
            };
            consumer.get().with(py, |inner| {
                if inner.views == self.number {
                    inner.peeking = false;
                }
                Ok(())
            })?;
            self.end(py, consumer.get());
            return Ok(());
        }
        // The block may have released the view. If the view ended because the consumer was used
        // otherwise, release() raises: no other call would report whether the data was right.
        match self.released.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.release(py),
        }
    }

    fn __repr__(&self) -> String {
        let (first, lost) = (self.first.sequence, self.first.lost);
        match self.count {
            1 => format!(
                "<ipcq.View of message {first}, {} bytes, {lost} lost before it>",
                self.length()
            ),
            _ => format!(
                "<ipcq.View of messages {first} to {}, {} bytes each, {lost} lost before them>",
                self.last(),
                self.length()
            ),
        }
    }
}
