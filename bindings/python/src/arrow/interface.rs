//! The structures of Arrow's C data interface and C stream interface, and the owners of what they
//! point to: <https://arrow.apache.org/docs/format/CStreamInterface.html>

use super::{Column, Layout};
use pyo3::prelude::*;
use std::ffi::{c_char, c_int, c_void, CString};
use std::ptr::{null, null_mut};

#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Option<unsafe extern "C" fn(*mut ArrowSchema)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Option<unsafe extern "C" fn(*mut ArrowArray)>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Option<unsafe extern "C" fn(*mut ArrowArrayStream)>,
    private_data: *mut c_void,
}

/// The flag of a column that may have nulls.
const NULLABLE: i64 = 2;

/// The memory that a schema points to.
struct SchemaParts {
    _format: CString,
    _name: CString,
    children: Vec<*mut ArrowSchema>,
}

impl ArrowSchema {
    fn of(column: &Column) -> ArrowSchema {
        let children = column.children.iter().map(ArrowSchema::of);
        let mut parts = Box::new(SchemaParts {
            _format: text(&column.format),
            _name: text(&column.name),
            children: children
                .map(|child| Box::into_raw(Box::new(child)))
                .collect(),
        });
        ArrowSchema {
            format: parts._format.as_ptr(),
            name: parts._name.as_ptr(),
            metadata: null(),
            flags: NULLABLE,
            n_children: parts.children.len() as i64,
            children: parts.children.as_mut_ptr(),
            dictionary: null_mut(),
            release: Some(release_schema),
            private_data: Box::into_raw(parts).cast(),
        }
    }
}

unsafe extern "C" fn release_schema(schema: *mut ArrowSchema) {
    // SAFETY: this is a schema of `ArrowSchema::of` that was not released. A child that was moved
    // has no `release`, but it is still a box of this module.
    unsafe {
        let parts = Box::from_raw((*schema).private_data.cast::<SchemaParts>());
        for &child in &parts.children {
            let mut child = Box::from_raw(child);
            if let Some(release) = child.release {
                release(&mut *child);
            }
        }
        (*schema).release = None;
    }
}

/// The memory that an array points to.
struct ArrayParts {
    column: Column,
    buffers: Vec<*const c_void>,
    children: Vec<*mut ArrowArray>,
}

impl ArrowArray {
    fn of(mut column: Column) -> ArrowArray {
        let children = std::mem::take(&mut column.children).into_iter();
        let children = children.map(|child| Box::into_raw(Box::new(ArrowArray::of(child))));
        let buffers = column.buffers.iter();
        let buffers = buffers.map(|b| b.as_ref().map_or(null(), |b| b.as_ptr().cast()));
        let mut parts = Box::new(ArrayParts {
            buffers: buffers.collect(),
            children: children.collect(),
            column,
        });
        ArrowArray {
            length: parts.column.length as i64,
            null_count: parts.column.nulls as i64,
            offset: 0,
            n_buffers: parts.buffers.len() as i64,
            n_children: parts.children.len() as i64,
            buffers: parts.buffers.as_mut_ptr(),
            children: parts.children.as_mut_ptr(),
            dictionary: null_mut(),
            release: Some(release_array),
            private_data: Box::into_raw(parts).cast(),
        }
    }
}

unsafe extern "C" fn release_array(array: *mut ArrowArray) {
    // SAFETY: as in `release_schema`.
    unsafe {
        let parts = Box::from_raw((*array).private_data.cast::<ArrayParts>());
        for &child in &parts.children {
            let mut child = Box::from_raw(child);
            if let Some(release) = child.release {
                release(&mut *child);
            }
        }
        (*array).release = None;
    }
}

/// The source of the batches of a stream.
pub struct Source {
    layout: Layout,
    /// A table without rows, for its types.
    empty: Column,
    /// An iterator of Batch.
    batches: Py<PyAny>,
    error: CString,
}

impl Source {
    pub fn new(layout: Layout, empty: Column, batches: Py<PyAny>) -> Self {
        Source {
            layout,
            empty,
            batches,
            error: CString::default(),
        }
    }

    /// The next table; `None` after the last.
    fn next(&mut self) -> Result<Option<Column>, String> {
        let next = Python::try_attach(|py| {
            let batches = self.batches.bind(py);
            let next = batches
                .try_iter()
                .and_then(|mut batches| batches.next().transpose());
            let table = match next {
                Ok(Some(batch)) => self.layout.batch(&batch).map(Some),
                Ok(None) => Ok(None),
                Err(e) => Err(e),
            };
            table.map_err(|e| e.to_string())
        });
        next.unwrap_or_else(|| Err("the interpreter is shutting down".into()))
    }
}

impl ArrowArrayStream {
    pub fn new(source: Source) -> Self {
        ArrowArrayStream {
            get_schema: Some(get_schema),
            get_next: Some(get_next),
            get_last_error: Some(get_last_error),
            release: Some(release_stream),
            private_data: Box::into_raw(Box::new(source)).cast(),
        }
    }
}

// SAFETY: it points to a `Source`, which may move between threads.
unsafe impl Send for ArrowArrayStream {}

impl Drop for ArrowArrayStream {
    fn drop(&mut self) {
        // If a consumer has taken the stream out of the capsule, `release` is None.
        if let Some(release) = self.release {
            // SAFETY: the stream was not released.
            unsafe { release(self) };
        }
    }
}

unsafe extern "C" fn get_schema(stream: *mut ArrowArrayStream, to: *mut ArrowSchema) -> c_int {
    // SAFETY: this is a stream of this module that was not released, and there is room for a
    // schema.
    unsafe {
        let source = &*(*stream).private_data.cast::<Source>();
        to.write(ArrowSchema::of(&source.empty));
    }
    0
}

unsafe extern "C" fn get_next(stream: *mut ArrowArrayStream, to: *mut ArrowArray) -> c_int {
    // SAFETY: this is a stream of this module that was not released. One thread uses it at a time.
    let source = unsafe { &mut *(*stream).private_data.cast::<Source>() };
    let array = match source.next() {
        Ok(Some(table)) => ArrowArray::of(table),
        // A released array means the end.
        // SAFETY: zeros are null pointers and `None`.
        Ok(None) => unsafe { std::mem::zeroed() },
        Err(why) => {
            source.error = text(&why);
            return libc::EIO;
        }
    };
    // SAFETY: there is room for an array.
    unsafe { to.write(array) };
    0
}

unsafe extern "C" fn get_last_error(stream: *mut ArrowArrayStream) -> *const c_char {
    // SAFETY: this is a stream of this module that was not released.
    unsafe { (*(*stream).private_data.cast::<Source>()).error.as_ptr() }
}

unsafe extern "C" fn release_stream(stream: *mut ArrowArrayStream) {
    // SAFETY: this is a stream of this module that was not released.
    unsafe {
        drop(Box::from_raw((*stream).private_data.cast::<Source>()));
        (*stream).release = None;
    }
}

/// A string for C. It ends at the first zero of the text.
fn text(text: &str) -> CString {
    CString::new(text.split('\0').next().unwrap_or_default()).unwrap_or_default()
}
