//! What must not be done: a memory with a plain copy in the place of atomic words (`cfg(ipcq_plain)`). It
//! shows that `scripts/tsan.sh` can fail.

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

// SAFETY: none for `read`, which is a data race; that is what it is for. Every other access is one of
// the mapping's.
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
