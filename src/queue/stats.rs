//! Statistics of a queue.

use crate::format::data_file::Delivery;

/// Statistics of a queue and of one of its handles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages pushed so far. The next one has this sequence.
    pub pushed: u64,
    /// Messages that this consumer has received since its start position. 0 for a producer.
    pub received: u64,
    /// Messages that this consumer has lost since then. 0 for a producer.
    pub lost: u64,
    /// Messages that were pushed, and are neither received nor lost yet:
    /// `received + lost + lag == pushed - start`. 0 for a producer.
    pub lag: u64,
    /// The oldest sequence retained. In a variable queue, the oldest to which a consumer can seek.
    pub oldest: u64,
    /// How many messages the ring holds or, in a variable queue, how many bytes.
    pub capacity: u64,
    /// The size of every message in bytes. 0 in a variable queue.
    pub message_size: u32,
    /// The length of the longest message that can be pushed, in bytes.
    pub max_message: u64,
    /// Lossy or lossless.
    pub delivery: Delivery,
    /// How many producers have attached so far.
    pub epoch: u32,
    /// Attached consumers, without observers and without consumers of a lossy queue that may not
    /// write its control file. It takes a system call for each.
    pub consumers: u32,
    /// Whether a producer is attached at this moment. It takes a system call.
    pub producer_alive: bool,
    /// Whether the producer has closed the queue, and no producer has opened it since.
    pub closed: bool,
    /// Identifies the queue. Another number under the same name is a new queue, with other
    /// messages.
    pub id: u64,
    /// Whether the queue has lost its name, because it was removed or replaced. No process can open
    /// it any more. It takes a system call.
    pub unlinked: bool,
}
