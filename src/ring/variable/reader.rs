//! The reader of this framing.

use super::{entry, frame_bytes, in_ring};
use crate::format::data_file::{FLAG_PADDING, FRAME_HEADER};
use crate::ring::flow_control;
use crate::ring::frame_reader::{
    Found, FrameReader, Place, ProducerWatch, Seek, MAX_JOIN_TRIES, MAX_RETRIES,
};
use crate::ring::memory::{Field, Memory, Site, Step};
use crate::ring::types::{distance, earlier, Damage, Shape};

/// The reader of this framing.
#[derive(Debug, Clone)]
pub struct VariableReader<M> {
    memory: M,
    shape: Shape,
    next: u64,
    position: u64,
}

impl<M: Memory> VariableReader<M> {
    /// A reader at the first message.
    pub fn new(memory: M, shape: Shape) -> Self {
        VariableReader {
            memory,
            shape,
            next: shape.first,
            position: shape.first_position(),
        }
    }

    #[inline(always)]
    fn is_retained(&self, position: u64) -> bool {
        let claimed = self.memory.load_relaxed(Field::Claimed);
        claimed.wrapping_sub(position) <= self.shape.capacity
    }

    /// The oldest retained position, plus `margin` if the ring has been filled once. With a slot,
    /// the oldest message stays, so it needs no margin.
    fn retained(&self, margin: u64) -> u64 {
        let oldest = flow_control::retained(self);
        if self.shape.lossless || oldest == self.shape.first_position() {
            oldest
        } else {
            oldest.wrapping_add(margin)
        }
    }

    fn block_of(&self, position: u64) -> u64 {
        position & !(self.shape.block - 1)
    }

    /// The start of the first block at or after a position.
    fn block_from(&self, position: u64) -> u64 {
        self.block_of(position.wrapping_add(self.shape.block - 1))
    }

    /// The position and sequence of the first frame at or after the start of a block. The caller
    /// has found the block by `claimed` or `published` and issued the fence after it. Returns
    /// `None` if the frame was overwritten.
    fn block(&self, start: u64) -> Result<Option<(u64, u64)>, Damage> {
        let word = entry(&self.shape, start);
        // SAFETY: an entry is in the index.
        let (position, sequence) = unsafe {
            (
                self.memory.load_index_relaxed(word),
                self.memory.load_index_relaxed(word + 1),
            )
        };
        // Pairs with `Announce` and `TakeOver`. If either word were of a later lap, the consumer
        // would see the announcement of a frame after the next incarnation of this block.
        self.memory.fence_acquire(Site::ValidateEntry);
        if !self.is_retained(start) {
            return Ok(None);
        }
        let behind = position.wrapping_sub(start);
        if position % FRAME_HEADER as u64 != 0 || behind > self.shape.capacity {
            return Err(Damage("block index"));
        }
        Ok(Some((position, sequence)))
    }

    /// The position and sequence of the next frame that the producer writes. It is found from the
    /// last published block, or from the own position if that is nearer. Returns `None` if the
    /// producer ran while this function looked.
    pub(super) fn walk(&mut self) -> Result<Option<(u64, u64)>, Damage> {
        let published = self.memory.load_relaxed(Field::Published);
        // Pairs with `Publish`, which orders the index entries of the earlier blocks and the
        // frames.
        self.memory.fence_acquire(Site::FindFront);
        let last = self.block_of(published);
        if distance(self.position, last) < 0 {
            match self.block(last)? {
                Some((_, sequence)) if distance(sequence, self.next) < 0 => {
                    return Err(Damage("block index"));
                }
                Some((position, sequence)) => {
                    (self.position, self.next) = (position, sequence);
                }
                None => return Ok(None),
            }
        }
        // The front is before the announced end, so at most the frames that fit in between are
        // walked. Frames that the producer adds after this load need not be seen.
        let announced = self
            .memory
            .load_relaxed(Field::Claimed)
            .wrapping_sub(self.position);
        if announced > self.longest_walk() {
            return Ok(None);
        }
        for _ in 0..=announced / FRAME_HEADER as u64 {
            match self.poll()? {
                Found::Ready(place) if self.intact() => self.advance(place),
                Found::Empty => break,
                _ => return Ok(None),
            }
        }
        Ok(Some((self.position, self.next)))
    }

    /// The most bytes that a walk from the start of the last published block may need. The front is
    /// before the announced end. That end is at most a block, or the longest message if that is
    /// longer, after the published position. The published position is in this block or in the next
    /// one.
    fn longest_walk(&self) -> u64 {
        2 * self.shape.block
            + self
                .shape
                .block
                .max(self.shape.capacity / 8 + 2 * FRAME_HEADER as u64)
    }

    /// The position and sequence of the next frame that the producer writes.
    pub fn front(&self) -> Result<(u64, u64), Damage> {
        let mut probe = self.clone();
        for _ in 0..MAX_RETRIES {
            if let Some(front) = probe.walk()? {
                return Ok(front);
            }
        }
        // The producer laps faster than this consumer can follow, so this is the state as of its
        // last block.
        let position = self.memory.load_relaxed(Field::Published);
        let sequence = self.memory.load_relaxed(Field::PublishedSequence);
        // Pairs with `Publish`, for a caller that uses the result.
        self.memory.fence_acquire(Site::FindFront);
        Ok(if distance(sequence, self.next) < 0 {
            (self.position, self.next)
        } else {
            (position, sequence)
        })
    }

    /// The margin after this many tries that a running producer has made fail. The next
    /// announcement overwrites the oldest block itself, but not the next half of the ring.
    fn margin(&self, tries: u64) -> u64 {
        self.shape.capacity / 16 * tries.min(8)
    }

    /// The first frame at or after `from` at which a consumer can begin. That is the first frame of
    /// a block. With a slot it is the very first frame if possible, because the only message may be
    /// the one at `from`.
    fn find_start(&self, from: u64) -> Result<Option<(u64, u64)>, Damage> {
        let next = self.block_from(from);
        if !self.shape.lossless {
            return self.block(next);
        }
        let published = self.memory.load_relaxed(Field::Published);
        // Pairs with `Publish`, which orders the index entries of the blocks up to there.
        self.memory.fence_acquire(Site::FindFront);
        if let Some(begin) = self.block(self.block_of(earlier(from, published)))? {
            let mut probe = self.at(begin.0, begin.1);
            if from.wrapping_sub(begin.0) as i64 > self.longest_walk() as i64 {
                return Ok(None);
            }
            for _ in 0..=self.longest_walk() / FRAME_HEADER as u64 {
                // The poll comes first, because everything before `from` may be padding.
                let found = probe.poll()?;
                if distance(probe.position, from) >= 0 {
                    return Ok(Some((probe.position, probe.next)));
                }
                match found {
                    Found::Ready(place) if probe.intact() => probe.advance(place),
                    _ => break,
                }
            }
        }
        // The block that contains `from` is being overwritten, so the front is far beyond it.
        match distance(next, published) {
            ..=0 => self.block(next),
            _ => Ok(None),
        }
    }

    fn at(&self, position: u64, next: u64) -> Self {
        VariableReader {
            memory: self.memory.clone(),
            shape: self.shape,
            next,
            position,
        }
    }
}

impl<M: Memory> FrameReader for VariableReader<M> {
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
        self.position
    }

    #[inline]
    fn poll(&mut self) -> Result<Found, Damage> {
        // At most twice: once for padding, and once for the frame at the start of the ring.
        loop {
            let offset = in_ring(&self.shape, self.position);
            let room = self.shape.capacity as usize - offset;
            // SAFETY: a frame header is in the ring, because frames are on 16-byte boundaries.
            let stamp = unsafe { self.memory.load_word_relaxed(offset) };
            if stamp != self.next.wrapping_add(1) {
                // This is the front, or any word of a later lap. `intact` decides.
                return Ok(if self.intact() {
                    Found::Empty
                } else {
                    Found::Lapped
                });
            }
            // Pairs with `Stamp`.
            self.memory.fence_acquire(Site::SeeStamp);
            // SAFETY: as above.
            let word = unsafe { self.memory.load_word_relaxed(offset + 8) };
            let (length, flags) = (word as u32 as usize, (word >> 32) as u32);
            // The payload is in bounds, so it can be copied. Validation decides whether the length
            // is right.
            if flags == 0 && length <= self.shape.message && frame_bytes(length) <= room {
                return Ok(Found::Ready(Place {
                    offset: offset + FRAME_HEADER,
                    length,
                }));
            }
            if !self.intact() {
                return Ok(Found::Lapped);
            }
            if flags != FLAG_PADDING || offset == 0 {
                return Err(Damage("frame"));
            }
            self.position = self.position.wrapping_add(room as u64);
        }
    }

    #[inline(always)]
    fn intact(&self) -> bool {
        // Pairs with `Announce` and `TakeOver`.
        self.memory.fence_acquire(Site::Validate);
        self.is_retained(self.position) || !self.memory.performs(Step::IsValid)
    }

    #[inline(always)]
    fn advance(&mut self, place: Place) {
        self.position = self.position.wrapping_add(frame_bytes(place.length) as u64);
        self.next = self.next.wrapping_add(1);
    }

    fn catch_up(&mut self) -> Result<Option<u64>, Damage> {
        for _ in 0..MAX_RETRIES {
            let from = self.retained(self.shape.capacity / 8);
            // Pairs with `Publish`, which orders the index entries of the blocks before `claimed`.
            self.memory.fence_acquire(Site::FindOldest);
            let Some((position, sequence)) = self.find_start(from)? else {
                continue;
            };
            let lost = distance(sequence, self.next);
            // It is zero if only padding was overwritten.
            if lost < 0 || distance(position, self.position) <= 0 {
                return Err(Damage("claimed went back"));
            }
            (self.position, self.next) = (position, sequence);
            return Ok(Some(lost as u64));
        }
        Ok(None)
    }

    fn frontier(&self) -> Result<u64, Damage> {
        Ok(self.front()?.1)
    }

    fn oldest(&self) -> Result<u64, Damage> {
        let mut watch = ProducerWatch::new(&self.memory);
        for tries in 0..MAX_JOIN_TRIES {
            let from = self.retained(self.margin(tries));
            // Pairs with `Publish`, which orders the index entries of the blocks before `claimed`.
            self.memory.fence_acquire(Site::FindOldest);
            if let Some((_, sequence)) = self.find_start(from)? {
                return Ok(sequence);
            }
            if !watch.may_be_active(&self.memory) {
                break;
            }
        }
        Err(Damage("no stable block start"))
    }

    fn seek(&mut self, sequence: u64, tries: u64) -> Result<Seek, Damage> {
        if distance(sequence, self.shape.first) < 0 {
            return Ok(Seek::Beyond);
        }
        let mut probe = self.clone();
        let Some((front, last)) = probe.walk()? else {
            return Ok(Seek::Again);
        };
        if distance(sequence, last) > 0 {
            return Ok(Seek::Beyond);
        }
        if sequence == last {
            // The walk has found it in the same way as a producer does, so both agree even if the
            // index is damaged.
            (self.position, self.next) = (front, last);
            return Ok(Seek::Done { lost: 0 });
        }
        let from = self.retained(self.margin(tries));
        // Pairs with `Publish`, which orders the index entries of the blocks before `claimed`.
        self.memory.fence_acquire(Site::FindOldest);
        let Some(mut begin) = self.find_start(from)? else {
            return Ok(Seek::Again);
        };
        let mut low = self.block_of(begin.0);
        if distance(sequence, begin.1) <= 0 {
            (self.position, self.next) = begin;
            return Ok(Seek::Done {
                lost: distance(begin.1, sequence) as u64,
            });
        }
        // A binary search for the last block that begins with a frame at or before the wanted one.
        let mut high = self.block_of(front);
        while distance(high, low) > 0 {
            let blocks = high.wrapping_sub(low) / self.shape.block;
            let middle = low.wrapping_add(blocks.div_ceil(2) * self.shape.block);
            match self.block(middle)? {
                None => return Ok(Seek::Again),
                Some(found) if distance(found.1, sequence) <= 0 => (low, begin) = (middle, found),
                Some(_) => high = middle.wrapping_sub(self.shape.block),
            }
        }
        let mut probe = self.at(begin.0, begin.1);
        for _ in 0..=self.longest_walk() / FRAME_HEADER as u64 {
            if probe.next == sequence {
                (self.position, self.next) = (probe.position, probe.next);
                return Ok(Seek::Done { lost: 0 });
            }
            match probe.poll()? {
                Found::Ready(place) if probe.intact() => probe.advance(place),
                _ => return Ok(Seek::Again),
            }
        }
        Err(Damage("block index"))
    }
}
