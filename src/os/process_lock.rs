//! Locks that stand for one process, and not for its children.

use super::file::OpenFile;
use super::file_system::{file_system, KEEPS_OPENING};
use super::fork::{fork_generation, own, watch_forks, Own};
use super::lock::unlock_all;
use crate::steps::step;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::time::Duration;

/// An open file that exists for the locks on it, which stand for this process alone: a forked
/// child gives it up at its birth.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: ManuallyDrop<OpenFile>,
    generation: u32,
}

impl LockFile {
    /// Opens the file by `open`, and anything that comes with it. No fork can come between the
    /// opening and the listing of the descriptor: a child would keep the locks.
    pub(crate) fn open<T, E>(
        open: impl FnOnce() -> std::result::Result<(File, T), E>,
    ) -> std::result::Result<(LockFile, T), E> {
        watch_forks();
        let mut own = own();
        let (file, more) = open()?;
        Ok((LockFile::list(file, &mut own), more))
    }

    fn list(file: File, own: &mut Own) -> LockFile {
        let file = OpenFile::new(file);
        own.locks.push((file.file.as_raw_fd(), file.identity));
        LockFile {
            file: ManuallyDrop::new(file),
            generation: fork_generation(),
        }
    }

    /// The file. It is only used during the call that opened it, and nothing closes a descriptor
    /// behind the back of a call.
    pub(crate) fn file(&self) -> &File {
        &self.file.file
    }

    /// Whether the lock is this process's, and not that of the one it was forked from.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

/// Maps a page of a file that nobody can access, for the reference to the opening that comes with it.
/// No child inherits the mapping. `None` where that does not keep the opening.
fn pin(file: &File) -> Option<NonNull<libc::c_void>> {
    if !KEEPS_OPENING.contains(&file_system(file)?) {
        return None;
    }
    // SAFETY: a new mapping, of memory that is never accessed.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PIN,
            libc::PROT_NONE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping that was just made.
    if unsafe { libc::madvise(at, PIN, libc::MADV_DONTFORK) } != 0 {
        // SAFETY: as above, and nothing uses it.
        unsafe { libc::munmap(at, PIN) };
        return None;
    }
    NonNull::new(at)
}

/// Bytes of a mapping that pins an opening. The kernel makes whole pages of it.
const PIN: usize = 4096;

impl Drop for LockFile {
    fn drop(&mut self) {
        let mut own = own();
        if !self.is_own() {
            return;
        }
        let fd = self.file().as_raw_fd();
        own.locks.retain(|&(listed, _)| listed != fd);
        // A process that another thread is just starting shares the opening until its `exec`, and
        // `posix_spawn` calls no handler: closing alone would leave the locks to it.
        if let Ok(file) = self.file.get() {
            unlock_all(file);
        }
        // SAFETY: dropped here and nowhere else; the child's handler has not closed it, for this is
        // not a child.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// How long a lock may outlive its end: a process that another thread was just starting, by
/// `posix_spawn`, has all openings until its `exec`.
#[cfg(not(feature = "steps"))]
pub(crate) const RESIDUE: Duration = Duration::from_millis(100);
/// Shorter where a test stops other processes at each step.
#[cfg(feature = "steps")]
pub(crate) const RESIDUE: Duration = Duration::from_millis(2);

/// Locks that stand for this process, for as long as a handle lives.
///
/// They are kept without a descriptor if possible. A program that closes all of its descriptors
/// would drop them otherwise, and a child that was made without the fork handlers (by a bare
/// `clone`) would keep them.
#[derive(Debug)]
pub(crate) struct HeldLock {
    way: Way,
    generation: u32,
}

#[derive(Debug)]
enum Way {
    /// A mapping that keeps the opening.
    Mapping(NonNull<libc::c_void>),
    Descriptor(#[allow(dead_code)] LockFile), // for its drop
}

// SAFETY: the pointer leads to a mapping that is never accessed.
unsafe impl Send for HeldLock {}
// SAFETY: as above.
unsafe impl Sync for HeldLock {}

impl HeldLock {
    /// Opens a file by `open`, with anything that comes with it, and takes its locks by `lock`, which
    /// says whether it could. `None` if it could not.
    ///
    /// No fork comes in between, so no child ever has a descriptor of this opening, which would keep
    /// the locks until the child has closed it. Neither function may take or drop a lock of this kind.
    pub(crate) fn take<T, E>(
        open: impl FnOnce() -> std::result::Result<(File, T), E>,
        lock: impl FnOnce(&File, &T) -> std::result::Result<bool, E>,
    ) -> std::result::Result<Option<(HeldLock, T)>, E> {
        watch_forks();
        let mut own = own();
        let (file, more) = open()?;
        if !lock(&file, &more)? {
            return Ok(None);
        }
        let generation = fork_generation();
        let way = match pin(&file) {
            // The descriptor is closed.
            Some(mapping) => Way::Mapping(mapping),
            None => Way::Descriptor(LockFile::list(file, &mut own)),
        };
        Ok(Some((HeldLock { way, generation }, more)))
    }

    /// Whether the lock is this process's, and not that of the one it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let (Way::Mapping(at), true) = (&self.way, self.is_own()) {
            step();
            // SAFETY: the mapping that was made for this, in this process, and that nothing uses.
            unsafe { libc::munmap(at.as_ptr(), PIN) };
        }
    }
}
