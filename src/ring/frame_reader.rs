//! The parts of a ring that depend on its framing, as a consumer uses them.

use super::memory::{Field, Memory};
use super::types::{Damage, Shape};

/// The place of a payload in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the ring.
    pub offset: usize,
    /// Bytes of payload. They are in bounds, but may be wrong until the reader has validated them.
    pub length: usize,
}

/// The result of a look at the position of a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A message. The reader must validate it after its use.
    Ready(Place),
    /// No message yet.
    Empty,
    /// The message was overwritten.
    Lapped,
}

/// One framing, as a consumer reads it. It has a position, but does not count messages.
pub trait FrameReader {
    /// The memory that it reads.
    type Memory: Memory;
    /// That memory.
    fn memory(&self) -> &Self::Memory;
    /// The shape of the ring.
    fn shape(&self) -> &Shape;
    /// The sequence of the next message.
    fn next(&self) -> u64;
    /// The cursor of that message: its sequence (fixed) or position (variable).
    fn cursor(&self) -> u64;
    /// Looks for that message.
    fn poll(&mut self) -> Result<Found, Damage>;
    /// Whether everything that was read at this position since `poll` is what was pushed.
    fn intact(&self) -> bool;
    /// Moves to the message after the one that `poll` has found.
    fn advance(&mut self, place: Place);
    /// The number of messages, up to `most`, that are there and side by side, starting with the one
    /// that `poll` has found.
    ///
    /// The caller must call [`intact`](FrameReader::intact) before it reads them. The stamps were
    /// loaded before the fence of `intact`, so that fence pairs with the `Stamp` of the last
    /// message. A consumer that sees this stamp sees everything that was stored before it,
    /// including the other messages. If `intact` is true again afterwards, everything that was read
    /// is what was pushed, because the first message is the first to be overwritten.
    fn run_length(&self, most: u64) -> u64 {
        most.min(1)
    }
    /// Moves to the message after a run.
    fn advance_many(&mut self, place: Place, _count: u64) {
        self.advance(place);
    }
    /// After being lapped: moves to a message that will not be overwritten soon. Returns the number
    /// of skipped messages. Returns `None`, with the position unchanged, if the producer was faster
    /// again.
    fn catch_up(&mut self) -> Result<Option<u64>, Damage>;
    /// The sequence of the next push. All sequences below it are pushed.
    fn frontier(&self) -> Result<u64, Damage>;
    /// The oldest sequence that a seek can reach.
    fn oldest(&self) -> Result<u64, Damage>;
    /// Moves to a sequence, or to the oldest retained one if it is not retained any more. `tries`
    /// is the number of tries before this one that failed because of a running producer
    /// ([`Seek::Again`]).
    fn seek(&mut self, sequence: u64, tries: u64) -> Result<Seek, Damage>;
}

/// The result of a seek.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The reader has moved. Some messages between the wanted sequence and its position may not be
    /// retained.
    Done {
        /// The number of these messages.
        lost: u64,
    },
    /// The sequence was not pushed yet.
    Beyond,
    /// The producer overwrote a part of the ring that the seek was reading.
    Again,
}

/// A call accepts being lapped this many times before it reports an empty queue. The producer then
/// laps the consumer faster than it copies one message, so a `pop` without this limit might never
/// return.
pub(super) const MAX_RETRIES: usize = 16;

/// The number of tries to find a message to begin at while a running producer overwrites what the
/// try reads. Each try takes well under a microsecond, and a second one is rare.
pub(super) const MAX_JOIN_TRIES: u64 = 10_000;

/// Decides whether to retry after a look at the ring has failed. Only a running producer can make a
/// look fail. If no process writes the file, it is damaged, and must not keep its reader busy.
pub(super) struct ProducerWatch {
    claimed: u64,
    same: u32,
}

impl ProducerWatch {
    pub(super) fn new(memory: &impl Memory) -> Self {
        ProducerWatch {
            claimed: memory.load_relaxed(Field::Claimed),
            same: 0,
        }
    }

    /// Whether the producer may still run. Call it after each failed look.
    pub(super) fn may_be_active(&mut self, memory: &impl Memory) -> bool {
        let claimed = memory.load_relaxed(Field::Claimed);
        self.same = if claimed == self.claimed {
            self.same + 1
        } else {
            0
        };
        self.claimed = claimed;
        self.same < MAX_UNCHANGED
    }
}

/// If this many looks fail while nothing is announced, the producer does not run.
const MAX_UNCHANGED: u32 = 10;
