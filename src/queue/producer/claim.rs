//! Writing a message in place.

use super::Producer;
use crate::error::{Error, Result};
use crate::ring::FrameWriter;

impl Producer {
    /// Reserves room for a message of up to `length` bytes, to write it in place.
    ///
    /// The call overwrites the oldest messages as a push does, even if the claim is dropped without
    /// a commit.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let mut claim = out.claim(8)?;
    /// claim.write(0, &7u64.to_le_bytes())?;
    /// claim.commit(8)?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
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

    /// As [`Producer::claim`]. [`Producer::commit_raw`] or [`Producer::abort_raw`] ends the claim.
    /// Until then the pointer is valid to write `length` bytes, and for nothing else. It is aligned
    /// to 8 bytes (16 in a variable queue).
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let to = out.claim_raw(8)?;
    /// // SAFETY: eight bytes were claimed, and the pointer is aligned to eight.
    /// unsafe { to.cast::<u64>().write(7) };
    /// out.commit_raw(8)?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push`].
    pub fn claim_raw(&mut self, length: usize) -> Result<*mut u8> {
        self.check_push(length)?;
        let offset = match self.reserve(length) {
            Some(offset) => offset,
            None => self.reserve_slow(length)?,
        };
        self.set_claimed(Some(length));
        // SAFETY: the reserved payload is in the ring.
        Ok(unsafe { self.memory().at(offset) })
    }

    /// Publishes the first `length` bytes of the claimed message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.claim_raw(8)?;
    /// out.commit_raw(8)?;
    /// assert_eq!(out.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if no message is claimed. [`Error::MessageSize`] if `length` is more than
    /// was claimed or, in a fixed queue, not the message size; the claim stays.
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

    /// Drops the claim. No message is pushed.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.claim_raw(8)?;
    /// out.abort_raw()?;
    /// assert_eq!(out.next_sequence(), 0);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if no message is claimed.
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
                "{}: {length} bytes cannot be committed, because {claimed} were claimed",
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

/// Room for one message that is not published yet. Dropping the claim publishes nothing.
///
/// ```
/// # ipcq::__example!(out, q);
/// let mut claim = out.claim(8)?;
/// claim.write(0, &7u64.to_le_bytes())?;
/// claim.commit(8)?;
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a claim that is dropped publishes nothing"]
pub struct Claim<'a> {
    producer: &'a mut Producer,
    at: *mut u8,
    length: usize,
}

impl Claim<'_> {
    /// How many bytes were claimed.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.claim(8)?.len(), 8);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.length
    }

    /// The address of the claimed bytes.
    ///
    /// Consumers may read the bytes at any time (and discard what they read). So write them through
    /// this pointer, and never make a reference to them.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let mut claim = out.claim(8)?;
    /// // SAFETY: eight bytes were claimed, and the pointer is aligned to eight.
    /// unsafe { claim.as_mut_ptr().cast::<u64>().write(7) };
    /// claim.commit(8)?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.at
    }

    /// Copies bytes into the message, `offset` bytes after its start.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// let mut claim = out.claim(8)?;
    /// claim.write(0, &[1; 4])?;
    /// claim.write(4, &[2; 4])?;
    /// claim.commit(8)?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the claimed bytes.
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
                    "{} bytes at offset {offset} of a claim of {} bytes",
                    bytes.len(),
                    self.length
                )
                .into(),
            )),
        }
    }

    /// Publishes the first `length` bytes as a message. In a fixed queue `length` is the message
    /// size.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.claim(8)?.commit(8)?;
    /// assert_eq!(out.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::MessageSize`]; the claim is dropped.
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
