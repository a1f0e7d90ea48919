//! The consumer's side.

use super::{committed, slot, CACHE_LINE, MAX_RUN, PREFETCH_BYTES, PREFETCH_MAX};
use crate::format::data_file::SLOT_HEADER;
use crate::ring::flow_control;
use crate::ring::frame_reader::{FrameReader, Place, Poll, Seek};
use crate::ring::memory::{Field, Memory, Site, Step};
use crate::ring::types::{distance, earlier, Damage, Shape};

/// A consumer's side.
#[derive(Debug, Clone)]
pub struct FixedReader<M> {
    memory: M,
    shape: Shape,
    next: u64,
    /// Where its slot is; the end of the ring stands for its start.
    offset: usize,
    /// With a seat, if `claimed` is further ahead of a message than this, then the producer may soon
    /// have to wait for it. Without one, it never is.
    slack: u64,
    /// If `claimed` is so far ahead of a message, then the one `PREFETCH_BYTES` bytes on is there too.
    prefetch_distance: u64,
}

impl<M: Memory> FixedReader<M> {
    /// At the first message ever.
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

    /// Asks for the message after the next, if it is surely there.
    #[inline(always)]
    fn prefetch_next(&self) {
        if self.shape.message > PREFETCH_MAX {
            return;
        }
        let lead = self
            .memory
            .load_relaxed(Field::Claimed)
            .wrapping_sub(self.next);
        if lead > self.shape.block.wrapping_add(1) {
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

    /// Copies the next messages, up to `count` of at most [`SHORT`](crate::format::data_file::SHORT) bytes, each to
    /// a place `stride` bytes after the last, and consumes them. Returns how many: fewer where there
    /// is anything else to do or to say.
    ///
    /// # Safety
    /// `to` is writable for the message size at each place.
    #[inline(always)]
    pub unsafe fn copy_run(&mut self, to: *mut u8, stride: usize, count: usize) -> usize {
        by_size!(self.shape.message, length => {
            let (memory, slot, end) = (self.memory.clone(), self.shape.stride, self.shape.bytes);
            let (mut to, mut offset, mut next) = (to, self.offset, self.next);
            // Only what is surely there is asked for: the line that is being written stays with
            // the producer. A hint, so this need not be in any order.
            let there = memory.load_relaxed(Field::Claimed).wrapping_sub(self.prefetch_distance);
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
                if distance(there, next) > 0 {
                    memory.prefetch_for_read::<PREFETCH_BYTES>(offset);
                }
                // SAFETY: a slot is in the ring, and `to` is writable, says the caller.
                unsafe { memory.read_short(offset, to, length) };
                to = to.wrapping_add(stride);
                offset += slot;
                next = next.wrapping_add(1);
                copied += 1;
            }
            // The first is the first to be overwritten: if that is intact, so are the others.
            if copied == 0 || self.distance_to_claimed().is_none() {
                return 0;
            }
            (self.offset, self.next) = (offset, next);
            copied
        })
    }

    /// After all that was read from this position on: how far `claimed` is ahead of it, if that
    /// was not overwritten.
    #[inline(always)]
    fn distance_to_claimed(&self) -> Option<u64> {
        // Pairs with `Announce`.
        self.memory.fence_acquire(Site::Validate);
        let lead = self
            .memory
            .load_relaxed(Field::Claimed)
            .wrapping_sub(self.next);
        (lead <= self.shape.capacity || !self.memory.performs(Step::IsValid)).then_some(lead)
    }

    /// Copies the next message, of at most [`SHORT`](crate::format::data_file::SHORT) bytes, and consumes it; `None`
    /// where there is anything else to do or to say. Else, whether the producer may soon have to wait
    /// for this consumer.
    ///
    /// # Safety
    /// `to` is writable for the message size.
    #[inline(always)]
    pub unsafe fn copy_next(&mut self, to: *mut u8) -> Option<bool> {
        // Copies of what the copy, which the compiler cannot see into, might change for all it knows.
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
        // SAFETY: a slot is in the ring, and `to` is writable, says the caller.
        unsafe { memory.read_short(offset, to, self.shape.message) };
        let lead = self.distance_to_claimed()?;
        // Not the line that is being written: it stays with the producer.
        if lead > self.prefetch_distance {
            memory.prefetch_for_read::<PREFETCH_BYTES>(offset);
        }
        self.next = after;
        self.offset = offset + self.shape.stride;
        Some(lead > self.slack)
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
    fn poll(&mut self) -> Result<Poll, Damage> {
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
            return Ok(Poll::Ready(Place {
                offset: self.offset + SLOT_HEADER,
                length: self.shape.message,
            }));
        }
        if ahead < 0 {
            return Ok(Poll::Empty);
        }
        // A later lap's stamp. Its store came after the announcement, which is seen therefore.
        match self.intact() {
            false => Ok(Poll::Lapped),
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
        // Not to the very oldest, which is overwritten next: a consumer that went there was
        // lapped again at once, and received 1 % of the messages where this way gives it half.
        // With a seat, the oldest is there until this consumer gives it up.
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
        // Pairs with `Publish`, for the stamps below `published`, and `Stamp`, for those found.
        self.memory.fence_acquire(Site::FindFront);
        // What this consumer has seen is there, even if the loads were older.
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
