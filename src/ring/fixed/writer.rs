//! The writer of this framing.

use super::{committed, slot, CACHE_LINE, PREFETCH_BYTES, PREFETCH_MAX};
use crate::format::data_file::SLOT_HEADER;
use crate::ring::flow_control::{self, SlotCursors, WriterState};
use crate::ring::frame_writer::FrameWriter;
use crate::ring::memory::{Field, Memory, Site};
use crate::ring::types::{distance, earlier, Damage, Shape};

/// The writer of this framing.
#[derive(Debug)]
pub struct FixedWriter<M> {
    memory: M,
    shape: Shape,
    /// The sequence of the next message.
    next: u64,
    /// The offset of its slot. The end of the ring stands for the start.
    ///
    /// It is incremented, not computed. Computing it with a mask and a multiply cost 3 extra
    /// instructions (of about 40) per push and per pop, plus the latency of the multiplies.
    offset: usize,
    /// The slots of `next..run_end` are announced and side by side in the ring, so that they need
    /// only a copy.
    run_end: u64,
    /// The first sequence that is not announced.
    claimed: u64,
    /// Lossless: the first sequence that must not be announced yet.
    limit: u64,
}

impl<M: Memory> FixedWriter<M> {
    /// Makes the next slots writable, up to a block of them and up to the end of the ring. Returns
    /// `false` if the limit does not allow it.
    #[cold]
    #[inline(never)]
    fn reserve_run(&mut self) -> bool {
        if self.next == self.claimed && !self.announce() {
            return false;
        }
        if self.offset == self.shape.bytes {
            self.offset = 0;
        }
        // The last sequence of this lap, because the capacity is a power of two.
        let lap = self.next | (self.shape.capacity - 1);
        self.run_end = earlier(self.claimed, lap.wrapping_add(1));
        true
    }

    /// Whether the next push needs only a copy ([`FixedWriter::copy_next`]).
    #[inline(always)]
    pub fn can_copy_next(&self) -> bool {
        self.next != self.run_end
    }

    /// Whether the run ends at this sequence or before it. This is true of [`FixedWriter::next`],
    /// and of every greater number, if the next push needs more than a copy. In the last run before
    /// sequences wrap, `run_end` is 0, and the result is always true. That only costs time.
    #[inline(always)]
    pub fn ends_run(&self, sequence: u64) -> bool {
        sequence >= self.run_end
    }

    /// Copies and publishes one message of at most [`SHORT`](crate::format::data_file::SHORT)
    /// bytes.
    ///
    /// # Safety
    /// [`FixedWriter::can_copy_next`] is true. `length` is the message size, and `from` is readable
    /// for that many bytes.
    #[inline(always)]
    pub unsafe fn copy_next(&mut self, from: *const u8, length: usize) {
        debug_assert!(self.can_copy_next());
        // Locals: the compiler must assume that the opaque copy modifies `self`.
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

    /// Pushes one message if that needs only a copy. Returns `false` if [`FixedWriter::push`] has
    /// more to do.
    ///
    /// # Safety
    /// `length` is the message size, and at most [`SHORT`](crate::format::data_file::SHORT). `from`
    /// is readable for that many bytes.
    #[inline(always)]
    pub unsafe fn try_fast(&mut self, from: *const u8, length: usize) -> bool {
        if self.can_copy_next() {
            // SAFETY: the caller's promise.
            unsafe { self.copy_next(from, length) };
            return true;
        }
        false
    }

    /// Pushes messages of at most [`SHORT`](crate::format::data_file::SHORT) bytes, `stride` bytes
    /// apart, while they need only a copy. Returns how many it has pushed.
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
                // SAFETY: a slot is in the ring. The message is readable, as the caller promises.
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

    /// Announces that the next block is about to be overwritten. The cache line that holds
    /// `claimed` is written once per block, so consumers keep it cached in between.
    fn announce(&mut self) -> bool {
        let mut claimed = self.next.wrapping_add(self.shape.block);
        if self.shape.lossless {
            claimed = earlier(claimed, self.limit);
            if claimed == self.next {
                return false;
            }
        }
        // `settle` pairs with `FindFront`. A consumer that starts at these words sees the stamps
        // that were stored before. The store of `claimed` pairs with `FindOldest`. A consumer that
        // sees it also sees the limit that allowed it.
        self.settle();
        self.memory
            .store_release(Site::Publish, Field::Claimed, claimed);
        // Pairs with `Validate`. A consumer that has seen a word of the overwriting sees the
        // announcement.
        self.memory.fence_release(Site::Announce);
        self.claimed = claimed;
        true
    }
}

impl<M: Memory> FrameWriter for FixedWriter<M> {
    type Memory = M;

    fn format(memory: &M, shape: &Shape) {
        // Pairs with `FindFront` and `FindOldest`. No process opens the file before it has its
        // name, so the release order is not needed. `Memory` has no relaxed store of a header word.
        memory.store_release(Site::Publish, Field::Published, shape.first);
        memory.store_release(Site::Publish, Field::Claimed, shape.first);
        memory.store_release(Site::Publish, Field::Limit, shape.first);
        if shape.first != 0 {
            // A new file is all zeroes, and 0 is the valid stamp of sequence u64::MAX. So give each
            // slot its previous lap's stamp.
            for i in 0..shape.capacity {
                let sequence = shape.first.wrapping_add(i);
                let before = sequence.wrapping_add(1).wrapping_sub(shape.capacity);
                // SAFETY: a slot is in the ring.
                unsafe { memory.store_word_relaxed(slot(shape, sequence), before) };
            }
        }
    }

    fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        // These loads see the last stores of the previous producer. It held the lock of this queue,
        // which the kernel released after these stores, at the latest when that process died.
        let published = memory.load_relaxed(Field::Published);
        let claimed = memory.load_relaxed(Field::Claimed);
        if claimed.wrapping_sub(published) > shape.block {
            return Err(Damage("claimed and published"));
        }
        // No process writes the ring now. The last producer has ended, and this one has not begun.
        let next = committed(&memory, &shape, published, claimed);
        // Pairs with `Validate`. This producer overwrites what the last one announced, and the
        // `Announce` fence of that process orders only its own stores. The load of `claimed` above
        // comes before this fence. So a consumer that has seen a word of the overwriting sees the
        // value of that load or a later one (read-read coherence).
        memory.fence_release(Site::TakeOver);
        // The announcement still stands, because those slots may have been overwritten.
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

    fn memory(&self) -> &M {
        &self.memory
    }

    #[inline(always)]
    fn next(&self) -> u64 {
        self.next
    }

    #[inline(always)]
    fn reserve(&mut self, _length: usize) -> Option<usize> {
        if !self.can_copy_next() && !self.reserve_run() {
            return None;
        }
        Some(self.offset + SLOT_HEADER)
    }

    #[cold]
    fn extend(&mut self, slots: &impl SlotCursors, length: usize) -> bool {
        let front = self.front(length);
        self.limit = flow_control::raise_limit(&self.memory, &self.shape, slots, front);
        distance(self.limit, front.end) >= 0
    }

    fn front(&self, _length: usize) -> WriterState {
        WriterState {
            next: self.next,
            claimed: self.claimed,
            end: self.next.wrapping_add(1),
            limit: self.limit,
        }
    }

    #[inline(always)]
    fn commit(&mut self, _length: usize) {
        let stamp = self.next.wrapping_add(1);
        // SAFETY: a slot is in the ring.
        unsafe { store_stamp(&self.memory, self.offset, stamp) };
        self.next = stamp;
        self.offset += self.shape.stride;
    }

    #[inline(always)]
    unsafe fn push(&mut self, from: *const u8, length: usize) -> bool {
        let Some(offset) = self.reserve(length) else {
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
        self.commit(length);
        true
    }

    fn settle(&mut self) {
        // Pairs with `FindFront`.
        self.memory
            .store_release(Site::Publish, Field::Published, self.next);
    }
}

/// Publishes the message in a slot.
///
/// # Safety
/// The slot is in the ring, and `memory` is the producer's.
#[inline(always)]
unsafe fn store_stamp<M: Memory>(memory: &M, offset: usize, stamp: u64) {
    // Pairs with `SeeStamp`. A consumer that sees the stamp sees the payload.
    // SAFETY: the caller's promise.
    unsafe { memory.store_word_release(Site::Stamp, offset, stamp) };
}
