//! Reading messages in place.

use super::end::Nothing;
use super::{Consumer, Ring};
use crate::error::{Error, Result};
use crate::queue::errors::damaged;
use crate::queue::Meta;
use crate::ring::{Damage, FrameReader, Place, Pop};

impl Consumer {
    /// Shows the next message in place, without a copy. Returns `None` if the queue has no new
    /// message. [`View::release`] consumes the message.
    ///
    /// In a lossless queue the bytes do not change before the release, unless this consumer is an
    /// observer or is evicted. In a lossy queue the producer may overwrite them at any time, and
    /// [`View::release`] reports that.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// if let Some(view) = q.peek()? {
    ///     let mut buffer = [0; 8];
    ///     view.read(0, &mut buffer)?;
    ///     view.release()?;
    ///     assert_eq!(u64::from_le_bytes(buffer), 7);
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    pub fn peek(&mut self) -> Result<Option<View<'_>>> {
        match self.peek_raw()? {
            (Pop::Message(meta), data) => Ok(Some(View {
                consumer: self,
                data,
                meta,
            })),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, 0)),
        }
    }

    /// Shows up to `most` messages in place, as [`Consumer::peek`] shows one. [`Run::release`]
    /// consumes them.
    ///
    /// The messages are side by side in the ring, so a run of a fixed queue ends at the end of the
    /// ring, and a run of a variable queue is one message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// if let Some(run) = q.peek_many(100)? {
    ///     assert_eq!(run.count(), 3);
    ///     run.release()?;
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::Invalid`] if `most` is 0.
    pub fn peek_many(&mut self, most: usize) -> Result<Option<Run<'_>>> {
        if most == 0 {
            return Err(Error::Invalid(
                "a peek at 0 messages: ask for at least 1".into(),
            ));
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

    /// As [`Consumer::peek`]. Returns the address of the message, and [`Consumer::release_raw`]
    /// consumes it. A closed queue is a result, not an error.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// if let (ipcq::Pop::Message(meta), data) = q.peek_raw()? {
    ///     // SAFETY: a message of eight bytes, which is not overwritten here.
    ///     let number = unsafe { data.cast::<u64>().read() };
    ///     q.release_raw(meta.sequence)?;
    ///     assert_eq!(number, 7);
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop_raw`].
    #[inline]
    pub fn peek_raw(&mut self) -> Result<(Pop, *const u8)> {
        self.peeked(|c| either!(&mut c.ring, r => r.peek()))
    }

    /// As [`Consumer::peek_many`]. Returns the address of the first message, and how many messages
    /// follow it, [`Consumer::stride`] bytes apart. [`Consumer::release_many_raw`] consumes them.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// if let (ipcq::Pop::Message(first), data, count) = q.peek_many_raw(100)? {
    ///     assert_eq!(count, 3);
    ///     q.release_many_raw(first.sequence, count)?;
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop_raw`].
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
        self.keep_slot()?;
        match peek(self) {
            Ok((mut pop, place)) => {
                if pop == Pop::Empty {
                    self.publish_position();
                }
                if self.needs_reason(&pop) {
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

    /// The distance between two messages of a run, in bytes. It is 0 in a variable queue, in which
    /// a run is one message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert!(q.stride() >= 8);
    /// ```
    pub fn stride(&self) -> usize {
        self.geometry.stride as usize
    }

    /// Consumes the message of the latest peek, which has this sequence.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// if let (ipcq::Pop::Message(meta), _) = q.peek_raw()? {
    ///     q.release_raw(meta.sequence)?;
    /// }
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overrun`] if the message was overwritten. It counts as lost: discard what was
    /// computed from it. [`Error::Invalid`] if the message is not the one of the latest peek.
    pub fn release_raw(&mut self, sequence: u64) -> Result<()> {
        self.release_many_raw(sequence, 1)
    }

    /// Consumes the first `count` messages of the latest peek, which begins with this sequence.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// if let (ipcq::Pop::Message(first), _, _) = q.peek_many_raw(100)? {
    ///     q.release_many_raw(first.sequence, 2)?;
    /// }
    /// assert_eq!(q.next_sequence(), 2);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::release_raw`]. If one message was overwritten, none is consumed. The
    /// overwritten messages count as lost, and the next call continues after them.
    #[inline]
    pub fn release_many_raw(&mut self, sequence: u64, count: usize) -> Result<()> {
        let released = either!(&mut self.ring, r => r.release_many(sequence, count as u64));
        self.publish_position();
        match released {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err(Error::Overrun(
                format!(
                    "{}: message {sequence} was overwritten while it was peeked at",
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
        // SAFETY: the place is in the ring.
        unsafe { memory.at(place.offset) }
    }
}

/// A message in place. Dropping the view consumes nothing, and the next pop or peek returns the
/// same message.
///
/// ```
/// # ipcq::__example!(out, q);
/// out.push(&7u64.to_le_bytes())?;
/// let view = q.peek()?.unwrap();
/// let mut buffer = [0; 8];
/// view.read(0, &mut buffer)?;
/// view.release()?;
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a view that is dropped consumes nothing"]
pub struct View<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    meta: Meta,
}

impl View<'_> {
    /// The sequence and the length of the message, and how many messages were lost before it.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// assert_eq!(q.peek()?.unwrap().meta().sequence, 0);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn meta(&self) -> Meta {
        self.meta
    }

    /// The address of the bytes, which are [`Meta::length`] bytes, aligned to 8 (16 in a variable
    /// queue).
    ///
    /// The producer of a lossy queue, or one that evicts, may overwrite the bytes at any time. So
    /// read them through this pointer, and never make a reference to them.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// let view = q.peek()?.unwrap();
    /// // SAFETY: the message has eight bytes, and any bytes are a valid number.
    /// let number = unsafe { view.as_ptr().cast::<u64>().read_volatile() };
    /// view.release()?;
    /// assert_eq!(number, 7);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message, from `offset` bytes after its start. Trust the copy only when
    /// [`View::release`] has succeeded.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// let view = q.peek()?.unwrap();
    /// let mut first = [0; 1];
    /// view.read(0, &mut first)?;
    /// view.release()?;
    /// assert_eq!(first, [7]);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end of the message.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        // SAFETY: the message is in the mapped ring.
        unsafe { read_part(self.data, self.meta.length as usize, offset, buffer) }
    }

    /// Consumes the message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// q.peek()?.unwrap().release()?;
    /// assert_eq!(q.next_sequence(), 1);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overrun`] if the message was overwritten. It counts as lost: discard what was
    /// computed from it.
    pub fn release(self) -> Result<()> {
        self.consumer.release_raw(self.meta.sequence)
    }
}

// SAFETY: the pointer belongs to the consumer that the view borrows, which is `Send`.
unsafe impl Send for View<'_> {}

/// Messages in place, side by side. Dropping the run consumes nothing, and the next pop or peek
/// returns the same messages.
///
/// ```
/// # ipcq::__example!(out, q);
/// out.push_many(&[0; 3 * 8], 8)?;
/// let run = q.peek_many(100)?.unwrap();
/// for i in 0..run.count() {
///     run.read(i, 0, &mut [0; 8])?;
/// }
/// run.release()?;
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a run that is dropped consumes nothing"]
pub struct Run<'a> {
    consumer: &'a mut Consumer,
    data: *const u8,
    first: Meta,
    count: usize,
}

impl Run<'_> {
    /// The meta of the first message. The others follow it without a gap and have the same length.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// assert_eq!(q.peek_many(100)?.unwrap().first().sequence, 0);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn first(&self) -> Meta {
        self.first
    }

    /// How many messages there are, at least one.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// assert_eq!(q.peek_many(100)?.unwrap().count(), 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn count(&self) -> usize {
        self.count
    }

    /// The distance between two messages, in bytes. It is 0 in a variable queue, in which a run is
    /// one message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&[0; 8])?;
    /// assert!(q.peek_many(100)?.unwrap().stride() >= 8);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn stride(&self) -> usize {
        self.consumer.stride()
    }

    /// The address of the first message, as [`View::as_ptr`].
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push(&7u64.to_le_bytes())?;
    /// let run = q.peek_many(100)?.unwrap();
    /// // SAFETY: the message has eight bytes, and any bytes are a valid number.
    /// let number = unsafe { run.as_ptr().cast::<u64>().read_volatile() };
    /// run.release()?;
    /// assert_eq!(number, 7);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn as_ptr(&self) -> *const u8 {
        self.data
    }

    /// Copies a part of the message with this index, from `offset` bytes after its start. Trust the
    /// copy only when [`Run::release`] has succeeded.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// let run = q.peek_many(100)?.unwrap();
    /// let mut last = [0; 8];
    /// run.read(run.count() - 1, 0, &mut last)?;
    /// run.release()?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end of the message, or beyond the last message.
    pub fn read(&self, index: usize, offset: usize, buffer: &mut [u8]) -> Result<()> {
        if index >= self.count {
            return Err(Error::OutOfRange(
                format!(
                    "message {index} is beyond the end of a run of {}",
                    self.count
                )
                .into(),
            ));
        }
        let length = self.first.length as usize;
        // SAFETY: the message is in the mapped ring.
        unsafe { read_part(self.data.add(index * self.stride()), length, offset, buffer) }
    }

    /// Consumes all messages of the run.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_many(&[0; 3 * 8], 8)?;
    /// q.peek_many(100)?.unwrap().release()?;
    /// assert_eq!(q.next_sequence(), 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Overrun`] if a message was overwritten: discard what was computed from the run. No
    /// message is consumed. The overwritten messages count as lost, and the next call continues
    /// after them.
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
/// `message` is `length` bytes in a mapped ring.
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
            format!("{wanted} bytes at offset {offset} of a message of {length} bytes").into(),
        )),
    }
}
