//! The functions that sleep, and the descriptor for those who sleep elsewhere.

use super::consume::{none, tell};
use super::support::{bytes, consumer, guard, timeout};
use super::types::{ipcq_info, ipcq_queue};
use crate::error::Result;
use crate::queue::wait_any_of;
use crate::{Consumer, Pop};
use std::ffi::{c_int, c_void};

/// As ipcq_pop, but waits for a message, asleep, at most so many nanoseconds; 0: not at all, negative:
/// for ever.
///
/// It looks a few hundred times and then sleeps, without use of the processor, until the producer
/// pushes. For that it needs to write the control file; where it may not, it looks again after 0.1 to
/// 4 ms, which takes some thousandths of a processor and delays a message by as much.
///
/// Errors: as ipcq_pop, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal arrived.
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
        // SAFETY: a handle, and `size` writable bytes, says the caller.
        let q = unsafe { consumer(q) }?;
        // SAFETY: as above.
        match unsafe { q.pop_wait_raw(buffer, size, timeout(timeout_ns)) }? {
            Pop::Message(message) => {
                // SAFETY: NULL or valid, says the caller.
                unsafe { tell(info, message) };
                Ok(message.length.into())
            }
            // SAFETY: as above.
            pop => Err(unsafe { none(q, pop, size, info) }),
        }
    })
}

/// Waits until there is a message, as ipcq_pop_wait does, and consumes nothing.
///
/// Errors: as ipcq_pop_wait, but -EMSGSIZE.
#[no_mangle]
pub unsafe extern "C" fn ipcq_wait(q: *mut ipcq_queue, timeout_ns: i64) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { consumer(q) }?.wait(timeout(timeout_ns))?;
        Ok(0)
    })
}

/// Waits until one of 1 to 128 consumers has a message, or is at its end, so that ipcq_pop gives
/// something else than -EAGAIN. Returns the index of the first that is so: to be fair to all, pop from
/// each before waiting again. Before Linux 5.16 it looks at all of them every few milliseconds.
///
/// Errors: -ETIMEDOUT; -EINTR: a signal arrived; -EINVAL: no queues, or too many; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_wait_any(
    queues: *const *mut ipcq_queue,
    count: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        bytes(queues, count, "the list of queues")?;
        // SAFETY: so many pointers are readable, and each is NULL or a handle, says the caller. Only
        // one is made into a reference at a time, for one may be there twice.
        let at = |i: usize| -> Result<&mut Consumer> { unsafe { consumer(*queues.add(i)) } };
        if count <= crate::WAIT_ANY_MAX {
            for i in 0..count {
                at(i)?;
            }
        }
        let index = wait_any_of(count, timeout(timeout_ns), |i, act| {
            if let Ok(q) = at(i) {
                act(q);
            }
        })?;
        Ok(index as c_int)
    })
}

/// A descriptor for poll, epoll, select: it becomes readable when there is a message, or when the queue
/// is at its end, and stays so until a pop (or peek, or wait) finds nothing. So pop until -EAGAIN, then
/// poll. It may be readable though nothing is there.
///
/// It belongs to the handle and is closed with it: only ever poll it. A thread that the handles of a
/// process share watches the queues; it gets no signals. Where it may not be woken (see ipcq_pop_wait)
/// it looks every few milliseconds, and before Linux 5.16 too. After a fork it is the parent's: the
/// child asks for its own.
///
/// Errors: -EBADF: no consumer; -EMFILE, -ENFILE, -ENOMEM: none could be made.
#[no_mangle]
pub unsafe extern "C" fn ipcq_fd(q: *mut ipcq_queue) -> c_int {
    // SAFETY: a handle, says the caller.
    guard(|| unsafe { consumer(q) }?.fd())
}
