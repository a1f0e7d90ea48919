//! A consumer that joins while the producer runs.

use super::*;
use crate::ring::{distance, Start};
use loom::thread;

const FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
/// Four slots, announced two at a time.
const BLOCKS: Setting = Setting::fixed(4, 2, &[16; 3]);
/// Each message takes half of the ring.
const VARIABLE: Setting = Setting::variable(&[16, 16, 16]);
/// Both halves are overwritten.
const LONGER: Setting = Setting::variable(&[16; 4]);

/// The first `before` messages were pushed before the consumer began.
fn join<F: RingKind>(s: &'static Setting, before: usize, start: Start) -> Checked<Trace> {
    let memory = queue::<F>(s);
    let mut writer = attach::<F>(s, &memory)?;
    push::<F>(s, &mut writer, 0, s.sequence(before));
    let mut consumer = Consumer::<F>::new(s, &memory);
    let thread = thread::spawn(move || {
        if !consumer.reader.begin(start)? {
            promise!(
                Missing,
                matches!(start, Start::At(_)),
                "{start:?} is not found"
            );
            return Ok(None);
        }
        let (begun, lost) = (consumer.reader.next(), consumer.reader.counts().1);
        consumer.expected = consumer.reader.start;
        if let Start::At(sequence) = start {
            promise!(
                Account,
                consumer.expected == sequence,
                "begun at {begun}, {lost} lost"
            );
        }
        let frontier = consumer.reader.frames().frontier()?;
        promise!(
            Missing,
            distance(frontier, begun) >= 0,
            "{begun} is beyond {frontier}"
        );
        let look = consumer.look()?;
        // A message that is known to be there is found, unless the consumer was lapped.
        let lapped = consumer.reader.counts().1 != lost;
        let pushed = frontier != begun;
        promise!(
            Missing,
            look != Look::Nothing || lapped || !pushed,
            "no message at {begun} before {frontier}"
        );
        Ok(Some(consumer))
    });
    push::<F>(s, &mut writer, 0, s.end());
    match thread.join().unwrap()? {
        Some(consumer) => consumer.settle(s, s.end(), s.end()),
        None => Ok(Trace::new()),
    }
}

/// The numbers of messages that are pushed before.
fn some() -> std::ops::Range<usize> {
    if full() {
        0..3
    } else {
        1..3
    }
}

fn oldest<F: RingKind>(s: &'static Setting) -> Checked<Trace> {
    join::<F>(s, 1, Start::Oldest)
}

fn newest<F: RingKind>(s: &'static Setting) -> Checked<Trace> {
    join::<F>(s, 1, Start::Newest)
}

/// Joins an empty queue.
fn new<F: RingKind>(s: &'static Setting) -> Checked<Trace> {
    join::<F>(s, 0, Start::Oldest)
}

#[test]
fn fixed() {
    for setting in [&FIXED, &BLOCKS] {
        for before in 0..3 {
            explore(move || join::<Fixed>(setting, before, Start::Oldest));
            explore(move || join::<Fixed>(setting, before, Start::Newest));
            explore(move || join::<Fixed>(setting, before, Start::Next));
            explore(move || join::<Fixed>(setting, before, Start::At(1)));
        }
    }
}

#[test]
fn variable_oldest() {
    for before in some() {
        explore(move || join::<Variable>(&VARIABLE, before, Start::Oldest));
    }
}

#[test]
fn variable_newest() {
    for before in some() {
        explore(move || join::<Variable>(&VARIABLE, before, Start::Newest));
    }
}

#[test]
fn variable_next() {
    for before in some() {
        explore(move || join::<Variable>(&VARIABLE, before, Start::Next));
    }
}

#[test]
fn variable_at() {
    for before in some() {
        explore(move || join::<Variable>(&VARIABLE, before, Start::At(1)));
    }
}

#[test]
fn variable_longer() {
    if full() {
        explore(|| join::<Variable>(&LONGER, 2, Start::Oldest));
        explore(|| join::<Variable>(&LONGER, 2, Start::Newest));
    }
}

#[test]
fn fixed_preemptions_add_nothing() {
    preemptions_add_nothing(|| newest::<Fixed>(&FIXED));
}

#[test]
fn variable_preemptions_add_nothing() {
    preemptions_add_nothing(|| join::<Variable>(&VARIABLE, 2, Start::Newest));
}

mutations! {
    fixed_without_publish: newest::<Fixed>, FIXED.of(Field::Published), Site::Publish => Missing;
    fixed_without_find_front: newest::<Fixed>, FIXED, Site::FindFront => Missing;
    fixed_without_stamp: new::<Fixed>, BLOCKS, Site::Stamp => Missing;
    variable_without_publish: oldest::<Variable>, VARIABLE.of(Field::Published), Site::Publish => Missing;
    variable_without_publish_claimed: oldest::<Variable>, VARIABLE.of(Field::Claimed), Site::Publish => Damaged;
    variable_without_find_front: oldest::<Variable>, VARIABLE, Site::FindFront => Damaged;
    variable_without_find_oldest: oldest::<Variable>, VARIABLE, Site::FindOldest => Missing;
    variable_without_validate_entry: oldest::<Variable>, VARIABLE, Site::ValidateEntry => Missing;
}
