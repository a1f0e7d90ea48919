//! The consumer's functions.

use super::support::{array, bytes, consumer, consumer_if, empty, guard, out};
use super::types::{ipcq_info, ipcq_queue, ipcq_view};
use crate::error::Error;
use crate::{Consumer, Message, Pop};
use std::ffi::{c_int, c_void};

impl From<Message> for ipcq_info {
    fn from(m: Message) -> Self {
        ipcq_info {
            sequence: m.sequence,
            lost: m.lost,
            length: m.length,
            reserved: 0,
        }
    }
}

/// Tells the caller about a message, if the caller wants to know.
///
/// # Safety
/// `info` is NULL or valid to write.
#[inline(always)]
pub(super) unsafe fn tell(info: *mut ipcq_info, message: Message) {
    if !info.is_null() {
        // SAFETY: the caller's promise.
        unsafe { info.write(message.into()) };
    }
}

/// What a pop or peek returns if it found no message it could give.
#[cold]
pub(super) unsafe fn none(q: &Consumer, pop: Pop, size: usize, info: *mut ipcq_info) -> Error {
    if let Pop::TooSmall(message) = pop {
        // SAFETY: the caller's promise.
        unsafe { tell(info, message) };
    }
    q.not_popped(pop, size)
}

/// Copies the next message into `buffer` and consumes it. Returns its length; `*info` (may be NULL)
/// is about it. Makes no system call unless the producer of a lossless queue sleeps until there is
/// room: then it wakes that producer. (After ipcq_fd, a pop that finds nothing resets the descriptor;
/// the first pop in a forked child attaches the child's consumer.)
///
/// Errors: -EAGAIN: none yet; -EPIPE: the producer has closed and all is consumed (a producer may
/// open the queue again); -EMSGSIZE: the buffer is smaller than info->length, nothing is consumed;
/// -ESTALE: the queue was replaced; -EBADMSG; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_pop(
    q: *mut ipcq_queue,
    buffer: *mut c_void,
    size: usize,
    info: *mut ipcq_info,
) -> i64 {
    // SAFETY: a handle or NULL, says the caller.
    if let Some(consumer) = unsafe { consumer_if(q) } {
        if !buffer.is_null() {
            // SAFETY: `size` writable bytes, says the caller, since it is not NULL.
            if let Some((message, crowded)) = unsafe { consumer.pop_quickly(buffer.cast(), size) } {
                // SAFETY: NULL or valid, says the caller.
                unsafe { tell(info, message) };
                return consumer.popped_quickly(message, crowded);
            }
        }
    }
    // SAFETY: as above.
    unsafe { pop(q, buffer, size, info) }
}

/// All that a pop may come to. `extern "C"`, and so are the others that are called last: no panic
/// leaves such a function, and the call is a jump.
#[cold]
#[inline(never)]
unsafe extern "C" fn pop(
    q: *mut ipcq_queue,
    buffer: *mut c_void,
    size: usize,
    info: *mut ipcq_info,
) -> i64 {
    guard(|| {
        let buffer = bytes(buffer, size, "the buffer")?;
        // SAFETY: a handle, and `size` writable bytes, says the caller.
        let q = unsafe { consumer(q) }?;
        // SAFETY: as above.
        match unsafe { q.pop_fully(buffer, size) }? {
            Pop::Message(message) => {
                // SAFETY: NULL or valid, says the caller.
                unsafe { tell(info, message) };
                Ok(message.length.into())
            }
            Pop::Empty => Ok(empty(q).into()),
            // SAFETY: as above.
            pop => Err(unsafe { none(q, pop, size, info) }),
        }
    })
}

/// Copies up to `count` messages out, each `stride` bytes after the last, and consumes them. Returns
/// how many; `*info` (may be NULL) is about the first, and info->lost counts what was lost before it.
/// They follow each other without a gap: a batch ends where messages were lost, and in a variable
/// queue where the length changes, so that info->length is that of all.
///
/// Errors: as ipcq_pop, for the first message; -EINVAL: `count` times `stride` is more than memory can
/// hold.
#[no_mangle]
pub unsafe extern "C" fn ipcq_pop_many(
    q: *mut ipcq_queue,
    buffer: *mut c_void,
    stride: usize,
    count: usize,
    info: *mut ipcq_info,
) -> i64 {
    guard(|| {
        let buffer = array(buffer, stride, count, "the buffer")?;
        // SAFETY: a handle, and room for so many messages, says the caller.
        let q = unsafe { consumer(q) }?;
        // SAFETY: as above.
        let (pop, many) = unsafe { q.pop_many_raw(buffer, stride, count) }?;
        match pop {
            Pop::Message(first) => {
                // SAFETY: NULL or valid, says the caller.
                unsafe { tell(info, first) };
                Ok(many as i64)
            }
            Pop::Empty => Ok(empty(q).into()),
            // SAFETY: as above.
            pop => Err(unsafe { none(q, pop, stride, info) }),
        }
    })
}

/// Gives the next message in place, without a copy, until ipcq_release consumes it. In a lossless
/// queue the bytes do not change before that (unless the consumer is an observer, or is evicted). In a
/// lossy one the producer may overwrite them at any time, and ipcq_release says whether it did: until
/// then, compute but do not act. Any other ipcq_pop, ipcq_peek or ipcq_seek ends the look.
///
/// Errors: as ipcq_pop.
#[no_mangle]
pub unsafe extern "C" fn ipcq_peek(q: *mut ipcq_queue, view: *mut ipcq_view) -> c_int {
    guard(|| {
        // SAFETY: valid or NULL, and a handle, says the caller.
        let (view, q) = unsafe { (out(view, "the view")?, consumer(q)?) };
        match q.peek_raw()? {
            (Pop::Message(m), data) => {
                *view = ipcq_view {
                    data: data.cast(),
                    sequence: m.sequence,
                    lost: m.lost,
                    length: m.length,
                    reserved: 0,
                };
                Ok(0)
            }
            (Pop::Empty, _) => Ok(empty(q)),
            (pop, _) => Err(q.not_popped(pop, 0)),
        }
    })
}

/// Consumes the message peeked at.
///
/// Errors: -ESTALE: it was overwritten meanwhile. Discard what was computed from it; it counts as
/// lost in the next info. -EINVAL: the view is not of the message being peeked at.
#[no_mangle]
pub unsafe extern "C" fn ipcq_release(q: *mut ipcq_queue, view: *const ipcq_view) -> c_int {
    guard(|| {
        // SAFETY: valid or NULL, and a handle, says the caller.
        let (view, q) = unsafe { (out(view.cast_mut(), "the view")?, consumer(q)?) };
        q.release_raw(view.sequence)?;
        Ok(0)
    })
}

/// Goes to a sequence, at most the one pushed next. One that is not retained any more becomes the
/// oldest that is, and what lies between counts as lost. The counts in the stats begin anew.
///
/// Errors: -EINVAL: it lies beyond what was pushed; -EBADMSG; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_seek(q: *mut ipcq_queue, sequence: u64) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { consumer(q) }?.seek(sequence)?;
        Ok(0)
    })
}
