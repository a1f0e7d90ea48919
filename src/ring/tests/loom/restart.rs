//! A producer that is killed after each of its stores, and another one that takes its place.

use super::*;
use loom::thread;

const FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
/// The messages of the second producer are at other offsets than those the first had begun.
const VARIABLE: Setting = Setting::variable(&[16, 0, 16]);

/// Also returns whether the first producer was killed before it had pushed everything.
fn restart<F: RingKind>(
    s: &'static Setting,
    stores: usize,
    looks: usize,
) -> Checked<(Trace, bool)> {
    let memory = queue::<F>(s);
    let mortal = memory.killed_after(stores);
    let first = mortal.clone();
    // Spawned before the consumer, so that loom lets it run first.
    let first = thread::spawn(move || produce::<F>(s, &first, 0, s.end()).map(|_| ()));
    let consumer = Consumer::<F>::new(s, &memory);
    let consumer = thread::spawn(move || consumer.looks(looks));
    first.join().unwrap()?;
    // Another process. It is another thread, so the fences of the first one are not its own.
    let second = attach::<F>(s, &memory)?.next();
    let end = s.end().wrapping_add(1);
    produce::<F>(s, &memory, 1, end)?;
    let trace = consumer.join().unwrap()?.settle(s, end, second)?;
    Ok((trace, mortal.is_killed()))
}

/// Explores a kill after each store.
fn every_step<F: RingKind>(s: &'static Setting, looks: usize) {
    let mut stores = 0;
    let killed = Arc::new(AtomicUsize::new(1));
    while killed.load(Ordering::Relaxed) == 1 {
        let seen = killed.clone();
        explore(move || {
            let (trace, killed) = restart::<F>(s, stores, looks)?;
            seen.store(killed.into(), Ordering::Relaxed);
            Ok(trace)
        });
        stores += 1;
    }
    println!("killed after each of {stores} stores");
}

/// The producer is killed when it has announced the third message, which overwrites the first, and
/// has not written it yet.
fn announced<F: RingKind>(s: &'static Setting) -> Checked<(Trace, bool)> {
    let stores = match s.shape.stride {
        0 => 31,
        _ => 12,
    };
    restart::<F>(s, stores, 1)
}

#[test]
fn fixed() {
    every_step::<Fixed>(&FIXED, 3);
}

#[test]
fn variable() {
    every_step::<Variable>(&VARIABLE, if full() { 2 } else { 1 });
}

#[test]
fn fixed_preemptions_add_nothing() {
    preemptions_add_nothing(|| announced::<Fixed>(&FIXED));
}

#[test]
fn variable_preemptions_add_nothing() {
    preemptions_add_nothing(|| announced::<Variable>(&VARIABLE));
}

mutations! {
    fixed_without_take_over: announced::<Fixed>, FIXED, Site::TakeOver => Torn;
    variable_without_take_over: announced::<Variable>, VARIABLE, Site::TakeOver => Torn;
}
