//! Copies that race.
//!
//! A consumer copies a payload that the producer may be overwriting at that moment, and discards
//! the copy if so. Such a copy must not be a plain load or a `memcpy` of Rust, because a data race
//! is undefined behaviour even if its result is not used. Two ways are sound, and this module uses
//! both:
//!
//! - **Relaxed atomic words**. An atomic access cannot race in the sense of the memory model. The
//!   words of the ring are aligned. Those of the private side are not.
//! - **An opaque copy**. This is the platform's `memcpy`, called through a pointer that the
//!   compiler cannot see through ([`opaque_copy`]). On x86-64, for payloads of up to
//!   [`SHORT`](crate::format::data_file::SHORT) bytes, it is a few moves in assembly
//!   (`opaque_copy_in`). For the compiler it is a function in another language that might as well
//!   access each byte by a relaxed atomic. The compiler can neither inline it nor reason about it.
//!   On every machine that this crate supports, its instructions are ordinary loads and stores,
//!   which is what relaxed atomics compile to. The fences around the copy order them as they order
//!   relaxed atomics (and they order the non-temporal stores of a very long copy, too: see
//!   `Mapped::fence`). Sequence locks everywhere rest on this argument. Here it is explicit.
//!
//! Words are used for short payloads on processors without assembly here, and for all payloads
//! under the model checker and sanitizers (`cfg(loom)`, `cfg(ipcq_words)`).

mod prefetch;
#[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
mod words;
#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
mod x86_64;

pub(crate) use prefetch::{prefetch_to_read, prefetch_to_write};
use std::sync::atomic::AtomicU64;
#[cfg(ipcq_words)]
use std::sync::atomic::Ordering;

/// # Safety
/// `at` is aligned to 8 and valid for as long as the result is used. On a read-only mapping the
/// result may only be loaded from, and only relaxed, because Rust defines nothing else there.
#[inline(always)]
pub(crate) unsafe fn atomic<'a>(at: *mut u8) -> &'a AtomicU64 {
    // SAFETY: the caller's promise.
    unsafe { AtomicU64::from_ptr(at.cast()) }
}

/// The platform's `memcpy`, through a pointer that the compiler cannot see through.
///
/// [`crate::copy`] explains its purpose.
///
/// # Safety
/// As `memcpy`, except that another process may write the shared side during the copy.
#[cfg(not(ipcq_words))]
#[inline]
pub(crate) unsafe fn opaque_copy(to: *mut u8, from: *const u8, length: usize) {
    type Copy =
        unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;
    let mut copy: Copy = libc::memcpy;
    // SAFETY: the empty assembly changes nothing. As far as the compiler knows, it may have
    // replaced the function and touched any memory, so the compiler can neither inline the copy nor
    // reason about it.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) copy, options(nostack, preserves_flags)) };
    // SAFETY: the caller's promise.
    unsafe { copy(to.cast(), from.cast(), length) };
}

/// Copies out of the ring, from `AT` bytes after `from`.
///
/// # Safety
/// As [`Memory::read`](crate::ring::Memory::read).
#[inline(always)]
pub(crate) unsafe fn copy_out<const AT: usize>(from: *mut u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
        x86_64::opaque_copy_out::<AT>(to, from, length);
        #[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
        words::read_words(from.add(AT), to, length);
    }
}

/// Copies into the ring, to `AT` bytes after `to`.
///
/// # Safety
/// As [`Memory::write`](crate::ring::Memory::write).
#[inline(always)]
pub(crate) unsafe fn copy_in<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
        x86_64::opaque_copy_in::<AT>(to, from, length);
        #[cfg(not(all(target_arch = "x86_64", not(ipcq_words))))]
        words::write_words(to.add(AT), from, length);
    }
}

/// Copies private bytes to shared memory at any alignment. Other processes may read them during the
/// copy.
///
/// # Safety
/// `to` is writable shared memory and `from` is readable, both for `length` bytes. They do not
/// overlap.
pub unsafe fn copy_to_shared(to: *mut u8, from: *const u8, length: usize) {
    crate::steps::step();
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(ipcq_words))]
        opaque_copy(to, from, length);
        #[cfg(ipcq_words)]
        for i in 0..length {
            std::sync::atomic::AtomicU8::from_ptr(to.add(i)).store(*from.add(i), Ordering::Relaxed);
        }
    }
}

/// Copies shared bytes at any alignment to private memory. Other processes may write them during
/// the copy.
///
/// # Safety
/// As [`copy_to_shared`], the other way round.
pub unsafe fn copy_from_shared(to: *mut u8, from: *const u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(ipcq_words))]
        opaque_copy(to, from, length);
        #[cfg(ipcq_words)]
        for i in 0..length {
            *to.add(i) = std::sync::atomic::AtomicU8::from_ptr(from.add(i).cast_mut())
                .load(Ordering::Relaxed);
        }
    }
}
