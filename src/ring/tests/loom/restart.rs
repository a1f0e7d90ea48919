//! A producer that is killed after each of its stores, and another that takes its place.

use super::*;
use loom::thread;

const FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
/// The second producer's messages lie elsewhere than those the first had begun.
const VARIABLE: Setting = Setting::variable(&[16, 0, 16]);

/// Also says whether the first producer was killed before it was done.
fn restart<F: Framing>(s: &'static Setting, stores: usize, looks: usize) -> Kept<(Story, bool)> {
    let memory = queue::<F>(s);
    let mortal = memory.killed_after(stores);
    let first = mortal.clone();
    // Spawned before the consumer, so that loom lets it run first.
    let first = thread::spawn(move || produce::<F>(s, &first, 0, s.end()).map(|_| ()));
    let consumer = Consumer::<F>::new(s, &memory);
    let consumer = thread::spawn(move || consumer.looks(looks));
    first.join().unwrap()?;
    // Another process: a thread of its own, whose fences are not the first one's.
    let second = F::next(&attach::<F>(s, &memory)?);
    let end = s.end().wrapping_add(1);
    produce::<F>(s, &memory, 1, end)?;
    let story = consumer.join().unwrap()?.settle(s, end, second)?;
    Ok((story, mortal.is_killed()))
}

/// Explores a kill after each store.
fn every_step<F: Framing>(s: &'static Setting, looks: usize) {
    let mut stores = 0;
    let killed = Arc::new(AtomicUsize::new(1));
    while killed.load(Ordering::Relaxed) == 1 {
        let seen = killed.clone();
        explore(move || {
            let (story, killed) = restart::<F>(s, stores, looks)?;
            seen.store(killed.into(), Ordering::Relaxed);
            Ok(story)
        });
        stores += 1;
    }
    println!("killed after each of {stores} stores");
}

/// Killed when the third message, which overwrites the first, is announced and not yet written.
fn announced<F: Framing>(s: &'static Setting) -> Kept<(Story, bool)> {
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

twins! {
    fixed_without_take_over: announced::<Fixed>, FIXED, Site::TakeOver => Torn;
    variable_without_take_over: announced::<Variable>, VARIABLE, Site::TakeOver => Torn;
}
