//! The protocol under the model checker.
//!
//! The same source that runs in production runs here over [`ModelMemory`], whose words are the
//! atomics of loom. loom tries every interleaving (up to a number of preemptions) and every store
//! that a load may see. `docs/memory-model.md` has the scope and the bound of each model.
//!
//! Every model has mutation tests. Each is the same model without one [`Site`] or [`Step`], and
//! must break the promise that this site or step is there for ([`Violation`]). Otherwise the model
//! would not notice that it is missing.
//!
//! # Why no preemptions are enough
//!
//! Consumers write nothing, and a producer reads only words that it or a dead producer wrote. So an
//! execution is only the choice, for every load of a consumer, of one store that the memory model
//! lets it see. The schedule adds nothing. loom tries all these choices when the producer runs to
//! its end first, because a later load may still see any older store that the loads before it do
//! not rule out. loom does this without a preemption if no word is stored more often than loom
//! remembers ([`HISTORY`], which is checked). `preemptions_add_nothing` compares the observations
//! with and without preemptions.
//!
//! The models of [`wait`] and [`flow_control`] are different. Both sides store and look there, so
//! they are explored with preemptions.
//!
//! Run it with `scripts/model.sh`.

mod broadcast;
mod close;
mod explore;
mod flow_control;
mod join;
mod memory;
mod promises;
mod queues;
mod restart;
mod wait;

use crate::format::data_file::state;
use crate::ring::memory::Step;
use crate::ring::{Field, FrameReader, FrameWriter, Pop, Reader, Site};
use explore::*;
use loom::sync::atomic::{fence, AtomicU64};
use memory::*;
use promises::*;
use queues::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
