//! The queues that the models use: their settings, their messages, and the ways to push and pop.

use super::memory::{ModelMemory, Mutation};
use crate::format::data_file::SLOT_HEADER;
use crate::ring::fixed::FixedWriter;
use crate::ring::variable::VariableWriter;
use crate::ring::{
    Damage, Field, FixedReader, FrameReader, FrameWriter, Memory, Pop, Reader, Shape,
    VariableReader,
};

/// A queue and its messages. Each message has up to two words. They contain its sequence and its
/// producer, so that a torn copy shows.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) shape: Shape,
    /// The bytes of each message that the first producer pushes.
    pub(super) lengths: &'static [usize],
    /// The bytes of a claim before each of them, which is written to and then abandoned.
    pub(super) abandons: &'static [usize],
    pub(super) without: Option<Mutation>,
    pub(super) of: Option<Field>,
}

impl Setting {
    /// Messages of two words, in a ring of this many slots.
    pub(super) const fn fixed(slots: u64, block: u64, lengths: &'static [usize]) -> Setting {
        let shape = Shape {
            capacity: slots,
            block,
            stride: SLOT_HEADER + 16,
            bytes: slots as usize * (SLOT_HEADER + 16),
            message: 16,
            first: 0,
            lossless: false,
            min_consumers: 0,
        };
        Setting {
            shape,
            lengths,
            abandons: &[],
            without: None,
            of: None,
        }
    }

    /// Messages of up to two words, in a ring of 64 bytes: two of the longest.
    pub(super) const fn variable(lengths: &'static [usize]) -> Setting {
        let shape = Shape {
            capacity: 64,
            block: 16,
            stride: 0,
            bytes: 64,
            message: 16,
            first: 0,
            lossless: false,
            min_consumers: 0,
        };
        Setting {
            shape,
            lengths,
            abandons: &[],
            without: None,
            of: None,
        }
    }

    pub(super) const fn abandoning(self, abandons: &'static [usize]) -> Setting {
        Setting { abandons, ..self }
    }

    pub(super) const fn without(self, mutation: Mutation) -> Setting {
        Setting {
            without: Some(mutation),
            ..self
        }
    }

    /// The mutation concerns only the stores of this word.
    pub(super) const fn of(self, field: Field) -> Setting {
        Setting {
            of: Some(field),
            ..self
        }
    }

    pub(super) const fn first(self, first: u64) -> Setting {
        Setting {
            shape: Shape {
                first,
                ..self.shape
            },
            ..self
        }
    }

    /// The number of a sequence, from 0.
    pub(super) fn number(&self, sequence: u64) -> usize {
        sequence.wrapping_sub(self.shape.first) as usize
    }

    /// The sequence of a number.
    pub(super) fn sequence(&self, number: usize) -> u64 {
        self.shape.first.wrapping_add(number as u64)
    }

    /// The sequence after the last that the first producer pushes.
    pub(super) fn end(&self) -> u64 {
        self.sequence(self.lengths.len())
    }

    /// The message of a sequence. In a variable ring its words look like the header of a frame
    /// whose sequence is three higher, whatever its length and producer.
    pub(super) fn message(&self, sequence: u64, producer: u64) -> Vec<u8> {
        let n = self.number(sequence);
        let words = match self.shape.stride {
            0 => [
                sequence.wrapping_add(4),
                (16 - n as u64).saturating_sub(8 * producer),
            ],
            _ => [sequence << 8 | producer, sequence << 8 | producer | 16],
        };
        let length = self.lengths.get(n).copied().unwrap_or(16);
        words.map(u64::to_le_bytes).concat()[..length].to_vec()
    }
}

/// One kind of ring, with its writer and its reader, and the way to push and pop that is tried
/// first.
pub(super) trait RingKind: 'static {
    type Writer: FrameWriter<Memory = ModelMemory>;
    type Frames: FrameReader<Memory = ModelMemory> + Send;
    fn frames(memory: ModelMemory, shape: Shape) -> Self::Frames;
    fn push(writer: &mut Self::Writer, message: &[u8]) -> bool {
        // SAFETY: a slice is readable, and has a length that the ring allows.
        unsafe { writer.push(message.as_ptr(), message.len()) }
    }
    fn pop(reader: &mut Reader<Self::Frames>, buffer: &mut [u8]) -> Result<(Pop, usize), Damage> {
        // SAFETY: the buffer is writable.
        unsafe { reader.pop(buffer.as_mut_ptr(), MESSAGE) }.map(|pop| (pop, 1))
    }
}

/// Bytes of the longest message.
pub(super) const MESSAGE: usize = 16;
/// A batch has at most this many messages.
pub(super) const BATCH: usize = 2;

pub(super) const PLAIN: u8 = 0;
pub(super) const FAST: u8 = 1;
pub(super) const RUN: u8 = 2;
pub(super) const IN_PLACE: u8 = 3;

/// A fixed ring, and the way to push and pop that is tried first.
pub(super) struct Slots<const WAY: u8>;

pub(super) type Fixed = Slots<PLAIN>;
/// As `queue::Consumer` pops short messages, and `queue::Producer` pushes them.
pub(super) type Short = Slots<FAST>;
/// As these pop and push many messages.
pub(super) type Runs = Slots<RUN>;
/// Looks at several messages in place.
pub(super) type InPlace = Slots<IN_PLACE>;

impl<const WAY: u8> RingKind for Slots<WAY> {
    type Writer = FixedWriter<ModelMemory>;
    type Frames = FixedReader<ModelMemory>;
    fn frames(memory: ModelMemory, shape: Shape) -> Self::Frames {
        FixedReader::new(memory, shape)
    }
    fn push(writer: &mut Self::Writer, message: &[u8]) -> bool {
        let (from, length) = (message.as_ptr(), message.len());
        // SAFETY: a slice is readable, and has the message size.
        unsafe {
            let pushed = match WAY {
                FAST => writer.try_fast(from, length),
                RUN => writer.try_fast_run(from, length, 1) == 1,
                _ => false,
            };
            pushed || writer.push(from, length)
        }
    }
    fn pop(reader: &mut Reader<Self::Frames>, buffer: &mut [u8]) -> Result<(Pop, usize), Damage> {
        let to = buffer.as_mut_ptr();
        // SAFETY: the buffer is writable, and has room for a batch of the message size.
        unsafe {
            match WAY {
                FAST => {
                    if let Some((info, _)) = reader.try_fast(to) {
                        return Ok((Pop::Message(info), 1));
                    }
                }
                RUN => {
                    let (many, first) = reader.try_fast_run(to, MESSAGE, BATCH);
                    if many > 0 {
                        return Ok((Pop::Message(first), many));
                    }
                }
                IN_PLACE => {
                    let (pop, place, many) = reader.peek_many(BATCH as u64)?;
                    let Pop::Message(first) = pop else {
                        return Ok((pop, 1));
                    };
                    let frames = reader.frames();
                    for i in 0..many as usize {
                        let offset = place.offset + i * frames.shape().stride;
                        frames.memory().read(offset, to.add(i * MESSAGE), MESSAGE);
                    }
                    if reader.release_many(first.sequence, many)? == Some(true) {
                        return Ok((Pop::Message(first), many as usize));
                    }
                }
                _ => {}
            }
            reader.pop(to, MESSAGE).map(|pop| (pop, 1))
        }
    }
}

pub(super) struct Variable;

impl RingKind for Variable {
    type Writer = VariableWriter<ModelMemory>;
    type Frames = VariableReader<ModelMemory>;
    fn frames(memory: ModelMemory, shape: Shape) -> Self::Frames {
        VariableReader::new(memory, shape)
    }
}

/// Writes to a claim and gives it up.
pub(super) fn abandon<W: FrameWriter>(writer: &mut W, written: &[u8]) {
    let offset = writer
        .reserve(written.len())
        .expect("a lossy ring has room");
    // SAFETY: the room was reserved, and a slice is readable.
    unsafe {
        writer
            .memory()
            .write(offset, written.as_ptr(), written.len())
    };
}

/// A new queue.
pub(super) fn queue<F: RingKind>(s: &Setting) -> ModelMemory {
    let memory = ModelMemory::new(&s.shape, s.without, s.of);
    F::Writer::format(&memory, &s.shape);
    memory.forget()
}

/// Attaches a producer.
pub(super) fn attach<F: RingKind>(s: &Setting, memory: &ModelMemory) -> Result<F::Writer, Damage> {
    F::Writer::recover(memory.clone(), s.shape)
}

/// Pushes from the next sequence up to `end`.
pub(super) fn push<F: RingKind>(s: &Setting, writer: &mut F::Writer, producer: u64, end: u64) {
    while writer.next() != end {
        let next = writer.next();
        if let Some(&room) = s.abandons.get(s.number(next)) {
            // Looks like the header of the next frame, which is there if this message is empty.
            let written = [next.wrapping_add(2), 16].map(u64::to_le_bytes).concat();
            abandon(writer, &written[..room]);
        }
        let message = s.message(next, producer);
        F::push(writer, &message);
    }
}

/// Attaches a producer and pushes from its next sequence up to `end`.
pub(super) fn produce<F: RingKind>(
    s: &Setting,
    memory: &ModelMemory,
    producer: u64,
    end: u64,
) -> Result<F::Writer, Damage> {
    let mut writer = attach::<F>(s, memory)?;
    push::<F>(s, &mut writer, producer, end);
    Ok(writer)
}
