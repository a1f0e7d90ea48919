//! Opening, closing, removing.

use super::fields;
use super::handle::{into_handle, ipcq_queue, queue, wrong_role, Role};
use super::schema::ipcq_field;
use super::support::{guard_slow, init, invalid, name, out, sized, timeout, Failure};
use crate::error::Result;
use crate::schema::Schema;
use crate::{Consumer, Delivery, Producer, Start};
use std::ffi::{c_char, c_int, CStr, OsStr};
use std::time::Duration;

/// Opens a queue as IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE) or IPCQ_CONSUMER (| IPCQ_OBSERVER).
/// `options` may be NULL. On failure `*out` is NULL.
/// Errors: -EACCES, -EBUSY, -EEXIST, -EINTR, -ENOENT, -ENOSPC, -EPROTONOSUPPORT, -EPROTOTYPE,
/// -EUSERS.
#[must_use]
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
        *out = into_handle(unsafe { open(self::name(name)?, flags, options) }?);
        Ok(0)
    })
}

/// Closes a handle. NULL is allowed. When a producer closes, consumers drain the queue and then get
/// -EPIPE, until a producer opens it again.
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

/// Closes a producer but not its queue: consumers wait for the next producer, which continues the
/// sequence.
#[no_mangle]
pub unsafe extern "C" fn ipcq_detach(q: *mut ipcq_queue) -> c_int {
    guard_slow(|| {
        // SAFETY: a handle or NULL, says the caller.
        if let Role::Consumer(_) = unsafe { queue(q) }?.role {
            return Err(wrong_role("producer").into());
        }
        // SAFETY: from `ipcq_open`, and not used again, says the caller.
        if let Role::Producer(producer) = unsafe { Box::from_raw(q) }.role {
            producer.detach();
        }
        Ok(0)
    })
}

/// Removes the queue's files. Open handles keep working, but no new one can join them.
/// Errors: -EACCES, -EBUSY, -ENOENT.
#[no_mangle]
pub unsafe extern "C" fn ipcq_unlink(name: *const c_char) -> c_int {
    guard_slow(|| {
        // SAFETY: a string or NULL, says the caller.
        crate::unlink(unsafe { self::name(name) }?)?;
        Ok(0)
    })
}

/// Creates the queue, or continues the one that exists.
pub const IPCQ_PRODUCER: u32 = 0x01;
pub const IPCQ_CONSUMER: u32 = 0x02;
/// Producer: fail with -EEXIST if the queue exists.
pub const IPCQ_EXCL: u32 = 0x04;
/// Producer: replace a queue that differs or is damaged. Its consumers drain it, then get -ESTALE.
pub const IPCQ_REPLACE: u32 = 0x08;
/// Consumer: never make the producer wait, and lose messages instead.
pub const IPCQ_OBSERVER: u32 = 0x10;

/// Delivery: overwrite the oldest messages.
pub const IPCQ_LOSSY: u32 = 0;
/// Delivery: never overwrite what an attached consumer has not consumed. In a full queue, a push
/// fails or waits. Consumers need write permission on the control file (docs/limits.md).
pub const IPCQ_LOSSLESS: u32 = 1;

/// Start: the oldest message retained.
pub const IPCQ_OLDEST: u32 = 0;
/// Start: the newest message.
pub const IPCQ_NEWEST: u32 = 1;
/// Start: the next message pushed.
pub const IPCQ_NEXT: u32 = 2;
/// Start: start_sequence. Messages that are no longer retained count as lost.
pub const IPCQ_AT: u32 = 3;

/// Zero means the default or, to the producer of an existing queue, the queue's value. Others must
/// match it. message_size and delivery must match even if 0. evict_after_ns is not stored. Without
/// options (NULL), the producer takes all values from the queue.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_options {
    /// -- Both --
    /// Set by IPCQ_OPTIONS_INIT.
    pub struct_size: u32,
    /// Bytes of each message. Producer: 0 makes a variable queue, in which lengths differ.
    /// Consumer: 0 accepts any. If fields are given, 0 means the size of their struct.
    pub message_size: u32,
    /// See Record schemas.
    pub fields: *const ipcq_field,
    pub field_count: u32,
    /// -- Producer --
    /// IPCQ_LOSSY or IPCQ_LOSSLESS.
    pub delivery: u32,
    /// Messages, or bytes of a variable queue. Default: about 4 MiB.
    pub capacity: u64,
    /// Mode bits of the data file, which consumers read. Default: 0600.
    pub permissions: u32,
    /// Mode bits of the control file (docs/limits.md). Default: permissions.
    pub control_permissions: u32,
    /// Default: 32.
    pub max_consumers: u32,
    /// Lossless: the first overwrite ever waits until this many consumers are attached.
    pub min_consumers: u32,
    /// Lossless: evict a consumer that blocks the producer for this long without progress. It may
    /// continue, and loses what was overwritten. Default: never. Lossy: -EINVAL.
    pub evict_after_ns: i64,
    /// -- Consumer --
    /// IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT.
    pub start: u32,
    pub reserved: u32,
    pub start_sequence: u64,
    /// How long to wait for the queue to appear, before -ENOENT.
    pub open_timeout_ns: i64,
    /// Shown by ipcq_get_consumers.
    pub consumer_name: *const c_char,
}

/// IPCQ_OPTIONS_INIT for other languages. `size`: sizeof(ipcq_options).
#[no_mangle]
pub unsafe extern "C" fn ipcq_options_init(options: *mut ipcq_options, size: usize) {
    // SAFETY: NULL or writable for that size, says the caller.
    unsafe { init(options, size) };
}

/// # Safety
/// `options` is NULL or points to options, whose pointers are valid or NULL.
unsafe fn open(
    name: &OsStr,
    flags: u32,
    options: *const ipcq_options,
) -> std::result::Result<Role, Failure> {
    // SAFETY: the caller's promise. The options are plain data.
    let options = unsafe { sized(options, "ipcq_options", "IPCQ_OPTIONS_INIT") }?;
    if let Some(ipcq_options { reserved: 1.., .. }) = options {
        return Err(
            invalid("ipcq_options.reserved is not zero: start with IPCQ_OPTIONS_INIT").into(),
        );
    }
    if flags & !(IPCQ_EXCL | IPCQ_REPLACE) == IPCQ_PRODUCER {
        // SAFETY: the caller's promise; likewise below.
        Ok(Role::Producer(unsafe {
            open_producer(name, flags, options)
        }?))
    } else if flags & !IPCQ_OBSERVER == IPCQ_CONSUMER {
        // SAFETY: as above.
        Ok(Role::Consumer(unsafe {
            open_consumer(name, flags, options)
        }?))
    } else {
        Err(invalid(format!(
            "flags {flags:#x}: IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE) or IPCQ_CONSUMER \
             (| IPCQ_OBSERVER)"
        ))
        .into())
    }
}

/// # Safety
/// As [`open`].
unsafe fn open_producer(
    name: &OsStr,
    flags: u32,
    options: Option<ipcq_options>,
) -> Result<Producer> {
    let mut builder = Producer::options()
        .exclusive(flags & IPCQ_EXCL != 0)
        .replace(flags & IPCQ_REPLACE != 0);
    if let Some(o) = options {
        // SAFETY: the caller's promise.
        if let Some(schema) = unsafe { schema(&o) }? {
            builder = builder.schema(schema);
        }
        if o.permissions != 0 {
            builder = builder.permissions(o.permissions);
        }
        if o.control_permissions != 0 {
            builder = builder.control_permissions(o.control_permissions);
        }
        if o.capacity != 0 {
            builder = builder.capacity(o.capacity);
        }
        if o.max_consumers != 0 {
            builder = builder.max_consumers(o.max_consumers);
        }
        if o.min_consumers != 0 {
            builder = builder.min_consumers(o.min_consumers);
        }
        builder = builder
            .message_size(o.message_size)
            .delivery(match o.delivery {
                IPCQ_LOSSY => Delivery::Lossy,
                IPCQ_LOSSLESS => Delivery::Lossless,
                n => {
                    return Err(invalid(format!(
                        "delivery {n}: IPCQ_LOSSY or IPCQ_LOSSLESS"
                    )));
                }
            });
        match u64::try_from(o.evict_after_ns) {
            Ok(0) => {}
            Ok(time) => builder = builder.evict_after(Duration::from_nanos(time)),
            Err(_) => {
                let time = o.evict_after_ns;
                return Err(invalid(format!("evict_after_ns {time}: not negative")));
            }
        }
    }
    builder.open(name)
}

/// # Safety
/// As [`open`].
unsafe fn open_consumer(
    name: &OsStr,
    flags: u32,
    options: Option<ipcq_options>,
) -> Result<Consumer> {
    let mut builder = Consumer::options().observer(flags & IPCQ_OBSERVER != 0);
    if let Some(o) = options {
        // SAFETY: the caller's promise.
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
                    return Err(invalid(format!(
                        "start {n}: IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT"
                    )));
                }
            })
            .open_timeout(timeout(o.open_timeout_ns));
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

/// # Safety
/// As [`open`].
unsafe fn schema(o: &ipcq_options) -> Result<Option<Schema>> {
    // SAFETY: the caller's promise.
    unsafe { fields::schema(o.fields, o.field_count, o.message_size) }
}
