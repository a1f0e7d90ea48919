//! The memory of the protocol in production: a mapping of the data file.

use super::memory::{order, Field, Memory, Site};
use crate::copy::{self, atomic};
#[cfg(not(ipcq_words))]
use crate::format::data_file::SHORT;
use crate::format::data_file::{Geometry, SLOT_HEADER};
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapping of a data file.
///
/// It holds pointers only: whoever makes one keeps the mapping alive for as long.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    header: *mut u8,
    ring: *mut u8,
    index: *mut u8,
    /// Whether messages may be so long that they are copied by non-temporal stores.
    #[cfg(target_arch = "x86_64")]
    long: bool,
}

/// Far less than any `memcpy` takes non-temporal stores for.
#[cfg(target_arch = "x86_64")]
const LONG: u64 = 4096;

// SAFETY: every access through the pointers is an atomic one or an opaque copy, so that threads
// may share them as processes do.
unsafe impl Send for Mapping {}

impl Mapping {
    /// # Safety
    /// `base` is a mapping of at least `geometry.file_bytes()` bytes of shared memory, aligned to
    /// a page, that outlives the result; it is writable if a producer uses it. `geometry` was
    /// checked ([`Geometry::read`]).
    pub(crate) unsafe fn new(base: *mut u8, geometry: &Geometry) -> Self {
        // SAFETY: the geometry was checked against the file's length, which is mapped whole.
        unsafe {
            Mapping {
                header: base,
                ring: base.add(geometry.ring_offset as usize),
                index: base.add(geometry.index_offset as usize),
                #[cfg(target_arch = "x86_64")]
                long: geometry.max_message() >= LONG,
            }
        }
    }

    /// The address of a payload.
    ///
    /// # Safety
    /// `offset` is inside the ring.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, offset: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.ring.add(offset) }
    }

    #[inline(always)]
    fn header(&self, field: Field) -> &AtomicU64 {
        // SAFETY: the header is mapped and aligned to a page, and only accessed by atomics.
        unsafe { atomic(self.header.add(field.offset())) }
    }
}

// SAFETY: in-bounds accesses go to mapped memory, by atomics or the opaque copy.
unsafe impl Memory for Mapping {
    #[inline(always)]
    fn load(&self, field: Field) -> u64 {
        // Relaxed, as all loads here: a fence follows where order is needed.
        self.header(field).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn publish(&self, _site: Site, field: Field, value: u64) {
        self.header(field).store(value, Ordering::Release);
    }

    #[inline(always)]
    unsafe fn word(&self, offset: usize) -> u64 {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.load(Ordering::Relaxed)
    }

    #[inline(always)]
    unsafe fn set_word(&self, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn publish_word(&self, _site: Site, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, says the caller.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Release);
    }

    #[inline]
    unsafe fn index_word(&self, word: usize) -> u64 {
        // SAFETY: in bounds, says the caller; words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.load(Ordering::Relaxed)
    }

    #[inline]
    unsafe fn set_index_word(&self, word: usize, value: u64) {
        // SAFETY: in bounds, says the caller; words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe {
            #[cfg(not(ipcq_words))]
            if length > SHORT {
                return copy::opaque_copy(to, self.ring.add(offset), length);
            }
            copy::copy_out::<0>(self.ring.add(offset), to, length)
        }
    }

    #[inline(always)]
    unsafe fn read_short(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe { copy::copy_out::<SLOT_HEADER>(self.ring.add(offset), to, length) }
    }

    #[inline(always)]
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe {
            #[cfg(not(ipcq_words))]
            if length > SHORT {
                return copy::opaque_copy(self.ring.add(offset), from, length);
            }
            copy::copy_in::<0>(self.ring.add(offset), from, length)
        }
    }

    #[inline(always)]
    unsafe fn write_short(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, says the caller.
        unsafe { copy::copy_in::<SLOT_HEADER>(self.ring.add(offset), from, length) }
    }

    #[inline(always)]
    fn prefetch_for_write<const AHEAD: usize>(&self, offset: usize) {
        copy::prefetch_to_write::<AHEAD>(self.ring.wrapping_add(offset));
    }

    #[inline(always)]
    fn prefetch_for_read<const AHEAD: usize>(&self, offset: usize) {
        copy::prefetch_to_read::<AHEAD>(self.ring.wrapping_add(offset));
    }

    #[inline(always)]
    fn fence(&self, site: Site) {
        // A long `memcpy`, ours or that of who writes in place, may use non-temporal stores. Those
        // may overtake the announcement on x86-64, where a release fence is no instruction. (It
        // fences what it has stored itself, before it returns.) No `memcpy` does that to less than
        // a good part of a cache; and a small ring of short messages, which announces every few,
        // would pay 2 ns a message.
        #[cfg(target_arch = "x86_64")]
        if self.long && matches!(site, Site::Announce | Site::TakeOver) {
            // SAFETY: every x86-64 processor has it.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
        std::sync::atomic::fence(order(site));
    }
}
