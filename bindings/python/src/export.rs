//! Objects that show memory by the buffer protocol: `memoryview(x)`, `numpy.asarray(x)`.
//!
//! numpy keeps the address of a buffer after it has released the buffer: `numpy.ndarray(buffer=x)`
//! holds a reference to `x` and nothing else. So whatever was shown once stays mapped for as long as
//! the object that showed it, whether or not that was closed.

use crate::handle::part;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

/// What is shown.
pub struct Shown {
    pub at: *mut u8,
    /// How many rows there are, and the bytes from one to the next; `None` for plain bytes.
    pub rows: Option<(usize, usize)>,
    /// Bytes of a row, or of it all.
    pub size: usize,
    pub writable: bool,
}

/// What `__getbuffer__` does once it is known what is shown.
///
/// # Safety
/// The interpreter gave `view` and `flags`. What is shown stays mapped for as long as `object`.
pub unsafe fn fill(
    object: Bound<'_, PyAny>,
    shown: &Shown,
    view: *mut ffi::Py_buffer,
    flags: c_int,
) -> PyResult<()> {
    let wants = |wanted: c_int| flags & wanted == wanted;
    let (rows, stride) = shown.rows.unwrap_or((1, shown.size));
    if wants(ffi::PyBUF_WRITABLE) && !shown.writable {
        return Err(PyBufferError::new_err("this memory is read-only"));
    }
    let in_one_piece = !wants(ffi::PyBUF_STRIDES)
        || wants(ffi::PyBUF_C_CONTIGUOUS)
        || wants(ffi::PyBUF_F_CONTIGUOUS)
        || wants(ffi::PyBUF_ANY_CONTIGUOUS);
    if rows > 1 && in_one_piece {
        return Err(PyBufferError::new_err(
            "the messages lie apart in the ring: take an array of it, or look at one message",
        ));
    }
    let (ndim, shape) = match shown.rows {
        Some(_) => {
            let stride = if rows > 1 { stride } else { shown.size };
            (2, [rows, shown.size, stride, 1])
        }
        None => (1, [shown.size, 0, 1, 0]),
    };
    // Lengths and distances in one piece, which `release` frees.
    let shape: *mut ffi::Py_ssize_t =
        Box::into_raw(Box::new(shape.map(|n| n as ffi::Py_ssize_t))).cast();
    let if_wanted = |flag, at: *mut ffi::Py_ssize_t| if wants(flag) { at } else { null_mut() };
    // SAFETY: the caller gives room for it, and `shape` has four elements.
    unsafe {
        *view = ffi::Py_buffer {
            buf: shown.at.cast(),
            obj: object.into_ptr(),
            len: (rows * shown.size) as ffi::Py_ssize_t,
            itemsize: 1,
            readonly: c_int::from(!shown.writable),
            ndim: if wants(ffi::PyBUF_ND) { ndim } else { 1 },
            format: match wants(ffi::PyBUF_FORMAT) {
                true => c"B".as_ptr().cast_mut(),
                false => null_mut(),
            },
            shape: if_wanted(ffi::PyBUF_ND, shape),
            strides: if_wanted(ffi::PyBUF_STRIDES, shape.add(2)),
            suboffsets: null_mut(),
            internal: shape.cast(),
        };
    }
    Ok(())
}

/// What `__array__` does: the array of the memory that an object shows, or what its buffer raises.
pub fn array<'py>(
    object: &Bound<'py, PyAny>,
    dtype: Option<Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    part!(object.py(), "ipcq._arrays", "of_buffer")?.call1((object, dtype, copy))
}

/// What `__releasebuffer__` does.
///
/// # Safety
/// `view` was filled by [`fill`].
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: `fill` made it of such a box.
    drop(unsafe { Box::from_raw((*view).internal.cast::<[ffi::Py_ssize_t; 4]>()) });
}

/// A second mapping of memory that another handle has mapped, with a life of its own.
pub struct Mapping {
    at: *mut c_void,
    size: usize,
}

// SAFETY: it is an address, and whoever goes through it sees to it that nothing races.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Safety
    /// At `at` lies a shared mapping of `size` bytes or more.
    pub unsafe fn of(at: *const u8, size: usize) -> std::io::Result<Mapping> {
        // SAFETY: with an old size of 0, the kernel maps the same pages at another place, and
        // leaves the old mapping as it is.
        let again = unsafe { libc::mremap(at.cast_mut().cast(), 0, size, libc::MREMAP_MAYMOVE) };
        match again {
            libc::MAP_FAILED => Err(std::io::Error::last_os_error()),
            at => Ok(Mapping { at, size }),
        }
    }

    pub fn as_ptr(&self) -> *mut u8 {
        self.at.cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: nobody else unmaps it.
        unsafe { libc::munmap(self.at, self.size) };
    }
}
