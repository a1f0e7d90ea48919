//! The protocol under the model checker.
//!
//! The same source that runs in production runs here over [`Modelled`], whose words are loom's
//! atomics, and loom tries every interleaving (up to a number of preemptions) and every store that
//! a load may see. `docs/memory-model.md` says what each model covers, and with which bound.
//!
//! Every model has negative twins: the same model without one [`Site`]. A twin must break the
//! promise that this site is there for ([`Breach`]), or else the model would not notice if the site
//! were missing.
//!
//! # Why no preemptions are enough
//!
//! Consumers write nothing, and a producer reads nothing but what it or a dead one wrote. So an
//! execution is no more than the choice, for every load of a consumer, of one store that the memory
//! model lets it see; who ran when adds nothing. Loom tries all these choices where the producer
//! runs to its end first: a later load may still see any older store that nothing it has seen
//! rules out. It does so with no preemption at all, as long as no word is stored more often than
//! loom remembers ([`HISTORY`], which is checked). `preemptions_add_nothing` compares what is
//! observed with and without preemptions.
//!
//! The models of [`wait`] and [`flow_control`] are different: there both sides store and look, and they are
//! explored with preemptions.
//!
//! Run it with `scripts/model.sh`.

mod broadcast;
mod close;
mod flow_control;
mod join;
mod restart;
mod wait;

use crate::format::data_file::{state, SLOT_HEADER};
use crate::ring::memory::Step;
use crate::ring::{
    Damage, FixedReader, FixedWriter, FrameReader, Pop, Reader, Shape, VariableReader,
    VariableWriter,
};
use crate::ring::{Field, Memory, Site};
use loom::sync::atomic::{fence, AtomicU64};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

// ---------------------------------------------------------------------------------------------
// The memory

/// How many stores of a word loom remembers, the initial value among them.
const HISTORY: usize = 7;

/// A modelled word, and how often it was stored.
struct Word {
    value: AtomicU64,
    stores: AtomicUsize,
}

impl Word {
    fn new(value: u64) -> Self {
        Word {
            value: AtomicU64::new(value),
            stores: AtomicUsize::new(1),
        }
    }

    fn load(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }

    /// As in a new file: whoever opens it sees no older value.
    fn forget(&self) -> Self {
        Word::new(self.load())
    }

    fn store(&self, value: u64, order: Ordering) {
        let stores = self.stores.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(
            stores <= HISTORY,
            "loom forgets stores of this model: {stores}"
        );
        self.value.store(value, order);
    }
}

struct Words {
    header: [Word; 6],
    ring: Vec<Word>,
    index: Vec<Word>,
}

/// Shared memory of modelled atomics.
#[derive(Clone)]
struct Modelled {
    words: Arc<Words>,
    without: Option<Mutation>,
    /// If not all stores of such a site, only those of this header word.
    of: Option<Field>,
    /// How many more stores the process with this handle lives for. It is no part of the model:
    /// only that process uses it.
    life: Arc<AtomicUsize>,
}

impl Modelled {
    /// The memory of a new queue, live and not yet formatted.
    fn new(s: &Setting) -> Self {
        let shape = &s.shape;
        let words = |n: u64| (0..n).map(|_| Word::new(0)).collect();
        let (ring, index) = match shape.stride {
            0 => (shape.capacity / 8, shape.capacity / shape.block * 2),
            stride => (shape.capacity * stride as u64 / 8, 0),
        };
        let header = [state::LIVE, 0, 0, 0, 0, 0].map(Word::new);
        let words = Words {
            header,
            ring: words(ring),
            index: words(index),
        };
        Modelled {
            words: Arc::new(words),
            without: s.without,
            of: s.of,
            life: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// As it is now in a file of its own, without what was stored before: nobody has seen it.
    fn forget(&self) -> Self {
        let forget = |words: &[Word]| words.iter().map(Word::forget).collect();
        let words = Words {
            header: std::array::from_fn(|i| self.words.header[i].forget()),
            ring: forget(&self.words.ring),
            index: forget(&self.words.index),
        };
        Modelled {
            words: Arc::new(words),
            ..self.clone()
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

    fn has(&self, site: Site) -> bool {
        self.without != Some(Mutation::Site(site))
    }

    fn store_order(&self, site: Site) -> Ordering {
        match self.has(site) {
            true => Ordering::Release,
            false => Ordering::Relaxed,
        }
    }
}

// SAFETY: every access is to an atomic, and checked against the bounds.
unsafe impl Memory for Modelled {
    fn load_relaxed(&self, field: Field) -> u64 {
        self.words.header[field as usize].load()
    }

    fn store_release(&self, site: Site, field: Field, value: u64) {
        if self.lives() {
            let order = match self.of {
                Some(of) if of != field => Ordering::Release,
                _ => self.store_order(site),
            };
            self.words.header[field as usize].store(value, order);
        }
    }

    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        self.words.ring[offset / 8].load()
    }

    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn store_word_release(&self, site: Site, offset: usize, value: u64) {
        if self.lives() {
            self.words.ring[offset / 8].store(value, self.store_order(site));
        }
    }

    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        self.words.index[word].load()
    }

    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        if self.lives() {
            self.words.index[word].store(value, Ordering::Relaxed);
        }
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        for i in (0..length).step_by(8) {
            // SAFETY: `offset` is a multiple of 8.
            let word = unsafe { self.load_word_relaxed(offset + i) }.to_le_bytes();
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
            unsafe { self.store_word_relaxed(offset + i, u64::from_le_bytes(word)) };
        }
    }

    fn fence(&self, order: Ordering, site: Site) {
        if self.has(site) {
            fence(order);
        }
    }

    fn performs(&self, step: Step) -> bool {
        self.without != Some(Mutation::Step(step))
    }
}

/// What a mutation test leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    Site(Site),
    Step(Step),
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
    /// The bytes of a claim before each of them, which is written to and given up.
    abandons: &'static [usize],
    without: Option<Mutation>,
    of: Option<Field>,
}

impl Setting {
    /// Messages of two words, in a ring of so many slots.
    const fn fixed(slots: u64, block: u64, lengths: &'static [usize]) -> Setting {
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
    const fn variable(lengths: &'static [usize]) -> Setting {
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

    const fn abandoning(self, abandons: &'static [usize]) -> Setting {
        Setting { abandons, ..self }
    }

    const fn without(self, mutation: Mutation) -> Setting {
        Setting {
            without: Some(mutation),
            ..self
        }
    }

    /// Of the sites left out, only what they are for this word.
    const fn of(self, field: Field) -> Setting {
        Setting {
            of: Some(field),
            ..self
        }
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

    /// The sequence of a number.
    fn sequence(&self, number: usize) -> u64 {
        self.shape.first.wrapping_add(number as u64)
    }

    /// The sequence after the last that the first producer pushes.
    fn end(&self) -> u64 {
        self.sequence(self.lengths.len())
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
    type Frames: FrameReader<Memory = Modelled> + Send;
    fn format(memory: &Modelled, shape: &Shape);
    fn recover(memory: Modelled, shape: Shape) -> Result<Self::Writer, Damage>;
    fn next(writer: &Self::Writer) -> u64;
    fn push(writer: &mut Self::Writer, message: &[u8]);
    fn abandon(writer: &mut Self::Writer, written: &[u8]);
    fn settle(writer: &mut Self::Writer);
    fn frames(memory: Modelled, shape: Shape) -> Self::Frames;
    fn pop(reader: &mut Reader<Self::Frames>, buffer: &mut [u8]) -> Result<(Pop, usize), Damage> {
        // SAFETY: the buffer is writable.
        unsafe { reader.pop(buffer.as_mut_ptr(), MESSAGE) }.map(|pop| (pop, 1))
    }
}

/// Bytes of the longest message, and how many of them are popped at once at most.
const MESSAGE: usize = 16;
const BATCH: usize = 2;

const PLAIN: u8 = 0;
const SHORT: u8 = 1;
const RUN: u8 = 2;
const IN_PLACE: u8 = 3;

/// Slots, and which way of popping and pushing is tried first.
struct Slots<const WAY: u8>;

type Fixed = Slots<PLAIN>;
/// As `queue::Consumer` pops short messages, and `queue::Producer` pushes them.
type Short = Slots<SHORT>;
/// As they pop and push many.
type Runs = Slots<RUN>;
/// Looks at as many in place.
type InPlace = Slots<IN_PLACE>;

impl<const WAY: u8> Framing for Slots<WAY> {
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
        let from = message.as_ptr();
        // SAFETY: a slice is readable, and has the message size.
        let pushed = unsafe {
            match WAY {
                SHORT => writer.try_fast(from, message.len()),
                RUN => writer.try_fast_run(from, message.len(), 1) == 1,
                _ => false,
            }
        };
        if !pushed {
            // SAFETY: as above.
            unsafe { writer.push(from) };
        }
    }
    fn abandon(writer: &mut Self::Writer, written: &[u8]) {
        let offset = writer.reserve().expect("a lossy ring has room");
        // SAFETY: the slot was reserved, and a slice is readable.
        unsafe {
            writer
                .memory()
                .write(offset, written.as_ptr(), written.len())
        };
    }
    fn settle(writer: &mut Self::Writer) {
        writer.settle();
    }
    fn frames(memory: Modelled, shape: Shape) -> Self::Frames {
        FixedReader::new(memory, shape)
    }
    fn pop(reader: &mut Reader<Self::Frames>, buffer: &mut [u8]) -> Result<(Pop, usize), Damage> {
        let to = buffer.as_mut_ptr();
        // SAFETY: the buffer is writable, and has room for a batch of the message size.
        unsafe {
            match WAY {
                SHORT => {
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
    fn abandon(writer: &mut Self::Writer, written: &[u8]) {
        let offset = writer
            .reserve(written.len())
            .expect("a lossy ring has room");
        // SAFETY: the frame was reserved, and a slice is readable.
        unsafe {
            writer
                .memory()
                .write(offset, written.as_ptr(), written.len())
        };
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
    let memory = Modelled::new(s);
    F::format(&memory, &s.shape);
    memory.forget()
}

/// Attaches a producer.
fn attach<F: Framing>(s: &Setting, memory: &Modelled) -> Kept<F::Writer> {
    Ok(F::recover(memory.clone(), s.shape)?)
}

/// Pushes from the next sequence up to `end`.
fn push<F: Framing>(s: &Setting, writer: &mut F::Writer, producer: u64, end: u64) {
    while F::next(writer) != end {
        let next = F::next(writer);
        if let Some(&room) = s.abandons.get(s.number(next)) {
            // Looks like the header of the next frame, which lies there if this one is empty.
            let written = [next.wrapping_add(2), 16].map(u64::to_le_bytes).concat();
            F::abandon(writer, &written[..room]);
        }
        let message = s.message(next, producer);
        F::push(writer, &message);
    }
}

/// Attaches a producer and pushes from its next sequence up to `end`.
fn produce<F: Framing>(s: &Setting, memory: &Modelled, producer: u64, end: u64) -> Kept<F::Writer> {
    let mut writer = attach::<F>(s, memory)?;
    push::<F>(s, &mut writer, producer, end);
    Ok(writer)
}

// ---------------------------------------------------------------------------------------------
// What is checked

/// Which promise was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breach {
    /// A message is not what was pushed under its sequence.
    Torn,
    /// The sequences and the counts of what was received and lost do not fit together.
    Account,
    /// The end is told before the last message.
    Early,
    /// A message is not found, though it is there and known to be there.
    Missing,
    /// One who sleeps is never woken.
    Asleep,
    /// A message of a lossless ring is lost.
    Lost,
    /// Memory that only this library has written is called damaged.
    Damaged,
}

#[derive(Debug)]
struct Broken(Breach, String);

type Kept<T> = Result<T, Broken>;

impl From<Damage> for Broken {
    fn from(damage: Damage) -> Self {
        Broken(Breach::Damaged, damage.0.into())
    }
}

macro_rules! promise {
    ($breach:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(Broken(Breach::$breach, format!($($what)+)));
        }
    };
}
use promise;

/// What a look for the next message came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Message { sequence: u64, lost: u64 },
    Nothing,
    Closed,
}

/// All that a consumer was told, in the order of its looks.
type Story = Vec<Look>;

/// A consumer with an account of its own, against which the reader's is checked at every step.
struct Consumer<F: Framing> {
    reader: Reader<F::Frames>,
    /// The sequence that comes next unless some are lost.
    expected: u64,
    messages: Vec<(u64, Vec<u8>)>,
    story: Story,
}

impl<F: Framing> Consumer<F> {
    /// At the first message ever.
    fn new(s: &Setting, memory: &Modelled) -> Self {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        Consumer {
            reader,
            expected: s.shape.first,
            messages: Vec::new(),
            story: Vec::new(),
        }
    }

    fn look(&mut self) -> Kept<Look> {
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
            other => panic!("nobody did what leads to {other:?}"),
        };
        let (received, lost) = self.reader.counts();
        let accounted = self.reader.start.wrapping_add(received).wrapping_add(lost);
        promise!(
            Account,
            accounted == self.reader.next() && received == self.messages.len() as u64,
            "{received} received, {lost} lost"
        );
        self.story.push(look);
        Ok(look)
    }

    /// Looks so many times.
    fn looks(mut self, times: usize) -> Kept<Self> {
        for _ in 0..times {
            self.look()?;
        }
        Ok(self)
    }

    /// Receives all there is.
    fn drain(&mut self) -> Kept<Look> {
        loop {
            match self.look()? {
                Look::Message { .. } => {}
                end => return Ok(end),
            }
        }
    }

    /// Whether each message is what was pushed; the second producer's begin at `second`.
    fn compare(&self, s: &Setting, second: u64) -> Kept<()> {
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

    /// With the producers at rest: `end` is the sequence pushed next, and the second producer's
    /// messages begin at `second`.
    fn settle(mut self, s: &Setting, end: u64, second: u64) -> Kept<Story> {
        let story = self.story.clone();
        self.compare(s, second)?;
        self.drain()?;
        let next = self.reader.next();
        promise!(Missing, next == end, "{next} is next, not {end}");
        self.compare(s, second)?;
        Ok(story)
    }
}

// ---------------------------------------------------------------------------------------------
// How it is explored

/// Whether to explore what takes minutes, too.
fn full() -> bool {
    std::env::var_os("IPCQ_MODEL").is_some_and(|value| value == "full")
}

/// Tries every execution with up to so many preemptions.
fn executions(preemptions: usize, body: impl Fn() + Send + Sync + 'static) {
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

/// Tries every execution, none of which may break a promise. No preemptions are enough: see above.
fn explore<T>(body: impl Fn() -> Kept<T> + Send + Sync + 'static) {
    explore_up_to(0, body);
}

/// As [`explore`], with so many preemptions: where both sides look at what the other has stored.
fn explore_up_to<T>(preemptions: usize, body: impl Fn() -> Kept<T> + Send + Sync + 'static) {
    executions(preemptions, move || {
        if let Err(Broken(breach, what)) = body() {
            panic!("{breach:?}: {what}");
        }
    });
}

/// All that can be observed, with up to so many preemptions.
fn observed<T: Ord + Send + 'static>(
    preemptions: usize,
    body: impl Fn() -> Kept<T> + Send + Sync + 'static,
) -> BTreeSet<T> {
    let all = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = all.clone();
    executions(preemptions, move || {
        let one = body().unwrap_or_else(|broken| panic!("{broken:?}"));
        seen.lock().unwrap().insert(one);
    });
    let mut all = all.lock().unwrap();
    std::mem::take(&mut all)
}

/// Whether what is observed without preemptions is all there is, as the argument above says.
fn preemptions_add_nothing<T: Ord + std::fmt::Debug + Send + 'static>(body: fn() -> Kept<T>) {
    let without = observed(0, body);
    assert!(without.len() > 1, "{without:?}");
    assert_eq!(without, observed(if full() { 2 } else { 1 }, body));
}

/// What a panic says when a twin has died.
const DEAD: &str = "the twin is dead: ";

/// Tries executions until one breaks this promise, which one must. Others that it breaks on the
/// way are not what it should die of.
fn dies<T>(breach: Breach, body: impl Fn() -> Kept<T> + Send + Sync + 'static) {
    dies_within(0, breach, body);
}

/// As [`dies`], with so many preemptions.
fn dies_within<T>(
    preemptions: usize,
    breach: Breach,
    body: impl Fn() -> Kept<T> + Send + Sync + 'static,
) {
    let explored = std::panic::AssertUnwindSafe(|| {
        executions(preemptions, move || match body() {
            Err(Broken(found, what)) if found == breach => panic!("{DEAD}{what}"),
            _ => {}
        })
    });
    let Err(panic) = std::panic::catch_unwind(explored) else {
        panic!("the model does not notice what was left out");
    };
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.starts_with(DEAD), "no broken promise: {said}");
}

/// A negative twin: `model` of `setting` without `site` breaks this promise.
macro_rules! twins {
    ($($name:ident: $model:ident::<$framing:ident>, $setting:expr, $kind:ident::$what:ident => $breach:ident;)+) => {
        $(
            #[test]
            fn $name() {
                const S: $crate::ring::tests::loom::Setting = $setting.without(Mutation::$kind($kind::$what));
                $crate::ring::tests::loom::dies(Breach::$breach, || $model::<$framing>(&S));
            }
        )+
    };
}
use twins;
