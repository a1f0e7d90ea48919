//! A producer that is killed after each of its stores, and another that takes its place.

use super::*;
use loom::thread;

const FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
/// The second producer's messages lie elsewhere than those the first had begun.
const VARIABLE: Setting = Setting::variable(&[16, 0, 16]);

/// Whether the first producer was killed before it was done.
fn restart<F: Framing>(s: &'static Setting, stores: usize, looks: usize) -> bool {
    let memory = queue::<F>(s);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let consumer = thread::spawn(move || {
        consumer.looks(looks);
        consumer
    });
    let mortal = memory.killed_after(stores);
    let first = mortal.clone();
    thread::spawn(move || {
        produce::<F>(s, &first, 0, s.end());
    })
    .join()
    .unwrap();
    // Another process: a thread of its own, whose fences are not the first one's.
    let second = F::next(&must(F::recover(memory.clone(), s.shape)));
    let end = s.end().wrapping_add(1);
    produce::<F>(s, &memory, 1, end);
    consumer.join().unwrap().settle(s, end, second);
    mortal.is_killed()
}

/// Explores a kill after each store.
fn every_step<F: Framing>(s: &'static Setting, preemptions: usize, looks: usize) {
    let mut stores = 0;
    let killed = Arc::new(AtomicUsize::new(1));
    while killed.load(Ordering::Relaxed) == 1 {
        let seen = killed.clone();
        explore(preemptions, move || {
            seen.store(restart::<F>(s, stores, looks).into(), Ordering::Relaxed);
        });
        stores += 1;
    }
    println!("killed after each of {stores} stores");
}

/// Killed in the fourth message but one, right after its announcement.
fn announced<F: Framing>(s: &'static Setting) {
    restart::<F>(s, 12, 1);
}

#[test]
fn fixed() {
    every_step::<Fixed>(&FIXED, if full() { 2 } else { 1 }, 1);
}

#[test]
fn variable() {
    every_step::<Variable>(&VARIABLE, 1, 1);
}

twins! {
    fixed_without_announce: announced::<Fixed>, FIXED, Announce;
}
