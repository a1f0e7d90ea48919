//! Signals, and sleeps that a signal ends.

use super::clock::timespec;
use std::time::Duration;

/// Sleeps. Returns `false` if a signal ended the sleep early.
pub(crate) fn nap(time: Duration) -> bool {
    let t = timespec(time);
    // SAFETY: `t` is valid, the set of descriptors is empty, and the signal mask does not change.
    unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, std::ptr::null()) == 0 }
}

/// Blocks signals while the thread is awake, for waits that poll. Each signal then arrives during a
/// sleep and ends it. Otherwise a signal between two sleeps would run its handler but not end the
/// wait.
///
/// It acts on the thread that creates it.
pub(crate) struct SignalGate {
    before: libc::sigset_t,
}

impl SignalGate {
    pub(crate) fn new() -> SignalGate {
        // SAFETY: zero is a valid set, and each set is valid during the calls.
        unsafe {
            let mut held: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut held);
            // Signals that the thread itself causes cannot be deferred.
            for own in [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGTRAP,
                libc::SIGSYS,
                libc::SIGABRT,
            ] {
                libc::sigdelset(&mut held, own);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &held, &mut before);
            SignalGate { before }
        }
    }

    /// Sleeps with signals unblocked. Returns `false` if a signal ended the sleep or was pending.
    pub(crate) fn nap(&self, time: Duration) -> bool {
        let t = timespec(time);
        // SAFETY: both pointers are valid, and the set of descriptors is empty. The kernel unblocks
        // the signals and starts the sleep in one step.
        unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, &self.before) == 0 }
    }
}

impl Drop for SignalGate {
    fn drop(&mut self) {
        // SAFETY: the set was returned by the same function.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Whether the program has a signal handler with `SA_RESTART`.
///
/// The kernel restarts `futex_wait_any` after such a handler, so the signal would not end the
/// wait.
pub(crate) fn restarts_after_signals() -> bool {
    (1..=64).any(|signal| {
        // SAFETY: zero is valid for every field, and `now` is valid for writes.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut now) == 0
                && now.sa_sigaction != libc::SIG_DFL
                && now.sa_sigaction != libc::SIG_IGN
                && now.sa_flags & libc::SA_RESTART != 0
        }
    })
}
