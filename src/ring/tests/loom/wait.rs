//! A consumer sleeps when it finds nothing: it is woken for every message, and for the end.

use super::*;
use crate::ring::set_state;
use crate::wakeup::{notify, prepare_wait, EventCount};
use loom::sync::atomic::AtomicU32;
use loom::sync::{Condvar, Mutex};
use loom::thread;

/// A step of the handshake that a twin leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    LightBarrier,
    HeavyBarrier,
    LookOnceMore,
    CountUp,
}

/// The kernel's side of a futex word.
#[derive(Default)]
struct Sleepers {
    /// How often those asleep were woken.
    wakes: usize,
    /// Nobody will wake them any more.
    over: bool,
}

/// The flag and the word; the kernel takes a lock where it compares and where it wakes.
struct Modelled {
    flag: AtomicU64,
    word: AtomicU32,
    sleepers: Mutex<Sleepers>,
    changed: Condvar,
    without: &'static [Step],
}

#[derive(Clone)]
struct Shared(Arc<Modelled>);

impl Shared {
    fn new(without: &'static [Step]) -> Self {
        Shared(Arc::new(Modelled {
            flag: AtomicU64::new(0),
            word: AtomicU32::new(0),
            sleepers: Mutex::new(Sleepers::default()),
            changed: Condvar::new(),
            without,
        }))
    }

    fn keeps(&self, step: Step) -> bool {
        !self.0.without.contains(&step)
    }

    /// Sleeps if the word is as it was seen; `false` if nobody ever woke the sleeper.
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
        if self.keeps(Step::HeavyBarrier) {
            fence(Ordering::SeqCst);
        }
    }

    fn end(&self) {
        self.0.sleepers.lock().unwrap().over = true;
        self.0.changed.notify_all();
    }
}

impl EventCount for Shared {
    fn count(&self) -> u32 {
        let count = self.0.word.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        count
    }

    /// The kernel's barrier in the other process is, for that process, a full fence somewhere
    /// between the store and the load that it stands between: here it is at its place.
    fn has_waiters(&self) -> bool {
        if self.keeps(Step::LightBarrier) {
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
        if self.keeps(Step::CountUp) {
            self.0.word.fetch_add(1, Ordering::Release);
        }
        self.0.sleepers.lock().unwrap().wakes += 1;
        self.0.changed.notify_all();
    }
}

/// Receives all messages, asleep in between.
fn receive<F: Framing>(s: &Setting, mut consumer: Consumer<F>, bell: &Shared) -> Kept<Consumer<F>> {
    while consumer.reader.next() != s.end() {
        if consumer.look()? != Look::Nothing {
            continue;
        }
        let seen = prepare_wait(bell);
        bell.heavy_barrier();
        if bell.keeps(Step::LookOnceMore) && consumer.look()? != Look::Nothing {
            continue;
        }
        let next = consumer.reader.next();
        promise!(Asleep, bell.sleep(seen), "for ever at {next}");
    }
    Ok(consumer)
}

fn wake<F: Framing>(s: &'static Setting, without: &'static [Step], consumers: usize) -> Kept<()> {
    let memory = queue::<F>(s);
    let bell = Shared::new(without);
    let threads: Vec<_> = (0..consumers)
        .map(|_| {
            let consumer = Consumer::<F>::new(s, &memory);
            let bell = bell.clone();
            thread::spawn(move || receive(s, consumer, &bell))
        })
        .collect();
    let mut writer = attach::<F>(s, &memory)?;
    for sequence in s.shape.first..s.end() {
        F::push(&mut writer, &s.message(sequence, 0));
        notify(&bell);
    }
    bell.end();
    for thread in threads {
        thread.join().unwrap()?.settle(s, s.end(), s.end())?;
    }
    Ok(())
}

/// The end is told whether somebody is flagged or not.
fn close<F: Framing>(s: &'static Setting, without: &'static [Step]) -> Kept<()> {
    let memory = queue::<F>(s);
    let bell = Shared::new(without);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let theirs = bell.clone();
    let thread = thread::spawn(move || {
        while consumer.look()? != Look::Closed {
            let seen = prepare_wait(&theirs);
            theirs.heavy_barrier();
            if consumer.look()? == Look::Closed {
                break;
            }
            promise!(Asleep, theirs.sleep(seen), "for ever in a closed queue");
        }
        Ok(())
    });
    set_state(&memory, state::CLOSED);
    bell.wake_all();
    bell.end();
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

/// Negative twins: without a step somebody sleeps for ever.
macro_rules! twins {
    ($($name:ident: $step:ident;)+) => {$(
        #[test]
        fn $name() {
            dies_within(3, Breach::Asleep, || wake::<Fixed>(&ONE, &[Step::$step], 1));
        }
    )+};
}

twins! {
    without_light_barrier: LightBarrier;
    without_heavy_barrier: HeavyBarrier;
    without_look_once_more: LookOnceMore;
    without_count_up: CountUp;
}

#[test]
fn closed_without_count_up() {
    dies_within(3, Breach::Asleep, || close::<Fixed>(&ONE, &[Step::CountUp]));
}
