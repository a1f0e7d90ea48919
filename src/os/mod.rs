//! Calls into the operating system: locks, clocks, sleeping, threads, fork and open files. [`dir`]
//! has the operations on names.
//!
//! These modules do not depend on queues.

mod barrier;
mod cancel;
mod clock;
pub(crate) mod dir;
mod event;
mod file;
mod file_system;
mod fork;
mod futex;
mod lock;
mod mapping;
mod process;
mod process_lock;
mod signal;
mod space;
mod thread;
#[cfg(ipcq_words)]
mod tsan_mapping;

pub(crate) use barrier::{heavy_barrier, register_barrier};
pub(crate) use cancel::NoCancel;
pub(crate) use clock::now;
pub(crate) use event::Event;
pub(crate) use file::{close_if_same, identity, owned, read_up_to, Identity, OpenFile};
pub(crate) use file_system::check_file_system;
pub(crate) use fork::SpareFile;
pub use fork::{fork_generation, watch_forks};
pub(crate) use futex::{futex_wait, futex_wait_any, futex_wake, WakeReason, FUTEX_WAITV_MAX};
pub(crate) use lock::{is_locked, try_lock, Lock};
pub(crate) use mapping::Region;
pub(crate) use process::{effective_uid, is_dead, unique_id, ProcessStamp};
pub(crate) use process_lock::{HeldLock, LockFile, RESIDUE};
pub(crate) use signal::{nap, restarts_after_signals, SignalGate};
pub(crate) use space::{fill_holes, fill_new, set_mode};
pub(crate) use thread::spawn;
