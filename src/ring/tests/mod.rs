//! The protocol under the model checker, and under random schedules.

#[cfg(loom)]
mod loom;
#[cfg(not(loom))]
mod simulation;
