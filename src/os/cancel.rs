//! Thread cancellation.

/// Keeps the thread from being cancelled (`pthread_cancel`) until it is dropped.
///
/// A cancelled thread is unwound out of the system call that it is in, which ends the process if
/// the frames above are Rust's. So every function of this crate that may come to such a system
/// call holds one of these. What is pending then acts at the next cancellation point of the
/// program.
pub(crate) struct NoCancel {
    before: libc::c_int,
    /// It belongs to the thread that made it.
    _thread: std::marker::PhantomData<*const ()>,
}

extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

/// The same number in glibc and musl.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

impl NoCancel {
    #[inline(never)]
    pub(crate) fn new() -> NoCancel {
        let mut before = 0;
        // SAFETY: the place for the answer is valid. It cannot fail for this state.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
        NoCancel {
            before,
            _thread: std::marker::PhantomData,
        }
    }
}

impl Drop for NoCancel {
    fn drop(&mut self) {
        let mut now = 0;
        // SAFETY: as above; the state is one that was given by the same function.
        unsafe { pthread_setcancelstate(self.before, &mut now) };
    }
}
