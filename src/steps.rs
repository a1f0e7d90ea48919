//! Counts the steps of a process, so that a test can kill it at each of them (feature `steps`).
//!
//! A step is an access to the shared ring or its header, one word of a payload, or a system call
//! that changes a file or a lock. Shipped builds do not have the feature. Without it, [`step`] does
//! nothing and the ring is accessed directly.

/// Called before every step.
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

    // All accesses are Relaxed, because a test sets the values before the one thread that counts
    // starts.
    static TAKEN: AtomicU64 = AtomicU64::new(0);
    static AT: AtomicU64 = AtomicU64::new(0);
    static SIGNAL: AtomicI32 = AtomicI32::new(0);

    /// Sends this process `signal` before step number `at`. The count starts at 1 with this call.
    pub fn signal_at(at: u64, signal: i32) {
        TAKEN.store(0, Ordering::Relaxed);
        SIGNAL.store(signal, Ordering::Relaxed);
        AT.store(at, Ordering::Relaxed);
    }

    pub(crate) fn step() {
        let taken = TAKEN.fetch_add(1, Ordering::Relaxed) + 1;
        if taken == AT.load(Ordering::Relaxed) {
            // SAFETY: the call takes a number. SIGKILL and SIGSTOP run no handler in this process.
            unsafe { libc::raise(SIGNAL.load(Ordering::Relaxed)) };
        }
    }
}
