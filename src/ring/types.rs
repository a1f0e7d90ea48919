//! What the parts of the protocol have in common.

use crate::format::data_file::{Delivery, Geometry};

/// A part of the geometry in the form that the hot paths use.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages (fixed) or bytes (variable), a power of two.
    pub capacity: u64,
    /// How far is announced at once.
    pub block: u64,
    /// Bytes from slot to slot (fixed); 0 (variable).
    pub stride: usize,
    /// Bytes of the ring.
    pub bytes: usize,
    /// Bytes of a message (fixed); the most bytes of one (variable).
    pub message: usize,
    /// The first sequence ever.
    pub first: u64,
    /// Whether the producer waits for consumers with a seat ([`flow_control`](super::flow_control)), and a reader has one.
    pub lossless: bool,
    /// Lossless: how many must have a seat before anything may be overwritten.
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

    /// The same for a reader without a seat, which may lose in any ring.
    pub fn observed(self) -> Shape {
        Shape {
            lossless: false,
            ..self
        }
    }

    /// The cursor of one who wants the first message ever.
    pub fn origin(&self) -> u64 {
        match self.stride {
            0 => self.first_position(),
            _ => self.first,
        }
    }

    /// The position of the first message of a variable ring. Derived from its sequence, so that a
    /// test that begins near the end of the sequences begins near the end of the positions too.
    pub fn first_position(&self) -> u64 {
        self.first & !(self.capacity - 1)
    }
}

/// `a - b`, where both may have wrapped but lie within half the range of each other.
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

/// The shared memory says what no producer of this library writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage(pub &'static str);

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest message retained.
    #[default]
    Oldest,
    /// At the last message pushed; in an empty queue, at the first to come.
    Newest,
    /// After the last message pushed: only what comes.
    Next,
    /// At this sequence. If it is not retained any more, what is missing counts as lost.
    At(u64),
}

/// What a pop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pop {
    /// A message was consumed.
    Message(Meta),
    /// The buffer is too small for it; nothing was consumed.
    TooSmall(Meta),
    /// There is none yet.
    Empty,
    /// There is none, and the producer has closed.
    Closed,
    /// There is none, and another file has taken this one's name, or is about to.
    Superseded,
}

/// About one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// Its number, from 0, in the order of pushing.
    pub sequence: u64,
    /// How many were lost between the last message this consumer consumed and this one.
    pub lost: u64,
    /// Its length in bytes.
    pub length: u32,
}
