//! The memory of the protocol in builds whose tests end a process at each access (feature `steps`).

use super::mapping::Mapping;
use super::memory::{Field, Memory, Site};
use crate::format::data_file::Geometry;
use crate::steps::step;

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
