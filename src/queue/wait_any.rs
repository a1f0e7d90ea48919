//! Waiting for one of several consumers.

use super::wait::{until, Ticket, Waits};
use super::Consumer;
use crate::error::{Error, Result};
use crate::os;
use std::time::Duration;

/// The most queues that [`wait_any`] waits for.
pub const WAIT_ANY_MAX: usize = os::FUTEX_WAITV_MAX;

/// Waits until one of several consumers has a message, or is at its end, so that its next pop
/// returns something else than nothing. Returns the index of the first that is so: to be fair to
/// all, serve each that has something before waiting again.
///
/// `timeout` and errors are those of [`Consumer::wait`]; [`Error::Invalid`] for no consumers, or
/// more than [`WAIT_ANY_MAX`]. Where the kernel cannot sleep on several words (before Linux 5.16),
/// this looks at all of them every few milliseconds.
pub fn wait_any(consumers: &mut [&mut Consumer], timeout: Duration) -> Result<usize> {
    wait_any_of(consumers.len(), timeout, |i, act| act(consumers[i]))
}

/// As [`wait_any`], over consumers that are reached one at a time, so that one may be there twice.
pub(crate) fn wait_any_of(
    count: usize,
    timeout: Duration,
    with: impl FnMut(usize, &mut dyn FnMut(&mut Consumer)),
) -> Result<usize> {
    if count == 0 || count > WAIT_ANY_MAX {
        return Err(Error::Invalid(
            format!("{count} queues to wait for: from 1 to {WAIT_ANY_MAX}").into(),
        ));
    }
    until(&mut Several { count, with }, timeout, |several| {
        Ok((0..count).find(|&i| {
            let mut ready = false;
            (several.with)(i, &mut |c| ready = c.is_ready());
            ready
        }))
    })
}

/// So many of several queues are named in an error.
const SHOWN: usize = 4;

/// Several consumers that are waited for.
struct Several<W> {
    count: usize,
    with: W,
}

impl<W: FnMut(usize, &mut dyn FnMut(&mut Consumer))> Several<W> {
    fn each(&mut self, mut act: impl FnMut(&mut Consumer)) {
        for i in 0..self.count {
            (self.with)(i, &mut act);
        }
    }
}

impl<W: FnMut(usize, &mut dyn FnMut(&mut Consumer))> Waits for Several<W> {
    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        self.each(|c| Waits::ask(c, tickets));
    }

    fn late(&mut self) {
        self.each(|c| c.late());
    }

    fn awake(&mut self) {
        self.each(Waits::awake);
    }

    fn shown(&mut self) -> String {
        let mut shown = Vec::new();
        self.each(|c| shown.push(c.shown()));
        let more = shown.len().saturating_sub(SHOWN);
        shown.truncate(SHOWN);
        match more {
            0 => shown.join(", "),
            more => format!("{} and {more} more", shown.join(", ")),
        }
    }

    fn timed_out(&mut self, timeout: Duration) -> Error {
        let shown = self.shown();
        Error::TimedOut(format!("{shown}: no message came within {timeout:?}").into())
    }
}
