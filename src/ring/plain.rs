//! A memory with a data race, for the build with `cfg(ipcq_plain)`. It copies out of the ring by a
//! plain copy instead of atomic words, and `scripts/tsan.sh` must report the race.

use super::mapping::Mapping;
use super::memory::{Field, Memory, Site};
use crate::format::data_file::Geometry;
use std::sync::atomic::Ordering;

/// A mapping whose copies out of the ring race.
#[derive(Debug, Clone, Copy)]
pub struct Plain(Mapping);

impl Plain {
    /// # Safety
    /// As [`Mapping::new`].
    pub(crate) unsafe fn new(base: *mut u8, geometry: &Geometry) -> Self {
        // SAFETY: the caller's promise.
        Plain(unsafe { Mapping::new(base, geometry) })
    }
}

impl std::ops::Deref for Plain {
    type Target = Mapping;
    fn deref(&self) -> &Mapping {
        &self.0
    }
}

// SAFETY: `read` is a data race on purpose, and no shipped build has it. The mapping makes every
// other access.
unsafe impl Memory for Plain {
    fn load_relaxed(&self, field: Field) -> u64 {
        self.0.load_relaxed(field)
    }

    fn store_release(&self, site: Site, field: Field, value: u64) {
        self.0.store_release(site, field, value);
    }

    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.0.load_word_relaxed(offset) }
    }

    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_word_relaxed(offset, value) };
    }

    unsafe fn store_word_release(&self, site: Site, offset: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_word_release(site, offset, value) };
    }

    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.0.load_index_relaxed(word) }
    }

    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.store_index_relaxed(word, value) };
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds and disjoint, as the caller promises.
        unsafe { to.copy_from_nonoverlapping(self.0.at(offset), length) };
    }

    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.0.write(offset, from, length) };
    }

    fn fence(&self, order: Ordering, site: Site) {
        self.0.fence(order, site);
    }
}
