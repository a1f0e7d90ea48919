//! Shared memory without a queue.

use crate::buffer::{check_plain, Buffer};
use crate::errors::{self, Failure};
use crate::export::{self, Mapping, Shown};
use crate::handle::{self, copying, truth, whole, whole_or_none, Guarded, Name};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};
use std::ffi::c_int;
use std::path::PathBuf;
use std::ptr::null_mut;

/// Memory that processes of one host share. One process writes it, and any number of others read
/// it.
///
/// Args:
///     name: A str without a slash is a file in /dev/shm (or $IPCQ_DIR). Any other str is a path,
///         and a pathlib.Path is always a path.
///     create: True: a writer. It creates the memory and reserves space for it. If the memory
///         exists, its size must be the same, and its contents are kept. False: a reader, which
///         maps the memory read-only.
///     size: The number of bytes, for a writer.
///     permissions: The mode bits of a new file. 0: 0o600.
///
/// A reader may see parts of old and new contents together. Use a Producer if that matters. Several
/// threads may share a handle. A handle can be pickled and copied. The result is opened again in
/// the same role, so a writer must be closed before (otherwise ProducerExistsError is raised).
///
/// Raises FileNotFoundError, PermissionError, ProducerExistsError (another live process writes the
/// memory), IncompatibleError (it exists with another size), OSError with ENOSPC, UsageError.
///
/// It has the buffer protocol: memoryview(memory) and numpy.frombuffer(memory, ...) are the memory
/// itself, without a copy. They are writable only if the handle is a writer.
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
    /// `None` if the handle was closed.
    memory: Option<ipcq::SharedMem>,
    /// The memory that buffers show. It exists as long as the Python object, even if that is
    /// closed.
    shown: Option<Mapping>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        handle::drop_detached((self.memory.take(), self.shown.take()));
    }
}

impl Inner {
    fn memory(&mut self) -> Result<&mut ipcq::SharedMem, Failure> {
        self.memory.as_mut().ok_or(Failure::HandleClosed)
    }
}

impl SharedMemory {
    /// Does something with the memory.
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Inner) -> Result<T, Failure>,
    ) -> PyResult<T> {
        self.inner.with(py, act, |failure| {
            failure.exception(py, &self.name, "shared memory", "buffer")
        })
    }

    fn check(&self, py: Python<'_>, offset: usize, size: usize) -> PyResult<()> {
        match offset.checked_add(size) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(errors::usage(
                py,
                format!(
                    "{}: {size} bytes at offset {offset}, but the memory has {} bytes",
                    self.name.display(),
                    self.size
                ),
            )),
        }
    }

    /// Copies bytes to `to`.
    ///
    /// # Safety
    /// `size` bytes are writable there.
    unsafe fn copy_out(
        &self,
        py: Python<'_>,
        offset: usize,
        to: *mut u8,
        size: usize,
    ) -> PyResult<()> {
        let to = to as usize;
        self.with(py, |inner| {
            let memory = &*inner.memory()?;
            // SAFETY: the caller's promise.
            copying(py, size, || unsafe {
                memory.read_raw(offset, to as *mut u8, size)
            })?;
            Ok(())
        })
    }

    fn show(&self, py: Python<'_>) -> PyResult<Shown> {
        self.with(py, |inner| {
            let memory = inner.memory()?.as_ptr();
            if inner.shown.is_none() {
                // SAFETY: `size` bytes are mapped there, shared.
                let mapping = unsafe { Mapping::of(memory, self.size) };
                inner.shown = Some(mapping.map_err(PyErr::from)?);
            }
            Ok(Shown {
                at: inner.shown.as_ref().map_or(null_mut(), Mapping::as_ptr),
                rows: None,
                size: self.size,
                writable: self.writable,
            })
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
            true => {
                ipcq::SharedMem::create(&*name, size, (permissions != 0).then_some(permissions))
            }
            false => ipcq::SharedMem::open(&*name),
        })?;
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
    /// Raises Error if this handle is a reader, UsageError beyond the end or if the handle is
    /// closed. If it raises, nothing was written.
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
        self.with(py, |inner| {
            let memory = inner.memory()?;
            // SAFETY: the buffer is held.
            copying(py, size, || unsafe {
                memory.write_raw(offset, from as *const u8, size)
            })?;
            Ok(())
        })
    }

    /// Copies size bytes from offset, or all bytes from there on if size is None.
    ///
    /// Raises UsageError beyond the end or if the handle is closed.
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
        // SAFETY: the new object has that many bytes.
        unsafe { self.copy_out(py, offset, to, size)? };
        Ok(bytes)
    }

    /// Fills all of a writable buffer with bytes from offset.
    ///
    /// Raises UsageError beyond the end or if the handle is closed.
    #[pyo3(signature = (offset, buffer, /))]
    fn readinto(
        &self,
        #[pyo3(from_py_with = whole)] offset: usize,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = buffer.py();
        check_plain(buffer)?;
        let buffer = Buffer::writable(buffer)?;
        // SAFETY: the buffer is held, and writable.
        unsafe { self.copy_out(py, offset, buffer.as_ptr(), buffer.len()) }
    }

    /// The number of bytes.
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

    /// Whether this handle is a writer.
    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    /// Whether this handle was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.inner.lock(py)?.memory.is_none())
    }

    /// Closes this handle. After that another process may write the memory. It may be closed
    /// more than once.
    ///
    /// Arrays and memoryviews of the memory can still be used: the memory stays mapped as long as
    /// they exist.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut inner = self.inner.lock(py)?;
        let memory = inner.memory.take();
        drop(inner);
        py.detach(|| drop(memory));
        Ok(())
    }

    /// Removes the name. Open handles keep the memory until they are closed.
    ///
    /// Raises FileNotFoundError, PermissionError.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        handle::slowly(py, || ipcq::SharedMem::unlink(&self.path))
    }

    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        // SAFETY: the interpreter gives room for the buffer. The memory stays mapped as long as
        // this object exists.
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

    // numpy.asarray(memory) ignores what the buffer raises, and then calls this.
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
