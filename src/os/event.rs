//! A descriptor for `poll`.

use super::file::{owned, Identity, OpenFile};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// A descriptor that is readable from [`Event::signal`] to [`Event::drain`].
///
/// It is a pipe with both ends in one descriptor. An eventfd would not do, because all eventfds
/// have the same inode, as do epoll instances and timers. An eventfd could therefore not be
/// distinguished from a descriptor that the program opens later.
pub(crate) struct Event(OpenFile);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let mut ends = [0; 2];
        // SAFETY: `ends` is valid for writes of two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), flags) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptors are new and nothing else owns them.
        let ends = ends.map(|fd| unsafe { File::from_raw_fd(fd) });
        // One page is enough, and the default size counts against a limit of the user.
        // SAFETY: the descriptor is open. If the call fails, the pipe only stays larger.
        unsafe { libc::fcntl(ends[0].as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        let both = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", ends[0].as_raw_fd()));
        match both {
            // SAFETY: nothing else owns the descriptor of the file, which gives it up here.
            Ok(file) => unsafe { owned(file.into_raw_fd()) },
            // Without /proc, fall back to an eventfd.
            // SAFETY: the call takes no pointers, and its descriptor is new.
            Err(_) => unsafe { owned(libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)) },
        }
        .map(|file| Event(OpenFile::new(file)))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // If the program has reused the descriptor for another file, it is left alone.
        if let Ok(file) = self.0.get() {
            // SAFETY: eight bytes are readable. The write fails only if the pipe is full, so
            // readable.
            unsafe { libc::write(file.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Makes the descriptor unreadable.
    pub(crate) fn drain(&self) {
        let mut bytes = [0u8; 64];
        if let Ok(file) = self.0.get() {
            // A pipe keeps the bytes of every signal, so read until it is empty.
            // SAFETY: the buffer is valid for writes. The read fails only if the pipe is empty.
            while unsafe { libc::read(file.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) }
                == bytes.len() as isize
            {}
        }
    }
}
