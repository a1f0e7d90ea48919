//! Batches by the C stream interface of Arrow, for pyarrow, pandas, polars, duckdb and others. They
//! take the data without a copy through Python objects. The data is a copy of the messages, in
//! columns. It may be used and dropped in any thread, and also after the interpreter has ended.

mod column;
mod interface;

use crate::buffer::Buffer;
use crate::errors;
use column::Column;
use interface::{ArrowArrayStream, Source};
use ipcq::{Field, Schema};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};

/// How messages become columns.
enum Layout {
    /// A column for each field of the records.
    Records(Schema),
    /// One column of bytes. The size is 0 if the messages vary in length.
    Bytes(usize),
}

/// The name of the only column without fields.
const ONE_COLUMN: &str = "message";

impl Layout {
    fn columns(&self, data: &[u8], starts: &[usize]) -> Result<Vec<Column>, String> {
        match self {
            Layout::Records(schema) => schema
                .fields()
                .iter()
                .map(|field| self.column(schema, field, data, starts))
                .collect(),
            Layout::Bytes(size) => {
                let messages = starts.iter().map(|&at| &data[at..at + size]);
                Ok(vec![Column::of_bytes(ONE_COLUMN, messages)?])
            }
        }
    }

    fn column(
        &self,
        schema: &Schema,
        field: &Field,
        data: &[u8],
        starts: &[usize],
    ) -> Result<Column, String> {
        // A dtype without fields is stored under a name that no field of a struct has.
        let name = match (schema.fields().len(), field.name()) {
            (1, "(message)") => ONE_COLUMN,
            (_, name) => name,
        };
        let starts: Vec<_> = starts
            .iter()
            .map(|&at| at + field.offset() as usize)
            .collect();
        Column::of(name, field.format(), field.shape(), data, &starts, 1)
    }

    /// The columns of a Batch of `_batch.py`.
    fn batch(&self, batch: &Bound<'_, PyAny>) -> PyResult<Column> {
        let py = batch.py();
        let count = batch.len()?;
        let (size, columns) = match self {
            Layout::Records(schema) => (schema.itemsize() as usize, None),
            Layout::Bytes(0) => {
                let messages: Vec<Bound<'_, PyBytes>> = batch
                    .try_iter()?
                    .map(|m| Ok(m?.cast_into()?))
                    .collect::<PyResult<_>>()?;
                let messages: Vec<_> = messages.iter().map(|m| m.as_bytes()).collect();
                let column = py.detach(|| Column::of_bytes(ONE_COLUMN, messages.into_iter()));
                (0, Some(column.map(|c| vec![c])))
            }
            Layout::Bytes(size) => (*size, None),
        };
        let columns = match columns {
            Some(columns) => columns,
            None => {
                let data = Buffer::of(&batch.getattr("data")?)?.to_vec();
                py.detach(move || {
                    let starts: Vec<_> = (0..count).map(|i| i * size).collect();
                    self.columns(&data, &starts)
                })
            }
        };
        let columns = columns.map_err(PyTypeError::new_err::<String>)?;
        Ok(Column::table(count, columns))
    }
}

// A stream of the batches of an iterator. `schema` is the schema of the records, if there is one.
// `size` is the size of the messages.
#[pyfunction]
pub fn _arrow_stream<'py>(
    batches: &Bound<'py, PyAny>,
    schema: Option<&str>,
    size: usize,
) -> PyResult<Bound<'py, PyCapsule>> {
    let py = batches.py();
    let layout = match schema {
        Some(json) => Layout::Records(Schema::from_json(json).map_err(|e| errors::raise(py, e))?),
        None => Layout::Bytes(size),
    };
    // Raises here if Arrow has no such type.
    let columns = layout.columns(&[], &[]);
    let empty = Column::table(0, columns.map_err(PyTypeError::new_err::<String>)?);
    let source = Source::new(layout, empty, batches.try_iter()?.into_any().unbind());
    PyCapsule::new_with_value(py, ArrowArrayStream::new(source), c"arrow_array_stream")
}
