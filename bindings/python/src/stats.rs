//! The figures of a queue.

use pyo3::prelude::*;

/// Figures of a queue and of the handle that was asked, as of that moment.
///
/// For a consumer, received + lost + lag == pushed - (its start sequence), always.
#[pyclass(frozen, eq, get_all, weakref, module = "ipcq")]
#[derive(PartialEq)]
pub struct Stats {
    /// Messages ever pushed, which is the sequence of the next one.
    pushed: u64,
    /// Messages this consumer received since its start position; 0 of a producer.
    received: u64,
    /// Messages this consumer lost since then; 0 of a producer.
    lost: u64,
    /// Messages pushed that this consumer has neither received nor knows to be lost; 0 of a producer.
    lag: u64,
    /// The oldest sequence that is retained.
    oldest: u64,
    /// Messages (fixed) or bytes (variable) that the ring holds.
    capacity: u64,
    /// Bytes of every message; 0 if they vary.
    message_size: u32,
    /// Bytes of the longest message that can be pushed.
    max_message: u64,
    /// "lossy" or "lossless".
    delivery: &'static str,
    /// How often a producer has been attached.
    epoch: u32,
    /// Consumers attached and known.
    consumers: u32,
    /// Whether a producer is attached at this moment.
    producer_alive: bool,
    /// Whether the producer has closed the queue, and none has opened it since. (The closed of a handle
    /// says whether that handle was closed.)
    closed: bool,
    /// Identifies the queue. Another number under the same name means that the queue was made anew:
    /// a sequence that was saved before is of other messages.
    id: u64,
    /// Whether the file of the queue has lost its name: it was unlinked or replaced. Nobody can open
    /// this queue any more; open the name again for the one that has it now.
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

/// One attached consumer, as of that moment.
#[pyclass(frozen, eq, get_all, weakref, module = "ipcq")]
#[derive(PartialEq)]
pub struct ConsumerInfo {
    /// Its consumer_name, at most 63 bytes of it.
    name: String,
    /// Its process, for information: a pid may be another's by now.
    pid: u32,
    /// The sequence it wants next, as of its last look at an empty ring, or up to 64 messages ago.
    sequence: u64,
    /// Messages pushed and not consumed, by that sequence.
    lag: u64,
    /// Messages it lost since it attached.
    lost: u64,
    /// Whether it sleeps until a message comes.
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

/// What a mode of delivery is called in Python.
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
