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
use crate::queue::{Consumer, Fast, Meta, Producer};
use std::os::fd::RawFd;

/// Pops a short message of a fixed queue if a copy is all that it takes. Otherwise returns `None`,
/// and nothing has changed.
///
/// # Safety
/// As [`Consumer::pop_raw`].
#[inline(always)]
pub unsafe fn try_fast_pop(consumer: &mut Consumer, to: *mut u8, size: usize) -> Option<Meta> {
    // SAFETY: the caller's promise.
    match unsafe { consumer.try_fast(to, size) } {
        Fast::Done(message) => Some(message),
        Fast::NeedsAfter(message) => {
            consumer.after_fast();
            Some(message)
        }
        Fast::Slow => None,
    }
}

/// Pushes a short message of a fixed queue if a copy is all that it takes. Otherwise returns
/// `false`, and nothing has changed.
///
/// # Safety
/// As [`Producer::push_raw`].
#[inline(always)]
pub unsafe fn try_fast_push(producer: &mut Producer, from: *const u8, length: usize) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { producer.try_fast(from, length) } {
        Fast::Done(()) => true,
        Fast::NeedsAfter(()) => {
            producer.after_fast();
            true
        }
        Fast::Slow => false,
    }
}

/// Pushes without waking consumers, so that the cost of waking can be measured.
///
/// # Errors
/// As [`Producer::push`].
#[cfg(feature = "_bench")]
#[inline(always)]
pub fn push_without_wake(producer: &mut Producer, message: &[u8]) -> Result<()> {
    producer.push_without_wake(message)
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

/// The descriptor of [`Consumer::fd`] itself. It belongs to the handle and is closed with it.
///
/// # Errors
/// As [`Consumer::fd`].
pub fn consumer_fd(consumer: &mut Consumer) -> Result<RawFd> {
    consumer.raw_fd()
}

/// Asks the consumers to wake this producer when there is room; as [`consumer_ask`].
pub fn producer_ask(producer: &mut Producer) -> Ticket {
    producer.ask()
}

/// Returns the room in the ring that unread messages take, in the unit of the capacity. It is more
/// than the capacity if some of them are lost.
///
/// # Errors
/// [`Error::Damaged`](crate::Error::Damaged).
pub fn in_use(consumer: &Consumer) -> Result<u64> {
    consumer.in_use()
}

/// The start of the examples in the documentation: a directory for their queues, and a producer
/// and a consumer of a queue of messages of eight bytes.
#[doc(hidden)]
#[macro_export]
macro_rules! __example {
    () => {
        let directory = tempfile::tempdir().unwrap();
        std::env::set_var("IPCQ_DIR", directory.path());
    };
    ($producer:ident, $consumer:ident) => {
        $crate::__example!();
        let options = $crate::Producer::options().message_size(8);
        #[allow(unused_mut)]
        let mut $producer = options.open("numbers").unwrap();
        #[allow(unused_mut)]
        let mut $consumer = $crate::Consumer::options().open("numbers").unwrap();
    };
}
