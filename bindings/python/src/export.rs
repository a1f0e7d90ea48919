//! Objects that show memory by the buffer protocol: `memoryview(x)`, `numpy.asarray(x)`.
//!
//! numpy keeps the address of a buffer after it has released the buffer: `numpy.ndarray(buffer=x)`
//! holds a reference to `x` and nothing else. So memory that was shown once stays mapped as long as
//! the object that showed it exists, even if that object was closed.

use crate::handle::part;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ptr::null_mut;

/// The memory that an object shows.
pub struct Shown {
    pub at: *mut u8,
    /// The number of rows, and the bytes from one to the next. `None` for plain bytes.
    pub rows: Option<(usize, usize)>,
    /// Bytes of a row, or of plain bytes.
    pub size: usize,
    pub writable: bool,
}

/// Fills the buffer for `__getbuffer__`.
///
/// # Safety
/// The interpreter gave `view` and `flags`. The memory stays mapped as long as `object` exists.
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
    let contiguous = !wants(ffi::PyBUF_STRIDES)
        || wants(ffi::PyBUF_C_CONTIGUOUS)
        || wants(ffi::PyBUF_F_CONTIGUOUS)
        || wants(ffi::PyBUF_ANY_CONTIGUOUS);
    if rows > 1 && contiguous {
        return Err(PyBufferError::new_err(
            "the messages are not contiguous in the ring: use view.array, or a view of one message",
        ));
    }
    let (ndim, shape) = match shown.rows {
        Some(_) => {
            let stride = if rows > 1 { stride } else { shown.size };
            (2, [rows, shown.size, stride, 1])
        }
        None => (1, [shown.size, 0, 1, 0]),
    };
    // Shape and strides, in one allocation that `release` frees.
    let shape: *mut ffi::Py_ssize_t =
        Box::into_raw(Box::new(shape.map(|n| n as ffi::Py_ssize_t))).cast();
    let if_wanted = |flag, at: *mut ffi::Py_ssize_t| if wants(flag) { at } else { null_mut() };
    // SAFETY: the caller gives room for the buffer, and `shape` has four elements.
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

/// The array for `__array__`: the memory that an object shows. Raises what the buffer raises.
pub fn array<'py>(
    object: &Bound<'py, PyAny>,
    dtype: Option<Bound<'py, PyAny>>,
    copy: Option<bool>,
) -> PyResult<Bound<'py, PyAny>> {
    part!(object.py(), "ipcq._arrays", "of_buffer")?.call1((object, dtype, copy))
}

/// Frees what [`fill`] allocated, for `__releasebuffer__`.
///
/// # Safety
/// [`fill`] has filled `view`.
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: `fill` made the pointer from such a box.
    drop(unsafe { Box::from_raw((*view).internal.cast::<[ffi::Py_ssize_t; 4]>()) });
}

/// A second mapping of memory that another handle has mapped. It may outlive that handle.
pub struct Mapping {
    at: *mut c_void,
    size: usize,
}

// SAFETY: this is an address. The code that accesses the memory prevents data races.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// # Safety
    /// A shared mapping of at least `size` bytes is at `at`.
    pub unsafe fn of(at: *const u8, size: usize) -> std::io::Result<Mapping> {
        // SAFETY: if the old size is 0, the kernel maps the same pages at another address and
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
        // SAFETY: only this value unmaps it.
        unsafe { libc::munmap(self.at, self.size) };
    }
}
