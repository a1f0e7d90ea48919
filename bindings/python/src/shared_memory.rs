//! Shared memory by itself.

use crate::buffer::Buffer;
use crate::errors;
use crate::export::{self, Shown, Shows};
use crate::handle::{self, caught, Guarded, LARGE};
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyType};
use std::ffi::CStr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Memory that processes of one host share: the one that creates it writes, any others read.
///
/// Args:
///     name: A name without a slash is a file in /dev/shm (or $IPCQ_DIR), any other is a path.
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
/// Incompatible (it exists with another size), OSError with ENOSPC, ValueError.
///
/// It has the buffer protocol: memoryview(memory) and numpy.frombuffer(memory, …) are the memory
/// itself, without a copy, writable through the writer only.
#[pyclass(frozen, subclass, name = "_SharedMemory", module = "ipcq")]
pub struct SharedMemory {
    memory: Guarded<Option<ipcq::SharedMem>>,
    /// How many buffers show it.
    shown: AtomicUsize,
    name: PathBuf,
    size: usize,
    writable: bool,
    permissions: u32,
}

impl SharedMemory {
    fn with<T>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut ipcq::SharedMem) -> ipcq::Result<T>,
    ) -> PyResult<T> {
        let mut memory = self.memory.lock(py)?;
        let result = memory.as_mut().map(|memory| caught(|| act(memory)));
        drop(memory);
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

impl Shows for SharedMemory {
    const SHOWN_AS: &'static CStr = c"ipcq.SharedMemory";

    fn class() -> &'static PyOnceLock<Py<PyType>> {
        static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        &CLASS
    }

    fn show(&self, py: Python<'_>) -> PyResult<Shown> {
        let mut memory = self.memory.lock(py)?;
        let Some(mapped) = memory.as_mut() else {
            drop(memory);
            return Err(handle::closed(py, &self.name, "shared memory"));
        };
        let (reader, writer) = (mapped.as_ptr().cast_mut(), mapped.as_mut_ptr());
        self.shown.fetch_add(1, Ordering::Relaxed);
        Ok(Shown {
            at: writer.unwrap_or(reader),
            rows: None,
            size: self.size,
            writable: writer.is_some(),
        })
    }

    fn shown(&self) {
        // Partner: `close`.
        self.shown.fetch_sub(1, Ordering::Release);
    }
}

#[pymethods]
impl SharedMemory {
    #[new]
    #[pyo3(signature = (name, create=false, size=0, *, permissions=0))]
    fn new(
        py: Python<'_>,
        name: PathBuf,
        create: bool,
        size: usize,
        permissions: u32,
    ) -> PyResult<Self> {
        let memory = caught(|| match create {
            true => ipcq::SharedMem::create(&name, size, permissions),
            false => ipcq::SharedMem::open(&name),
        });
        let memory = memory.map_err(|e| errors::raise(py, e))?;
        if !create && size > memory.size() {
            return Err(PyValueError::new_err(format!(
                "size: {} has {} bytes, not {size}",
                name.display(),
                memory.size()
            )));
        }
        let (size, writable) = (memory.size(), memory.is_writable());
        Ok(SharedMemory {
            memory: Guarded::new(Some(memory)),
            shown: AtomicUsize::new(0),
            name,
            size,
            writable,
            permissions,
        })
    }

    /// Copies data (any object with a contiguous buffer) to offset.
    ///
    /// Raises Error through a reader, ValueError beyond the end or if it is closed; nothing is
    /// written then.
    #[pyo3(signature = (offset, data, /))]
    fn write(&self, offset: usize, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = data.py();
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
    /// Raises ValueError beyond the end or if it is closed.
    #[pyo3(signature = (offset=0, size=None))]
    fn read<'py>(
        &self,
        py: Python<'py>,
        offset: usize,
        size: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let size = size.unwrap_or(self.size.saturating_sub(offset));
        self.check(py, offset, size)?;
        let (bytes, to) = crate::consumer::new_bytes(py, size)?;
        self.copy_out(py, offset, to, size)?;
        Ok(bytes)
    }

    /// Fills a writable buffer from offset, all of it.
    ///
    /// Raises ValueError beyond the end or if it is closed.
    #[pyo3(signature = (offset, buffer, /))]
    fn readinto(&self, offset: usize, buffer: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = buffer.py();
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
        self.name.clone().into_os_string()
    }

    /// Whether this handle writes.
    #[getter]
    fn writable(&self) -> bool {
        self.writable
    }

    /// Whether this handle was closed.
    #[getter]
    fn closed(&self, py: Python<'_>) -> PyResult<bool> {
        Ok(self.memory.lock(py)?.is_none())
    }

    /// Lets go of the memory. Closing twice is fine.
    ///
    /// Raises BufferError while a memoryview or an array shows the memory.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let mut memory = self.memory.lock(py)?;
        // Partner: `Shows::shown`. What they did with the memory is done.
        if self.shown.load(Ordering::Acquire) > 0 {
            drop(memory);
            return Err(export::in_use(&self.name));
        }
        let memory = {
            let taken = memory.take();
            drop(memory);
            taken
        };
        py.detach(|| drop(memory));
        Ok(())
    }

    /// Removes the name; handles go on with the memory until they are closed.
    ///
    /// Raises FileNotFoundError, PermissionError.
    fn unlink(&self, py: Python<'_>) -> PyResult<()> {
        caught(|| ipcq::SharedMem::unlink(&self.name)).map_err(|e| errors::raise(py, e))
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
        match self.close(py) {
            // The exception that ends the block is what is to be told.
            Err(e) if !kind.is_none() && e.is_instance_of::<PyBufferError>(py) => Ok(()),
            closed => closed,
        }
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let options = PyDict::new(py);
        if self.writable {
            options.set_item("create", true)?;
            options.set_item("size", self.size)?;
            options.set_item("permissions", self.permissions)?;
        }
        handle::reopened(export::class::<SharedMemory>(py)?, &self.name, &options)
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
