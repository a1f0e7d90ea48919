//! Background threads of the library.

use std::io;

/// Runs `body` in a new thread. The thread receives no signals of the process. It inherits neither
/// the priority nor the CPU affinity of its creator, because a creator that spins on its own CPU
/// would starve it.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: both sets are valid. A new thread inherits the signal mask of its creator.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = spawn_plain(name, Box::new(body));
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned
    }
}

/// The function that a thread runs.
type Body = Box<dyn FnOnce() + Send>;

/// Uses the C library, because the standard library cannot set these attributes.
#[cfg(target_env = "gnu")]
fn spawn_plain(name: &str, body: Body) -> io::Result<()> {
    extern "C" fn begin(body: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: made by `Box::into_raw` below, for this call.
        let body = unsafe { Box::from_raw(body.cast::<Body>()) };
        // No panic may leave this function, and nothing could receive it.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        std::ptr::null_mut()
    }
    let result = |rc| match rc {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    };
    let body = Box::into_raw(Box::new(body));
    // SAFETY: the attributes are initialised before use and destroyed once. The sets and parameters
    // are valid. If the thread was created, it owns `body`.
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
            let made = result(libc::pthread_create(&mut thread, at, begin, body.cast()));
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
        // SAFETY: no thread was created, so this function still owns `body`.
        drop(unsafe { Box::from_raw(body) });
    }
    made
}

#[cfg(not(target_env = "gnu"))]
fn spawn_plain(name: &str, body: Body) -> io::Result<()> {
    let builder = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK);
    builder.spawn(body).map(drop)
}

/// The stack size of a background thread.
const STACK: usize = 256 << 10;
