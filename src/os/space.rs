//! The space and the mode of a file.

use crate::error::{Error, Result};
use crate::steps::step;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Sets the size of a new, empty file and reserves its space, so that no later store raises SIGBUS
/// because the file system is full. Sets exactly this mode, regardless of the umask.
pub(crate) fn fill_new(
    file: &File,
    shown: &impl std::fmt::Display,
    size: u64,
    mode: u32,
) -> Result<()> {
    reserve(file, shown, size)?;
    step();
    set_mode(file, mode)
        .map_err(|e| Error::from_io(&e, format_args!("cannot set the mode of {shown}")))
}

/// Sets the mode bits of an open file.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))
}

/// Reserves space for the holes of an existing file. It may be a sparse copy.
pub(crate) fn fill_holes(file: &File, shown: &impl std::fmt::Display) -> Result<()> {
    let meta = file
        .metadata()
        .map_err(|e| Error::from_io(&e, format_args!("cannot stat {shown}")))?;
    // Blocks are 512 bytes on every file system.
    if meta.blocks() >= meta.len().div_ceil(512) {
        return Ok(());
    }
    reserve(file, shown, meta.len())
}

/// How much is reserved in one call. If a signal arrives, the kernel gives up the current
/// reservation, so a process with a timer would never reserve a large file in one call.
const RESERVED_AT_ONCE: u64 = 64 << 20;
/// The minimum after interruptions have halved the amount.
const RESERVED_AT_LEAST: u64 = 64 << 10;
/// The maximum number of consecutive interruptions at the minimum.
const INTERRUPTIONS: u32 = 100;

/// Reserves the space of the first `size` bytes of a file. Their content is kept.
fn reserve(file: &File, shown: &impl std::fmt::Display, size: u64) -> Result<()> {
    let limit = file_size_limit();
    if size > limit {
        // Growing the file would raise SIGXFSZ, which kills the process by default.
        return Err(Error::NoSpace(
            format!(
                "{shown}: {size} bytes are needed, but this process may only write files of up \
                 to {limit} bytes (ulimit -f)"
            )
            .into(),
        ));
    }
    if libc::off_t::try_from(size).is_err() {
        return Err(Error::Invalid(
            format!("{shown}: {size} bytes exceed the maximum size of a file").into(),
        ));
    }
    let no_room = || {
        Error::NoSpace(
            format!(
                "{shown}: the file system has no room for {size} bytes: choose a smaller \
                 capacity or size, or another directory (IPCQ_DIR)"
            )
            .into(),
        )
    };
    // Checked in advance. Otherwise the partial reservations would fill the file system and other
    // programs would briefly run out of space.
    if room(file).is_some_and(|room| size > room) {
        return Err(no_room());
    }
    step();
    let (mut done, mut most, mut interrupted) = (0, RESERVED_AT_ONCE, 0);
    while done < size {
        let length = (size - done).min(most);
        // SAFETY: the descriptor is open, and the call takes no pointers. Both numbers fit, because
        // their sum `size` does.
        let rc = unsafe {
            libc::posix_fallocate(file.as_raw_fd(), done as libc::off_t, length as libc::off_t)
        };
        match rc {
            0 => {
                done += length;
                interrupted = 0;
            }
            libc::EINTR if interrupted < INTERRUPTIONS => match most > RESERVED_AT_LEAST {
                true => most /= 2,
                false => interrupted += 1,
            },
            libc::ENOSPC | libc::EFBIG | libc::EDQUOT => return Err(no_room()),
            errno => {
                let e = io::Error::from_raw_os_error(errno);
                return Err(Error::from_io(
                    &e,
                    format_args!("cannot reserve {size} bytes for {shown}"),
                ));
            }
        }
    }
    Ok(())
}

/// The maximum size of the file: the space it has plus the free space of its file system. `None` if
/// the file system has no limit or does not report one.
fn room(file: &File) -> Option<u64> {
    // SAFETY: zero is valid for every field.
    let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `s` is valid for writes.
    let rc = unsafe { libc::fstatvfs(file.as_raw_fd(), &mut s) };
    if rc != 0 || s.f_blocks == 0 {
        return None;
    }
    let has = file.metadata().ok()?.blocks() * 512;
    #[allow(clippy::unnecessary_cast)] // needed on some C libraries only
    let left = (s.f_bfree as u64).saturating_mul(s.f_frsize as u64);
    Some(has.saturating_add(left))
}

fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for writes.
    match unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => u64::MAX,
    }
}
