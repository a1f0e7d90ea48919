//! One message with what is known about it.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// One message with what is known about it.
///
/// bytes(message) is its data, len(message) how many bytes it has.
#[pyclass(frozen, get_all, weakref, module = "ipcq")]
pub struct Message {
    /// Its number, from 0, in the order of pushing.
    sequence: u64,
    /// How many messages were lost between the one consumed before and this one.
    lost: u64,
    /// The bytes.
    data: Py<PyBytes>,
}

impl Message {
    pub(super) fn new(data: Bound<'_, PyBytes>, info: ipcq::Message) -> Self {
        Message {
            sequence: info.sequence,
            lost: info.lost,
            data: data.unbind(),
        }
    }
}

#[pymethods]
impl Message {
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
