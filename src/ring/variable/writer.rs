//! The writer of this framing.

use super::{entry, frame_bytes, in_ring, VariableReader};
use crate::format::data_file::{FLAG_PADDING, FRAME_HEADER};
use crate::ring::flow_control::{self, SlotCursors, WriterState};
use crate::ring::frame_writer::FrameWriter;
use crate::ring::memory::{Field, Memory, Site, Step};
use crate::ring::types::{distance, earlier, later, Damage, Shape};

/// The writer of this framing.
#[derive(Debug)]
pub struct VariableWriter<M> {
    memory: M,
    shape: Shape,
    /// The sequence of the next message.
    next: u64,
    /// The position of its frame, or of the padding before it.
    position: u64,
    /// The first position that is not announced.
    claimed: u64,
    /// The start of the first block without an index entry.
    unindexed: u64,
    /// Lossless: the first position that must not be announced yet.
    limit: u64,
}

impl<M: Memory> VariableWriter<M> {
    /// Fills the `room` bytes up to the end of the ring.
    #[cold]
    fn pad(&mut self, room: usize) -> bool {
        if !self.reserve_bytes(room) {
            return false;
        }
        self.finish(room, u64::from(FLAG_PADDING) << 32, self.next);
        true
    }

    /// Completes and publishes the frame at the position. `after` is the sequence of the next
    /// frame.
    #[inline(always)]
    fn finish(&mut self, frame: usize, length_and_flags: u64, after: u64) {
        let offset = in_ring(&self.shape, self.position);
        let end = self.position.wrapping_add(frame as u64);
        // SAFETY: the headers of both frames are in the ring and announced (`reserve_bytes`).
        unsafe {
            if self.memory.performs(Step::ClearNext) {
                // A consumer there waits for the stamp `after + 1`. `Stamp`, below, orders this
                // store.
                self.memory
                    .store_word_relaxed(in_ring(&self.shape, end), after);
            }
            self.memory.store_word_relaxed(offset + 8, length_and_flags);
        }
        if distance(end, self.unindexed) >= 0 {
            self.add_index_entries(end, after);
        }
        // Pairs with `SeeStamp`. A consumer that sees the stamp sees the frame, the index entry and
        // the cleared word after the frame.
        // SAFETY: as above.
        unsafe {
            self.memory
                .store_word_release(Site::Stamp, offset, self.next.wrapping_add(1))
        };
        self.position = end;
        self.next = after;
    }

    /// Makes sure that the next `bytes`, and the stamp after them, are announced. Returns `false`
    /// if the limit does not allow it.
    #[inline(always)]
    fn reserve_bytes(&mut self, bytes: usize) -> bool {
        let end = self.position.wrapping_add((bytes + FRAME_HEADER) as u64);
        distance(end, self.claimed) <= 0 || self.announce(end)
    }

    /// Announces what is about to be overwritten: at least the bytes up to `end`, and a block if
    /// the limit allows it.
    #[cold]
    fn announce(&mut self, end: u64) -> bool {
        let mut claimed = later(self.position.wrapping_add(self.shape.block), end);
        if self.shape.lossless {
            if distance(end, self.limit) > 0 {
                return false;
            }
            claimed = earlier(claimed, self.limit);
        }
        // Pairs with `FindFront` and `FindOldest`. A consumer that starts at these words sees the
        // frames and index entries that were stored before.
        self.settle();
        self.memory
            .store_release(Site::Publish, Field::Claimed, claimed);
        // Pairs with `Validate` and `ValidateEntry`. A consumer that has seen a word of the
        // overwriting sees the announcement.
        self.memory.fence_release(Site::Announce);
        self.claimed = claimed;
        true
    }

    /// Adds the frame at `end` to the index, for each block that begins before it or with it. A
    /// long message may span several blocks.
    #[cold]
    fn add_index_entries(&mut self, end: u64, sequence: u64) {
        while distance(end, self.unindexed) >= 0 {
            let word = entry(&self.shape, self.unindexed);
            // This overwrites the entry of the lap before. The announcement covers the block of
            // that entry, which is how `VariableReader::block` notices. Pairs with `ValidateEntry`.
            // SAFETY: an entry is in the index.
            unsafe {
                self.memory.store_index_relaxed(word, end);
                self.memory.store_index_relaxed(word + 1, sequence);
            }
            self.unindexed = self.unindexed.wrapping_add(self.shape.block);
        }
    }
}

impl<M: Memory> FrameWriter for VariableWriter<M> {
    type Memory = M;

    fn format(memory: &M, shape: &Shape) {
        let position = shape.first_position();
        // Pairs with `FindFront` and `FindOldest`. No process opens the file before it has its
        // name.
        memory.store_release(Site::Publish, Field::Published, position);
        memory.store_release(Site::Publish, Field::PublishedSequence, shape.first);
        memory.store_release(Site::Publish, Field::Claimed, position);
        memory.store_release(Site::Publish, Field::Limit, position);
        // SAFETY: an entry is in the index, and the first word is in the ring.
        unsafe {
            memory.store_index_relaxed(entry(shape, position), position);
            memory.store_index_relaxed(entry(shape, position) + 1, shape.first);
            // Any value other than the stamp of the first message.
            memory.store_word_relaxed(in_ring(shape, position), shape.first);
        }
    }

    fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        let published = memory.load_relaxed(Field::Published);
        let claimed = memory.load_relaxed(Field::Claimed);
        let mut probe = VariableReader::new(memory.clone(), shape);
        // No process writes now. The last producer has ended, and this one has not begun.
        let Some((position, next)) = probe.walk()? else {
            return Err(Damage("block index"));
        };
        // The last producer may have announced a longer message than this one writes next.
        let ahead = claimed.wrapping_sub(position);
        if position.wrapping_sub(published) > shape.capacity || ahead > shape.capacity {
            return Err(Damage("claimed and published"));
        }
        // This producer continues the overwriting that the last one announced. The fence of that
        // process orders only its own stores. Pairs with `Validate` and `ValidateEntry`.
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

    fn memory(&self) -> &M {
        &self.memory
    }

    #[inline(always)]
    fn next(&self) -> u64 {
        self.next
    }

    #[inline]
    fn reserve(&mut self, length: usize) -> Option<usize> {
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

    #[cold]
    fn extend(&mut self, slots: &impl SlotCursors, length: usize) -> bool {
        let front = self.front(length);
        self.limit = flow_control::raise_limit(&self.memory, &self.shape, slots, front);
        distance(self.limit, front.end) >= 0
    }

    fn front(&self, length: usize) -> WriterState {
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

    #[inline]
    fn commit(&mut self, length: usize) {
        self.finish(
            frame_bytes(length),
            length as u64,
            self.next.wrapping_add(1),
        );
    }

    #[inline]
    unsafe fn push(&mut self, from: *const u8, length: usize) -> bool {
        let Some(offset) = self.reserve(length) else {
            return false;
        };
        // SAFETY: the frame was reserved, and is whole words.
        unsafe { self.memory.write(offset, from, length) };
        self.commit(length);
        true
    }

    fn settle(&mut self) {
        // Pairs with `FindFront`.
        self.memory
            .store_release(Site::Publish, Field::PublishedSequence, self.next);
        self.memory
            .store_release(Site::Publish, Field::Published, self.position);
    }
}
