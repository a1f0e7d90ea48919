//! Shared memory by itself: a file of fixed size, mapped.
//!
//! It knows nothing of queues. Who creates it writes, who opens it reads; a handle does one of the
//! two for life.

use crate::error::{Error, Result};
use crate::memory;
use crate::name::Paths;
use crate::sys::{self, Lock, LockFile};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;

#[cfg(not(ipcq_words))]
type Map = MmapRaw;
#[cfg(ipcq_words)]
type Map = std::sync::Arc<MmapRaw>;

/// A mapped file.
pub(crate) struct Region {
    map: Map,
    file: File,
    writable: bool,
}

impl Region {
    /// Makes a file at a path that must be free, with its space reserved, and maps it to write.
    pub(crate) fn create(path: &Path, size: u64, mode: u32) -> Result<Region> {
        let file = sys::create_reserved(path, size, mode)?;
        let region = Region::map(file, path, size, true).inspect_err(|_| {
            let _ = sys::remove(path);
        })?;
        region.fetch_page_tables();
        Ok(region)
    }

    /// Opens and maps a regular file as long as it is.
    pub(crate) fn open(path: &Path, write: bool) -> Result<Region> {
        let shown = path.display();
        let tried = || format!("cannot open {shown}");
        let file = sys::open(path, write).map_err(|e| Error::from_io(&e, tried()))?;
        let meta = file.metadata().map_err(|e| Error::from_io(&e, tried()))?;
        if !meta.is_file() {
            return Err(Error::Damaged(
                format!("{shown}: not a regular file").into(),
            ));
        }
        if meta.len() == 0 {
            return Err(Error::Damaged(format!("{shown}: the file is empty").into()));
        }
        Region::map(file, path, meta.len(), write)
    }

    fn map(file: File, path: &Path, size: u64, writable: bool) -> Result<Region> {
        let mut options = MmapOptions::new();
        let map = match usize::try_from(size) {
            Ok(size) => {
                options.len(size);
                match writable {
                    true => options.map_raw(&file),
                    false => options.map_raw_read_only(&file),
                }
            }
            Err(_) => Err(std::io::Error::from_raw_os_error(libc::ENOMEM)),
        };
        #[cfg(ipcq_words)]
        let map = crate::one_mapping::share(&file, writable, || map);
        let shown = path.display();
        let map = map
            .map_err(|e| Error::from_io(&e, format_args!("cannot map {size} bytes of {shown}")))?;
        Ok(Region {
            map,
            file,
            writable,
        })
    }

    /// Has the kernel make the page tables of all of it now: a fault in each page of the first lap made
    /// a push of 64 bytes take 50 ns instead of 8. Where that fails, they come as they are needed.
    ///
    /// Only of a file that was checked and has its space reserved: this takes memory for every hole,
    /// for minutes perhaps.
    pub(crate) fn fetch_page_tables(&self) {
        let _ = self.map.advise(Advice::PopulateRead);
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }
}

/// Takes the lock that makes the caller the one writer of a name, by its lock file.
///
/// `busy` says in words what it means that another holds it.
pub(crate) fn lock_writer(paths: &Paths, byte: u64, busy: &str) -> Result<LockFile> {
    let shown = paths.lock.display();
    loop {
        let file = sys::open_or_create(&paths.lock, 0o600)
            .map_err(|e| Error::from_io(&e, format_args!("cannot open {shown}")))?;
        let lock = LockFile::new(file);
        let locked = sys::try_lock(lock.file(), Lock::Exclusive, byte)
            .map_err(|e| Error::from_io(&e, format_args!("cannot lock {shown}")))?;
        if !locked {
            return Err(Error::ProducerExists(
                format!("{}: {busy}", paths.shown()).into(),
            ));
        }
        // Between the open and the lock, the one who held it may have removed the file.
        if sys::still_named(lock.file(), &paths.lock) {
            return Ok(lock);
        }
    }
}

/// When a writer ends whose name was unlinked, nobody else will remove its lock file.
pub(crate) fn remove_orphaned_lock(lock: &LockFile, paths: &Paths) {
    let gone = |path: &Path| !path.exists();
    if lock.is_own() && gone(&paths.data) && sys::still_named(lock.file(), &paths.lock) {
        let _ = sys::remove(&paths.lock);
    }
}

/// Refuses to write a file of somebody else's: its owner could truncate it under the mapping,
/// which is a SIGBUS.
pub(crate) fn check_owner(region: &Region, paths: &Paths) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let shown = paths.shown();
    let meta = region
        .file()
        .metadata()
        .map_err(|e| Error::from_io(&e, format_args!("cannot stat {shown}")))?;
    let (owner, me) = (meta.uid(), sys::effective_uid());
    if owner == me {
        return Ok(());
    }
    Err(Error::PermissionDenied(
        format!("{shown}: it belongs to user {owner}, this process is user {me}: only its owner may write it").into(),
    ))
}

/// Memory that processes of one host share: one writes, any number read.
///
/// A name without `/` is the file `/dev/shm/ipcq.NAME` (`$IPCQ_DIR/ipcq.NAME` where that variable
/// is set), any other is a path. The content is bytes and nothing else, zero at first: what they
/// mean, and when they are whole, is for its users to agree on. The queue of this crate is one such
/// agreement.
///
/// A handle is used by one thread at a time and may move between threads.
pub struct SharedMem {
    region: Region,
    paths: Paths,
    /// Held for as long as the writer lives.
    writer: Option<LockFile>,
}

impl Drop for SharedMem {
    fn drop(&mut self) {
        if let Some(lock) = &self.writer {
            remove_orphaned_lock(lock, &self.paths);
        }
    }
}

impl std::fmt::Debug for SharedMem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedMem")
            .field("file", &self.paths.data)
            .field("size", &self.size())
            .field("writable", &self.is_writable())
            .finish()
    }
}

impl SharedMem {
    /// Creates `size` bytes (1 or more) to write, with their space reserved, so that a full file
    /// system is an error here and never a signal later. `permissions` are the mode bits of the
    /// file, set exactly; 0 stands for 0600.
    ///
    /// If it exists with this size, its content is kept: so a writer that was killed goes on.
    ///
    /// # Errors
    /// [`Error::ProducerExists`] if another writer lives, [`Error::Geometry`] if it exists with
    /// another size, [`Error::NoSpace`], [`Error::PermissionDenied`], [`Error::Invalid`].
    pub fn create(name: impl AsRef<OsStr>, size: usize, permissions: u32) -> Result<SharedMem> {
        let paths = Paths::of(name.as_ref())?;
        let shown = paths.shown().to_string();
        if size == 0 || i64::try_from(size).is_err() {
            return Err(Error::Invalid(
                format!("{shown}: a size of {size} bytes").into(),
            ));
        }
        let writer = lock_writer(&paths, 0, "another live process writes it")?;
        let region = SharedMem::make(&paths, size, permissions)
            .inspect_err(|_| remove_orphaned_lock(&writer, &paths))?;
        Ok(SharedMem {
            region,
            paths,
            writer: Some(writer),
        })
    }

    /// The part of `create` that is done under the lock.
    fn make(paths: &Paths, size: usize, permissions: u32) -> Result<Region> {
        let shown = paths.shown();
        Ok(match Region::open(&paths.data, true) {
            Ok(region) => {
                check_owner(&region, paths)?;
                if region.len() != size {
                    return Err(Error::Geometry(
                        format!(
                            "{shown}: it exists with {} bytes, {size} were asked for: \
                             unlink it first, or take its size",
                            region.len()
                        )
                        .into(),
                    ));
                }
                region
            }
            Err(Error::NotFound(_)) => {
                let mode = if permissions == 0 { 0o600 } else { permissions };
                let fail = |e| Error::from_io(&e, format_args!("cannot create {shown}"));
                sys::remove(&paths.new_data).map_err(fail)?;
                let region = Region::create(&paths.new_data, size as u64, mode)?;
                if let Err(e) = sys::rename(&paths.new_data, &paths.data) {
                    let _ = sys::remove(&paths.new_data);
                    return Err(fail(e));
                }
                region
            }
            Err(e) => return Err(e),
        })
    }

    /// Opens it to read; the memory is mapped read-only.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`], [`Error::Damaged`] if it is no regular
    /// file.
    pub fn open(name: impl AsRef<OsStr>) -> Result<SharedMem> {
        let paths = Paths::of(name.as_ref())?;
        let region = Region::open(&paths.data, false)?;
        Ok(SharedMem {
            region,
            paths,
            writer: None,
        })
    }

    /// Removes the name. Handles go on with the memory until they are dropped.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none, [`Error::PermissionDenied`].
    pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
        unlink(&Paths::of(name.as_ref())?)
    }

    /// Removes the name of this memory, wherever the process has gone since it was opened.
    ///
    /// # Errors
    /// As [`SharedMem::unlink`].
    pub fn unlink_own(&self) -> Result<()> {
        unlink(&self.paths)
    }

    /// The file, as an absolute path that was resolved when it was opened.
    pub fn path(&self) -> &Path {
        &self.paths.data
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.region.len()
    }

    /// Whether this handle writes.
    pub fn is_writable(&self) -> bool {
        self.region.is_writable()
    }

    /// The first byte. Whoever goes through this pointer sees to it that nothing races.
    pub fn as_ptr(&self) -> *const u8 {
        self.region.base()
    }

    /// The first byte, to write; `None` for a reader.
    pub fn as_mut_ptr(&mut self) -> Option<*mut u8> {
        self.is_writable().then(|| self.region.base())
    }

    /// Copies `data` to `offset`. Readers may see any part of it at any time.
    ///
    /// # Errors
    /// [`Error::WrongRole`] through a reader, [`Error::OutOfRange`] beyond the end; nothing is
    /// written then.
    pub fn write(&mut self, offset: usize, data: &[u8]) -> Result<()> {
        // SAFETY: a slice is readable.
        unsafe { self.write_raw(offset, data.as_ptr(), data.len()) }
    }

    /// Copies from `offset` into `buffer`, all of it.
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
                    "{}: opened to read; only the process that creates it writes",
                    self.paths.shown()
                )
                .into(),
            ));
        }
        self.check(offset, length)?;
        // SAFETY: in bounds, and mapped to write.
        unsafe { memory::copy_to_shared(self.region.base().add(offset), from, length) };
        Ok(())
    }

    /// As [`SharedMem::read`], to a pointer.
    ///
    /// # Safety
    /// `to` is writable for `length` bytes.
    pub unsafe fn read_raw(&self, offset: usize, to: *mut u8, length: usize) -> Result<()> {
        self.check(offset, length)?;
        // SAFETY: in bounds.
        unsafe { memory::copy_from_shared(to, self.region.base().add(offset), length) };
        Ok(())
    }

    fn check(&self, offset: usize, length: usize) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(Error::OutOfRange(
                format!(
                    "{}: {length} bytes at {offset}, but it has {}",
                    self.paths.shown(),
                    self.size()
                )
                .into(),
            )),
        }
    }
}

/// Removes all files of a name, the lock file only where no live writer holds it.
pub(crate) fn unlink(paths: &Paths) -> Result<()> {
    let fail = |e| Error::from_io(&e, format_args!("cannot remove {}", paths.shown()));
    let lock = match sys::open(&paths.lock, true).map(LockFile::new) {
        Ok(lock) if sys::try_lock(lock.file(), Lock::Exclusive, 0).unwrap_or(false) => Some(lock),
        _ => None,
    };
    let mut found = false;
    for path in [&paths.control, &paths.data] {
        found |= sys::remove(path).map_err(fail)?;
    }
    // While a writer lives it keeps its lock file, or a second one could come beside it; it
    // removes the file when it ends (`remove_orphaned_lock`).
    if lock.is_some_and(|lock| sys::still_named(lock.file(), &paths.lock)) {
        for path in [&paths.new_data, &paths.new_control, &paths.lock] {
            found |= sys::remove(path).map_err(fail)?;
        }
    }
    if found {
        return Ok(());
    }
    Err(Error::NotFound(
        format!("{}: there is no such file", paths.shown()).into(),
    ))
}
