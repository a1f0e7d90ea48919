//! A message with what is known about it, and the iterator over such messages.

use super::{Consumer, Meta};
use crate::errors;
use crate::handle::{part, wait_for, Timeout};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// A message: its bytes, its sequence, and what was lost before it.
///
/// bytes(message) is its data, and len(message) is the number of bytes.
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Message {
    /// The sequence of the message. The first message of a queue has sequence 0.
    #[pyo3(get)]
    sequence: u64,
    /// The number of messages that were lost directly before this one.
    #[pyo3(get)]
    lost: u64,
    /// The bytes of the message.
    #[pyo3(get)]
    data: Py<PyBytes>,
    /// The `Layout` of the consumer.
    layout: Py<PyAny>,
}

impl Message {
    pub(super) fn new(consumer: &Consumer, data: Bound<'_, PyBytes>, meta: Meta) -> Self {
        Message {
            sequence: meta.sequence,
            lost: meta.lost,
            layout: consumer.records.layout.clone_ref(data.py()),
            data: data.unbind(),
        }
    }
}

#[pymethods]
impl Message {
    /// The message as a record of the consumer's dtype.
    ///
    /// The fields of the record are attributes: record.price, or record["price"]. If the dtype has
    /// no fields, this is a scalar or an array.
    ///
    /// Raises TypeError if the consumer has no dtype.
    ///
    /// Examples:
    ///     >>> out = ipcq.Producer("trades", dtype=[("price", "f8"), ("quantity", "u4")])
    ///     >>> out.push((9.5, 3))
    ///     >>> out.close()
    ///     >>> for message in ipcq.Consumer("trades").messages():
    ///     ...     print(message.sequence, message.record().price)
    ///     0 9.5
    fn record<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let layout = self.layout.bind(py);
        layout.call_method1(intern!(py, "record"), (&self.data,))
    }

    fn __bytes__(&self, py: Python<'_>) -> Py<PyBytes> {
        self.data.clone_ref(py)
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.data.as_bytes(py).len()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let data = self.data.bind(py).repr()?;
        Ok(format!(
            "Message(sequence={}, lost={}, data={})",
            self.sequence,
            self.lost,
            data.to_cow()?
        ))
    }
}

/// An iterator over the messages of a consumer, for `for` and `async for`. See
/// Consumer.messages().
#[pyclass(frozen, weakref, module = "ipcq")]
pub struct Messages {
    pub(super) consumer: Py<Consumer>,
}

#[pymethods]
impl Messages {
    fn __iter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<Message>> {
        let consumer = self.consumer.get();
        match wait_for(py, Timeout::NO_LIMIT, consumer, || consumer.take(py)) {
            Ok(found) => Ok(found.map(|(data, meta)| Message::new(consumer, data, meta))),
            Err(e) => errors::end_of_loop(py, e),
        }
    }

    fn __aiter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __anext__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        part!(py, "ipcq._aio", "next_message")?.call1((&self.consumer,))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.consumer)
    }
}
