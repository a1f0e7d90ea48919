//! The protocol under the model checker.
//!
//! The same source that runs in production runs here over [`Modelled`], whose words are loom's
//! atomics, and loom tries every interleaving (up to a number of preemptions) and every store that
//! a load may see. `docs/memory-model.md` says what each model covers, and with which bound.
//!
//! Every model has negative twins: the same model without one [`Site`]. A twin must fail, or else
//! the model would not notice if that site were missing.
//!
//! Run it with `scripts/model.sh`.

mod broadcast;
mod close;
mod gate;
mod join;
mod restart;
mod wait;

use super::{
    state, Damage, FixedReader, FixedWriter, Frames, Pop, Reader, Shape, VariableReader,
    VariableWriter,
};
use crate::layout::SLOT_HEADER;
use crate::memory::{order, Field, Memory, Site};
use loom::sync::atomic::{fence, AtomicU64};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

// ---------------------------------------------------------------------------------------------
// The memory

struct Words {
    header: [AtomicU64; 6],
    ring: Vec<AtomicU64>,
    index: Vec<AtomicU64>,
}

/// Shared memory of modelled atomics.
#[derive(Clone)]
struct Modelled {
    words: Arc<Words>,
    /// The sites left out.
    without: &'static [Site],
    /// How many more stores the process with this handle lives for. It is no part of the model:
    /// only that process uses it.
    life: Arc<AtomicUsize>,
}

impl Modelled {
    /// The memory of a new queue, live and not yet formatted.
    fn new(shape: &Shape, without: &'static [Site]) -> Self {
        let words = |n: u64| (0..n).map(|_| AtomicU64::new(0)).collect();
        let (ring, index) = match shape.stride {
            0 => (shape.capacity / 8, shape.capacity / shape.block * 2),
            stride => (shape.capacity * stride as u64 / 8, 0),
        };
        let header = [state::LIVE, 0, 0, 0, 0, 0].map(AtomicU64::new);
        let words = Words {
            header,
            ring: words(ring),
            index: words(index),
        };
        Modelled {
            words: Arc::new(words),
            without,
            life: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// The same memory in the hands of a process that is killed after so many stores.
    fn killed_after(&self, stores: usize) -> Self {
        Modelled {
            life: Arc::new(AtomicUsize::new(stores)),
            ..self.clone()
        }
    }

    fn is_killed(&self) -> bool {
        self.life.load(Ordering::Relaxed) == 0
    }

    /// Whether the next store is still made. After a kill the code runs on and stores nothing,
    /// which for all others is the same as that it does not run.
    fn lives(&self) -> bool {
        let left = self.life.load(Ordering::Relaxed);
        self.life.store(left.saturating_sub(1), Ordering::Relaxed);
        left > 0
    }

    fn store_order(&self, site: Site) -> Ordering {
        match self.keeps(site) {
            true => Ordering::Release,
            false => Ordering::Relaxed,
        }
    }
}

// SAFETY: every access is to an atomic, and checked against the bounds.
unsafe impl Memory for Modelled {
    fn load(&self, field: Field) -> u64 {
        self.words.header[field as usize].load(Ordering::Relaxed)
    }

    fn publish(&self, site: Site, field: Field, value: u64) {
        if self.lives() {
            self.words.header[field as usize].store(value, self.store_order(site));
        }
    }

    unsafe fn word(&self, offset: usize) -> u64 {
        self.words.ring[offset / 8].load(Ordering::Relaxed)
    }

    unsafe fn set_word(&self, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn publish_word(&self, site: Site, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, self.store_order(site));
        }
    }

    unsafe fn index_word(&self, word: usize) -> u64 {
        self.words.index[word].load(Ordering::Relaxed)
    }

    unsafe fn set_index_word(&self, word: usize, value: u64) {
        if self.lives() {
            self.words.index[word].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        for i in (0..length).step_by(8) {
            // SAFETY: `offset` is a multiple of 8.
            let word = unsafe { self.word(offset + i) }.to_le_bytes();
            // SAFETY: `to` is writable for `length` bytes.
            unsafe {
                to.add(i)
                    .copy_from_nonoverlapping(word.as_ptr(), 8.min(length - i))
            };
        }
    }

    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        for i in (0..length).step_by(8) {
            let mut word = [0; 8];
            // SAFETY: `from` is readable for `length` bytes.
            unsafe {
                word.as_mut_ptr()
                    .copy_from_nonoverlapping(from.add(i), 8.min(length - i))
            };
            // SAFETY: `offset` is a multiple of 8.
            unsafe { self.set_word(offset + i, u64::from_le_bytes(word)) };
        }
    }

    fn fence(&self, site: Site) {
        if self.keeps(site) {
            fence(order(site));
        }
    }

    fn keeps(&self, site: Site) -> bool {
        !self.without.contains(&site)
    }
}

// ---------------------------------------------------------------------------------------------
// What is modelled

/// A queue and what is pushed into it. Each message has up to two words, which say its sequence
/// and who pushed it, so that a torn copy shows.
#[derive(Clone, Copy)]
struct Setting {
    shape: Shape,
    /// The bytes of each message that the first producer pushes.
    lengths: &'static [usize],
    without: &'static [Site],
}

impl Setting {
    /// Messages of two words, in a ring of so many slots.
    const fn fixed(slots: u64, block: u64, lengths: &'static [usize]) -> Setting {
        let shape = Shape {
            capacity: slots,
            block,
            stride: SLOT_HEADER + 16,
            message: 16,
            first: 0,
            lossless: false,
            min_consumers: 0,
        };
        Setting {
            shape,
            lengths,
            without: &[],
        }
    }

    /// Messages of up to two words, in a ring of 64 bytes: two of the longest.
    const fn variable(lengths: &'static [usize]) -> Setting {
        let shape = Shape {
            capacity: 64,
            block: 16,
            stride: 0,
            message: 16,
            first: 0,
            lossless: false,
            min_consumers: 0,
        };
        Setting {
            shape,
            lengths,
            without: &[],
        }
    }

    const fn without(self, without: &'static [Site]) -> Setting {
        Setting { without, ..self }
    }

    const fn first(self, first: u64) -> Setting {
        Setting {
            shape: Shape {
                first,
                ..self.shape
            },
            ..self
        }
    }

    /// The number, from 0, of a sequence.
    fn number(&self, sequence: u64) -> usize {
        sequence.wrapping_sub(self.shape.first) as usize
    }

    /// The sequence after the last that the first producer pushes.
    fn end(&self) -> u64 {
        self.shape.first.wrapping_add(self.lengths.len() as u64)
    }

    /// The message of a sequence. In a variable ring its words look like the header of a frame
    /// with the sequence three later: a message of any length, pushed by whom it may be.
    fn message(&self, sequence: u64, producer: u64) -> Vec<u8> {
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

/// One framing, both sides.
trait Framing: 'static {
    type Writer;
    type Frames: Frames<Memory = Modelled> + Send;
    fn format(memory: &Modelled, shape: &Shape);
    fn recover(memory: Modelled, shape: Shape) -> Result<Self::Writer, Damage>;
    fn next(writer: &Self::Writer) -> u64;
    fn push(writer: &mut Self::Writer, message: &[u8]);
    fn settle(writer: &mut Self::Writer);
    fn frames(memory: Modelled, shape: Shape) -> Self::Frames;
}

struct Fixed;

impl Framing for Fixed {
    type Writer = FixedWriter<Modelled>;
    type Frames = FixedReader<Modelled>;
    fn format(memory: &Modelled, shape: &Shape) {
        FixedWriter::format(memory, shape);
    }
    fn recover(memory: Modelled, shape: Shape) -> Result<Self::Writer, Damage> {
        FixedWriter::recover(memory, shape)
    }
    fn next(writer: &Self::Writer) -> u64 {
        writer.next()
    }
    fn push(writer: &mut Self::Writer, message: &[u8]) {
        // SAFETY: a slice is readable, and has the message size.
        unsafe { writer.push(message.as_ptr()) };
    }
    fn settle(writer: &mut Self::Writer) {
        writer.settle();
    }
    fn frames(memory: Modelled, shape: Shape) -> Self::Frames {
        FixedReader::new(memory, shape)
    }
}

struct Variable;

impl Framing for Variable {
    type Writer = VariableWriter<Modelled>;
    type Frames = VariableReader<Modelled>;
    fn format(memory: &Modelled, shape: &Shape) {
        VariableWriter::format(memory, shape);
    }
    fn recover(memory: Modelled, shape: Shape) -> Result<Self::Writer, Damage> {
        VariableWriter::recover(memory, shape)
    }
    fn next(writer: &Self::Writer) -> u64 {
        writer.next()
    }
    fn push(writer: &mut Self::Writer, message: &[u8]) {
        // SAFETY: a slice is readable, and no longer than the longest message.
        unsafe { writer.push(message.as_ptr(), message.len()) };
    }
    fn settle(writer: &mut Self::Writer) {
        writer.settle();
    }
    fn frames(memory: Modelled, shape: Shape) -> Self::Frames {
        VariableReader::new(memory, shape)
    }
}

/// A new queue.
fn queue<F: Framing>(s: &Setting) -> Modelled {
    let memory = Modelled::new(&s.shape, s.without);
    F::format(&memory, &s.shape);
    memory
}

/// Attaches a producer and pushes from its next sequence up to `end`.
fn produce<F: Framing>(s: &Setting, memory: &Modelled, producer: u64, end: u64) -> F::Writer {
    let mut writer = must(F::recover(memory.clone(), s.shape));
    while F::next(&writer) != end {
        let message = s.message(F::next(&writer), producer);
        F::push(&mut writer, &message);
    }
    writer
}

// ---------------------------------------------------------------------------------------------
// What is checked

/// Begins every message of a violated promise, to tell it from a limit of loom.
const VIOLATED: &str = "violated: ";

macro_rules! promise {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            panic!("{}{}", VIOLATED, format_args!($($what)+));
        }
    };
}

use promise;

/// No memory of a model is damaged.
fn must<T>(result: Result<T, Damage>) -> T {
    match result {
        Ok(value) => value,
        Err(Damage(what)) => panic!("{VIOLATED}damage: {what}"),
    }
}

/// What a look for the next message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Message,
    Nothing,
    Closed,
}

/// A consumer with an account of its own, against which the reader's is checked at every step.
struct Consumer<F: Framing> {
    reader: Reader<F::Frames>,
    /// The sequence that comes next unless some are lost.
    expected: u64,
    messages: Vec<(u64, Vec<u8>)>,
}

impl<F: Framing> Consumer<F> {
    /// At the first message ever.
    fn new(s: &Setting, memory: &Modelled) -> Self {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        Consumer {
            reader,
            expected: s.shape.first,
            messages: Vec::new(),
        }
    }

    fn look(&mut self) -> Look {
        let mut buffer = [0; 16];
        // SAFETY: the buffer is writable.
        let pop = must(unsafe { self.reader.pop(buffer.as_mut_ptr(), buffer.len()) });
        let look = match pop {
            Pop::Message(info) => {
                let lost = info.sequence.wrapping_sub(self.expected);
                promise!(lost < 1 << 32, "repeated or reordered: {info:?}");
                promise!(info.lost == lost, "{lost} lost: {info:?}");
                self.expected = info.sequence.wrapping_add(1);
                self.messages
                    .push((info.sequence, buffer[..info.length as usize].to_vec()));
                Look::Message
            }
            Pop::Empty => Look::Nothing,
            Pop::Closed => Look::Closed,
            other => panic!("{VIOLATED}{other:?}"),
        };
        let (received, lost) = self.reader.counts();
        let accounted = self.reader.start.wrapping_add(received).wrapping_add(lost);
        promise!(
            accounted == self.reader.next(),
            "the account: {received} received, {lost} lost"
        );
        promise!(
            received == self.messages.len() as u64,
            "{received} received"
        );
        look
    }

    /// Looks so many times.
    fn looks(&mut self, times: usize) {
        for _ in 0..times {
            self.look();
        }
    }

    /// Receives all there is.
    fn drain(&mut self) -> Look {
        loop {
            match self.look() {
                Look::Message => {}
                end => return end,
            }
        }
    }

    /// With the producers at rest: `end` is the sequence pushed next, and the second producer's
    /// messages begin at `second`.
    fn settle(mut self, s: &Setting, end: u64, second: u64) {
        self.drain();
        promise!(
            self.reader.next() == end,
            "{} is next, not {end}",
            self.reader.next()
        );
        for (sequence, message) in &self.messages {
            let producer = u64::from(s.number(*sequence) >= s.number(second));
            let pushed = s.message(*sequence, producer);
            promise!(
                *message == pushed,
                "{sequence} is {message:?}, not {pushed:?}"
            );
        }
    }
}

// ---------------------------------------------------------------------------------------------
// How it is explored

/// Whether to explore what takes minutes, too.
fn full() -> bool {
    std::env::var_os("IPCQ_MODEL").is_some_and(|value| value == "full")
}

/// Tries every execution with up to so many preemptions.
fn explore(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = runs.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        body();
    });
    println!("{} executions", runs.load(Ordering::Relaxed));
}

/// Tries executions until one violates a promise, which one must.
fn dies(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
    let explored = std::panic::AssertUnwindSafe(|| explore(preemptions, body));
    let Err(panic) = std::panic::catch_unwind(explored) else {
        panic!("the model does not notice what was left out");
    };
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.starts_with(VIOLATED), "not a violated promise: {said}");
}

/// A negative twin: `model` of `setting` without `site` violates a promise.
macro_rules! twins {
    ($($name:ident: $model:ident::<$framing:ident>, $setting:expr, $site:ident;)+) => {
        $(
            #[test]
            fn $name() {
                const S: $crate::ring::model::Setting = $setting.without(&[Site::$site]);
                $crate::ring::model::dies(3, || $model::<$framing>(&S));
            }
        )+
    };
}
use twins;
