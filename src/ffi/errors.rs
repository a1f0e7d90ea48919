//! The texts of errors.

use super::support::last_message;
use std::ffi::{c_char, c_int};

/// This thread's last error in words: which file, what failed, what to do. Valid until the next
/// error.
#[no_mangle]
pub extern "C" fn ipcq_errmsg() -> *const c_char {
    last_message()
}

/// A short text for a return value.
#[no_mangle]
pub extern "C" fn ipcq_strerror(rc: c_int) -> *const c_char {
    match rc.wrapping_neg() {
        ..=0 => c"no error",
        libc::ENOENT => c"no such queue",
        libc::EEXIST => c"the queue exists",
        libc::EACCES => c"permission denied",
        libc::EBUSY => c"another live producer holds the queue",
        libc::EBADF => c"the handle has another role",
        libc::EINVAL => c"invalid argument, or another geometry",
        libc::EMSGSIZE => c"wrong message or buffer size",
        libc::EAGAIN => c"no message, or no room",
        libc::ETIMEDOUT => c"timed out",
        libc::EPIPE => c"closed by the producer and drained",
        libc::ESTALE => c"overwritten while peeked at, or the queue was replaced",
        libc::EBADMSG => c"not a queue, or damaged",
        libc::EPROTONOSUPPORT => c"another layout version",
        libc::EPROTOTYPE => c"another record schema",
        libc::EUSERS => c"too many consumers",
        libc::ENOSPC => c"no space on the file system",
        libc::E2BIG => c"options of a newer version",
        libc::ERANGE => c"beyond the end of the shared memory",
        libc::EINTR => c"interrupted by a signal",
        libc::ENOTRECOVERABLE => c"internal error",
        _ => c"error of the operating system: see strerror(-rc)",
    }
    .as_ptr()
}
