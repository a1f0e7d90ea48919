//! Locks that belong to one process and not to its children.

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

/// An open file that only holds locks. The locks belong to this process alone, because a forked
/// child closes the descriptor at once.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: ManuallyDrop<OpenFile>,
    generation: u32,
}

impl LockFile {
    /// Opens the file with `open`, which may return additional data. No fork can occur between the
    /// open and the registration of the descriptor. Otherwise a child would keep the locks.
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

    /// The file. It is only used during the call that opened it, and no other code closes a
    /// descriptor during a call.
    pub(crate) fn file(&self) -> &File {
        &self.file.file
    }

    /// Whether this process opened the file. `false` in a child that inherited it.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

/// Maps one inaccessible page of a file, because the mapping holds a reference to the open file
/// description. Children do not inherit the mapping. `None` if the file system does not keep the
/// description.
fn pin(file: &File) -> Option<NonNull<libc::c_void>> {
    if !KEEPS_OPENING.contains(&file_system(file)?) {
        return None;
    }
    // SAFETY: a new mapping of memory that is never accessed.
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
    // SAFETY: `at` is the new mapping.
    if unsafe { libc::madvise(at, PIN, libc::MADV_DONTFORK) } != 0 {
        // SAFETY: as above. The mapping is not used.
        unsafe { libc::munmap(at, PIN) };
        return None;
    }
    NonNull::new(at)
}

/// The bytes of a mapping that pins an open file description. The kernel rounds it to whole pages.
const PIN: usize = 4096;

impl Drop for LockFile {
    fn drop(&mut self) {
        let mut own = own();
        if !self.is_own() {
            return;
        }
        let fd = self.file().as_raw_fd();
        own.locks.retain(|&(listed, _)| listed != fd);
        // A process that another thread is starting shares the open file description until its
        // `exec`, and `posix_spawn` calls no fork handler. Closing the descriptor alone would leave
        // the locks to that process.
        if let Ok(file) = self.file.get() {
            unlock_all(file);
        }
        // SAFETY: dropped only here. The fork handler has not closed it, because this process is
        // not a child.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// How long a lock may remain after its owner has dropped it. A process that another thread is
/// starting with `posix_spawn` shares all open file descriptions until its `exec`.
#[cfg(not(feature = "steps"))]
pub(crate) const RESIDUE: Duration = Duration::from_millis(100);
/// Shorter in tests that stop other processes at each step.
#[cfg(feature = "steps")]
pub(crate) const RESIDUE: Duration = Duration::from_millis(2);

/// Locks that belong to this process for the lifetime of a handle.
///
/// They are kept without a descriptor if possible. With a descriptor, a program that closes all of
/// its descriptors would drop the locks, and a child made without the fork handlers (by a bare
/// `clone`) would keep them.
#[derive(Debug)]
pub(crate) struct HeldLock {
    way: Way,
    generation: u32,
}

#[derive(Debug)]
enum Way {
    /// A mapping that keeps the open file description.
    Mapping(NonNull<libc::c_void>),
    Descriptor(#[allow(dead_code)] LockFile), // kept for its `Drop`
}

// SAFETY: the pointer refers to a mapping that is never accessed.
unsafe impl Send for HeldLock {}
// SAFETY: as above.
unsafe impl Sync for HeldLock {}

impl HeldLock {
    /// Opens a file with `open`, which may return additional data, and takes its locks with `lock`,
    /// which returns whether it succeeded. `None` if it did not.
    ///
    /// No fork occurs in between, so a child never has a descriptor of this description, which
    /// would keep the locks until the child closed it. Neither function may take or drop a lock of
    /// this kind.
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
            // The descriptor is closed here.
            Some(mapping) => Way::Mapping(mapping),
            None => Way::Descriptor(LockFile::list(file, &mut own)),
        };
        Ok(Some((HeldLock { way, generation }, more)))
    }

    /// Whether this process took the lock. `false` in a child that inherited it.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let (Way::Mapping(at), true) = (&self.way, self.is_own()) {
            step();
            // SAFETY: this process made the mapping for this purpose, and it is not used.
            unsafe { libc::munmap(at.as_ptr(), PIN) };
        }
    }
}
