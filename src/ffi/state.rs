//! Statistics, messages, versions, the log.

use super::support::{array, bytes, guard_slow, init, last_message, null, size_of_sized};
use super::types::*;
use crate::error::{Error, Result};
use crate::ConsumerInfo;
use std::ffi::{c_char, c_int, c_void};

/// Sets `*stats` to what IPCQ_STATS_INIT says, for languages that cannot use the macro; `size` is
/// sizeof(ipcq_stats). NULL is fine.
#[no_mangle]
pub unsafe extern "C" fn ipcq_stats_init(stats: *mut ipcq_stats, size: usize) {
    // SAFETY: NULL or writable for that size, says the caller.
    unsafe { init(stats, size) };
}

/// Fills `*stats` with the figures of the queue and of this handle. Start with IPCQ_STATS_INIT.
/// Makes some system calls: it asks whether the producer lives, and whether the file has its name.
///
/// Errors: -EINVAL: NULL, or the stats are not initialised; -EBADMSG.
#[no_mangle]
pub unsafe extern "C" fn ipcq_get_stats(q: *const ipcq_queue, stats: *mut ipcq_stats) -> c_int {
    guard_slow(|| {
        // SAFETY: a handle or NULL, says the caller; likewise below.
        let q = unsafe { q.as_ref() }.ok_or_else(|| null("the queue"))?;
        if stats.is_null() {
            return Err(null("the place for the stats"));
        }
        // SAFETY: as above.
        let size = unsafe { size_of_sized(stats, "ipcq_stats", "IPCQ_STATS_INIT") }?;
        let consumers = consumers_of(q)?;
        let (role, s) = match &q.role {
            Role::Producer(producer) => (IPCQ_PRODUCER, producer.stats_with(&consumers)?),
            Role::Consumer(consumer) => (IPCQ_CONSUMER, consumer.stats_with(&consumers)?),
        };
        let slowest = consumers.first();
        let filled = ipcq_stats {
            struct_size: size as u32,
            role,
            pushed: s.pushed,
            received: s.received,
            lost: s.lost,
            lag: s.lag,
            oldest: s.oldest,
            capacity: s.capacity,
            message_size: s.message_size,
            delivery: s.delivery as u32,
            epoch: s.epoch,
            consumers: s.consumers,
            producer_alive: s.producer_alive.into(),
            closed: s.closed.into(),
            slowest_lag: slowest.map_or(0, |c| c.lag),
            slowest_pid: slowest.map_or(0, |c| c.pid),
            unlinked: s.unlinked.into(),
            slowest_name: slowest.map_or([0; 64], |c| text(&c.name)),
            id: s.id,
        };
        let known = size.min(size_of::<ipcq_stats>());
        let to = stats.cast::<u8>();
        // SAFETY: the caller's struct has `size` bytes.
        unsafe {
            to.copy_from_nonoverlapping((&raw const filled).cast(), known);
            to.add(known).write_bytes(0, size - known);
        };
        Ok(0)
    })
}

/// Fills `list` with up to `count` of the consumers that are attached and known, the slowest first;
/// `size` is sizeof(ipcq_consumer). Returns how many there are. Makes a system call for each.
///
/// Errors: -EINVAL: NULL, or `size` is smaller than the struct; -EBADMSG.
#[no_mangle]
pub unsafe extern "C" fn ipcq_get_consumers(
    q: *const ipcq_queue,
    list: *mut ipcq_consumer,
    size: usize,
    count: usize,
) -> i64 {
    guard_slow(|| {
        // SAFETY: a handle or NULL, says the caller.
        let q = unsafe { q.as_ref() }.ok_or_else(|| null("the queue"))?;
        let list = array(list, size, count, "the list")?;
        if size < size_of::<ipcq_consumer>() {
            return Err(Error::Invalid(
                format!("size {size}: pass sizeof(ipcq_consumer)").into(),
            ));
        }
        let consumers = consumers_of(q)?;
        for (i, c) in consumers.iter().take(count).enumerate() {
            let filled = ipcq_consumer {
                name: text(&c.name),
                sequence: c.sequence,
                lag: c.lag,
                lost: c.lost,
                pid: c.pid,
                asleep: c.asleep.into(),
            };
            // SAFETY: the list has `count` places of `size` bytes, says the caller.
            unsafe {
                list.add(i * size)
                    .cast::<ipcq_consumer>()
                    .write_unaligned(filled)
            };
        }
        Ok(consumers.len() as i64)
    })
}

fn consumers_of(q: &ipcq_queue) -> Result<Vec<ConsumerInfo>> {
    match &q.role {
        Role::Producer(producer) => Ok(producer.consumers()),
        Role::Consumer(consumer) => consumer.consumers(),
    }
}

/// A name for C, cut to what there is room for with a zero behind it.
fn text(name: &str) -> [c_char; 64] {
    let mut text = [0; 64];
    for (to, from) in text[..63].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    text
}

/// Writes what records the messages are to `buffer`, as much as there is room for, with a zero at the
/// end; returns the length of all of it without that, so that NULL and 0 tell what is needed. 0: the
/// queue does not say. It is the JSON of a numpy dtype: {"names":["price"],"formats":["<f8"],
/// "offsets":[0],"itemsize":8}; a format is also "(2,3)<f8" for an array, such an object for a record
/// in the record, and [object,[2,3]] for an array of these.
///
/// Errors: -EINVAL: NULL.
#[no_mangle]
pub unsafe extern "C" fn ipcq_schema(
    q: *const ipcq_queue,
    buffer: *mut c_char,
    size: usize,
) -> i64 {
    guard_slow(|| {
        // SAFETY: a handle or NULL, says the caller.
        let q = unsafe { q.as_ref() }.ok_or_else(|| null("the queue"))?;
        let buffer = bytes(buffer, size, "the buffer")?;
        let schema = match &q.role {
            Role::Producer(producer) => producer.schema(),
            Role::Consumer(consumer) => consumer.schema(),
        };
        let json = schema.map_or_else(String::new, |s| s.to_json());
        if let Some(room) = size.checked_sub(1) {
            let length = json.len().min(room);
            // SAFETY: writable for `size` bytes, says the caller.
            unsafe {
                buffer.copy_from_nonoverlapping(json.as_ptr().cast(), length);
                buffer.add(length).write(0);
            }
        }
        Ok(json.len() as i64)
    })
}

/// This thread's last error in words: which file, what failed, what to do. Never NULL; the text is
/// replaced by the thread's next error.
#[no_mangle]
pub extern "C" fn ipcq_errmsg() -> *const c_char {
    last_message()
}

/// What a return value means in general. Never NULL.
#[no_mangle]
pub extern "C" fn ipcq_strerror(rc: c_int) -> *const c_char {
    match rc.wrapping_neg() {
        ..=0 => c"no error",
        libc::ENOENT => c"no such queue",
        libc::EEXIST => c"the queue exists",
        libc::EACCES => c"permission denied",
        libc::EBUSY => c"another live producer holds the queue",
        libc::EBADF => c"the handle has another role",
        libc::EINVAL => c"invalid argument, or another geometry",
        libc::EMSGSIZE => c"wrong message or buffer size",
        libc::EAGAIN => c"no message, or no room",
        libc::ETIMEDOUT => c"timed out",
        libc::EPIPE => c"closed by the producer and drained",
        libc::ESTALE => c"overwritten while looked at, or the queue was replaced",
        libc::EBADMSG => c"not a queue, or damaged",
        libc::EPROTONOSUPPORT => c"another layout version",
        libc::EPROTOTYPE => c"another record schema",
        libc::EUSERS => c"too many consumers",
        libc::ENOSPC => c"no room on the file system",
        libc::E2BIG => c"options of a newer version",
        libc::ERANGE => c"beyond the end of the shared memory",
        libc::EINTR => c"interrupted by a signal",
        libc::ENOTRECOVERABLE => c"internal error",
        _ => c"error of the operating system: see strerror(-rc)",
    }
    .as_ptr()
}

/// The version of the library that runs, "major.minor.patch".
#[no_mangle]
pub extern "C" fn ipcq_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The same as a number: major * 10000 + minor * 100 + patch.
#[no_mangle]
pub extern "C" fn ipcq_version_number() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) * 10000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// Sets the log function of the whole process. The library calls `fn` when a queue is opened, closed,
/// continued after a crash, or repaired, with a level (IPCQ_LOG_ERROR, IPCQ_LOG_WARNING or
/// IPCQ_LOG_INFO), a text, and `user`. NULL ends it.
///
/// The library calls it from any thread that calls the library, but never inside a push or a pop. The
/// function may call the library, ipcq_set_log too. After ipcq_set_log has returned, a call of
/// the former function that another thread had begun may still be running.
#[no_mangle]
pub extern "C" fn ipcq_set_log(
    r#fn: Option<unsafe extern "C" fn(level: c_int, message: *const c_char, user: *mut c_void)>,
    user: *mut c_void,
) {
    guard_slow(|| {
        crate::log::set_c(r#fn, user);
        Ok(0)
    });
}
