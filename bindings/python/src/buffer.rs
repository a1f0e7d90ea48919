//! The contiguous bytes of any object that has a buffer.

use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;

/// The contiguous bytes of an object, which stay where they are until this is dropped.
pub struct Buffer<'py> {
    raw: ffi::Py_buffer,
    _attached: Python<'py>,
}

impl<'py> Buffer<'py> {
    /// The bytes to read. TypeError or BufferError if the object has none, or not in one piece.
    pub fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, ffi::PyBUF_SIMPLE)
    }

    /// The bytes to write.
    pub fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, ffi::PyBUF_WRITABLE)
    }

    /// Whether an object has any.
    pub fn is_in(object: &Bound<'py, PyAny>) -> bool {
        // SAFETY: an object, and the interpreter is attached.
        unsafe { ffi::PyObject_CheckBuffer(object.as_ptr()) != 0 }
    }

    fn with(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let py = object.py();
        let mut raw = std::mem::MaybeUninit::uninit();
        // SAFETY: an object, and the interpreter is attached; a result of 0 means that the
        // structure was filled. It may be moved: nothing points into it but `shape`, which the
        // exporter set to the structure's own `len` or elsewhere, and which is not used.
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

    /// Where they are. Never made a reference of: other threads may write them.
    pub fn as_ptr(&self) -> *mut u8 {
        self.raw.buf.cast()
    }

    /// A copy.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut copy = vec![0; self.len()];
        // SAFETY: `copy.len()` bytes are readable there and writable here.
        unsafe { std::ptr::copy_nonoverlapping(self.as_ptr(), copy.as_mut_ptr(), copy.len()) };
        copy
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.raw.len as usize
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: it was filled by `PyObject_GetBuffer`, and the interpreter is attached.
        unsafe { ffi::PyBuffer_Release(&mut self.raw) }
    }
}
