//! Copies by relaxed atomic words.

use super::atomic;
use std::sync::atomic::Ordering;

/// # Safety
/// As [`Memory::read`](crate::ring::Memory::read).
#[inline(always)]
pub(super) unsafe fn read_words(from: *mut u8, to: *mut u8, length: usize) {
    let whole = length & !7;
    let mut i = 0;
    while i < whole {
        // SAFETY: whole words inside both sides. The private side may be unaligned.
        unsafe {
            let word = atomic(from.add(i)).load(Ordering::Relaxed);
            to.add(i).cast::<u64>().write_unaligned(word);
        }
        i += 8;
    }
    if length > whole {
        // SAFETY: the ring has a whole word here, and the private side `length - whole` bytes.
        unsafe {
            let word = atomic(from.add(whole))
                .load(Ordering::Relaxed)
                .to_le_bytes();
            to.add(whole)
                .copy_from_nonoverlapping(word.as_ptr(), length - whole);
        }
    }
}

/// # Safety
/// As [`Memory::write`](crate::ring::Memory::write).
#[inline(always)]
pub(super) unsafe fn write_words(to: *mut u8, from: *const u8, length: usize) {
    let whole = length & !7;
    let mut i = 0;
    while i < whole {
        // SAFETY: whole words inside both sides. The private side may be unaligned.
        unsafe {
            let word = from.add(i).cast::<u64>().read_unaligned();
            atomic(to.add(i)).store(word, Ordering::Relaxed);
        }
        i += 8;
    }
    if length > whole {
        // SAFETY: the ring has a whole word here, and the private side `length - whole` bytes.
        unsafe {
            let mut word = [0u8; 8];
            word.as_mut_ptr()
                .copy_from_nonoverlapping(from.add(whole), length - whole);
            atomic(to.add(whole)).store(u64::from_le_bytes(word), Ordering::Relaxed);
        }
    }
}
