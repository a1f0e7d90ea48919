//! A consumer that joins while the producer runs.

use super::*;
use crate::ring::{distance, Start};
use loom::thread;

const FIXED: Setting = Setting::fixed(2, 1, &[16; 3]);
const VARIABLE: Setting = Setting::variable(&[16, 16, 16]);

fn join<F: Framing>(s: &'static Setting, start: Start) {
    let memory = queue::<F>(s);
    let mut consumer = Consumer::<F>::new(s, &memory);
    let thread = thread::spawn(move || {
        if !must(consumer.reader.begin(start)) {
            promise!(matches!(start, Start::At(_)), "{start:?} lies beyond");
            return None;
        }
        let (begun, lost) = (consumer.reader.next(), consumer.reader.counts().1);
        consumer.expected = consumer.reader.start;
        if let Start::At(sequence) = start {
            promise!(
                consumer.expected == sequence,
                "begun at {begun}, {lost} lost"
            );
        }
        let frontier = must(consumer.reader.frames().frontier());
        promise!(
            distance(frontier, begun) >= 0,
            "{begun} is beyond {frontier}"
        );
        let look = consumer.look();
        // A message that is known to be there comes, unless the consumer was lapped meanwhile.
        let lapped = consumer.reader.counts().1 != lost;
        let pushed = frontier != begun;
        promise!(
            look == Look::Message || lapped || !pushed,
            "no message at {begun} before {frontier}"
        );
        Some(consumer)
    });
    produce::<F>(s, &memory, 0, s.end());
    if let Some(consumer) = thread.join().unwrap() {
        consumer.settle(s, s.end(), s.end());
    }
}

fn oldest<F: Framing>(s: &'static Setting) {
    join::<F>(s, Start::Oldest);
}

fn newest<F: Framing>(s: &'static Setting) {
    join::<F>(s, Start::Newest);
}

fn next<F: Framing>(s: &'static Setting) {
    join::<F>(s, Start::Next);
}

fn at<F: Framing>(s: &'static Setting) {
    join::<F>(s, Start::At(1));
}

fn depth() -> usize {
    if full() {
        2
    } else {
        1
    }
}

#[test]
fn fixed() {
    explore(depth(), || oldest::<Fixed>(&FIXED));
    explore(depth(), || newest::<Fixed>(&FIXED));
    explore(depth(), || next::<Fixed>(&FIXED));
    explore(depth(), || at::<Fixed>(&FIXED));
}

#[test]
fn variable_oldest() {
    explore(usize::from(full()), || oldest::<Variable>(&VARIABLE));
}

#[test]
fn variable_newest() {
    explore(usize::from(full()), || newest::<Variable>(&VARIABLE));
}

#[test]
fn variable_next() {
    explore(usize::from(full()), || next::<Variable>(&VARIABLE));
}

#[test]
fn variable_at() {
    explore(1, || at::<Variable>(&VARIABLE));
}

twins! {
    fixed_without_publish: newest::<Fixed>, FIXED, Publish;
    variable_without_publish: oldest::<Variable>, VARIABLE, Publish;
    variable_without_join: oldest::<Variable>, VARIABLE, Join;
}
