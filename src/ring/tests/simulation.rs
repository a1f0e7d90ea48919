//! The protocol by chance: one thread plays all sides, and at any access of one side to the memory
//! another may act. Other than the models ([`super::loom`]) this goes on for thousands of laps,
//! with messages of all lengths, claims given up, kills after any store, and consumers that begin
//! anywhere, in a lossless ring with a seat; but every access sees the newest store.

use crate::format::data_file::{state, Delivery, Geometry, Request};
use crate::ring::flow_control::{SlotCursor, SlotCursors};
use crate::ring::{self, *};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;

/// Xorshift: the same seed plays the same game.
struct Dice(Cell<u64>);

impl Dice {
    fn below(&self, n: u64) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x.wrapping_mul(0x9e37_79b9_7f4a_7c15) % n
    }
}

/// What is told of an access: whether a consumer makes it.
type Turn = Rc<dyn Fn(bool)>;

struct Words {
    header: [Cell<u64>; 6],
    ring: Vec<Cell<u64>>,
    index: Vec<Cell<u64>>,
    /// How many more stores the producer lives for.
    life: Cell<u64>,
    /// What may happen at an access: nothing while it happens already.
    turn: RefCell<Option<Turn>>,
}

#[derive(Clone)]
struct Stepped {
    words: Rc<Words>,
    consumer: bool,
}

impl Stepped {
    fn step(&self) {
        let turn = self.words.turn.borrow_mut().take();
        if let Some(turn) = turn {
            turn(self.consumer);
            *self.words.turn.borrow_mut() = Some(turn);
        }
    }

    fn get(&self, word: &Cell<u64>) -> u64 {
        self.step();
        word.get()
    }

    fn set(&self, word: &Cell<u64>, value: u64) {
        assert!(!self.consumer);
        let life = self.words.life.get();
        if life > 0 {
            self.words.life.set(life - 1);
            word.set(value);
        }
        self.step();
    }
}

// SAFETY: every access is to a cell of this thread, and checked against the bounds.
unsafe impl Memory for Stepped {
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

/// A consumer's seat in a lossless ring.
struct Chair {
    memory: Stepped,
    taken: Cell<bool>,
    cursor: Cell<u64>,
}

impl SlotCursor for Rc<Chair> {
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

/// As the producer sees them.
struct Chairs<'a>(&'a [Rc<Chair>]);

impl SlotCursors for Chairs<'_> {
    fn cursors(&self, mut each: impl FnMut(u64)) {
        for chair in self.0 {
            let memory = Stepped {
                consumer: false,
                ..chair.memory.clone()
            };
            memory.step();
            if chair.taken.get() {
                memory.step();
                each(chair.cursor.get());
            }
        }
    }
}

enum Writer {
    Fixed(FixedWriter<Stepped>),
    Variable(VariableWriter<Stepped>),
}

impl Writer {
    fn recover(memory: Stepped, shape: Shape) -> Writer {
        match shape.stride {
            0 => Writer::Variable(VariableWriter::recover(memory, shape).unwrap()),
            _ => Writer::Fixed(FixedWriter::recover(memory, shape).unwrap()),
        }
    }

    fn next(&self) -> u64 {
        match self {
            Writer::Fixed(w) => w.next(),
            Writer::Variable(w) => w.next(),
        }
    }

    fn reserve(&mut self, length: usize) -> Option<usize> {
        match self {
            Writer::Fixed(w) => w.reserve(),
            Writer::Variable(w) => w.reserve(length),
        }
    }

    fn extend(&mut self, seats: &Chairs, length: usize) -> bool {
        match self {
            Writer::Fixed(w) => w.extend(seats),
            Writer::Variable(w) => w.extend(seats, length),
        }
    }

    /// Claims room and writes to it; commits only as much as `length`, if any. `false` if the
    /// consumers are in the way.
    fn claim(
        &mut self,
        memory: &Stepped,
        seats: &Chairs,
        written: &[u8],
        length: Option<usize>,
    ) -> bool {
        let mut room = self.reserve(written.len());
        if room.is_none() && self.extend(seats, written.len()) {
            room = self.reserve(written.len());
            assert!(room.is_some(), "extended, and no room");
        }
        let Some(offset) = room else {
            return false;
        };
        // SAFETY: the room was reserved.
        unsafe { memory.write(offset, written.as_ptr(), written.len()) };
        match (self, length) {
            (_, None) => {}
            (Writer::Fixed(w), Some(_)) => w.commit(),
            (Writer::Variable(w), Some(length)) => w.commit(length),
        }
        true
    }

    fn settle(&mut self) {
        match self {
            Writer::Fixed(w) => w.settle(),
            Writer::Variable(w) => w.settle(),
        }
    }
}

/// The shorter ways to pop, of which a framing may have none.
trait Short: FrameReader<Memory = Stepped> + Sized {
    /// Copies up to `many` messages to the places in `buffer`, and consumes them; how many, and
    /// about the first.
    fn pop_shortly(_: &mut Reader<Self>, _buffer: &mut [u8], _many: usize) -> (usize, Meta) {
        (0, Meta::default())
    }
}

impl Short for FixedReader<Stepped> {
    fn pop_shortly(reader: &mut Reader<Self>, buffer: &mut [u8], many: usize) -> (usize, Meta) {
        let size = reader.frames().shape().message;
        assert!(many * size <= buffer.len());
        // SAFETY: so many messages fit into the buffer, and are short.
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

impl Short for VariableReader<Stepped> {}

/// A consumer, and where it is by its own account.
struct Party<F: FrameReader> {
    reader: Reader<F>,
    expected: u64,
    seat: Option<Rc<Chair>>,
    /// What its start cost; with a seat nothing comes to that.
    lost: u64,
}

struct Game<F: Short> {
    dice: Dice,
    shape: Shape,
    memory: Stepped,
    writer: RefCell<Option<Writer>>,
    parties: Vec<RefCell<Party<F>>>,
    chairs: Vec<Rc<Chair>>,
    /// What was pushed, by number. What is beyond `sure` of them may be on its way.
    pushed: RefCell<Vec<Vec<u8>>>,
    sure: Cell<u64>,
    /// How many messages went the shorter ways.
    short: Cell<u64>,
    received: Cell<u64>,
    lost: Cell<u64>,
    kills: Cell<u64>,
}

impl<F: Short> Game<F> {
    fn length(&self) -> usize {
        match (self.shape.stride, self.dice.below(4)) {
            (0, 0) => self.dice.below(self.shape.message as u64 + 1) as usize,
            (0, 1) => self.shape.message,
            (0, _) => self.dice.below(40) as usize,
            _ => self.shape.message,
        }
    }

    /// Bytes that look like stamps and lengths of messages hereabouts.
    fn bytes(&self, next: u64, length: usize) -> Vec<u8> {
        let word = |_| match self.dice.below(3) {
            0 => next.wrapping_add(self.dice.below(20)).wrapping_sub(4),
            1 => self.dice.below(64),
            _ => self.dice.below(u64::MAX),
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
        let seats = Chairs(&self.chairs);
        let sure = self.sure.get();
        match self.dice.below(40) {
            0 => {
                let written = self.bytes(next, self.length());
                writer.claim(&self.memory, &seats, &written, None);
            }
            1 => {
                // Dies somewhere from now on.
                let life = self.dice.below(60);
                self.memory.words.life.set(life);
            }
            2 => writer.settle(),
            3..15 if self.push_shortly(&mut writer) => {}
            _ => {
                let mut message = self.bytes(next, self.length());
                let written = match self.shape.stride {
                    0 if self.dice.below(3) == 0 => self.bytes(next, self.shape.message),
                    _ => message.clone(),
                };
                if written.len() > message.len() || self.shape.stride == 0 {
                    message = written[..message.len().min(written.len())].to_vec();
                }
                self.pushed.borrow_mut().push(message.clone());
                if !writer.claim(&self.memory, &seats, &written, Some(message.len())) {
                    assert!(self.shape.lossless);
                    self.pushed.borrow_mut().pop();
                }
            }
        }
        if self.memory.words.life.get() == 0 {
            self.kills.set(self.kills.get() + 1);
            self.memory.words.life.set(u64::MAX);
            let known = self.pushed.borrow().len() as u64;
            writer = Writer::recover(self.memory.clone(), self.shape);
            let number = writer.next().wrapping_sub(self.shape.first);
            assert!(
                (sure..=known).contains(&number),
                "{number} are pushed, of {sure} to {known}"
            );
            self.pushed.borrow_mut().truncate(number as usize);
        }
        self.sure.set(self.pushed.borrow().len() as u64);
        *self.writer.borrow_mut() = Some(writer);
    }

    /// Pushes one message or some by the shorter ways, if they can be gone.
    fn push_shortly(&self, writer: &mut Writer) -> bool {
        let Writer::Fixed(writer) = writer else {
            return false;
        };
        let many = 1 + self.dice.below(6) as usize;
        let (size, next) = (self.shape.message, writer.next());
        let stride = size + 8 * self.dice.below(2) as usize;
        let mut messages = Vec::new();
        for i in 0..many {
            let message = self.bytes(next.wrapping_add(i as u64), size);
            messages.extend_from_slice(&message);
            messages.resize((i + 1) * stride, 0);
            self.pushed.borrow_mut().push(message);
        }
        let from = messages.as_ptr();
        // SAFETY: so many messages of the message size lie there, and are short.
        let done = unsafe {
            match many {
                1 => usize::from(writer.try_fast(from, size)),
                _ => writer.try_fast_run(from, stride, many),
            }
        };
        let pushed = self.sure.get() as usize + done;
        self.pushed.borrow_mut().truncate(pushed);
        self.short.set(self.short.get() + done as u64);
        done > 0
    }

    fn take(&self, party: &mut Party<F>, info: Meta, bytes: &[u8]) {
        let number = info.sequence.wrapping_sub(self.shape.first) as usize;
        assert_eq!(
            info.lost,
            info.sequence.wrapping_sub(party.expected),
            "{info:?}"
        );
        assert_eq!(bytes, self.pushed.borrow()[number], "{info:?}");
        party.expected = info.sequence.wrapping_add(1);
        self.received.set(self.received.get() + 1);
        self.lost.set(self.lost.get() + info.lost);
    }

    fn consume(&self, party: &mut Party<F>) {
        let first = self.shape.first;
        let mut buffer = [0; 4096];
        match self.dice.below(30) {
            0 => {
                let (known, sure) = (self.pushed.borrow().len() as u64, self.sure.get());
                let start = match self.dice.below(4) {
                    0 => Start::Oldest,
                    1 => Start::Newest,
                    2 => Start::Next,
                    _ => Start::At(first.wrapping_add(self.dice.below(known + 2))),
                };
                let begun = match &party.seat {
                    Some(seat) => ring::join(&mut party.reader, seat, Some(start)).unwrap(),
                    None => party.reader.begin(start).unwrap(),
                };
                if let (true, Start::At(sequence)) = (begun, start) {
                    assert_eq!(party.reader.start, sequence);
                }
                if begun {
                    party.expected = party.reader.start;
                    party.lost = party.reader.counts().1;
                }
                assert!(begun || matches!(start, Start::At(s) if s.wrapping_sub(first) > sure));
            }
            1 if party.seat.is_some() => {
                // Dies, or is taken for dead; another takes the seat, or it does so itself.
                let seat = party.seat.as_ref().unwrap();
                seat.taken.set(false);
                seat.memory.step();
                if self.dice.below(2) == 0 {
                    ring::join(&mut party.reader, seat, None).unwrap();
                } else {
                    assert!(ring::join(&mut party.reader, seat, Some(Start::Oldest)).unwrap());
                    party.expected = party.reader.start;
                }
                party.lost = party.reader.counts().1;
            }
            2 => {
                let frames = party.reader.frames();
                let oldest = frames.oldest().unwrap();
                let frontier = frames.frontier().unwrap();
                assert!(distance(frontier, frames.next()) >= 0);
                assert!(distance(frontier, oldest) >= 0, "{frontier} {oldest}");
                let number = frontier.wrapping_sub(first) as usize;
                assert!(number <= self.pushed.borrow().len());
            }
            3..8 => {
                let most = 1 + self.dice.below(5);
                let (pop, place, count) = party.reader.peek_many(most).unwrap();
                if let Pop::Message(mut info) = pop {
                    assert!((1..=most).contains(&count));
                    let stride = party.reader.frames().shape().stride;
                    let messages: Vec<_> = (0..count as usize)
                        .map(|i| {
                            // SAFETY: the places are in the ring, and the buffer longer than a
                            // message.
                            unsafe {
                                let memory = party.reader.frames().memory();
                                let at = place.offset + i * stride;
                                memory.read(at, buffer.as_mut_ptr(), place.length);
                            }
                            buffer[..place.length].to_vec()
                        })
                        .collect();
                    let taken = 1 + self.dice.below(count);
                    if party.reader.release_many(info.sequence, taken).unwrap() == Some(true) {
                        for message in &messages[..taken as usize] {
                            self.take(party, info, message);
                            info.sequence = info.sequence.wrapping_add(1);
                            info.lost = 0;
                        }
                    }
                }
            }
            8..16 => {
                // Up to more than are validated together.
                let many = 1 + self.dice.below(40) as usize;
                let (count, mut info) = F::pop_shortly(&mut party.reader, &mut buffer, many);
                assert!(count <= many);
                for bytes in buffer.chunks(self.shape.message).take(count) {
                    self.take(party, info, bytes);
                    info.sequence = info.sequence.wrapping_add(1);
                    info.lost = 0;
                }
                self.short.set(self.short.get() + count as u64);
            }
            _ => {
                // SAFETY: the buffer is writable, and longer than a message.
                let pop = unsafe { party.reader.pop(buffer.as_mut_ptr(), buffer.len()) };
                match pop.unwrap() {
                    Pop::Message(info) => self.take(party, info, &buffer[..info.length as usize]),
                    Pop::Empty => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        let (received, lost) = party.reader.counts();
        let accounted = party.reader.start.wrapping_add(received).wrapping_add(lost);
        assert_eq!(accounted, party.reader.next());
        if let Some(seat) = &party.seat {
            assert_eq!(lost, party.lost, "lost with a seat");
            if self.dice.below(3) == 0 {
                seat.store_cursor_release(Site::Consumed, party.reader.frames().cursor());
            }
        }
    }

    fn consume_one(&self) {
        let which = self.dice.below(self.parties.len() as u64) as usize;
        if let Ok(mut party) = self.parties[which].try_borrow_mut() {
            self.consume(&mut party);
        }
    }
}

fn play<F: Short + 'static>(
    seed: u64,
    shape: Shape,
    format: fn(&Stepped, &Shape),
    frames: fn(Stepped, Shape) -> F,
) {
    let (ring, index) = match shape.stride {
        0 => (shape.capacity / 8, shape.capacity / shape.block * 2),
        stride => (shape.capacity * stride as u64 / 8, 0),
    };
    let cells = |n| (0..n).map(|_| Cell::new(0)).collect();
    let words = Rc::new(Words {
        header: [state::LIVE, 0, 0, 0, 0, 0].map(Cell::new),
        ring: cells(ring),
        index: cells(index),
        life: Cell::new(u64::MAX),
        turn: RefCell::new(None),
    });
    let memory = |consumer| Stepped {
        words: words.clone(),
        consumer,
    };
    format(&memory(false), &shape);
    let chair = |_| {
        Rc::new(Chair {
            memory: memory(true),
            taken: Cell::new(false),
            cursor: Cell::new(0),
        })
    };
    let chairs: Vec<_> = (0..if shape.lossless { 2 } else { 0 }).map(chair).collect();
    // The last has no seat.
    let party = |n| {
        let seat: Option<Rc<Chair>> = chairs.get(n).cloned();
        let shape = match seat {
            Some(_) => shape,
            None => shape.observed(),
        };
        let mut reader = Reader::new(frames(memory(true), shape));
        if let Some(seat) = &seat {
            assert!(ring::join(&mut reader, seat, Some(Start::Oldest)).unwrap());
        }
        RefCell::new(Party {
            reader,
            expected: shape.first,
            seat,
            lost: 0,
        })
    };
    let game = Rc::new(Game {
        dice: Dice(Cell::new(
            (seed ^ shape.first).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        )),
        shape,
        memory: memory(false),
        writer: RefCell::new(Some(Writer::recover(memory(false), shape))),
        parties: (0..3).map(party).collect(),
        chairs,
        pushed: RefCell::new(Vec::new()),
        sure: Cell::new(0),
        short: Cell::new(0),
        received: Cell::new(0),
        lost: Cell::new(0),
        kills: Cell::new(0),
    });
    // How often the other side gets a turn, from hardly ever to nearly always.
    let often = [1, 10, 60, 200][game.dice.below(4) as usize];
    // In bursts, but not so that nobody could ever read what it overwrites.
    let burst = 1 + game.dice.below(40);
    let other = game.clone();
    *words.turn.borrow_mut() = Some(Rc::new(move |consumer| match consumer {
        true if other.dice.below(1024 * burst) < often => {
            (0..2 * burst).for_each(|_| other.produce());
        }
        false if other.dice.below(256) < often => other.consume_one(),
        _ => {}
    }));
    for _ in 0..4000 {
        match game.dice.below(2) {
            0 => game.produce(),
            _ => game.consume_one(),
        }
    }
    *words.turn.borrow_mut() = None;
    // At rest each consumer gets all that is left.
    let end = shape.first.wrapping_add(game.pushed.borrow().len() as u64);
    for party in &game.parties {
        let mut party = party.borrow_mut();
        while party.reader.next() != end {
            game.consume(&mut party);
        }
    }
    println!(
        "{seed}: {} pushed, {} received, {} of both shortly, {} lost, {} kills",
        game.pushed.borrow().len(),
        game.received.get(),
        game.short.get(),
        game.lost.get(),
        game.kills.get()
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

fn games() -> u64 {
    std::env::var("IPCQ_GAMES").map_or(40, |n| n.parse().unwrap())
}

fn fixed(delivery: Delivery) {
    for seed in 1..=games() {
        // A block of one leaves nothing for the shorter ways to push.
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
            play(seed, shape, FixedWriter::format, FixedReader::new);
        }
    }
}

fn variable(delivery: Delivery) {
    for seed in 1..=games() {
        for (capacity, first) in [(1024, 0), (1024, u64::MAX - 100), (4096, 0)] {
            let shape = shape(delivery, capacity, 0, first);
            play(seed, shape, VariableWriter::format, VariableReader::new);
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
