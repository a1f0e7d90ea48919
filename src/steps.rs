//! The steps of a process, so that a test can end it at each of them (feature `steps`).
//!
//! A step is an access to the shared ring or its header, a payload counting word by word, or a
//! system call that changes a file or a lock. No shipped build has the feature; without it,
//! [`step`] is nothing and the ring is accessed directly.

/// Comes before every step.
#[cfg(not(feature = "steps"))]
#[inline(always)]
pub(crate) fn step() {}

#[cfg(feature = "steps")]
pub use counted::signal_at;
#[cfg(feature = "steps")]
pub(crate) use counted::step;

#[cfg(feature = "steps")]
mod counted {
    use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

    // Relaxed, all of them: a test sets them before the one thread that counts begins.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    static AT: AtomicU64 = AtomicU64::new(0);
    static SIGNAL: AtomicI32 = AtomicI32::new(0);

    /// Has this process send itself a signal before its step `at`, counted from here, from 1.
    pub fn signal_at(at: u64, signal: i32) {
        TAKEN.store(0, Ordering::Relaxed);
        SIGNAL.store(signal, Ordering::Relaxed);
        AT.store(at, Ordering::Relaxed);
    }

    pub(crate) fn step() {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
        if taken == AT.load(Ordering::Relaxed) {
            // SAFETY: takes a number. Neither SIGKILL nor SIGSTOP runs anything in this process.
            unsafe { libc::raise(SIGNAL.load(Ordering::Relaxed)) };
        }
    }
}
