//! One producer that laps its consumers, who began at the first message.

use super::*;
use loom::thread;

/// Two slots, announced one by one.
const FIXED: Setting = Setting::fixed(2, 1, &[16; 4]);
/// Four slots, announced by twos, and sequences that wrap.
const WRAPS: Setting = Setting::fixed(4, 2, &[16; 5]).first(u64::MAX - 1);
/// The fourth frame begins where the words of the first message lay.
const VARIABLE: Setting = Setting::variable(&[16, 16, 0, 16]);
/// The third message is preceded by padding.
const PADDED: Setting = Setting::variable(&[16, 0, 16]).first(u64::MAX - 1);

fn broadcast<F: Framing>(s: &'static Setting, consumers: usize, looks: usize) {
    let memory = queue::<F>(s);
    let consumers: Vec<_> = (0..consumers)
        .map(|_| {
            let mut consumer = Consumer::<F>::new(s, &memory);
            thread::spawn(move || {
                consumer.looks(looks);
                consumer
            })
        })
        .collect();
    produce::<F>(s, &memory, 0, s.end());
    for consumer in consumers {
        consumer.join().unwrap().settle(s, s.end(), s.end());
    }
}

fn one<F: Framing>(s: &'static Setting) {
    broadcast::<F>(s, 1, 2);
}

/// Enough looks to come to the fourth message.
fn four<F: Framing>(s: &'static Setting) {
    broadcast::<F>(s, 1, 4);
}

fn two<F: Framing>(s: &'static Setting) {
    broadcast::<F>(s, 2, if full() { 2 } else { 1 });
}

#[test]
fn fixed_one() {
    explore(if full() { 3 } else { 2 }, || one::<Fixed>(&FIXED));
}

#[test]
fn fixed_wraps() {
    explore(2, || one::<Fixed>(&WRAPS));
}

#[test]
fn fixed_two() {
    explore(if full() { 2 } else { 1 }, || two::<Fixed>(&FIXED));
}

#[test]
fn variable_one() {
    explore(if full() { 2 } else { 1 }, || one::<Variable>(&VARIABLE));
}

#[test]
fn variable_padded() {
    explore(if full() { 2 } else { 1 }, || one::<Variable>(&PADDED));
}

#[test]
fn variable_two() {
    explore(usize::from(full()), || two::<Variable>(&VARIABLE));
}

twins! {
    fixed_without_announce: one::<Fixed>, FIXED, Announce;
    fixed_without_validate: one::<Fixed>, FIXED, Validate;
    fixed_without_is_valid: one::<Fixed>, FIXED, IsValid;
    fixed_without_stamp: one::<Fixed>, FIXED, Stamp;
    fixed_without_see_stamp: one::<Fixed>, FIXED, SeeStamp;
    variable_without_announce: one::<Variable>, VARIABLE, Announce;
    variable_without_validate: one::<Variable>, VARIABLE, Validate;
    variable_without_is_valid: one::<Variable>, VARIABLE, IsValid;
    variable_without_stamp: one::<Variable>, VARIABLE, Stamp;
    variable_without_see_stamp: one::<Variable>, VARIABLE, SeeStamp;
    variable_without_clear_next: four::<Variable>, VARIABLE, ClearNext;
}
