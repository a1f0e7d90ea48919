//! The gate of a lossless ring: how far the producer may go, and how a consumer takes its place
//! without being overtaken meanwhile.
//!
//! Every attached consumer has a seat, and in it a cursor: the sequence (fixed) or position
//! (variable) that it wants next. The producer announces nothing beyond the lowest cursor plus the
//! capacity. It keeps that limit, and looks at the seats again only when it gets there.
//!
//! In a variable ring the producer keeps the whole block that the lowest cursor is in. The index has
//! one frame of each block, so another consumer can find the frame at that cursor only from there.
//!
//! A consumer that takes a seat while the producer still lives on an old limit is not looked at
//! yet. So the limit is written down, and the two sides exclude each other as in Dekker's
//! algorithm: each stores, issues a full fence, and then looks at what the other has stored.
//!
//! ```text
//!  producer   limit.store(L); fence(SeqCst); look at all seats again: no further than L, nor than
//!             these allow                                                         Limit, LookTwice
//!  consumer   seat: cursor.store(claimed - capacity), taken.store(Release)
//!             fence(SeqCst); what limit.load() - capacity leaves is there to stay          TakeSlot
//!             begin there; cursor.store(position, Release)                                 Consumed
//! ```
//!
//! Either the producer's second look finds the seat, or the consumer sees the limit that the
//! producer went by. The cursor a seat begins with is so low that it stops the producer where it
//! is, until the consumer knows better.

use super::frame_reader::FrameReader;
use super::memory::{Field, Memory, Site, Step};
use super::types::{distance, earlier, later, Shape};

/// The seats, as the producer sees them.
pub trait SlotCursors {
    /// Calls with the cursor of each seat that is taken. That it is taken is loaded with acquire
    /// order, before the cursor.
    fn cursors(&self, each: impl FnMut(u64));
}

/// One's own seat.
pub trait SlotCursor {
    /// Lowers the cursor, takes the seat if it is not taken yet (with release order).
    fn reserve(&self, cursor: u64);
    /// Stores the cursor, with release order.
    fn store_cursor_release(&self, site: Site, cursor: u64);
}

/// Where a producer stands.
#[derive(Debug, Clone, Copy)]
pub struct WriterState {
    /// The sequence or position written next.
    pub next: u64,
    /// The first one not announced.
    pub claimed: u64,
    /// What has to be announced for the message to come.
    pub end: u64,
    /// The limit so far.
    pub limit: u64,
}

/// How far a producer may announce.
pub fn raise_limit<M: Memory>(
    memory: &M,
    shape: &Shape,
    seats: &impl SlotCursors,
    front: WriterState,
) -> u64 {
    let intended = limit_for(shape, seats, front);
    if distance(intended, front.limit) <= 0 {
        return front.limit;
    }
    // Pairs with `TakeSlot`. A consumer whose seat the second look does not find sees this limit.
    memory.store_release(Site::Limit, Field::Limit, intended);
    memory.fence_full(Site::Limit);
    let mut limit = intended;
    if memory.performs(Step::LookTwice) {
        limit = earlier(limit, limit_for(shape, seats, front));
    }
    // Pairs with `Consumed`. What the cursors gave up is no longer being read.
    memory.fence_acquire(Site::SeeCursor);
    later(limit, front.limit)
}

/// What the seats allow at this moment.
pub fn limit_for(shape: &Shape, seats: &impl SlotCursors, front: WriterState) -> u64 {
    let (mut attached, mut slowest) = (0, None);
    seats.cursors(|cursor| {
        attached += 1;
        // The seats are in a file that others write: nobody has consumed what was not pushed.
        let cursor = earlier(cursor, front.next);
        slowest = Some(slowest.map_or(cursor, |s| earlier(s, cursor)));
    });
    let bound = match slowest {
        Some(cursor) => shape.kept_from(cursor).wrapping_add(shape.capacity),
        // Not further than a block: what is allowed is not there to be joined at.
        None => later(front.end, front.next.wrapping_add(shape.block)),
    };
    let filled = shape.origin().wrapping_add(shape.capacity);
    if attached < shape.min_consumers && distance(front.claimed, filled) <= 0 {
        earlier(bound, filled)
    } else {
        bound
    }
}

/// The oldest sequence or position that this reader can go to: what is not announced for
/// overwriting; with a seat, what will not be before the seat is looked at.
pub fn retained<F: FrameReader>(frames: &F) -> u64 {
    let (memory, shape) = (frames.memory(), frames.shape());
    let mut end = memory.load_relaxed(Field::Claimed);
    if shape.lossless {
        // A limit is stored before what is announced by it. Pairs with `Publish`.
        memory.fence_acquire(Site::FindOldest);
        end = later(end, memory.load_relaxed(Field::Limit));
    }
    match end.wrapping_sub(shape.origin()) {
        pushed if pushed <= shape.capacity => shape.origin(),
        _ => end.wrapping_sub(shape.capacity),
    }
}
