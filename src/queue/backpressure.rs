//! Who holds a lossless producer up, and when he is dropped.

use crate::control::Control;
use crate::log::{self, Level};
use crate::name::Paths;
use crate::ring::{distance, gate::Front};
use std::time::{Duration, Instant};

/// How often a producer that stays blocked looks for the dead: a system call for each consumer.
const PROBE: Duration = Duration::from_millis(10);

/// A seat that stands in the way, and since when it is known to.
#[derive(Debug)]
struct Slow {
    token: u64,
    cursor: u64,
    since: Instant,
}

/// What a producer knows of those who hold it up.
#[derive(Debug)]
pub(super) struct Backpressure {
    evict_after: Option<Duration>,
    probed: Option<Instant>,
    slow: Vec<Slow>,
}

impl Backpressure {
    pub(super) fn new(evict_after: Option<Duration>) -> Self {
        Backpressure {
            evict_after,
            probed: None,
            slow: Vec::new(),
        }
    }

    /// Drops the dead, and those who have been too slow for too long. Whether there were any. Does
    /// nothing if it was called a moment ago.
    pub(super) fn relieve(
        &mut self,
        paths: &Paths,
        control: &Control,
        capacity: u64,
        front: Front,
    ) -> bool {
        let now = Instant::now();
        if self.probed.is_some_and(|at| now - at < PROBE) {
            return false;
        }
        self.probed = Some(now);
        let mut slow = Vec::new();
        let dropped = control.drop_seats(|index, token, cursor| {
            let why = if !control.is_alive(index) {
                "died"
            } else if distance(front.end, cursor.wrapping_add(capacity)) > 0 {
                // It can have been in the way before, at the same cursor, only without a break.
                let known = |s: &&Slow| s.token == token && s.cursor == cursor;
                let since = self.slow.iter().find(known).map_or(now, |s| s.since);
                if self.evict_after.is_none_or(|limit| now - since < limit) {
                    slow.push(Slow {
                        token,
                        cursor,
                        since,
                    });
                    return false;
                }
                "was too slow"
            } else {
                return false;
            };
            log::say(Level::Warning, || {
                let slot = control.slot(index);
                let (name, pid) = (slot.name(), slot.pid());
                format!(
                    "{}: consumer {name:?} (process {pid}) {why} and was dropped",
                    paths.shown()
                )
            });
            true
        });
        self.slow = slow;
        dropped
    }
}
