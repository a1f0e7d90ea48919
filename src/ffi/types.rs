//! Constants and structs.

// A name that says it all needs no more; what is only for C callers is not used here.
#![allow(missing_docs, dead_code)]

use std::ffi::{c_char, c_void};

/// Open as the producer: creates the queue where there is none, continues it where there is.
pub const IPCQ_PRODUCER: u32 = 1;
/// Open as a consumer.
pub const IPCQ_CONSUMER: u32 = 2;
/// Producer: fail with -EEXIST if the queue exists.
pub const IPCQ_EXCL: u32 = 4;
/// Producer: if what exists does not fit (other geometry or version, or damaged), put a new queue
/// in its place. Consumers of the old one drain it and then get -ESTALE.
pub const IPCQ_REPLACE: u32 = 8;
/// Consumer: never hold a producer back, also in a queue that is lossless, and lose instead. Needs no
/// write permission. In a lossy queue all consumers are such. For monitors.
pub const IPCQ_OBSERVER: u32 = 16;

/// Delivery: the oldest messages are overwritten; a consumer that is too slow loses them and is told
/// how many.
pub const IPCQ_LOSSY: u32 = 0;
/// Delivery: nothing is overwritten that an attached consumer has not consumed; a push into a full
/// queue gives -EAGAIN, or waits. A consumer has to be able to write the control file.
///
/// A consumer reports its position when it finds the queue empty, when it waits, at least after every
/// 64 messages (in a ring of fewer than 4096 messages after every capacity / 64), and with each
/// message while the ring is nearly full. If it stops popping in between, up to that many consumed
/// messages still count as unread: the queue can be full that much earlier.
pub const IPCQ_LOSSLESS: u32 = 1;

/// Start at the oldest message retained.
pub const IPCQ_OLDEST: u32 = 0;
/// Start at the last message pushed.
pub const IPCQ_NEWEST: u32 = 1;
/// Start after the last message pushed: only what comes.
pub const IPCQ_NEXT: u32 = 2;
/// Start at start_sequence; if that is not retained any more, what is missing counts as lost.
pub const IPCQ_AT: u32 = 3;

/// Log level: an internal error was caught.
pub const IPCQ_LOG_ERROR: i32 = 1;
/// Log level: something was not as it should be, and was repaired or replaced.
pub const IPCQ_LOG_WARNING: i32 = 2;
/// Log level: a queue was created, continued, closed or detached.
pub const IPCQ_LOG_INFO: i32 = 3;

/// What a handle is. The tag is a word of its own, so that one comparison tells the two apart.
#[repr(u32)]
pub(super) enum Role {
    Producer(crate::Producer),
    Consumer(crate::Consumer),
}

/// A producer or a consumer of one queue.
pub struct ipcq_queue {
    pub(super) role: Role,
}

/// Shared memory by itself.
pub struct ipcq_shm {
    pub(super) shm: crate::SharedMem,
}

/// About one popped message.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct ipcq_info {
    /// Its number, from 0, in the order of pushing.
    pub sequence: u64,
    /// Messages lost between the last one this consumer consumed and this one.
    pub lost: u64,
    /// Bytes.
    pub length: u32,
    pub reserved: u32,
}

/// One message in place.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_view {
    /// The message, read-only. It is aligned to 8 bytes, and to 16 in a variable queue or if the
    /// producer declared a field that needs that (a long double): a type that needs more must be
    /// copied out.
    pub data: *const c_void,
    /// Its number, from 0, in the order of pushing.
    pub sequence: u64,
    /// Messages lost between the last one this consumer consumed and this one.
    pub lost: u64,
    /// Bytes.
    pub length: u32,
    pub reserved: u32,
}

/// Figures of a queue and of the handle that was asked. For a consumer, at every moment:
/// received + lost + lag = pushed - start sequence.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_stats {
    /// Set by IPCQ_STATS_INIT or ipcq_stats_init.
    pub struct_size: u32,
    /// IPCQ_PRODUCER or IPCQ_CONSUMER.
    pub role: u32,
    /// Messages ever pushed, which is the sequence of the next one.
    pub pushed: u64,
    /// Consumer: messages received, lost, and not yet either.
    pub received: u64,
    pub lost: u64,
    pub lag: u64,
    /// The oldest sequence retained.
    pub oldest: u64,
    /// As in the options.
    pub capacity: u64,
    pub message_size: u32,
    pub delivery: u32,
    /// How often a producer has been attached.
    pub epoch: u32,
    /// Consumers attached and known: all of a lossless queue, of a lossy one those that may write
    /// its control file; but no observers. See ipcq_get_consumers.
    pub consumers: u32,
    /// Whether a producer is attached at this moment.
    pub producer_alive: u32,
    /// Whether the producer has closed the queue.
    pub closed: u32,
    /// The consumer with the greatest lag, which is the one a full lossless queue waits for: its lag,
    /// process (for information) and name; zero and empty if there is none.
    pub slowest_lag: u64,
    pub slowest_pid: u32,
    /// Whether the queue's file has lost its name (unlinked, removed otherwise, or replaced): nobody
    /// can open this queue any more.
    pub unlinked: u32,
    pub slowest_name: [c_char; 64],
    /// Identifies the queue. Another number under the same name means that the queue was made anew,
    /// and that its sequences count other messages.
    pub id: u64,
}

/// One attached consumer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_consumer {
    /// Its consumer_name, at most 63 bytes of it.
    pub name: [c_char; 64],
    /// The sequence it wants next, as of its last look at an empty ring, or up to 64 messages ago.
    pub sequence: u64,
    /// Messages pushed and not consumed, by that sequence.
    pub lag: u64,
    /// Messages it lost since it attached.
    pub lost: u64,
    /// Its process, for information: a pid may be another's by now.
    pub pid: u32,
    /// Whether it sleeps until a message comes.
    pub asleep: u32,
}

/// One field of a record: see IPCQ_FIELD, which fills it in. Fields may be in any order and may
/// overlap, as those of a union do.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_field {
    /// UTF-8, up to 255 bytes. "from.x" is the field x of the record from, which comes before it.
    pub name: *const c_char,
    /// Bytes from the start of the message.
    pub offset: u32,
    /// Bytes of one element; of a string, all that it has room for.
    pub size: u32,
    /// 'u' unsigned and 'i' signed integer, 'f' float, 'b' bool, 'S' string (filled up with zeroes),
    /// 'M' point in time and 'm' span of time (int64_t, in `unit`), 'V' a record whose fields come
    /// next, or bytes of no meaning. (Also 'c' complex, 'U' string of char32_t.) All are little-endian.
    pub kind: u32,
    /// Elements of an array; 1 (or 0) if it is none.
    pub count: u32,
    /// Of kinds 'M' and 'm': "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs" or "as",
    /// also with a number in front ("25us"); empty for nanoseconds. Of other kinds: empty.
    pub unit: [c_char; 8],
}

/// How to open a queue. Start with IPCQ_OPTIONS_INIT; zero means the default everywhere. If the
/// queue exists, its producer takes over what is zero here, and the rest must fit the queue. But
/// message_size and delivery mean what they say, zero included, and evict_after_ns is this producer's
/// alone: the queue does not keep it. Without options (NULL) the producer takes over everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ipcq_options {
    /// Set by IPCQ_OPTIONS_INIT or ipcq_options_init.
    pub struct_size: u32,
    /// Producer, creating: mode bits of the data file, set exactly, with 0600 for the producer;
    /// default 0600. Consumers need the read bit.
    pub permissions: u32,
    /// Mode bits of the control file; default: those of the data file. A consumer that may write it is
    /// woken by the producer; one that may not looks every few milliseconds while it waits. Give write
    /// permission only to those who may stop the producer: they can make it wait, and by truncating the
    /// file kill it.
    pub control_permissions: u32,
    /// Zero.
    pub reserved: u32,
    /// Producer: messages (fixed) or bytes (variable) that the ring holds, rounded up to a power of
    /// two; default: a ring of about 4 MiB.
    pub capacity: u64,
    /// Producer: bytes of every message, at most 1 GiB; 0: each has its own length, at most an
    /// eighth of the capacity. Consumer: if not 0, the queue must have messages of this size
    /// (-EINVAL). With fields: sizeof the struct; 0: what its fields take if the compiler laid the
    /// struct out as usual (not packed, nor aligned to more than it needs).
    pub message_size: u32,
    /// Producer: IPCQ_LOSSY or IPCQ_LOSSLESS.
    pub delivery: u32,
    /// Producer: places for consumers, at most 4096; default 32. No more can attach to a lossless
    /// queue; in a lossy one, more are not listed.
    pub max_consumers: u32,
    /// Producer, lossless: how many must be attached at once before anything is overwritten for the
    /// first time; 0: with nobody attached, the producer runs on.
    pub min_consumers: u32,
    /// What the messages are, or NULL and 0. Producer: kept in the queue; one that exists has to have
    /// these. Consumer: if the queue has others, or none, it is -EPROTOTYPE. Not kept by the library.
    pub fields: *const ipcq_field,
    pub field_count: u32,
    /// Consumer: IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT.
    pub start: u32,
    /// Consumer: with IPCQ_AT, at most what was pushed.
    pub start_sequence: u64,
    /// Consumer: nanoseconds to wait for the queue to appear; 0: none, negative: without end.
    pub open_timeout_ns: i64,
    /// Consumer: shown to monitors; may be NULL.
    pub consumer_name: *const c_char,
    /// Producer, lossless: a consumer that holds the producer up and consumes nothing for so many
    /// nanoseconds is evicted. It may go on, and counts as lost what was overwritten. 0: no consumer is
    /// evicted. (A consumer that died is dropped at once.)
    pub evict_after_ns: i64,
}
