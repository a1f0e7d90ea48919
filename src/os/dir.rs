//! A directory that is resolved once, and the files in it.
//!
//! A handle opens its directory once and reaches every file of its queue relative to it. A later
//! `chdir`, `chroot` or rename of the directory therefore does not redirect the handle.
//!
//! Other users may create names in the directory, so no name is trusted. A symbolic link is never
//! followed, a FIFO or a device is never opened, and [`check_owner`] runs before the first write. A
//! file may have a second name (a hard link). In that case, either the content proves that the name
//! is the right one, or [`Dir::check_one_name`] refuses the file.

use crate::error::{Error, Result};
use crate::os::{self, owned, Identity, OpenFile};
use crate::steps::step;
use std::ffi::{CStr, CString, OsStr};
use std::fmt;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OpenFile,
    path: PathBuf,
}

/// The file that a name refers to. Links are not followed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stat {
    pub identity: Identity,
    pub mode: u32,
    pub owner: u32,
    pub size: u64,
}

impl Stat {
    pub(crate) fn is_regular(&self) -> bool {
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Describes a file that is not a regular file.
    fn kind(&self) -> &'static str {
        match self.mode & libc::S_IFMT {
            libc::S_IFLNK => "a symbolic link, which is never followed: use the name it points to",
            libc::S_IFDIR => "a directory",
            libc::S_IFIFO => "a FIFO",
            libc::S_IFSOCK => "a socket",
            libc::S_IFCHR | libc::S_IFBLK => "a device",
            _ => "not a regular file",
        }
    }
}

impl Dir {
    /// Opens a directory. The path must be absolute.
    pub(crate) fn open(path: &Path) -> io::Result<Dir> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // SAFETY: `name` is a C string. The result is a new descriptor or -1.
        let file = unsafe { owned(libc::open(name.as_ptr(), flags)) }?;
        Ok(Dir {
            fd: OpenFile::new(file),
            path: path.to_owned(),
        })
    }

    /// The path of a name in this directory, for error texts.
    pub(crate) fn shown(&self, name: &CStr) -> Shown {
        Shown::of(&self.path.join(OsStr::from_bytes(name.to_bytes())))
    }

    fn fd(&self) -> io::Result<i32> {
        Ok(self.fd.get()?.as_raw_fd())
    }

    /// Returns the file that a name refers to, or `None` if the name does not exist.
    pub(crate) fn stat(&self, name: &CStr) -> io::Result<Option<Stat>> {
        // SAFETY: zero is valid for every field.
        let mut s: libc::stat = unsafe { std::mem::zeroed() };
        let (fd, flags) = (self.fd()?, libc::AT_SYMLINK_NOFOLLOW);
        // SAFETY: `name` is a C string and `s` is valid for writes.
        match unsafe { libc::fstatat(fd, name.as_ptr(), &mut s, flags) } {
            0 => Ok(Some(Stat {
                identity: Identity {
                    device: s.st_dev as u64,
                    inode: s.st_ino as u64,
                },
                mode: s.st_mode,
                owner: s.st_uid,
                size: s.st_size as u64,
            })),
            _ => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::NotFound => Ok(None),
                e => Err(e),
            },
        }
    }

    /// Whether only this user and root can replace the files of this user in the directory.
    pub(crate) fn is_safe(&self) -> bool {
        let Ok(meta) = self.fd.get().and_then(File::metadata) else {
            return false;
        };
        let alone = meta.mode() & 0o022 == 0 || meta.mode() & libc::S_ISVTX != 0;
        alone && (meta.uid() == os::effective_uid() || meta.uid() == 0)
    }

    /// A hash of the directory and a name. The file with that name stores it.
    pub(crate) fn home(&self, name: &CStr) -> u64 {
        // FNV-1a, because the number must be the same in every version of this crate.
        let inode = self.fd.identity().inode.to_le_bytes();
        let bytes = inode.iter().chain(name.to_bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    /// Whether a name refers to this open file.
    pub(crate) fn names(&self, name: &CStr, file: &File) -> io::Result<bool> {
        let meta = file.metadata()?;
        let found = self.stat(name)?;
        Ok(found.is_some_and(|s| s.identity == os::identity(&meta)))
    }

    /// Opens a regular file. Any other file is refused without following it or waiting for it.
    pub(crate) fn open_file(&self, name: &CStr, write: bool) -> Result<(File, Metadata)> {
        let failed =
            |e: io::Error| Error::from_io(&e, format_args!("cannot open {}", self.shown(name)));
        let refused = |kind| Error::Damaged(format!("{}: it is {kind}", self.shown(name)).into());
        // Opening a device may have an effect, so the type is checked before the file is opened.
        match self.stat(name).map_err(failed)? {
            Some(stat) if !stat.is_regular() => return Err(refused(stat.kind())),
            Some(_) => {}
            None => return Err(failed(io::Error::from_raw_os_error(libc::ENOENT))),
        }
        step();
        let access = if write { libc::O_RDWR } else { libc::O_RDONLY };
        // The file may have been replaced since `stat`. With O_NONBLOCK, the call waits neither for
        // a FIFO nor for a lease of another process.
        let file = self.open_at(name, access, 0);
        let file = file.map_err(|e| match e.raw_os_error() {
            Some(libc::ELOOP) => refused("a symbolic link, which is never followed"),
            Some(libc::EISDIR) => refused("a directory"),
            Some(libc::ENXIO) => refused("a socket or a device"),
            // Only the owner of a file can take a lease. Waiting until the kernel breaks it takes
            // 45 seconds.
            Some(libc::EWOULDBLOCK) => Error::PermissionDenied(
                format!(
                    "cannot open {}: another process holds a lease on it",
                    self.shown(name)
                )
                .into(),
            ),
            Some(libc::EACCES) => match self.stat(name) {
                Ok(Some(stat)) => Error::PermissionDenied(
                    format!(
                        "cannot open {}: it belongs to uid {} and has the mode 0{:o}, and this process \
                         is uid {}",
                        self.shown(name),
                        stat.owner,
                        stat.mode & 0o7777,
                        os::effective_uid()
                    )
                    .into(),
                ),
                _ => failed(e),
            },
            _ => failed(e),
        })?;
        let meta = file.metadata().map_err(failed)?;
        match meta.is_file() {
            true => Ok((file, meta)),
            false => Err(refused("not a regular file")),
        }
    }

    fn open_at(&self, name: &CStr, flags: i32, mode: u32) -> io::Result<File> {
        let fd = self.fd()?;
        let safe = libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
        // SAFETY: `name` is a C string. The result is a new descriptor or -1.
        unsafe { owned(libc::openat(fd, name.as_ptr(), flags | safe, mode)) }
    }

    /// Creates an empty file under a name that must not exist.
    pub(crate) fn create_file(&self, name: &CStr, mode: u32) -> io::Result<File> {
        step();
        self.open_at(name, libc::O_RDWR | libc::O_CREAT | libc::O_EXCL, mode)
    }

    /// Renames `from` to `to` atomically and replaces the previous file.
    pub(crate) fn rename(&self, from: &CStr, to: &CStr) -> io::Result<()> {
        step();
        let fd = self.fd()?;
        // SAFETY: both names are C strings.
        done(unsafe { libc::renameat(fd, from.as_ptr(), fd, to.as_ptr()) })
    }

    /// Removes a name and returns whether it existed. A missing name is not an error.
    pub(crate) fn remove(&self, name: &CStr) -> io::Result<bool> {
        step();
        let fd = self.fd()?;
        // SAFETY: `name` is a C string.
        match done(unsafe { libc::unlinkat(fd, name.as_ptr(), 0) }) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Refuses a file that has a second name, because another user may have planted this name to
    /// make the process use that file. In a directory that is not safe, that user could remove the
    /// other name just before the count, so the check is repeated several times.
    pub(crate) fn check_one_name(&self, name: &CStr, file: &File) -> Result<()> {
        let shown = self.shown(name);
        let failed = |e| Error::from_io(&e, format_args!("cannot stat {shown}"));
        check_count(&file.metadata().map_err(failed)?, &shown)?;
        if self.is_safe() {
            return Ok(());
        }
        for _ in 0..LOOKS {
            if !self.names(name, file).map_err(failed)? {
                return Err(Error::Stale(
                    format!("{shown}: another process has replaced or removed the file").into(),
                ));
            }
            check_count(&file.metadata().map_err(failed)?, &shown)?;
        }
        Ok(())
    }
}

/// Refuses to write a file that belongs to another user. Its owner could also truncate it, which
/// would raise SIGBUS in this process.
pub(crate) fn check_owner(meta: &Metadata, shown: &impl std::fmt::Display) -> Result<()> {
    let (owner, me) = (meta.uid(), os::effective_uid());
    match owner == me {
        true => Ok(()),
        false => Err(Error::PermissionDenied(
            format!(
                "{shown}: it belongs to another user (uid {owner}; this process is uid {me}), and \
                 only its owner may write it"
            )
            .into(),
        )),
    }
}

/// How often a name is checked if another user can change it at any moment.
const LOOKS: usize = 16;

fn check_count(meta: &Metadata, shown: &Shown) -> Result<()> {
    match meta.nlink() {
        0 | 1 => Ok(()),
        names => Err(Error::PermissionDenied(
            format!(
                "{shown}: the file has {names} names (hard links), and its content \
                 does not prove that this is the right one: remove the others"
            )
            .into(),
        )),
    }
}

/// A path as it is shown to users. Characters that a terminal would interpret are escaped.
pub struct Shown(String);

impl Shown {
    /// The text for a path.
    pub fn of(path: &Path) -> Shown {
        let mut text = String::new();
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\'' | '\\' => text.push(c),
                    c => text.extend(c.escape_debug()),
                }
            }
            for byte in chunk.invalid() {
                text.push_str(&format!("\\x{byte:02x}"));
            }
        }
        Shown(text)
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn done(rc: i32) -> io::Result<()> {
    match rc {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_a_terminal_interprets_are_escaped() {
        for (name, shown) in [
            (&b"a b \\\"'"[..], "a b \\\"'"),
            (b"\x1b[2J\n\t", "\\u{1b}[2J\\n\\t"),
            ("\u{9b}31m\u{202e}".as_bytes(), "\\u{9b}31m\\u{202e}"),
            (b"\xff.x", "\\xff.x"),
            ("größe".as_bytes(), "größe"),
        ] {
            let path = Path::new(OsStr::from_bytes(name));
            assert_eq!(Shown::of(path).to_string(), shown);
        }
    }
}
