//! The `extern "C"` surface. Each function checks its arguments and calls the safe API.
//!
//! `build.rs` generates the header from `ipcq.h.in` and from one file for each of its sections, so
//! the documentation in these files is written for a C programmer. The order of the items in a file
//! is their order in the header. `support` and `fields` hold what the header does not show.

#![allow(non_camel_case_types)]
// The header states the requirements on each pointer.
#![allow(clippy::missing_safety_doc)]

mod errors;
mod fields;
mod handle;
mod inspect;
mod open;
mod receive;
mod schema;
mod send;
mod shm;
mod support;
mod wait;
mod zero_copy;
