//! Errors that several modules return.

use super::language;
use crate::error::Error;
use crate::format::data_file::{Framing, Geometry};
use crate::format::names::Paths;
use crate::ring::Damage;

#[cold]
pub(super) fn damaged(paths: &Paths, damage: Damage) -> Error {
    Error::Damaged(
        format!(
            "{}: the queue is damaged ({}): close it, then {}",
            paths.shown(),
            damage.0,
            language::renew()
        )
        .into(),
    )
}

#[cold]
pub(super) fn wrong_length(paths: &Paths, g: &Geometry, length: usize) -> Error {
    Error::MessageSize(
        match g.framing {
            Framing::Fixed => format!(
                "{}: a message of {length} bytes, but all messages of this queue have {} bytes",
                paths.shown(),
                g.message_size
            ),
            Framing::Variable => format!(
                "{}: a message of {length} bytes, but a ring of {} bytes takes at most {} (1/8)",
                paths.shown(),
                g.capacity,
                g.max_message()
            ),
        }
        .into(),
    )
}
