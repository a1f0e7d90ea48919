//! A descriptor to poll.

use super::file::{Identity, OpenFile};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// A descriptor that is readable from [`Event::signal`] to [`Event::drain`].
///
/// It is a pipe with both ends in one descriptor. All eventfds have the same inode, as have epoll
/// instances and timers, so an eventfd could not be told from what a program opens later.
pub(crate) struct Event(OpenFile);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), flags) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new descriptors that nobody else owns.
        let ends = ends.map(|fd| unsafe { File::from_raw_fd(fd) });
        // It needs one page only. The default counts against a limit of the user.
        // SAFETY: an open descriptor. If it fails, the pipe is larger.
        unsafe { libc::fcntl(ends[0].as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        let both = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", ends[0].as_raw_fd()));
        match both {
            Ok(file) => Ok(Event(OpenFile::new(file))),
            // Without /proc, an eventfd is better than nothing.
            // SAFETY: takes no pointers.
            Err(_) => match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: a new descriptor that nobody else owns.
                fd => Ok(Event(OpenFile::new(unsafe { File::from_raw_fd(fd) }))),
            },
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // A descriptor that is a stranger's by now is left alone.
        if let Ok(file) = self.0.get() {
            // SAFETY: eight bytes are readable. It only fails if it is readable already.
            unsafe { libc::write(file.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Makes it unreadable.
    pub(crate) fn drain(&self) {
        let mut bytes = [0u8; 64];
        if let Ok(file) = self.0.get() {
            // A pipe keeps what every signal has written.
            // SAFETY: the bytes are writable. It only fails if it is not readable.
            while unsafe { libc::read(file.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) }
                == bytes.len() as isize
            {}
        }
    }
}
