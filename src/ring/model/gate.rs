//! A lossless ring: what a consumer with a seat has not consumed is not overwritten, whenever it
//! takes the seat.

use super::*;
use crate::ring::gate::{self, Seat, Seats};
use crate::ring::Start;
use loom::thread;

/// A ring of two messages, announced one at a time. With nobody attached, the producer runs on.
const FIXED: Setting = lossless(Setting::fixed(2, 1, &[16; 3]));
const FIXED_LONG: Setting = lossless(Setting::fixed(2, 1, &[16; 4]));
const VARIABLE: Setting = lossless(Setting::variable(&[16, 8, 16]));

const fn lossless(mut s: Setting) -> Setting {
    s.shape.lossless = true;
    s
}

/// One seat.
struct Chair {
    token: AtomicU64,
    cursor: AtomicU64,
    /// The release order of the cursor is left out.
    relaxed: bool,
}

impl Chair {
    fn new(s: &Setting) -> Arc<Chair> {
        Arc::new(Chair {
            token: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            relaxed: s.without.contains(&Site::Consumed),
        })
    }
}

impl Seat for Chair {
    fn hold(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.token.store(1, Ordering::Release);
    }

    fn consumed(&self, _site: Site, cursor: u64) {
        let order = match self.relaxed {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.cursor.store(cursor, order);
    }
}

impl Seats for Chair {
    fn cursors(&self, mut each: impl FnMut(u64)) {
        if self.token.load(Ordering::Acquire) != 0 {
            each(self.cursor.load(Ordering::Relaxed));
        }
    }
}

/// A framing whose producer looks at the seats.
trait Gated: Framing {
    fn try_push(writer: &mut Self::Writer, message: &[u8], seats: &Chair) -> bool;
}

impl Gated for Fixed {
    fn try_push(writer: &mut Self::Writer, message: &[u8], seats: &Chair) -> bool {
        let from = message.as_ptr();
        // SAFETY: a slice is readable, and has the message size.
        let push = |writer: &mut Self::Writer| unsafe { writer.push(from) };
        push(writer) || (writer.extend(seats) && push(writer))
    }
}

impl Gated for Variable {
    fn try_push(writer: &mut Self::Writer, message: &[u8], seats: &Chair) -> bool {
        let (from, length) = (message.as_ptr(), message.len());
        // SAFETY: a slice is readable, and no longer than the longest message.
        let push = |writer: &mut Self::Writer| unsafe { writer.push(from, length) };
        push(writer) || (writer.extend(seats, length) && push(writer))
    }
}

/// Tries to push each message, and a few times again.
fn offer<F: Gated>(s: &Setting, memory: &Modelled, seats: &Chair) -> F::Writer {
    let mut writer = must(F::recover(memory.clone(), s.shape));
    for _ in 0..s.lengths.len() + 1 {
        if F::next(&writer) != s.end() {
            let message = s.message(F::next(&writer), 0);
            F::try_push(&mut writer, &message, seats);
        }
    }
    writer
}

/// Pops so many times, and nothing may be lost.
fn take<F: Framing>(s: &Setting, reader: &mut Reader<F::Frames>, seat: &Chair, times: usize) {
    for _ in 0..times {
        let mut buffer = [0; 16];
        let wanted = reader.next();
        // SAFETY: the buffer is writable.
        match must(unsafe { reader.pop(buffer.as_mut_ptr(), buffer.len()) }) {
            Pop::Message(info) => {
                promise!(info.lost == 0 && info.sequence == wanted, "lost: {info:?}");
                let pushed = s.message(info.sequence, 0);
                promise!(buffer[..info.length as usize] == pushed, "torn: {info:?}");
                seat.consumed(Site::Consumed, reader.frames().cursor());
            }
            Pop::Empty => {}
            other => panic!("{VIOLATED}{other:?}"),
        }
    }
}

fn join<F: Framing>(
    s: &Setting,
    memory: &Modelled,
    seat: &Chair,
    start: Start,
) -> Reader<F::Frames> {
    let mut reader = Reader::new(F::frames(memory.clone(), s.shape));
    promise!(must(gate::join(&mut reader, seat, Some(start))), "no start");
    reader
}

/// What is left when the producer is at rest is received whole.
fn drain<F: Gated>(s: &Setting, writer: &F::Writer, mut reader: Reader<F::Frames>, seat: &Chair) {
    take::<F>(s, &mut reader, seat, s.lengths.len());
    let (next, end) = (reader.next(), F::next(writer));
    promise!(next == end, "{next} is next, not {end}");
}

/// A consumer attached from the beginning: the producer waits for it.
fn attached<F: Gated>(s: &'static Setting) {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let mut reader = join::<F>(s, &memory, &seat, Start::Oldest);
    let its = seat.clone();
    let thread = thread::spawn(move || {
        take::<F>(s, &mut reader, &its, 2);
        reader
    });
    let writer = offer::<F>(s, &memory, &seat);
    drain::<F>(s, &writer, thread.join().unwrap(), &seat);
}

/// A consumer that attaches while the producer runs.
fn joining<F: Gated>(s: &'static Setting) {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let (its, shared) = (seat.clone(), memory.clone());
    let thread = thread::spawn(move || {
        let mut reader = join::<F>(s, &shared, &its, Start::Oldest);
        take::<F>(s, &mut reader, &its, 1);
        reader
    });
    let writer = offer::<F>(s, &memory, &seat);
    drain::<F>(s, &writer, thread.join().unwrap(), &seat);
}

/// A consumer that goes back to the oldest while the producer waits for it.
fn seeking<F: Gated>(s: &'static Setting) {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let mut reader = join::<F>(s, &memory, &seat, Start::Oldest);
    let its = seat.clone();
    let thread = thread::spawn(move || {
        take::<F>(s, &mut reader, &its, 2);
        promise!(
            must(gate::join(&mut reader, &*its, Some(Start::Oldest))),
            "no start"
        );
        take::<F>(s, &mut reader, &its, 1);
        reader
    });
    let writer = offer::<F>(s, &memory, &seat);
    drain::<F>(s, &writer, thread.join().unwrap(), &seat);
}

fn bound() -> usize {
    if full() {
        3
    } else {
        2
    }
}

#[test]
fn fixed_attached() {
    explore(bound(), || attached::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_attached() {
    explore(bound(), || attached::<Variable>(&VARIABLE));
}

#[test]
fn fixed_joining() {
    explore(bound(), || joining::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_joining() {
    explore(bound(), || joining::<Variable>(&VARIABLE));
}

#[test]
fn fixed_seeking() {
    explore(bound(), || seeking::<Fixed>(&FIXED_LONG));
}

twins! {
    fixed_without_limit: joining::<Fixed>, FIXED, Limit;
    fixed_without_look_twice: joining::<Fixed>, FIXED, LookTwice;
    fixed_without_take_seat: joining::<Fixed>, FIXED, TakeSeat;
    variable_without_limit: joining::<Variable>, VARIABLE, Limit;
    variable_without_look_twice: joining::<Variable>, VARIABLE, LookTwice;
    variable_without_take_seat: joining::<Variable>, VARIABLE, TakeSeat;
}
