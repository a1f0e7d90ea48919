//! What a reader needs to know of a kind of ring.

use super::memory::{Field, Memory};
use super::types::{Damage, Shape};

/// A message in the ring: where its payload is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the ring.
    pub offset: usize,
    /// Bytes of payload. In bounds, but not to be believed until validated.
    pub length: usize,
}

/// What a consumer finds at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// A message, to be validated after its use.
    Ready(Place),
    /// Nothing yet.
    Empty,
    /// The message was overwritten.
    Lapped,
}

/// One framing, as a consumer reads it. It has a position and knows nothing of accounts.
pub trait FrameReader {
    /// The memory it reads.
    type Memory: Memory;
    /// That memory.
    fn memory(&self) -> &Self::Memory;
    /// The shape of the ring.
    fn shape(&self) -> &Shape;
    /// The sequence of the message wanted next.
    fn next(&self) -> u64;
    /// Where that message is or will be: a sequence (fixed) or position (variable).
    fn cursor(&self) -> u64;
    /// Looks for that message.
    fn poll(&mut self) -> Result<Poll, Damage>;
    /// Whether all that was read at this position since `poll` is what was pushed.
    fn intact(&self) -> bool;
    /// Goes on to the message after the one found.
    fn advance(&mut self, place: Place);
    /// How many messages, from the one found on and at most `most`, are there and lie side by side.
    /// They are to be read only after [`intact`](FrameReader::intact) was asked: its fence, after the
    /// stamps were loaded, has the last one's `Stamp` for a partner, and whoever sees that sees all
    /// stored before it, the other messages among them. And all that was read of them is what was
    /// pushed if `intact` is true afterwards, for the first is the one overwritten first.
    fn run_length(&self, most: u64) -> u64 {
        most.min(1)
    }
    /// Goes on to the message after a run.
    fn advance_many(&mut self, place: Place, _count: u64) {
        self.advance(place);
    }
    /// After being lapped: goes to a message that will be there for a while. Returns how many
    /// were skipped, or `None` if the producer was faster again, with the position as it was.
    fn catch_up(&mut self) -> Result<Option<u64>, Damage>;
    /// The sequence that is pushed next: all below it are.
    fn frontier(&self) -> Result<u64, Damage>;
    /// The oldest sequence that can be gone to.
    fn oldest(&self) -> Result<u64, Damage>;
    /// Goes to a sequence; one that is not retained any more becomes the oldest that is. `tries`
    /// counts the tries before this one that a running producer spoilt ([`Seek::Again`]).
    fn seek(&mut self, sequence: u64, tries: u64) -> Result<Seek, Damage>;
}

/// What became of a seek.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Done; so many messages between the sequence asked for and the position are not retained.
    Done {
        /// How many.
        lost: u64,
    },
    /// That sequence was not pushed yet.
    Beyond,
    /// The producer overwrote what was being read to find the way.
    Again,
}

/// How often in one call a consumer is willing to be lapped before it says that nothing is there.
/// The producer then laps a consumer faster than it copies one message; trying for ever would
/// make a `pop` that never returns.
pub(super) const MAX_RETRIES: usize = 16;

/// How often a place to begin is looked for while a running producer overwrites what is read
/// meanwhile. Each try takes well under a microsecond, and a second one is rare.
pub(super) const MAX_JOIN_TRIES: u64 = 10_000;

/// Whether a look at the ring that failed is worth another: only a running producer can have spoilt
/// it. A file that nobody writes is damaged, and must not keep its reader busy.
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

    /// To be asked after each look that failed.
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

/// So many looks fail while nothing is announced, and it is no producer that spoils them.
const MAX_UNCHANGED: u32 = 10;
