//! Items for the bindings, the command, the macros and the tests of this repository. They are not
//! part of the interface, and any version may change them.

pub use crate::copy::{copy_from_shared, copy_to_shared};
pub use crate::format::data_file as layout;
pub use crate::os::dir::Shown;
pub use crate::os::{fork_generation, watch_forks};
pub use crate::queue::{speak, Language, Ticket};
pub use crate::schema::{field_of, schema_of};
#[cfg(feature = "steps")]
pub use crate::steps::signal_at;
pub use crate::wakeup::{Deadline, Pace};

use crate::error::Result;
use crate::queue::{Consumer, Message, Producer, ProducerOptions};

/// Pops a short message of a fixed queue if a copy is all that it takes. Otherwise returns `None` and
/// changes nothing. Call [`popped_quickly`] after it.
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

/// Call it with each message that [`pop_quickly`] returns. Returns the length of the message.
#[inline(always)]
pub fn popped_quickly(consumer: &Consumer, message: Message, crowded: bool) -> i64 {
    consumer.popped_quickly(message, crowded)
}

/// Pushes a short message of a fixed queue and returns 0 if a copy is all that it takes. Otherwise
/// returns `None` and changes nothing.
///
/// # Safety
/// As [`Producer::push_raw`].
#[inline(always)]
pub unsafe fn push_quickly(producer: &mut Producer, from: *const u8, length: usize) -> Option<i32> {
    // SAFETY: the caller's promise.
    unsafe { producer.push_quickly(from, length) }
}

/// Pushes without waking consumers, so that the cost of waking can be measured.
///
/// # Errors
/// As [`Producer::push`].
#[inline(always)]
pub fn push_unheard(producer: &mut Producer, message: &[u8]) -> Result<()> {
    producer.push_unheard(message)
}

/// Asks the producer to wake this consumer. [`Ticket::confirm`] the ticket, look at the queue once
/// more, and only then sleep.
pub fn consumer_ask(consumer: &mut Consumer) -> Ticket {
    consumer.ask()
}

/// Ends the request of [`consumer_ask`]: the consumer does not sleep any more.
pub fn consumer_awake(consumer: &Consumer) {
    consumer.awake();
}

/// Asks the consumers to wake this producer when there is room; as [`consumer_ask`].
pub fn producer_ask(producer: &mut Producer) -> Ticket {
    producer.ask()
}

/// Returns the room in the ring that unread messages take, in the unit of the capacity. It is more than
/// the capacity if some of them are lost.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged).
pub fn in_use(consumer: &Consumer) -> Result<u64> {
    consumer.in_use()
}

/// Sets the sequence of the first message of a new queue, for tests of wrap-around.
pub fn first_sequence(mut options: ProducerOptions, sequence: u64) -> ProducerOptions {
    options.first_sequence = sequence;
    options
}
