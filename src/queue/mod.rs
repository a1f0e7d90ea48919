//! Queues: the ring in its files, with options, errors and statistics around it.

mod backpressure;
mod consumer;
mod files;
mod inspect;
mod options;
mod producer;
mod sleep;
#[cfg(feature = "typed")]
mod typed;
mod watch;

pub use consumer::{Consumer, Run, View};
pub use inspect::{inspect, list, listing, Inspection, Listing};
pub use options::{ConsumerOptions, ProducerOptions};
pub use producer::{Claim, Producer};
#[cfg(feature = "capi")]
pub(crate) use sleep::wait_any_of;
pub use sleep::{wait_any, Ticket, WAIT_ANY_MAX};

use crate::error::{Error, Result};
use crate::layout::{Delivery, Framing, Geometry};
use crate::name::Paths;
use crate::ring::Damage;
use crate::words;
use std::ffi::OsStr;

pub use crate::ring::Info as Message;

/// Figures of a queue and of the handle that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages ever pushed, which is the sequence of the next one.
    pub pushed: u64,
    /// Messages this consumer received since its start position. 0 of a producer.
    pub received: u64,
    /// Messages this consumer lost since then. 0 of a producer.
    pub lost: u64,
    /// Messages pushed and neither received nor known to be lost yet:
    /// `received + lost + lag == pushed - start`. 0 of a producer.
    pub lag: u64,
    /// The oldest sequence retained. In a variable queue, the oldest that can be gone to.
    pub oldest: u64,
    /// Messages (fixed) or bytes (variable) that the ring holds.
    pub capacity: u64,
    /// Bytes of every message; 0 if they vary.
    pub message_size: u32,
    /// Bytes of the longest message that can be pushed.
    pub max_message: u64,
    /// Lossy or lossless.
    pub delivery: Delivery,
    /// How often a producer has been attached.
    pub epoch: u32,
    /// Consumers attached and known: all of a lossless queue, of a lossy one those that may
    /// write its control file; but no observers. Costs a system call each.
    pub consumers: u32,
    /// Whether a producer is attached at this moment. Costs a system call.
    pub producer_alive: bool,
    /// Whether the producer has closed the queue (and none has opened it since).
    pub closed: bool,
    /// Identifies the queue: another number means that the queue was made anew, and that its
    /// sequences count other messages.
    pub id: u64,
    /// Whether the queue's file has lost its name: it was unlinked, removed by something else, or
    /// replaced. Nobody can open this queue any more. Costs a system call.
    pub unlinked: bool,
}

/// Removes a queue: its data, control and lock file. Handles that are open keep the memory until they
/// are dropped. The lock file of a live producer stays until that producer closes.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::PermissionDenied`], also if the queue belongs to another user;
/// [`Error::ProducerExists`] if another process has been opening or removing the queue for a second.
pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
    crate::shm::unlink(&Paths::of(name.as_ref())?, None)
}

/// As [`unlink`], but only if no process has the queue open as its producer, or writes the shared memory
/// of that name. No process can become its producer meanwhile.
///
/// # Errors
/// As [`unlink`]; [`Error::ProducerExists`] also if a process has it open, with that process in the text.
pub fn unlink_unused(name: impl AsRef<OsStr>) -> Result<()> {
    let paths = Paths::of(name.as_ref())?;
    let busy = || {
        let holder = match files::holder(&paths) {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        format!(
            "{holder} has it open to write, so it was not removed: end that process first, or remove \
             it all the same (ipcq unlink --force)"
        )
    };
    crate::shm::unlink(&paths, Some(&busy))
}

#[cold]
fn damaged(paths: &Paths, damage: Damage) -> Error {
    Error::Damaged(
        format!(
            "{}: the queue is damaged ({}): close it, then {}",
            paths.shown(),
            damage.0,
            words::renew()
        )
        .into(),
    )
}

#[cold]
fn wrong_length(paths: &Paths, g: &Geometry, length: usize) -> Error {
    Error::MessageSize(
        match g.framing {
            Framing::Fixed => format!(
                "{}: a message of {length} bytes, but all messages of this queue have {}",
                paths.shown(),
                g.message_size
            ),
            Framing::Variable => format!(
                "{}: a message of {length} bytes, but a ring of {} takes at most {} (an eighth)",
                paths.shown(),
                g.capacity,
                g.max_message()
            ),
        }
        .into(),
    )
}
