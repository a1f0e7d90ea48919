//! Queues: the ring in its files, with options, errors and statistics around it.

mod consumer;
mod errors;
mod eviction;
mod inspect;
mod language;
mod open;
mod options;
mod poll_fd;
mod producer;
mod registry;
mod stats;
#[cfg(feature = "typed")]
mod typed;
mod unlink;
mod wait;
mod wait_any;

pub use crate::ring::Meta as Message;
pub use consumer::{Consumer, Run, View};
pub use inspect::{inspect, list, listing, Inspection, Listing};
pub use language::{speak, Language};
pub use options::{ConsumerOptions, ProducerOptions};
pub use producer::{Claim, Producer};
pub use registry::ConsumerInfo;
pub use stats::Stats;
pub use unlink::{unlink, unlink_unused};
pub use wait::Ticket;
#[cfg(feature = "capi")]
pub(crate) use wait_any::wait_any_of;
pub use wait_any::{wait_any, WAIT_ANY_MAX};
