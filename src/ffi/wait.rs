//! The functions that sleep, and the descriptor for programs that sleep elsewhere.

use super::consume::{none, tell};
use super::support::{array, bytes, consumer, guard, guard_slow, timeout};
use super::types::{ipcq_info, ipcq_queue};
use crate::error::Result;
use crate::queue::wait_any_of;
use crate::{Consumer, Pop};
use std::ffi::{c_int, c_void};

/// As ipcq_pop, but sleeps until there is a message, for at most `timeout_ns` nanoseconds; 0: not at
/// all, negative: without end.
///
/// It looks a few hundred times and then sleeps, without use of the processor, until the producer
/// pushes. To be woken, the consumer needs write permission on the control file; without it, the call
/// looks again after 0.1 to 4 ms, which takes some thousandths of a processor and delays a message by
/// as much.
///
/// Errors: as ipcq_pop, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal handler has run, and
/// nothing was consumed.
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

/// Waits until one of 1 to 128 consumers has a message, or is at its end, so that ipcq_pop returns
/// something other than -EAGAIN. Returns the index of the first such consumer: to be fair to all, pop
/// from each before waiting again. Before Linux 5.16 it looks at all of them every few milliseconds.
///
/// Errors: -ETIMEDOUT; -EINTR: a signal handler has run; -EINVAL: no queues, or too many; -EBADF.
#[no_mangle]
pub unsafe extern "C" fn ipcq_wait_any(
    queues: *const *mut ipcq_queue,
    count: usize,
    timeout_ns: i64,
) -> c_int {
    guard(|| {
        array(
            queues,
            size_of::<*mut ipcq_queue>(),
            count,
            "the list of queues",
        )?;
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
/// poll. It may be readable although there is nothing to pop.
///
/// It belongs to the handle and is closed with it: only ever poll it. One thread for all handles of the
/// process watches the queues (see THREADS). Where it cannot be woken (see ipcq_pop_wait), and before
/// Linux 5.16, it looks every few milliseconds. After a fork the descriptor is the parent's, and the
/// child asks for its own.
///
/// Errors: -EBADF: not a consumer; -EMFILE, -ENFILE, -ENOMEM: no descriptor, or no thread, could be made.
#[no_mangle]
pub unsafe extern "C" fn ipcq_fd(q: *mut ipcq_queue) -> c_int {
    // SAFETY: a handle, says the caller.
    guard_slow(|| unsafe { consumer(q) }?.fd())
}
