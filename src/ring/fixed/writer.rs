//! The producer's side.

use super::{committed, slot, CACHE_LINE, PREFETCH_BYTES, PREFETCH_MAX};
use crate::format::data_file::SLOT_HEADER;
use crate::ring::flow_control::{self, SlotCursors, WriterState};
use crate::ring::memory::{Field, Memory, Site};
use crate::ring::types::{distance, earlier, Damage, Shape};

/// The producer's side.
#[derive(Debug)]
pub struct FixedWriter<M> {
    memory: M,
    shape: Shape,
    /// The sequence pushed next, and where its slot is; the end of the ring stands for its start.
    ///
    /// It is counted on, not computed: a push and a pop took 3 more of 40 instructions each, and
    /// the time of two products, with a mask and a multiplication.
    next: u64,
    offset: usize,
    /// `next..run_end` may be written without further ado: it is announced, and does not go past the end
    /// of the ring.
    run_end: u64,
    /// The first sequence not announced.
    claimed: u64,
    /// Lossless: how far may be announced.
    limit: u64,
}

impl<M: Memory> FixedWriter<M> {
    /// Prepares the ring of a new file.
    pub fn format(memory: &M, shape: &Shape) {
        // Pairs with `FindFront` and `FindOldest`. No process opens the file before it has its name.
        memory.store_release(Site::Publish, Field::Published, shape.first);
        memory.store_release(Site::Publish, Field::Claimed, shape.first);
        memory.store_release(Site::Publish, Field::Limit, shape.first);
        if shape.first != 0 {
            // Zero might be a stamp that is waited for: give each slot that of the lap before.
            for i in 0..shape.capacity {
                let sequence = shape.first.wrapping_add(i);
                let before = sequence.wrapping_add(1).wrapping_sub(shape.capacity);
                // SAFETY: a slot is in the ring.
                unsafe { memory.store_word_relaxed(slot(shape, sequence), before) };
            }
        }
    }

    /// Goes on where the last producer ended, wherever that was.
    pub fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        let published = memory.load_relaxed(Field::Published);
        let claimed = memory.load_relaxed(Field::Claimed);
        if claimed.wrapping_sub(published) > shape.block {
            return Err(Damage("claimed and published"));
        }
        // Nobody writes: the last producer is dead, and this one has not begun.
        let next = committed(&memory, &shape, published, claimed);
        // The overwriting of what the last producer announced goes on, in another process: its fence
        // counts for its own stores only. Pairs with `Validate`.
        memory.fence_release(Site::TakeOver);
        // What was announced stays announced, for it may have been overwritten.
        Ok(FixedWriter {
            memory,
            shape,
            next,
            offset: slot(&shape, next),
            run_end: next,
            claimed,
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

    /// Makes the next slot writable and gives its payload's offset; `None` if the limit is in the
    /// way ([`FixedWriter::extend`]).
    #[inline(always)]
    pub fn reserve(&mut self) -> Option<usize> {
        if !self.can_copy_next() && !self.reserve_run() {
            return None;
        }
        Some(self.offset + SLOT_HEADER)
    }

    /// Makes the next slots writable, a block of them or up to the end of the ring; `false` if the
    /// limit is in the way.
    #[cold]
    #[inline(never)]
    fn reserve_run(&mut self) -> bool {
        if self.next == self.claimed && !self.announce() {
            return false;
        }
        if self.offset == self.shape.bytes {
            self.offset = 0;
        }
        let lap = self.next | (self.shape.capacity - 1);
        self.run_end = earlier(self.claimed, lap.wrapping_add(1));
        true
    }

    /// Lossless: looks how far the consumers are. Whether that made room.
    #[cold]
    pub fn extend(&mut self, seats: &impl SlotCursors) -> bool {
        let front = self.front();
        self.limit = flow_control::raise_limit(&self.memory, &self.shape, seats, front);
        distance(self.limit, front.end) >= 0
    }

    /// Where the producer stands.
    pub fn front(&self) -> WriterState {
        WriterState {
            next: self.next,
            claimed: self.claimed,
            end: self.next.wrapping_add(1),
            limit: self.limit,
        }
    }

    /// Gives the reserved slot to the consumers.
    #[inline(always)]
    pub fn commit(&mut self) {
        let stamp = self.next.wrapping_add(1);
        // SAFETY: a slot is in the ring.
        unsafe { store_stamp(&self.memory, self.offset, stamp) };
        self.next = stamp;
        self.offset += self.shape.stride;
    }

    /// Whether the next push takes nothing but a copy ([`FixedWriter::copy_next`]).
    #[inline(always)]
    pub fn can_copy_next(&self) -> bool {
        self.next != self.run_end
    }

    /// Whether what is ready ends at this sequence or before. Of [`FixedWriter::next`], and of any number
    /// above it, this is true if the writer is not ready; in a lap where sequences wrap it is true throughout.
    #[inline(always)]
    pub fn ends_run(&self, sequence: u64) -> bool {
        sequence >= self.run_end
    }

    /// Pushes one message of at most [`SHORT`](crate::format::data_file::SHORT) bytes.
    ///
    /// # Safety
    /// The writer is ready, and `from` is readable for the message size, which is `length`.
    #[inline(always)]
    pub unsafe fn copy_next(&mut self, from: *const u8, length: usize) {
        debug_assert!(self.can_copy_next());
        // Copies of what the copy, which the compiler cannot see into, might change for all it knows.
        let (memory, offset, stamp) = (self.memory.clone(), self.offset, self.next.wrapping_add(1));
        memory.prefetch_for_write::<PREFETCH_BYTES>(offset);
        // SAFETY: a slot is in the ring, with room for a message rounded up to words.
        unsafe {
            memory.write_short(offset, from, length);
            store_stamp(&memory, offset, stamp);
        }
        self.next = stamp;
        self.offset = offset + self.shape.stride;
    }

    /// As [`FixedWriter::copy_next`] if the writer is ready; `false` where it is not and
    /// [`FixedWriter::push`] has more to do.
    ///
    /// # Safety
    /// `from` is readable for the message size, which is `length`.
    #[inline(always)]
    pub unsafe fn try_fast(&mut self, from: *const u8, length: usize) -> bool {
        if self.can_copy_next() {
            // SAFETY: the caller's promise.
            unsafe { self.copy_next(from, length) };
            return true;
        }
        false
    }

    /// Pushes messages of at most [`SHORT`](crate::format::data_file::SHORT) bytes that lie `stride` bytes
    /// apart, for as long as that takes nothing else; how many.
    ///
    /// # Safety
    /// `count` messages of the message size are readable.
    #[inline(always)]
    pub unsafe fn try_fast_run(&mut self, from: *const u8, stride: usize, count: usize) -> usize {
        let count = count.min(self.run_end.wrapping_sub(self.next) as usize);
        by_size!(self.shape.message, length => {
            let (memory, slot) = (self.memory.clone(), self.shape.stride);
            let (mut from, mut offset, mut stamp) = (from, self.offset, self.next);
            for _ in 0..count {
                stamp = stamp.wrapping_add(1);
                memory.prefetch_for_write::<PREFETCH_BYTES>(offset);
                // SAFETY: a slot is in the ring; a message is readable, says the caller.
                unsafe {
                    memory.write_short(offset, from, length);
                    store_stamp(&memory, offset, stamp);
                }
                from = from.wrapping_add(stride);
                offset += slot;
            }
            (self.offset, self.next) = (offset, stamp);
        });
        count
    }

    /// Pushes one message; `false` if the limit is in the way.
    ///
    /// # Safety
    /// `from` is readable for the message size.
    #[inline(always)]
    pub unsafe fn push(&mut self, from: *const u8) -> bool {
        let Some(offset) = self.reserve() else {
            return false;
        };
        if self.shape.message <= PREFETCH_MAX {
            let after = offset + self.shape.stride;
            (after..after + self.shape.message)
                .step_by(CACHE_LINE)
                .for_each(|line| self.memory.prefetch_for_write::<0>(line));
        }
        // SAFETY: a slot is in the ring, with room for a message rounded up to words.
        unsafe { self.memory.write(offset, from, self.shape.message) };
        self.commit();
        true
    }

    /// Says what is about to be overwritten: once a block, so that the line this is written to
    /// stays in every consumer's cache.
    fn announce(&mut self) -> bool {
        let mut claimed = self.next.wrapping_add(self.shape.block);
        if self.shape.lossless {
            claimed = earlier(claimed, self.limit);
            if claimed == self.next {
                return false;
            }
        }
        // The first pairs with `FindFront`. Who finds its way by them sees the stamps stored before.
        self.settle();
        self.memory
            .store_release(Site::Publish, Field::Claimed, claimed);
        // Pairs with `Validate`. Whoever has seen a word of the overwriting sees the announcement.
        self.memory.fence_release(Site::Announce);
        self.claimed = claimed;
        true
    }

    /// Records how far the ring is written.
    pub fn settle(&mut self) {
        // Pairs with `FindFront`.
        self.memory
            .store_release(Site::Publish, Field::Published, self.next);
    }
}

/// Gives a slot to the consumers.
///
/// # Safety
/// It is in the ring, and `memory` is the producer's.
#[inline(always)]
unsafe fn store_stamp<M: Memory>(memory: &M, offset: usize, stamp: u64) {
    // Pairs with `SeeStamp`. Whoever sees the stamp sees the payload.
    // SAFETY: the caller's promise.
    unsafe { memory.store_word_release(Site::Stamp, offset, stamp) };
}
