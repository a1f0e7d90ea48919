//! The producer's functions.

use super::support::{array, bytes, guard, out, producer, producer_if, timeout};
use super::types::ipcq_queue;
use std::ffi::{c_int, c_void};

/// Pushes one message: of exactly message_size bytes in a fixed queue, of at most an eighth of the
/// capacity in a variable one. Never sleeps, and makes a system call only to wake consumers that are
/// asleep, or, if a lossless queue is full, to look for dead consumers (at most every 10 ms). In that
/// case it gives the consumers a microsecond before it returns -EAGAIN.
///
/// Errors: -EAGAIN: lossless, and a consumer has not caught up; -EMSGSIZE; -EINVAL: a message is
/// claimed; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_push(
    q: *mut ipcq_queue,
    data: *const c_void,
    length: usize,
) -> c_int {
    // SAFETY: a handle or NULL, says the caller.
    if let Some(producer) = unsafe { producer_if(q) } {
        if !data.is_null() {
            // SAFETY: `length` readable bytes, says the caller, since it is not NULL.
            if let Some(pushed) = unsafe { producer.push_quickly(data.cast(), length) } {
                return pushed;
            }
        }
    }
    // SAFETY: as above.
    unsafe { push(q, data, length) }
}

/// All that a push may come to.
#[cold]
#[inline(never)]
unsafe extern "C" fn push(q: *mut ipcq_queue, data: *const c_void, length: usize) -> c_int {
    guard(|| {
        let data = bytes(data, length, "the message")?;
        // SAFETY: a handle, and `length` readable bytes, says the caller.
        unsafe { producer(q)?.push_fully(data, length) }?;
        Ok(0)
    })
}

/// As ipcq_push, but sleeps until there is room, for at most `timeout_ns` nanoseconds; 0: not at all,
/// negative: without end. In a lossy queue there is always room. A consumer that has died is dropped
/// within 100 ms.
///
/// Errors: as ipcq_push, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal handler has run, and
/// nothing was pushed.
#[no_mangle]
pub unsafe extern "C" fn ipcq_push_wait(
    q: *mut ipcq_queue,
    data: *const c_void,
    length: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        let data = bytes(data, length, "the message")?;
        // SAFETY: a handle, and `length` readable bytes, says the caller.
        unsafe { producer(q)?.push_wait_raw(data, length, timeout(timeout_ns)) }?;
        Ok(0)
    })
}

/// Pushes `count` messages that lie `stride` bytes apart. In a fixed queue stride is at least
/// message_size; in a variable one, it is the length of each. Returns how many were pushed: all, or
/// fewer when a lossless queue is full.
///
/// Errors: as ipcq_push; -EINVAL: `count` times `stride` is more than memory can hold.
#[no_mangle]
pub unsafe extern "C" fn ipcq_push_many(
    q: *mut ipcq_queue,
    data: *const c_void,
    stride: usize,
    count: usize,
) -> i64 {
    guard(|| {
        let data = array(data, stride, count, "the messages")?;
        // SAFETY: a handle, and so many readable messages, says the caller.
        let pushed = unsafe { producer(q)?.push_many_raw(data, stride, count) }?;
        Ok(pushed as i64)
    })
}

/// Makes room for one message of up to `length` bytes, to be written in place: `*slot` points to it,
/// aligned as ipcq_view says, so a type that needs more must be copied in. End the claim with
/// ipcq_commit or ipcq_abort. The room still holds the bytes of an older message, which consumers have
/// lost from here on.
///
/// Errors: as ipcq_push.
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

/// Publishes the message claimed, of which the first `length` bytes were written: in a fixed queue
/// message_size, in a variable one at most what was claimed.
///
/// Errors: -EINVAL: none is claimed; -EMSGSIZE: the claim stands; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_commit(q: *mut ipcq_queue, length: usize) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { producer(q) }?.commit_raw(length)?;
        Ok(0)
    })
}

/// Gives the claim up; nothing was pushed.
///
/// Errors: -EINVAL: none is claimed; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_abort(q: *mut ipcq_queue) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { producer(q) }?.abort_raw()?;
        Ok(0)
    })
}
