//! Threads of the library.

use std::io;

/// Runs `life` in a thread of its own that gets none of the process's signals, and has neither the
/// priority nor the processors of the thread that makes it: one that spins on a processor of its
/// own must not keep this one from running.
pub(crate) fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: both sets are valid places; a thread begins with the mask of the one that makes it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = spawn_plain(name, Box::new(life));
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned
    }
}

/// What a thread does.
type Life = Box<dyn FnOnce() + Send>;

/// By the C library, because the standard library cannot set what the thread begins with.
#[cfg(target_env = "gnu")]
fn spawn_plain(name: &str, life: Life) -> io::Result<()> {
    extern "C" fn begin(life: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: made by `Box::into_raw` below, for this call.
        let life = unsafe { Box::from_raw(life.cast::<Life>()) };
        // No panic may leave this function. There is nobody to tell.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
        std::ptr::null_mut()
    }
    let result = |rc| match rc {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    };
    let life = Box::into_raw(Box::new(life));
    // SAFETY: the attributes are initialised before they are used and destroyed once; the sets and
    // parameters are valid; the thread owns `life` if it was made.
    let made = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        result(libc::pthread_attr_init(&mut attributes)).and_then(|()| {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
            let normal: libc::sched_param = std::mem::zeroed();
            let at = &mut attributes;
            libc::pthread_attr_setstacksize(at, STACK);
            libc::pthread_attr_setdetachstate(at, libc::PTHREAD_CREATE_DETACHED);
            libc::pthread_attr_setinheritsched(at, libc::PTHREAD_EXPLICIT_SCHED);
            libc::pthread_attr_setschedpolicy(at, libc::SCHED_OTHER);
            libc::pthread_attr_setschedparam(at, &normal);
            libc::pthread_attr_setaffinity_np(at, size_of::<libc::cpu_set_t>(), &all);
            let mut thread: libc::pthread_t = 0;
            let made = result(libc::pthread_create(&mut thread, at, begin, life.cast()));
            libc::pthread_attr_destroy(at);
            if made.is_ok() {
                if let Ok(name) = std::ffi::CString::new(name) {
                    libc::pthread_setname_np(thread, name.as_ptr());
                }
            }
            made
        })
    };
    if made.is_err() {
        // SAFETY: no thread was made, so it is still this function's.
        drop(unsafe { Box::from_raw(life) });
    }
    made
}

#[cfg(not(target_env = "gnu"))]
fn spawn_plain(name: &str, life: Life) -> io::Result<()> {
    let builder = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK);
    builder.spawn(life).map(drop)
}

/// The stack of a thread of the library.
const STACK: usize = 256 << 10;
