//! Hints about the memory that will soon be accessed.

/// Prefetches the line at `from + AHEAD`, which may be any address, for a write.
#[inline(always)]
pub(crate) fn prefetch_to_write<const AHEAD: usize>(from: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint. It reads nothing and cannot fault. A processor that does not know it executes
    // a NOP.
    unsafe {
        std::arch::asm!("prefetchw [{0} + {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}, {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}

/// Prefetches the line at `from + AHEAD`, which may be any address, for a read.
#[inline(always)]
pub(crate) fn prefetch_to_read<const AHEAD: usize>(from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as `prefetch_to_write`.
    unsafe {
        std::arch::asm!("prefetcht0 [{0} + {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}, {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}
