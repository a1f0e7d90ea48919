//! One producer that laps its consumers. They began at the first message.

use super::*;
use loom::thread;

/// Two slots, announced one at a time.
const FIXED: Setting = Setting::fixed(2, 1, &[16; 4]);
/// Four slots, announced two at a time, and sequences that wrap.
const WRAPS: Setting = Setting::fixed(4, 2, &[16; 5]).first(u64::MAX - 1);
/// The fourth frame begins at the words of the first message.
const VARIABLE: Setting = Setting::variable(&[16, 16, 0, 16]);
/// Padding precedes the third message.
const PADDED: Setting = Setting::variable(&[16, 0, 16]).first(u64::MAX - 1);
/// The abandoned claim takes the room of the next two frames, or has padding before it.
const ABANDONED: Setting = Setting::variable(&[0, 0, 16, 0]).abandoning(&[16; 4]);

fn broadcast<F: RingKind>(s: &'static Setting, looks: &[usize]) -> Checked<Vec<Trace>> {
    let memory = queue::<F>(s);
    let consumers: Vec<_> = looks
        .iter()
        .map(|&looks| {
            let consumer = Consumer::<F>::new(s, &memory);
            thread::spawn(move || consumer.looks(looks))
        })
        .collect();
    produce::<F>(s, &memory, 0, s.end())?;
    consumers
        .into_iter()
        .map(|consumer| consumer.join().unwrap()?.settle(s, s.end(), s.end()))
        .collect()
}

/// Enough looks to reach the fourth message.
fn one<F: RingKind>(s: &'static Setting) -> Checked<Vec<Trace>> {
    broadcast::<F>(s, &[4])
}

/// Either consumer may be lapped while it copies, and continues.
fn two<F: RingKind>(s: &'static Setting) -> Checked<Vec<Trace>> {
    let looks = if full() { 2 } else { 1 };
    broadcast::<F>(s, &[looks; 2])
}

#[test]
fn fixed_one() {
    explore(|| one::<Fixed>(&FIXED));
}

#[test]
fn short() {
    explore(|| one::<Short>(&FIXED));
}

/// The check of the first message validates both messages of a run.
#[test]
fn run() {
    explore(|| one::<Runs>(&FIXED));
}

#[test]
fn run_wraps() {
    explore(|| one::<Runs>(&WRAPS));
}

#[test]
fn in_place() {
    explore(|| one::<InPlace>(&FIXED));
}

#[test]
fn in_place_wraps() {
    explore(|| one::<InPlace>(&WRAPS));
}

#[test]
fn fixed_wraps() {
    explore(|| one::<Fixed>(&WRAPS));
}

#[test]
fn fixed_two() {
    explore(|| two::<Fixed>(&FIXED));
}

#[test]
fn variable_one() {
    explore(|| one::<Variable>(&VARIABLE));
}

#[test]
fn variable_padded() {
    explore(|| one::<Variable>(&PADDED));
}

#[test]
fn variable_abandoned() {
    explore(|| one::<Variable>(&ABANDONED));
}

#[test]
fn variable_two() {
    explore(|| two::<Variable>(&VARIABLE));
}

#[test]
fn fixed_preemptions_add_nothing() {
    preemptions_add_nothing(|| one::<Fixed>(&FIXED));
}

#[test]
fn variable_preemptions_add_nothing() {
    preemptions_add_nothing(|| one::<Variable>(&PADDED));
}

mutations! {
    fixed_without_announce: one::<Fixed>, FIXED, Site::Announce => Torn;
    fixed_without_validate: one::<Fixed>, FIXED, Site::Validate => Torn;
    fixed_future_without_validate: one::<Fixed>, FIXED, Site::Validate => Damaged;
    fixed_without_is_valid: one::<Fixed>, FIXED, Step::IsValid => Torn;
    fixed_without_stamp: one::<Fixed>, FIXED, Site::Stamp => Torn;
    fixed_without_see_stamp: one::<Fixed>, FIXED, Site::SeeStamp => Torn;
    short_without_see_stamp: one::<Short>, FIXED, Site::SeeStamp => Torn;
    short_without_validate: one::<Short>, FIXED, Site::Validate => Torn;
    short_without_is_valid: one::<Short>, FIXED, Step::IsValid => Torn;
    run_without_announce: one::<Runs>, FIXED, Site::Announce => Torn;
    run_without_stamp: one::<Runs>, FIXED, Site::Stamp => Torn;
    run_without_see_stamp: one::<Runs>, FIXED, Site::SeeStamp => Torn;
    run_without_validate: one::<Runs>, FIXED, Site::Validate => Torn;
    run_without_is_valid: one::<Runs>, FIXED, Step::IsValid => Torn;
    in_place_without_announce: one::<InPlace>, FIXED, Site::Announce => Torn;
    in_place_without_stamp: one::<InPlace>, FIXED, Site::Stamp => Torn;
    in_place_without_validate: one::<InPlace>, FIXED, Site::Validate => Torn;
    in_place_without_is_valid: one::<InPlace>, FIXED, Step::IsValid => Torn;
    variable_without_announce: one::<Variable>, VARIABLE, Site::Announce => Torn;
    variable_without_validate: one::<Variable>, VARIABLE, Site::Validate => Torn;
    variable_without_is_valid: one::<Variable>, VARIABLE, Step::IsValid => Torn;
    variable_without_stamp: one::<Variable>, VARIABLE, Site::Stamp => Torn;
    variable_without_see_stamp: one::<Variable>, VARIABLE, Site::SeeStamp => Torn;
    variable_without_clear_next: one::<Variable>, VARIABLE, Step::ClearNext => Torn;
    abandoned_without_clear_next: one::<Variable>, ABANDONED, Step::ClearNext => Torn;
    variable_without_find_oldest: one::<Variable>, VARIABLE, Site::FindOldest => Missing;
    variable_without_validate_entry: one::<Variable>, VARIABLE, Site::ValidateEntry => Missing;
}
