//! The promises, and a consumer that checks them.

use super::memory::ModelMemory;
use super::queues::{RingKind, Setting, BATCH, MESSAGE};
use crate::ring::{Damage, Pop, Reader};

/// The promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Violation {
    /// A message differs from the one that was pushed under its sequence.
    Torn,
    /// The sequences and the counts of received and lost messages do not agree.
    Account,
    /// The end is reported before the last message.
    Early,
    /// A message is not found, although it is known to be there.
    Missing,
    /// A sleeping consumer is never woken.
    Asleep,
    /// A message of a lossless ring is lost.
    Lost,
    /// Memory that only this library has written is reported as damaged.
    Damaged,
}

#[derive(Debug)]
pub(super) struct Broken(pub(super) Violation, pub(super) String);

pub(super) type Checked<T> = Result<T, Broken>;

impl From<Damage> for Broken {
    fn from(damage: Damage) -> Self {
        Broken(Violation::Damaged, damage.0.into())
    }
}

macro_rules! promise {
    ($violation:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(Broken(Violation::$violation, format!($($what)+)));
        }
    };
}
pub(super) use promise;

/// The result of one look for the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Look {
    Message { sequence: u64, lost: u64 },
    Nothing,
    Closed,
}

/// All results of a consumer, in the order of its looks.
pub(super) type Trace = Vec<Look>;

/// A consumer with an account of its own. The account of the reader is compared with it at every
/// look.
pub(super) struct Consumer<F: RingKind> {
    pub(super) reader: Reader<F::Frames>,
    /// The sequence of the next message, if none is lost.
    pub(super) expected: u64,
    pub(super) messages: Vec<(u64, Vec<u8>)>,
    pub(super) trace: Trace,
}

impl<F: RingKind> Consumer<F> {
    /// A consumer at the first message.
    pub(super) fn new(s: &Setting, memory: &ModelMemory) -> Self {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        Consumer {
            reader,
            expected: s.shape.first,
            messages: Vec::new(),
            trace: Vec::new(),
        }
    }

    pub(super) fn look(&mut self) -> Checked<Look> {
        let mut buffer = [0; MESSAGE * BATCH];
        let (pop, many) = F::pop(&mut self.reader, &mut buffer)?;
        let look = match pop {
            Pop::Message(info) => {
                let (sequence, lost) = (info.sequence, info.lost);
                let passed = sequence.wrapping_sub(self.expected);
                promise!(Account, passed < 1 << 32, "repeated or reordered: {info:?}");
                promise!(Account, lost == passed, "{passed} passed: {info:?}");
                self.expected = sequence.wrapping_add(many as u64);
                for i in 0..many {
                    let message = &buffer[i * MESSAGE..][..info.length as usize];
                    self.messages
                        .push((sequence.wrapping_add(i as u64), message.to_vec()));
                }
                Look::Message { sequence, lost }
            }
            Pop::Empty => Look::Nothing,
            Pop::Closed => Look::Closed,
            other => panic!("no process did anything that leads to {other:?}"),
        };
        let (received, lost) = self.reader.counts();
        let accounted = self.reader.start.wrapping_add(received).wrapping_add(lost);
        promise!(
            Account,
            accounted == self.reader.next() && received == self.messages.len() as u64,
            "{received} received, {lost} lost"
        );
        self.trace.push(look);
        Ok(look)
    }

    /// Looks this many times.
    pub(super) fn looks(mut self, times: usize) -> Checked<Self> {
        for _ in 0..times {
            self.look()?;
        }
        Ok(self)
    }

    /// Receives all messages.
    pub(super) fn drain(&mut self) -> Checked<Look> {
        loop {
            match self.look()? {
                Look::Message { .. } => {}
                end => return Ok(end),
            }
        }
    }

    /// Checks that each message is the one that was pushed. Those of the second producer begin at
    /// `second`.
    pub(super) fn compare(&self, s: &Setting, second: u64) -> Checked<()> {
        for (sequence, message) in &self.messages {
            let producer = u64::from(s.number(*sequence) >= s.number(second));
            let pushed = s.message(*sequence, producer);
            promise!(
                Torn,
                *message == pushed,
                "{sequence} is {message:?}, not {pushed:?}"
            );
        }
        Ok(())
    }

    /// Checks the rest when the producers have stopped. `end` is the sequence after the last
    /// message, and those of the second producer begin at `second`.
    pub(super) fn settle(mut self, s: &Setting, end: u64, second: u64) -> Checked<Trace> {
        let trace = self.trace.clone();
        self.compare(s, second)?;
        self.drain()?;
        let next = self.reader.next();
        promise!(Missing, next == end, "{next} is next, not {end}");
        self.compare(s, second)?;
        Ok(trace)
    }
}
