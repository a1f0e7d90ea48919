//! The native part of the Python package `ipcq`.
//!
//! It is a layer over the Rust crate: handles behind a lock, buffers in and out, errors turned
//! into the exceptions of `ipcq._errors`. Nothing of the protocol is here.

mod buffer;
mod consumer;
mod errors;
mod export;
mod handle;
mod producer;
mod shared_memory;
mod stats;

use pyo3::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

/// Removes a queue: its data file and the files beside it.
///
/// Handles that are open go on with the memory until they are closed.
///
/// Raises FileNotFoundError if there is no such queue, PermissionError.
#[pyfunction]
fn unlink(py: Python<'_>, name: PathBuf) -> PyResult<()> {
    ipcq::unlink(name).map_err(|e| errors::raise(py, e))
}

/// The names of all queues in the directory of bare names (/dev/shm, or $IPCQ_DIR), sorted.
#[pyfunction]
fn queues(py: Python<'_>) -> PyResult<Vec<OsString>> {
    ipcq::list().map_err(|e| errors::raise(py, e))
}

#[pymodule(gil_used = false)]
mod _ipcq {
    use crate::consumer::Window;
    use crate::export;
    use crate::shared_memory::SharedMemory;
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::consumer::{wait_any, Consumer, Message, View};
    #[pymodule_export]
    use crate::producer::{Claim, Producer};
    #[pymodule_export]
    use crate::stats::{ConsumerInfo, Stats};
    #[pymodule_export]
    use crate::{queues, unlink};

    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = ipcq::VERSION;

    /// The classes that show memory, which PyO3 makes without that.
    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("Window", export::class::<Window>(py)?)?;
        module.add("SharedMemory", export::class::<SharedMemory>(py)?)
    }
}
