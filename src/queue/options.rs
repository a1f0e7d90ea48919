//! The options that a queue is opened with.

use crate::format::data_file::Delivery;
use crate::ring::Start;
use crate::schema::{Record, Schema};
use std::time::Duration;

/// How a producer opens a queue. Every option has a default.
///
/// If the queue exists, each option that is given has to match it, and the producer takes the
/// others from the queue.
///
/// ```
/// # ipcq::__example!();
/// use ipcq::{Delivery, Producer};
///
/// let out = Producer::options()
///     .message_size(8)
///     .capacity(1024)
///     .delivery(Delivery::Lossless)
///     .open("numbers")?;
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing until `open`"]
pub struct ProducerOptions {
    pub(crate) permissions: Option<u32>,
    pub(crate) control_permissions: Option<u32>,
    pub(crate) capacity: Option<u64>,
    pub(crate) message_size: Option<u32>,
    pub(crate) delivery: Option<Delivery>,
    pub(crate) max_consumers: Option<u32>,
    pub(crate) min_consumers: Option<u32>,
    pub(crate) exclusive: bool,
    pub(crate) replace: bool,
    pub(crate) first_sequence: u64,
    pub(crate) evict_after: Option<Duration>,
    pub(crate) schema: Option<Schema>,
}

impl ProducerOptions {
    /// The mode bits of the data file: at most 0777, with 0600 for the producer. The umask does not
    /// change them. Consumers need the read bit and nothing more. Default: 0600.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let out = ipcq::Producer::options().permissions(0o644).open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn permissions(mut self, mode: u32) -> Self {
        self.permissions = Some(mode);
        self
    }

    /// The mode bits of the control file. Default: those of the data file.
    ///
    /// The producer wakes a consumer that may write the control file. Any other consumer looks
    /// every few milliseconds while it waits. Give write permission only to users that you trust
    /// not to stop the producer: they can make it wait, and they can kill it if they truncate the
    /// file.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let options = ipcq::Producer::options().permissions(0o666).control_permissions(0o600);
    /// let out = options.open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn control_permissions(mut self, mode: u32) -> Self {
        self.control_permissions = Some(mode);
        self
    }

    /// How many messages the ring holds or, in a variable queue, how many bytes. It is rounded up
    /// to a power of two, and the ring has at most 1 TiB. Default: a ring of about 4 MiB.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let out = ipcq::Producer::options().message_size(8).capacity(1000).open("numbers")?;
    /// assert_eq!(out.geometry().capacity, 1024);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn capacity(mut self, capacity: u64) -> Self {
        self.capacity = Some(capacity);
        self
    }

    /// The size of every message in bytes, at most 1 GiB. The default, 0, makes a variable queue:
    /// each message has its own length, which is at most an eighth of the capacity.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let out = ipcq::Producer::options().message_size(24).open("ticks")?;
    /// assert_eq!(out.max_message(), 24);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn message_size(mut self, bytes: u32) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// The record schema of the messages, which is stored in the queue. The message size is that of
    /// the records.
    ///
    /// If a consumer expects another schema, opening fails with an error that shows the difference.
    /// A consumer that expects none can ask for it. A queue that exists must have this schema.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Field, Producer, Scalar, Schema};
    ///
    /// let price = Field::new("price", 0, Scalar::parse("<f8")?);
    /// let out = Producer::options().schema(Schema::new(8, vec![price])?).open("prices")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// As [`ProducerOptions::schema`], with the schema of a type.
    ///
    /// ```
    /// # ipcq::__example!();
    /// ipcq::record! {
    ///     #[derive(Clone, Copy)]
    ///     struct Tick { time_ns: u64, price: f64 }
    /// }
    /// let out = ipcq::Producer::options().record::<Tick>().open("ticks")?;
    /// assert_eq!(out.geometry().message_size, 16);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the type can have no schema: see [`Schema::new`].
    pub fn record<T: Record>(self) -> Self {
        self.schema(T::schema())
    }

    /// Lossy, the default: the producer overwrites the oldest messages. Lossless: the producer
    /// never overwrites a message that an attached consumer has not consumed. If the ring has no
    /// room, a push waits or fails with [`Error::Full`](crate::Error::Full).
    ///
    /// A consumer of a lossless queue publishes its position when it finds the queue empty or
    /// waits, and at least every 64 messages (or every 1/64 of the capacity, if that is less). If
    /// the ring is nearly full, it publishes after each message. So a push may find the queue full
    /// although fewer messages than that have been read already.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Delivery, Producer};
    ///
    /// let options = Producer::options().message_size(8).delivery(Delivery::Lossless);
    /// let out = options.open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// The number of consumer slots, from 1 to 4096. A lossless queue accepts no more consumers
    /// than that. In a lossy queue, further consumers are not listed. Default: 32.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let out = ipcq::Producer::options().max_consumers(100).open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn max_consumers(mut self, count: u32) -> Self {
        self.max_consumers = Some(count);
        self
    }

    /// In a lossless queue, the producer overwrites nothing before this many consumers have been
    /// attached at the same time. Default: 0, and the producer does not wait for consumers to
    /// attach.
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Delivery, Producer};
    ///
    /// let options = Producer::options().delivery(Delivery::Lossless).min_consumers(1);
    /// let out = options.open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn min_consumers(mut self, count: u32) -> Self {
        self.min_consumers = Some(count);
        self
    }

    /// The sequence of the first message, if this call creates the queue. Default: 0.
    ///
    /// Use it to continue the numbers of an earlier queue.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let out = ipcq::Producer::options().first_sequence(1000).open("numbers")?;
    /// assert_eq!(out.next_sequence(), 1000);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn first_sequence(mut self, sequence: u64) -> Self {
        self.first_sequence = sequence;
        self
    }

    /// Fail with [`Error::Exists`](crate::Error::Exists) if the queue exists. Default: no.
    ///
    /// ```
    /// # ipcq::__example!();
    /// let options = ipcq::Producer::options().exclusive(true);
    /// let out = options.open("numbers")?;
    /// assert!(matches!(options.open("numbers"), Err(ipcq::Error::Exists(_))));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn exclusive(mut self, yes: bool) -> Self {
        self.exclusive = yes;
        self
    }

    /// Replace the queue if it differs from the options (in geometry, schema or layout version) or
    /// is damaged. Its consumers drain it, and then get
    /// [`Error::Replaced`](crate::Error::Replaced). A queue that does not differ is continued.
    /// Default: no.
    ///
    /// ```
    /// # ipcq::__example!();
    /// # ipcq::Producer::options().message_size(8).open("numbers")?.close();
    /// let out = ipcq::Producer::options().message_size(16).replace(true).open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn replace(mut self, yes: bool) -> Self {
        self.replace = yes;
        self
    }

    /// Evict a consumer of a lossless queue that blocks the producer for this long without
    /// progress. The consumer may continue, and loses what was overwritten. Default: never. A
    /// consumer that has died is always evicted.
    ///
    /// For a lossy queue, opening fails with [`Error::Invalid`](crate::Error::Invalid).
    ///
    /// ```
    /// # ipcq::__example!();
    /// use ipcq::{Delivery, Producer};
    /// use std::time::Duration;
    ///
    /// let out = Producer::options()
    ///     .delivery(Delivery::Lossless)
    ///     .evict_after(Duration::from_secs(1))
    ///     .open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn evict_after(mut self, time: Duration) -> Self {
        self.evict_after = Some(time);
        self
    }
}

/// How a consumer opens a queue. Every option has a default.
///
/// ```
/// # ipcq::__example!(out, q);
/// use ipcq::{Consumer, Start};
///
/// let late = Consumer::options().start(Start::Next).name("logger").open("numbers")?;
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "options do nothing until `open`"]
pub struct ConsumerOptions {
    pub(crate) start: Start,
    pub(crate) open_timeout: Option<Duration>,
    pub(crate) observer: bool,
    pub(crate) name: String,
    pub(crate) schema: Option<Schema>,
    pub(crate) message_size: Option<u32>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            start: Start::default(),
            open_timeout: Some(Duration::ZERO),
            observer: false,
            name: String::new(),
            schema: None,
            message_size: None,
        }
    }
}

impl ConsumerOptions {
    /// The first message of this consumer. Default: the oldest message that is retained.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use ipcq::{Consumer, Start};
    ///
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// let late = Consumer::options().start(Start::Newest).open("numbers")?;
    /// assert_eq!(late.next_sequence(), 2);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How long to wait for the queue to appear. `None` waits without a limit. Default: no wait.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use std::time::Duration;
    ///
    /// let late = ipcq::Consumer::options().open_timeout(Some(Duration::from_secs(1)));
    /// assert!(late.open("numbers").is_ok());
    /// ```
    pub fn open_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// Never hold the producer of a lossless queue back, and lose messages instead. A consumer of a
    /// lossy queue does that anyway. Default: no.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let monitor = ipcq::Consumer::options().observer(true).open("numbers")?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn observer(mut self, yes: bool) -> Self {
        self.observer = yes;
        self
    }

    /// The record schema that this consumer expects. If the queue has another one, opening fails
    /// with an error that shows the difference. Default: any.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use ipcq::{Consumer, Field, Scalar, Schema};
    ///
    /// let price = Field::new("price", 0, Scalar::parse("<f8")?);
    /// let prices = Consumer::options().schema(Schema::new(8, vec![price])?);
    /// assert!(matches!(prices.open("numbers"), Err(ipcq::Error::SchemaMismatch(_))));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema);
        self
    }

    /// As [`ConsumerOptions::schema`], with the schema of a type.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// ipcq::record! {
    ///     #[derive(Clone, Copy)]
    ///     struct Price { price: f64 }
    /// }
    /// let prices = ipcq::Consumer::options().record::<Price>();
    /// assert!(matches!(prices.open("numbers"), Err(ipcq::Error::SchemaMismatch(_))));
    /// ```
    ///
    /// # Panics
    /// If the type can have no schema: see [`Schema::new`].
    pub fn record<T: Record>(self) -> Self {
        self.schema(T::schema())
    }

    /// The message size that this consumer expects, in bytes. If the queue has another one, opening
    /// fails with [`Error::Geometry`](crate::Error::Geometry). Default: any.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let ticks = ipcq::Consumer::options().message_size(24);
    /// assert!(matches!(ticks.open("numbers"), Err(ipcq::Error::Geometry(_))));
    /// ```
    pub fn message_size(mut self, bytes: u32) -> Self {
        self.message_size = Some(bytes);
        self
    }

    /// The name of this consumer in [`ConsumerInfo`](crate::ConsumerInfo). Default: none.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let logger = ipcq::Consumer::options().name("logger").open("numbers")?;
    /// assert!(out.consumers().iter().any(|c| c.name == "logger"));
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }
}
