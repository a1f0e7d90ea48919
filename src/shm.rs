//! Shared memory by itself: a file of fixed size, mapped.
//!
//! It knows nothing of queues. Who creates it writes, who opens it reads; a handle does one of the
//! two for life.

use crate::dir::{check_owner, Shown};
use crate::error::{Error, Result};
use crate::layout::{self, lock_byte};
use crate::log;
use crate::memory;
use crate::name::{Paths, PREFIX};
use crate::sys::{self, HeldLock, Identity, Lock, LockFile, NoCancel, OpenFile};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

#[cfg(not(ipcq_words))]
type Map = MmapRaw;
#[cfg(ipcq_words)]
type Map = std::sync::Arc<MmapRaw>;

/// A mapped file.
pub(crate) struct Region {
    map: Map,
    file: OpenFile,
    writable: bool,
}

/// A file in the making.
pub(crate) struct NewFile<'a> {
    pub region: Region,
    pub name: NewName<'a>,
}

/// What a file in the making is called. The file is removed unless it gets its name.
pub(crate) struct NewName<'a> {
    paths: &'a Paths,
    name: CString,
    done: bool,
}

impl<'a> NewFile<'a> {
    /// Makes a file with its space reserved, and maps it to write. `name` is what it is called until
    /// it is whole. If another user has taken that name, it gets one that nobody can guess.
    pub(crate) fn create(
        paths: &'a Paths,
        name: &CStr,
        size: u64,
        mode: u32,
    ) -> Result<NewFile<'a>> {
        let shown = paths.shown();
        let failed = |e| Error::from_io(&e, format_args!("cannot create {shown}"));
        let dir = &paths.dir;
        let mut name = match dir.remove(name) {
            Ok(_) => name.to_owned(),
            Err(_) => Paths::unguessable(),
        };
        let mut file = dir.create_file(&name, mode & 0o600);
        if matches!(&file, Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists) {
            name = Paths::unguessable();
            file = dir.create_file(&name, mode & 0o600);
        }
        let file = file.map_err(failed)?;
        let name = NewName {
            paths,
            name,
            done: false,
        };
        sys::check_file_system(&file, &shown)?;
        sys::fill_new(&file, &shown, size, mode)?;
        let region = Region::map(file, &shown, size, true)?;
        region.fetch_page_tables();
        Ok(NewFile { region, name })
    }

    /// Gives it its name, in the place of what had that.
    pub(crate) fn publish(&mut self, name: &CStr) -> Result<()> {
        self.name.publish(&self.region, name)
    }
}

impl NewName<'_> {
    pub(crate) fn as_c_str(&self) -> &CStr {
        &self.name
    }

    /// As [`NewFile::publish`].
    pub(crate) fn publish(&mut self, region: &Region, name: &CStr) -> Result<()> {
        let (dir, shown) = (&self.paths.dir, self.paths.dir.shown(name));
        let replaced = || {
            Error::Stale(
                format!("{shown}: another process has replaced or removed the file").into(),
            )
        };
        let failed = |e: std::io::Error| match e.raw_os_error() {
            Some(libc::EISDIR) => Error::Damaged(format!("{shown}: it is a directory").into()),
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENOTEMPTY | libc::EEXIST) => replaced(),
            _ => Error::from_io(&e, format_args!("cannot create {shown}")),
        };
        dir.rename(&self.name, name).map_err(failed)?;
        self.done = true;
        // In a directory that everybody may write, somebody may have moved another file there.
        match region.is_named(self.paths, name) {
            Ok(false) => Err(replaced()),
            _ => Ok(()),
        }
    }

    /// Leaves the file under the name that it has.
    pub(crate) fn keep(&mut self) {
        self.done = true;
    }
}

impl Drop for NewName<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.paths.dir.remove(&self.name);
        }
    }
}

impl Region {
    /// Opens and maps a regular file as long as it is.
    pub(crate) fn open(paths: &Paths, name: &CStr, write: bool) -> Result<Region> {
        Region::open_of(paths, name, write, None)
    }

    /// As [`Region::open`], of a file that belongs to this user. No other is mapped: its owner could
    /// truncate it.
    pub(crate) fn open_of(
        paths: &Paths,
        name: &CStr,
        write: bool,
        owner: Option<u32>,
    ) -> Result<Region> {
        let (file, meta) = paths.dir.open_file(name, write)?;
        let shown = paths.dir.shown(name);
        if owner.is_some_and(|owner| meta.uid() != owner) {
            return Err(Error::Damaged(
                format!("{shown}: it belongs to another user than the queue").into(),
            ));
        }
        if meta.len() == 0 {
            return Err(Error::Damaged(format!("{shown}: the file is empty").into()));
        }
        sys::check_file_system(&file, &shown)?;
        Region::map(file, &shown, meta.len(), write)
    }

    pub(crate) fn map(file: File, shown: &Shown, size: u64, writable: bool) -> Result<Region> {
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
        let failed = |e: std::io::Error| {
            let advice = match e.raw_os_error() {
                Some(libc::EAGAIN) => ": the limit of locked memory is reached (ulimit -l)",
                Some(libc::ENOMEM) => ": there is no address space left (ulimit -v), or no memory",
                _ => "",
            };
            Error::from_io(
                &e,
                format_args!("cannot map {size} bytes of {shown}{advice}"),
            )
        };
        Ok(Region {
            map: map.map_err(failed)?,
            file: OpenFile::new(file),
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

    pub(crate) fn file(&self) -> &OpenFile {
        &self.file
    }

    /// Whether the name still leads to this file; an error if that cannot be found out.
    pub(crate) fn is_named(&self, paths: &Paths, name: &CStr) -> std::io::Result<bool> {
        let file = self.file.get()?;
        // An unlinked file is known without a look at the directory.
        match file.metadata()?.nlink() {
            0 => Ok(false),
            _ => paths.dir.names(name, file),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// The user that the file belongs to.
    pub(crate) fn owner(&self) -> std::io::Result<u32> {
        Ok(self.file.get()?.metadata()?.uid())
    }
}

/// How long a call waits for another process that opens, closes or removes the same name.
#[cfg(not(feature = "steps"))]
const NAMES_PATIENCE: Duration = Duration::from_secs(1);
/// Shorter where a test stops that process at each step.
#[cfg(feature = "steps")]
const NAMES_PATIENCE: Duration = Duration::from_millis(60);

/// The right to make, replace and remove the files of a name. It is held for a part of a call.
pub(crate) struct NamesLock {
    lock: LockFile,
    identity: Identity,
    /// Whether this call has made the lock file.
    made: bool,
    /// The log function may use the same name, so it is called after this.
    _later: log::Later,
}

impl NamesLock {
    /// Takes it. `make`: makes the lock file if there is none; else there is nothing to lock, which
    /// is `None`. `owner`: to whom the lock file may belong, beside this user.
    pub(crate) fn take(paths: &Paths, make: bool, owner: Option<u32>) -> Result<Option<NamesLock>> {
        let (since, later) = (Instant::now(), log::Later::begin());
        let (mut made, mut fresh) = (false, None);
        loop {
            let opened = LockFile::open(|| match open_lock_file(paths, make, owner) {
                Ok(Some(opened)) => Ok(opened),
                Ok(None) => Err(None),
                Err(e) => Err(Some(e)),
            });
            let opened = match opened {
                Ok(opened) => Some(opened),
                Err(None) => None,
                Err(Some(e)) => return Err(e),
            };
            if let Some((lock, new)) = opened {
                made |= new;
                let shown = paths.dir.shown(&paths.lock);
                let failed = |e| Error::from_io(&e, format_args!("cannot lock {shown}"));
                let locked = sys::try_lock(lock.file(), Lock::Exclusive, lock_byte::NAMES);
                // Between the open and the lock, another process may have removed the file.
                if locked.map_err(failed)?
                    && paths.dir.names(&paths.lock, lock.file()).map_err(failed)?
                {
                    let meta = lock.file().metadata().map_err(failed)?;
                    let identity = sys::identity(&meta);
                    if fresh == Some(identity) || !is_shared(&lock, &meta) {
                        return Ok(Some(NamesLock {
                            lock,
                            identity,
                            made,
                            _later: later,
                        }));
                    }
                    match renew_lock_file(paths) {
                        Ok(identity) => {
                            fresh = Some(identity);
                            continue;
                        }
                        // Something else is there by now: it is looked at again.
                        Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {}
                        Err(e) => return Err(failed(e)),
                    }
                }
            } else if !make {
                return Ok(None);
            }
            if since.elapsed() > NAMES_PATIENCE {
                return Err(Error::ProducerExists(
                    format!(
                        "{}: another process has been opening, closing or removing this name for \
                         {NAMES_PATIENCE:?}: try again, or look whether that process is stopped",
                        paths.shown()
                    )
                    .into(),
                ));
            }
            // It is over soon, so a signal does not end it.
            sys::nap(Duration::from_millis(1));
        }
    }

    /// Whether this call has made the lock file.
    pub(crate) fn has_made_it(&self) -> bool {
        self.made
    }

    /// Takes the lock that makes the caller the one writer of a name. `is_residue` says whether the
    /// lock may just outlive its end ([`sys::RESIDUE`]), and `busy` what it means that another process
    /// holds it.
    pub(crate) fn writer(
        &self,
        paths: &Paths,
        is_residue: impl Fn() -> bool,
        busy: impl FnOnce() -> String,
    ) -> Result<Writer> {
        let shown = paths.dir.shown(&paths.lock);
        let failed = |e| Error::from_io(&e, format_args!("cannot lock {shown}"));
        let since = Instant::now();
        let lock = loop {
            // An opening of its own, because this lock outlives the other.
            let lock = HeldLock::take(
                || paths.dir.open_file(&paths.lock, true),
                |file, meta| match sys::identity(meta) == self.identity {
                    true => {
                        sys::try_lock(file, Lock::Exclusive, lock_byte::PRODUCER).map_err(failed)
                    }
                    false => Err(Error::Stale(
                        format!("{shown}: another process has replaced the lock file").into(),
                    )),
                },
            )?;
            if lock.is_some() || !is_residue() || since.elapsed() > sys::RESIDUE {
                break lock;
            }
            sys::nap(Duration::from_millis(1));
        };
        match lock {
            Some((lock, _)) => Ok(Writer {
                lock: Some(lock),
                generation: sys::fork_generation(),
                identity: self.identity,
            }),
            None => Err(Error::ProducerExists(
                format!("{}: {}", paths.shown(), busy()).into(),
            )),
        }
    }

    /// Removes the lock file if this call has made it, unless the name is that of a queue of this user.
    pub(crate) fn undo(&self, paths: &Paths) {
        let data = paths.dir.open_file(&paths.data, false);
        let own = |(file, meta): (File, std::fs::Metadata)| {
            is_queue(&file) && meta.uid() == sys::effective_uid()
        };
        if self.made && !data.is_ok_and(own) {
            let _ = paths.dir.remove(&paths.lock);
        }
    }
}

/// Whether a lock file has a second name and can be replaced. Another user may have made a link to it,
/// which does no harm, or may have planted a link to the lock file of another queue, which would then
/// exclude this one. A writer that lives needs the file as it is.
fn is_shared(lock: &LockFile, meta: &std::fs::Metadata) -> bool {
    let has_writer = || sys::is_locked(lock.file(), Lock::Exclusive, lock_byte::PRODUCER);
    meta.nlink() > 1 && meta.uid() == sys::effective_uid() && !has_writer().unwrap_or(true)
}

/// Puts a new lock file in the place of one that this process has locked.
fn renew_lock_file(paths: &Paths) -> std::io::Result<Identity> {
    let (dir, name) = (&paths.dir, Paths::unguessable());
    let file = dir.create_file(&name, 0o600)?;
    let renewed = sys::set_mode(&file, 0o600).and_then(|()| dir.rename(&name, &paths.lock));
    if let Err(e) = renewed {
        let _ = dir.remove(&name);
        return Err(e);
    }
    Ok(sys::identity(&file.metadata()?))
}

/// Opens the lock file. Whether it was made. `None` if it vanished or appeared meanwhile, or if there
/// is none and none is to be made.
fn open_lock_file(paths: &Paths, make: bool, owner: Option<u32>) -> Result<Option<(File, bool)>> {
    let (dir, name) = (&paths.dir, &paths.lock);
    let shown = dir.shown(name);
    let failed = |e| {
        Error::from_io(
            &e,
            format_args!("{}: cannot make its lock file {shown}", paths.shown()),
        )
    };
    match dir.open_file(name, true) {
        Ok((file, meta)) => {
            if Some(meta.uid()) != owner {
                check_owner(&meta, &shown)?;
            }
            match meta.len() {
                0 => Ok(Some((file, false))),
                _ => Err(Error::Damaged(
                    format!("{shown}: it is not a lock file of ipcq, which is empty").into(),
                )),
            }
        }
        Err(Error::NotFound(_)) if !make => Ok(None),
        Err(Error::NotFound(_)) => match dir.create_file(name, 0o600) {
            Ok(file) => {
                // The umask may have taken the bits away.
                sys::set_mode(&file, 0o600).map_err(failed)?;
                Ok(Some((file, true)))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(failed(e)),
        },
        Err(Error::PermissionDenied(text)) => {
            let stat = dir.stat(name).map_err(failed)?;
            let unusable = |s: crate::dir::Stat| {
                s.is_regular()
                    && s.size == 0
                    && s.owner == sys::effective_uid()
                    && s.mode & 0o600 != 0o600
            };
            match stat {
                // Its maker had a strict umask, and was killed before it could set the mode.
                Some(stat) if unusable(stat) => match dir.remove(name) {
                    Err(e) if e.raw_os_error() != Some(libc::EISDIR) => Err(failed(e)),
                    _ => Ok(None),
                },
                Some(stat) if stat.owner != sys::effective_uid() => Err(Error::PermissionDenied(
                    format!(
                        "{}: the name is in use by another user (uid {}; this process is uid {}): \
                         {text}",
                        paths.shown(),
                        stat.owner,
                        sys::effective_uid()
                    )
                    .into(),
                )),
                _ => Err(Error::PermissionDenied(text)),
            }
        }
        Err(e) => Err(e),
    }
}

/// The lock that makes a process the one writer of a name, for as long as its handle lives.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` once it has ended.
    lock: Option<HeldLock>,
    generation: u32,
    /// The lock file.
    identity: Identity,
}

impl Writer {
    /// Whether it is this process's, and not that of the one it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == sys::fork_generation()
    }

    /// The writer ends. If its name was unlinked meanwhile, nobody else will remove its lock file.
    pub(crate) fn end(&mut self, paths: &Paths, region: &Region) {
        if !self.is_own() {
            return;
        }
        // Another process may be removing the name, and see this lock or not, or be making it anew,
        // and then needs the lock file.
        let names = NamesLock::take(paths, false, None);
        let lost = matches!(region.is_named(paths, &paths.data), Ok(false));
        if let (Ok(Some(names)), true) = (&names, lost) {
            let gone = matches!(paths.dir.stat(&paths.data), Ok(None));
            if gone && names.identity == self.identity {
                let _ = paths.dir.remove(&paths.lock);
            }
        }
        self.lock = None;
    }
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
        let _no = NoCancel::new();
        let paths = Paths::of(name.as_ref())?;
        if size == 0 || i64::try_from(size).is_err() {
            return Err(Error::Invalid(
                format!("{}: a size of {size} bytes is not possible", paths.shown()).into(),
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

    /// The part of `create` that is done under the lock.
    fn make(paths: &Paths, size: usize, permissions: u32) -> Result<Region> {
        let shown = paths.shown();
        match paths.dir.open_file(&paths.data, true) {
            Ok((file, meta)) => {
                check_owner(&meta, &shown)?;
                paths.dir.check_one_name(&paths.data, &file)?;
                if is_queue(&file) {
                    return Err(Error::Geometry(
                        format!("{shown}: it is a queue: take another name").into(),
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
                sys::check_file_system(&file, &shown)?;
                sys::fill_holes(&file, &shown)?;
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

    /// Opens it to read; the memory is mapped read-only.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::PermissionDenied`], [`Error::Damaged`] if it is no regular
    /// file.
    pub fn open(name: impl AsRef<OsStr>) -> Result<SharedMem> {
        let _no = NoCancel::new();
        let paths = Paths::of(name.as_ref())?;
        let region = Region::open(&paths, &paths.data, false)?;
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
        unlink(&Paths::of(name.as_ref())?, None)
    }

    /// Removes the name of this memory, wherever the process has gone since it was opened.
    ///
    /// # Errors
    /// As [`SharedMem::unlink`].
    pub fn unlink_own(&self) -> Result<()> {
        unlink(&self.paths, None)
    }

    /// The file, as an absolute path that was resolved when it was opened.
    pub fn path(&self) -> &Path {
        &self.paths.path
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

/// Whether a file says that it is a queue.
pub(crate) fn says_queue(file: &File) -> std::io::Result<bool> {
    let mut magic = [0; 8];
    let length = sys::read_up_to(file, &mut magic, layout::at::MAGIC as u64)?;
    Ok(length == magic.len() && u64::from_le_bytes(magic) == layout::MAGIC)
}

/// As [`says_queue`]; a file that cannot be read does not say so.
fn is_queue(file: &File) -> bool {
    says_queue(file).unwrap_or(false)
}

/// Refuses a file that has nothing to do with this library. A program may have been given the name of
/// one by mistake. `has_lock`: whether it had a lock file before this call.
pub(crate) fn check_ours(paths: &Paths, has_lock: bool) -> Result<()> {
    if paths.data.to_bytes().starts_with(PREFIX.as_bytes()) || has_lock {
        return Ok(());
    }
    let Ok((file, meta)) = paths.dir.open_file(&paths.data, false) else {
        return Ok(());
    };
    if meta.len() == 0 || is_queue(&file) || find_other(paths)?.is_some() {
        return Ok(());
    }
    Err(Error::Damaged(
        format!(
            "{}: it is neither a queue nor a shared memory, and was left as it is",
            paths.shown()
        )
        .into(),
    ))
}

/// A file that the name has besides the data and the lock file.
pub(crate) fn find_other(paths: &Paths) -> Result<Option<&CStr>> {
    for name in [&paths.control, &paths.new_control, &paths.new_data] {
        let found = paths.dir.stat(name);
        let failed = |e| Error::from_io(&e, format_args!("cannot stat {}", paths.dir.shown(name)));
        if found.map_err(failed)?.is_some() {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Removes all files of a name, the lock file only if no live writer holds it. `busy`, if a live writer
/// is not to lose its name: says what it means that there is one.
pub(crate) fn unlink(paths: &Paths, busy: Option<&dyn Fn() -> String>) -> Result<()> {
    let _no = NoCancel::new();
    let shown = paths.shown();
    let failed = |e| Error::from_io(&e, format_args!("cannot remove {shown}"));
    let dir = &paths.dir;
    let data = dir.stat(&paths.data).map_err(failed)?;
    let me = sys::effective_uid();
    match data {
        // In a directory without the sticky bit anybody could, and tear a queue apart that its
        // owner is just opening.
        Some(stat) if stat.owner != me && me != 0 => {
            return Err(Error::PermissionDenied(
                format!(
                "{shown}: it belongs to another user (uid {}; this process is uid {me}), and only \
                     its owner may remove it",
                stat.owner
            )
                .into(),
            ))
        }
        _ => {}
    }
    let has_lock = dir.stat(&paths.lock).map_err(failed)?.is_some();
    check_ours(paths, has_lock)?;
    if data.is_none() && !has_lock && find_other(paths)?.is_none() {
        return Err(Error::NotFound(
            format!("{shown}: there is no such queue or shared memory").into(),
        ));
    }
    let names = NamesLock::take(paths, true, data.map(|stat| stat.owner))?;
    let names = names.ok_or_else(|| Error::Internal("no lock file".into()))?;
    let held = sys::is_locked(names.lock.file(), Lock::Exclusive, lock_byte::PRODUCER);
    let held = held.unwrap_or(true);
    // Its lock file may have been removed by hand.
    let alive = || match dir.open_file(&paths.data, false) {
        Ok((file, _)) => sys::is_locked(&file, Lock::Exclusive, lock_byte::PRODUCER_ALIVE),
        Err(_) => Ok(false),
    };
    if let Some(busy) = busy.filter(|_| held || alive().unwrap_or(true)) {
        // Everything is left as it was.
        if names.made {
            let _ = dir.remove(&paths.lock);
        }
        return Err(Error::ProducerExists(format!("{shown}: {}", busy()).into()));
    }
    let remove = |name: &CString| {
        let shown = dir.shown(name);
        dir.remove(name).map_err(|e| match e.raw_os_error() {
            Some(libc::EISDIR) => Error::Damaged(format!("{shown}: it is a directory").into()),
            _ => Error::from_io(&e, format_args!("cannot remove {shown}")),
        })
    };
    // First the name by which it is found, so that nobody finds a queue without its control file.
    let mut found = remove(&paths.data)?;
    for name in [&paths.control, &paths.new_control, &paths.new_data] {
        match remove(name) {
            Ok(removed) => found |= removed,
            // Something that another user has put there.
            Err(_) if found => {}
            Err(e) => return Err(e),
        }
    }
    // A live writer keeps its lock file, or a second writer could come beside it. It removes the
    // file when it ends (`Writer::end`).
    if !held {
        let removed = remove(&paths.lock)?;
        found |= removed && !names.made;
    }
    match found {
        true => Ok(()),
        false => Err(Error::NotFound(
            format!("{shown}: there is no such queue or shared memory").into(),
        )),
    }
}
