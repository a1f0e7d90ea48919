//! Waiting for one of several consumers.

use super::wait::{until, Ticket, Waits};
use super::Consumer;
use crate::error::{Error, Result};
use crate::os;
use std::time::Duration;

/// [`wait_any`] waits for at most this many queues.
pub const WAIT_ANY_MAX: usize = os::FUTEX_WAITV_MAX;

/// Waits until one of several consumers has a message, or its queue has ended. Returns the index of
/// the first such consumer. To be fair, pop from each of them before the next wait.
///
/// It waits for at most `timeout`, or without a limit if that is `None`. On Linux before 5.16, a
/// thread cannot sleep until one of several things happens, so the call looks every few
/// milliseconds.
///
/// ```
/// # ipcq::__example!(out, q);
/// let mut other = ipcq::Consumer::options().open("numbers")?;
/// out.push(&[0; 8])?;
/// assert_eq!(ipcq::wait_any(&mut [&mut q, &mut other], None)?, 0);
/// # Ok::<(), ipcq::Error>(())
/// ```
///
/// # Errors
/// As [`Consumer::wait`], except that a queue that has ended is a result. [`Error::Invalid`] for no
/// consumers, or for more than [`WAIT_ANY_MAX`].
pub fn wait_any(consumers: &mut [&mut Consumer], timeout: Option<Duration>) -> Result<usize> {
    wait_any_of(consumers.len(), timeout, |i, act| act(consumers[i]))
}

/// As [`wait_any`]. It reaches the consumers one at a time, so that the same one may be there
/// twice.
pub(crate) fn wait_any_of(
    count: usize,
    timeout: Option<Duration>,
    with: impl FnMut(usize, &mut dyn FnMut(&mut Consumer)),
) -> Result<usize> {
    if count == 0 || count > WAIT_ANY_MAX {
        return Err(Error::Invalid(
            format!("{count} queues to wait for: use 1 to {WAIT_ANY_MAX}").into(),
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

/// An error names this many of several queues.
const SHOWN: usize = 4;

/// Several consumers to wait for.
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

    fn after_sleep(&mut self) {
        self.each(|c| c.after_sleep());
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
