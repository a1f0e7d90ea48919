//! Sleeping on words of shared memory.

use super::clock::timespec;
use super::signal::nap;
use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// What ended a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// A wake-up, a word that had changed already, or nothing in particular.
    Woken,
    /// The time is over.
    TimedOut,
    /// A signal.
    Interrupted,
}

fn woken(rc: libc::c_long) -> WakeReason {
    if rc >= 0 {
        return WakeReason::Woken;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => WakeReason::Woken,
        Some(libc::ETIMEDOUT) => WakeReason::TimedOut,
        Some(libc::EINTR) => WakeReason::Interrupted,
        // A page that was truncated away, or a sandbox: the caller looks again and again, so let
        // it do so slowly.
        _ if nap(Duration::from_millis(1)) => WakeReason::Woken,
        _ => WakeReason::Interrupted,
    }
}

/// Sleeps until somebody wakes those who sleep on `word`, or the clock of [`now`] shows `until`;
/// not at all if the word is not `seen`. A read-only mapping will do.
///
/// The word may be shared between processes, so the kernel is never told that it is private.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32, until: Duration) -> WakeReason {
    let until = timespec(until);
    // SAFETY: the word and the time are valid for the length of the call, which writes neither.
    woken(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            // Unlike `FUTEX_WAIT` it takes a moment, not a length, so that a sleep that is
            // begun again does not grow.
            libc::FUTEX_WAIT_BITSET,
            seen,
            &raw const until,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    })
}

/// The most words that [`futex_wait_any`] takes.
pub(crate) const FUTEX_WAITV_MAX: usize = 128;

/// As [`futex_wait`], on any of several words, but that the kernel begins it again after a handler
/// with `SA_RESTART` ([`restarts_after_signals`]); `None` where the kernel cannot do that (before
/// Linux 5.16) or a sandbox forbids it.
pub(crate) fn futex_wait_any(words: &[(&AtomicU32, u32)], until: Duration) -> Option<WakeReason> {
    /// The kernel's `struct futex_waitv`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const FUTEX_32: u32 = 2; // its size; without a flag for private, it is shared
    let mut waiters = [Waiter {
        value: 0,
        address: 0,
        flags: 0,
        reserved: 0,
    }; FUTEX_WAITV_MAX];
    let count = words.len().min(FUTEX_WAITV_MAX);
    for (waiter, (word, seen)) in waiters.iter_mut().zip(words) {
        waiter.value = u64::from(*seen);
        waiter.address = word.as_ptr() as u64;
        waiter.flags = FUTEX_32;
    }
    let until = timespec(until);
    // SAFETY: so many waiters are valid for the length of the call, as are the words and the time;
    // it writes none of them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            0,
            &raw const until,
            libc::CLOCK_MONOTONIC,
        )
    };
    let errno = io::Error::last_os_error().raw_os_error();
    match (rc, errno) {
        (-1, Some(libc::ENOSYS | libc::EPERM)) => None,
        _ => Some(woken(rc)),
    }
}

/// Wakes all who sleep on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid, and not even written. There is nothing that can fail.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
