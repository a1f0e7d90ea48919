//! Errors of the crate as Python exceptions. The classes of ipcq's own are written in Python, for
//! they have two bases each.

use crate::handle::part;
use ipcq::Error;
use pyo3::exceptions::{PyFileExistsError, PyFileNotFoundError, PyOSError, PyPermissionError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::PyErrArguments;

macro_rules! exceptions {
    ($($function:ident = $name:literal;)*) => {$(
        pub fn $function(py: Python<'_>, args: impl PyErrArguments + 'static) -> PyErr {
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            match CLASS.import(py, "ipcq._errors", $name) {
                Ok(class) => PyErr::from_type(class.clone(), args),
                Err(e) => e,
            }
        }
    )*};
}

exceptions! {
    error = "Error";
    usage = "UsageError";
    empty = "Empty";
    full = "Full";
    closed = "Closed";
    replaced = "Replaced";
    overrun = "Overrun";
    schema_mismatch = "SchemaMismatch";
    too_large = "TooLarge";
    producer_exists = "ProducerExists";
    incompatible = "Incompatible";
}

/// Whether an exception says that the queue is closed and drained, which ends a loop. `Replaced`, which
/// is a case of `Closed`, does not.
#[cold]
pub fn is_end(py: Python<'_>, error: &PyErr) -> bool {
    part!(py, "ipcq._errors", "Closed").is_ok_and(|class| error.get_type(py).is(class))
}

/// The exception for an error of the crate.
#[cold]
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    let errno = match error {
        // What the system said. The code of the C interface has room for less.
        Error::Os(errno, _) => errno,
        _ => -error.code(),
    };
    match error {
        Error::NotFound(_) => PyFileNotFoundError::new_err((errno, text)),
        Error::Exists(_) => PyFileExistsError::new_err((errno, text)),
        Error::PermissionDenied(_) => PyPermissionError::new_err((errno, text)),
        Error::NoSpace(_) | Error::Os(..) => PyOSError::new_err((errno, text)),
        Error::ProducerExists(_) => producer_exists(py, (errno, text)),
        Error::Geometry(_) | Error::Version(_) | Error::Damaged(_) => incompatible(py, text),
        Error::MessageSize(_) => too_large(py, text),
        Error::Invalid(_) | Error::TooBig(_) | Error::OutOfRange(_) => usage(py, text),
        Error::Empty(_) | Error::TimedOut(_) => empty(py, text),
        Error::Full(_) => full(py, text),
        Error::Closed(_) => closed(py, text),
        // What a view raises when its messages were overwritten is `Overrun`: see there.
        Error::Stale(_) => replaced(py, text),
        Error::SchemaMismatch(_) => schema_mismatch(py, text),
        _ => self::error(py, text),
    }
}
