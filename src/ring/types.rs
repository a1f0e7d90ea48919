//! Types and functions that all parts of the protocol use.

use crate::format::data_file::{Delivery, Geometry};

/// The part of the geometry that the hot paths use, in the form that they use.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages (fixed) or bytes (variable), a power of two.
    pub capacity: u64,
    /// The producer announces this much at once.
    pub block: u64,
    /// Bytes from slot to slot (fixed). 0 in a variable ring.
    pub stride: usize,
    /// Bytes of the ring.
    pub bytes: usize,
    /// Bytes of a message (fixed), or of the longest message (variable).
    pub message: usize,
    /// The sequence of the first message.
    pub first: u64,
    /// Whether the producer waits for consumers with a slot
    /// ([`flow_control`](super::flow_control)). The reader then has a slot.
    pub lossless: bool,
    /// Lossless: the producer overwrites nothing before this many consumers have a slot.
    pub min_consumers: u32,
}

impl Shape {
    /// The shape of a ring of this geometry.
    pub fn of(g: &Geometry) -> Shape {
        Shape {
            capacity: g.capacity,
            block: g.block,
            stride: g.stride as usize,
            bytes: g.ring_bytes as usize,
            message: g.max_message() as usize,
            first: g.first_sequence,
            lossless: g.delivery == Delivery::Lossless,
            min_consumers: g.min_consumers,
        }
    }

    /// The first sequence or position that a producer keeps for a consumer at this cursor.
    pub fn kept_from(&self, cursor: u64) -> u64 {
        match self.stride {
            0 => cursor & !(self.block - 1),
            _ => cursor,
        }
    }

    /// The shape for a reader without a slot, which may lose messages in any ring.
    pub fn observed(self) -> Shape {
        Shape {
            lossless: false,
            ..self
        }
    }

    /// The cursor of the first message.
    pub fn origin(&self) -> u64 {
        match self.stride {
            0 => self.first_position(),
            _ => self.first,
        }
    }

    /// The position of the first message of a variable ring. It is derived from the sequence, so
    /// that a test near the end of the sequences is near the end of the positions, too.
    pub fn first_position(&self) -> u64 {
        self.first & !(self.capacity - 1)
    }
}

/// `a - b`. Both may have wrapped, but their distance is less than half the range.
#[inline(always)]
pub fn distance(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

/// The later of two.
#[inline(always)]
pub(super) fn later(a: u64, b: u64) -> u64 {
    if distance(a, b) > 0 {
        a
    } else {
        b
    }
}

/// The earlier of two.
#[inline(always)]
pub(super) fn earlier(a: u64, b: u64) -> u64 {
    if distance(a, b) < 0 {
        a
    } else {
        b
    }
}

/// The shared memory has a value that no producer of this library writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage(pub &'static str);

/// The message at which a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest retained message.
    #[default]
    Oldest,
    /// At the last message. In an empty queue, at the first one that is pushed.
    Newest,
    /// After the last message.
    Next,
    /// At this sequence. If it is not retained any more, the missing messages count as lost.
    At(u64),
}

/// The result of a pop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pop {
    /// A message was consumed.
    Message(Meta),
    /// The buffer is too small for the message. Nothing was consumed.
    TooSmall(Meta),
    /// The queue has no further message yet.
    Empty,
    /// The queue has no further message, and the producer has closed it.
    Closed,
    /// The queue has no further message, and another file has taken its name, or is about to.
    Superseded,
}

/// A message without its bytes: its sequence, length and losses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// The number of the message, from 0, in the order of the pushes.
    pub sequence: u64,
    /// The number of messages that were lost between the last one that this consumer consumed and
    /// this one.
    pub lost: u64,
    /// The length of the message in bytes.
    pub length: u32,
}
