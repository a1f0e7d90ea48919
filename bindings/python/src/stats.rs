//! The figures of a queue.

use pyo3::prelude::*;

/// Figures of a queue and of the handle that made them, at one moment.
///
/// For a consumer, received + lost + lag == pushed - (its start sequence) at every moment.
#[pyclass(frozen, eq, get_all, weakref, module = "ipcq")]
#[derive(PartialEq)]
pub struct Stats {
    /// The number of messages that were ever pushed. It is the sequence of the next message.
    pushed: u64,
    /// The number of messages that this consumer has received since its start position. 0 for a
    /// producer.
    received: u64,
    /// The number of messages that this consumer has lost since its start position. 0 for a
    /// producer.
    lost: u64,
    /// The number of messages that were pushed and that this consumer has neither received nor
    /// knows to be lost. 0 for a producer.
    lag: u64,
    /// The oldest sequence that is retained.
    oldest: u64,
    /// How many messages (fixed size) or bytes (varying length) the ring holds.
    capacity: u64,
    /// The bytes of every message. 0 if the messages vary in length.
    message_size: u32,
    /// The bytes of the longest message that can be pushed.
    max_message: u64,
    /// The mode of delivery, "lossy" or "lossless".
    delivery: &'static str,
    /// How many times a producer has opened the queue.
    epoch: u32,
    /// The number of attached consumers that have a consumer slot.
    consumers: u32,
    /// Whether a producer has the queue open at this moment.
    producer_alive: bool,
    /// Whether the producer has closed the queue, and no producer has opened it since. (The
    /// closed of a handle says whether that handle was closed.)
    closed: bool,
    /// Identifies the queue. Another id under the same name means that the queue was recreated,
    /// so a sequence that was saved before belongs to other messages.
    id: u64,
    /// Whether the queue was unlinked or replaced, so that the name no longer refers to it. Open
    /// the name again for the queue that has it now.
    unlinked: bool,
}

impl From<ipcq::Stats> for Stats {
    fn from(s: ipcq::Stats) -> Self {
        Stats {
            pushed: s.pushed,
            received: s.received,
            lost: s.lost,
            lag: s.lag,
            oldest: s.oldest,
            capacity: s.capacity,
            message_size: s.message_size,
            max_message: s.max_message,
            delivery: delivery(s.delivery),
            epoch: s.epoch,
            consumers: s.consumers,
            producer_alive: s.producer_alive,
            closed: s.closed,
            id: s.id,
            unlinked: s.unlinked,
        }
    }
}

/// An attached consumer, at one moment.
#[pyclass(frozen, eq, get_all, weakref, module = "ipcq")]
#[derive(PartialEq)]
pub struct ConsumerInfo {
    /// Its consumer_name, at most 63 bytes of it.
    name: String,
    /// The pid of its process, for information. The system may have given it to another
    /// process.
    pid: u32,
    /// The sequence that it receives next, as it has published it. A consumer publishes its
    /// position when it finds the queue empty, and every 64 messages at the latest.
    sequence: u64,
    /// The number of messages that were pushed and not consumed, according to that sequence.
    lag: u64,
    /// The number of messages that it has lost since it attached.
    lost: u64,
    /// Whether it sleeps until a message is pushed.
    asleep: bool,
}

impl From<ipcq::ConsumerInfo> for ConsumerInfo {
    fn from(c: ipcq::ConsumerInfo) -> Self {
        ConsumerInfo {
            name: c.name,
            pid: c.pid,
            sequence: c.sequence,
            lag: c.lag,
            lost: c.lost,
            asleep: c.asleep,
        }
    }
}

#[pymethods]
impl ConsumerInfo {
    fn __repr__(&self) -> String {
        format!(
            "ConsumerInfo(name={:?}, pid={}, sequence={}, lag={}, lost={}, asleep={})",
            self.name,
            self.pid,
            self.sequence,
            self.lag,
            self.lost,
            if self.asleep { "True" } else { "False" },
        )
    }
}

/// The name of a mode of delivery in Python.
pub fn delivery(mode: ipcq::Delivery) -> &'static str {
    match mode {
        ipcq::Delivery::Lossless => "lossless",
        _ => "lossy",
    }
}

#[pymethods]
impl Stats {
    fn __repr__(&self) -> String {
        let truth = |b| if b { "True" } else { "False" };
        format!(
            "Stats(pushed={}, received={}, lost={}, lag={}, oldest={}, capacity={}, \
             message_size={}, max_message={}, delivery='{}', epoch={}, consumers={}, \
             producer_alive={}, closed={}, id={}, unlinked={})",
            self.pushed,
            self.received,
            self.lost,
            self.lag,
            self.oldest,
            self.capacity,
            self.message_size,
            self.max_message,
            self.delivery,
            self.epoch,
            self.consumers,
            truth(self.producer_alive),
            truth(self.closed),
            self.id,
            truth(self.unlinked),
        )
    }
}
