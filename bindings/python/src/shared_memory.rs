//! Shared memory by itself.

use crate::buffer::{check_plain, Buffer};
use crate::errors;
use crate::export::{self, Mapping, Shown};
use crate::handle::{self, caught, truth, whole, whole_or_none, Guarded, Name, LARGE};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::ffi::c_int;
use std::path::PathBuf;
use std::ptr::null_mut;

/// Memory that processes of one host share: the one that creates it writes, any others read.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR), any other is a path. So is
///         a pathlib.Path in any case.
///     create: True: the writer, who creates it with its space reserved; where it exists, size must
///         fit, and it is continued. False: a reader, who maps it read-only.
///     size: Bytes, for the writer.
///     permissions: Mode bits of a new file; 0: 0o600.
///
/// What is read may be a mixture of what is written meanwhile: use a Producer where that matters.
/// Several threads may share a handle. It can be pickled and copied: what comes out is opened anew in
/// the same role, and so for the writer only where this one is closed (ProducerExists).
///
/// Raises FileNotFoundError, PermissionError, ProducerExists (another live process writes it),
/// Incompatible (it exists with another size), OSError with ENOSPC, UsageError.
///
/// It has the buffer protocol: memoryview(memory) and numpy.frombuffer(memory, …) are the memory
/// itself, without a copy, writable through the writer only.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct SharedMemory {
    inner: Guarded<Inner>,
    name: Name,
    /// The file, resolved when it was opened.
    path: PathBuf,
    size: usize,
    writable: bool,
    permissions: u32,
}

struct Inner {
    memory: Option<ipcq::SharedMem>,
    /// What buffers show. It lives as long as the Python object, also if that is closed.
    shown: Option<Mapping>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        handle::drop_detached((self.memory.take(), self.shown.take()));
    }
}

impl SharedMemory {
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut ipcq::SharedMem) -> ipcq::Result<T>,
    ) -> PyResult<T> {
        let mut inner = self.inner.lock(py)?;
        let result = inner.memory.as_mut().map(|memory| caught(|| act(memory)));
        drop(inner);
        match result {
            Some(result) => result.map_err(|e| errors::raise(py, e)),
            None => Err(handle::closed(py, &self.name, "shared memory")),
        }
    }

    fn check(&self, py: Python<'_>, offset: usize, size: usize) -> PyResult<()> {
        match offset.checked_add(size) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(errors::usage(
                py,
                format!(
                    "{}: {size} bytes at {offset}, but it has {}",
                    self.name.display(),
                    self.size
                ),
            )),
        }
    }

    /// Copies to a place of the caller's that has `size` bytes.
    fn copy_out(&self, py: Python<'_>, offset: usize, to: *mut u8, size: usize) -> PyResult<()> {
        let to = to as usize;
        self.with(py, |memory| {
            let memory = &*memory;
            // SAFETY: writable for so many bytes, says the caller.
            let read = || unsafe { memory.read_raw(offset, to as *mut u8, size) };
            match size >= LARGE {
                true => py.detach(read),
                false => read(),
            }
        })
    }
}

impl SharedMemory {
    fn show(&self, py: Python<'_>) -> PyResult<Shown> {
        let mut inner = self.inner.lock(py)?;
        let Some(memory) = &inner.memory else {
            drop(inner);
            return Err(handle::closed(py, &self.name, "shared memory"));
        };
        if inner.shown.is_none() {
            // SAFETY: `size` bytes are mapped there, shared.
            match unsafe { Mapping::of(memory.as_ptr(), self.size) } {
                Ok(mapping) => inner.shown = Some(mapping),
                Err(e) => {
                    drop(inner);
                    return Err(e.into());
                }
            }
        }
        Ok(Shown {
            at: inner.shown.as_ref().map_or(null_mut(), Mapping::as_ptr),
            rows: None,
            size: self.size,
            writable: self.writable,
        })
    }
}

#[pymethods]
impl SharedMemory {
    #[new]
    #[pyo3(signature = (name, create=false, size=0, *, permissions=0))]
    fn new(
        py: Python<'_>,
        name: Name,
        #[pyo3(from_py_with = truth)] create: bool,
        #[pyo3(from_py_with = whole)] size: usize,
        #[pyo3(from_py_with = whole)] permissions: u32,
    ) -> PyResult<Self> {
        let memory = handle::slowly(py, || match create {
            true => ipcq::SharedMem::create(&*name, size, permissions),
            false => ipcq::SharedMem::open(&*name),
        })?;
        let memory = memory.map_err(|e| errors::raise(py, e))?;
        if !create && size > memory.size() {
            return Err(errors::usage(
                py,
                format!(
                    "size: {} has {} bytes, not {size}",
                    name.display(),
                    memory.size()
                ),
            ));
        }
        let (size, writable) = (memory.size(), memory.is_writable());
        Ok(SharedMemory {
            name,
            path: memory.path().to_owned(),
            inner: Guarded::new(Inner {
                memory: Some(memory),
                shown: None,
            }),
            size,
            writable,
            permissions,
        })
    }

    /// Copies data (any object with a contiguous buffer) to offset.
    ///
    /// Raises Error through a reader, UsageError beyond the end or if it is closed; nothing is
    /// written then.
    #[pyo3(signature = (offset, data, /))]
    fn write(
        &self,
        #[pyo3(from_py_with = whole)] offset: usize,
        data: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = data.py();
        check_plain(data)?;
        let data = Buffer::of(data)?;
        let (from, size) = (data.as_ptr() as usize, data.len());
        self.with(py, |memory| {
            // SAFETY: the buffer is held.
            let mut write = || unsafe { memory.write_raw(offset, from as *const u8, size) };
            match size >= LARGE {
                true => py.detach(write),
                false => write(),
            }
        })
    }

    /// Copies size bytes from offset; None: up to the end.
    ///
    /// Raises UsageError beyond the end or if it is closed.
    #[pyo3(signature = (offset=0, size=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        #[pyo3(from_py_with = whole)] offset: usize,
        #[pyo3(from_py_with = whole_or_none)] size: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let size = size.unwrap_or(self.size.saturating_sub(offset));
        self.check(py, offset, size)?;
        let (bytes, to) = crate::consumer::new_bytes(py, size)?;
        self.copy_out(py, offset, to, size)?;
        Ok(bytes)
    }

    /// Fills a writable buffer from offset, all of it.
    ///
    /// Raises UsageError beyond the end or if it is closed.
    #[pyo3(signature = (offset, buffer, /))]
    fn readinto(
        &self,
        #[pyo3(from_py_with = whole)] offset: usize,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = buffer.py();
        check_plain(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        self.copy_out(py, offset, buffer.as_ptr(), buffer.len())
    }

    /// How many bytes it has.
    #[getter]
    fn size(&self) -> usize {
        self.size
    }

    fn __len__(&self) -> usize {
        self.size
    }

    /// The name as it was given.
    #[getter]
    fn name(&self) -> std::ffi::OsString {
        self.name.as_os_str().to_owned()
    }

    /// Whether this handle writes.
    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    /// Whether this handle was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.memory.is_none())
    }

    /// Lets go of the memory, so that another process can write it. Closing twice is fine.
    ///
    /// Arrays and memoryviews of it can be used after it: what they show stays mapped for as long as
    /// they exist.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut inner = self.inner.lock(py)?;
        let memory = inner.memory.take();
        drop(inner);
        py.detach(|| drop(memory));
        Ok(())
    }

    /// Removes the name; handles go on with the memory until they are closed.
    ///
    /// Raises FileNotFoundError, PermissionError.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        handle::slowly(py, || ipcq::SharedMem::unlink(&self.path))?
            .map_err(|e| errors::raise(py, e))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives room. What is shown stays mapped for as long as this object.
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

    /// For numpy.asarray(memory), which takes no notice of what the buffer raises, and asks here.
    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        export::array(slf.as_any(), dtype, copy)
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    #[pyo3(signature = (*_args))]
    fn __exit__(&self, py: Python<'_>, _args: &Bound<'_, PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(py);
        if self.writable {
            options.set_item("create", true)?;
            options.set_item("size", self.size)?;
            options.set_item("permissions", self.permissions)?;
        }
        handle::reopened(&py.get_type::<SharedMemory>(), &self.path, &options, None)
    }

    fn __repr__(&self) -> String {
        let role = if self.writable { "writer" } else { "reader" };
        format!(
            "<ipcq.SharedMemory '{}', {} bytes, {role}>",
            self.name.display(),
            self.size
        )
    }
}
