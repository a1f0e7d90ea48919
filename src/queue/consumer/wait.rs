//! How a consumer waits.

use super::end::{is_at_its_end, END_CHECK_EVERY};
use super::{Consumer, Ring};
use crate::error::{Error, Result};
use crate::os::NoCancel;
use crate::queue::poll_fd::{Look, Watch};
use crate::queue::wait::{self, Ticket};
use crate::queue::Meta;
use crate::ring::{Field, FrameReader, Memory, Pop};
use std::os::fd::{OwnedFd, RawFd};
use std::time::Duration;

impl Consumer {
    /// As [`Consumer::pop`], but sleeps until there is a message. It waits for at most `timeout`,
    /// or without a limit if that is `None`. With a timeout of zero it never sleeps.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use std::time::Duration;
    ///
    /// out.push(&7u64.to_le_bytes())?;
    /// let mut buffer = [0; 8];
    /// let meta = q.pop_wait(&mut buffer, Some(Duration::from_secs(1)))?;
    /// assert_eq!(meta.sequence, 0);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop`], and as [`Consumer::wait`].
    pub fn pop_wait(&mut self, buffer: &mut [u8], timeout: Option<Duration>) -> Result<Meta> {
        // SAFETY: a mutable slice is writable.
        match unsafe { self.pop_wait_raw(buffer.as_mut_ptr(), buffer.len(), timeout) }? {
            Pop::Message(message) => Ok(message),
            other => Err(self.not_popped(other, buffer.len())),
        }
    }

    /// As [`Consumer::pop_wait`], to a pointer. A closed queue and a small buffer are results, not
    /// errors. It never returns [`Pop::Empty`].
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// let mut number = 0u64;
    /// // SAFETY: the number is writable, and any bytes are a valid one.
    /// unsafe { q.pop_wait_raw((&raw mut number).cast(), 8, None) }?;
    /// assert_eq!(number, 7);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Safety
    /// `to` is writable for `size` bytes.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Interrupted`]; as [`Consumer::pop_raw`].
    pub unsafe fn pop_wait_raw(
        &mut self,
        to: *mut u8,
        size: usize,
        timeout: Option<Duration>,
    ) -> Result<Pop> {
        // SAFETY: writable, says the caller.
        let look = |c: &mut Consumer| match unsafe { c.pop_raw(to, size) }? {
            Pop::Empty => Ok(None),
            other => Ok(Some(other)),
        };
        wait::until(self, timeout, look)
    }

    /// Waits until there is a message. It waits for at most `timeout`, or without a limit if that
    /// is `None`.
    ///
    /// The call looks a few hundred times, and then sleeps in the kernel until the producer pushes.
    /// A process that may not write the control file cannot be woken. It looks again after 0.1 to 4
    /// ms, more rarely the longer it waits. So its messages arrive up to 4 ms late, and an idle
    /// consumer uses less than 1 % of a core.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// q.wait(None)?;
    /// assert!(q.pop(&mut [0; 8])?.is_some());
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::TimedOut`]; [`Error::Interrupted`] if a signal arrived; [`Error::Closed`],
    /// [`Error::Replaced`] and [`Error::Damaged`] as the next pop.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<()> {
        let look = |c: &mut Consumer| match c.peek_raw()? {
            (Pop::Message(_), _) => Ok(Some(())),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(c.not_popped(other, 0)),
        };
        wait::until(self, timeout, look)
    }

    /// A descriptor for `poll`, `epoll` and event loops. It becomes readable when there is a
    /// message or the queue has ended, and stays so until a pop (or peek, or wait) finds nothing.
    /// So pop until that returns `None`, then poll. The descriptor may also be readable without a
    /// message.
    ///
    /// The caller owns the descriptor and closes it. Only poll it, and never read from it. It
    /// becomes readable for good when this handle is dropped. After a `fork` it shows the messages
    /// of the parent, and the child calls `fd` for one of its own.
    ///
    /// A thread that all handles of the process share watches the queues. If this process may not
    /// be woken (see [`Consumer::wait`]), and on Linux before 5.16, the thread looks every few
    /// milliseconds.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use std::os::fd::AsRawFd;
    ///
    /// let fd = q.fd()?;
    /// out.push(&[0; 8])?;
    /// let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    /// // SAFETY: one valid `pollfd`.
    /// assert_eq!(unsafe { libc::poll(&mut poll, 1, 1000) }, 1);
    /// assert!(q.pop(&mut [0; 8])?.is_some());
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Os`] if a limit on descriptors or threads is reached.
    pub fn fd(&mut self) -> Result<OwnedFd> {
        let _no = NoCancel::new();
        let paths = self.paths.clone();
        self.watch()?.duplicate(&paths)
    }

    /// As [`Consumer::fd`], but the descriptor belongs to the handle and is closed with it.
    pub(crate) fn raw_fd(&mut self) -> Result<RawFd> {
        let _no = NoCancel::new();
        Ok(self.watch()?.fd())
    }

    /// The descriptor of this process.
    fn watch(&mut self) -> Result<&Watch> {
        if !self.watch.as_ref().is_some_and(Watch::is_own) {
            self.watch = None;
            self.watch = Some(Watch::new(&self.paths)?);
            self.checks_empty = true;
            // Makes it unreadable if the queue has no new message.
            self.is_ready();
        }
        self.watch
            .as_ref()
            .ok_or_else(|| Error::Internal("the descriptor was not kept".into()))
    }

    /// Nothing was found, so the descriptor becomes unreadable until there is something.
    #[cold]
    pub(super) fn arm_watch(&mut self) {
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
            // The copy keeps the mapping, and only reads it.
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

    /// Whether a pop would return something other than `None`.
    pub(in crate::queue) fn is_ready(&mut self) -> bool {
        !matches!(self.peek_raw(), Ok((Pop::Empty, _)))
    }

    /// Asks the producer to wake this consumer, for a caller that waits in its own way. It calls
    /// [`Ticket::confirm`], looks once more, and only then sleeps.
    pub(crate) fn ask(&mut self) -> Ticket {
        self.publish_position();
        self.set_asleep(true);
        // Such a caller asks before each sleep, and has found nothing.
        self.check_end(END_CHECK_EVERY);
        let memory = *either!(&self.ring, r => r.frames().memory());
        self.sleeper.ask(
            &self.region,
            || memory.load_relaxed(Field::Epoch),
            &self.paths,
            &self.geometry,
        )
    }

    /// Ends the request of [`Consumer::ask`]: the consumer does not sleep any more.
    pub(crate) fn awake(&self) {
        self.set_asleep(false);
    }
}

impl wait::Waits for Consumer {
    fn ask(&mut self, tickets: &mut Vec<Ticket>) {
        tickets.push(Consumer::ask(self));
    }

    fn after_sleep(&mut self) {
        self.check_end(Duration::ZERO);
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
