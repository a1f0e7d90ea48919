//! How a consumer takes its slot in a lossless ring.

use super::flow_control::SlotCursor;
use super::frame_reader::FrameReader;
use super::memory::{Field, Memory, Site};
use super::reader::Reader;
use super::types::{Damage, Start};

/// Takes the slot, or takes it again, and moves the reader to `start`. If that is `None`, the
/// reader continues at its position. From then on the producer overwrites nothing that this
/// consumer has not consumed. Returns `false` if `start` is a sequence that was not pushed yet. The
/// reader then keeps its position.
pub fn join<F: FrameReader>(
    reader: &mut Reader<F>,
    slot: &impl SlotCursor,
    start: Option<Start>,
) -> Result<bool, Damage> {
    let (memory, capacity) = {
        let frames = reader.frames();
        (frames.memory().clone(), frames.shape().capacity)
    };
    // A stale value of `claimed` is lower, so it holds the producer back, too.
    slot.reserve(memory.load_relaxed(Field::Claimed).wrapping_sub(capacity));
    // Pairs with `Limit`. The loads of the limit follow.
    memory.fence_full(Site::TakeSlot);
    let done = match start {
        Some(start) => reader.begin(start),
        None => reader.resume().map(|()| true),
    };
    // Pairs with `SeeCursor`. The reads of all messages before the cursor come first.
    slot.store_cursor_release(Site::Consumed, reader.frames().cursor());
    done
}
