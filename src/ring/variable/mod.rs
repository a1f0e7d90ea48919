//! The ring of messages of any length: frames `{stamp: u64, length: u32, flags: u32, payload}`.
//!
//! FrameReader follow each other on 16-byte boundaries, so that the frame header never lies across the
//! end of the ring and payloads are aligned for any C type. A message that does not fit before the
//! end of the ring is preceded by a padding frame, which carries the same stamp and no sequence.
//!
//! A consumer at the front looks at a word where any old payload may lie, and an old payload may
//! look like a stamp. So the stamp word of the *next* frame is cleared before this frame's is
//! stored, and the announcement covers that word too.
//!
//! The index has an entry for each block of the ring: the first frame that begins at or after the
//! start of the block. A consumer that joins, seeks or was lapped finds a frame by it.

mod reader;
mod writer;

pub use reader::VariableReader;
pub use writer::VariableWriter;

use crate::format::data_file::FRAME_HEADER;
use crate::ring::types::Shape;

/// Bytes of a frame with a payload of so many.
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
