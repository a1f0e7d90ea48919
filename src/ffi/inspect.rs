//! Statistics, consumers, the log, the version.

use super::handle::{ipcq_queue, queue, Role};
use super::open::{IPCQ_CONSUMER, IPCQ_PRODUCER};
use super::support::{array, guard_slow, init, invalid, null, size_of_sized};
use crate::error::Result;
use crate::ConsumerInfo;
use std::ffi::{c_char, c_int, c_void};

/// For a consumer, at every moment: received + lost + lag = pushed - start sequence.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_stats {
    pub struct_size: u32,
    /// IPCQ_PRODUCER or IPCQ_CONSUMER.
    pub role: u32,
    /// Messages pushed so far. The next one has this sequence.
    pub pushed: u64,
    /// Consumer: messages received, lost, and not yet received.
    pub received: u64,
    pub lost: u64,
    pub lag: u64,
    /// The oldest sequence retained.
    pub oldest: u64,
    /// As in ipcq_options.
    pub capacity: u64,
    pub message_size: u32,
    pub delivery: u32,
    /// How many producers have attached so far.
    pub epoch: u32,
    /// As listed by ipcq_get_consumers.
    pub consumers: u32,
    /// Whether a producer is attached.
    pub producer_alive: u32,
    /// Whether the producer has closed the queue.
    pub closed: u32,
    /// The consumer with the greatest lag.
    pub slowest_lag: u64,
    pub slowest_pid: u32,
    /// Whether the name is gone or another queue's. Nothing can open this queue.
    pub unlinked: u32,
    pub slowest_name: [c_char; 64],
    /// Identifies the queue. A new queue of the same name has another id.
    pub id: u64,
}

/// IPCQ_STATS_INIT for other languages. `size`: sizeof(ipcq_stats).
#[no_mangle]
pub unsafe extern "C" fn ipcq_stats_init(stats: *mut ipcq_stats, size: usize) {
    // SAFETY: NULL or writable for that size, says the caller.
    unsafe { init(stats, size) };
}

/// Fills `*stats`, which must be initialised.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_get_stats(q: *const ipcq_queue, stats: *mut ipcq_stats) -> c_int {
    guard_slow(|| {
        // SAFETY: a handle or NULL, and sized stats or NULL, says the caller.
        unsafe { fill_stats(queue(q)?, stats) }?;
        Ok(0)
    })
}

/// An attached consumer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_consumer {
    pub name: [c_char; 64],
    /// The sequence of its next message, as last published: up to 64 messages behind.
    pub sequence: u64,
    pub lag: u64,
    pub lost: u64,
    /// For information: the pid may have been reused.
    pub pid: u32,
    /// Whether it sleeps in a wait.
    pub asleep: u32,
}

/// Fills `list` with up to `count` attached consumers, the slowest first. Returns the total, which
/// may exceed `count`. `size`: sizeof(ipcq_consumer). Not listed: observers, and consumers that
/// cannot write the control file.
#[must_use]
#[no_mangle]
pub unsafe extern "C" fn ipcq_get_consumers(
    q: *const ipcq_queue,
    list: *mut ipcq_consumer,
    size: usize,
    count: usize,
) -> i64 {
    // SAFETY: a handle or NULL, and a list of that size or NULL, says the caller.
    guard_slow(|| Ok(unsafe { fill_consumers(queue(q)?, list, size, count) }?))
}

/// Sets the log function of the process, or none if `fn` is NULL. It may run on any thread, but
/// never inside a push or a pop.
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

/// Level: internal error.
#[allow(dead_code)]
pub const IPCQ_LOG_ERROR: i32 = 1;
/// Level: something was repaired or replaced.
#[allow(dead_code)]
pub const IPCQ_LOG_WARNING: i32 = 2;
/// Level: a queue was created, continued, closed or detached.
#[allow(dead_code)]
pub const IPCQ_LOG_INFO: i32 = 3;

/// The version of the library: "major.minor.patch".
#[no_mangle]
pub extern "C" fn ipcq_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The same as a number, like IPCQ_VERSION_NUMBER.
#[no_mangle]
pub extern "C" fn ipcq_version_number() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) * 10000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 100
        + part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// # Safety
/// `stats` is NULL or valid for the number of bytes in its first member.
unsafe fn fill_stats(q: &ipcq_queue, stats: *mut ipcq_stats) -> Result<()> {
    if stats.is_null() {
        return Err(null("the place for the stats"));
    }
    // SAFETY: the caller's promise.
    let size = unsafe { size_of_sized(stats, "ipcq_stats", "IPCQ_STATS_INIT") }?;
    let filled = ipcq_stats {
        struct_size: size as u32,
        ..stats_of(q)?
    };
    let known = size.min(size_of::<ipcq_stats>());
    let to = stats.cast::<u8>();
    // SAFETY: the caller's struct has `size` bytes.
    unsafe {
        to.copy_from_nonoverlapping((&raw const filled).cast(), known);
        to.add(known).write_bytes(0, size - known);
    };
    Ok(())
}

fn stats_of(q: &ipcq_queue) -> Result<ipcq_stats> {
    let consumers = consumers_of(q)?;
    let (role, s) = match &q.role {
        Role::Producer(producer) => (IPCQ_PRODUCER, producer.stats_with(&consumers)?),
        Role::Consumer(consumer) => (IPCQ_CONSUMER, consumer.stats_with(&consumers)?),
    };
    let slowest = consumers.first();
    Ok(ipcq_stats {
        struct_size: size_of::<ipcq_stats>() as u32,
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
    })
}

/// # Safety
/// `list` is NULL or has `count` elements of `size` bytes.
unsafe fn fill_consumers(
    q: &ipcq_queue,
    list: *mut ipcq_consumer,
    size: usize,
    count: usize,
) -> Result<i64> {
    let list = array(list, size, count, "the list")?;
    if size < size_of::<ipcq_consumer>() {
        return Err(invalid(format!("size {size}: pass sizeof(ipcq_consumer)")));
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
        // SAFETY: element `i` is in the list, says the caller.
        unsafe {
            list.add(i * size)
                .cast::<ipcq_consumer>()
                .write_unaligned(filled)
        };
    }
    Ok(consumers.len() as i64)
}

fn consumers_of(q: &ipcq_queue) -> Result<Vec<ConsumerInfo>> {
    match &q.role {
        Role::Producer(producer) => Ok(producer.consumers()),
        Role::Consumer(consumer) => consumer.consumers(),
    }
}

/// A name for C, cut to leave room for the NUL.
fn text(name: &str) -> [c_char; 64] {
    let mut text = [0; 64];
    for (to, from) in text[..63].iter_mut().zip(name.bytes()) {
        *to = from as c_char;
    }
    text
}
