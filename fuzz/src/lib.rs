//! The fuzz targets of ipcq. Each is a function of the bytes of an input.
//!
//! An input is a program: it selects how the files are damaged and which calls follow. The same
//! functions serve the fuzzer (`fuzz_targets/`, `make fuzz`) and the replay of the stored inputs
//! (`tests/replay.rs`, `make test`).
//!
//! A target fails by a panic, a signal, a report of a sanitizer, or by taking too much time or
//! memory. The panics come from the library or from the checks here: bounds, statistics, content.

mod checked;
mod damage;
mod files;
mod open;
mod produce;
mod read;
mod registry;
mod schema;

pub use open::open;
pub use produce::produce;
pub use read::{read_fixed, read_variable};
pub use registry::registry;
pub use schema::schema;

/// The bytes of an input. After their end, every choice is the first one.
type Input<'a> = arbitrary::Unstructured<'a>;
