//! Removing a queue.

use super::open;
use crate::error::Result;
use crate::format::names::Paths;
use crate::shm;
use std::ffi::OsStr;

/// Removes a queue: its data, control and lock file. Handles that are open keep the memory until they
/// are dropped. The lock file of a live producer stays until that producer closes.
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound); [`Error::PermissionDenied`](crate::Error::PermissionDenied), also if the queue belongs to another user;
/// [`Error::ProducerExists`](crate::Error::ProducerExists) if another process has been opening or removing the queue for a second.
pub fn unlink(name: impl AsRef<OsStr>) -> Result<()> {
    shm::unlink(&Paths::of(name.as_ref())?, None)
}

/// As [`unlink`], but only if no process has the queue open as its producer, or writes the shared memory
/// of that name. No process can become its producer meanwhile.
///
/// # Errors
/// As [`unlink`]; [`Error::ProducerExists`](crate::Error::ProducerExists) also if a process has it open, with that process in the text.
pub fn unlink_unused(name: impl AsRef<OsStr>) -> Result<()> {
    let paths = Paths::of(name.as_ref())?;
    let busy = || {
        let holder = match open::holder(&paths) {
            Some(pid) => format!("process {pid}"),
            None => "another process".to_owned(),
        };
        format!(
            "{holder} has it open to write, so it was not removed: end that process first, or remove \
             it all the same (ipcq unlink --force)"
        )
    };
    shm::unlink(&paths, Some(&busy))
}
