//! Which consumers hold a lossless producer back, and when they are dropped.

use super::language;
use crate::error::{Error, Text};
use crate::format::control_file::Control;
use crate::format::names::Paths;
use crate::log::{self, Level};
use crate::ring::{distance, flow_control::WriterState};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// How often a producer that stays blocked looks for the dead: a system call for each consumer.
const PROBE: Duration = Duration::from_millis(10);

/// No more texts wait to be logged than this.
const MOST_TEXTS: usize = 64;

/// A slot that stands in the way, and for how long it is known to.
#[derive(Debug)]
struct Slow {
    token: u64,
    cursor: u64,
    waited: Duration,
}

/// What a producer knows of the consumers that hold it back.
#[derive(Debug)]
pub(super) struct Backpressure {
    evict_after: Option<Duration>,
    probed: Option<Instant>,
    slow: Vec<Slow>,
    /// What to say of a queue that is full.
    full: Option<Text>,
    /// What is to be logged, but not in the middle of a push.
    texts: RefCell<Vec<String>>,
}

impl Backpressure {
    pub(super) fn new(evict_after: Option<Duration>) -> Self {
        Backpressure {
            evict_after,
            probed: None,
            slow: Vec::new(),
            full: None,
            texts: RefCell::default(),
        }
    }

    /// Drops consumers that have died, and those that have been too slow for too long. Whether there
    /// were any. Does nothing if it was called a moment ago. `next` is the sequence
    /// pushed next.
    pub(super) fn relieve(
        &mut self,
        paths: &Paths,
        control: &Control,
        capacity: u64,
        front: WriterState,
        next: u64,
    ) -> bool {
        let now = Instant::now();
        let since = self.probed.map_or(Duration::ZERO, |at| now - at);
        if self.probed.is_some() && since < PROBE {
            return false;
        }
        self.probed = Some(now);
        // The time that this producer was stopped does not count, for its consumers may have been
        // stopped with it. So nobody is evicted before the producer has looked a few times.
        let most = self
            .evict_after
            .map_or(since, |limit| (limit / 4).max(2 * PROBE));
        let step = since.min(most);
        let (mut slow, mut slowest) = (Vec::new(), None);
        let probe = control.probe(paths);
        let dropped = control.drop_seats(|index, token, cursor| {
            let why = if !probe.is_alive(index) {
                "died".to_owned()
            } else if distance(front.end, cursor.wrapping_add(capacity)) > 0 {
                // It can have been in the way before, at the same cursor, only without a break.
                let known = |s: &&Slow| s.token == token && s.cursor == cursor;
                let before = self.slow.iter().find(known);
                let waited = before.map_or(Duration::ZERO, |s| s.waited + step);
                if self.evict_after.is_none_or(|limit| waited < limit) {
                    slow.push(Slow {
                        token,
                        cursor,
                        waited,
                    });
                    if slowest.is_none_or(|(_, least)| distance(cursor, least) < 0) {
                        slowest = Some((index, cursor));
                    }
                    return false;
                }
                format!(
                    "made no progress for longer than {}",
                    language::evict_after()
                )
            } else {
                return false;
            };
            let texts = self.texts.get_mut();
            if texts.len() < MOST_TEXTS {
                let slot = control.slot(index);
                texts.push(format!(
                    "{}: {} (process {}) {why} and was evicted",
                    paths.shown(),
                    called(&slot.name()),
                    slot.pid()
                ));
            }
            true
        });
        let waits_for = match slowest {
            Some((index, _)) => {
                let slot = control.slot(index);
                let sequence = slot.sequence();
                let others = match slow.len() {
                    1 => String::new(),
                    count => format!(", the slowest of {count} in the way"),
                };
                format!(
                    "{} (process {}), which is {} messages behind{others}",
                    called(&slot.name()),
                    slot.pid(),
                    next.wrapping_sub(sequence)
                )
            }
            // Nobody is in the way, and still it may not go on.
            None if !dropped => "consumers that have to attach first (min_consumers)".to_owned(),
            None => "consumers".to_owned(),
        };
        self.full = Some(
            format!(
                "{}: the queue is full: it waits for {waits_for}",
                paths.shown()
            )
            .into(),
        );
        self.slow = slow;
        dropped
    }

    /// The error for a full queue, as of the last look at the consumers.
    pub(super) fn full(&mut self, paths: &Paths) -> Error {
        let unknown = || format!("{}: the queue is full", paths.shown()).into();
        Error::Full(self.full.get_or_insert_with(unknown).clone())
    }

    /// Logs what has happened during pushes.
    pub(super) fn log(&self) {
        // The function that gets them may call the library again.
        let texts = self.texts.take();
        for text in texts {
            log::say(Level::Warning, || text);
        }
    }
}

/// A consumer, by its name if it has one.
fn called(name: &str) -> String {
    match name {
        "" => "a consumer".into(),
        name => format!("consumer {name:?}"),
    }
}
