//! Writing and reading messages in place.

use super::handle::{consumer, ipcq_queue, producer};
use super::support::{empty, guard, out};
use crate::{Meta, Pop};
use std::ffi::{c_int, c_void};

/// Sets `*slot` to room for a message of up to `length` bytes. Write it, then call ipcq_commit or
/// ipcq_abort. The slot still holds old bytes.
/// Errors: as ipcq_push.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_claim(
    q: *mut ipcq_queue,
    length: usize,
    slot: *mut *mut c_void,
) -> c_int {
    guard(|| {
        // SAFETY: valid or NULL, and a handle, says the caller.
        let (slot, producer) = unsafe { (out(slot, "the place for the pointer")?, producer(q)?) };
        *slot = producer.claim_raw(length)?.cast();
        Ok(0)
    })
}

/// Publishes `length` bytes: message_size or, in a variable queue, at most the claimed length.
/// Errors: -EMSGSIZE (the claim stays).
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_commit(q: *mut ipcq_queue, length: usize) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { producer(q) }?.commit_raw(length)?;
        Ok(0)
    })
}

/// Drops the claim.
#[no_mangle]
pub unsafe extern "C" fn ipcq_abort(q: *mut ipcq_queue) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { producer(q) }?.abort_raw()?;
        Ok(0)
    })
}

/// A message in place.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_view {
    /// Aligned to 8 bytes, or to 16 in a variable queue.
    pub data: *const c_void,
    /// As in ipcq_info.
    pub sequence: u64,
    pub lost: u64,
    pub length: u32,
    pub reserved: u32,
}

/// Shows the next message in place. A lossy producer may overwrite it, so do not act on the data
/// before ipcq_release returns 0. Another pop, peek or seek invalidates the view.
/// Errors: as ipcq_pop.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_peek(q: *mut ipcq_queue, view: *mut ipcq_view) -> c_int {
    guard(|| {
        // SAFETY: valid or NULL, and a handle, says the caller.
        let (view, q) = unsafe { (out(view, "the view")?, consumer(q)?) };
        match q.peek_raw()? {
            (Pop::Message(message), data) => {
                *view = ipcq_view::new(data, message);
                Ok(0)
            }
            (Pop::Empty, _) => Ok(empty(q)),
            (pop, _) => Err(q.not_popped(pop, 0)),
        }
    })
}

/// Consumes the message of the latest peek.
/// Errors: -ESTALE (overwritten, lost and skipped: discard the results).
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_release(q: *mut ipcq_queue, view: *const ipcq_view) -> c_int {
    guard(|| {
        // SAFETY: valid or NULL, and a handle, says the caller.
        let (view, q) = unsafe { (out(view.cast_mut(), "the view")?, consumer(q)?) };
        q.release_raw(view.sequence)?;
        Ok(0)
    })
}

impl ipcq_view {
    fn new(data: *const u8, message: Meta) -> Self {
        ipcq_view {
            data: data.cast(),
            sequence: message.sequence,
            lost: message.lost,
            length: message.length,
            reserved: 0,
        }
    }
}
