//! The reader of this framing.

use super::{committed, slot, CACHE_LINE, MAX_RUN, PREFETCH_BYTES, PREFETCH_MAX};
use crate::format::data_file::SLOT_HEADER;
use crate::ring::flow_control;
use crate::ring::frame_reader::{Found, FrameReader, Place, Seek};
use crate::ring::memory::{Field, Memory, Site, Step};
use crate::ring::types::{distance, earlier, Damage, Shape};

/// The reader of this framing.
#[derive(Debug, Clone)]
pub struct FixedReader<M> {
    memory: M,
    shape: Shape,
    next: u64,
    /// The offset of the slot of `next`. The end of the ring stands for the start.
    offset: usize,
    /// With a slot: if `claimed` is further ahead of a message than this, the producer may soon
    /// wait for this consumer. Without a slot, it never is.
    slack: u64,
    /// If `claimed` is this far ahead of a message, the message `PREFETCH_BYTES` further is there,
    /// too.
    prefetch_distance: u64,
}

impl<M: Memory> FixedReader<M> {
    /// A reader at the first message.
    pub fn new(memory: M, shape: Shape) -> Self {
        let spare = if shape.lossless { 2 * shape.block } else { 0 };
        FixedReader {
            memory,
            shape,
            next: shape.first,
            offset: slot(&shape, shape.first),
            slack: shape.capacity - spare,
            prefetch_distance: shape.block + (PREFETCH_BYTES / shape.stride) as u64,
        }
    }

    /// Prefetches the message after the next one, if it is certainly there.
    #[inline(always)]
    fn prefetch_next(&self) {
        if self.shape.message > PREFETCH_MAX {
            return;
        }
        let ahead = self
            .memory
            .load_relaxed(Field::Claimed)
            .wrapping_sub(self.next);
        if ahead > self.shape.block.wrapping_add(1) {
            let after = self.offset + self.shape.stride;
            (after..after + self.shape.message)
                .step_by(CACHE_LINE)
                .for_each(|line| self.memory.prefetch_for_read::<0>(line));
        }
    }

    fn go_to(&mut self, sequence: u64) {
        self.next = sequence;
        self.offset = slot(&self.shape, sequence);
    }

    /// Copies up to `count` of the next messages, `stride` bytes apart, and consumes them. Each has
    /// at most [`SHORT`](crate::format::data_file::SHORT) bytes. Returns how many it has copied. It
    /// stops at a message that needs more than a copy.
    ///
    /// # Safety
    /// `to` is writable for the message size at each place.
    #[inline(always)]
    pub unsafe fn copy_run(&mut self, to: *mut u8, stride: usize, count: usize) -> usize {
        by_size!(self.shape.message, length => {
            let (memory, slot, end) = (self.memory.clone(), self.shape.stride, self.shape.bytes);
            let (mut to, mut offset, mut next) = (to, self.offset, self.next);
            // Only messages that are certainly there are prefetched, because the producer should
            // keep the line that it is writing. This is a hint, so its order does not matter.
            let available = memory.load_relaxed(Field::Claimed).wrapping_sub(self.prefetch_distance);
            let mut copied = 0;
            while copied < count.min(MAX_RUN) {
                if offset == end {
                    offset = 0;
                }
                // SAFETY: a slot is in the ring.
                if unsafe { memory.load_word_relaxed(offset) } != next.wrapping_add(1) {
                    break;
                }
                // Pairs with `Stamp`.
                memory.fence_acquire(Site::SeeStamp);
                if distance(available, next) > 0 {
                    memory.prefetch_for_read::<PREFETCH_BYTES>(offset);
                }
                // SAFETY: a slot is in the ring, and `to` is writable, as the caller promises.
                unsafe { memory.read_short(offset, to, length) };
                to = to.wrapping_add(stride);
                offset += slot;
                next = next.wrapping_add(1);
                copied += 1;
            }
            // The first message is the first to be overwritten. If it is intact, the others are.
            if copied == 0 || self.distance_to_claimed().is_none() {
                return 0;
            }
            (self.offset, self.next) = (offset, next);
            copied
        })
    }

    /// The distance from this position to `claimed`, or `None` if messages from this position on
    /// were overwritten. Call it after reading them.
    #[inline(always)]
    fn distance_to_claimed(&self) -> Option<u64> {
        // Pairs with `Announce` and `TakeOver`.
        self.memory.fence_acquire(Site::Validate);
        let ahead = self
            .memory
            .load_relaxed(Field::Claimed)
            .wrapping_sub(self.next);
        (ahead <= self.shape.capacity || !self.memory.performs(Step::IsValid)).then_some(ahead)
    }

    /// Copies the next message, of at most [`SHORT`](crate::format::data_file::SHORT) bytes, and
    /// consumes it. Returns whether the producer may soon wait for this consumer. Returns `None` if
    /// the message needs more than a copy.
    ///
    /// # Safety
    /// `to` is writable for the message size.
    #[inline(always)]
    pub unsafe fn copy_next(&mut self, to: *mut u8) -> Option<bool> {
        // Local copies, because the compiler cannot see into the copy, which might change `self`.
        let (memory, next, mut offset) = (self.memory.clone(), self.next, self.offset);
        if offset == self.shape.bytes {
            offset = 0;
        }
        let after = next.wrapping_add(1);
        // SAFETY: a slot is in the ring.
        if unsafe { memory.load_word_relaxed(offset) } != after {
            return None;
        }
        // Pairs with `Stamp`.
        memory.fence_acquire(Site::SeeStamp);
        // SAFETY: a slot is in the ring, and `to` is writable, as the caller promises.
        unsafe { memory.read_short(offset, to, self.shape.message) };
        let ahead = self.distance_to_claimed()?;
        // The producer should keep the line that it is writing.
        if ahead > self.prefetch_distance {
            memory.prefetch_for_read::<PREFETCH_BYTES>(offset);
        }
        self.next = after;
        self.offset = offset + self.shape.stride;
        Some(ahead > self.slack)
    }
}

impl<M: Memory> FrameReader for FixedReader<M> {
    type Memory = M;

    #[inline(always)]
    fn memory(&self) -> &M {
        &self.memory
    }

    fn shape(&self) -> &Shape {
        &self.shape
    }

    #[inline(always)]
    fn next(&self) -> u64 {
        self.next
    }

    #[inline(always)]
    fn cursor(&self) -> u64 {
        self.next
    }

    #[inline(always)]
    fn poll(&mut self) -> Result<Found, Damage> {
        if self.offset == self.shape.bytes {
            self.offset = 0;
        }
        // SAFETY: a slot is in the ring.
        let stamp = unsafe { self.memory.load_word_relaxed(self.offset) };
        let ahead = distance(stamp, self.next.wrapping_add(1));
        if ahead == 0 {
            // Pairs with `Stamp`.
            self.memory.fence_acquire(Site::SeeStamp);
            self.prefetch_next();
            return Ok(Found::Ready(Place {
                offset: self.offset + SLOT_HEADER,
                length: self.shape.message,
            }));
        }
        if ahead < 0 {
            return Ok(Found::Empty);
        }
        // The stamp of a later lap. It was stored after the announcement, so that is seen, too.
        match self.intact() {
            false => Ok(Found::Lapped),
            true => Err(Damage("a stamp from the future")),
        }
    }

    #[inline(always)]
    fn intact(&self) -> bool {
        self.distance_to_claimed().is_some()
    }

    #[inline(always)]
    fn advance(&mut self, _: Place) {
        self.next = self.next.wrapping_add(1);
        self.offset += self.shape.stride;
    }

    fn run_length(&self, most: u64) -> u64 {
        let after = self.next.wrapping_add(1);
        let lap = (self.next | (self.shape.capacity - 1)).wrapping_add(1);
        let end = earlier(
            self.next.wrapping_add(most.clamp(1, self.shape.capacity)),
            lap,
        );
        let found = committed(&self.memory, &self.shape, after, end);
        found.wrapping_sub(self.next)
    }

    #[inline(always)]
    fn advance_many(&mut self, _: Place, count: u64) {
        self.next = self.next.wrapping_add(count);
        self.offset += self.shape.stride * count as usize;
    }

    fn catch_up(&mut self) -> Result<Option<u64>, Damage> {
        // Not to the very oldest message, which is overwritten next. A consumer that moved there
        // was lapped again at once. It received 1 % of the messages, but with this margin half of
        // them. With a slot, the oldest message stays until this consumer gives it up.
        let margin = if self.shape.lossless {
            0
        } else {
            self.shape.capacity / 8
        };
        let to = flow_control::retained(self).wrapping_add(margin);
        match distance(to, self.next) {
            lost if lost > 0 => {
                self.go_to(to);
                Ok(Some(lost as u64))
            }
            _ => Err(Damage("claimed went back")),
        }
    }

    fn frontier(&self) -> Result<u64, Damage> {
        let published = self.memory.load_relaxed(Field::Published);
        let end = published.wrapping_add(self.shape.block);
        let found = committed(&self.memory, &self.shape, published, end);
        // Pairs with `Publish` for the stamps below `published`, and with `Stamp` for those that
        // were found.
        self.memory.fence_acquire(Site::FindFront);
        // Everything that this consumer has seen is there, even if these loads were older.
        Ok(if distance(found, self.next) < 0 {
            self.next
        } else {
            found
        })
    }

    fn oldest(&self) -> Result<u64, Damage> {
        Ok(flow_control::retained(self))
    }

    fn seek(&mut self, sequence: u64, _tries: u64) -> Result<Seek, Damage> {
        let before = distance(sequence, self.shape.first) < 0;
        if before || distance(sequence, self.frontier()?) > 0 {
            return Ok(Seek::Beyond);
        }
        let lost = distance(flow_control::retained(self), sequence).max(0) as u64;
        self.go_to(sequence.wrapping_add(lost));
        Ok(Seek::Done { lost })
    }
}
