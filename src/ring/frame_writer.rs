//! The parts of a ring that depend on its framing, as the producer uses them.

use super::flow_control::{SlotCursors, WriterState};
use super::memory::Memory;
use super::types::{Damage, Shape};

/// One framing, as a producer writes it.
///
/// Three operations make room for a message. `reserve` takes announced room. When that is used up,
/// it announces more, up to the limit. `extend` raises the limit of a lossless ring.
pub trait FrameWriter: Sized {
    /// The memory that it writes.
    type Memory: Memory;
    /// Prepares the memory of a new file.
    fn format(memory: &Self::Memory, shape: &Shape);
    /// Continues at the message after the last one that the previous producer published, at
    /// whatever step that producer ended.
    fn recover(memory: Self::Memory, shape: Shape) -> Result<Self, Damage>;
    /// That memory.
    fn memory(&self) -> &Self::Memory;
    /// The sequence of the next message.
    fn next(&self) -> u64;
    /// Makes room for a message and returns the offset of its payload. `None` if the limit does not
    /// allow it.
    ///
    /// The caller has checked `length`. A fixed ring requires the message size, a variable ring at
    /// most the longest message.
    fn reserve(&mut self, length: usize) -> Option<usize>;
    /// Lossless: reads the cursors of the consumers and raises the limit. Returns whether a message
    /// of this length then has room.
    fn extend(&mut self, slots: &impl SlotCursors, length: usize) -> bool;
    /// The position of the producer before a message of this length.
    fn front(&self, length: usize) -> WriterState;
    /// Publishes the reserved message. `length` is at most the reserved length.
    fn commit(&mut self, length: usize);
    /// Copies and publishes one message. Returns `false` if the limit does not allow it.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes, and `reserve` allows this length.
    unsafe fn push(&mut self, from: *const u8, length: usize) -> bool;
    /// Stores the position of the producer in the header.
    fn settle(&mut self);
}
