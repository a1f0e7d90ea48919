//! Thread cancellation.

/// Disables cancellation of the current thread (`pthread_cancel`) until it is dropped.
///
/// Cancellation unwinds a thread out of the system call that it is in. If the frames above are Rust
/// frames, that ends the process. Therefore every function of this crate that may reach such a
/// system call holds a `NoCancel`. A pending cancellation acts at the next cancellation point of
/// the program.
pub(crate) struct NoCancel {
    before: libc::c_int,
    /// Makes the type `!Send`, because the state belongs to one thread.
    _thread: std::marker::PhantomData<*const ()>,
}

extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

/// glibc and musl use the same number.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

impl NoCancel {
    #[inline(never)]
    pub(crate) fn new() -> NoCancel {
        let mut before = 0;
        // SAFETY: `before` is valid for writes. The call cannot fail for this state.
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
        // SAFETY: as above. The state was returned by the same function.
        unsafe { pthread_setcancelstate(self.before, &mut now) };
    }
}
