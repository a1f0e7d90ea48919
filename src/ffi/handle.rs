//! The handle of a queue.

use super::support::null;
use crate::error::{Error, Result};
use crate::{Consumer, Producer};

/// A producer or a consumer.
pub struct ipcq_queue {
    pub(super) role: Role,
}

/// The role of a handle. The tag is a separate word, so that one comparison tells the role.
#[repr(u32)]
pub(super) enum Role {
    Producer(Producer),
    Consumer(Consumer),
}

#[cold]
pub(super) fn wrong_role(needed: &str) -> Error {
    Error::WrongRole(
        format!("this handle is not a {needed}: a handle keeps the role that it was opened with")
            .into(),
    )
}

/// Moves a role to a new handle.
pub(super) fn into_handle(role: Role) -> *mut ipcq_queue {
    Box::into_raw(Box::new(ipcq_queue { role }))
}

/// The handle, for functions that take either role.
///
/// # Safety
/// `q` is NULL or a handle from `ipcq_open` that no other thread uses.
pub(super) unsafe fn queue<'a>(q: *const ipcq_queue) -> Result<&'a ipcq_queue> {
    // SAFETY: the caller's promise.
    unsafe { q.as_ref() }.ok_or_else(|| null("the queue"))
}

/// The producer, or `None` if the handle is not a producer.
///
/// # Safety
/// As [`queue`].
#[inline(always)]
pub(super) unsafe fn producer_if<'a>(q: *mut ipcq_queue) -> Option<&'a mut Producer> {
    // SAFETY: the caller's promise.
    match unsafe { q.as_mut() } {
        Some(ipcq_queue {
            role: Role::Producer(producer),
        }) => Some(producer),
        _ => None,
    }
}

/// The consumer, or `None` if the handle is not a consumer.
///
/// # Safety
/// As [`queue`].
#[inline(always)]
pub(super) unsafe fn consumer_if<'a>(q: *mut ipcq_queue) -> Option<&'a mut Consumer> {
    // SAFETY: the caller's promise.
    match unsafe { q.as_mut() } {
        Some(ipcq_queue {
            role: Role::Consumer(consumer),
        }) => Some(consumer),
        _ => None,
    }
}

/// The producer, or an error if the handle is not one.
///
/// # Safety
/// As [`queue`].
#[inline(always)]
pub(super) unsafe fn producer<'a>(q: *mut ipcq_queue) -> Result<&'a mut Producer> {
    // SAFETY: the caller's promise.
    match unsafe { q.as_mut() } {
        Some(ipcq_queue {
            role: Role::Producer(producer),
        }) => Ok(producer),
        Some(_) => Err(wrong_role("producer")),
        None => Err(null("the queue")),
    }
}

/// The consumer, or an error if the handle is not one.
///
/// # Safety
/// As [`queue`].
#[inline(always)]
pub(super) unsafe fn consumer<'a>(q: *mut ipcq_queue) -> Result<&'a mut Consumer> {
    // SAFETY: the caller's promise.
    match unsafe { q.as_mut() } {
        Some(ipcq_queue {
            role: Role::Consumer(consumer),
        }) => Ok(consumer),
        Some(_) => Err(wrong_role("consumer")),
        None => Err(null("the queue")),
    }
}
