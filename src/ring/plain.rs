//! A memory with a data race, for the build with `cfg(ipcq_plain)`: it copies out of the ring by a
//! plain copy instead of atomic words. `scripts/tsan.sh` must report it.

use super::mapping::Mapping;
use super::memory::{Field, Memory, Site};
use crate::format::data_file::Geometry;

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

// SAFETY: every access but `read` is one of the mapping's. `read` is a data race on purpose, and no
// shipped build has it.
unsafe impl Memory for Plain {
    fn load(&self, field: Field) -> u64 {
        self.0.load(field)
    }

    fn publish(&self, site: Site, field: Field, value: u64) {
        self.0.publish(site, field, value);
    }

    unsafe fn word(&self, offset: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.0.word(offset) }
    }

    unsafe fn set_word(&self, offset: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.set_word(offset, value) };
    }

    unsafe fn publish_word(&self, site: Site, offset: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.publish_word(site, offset, value) };
    }

    unsafe fn index_word(&self, word: usize) -> u64 {
        // SAFETY: the caller's promise.
        unsafe { self.0.index_word(word) }
    }

    unsafe fn set_index_word(&self, word: usize, value: u64) {
        // SAFETY: the caller's promise.
        unsafe { self.0.set_index_word(word, value) };
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds and disjoint, says the caller.
        unsafe { to.copy_from_nonoverlapping(self.0.at(offset), length) };
    }

    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: the caller's promise.
        unsafe { self.0.write(offset, from, length) };
    }

    fn fence(&self, site: Site) {
        self.0.fence(site);
    }
}
