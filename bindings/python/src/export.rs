//! Classes whose objects show shared memory by the buffer protocol: `memoryview(x)`, `numpy.asarray(x)`.
//!
//! PyO3 can give a class the two slots for it in a limited-API build from Python 3.11 on (see
//! `buffer.rs`). Every interpreter from 3.9 on takes them from a type specification. So a class made
//! by PyO3 gets a subclass here that adds these slots and nothing else; it is what Python sees.

use crate::buffer::{flag, RawBuffer};
use crate::errors;
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::pyclass::boolean_struct::True;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use pyo3::PyClass;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;

/// What is shown.
pub struct Shown {
    pub at: *mut u8,
    /// How many rows there are, and the bytes from one to the next; `None` for plain bytes.
    pub rows: Option<(usize, usize)>,
    /// Bytes of a row, or of it all.
    pub size: usize,
    pub writable: bool,
}

/// A class whose objects show memory.
pub trait Shows: PyClass<Frozen = True> + Sync {
    /// What the subclass is called, with its module.
    const SHOWN_AS: &'static CStr;
    /// Where the subclass is kept.
    fn class() -> &'static PyOnceLock<Py<PyType>>;
    /// Gives the memory, which stays where it is until `shown` was called as often.
    fn show(&self, py: Python<'_>) -> PyResult<Shown>;
    /// One of those it was given to has let go of it.
    fn shown(&self);
}

/// The subclass that has the slots.
pub fn class<T: Shows>(py: Python<'_>) -> PyResult<&Bound<'_, PyType>> {
    let class = T::class().get_or_try_init(py, || make::<T>(py))?;
    Ok(class.bind(py))
}

fn make<T: Shows>(py: Python<'_>) -> PyResult<Py<PyType>> {
    let base = py.get_type::<T>();
    let text = |name| -> PyResult<String> { base.getattr(name)?.extract() };
    let name = T::SHOWN_AS.to_string_lossy();
    let bare = name.rsplit('.').next().unwrap_or_default();
    let doc = format!(
        "{bare}{}\n--\n\n{}",
        text("__text_signature__")?,
        text("__doc__")?
    );
    let doc = CString::new(doc)?;
    let slot = |slot, function: *mut c_void| ffi::PyType_Slot {
        slot,
        pfunc: function,
    };
    let mut slots = [
        slot(ffi::Py_bf_getbuffer, get::<T> as *mut c_void),
        slot(ffi::Py_bf_releasebuffer, release::<T> as *mut c_void),
        // It is copied.
        slot(ffi::Py_tp_doc, doc.as_ptr().cast_mut().cast()),
        slot(0, null_mut()),
    ];
    let mut spec = ffi::PyType_Spec {
        name: T::SHOWN_AS.as_ptr(),
        // That of the base.
        basicsize: 0,
        itemsize: 0,
        flags: ffi::Py_TPFLAGS_DEFAULT as _,
        slots: slots.as_mut_ptr(),
    };
    // SAFETY: the specification is whole, its name is static, and the base is a class; what comes
    // back is a new reference to one, or null with an exception set.
    unsafe {
        let class = ffi::PyType_FromSpecWithBases(&mut spec, base.as_ptr());
        let class = Bound::from_owned_ptr_or_err(py, class)?;
        Ok(class.cast_into_unchecked::<PyType>().unbind())
    }
}

/// `bf_getbuffer`.
unsafe extern "C" fn get<T: Shows>(
    object: *mut ffi::PyObject,
    view: *mut RawBuffer,
    flags: c_int,
) -> c_int {
    Python::attach(|py| {
        // SAFETY: the interpreter gives an object of the class and room for what is filled in.
        let filled = catch_unwind(AssertUnwindSafe(|| unsafe {
            (*view).obj = null_mut();
            let object = Borrowed::from_ptr(py, object);
            let shower = object.cast::<T>()?;
            fill(py, shower.get(), view, flags)?;
            (*view).obj = object.to_owned().into_ptr();
            Ok(())
        }));
        match filled {
            Ok(Ok(())) => return 0,
            Ok(Err(e)) => PyErr::restore(e, py),
            Err(_) => errors::error(py, "an internal error was caught").restore(py),
        }
        -1
    })
}

/// # Safety
/// `view` has room for it.
unsafe fn fill<T: Shows>(
    py: Python<'_>,
    shower: &T,
    view: *mut RawBuffer,
    flags: c_int,
) -> PyResult<()> {
    let wants = |wanted: c_int| flags & wanted == wanted;
    let shown = shower.show(py)?;
    let (rows, stride) = shown.rows.unwrap_or((1, shown.size));
    let refused = if wants(flag::WRITABLE) && !shown.writable {
        Some("this memory is read-only")
    } else if rows > 1
        && (!wants(flag::STRIDES)
            || wants(flag::C_CONTIGUOUS)
            || wants(flag::F_CONTIGUOUS)
            || wants(flag::ANY_CONTIGUOUS))
    {
        Some("the messages lie apart in the ring: take an array of it, or look at one message")
    } else {
        None
    };
    if let Some(why) = refused {
        shower.shown();
        return Err(PyBufferError::new_err(why));
    }
    let (ndim, shape) = match shown.rows {
        Some(_) => (
            2,
            [
                rows,
                shown.size,
                if rows > 1 { stride } else { shown.size },
                1,
            ],
        ),
        None => (1, [shown.size, 0, 1, 0]),
    };
    // Lengths and distances in one piece, which `release` frees.
    let shape = Box::into_raw(Box::new(shape.map(|n| n as ffi::Py_ssize_t)));
    // SAFETY: room for it, says the caller.
    unsafe {
        (*view).buf = shown.at.cast();
        (*view).len = (rows * shown.size) as ffi::Py_ssize_t;
        (*view).itemsize = 1;
        (*view).readonly = c_int::from(!shown.writable);
        (*view).format = match wants(flag::FORMAT) {
            true => c"B".as_ptr().cast_mut(),
            false => null_mut::<c_char>(),
        };
        (*view).ndim = if wants(flag::ND) { ndim } else { 1 };
        (*view).shape = if wants(flag::ND) {
            shape.cast()
        } else {
            null_mut()
        };
        (*view).strides = match wants(flag::STRIDES) {
            true => shape.cast::<ffi::Py_ssize_t>().add(2),
            false => null_mut(),
        };
        (*view).suboffsets = null_mut();
        (*view).internal = shape.cast();
    }
    Ok(())
}

/// `bf_releasebuffer`.
unsafe extern "C" fn release<T: Shows>(object: *mut ffi::PyObject, view: *mut RawBuffer) {
    // SAFETY: called by the interpreter, with what `fill` has filled in for this object.
    Python::attach(|py| unsafe {
        let shape = (*view).internal.cast::<[ffi::Py_ssize_t; 4]>();
        drop(Box::from_raw(shape));
        if let Ok(shower) = Borrowed::from_ptr(py, object).cast::<T>() {
            shower.get().shown();
        }
    });
}

/// The error for a handle that cannot be closed yet.
#[cold]
pub fn in_use(name: &std::path::Path) -> PyErr {
    PyBufferError::new_err(format!(
        "{}: it cannot be closed while a memoryview or an array shows its memory",
        name.display()
    ))
}
