//! The memory of the protocol in builds whose tests end a process at each access (feature
//! `steps`).

use super::mapping::Mapping;
use super::memory::{Field, Memory, Site};
use crate::format::data_file::Geometry;
use crate::steps::step;
use std::sync::atomic::Ordering;

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

// SAFETY: the mapping makes every access.
unsafe impl Memory for Stepped {
    fn load_relaxed(&self, field: Field) -> u64 {
        step();
        self.0.load_relaxed(field)
    }

    fn store_release(&self, site: Site, field: Field, value: u64) {
        step();
        self.0.store_release(site, field, value);
    }

    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        step();
        // SAFETY: the caller's promise.
        unsafe { self.0.load_word_relaxed(offset) }
    }

    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        step();
        // SAFETY: the caller's promise.
        unsafe { self.0.store_word_relaxed(offset, value) };
    }

    unsafe fn store_word_release(&self, site: Site, offset: usize, value: u64) {
        step();
        // SAFETY: the caller's promise.
        unsafe { self.0.store_word_release(site, offset, value) };
    }

    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        step();
        // SAFETY: the caller's promise.
        unsafe { self.0.load_index_relaxed(word) }
    }

    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        step();
        // SAFETY: the caller's promise.
        unsafe { self.0.store_index_relaxed(word, value) };
    }

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        for i in (0..length).step_by(8) {
            step();
            // SAFETY: a part of the range that the caller has promised.
            unsafe { self.0.read(offset + i, to.add(i), (length - i).min(8)) };
        }
    }

    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        for i in (0..length).step_by(8) {
            step();
            // SAFETY: a part of the range that the caller has promised.
            unsafe { self.0.write(offset + i, from.add(i), (length - i).min(8)) };
        }
    }

    fn fence(&self, order: Ordering, site: Site) {
        self.0.fence(order, site);
    }
}
