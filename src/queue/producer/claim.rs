//! Messages written in place.

use super::Producer;
use crate::error::{Error, Result};
use crate::ring::FrameWriter;

impl Producer {
    /// Makes room for a message of up to `length` bytes, to be written in place.
    ///
    /// What the room held before is lost to consumers from here on, also if the claim is dropped
    /// without a commit.
    ///
    /// # Errors
    /// As [`Producer::push`].
    pub fn claim(&mut self, length: usize) -> Result<Claim<'_>> {
        let at = self.claim_raw(length)?;
        Ok(Claim {
            producer: self,
            at,
            length,
        })
    }

    /// As [`Producer::claim`], for [`Producer::commit_raw`] or [`Producer::abort_raw`] to end. The
    /// pointer is good for `length` writes of bytes until then, and for nothing else; it is
    /// aligned to 8 bytes (16 in a variable queue).
    pub fn claim_raw(&mut self, length: usize) -> Result<*mut u8> {
        self.check_push(length)?;
        let offset = match self.reserve(length) {
            Some(offset) => offset,
            None => self.reserve_slowly(length)?,
        };
        self.set_claimed(Some(length));
        // SAFETY: the reserved payload lies in the ring.
        Ok(unsafe { self.memory().at(offset) })
    }

    /// Publishes the message claimed, of which the first `length` bytes were written.
    ///
    /// # Errors
    /// [`Error::Invalid`] if none is claimed; [`Error::MessageSize`] if `length` is more than was
    /// claimed or, in a fixed queue, not the message size; the claim stands then.
    pub fn commit_raw(&mut self, length: usize) -> Result<()> {
        self.check_process()?;
        let Some(claimed) = self.claimed else {
            return Err(self.no_claim());
        };
        if length > claimed {
            return Err(self.beyond_claim(length, claimed));
        }
        self.check_length(length)?;
        self.writer.commit(length);
        self.claimed = None;
        self.pushed();
        Ok(())
    }

    /// Gives a claim up: no message was pushed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if none is claimed.
    pub fn abort_raw(&mut self) -> Result<()> {
        self.check_process()?;
        if self.claimed.is_none() {
            return Err(self.no_claim());
        }
        self.set_claimed(None);
        Ok(())
    }

    #[cold]
    #[inline(never)]
    pub(super) fn in_claim(&self) -> Error {
        Error::Invalid(
            format!(
                "{}: a message is claimed: commit or abort it first",
                self.paths.shown()
            )
            .into(),
        )
    }

    #[cold]
    #[inline(never)]
    fn beyond_claim(&self, length: usize, claimed: usize) -> Error {
        Error::MessageSize(
            format!(
                "{}: {length} bytes to commit, but {claimed} were claimed",
                self.paths.shown()
            )
            .into(),
        )
    }

    #[cold]
    #[inline(never)]
    fn no_claim(&self) -> Error {
        Error::Invalid(format!("{}: no message is claimed", self.paths.shown()).into())
    }
}

/// Room for one message, claimed and not yet published. Dropping it gives it up.
#[derive(Debug)]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    at: *mut u8,
    length: usize,
}

impl Claim<'_> {
    /// How many bytes were claimed.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Where they are. Consumers may read them at any time (and throw away what they read), so
    /// they are written through this pointer, never turned into a reference.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.at
    }

    /// Copies bytes into the message.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond what was claimed.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<()> {
        match offset.checked_add(bytes.len()) {
            Some(end) if end <= self.length => {
                // SAFETY: inside the claimed bytes, which are mapped to write.
                unsafe {
                    crate::copy::copy_to_shared(self.at.add(offset), bytes.as_ptr(), bytes.len())
                };
                Ok(())
            }
            _ => Err(Error::OutOfRange(
                format!(
                    "{} bytes at {offset} of a claim of {}",
                    bytes.len(),
                    self.length
                )
                .into(),
            )),
        }
    }

    /// Publishes the first `length` bytes as a message; in a fixed queue that is all of it.
    ///
    /// # Errors
    /// [`Error::MessageSize`]; the claim is given up then.
    pub fn commit(self, length: usize) -> Result<()> {
        self.producer.commit_raw(length)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.producer.set_claimed(None);
    }
}

// SAFETY: the pointer belongs to the producer that the claim borrows, which is `Send`.
unsafe impl Send for Claim<'_> {}
