//! The `extern "C"` surface: a few lines a function over the safe API.
//!
//! The header is generated from these files, in the order in which `build.rs` names them, so the
//! documentation here is written for a C programmer.

#![allow(non_camel_case_types)]
// The header says of every pointer what it must be.
#![allow(clippy::missing_safety_doc)]

mod consume;
mod fields;
mod open;
mod produce;
mod shm;
mod state;
mod support;
mod types;
mod wait;
