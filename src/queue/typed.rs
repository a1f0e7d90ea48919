//! Messages that are values of a type, where any bytes are one: no serialisation, no copy but the
//! one into or out of the ring.

use super::{Consumer, Message, Producer};
use crate::error::{Error, Result};
use crate::ring::Pop;
use bytemuck::{AnyBitPattern, NoUninit};

impl Producer {
    /// Pushes a value as its bytes.
    ///
    /// # Errors
    /// As [`Producer::push`].
    #[inline]
    pub fn push_value<T: NoUninit>(&mut self, value: &T) -> Result<()> {
        self.push(bytemuck::bytes_of(value))
    }

    /// Pushes values, each a message.
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
    /// Pops a message that is a value of this type; `None` if there is none yet.
    ///
    /// # Errors
    /// As [`Consumer::pop`]; [`Error::MessageSize`] if the message has not the size of the type:
    /// a longer one is not consumed.
    #[inline]
    pub fn pop_value<T: AnyBitPattern>(&mut self) -> Result<Option<(T, Message)>> {
        let mut value = T::zeroed();
        let size = size_of::<T>();
        // SAFETY: the value is writable for its size, and any bytes are a valid one.
        match unsafe { self.pop_raw((&raw mut value).cast(), size) }? {
            Pop::Message(m) if m.length as usize == size => Ok(Some((value, m))),
            Pop::Message(m) => Err(Error::MessageSize(
                format!(
                    "message {} has {} bytes, the type {size}",
                    m.sequence, m.length
                )
                .into(),
            )),
            Pop::Empty => Ok(None),
            other => Err(self.not_popped(other, size)),
        }
    }

    /// Pops up to as many values as there is room for; how many, and about the first.
    ///
    /// # Errors
    /// As [`Consumer::pop_many`]. In a variable queue, [`Error::MessageSize`] if the messages have
    /// not the size of the type.
    pub fn pop_values<T: AnyBitPattern>(
        &mut self,
        values: &mut [T],
    ) -> Result<Option<(usize, Message)>> {
        let size = size_of::<T>();
        // SAFETY: the values are writable for their sizes, and any bytes are valid ones.
        match unsafe { self.pop_many_raw(values.as_mut_ptr().cast(), size, values.len()) }? {
            (Pop::Message(m), many) if m.length as usize == size => Ok(Some((many, m))),
            (Pop::Message(m), _) => Err(Error::MessageSize(
                format!(
                    "message {} has {} bytes, the type {size}",
                    m.sequence, m.length
                )
                .into(),
            )),
            (Pop::Empty, _) => Ok(None),
            (other, _) => Err(self.not_popped(other, size)),
        }
    }
}
