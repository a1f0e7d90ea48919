//! Taking messages out of the ring, into bytes objects.

use super::Meta;
use crate::errors::Failure;
use crate::handle::{self, catch_panic, copying};
use ipcq::__binding::{copy_from_shared, try_fast_pop, Ticket};
use ipcq::{Error, Pop};
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};
use std::sync::Arc;

/// In a queue of fixed size up to this many bytes, a pop copies straight into a bytes object.
/// The object is made before it is known whether the queue has a message. If it has no message, the
/// next pop uses the object.
const SPARE_UP_TO: usize = 4096;

/// How often one pop copies a message that was overwritten during the copy before it reports an
/// empty queue.
const MAX_RETRIES: usize = 16;

/// A message and its bytes.
pub(super) type Taken<'py> = (Bound<'py, PyBytes>, Meta);

pub(super) struct Inner {
    /// `None` if the handle was closed.
    pub(super) queue: Option<ipcq::Consumer>,
    /// Set once the ring was shown. It keeps the ring mapped. Each view that has shown the ring
    /// has it, too.
    pub(super) mapped: Option<Arc<Ticket>>,
    /// A bytes object that no other code refers to.
    spare: Option<Py<PyBytes>>,
    /// The message consumed last, or the first of the last batch.
    pub(super) last: Meta,
    /// The number of views made so far. The last of them is valid while `peeking`.
    pub(super) views: u64,
    pub(super) peeking: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (queue, mapped) = (self.queue.take(), self.mapped.take());
        if queue.is_some() || mapped.is_some() {
            handle::drop_detached((queue, mapped));
        }
    }
}

/// A new bytes object of undefined contents, and the address of the contents. The cycle
/// collector does not track it, so this runs no other code.
pub fn new_bytes(py: Python<'_>, size: usize) -> PyResult<(Bound<'_, PyBytes>, *mut u8)> {
    let size = ffi::Py_ssize_t::try_from(size)
        .map_err(|_| PyMemoryError::new_err("a message longer than the address space"))?;
    // SAFETY: the result is a new reference to a bytes object, or null with an exception set. The
    // contents may be written until other code refers to the object.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let at = ffi::PyBytes_AsString(object.as_ptr()).cast();
        Ok((object.cast_into_unchecked(), at))
    }
}

/// A new bytearray of undefined contents. To fill it with zeros first would cost as much as a
/// small batch.
pub(super) fn new_bytearray(
    py: Python<'_>,
    size: usize,
) -> PyResult<(Bound<'_, PyByteArray>, *mut u8)> {
    let size = ffi::Py_ssize_t::try_from(size)
        .map_err(|_| PyMemoryError::new_err("a batch longer than the address space"))?;
    // SAFETY: as in `new_bytes`.
    unsafe {
        let object = ffi::PyByteArray_FromStringAndSize(std::ptr::null(), size);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let at = ffi::PyByteArray_AsString(object.as_ptr()).cast();
        Ok((object.cast_into_unchecked(), at))
    }
}

impl Inner {
    pub(super) fn new(queue: ipcq::Consumer) -> Self {
        Inner {
            queue: Some(queue),
            mapped: None,
            spare: None,
            last: Meta::default(),
            views: 0,
            peeking: false,
        }
    }

    #[inline(always)]
    pub(super) fn queue(&mut self) -> Result<&mut ipcq::Consumer, Failure> {
        self.queue.as_mut().ok_or(Failure::HandleClosed)
    }

    /// Records that messages were consumed, which ends a view.
    #[inline(always)]
    pub(super) fn consumed(&mut self, first: Meta) {
        self.last = first;
        self.peeking = false;
    }

    /// The message that a call of the crate has found. `None` if the queue is empty.
    #[inline(always)]
    pub(super) fn found(&self, pop: Pop, room: usize) -> Result<Option<Meta>, Failure> {
        match pop {
            Pop::Message(meta) => Ok(Some(meta)),
            Pop::Empty => Ok(None),
            end => Err(self.end(end, room)),
        }
    }

    #[cold]
    fn end(&self, pop: Pop, room: usize) -> Failure {
        match pop {
            Pop::Superseded => Failure::Replaced,
            Pop::TooSmall(meta) => Failure::TooSmall {
                length: meta.length as usize,
                room,
            },
            _ => {
                let stats = self.queue.as_ref().and_then(|queue| queue.stats().ok());
                Failure::Drained {
                    removed: stats.is_some_and(|stats| stats.unlinked),
                }
            }
        }
    }

    /// Consumes the next message. `None` if the queue is empty.
    #[inline(always)]
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        message_size: usize,
    ) -> Result<Option<Taken<'py>>, Failure> {
        let Some(queue) = &mut self.queue else {
            return Err(Failure::HandleClosed);
        };
        if message_size == 0 || message_size > SPARE_UP_TO {
            return self.take_known(py, false);
        }
        let object = match self.spare.take() {
            None => new_bytes(py, message_size)?.0,
            Some(object) => object.into_bound(py),
        };
        // SAFETY: the object has `message_size` bytes, and no other code refers to it.
        let popped = unsafe {
            let to = ffi::PyBytes_AsString(object.as_ptr()).cast();
            // The fast path only copies, so it cannot panic. To catch panics cost 6 % of a pop.
            match try_fast_pop(queue, to, message_size) {
                Some(meta) => Ok(Pop::Message(meta)),
                None => catch_panic(|| queue.pop_raw(to, message_size)),
            }
        };
        if let Ok(Pop::Message(meta)) = popped {
            self.consumed(meta);
            return Ok(Some((object, meta)));
        }
        self.spare = Some(object.unbind());
        self.found(popped?, message_size)?;
        Ok(None)
    }

    /// Does the same as `take`, but makes the object when the length is known. `adjoining`:
    /// takes the message only if none was lost before it.
    pub(super) fn take_known<'py>(
        &mut self,
        py: Python<'py>,
        adjoining: bool,
    ) -> Result<Option<Taken<'py>>, Failure> {
        for _ in 0..MAX_RETRIES {
            let Some(queue) = &mut self.queue else {
                return Err(Failure::HandleClosed);
            };
            let (meta, from) = match catch_panic(|| queue.peek_raw()) {
                Ok((Pop::Message(meta), from)) => (meta, from),
                Ok((end, _)) => return self.found(end, 0).map(|_| None),
                Err(e) => return Err(Failure::Crate(e)),
            };
            if adjoining && meta.lost > 0 {
                return Ok(None);
            }
            let length = meta.length as usize;
            let (object, to) = new_bytes(py, length)?;
            let (to, from) = (to as usize, from as usize);
            copying(py, length, || {
                // SAFETY: `peek_raw` gave `from` for that many bytes, and the queue stays mapped
                // because the caller holds the lock. No other code refers to the new object.
                unsafe { copy_from_shared(to as *mut u8, from as *const u8, length) }
            });
            match catch_panic(|| queue.release_raw(meta.sequence)) {
                Ok(()) => {
                    self.consumed(meta);
                    return Ok(Some((object, meta)));
                }
                // It was overwritten during the copy, and counts as lost.
                Err(Error::Overrun(_)) => {}
                Err(e) => return Err(Failure::Crate(e)),
            }
        }
        Ok(None)
    }
}
