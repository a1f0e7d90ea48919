//! The files of a queue: their names and their layout.

pub(crate) mod control_file;
pub mod data_file;
pub(crate) mod names;
pub(crate) mod new_file;
