//! The consumer's side of either kind of ring.

use super::fixed::FixedReader;
use super::flow_control;
use super::frame_reader::{
    Found, FrameReader, Place, ProducerWatch, Seek, MAX_JOIN_TRIES, MAX_RETRIES,
};
use super::memory::{Field, Memory, Site, Step};
use super::types::{distance, Damage, Meta, Pop, Start};
use crate::format::data_file::state;

/// Messages that the caller looks at in place.
#[derive(Debug, Clone, Copy)]
struct Peek {
    place: Place,
    sequence: u64,
    count: u64,
}

/// A consumer: a position in the ring, and counts of received and lost messages.
///
/// `next == start + received + lost` is always true.
#[derive(Debug, Clone)]
pub struct Reader<F> {
    frames: F,
    pub(super) start: u64,
    lost: u64,
    /// Lost since the last consumed message. This is the part of `lost` that no result has
    /// contained yet.
    pending: u64,
    peek: Option<Peek>,
}

impl<F: FrameReader> Reader<F> {
    /// A consumer at the position of `frames`.
    pub fn new(frames: F) -> Self {
        let start = frames.next();
        Reader {
            frames,
            start,
            lost: 0,
            pending: 0,
            peek: None,
        }
    }

    /// Moves to where a consumer is to begin, and resets its counts. Returns `false` if that
    /// sequence was not pushed yet.
    pub fn begin(&mut self, start: Start) -> Result<bool, Damage> {
        self.peek = None;
        let mut watch = ProducerWatch::new(self.frames.memory());
        for tries in 0..MAX_JOIN_TRIES {
            let wanted = match start {
                Start::Oldest => self.frames.oldest()?,
                Start::Next => self.frames.frontier()?,
                Start::Newest => {
                    let (frontier, oldest) = (self.frames.frontier()?, self.frames.oldest()?);
                    if distance(frontier, oldest) > 0 {
                        frontier.wrapping_sub(1)
                    } else {
                        frontier
                    }
                }
                Start::At(sequence) => sequence,
            };
            match self.frames.seek(wanted, tries)? {
                Seek::Done { lost } => {
                    // The caller did not ask for messages that were overwritten during this call.
                    self.lost = if matches!(start, Start::At(_)) {
                        lost
                    } else {
                        0
                    };
                    self.pending = self.lost;
                    self.start = self.frames.next().wrapping_sub(self.lost);
                    return Ok(true);
                }
                Seek::Beyond if matches!(start, Start::At(_)) => return Ok(false),
                // The first look found this sequence, but the second one saw an older state.
                Seek::Beyond | Seek::Again => {}
            }
            if !watch.may_be_active(self.frames.memory()) {
                break;
            }
        }
        Err(Damage("no stable block start"))
    }

    /// Copies the next message out and consumes it.
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    // Always inlined, as are its callers up to the C function. Otherwise the result would pass
    // through memory, with a store-forwarding stall. In one run a warm pop of 64 bytes from C took
    // 11 to 15 ns with that stall, and 7 to 8 ns without.
    #[inline(always)]
    pub unsafe fn pop(&mut self, to: *mut u8, size: usize) -> Result<Pop, Damage> {
        for _ in 0..MAX_RETRIES {
            match self.frames.poll()? {
                Found::Ready(place) => {
                    if place.length > size {
                        if self.frames.intact() {
                            return Ok(Pop::TooSmall(self.info(place)));
                        }
                    } else {
                        // SAFETY: the place is in the ring, and the message fits into the buffer.
                        unsafe { self.frames.memory().read(place.offset, to, place.length) };
                        if self.frames.intact() {
                            let info = self.info(place);
                            self.consume(place);
                            return Ok(Pop::Message(info));
                        }
                    }
                }
                Found::Empty => match self.check_end()? {
                    Pop::Message(_) => continue,
                    end => return Ok(end),
                },
                Found::Lapped => {}
            }
            self.handle_lapped()?;
        }
        Ok(Pop::Empty)
    }

    /// Copies the next message out and consumes it, if it follows the last one without a gap and
    /// has this length. It is used for the rest of a batch. Otherwise returns `false` and changes
    /// nothing.
    ///
    /// # Safety
    /// `to` is writable for `length` bytes.
    #[inline]
    pub unsafe fn pop_same_length(&mut self, to: *mut u8, length: usize) -> Result<bool, Damage> {
        match self.frames.poll()? {
            Found::Ready(place) if place.length == length => {
                // SAFETY: the place is in the ring, and the message fits into the buffer.
                unsafe { self.frames.memory().read(place.offset, to, length) };
                let whole = self.frames.intact();
                if whole {
                    self.consume(place);
                }
                Ok(whole)
            }
            _ => Ok(false),
        }
    }

    /// Looks at the next message in place. `Pop::Message` comes with its place in the ring.
    /// [`Reader::release_many`] consumes it.
    #[inline]
    pub fn peek(&mut self) -> Result<(Pop, Place), Damage> {
        let (pop, place, _) = self.peek_many(1)?;
        Ok((pop, place))
    }

    /// Looks at up to `most` messages in place that are side by side. Returns their number and the
    /// place of the first. [`Reader::release_many`] consumes them.
    #[inline(always)]
    pub fn peek_many(&mut self, most: u64) -> Result<(Pop, Place, u64), Damage> {
        let nowhere = Place {
            offset: 0,
            length: 0,
        };
        for _ in 0..MAX_RETRIES {
            match self.frames.poll()? {
                Found::Ready(place) => {
                    // The caller gets the length, so it must be that of the message. The stamps
                    // that `run_length` has found must be right, too.
                    let count = if most > 1 {
                        self.frames.run_length(most)
                    } else {
                        1
                    };
                    if self.frames.intact() {
                        let info = self.info(place);
                        let sequence = info.sequence;
                        // A second look at the same messages does not shorten the run.
                        let longest = match self.peek {
                            Some(peek) if peek.sequence == sequence => count.max(peek.count),
                            _ => count,
                        };
                        self.peek = Some(Peek {
                            place,
                            sequence,
                            count: longest,
                        });
                        return Ok((Pop::Message(info), place, count));
                    }
                }
                Found::Empty => match self.check_end()? {
                    Pop::Message(_) => continue,
                    end => return Ok((end, nowhere, 0)),
                },
                Found::Lapped => {}
            }
            self.handle_lapped()?;
        }
        Ok((Pop::Empty, nowhere, 0))
    }

    /// Ends the look at messages in place, and consumes `count` of them from this sequence on.
    /// Returns `None` if the caller does not look at them. Returns `false` if one of them, and so
    /// the first, was overwritten. The lapped messages are then lost.
    #[inline]
    pub fn release_many(&mut self, sequence: u64, count: u64) -> Result<Option<bool>, Damage> {
        match self.peek {
            // The look has ended if a message was consumed since.
            Some(peek)
                if peek.sequence == sequence
                    && self.frames.next() == sequence
                    && count.wrapping_sub(1) < peek.count =>
            {
                self.peek = None;
                if self.frames.intact() {
                    self.frames.advance_many(peek.place, count);
                    self.pending = 0;
                    return Ok(Some(true));
                }
                self.handle_lapped()?;
                Ok(Some(false))
            }
            _ => Ok(None),
        }
    }

    /// The numbers of received and lost messages since the start.
    pub fn counts(&self) -> (u64, u64) {
        let passed = self.frames.next().wrapping_sub(self.start);
        (passed.wrapping_sub(self.lost), self.lost)
    }

    /// The sequence of the next message.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.frames.next()
    }

    /// Continues after a time without a slot. Messages that were overwritten in that time are lost.
    pub(super) fn resume(&mut self) -> Result<(), Damage> {
        let oldest = flow_control::retained(&self.frames);
        if distance(oldest, self.frames.cursor()) > 0 {
            self.handle_lapped()?;
        }
        Ok(())
    }

    /// The reader of the framing.
    pub fn frames(&self) -> &F {
        &self.frames
    }

    #[inline(always)]
    fn info(&self, place: Place) -> Meta {
        Meta {
            sequence: self.frames.next(),
            lost: self.pending,
            length: place.length as u32,
        }
    }

    #[inline(always)]
    fn consume(&mut self, place: Place) {
        self.frames.advance(place);
        self.pending = 0;
    }

    #[cold]
    fn handle_lapped(&mut self) -> Result<(), Damage> {
        self.peek = None;
        if let Some(lost) = self.frames.catch_up()? {
            self.lost = self.lost.wrapping_add(lost);
            self.pending = self.pending.wrapping_add(lost);
        }
        Ok(())
    }

    /// Decides whether the queue is empty or has ended. `Pop::Message` means that the caller must
    /// look again.
    #[inline]
    fn check_end(&mut self) -> Result<Pop, Damage> {
        let ended = self.frames.memory().load_relaxed(Field::State);
        if ended == state::LIVE {
            return Ok(Pop::Empty);
        }
        // Pairs with `State` in `set_state`. A consumer that sees the queue closed sees every
        // earlier message if it looks again. The look that found nothing came before.
        self.frames.memory().fence_acquire(Site::SeeState);
        let again = self.frames.memory().performs(Step::LookAgain);
        if again && self.frames.poll()? != Found::Empty {
            return Ok(Pop::Message(Meta::default()));
        }
        Ok(match ended {
            state::SUPERSEDED | state::SUPERSEDED_CLOSED => Pop::Superseded,
            state::CLOSED => Pop::Closed,
            _ => return Err(Damage("state")),
        })
    }
}

impl<M: Memory> Reader<FixedReader<M>> {
    /// Pops the next message if that needs only a copy. Otherwise returns `None`. The message size
    /// is at most [`SHORT`](crate::format::data_file::SHORT) bytes. The result also says whether
    /// the ring is so full that the producer may soon wait for this consumer (`near_full`).
    ///
    /// # Safety
    /// `to` is writable for the message size.
    #[inline(always)]
    pub unsafe fn try_fast(&mut self, to: *mut u8) -> Option<(Meta, bool)> {
        // SAFETY: the caller's promise.
        let near_full = unsafe { self.frames.copy_next(to) }?;
        // They are computed only now, so that they take no registers before.
        let info = Meta {
            sequence: self.frames.next().wrapping_sub(1),
            lost: self.pending,
            length: self.frames.shape().message as u32,
        };
        self.pending = 0;
        Some((info, near_full))
    }

    /// Pops up to `count` messages, `stride` bytes apart, while [`Reader::try_fast`] could pop
    /// them. Returns their number and the meta of the first.
    ///
    /// # Safety
    /// `to` is writable for the message size at each place.
    #[inline(always)]
    pub unsafe fn try_fast_run(
        &mut self,
        to: *mut u8,
        stride: usize,
        count: usize,
    ) -> (usize, Meta) {
        let first = Meta {
            sequence: self.frames.next(),
            lost: self.pending,
            length: self.frames.shape().message as u32,
        };
        let mut many = 0;
        while many < count {
            // SAFETY: the caller's promise.
            let run = unsafe {
                self.frames
                    .copy_run(to.wrapping_add(many * stride), stride, count - many)
            };
            if run == 0 {
                break;
            }
            many += run;
        }
        if many > 0 {
            self.pending = 0;
        }
        (many, first)
    }
}
