//! The producer's side.

use super::{entry, frame_bytes, in_ring, VariableReader};
use crate::format::data_file::{FLAG_PADDING, FRAME_HEADER};
use crate::ring::flow_control::{self, SlotCursors, WriterState};
use crate::ring::memory::{Field, Memory, Site, Step};
use crate::ring::types::{distance, earlier, later, Damage, Shape};

/// The producer's side.
#[derive(Debug)]
pub struct VariableWriter<M> {
    memory: M,
    shape: Shape,
    /// The sequence pushed next, and where its frame (or the padding before it) goes.
    next: u64,
    position: u64,
    /// The first position not announced.
    claimed: u64,
    /// The start of the first block without an index entry.
    unindexed: u64,
    /// Lossless: how far may be announced.
    limit: u64,
}

impl<M: Memory> VariableWriter<M> {
    /// Prepares the ring of a new file.
    pub fn format(memory: &M, shape: &Shape) {
        let position = shape.first_position();
        // Pairs with `FindFront` and `FindOldest`. No process opens the file before it has its name.
        memory.store_release(Site::Publish, Field::Published, position);
        memory.store_release(Site::Publish, Field::PublishedSequence, shape.first);
        memory.store_release(Site::Publish, Field::Claimed, position);
        memory.store_release(Site::Publish, Field::Limit, position);
        // SAFETY: an entry is in the index, and the first word in the ring.
        unsafe {
            memory.store_index_relaxed(entry(shape, position), position);
            memory.store_index_relaxed(entry(shape, position) + 1, shape.first);
            // Anything but the stamp of the first message.
            memory.store_word_relaxed(in_ring(shape, position), shape.first);
        }
    }

    /// Goes on where the last producer ended, wherever that was.
    pub fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        let published = memory.load_relaxed(Field::Published);
        let claimed = memory.load_relaxed(Field::Claimed);
        let mut probe = VariableReader::new(memory.clone(), shape);
        // Nobody writes: the last producer is dead, and this one has not begun.
        let Some((position, next)) = probe.walk()? else {
            return Err(Damage("block index"));
        };
        // It may have died with a longer message announced than the one it writes next.
        let ahead = claimed.wrapping_sub(position);
        if position.wrapping_sub(published) > shape.capacity || ahead > shape.capacity {
            return Err(Damage("claimed and published"));
        }
        // The overwriting of what the last producer announced goes on, in another process: its fence
        // counts for its own stores only. Pairs with `Validate`, `ValidateEntry`.
        memory.fence_release(Site::TakeOver);
        let unindexed = (position & !(shape.block - 1)).wrapping_add(shape.block);
        Ok(VariableWriter {
            memory,
            shape,
            next,
            position,
            claimed,
            unindexed,
            limit: claimed,
        })
    }

    /// The sequence pushed next.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The memory written to.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Makes room for a message and gives its payload's offset; `None` if the limit is in the way
    /// ([`VariableWriter::extend`]).
    ///
    /// The caller has checked that `length` is at most the longest message.
    #[inline]
    pub fn reserve(&mut self, length: usize) -> Option<usize> {
        let frame = frame_bytes(length);
        let mut offset = in_ring(&self.shape, self.position);
        if frame > self.shape.capacity as usize - offset {
            if !self.pad(self.shape.capacity as usize - offset) {
                return None;
            }
            offset = 0;
        }
        if !self.reserve_bytes(frame) {
            return None;
        }
        Some(offset + FRAME_HEADER)
    }

    /// Lossless: looks how far the consumers are. Whether that made room for a message.
    #[cold]
    pub fn extend(&mut self, seats: &impl SlotCursors, length: usize) -> bool {
        let front = self.front(length);
        self.limit = flow_control::raise_limit(&self.memory, &self.shape, seats, front);
        distance(self.limit, front.end) >= 0
    }

    /// Where the producer stands who has a message of this length.
    pub fn front(&self, length: usize) -> WriterState {
        let frame = frame_bytes(length);
        let room = self.shape.capacity as usize - in_ring(&self.shape, self.position);
        let padding = if frame > room { room } else { 0 };
        let bytes = padding + frame + FRAME_HEADER;
        WriterState {
            next: self.position,
            claimed: self.claimed,
            end: self.position.wrapping_add(bytes as u64),
            limit: self.limit,
        }
    }

    /// Gives the reserved message, of at most the length reserved, to the consumers.
    #[inline]
    pub fn commit(&mut self, length: usize) {
        self.finish(
            frame_bytes(length),
            length as u64,
            self.next.wrapping_add(1),
        );
    }

    /// Pushes one message; `false` if the limit is in the way.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes, which is at most the longest message.
    #[inline]
    pub unsafe fn push(&mut self, from: *const u8, length: usize) -> bool {
        let Some(offset) = self.reserve(length) else {
            return false;
        };
        // SAFETY: the frame was reserved, and is whole words.
        unsafe { self.memory.write(offset, from, length) };
        self.commit(length);
        true
    }

    /// Fills the `room` bytes up to the end of the ring.
    #[cold]
    fn pad(&mut self, room: usize) -> bool {
        if !self.reserve_bytes(room) {
            return false;
        }
        self.finish(room, u64::from(FLAG_PADDING) << 32, self.next);
        true
    }

    /// Completes the frame at the position; `after` is the sequence of the frame that follows.
    #[inline(always)]
    fn finish(&mut self, frame: usize, length_and_flags: u64, after: u64) {
        let offset = in_ring(&self.shape, self.position);
        let end = self.position.wrapping_add(frame as u64);
        // SAFETY: both frames' headers are in the ring and announced (`reserve_bytes`).
        unsafe {
            if self.memory.performs(Step::ClearNext) {
                // The stamp waited for there is `after + 1`. Ordered by `Stamp`, below.
                self.memory
                    .store_word_relaxed(in_ring(&self.shape, end), after);
            }
            self.memory.store_word_relaxed(offset + 8, length_and_flags);
        }
        if distance(end, self.unindexed) >= 0 {
            self.add_index_entries(end, after);
        }
        // Pairs with `SeeStamp`. Whoever sees the stamp sees the frame, the index entry and the
        // cleared word behind it.
        // SAFETY: as above.
        unsafe {
            self.memory
                .store_word_release(Site::Stamp, offset, self.next.wrapping_add(1))
        };
        self.position = end;
        self.next = after;
    }

    /// Has the next `bytes`, and the stamp after them, announced.
    #[inline(always)]
    fn reserve_bytes(&mut self, bytes: usize) -> bool {
        let end = self.position.wrapping_add((bytes + FRAME_HEADER) as u64);
        distance(end, self.claimed) <= 0 || self.announce(end)
    }

    /// Says what is about to be overwritten: at least up to `end`, and at least a block.
    #[cold]
    fn announce(&mut self, end: u64) -> bool {
        let mut claimed = later(self.position.wrapping_add(self.shape.block), end);
        if self.shape.lossless {
            if distance(end, self.limit) > 0 {
                return false;
            }
            claimed = earlier(claimed, self.limit);
        }
        // Pairs with `FindFront`, `FindOldest`. Who finds its way by them sees the frames and the index
        // entries stored before.
        self.settle();
        self.memory
            .store_release(Site::Publish, Field::Claimed, claimed);
        // Pairs with `Validate`, `ValidateEntry`. Whoever has seen a word of the overwriting sees the announcement.
        self.memory.fence_release(Site::Announce);
        self.claimed = claimed;
        true
    }

    /// Records how far the ring is written.
    pub fn settle(&mut self) {
        // Pairs with `FindFront`.
        self.memory
            .store_release(Site::Publish, Field::PublishedSequence, self.next);
        self.memory
            .store_release(Site::Publish, Field::Published, self.position);
    }

    /// Enters the frame at `end` in the index, for each block that begins before or with it. A
    /// long message may pass several.
    #[cold]
    fn add_index_entries(&mut self, end: u64, sequence: u64) {
        while distance(end, self.unindexed) >= 0 {
            let word = entry(&self.shape, self.unindexed);
            // These overwrite the entry of the lap before, whose block the announcement covers:
            // that is how `VariableReader::block` tells. Pairs with `ValidateEntry`.
            // SAFETY: an entry is in the index.
            unsafe {
                self.memory.store_index_relaxed(word, end);
                self.memory.store_index_relaxed(word + 1, sequence);
            }
            self.unindexed = self.unindexed.wrapping_add(self.shape.block);
        }
    }
}
