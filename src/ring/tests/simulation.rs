//! The protocol under random schedules. One thread is the producer and all consumers, and any
//! access of one of them to the memory may let another act.
//!
//! Unlike the models ([`super::loom`]), a simulation runs for thousands of laps, with messages of
//! all lengths, abandoned claims, kills after any store, and consumers that begin anywhere. In a
//! lossless ring two consumers have a slot. But every access sees the newest store.

use crate::format::data_file::{state, Delivery, Geometry, Request};
use crate::ring::flow_control::{SlotCursor, SlotCursors};
use crate::ring::{self, *};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Xorshift. The same seed gives the same simulation.
struct Rng(Cell<u64>);

impl Rng {
    fn below(&self, n: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) % n
    }
}

/// Called at every access. The argument is true if a consumer makes the access.
type Hook = Rc<dyn Fn(bool)>;

struct Words {
    header: [Cell<u64>; 6],
    ring: Vec<Cell<u64>>,
    index: Vec<Cell<u64>>,
    /// The producer is killed after this many more stores.
    stores_left: Cell<u64>,
    /// `None` while the hook runs.
    hook: RefCell<Option<Hook>>,
}

#[derive(Clone)]
struct SimMemory {
    words: Rc<Words>,
    consumer: bool,
}

impl SimMemory {
    fn step(&self) {
        let hook = self.words.hook.borrow_mut().take();
        if let Some(hook) = hook {
            hook(self.consumer);
            *self.words.hook.borrow_mut() = Some(hook);
        }
    }

    fn get(&self, word: &Cell<u64>) -> u64 {
        self.step();
        word.get()
    }

    fn set(&self, word: &Cell<u64>, value: u64) {
        assert!(!self.consumer);
        let left = self.words.stores_left.get();
        if left > 0 {
            self.words.stores_left.set(left - 1);
            word.set(value);
        }
        self.step();
    }
}

// SAFETY: every access is to a cell of this thread, and is checked against the bounds.
unsafe impl Memory for SimMemory {
    fn load_relaxed(&self, field: Field) -> u64 {
        self.get(&self.words.header[field as usize])
    }
    fn store_release(&self, _: Site, field: Field, value: u64) {
        self.set(&self.words.header[field as usize], value);
    }
    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        self.get(&self.words.ring[offset / 8])
    }
    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        self.set(&self.words.ring[offset / 8], value);
    }
    unsafe fn store_word_release(&self, _: Site, offset: usize, value: u64) {
        self.set(&self.words.ring[offset / 8], value);
    }
    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        self.get(&self.words.index[word])
    }
    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        self.set(&self.words.index[word], value);
    }
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        for i in (0..length).step_by(8) {
            // SAFETY: `offset` is a multiple of 8; `to` is writable for `length` bytes.
            unsafe {
                let word = self.load_word_relaxed(offset + i).to_le_bytes();
                to.add(i)
                    .copy_from_nonoverlapping(word.as_ptr(), 8.min(length - i));
            }
        }
    }
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        for i in (0..length).step_by(8) {
            let mut word = [0; 8];
            // SAFETY: `offset` is a multiple of 8; `from` is readable for `length` bytes.
            unsafe {
                word.as_mut_ptr()
                    .copy_from_nonoverlapping(from.add(i), 8.min(length - i));
                self.store_word_relaxed(offset + i, u64::from_le_bytes(word));
            }
        }
    }
    fn fence(&self, _: Ordering, _: Site) {}
}

/// A consumer slot of a lossless ring.
struct SimSlot {
    memory: SimMemory,
    taken: Cell<bool>,
    cursor: Cell<u64>,
}

impl SlotCursor for Rc<SimSlot> {
    fn reserve(&self, cursor: u64) {
        self.memory.step();
        self.cursor.set(cursor);
        self.memory.step();
        self.taken.set(true);
        self.memory.step();
    }

    fn store_cursor_release(&self, _: Site, cursor: u64) {
        self.cursor.set(cursor);
        self.memory.step();
    }
}

/// The slots as the producer sees them.
struct SimSlots<'a>(&'a [Rc<SimSlot>]);

impl SlotCursors for SimSlots<'_> {
    fn cursors(&self, mut each: impl FnMut(u64)) {
        for slot in self.0 {
            let memory = SimMemory {
                consumer: false,
                ..slot.memory.clone()
            };
            memory.step();
            if slot.taken.get() {
                memory.step();
                each(slot.cursor.get());
            }
        }
    }
}

/// Claims room and writes to it. Then commits `length` bytes, or gives the claim up. Returns
/// `false` if the consumers hold the producer back.
fn claim(
    writer: &mut Writer<SimMemory>,
    slots: &SimSlots,
    written: &[u8],
    length: Option<usize>,
) -> bool {
    let mut room = writer.reserve(written.len());
    if room.is_none() && writer.extend(slots, written.len()) {
        room = writer.reserve(written.len());
        assert!(room.is_some(), "extended, but without room");
    }
    let Some(offset) = room else {
        return false;
    };
    // SAFETY: the room was reserved.
    unsafe {
        writer
            .memory()
            .write(offset, written.as_ptr(), written.len())
    };
    if let Some(length) = length {
        writer.commit(length);
    }
    true
}

/// The fast paths of a pop, if the framing has any.
trait FastPaths: FrameReader<Memory = SimMemory> + Sized {
    /// Copies up to `many` messages into `buffer`, one after the other, and consumes them. Returns
    /// their number and the meta of the first one.
    fn pop_fast(_: &mut Reader<Self>, _buffer: &mut [u8], _many: usize) -> (usize, Meta) {
        (0, Meta::default())
    }
}

impl FastPaths for FixedReader<SimMemory> {
    fn pop_fast(reader: &mut Reader<Self>, buffer: &mut [u8], many: usize) -> (usize, Meta) {
        let size = reader.frames().shape().message;
        assert!(many * size <= buffer.len());
        // SAFETY: that many messages fit into the buffer, and they are short.
        unsafe {
            match many {
                1 => match reader.try_fast(buffer.as_mut_ptr()) {
                    Some((info, _)) => (1, info),
                    None => (0, Meta::default()),
                },
                _ => reader.try_fast_run(buffer.as_mut_ptr(), size, many),
            }
        }
    }
}

impl FastPaths for VariableReader<SimMemory> {}

/// A consumer with an account of its own.
struct Actor<F: FrameReader> {
    reader: Reader<F>,
    expected: u64,
    slot: Option<Rc<SimSlot>>,
    /// The messages lost at its start. With a slot it loses no more.
    lost: u64,
}

struct Simulation<F: FastPaths> {
    rng: Rng,
    shape: Shape,
    memory: SimMemory,
    writer: RefCell<Option<Writer<SimMemory>>>,
    actors: Vec<RefCell<Actor<F>>>,
    slots: Vec<Rc<SimSlot>>,
    /// The messages, by number. The ones from `sure` on may not be published yet.
    pushed: RefCell<Vec<Vec<u8>>>,
    sure: Cell<u64>,
    /// The number of messages that took a fast path.
    fast: Cell<u64>,
    received: Cell<u64>,
    lost: Cell<u64>,
    kills: Cell<u64>,
}

impl<F: FastPaths> Simulation<F> {
    fn length(&self) -> usize {
        match (self.shape.stride, self.rng.below(4)) {
            (0, 0) => self.rng.below(self.shape.message as u64 + 1) as usize,
            (0, 1) => self.shape.message,
            (0, _) => self.rng.below(40) as usize,
            _ => self.shape.message,
        }
    }

    /// Bytes that look like stamps and lengths of the messages near this one.
    fn bytes(&self, next: u64, length: usize) -> Vec<u8> {
        let word = |_| match self.rng.below(3) {
            0 => next.wrapping_add(self.rng.below(20)).wrapping_sub(4),
            1 => self.rng.below(64),
            _ => self.rng.below(u64::MAX),
        };
        let words = (0..length.div_ceil(8)).map(word).map(u64::to_le_bytes);
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(length);
        bytes
    }

    fn produce(&self) {
        let Some(mut writer) = self.writer.borrow_mut().take() else {
            return;
        };
        let next = writer.next();
        let slots = SimSlots(&self.slots);
        let sure = self.sure.get();
        match self.rng.below(40) {
            0 => {
                let written = self.bytes(next, self.length());
                claim(&mut writer, &slots, &written, None);
            }
            1 => {
                // It is killed after a few more stores.
                let stores = self.rng.below(60);
                self.memory.words.stores_left.set(stores);
            }
            2 => writer.settle(),
            3..15 if self.push_fast(&mut writer) => {}
            _ => {
                let mut message = self.bytes(next, self.length());
                let written = match self.shape.stride {
                    0 if self.rng.below(3) == 0 => self.bytes(next, self.shape.message),
                    _ => message.clone(),
                };
                if written.len() > message.len() || self.shape.stride == 0 {
                    message = written[..message.len().min(written.len())].to_vec();
                }
                self.pushed.borrow_mut().push(message.clone());
                if !claim(&mut writer, &slots, &written, Some(message.len())) {
                    assert!(self.shape.lossless);
                    self.pushed.borrow_mut().pop();
                }
            }
        }
        if self.memory.words.stores_left.get() == 0 {
            self.kills.set(self.kills.get() + 1);
            self.memory.words.stores_left.set(u64::MAX);
            let known = self.pushed.borrow().len() as u64;
            writer = Writer::recover(self.memory.clone(), self.shape).unwrap();
            let number = writer.next().wrapping_sub(self.shape.first);
            assert!(
                (sure..=known).contains(&number),
                "{number} are pushed, not {sure} to {known}"
            );
            self.pushed.borrow_mut().truncate(number as usize);
        }
        self.sure.set(self.pushed.borrow().len() as u64);
        *self.writer.borrow_mut() = Some(writer);
    }

    /// Pushes one or more messages by a fast path. Returns `false` if that is not possible.
    fn push_fast(&self, writer: &mut Writer<SimMemory>) -> bool {
        let Writer::Fixed(writer) = writer else {
            return false;
        };
        let many = 1 + self.rng.below(6) as usize;
        let (size, next) = (self.shape.message, writer.next());
        let stride = size + 8 * self.rng.below(2) as usize;
        let mut messages = Vec::new();
        for i in 0..many {
            let message = self.bytes(next.wrapping_add(i as u64), size);
            messages.extend_from_slice(&message);
            messages.resize((i + 1) * stride, 0);
            self.pushed.borrow_mut().push(message);
        }
        let from = messages.as_ptr();
        // SAFETY: that many messages of the message size are readable, and they are short.
        let done = unsafe {
            match many {
                1 => usize::from(writer.try_fast(from, size)),
                _ => writer.try_fast_run(from, stride, many),
            }
        };
        let pushed = self.sure.get() as usize + done;
        self.pushed.borrow_mut().truncate(pushed);
        self.fast.set(self.fast.get() + done as u64);
        done > 0
    }

    fn take(&self, actor: &mut Actor<F>, info: Meta, bytes: &[u8]) {
        let number = info.sequence.wrapping_sub(self.shape.first) as usize;
        assert_eq!(
            info.lost,
            info.sequence.wrapping_sub(actor.expected),
            "{info:?}"
        );
        assert_eq!(bytes, self.pushed.borrow()[number], "{info:?}");
        actor.expected = info.sequence.wrapping_add(1);
        self.received.set(self.received.get() + 1);
        self.lost.set(self.lost.get() + info.lost);
    }

    fn consume(&self, actor: &mut Actor<F>) {
        let first = self.shape.first;
        let mut buffer = [0; 4096];
        match self.rng.below(30) {
            0 => {
                let (known, sure) = (self.pushed.borrow().len() as u64, self.sure.get());
                let start = match self.rng.below(4) {
                    0 => Start::Oldest,
                    1 => Start::Newest,
                    2 => Start::Next,
                    _ => Start::At(first.wrapping_add(self.rng.below(known + 2))),
                };
                let begun = match &actor.slot {
                    Some(slot) => ring::join(&mut actor.reader, slot, Some(start)).unwrap(),
                    None => actor.reader.begin(start).unwrap(),
                };
                if let (true, Start::At(sequence)) = (begun, start) {
                    assert_eq!(actor.reader.start, sequence);
                }
                if begun {
                    actor.expected = actor.reader.start;
                    actor.lost = actor.reader.counts().1;
                }
                assert!(begun || matches!(start, Start::At(s) if s.wrapping_sub(first) > sure));
            }
            1 if actor.slot.is_some() => {
                // The producer evicts the consumer. Another consumer takes the slot, or it takes
                // the slot back.
                let slot = actor.slot.as_ref().unwrap();
                slot.taken.set(false);
                slot.memory.step();
                if self.rng.below(2) == 0 {
                    ring::join(&mut actor.reader, slot, None).unwrap();
                } else {
                    assert!(ring::join(&mut actor.reader, slot, Some(Start::Oldest)).unwrap());
                    actor.expected = actor.reader.start;
                }
                actor.lost = actor.reader.counts().1;
            }
            2 => {
                let frames = actor.reader.frames();
                let oldest = frames.oldest().unwrap();
                let frontier = frames.frontier().unwrap();
                assert!(distance(frontier, frames.next()) >= 0);
                assert!(distance(frontier, oldest) >= 0, "{frontier} {oldest}");
                let number = frontier.wrapping_sub(first) as usize;
                assert!(number <= self.pushed.borrow().len());
            }
            3..8 => {
                let most = 1 + self.rng.below(5);
                let (pop, place, count) = actor.reader.peek_many(most).unwrap();
                if let Pop::Message(mut info) = pop {
                    assert!((1..=most).contains(&count));
                    let stride = actor.reader.frames().shape().stride;
                    let messages: Vec<_> = (0..count as usize)
                        .map(|i| {
                            // SAFETY: the places are in the ring, and the buffer is longer than
                            // a message.
                            unsafe {
                                let memory = actor.reader.frames().memory();
                                let at = place.offset + i * stride;
                                memory.read(at, buffer.as_mut_ptr(), place.length);
                            }
                            buffer[..place.length].to_vec()
                        })
                        .collect();
                    let taken = 1 + self.rng.below(count);
                    if actor.reader.release_many(info.sequence, taken).unwrap() == Some(true) {
                        for message in &messages[..taken as usize] {
                            self.take(actor, info, message);
                            info.sequence = info.sequence.wrapping_add(1);
                            info.lost = 0;
                        }
                    }
                }
            }
            8..16 => {
                // The limit is above the number that are validated together.
                let many = 1 + self.rng.below(40) as usize;
                let (count, mut info) = F::pop_fast(&mut actor.reader, &mut buffer, many);
                assert!(count <= many);
                for bytes in buffer.chunks(self.shape.message).take(count) {
                    self.take(actor, info, bytes);
                    info.sequence = info.sequence.wrapping_add(1);
                    info.lost = 0;
                }
                self.fast.set(self.fast.get() + count as u64);
            }
            _ => {
                // SAFETY: the buffer is writable and longer than a message.
                let pop = unsafe { actor.reader.pop(buffer.as_mut_ptr(), buffer.len()) };
                match pop.unwrap() {
                    Pop::Message(info) => self.take(actor, info, &buffer[..info.length as usize]),
                    Pop::Empty => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let (received, lost) = actor.reader.counts();
        let accounted = actor.reader.start.wrapping_add(received).wrapping_add(lost);
        assert_eq!(accounted, actor.reader.next());
        if let Some(slot) = &actor.slot {
            assert_eq!(lost, actor.lost, "lost with a slot");
            if self.rng.below(3) == 0 {
                slot.store_cursor_release(Site::Consumed, actor.reader.frames().cursor());
            }
        }
    }

    fn consume_one(&self) {
        let which = self.rng.below(self.actors.len() as u64) as usize;
        if let Ok(mut actor) = self.actors[which].try_borrow_mut() {
            self.consume(&mut actor);
        }
    }
}

fn run<F: FastPaths + 'static>(seed: u64, shape: Shape, frames: fn(SimMemory, Shape) -> F) {
    let (ring, index) = match shape.stride {
        0 => (shape.capacity / 8, shape.capacity / shape.block * 2),
        stride => (shape.capacity * stride as u64 / 8, 0),
    };
    let cells = |n| (0..n).map(|_| Cell::new(0)).collect();
    let words = Rc::new(Words {
        header: [state::LIVE, 0, 0, 0, 0, 0].map(Cell::new),
        ring: cells(ring),
        index: cells(index),
        stores_left: Cell::new(u64::MAX),
        hook: RefCell::new(None),
    });
    let memory = |consumer| SimMemory {
        words: words.clone(),
        consumer,
    };
    Writer::format(&memory(false), &shape);
    let slot = |_| {
        Rc::new(SimSlot {
            memory: memory(true),
            taken: Cell::new(false),
            cursor: Cell::new(0),
        })
    };
    let slots: Vec<_> = (0..if shape.lossless { 2 } else { 0 }).map(slot).collect();
    // The last one has no slot.
    let actor = |n| {
        let slot: Option<Rc<SimSlot>> = slots.get(n).cloned();
        let shape = match slot {
            Some(_) => shape,
            None => shape.observed(),
        };
        let mut reader = Reader::new(frames(memory(true), shape));
        if let Some(slot) = &slot {
            assert!(ring::join(&mut reader, slot, Some(Start::Oldest)).unwrap());
        }
        RefCell::new(Actor {
            reader,
            expected: shape.first,
            slot,
            lost: 0,
        })
    };
    let simulation = Rc::new(Simulation {
        rng: Rng(Cell::new(
            (seed ^ shape.first).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        )),
        shape,
        memory: memory(false),
        writer: RefCell::new(Some(Writer::recover(memory(false), shape).unwrap())),
        actors: (0..3).map(actor).collect(),
        slots,
        pushed: RefCell::new(Vec::new()),
        sure: Cell::new(0),
        fast: Cell::new(0),
        received: Cell::new(0),
        lost: Cell::new(0),
        kills: Cell::new(0),
    });
    // The other side acts at few accesses, or at most of them.
    let often = [1, 10, 60, 200][simulation.rng.below(4) as usize];
    // The producer acts in bursts, but leaves consumers the time to read a message.
    let burst = 1 + simulation.rng.below(40);
    let other = simulation.clone();
    *words.hook.borrow_mut() = Some(Rc::new(move |consumer| match consumer {
        true if other.rng.below(1024 * burst) < often => {
            (0..2 * burst).for_each(|_| other.produce());
        }
        false if other.rng.below(256) < often => other.consume_one(),
        _ => {}
    }));
    for _ in 0..4000 {
        match simulation.rng.below(2) {
            0 => simulation.produce(),
            _ => simulation.consume_one(),
        }
    }
    *words.hook.borrow_mut() = None;
    // When the producer has stopped, each consumer gets all remaining messages.
    let end = shape
        .first
        .wrapping_add(simulation.pushed.borrow().len() as u64);
    for actor in &simulation.actors {
        let mut actor = actor.borrow_mut();
        while actor.reader.next() != end {
            simulation.consume(&mut actor);
        }
    }
    println!(
        "{seed}: {} pushed, {} received, {} of both by a fast path, {} lost, {} kills",
        simulation.pushed.borrow().len(),
        simulation.received.get(),
        simulation.fast.get(),
        simulation.lost.get(),
        simulation.kills.get()
    );
}

fn shape(delivery: Delivery, capacity: u64, message_size: u32, first_sequence: u64) -> Shape {
    let request = Request {
        capacity,
        message_size,
        delivery,
        first_sequence,
        ..Request::default()
    };
    Shape::of(&Geometry::new(&request).unwrap())
}

fn runs() -> u64 {
    std::env::var("IPCQ_SIMULATIONS").map_or(40, |n| n.parse().unwrap())
}

fn fixed(delivery: Delivery) {
    for seed in 1..=runs() {
        // With a block of one, no push takes a fast path.
        let rings = [
            (2, 1, 0),
            (4, 1, u64::MAX - 100),
            (16, 1, 0),
            (16, 4, u64::MAX - 100),
            (256, 16, 0),
        ];
        for (capacity, block, first) in rings {
            let shape = Shape {
                block,
                ..shape(delivery, capacity, 24, first)
            };
            run(seed, shape, FixedReader::new);
        }
    }
}

fn variable(delivery: Delivery) {
    for seed in 1..=runs() {
        for (capacity, first) in [(1024, 0), (1024, u64::MAX - 100), (4096, 0)] {
            let shape = shape(delivery, capacity, 0, first);
            run(seed, shape, VariableReader::new);
        }
    }
}

#[test]
fn fixed_lossy() {
    fixed(Delivery::Lossy);
}

#[test]
fn variable_lossy() {
    variable(Delivery::Lossy);
}

#[test]
fn fixed_lossless() {
    fixed(Delivery::Lossless);
}

#[test]
fn variable_lossless() {
    variable(Delivery::Lossless);
}
