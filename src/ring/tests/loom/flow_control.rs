//! A lossless ring: the producer does not overwrite a message that a consumer with a slot has not
//! consumed, whenever the consumer took the slot.

use super::*;
use crate::ring::flow_control::{SlotCursor, SlotCursors};
use crate::ring::{self, Start};
use loom::thread;

/// A ring of two messages, announced one at a time. Without a consumer, the producer does not wait.
const FIXED: Setting = lossless(Setting::fixed(2, 1, &[16; 3]));
const FIXED_LONG: Setting = lossless(Setting::fixed(2, 1, &[16; 4]));
const VARIABLE: Setting = lossless(Setting::variable(&[16, 8, 16]));

const fn lossless(mut s: Setting) -> Setting {
    s.shape.lossless = true;
    s
}

/// One consumer slot.
struct ModelSlot {
    token: AtomicU64,
    cursor: AtomicU64,
    /// The store of the cursor has no release order.
    relaxed: bool,
}

impl ModelSlot {
    fn new(s: &Setting) -> Arc<ModelSlot> {
        Arc::new(ModelSlot {
            token: AtomicU64::new(0),
            cursor: AtomicU64::new(0),
            relaxed: s.without == Some(Mutation::Site(Site::Consumed)),
        })
    }
}

impl SlotCursor for ModelSlot {
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

impl SlotCursors for ModelSlot {
    fn cursors(&self, mut each: impl FnMut(u64)) {
        if self.token.load(Ordering::Acquire) != 0 {
            each(self.cursor.load(Ordering::Relaxed));
        }
    }
}

/// Pushes a message, and extends the limit if that is needed.
fn try_push<F: RingKind>(writer: &mut F::Writer, message: &[u8], slot: &ModelSlot) -> bool {
    F::push(writer, message) || (writer.extend(slot, message.len()) && F::push(writer, message))
}

/// Tries to push each message, with a few more tries.
fn offer<F: RingKind>(s: &Setting, memory: &ModelMemory, slot: &ModelSlot) -> Checked<F::Writer> {
    let mut writer = attach::<F>(s, memory)?;
    for _ in 0..s.lengths.len() + 1 {
        if writer.next() != s.end() {
            let message = s.message(writer.next(), 0);
            try_push::<F>(&mut writer, &message, slot);
        }
    }
    Ok(writer)
}

/// A consumer with a slot.
struct Attached<F: RingKind> {
    reader: Reader<F::Frames>,
    slot: Arc<ModelSlot>,
}

impl<F: RingKind> Attached<F> {
    fn new(s: &Setting, memory: &ModelMemory, slot: &Arc<ModelSlot>) -> Checked<Self> {
        let reader = Reader::new(F::frames(memory.clone(), s.shape));
        let mut consumer = Attached {
            reader,
            slot: slot.clone(),
        };
        consumer.go_to_oldest()?;
        Ok(consumer)
    }

    fn go_to_oldest(&mut self) -> Checked<()> {
        ring::join(&mut self.reader, &*self.slot, Some(Start::Oldest))?;
        Ok(())
    }

    /// Pops this many times. No message may be lost.
    fn take(&mut self, s: &Setting, times: usize) -> Checked<()> {
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
                self.slot.store_cursor_release(Site::Consumed, cursor);
            }
        }
        Ok(())
    }

    /// When the producer has stopped, the consumer receives all remaining messages.
    fn drain(mut self, s: &Setting, writer: &F::Writer) -> Checked<()> {
        self.take(s, s.lengths.len())?;
        let (next, end) = (self.reader.next(), writer.next());
        promise!(Missing, next == end, "{next} is next, not {end}");
        Ok(())
    }
}

/// A consumer that attaches before the producer starts. The producer waits for it.
fn attached<F: RingKind>(s: &'static Setting) -> Checked<()> {
    let memory = queue::<F>(s);
    let slot = ModelSlot::new(s);
    let mut consumer = Attached::<F>::new(s, &memory, &slot)?;
    let thread = thread::spawn(move || consumer.take(s, 2).map(|()| consumer));
    let writer = offer::<F>(s, &memory, &slot)?;
    thread.join().unwrap()?.drain(s, &writer)
}

/// A consumer that attaches while the producer runs.
fn joining<F: RingKind>(s: &'static Setting) -> Checked<()> {
    let memory = queue::<F>(s);
    let slot = ModelSlot::new(s);
    let (its, shared) = (slot.clone(), memory.clone());
    let thread = thread::spawn(move || {
        let mut consumer = Attached::<F>::new(s, &shared, &its)?;
        consumer.take(s, 1).map(|()| consumer)
    });
    let writer = offer::<F>(s, &memory, &slot)?;
    thread.join().unwrap()?.drain(s, &writer)
}

/// A consumer that seeks to the oldest message while the producer waits for it.
fn seeking<F: RingKind>(s: &'static Setting) -> Checked<()> {
    let memory = queue::<F>(s);
    let slot = ModelSlot::new(s);
    let mut consumer = Attached::<F>::new(s, &memory, &slot)?;
    let thread = thread::spawn(move || {
        consumer.take(s, 2)?;
        consumer.go_to_oldest()?;
        consumer.take(s, 1).map(|()| consumer)
    });
    let writer = offer::<F>(s, &memory, &slot)?;
    thread.join().unwrap()?.drain(s, &writer)
}

fn preemptions() -> usize {
    if full() {
        3
    } else {
        2
    }
}

#[test]
fn fixed_attached() {
    explore_up_to(preemptions(), || attached::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_attached() {
    explore_up_to(preemptions(), || attached::<Variable>(&VARIABLE));
}

#[test]
fn fixed_joining() {
    explore_up_to(preemptions(), || joining::<Fixed>(&FIXED_LONG));
}

#[test]
fn variable_joining() {
    explore_up_to(preemptions(), || joining::<Variable>(&VARIABLE));
}

#[test]
fn fixed_seeking() {
    explore_up_to(preemptions(), || seeking::<Fixed>(&FIXED_LONG));
}

/// Mutation tests: `model` of `setting` without a site or step breaks a promise.
macro_rules! mutations {
    ($($name:ident: $model:ident::<$ring:ident>, $setting:expr, $kind:ident::$what:ident => $violation:ident;)+) => {$(
        #[test]
        fn $name() {
            const S: Setting = $setting.without(Mutation::$kind($kind::$what));
            violates_within(3, Violation::$violation, || $model::<$ring>(&S));
        }
    )+};
}

mutations! {
    fixed_without_limit: joining::<Fixed>, FIXED, Site::Limit => Lost;
    fixed_without_look_twice: joining::<Fixed>, FIXED, Step::LookTwice => Lost;
    fixed_without_take_slot: joining::<Fixed>, FIXED, Site::TakeSlot => Lost;
    variable_without_limit: joining::<Variable>, VARIABLE, Site::Limit => Lost;
    variable_without_look_twice: joining::<Variable>, VARIABLE, Step::LookTwice => Lost;
    variable_without_take_slot: joining::<Variable>, VARIABLE, Site::TakeSlot => Lost;
}
