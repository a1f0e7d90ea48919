//! Messages in place.

use super::end::Nothing;
use super::{Consumer, Ring};
use crate::error::{Error, Result};
use crate::queue::errors::damaged;
use crate::queue::Message;
use crate::ring::{Damage, FrameReader, Place, Pop};

impl Consumer {
    /// Gives the next message in place, without a copy; `None` if there is none yet. Nothing is
    /// consumed before [`View::release`].
    ///
    /// In a lossless queue the bytes do not change before that (unless this consumer is an observer,
    /// or is evicted). In a lossy one they may be overwritten while they are looked at, which
    /// [`View::release`] tells.
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    pub fn peek(&mut self) -> Result<Option<View<'_>>> {
        match self.peek_raw()? {
            (Pop::Message(message), data) => Ok(Some(View {
                consumer: self,
                data,
                message,
            })),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, 0)),
        }
    }

    /// Gives up to `most` messages in place, as many as there are and as lie side by side in the ring:
    /// in a fixed queue those up to its end, in a variable one a single message. `None` if there is
    /// none yet. Nothing is consumed before [`Run::release`]; what [`Consumer::peek`] says of one
    /// message holds for all of them.
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::Invalid`] for a `most` of 0.
    pub fn peek_many(&mut self, most: usize) -> Result<Option<Run<'_>>> {
        if most == 0 {
            return Err(Error::Invalid("a run of 0 messages".into()));
        }
        match self.peek_many_raw(most)? {
            (Pop::Message(first), data, count) => Ok(Some(Run {
                consumer: self,
                data,
                first,
                count,
            })),
            (Pop::Empty, ..) => Ok(None),
            (other, ..) => Err(self.not_popped(other, 0)),
        }
    }

    /// As [`Consumer::peek`], for [`Consumer::release_raw`] to end.
    ///
    /// # Errors
    /// [`Error::Damaged`] only.
    #[inline]
    pub fn peek_raw(&mut self) -> Result<(Pop, *const u8)> {
        self.peeked(|c| either!(&mut c.ring, r => r.peek()))
    }

    /// As [`Consumer::peek_many`], for [`Consumer::release_many_raw`] to end: with the first message
    /// its place, and how many there are, each [`Consumer::stride`] bytes after the last.
    ///
    /// # Errors
    /// [`Error::Damaged`] only.
    pub fn peek_many_raw(&mut self, most: usize) -> Result<(Pop, *const u8, usize)> {
        let mut count = 0;
        let (pop, data) = self.peeked(|c| {
            let (pop, place, many) = either!(&mut c.ring, r => r.peek_many(most as u64))?;
            count = many as usize;
            Ok((pop, place))
        })?;
        Ok((pop, data, count))
    }

    #[inline(always)]
    fn peeked(
        &mut self,
        peek: impl FnOnce(&mut Consumer) -> std::result::Result<(Pop, Place), Damage>,
    ) -> Result<(Pop, *const u8)> {
        self.keep_seat()?;
        match peek(self) {
            Ok((mut pop, place)) => {
                if pop == Pop::Empty {
                    self.tell();
                }
                if self.heeds(&pop) {
                    pop = match self.found_nothing(pop == Pop::Superseded) {
                        Nothing::Yet => Pop::Empty,
                        Nothing::Closed => Pop::Closed,
                        Nothing::Ever => Pop::Superseded,
                    };
                }
                Ok((pop, self.address(place)))
            }
            Err(damage) => Err(damaged(&self.paths, damage)),
        }
    }

    /// Bytes from one message of a run to the next; 0 in a variable queue, where a run is one message.
    pub fn stride(&self) -> usize {
        self.geometry.stride as usize
    }

    /// Consumes the message with this sequence, which is being peeked at.
    ///
    /// # Errors
    /// [`Error::Stale`] if it was overwritten meanwhile: what was computed from it is to be thrown
    /// away, and it counts as lost. [`Error::Invalid`] if it is not being peeked at.
    pub fn release_raw(&mut self, sequence: u64) -> Result<()> {
        self.release_many_raw(sequence, 1)
    }

    /// Consumes the first `count` messages of the run that begins with this sequence.
    ///
    /// # Errors
    /// As [`Consumer::release_raw`]; if one was overwritten, none is consumed, and what was lost is
    /// what being overtaken loses.
    #[inline]
    pub fn release_many_raw(&mut self, sequence: u64, count: usize) -> Result<()> {
        let released = either!(&mut self.ring, r => r.release_many(sequence, count as u64));
        self.tell();
        match released {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(Error::Stale(
                format!(
                    "{}: message {sequence} was overwritten while it was looked at",
                    self.paths.shown()
                )
                .into(),
            )),
            Ok(None) => Err(Error::Invalid(
                format!(
                    "{}: message {sequence} is not being peeked at",
                    self.paths.shown()
                )
                .into(),
            )),
            Err(damage) => Err(damaged(&self.paths, damage)),
        }
    }

    fn address(&self, place: Place) -> *const u8 {
        let memory = either!(&self.ring, r => r.frames().memory());
        // SAFETY: a place is in the ring.
        unsafe { memory.at(place.offset) }
    }
}

/// A message in place. It borrows the consumer until it is released; dropping it instead leaves the
/// message to be popped or peeked at again.
#[derive(Debug)]
pub struct View<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    message: Message,
}

impl View<'_> {
    /// The message's sequence, its length, and what was lost before it.
    pub fn message(&self) -> Message {
        self.message
    }

    /// Where the bytes are, [`Message::length`] of them, aligned to 8 bytes (16 in a variable
    /// queue). The producer of a lossy queue, or one that evicts, may overwrite them at any time, so they are read
    /// through this pointer and never turned into a reference.
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message. What was copied is the message's only if
    /// [`View::release`] says so.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond its end.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        // SAFETY: the message lies in the mapped ring.
        unsafe { read_part(self.data, self.message.length as usize, offset, buffer) }
    }

    /// Consumes the message.
    ///
    /// # Errors
    /// [`Error::Stale`] if it was overwritten meanwhile: what was computed from it is to be thrown
    /// away, and it counts as lost.
    pub fn release(self) -> Result<()> {
        self.consumer.release_raw(self.message.sequence)
    }
}

// SAFETY: the pointer belongs to the consumer that the view borrows, which is `Send`.
unsafe impl Send for View<'_> {}

/// Messages side by side in place. It borrows the consumer until it is released; dropping it instead
/// leaves them to be popped or peeked at again.
#[derive(Debug)]
pub struct Run<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    first: Message,
    count: usize,
}

impl Run<'_> {
    /// About the first message. The others follow it without a gap and have its length.
    pub fn first(&self) -> Message {
        self.first
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes from one message to the next; 0 in a variable queue, where there is one.
    pub fn stride(&self) -> usize {
        self.consumer.stride()
    }

    /// Where the bytes of the first are; see [`View::as_ptr`].
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message with this index. What was copied is the message's only if
    /// [`Run::release`] says so.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond its end, and beyond the last message.
    pub fn read(&self, index: usize, offset: usize, buffer: &mut [u8]) -> Result<()> {
        if index >= self.count {
            return Err(Error::OutOfRange(
                format!("message {index} of a run of {}", self.count).into(),
            ));
        }
        let length = self.first.length as usize;
        // SAFETY: the message lies in the mapped ring.
        unsafe { read_part(self.data.add(index * self.stride()), length, offset, buffer) }
    }

    /// Consumes them all.
    ///
    /// # Errors
    /// [`Error::Stale`] if one was overwritten meanwhile: what was computed from them is to be thrown
    /// away. None is consumed then; what was lost is what being overtaken loses.
    pub fn release(self) -> Result<()> {
        self.consumer
            .release_many_raw(self.first.sequence, self.count)
    }
}

// SAFETY: as for `View`.
unsafe impl Send for Run<'_> {}

/// Copies a part of a message of `length` bytes.
///
/// # Safety
/// `message` is in a mapped ring for so many bytes.
unsafe fn read_part(
    message: *const u8,
    length: usize,
    offset: usize,
    buffer: &mut [u8],
) -> Result<()> {
    let wanted = buffer.len();
    match offset.checked_add(wanted) {
        Some(end) if end <= length => {
            // SAFETY: inside the message, says the caller.
            unsafe {
                crate::copy::copy_from_shared(buffer.as_mut_ptr(), message.add(offset), wanted)
            };
            Ok(())
        }
        _ => Err(Error::OutOfRange(
            format!("{wanted} bytes at {offset} of a message of {length}").into(),
        )),
    }
}
