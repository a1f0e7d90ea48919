//! A queue between processes on one host, through shared memory.
//!
//! One process produces and any number of processes consume, through one memory-mapped file. A push
//! or pop makes no system call unless the other side is asleep. Every consumer sees every message and keeps its own
//! position. A consumer maps the data read-only, so that it can neither corrupt nor delay the
//! producer; one that is too slow loses the oldest messages, and is told exactly how many.
//!
//! **Guaranteed**: no torn message, ever, under the memory model of Rust and C11;
//! `received + lost + lag == pushed - start` for every consumer at every moment; whatever process
//! is killed at whatever instruction, the others go on, the producer can be started again and
//! continues the sequence, and nothing has to be cleaned up.
//!
//! **Not guaranteed**: delivery to a lossy consumer that falls a whole ring behind; anything across
//! hosts; anything across a crash of the machine (a queue on disk is not flushed).
//!
//! ```
//! use ipcq::{Consumer, Producer};
//! # let dir = std::env::temp_dir().join(format!("ipcq-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir).unwrap();
//! # std::env::set_var("IPCQ_DIR", &dir);
//! let mut out = Producer::options().capacity(1 << 10).message_size(8).open("numbers")?;
//! let mut q = Consumer::options().open("numbers")?;
//! for n in 0u64..3 {
//!     out.push(&n.to_le_bytes())?;
//! }
//! let mut buffer = [0; 8];
//! while let Some(message) = q.pop(&mut buffer)? {
//!     assert_eq!(message.sequence, u64::from_le_bytes(buffer));
//!     assert_eq!(message.lost, 0);
//! }
//! ipcq::unlink("numbers")?;
//! # std::fs::remove_dir_all(&dir).unwrap();
//! # Ok::<(), ipcq::Error>(())
//! ```
//!
//! A queue can say what records its messages are: [`record!`], or a [`Schema`]. A consumer that expects
//! anything else is told so when it opens it.
//!
//! [`SharedMem`] is the memory by itself. `docs/design.md` in the repository has the file format
//! and the ordering argument.

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

pub use error::{Error, Result, Text};
pub use format::data_file::{Delivery, Framing, Geometry};
pub use queue::{
    inspect, list, listing, unlink, unlink_unused, wait_any, Claim, Consumer, ConsumerInfo,
    ConsumerOptions, Inspection, Listing, Message, Producer, ProducerOptions, Run, Stats, View,
    WAIT_ANY_MAX,
};
pub use ring::{Pop, Start};
pub use schema::{Chars, Element, Field, Format, Record, Scalar, Schema};
pub use shm::SharedMem;

/// The version of this library, `major.minor.patch`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
