//! Opening, closing, removing.

use super::fields::schema;
use super::support::{guard_slow, init, name, null, out, sized, wrong_role};
use super::types::*;
use crate::error::{Error, Result};
use crate::{Consumer, Delivery, Producer, Start};
use std::ffi::{c_char, c_int, CStr};
use std::time::Duration;

/// Sets `*options` to what IPCQ_OPTIONS_INIT says, for languages that cannot use the macro; `size` is
/// sizeof(ipcq_options). NULL is fine.
#[no_mangle]
pub unsafe extern "C" fn ipcq_options_init(options: *mut ipcq_options, size: usize) {
    // SAFETY: NULL or writable for that size, says the caller.
    unsafe { init(options, size) };
}

/// Opens a queue as its producer, IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE), or as one of its
/// consumers, IPCQ_CONSUMER (| IPCQ_OBSERVER). `options` may be NULL: all defaults. The handle goes
/// to `*out`, which is NULL on failure.
///
/// Errors: -EBUSY: another live producer; -EEXIST; -EINVAL: an argument, or another geometry (the text
/// names both); -EPROTOTYPE: other records (the text shows both); -ENOSPC; -EACCES; -ENOENT: no such
/// queue, also when open_timeout_ns is over; -EBADMSG; -EPROTONOSUPPORT; -E2BIG: the options set what
/// this version does not know; -EINTR: a signal arrived while waiting; -EUSERS: max_consumers are
/// attached to the lossless queue already.
#[no_mangle]
pub unsafe extern "C" fn ipcq_open(
    out: *mut *mut ipcq_queue,
    name: *const c_char,
    flags: u32,
    options: *const ipcq_options,
) -> c_int {
    guard_slow(|| {
        // SAFETY: valid or NULL, says the caller; likewise below.
        let out = unsafe { self::out(out, "the place for the handle") }?;
        *out = std::ptr::null_mut();
        // SAFETY: as above.
        let name = unsafe { self::name(name) }?;
        // SAFETY: as above; the options are plain data.
        let options = unsafe { sized(options, "ipcq_options", "IPCQ_OPTIONS_INIT") }?;
        if let Some(ipcq_options { reserved: 1.., .. }) = options {
            return Err(Error::Invalid(
                "ipcq_options.reserved is not zero: start with IPCQ_OPTIONS_INIT".into(),
            ));
        }
        let role = if flags & !(IPCQ_EXCL | IPCQ_REPLACE) == IPCQ_PRODUCER {
            // SAFETY: the options' pointers are valid, says the caller; likewise below.
            Role::Producer(unsafe { open_producer(name, flags, options) }?)
        } else if flags & !IPCQ_OBSERVER == IPCQ_CONSUMER {
            // SAFETY: as above.
            Role::Consumer(unsafe { open_consumer(name, flags, options) }?)
        } else {
            return Err(Error::Invalid(
                format!(
                    "flags {flags:#x}: IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE) or \
                     IPCQ_CONSUMER (| IPCQ_OBSERVER)"
                )
                .into(),
            ));
        };
        *out = Box::into_raw(Box::new(ipcq_queue { role }));
        Ok(0)
    })
}

/// # Safety
/// The pointers in `options` are valid or NULL.
unsafe fn open_producer(
    name: &std::ffi::OsStr,
    flags: u32,
    options: Option<ipcq_options>,
) -> Result<Producer> {
    let mut builder = Producer::options()
        .exclusive(flags & IPCQ_EXCL != 0)
        .replace(flags & IPCQ_REPLACE != 0);
    if let Some(o) = options {
        // SAFETY: so many fields, or NULL, says the caller.
        if let Some(schema) = unsafe { schema(&o) }? {
            builder = builder.schema(schema);
        }
        builder = builder
            .permissions(o.permissions)
            .control_permissions(o.control_permissions)
            .capacity(o.capacity)
            .message_size(o.message_size)
            .delivery(match o.delivery {
                IPCQ_LOSSY => Delivery::Lossy,
                IPCQ_LOSSLESS => Delivery::Lossless,
                n => {
                    return Err(Error::Invalid(
                        format!("delivery {n}: IPCQ_LOSSY or IPCQ_LOSSLESS").into(),
                    ))
                }
            })
            .max_consumers(o.max_consumers)
            .min_consumers(o.min_consumers);
        match u64::try_from(o.evict_after_ns) {
            Ok(0) => {}
            Ok(time) => builder = builder.evict_after(Duration::from_nanos(time)),
            Err(_) => {
                return Err(Error::Invalid(
                    format!("evict_after_ns {}: not negative", o.evict_after_ns).into(),
                ))
            }
        }
    }
    builder.open(name)
}

/// # Safety
/// The pointers in `options` are valid or NULL.
unsafe fn open_consumer(
    name: &std::ffi::OsStr,
    flags: u32,
    options: Option<ipcq_options>,
) -> Result<Consumer> {
    let mut builder = Consumer::options().observer(flags & IPCQ_OBSERVER != 0);
    if let Some(o) = options {
        // SAFETY: so many fields, or NULL, says the caller.
        if let Some(schema) = unsafe { schema(&o) }? {
            builder = builder.schema(schema);
        }
        builder = builder
            .start(match o.start {
                IPCQ_OLDEST => Start::Oldest,
                IPCQ_NEWEST => Start::Newest,
                IPCQ_NEXT => Start::Next,
                IPCQ_AT => Start::At(o.start_sequence),
                n => {
                    return Err(Error::Invalid(
                        format!("start {n}: IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT").into(),
                    ))
                }
            })
            .open_timeout(match u64::try_from(o.open_timeout_ns) {
                Ok(time) => Duration::from_nanos(time),
                Err(_) => Duration::MAX,
            });
        if o.message_size != 0 {
            builder = builder.message_size(o.message_size);
        }
        if !o.consumer_name.is_null() {
            // SAFETY: a string, says the caller.
            let text = unsafe { CStr::from_ptr(o.consumer_name) };
            builder = builder.name(text.to_string_lossy());
        }
    }
    builder.open(name)
}

/// Closes a handle; NULL is fine. A producer marks the queue closed: consumers drain it and then get
/// -EPIPE, until a producer opens it again (ipcq_detach does not mark it).
#[no_mangle]
pub unsafe extern "C" fn ipcq_close(q: *mut ipcq_queue) {
    guard_slow(|| {
        if !q.is_null() {
            // SAFETY: from `ipcq_open`, and not used again, says the caller.
            drop(unsafe { Box::from_raw(q) });
        }
        Ok(0)
    });
}

/// Gives a producer's handle up without closing the queue: consumers keep waiting, and the next
/// producer, of another process perhaps, opens the queue and continues its sequence. A message that
/// is claimed is given up. The handle is gone unless this fails.
///
/// Errors: -EINVAL: NULL; -EBADF: a consumer.
#[no_mangle]
pub unsafe extern "C" fn ipcq_detach(q: *mut ipcq_queue) -> c_int {
    guard_slow(|| {
        // SAFETY: a handle or NULL, says the caller.
        match unsafe { q.as_ref() } {
            None => return Err(null("the queue")),
            Some(ipcq_queue {
                role: Role::Consumer(_),
            }) => return Err(wrong_role("producer")),
            Some(_) => {}
        }
        // SAFETY: from `ipcq_open`, and not used again, says the caller.
        if let Role::Producer(producer) = unsafe { Box::from_raw(q) }.role {
            producer.detach();
        }
        Ok(0)
    })
}

/// Removes a queue's files, also if a producer has it open. Handles that are open keep working with the
/// memory they have: a producer that does not look at the stats (unlinked) pushes into a queue that no
/// consumer can open any more. Until that producer ends, opening the name as a producer is -EBUSY.
///
/// Errors: -ENOENT; -EACCES: also a queue of another user; -EBUSY: another process has been opening or
/// removing the queue for a second.
#[no_mangle]
pub unsafe extern "C" fn ipcq_unlink(name: *const c_char) -> c_int {
    guard_slow(|| {
        // SAFETY: a string or NULL, says the caller.
        crate::unlink(unsafe { self::name(name) }?)?;
        Ok(0)
    })
}
