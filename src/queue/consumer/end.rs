//! What it means that a consumer finds nothing.

use super::{Consumer, Ring};
use crate::format::data_file::state;
use crate::format::names::Paths;
use crate::os::Region;
use crate::os::{self, NoCancel};
use crate::queue::open;
use crate::ring::{Field, FrameReader, Memory, Pop};
use std::time::Duration;

/// What it means that no message was found. (Small, so that a pop keeps its result in registers.)
pub(super) enum Nothing {
    /// There is none yet.
    Yet,
    /// The producer has closed the queue.
    Closed,
    /// Nobody can push into this queue any more.
    Ever,
}

impl Consumer {
    /// Whether it has to be found out what it means that no message was found.
    #[inline(always)]
    pub(super) fn heeds(&self, found: &Pop) -> bool {
        match found {
            Pop::Message(_) | Pop::TooSmall(_) | Pop::Closed => false,
            Pop::Empty => self.heeds_empty,
            Pop::Superseded => true,
        }
    }

    /// What it means that no message was found.
    #[cold]
    #[inline(never)]
    pub(super) fn found_nothing(&mut self, superseded: bool) -> Nothing {
        let _no = NoCancel::new();
        if superseded && self.has_lost_name() {
            return Nothing::Ever;
        }
        if superseded && self.was_closed() {
            return Nothing::Closed;
        }
        if self.watch.is_some() {
            // A descriptor that became readable for this, perhaps.
            self.seek_end(SEEK_END_EVERY);
            if !self.gone {
                self.watch_on();
            }
        }
        match self.gone {
            true => Nothing::Ever,
            false => Nothing::Yet,
        }
    }

    /// A producer is about to give the name of this queue to another, but has not done so yet:
    /// whether the queue was closed before.
    fn was_closed(&self) -> bool {
        let memory = either!(&self.ring, r => r.frames().memory());
        memory.load_relaxed(Field::State) == state::SUPERSEDED_CLOSED
    }

    /// Whether the name of the queue leads elsewhere by now. If that cannot be found out, it does.
    fn has_lost_name(&mut self) -> bool {
        if !self.gone
            && self
                .region
                .is_named(&self.paths.dir, &self.paths.data)
                .unwrap_or(false)
        {
            return false;
        }
        self.is_gone();
        true
    }

    fn is_gone(&mut self) {
        self.gone = true;
        self.heeds_empty = true;
    }

    /// Looks whether anybody can still push into this queue, if it has not looked for so long.
    pub(super) fn seek_end(&mut self, every: Duration) {
        let now = os::now();
        if self.gone || now < self.sought + every {
            return;
        }
        self.sought = now;
        if is_at_its_end(&self.region, &self.paths) {
            self.is_gone();
        }
    }
}

/// How often a descriptor that is readable for nothing makes a consumer look for the end.
pub(super) const SEEK_END_EVERY: Duration = Duration::from_millis(500);

/// Whether nobody can push into a queue any more: a producer finds it by its name, which leads
/// elsewhere, and it has none.
pub(super) fn is_at_its_end(region: &Region, paths: &Paths) -> bool {
    matches!(region.is_named(&paths.dir, &paths.data), Ok(false)) && !open::is_alive(region)
}
