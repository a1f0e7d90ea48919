//! The ring of messages of one size: `{stamp: u64, payload}` a slot.
//!
//! The stamp of sequence `s` is `s + 1`, so that the zeroes of a new file are no message. The slot
//! of a sequence is found by a mask, so any sequence is reached in one step.

use super::gate::{self, Front, Seats};
use super::{distance, earlier, Damage, Frames, Place, Poll, Seek, Shape};
use crate::layout::SLOT_HEADER;
use crate::memory::{Field, Memory, Site};

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
    /// `next..run` may be written without further ado: it is announced, and does not go past the end
    /// of the ring.
    run: u64,
    /// The first sequence not announced.
    claimed: u64,
    /// Lossless: how far may be announced.
    limit: u64,
}

/// How many bytes ahead of the message that is written or read the next ones are asked for: about
/// what is moved in the time that a line takes from the other core (120 ns of 8 ns a line).
const AHEAD: usize = 1024;

/// Of longer messages than [`SHORT`](crate::memory::SHORT), up to so long, the whole next one is asked for: the processor finds
/// out too late that lines follow each other. Streaming 1 KiB took 139 ns without and takes 99; 4 KiB
/// the same either way.
const LONG: usize = 2048;

/// Bytes of a cache line.
const LINE: usize = 64;

/// How many messages of a batch are validated together.
const RUN: usize = 32;

/// Does the same with the most common sizes as constants, for which the copy takes two to four
/// instructions less a message and no branch.
macro_rules! by_size {
    ($size:expr, $length:ident => $do:expr) => {
        match $size {
            8 => {
                let $length = 8;
                $do
            }
            16 => {
                let $length = 16;
                $do
            }
            32 => {
                let $length = 32;
                $do
            }
            64 => {
                let $length = 64;
                $do
            }
            $length => $do,
        }
    };
}

#[inline(always)]
fn slot(shape: &Shape, sequence: u64) -> usize {
    (sequence & (shape.capacity - 1)) as usize * shape.stride
}

impl<M: Memory> FixedWriter<M> {
    /// Prepares the ring of a new file.
    pub fn format(memory: &M, shape: &Shape) {
        memory.publish(Site::Publish, Field::Published, shape.first);
        memory.publish(Site::Publish, Field::Claimed, shape.first);
        memory.publish(Site::Publish, Field::Limit, shape.first);
        if shape.first != 0 {
            // Zero might be a stamp that is waited for: give each slot that of the lap before.
            for i in 0..shape.capacity {
                let sequence = shape.first.wrapping_add(i);
                let before = sequence.wrapping_add(1).wrapping_sub(shape.capacity);
                // SAFETY: a slot is in the ring.
                unsafe { memory.set_word(slot(shape, sequence), before) };
            }
        }
    }

    /// Goes on where the last producer ended, wherever that was.
    pub fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        let published = memory.load(Field::Published);
        let claimed = memory.load(Field::Claimed);
        if claimed.wrapping_sub(published) > shape.block {
            return Err(Damage("claimed and published"));
        }
        // Nobody writes: the last producer is dead, and this one has not begun.
        let next = committed(&memory, &shape, published, claimed);
        // The overwriting of what the last producer announced goes on, in another process: its fence
        // counts for its own stores only. Partner: `Validate`.
        memory.fence(Site::TakeOver);
        // What was announced stays announced, for it may have been overwritten.
        Ok(FixedWriter {
            memory,
            shape,
            next,
            offset: slot(&shape, next),
            run: next,
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
        if !self.is_ready() && !self.go_on() {
            return None;
        }
        Some(self.offset + SLOT_HEADER)
    }

    /// Makes the next slots writable, a block of them or up to the end of the ring; `false` if the
    /// limit is in the way.
    #[cold]
    #[inline(never)]
    fn go_on(&mut self) -> bool {
        if self.next == self.claimed && !self.announce() {
            return false;
        }
        if self.offset == self.shape.bytes {
            self.offset = 0;
        }
        let lap = self.next | (self.shape.capacity - 1);
        self.run = earlier(self.claimed, lap.wrapping_add(1));
        true
    }

    /// Lossless: looks how far the consumers are. Whether that made room.
    #[cold]
    pub fn extend(&mut self, seats: &impl Seats) -> bool {
        let front = self.front();
        self.limit = gate::limit(&self.memory, &self.shape, seats, front);
        distance(self.limit, front.end) >= 0
    }

    /// Where the producer stands.
    pub fn front(&self) -> Front {
        Front {
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
        unsafe { hand_over(&self.memory, self.offset, stamp) };
        self.next = stamp;
        self.offset += self.shape.stride;
    }

    /// Whether the next push takes nothing but a copy ([`FixedWriter::push_next`]).
    #[inline(always)]
    pub fn is_ready(&self) -> bool {
        self.next != self.run
    }

    /// Whether what is ready ends at this sequence or before. Of [`FixedWriter::next`], and of any number
    /// above it, this is true if the writer is not ready; in a lap where sequences wrap it is true throughout.
    #[inline(always)]
    pub fn is_past(&self, sequence: u64) -> bool {
        sequence >= self.run
    }

    /// Pushes one message of at most [`SHORT`](crate::memory::SHORT) bytes.
    ///
    /// # Safety
    /// The writer is ready, and `from` is readable for the message size, which is `length`.
    #[inline(always)]
    pub unsafe fn push_next(&mut self, from: *const u8, length: usize) {
        debug_assert!(self.is_ready());
        // Copies of what the copy, which the compiler cannot see into, might change for all it knows.
        let (memory, offset, stamp) = (self.memory.clone(), self.offset, self.next.wrapping_add(1));
        memory.will_write::<AHEAD>(offset);
        // SAFETY: a slot is in the ring, with room for a message rounded up to words.
        unsafe {
            memory.write_short(offset, from, length);
            hand_over(&memory, offset, stamp);
        }
        self.next = stamp;
        self.offset = offset + self.shape.stride;
    }

    /// As [`FixedWriter::push_next`] if the writer is ready; `false` where it is not and
    /// [`FixedWriter::push`] has more to do.
    ///
    /// # Safety
    /// `from` is readable for the message size, which is `length`.
    #[inline(always)]
    pub unsafe fn push_short(&mut self, from: *const u8, length: usize) -> bool {
        if self.is_ready() {
            // SAFETY: the caller's promise.
            unsafe { self.push_next(from, length) };
            return true;
        }
        false
    }

    /// Pushes messages of at most [`SHORT`](crate::memory::SHORT) bytes that lie `stride` bytes
    /// apart, for as long as that takes nothing else; how many.
    ///
    /// # Safety
    /// `count` messages of the message size are readable.
    #[inline(always)]
    pub unsafe fn push_run(&mut self, from: *const u8, stride: usize, count: usize) -> usize {
        let count = count.min(self.run.wrapping_sub(self.next) as usize);
        by_size!(self.shape.message, length => {
            let (memory, slot) = (self.memory.clone(), self.shape.stride);
            let (mut from, mut offset, mut stamp) = (from, self.offset, self.next);
            for _ in 0..count {
                stamp = stamp.wrapping_add(1);
                memory.will_write::<AHEAD>(offset);
                // SAFETY: a slot is in the ring; a message is readable, says the caller.
                unsafe {
                    memory.write_short(offset, from, length);
                    hand_over(&memory, offset, stamp);
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
        if self.shape.message <= LONG {
            let after = offset + self.shape.stride;
            (after..after + self.shape.message)
                .step_by(LINE)
                .for_each(|line| self.memory.will_write::<0>(line));
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
        // Partner of the first: `FindFront`. Who finds its way by them sees the stamps stored before.
        self.settle();
        self.memory.publish(Site::Publish, Field::Claimed, claimed);
        // Partner: `Validate`. Whoever has seen a word of the overwriting sees the announcement.
        self.memory.fence(Site::Announce);
        self.claimed = claimed;
        true
    }

    /// Records how far the ring is written.
    pub fn settle(&mut self) {
        self.memory
            .publish(Site::Publish, Field::Published, self.next);
    }
}

/// Gives a slot to the consumers.
///
/// # Safety
/// It is in the ring, and `memory` is the producer's.
#[inline(always)]
unsafe fn hand_over<M: Memory>(memory: &M, offset: usize, stamp: u64) {
    // Partner: `SeeStamp`. Whoever sees the stamp sees the payload.
    // SAFETY: the caller's promise.
    unsafe { memory.publish_word(Site::Stamp, offset, stamp) };
}

/// The first sequence in `from..to` without its stamp. The stamps of a lap are a prefix, so it is
/// searched by halves; a stamp of a later lap counts as one.
fn committed<M: Memory>(memory: &M, shape: &Shape, from: u64, to: u64) -> u64 {
    let (mut low, mut high) = (from, to);
    while low != high {
        let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
        // SAFETY: a slot is in the ring.
        let stamp = unsafe { memory.word(slot(shape, middle)) };
        if distance(stamp, middle.wrapping_add(1)) >= 0 {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    low
}

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
    easy: u64,
    /// If `claimed` is so far ahead of a message, then the one `AHEAD` bytes on is there too.
    far: u64,
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
            easy: shape.capacity - spare,
            far: shape.block + (AHEAD / shape.stride) as u64,
        }
    }

    /// Asks for the message after the next, if it is surely there.
    #[inline(always)]
    fn ask_for_next(&self) {
        if self.shape.message > LONG {
            return;
        }
        let lead = self.memory.load(Field::Claimed).wrapping_sub(self.next);
        if lead > self.shape.block.wrapping_add(1) {
            let after = self.offset + self.shape.stride;
            (after..after + self.shape.message)
                .step_by(LINE)
                .for_each(|line| self.memory.will_read::<0>(line));
        }
    }

    fn go_to(&mut self, sequence: u64) {
        self.next = sequence;
        self.offset = slot(&self.shape, sequence);
    }

    /// Copies the next messages, up to `count` of at most [`SHORT`](crate::memory::SHORT) bytes, each to
    /// a place `stride` bytes after the last, and consumes them. Returns how many: fewer where there
    /// is anything else to do or to say.
    ///
    /// # Safety
    /// `to` is writable for the message size at each place.
    #[inline(always)]
    pub unsafe fn read_run(&mut self, to: *mut u8, stride: usize, count: usize) -> usize {
        by_size!(self.shape.message, length => {
            let (memory, slot, end) = (self.memory.clone(), self.shape.stride, self.shape.bytes);
            let (mut to, mut offset, mut next) = (to, self.offset, self.next);
            // Only what is surely there is asked for: the line that is being written stays with
            // the producer. A hint, so this need not be in any order.
            let there = memory.load(Field::Claimed).wrapping_sub(self.far);
            let mut copied = 0;
            while copied < count.min(RUN) {
                if offset == end {
                    offset = 0;
                }
                // SAFETY: a slot is in the ring.
                if unsafe { memory.word(offset) } != next.wrapping_add(1) {
                    break;
                }
                // Partner: `Stamp`.
                memory.fence(Site::SeeStamp);
                if distance(there, next) > 0 {
                    memory.will_read::<AHEAD>(offset);
                }
                // SAFETY: a slot is in the ring, and `to` is writable, says the caller.
                unsafe { memory.read_short(offset, to, length) };
                to = to.wrapping_add(stride);
                offset += slot;
                next = next.wrapping_add(1);
                copied += 1;
            }
            // The first is the first to be overwritten: if that is intact, so are the others.
            if copied == 0 || self.lead().is_none() {
                return 0;
            }
            (self.offset, self.next) = (offset, next);
            copied
        })
    }

    /// After all that was read from this position on: how far `claimed` is ahead of it, if that
    /// was not overwritten.
    #[inline(always)]
    fn lead(&self) -> Option<u64> {
        // Partner: `Announce`.
        self.memory.fence(Site::Validate);
        let lead = self.memory.load(Field::Claimed).wrapping_sub(self.next);
        (lead <= self.shape.capacity || !self.memory.keeps(Site::IsValid)).then_some(lead)
    }

    /// Copies the next message, of at most [`SHORT`](crate::memory::SHORT) bytes, and consumes it; `None`
    /// where there is anything else to do or to say. Else, whether the producer may soon have to wait
    /// for this consumer.
    ///
    /// # Safety
    /// `to` is writable for the message size.
    #[inline(always)]
    pub unsafe fn read_short(&mut self, to: *mut u8) -> Option<bool> {
        // Copies of what the copy, which the compiler cannot see into, might change for all it knows.
        let (memory, next, mut offset) = (self.memory.clone(), self.next, self.offset);
        if offset == self.shape.bytes {
            offset = 0;
        }
        let after = next.wrapping_add(1);
        // SAFETY: a slot is in the ring.
        if unsafe { memory.word(offset) } != after {
            return None;
        }
        // Partner: `Stamp`.
        memory.fence(Site::SeeStamp);
        // SAFETY: a slot is in the ring, and `to` is writable, says the caller.
        unsafe { memory.read_short(offset, to, self.shape.message) };
        let lead = self.lead()?;
        // Not the line that is being written: it stays with the producer.
        if lead > self.far {
            memory.will_read::<AHEAD>(offset);
        }
        self.next = after;
        self.offset = offset + self.shape.stride;
        Some(lead > self.easy)
    }
}

impl<M: Memory> Frames for FixedReader<M> {
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
        let stamp = unsafe { self.memory.word(self.offset) };
        let ahead = distance(stamp, self.next.wrapping_add(1));
        if ahead == 0 {
            // Partner: `Stamp`.
            self.memory.fence(Site::SeeStamp);
            self.ask_for_next();
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
        self.lead().is_some()
    }

    #[inline(always)]
    fn advance(&mut self, _: Place) {
        self.next = self.next.wrapping_add(1);
        self.offset += self.shape.stride;
    }

    fn run(&self, most: u64) -> u64 {
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
    fn pass(&mut self, _: Place, count: u64) {
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
        let to = gate::retained(self).wrapping_add(margin);
        match distance(to, self.next) {
            lost if lost > 0 => {
                self.go_to(to);
                Ok(Some(lost as u64))
            }
            _ => Err(Damage("claimed went back")),
        }
    }

    fn frontier(&self) -> Result<u64, Damage> {
        let published = self.memory.load(Field::Published);
        let end = published.wrapping_add(self.shape.block);
        let found = committed(&self.memory, &self.shape, published, end);
        // Partners: `Publish`, for the stamps below `published`, and `Stamp`, for those found.
        self.memory.fence(Site::FindFront);
        // What this consumer has seen is there, even if the loads were older.
        Ok(if distance(found, self.next) < 0 {
            self.next
        } else {
            found
        })
    }

    fn oldest(&self) -> Result<u64, Damage> {
        Ok(gate::retained(self))
    }

    fn seek(&mut self, sequence: u64, _tries: u64) -> Result<Seek, Damage> {
        let before = distance(sequence, self.shape.first) < 0;
        if before || distance(sequence, self.frontier()?) > 0 {
            return Ok(Seek::Beyond);
        }
        let lost = distance(gate::retained(self), sequence).max(0) as u64;
        self.go_to(sequence.wrapping_add(lost));
        Ok(Seek::Done { lost })
    }
}
