//! How a producer waits for room.

use super::{Producer, LIFE_SIGN};
use crate::error::{Error, Result};
use crate::format::data_file::Delivery;
use crate::queue::wait::{self, Ticket};
use crate::wakeup::{self, Armed, SharedEventCount};
use std::time::Duration;

impl Producer {
    /// As [`Producer::push`], but waits for room, at most for `timeout` (`Duration::MAX`: for ever),
    /// asleep. In a lossy queue there always is.
    ///
    /// # Errors
    /// As [`Producer::push`], and as [`Producer::wait_for_room`].
    pub fn push_wait(&mut self, message: &[u8], timeout: Duration) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.push_wait_raw(message.as_ptr(), message.len(), timeout) }
    }

    /// As [`Producer::push_wait`], from a pointer.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    pub unsafe fn push_wait_raw(
        &mut self,
        from: *const u8,
        length: usize,
        timeout: Duration,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        match unsafe { self.push_raw(from, length) } {
            Err(Error::Full(_)) => {}
            done => return done,
        }
        self.wait_for_room(length, timeout)?;
        // SAFETY: as above. There is one producer, so the room is still there.
        unsafe { self.push_raw(from, length) }
    }

    /// Waits until a message of this length can be pushed or claimed, at most for `timeout`;
    /// `Duration::MAX` is for ever. It looks a few hundred times and then sleeps in the kernel
    /// until a consumer has consumed something. Consumers that have died are dropped within
    /// 100 ms.
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Interrupted`] if a signal arrived; as [`Producer::push`].
    pub fn wait_for_room(&mut self, length: usize, timeout: Duration) -> Result<()> {
        self.check_push(length)?;
        wait::until(self, timeout, |p| Ok(p.has_room(length).then_some(())))
    }

    /// The error for a full queue.
    #[cold]
    pub(super) fn full(&mut self) -> Error {
        self.backpressure.full(&self.paths)
    }

    fn has_room(&mut self, length: usize) -> bool {
        self.geometry.delivery == Delivery::Lossy || self.make_room(length)
    }

    /// Asks the consumers to wake this producer when they have consumed something, for those that
    /// wait in their own way: [`Ticket::confirm`] it, try once more, and only then sleep.
    pub(crate) fn ask(&mut self) -> Ticket {
        let room = self.control.room();
        // SAFETY: both are mapped for as long as the control file, which the producer keeps.
        let bell = unsafe { SharedEventCount::for_waiter(self.control.blocked(), room) };
        let seen = wakeup::prepare_wait(&bell);
        let armed = Armed {
            seen,
            wakeable: true,
        };
        // Nobody wakes who waits for a dead one, so not too long.
        // SAFETY: the word is in that file.
        unsafe { Ticket::new(self.control.region(), room, armed, LIFE_SIGN) }
    }
}

impl wait::Waits for Producer {
    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        tickets.push(Producer::ask(self));
    }

    fn shown(&mut self) -> String {
        self.paths.shown().to_string()
    }

    fn timed_out(&mut self, timeout: Duration) -> Error {
        let text = match self.full() {
            Error::Full(text) if timeout.is_zero() => text,
            full => format!("{full}; there was no room within {timeout:?}").into(),
        };
        Error::TimedOut(text)
    }
}
