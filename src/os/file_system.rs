//! The kind of file system that a file is on.

use crate::error::{Error, Result};
use std::fs::File;
use std::os::fd::AsRawFd;

// From linux/magic.h.
const HUGETLBFS: libc::c_long = 0x958458f6;
/// File systems on which a mapping keeps the open file description that it was made from: tmpfs,
/// ramfs, ext2 to ext4, XFS, Btrfs and F2FS. On a stacked file system such as overlayfs, the
/// mapping keeps a description of the underlying file instead.
pub(super) const KEEPS_OPENING: [libc::c_long; 6] = [
    0x01021994, 0x858458f6, 0xef53, 0x58465342, 0x9123683e, 0xf2f52010,
];

/// Refuses file systems on which a queue does not work.
pub(crate) fn check_file_system(file: &File, shown: &impl std::fmt::Display) -> Result<()> {
    match file_system(file) {
        // hugetlbfs rounds the length of each mapping to its own page size and reserves space by
        // other rules.
        Some(HUGETLBFS) => Err(Error::Invalid(
            format!("{shown}: it is on hugetlbfs, which ipcq does not support: use a tmpfs").into(),
        )),
        _ => Ok(()),
    }
}

/// The kind of file system that a file is on.
#[allow(clippy::unnecessary_cast)] // needed on some C libraries only
pub(super) fn file_system(file: &File) -> Option<libc::c_long> {
    // SAFETY: zero is valid for every field.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and `s` is valid for writes.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut s) } {
        0 => Some(s.f_type as libc::c_long),
        _ => None,
    }
}
