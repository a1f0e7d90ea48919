//! Open files whose identity is checked before use.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// A descriptor whose identity is checked before each use. A program may close all of its
/// descriptors, as daemons do, and open others with the same numbers. A descriptor that has become
/// another file is neither used nor closed.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(super) file: ManuallyDrop<File>,
    pub(super) identity: Identity,
}

impl OpenFile {
    pub(crate) fn new(file: File) -> OpenFile {
        // This cannot fail for an open file. If it did, the file would count as replaced.
        let identity = file.metadata().map_or(NOTHING, |meta| identity(&meta));
        OpenFile {
            file: ManuallyDrop::new(file),
            identity,
        }
    }

    /// The file, or `EBADF` if other code has closed its descriptor.
    pub(crate) fn get(&self) -> io::Result<&File> {
        match self.file.metadata() {
            Ok(meta) if identity(&meta) == self.identity => Ok(&self.file),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EBADF)),
            Err(e) => Err(e),
        }
    }

    /// Opens the same file again for writing, so that the new description can hold locks of its
    /// own. This also works after the file has been unlinked.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let fd = self.get()?.as_raw_fd();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{fd}"))?;
        // SAFETY: nothing else owns the descriptor of the file, which gives it up here.
        let file = unsafe { owned(file.into_raw_fd()) }?;
        match identity(&file.metadata()?) == self.identity {
            true => Ok(file),
            false => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.get().is_ok() {
            // SAFETY: dropped only here.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// A file that owns a new descriptor above those of standard input, output and error.
///
/// A program that has closed one of these still writes to its number, in an error message for
/// example. The message would end up in a file of a queue if the file had that number.
///
/// # Safety
/// `fd` is a new descriptor that nothing else owns, or -1 with `errno` set.
pub(crate) unsafe fn owned(fd: RawFd) -> io::Result<File> {
    match above_standard(fd) {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: as promised by the caller.
        fd => Ok(unsafe { File::from_raw_fd(fd) }),
    }
}

/// Moves a new descriptor above those of standard input, output and error. Returns -1 with `errno`
/// set if that fails, and if `fd` is -1. May run in the child of a multithreaded process.
pub(crate) fn above_standard(fd: RawFd) -> RawFd {
    if fd < 0 || fd > libc::STDERR_FILENO {
        return fd;
    }
    // SAFETY: the calls take no pointers, and the descriptor is the caller's.
    unsafe {
        let moved = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1);
        let errno = *libc::__errno_location();
        libc::close(fd);
        *libc::__errno_location() = errno;
        moved
    }
}

/// Identifies a file among all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// The identity of no file.
const NOTHING: Identity = Identity {
    device: u64::MAX,
    inode: u64::MAX,
};

pub(crate) fn identity(meta: &Metadata) -> Identity {
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
    }
}

/// Closes a descriptor of this library by its number, unless the program has closed it and the
/// number now refers to another file. The function is safe to call in the child of a multithreaded
/// process after `fork`.
pub(crate) fn close_if_same(fd: RawFd, identity: Identity) {
    drop(own_if_same(fd, identity));
}

/// Takes the file of a descriptor, unless the number now refers to another file.
pub(super) fn own_if_same(fd: RawFd, identity: Identity) -> Option<File> {
    // SAFETY: the `File` is forgotten if the number is not open or refers to another file.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    match file.metadata() {
        Ok(meta) if self::identity(&meta) == identity => Some(ManuallyDrop::into_inner(file)),
        _ => None,
    }
}

/// Reads from an offset until the buffer is full or the file ends. Returns the number of bytes.
pub(crate) fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + length as u64) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(length)
}
