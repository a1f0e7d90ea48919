//! Futex waits on words of shared memory.

use super::clock::timespec;
use super::signal::nap;
use std::io;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// The reason that a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// A wake, a word that had already changed, or a spurious return.
    Woken,
    /// The timeout.
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
        // The page was truncated away, or a sandbox forbids the call. The caller retries, so slow
        // it down.
        _ if nap(Duration::from_millis(1)) => WakeReason::Woken,
        _ => WakeReason::Interrupted,
    }
}

/// Waits until `word` is woken or the clock of `now` reaches `until`. Returns at once if the word
/// is not equal to `seen`. A read-only mapping is enough.
///
/// The call is never a private futex, because processes may share the word.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32, until: Duration) -> WakeReason {
    let until = timespec(until);
    // SAFETY: the word and the time are valid during the call, which writes neither.
    woken(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            // `FUTEX_WAIT` takes a duration. This command takes a deadline, so a repeated wait does
            // not become longer.
            libc::FUTEX_WAIT_BITSET,
            seen,
            &raw const until,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    })
}

/// The maximum number of words for [`futex_wait_any`].
pub(crate) const FUTEX_WAITV_MAX: usize = 128;

/// As [`futex_wait`], on any of several words. After a handler with `SA_RESTART` the kernel
/// restarts the wait (see `restarts_after_signals`). Returns `None` if the kernel does not
/// support the call (before Linux 5.16) or a sandbox forbids it.
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
    const FUTEX_32: u32 = 2; // the size of the word; without the private flag it is shared
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
    // SAFETY: `waiters`, the words and the time are valid during the call, which writes none of
    // them.
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

/// Wakes all waiters on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid and is not written. The call cannot fail.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}
