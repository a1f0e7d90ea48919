//! How a consumer takes its place in a lossless ring.

use super::flow_control::SlotCursor;
use super::frame_reader::FrameReader;
use super::memory::{Field, Memory, Site};
use super::reader::Reader;
use super::types::{Damage, Start};

/// Takes a seat, or takes it anew, and goes to `start`, or if that is `None` on from where the
/// reader is. From there on nothing is overwritten before it is consumed. `false` if the start is
/// a sequence that was not pushed yet: then the reader stays where it was.
pub fn join<F: FrameReader>(
    reader: &mut Reader<F>,
    seat: &impl SlotCursor,
    start: Option<Start>,
) -> Result<bool, Damage> {
    let (memory, capacity) = {
        let frames = reader.frames();
        (frames.memory().clone(), frames.shape().capacity)
    };
    // An older `claimed` than the producer's holds it no less.
    seat.reserve(memory.load_relaxed(Field::Claimed).wrapping_sub(capacity));
    // Pairs with `Limit`. The loads of the limit come after this.
    memory.fence_full(Site::TakeSlot);
    let done = match start {
        Some(start) => reader.begin(start),
        None => reader.resume().map(|()| true),
    };
    // Pairs with `SeeCursor`.
    seat.store_cursor_release(Site::Consumed, reader.frames().cursor());
    done
}
