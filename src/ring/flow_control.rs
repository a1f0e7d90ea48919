//! Flow control of a lossless ring: how the consumers limit the producer, and how a consumer takes
//! a slot without being lapped while it does so.
//!
//! Every attached consumer has a slot with a cursor, which is the sequence (fixed) or position
//! (variable) of the next message that it wants. The producer announces nothing beyond the lowest
//! cursor plus the capacity. It keeps that limit and reads the cursors again only when it has
//! reached the limit.
//!
//! A variable ring keeps the whole block that contains the lowest cursor. The index has one frame
//! of each block, so a consumer that looks for the frame at that cursor starts at this one.
//!
//! While the producer still uses an old limit, it does not see a consumer that takes a slot. So it
//! stores the limit in the header, and the two sides exclude each other as in Dekker's algorithm.
//! Each side stores, issues a full fence, and then looks at the stores of the other.
//!
//! ```text
//!  producer   limit.store(L); fence(SeqCst)                                            Limit
//!             read all cursors again, which may lower the limit                        LookTwice
//!  consumer   slot: cursor.store(claimed - capacity); token.store(Release)
//!             fence(SeqCst)                                                            TakeSlot
//!             L = limit.load(); the producer keeps everything from L - capacity on
//!             begin there or later; cursor.store(position, Release)                    Consumed
//! ```
//!
//! Either the second look of the producer finds the slot, or the consumer sees the limit that the
//! producer uses. The first cursor of a slot is so low that the producer cannot raise its limit
//! until the consumer has stored its real position.

use super::frame_reader::FrameReader;
use super::memory::{Field, Memory, Site, Step};
use super::types::{distance, earlier, later, Shape};

/// The consumer slots, as the producer sees them.
pub trait SlotCursors {
    /// Calls `each` with the cursor of every taken slot. It first loads whether the slot is taken,
    /// with acquire order, and then the cursor.
    fn cursors(&self, each: impl FnMut(u64));
}

/// The slot of one consumer.
pub trait SlotCursor {
    /// Lowers the cursor and takes the slot, with a release store, if it is not taken yet.
    fn reserve(&self, cursor: u64);
    /// Stores the cursor.
    fn store_cursor_release(&self, site: Site, cursor: u64);
}

/// The position of a producer.
#[derive(Debug, Clone, Copy)]
pub struct WriterState {
    /// The sequence or position of the next write.
    pub next: u64,
    /// The first sequence or position that is not announced.
    pub claimed: u64,
    /// The end of the next message. The producer must announce everything before it first.
    pub end: u64,
    /// The current limit.
    pub limit: u64,
}

/// Raises the limit as far as the cursors allow, and returns it.
pub fn raise_limit<M: Memory>(
    memory: &M,
    shape: &Shape,
    slots: &impl SlotCursors,
    front: WriterState,
) -> u64 {
    let intended = limit_for(shape, slots, front);
    if distance(intended, front.limit) <= 0 {
        return front.limit;
    }
    // Pairs with `TakeSlot`. If the second look does not find the slot of a consumer, that consumer
    // sees this limit. The full fence gives this order. The release order of the store itself is
    // not needed, but `Memory` has no relaxed store of a header word.
    memory.store_release(Site::Limit, Field::Limit, intended);
    memory.fence_full(Site::Limit);
    // If the second look lowers the limit, the header keeps the higher value. That is safe, because
    // a consumer that sees it only begins later than it could.
    let mut limit = intended;
    if memory.performs(Step::LookTwice) {
        limit = earlier(limit, limit_for(shape, slots, front));
    }
    // Pairs with `Consumed`. No consumer still reads the messages before its cursor.
    memory.fence_acquire(Site::SeeCursor);
    // The current limit stays usable, even if a new slot has a lower cursor. Either the look that
    // allowed this limit found the consumer, or the consumer sees this limit, or a later one, and
    // begins at a message that the limit keeps.
    later(limit, front.limit)
}

/// The limit that the cursors allow at this moment.
pub fn limit_for(shape: &Shape, slots: &impl SlotCursors, front: WriterState) -> u64 {
    let (mut attached, mut slowest) = (0, None);
    slots.cursors(|cursor| {
        attached += 1;
        // Other processes write the slots, so a cursor may have any value. A consumer never has a
        // cursor beyond the next message, so a later one is cut to that.
        let cursor = earlier(cursor, front.next);
        slowest = Some(slowest.map_or(cursor, |s| earlier(s, cursor)));
    });
    let bound = match slowest {
        Some(cursor) => shape.kept_from(cursor).wrapping_add(shape.capacity),
        // No consumer is attached. The limit rises only by a block, or by the next message if that
        // is longer, because a consumer that joins loses what the limit allows to be overwritten.
        None => later(front.end, front.next.wrapping_add(shape.block)),
    };
    // `min_consumers` protects the first lap only. Once more than a lap is announced, the first
    // messages may have been overwritten, and the wait for consumers is over.
    let filled = shape.origin().wrapping_add(shape.capacity);
    if attached < shape.min_consumers && distance(front.claimed, filled) <= 0 {
        earlier(bound, filled)
    } else {
        bound
    }
}

/// The oldest sequence or position that this reader can move to. Everything before it is announced
/// for overwriting. For a reader with a slot, this also excludes everything that the producer may
/// announce before it reads the slot.
pub fn retained<F: FrameReader>(frames: &F) -> u64 {
    let (memory, shape) = (frames.memory(), frames.shape());
    let mut end = memory.load_relaxed(Field::Claimed);
    if shape.lossless {
        // Pairs with `Publish`. A reader that sees an announcement also sees the limit that allowed
        // it, because the producer stores the limit first. A consumer that takes its slot has
        // issued the fence of `TakeSlot` before (`join`). So this relaxed load sees the limit of a
        // producer that did not find the slot.
        memory.fence_acquire(Site::FindOldest);
        end = later(end, memory.load_relaxed(Field::Limit));
    }
    match end.wrapping_sub(shape.origin()) {
        pushed if pushed <= shape.capacity => shape.origin(),
        _ => end.wrapping_sub(shape.capacity),
    }
}
