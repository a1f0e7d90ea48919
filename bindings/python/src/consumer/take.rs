//! Taking messages out, into bytes objects.

use crate::handle::{self, caught, LARGE};
use ipcq::__binding::{pop_quickly, popped_quickly, Ticket};
use ipcq::{Error, Pop};
use pyo3::exceptions::PyMemoryError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes};

/// In a queue of fixed size up to so many bytes, a pop copies straight into a bytes object made
/// before it is known whether a message is there; if none is, the next pop uses that object.
const SPARE_UP_TO: usize = 4096;

/// How often one pop copies a message that turns out to be overwritten meanwhile before it says
/// that nothing is there.
const PATIENCE: usize = 16;

pub(super) struct Inner {
    pub(super) queue: Option<ipcq::Consumer>,
    /// Once the ring was shown: keeps it mapped for as long as the Python object.
    pub(super) mapped: Option<Ticket>,
    /// A bytes object that nobody else has seen.
    spare: Option<Py<PyBytes>>,
    /// About the last message consumed, or the first of the last batch.
    pub(super) last: ipcq::Message,
    /// Which look at a message stands, if any.
    pub(super) looks: u64,
    pub(super) looking: bool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let (queue, mapped) = (self.queue.take(), self.mapped.take());
        if queue.is_some() || mapped.is_some() {
            handle::drop_detached((queue, mapped));
        }
    }
}

/// A new bytes object of undefined contents, and where they are. Not tracked by the cycle
/// collector, so that this runs no other code.
pub fn new_bytes(py: Python<'_>, size: usize) -> PyResult<(Bound<'_, PyBytes>, *mut u8)> {
    let size = ffi::Py_ssize_t::try_from(size)
        .map_err(|_| PyMemoryError::new_err("a message longer than the address space"))?;
    // SAFETY: a new reference to a bytes object, or null with an exception set. The contents may
    // be written until somebody else sees it.
    unsafe {
        let object = ffi::PyBytes_FromStringAndSize(std::ptr::null(), size);
        let object = Bound::from_owned_ptr_or_err(py, object)?;
        let at = ffi::PyBytes_AsString(object.as_ptr()).cast();
        Ok((object.cast_into_unchecked(), at))
    }
}

/// A new bytearray, in the same way: to fill one with zeroes first costs as much as a small batch.
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
            last: ipcq::Message::default(),
            looks: 0,
            looking: false,
        }
    }

    pub(super) fn note(&mut self, message: ipcq::Message) {
        self.last = message;
        self.looking = false;
    }

    /// Consumes the next message; `Pop::Message` comes with its bytes.
    #[inline(always)]
    pub(super) fn take<'py>(
        &mut self,
        py: Python<'py>,
        message_size: usize,
    ) -> PyResult<Result<Taken<'py>, Error>> {
        let Some(queue) = &mut self.queue else {
            return Ok(Ok(Taken::HandleClosed));
        };
        if message_size == 0 || message_size > SPARE_UP_TO {
            return self.take_known(py, false);
        }
        let object = match self.spare.take() {
            None => new_bytes(py, message_size)?.0,
            Some(object) => object.into_bound(py),
        };
        // SAFETY: an object of `message_size` bytes that nobody else has seen.
        let popped = unsafe {
            let to = ffi::PyBytes_AsString(object.as_ptr()).cast();
            // What takes nothing but a copy cannot panic; to catch that took 6 % of a pop.
            match pop_quickly(queue, to, message_size) {
                Some((message, crowded)) => {
                    popped_quickly(queue, message, crowded);
                    Ok(Pop::Message(message))
                }
                None => caught(|| queue.pop_raw(to, message_size)),
            }
        };
        match popped {
            Ok(Pop::Message(message)) => {
                self.note(message);
                Ok(Ok(Taken::Message(object, message)))
            }
            other => {
                self.spare = Some(object.unbind());
                Ok(other.map(Taken::Nothing))
            }
        }
    }

    /// As `take`, where the object is made when the length is known. `adjoining`: only if no
    /// message was lost before it.
    pub(super) fn take_known<'py>(
        &mut self,
        py: Python<'py>,
        adjoining: bool,
    ) -> PyResult<Result<Taken<'py>, Error>> {
        let Some(queue) = &mut self.queue else {
            return Ok(Ok(Taken::HandleClosed));
        };
        for _ in 0..PATIENCE {
            let (message, from) = match caught(|| queue.peek_raw()) {
                Ok((Pop::Message(message), from)) => (message, from),
                other => return Ok(other.map(|(pop, _)| Taken::Nothing(pop))),
            };
            if adjoining && message.lost > 0 {
                return Ok(Ok(Taken::Nothing(Pop::Empty)));
            }
            let length = message.length as usize;
            let (object, to) = new_bytes(py, length)?;
            copy(py, to, from, length);
            match caught(|| queue.release_raw(message.sequence)) {
                Ok(()) => {
                    self.note(message);
                    return Ok(Ok(Taken::Message(object, message)));
                }
                // Overwritten while it was copied; that counts as lost.
                Err(Error::Stale(_)) => {}
                Err(e) => return Ok(Err(e)),
            }
        }
        Ok(Ok(Taken::Nothing(Pop::Empty)))
    }
}

/// Copies a message that is being peeked at out of the ring; a long one without the interpreter.
#[inline(always)]
pub(super) fn copy(py: Python<'_>, to: *mut u8, from: *const u8, length: usize) {
    let (to, from) = (to as usize, from as usize);
    // SAFETY: `from` was given by `peek_raw` for so many bytes, and the queue stays mapped while
    // the caller has the lock; `to` is the caller's own.
    let copy = move || unsafe {
        ipcq::__binding::copy_from_shared(to as *mut u8, from as *const u8, length)
    };
    match length >= LARGE {
        true => py.detach(copy),
        false => copy(),
    }
}

/// What became of a pop.
pub(super) enum Taken<'py> {
    Message(Bound<'py, PyBytes>, ipcq::Message),
    Nothing(Pop),
    HandleClosed,
}
