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
pub use counted::*;

#[cfg(feature = "steps")]
mod counted {
    use crate::layout::Geometry;
    use crate::memory::{Field, Mapping, Memory, Site};
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

    /// A mapping whose accesses are steps.
    #[derive(Debug, Clone, Copy)]
    pub struct Stepped(Mapping);

    impl Stepped {
        /// # Safety
        /// As [`Mapping::new`].
        pub(crate) unsafe fn new(base: *mut u8, geometry: &Geometry) -> Self {
            // SAFETY: the caller's promise.
            Stepped(unsafe { Mapping::new(base, geometry) })
        }
    }

    impl std::ops::Deref for Stepped {
        type Target = Mapping;
        fn deref(&self) -> &Mapping {
            &self.0
        }
    }

    // SAFETY: every access is one of the mapping's.
    unsafe impl Memory for Stepped {
        fn load(&self, field: Field) -> u64 {
            step();
            self.0.load(field)
        }

        fn publish(&self, site: Site, field: Field, value: u64) {
            step();
            self.0.publish(site, field, value);
        }

        unsafe fn word(&self, offset: usize) -> u64 {
            step();
            // SAFETY: the caller's promise.
            unsafe { self.0.word(offset) }
        }

        unsafe fn set_word(&self, offset: usize, value: u64) {
            step();
            // SAFETY: the caller's promise.
            unsafe { self.0.set_word(offset, value) };
        }

        unsafe fn publish_word(&self, site: Site, offset: usize, value: u64) {
            step();
            // SAFETY: the caller's promise.
            unsafe { self.0.publish_word(site, offset, value) };
        }

        unsafe fn index_word(&self, word: usize) -> u64 {
            step();
            // SAFETY: the caller's promise.
            unsafe { self.0.index_word(word) }
        }

        unsafe fn set_index_word(&self, word: usize, value: u64) {
            step();
            // SAFETY: the caller's promise.
            unsafe { self.0.set_index_word(word, value) };
        }

        unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
            for i in (0..length).step_by(8) {
                step();
                // SAFETY: a part of what the caller has promised.
                unsafe { self.0.read(offset + i, to.add(i), (length - i).min(8)) };
            }
        }

        unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
            for i in (0..length).step_by(8) {
                step();
                // SAFETY: a part of what the caller has promised.
                unsafe { self.0.write(offset + i, from.add(i), (length - i).min(8)) };
            }
        }

        fn fence(&self, site: Site) {
            self.0.fence(site);
        }
    }
}
