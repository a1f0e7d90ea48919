//! Names of queues, and their files.

use crate::error::{Error, Result};
use crate::os;
use crate::os::dir::{Dir, Shown};
use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// The suffixes of the files next to the data file: `NAME.ctl` and so on. The name of a queue
/// cannot end in one of them, because its files would be those of another queue.
const CONTROL: &str = ".ctl";
const LOCK: &str = ".lock";
const NEW: &str = ".new";

/// The directory of bare names.
const DIRECTORY: &str = "/dev/shm";
/// The environment variable that overrides it.
const DIRECTORY_VARIABLE: &str = "IPCQ_DIR";
/// The prefix of bare names in that directory.
pub(crate) const PREFIX: &str = "ipcq.";

/// The longest file name of Linux.
const NAME_MAX: usize = 255;

/// The files of one name, in a directory that was resolved once.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    pub dir: Arc<Dir>,
    /// The absolute path of the data file.
    pub path: PathBuf,
    /// The data file, with header and ring, or a plain shared memory.
    pub data: CString,
    /// The file that consumers write.
    pub control: CString,
    /// The lock file of the producer.
    pub lock: CString,
    /// New files. They are renamed when they are complete. Only the holder of the lock makes them,
    /// so a file that a killed process has left is replaced.
    pub new_data: CString,
    pub new_control: CString,
}

/// The directory of bare names.
pub(crate) fn directory() -> PathBuf {
    match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) if !directory.is_empty() => directory.into(),
        _ => DIRECTORY.into(),
    }
}

impl Paths {
    /// A name without `/` stands for the file `ipcq.NAME` in the shared directory. Any other name
    /// is a path. Its directory must exist.
    pub(crate) fn of(name: &OsStr) -> Result<Paths> {
        let path = path_of(name)?;
        let invalid =
            || Error::Invalid(format!("queue name {name:?}: it names a directory").into());
        let (Some(parent), Some(file)) = (path.parent(), path.file_name()) else {
            return Err(invalid());
        };
        let dir = Dir::open(parent).map_err(|e| {
            let (path, parent) = (Shown::of(&path), Shown::of(parent));
            Error::from_io(
                &e,
                format_args!("{path}: cannot open the directory {parent}"),
            )
        })?;
        let with = |suffixes: &[&str]| {
            let mut name = file.as_bytes().to_vec();
            suffixes.iter().for_each(|s| name.extend(s.as_bytes()));
            CString::new(name).map_err(|_| invalid())
        };
        Ok(Paths {
            dir: Arc::new(dir),
            data: with(&[])?,
            control: with(&[CONTROL])?,
            lock: with(&[LOCK])?,
            new_data: with(&[NEW])?,
            new_control: with(&[CONTROL, NEW])?,
            path,
        })
    }

    /// The data file, in the form for messages.
    pub(crate) fn shown(&self) -> Shown {
        Shown::of(&self.path)
    }

    /// The data file of a name, in the form for messages. Its directory need not exist.
    pub(crate) fn shown_of(name: &OsStr) -> Shown {
        Shown::of(&path_of(name).unwrap_or_else(|_| name.into()))
    }

    /// A name for a new file that no other process can guess. It is used if something that cannot
    /// be removed has the usual name.
    pub(crate) fn unguessable() -> CString {
        let text = format!(".{PREFIX}{:016x}{NEW}", os::unique_id());
        // The text has no NUL.
        CString::new(text).unwrap_or_default()
    }
}

/// The absolute path of the data file of a name.
fn path_of(name: &OsStr) -> Result<PathBuf> {
    let invalid = |what: &str| Error::Invalid(format!("queue name {name:?}: {what}").into());
    let bytes = name.as_bytes();
    if bytes.is_empty() {
        return Err(invalid("it is empty"));
    }
    if bytes.contains(&0) {
        return Err(invalid("it contains a NUL"));
    }
    let path = if bytes.contains(&b'/') {
        PathBuf::from(name)
    } else {
        let mut file = OsString::from(PREFIX);
        file.push(name);
        directory().join(file)
    };
    if bytes.ends_with(b"/") || path.file_name().is_none() {
        return Err(invalid("it names a directory"));
    }
    for taken in [CONTROL, LOCK, NEW] {
        if bytes.ends_with(taken.as_bytes()) {
            return Err(invalid(&format!(
                "a name cannot end in {taken}, as the other files of a queue do"
            )));
        }
    }
    let tried = format!("queue name {name:?}");
    if path.file_name().map_or(0, OsStr::len) + CONTROL.len() + NEW.len() > NAME_MAX {
        let error = std::io::Error::from_raw_os_error(libc::ENAMETOOLONG);
        return Err(Error::from_io(&error, &tried));
    }
    std::path::absolute(&path).map_err(|e| Error::from_io(&e, &tried))
}

/// The name of the queue that a file in the shared directory belongs to. [`crate::list`] uses it.
pub(crate) fn bare_name(file: &OsStr) -> Option<OsString> {
    let name = file.as_bytes().strip_prefix(PREFIX.as_bytes())?;
    let other = [CONTROL, LOCK, NEW]
        .iter()
        .any(|s| name.ends_with(s.as_bytes()));
    (!name.is_empty() && !other).then(|| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn os(name: &CStr) -> &OsStr {
        OsStr::from_bytes(name.to_bytes())
    }

    #[test]
    fn bare_names_and_paths() {
        let bare = Paths::of(OsStr::new("ticks")).unwrap();
        assert_eq!(bare.path.file_name().unwrap(), "ipcq.ticks");
        assert_eq!(bare_name(os(&bare.data)).unwrap(), "ticks");
        assert_eq!(bare_name(os(&bare.control)), None);
        let path = Paths::of(OsStr::new("./data.bin")).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(path.path, here.join("data.bin"));
        assert_eq!(os(&path.data), "data.bin");
        assert_eq!(os(&path.control), "data.bin.ctl");
        assert_eq!(os(&path.new_control), "data.bin.ctl.new");
    }

    #[test]
    fn an_unguessable_name_is_that_of_a_file_in_the_making() {
        let (one, two) = (Paths::unguessable(), Paths::unguessable());
        assert!(one != two && bare_name(os(&one)).is_none(), "{one:?}");
    }

    #[test]
    fn odd_names() {
        for bad in ["", "/", "a/", "x.ctl", "x.lock", "./x.new", "a\0b", "a/.."] {
            assert!(
                matches!(Paths::of(OsStr::new(bad)), Err(Error::Invalid(_))),
                "{bad:?}"
            );
        }
        for fine in ["..", ".", "a b", "x.ctl.y"] {
            Paths::of(OsStr::new(fine)).unwrap();
        }
        Paths::of(OsStr::from_bytes(b"\xff\xfe")).unwrap();
        let long = "x".repeat(NAME_MAX);
        let error = Paths::of(OsStr::new(&long)).unwrap_err();
        assert_eq!(error.code(), -libc::ENAMETOOLONG);
    }
}
