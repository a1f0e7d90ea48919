//! Shared memory on its own: a mapped file of fixed size.
//!
//! This module does not depend on queues. The process that creates the memory writes it, and any
//! process that opens it reads it. A handle keeps its role until it is dropped.

mod names_lock;
mod unlink;

pub(crate) use names_lock::{NamesLock, Writer};
pub(crate) use unlink::{check_ours, find_other, unlink};

use crate::copy;
use crate::error::{Error, Result};
use crate::format::data_file::is_queue;
use crate::format::names::Paths;
use crate::format::new_file::NewFile;
use crate::os::dir::check_owner;
use crate::os::{self, NoCancel, Region};
use std::ffi::OsStr;
use std::path::Path;

/// Memory shared by processes of one host. One process writes and any number read.
///
/// A name without `/` is the file `/dev/shm/ipcq.NAME` (`$IPCQ_DIR/ipcq.NAME` if that variable is
/// set), and any other name is a path. The content is plain bytes, initially zero. The programs
/// that use it must agree on its meaning and on how readers recognise a complete value. The queue
/// of this crate is one such protocol.
///
/// A handle may be used by one thread at a time and may move between threads.
pub struct SharedMem {
    region: Region,
    paths: Paths,
    /// The writer lock. `None` for a reader.
    writer: Option<Writer>,
}

impl Drop for SharedMem {
    fn drop(&mut self) {
        let _no = NoCancel::new();
        if let Some(writer) = &mut self.writer {
            writer.end(&self.paths, &self.region);
        }
    }
}

impl std::fmt::Debug for SharedMem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMem")
            .field("file", &self.paths.path)
            .field("size", &self.size())
            .field("writable", &self.is_writable())
            .finish()
    }
}

impl SharedMem {
    /// Creates `size` bytes (1 or more) for writing. Their space is reserved, so a full file system
    /// is an error here and never a signal later. `permissions` are the exact mode bits of the
    /// file. 0 stands for 0600.
    ///
    /// If the memory exists with this size, its content is kept, so a writer that was killed can
    /// continue.
    ///
    /// # Errors
    /// [`Error::ProducerExists`] if another writer is alive, [`Error::Geometry`] if the memory
    /// exists with another size, [`Error::NoSpace`], [`Error::PermissionDenied`],
    /// [`Error::Invalid`].
    pub fn create(name: impl AsRef<OsStr>, size: usize, permissions: u32) -> Result<SharedMem> {
        let _no = NoCancel::new();
        let paths = Paths::of(name.as_ref())?;
        if size == 0 || i64::try_from(size).is_err() {
            return Err(Error::Invalid(
                format!("{}: a size of {size} bytes is not supported", paths.shown()).into(),
            ));
        }
        if permissions != 0 && (permissions & 0o600 != 0o600 || permissions > 0o777) {
            return Err(Error::Invalid(
                format!(
                    "{}: permissions 0{permissions:o}: use mode bits up to 0777 that include 0600 \
                     for the writer",
                    paths.shown()
                )
                .into(),
            ));
        }
        let names = NamesLock::take(&paths, true, None)?;
        let names = names.ok_or_else(|| Error::Internal("no lock file".into()))?;
        let made = names
            .writer(
                &paths,
                || true,
                || "another live process writes this shared memory".into(),
            )
            .and_then(|writer| Ok((SharedMem::make(&paths, size, permissions)?, writer)));
        let (region, writer) = made.inspect_err(|_| names.undo(&paths))?;
        drop(names);
        Ok(SharedMem {
            region,
            paths,
            writer: Some(writer),
        })
    }

    /// The part of `create` that runs under the lock.
    fn make(paths: &Paths, size: usize, permissions: u32) -> Result<Region> {
        let shown = paths.shown();
        match paths.dir.open_file(&paths.data, true) {
            Ok((file, meta)) => {
                check_owner(&meta, &shown)?;
                paths.dir.check_one_name(&paths.data, &file)?;
                if is_queue(&file) {
                    return Err(Error::Geometry(
                        format!("{shown}: it is a queue: choose another name").into(),
                    ));
                }
                if meta.len() != size as u64 {
                    return Err(Error::Geometry(
                        format!(
                            "{shown}: it exists with {} bytes, but {size} were requested: unlink \
                             it first, or request its size",
                            meta.len()
                        )
                        .into(),
                    ));
                }
                os::check_file_system(&file, &shown)?;
                os::fill_holes(&file, &shown)?;
                Region::map(file, &shown, meta.len(), true)
            }
            Err(Error::NotFound(_)) => {
                let mode = if permissions == 0 { 0o600 } else { permissions };
                let mut new = NewFile::create(paths, &paths.new_data, size as u64, mode)?;
                new.publish(&paths.data)?;
                Ok(new.region)
            }
            Err(e) => Err(e),
        }
    }

    /// Opens the memory for reading. It is mapped read-only.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`], [`Error::Damaged`] if it is not a regular
    /// file.
    pub fn open(name: impl AsRef<OsStr>) -> Result<SharedMem> {
        let _no = NoCancel::new();
        let paths = Paths::of(name.as_ref())?;
        let region = Region::open(&paths.dir, &paths.data, false)?;
        Ok(SharedMem {
            region,
            paths,
            writer: None,
        })
    }

    /// Removes the name. Existing handles keep the memory until they are dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`] if the name does not exist, [`Error::PermissionDenied`].
    pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
        unlink(&Paths::of(name.as_ref())?, None)
    }

    /// Removes the name of this memory, even if the process has changed its directory or root since
    /// the open.
    ///
    /// # Errors
    /// As [`SharedMem::unlink`].
    pub fn unlink_own(&self) -> Result<()> {
        unlink(&self.paths, None)
    }

    /// The absolute path of the file, resolved when it was opened.
    pub fn path(&self) -> &Path {
        &self.paths.path
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.region.len()
    }

    /// Whether this handle writes.
    pub fn is_writable(&self) -> bool {
        self.region.is_writable()
    }

    /// A pointer to the first byte. The caller must prevent data races.
    pub fn as_ptr(&self) -> *const u8 {
        self.region.base()
    }

    /// A pointer to the first byte for writing. `None` for a reader.
    pub fn as_mut_ptr(&mut self) -> Option<*mut u8> {
        self.is_writable().then(|| self.region.base())
    }

    /// Copies `data` to `offset`. A reader may see any part of it at any time.
    ///
    /// # Errors
    /// [`Error::WrongRole`] for a reader, [`Error::OutOfRange`] beyond the end. In both cases
    /// nothing is written.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.write_raw(offset, data.as_ptr(), data.len()) }
    }

    /// Fills `buffer` from `offset`.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] beyond the end.
    pub fn read(&self, offset: usize, buffer: &mut [u8]) -> Result<()> {
        // SAFETY: a mutable slice is writable.
        unsafe { self.read_raw(offset, buffer.as_mut_ptr(), buffer.len()) }
    }

    /// As [`SharedMem::write`], from a pointer.
    ///
    /// # Safety
    /// `from` is readable for `length` bytes.
    pub unsafe fn write_raw(
        &mut self,
        offset: usize,
        from: *const u8,
        length: usize,
    ) -> Result<()> {
        if !self.is_writable() {
            return Err(Error::WrongRole(
                format!(
                    "{}: it is open for reading; only the process that created it may write",
                    self.paths.shown()
                )
                .into(),
            ));
        }
        self.check(offset, length)?;
        // SAFETY: the range is in bounds and mapped for writing.
        unsafe { copy::copy_to_shared(self.region.base().add(offset), from, length) };
        Ok(())
    }

    /// As [`SharedMem::read`], to a pointer.
    ///
    /// # Safety
    /// `to` is writable for `length` bytes.
    pub unsafe fn read_raw(&self, offset: usize, to: *mut u8, length: usize) -> Result<()> {
        self.check(offset, length)?;
        // SAFETY: the range is in bounds.
        unsafe { copy::copy_from_shared(to, self.region.base().add(offset), length) };
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(Error::OutOfRange(
                format!(
                    "{}: {length} bytes at offset {offset} exceed its size of {}",
                    self.paths.shown(),
                    self.size()
                )
                .into(),
            )),
        }
    }
}
