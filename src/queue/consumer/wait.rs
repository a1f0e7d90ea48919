//! How a consumer waits.

use super::end::{is_at_its_end, SEEK_END_EVERY};
use super::{Consumer, Ring};
use crate::error::{Error, Result};
use crate::os::NoCancel;
use crate::queue::poll_fd::{Look, Watch};
use crate::queue::wait::{self, Ticket};
use crate::queue::Message;
use crate::ring::{Field, FrameReader, Memory, Pop};
use std::os::fd::RawFd;
use std::time::Duration;

impl Consumer {
    /// As [`Consumer::pop`], but waits for a message, at most for `timeout` (`Duration::MAX`: for
    /// ever), asleep. With a `timeout` of zero this is a pop that says [`Error::TimedOut`] where
    /// that says `None`.
    ///
    /// # Errors
    /// As [`Consumer::pop`], and as [`Consumer::wait`].
    pub fn pop_wait(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<Message> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.pop_wait_raw(buffer.as_mut_ptr(), buffer.len(), timeout) }? {
            Pop::Message(message) => Ok(message),
            other => Err(self.not_popped(other, buffer.len())),
        }
    }

    /// As [`Consumer::pop_wait`], to a pointer, with all outcomes told apart; [`Pop::Empty`] is
    /// none of them.
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Interrupted`], [`Error::Damaged`].
    pub unsafe fn pop_wait_raw(
        &mut self,
        to: *mut u8,
        size: usize,
        timeout: Duration,
    ) -> Result<Pop> {
        // SAFETY: writable, says the caller.
        let look = |c: &mut Consumer| match unsafe { c.pop_raw(to, size) }? {
            Pop::Empty => Ok(None),
            other => Ok(Some(other)),
        };
        wait::until(self, timeout, look)
    }

    /// Waits until there is a message, at most for `timeout`; `Duration::MAX` is for ever.
    ///
    /// It looks a few hundred times and then sleeps in the kernel, without use of the processor,
    /// until the producer pushes. For that it needs to write the control file; where it may not,
    /// it looks again after 0.1 to 4 ms, the longer the longer it waits, which takes some
    /// thousandths of a processor and delays a message by as much.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Interrupted`] if a signal arrived; [`Error::Closed`],
    /// [`Error::Stale`], [`Error::Damaged`] as the pop that would follow.
    pub fn wait(&mut self, timeout: Duration) -> Result<()> {
        let look = |c: &mut Consumer| match c.peek_raw()? {
            (Pop::Message(_), _) => Ok(Some(())),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(c.not_popped(other, 0)),
        };
        wait::until(self, timeout, look)
    }

    /// A descriptor for `poll`, `epoll` and the like: it becomes readable when there is a message,
    /// or when the queue is at its end, and stays so until a pop (or peek, or wait) finds nothing.
    /// So pop until there is nothing, then poll. It may be readable though nothing is there.
    ///
    /// It belongs to this handle and is closed with it; only ever poll it. A thread, which the
    /// handles of a process share, watches the queues; where this one may not be woken (see
    /// [`Consumer::wait`]), or before Linux 5.16, that thread looks every few milliseconds. After a
    /// `fork` it is the parent's, and the child asks for one of its own.
    ///
    /// # Errors
    /// [`Error::Os`] if there are too many descriptors or threads.
    pub fn fd(&mut self) -> Result<RawFd> {
        let _no = NoCancel::new();
        if !self.watch.as_ref().is_some_and(Watch::is_own) {
            self.watch = None;
            self.watch = Some(Watch::new(&self.paths)?);
            self.heeds_empty = true;
            // Where nothing is there it is not readable.
            self.is_ready();
        }
        Ok(self.watch.as_ref().map_or(-1, Watch::fd))
    }

    /// Nothing was found: the descriptor tells when there is something.
    #[cold]
    pub(super) fn watch_on(&mut self) {
        let Some(watch) = &self.watch else { return };
        if watch.is_settled() {
            return;
        }
        let (sleeper, ring) = (&mut self.sleeper, &self.ring);
        let memory = *either!(ring, r => r.frames().memory());
        watch.arm(|| {
            let epoch = || memory.load_relaxed(Field::Epoch);
            let mut ticket = [sleeper.ask(&self.region, epoch, &self.paths, &self.geometry)];
            Ticket::confirm(&mut ticket);
            let [ticket] = ticket;
            // The copy keeps the mapping, in which it only looks.
            let mut ring = ring.clone();
            let (region, paths) = (self.region.clone(), self.paths.clone());
            let look: Look = Box::new(move |idle| match either!(&mut ring, r => r.peek()) {
                Ok((Pop::Empty, _)) => idle && is_at_its_end(&region, &paths),
                Ok((Pop::Superseded, _)) => {
                    !region.is_named(&paths.dir, &paths.data).unwrap_or(false)
                }
                _ => true,
            });
            (ticket, look)
        });
    }

    /// Whether a pop would give something else than nothing.
    pub(in crate::queue) fn is_ready(&mut self) -> bool {
        !matches!(self.peek_raw(), Ok((Pop::Empty, _)))
    }

    /// Asks the producer to wake this consumer, for those that wait in their own way:
    /// [`Ticket::confirm`] it, look once more, and only then sleep.
    pub(crate) fn ask(&mut self) -> Ticket {
        self.tell();
        self.set_asleep(true);
        // A caller that waits in its own way asks before each sleep, and has found nothing.
        self.seek_end(SEEK_END_EVERY);
        let memory = *either!(&self.ring, r => r.frames().memory());
        self.sleeper.ask(
            &self.region,
            || memory.load_relaxed(Field::Epoch),
            &self.paths,
            &self.geometry,
        )
    }

    /// Says that one who has [asked](Consumer::ask) does not sleep any more.
    pub(crate) fn awake(&self) {
        self.set_asleep(false);
    }
}

impl wait::Waits for Consumer {
    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        tickets.push(Consumer::ask(self));
    }

    fn late(&mut self) {
        self.seek_end(Duration::ZERO);
    }

    fn awake(&mut self) {
        Consumer::awake(self);
    }

    fn shown(&mut self) -> String {
        self.paths.shown().to_string()
    }

    fn timed_out(&mut self, timeout: Duration) -> Error {
        Error::TimedOut(match timeout.is_zero() {
            true => self.empty_text().clone(),
            false => format!("{}: no message came within {timeout:?}", self.paths.shown()).into(),
        })
    }
}
