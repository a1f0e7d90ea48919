//! The memory of the protocol in production: a mapping of the data file.

use super::memory::{Field, Memory, Site};
use crate::copy::{self, atomic};
#[cfg(not(ipcq_words))]
use crate::format::data_file::SHORT;
use crate::format::data_file::{Geometry, SLOT_HEADER};
use std::sync::atomic::{AtomicU64, Ordering};

/// A mapping of a data file.
///
/// It holds only pointers. The caller that makes it keeps the mapping alive.
#[derive(Debug, Clone, Copy)]
pub struct Mapping {
    header: *mut u8,
    ring: *mut u8,
    index: *mut u8,
    /// Whether `memcpy` may use non-temporal stores for the longest message.
    #[cfg(target_arch = "x86_64")]
    long: bool,
}

/// The length of a long message. `memcpy` uses non-temporal stores only for far longer copies.
#[cfg(target_arch = "x86_64")]
const LONG: u64 = 4096;

// SAFETY: every access through the pointers is an atomic access or an opaque copy, so threads may
// share them as processes do.
unsafe impl Send for Mapping {}

impl Mapping {
    /// # Safety
    /// `base` is a mapping of at least `geometry.file_bytes()` bytes of shared memory, aligned to a
    /// page, and outlives the result. It is writable if a producer uses it. [`Geometry::read`] has
    /// checked `geometry`.
    pub(crate) unsafe fn new(base: *mut u8, geometry: &Geometry) -> Self {
        // SAFETY: the geometry was checked against the length of the file, and the whole file is
        // mapped.
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
        // SAFETY: the header is mapped, aligned to a page, and only accessed by atomics.
        unsafe { atomic(self.header.add(field.offset())) }
    }
}

// SAFETY: in-bounds accesses go to mapped memory, by atomics or the opaque copy.
unsafe impl Memory for Mapping {
    #[inline(always)]
    fn load_relaxed(&self, field: Field) -> u64 {
        self.header(field).load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn store_release(&self, _site: Site, field: Field, value: u64) {
        self.header(field).store(value, Ordering::Release);
    }

    #[inline(always)]
    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        // SAFETY: in bounds and aligned, as the caller promises.
        unsafe { atomic(self.ring.add(offset)) }.load(Ordering::Relaxed)
    }

    #[inline(always)]
    unsafe fn store_word_relaxed(&self, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, as the caller promises.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn store_word_release(&self, _site: Site, offset: usize, value: u64) {
        // SAFETY: in bounds and aligned, as the caller promises.
        unsafe { atomic(self.ring.add(offset)) }.store(value, Ordering::Release);
    }

    #[inline]
    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        // SAFETY: in bounds, as the caller promises, and words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.load(Ordering::Relaxed)
    }

    #[inline]
    unsafe fn store_index_relaxed(&self, word: usize, value: u64) {
        // SAFETY: in bounds, as the caller promises, and words are aligned.
        unsafe { atomic(self.index.add(word * 8)) }.store(value, Ordering::Relaxed);
    }

    #[inline(always)]
    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, as the caller promises.
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
        // SAFETY: in bounds, aligned and disjoint, as the caller promises.
        unsafe { copy::copy_out::<SLOT_HEADER>(self.ring.add(offset), to, length) }
    }

    #[inline(always)]
    unsafe fn write(&self, offset: usize, from: *const u8, length: usize) {
        // SAFETY: in bounds, aligned and disjoint, as the caller promises.
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
        // SAFETY: in bounds, aligned and disjoint, as the caller promises.
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
    fn fence(&self, order: Ordering, site: Site) {
        // A long `memcpy`, ours or the caller's after a claim, may use non-temporal stores. On
        // x86-64 these can become visible before the earlier announcement, because a release fence
        // emits no instruction. (`memcpy` fences its own stores before it returns.) Only copies of
        // a large part of a cache use such stores. Short messages do not pay for `sfence`, because
        // a small ring announces every few messages, and each would take 2 ns more.
        #[cfg(target_arch = "x86_64")]
        if self.long && matches!(site, Site::Announce | Site::TakeOver) {
            // SAFETY: every x86-64 processor has this instruction.
            unsafe { std::arch::x86_64::_mm_sfence() };
        }
        std::sync::atomic::fence(order);
    }
}
