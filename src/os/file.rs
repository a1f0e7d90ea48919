//! Open files that are known again.

use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt};

/// A descriptor that is known again: a program may close all of its descriptors (daemons do), and
/// open others, which then have the same numbers. What is not this file any more is neither used
/// nor closed.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(super) file: ManuallyDrop<File>,
    pub(super) identity: Identity,
}

impl OpenFile {
    pub(crate) fn new(file: File) -> OpenFile {
        // It cannot fail for an open file. (If it did, the file would be taken for a stranger's.)
        let identity = file.metadata().map_or(NOTHING, |meta| identity(&meta));
        OpenFile {
            file: ManuallyDrop::new(file),
            identity,
        }
    }

    /// The file; `EBADF` if something else has closed its descriptor.
    pub(crate) fn get(&self) -> io::Result<&File> {
        match self.file.metadata() {
            Ok(meta) if identity(&meta) == self.identity => Ok(&self.file),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EBADF)),
            Err(e) => Err(e),
        }
    }

    /// Another opening of the same file, to write, for locks of its own. It works for a file that
    /// has lost its name, too.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let fd = self.get()?.as_raw_fd();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{fd}"))?;
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
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// What tells one file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// That of no file.
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
/// number has come to stand for something else. It does only what is allowed in a forked child of a
/// threaded process.
pub(crate) fn close_if_same(fd: RawFd, identity: Identity) {
    drop(own_if_same(fd, identity));
}

/// The file of a descriptor, unless its number has come to stand for something else.
pub(super) fn own_if_same(fd: RawFd, identity: Identity) -> Option<File> {
    // SAFETY: a number. If it is not that of a descriptor any more, or of another file, the `File` is
    // forgotten.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    match file.metadata() {
        Ok(meta) if self::identity(&meta) == identity => Some(ManuallyDrop::into_inner(file)),
        _ => None,
    }
}

/// Reads from an offset until the buffer is full or the file ends. How many bytes there were.
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
