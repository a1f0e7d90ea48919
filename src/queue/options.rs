//! What a queue is opened with.

use crate::format::data_file::Delivery;
use crate::ring::Start;
use crate::schema::{Record, Schema};
use std::time::Duration;

/// How a producer opens a queue. Everything has a default, and 0 stands for it.
///
/// Where the queue exists, what is given must fit it, and what is not given is taken from it.
#[derive(Debug, Clone, Default)]
pub struct ProducerOptions {
    pub(crate) permissions: u32,
    pub(crate) control_permissions: u32,
    pub(crate) capacity: u64,
    pub(crate) message_size: Option<u32>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) max_consumers: u32,
    pub(crate) min_consumers: u32,
    pub(crate) exclusive: bool,
    pub(crate) replace: bool,
    pub(crate) first_sequence: u64,
    pub(crate) evict_after: Option<Duration>,
    pub(crate) schema: Option<Schema>,
}

impl ProducerOptions {
    /// Mode bits of the data file, set exactly, whatever the umask: up to 0777, with 0600 for the
    /// producer. Default 0600. Consumers need the read bit and nothing more.
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = mode;
        self
    }

    /// Mode bits of the control file. Default: those of the data file. A consumer that may write it
    /// is woken by the producer; one that may not looks every few milliseconds while it waits. Give
    /// write permission only to those who may stop the producer: they can make it wait, and by
    /// truncating the file kill it.
    pub fn control_permissions(mut self, mode: u32) -> Self {
        self.control_permissions = mode;
        self
    }

    /// Messages (fixed) or bytes (variable) that the ring holds; rounded up to a power of two.
    /// Default: a ring of about 4 MiB. At most 1 TiB of ring.
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = capacity;
        self
    }

    /// Bytes of every message, at most 1 GiB. 0, the default: each message has its own length, at
    /// most an eighth of the capacity.
    pub fn message_size(mut self, bytes: u32) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// What records the messages are, to be kept in the queue: consumers that say what they expect
    /// are told where it differs, and those that do not can ask. All messages then have the size of
    /// the record.
    ///
    /// A queue that exists has to have this schema, and keeps it where none is given.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// As [`ProducerOptions::schema`], with that of a type.
    ///
    /// # Panics
    /// If the type can have none: see [`Schema::new`].
    pub fn record<T: Record>(self) -> Self {
        self.schema(T::schema())
    }

    /// Lossy, the default: the oldest messages are overwritten. Lossless: nothing is overwritten
    /// that an attached consumer has not consumed, and pushing fails with
    /// [`Error::Full`](crate::Error::Full) or waits.
    ///
    /// A consumer of a lossless queue publishes its position when it finds the queue empty or waits, at
    /// least once every 64 messages (or 1/64 of the capacity, if that is less), and with each message
    /// if the ring is nearly full. So a push may report a full queue although fewer messages than that
    /// have been read already.
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Places for consumers in the control file. Default 32, at most 4096. More cannot attach to a
    /// lossless queue; in a lossy one, more are not listed.
    pub fn max_consumers(mut self, count: u32) -> Self {
        self.max_consumers = count;
        self
    }

    /// Lossless: how many consumers must be attached at once before anything is overwritten for
    /// the first time. Default 0: with nobody attached, the producer runs on.
    pub fn min_consumers(mut self, count: u32) -> Self {
        self.min_consumers = count;
        self
    }

    /// Fail with [`Error::Exists`](crate::Error::Exists) if the queue exists.
    pub fn exclusive(mut self, yes: bool) -> Self {
        self.exclusive = yes;
        self
    }

    /// If what exists does not fit (another geometry, schema or layout version, or damaged), put a new
    /// queue in its place; the consumers of the old one learn it
    /// ([`Error::Stale`](crate::Error::Stale)) once they have drained it. A queue that fits is
    /// continued all the same.
    pub fn replace(mut self, yes: bool) -> Self {
        self.replace = yes;
        self
    }

    /// Lossless: evict a consumer that blocks the producer for this long without progress. It may
    /// continue, and counts as lost what was overwritten. Default: never, but a consumer that died
    /// is evicted at once. For a lossy queue, opening fails with
    /// [`Error::Invalid`](crate::Error::Invalid).
    pub fn evict_after(mut self, time: Duration) -> Self {
        self.evict_after = Some(time);
        self
    }
}

/// How a consumer opens a queue.
#[derive(Debug, Clone, Default)]
pub struct ConsumerOptions {
    pub(crate) start: Start,
    pub(crate) open_timeout: Duration,
    pub(crate) observer: bool,
    pub(crate) name: String,
    pub(crate) schema: Option<Schema>,
    pub(crate) message_size: Option<u32>,
}

impl ConsumerOptions {
    /// Where to begin. Default: at the oldest message retained.
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How long to wait for the queue to appear. Default: not at all. `Duration::MAX`: for ever.
    pub fn open_timeout(mut self, time: Duration) -> Self {
        self.open_timeout = time;
        self
    }

    /// Never hold a producer back, also in a queue that is lossless, and lose instead. In a lossy
    /// queue all consumers are such.
    pub fn observer(mut self, yes: bool) -> Self {
        self.observer = yes;
        self
    }

    /// What records this consumer expects: a queue of others is an error that shows both, field by
    /// field. Default: it takes any.
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// As [`ConsumerOptions::schema`], with that of a type.
    ///
    /// # Panics
    /// If the type can have none: see [`Schema::new`].
    pub fn record<T: Record>(self) -> Self {
        self.schema(T::schema())
    }

    /// The size of messages that this consumer expects, in bytes. If the queue has another one,
    /// opening fails with [`Error::Geometry`](crate::Error::Geometry). Default: any.
    pub fn message_size(mut self, bytes: u32) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// What monitors are to call this consumer.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}
