//! What the bindings, the macros and the tests of this repository use of the library beside its
//! interface. It belongs to this version alone, and changes with any other.

pub use crate::copy::{copy_from_shared, copy_to_shared};
pub use crate::format::data_file as layout;
pub use crate::os::{fork_generation, watch_forks};
pub use crate::queue::{speak, Language, Ticket};
pub use crate::schema::{field_of, schema_of};
#[cfg(feature = "steps")]
pub use crate::steps::signal_at;
pub use crate::wakeup::{Deadline, Pace};

use crate::error::Result;
use crate::queue::{Consumer, Message, Producer, ProducerOptions};

/// Pops, if that takes nothing but the copy of a short message of a fixed queue; `None` where there is
/// anything else to do or to say. [`popped_quickly`] comes after it.
///
/// # Safety
/// As [`Consumer::pop_raw`].
#[inline(always)]
pub unsafe fn pop_quickly(
    consumer: &mut Consumer,
    to: *mut u8,
    size: usize,
) -> Option<(Message, bool)> {
    // SAFETY: the caller's promise.
    unsafe { consumer.pop_quickly(to, size) }
}

/// To be called with each message that was popped quickly; returns its length.
#[inline(always)]
pub fn popped_quickly(consumer: &Consumer, message: Message, crowded: bool) -> i64 {
    consumer.popped_quickly(message, crowded)
}

/// Pushes and returns 0, if that takes nothing but the copy of a short message of a fixed queue; `None`
/// where there is anything else to do or to say.
///
/// # Safety
/// As [`Producer::push_raw`].
#[inline(always)]
pub unsafe fn push_quickly(producer: &mut Producer, from: *const u8, length: usize) -> Option<i32> {
    // SAFETY: the caller's promise.
    unsafe { producer.push_quickly(from, length) }
}

/// A push that wakes nobody: what waking costs is the difference to it.
///
/// # Errors
/// As [`Producer::push`].
#[inline(always)]
pub fn push_unheard(producer: &mut Producer, message: &[u8]) -> Result<()> {
    producer.push_unheard(message)
}

/// Asks the producer to wake this consumer, for those that wait in their own way: [`Ticket::confirm`]
/// it, look once more, and only then sleep.
pub fn consumer_ask(consumer: &mut Consumer) -> Ticket {
    consumer.ask()
}

/// Says that one who has [asked](consumer_ask) does not sleep any more.
pub fn consumer_awake(consumer: &Consumer) {
    consumer.awake();
}

/// Asks the consumers to wake this producer when there is room; as [`consumer_ask`].
pub fn producer_ask(producer: &mut Producer) -> Ticket {
    producer.ask()
}

/// How much of the ring the messages take that were pushed and not consumed, in the unit of its
/// capacity. More than the capacity if some of them are lost.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged).
pub fn in_use(consumer: &Consumer) -> Result<u64> {
    consumer.in_use()
}

/// Lets a queue that is made begin with this sequence, to come to those that wrap around.
pub fn first_sequence(mut options: ProducerOptions, sequence: u64) -> ProducerOptions {
    options.first_sequence = sequence;
    options
}
