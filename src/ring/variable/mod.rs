//! The ring of messages of any length: frames `{stamp: u64, length: u32, flags: u32, payload}`.
//!
//! Frames follow each other on 16-byte boundaries, so a frame header never crosses the end of the
//! ring, and payloads are aligned for any C type. If a message does not fit before the end of the
//! ring, a padding frame precedes it. The padding has the same stamp, and no sequence of its own.
//!
//! A consumer at the front looks at a word that may be part of an old payload, and an old payload
//! may look like a stamp. So the producer clears the stamp word of the *next* frame before it
//! stores the stamp of this one. The announcement covers that word, too.
//!
//! The index has an entry for each block of the ring. It is the first frame that begins at or after
//! the start of the block. A consumer that joins, seeks or was lapped finds a frame by the index.

mod reader;
mod writer;

pub use reader::VariableReader;
pub use writer::VariableWriter;

use crate::format::data_file::FRAME_HEADER;
use crate::ring::types::Shape;

/// Bytes of a frame with a payload of `length` bytes.
#[inline(always)]
const fn frame_bytes(length: usize) -> usize {
    (FRAME_HEADER + length + FRAME_HEADER - 1) & !(FRAME_HEADER - 1)
}

#[inline(always)]
fn in_ring(shape: &Shape, position: u64) -> usize {
    (position & (shape.capacity - 1)) as usize
}

/// The index word of the block that begins at `start`.
fn entry(shape: &Shape, start: u64) -> usize {
    (in_ring(shape, start) / shape.block as usize) * 2
}
