//! How a producer waits for room.

use super::{Producer, LIVENESS_POLL};
use crate::error::{Error, Result};
use crate::format::data_file::Delivery;
use crate::queue::wait::{self, Ticket};
use crate::wakeup::{self, Armed, SharedEventCount};
use std::time::Duration;

impl Producer {
    /// As [`Producer::push`], but sleeps until there is room. It waits for at most `timeout`, or
    /// without a limit if that is `None`. A lossy queue always has room.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use std::time::Duration;
    ///
    /// out.push_wait(&7u64.to_le_bytes(), Some(Duration::from_secs(1)))?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push`] (but not [`Error::Full`]) and [`Producer::wait_for_room`].
    pub fn push_wait(&mut self, message: &[u8], timeout: Option<Duration>) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.push_wait_raw(message.as_ptr(), message.len(), timeout) }
    }

    /// As [`Producer::push_wait`], from a pointer.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let message = 7u64;
    /// // SAFETY: a reference is readable.
    /// unsafe { out.push_wait_raw((&raw const message).cast(), 8, None) }?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push_wait`].
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    pub unsafe fn push_wait_raw(
        &mut self,
        from: *const u8,
        length: usize,
        timeout: Option<Duration>,
    ) -> Result<()> {
        // SAFETY: the caller's promise.
        match unsafe { self.push_raw(from, length) } {
            Err(Error::Full(_)) => {}
            done => return done,
        }
        self.wait_for_room(length, timeout)?;
        // SAFETY: as above. No other producer can have taken the room.
        unsafe { self.push_raw(from, length) }
    }

    /// Waits until a message of this length can be pushed or claimed. It waits for at most
    /// `timeout`, or without a limit if that is `None`.
    ///
    /// The call looks a few hundred times, and then sleeps in the kernel until a consumer has
    /// consumed something. It evicts consumers that have died within 100 ms.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.wait_for_room(8, None)?;
    /// let claim = out.claim(8)?;
    /// # drop(claim);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Interrupted`] if a signal arrived; as [`Producer::push`].
    pub fn wait_for_room(&mut self, length: usize, timeout: Option<Duration>) -> Result<()> {
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

    /// Asks the consumers to wake this producer when they have consumed something, for a caller
    /// that waits in its own way. It calls [`Ticket::confirm`], tries once more, and only then
    /// sleeps.
    pub(crate) fn ask(&mut self) -> Ticket {
        let room = self.control.room();
        // SAFETY: both are mapped for as long as the control file, which the producer keeps.
        let event_count = unsafe { SharedEventCount::for_waiter(self.control.blocked(), room) };
        let seen = wakeup::prepare_wait(&event_count);
        let armed = Armed {
            seen,
            wakeable: true,
        };
        // A dead consumer wakes no producer, so the sleep is short.
        // SAFETY: the word is in that file.
        unsafe { Ticket::new(self.control.region(), room, armed, LIVENESS_POLL) }
    }
}

impl wait::Waits for Producer {
    const BLOCKS_SIGNALS: bool = true;

    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        tickets.push(Producer::ask(self));
    }

    fn shown(&mut self) -> String {
        self.paths.shown().to_string()
    }

    fn timed_out(&mut self, timeout: Duration) -> Error {
        let text = match self.full() {
            Error::Full(text) if timeout.is_zero() => text,
            full => format!("{full}: it got no room within {timeout:?}").into(),
        };
        Error::TimedOut(text)
    }
}
