//! What the fuzz targets of ipcq do with an input, each a function of its bytes.
//!
//! An input is a program: how the files are damaged, and what is then asked of the library. The
//! same functions serve the fuzzer (`fuzz_targets/`, `make fuzz`) and the replay of the inputs it
//! kept (`tests/replay.rs`, `make test`).
//!
//! A target fails by a panic, a signal, a sanitizer's report, or by taking too long or too much
//! memory. The panics are the library's own, or from the checks here: bounds, accounts, content.

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

/// The bytes an input is made of; at their end, every choice is the first one.
type Input<'a> = arbitrary::Unstructured<'a>;
