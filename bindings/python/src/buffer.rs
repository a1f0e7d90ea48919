//! The contiguous bytes of any object that supports the buffer protocol.

use crate::consumer::new_bytes;
use crate::errors;
use crate::handle::{copying, part};
use pyo3::exceptions::PyIndexError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView};
use std::ffi::{c_int, CStr};

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

    /// A copy of the bytes. A large one is made without the interpreter lock.
    pub fn to_vec(&self) -> Vec<u8> {
        let (from, length) = (self.as_ptr() as usize, self.len());
        copying(self._attached, length, || {
            let mut copy = vec![0; length];
            // SAFETY: the buffer is held, so `length` bytes are readable there.
            unsafe {
                ipcq::__binding::copy_from_shared(copy.as_mut_ptr(), from as *const u8, length)
            };
            copy
        })
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

/// A copy of a part of an object's bytes. A large one is made without the interpreter lock. For
/// _batch.py.
#[pyfunction]
pub fn _part<'py>(
    data: &Bound<'py, PyAny>,
    offset: usize,
    size: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let py = data.py();
    let data = Buffer::of(data)?;
    if offset.checked_add(size).is_none_or(|end| end > data.len()) {
        return Err(PyIndexError::new_err("batch index out of range"));
    }
    let (bytes, to) = new_bytes(py, size)?;
    let (to, from) = (to as usize, data.as_ptr() as usize + offset);
    copying(py, size, || {
        // SAFETY: the range was checked, and the buffer is held. No other code refers to the new
        // object.
        unsafe { ipcq::__binding::copy_from_shared(to as *mut u8, from as *const u8, size) }
    });
    Ok(bytes)
}

/// Raises UsageError if the buffer of an object holds references to Python objects or pointers.
///
/// A copy of the bytes would not count the references, and another process cannot use the pointers.
pub fn check_plain(object: &Bound<'_, PyAny>) -> PyResult<()> {
    if object.is_exact_instance_of::<PyBytes>() || object.is_exact_instance_of::<PyByteArray>() {
        return Ok(());
    }
    if !Buffer::is_in(object) {
        return Ok(());
    }
    let py = object.py();
    // Arrays of numpy. An array of times has no format.
    let dtype = match object.is_exact_instance_of::<PyMemoryView>() {
        true => None,
        false => object.getattr_opt(intern!(py, "dtype"))?,
    };
    if let Some(dtype) = dtype {
        if let Some(has_objects) = dtype.getattr_opt(intern!(py, "hasobject"))? {
            return match has_objects.is_truthy()? {
                true => Err(not_plain(py, &dtype.str()?.to_string())),
                false => Ok(()),
            };
        }
    }
    let mut raw = std::mem::MaybeUninit::<ffi::Py_buffer>::uninit();
    // SAFETY: an object, and the interpreter is attached.
    if unsafe { ffi::PyObject_GetBuffer(object.as_ptr(), raw.as_mut_ptr(), ffi::PyBUF_FULL_RO) }
        != 0
    {
        // The caller then asks for the bytes without a format, and raises that error.
        drop(PyErr::fetch(py));
        return Ok(());
    }
    // SAFETY: the call has filled it. The format is null or a string that lives until the release.
    // The interpreter is attached.
    let (format, item) = unsafe {
        let raw = raw.assume_init_mut();
        let format = match raw.format.is_null() {
            true => c"B",
            false => CStr::from_ptr(raw.format),
        };
        let is_bytes = raw.itemsize == 1 && format == c"B";
        let format = (!is_bytes).then(|| format.to_string_lossy().into_owned());
        let item = raw.itemsize;
        ffi::PyBuffer_Release(raw);
        (format, item)
    };
    let Some(format) = format else {
        return Ok(());
    };
    if has_pointers(&format) {
        return Err(not_plain(py, &format));
    }
    // Unions and packed structures of ctypes have the format of a byte.
    if item != 1 && format.trim_start_matches(['<', '>', '=', '@', '!']) == "B" {
        let found = part!(py, "ipcq._records", "pointers_of")?.call1((object,))?;
        if !found.is_none() {
            return Err(not_plain(py, &found.to_string()));
        }
    }
    Ok(())
}

#[cold]
fn not_plain(py: Python<'_>, format: &str) -> PyErr {
    errors::usage(
        py,
        format!(
            "a buffer of the format {format:?} holds Python objects or pointers, which another \
             process cannot use"
        ),
    )
}

/// Whether a format of the buffer protocol has a Python object or a pointer in it.
fn has_pointers(format: &str) -> bool {
    let mut codes = format.chars().peekable();
    while let Some(code) = codes.next() {
        match code {
            // The name of a field.
            ':' => {
                codes.by_ref().find(|&c| c == ':');
            }
            // Complex numbers; otherwise a pointer to wide characters.
            'Z' if matches!(codes.peek(), Some('f' | 'd' | 'g')) => {}
            'O' | 'P' | 'z' | 'Z' | '&' | 'X' => return true,
            _ => {}
        }
    }
    false
}
