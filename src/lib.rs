//! A queue between processes on one Linux host, through shared memory.
//!
//! One process produces and any number of processes consume, through one memory-mapped file. Every
//! consumer sees every message and has a position of its own. Push and pop make no system call
//! unless the other side is asleep. A consumer maps the data read-only, so it can neither corrupt
//! nor delay the producer. If a consumer is too slow, it loses the oldest messages and learns
//! exactly how many. In a lossless queue, the producer waits for it instead.
//!
//! **Guaranteed**: no message is ever torn, under the memory model of Rust and C11. For every
//! consumer, at every moment, `received + lost + lag == pushed - start`. If any process is killed
//! at any instruction, the others continue, a new producer continues the sequence, and nothing has
//! to be cleaned up.
//!
//! **Not guaranteed**: delivery to a lossy consumer that falls a whole ring behind; anything across
//! hosts; anything after a crash of the machine (a queue on disk is not flushed).
//!
//! # Example
//!
//! A producer and a consumer, which are usually two processes:
//!
//! ```
//! use ipcq::{Consumer, Producer};
//! # ipcq::__example!();
//!
//! let mut out = Producer::options().message_size(8).open("numbers")?;
//! for n in 0u64..3 {
//!     out.push_value(&n)?;
//! }
//! drop(out); // closes the queue
//!
//! let mut q = Consumer::options().open("numbers")?;
//! for number in q.iter::<u64>() { // ends when the queue is closed
//!     let number = number?;
//!     println!("{}, {} lost", *number, number.meta.lost);
//! }
//! ipcq::unlink("numbers")?;
//! # Ok::<(), ipcq::Error>(())
//! ```
//!
//! # What is where
//!
//! - [`Producer`] and [`Consumer`] are the handles of a queue. [`Producer::options`] and
//!   [`Consumer::options`] open one.
//! - [`Consumer::recv`] and [`Consumer::iter`] receive values. [`Consumer::pop`] receives bytes.
//!   [`Consumer::peek`] and [`Producer::claim`] read and write in place.
//! - [`Consumer::wait`] and [`wait_any`] wait. [`Consumer::fd`] is for event loops and async
//!   runtimes.
//! - [`record!`] and [`Schema`] describe the layout of the messages. A consumer that expects
//!   another layout cannot open the queue.
//! - [`inspect`] and [`list`] look at queues from outside. [`SharedMem`] is shared memory by
//!   itself.
//! - Every error is an [`Error`], whose text names the file, the cause and the remedy.
//!
//! # Crate features
//!
//! | feature | default | adds |
//! |---|---|---|
//! | `typed` | yes | `push_value`, `recv`, `iter` and similar calls, for plain-data types |
//! | `capi` | yes | the C interface, which a Rust program does not need |
//!
//! A Rust program uses `default-features = false, features = ["typed"]`.
//!
//! The feature `steps`, and features that begin with an underscore, are for the tests and
//! benchmarks of this repository.

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    target_pointer_width = "64"
)))]
compile_error!("ipcq supports 64-bit little-endian Linux");

#[doc(hidden)]
pub mod __binding;
mod copy;
mod error;
#[cfg(feature = "capi")]
mod ffi;
mod format;
mod log;
mod os;
mod queue;
mod ring;
mod schema;
mod shm;
mod steps;
mod wakeup;

pub use error::{Error, Result};
pub use format::data_file::{Delivery, Framing, Geometry};
pub use queue::{
    inspect, list, listing, unlink, unlink_unused, wait_any, Claim, Consumer, ConsumerInfo,
    ConsumerOptions, Inspection, Listing, Meta, Producer, ProducerOptions, Run, Stats, View,
    WAIT_ANY_MAX,
};
#[cfg(feature = "typed")]
pub use queue::{Iter, Received};
pub use ring::{Pop, Start};
pub use schema::{Chars, Element, Field, Format, Record, Scalar, Schema};
pub use shm::SharedMem;

/// The version of this library, `major.minor.patch`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
