//! The ring of messages of any length: frames `{stamp: u64, length: u32, flags: u32, payload}`.
//!
//! Frames follow each other on 16-byte boundaries, so that the frame header never lies across the
//! end of the ring and payloads are aligned for any C type. A message that does not fit before the
//! end of the ring is preceded by a padding frame, which carries the same stamp and no sequence.
//!
//! A consumer at the front looks at a word where any old payload may lie, and an old payload may
//! look like a stamp. So the stamp word of the *next* frame is cleared before this frame's is
//! stored, and the announcement covers that word too.
//!
//! The index has an entry for each block of the ring: the first frame that begins at or after the
//! start of the block. A consumer that joins, seeks or was lapped finds a frame by it.

use super::gate::{self, Front, Seats};
use super::{
    distance, earlier, later, Damage, Frames, Place, Poll, Rivals, Seek, Shape, JOIN_TRIES,
    PATIENCE,
};
use crate::layout::{FLAG_PADDING, FRAME_HEADER};
use crate::memory::{Field, Memory, Site};

/// Bytes of a frame with a payload of so many.
#[inline(always)]
const fn frame_bytes(length: usize) -> usize {
    (FRAME_HEADER + length + FRAME_HEADER - 1) & !(FRAME_HEADER - 1)
}

#[inline(always)]
fn in_ring(shape: &Shape, position: u64) -> usize {
    (position & (shape.capacity - 1)) as usize
}

/// The index word of the block that begins at `start`.
fn entry(shape: &Shape, start: u64) -> usize {
    (in_ring(shape, start) / shape.block as usize) * 2
}

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
        memory.publish(Site::Publish, Field::Published, position);
        memory.publish(Site::Publish, Field::PublishedSequence, shape.first);
        memory.publish(Site::Publish, Field::Claimed, position);
        memory.publish(Site::Publish, Field::Limit, position);
        // SAFETY: an entry is in the index, and the first word in the ring.
        unsafe {
            memory.set_index_word(entry(shape, position), position);
            memory.set_index_word(entry(shape, position) + 1, shape.first);
            // Anything but the stamp of the first message.
            memory.set_word(in_ring(shape, position), shape.first);
        }
    }

    /// Goes on where the last producer ended, wherever that was.
    pub fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        let published = memory.load(Field::Published);
        let claimed = memory.load(Field::Claimed);
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
        // counts for its own stores only. Partners: `Validate`, `ValidateEntry`.
        memory.fence(Site::TakeOver);
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
        if !self.cover(frame) {
            return None;
        }
        Some(offset + FRAME_HEADER)
    }

    /// Lossless: looks how far the consumers are. Whether that made room for a message.
    #[cold]
    pub fn extend(&mut self, seats: &impl Seats, length: usize) -> bool {
        let front = self.front(length);
        self.limit = gate::limit(&self.memory, &self.shape, seats, front);
        distance(self.limit, front.end) >= 0
    }

    /// Where the producer stands who has a message of this length.
    pub fn front(&self, length: usize) -> Front {
        let frame = frame_bytes(length);
        let room = self.shape.capacity as usize - in_ring(&self.shape, self.position);
        let padding = if frame > room { room } else { 0 };
        let bytes = padding + frame + FRAME_HEADER;
        Front {
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
        if !self.cover(room) {
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
        // SAFETY: both frames' headers are in the ring and announced (`cover`).
        unsafe {
            if self.memory.keeps(Site::ClearNext) {
                // The stamp waited for there is `after + 1`. Ordered by `Stamp`, below.
                self.memory.set_word(in_ring(&self.shape, end), after);
            }
            self.memory.set_word(offset + 8, length_and_flags);
        }
        if distance(end, self.unindexed) >= 0 {
            self.enter(end, after);
        }
        // Partner: `SeeStamp`. Whoever sees the stamp sees the frame, the index entry and the
        // cleared word behind it.
        // SAFETY: as above.
        unsafe {
            self.memory
                .publish_word(Site::Stamp, offset, self.next.wrapping_add(1))
        };
        self.position = end;
        self.next = after;
    }

    /// Has the next `bytes`, and the stamp after them, announced.
    #[inline(always)]
    fn cover(&mut self, bytes: usize) -> bool {
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
        // Partners: `FindFront`, `FindOldest`. Who finds its way by them sees the frames and the index
        // entries stored before.
        self.settle();
        self.memory.publish(Site::Publish, Field::Claimed, claimed);
        // Partners: `Validate`, `ValidateEntry`. Whoever has seen a word of the overwriting sees the announcement.
        self.memory.fence(Site::Announce);
        self.claimed = claimed;
        true
    }

    /// Records how far the ring is written.
    pub fn settle(&mut self) {
        self.memory
            .publish(Site::Publish, Field::PublishedSequence, self.next);
        self.memory
            .publish(Site::Publish, Field::Published, self.position);
    }

    /// Enters the frame at `end` in the index, for each block that begins before or with it. A
    /// long message may pass several.
    #[cold]
    fn enter(&mut self, end: u64, sequence: u64) {
        while distance(end, self.unindexed) >= 0 {
            let word = entry(&self.shape, self.unindexed);
            // These overwrite the entry of the lap before, whose block the announcement covers:
            // that is how `VariableReader::block` tells. Partner: `ValidateEntry`.
            // SAFETY: an entry is in the index.
            unsafe {
                self.memory.set_index_word(word, end);
                self.memory.set_index_word(word + 1, sequence);
            }
            self.unindexed = self.unindexed.wrapping_add(self.shape.block);
        }
    }
}

/// A consumer's side.
#[derive(Debug, Clone)]
pub struct VariableReader<M> {
    memory: M,
    shape: Shape,
    next: u64,
    position: u64,
}

impl<M: Memory> VariableReader<M> {
    /// At the first message ever.
    pub fn new(memory: M, shape: Shape) -> Self {
        VariableReader {
            memory,
            shape,
            next: shape.first,
            position: shape.first_position(),
        }
    }

    #[inline(always)]
    fn covers(&self, position: u64) -> bool {
        let claimed = self.memory.load(Field::Claimed);
        claimed.wrapping_sub(position) <= self.shape.capacity
    }

    /// The oldest position retained, and `margin` beyond it in a ring that has been filled once.
    /// With a seat, what is retained stays, and needs no margin.
    fn retained(&self, margin: u64) -> u64 {
        let oldest = gate::retained(self);
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

    /// The first frame at or after the start of a block, as `(position, sequence)`, of a block
    /// that was found by `claimed` or `published` and the fence after it. `None` if it was
    /// overwritten meanwhile.
    fn block(&self, start: u64) -> Result<Option<(u64, u64)>, Damage> {
        let word = entry(&self.shape, start);
        // SAFETY: an entry is in the index.
        let (position, sequence) = unsafe {
            (
                self.memory.index_word(word),
                self.memory.index_word(word + 1),
            )
        };
        // Partner: `Announce`. Had either word been of a later lap, then the announcement of a
        // frame behind this block's next incarnation would be seen.
        self.memory.fence(Site::ValidateEntry);
        if !self.covers(start) {
            return Ok(None);
        }
        let behind = position.wrapping_sub(start);
        if position % FRAME_HEADER as u64 != 0 || behind > self.shape.capacity {
            return Err(Damage("block index"));
        }
        Ok(Some((position, sequence)))
    }

    /// The position and sequence of the frame that is written next, found from the last block
    /// published, or from the own position if that is nearer. `None` if the producer ran on.
    fn walk(&mut self) -> Result<Option<(u64, u64)>, Damage> {
        let published = self.memory.load(Field::Published);
        // Partner: `Publish`. The index entries of the blocks before, and the frames.
        self.memory.fence(Site::FindFront);
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
        // The front lies before what is announced, so no more frames than fit in between; what the
        // producer adds meanwhile need not be seen.
        let announced = self.memory.load(Field::Claimed).wrapping_sub(self.position);
        if announced > self.longest_walk() {
            return Ok(None);
        }
        for _ in 0..=announced / FRAME_HEADER as u64 {
            match self.poll()? {
                Poll::Ready(place) if self.intact() => self.advance(place),
                Poll::Empty => break,
                _ => return Ok(None),
            }
        }
        Ok(Some((self.position, self.next)))
    }

    /// The most bytes from the start of a block to where a walk from there may have to go: the front
    /// lies before what is announced, and that is at most a block or the longest message, whichever is
    /// more, beyond what was published; and published is in that block, or in the next.
    fn longest_walk(&self) -> u64 {
        2 * self.shape.block
            + self
                .shape
                .block
                .max(self.shape.capacity / 8 + 2 * FRAME_HEADER as u64)
    }

    /// The position and sequence of the frame that is written next.
    pub fn front(&self) -> Result<(u64, u64), Damage> {
        let mut probe = self.clone();
        for _ in 0..PATIENCE {
            if let Some(front) = probe.walk()? {
                return Ok(front);
            }
        }
        // The producer laps faster than it can be followed: as of its last block, then.
        let position = self.memory.load(Field::Published);
        let sequence = self.memory.load(Field::PublishedSequence);
        // Partner: `Publish`, for a caller that acts on the answer.
        self.memory.fence(Site::FindFront);
        Ok(if distance(sequence, self.next) < 0 {
            (self.position, self.next)
        } else {
            (position, sequence)
        })
    }

    /// How far behind the oldest to look, after so many tries that a running producer spoilt: the
    /// oldest block itself is spoilt by its next announcement, half a ring is not.
    fn margin(&self, tries: u64) -> u64 {
        self.shape.capacity / 16 * tries.min(8)
    }

    /// Where a consumer can begin, at or after `from`: the first frame of a block. With a seat, if
    /// that is possible, the very first frame, for `from` may be all there is.
    fn landing(&self, from: u64) -> Result<Option<(u64, u64)>, Damage> {
        let next = self.block_from(from);
        if !self.shape.lossless {
            return self.block(next);
        }
        let published = self.memory.load(Field::Published);
        // Partner: `Publish`. The index entries of the blocks up to there.
        self.memory.fence(Site::FindFront);
        if let Some(begin) = self.block(self.block_of(earlier(from, published)))? {
            let mut probe = self.at(begin.0, begin.1);
            if from.wrapping_sub(begin.0) as i64 > self.longest_walk() as i64 {
                return Ok(None);
            }
            for _ in 0..=self.longest_walk() / FRAME_HEADER as u64 {
                // Looked first, for padding may be all that lies before `from`.
                let found = probe.poll()?;
                if distance(probe.position, from) >= 0 {
                    return Ok(Some((probe.position, probe.next)));
                }
                match found {
                    Poll::Ready(place) if probe.intact() => probe.advance(place),
                    _ => break,
                }
            }
        }
        // The block that `from` lies in is being overwritten, so the front is far beyond it.
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

impl<M: Memory> Frames for VariableReader<M> {
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
    fn poll(&mut self) -> Result<Poll, Damage> {
        // Twice at the most: once for padding, once for the frame at the start of the ring.
        loop {
            let offset = in_ring(&self.shape, self.position);
            let room = self.shape.capacity as usize - offset;
            // SAFETY: a frame header is in the ring, for frames are on 16-byte boundaries.
            let stamp = unsafe { self.memory.word(offset) };
            if stamp != self.next.wrapping_add(1) {
                // The front, or any word of a later lap. Partner: `Announce`.
                return Ok(if self.intact() {
                    Poll::Empty
                } else {
                    Poll::Lapped
                });
            }
            // Partner: `Stamp`.
            self.memory.fence(Site::SeeStamp);
            // SAFETY: as above.
            let word = unsafe { self.memory.word(offset + 8) };
            let (length, flags) = (word as u32 as usize, (word >> 32) as u32);
            // In bounds, so that it can be copied; whether it is true, validation tells.
            if flags == 0 && length <= self.shape.message && frame_bytes(length) <= room {
                return Ok(Poll::Ready(Place {
                    offset: offset + FRAME_HEADER,
                    length,
                }));
            }
            if !self.intact() {
                return Ok(Poll::Lapped);
            }
            if flags != FLAG_PADDING || offset == 0 {
                return Err(Damage("frame"));
            }
            self.position = self.position.wrapping_add(room as u64);
        }
    }

    #[inline(always)]
    fn intact(&self) -> bool {
        // Partner: `Announce`.
        self.memory.fence(Site::Validate);
        self.covers(self.position) || !self.memory.keeps(Site::IsValid)
    }

    #[inline(always)]
    fn advance(&mut self, place: Place) {
        self.position = self.position.wrapping_add(frame_bytes(place.length) as u64);
        self.next = self.next.wrapping_add(1);
    }

    fn catch_up(&mut self) -> Result<Option<u64>, Damage> {
        for _ in 0..PATIENCE {
            let from = self.retained(self.shape.capacity / 8);
            // Partner: `Publish`. The index entries below `claimed`.
            self.memory.fence(Site::FindOldest);
            let Some((position, sequence)) = self.landing(from)? else {
                continue;
            };
            let lost = distance(sequence, self.next);
            // None are, where padding was all that was overwritten.
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
        let mut rivals = Rivals::new(&self.memory);
        for tries in 0..JOIN_TRIES {
            let from = self.retained(self.margin(tries));
            // Partner: `Publish`. The index entries below `claimed`.
            self.memory.fence(Site::FindOldest);
            if let Some((_, sequence)) = self.landing(from)? {
                return Ok(sequence);
            }
            if !rivals.may_have_spoilt(&self.memory) {
                break;
            }
        }
        Err(Damage("no block start stays what it is"))
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
            // Found already, as a producer finds where to go on: so the two agree on it even where
            // the index is damaged.
            (self.position, self.next) = (front, last);
            return Ok(Seek::Done { lost: 0 });
        }
        let from = self.retained(self.margin(tries));
        // Partner: `Publish`. The index entries below `claimed`.
        self.memory.fence(Site::FindOldest);
        let Some(mut begin) = self.landing(from)? else {
            return Ok(Seek::Again);
        };
        let mut low = self.block_of(begin.0);
        if distance(sequence, begin.1) <= 0 {
            (self.position, self.next) = begin;
            return Ok(Seek::Done {
                lost: distance(begin.1, sequence) as u64,
            });
        }
        // The last block that begins with a frame not after the one wanted, by halves.
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
                Poll::Ready(place) if probe.intact() => probe.advance(place),
                _ => return Ok(Seek::Again),
            }
        }
        Err(Damage("block index"))
    }
}
