//! The protocol: how one producer and many consumers share a ring without a lock.
//!
//! It is written over [`Memory`] alone, makes no system call and allocates nothing. So the same
//! source runs in production and under the model checker. It descends from the LMAX Disruptor (a
//! sequence in each slot), from sequence locks (validate after the copy) and from Aeron's broadcast
//! buffer (announce the intent to overwrite). `docs/design.md` has the argument.
//!
//! ```text
//!  producer, once a block   published.store(next, Release); claimed.store(next + block, Release)
//!                           fence(Release)                                           Announce
//!            per message    payload words, Relaxed; stamp.store(sequence + 1, Release)  Stamp
//!  consumer  per message    stamp.load == sequence + 1; fence(Acquire)               SeeStamp
//!                           payload words, Relaxed; fence(Acquire)                   Validate
//!                           valid if claimed.load <= position + capacity, otherwise  IsValid
//!                           lapped
//! ```
//!
//! Why a validated copy is whole: suppose that one of its loads saw a store of the overwriting.
//! Then the `Announce` fence before that store synchronises with the `Validate` fence after that
//! load. So the consumer sees the announced value of `claimed`, and that value fails the check.
//!
//! Sequences and positions have 64 bits and are compared by their difference, so they may wrap.

mod fixed;
pub mod flow_control;
mod frame_reader;
mod frame_writer;
mod join;
mod mapping;
mod memory;
#[cfg(ipcq_plain)]
mod plain;
mod reader;
#[cfg(feature = "steps")]
mod stepped;
#[cfg(test)]
mod tests;
mod types;
mod variable;
mod writer;

pub use fixed::FixedReader;
pub use frame_reader::{FrameReader, Place};
pub use frame_writer::FrameWriter;
pub use join::join;
pub use memory::{Field, Memory, Site};
pub use reader::Reader;
pub use types::{distance, Damage, Meta, Pop, Shape, Start};
pub use variable::VariableReader;
pub use writer::Writer;

/// The memory that the handles of a queue use.
#[cfg(not(any(feature = "steps", ipcq_plain)))]
pub type Mapped = mapping::Mapping;
/// The same, in builds whose tests end a process at each access.
#[cfg(feature = "steps")]
pub type Mapped = stepped::Stepped;
/// The same, in the build in which ThreadSanitizer must find a race.
#[cfg(ipcq_plain)]
pub type Mapped = plain::Plain;

/// Stores the state of the queue, which is a value of [`state`](crate::format::data_file::state).
pub fn set_state<M: Memory>(memory: &M, value: u64) {
    // Pairs with `SeeState`. A consumer that sees the state sees every message before it.
    memory.store_release(Site::State, Field::State, value);
}
