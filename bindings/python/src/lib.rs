//! The native part of the Python package `ipcq`.
//!
//! It is a layer over the Rust crate. It puts handles behind a lock, passes buffers in and out, and
//! turns errors into the exceptions of `ipcq._errors`. It has no part of the protocol.
//!
//! The docstrings of the module are the comments in these files. `make stub` copies them to the
//! stub, `_ipcq.pyi`, and a test compares the two.
//!
//! The feature `_test` adds `_panic`, which the tests need. The wheel does not have it.

mod arrow;
mod buffer;
mod consumer;
mod errors;
mod export;
mod handle;
mod producer;
mod shared_memory;
mod stats;

use consumer::{wait_any, Consumer, Message, Messages, View};
use handle::{slowly, Name};
use producer::{Claim, Producer};
use pyo3::exceptions::PyImportError;
use pyo3::ffi;
use pyo3::prelude::*;
use shared_memory::SharedMemory;
use stats::{ConsumerInfo, Stats};
use std::ffi::OsString;
use std::sync::atomic::{AtomicI64, Ordering};

/// Removes a queue: its data file, and the files that belong to it.
///
/// The queue is removed even if a producer or consumers have it open. (The command `ipcq unlink`
/// refuses if a producer has it open.) Open handles keep the memory until they are closed. A
/// producer that opens the name afterwards makes a new queue. It gets ProducerExistsError until the
/// old producer has ended.
///
/// Raises FileNotFoundError if the queue does not exist, PermissionError.
#[pyfunction]
fn unlink(py: Python<'_>, name: Name) -> PyResult<()> {
    slowly(py, || ipcq::unlink(&*name))
}

/// The names of all queues in the directory of bare names (/dev/shm, or $IPCQ_DIR), sorted.
#[pyfunction]
fn queues(py: Python<'_>) -> PyResult<Vec<OsString>> {
    slowly(py, ipcq::list)
}

/// A call that panics while it holds the lock of a handle.
#[cfg(feature = "_test")]
#[pyfunction]
fn _panic(py: Python<'_>, handle: &Bound<'_, PyAny>) -> PyResult<()> {
    if let Ok(consumer) = handle.cast::<Consumer>() {
        return consumer.get().panic(py);
    }
    handle.cast::<Producer>()?.get().panic(py)
}

/// Fails in a second interpreter of the process, because the classes belong to the first one.
/// (PyO3 checks this only for submodules, and the interpreter loads a module that does not
/// refuse.)
fn refuse_subinterpreters(py: Python<'_>) -> PyResult<()> {
    static FIRST: AtomicI64 = AtomicI64::new(-1);
    // SAFETY: the interpreter is attached.
    let here = unsafe { ffi::PyInterpreterState_GetID(ffi::PyInterpreterState_Get()) };
    if here < 0 {
        return Err(PyErr::fetch(py));
    }
    // Relaxed: it is only compared.
    match FIRST.compare_exchange(-1, here, Ordering::Relaxed, Ordering::Relaxed) {
        Err(first) if first != here => Err(PyImportError::new_err(
            "ipcq does not support subinterpreters, and another interpreter of this process has \
             loaded it",
        )),
        _ => Ok(()),
    }
}

#[pymodule(gil_used = false)]
fn _ipcq(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    refuse_subinterpreters(py)?;
    ipcq::__binding::speak(ipcq::__binding::Language::Python);
    module.add_class::<Claim>()?;
    module.add_class::<Consumer>()?;
    module.add_class::<ConsumerInfo>()?;
    module.add_class::<Message>()?;
    module.add_class::<Messages>()?;
    module.add_class::<Producer>()?;
    module.add_class::<SharedMemory>()?;
    module.add_class::<Stats>()?;
    module.add_class::<View>()?;
    module.add_function(wrap_pyfunction!(queues, module)?)?;
    module.add_function(wrap_pyfunction!(unlink, module)?)?;
    module.add_function(wrap_pyfunction!(wait_any, module)?)?;
    module.add("__version__", ipcq::VERSION)?;
    // Private, so not in __all__.
    module.setattr(
        "_arrow_stream",
        wrap_pyfunction!(arrow::_arrow_stream, module)?,
    )?;
    module.setattr("_part", wrap_pyfunction!(buffer::_part, module)?)?;
    #[cfg(feature = "_test")]
    module.setattr("_panic", wrap_pyfunction!(_panic, module)?)?;
    Ok(())
}
