//! Figures of a queue.

use crate::format::data_file::Delivery;

/// Figures of a queue and of the handle that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages ever pushed, which is the sequence of the next one.
    pub pushed: u64,
    /// Messages this consumer received since its start position. 0 of a producer.
    pub received: u64,
    /// Messages this consumer lost since then. 0 of a producer.
    pub lost: u64,
    /// Messages pushed and neither received nor known to be lost yet:
    /// `received + lost + lag == pushed - start`. 0 of a producer.
    pub lag: u64,
    /// The oldest sequence retained. In a variable queue, the oldest that can be gone to.
    pub oldest: u64,
    /// Messages (fixed) or bytes (variable) that the ring holds.
    pub capacity: u64,
    /// Bytes of every message; 0 if they vary.
    pub message_size: u32,
    /// Bytes of the longest message that can be pushed.
    pub max_message: u64,
    /// Lossy or lossless.
    pub delivery: Delivery,
    /// How often a producer has been attached.
    pub epoch: u32,
    /// Consumers attached and known: all of a lossless queue, of a lossy one those that may
    /// write its control file; but no observers. Costs a system call each.
    pub consumers: u32,
    /// Whether a producer is attached at this moment. Costs a system call.
    pub producer_alive: bool,
    /// Whether the producer has closed the queue (and none has opened it since).
    pub closed: bool,
    /// Identifies the queue: another number means that the queue was made anew, and that its
    /// sequences count other messages.
    pub id: u64,
    /// Whether the queue's file has lost its name: it was unlinked, removed by something else, or
    /// replaced. Nobody can open this queue any more. Costs a system call.
    pub unlinked: bool,
}
