//! Removing a name.

use super::names_lock::NamesLock;
use crate::error::{Error, Result};
use crate::format::data_file::{is_queue, lock_byte};
use crate::format::names::{Paths, PREFIX};
use crate::os::{self, Lock, NoCancel};
use std::ffi::{CStr, CString};

/// Refuses a file that does not belong to this library, because a program may have been given its
/// name by mistake. `has_lock`: whether the name had a lock file before this call.
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

/// Returns a file of the name other than the data and the lock file, if any exists.
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

/// Removes all files of a name. The lock file is kept while a live writer holds it. With `busy`,
/// the call fails if a live writer exists, and `busy` returns the error text.
pub(crate) fn unlink(paths: &Paths, busy: Option<&dyn Fn() -> String>) -> Result<()> {
    let _no = NoCancel::new();
    let shown = paths.shown();
    let failed = |e| Error::from_io(&e, format_args!("cannot remove {shown}"));
    let dir = &paths.dir;
    let data = dir.stat(&paths.data).map_err(failed)?;
    let me = os::effective_uid();
    match data {
        // In a directory without the sticky bit any user could remove the file, and so break a
        // queue that its owner is opening.
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
            format!("{shown}: no queue or shared memory has this name").into(),
        ));
    }
    let names = NamesLock::take(paths, true, data.map(|stat| stat.owner))?;
    let names = names.ok_or_else(|| Error::Internal("no lock file".into()))?;
    let held = os::is_locked(names.lock.file(), Lock::Exclusive, lock_byte::PRODUCER);
    let held = held.unwrap_or(true);
    // The lock file may have been removed by hand.
    let alive = || match dir.open_file(&paths.data, false) {
        Ok((file, _)) => os::is_locked(&file, Lock::Exclusive, lock_byte::PRODUCER_ALIVE),
        Err(_) => Ok(false),
    };
    if let Some(busy) = busy.filter(|_| held || alive().unwrap_or(true)) {
        // Leave everything as it was.
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
    // Remove the data file first, so that no process finds a queue without its control file.
    let mut found = remove(&paths.data)?;
    for name in [&paths.control, &paths.new_control, &paths.new_data] {
        match remove(name) {
            Ok(removed) => found |= removed,
            // A file that another user has put there.
            Err(_) if found => {}
            Err(e) => return Err(e),
        }
    }
    // A live writer keeps its lock file. Otherwise a second writer could open the name. The writer
    // removes the file when it ends (`Writer::end`).
    if !held {
        let removed = remove(&paths.lock)?;
        found |= removed && !names.made;
    }
    match found {
        true => Ok(()),
        false => Err(Error::NotFound(
            format!("{shown}: no queue or shared memory has this name").into(),
        )),
    }
}
