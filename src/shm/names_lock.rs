//! The locks on a name.

use crate::error::{Error, Result};
use crate::format::data_file::{is_queue, lock_byte};
use crate::format::names::Paths;
use crate::log;
use crate::os::dir::check_owner;
use crate::os::{self, HeldLock, Identity, Lock, LockFile, Region};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

/// How long a call waits for another process that is opening, closing or removing the same name.
#[cfg(not(feature = "steps"))]
const NAMES_TIMEOUT: Duration = Duration::from_secs(1);
/// Shorter in tests that stop the other process at each step.
#[cfg(feature = "steps")]
const NAMES_TIMEOUT: Duration = Duration::from_millis(60);

/// The exclusive right to create, replace and remove the files of a name. It is held for part of a
/// call.
pub(crate) struct NamesLock {
    pub(super) lock: LockFile,
    identity: Identity,
    /// Whether this call has made the lock file.
    pub(super) made: bool,
    /// The log function may use the same name, so messages are held back until the lock is dropped.
    _later: log::Later,
}

impl NamesLock {
    /// Takes the lock. `make`: creates the lock file if it does not exist. Otherwise a missing file
    /// returns `None`. `owner`: a user that may own the lock file, in addition to this user.
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
                let locked = os::try_lock(lock.file(), Lock::Exclusive, lock_byte::NAMES);
                // Another process may have removed the file between the open and the lock.
                if locked.map_err(failed)?
                    && paths.dir.names(&paths.lock, lock.file()).map_err(failed)?
                {
                    let meta = lock.file().metadata().map_err(failed)?;
                    let identity = os::identity(&meta);
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
                        // Another file has appeared there, so look again.
                        Err(e) if e.raw_os_error() == Some(libc::EISDIR) => {}
                        Err(e) => return Err(failed(e)),
                    }
                }
            } else if !make {
                return Ok(None);
            }
            if since.elapsed() > NAMES_TIMEOUT {
                return Err(Error::ProducerExists(
                    format!(
                        "{}: another process has been opening, closing or removing this name for \
                         {NAMES_TIMEOUT:?}: try again, or check whether that process is stopped",
                        paths.shown()
                    )
                    .into(),
                ));
            }
            // The wait is short, so a signal does not end it.
            os::nap(Duration::from_millis(1));
        }
    }

    /// Whether this call has made the lock file.
    pub(crate) fn has_made_it(&self) -> bool {
        self.made
    }

    /// Takes the lock that makes the caller the only writer of a name. `is_residue` returns whether
    /// the lock may have outlived its owner ([`os::RESIDUE`]). `busy` returns the error text if
    /// another process holds the lock.
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
            // A separate open file description, because this lock outlives the other.
            let lock = HeldLock::take(
                || paths.dir.open_file(&paths.lock, true),
                |file, meta| match os::identity(meta) == self.identity {
                    true => {
                        os::try_lock(file, Lock::Exclusive, lock_byte::PRODUCER).map_err(failed)
                    }
                    false => Err(Error::Stale(
                        format!("{shown}: another process has replaced the lock file").into(),
                    )),
                },
            )?;
            if lock.is_some() || !is_residue() || since.elapsed() > os::RESIDUE {
                break lock;
            }
            os::nap(Duration::from_millis(1));
        };
        match lock {
            Some((lock, _)) => Ok(Writer {
                lock: Some(lock),
                generation: os::fork_generation(),
                identity: self.identity,
            }),
            None => Err(Error::ProducerExists(
                format!("{}: {}", paths.shown(), busy()).into(),
            )),
        }
    }

    /// Removes the lock file if this call has made it, unless the name is a queue of this user.
    pub(crate) fn undo(&self, paths: &Paths) {
        let data = paths.dir.open_file(&paths.data, false);
        let own = |(file, meta): (File, std::fs::Metadata)| {
            is_queue(&file) && meta.uid() == os::effective_uid()
        };
        if self.made && !data.is_ok_and(own) {
            let _ = paths.dir.remove(&paths.lock);
        }
    }
}

/// Whether a lock file has a second name and can be replaced. Another user may have linked to it,
/// which is harmless. But the user may also have planted a link to the lock file of another queue,
/// and then the two queues would exclude each other. A file is kept while a writer that is alive
/// holds it.
fn is_shared(lock: &LockFile, meta: &std::fs::Metadata) -> bool {
    let has_writer = || os::is_locked(lock.file(), Lock::Exclusive, lock_byte::PRODUCER);
    meta.nlink() > 1 && meta.uid() == os::effective_uid() && !has_writer().unwrap_or(true)
}

/// Replaces a lock file that this process has locked.
fn renew_lock_file(paths: &Paths) -> std::io::Result<Identity> {
    let (dir, name) = (&paths.dir, Paths::unguessable());
    let file = dir.create_file(&name, 0o600)?;
    let renewed = os::set_mode(&file, 0o600).and_then(|()| dir.rename(&name, &paths.lock));
    if let Err(e) = renewed {
        let _ = dir.remove(&name);
        return Err(e);
    }
    Ok(os::identity(&file.metadata()?))
}

/// Opens the lock file and returns whether it was created. Returns `None` if the file appeared or
/// vanished during the call, or if it does not exist and `make` is false.
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
                    format!("{shown}: it is not an ipcq lock file: a lock file is empty").into(),
                )),
            }
        }
        Err(Error::NotFound(_)) if !make => Ok(None),
        Err(Error::NotFound(_)) => match dir.create_file(name, 0o600) {
            Ok(file) => {
                // The umask may have cleared mode bits.
                os::set_mode(&file, 0o600).map_err(failed)?;
                Ok(Some((file, true)))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(e) => Err(failed(e)),
        },
        Err(Error::PermissionDenied(text)) => {
            let stat = dir.stat(name).map_err(failed)?;
            let unusable = |s: crate::os::dir::Stat| {
                s.is_regular()
                    && s.size == 0
                    && s.owner == os::effective_uid()
                    && s.mode & 0o600 != 0o600
            };
            match stat {
                // The process that made it had a strict umask and was killed before it could set
                // the mode.
                Some(stat) if unusable(stat) => match dir.remove(name) {
                    Err(e) if e.raw_os_error() != Some(libc::EISDIR) => Err(failed(e)),
                    _ => Ok(None),
                },
                Some(stat) if stat.owner != os::effective_uid() => Err(Error::PermissionDenied(
                    format!(
                        "{}: the name is in use by another user (uid {}; this process is uid {}): \
                         {text}",
                        paths.shown(),
                        stat.owner,
                        os::effective_uid()
                    )
                    .into(),
                )),
                _ => Err(Error::PermissionDenied(text)),
            }
        }
        Err(e) => Err(e),
    }
}

/// The lock that makes a process the only writer of a name, for the lifetime of its handle.
#[derive(Debug)]
pub(crate) struct Writer {
    /// `None` after `end`.
    lock: Option<HeldLock>,
    generation: u32,
    /// The lock file.
    identity: Identity,
}

impl Writer {
    /// Whether this process took the lock. `false` in a child that inherited it.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == os::fork_generation()
    }

    /// Ends the writer. If its name was unlinked in the meantime, no other process removes its lock
    /// file, so this call does.
    pub(crate) fn end(&mut self, paths: &Paths, region: &Region) {
        if !self.is_own() {
            return;
        }
        // Another process may be removing the name, and may or may not see this lock. Or it may be
        // creating the name again, and then it needs the lock file.
        let names = NamesLock::take(paths, false, None);
        let lost = matches!(region.is_named(&paths.dir, &paths.data), Ok(false));
        if let (Ok(Some(names)), true) = (&names, lost) {
            let gone = matches!(paths.dir.stat(&paths.data), Ok(None));
            if gone && names.identity == self.identity {
                let _ = paths.dir.remove(&paths.lock);
            }
        }
        self.lock = None;
    }
}
