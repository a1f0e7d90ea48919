//! Exceptions for the errors of the crate. The exception classes of ipcq are written in Python,
//! because most of them have two base classes.

use crate::handle::part;
use crate::handle::Name;
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
    replaced = "ReplacedError";
    overrun = "OverrunError";
    schema_mismatch = "SchemaMismatchError";
    message_size = "MessageSizeError";
    producer_exists = "ProducerExistsError";
    incompatible = "IncompatibleError";
}

/// Whether an exception says that the queue is closed and drained, which ends a loop.
/// `ReplacedError` is a subclass of `Closed`, but does not end a loop.
#[cold]
fn is_end(py: Python<'_>, error: &PyErr) -> bool {
    part!(py, "ipcq._errors", "Closed").is_ok_and(|class| error.get_type(py).is(class))
}

/// The exception for an error of the crate.
#[cold]
pub fn raise(py: Python<'_>, error: Error) -> PyErr {
    let text = error.to_string();
    let errno = match error {
        // The number that the system gave. The codes of the C interface are fewer.
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
        Error::MessageSize(_) => message_size(py, text),
        Error::Invalid(_) | Error::TooBig(_) | Error::OutOfRange(_) => usage(py, text),
        Error::Empty(_) | Error::TimedOut(_) => empty(py, text),
        Error::Full(_) => full(py, text),
        Error::Closed(_) => closed(py, text),
        // A view raises `OverrunError` itself if its messages were overwritten.
        Error::Stale(_) => replaced(py, text),
        Error::SchemaMismatch(_) => schema_mismatch(py, text),
        _ => self::error(py, text),
    }
}

/// Why a call on a handle failed. The exception is made of it after the lock of the handle was
/// released, because that may run Python code.
pub enum Failure {
    /// The handle was closed.
    HandleClosed,
    /// The view or the claim has ended.
    Ended,
    /// The producer has closed the queue, and it is drained. `removed`: its name is gone,
    /// too.
    Drained { removed: bool },
    /// The queue was replaced or removed, and it is drained.
    Replaced,
    /// The buffer has room for `room` bytes, and the next message has `length`.
    TooSmall { length: usize, room: usize },
    /// Messages of a view were overwritten.
    Overrun { first: u64, last: u64 },
    /// An error of the crate.
    Crate(Error),
    /// An exception.
    Raised(PyErr),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Crate(error)
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Failure::Raised(error)
    }
}

impl Failure {
    /// The exception. `handle` says what the handle is, `part` what a part of it is.
    #[cold]
    pub fn exception(self, py: Python<'_>, name: &Name, handle: &str, part: &str) -> PyErr {
        let name = name.display();
        match self {
            Failure::HandleClosed => usage(py, format!("{name}: this {handle} is closed")),
            Failure::Ended => usage(py, format!("{name}: this {part} has ended")),
            Failure::Drained { removed } => {
                let hint = match removed {
                    true => "; it was removed: open the name again",
                    false => "",
                };
                closed(
                    py,
                    format!(
                        "{name}: the producer has closed the queue, and this consumer has consumed \
                         everything in it{hint}"
                    ),
                )
            }
            Failure::Replaced => replaced(
                py,
                format!(
                    "{name}: the queue was replaced or removed, and this consumer has consumed \
                     everything in it: open it again"
                ),
            ),
            Failure::TooSmall { length, room } => message_size(
                py,
                format!("{name}: the next message has {length} bytes, but the buffer has {room}"),
            ),
            Failure::Overrun { first, last } if first == last => overrun(
                py,
                format!("{name}: message {first} was overwritten while it was peeked at"),
            ),
            Failure::Overrun { first, last } => overrun(
                py,
                format!(
                    "{name}: some of the messages {first} to {last} were overwritten while they \
                     were peeked at"
                ),
            ),
            Failure::Crate(error) => raise(py, error),
            Failure::Raised(error) => error,
        }
    }
}

/// The result of an iterator for an exception: `None` if it is the one that ends a loop.
#[cold]
pub fn end_of_loop<T>(py: Python<'_>, error: PyErr) -> PyResult<Option<T>> {
    match is_end(py, &error) {
        true => Ok(None),
        false => Err(error),
    }
}
