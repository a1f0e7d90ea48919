//! Queues: the ring in its files, with options, errors and statistics around it.

mod consumer;
mod errors;
mod eviction;
mod fast;
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

pub use crate::ring::Meta;
pub use consumer::{Consumer, Run, View};
pub use fast::Fast;
pub use inspect::{inspect, list, listing, Inspection, Listing};
pub use language::{speak, Language};
pub use options::{ConsumerOptions, ProducerOptions};
pub use producer::{Claim, Producer};
pub use registry::ConsumerInfo;
pub use stats::Stats;
#[cfg(feature = "typed")]
pub use typed::{Iter, Received};
pub use unlink::{unlink, unlink_unused};
pub use wait::Ticket;
#[cfg(feature = "capi")]
pub(crate) use wait_any::wait_any_of;
pub use wait_any::{wait_any, WAIT_ANY_MAX};

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Producer>();
    is_send::<Consumer>();
    is_send::<Claim<'_>>();
    is_send::<View<'_>>();
    is_send::<Run<'_>>();
};
