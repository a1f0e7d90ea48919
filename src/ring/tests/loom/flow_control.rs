//! A lossless ring: what a consumer with a seat has not consumed is not overwritten, whenever it
//! takes the seat.

use super::*;
use crate::ring::flow_control::{SlotCursor, SlotCursors};
use crate::ring::{self, Start};
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
            relaxed: s.without == Some(Mutation::Site(Site::Consumed)),
        })
    }
}

impl SlotCursor for Chair {
    fn reserve(&self, cursor: u64) {
        self.cursor.store(cursor, Ordering::Relaxed);
        self.token.store(1, Ordering::Release);
    }

    fn store_cursor_release(&self, _site: Site, cursor: u64) {
        let order = match self.relaxed {
            true => Ordering::Relaxed,
            false => Ordering::Release,
        };
        self.cursor.store(cursor, order);
    }
}

impl SlotCursors for Chair {
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
fn offer<F: Gated>(s: &Setting, memory: &Modelled, seats: &Chair) -> Kept<F::Writer> {
    let mut writer = attach::<F>(s, memory)?;
    for _ in 0..s.lengths.len() + 1 {
        if F::next(&writer) != s.end() {
            let message = s.message(F::next(&writer), 0);
            F::try_push(&mut writer, &message, seats);
        }
    }
    Ok(writer)
}

/// A consumer with a seat.
struct Seated<F: Framing> {
    reader: Reader<F::Frames>,
    seat: Arc<Chair>,
}

impl<F: Framing> Seated<F> {
    fn new(s: &Setting, memory: &Modelled, seat: &Arc<Chair>) -> Kept<Self> {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        let mut consumer = Seated {
            reader,
            seat: seat.clone(),
        };
        consumer.go_to_oldest()?;
        Ok(consumer)
    }

    fn go_to_oldest(&mut self) -> Kept<()> {
        ring::join(&mut self.reader, &*self.seat, Some(Start::Oldest))?;
        Ok(())
    }

    /// Pops so many times, and nothing may be lost.
    fn take(&mut self, s: &Setting, times: usize) -> Kept<()> {
        for _ in 0..times {
            let mut buffer = [0; 16];
            let wanted = self.reader.next();
            // SAFETY: the buffer is writable.
            let pop = unsafe { self.reader.pop(buffer.as_mut_ptr(), buffer.len()) }?;
            if let Pop::Message(info) = pop {
                promise!(Lost, info.lost == 0, "{info:?}");
                promise!(
                    Account,
                    info.sequence == wanted,
                    "{wanted} wanted: {info:?}"
                );
                let pushed = s.message(info.sequence, 0);
                promise!(Torn, buffer[..info.length as usize] == pushed, "{info:?}");
                let cursor = self.reader.frames().cursor();
                self.seat.store_cursor_release(Site::Consumed, cursor);
            }
        }
        Ok(())
    }

    /// What is left when the producer is at rest is received whole.
    fn drain(mut self, s: &Setting, writer: &F::Writer) -> Kept<()> {
        self.take(s, s.lengths.len())?;
        let (next, end) = (self.reader.next(), F::next(writer));
        promise!(Missing, next == end, "{next} is next, not {end}");
        Ok(())
    }
}

/// A consumer attached from the beginning: the producer waits for it.
fn attached<F: Gated>(s: &'static Setting) -> Kept<()> {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let mut consumer = Seated::<F>::new(s, &memory, &seat)?;
    let thread = thread::spawn(move || consumer.take(s, 2).map(|()| consumer));
    let writer = offer::<F>(s, &memory, &seat)?;
    thread.join().unwrap()?.drain(s, &writer)
}

/// A consumer that attaches while the producer runs.
fn joining<F: Gated>(s: &'static Setting) -> Kept<()> {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let (its, shared) = (seat.clone(), memory.clone());
    let thread = thread::spawn(move || {
        let mut consumer = Seated::<F>::new(s, &shared, &its)?;
        consumer.take(s, 1).map(|()| consumer)
    });
    let writer = offer::<F>(s, &memory, &seat)?;
    thread.join().unwrap()?.drain(s, &writer)
}

/// A consumer that goes back to the oldest while the producer waits for it.
fn seeking<F: Gated>(s: &'static Setting) -> Kept<()> {
    let memory = queue::<F>(s);
    let seat = Chair::new(s);
    let mut consumer = Seated::<F>::new(s, &memory, &seat)?;
    let thread = thread::spawn(move || {
        consumer.take(s, 2)?;
        consumer.go_to_oldest()?;
        consumer.take(s, 1).map(|()| consumer)
    });
    let writer = offer::<F>(s, &memory, &seat)?;
    thread.join().unwrap()?.drain(s, &writer)
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
    explore_up_to(bound(), || attached::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_attached() {
    explore_up_to(bound(), || attached::<Variable>(&VARIABLE));
}

#[test]
fn fixed_joining() {
    explore_up_to(bound(), || joining::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_joining() {
    explore_up_to(bound(), || joining::<Variable>(&VARIABLE));
}

#[test]
fn fixed_seeking() {
    explore_up_to(bound(), || seeking::<Fixed>(&FIXED_LONG));
}

/// Negative twins: `model` of `setting` without `site` breaks this promise.
macro_rules! twins {
    ($($name:ident: $model:ident::<$framing:ident>, $setting:expr, $kind:ident::$what:ident => $breach:ident;)+) => {$(
        #[test]
        fn $name() {
            const S: Setting = $setting.without(Mutation::$kind($kind::$what));
            dies_within(3, Breach::$breach, || $model::<$framing>(&S));
        }
    )+};
}

twins! {
    fixed_without_limit: joining::<Fixed>, FIXED, Site::Limit => Lost;
    fixed_without_look_twice: joining::<Fixed>, FIXED, Step::LookTwice => Lost;
    fixed_without_take_slot: joining::<Fixed>, FIXED, Site::TakeSlot => Lost;
    variable_without_limit: joining::<Variable>, VARIABLE, Site::Limit => Lost;
    variable_without_look_twice: joining::<Variable>, VARIABLE, Step::LookTwice => Lost;
    variable_without_take_slot: joining::<Variable>, VARIABLE, Site::TakeSlot => Lost;
}
