//! The contiguous bytes of any object that supports the buffer protocol.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// The contiguous bytes of an object. They stay at their address until this value is dropped.
pub struct Buffer<'py> {
    raw: ffi::Py_buffer,
    _attached: Python<'py>,
}

impl<'py> Buffer<'py> {
    /// The bytes, for reading. Raises TypeError or BufferError if the object has no bytes, or if
    /// they are not contiguous.
    pub fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, ffi::PyBUF_SIMPLE)
    }

    /// The bytes, for writing.
    pub fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, ffi::PyBUF_WRITABLE)
    }

    /// Whether an object supports the buffer protocol.
    pub fn is_in(object: &Bound<'py, PyAny>) -> bool {
        // SAFETY: `object` is an object, and the interpreter is attached.
        unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) != 0 }
    }

    fn with(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let py = object.py();
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: `object` is an object, and the interpreter is attached. A result of 0 means that
        // the structure was filled. It may be moved, because only `shape` may point into it: the
        // exporter may set that to the structure's own `len`, and `shape` is not used here.
        unsafe {
            if ffi::PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), flags) != 0 {
                return Err(PyErr::fetch(py));
            }
            Ok(Buffer {
                raw: raw.assume_init(),
                _attached: py,
            })
        }
    }

    /// The address of the bytes. It is never made a reference, because other threads may write
    /// the bytes.
    pub fn as_ptr(&self) -> *mut u8 {
        self.raw.buf.cast()
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = vec![0; self.len()];
        // SAFETY: `copy.len()` bytes are readable in the buffer and writable in the vector.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), copy.as_mut_ptr(), copy.len()) };
        copy
    }

    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.raw.len as usize
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: `PyObject_GetBuffer` has filled it, and the interpreter is attached.
        unsafe { ffi::PyBuffer_Release(&mut self.raw) }
    }
}
