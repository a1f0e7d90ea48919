//! A producer that closes the queue: its consumer gets every message before the end is reported. A
//! producer that opens the queue again: a consumer that has seen the end gets the new messages.

use super::*;
use crate::ring::set_state;
use loom::thread;

const FIXED: Setting = Setting::fixed(4, 1, &[16; 2]);
const VARIABLE: Setting = Setting::variable(&[16]);
/// The third message overwrites the first.
const REOPENED_FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
const REOPENED_VARIABLE: Setting = Setting::variable(&[16; 3]);

/// As a producer's handle does when it is dropped.
fn end<F: RingKind>(memory: &ModelMemory, writer: &mut F::Writer) {
    writer.settle();
    set_state(memory, state::CLOSED);
}

fn close<F: RingKind>(s: &'static Setting) -> Checked<Trace> {
    let memory = queue::<F>(s);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let thread = thread::spawn(move || {
        for _ in 0..s.lengths.len() + 1 {
            if consumer.look()? == Look::Closed {
                let next = consumer.reader.next();
                promise!(Early, next == s.end(), "closed before {next}");
                break;
            }
        }
        Ok(consumer)
    });
    let mut writer = produce::<F>(s, &memory, 0, s.end())?;
    end::<F>(&memory, &mut writer);
    let mut consumer = thread.join().unwrap()?;
    promise!(Missing, consumer.drain()? == Look::Closed, "not closed");
    consumer.settle(s, s.end(), s.end())
}

/// The consumer attaches to a closed queue of one message, which a second producer reopens.
fn reopen<F: RingKind>(s: &'static Setting, live_again: bool) -> Checked<Trace> {
    let memory = queue::<F>(s);
    let second = s.sequence(1);
    let mut writer = produce::<F>(s, &memory, 0, second)?;
    end::<F>(&memory, &mut writer);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let thread = thread::spawn(move || {
        let mut live = false;
        for _ in 0..4 {
            match consumer.look()? {
                // Live again, so an end that is reported from here on is the second one.
                Look::Nothing => live = true,
                Look::Message { sequence, .. } => live |= sequence != s.shape.first,
                Look::Closed => {
                    let next = consumer.reader.next();
                    let end = if live { s.end() } else { second };
                    promise!(
                        Early,
                        next == end || next == s.end(),
                        "closed before {next}"
                    );
                }
            }
        }
        Ok(consumer)
    });
    // As `queue::open` does.
    if live_again {
        set_state(&memory, state::LIVE);
    }
    let mut writer = attach::<F>(s, &memory)?;
    promise!(Missing, writer.next() == second, "the first message");
    push::<F>(s, &mut writer, 1, s.end());
    end::<F>(&memory, &mut writer);
    let mut consumer = thread.join().unwrap()?;
    promise!(Missing, consumer.drain()? == Look::Closed, "not closed");
    consumer.settle(s, s.end(), second)
}

fn reopened<F: RingKind>(s: &'static Setting) -> Checked<Trace> {
    reopen::<F>(s, true)
}

#[test]
fn fixed() {
    explore(|| close::<Fixed>(&FIXED));
}

#[test]
fn short() {
    explore(|| close::<Short>(&FIXED));
}

#[test]
fn variable() {
    explore(|| close::<Variable>(&VARIABLE));
}

#[test]
fn fixed_reopened() {
    explore(|| reopened::<Fixed>(&REOPENED_FIXED));
}

#[test]
fn short_reopened() {
    explore(|| reopened::<Short>(&REOPENED_FIXED));
}

#[test]
fn variable_reopened() {
    explore(|| reopened::<Variable>(&REOPENED_VARIABLE));
}

#[test]
fn fixed_preemptions_add_nothing() {
    preemptions_add_nothing(|| close::<Fixed>(&FIXED));
}

#[test]
fn variable_preemptions_add_nothing() {
    preemptions_add_nothing(|| reopened::<Variable>(&REOPENED_VARIABLE));
}

/// Mutation tests: the state stays closed.
#[test]
fn fixed_reopened_without_live() {
    violates(Violation::Early, || reopen::<Fixed>(&REOPENED_FIXED, false));
}

#[test]
fn variable_reopened_without_live() {
    violates(Violation::Early, || {
        reopen::<Variable>(&REOPENED_VARIABLE, false)
    });
}

mutations! {
    fixed_without_state: close::<Fixed>, FIXED, Site::State => Early;
    fixed_without_see_state: close::<Fixed>, FIXED, Site::SeeState => Early;
    fixed_without_look_again: close::<Fixed>, FIXED, Step::LookAgain => Early;
    variable_without_state: close::<Variable>, VARIABLE, Site::State => Early;
    variable_without_see_state: close::<Variable>, VARIABLE, Site::SeeState => Early;
    variable_without_look_again: close::<Variable>, VARIABLE, Step::LookAgain => Early;
    fixed_reopened_without_state: reopened::<Fixed>, REOPENED_FIXED, Site::State => Early;
    variable_reopened_without_state: reopened::<Variable>, REOPENED_VARIABLE, Site::State => Early;
}
