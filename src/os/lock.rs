//! Locks on bytes of files.

use crate::steps::step;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// The two kinds of file lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

fn flock(kind: libc::c_int, byte: u64) -> libc::flock {
    // SAFETY: `flock` is a plain struct of integers, and zero is valid for each.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = kind as libc::c_short;
    l.l_whence = libc::SEEK_SET as libc::c_short;
    l.l_start = byte as libc::off_t;
    l.l_len = 1;
    l
}

fn lock_kind(kind: Lock) -> libc::c_int {
    match kind {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    }
}

fn lock_call(file: &File, command: libc::c_int, l: &mut libc::flock) -> io::Result<()> {
    // SAFETY: `l` is a valid flock during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, l) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // The kernel does not support the command, or a sandbox forbids it.
            e if e.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel or sandbox has no open file description locks (Linux 3.15)",
            )),
            e => Err(e),
        },
    }
}

/// Tries to take an open-file-description lock on one byte. `false` if another holder prevents it.
///
/// The kernel drops the lock when the last reference to this open file description ends, so
/// whenever the process dies. Unlike a POSIX lock, it is not dropped earlier.
pub(crate) fn try_lock(file: &File, kind: Lock, byte: u64) -> io::Result<bool> {
    step();
    match lock_call(file, libc::F_OFD_SETLK, &mut flock(lock_kind(kind), byte)) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Drops all locks of this open file description.
pub(super) fn unlock_all(file: &File) {
    step();
    let mut l = flock(libc::F_UNLCK, 0);
    // Zero means up to the end of the file.
    l.l_len = 0;
    // This cannot fail for an open file.
    let _ = lock_call(file, libc::F_OFD_SETLK, &mut l);
}

/// Whether another holder has a lock of this kind, or a stronger one, on the byte. The query needs
/// no write permission. An exclusive lock does, so a reader cannot fake one.
pub(crate) fn is_locked(file: &File, kind: Lock, byte: u64) -> io::Result<bool> {
    // Only an exclusive lock conflicts with a shared one.
    let mut l = flock(
        lock_kind(match kind {
            Lock::Exclusive => Lock::Shared,
            Lock::Shared => Lock::Exclusive,
        }),
        byte,
    );
    lock_call(file, libc::F_OFD_GETLK, &mut l)?;
    Ok(l.l_type != libc::F_UNLCK as libc::c_short)
}
