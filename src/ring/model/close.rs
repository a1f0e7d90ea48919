//! A producer that closes: its consumer gets every message before it is told.

use super::*;
use crate::ring::set_state;
use loom::thread;

const FIXED: Setting = Setting::fixed(4, 1, &[16; 2]);
const VARIABLE: Setting = Setting::variable(&[16]);

fn close<F: Framing>(s: &'static Setting) {
    let memory = queue::<F>(s);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let thread = thread::spawn(move || {
        for _ in 0..s.lengths.len() + 1 {
            if consumer.look() == Look::Closed {
                let next = consumer.reader.next();
                promise!(next == s.end(), "closed before {next}");
                break;
            }
        }
        consumer
    });
    let mut writer = produce::<F>(s, &memory, 0, s.end());
    F::settle(&mut writer);
    set_state(&memory, state::CLOSED);
    let mut consumer = thread.join().unwrap();
    promise!(consumer.drain() == Look::Closed, "not closed");
    consumer.settle(s, s.end(), s.end());
}

#[test]
fn fixed() {
    explore(if full() { 3 } else { 2 }, || close::<Fixed>(&FIXED));
}

#[test]
fn variable() {
    explore(if full() { 3 } else { 2 }, || close::<Variable>(&VARIABLE));
}

twins! {
    fixed_without_state: close::<Fixed>, FIXED, State;
    fixed_without_see_state: close::<Fixed>, FIXED, SeeState;
    fixed_without_look_again: close::<Fixed>, FIXED, LookAgain;
    variable_without_state: close::<Variable>, VARIABLE, State;
    variable_without_see_state: close::<Variable>, VARIABLE, SeeState;
    variable_without_look_again: close::<Variable>, VARIABLE, LookAgain;
}
