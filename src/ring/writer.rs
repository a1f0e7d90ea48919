//! The producer's side of either kind of ring.

use super::fixed::FixedWriter;
use super::flow_control::{SlotCursors, WriterState};
use super::frame_writer::FrameWriter;
use super::memory::Memory;
use super::types::{Damage, Shape};
use super::variable::VariableWriter;

/// The producer's side of a ring of either framing.
#[derive(Debug)]
pub enum Writer<M> {
    /// All messages have one size.
    Fixed(FixedWriter<M>),
    /// Each message has its own length.
    Variable(VariableWriter<M>),
}

/// Evaluates an expression with the writer of either framing.
macro_rules! either {
    ($writer:expr, $name:ident => $value:expr) => {
        match $writer {
            Writer::Fixed($name) => $value,
            Writer::Variable($name) => $value,
        }
    };
}

impl<M: Memory> FrameWriter for Writer<M> {
    type Memory = M;

    fn format(memory: &M, shape: &Shape) {
        match shape.stride {
            0 => VariableWriter::format(memory, shape),
            _ => FixedWriter::format(memory, shape),
        }
    }

    fn recover(memory: M, shape: Shape) -> Result<Self, Damage> {
        match shape.stride {
            0 => VariableWriter::recover(memory, shape).map(Writer::Variable),
            _ => FixedWriter::recover(memory, shape).map(Writer::Fixed),
        }
    }

    #[inline(always)]
    fn memory(&self) -> &M {
        either!(self, writer => writer.memory())
    }

    #[inline(always)]
    fn next(&self) -> u64 {
        either!(self, writer => writer.next())
    }

    #[inline(always)]
    fn reserve(&mut self, length: usize) -> Option<usize> {
        either!(self, writer => writer.reserve(length))
    }

    #[inline(always)]
    fn extend(&mut self, slots: &impl SlotCursors, length: usize) -> bool {
        either!(self, writer => writer.extend(slots, length))
    }

    #[inline(always)]
    fn front(&self, length: usize) -> WriterState {
        either!(self, writer => writer.front(length))
    }

    #[inline(always)]
    fn commit(&mut self, length: usize) {
        either!(self, writer => writer.commit(length));
    }

    #[inline(always)]
    unsafe fn push(&mut self, from: *const u8, length: usize) -> bool {
        // SAFETY: the caller's promise.
        unsafe { either!(self, writer => writer.push(from, length)) }
    }

    #[inline(always)]
    fn settle(&mut self) {
        either!(self, writer => writer.settle());
    }
}
