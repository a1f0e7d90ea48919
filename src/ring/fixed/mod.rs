//! The ring of messages of one size: `{stamp: u64, payload}` a slot.
//!
//! The stamp of sequence `s` is `s + 1`, so that the zeroes of a new file are no message. The slot
//! of a sequence is found by a mask, so any sequence is reached in one step.

use crate::ring::memory::Memory;
use crate::ring::types::{distance, Shape};

/// How many bytes ahead of the message that is written or read the next ones are asked for: about
/// what is moved in the time that a line takes from the other core (120 ns of 8 ns a line).
const PREFETCH_BYTES: usize = 1024;

/// Of longer messages than [`SHORT`](crate::format::data_file::SHORT), up to so long, the whole next one is asked for: the processor finds
/// out too late that lines follow each other. Streaming 1 KiB took 139 ns without and takes 99; 4 KiB
/// the same either way.
const PREFETCH_MAX: usize = 2048;

/// Bytes of a cache line.
const CACHE_LINE: usize = 64;

/// How many messages of a batch are validated together.
const MAX_RUN: usize = 32;

/// Does the same with the most common sizes as constants, for which the copy takes two to four
/// instructions less a message and no branch.
macro_rules! by_size {
    ($size:expr, $length:ident => $do:expr) => {
        match $size {
            8 => {
                let $length = 8;
                $do
            }
            16 => {
                let $length = 16;
                $do
            }
            32 => {
                let $length = 32;
                $do
            }
            64 => {
                let $length = 64;
                $do
            }
            $length => $do,
        }
    };
}

mod reader;
mod writer;

pub use reader::FixedReader;
pub use writer::FixedWriter;

#[inline(always)]
fn slot(shape: &Shape, sequence: u64) -> usize {
    (sequence & (shape.capacity - 1)) as usize * shape.stride
}

/// The first sequence in `from..to` without its stamp. The stamps of a lap are a prefix, so it is
/// searched by halves; a stamp of a later lap counts as one.
fn committed<M: Memory>(memory: &M, shape: &Shape, from: u64, to: u64) -> u64 {
    let (mut low, mut high) = (from, to);
    while low != high {
        let middle = low.wrapping_add(high.wrapping_sub(low) / 2);
        // SAFETY: a slot is in the ring.
        let stamp = unsafe { memory.load_word_relaxed(slot(shape, middle)) };
        if distance(stamp, middle.wrapping_add(1)) >= 0 {
            low = middle.wrapping_add(1);
        } else {
            high = middle;
        }
    }
    low
}
