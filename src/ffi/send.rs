//! Sending messages.

use super::handle::{ipcq_queue, producer, producer_if};
use super::support::{array, bytes, guard, timeout};
use crate::queue::Fast;
use crate::Producer;
use std::ffi::{c_int, c_void};

/// Pushes one message: message_size bytes, or, in a variable queue, up to an eighth of the
/// capacity. Never sleeps, but spins for about 1 us if a lossless queue is full.
/// Errors: -EAGAIN, -EMSGSIZE.
#[must_use]
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
            match unsafe { producer.try_fast(data.cast(), length) } {
                Fast::Done(()) => return 0,
                Fast::NeedsAfter(()) => return after_push(producer),
                Fast::Slow => {}
            }
        }
    }
    // SAFETY: as above.
    unsafe { push(q, data, length) }
}

/// Completes a fast push and returns 0. `extern "C"`, so that the call is a jump: no panic leaves
/// it.
#[cold]
#[inline(never)]
extern "C" fn after_push(producer: &mut Producer) -> c_int {
    producer.after_fast();
    0
}

/// Every outcome of a push. `extern "C"`, so that the call is a jump: no panic leaves it.
#[cold]
#[inline(never)]
unsafe extern "C" fn push(q: *mut ipcq_queue, data: *const c_void, length: usize) -> c_int {
    guard(|| {
        let data = bytes(data, length, "the message")?;
        // SAFETY: a handle, and `length` readable bytes, says the caller.
        unsafe { producer(q)?.slow_inline(data, length) }?;
        Ok(0)
    })
}

/// As ipcq_push, but sleeps until there is room.
/// Errors: -EINTR, -EMSGSIZE, -ETIMEDOUT.
#[must_use]
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

/// Pushes `count` messages, `stride` bytes apart. In a variable queue, each has `stride` bytes.
/// Returns how many it pushed: fewer than `count` if a lossless queue becomes full.
/// Errors: -EAGAIN, -EMSGSIZE.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_push_many(
    q: *mut ipcq_queue,
    data: *const c_void,
    stride: usize,
    count: usize,
) -> i64 {
    guard(|| {
        let data = array(data, stride, count, "the messages")?;
        // SAFETY: a handle, and `count` readable messages, says the caller.
        let pushed = unsafe { producer(q)?.push_many_raw(data, stride, count) }?;
        Ok(pushed as i64)
    })
}
