//! The protocol under the model checker.
//!
//! The same source that runs in production runs here over [`ModelMemory`], whose words are the
//! atomics of loom. loom tries every interleaving (up to a number of preemptions) and every store
//! that a load may see. `docs/memory-model.md` has the scope and the bound of each model.
//!
//! Every model has mutation tests. Each is the same model without one [`Site`] or [`Step`], and
//! must break the promise that this site or step is there for ([`Violation`]). Otherwise the model
//! would not notice that it is missing.
//!
//! # Why no preemptions are enough
//!
//! Consumers write nothing, and a producer reads only words that it or a dead producer wrote. So an
//! execution is only the choice, for every load of a consumer, of one store that the memory model
//! lets it see. The schedule adds nothing. loom tries all these choices when the producer runs to
//! its end first, because a later load may still see any older store that the loads before it do
//! not rule out. loom does this without a preemption if no word is stored more often than loom
//! remembers ([`HISTORY`], which is checked). `preemptions_add_nothing` compares the observations
//! with and without preemptions.
//!
//! The models of [`wait`] and [`flow_control`] are different. Both sides store and look there, so
//! they are explored with preemptions.
//!
//! Run it with `scripts/model.sh`.

mod broadcast;
mod close;
mod flow_control;
mod join;
mod restart;
mod wait;

use crate::format::data_file::{state, SLOT_HEADER};
use crate::ring::fixed::FixedWriter;
use crate::ring::memory::Step;
use crate::ring::variable::VariableWriter;
use crate::ring::{
    Damage, FixedReader, FrameReader, FrameWriter, Pop, Reader, Shape, VariableReader,
};
use crate::ring::{Field, Memory, Site};
use loom::sync::atomic::{fence, AtomicU64};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

// ---------------------------------------------------------------------------------------------
// The memory

/// loom remembers this many stores of a word, including the initial value.
const HISTORY: usize = 7;

/// A modelled word, and the number of its stores.
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

    /// As in a new file: a process that opens the file sees no older value.
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
struct ModelMemory {
    words: Arc<Words>,
    without: Option<Mutation>,
    /// With a value, only the stores of this header word lose their order.
    of: Option<Field>,
    /// The process with this handle is killed after this many more stores. This is not a part of
    /// the model, because only that process uses it.
    stores_left: Arc<AtomicUsize>,
}

impl ModelMemory {
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
        ModelMemory {
            words: Arc::new(words),
            without: s.without,
            of: s.of,
            stores_left: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// The same values in a new file, without the stores before, because no process has seen them.
    fn forget(&self) -> Self {
        let forget = |words: &[Word]| words.iter().map(Word::forget).collect();
        let words = Words {
            header: std::array::from_fn(|i| self.words.header[i].forget()),
            ring: forget(&self.words.ring),
            index: forget(&self.words.index),
        };
        ModelMemory {
            words: Arc::new(words),
            ..self.clone()
        }
    }

    /// The same memory for a process that is killed after this many stores.
    fn killed_after(&self, stores: usize) -> Self {
        ModelMemory {
            stores_left: Arc::new(AtomicUsize::new(stores)),
            ..self.clone()
        }
    }

    fn is_killed(&self) -> bool {
        self.stores_left.load(Ordering::Relaxed) == 0
    }

    /// Whether the process makes its next store. After a kill the code still runs but stores
    /// nothing. For all other processes that is the same as if it did not run.
    fn lives(&self) -> bool {
        let left = self.stores_left.load(Ordering::Relaxed);
        self.stores_left
            .store(left.saturating_sub(1), Ordering::Relaxed);
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

// SAFETY: every access is to an atomic, and is checked against the bounds.
unsafe impl Memory for ModelMemory {
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

/// The part that a mutation test leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    Site(Site),
    Step(Step),
}

// ---------------------------------------------------------------------------------------------
// The queues

/// A queue and its messages. Each message has up to two words. They contain its sequence and its
/// producer, so that a torn copy shows.
#[derive(Clone, Copy)]
struct Setting {
    shape: Shape,
    /// The bytes of each message that the first producer pushes.
    lengths: &'static [usize],
    /// The bytes of a claim before each of them, which is written to and then abandoned.
    abandons: &'static [usize],
    without: Option<Mutation>,
    of: Option<Field>,
}

impl Setting {
    /// Messages of two words, in a ring of this many slots.
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

    /// The mutation concerns only the stores of this word.
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

    /// The number of a sequence, from 0.
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
    /// whose sequence is three higher, whatever its length and producer.
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

/// One kind of ring, with its writer and its reader, and the way to push and pop that is tried
/// first.
trait RingKind: 'static {
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
const MESSAGE: usize = 16;
/// A batch has at most this many messages.
const BATCH: usize = 2;

const PLAIN: u8 = 0;
const FAST: u8 = 1;
const RUN: u8 = 2;
const IN_PLACE: u8 = 3;

/// A fixed ring, and the way to push and pop that is tried first.
struct Slots<const WAY: u8>;

type Fixed = Slots<PLAIN>;
/// As `queue::Consumer` pops short messages, and `queue::Producer` pushes them.
type Short = Slots<FAST>;
/// As these pop and push many messages.
type Runs = Slots<RUN>;
/// Looks at several messages in place.
type InPlace = Slots<IN_PLACE>;

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

struct Variable;

impl RingKind for Variable {
    type Writer = VariableWriter<ModelMemory>;
    type Frames = VariableReader<ModelMemory>;
    fn frames(memory: ModelMemory, shape: Shape) -> Self::Frames {
        VariableReader::new(memory, shape)
    }
}

/// Writes to a claim and gives it up.
fn abandon<W: FrameWriter>(writer: &mut W, written: &[u8]) {
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
fn queue<F: RingKind>(s: &Setting) -> ModelMemory {
    let memory = ModelMemory::new(s);
    F::Writer::format(&memory, &s.shape);
    memory.forget()
}

/// Attaches a producer.
fn attach<F: RingKind>(s: &Setting, memory: &ModelMemory) -> Checked<F::Writer> {
    Ok(F::Writer::recover(memory.clone(), s.shape)?)
}

/// Pushes from the next sequence up to `end`.
fn push<F: RingKind>(s: &Setting, writer: &mut F::Writer, producer: u64, end: u64) {
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
fn produce<F: RingKind>(
    s: &Setting,
    memory: &ModelMemory,
    producer: u64,
    end: u64,
) -> Checked<F::Writer> {
    let mut writer = attach::<F>(s, memory)?;
    push::<F>(s, &mut writer, producer, end);
    Ok(writer)
}

// ---------------------------------------------------------------------------------------------
// The promises

/// The promise that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Violation {
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
struct Broken(Violation, String);

type Checked<T> = Result<T, Broken>;

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
use promise;

/// The result of one look for the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Message { sequence: u64, lost: u64 },
    Nothing,
    Closed,
}

/// All results of a consumer, in the order of its looks.
type Trace = Vec<Look>;

/// A consumer with an account of its own. The account of the reader is compared with it at every
/// look.
struct Consumer<F: RingKind> {
    reader: Reader<F::Frames>,
    /// The sequence of the next message, if none is lost.
    expected: u64,
    messages: Vec<(u64, Vec<u8>)>,
    trace: Trace,
}

impl<F: RingKind> Consumer<F> {
    /// A consumer at the first message.
    fn new(s: &Setting, memory: &ModelMemory) -> Self {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        Consumer {
            reader,
            expected: s.shape.first,
            messages: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn look(&mut self) -> Checked<Look> {
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
    fn looks(mut self, times: usize) -> Checked<Self> {
        for _ in 0..times {
            self.look()?;
        }
        Ok(self)
    }

    /// Receives all messages.
    fn drain(&mut self) -> Checked<Look> {
        loop {
            match self.look()? {
                Look::Message { .. } => {}
                end => return Ok(end),
            }
        }
    }

    /// Checks that each message is the one that was pushed. Those of the second producer begin at
    /// `second`.
    fn compare(&self, s: &Setting, second: u64) -> Checked<()> {
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
    fn settle(mut self, s: &Setting, end: u64, second: u64) -> Checked<Trace> {
        let trace = self.trace.clone();
        self.compare(s, second)?;
        self.drain()?;
        let next = self.reader.next();
        promise!(Missing, next == end, "{next} is next, not {end}");
        self.compare(s, second)?;
        Ok(trace)
    }
}

// ---------------------------------------------------------------------------------------------
// Exploration

/// Whether to explore the forms that take minutes, too.
fn full() -> bool {
    std::env::var_os("IPCQ_MODEL").is_some_and(|value| value == "full")
}

/// Tries every execution with up to this many preemptions.
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

/// Tries every execution. None of them may break a promise. No preemptions are enough: see above.
fn explore<T>(body: impl Fn() -> Checked<T> + Send + Sync + 'static) {
    explore_up_to(0, body);
}

/// As [`explore`], with up to this many preemptions, for models in which both sides look at the
/// stores of the other.
fn explore_up_to<T>(preemptions: usize, body: impl Fn() -> Checked<T> + Send + Sync + 'static) {
    executions(preemptions, move || {
        if let Err(Broken(violation, what)) = body() {
            panic!("{violation:?}: {what}");
        }
    });
}

/// All possible observations with up to this many preemptions.
fn observed<T: Ord + Send + 'static>(
    preemptions: usize,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
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

/// Checks that preemptions add no observation, as the argument above says.
fn preemptions_add_nothing<T: Ord + std::fmt::Debug + Send + 'static>(body: fn() -> Checked<T>) {
    let without = observed(0, body);
    assert!(without.len() > 1, "{without:?}");
    assert_eq!(without, observed(if full() { 2 } else { 1 }, body));
}

/// The panic of a mutation test that has found the violation begins with this.
const FOUND: &str = "violation found: ";

/// Tries executions until one breaks this promise, and fails if none does. Violations of other
/// promises do not count.
fn violates<T>(violation: Violation, body: impl Fn() -> Checked<T> + Send + Sync + 'static) {
    violates_within(0, violation, body);
}

/// As [`violates`], with up to this many preemptions.
fn violates_within<T>(
    preemptions: usize,
    violation: Violation,
    body: impl Fn() -> Checked<T> + Send + Sync + 'static,
) {
    let explored = std::panic::AssertUnwindSafe(|| {
        executions(preemptions, move || match body() {
            Err(Broken(found, what)) if found == violation => panic!("{FOUND}{what}"),
            _ => {}
        })
    });
    let Err(panic) = std::panic::catch_unwind(explored) else {
        panic!("the model does not notice the mutation");
    };
    let said = panic.downcast_ref::<String>().map_or("", String::as_str);
    assert!(said.starts_with(FOUND), "no broken promise: {said}");
}

/// Mutation tests: `model` of `setting` without a site or step breaks a promise.
macro_rules! mutations {
    ($($name:ident: $model:ident::<$ring:ident>, $setting:expr, $kind:ident::$what:ident => $violation:ident;)+) => {
        $(
            #[test]
            fn $name() {
                const S: $crate::ring::tests::loom::Setting = $setting.without(Mutation::$kind($kind::$what));
                $crate::ring::tests::loom::violates(Violation::$violation, || $model::<$ring>(&S));
            }
        )+
    };
}
use mutations;
