//! Messages that are values of a type. They are not serialised. The only copy is the
//! one into or out of the ring.

use super::{Consumer, Meta, Producer};
use crate::error::{Error, Result};
use crate::ring::Pop;
use bytemuck::{AnyBitPattern, NoUninit};
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

/// A value that was received, and its meta. It derefs to the value.
///
/// ```
/// # ipcq::__example!(out, q);
/// use ipcq::Received;
///
/// out.push_value(&7u64)?;
/// let number: Received<u64> = q.recv()?;
/// assert_eq!((*number, number.meta.lost), (7, 0));
/// # Ok::<(), ipcq::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received<T> {
    /// The value.
    pub value: T,
    /// Its sequence and length, and how many messages were lost before it.
    pub meta: Meta,
}

impl<T> Deref for Received<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The messages of a queue as values of a type, until the queue is closed: see [`Consumer::iter`].
#[derive(Debug)]
#[must_use = "an iterator that is not used receives nothing"]
pub struct Iter<'a, T> {
    consumer: &'a mut Consumer,
    ended: bool,
    value: PhantomData<fn() -> T>,
}

impl<T: AnyBitPattern> Iterator for Iter<'_, T> {
    type Item = Result<Received<T>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let received = self.consumer.recv();
        match received {
            Err(Error::Closed(_)) => self.ended = true,
            Err(Error::Interrupted(_)) | Ok(_) => return Some(received),
            Err(_) => {
                self.ended = true;
                return Some(received);
            }
        }
        None
    }
}

impl<T: AnyBitPattern> std::iter::FusedIterator for Iter<'_, T> {}

impl Producer {
    /// Pushes a value as its bytes.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_value(&7u64)?;
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push`].
    #[inline]
    pub fn push_value<T: NoUninit>(&mut self, value: &T) -> Result<()> {
        self.push(bytemuck::bytes_of(value))
    }

    /// Pushes each value as a message. Returns how many it pushed: fewer than there are only if a
    /// lossless queue becomes full.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert_eq!(out.push_values(&[1u64, 2, 3])?, 3);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Producer::push_many`].
    pub fn push_values<T: NoUninit>(&mut self, values: &[T]) -> Result<usize> {
        match values {
            [] => Ok(0),
            _ => self.push_many(bytemuck::cast_slice(values), size_of::<T>()),
        }
    }
}

impl Consumer {
    /// Receives the next message as a value of this type. Sleeps until there is one, without a
    /// limit.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_value(&7u64)?;
    /// let number = q.recv::<u64>()?;
    /// assert_eq!(*number, 7);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`] if the producer has closed the queue and every message was received.
    /// [`Error::MessageSize`] if the message has another size than the type. [`Error::Interrupted`]
    /// if a signal arrived. [`Error::Replaced`], [`Error::Damaged`].
    pub fn recv<T: AnyBitPattern>(&mut self) -> Result<Received<T>> {
        self.receive_within(None)
    }

    /// As [`Consumer::recv`], but waits for at most `timeout`.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// use std::time::Duration;
    ///
    /// let none = q.recv_timeout::<u64>(Duration::from_millis(1));
    /// assert!(matches!(none, Err(ipcq::Error::TimedOut(_))));
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::recv`]; [`Error::TimedOut`].
    pub fn recv_timeout<T: AnyBitPattern>(&mut self, timeout: Duration) -> Result<Received<T>> {
        self.receive_within(Some(timeout))
    }

    /// As [`Consumer::recv`], but never waits. Returns `None` if the queue has no new message.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// assert!(q.try_recv::<u64>()?.is_none());
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop`].
    #[inline]
    pub fn try_recv<T: AnyBitPattern>(&mut self) -> Result<Option<Received<T>>> {
        self.check_type::<T>()?;
        let mut value = T::zeroed();
        // SAFETY: the value is writable for its size, and any bytes are a valid value.
        match unsafe { self.pop_raw((&raw mut value).cast(), size_of::<T>()) }? {
            Pop::Empty => Ok(None),
            pop => self.received(value, pop).map(Some),
        }
    }

    /// Receives messages as values of this type, and waits for each. The iterator ends when the
    /// producer has closed the queue and every message was received.
    ///
    /// An item is an error as [`Consumer::recv`] returns it. After [`Error::Interrupted`] the
    /// iterator continues. After any other error it ends.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_values(&[1u64, 2, 3])?;
    /// drop(out);
    /// let mut sum = 0;
    /// for number in q.iter::<u64>() {
    ///     sum += *number?;
    /// }
    /// assert_eq!(sum, 6);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    pub fn iter<T: AnyBitPattern>(&mut self) -> Iter<'_, T> {
        Iter {
            consumer: self,
            ended: false,
            value: PhantomData,
        }
    }

    /// Pops values until `values` is full or the queue is empty. Returns how many, and the meta of
    /// the first.
    ///
    /// The values follow each other without a gap. A batch ends where messages were lost.
    ///
    /// ```
    /// # ipcq::__example!(out, q);
    /// out.push_values(&[1u64, 2, 3])?;
    /// let mut numbers = [0u64; 10];
    /// let (count, first) = q.pop_values(&mut numbers)?.unwrap();
    /// assert_eq!(numbers[..count], [1, 2, 3]);
    /// # Ok::<(), ipcq::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Consumer::pop_many`]; [`Error::MessageSize`] if the messages have another size than the
    /// type.
    pub fn pop_values<T: AnyBitPattern>(
        &mut self,
        values: &mut [T],
    ) -> Result<Option<(usize, Meta)>> {
        self.check_type::<T>()?;
        let size = size_of::<T>();
        // SAFETY: the values are writable for their sizes, and any bytes are valid values.
        match unsafe { self.pop_many_raw(values.as_mut_ptr().cast(), size, values.len()) }? {
            (Pop::Message(first), many) if first.length as usize == size => Ok(Some((many, first))),
            (Pop::Message(first), _) => Err(self.wrong_type(first.length, size)),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, size)),
        }
    }

    fn receive_within<T: AnyBitPattern>(
        &mut self,
        timeout: Option<Duration>,
    ) -> Result<Received<T>> {
        self.check_type::<T>()?;
        let mut value = T::zeroed();
        // SAFETY: the value is writable for its size, and any bytes are a valid value.
        let pop = unsafe { self.pop_wait_raw((&raw mut value).cast(), size_of::<T>(), timeout) }?;
        self.received(value, pop)
    }

    /// The value, if `pop` has filled it.
    #[inline(always)]
    fn received<T>(&self, value: T, pop: Pop) -> Result<Received<T>> {
        let size = size_of::<T>();
        match pop {
            Pop::Message(meta) if meta.length as usize == size => Ok(Received { value, meta }),
            Pop::Message(meta) => Err(self.wrong_type(meta.length, size)),
            other => Err(self.not_popped(other, size)),
        }
    }

    /// Refuses a type that has another size than the messages of a fixed queue. It consumes
    /// nothing.
    #[inline(always)]
    fn check_type<T>(&self) -> Result<()> {
        match self.geometry().message_size {
            0 => Ok(()),
            length if length as usize == size_of::<T>() => Ok(()),
            length => Err(self.wrong_type(length, size_of::<T>())),
        }
    }

    #[cold]
    fn wrong_type(&self, length: u32, size: usize) -> Error {
        Error::MessageSize(
            format!(
                "{}: a message of {length} bytes cannot be received as a type of {size} bytes",
                self.shown()
            )
            .into(),
        )
    }
}
