//! One message with what is known about it.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// One message with what is known about it.
///
/// bytes(message) is its data, len(message) how many bytes it has.
#[pyclass(frozen, get_all, module = "ipcq")]
pub struct Message {
    /// Its number, from 0, in the order of pushing.
    pub(super) sequence: u64,
    /// How many messages were lost between the one consumed before and this one.
    pub(super) lost: u64,
    /// The bytes.
    pub(super) data: Py<PyBytes>,
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
