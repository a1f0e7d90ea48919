//! The protocol: how one producer and many consumers share a ring without a lock.
//!
//! It is written over [`Memory`] alone, does no system call and allocates nothing, so that the
//! same source runs in production and under the model checker. It descends from the LMAX Disruptor
//! (a sequence in each slot), from sequence locks (validate after the copy) and from Aeron's
//! broadcast buffer (announce the intent to overwrite); `docs/design.md` has the argument.
//!
//! ```text
//!  producer, once a block   published.store(next, Release); claimed.store(next + block, Release)
//!                           fence(Release)                                           Announce
//!            per message    payload words, Relaxed; stamp.store(sequence + 1, Release)  Stamp
//!  consumer  per message    stamp.load == sequence + 1; fence(Acquire)               SeeStamp
//!                           payload words, Relaxed; fence(Acquire)                   Validate
//!                           claimed.load <= position + capacity ? a message : lapped IsValid
//! ```
//!
//! Why a validated copy is whole: had one of its loads seen a store of the overwriting, then the
//! `Announce` fence before that store and the `Validate` fence after that load would synchronise,
//! and `claimed` would be seen at its announced value, which fails the check.
//!
//! Sequences and positions are 64 bits and compared by their difference, so that they may wrap.

#[cfg(all(test, not(loom)))]
mod chance;
mod fixed;
pub mod gate;
#[cfg(all(test, loom))]
mod model;
mod variable;

pub use fixed::{FixedReader, FixedWriter};
pub use variable::{VariableReader, VariableWriter};

use crate::layout::{state, Delivery, Geometry};
use crate::memory::{Field, Memory, Site};

/// A part of the geometry in the form that the hot paths use.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Messages (fixed) or bytes (variable), a power of two.
    pub capacity: u64,
    /// How far is announced at once.
    pub block: u64,
    /// Bytes from slot to slot (fixed); 0 (variable).
    pub stride: usize,
    /// Bytes of the ring.
    pub bytes: usize,
    /// Bytes of a message (fixed); the most bytes of one (variable).
    pub message: usize,
    /// The first sequence ever.
    pub first: u64,
    /// Whether the producer waits for consumers with a seat ([`gate`]), and a reader has one.
    pub lossless: bool,
    /// Lossless: how many must have a seat before anything may be overwritten.
    pub min_consumers: u32,
}

impl Shape {
    /// The shape of a ring of this geometry.
    pub fn of(g: &Geometry) -> Shape {
        Shape {
            capacity: g.capacity,
            block: g.block,
            stride: g.stride as usize,
            bytes: g.ring_bytes as usize,
            message: g.max_message() as usize,
            first: g.first_sequence,
            lossless: g.delivery == Delivery::Lossless,
            min_consumers: g.min_consumers,
        }
    }

    /// The first sequence or position that a producer keeps for a consumer at this cursor.
    pub fn kept_from(&self, cursor: u64) -> u64 {
        match self.stride {
            0 => cursor & !(self.block - 1),
            _ => cursor,
        }
    }

    /// The same for a reader without a seat, which may lose in any ring.
    pub fn observed(self) -> Shape {
        Shape {
            lossless: false,
            ..self
        }
    }

    /// The cursor of one who wants the first message ever.
    pub fn origin(&self) -> u64 {
        match self.stride {
            0 => self.first_position(),
            _ => self.first,
        }
    }

    /// The position of the first message of a variable ring. Derived from its sequence, so that a
    /// test that begins near the end of the sequences begins near the end of the positions too.
    pub fn first_position(&self) -> u64 {
        self.first & !(self.capacity - 1)
    }
}

/// `a - b`, where both may have wrapped but lie within half the range of each other.
#[inline(always)]
pub fn distance(a: u64, b: u64) -> i64 {
    a.wrapping_sub(b) as i64
}

/// The later of two.
#[inline(always)]
fn later(a: u64, b: u64) -> u64 {
    if distance(a, b) > 0 {
        a
    } else {
        b
    }
}

/// The earlier of two.
#[inline(always)]
fn earlier(a: u64, b: u64) -> u64 {
    if distance(a, b) < 0 {
        a
    } else {
        b
    }
}

/// The shared memory says what no producer of this library writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage(pub &'static str);

/// A message in the ring: where its payload is, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the start of the ring.
    pub offset: usize,
    /// Bytes of payload. In bounds, but not to be believed until validated.
    pub length: usize,
}

/// What a consumer finds at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Poll {
    /// A message, to be validated after its use.
    Ready(Place),
    /// Nothing yet.
    Empty,
    /// The message was overwritten.
    Lapped,
}

/// One framing, as a consumer reads it. It has a position and knows nothing of accounts.
pub trait Frames {
    /// The memory it reads.
    type Memory: Memory;
    /// That memory.
    fn memory(&self) -> &Self::Memory;
    /// The shape of the ring.
    fn shape(&self) -> &Shape;
    /// The sequence of the message wanted next.
    fn next(&self) -> u64;
    /// Where that message is or will be: a sequence (fixed) or position (variable).
    fn cursor(&self) -> u64;
    /// Looks for that message.
    fn poll(&mut self) -> Result<Poll, Damage>;
    /// Whether all that was read at this position since `poll` is what was pushed.
    fn intact(&self) -> bool;
    /// Goes on to the message after the one found.
    fn advance(&mut self, place: Place);
    /// How many messages, from the one found on and at most `most`, are there and lie side by side.
    /// They are to be read only after [`intact`](Frames::intact) was asked: its fence, after the
    /// stamps were loaded, has the last one's `Stamp` for a partner, and whoever sees that sees all
    /// stored before it, the other messages among them. And all that was read of them is what was
    /// pushed if `intact` is true afterwards, for the first is the one overwritten first.
    fn run(&self, most: u64) -> u64 {
        most.min(1)
    }
    /// Goes on to the message after a run.
    fn pass(&mut self, place: Place, _count: u64) {
        self.advance(place);
    }
    /// After being lapped: goes to a message that will be there for a while. Returns how many
    /// were skipped, or `None` if the producer was faster again, with the position as it was.
    fn catch_up(&mut self) -> Result<Option<u64>, Damage>;
    /// The sequence that is pushed next: all below it are.
    fn frontier(&self) -> Result<u64, Damage>;
    /// The oldest sequence that can be gone to.
    fn oldest(&self) -> Result<u64, Damage>;
    /// Goes to a sequence; one that is not retained any more becomes the oldest that is. `tries`
    /// counts the tries before this one that a running producer spoilt ([`Seek::Again`]).
    fn seek(&mut self, sequence: u64, tries: u64) -> Result<Seek, Damage>;
}

/// What became of a seek.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Done; so many messages between the sequence asked for and the position are not retained.
    Done {
        /// How many.
        lost: u64,
    },
    /// That sequence was not pushed yet.
    Beyond,
    /// The producer overwrote what was being read to find the way.
    Again,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Start {
    /// At the oldest message retained.
    #[default]
    Oldest,
    /// At the last message pushed; in an empty queue, at the first to come.
    Newest,
    /// After the last message pushed: only what comes.
    Next,
    /// At this sequence. If it is not retained any more, what is missing counts as lost.
    At(u64),
}

/// What a pop came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pop {
    /// A message was consumed.
    Message(Info),
    /// The buffer is too small for it; nothing was consumed.
    TooSmall(Info),
    /// There is none yet.
    Empty,
    /// There is none, and the producer has closed.
    Closed,
    /// There is none, and another file has taken this one's name, or is about to.
    Superseded,
}

/// About one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Info {
    /// Its number, from 0, in the order of pushing.
    pub sequence: u64,
    /// How many were lost between the last message this consumer consumed and this one.
    pub lost: u64,
    /// Its length in bytes.
    pub length: u32,
}

/// Messages that are being looked at in place.
#[derive(Debug, Clone, Copy)]
struct Peek {
    place: Place,
    sequence: u64,
    count: u64,
}

/// How often in one call a consumer is willing to be lapped before it says that nothing is there.
/// The producer then laps a consumer faster than it copies one message; trying for ever would
/// make a `pop` that never returns.
const PATIENCE: usize = 16;

/// How often a place to begin is looked for while a running producer overwrites what is read
/// meanwhile. Each try takes well under a microsecond, and a second one is rare.
const JOIN_TRIES: u64 = 10_000;

/// Whether a look at the ring that failed is worth another: only a running producer can have spoilt
/// it. A file that nobody writes is damaged, and must not keep its reader busy.
struct Rivals {
    claimed: u64,
    same: u32,
}

impl Rivals {
    fn new(memory: &impl Memory) -> Self {
        Rivals {
            claimed: memory.load(Field::Claimed),
            same: 0,
        }
    }

    /// To be asked after each look that failed.
    fn may_have_spoilt(&mut self, memory: &impl Memory) -> bool {
        let claimed = memory.load(Field::Claimed);
        self.same = if claimed == self.claimed {
            self.same + 1
        } else {
            0
        };
        self.claimed = claimed;
        self.same < SAME
    }
}

/// So many looks fail while nothing is announced, and it is no producer that spoils them.
const SAME: u32 = 10;

/// A consumer: a position in the ring and the account of what happened to it.
///
/// `next == start + received + lost`, always.
#[derive(Debug, Clone)]
pub struct Reader<F> {
    frames: F,
    start: u64,
    lost: u64,
    /// Lost since the last message consumed: the part of `lost` not yet told.
    pending: u64,
    peek: Option<Peek>,
}

impl<F: Frames> Reader<F> {
    /// A consumer at the place where `frames` stands.
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

    /// Goes to where a consumer is asked to begin, and begins the accounts anew. `false` if that
    /// sequence was not pushed yet.
    pub fn begin(&mut self, start: Start) -> Result<bool, Damage> {
        self.peek = None;
        let mut rivals = Rivals::new(self.frames.memory());
        for tries in 0..JOIN_TRIES {
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
                    // What is gone since the oldest was looked up was never asked for.
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
                // What was looked up was pushed; the second look was at an older state.
                Seek::Beyond | Seek::Again => {}
            }
            if !rivals.may_have_spoilt(self.frames.memory()) {
                break;
            }
        }
        Err(Damage("no block start stays what it is"))
    }

    /// Copies the next message out and consumes it.
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    // Always inlined, as what calls it up to the C function: the result passed through memory
    // between them cost a store-forwarding stall: a warm pop of 64 bytes from C took 11 to 15 ns
    // with it and takes 7 to 8 without, in one run.
    #[inline(always)]
    pub unsafe fn pop(&mut self, to: *mut u8, size: usize) -> Result<Pop, Damage> {
        for _ in 0..PATIENCE {
            match self.frames.poll()? {
                Poll::Ready(place) => {
                    if place.length > size {
                        if self.frames.intact() {
                            return Ok(Pop::TooSmall(self.info(place)));
                        }
                    } else {
                        // SAFETY: the place is in the ring, and fits into the buffer.
                        unsafe { self.frames.memory().read(place.offset, to, place.length) };
                        if self.frames.intact() {
                            let info = self.info(place);
                            self.consume(place);
                            return Ok(Pop::Message(info));
                        }
                    }
                }
                Poll::Empty => match self.at_the_end()? {
                    Pop::Message(_) => continue,
                    end => return Ok(end),
                },
                Poll::Lapped => {}
            }
            self.fall_behind()?;
        }
        Ok(Pop::Empty)
    }

    /// Copies the next message out and consumes it if it is there, follows the last one without a
    /// gap, and has this length: the rest of a batch. `false` otherwise, with nothing changed.
    ///
    /// # Safety
    /// `to` is writable for `length` bytes.
    #[inline]
    pub unsafe fn pop_alike(&mut self, to: *mut u8, length: usize) -> Result<bool, Damage> {
        match self.frames.poll()? {
            Poll::Ready(place) if place.length == length => {
                // SAFETY: the place is in the ring, and fits into the buffer.
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

    /// Looks at the next message in place. `Pop::Message` comes with its place in the ring, and
    /// [`Reader::release`] consumes it.
    #[inline]
    pub fn peek(&mut self) -> Result<(Pop, Place), Damage> {
        let (pop, place, _) = self.peek_many(1)?;
        Ok((pop, place))
    }

    /// Looks at up to `most` messages in place that lie side by side; as many as it says, from the
    /// place given on. [`Reader::release_many`] consumes them.
    #[inline(always)]
    pub fn peek_many(&mut self, most: u64) -> Result<(Pop, Place, u64), Damage> {
        let nowhere = Place {
            offset: 0,
            length: 0,
        };
        for _ in 0..PATIENCE {
            match self.frames.poll()? {
                Poll::Ready(place) => {
                    // The length is about to be given out: it must be the message's.
                    // So must the stamps that a run was found by.
                    let count = if most > 1 { self.frames.run(most) } else { 1 };
                    if self.frames.intact() {
                        let info = self.info(place);
                        let sequence = info.sequence;
                        // Another look at a run does not shorten it.
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
                Poll::Empty => match self.at_the_end()? {
                    Pop::Message(_) => continue,
                    end => return Ok((end, nowhere, 0)),
                },
                Poll::Lapped => {}
            }
            self.fall_behind()?;
        }
        Ok((Pop::Empty, nowhere, 0))
    }

    /// Ends the looking at `count` messages from this one on, and consumes them. `None` if there is
    /// no such look; `false` if one was overwritten meanwhile, and so the first: what being lapped
    /// loses is lost then.
    #[inline]
    pub fn release_many(&mut self, sequence: u64, count: u64) -> Result<Option<bool>, Damage> {
        match self.peek {
            // A message that was consumed since is looked at no more.
            Some(peek)
                if peek.sequence == sequence
                    && self.frames.next() == sequence
                    && count.wrapping_sub(1) < peek.count =>
            {
                self.peek = None;
                if self.frames.intact() {
                    self.frames.pass(peek.place, count);
                    self.pending = 0;
                    return Ok(Some(true));
                }
                self.fall_behind()?;
                Ok(Some(false))
            }
            _ => Ok(None),
        }
    }

    /// How many were received and how many lost since the start position.
    pub fn counts(&self) -> (u64, u64) {
        let passed = self.frames.next().wrapping_sub(self.start);
        (passed.wrapping_sub(self.lost), self.lost)
    }

    /// The sequence of the message wanted next.
    #[inline(always)]
    pub fn next(&self) -> u64 {
        self.frames.next()
    }

    /// Goes on after a time without a seat: what was overwritten meanwhile is lost.
    fn resume(&mut self) -> Result<(), Damage> {
        let oldest = gate::retained(&self.frames);
        if distance(oldest, self.frames.cursor()) > 0 {
            self.fall_behind()?;
        }
        Ok(())
    }

    /// The framing underneath.
    pub fn frames(&self) -> &F {
        &self.frames
    }

    #[inline(always)]
    fn info(&self, place: Place) -> Info {
        Info {
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
    fn fall_behind(&mut self) -> Result<(), Damage> {
        self.peek = None;
        if let Some(lost) = self.frames.catch_up()? {
            self.lost = self.lost.wrapping_add(lost);
            self.pending = self.pending.wrapping_add(lost);
        }
        Ok(())
    }

    /// Nothing is there: for now, or for good? `Pop::Message` means to look again.
    #[inline]
    fn at_the_end(&mut self) -> Result<Pop, Damage> {
        let ended = self.frames.memory().load(Field::State);
        if ended == state::LIVE {
            return Ok(Pop::Empty);
        }
        // Partner: `State` in `close`. Whoever sees the queue closed sees every message pushed
        // before, if he looks again; the look that found nothing was made before.
        self.frames.memory().fence(Site::SeeState);
        let again = self.frames.memory().keeps(Site::LookAgain);
        if again && self.frames.poll()? != Poll::Empty {
            return Ok(Pop::Message(Info::default()));
        }
        Ok(match ended {
            state::SUPERSEDED | state::SUPERSEDED_CLOSED => Pop::Superseded,
            state::CLOSED => Pop::Closed,
            _ => return Err(Damage("state")),
        })
    }
}

impl<M: Memory> Reader<FixedReader<M>> {
    /// As `pop`, where that takes nothing but a copy of at most [`SHORT`](crate::memory::SHORT)
    /// bytes, as the message size is: `None` where there is anything else to do or to say. With the
    /// message: whether the producer may soon have to wait for this consumer.
    ///
    /// # Safety
    /// `to` is writable for the message size.
    #[inline(always)]
    pub unsafe fn pop_short(&mut self, to: *mut u8) -> Option<(Info, bool)> {
        // SAFETY: the caller's promise.
        let crowded = unsafe { self.frames.read_short(to) }?;
        // Looked up only now, so that they take no registers before.
        let info = Info {
            sequence: self.frames.next().wrapping_sub(1),
            lost: self.pending,
            length: self.frames.shape().message as u32,
        };
        self.pending = 0;
        Some((info, crowded))
    }

    /// Copies up to `count` messages, each to a place `stride` bytes after the last, as long as
    /// `pop_short` could. Returns how many, and about the first.
    ///
    /// # Safety
    /// `to` is writable for the message size at each place.
    #[inline(always)]
    pub unsafe fn pop_run(&mut self, to: *mut u8, stride: usize, count: usize) -> (usize, Info) {
        let first = Info {
            sequence: self.frames.next(),
            lost: self.pending,
            length: self.frames.shape().message as u32,
        };
        let mut many = 0;
        while many < count {
            // SAFETY: the caller's promise.
            let run = unsafe {
                self.frames
                    .read_run(to.wrapping_add(many * stride), stride, count - many)
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

/// Marks the queue closed; or live again, or superseded.
pub fn set_state<M: Memory>(memory: &M, value: u64) {
    // Partner: `SeeState`.
    memory.publish(Site::State, Field::State, value);
}
