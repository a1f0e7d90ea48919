//! Removing a queue.

use super::open;
use crate::error::Result;
use crate::format::names::Paths;
use crate::shm;
use std::ffi::OsStr;

/// Removes a queue: its data file, control file and lock file. Open handles keep the memory until
/// they are dropped. The lock file of a live producer stays until that producer closes.
///
/// ```
/// # ipcq::__example!();
/// # let out = ipcq::Producer::options().open("numbers")?;
/// ipcq::unlink("numbers")?;
/// assert!(matches!(ipcq::unlink("numbers"), Err(ipcq::Error::NotFound(_))));
/// # Ok::<(), ipcq::Error>(())
/// ```
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound);
/// [`Error::PermissionDenied`](crate::Error::PermissionDenied), also if the queue belongs to
/// another user; [`Error::ProducerExists`](crate::Error::ProducerExists) if another process has
/// been opening or removing the queue for a second.
pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
    shm::unlink(&Paths::of(name.as_ref())?, None)
}

/// As [`unlink`], but only if no process has the queue open as its producer, or writes the shared
/// memory of that name. During the call, no process can become its producer.
///
/// ```
/// # ipcq::__example!();
/// let out = ipcq::Producer::options().open("numbers")?;
/// assert!(matches!(ipcq::unlink_unused("numbers"), Err(ipcq::Error::ProducerExists(_))));
/// drop(out);
/// ipcq::unlink_unused("numbers")?;
/// # Ok::<(), ipcq::Error>(())
/// ```
///
/// # Errors
/// As [`unlink`]; [`Error::ProducerExists`](crate::Error::ProducerExists) also if a process has it
/// open, with that process in the text.
pub fn unlink_unused(name: impl AsRef<OsStr>) -> Result<()> {
    let paths = Paths::of(name.as_ref())?;
    let busy = || {
        let holder = match open::holder(&paths) {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        format!(
            "{holder} has it open to write, so it was not removed: end that process first, or remove \
             it anyway (ipcq unlink --force)"
        )
    };
    shm::unlink(&paths, Some(&busy))
}
