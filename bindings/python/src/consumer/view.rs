//! One message in place.

use super::take::{copy, new_bytes, Inner};
use super::Consumer;
use crate::buffer::Buffer;
use crate::errors;
use crate::export;
use crate::handle::{caught, whole, whole_or_none, Guard};
use ipcq::{Error, Pop};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyByteArrayMethods, PyBytes};

/// A message in place; see Consumer.peek(). bytes(view) copies all of it, len(view) is its length.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct View {
    pub(super) consumer: Py<Consumer>,
    pub(super) message: ipcq::Message,
    pub(super) ticket: u64,
}

impl View {
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
                "{}: message {} was overwritten while it was looked at",
                self.consumer.get().name.display(),
                self.message.sequence
            ),
        )
    }

    /// Copies a part of the message to a place of the caller's. What comes out is the message's,
    /// or an exception is raised.
    fn copy_out(&self, py: Python<'_>, offset: usize, to: *mut u8, size: usize) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.has_ended(py));
        };
        // The look is made anew before the copy and after it: both find the same message, or it
        // was overwritten, and the accounts say so already.
        for step in [true, false] {
            match caught(|| queue.peek_raw()) {
                Ok((Pop::Message(m), from)) if m.sequence == self.message.sequence => {
                    if step {
                        // SAFETY: in the message, for the caller has checked.
                        copy(py, to, unsafe { from.add(offset) }, size);
                    }
                }
                Ok(_) => {
                    drop(inner);
                    return Err(self.overwritten(py));
                }
                Err(e) => {
                    drop(inner);
                    return Err(errors::raise(py, e));
                }
            }
        }
        Ok(())
    }

    fn let_go(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Ok(());
        };
        inner.looking = false;
        Ok(())
    }
}

#[pymethods]
impl View {
    /// The sequence of the message.
    #[getter]
    fn sequence(&self) -> u64 {
        self.message.sequence
    }

    /// How many messages were lost between the one consumed before and this one.
    #[getter]
    fn lost(&self) -> u64 {
        self.message.lost
    }

    fn __len__(&self) -> usize {
        self.message.length as usize
    }

    fn __bytes__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.read(py, 0, None)
    }

    /// The bytes of the message as a numpy array, for numpy.asarray(view); a copy.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if copy == Some(false) {
            return Err(PyValueError::new_err(
                "copy: an array of a view of one message is always a copy",
            ));
        }
        let bytes = PyByteArray::new(py, &[]);
        bytes.resize(self.message.length as usize)?;
        self.readinto(&bytes)?;
        export::array(&bytes, dtype, None)
    }

    /// Copies size bytes from offset; None: up to the end.
    ///
    /// Raises Overrun if the message was overwritten, UsageError beyond its end or if the view
    /// has ended.
    #[pyo3(signature = (offset=0, size=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = whole)] offset: usize,
        #[pyo3(from_py_with = whole_or_none)] size: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let length = self.message.length as usize;
        let size = size.unwrap_or(length.saturating_sub(offset));
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(errors::usage(
                py,
                format!("{size} bytes at {offset} of a message of {length}"),
            ));
        }
        let (bytes, to) = new_bytes(py, size)?;
        self.copy_out(py, offset, to, size)?;
        Ok(bytes)
    }

    /// Copies the message into a writable buffer and returns its length.
    ///
    /// Raises TooLarge if the buffer is too small, SchemaMismatch if it is an array of another dtype
    /// than that of the messages, and as read(); the buffer's contents are
    /// undefined after an Overrun.
    #[pyo3(signature = (buffer, /))]
    fn readinto(&self, buffer: &Bound<'_, PyAny>) -> PyResult<usize> {
        let py = buffer.py();
        self.consumer.get().records.check(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        let length = self.message.length as usize;
        if buffer.len() < length {
            return Err(errors::too_large(
                py,
                format!(
                    "a message of {length} bytes, but a buffer of {}",
                    buffer.len()
                ),
            ));
        }
        self.copy_out(py, 0, buffer.as_ptr(), length)?;
        Ok(length)
    }

    /// Consumes the message, as leaving the block does.
    ///
    /// Raises Overrun if it was overwritten meanwhile: what was computed from it may be wrong only
    /// if it was read through other means than this view; it counts as lost. UsageError if the
    /// view has ended.
    fn release(&self, py: Python<'_>) -> PyResult<()> {
        let Some(mut inner) = self.lock(py)? else {
            return Err(self.has_ended(py));
        };
        inner.looking = false;
        let Some(queue) = &mut inner.queue else {
            drop(inner);
            return Err(self.has_ended(py));
        };
        let released = caught(|| queue.release_raw(self.message.sequence));
        if released.is_ok() {
            inner.note(self.message);
        }
        drop(inner);
        match released {
            Ok(()) => Ok(()),
            // The second: a read has noticed it before.
            Err(Error::Stale(_) | Error::Invalid(_)) => Err(self.overwritten(py)),
            Err(e) => Err(errors::raise(py, e)),
        }
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
            return self.let_go(py);
        }
        // It may have been released inside the block.
        let stands = self.lock(py)?.is_some();
        if stands {
            self.release(py)?;
        }
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!(
            "<ipcq.View of message {}, {} bytes, {} lost before it>",
            self.message.sequence, self.message.length, self.message.lost
        )
    }
}
