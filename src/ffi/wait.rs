//! Waiting without a pop, and the descriptor for event loops.

use super::handle::{consumer, ipcq_queue};
use super::support::{array, guard, guard_slow, timeout};
use crate::error::Result;
use crate::queue::wait_any_of;
use crate::Consumer;
use std::ffi::c_int;
use std::time::Duration;

/// As ipcq_pop_wait, but consumes nothing.
#[no_mangle]
pub unsafe extern "C" fn ipcq_wait(q: *mut ipcq_queue, timeout_ns: i64) -> c_int {
    guard(|| {
        // SAFETY: a handle, says the caller.
        unsafe { consumer(q) }?.wait(timeout(timeout_ns))?;
        Ok(0)
    })
}

/// Waits until one of up to 128 consumers has a message or its queue has ended, and returns the
/// lowest such index. To be fair, pop from each before waiting again.
/// Errors: -EINTR, -ETIMEDOUT.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_wait_any(
    queues: *const *mut ipcq_queue,
    count: usize,
    timeout_ns: i64,
) -> c_int {
    // SAFETY: NULL or `count` handles, says the caller.
    guard(|| unsafe { wait_any(queues, count, timeout(timeout_ns)) })
}

/// A descriptor for poll, epoll or select, which the handle owns. When it is readable, pop until
/// -EAGAIN, then poll again. The first call starts a thread (docs/semantics.md).
/// Errors: -EMFILE, -ENFILE, -ENOMEM.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_fd(q: *mut ipcq_queue) -> c_int {
    // SAFETY: a handle, says the caller.
    guard_slow(|| Ok(unsafe { consumer(q) }?.raw_fd()?))
}

/// # Safety
/// `queues` is NULL or points to `count` pointers, each NULL or a handle that no other thread uses.
unsafe fn wait_any(
    queues: *const *mut ipcq_queue,
    count: usize,
    timeout: Option<Duration>,
) -> Result<c_int> {
    let stride = size_of::<*mut ipcq_queue>();
    array(queues, stride, count, "the list of queues")?;
    // SAFETY: the caller's promise. Only one reference exists at a time, because the list may hold
    // a handle twice.
    let at = |i: usize| -> Result<&mut Consumer> { unsafe { consumer(*queues.add(i)) } };
    if count <= crate::WAIT_ANY_MAX {
        for i in 0..count {
            at(i)?;
        }
    }
    let index = wait_any_of(count, timeout, |i, act| {
        if let Ok(q) = at(i) {
            act(q);
        }
    })?;
    Ok(index as c_int)
}
