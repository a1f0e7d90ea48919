//! Receiving messages.

use super::handle::{consumer, consumer_if, ipcq_queue};
use super::support::{array, bytes, empty, guard, timeout};
use crate::error::{Error, Result};
use crate::queue::Fast;
use crate::{Consumer, Meta, Pop};
use std::ffi::{c_int, c_void};

/// The metadata of a message.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ipcq_info {
    /// Counts all messages of the queue from 0.
    pub sequence: u64,
    /// Messages lost since this consumer's previous message.
    pub lost: u64,
    pub length: u32,
    pub reserved: u32,
}

/// Copies the next message to `buffer`, consumes it and returns its length. `info` may be NULL.
/// Errors: -EAGAIN, -EMSGSIZE (info->length says what is needed), -EPIPE, -ESTALE.
#[must_use]
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
            match unsafe { consumer.try_fast(buffer.cast(), size) } {
                Fast::Done(message) => {
                    // SAFETY: NULL or valid, says the caller.
                    unsafe { write_info(info, message) };
                    return message.length.into();
                }
                Fast::NeedsAfter(message) => {
                    // SAFETY: as above.
                    unsafe { write_info(info, message) };
                    return after_pop(consumer, message.length);
                }
                Fast::Slow => {}
            }
        }
    }
    // SAFETY: as above.
    unsafe { pop(q, buffer, size, info) }
}

/// Completes a fast pop and returns the length. `extern "C"`, so that the call is a jump: no panic
/// leaves it.
#[cold]
#[inline(never)]
extern "C" fn after_pop(consumer: &Consumer, length: u32) -> i64 {
    consumer.after_fast();
    length.into()
}

/// Every outcome of a pop. `extern "C"`, so that the call is a jump: no panic leaves it.
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
        // SAFETY: a handle, `size` writable bytes, and an info or NULL, says the caller.
        unsafe {
            let q = consumer(q)?;
            let pop = q.slow_inline(buffer, size)?;
            popped(q, pop, size, info, |message| message.length.into())
        }
    })
}

/// As ipcq_pop, but sleeps until there is a message.
/// Errors: -EINTR, -EMSGSIZE, -EPIPE, -ESTALE, -ETIMEDOUT.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_pop_wait(
    q: *mut ipcq_queue,
    buffer: *mut c_void,
    size: usize,
    info: *mut ipcq_info,
    timeout_ns: i64,
) -> i64 {
    guard(|| {
        let buffer = bytes(buffer, size, "the buffer")?;
        // SAFETY: a handle, `size` writable bytes, and an info or NULL, says the caller.
        unsafe {
            let q = consumer(q)?;
            let pop = q.pop_wait_raw(buffer, size, timeout(timeout_ns))?;
            popped(q, pop, size, info, |message| message.length.into())
        }
    })
}

/// Copies and consumes up to `count` consecutive messages, `stride` bytes apart. Returns how many.
/// `info` describes the first. In a variable queue, all have info->length bytes.
/// Errors: as ipcq_pop.
#[must_use]
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
        // SAFETY: a handle, room for `count` messages, and an info or NULL, says the caller.
        unsafe {
            let q = consumer(q)?;
            let (pop, many) = q.pop_many_raw(buffer, stride, count)?;
            popped(q, pop, stride, info, |_| many as i64)
        }
    })
}

/// Sets the sequence of the next message. Messages that are no longer retained count as lost. The
/// counts in ipcq_stats start again.
#[no_mangle]
pub unsafe extern "C" fn ipcq_seek(q: *mut ipcq_queue, sequence: u64) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { consumer(q) }?.seek(sequence)?;
        Ok(0)
    })
}

impl From<Meta> for ipcq_info {
    fn from(m: Meta) -> Self {
        ipcq_info {
            sequence: m.sequence,
            lost: m.lost,
            length: m.length,
            reserved: 0,
        }
    }
}

/// Fills the caller's info, unless it is NULL.
///
/// # Safety
/// `info` is NULL or valid to write.
#[inline(always)]
unsafe fn write_info(info: *mut ipcq_info, message: Meta) {
    if !info.is_null() {
        // SAFETY: the caller's promise.
        unsafe { info.write(message.into()) };
    }
}

/// The return value of a pop that has ended with `pop`: `value` of its message, or an error.
///
/// # Safety
/// As [`write_info`].
#[inline(always)]
unsafe fn popped(
    q: &Consumer,
    pop: Pop,
    size: usize,
    info: *mut ipcq_info,
    value: impl FnOnce(Meta) -> i64,
) -> Result<i64> {
    match pop {
        Pop::Message(message) => {
            // SAFETY: the caller's promise.
            unsafe { write_info(info, message) };
            Ok(value(message))
        }
        Pop::Empty => Ok(empty(q).into()),
        // SAFETY: the caller's promise.
        pop => Err(unsafe { not_popped(q, pop, size, info) }),
    }
}

/// The error of a pop that copied no message. If the buffer was too small, the info says how much
/// is needed.
///
/// # Safety
/// As [`write_info`].
#[cold]
unsafe fn not_popped(q: &Consumer, pop: Pop, size: usize, info: *mut ipcq_info) -> Error {
    if let Pop::TooSmall(message) = pop {
        // SAFETY: the caller's promise.
        unsafe { write_info(info, message) };
    }
    q.not_popped(pop, size)
}
