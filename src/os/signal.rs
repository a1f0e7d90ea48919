//! Signals, and sleeps that they end.

use super::clock::timespec;
use std::time::Duration;

/// Sleeps; `false` if a signal ended it early.
pub(crate) fn nap(time: Duration) -> bool {
    let t = timespec(time);
    // SAFETY: `t` is valid, there are no descriptors, and the signal mask stays what it is.
    unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, std::ptr::null()) == 0 }
}

/// For waits that nobody wakes: holds signals back while the thread is awake, so that each of them
/// arrives during a sleep and ends it. A signal that arrived between two sleeps would otherwise run
/// its handler and change nothing.
///
/// It is for the thread that makes it.
pub(crate) struct SignalGate {
    before: libc::sigset_t,
}

impl SignalGate {
    pub(crate) fn new() -> SignalGate {
        // SAFETY: zero is a valid set; each set is a valid place for the length of a call.
        unsafe {
            let mut held: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut held);
            // What the thread causes itself cannot wait.
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

    /// Sleeps with the signals let in; `false` if one ended it, or had arrived before.
    pub(crate) fn nap(&self, time: Duration) -> bool {
        let t = timespec(time);
        // SAFETY: both are valid, and there are no descriptors. The kernel lets the signals in and
        // begins to sleep in one step.
        unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, &self.before) == 0 }
    }
}

impl Drop for SignalGate {
    fn drop(&mut self) {
        // SAFETY: a set that was given by the same function.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Whether the program handles a signal and has asked for system calls to be restarted after it.
///
/// [`futex_wait_any`] is such a call, so a signal would not end it.
pub(crate) fn restarts_after_signals() -> bool {
    (1..=64).any(|signal| {
        // SAFETY: zero is valid for each of its fields; the place for the answer is valid.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut now) == 0
                && now.sa_sigaction != libc::SIG_DFL
                && now.sa_sigaction != libc::SIG_IGN
                && now.sa_flags & libc::SA_RESTART != 0
        }
    })
}
