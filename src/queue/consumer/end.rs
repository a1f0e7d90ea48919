//! Why a consumer finds no message: none was pushed yet, or the queue has ended.

use super::{Consumer, Ring};
use crate::format::data_file::state;
use crate::format::names::Paths;
use crate::os::Region;
use crate::os::{self, NoCancel};
use crate::queue::open;
use crate::ring::{Field, FrameReader, Memory, Pop};
use std::time::Duration;

/// Why no message was found. (It is small, so that a pop keeps its result in registers.)
pub(super) enum Nothing {
    /// No message was pushed yet.
    Yet,
    /// The producer has closed the queue.
    Closed,
    /// No producer can push into this queue any more.
    Ever,
}

impl Consumer {
    /// Whether the caller has to find out why it has no message.
    #[inline(always)]
    pub(super) fn needs_reason(&self, found: &Pop) -> bool {
        match found {
            Pop::Message(_) | Pop::TooSmall(_) | Pop::Closed => false,
            Pop::Empty => self.checks_empty,
            Pop::Superseded => true,
        }
    }

    /// Why the pop has found no message.
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
            // The descriptor may have become readable because the queue has ended.
            self.check_end(END_CHECK_EVERY);
            if !self.gone {
                self.arm_watch();
            }
        }
        match self.gone {
            true => Nothing::Ever,
            false => Nothing::Yet,
        }
    }

    /// Whether the queue was closed before a producer began to give its name to another queue.
    fn was_closed(&self) -> bool {
        let memory = either!(&self.ring, r => r.frames().memory());
        memory.load_relaxed(Field::State) == state::SUPERSEDED_CLOSED
    }

    /// Whether the name belongs to another queue or to none. If that cannot be found out, it does.
    fn has_lost_name(&mut self) -> bool {
        if !self.gone
            && self
                .region
                .is_named(&self.paths.dir, &self.paths.data)
                .unwrap_or(false)
        {
            return false;
        }
        self.set_gone();
        true
    }

    fn set_gone(&mut self) {
        self.gone = true;
        self.checks_empty = true;
    }

    /// Checks whether a producer can still push into this queue, unless the last check was less
    /// than `every` ago.
    pub(super) fn check_end(&mut self, every: Duration) {
        let now = os::now();
        if self.gone || now < self.end_checked + every {
            return;
        }
        self.end_checked = now;
        if is_at_its_end(&self.region, &self.paths) {
            self.set_gone();
        }
    }
}

/// A descriptor that is readable without a message makes the consumer check for the end this often.
pub(super) const END_CHECK_EVERY: Duration = Duration::from_millis(500);

/// Whether no producer can push into a queue any more: it has no producer, and its name belongs to
/// another queue or to none.
pub(super) fn is_at_its_end(region: &Region, paths: &Paths) -> bool {
    matches!(region.is_named(&paths.dir, &paths.data), Ok(false)) && !open::is_alive(region)
}
