//! The buffer protocol, for any object that has bytes.
//!
//! PyO3 offers it in a limited-API build from Python 3.11 on, where it became a part of the stable
//! ABI. The functions and the structure have been the same since Python 3.3 and every interpreter
//! from 3.9 on exports them, so they are declared here.

use pyo3::ffi::{PyObject, Py_ssize_t};
use pyo3::prelude::*;
use std::ffi::{c_char, c_int, c_void};

/// `Py_buffer` of CPython.
#[repr(C)]
pub struct RawBuffer {
    pub buf: *mut c_void,
    pub obj: *mut PyObject,
    pub len: Py_ssize_t,
    pub itemsize: Py_ssize_t,
    pub readonly: c_int,
    pub ndim: c_int,
    pub format: *mut c_char,
    pub shape: *mut Py_ssize_t,
    pub strides: *mut Py_ssize_t,
    pub suboffsets: *mut Py_ssize_t,
    pub internal: *mut c_void,
}

/// What may be asked for, as `PyBUF_…` of CPython.
pub mod flag {
    use std::ffi::c_int;

    pub const SIMPLE: c_int = 0;
    pub const WRITABLE: c_int = 1;
    pub const FORMAT: c_int = 4;
    pub const ND: c_int = 8;
    pub const STRIDES: c_int = 0x10 | ND;
    pub const C_CONTIGUOUS: c_int = 0x20 | STRIDES;
    pub const F_CONTIGUOUS: c_int = 0x40 | STRIDES;
    pub const ANY_CONTIGUOUS: c_int = 0x80 | STRIDES;
}

extern "C" {
    fn PyObject_CheckBuffer(object: *mut PyObject) -> c_int;
    fn PyObject_GetBuffer(object: *mut PyObject, view: *mut RawBuffer, flags: c_int) -> c_int;
    fn PyBuffer_Release(view: *mut RawBuffer);
}

/// The contiguous bytes of an object, which stay where they are until this is dropped.
pub struct Buffer<'py> {
    raw: RawBuffer,
    _attached: Python<'py>,
}

impl<'py> Buffer<'py> {
    /// The bytes to read. TypeError or BufferError if the object has none, or not in one piece.
    pub fn of(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, flag::SIMPLE)
    }

    /// The bytes to write.
    pub fn writable(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::with(object, flag::WRITABLE)
    }

    /// Whether an object has any.
    pub fn is_in(object: &Bound<'py, PyAny>) -> bool {
        // SAFETY: an object, and the interpreter is attached.
        unsafe { PyObject_CheckBuffer(object.as_ptr()) != 0 }
    }

    fn with(object: &Bound<'py, PyAny>, flags: c_int) -> PyResult<Self> {
        let py = object.py();
        let mut raw = std::mem::MaybeUninit::<RawBuffer>::uninit();
        // SAFETY: an object, and the interpreter is attached; a result of 0 means that the
        // structure was filled. It may be moved: nothing points into it but `shape`, which the
        // exporter set to the structure's own `len` or elsewhere, and which is not used.
        unsafe {
            if PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), flags) != 0 {
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

    /// How many.
    pub fn len(&self) -> usize {
        self.raw.len as usize
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        // SAFETY: it was filled by `PyObject_GetBuffer`, and the interpreter is attached.
        unsafe { PyBuffer_Release(&mut self.raw) }
    }
}
