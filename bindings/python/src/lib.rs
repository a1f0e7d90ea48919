//! The native part of the Python package `ipcq`.
//!
//! It is a layer over the Rust crate: handles behind a lock, buffers in and out, errors turned
//! into the exceptions of `ipcq._errors`. Nothing of the protocol is here.

mod arrow;
mod buffer;
mod consumer;
mod errors;
mod export;
mod handle;
mod producer;
mod shared_memory;
mod stats;

use consumer::{wait_any, Consumer, Message, View, Window};
use handle::{slowly, Name};
use producer::{Claim, Producer};
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use shared_memory::SharedMemory;
use stats::{ConsumerInfo, Stats};
use std::ffi::OsString;
use std::sync::atomic::{AtomicI64, Ordering};

/// Removes a queue: its data file and the files beside it.
///
/// It does not ask whether a producer or consumers have the queue open, and removes it all the same.
/// (The command `ipcq unlink` refuses if a producer has it open.) Handles that are open go on with the
/// memory until they are closed. A producer that opens the name makes a new queue, but is refused with
/// ProducerExists until the old producer has ended.
///
/// Raises FileNotFoundError if there is no such queue, PermissionError.
#[pyfunction]
fn unlink(py: Python<'_>, name: Name) -> PyResult<()> {
    slowly(py, || ipcq::unlink(&*name))?.map_err(|e| errors::raise(py, e))
}

/// The names of all queues in the directory of bare names (/dev/shm, or $IPCQ_DIR), sorted.
#[pyfunction]
fn queues(py: Python<'_>) -> PyResult<Vec<OsString>> {
    slowly(py, ipcq::list)?.map_err(|e| errors::raise(py, e))
}

/// For the tests: a call that panics while it has the lock of this handle.
#[pyfunction]
fn _panic(py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(consumer) = handle.cast::<Consumer>() {
        return consumer.get().panic(py);
    }
    handle.cast::<Producer>()?.get().panic(py)
}

/// Fails in a second interpreter of the process: the classes are the first one's. (PyO3 checks this
/// of submodules only, and the interpreter takes silence for consent.)
fn only_here(py: Python<'_>) -> PyResult<()> {
    static FIRST: AtomicI64 = AtomicI64::new(-1);
    // SAFETY: the interpreter is attached.
    let here = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if here < 0 {
        return Err(PyErr::fetch(py));
    }
    // Relaxed: it is only compared.
    match FIRST.compare_exchange(-1, here, Ordering::Relaxed, Ordering::Relaxed) {
        Err(first) if first != here => Err(PyImportError::new_err(
            "ipcq does not support subinterpreters: it is loaded in another one of this process",
        )),
        _ => Ok(()),
    }
}

#[pymodule(gil_used = false)]
fn _ipcq(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    only_here(py)?;
    ipcq::__binding::speak(ipcq::__binding::Language::Python);
    module.add_class::<Claim>()?;
    module.add_class::<Consumer>()?;
    module.add_class::<ConsumerInfo>()?;
    module.add_class::<Message>()?;
    module.add_class::<Producer>()?;
    module.add_class::<SharedMemory>()?;
    module.add_class::<Stats>()?;
    module.add_class::<View>()?;
    module.add_class::<Window>()?;
    module.add_function(wrap_pyfunction!(queues, module)?)?;
    module.add_function(wrap_pyfunction!(unlink, module)?)?;
    module.add_function(wrap_pyfunction!(wait_any, module)?)?;
    module.add_function(wrap_pyfunction!(arrow::_arrow_stream, module)?)?;
    module.add_function(wrap_pyfunction!(_panic, module)?)?;
    module.add("__version__", ipcq::VERSION)
}
