//! Several messages in place.

use super::take::{copy, new_bytes, Inner};
use super::Consumer;
use crate::errors;
use crate::export::{self, Shown};
use crate::handle::{self, caught, whole, Guard, Timeout};
use ipcq::{Error, Pop};
use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};

/// Messages in place, in the ring itself; see Consumer.view(). A context manager.
///
/// It has the buffer protocol: memoryview(window) and numpy.asarray(window) are the memory itself,
/// read-only, a row of bytes for each message. len(window) is how many there are, window[i] a copy of
/// one, which raises Overrun where that was overwritten.
///
/// What is read through array, records or a memoryview is not checked while it is read: whether all
/// of it was whole is known when the block ends.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Window {
    consumer: Py<Consumer>,
    first: ipcq::Message,
    count: usize,
    at: usize,
    stride: usize,
    ticket: u64,
    released: AtomicBool,
}

impl Window {
    fn lock<'a>(&'a self, py: Python<'_>) -> PyResult<Option<Guard<'a, Inner>>> {
        let inner = self.consumer.get().inner.lock(py)?;
        Ok((inner.looking && inner.looks == self.ticket).then_some(inner))
    }

    #[cold]
    fn has_ended(&self, py: Python<'_>) -> PyErr {
        let name = self.consumer.get().name.display();
        errors::usage(py, format!("{name}: this view has ended"))
    }

    #[cold]
    fn overwritten(&self, py: Python<'_>) -> PyErr {
        errors::overrun(
            py,
            format!(
                "{}: of the messages {} to {} some were overwritten while they were looked at",
                self.consumer.get().name.display(),
                self.first.sequence,
                self.last()
            ),
        )
    }

    fn last(&self) -> u64 {
        self.first.sequence.wrapping_add(self.count as u64 - 1)
    }

    fn length(&self) -> usize {
        self.first.length as usize
    }

    /// The next messages, if there are any.
    fn look(py: Python<'_>, consumer: &Bound<'_, Consumer>, max: usize) -> PyResult<Option<Self>> {
        let this = consumer.get();
        let mut inner = this.inner.lock(py)?;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(this.is_closed(py));
        };
        let stride = queue.stride();
        let peeked = caught(|| queue.peek_many_raw(max));
        if let Ok((Pop::Message(first), at, count)) = peeked {
            inner.looks += 1;
            inner.looking = true;
            return Ok(Some(Window {
                ticket: inner.looks,
                consumer: consumer.clone().unbind(),
                first,
                count,
                at: at as usize,
                stride,
                released: AtomicBool::new(false),
            }));
        }
        drop(inner);
        match peeked {
            Ok((pop, ..)) => this.none_because(py, pop, 0).map(|()| None),
            Err(e) => Err(errors::raise(py, e)),
        }
    }
}

impl Window {
    fn show(&self, py: Python<'_>) -> PyResult<Shown> {
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        if inner.mapped.is_none() {
            // A ticket holds the mapping. Nobody is to be woken by this one.
            inner.mapped = inner.queue.as_mut().map(|queue| {
                let ticket = ipcq::__binding::consumer_ask(queue);
                ipcq::__binding::consumer_awake(queue);
                ticket
            });
        }
        Ok(Shown {
            at: self.at as *mut u8,
            rows: Some((self.count, self.stride)),
            size: self.length(),
            writable: false,
        })
    }
}

#[pymethods]
impl Window {
    #[new]
    #[pyo3(signature = (consumer, max=4096, timeout=None))]
    fn new(
        consumer: &Bound<'_, Consumer>,
        #[pyo3(from_py_with = whole)] max: usize,
        timeout: Option<f64>,
    ) -> PyResult<Self> {
        let py = consumer.py();
        if max == 0 {
            return Err(errors::usage(py, "max: at least 1 message"));
        }
        let timeout = Timeout::seconds(py, timeout)?;
        let look = || Window::look(py, consumer, max);
        match handle::wait_for(py, timeout, consumer.get(), look)? {
            Some(window) => Ok(window),
            None => Err(consumer.get().is_empty(py)),
        }
    }

    /// The sequence of the first message; window[i] has sequence + i.
    #[getter]
    fn sequence(&self) -> u64 {
        self.first.sequence
    }

    /// How many messages were lost between the one consumed before and the first one here.
    #[getter]
    fn lost(&self) -> u64 {
        self.first.lost
    }

    /// The messages as a numpy array of bytes, a row each, without a copy: read-only, on the ring
    /// itself. It can be used after the block and after the consumer was closed, but what it shows may
    /// be overwritten from then on.
    ///
    /// Raises UsageError if the view has ended.
    #[getter]
    fn array<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        Self::__array__(slf, None, None)
    }

    /// For numpy.asarray(window), which takes no notice of what the buffer raises, and asks here.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        export::array(slf.as_any(), dtype, copy)
    }

    /// The messages as a numpy array of the consumer's dtype, without a copy, as array. Its fields are
    /// attributes, too: records.px, or records["px"].
    ///
    /// Raises TypeError if there is no dtype, UsageError if the view has ended.
    #[getter]
    fn records<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let layout = slf.get().consumer.get().records.layout.bind(slf.py());
        // Before there is an array.
        layout.getattr(intern!(slf.py(), "form"))?;
        let array = Self::array(slf)?;
        layout.call_method1(intern!(slf.py(), "of_rows"), (array,))
    }

    fn __len__(&self) -> usize {
        self.count
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: isize) -> PyResult<Bound<'py, PyBytes>> {
        let index = match index < 0 {
            true => index.wrapping_add(self.count as isize),
            false => index,
        };
        if index < 0 || index as usize >= self.count {
            return Err(PyIndexError::new_err("view index out of range"));
        }
        let (bytes, to) = new_bytes(py, self.length())?;
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.has_ended(py));
        };
        let from = self.at + index as usize * self.stride;
        copy(py, to, from as *const u8, self.length());
        // The first is overwritten first: if it is still found, then what was copied is whole.
        let found = caught(|| queue.peek_raw());
        drop(inner);
        match found {
            Ok((Pop::Message(m), _)) if m.sequence == self.first.sequence => Ok(bytes),
            Ok(_) => Err(self.overwritten(py)),
            Err(e) => Err(errors::raise(py, e)),
        }
    }

    fn __iter__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        // SAFETY: a sequence, by `__getitem__`; what comes back is a new reference, or null with an
        // exception set.
        unsafe { Bound::from_owned_ptr_or_err(slf.py(), pyo3::ffi::PySeqIter_New(slf.as_ptr())) }
    }

    /// Consumes the messages, as leaving the block does.
    ///
    /// Raises Overrun if one was overwritten meanwhile: what was computed from them is to be thrown
    /// away, and they count as lost (the last of them may come again, if they were not). UsageError
    /// if the view has ended.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        inner.looking = false;
        self.released.store(true, Ordering::Relaxed);
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.has_ended(py));
        };
        let (first, count) = (self.first.sequence, self.count);
        let released = caught(|| queue.release_many_raw(first, count));
        if released.is_ok() {
            inner.note(self.first);
        }
        drop(inner);
        match released {
            Ok(()) => Ok(()),
            // The second: a copy has noticed it before.
            Err(Error::Stale(_) | Error::Invalid(_)) => Err(self.overwritten(py)),
            Err(e) => Err(errors::raise(py, e)),
        }
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives room. What is shown stays mapped for as long as the consumer,
        // to which this object holds a reference.
        unsafe {
            (*view).obj = null_mut();
            let shown = slf.get().show(slf.py())?;
            export::fill(slf.into_any(), &shown, view, flags)
        }
    }

    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: filled by `__getbuffer__`.
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
            if let Some(mut inner) = self.lock(py)? {
                inner.looking = false;
            }
            return Ok(());
        }
        // It may have been released inside the block. If it ended otherwise, because the consumer
        // went on, then nothing would say whether what was read is whole.
        match self.released.load(Ordering::Relaxed) {
            true => Ok(()),
            false => self.release(py),
        }
    }

    fn __repr__(&self) -> String {
        format!(
            "<ipcq.Window of messages {} to {}, {} bytes each, {} lost before them>",
            self.first.sequence,
            self.last(),
            self.first.length,
            self.first.lost
        )
    }
}
