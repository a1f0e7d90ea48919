//! A consumer that finds no message sleeps. It is woken for every message, and for the end.

use super::*;
use crate::ring::set_state;
use crate::wakeup::{notify, prepare_wait, EventCount};
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread;

/// A step of the handshake that a mutation test leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handshake {
    LightBarrier,
    HeavyBarrier,
    LookOnceMore,
    CountUp,
}

/// The kernel's side of a futex word.
#[derive(Default)]
struct Sleepers {
    /// The number of wake-ups.
    wakes: usize,
    /// No wake-up will follow.
    over: bool,
}

/// The flag and the word. The kernel takes a lock when it compares and when it wakes.
struct ModelEventCount {
    flag: AtomicU64,
    word: AtomicU32,
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
    without: &'static [Handshake],
}

#[derive(Clone)]
struct SharedModel(Arc<ModelEventCount>);

impl SharedModel {
    fn new(without: &'static [Handshake]) -> Self {
        SharedModel(Arc::new(ModelEventCount {
            flag: AtomicU64::new(0),
            word: AtomicU32::new(0),
            sleepers: Mutex::new(Sleepers::default()),
            changed: Condvar::new(),
            without,
        }))
    }

    fn keeps(&self, step: Handshake) -> bool {
        !self.0.without.contains(&step)
    }

    /// Sleeps if the word still has the value `seen`. Returns `false` if no wake-up ever ends the
    /// sleep.
    fn sleep(&self, seen: u32) -> bool {
        let mut sleepers = self.0.sleepers.lock().unwrap();
        if self.0.word.load(Ordering::Relaxed) != seen {
            return true;
        }
        let wakes = sleepers.wakes;
        while sleepers.wakes == wakes {
            if sleepers.over {
                return false;
            }
            sleepers = self.0.changed.wait(sleepers).unwrap();
        }
        true
    }

    fn heavy_barrier(&self) {
        if self.keeps(Handshake::HeavyBarrier) {
            fence(Ordering::SeqCst);
        }
    }

    fn end(&self) {
        self.0.sleepers.lock().unwrap().over = true;
        self.0.changed.notify_all();
    }
}

impl EventCount for SharedModel {
    fn count(&self) -> u32 {
        let count = self.0.word.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        count
    }

    /// For the process that works, the barrier of the kernel is a full fence somewhere between its
    /// store and its load. Here the fence is at that place.
    fn has_waiters(&self) -> bool {
        if self.keeps(Handshake::LightBarrier) {
            fence(Ordering::SeqCst);
        }
        self.0.flag.load(Ordering::Relaxed) != 0
    }

    fn set_flag(&self) {
        self.0.flag.store(1, Ordering::Release);
    }

    fn clear_flag(&self) {
        self.0.flag.swap(0, Ordering::Acquire);
    }

    fn wake_all(&self) {
        if self.keeps(Handshake::CountUp) {
            self.0.word.fetch_add(1, Ordering::Release);
        }
        self.0.sleepers.lock().unwrap().wakes += 1;
        self.0.changed.notify_all();
    }
}

/// Receives all messages, and sleeps in between.
fn receive<F: RingKind>(
    s: &Setting,
    mut consumer: Consumer<F>,
    event_count: &SharedModel,
) -> Checked<Consumer<F>> {
    while consumer.reader.next() != s.end() {
        if consumer.look()? != Look::Nothing {
            continue;
        }
        let seen = prepare_wait(event_count);
        event_count.heavy_barrier();
        if event_count.keeps(Handshake::LookOnceMore) && consumer.look()? != Look::Nothing {
            continue;
        }
        let next = consumer.reader.next();
        promise!(Asleep, event_count.sleep(seen), "forever at {next}");
    }
    Ok(consumer)
}

fn wake<F: RingKind>(
    s: &'static Setting,
    without: &'static [Handshake],
    consumers: usize,
) -> Checked<()> {
    let memory = queue::<F>(s);
    let event_count = SharedModel::new(without);
    let threads: Vec<_> = (0..consumers)
        .map(|_| {
            let consumer = Consumer::<F>::new(s, &memory);
            let event_count = event_count.clone();
            thread::spawn(move || receive(s, consumer, &event_count))
        })
        .collect();
    let mut writer = attach::<F>(s, &memory)?;
    for sequence in s.shape.first..s.end() {
        F::push(&mut writer, &s.message(sequence, 0));
        notify(&event_count);
    }
    event_count.end();
    for thread in threads {
        thread.join().unwrap()?.settle(s, s.end(), s.end())?;
    }
    Ok(())
}

/// The end wakes the consumer whether the flag is set or not.
fn close<F: RingKind>(s: &'static Setting, without: &'static [Handshake]) -> Checked<()> {
    let memory = queue::<F>(s);
    let event_count = SharedModel::new(without);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let theirs = event_count.clone();
    let thread = thread::spawn(move || {
        while consumer.look()? != Look::Closed {
            let seen = prepare_wait(&theirs);
            theirs.heavy_barrier();
            if consumer.look()? == Look::Closed {
                break;
            }
            promise!(Asleep, theirs.sleep(seen), "forever in a closed queue");
        }
        Ok(())
    });
    set_state(&memory, state::CLOSED);
    event_count.wake_all();
    event_count.end();
    thread.join().unwrap()
}

const ONE: Setting = Setting::fixed(4, 1, &[16]);
const TWO: Setting = Setting::fixed(4, 1, &[16; 2]);
const VARIABLE: Setting = Setting::variable(&[16]);

#[test]
fn one_consumer() {
    explore_up_to(if full() { 5 } else { 3 }, || wake::<Fixed>(&TWO, &[], 1));
}

#[test]
fn two_consumers() {
    explore_up_to(if full() { 4 } else { 2 }, || wake::<Fixed>(&ONE, &[], 2));
}

#[test]
fn variable() {
    explore_up_to(if full() { 5 } else { 3 }, || {
        wake::<Variable>(&VARIABLE, &[], 1)
    });
}

#[test]
fn closed() {
    explore_up_to(if full() { 5 } else { 3 }, || close::<Fixed>(&ONE, &[]));
}

/// Mutation tests: without the step a consumer sleeps forever.
macro_rules! mutations {
    ($($name:ident: $step:ident;)+) => {$(
        #[test]
        fn $name() {
            violates_within(3, Violation::Asleep, || wake::<Fixed>(&ONE, &[Handshake::$step], 1));
        }
    )+};
}

mutations! {
    without_light_barrier: LightBarrier;
    without_heavy_barrier: HeavyBarrier;
    without_look_once_more: LookOnceMore;
    without_count_up: CountUp;
}

#[test]
fn closed_without_count_up() {
    violates_within(3, Violation::Asleep, || {
        close::<Fixed>(&ONE, &[Handshake::CountUp])
    });
}
