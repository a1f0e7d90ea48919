//! What file system a file is on.

use crate::error::{Error, Result};
use std::fs::File;
use std::os::fd::AsRawFd;

// From linux/magic.h.
const HUGETLBFS: libc::c_long = 0x958458f6;
/// File systems on which a mapping keeps the opening that it was made of: tmpfs, ramfs, ext2 to
/// ext4, XFS, Btrfs, F2FS. On one that is stacked on another (overlayfs) it keeps an opening of the
/// file underneath.
pub(super) const KEEPS_OPENING: [libc::c_long; 6] = [
    0x01021994, 0x858458f6, 0xef53, 0x58465342, 0x9123683e, 0xf2f52010,
];

/// Refuses file systems on which a queue does not work.
pub(crate) fn check_file_system(file: &File, shown: &impl std::fmt::Display) -> Result<()> {
    match file_system(file) {
        // It rounds the length of each mapping to its own pages, and reserves by other rules.
        Some(HUGETLBFS) => Err(Error::Invalid(
            format!("{shown}: it is on hugetlbfs, which ipcq does not support: use a tmpfs").into(),
        )),
        _ => Ok(()),
    }
}

/// The kind of file system that a file is on.
#[allow(clippy::unnecessary_cast)] // not on every C library
pub(super) fn file_system(file: &File) -> Option<libc::c_long> {
    // SAFETY: zero is valid for each of its fields.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a place for the answer.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut s) } {
        0 => Some(s.f_type as libc::c_long),
        _ => None,
    }
}
