//! Names and the files they stand for.

use crate::error::{Error, Result};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What a queue's files are called besides the data file: `NAME.ctl` and so on. No queue may have
/// a name that ends so, for its files would be another's.
const CONTROL: &str = ".ctl";
const LOCK: &str = ".lock";
const NEW: &str = ".new";

/// Where the files of bare names go.
const DIRECTORY: &str = "/dev/shm";
/// The variable that says otherwise.
const DIRECTORY_VARIABLE: &str = "IPCQ_DIR";
/// What bare names begin with there.
const PREFIX: &str = "ipcq.";

/// The longest file name of Linux.
const NAME_MAX: usize = 255;

/// The files of one name.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    /// The name itself: header and ring; or a shared memory.
    pub data: PathBuf,
    /// What consumers write.
    pub control: PathBuf,
    /// The producer's lock.
    pub lock: PathBuf,
    /// Files in the making, renamed when they are whole. Only the holder of the lock makes them,
    /// so that one left by a killed process is simply replaced.
    pub new_data: PathBuf,
    pub new_control: PathBuf,
}

/// The directory of bare names.
pub fn directory() -> PathBuf {
    match std::env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) if !directory.is_empty() => directory.into(),
        _ => DIRECTORY.into(),
    }
}

impl Paths {
    /// A name without `/` is a file `ipcq.NAME` in the shared directory, any other is a path.
    pub(crate) fn of(name: &OsStr) -> Result<Paths> {
        let invalid = |what: &str| {
            Err(Error::Invalid(
                format!("queue name {name:?}: {what}").into(),
            ))
        };
        let bytes = name.as_bytes();
        if bytes.is_empty() {
            return invalid("it is empty");
        }
        let data = if bytes.contains(&b'/') {
            PathBuf::from(name)
        } else {
            let mut file = OsString::from(PREFIX);
            file.push(name);
            directory().join(file)
        };
        if !crate::sys::is_representable(&data) {
            return invalid("it contains a NUL");
        }
        // A name with a trailing slash is refused below.
        let data = std::path::absolute(&data)
            .map_err(|e| Error::from_io(&e, format_args!("queue name {name:?}")))?;
        if bytes.ends_with(b"/") || data.file_name().is_none() {
            return invalid("it names a directory");
        }
        for taken in [CONTROL, LOCK, NEW] {
            if bytes.ends_with(taken.as_bytes()) {
                return invalid(&format!(
                    "names that end in {taken} are those of its other files"
                ));
            }
        }
        let file = data.file_name().map_or(0, |f| f.len());
        if file + CONTROL.len() + NEW.len() > NAME_MAX {
            let error = std::io::Error::from_raw_os_error(libc::ENAMETOOLONG);
            return Err(Error::from_io(&error, format_args!("queue name {name:?}")));
        }
        let with = |suffixes: &[&str]| {
            let mut path = data.clone().into_os_string();
            suffixes.iter().for_each(|s| path.push(s));
            PathBuf::from(path)
        };
        Ok(Paths {
            control: with(&[CONTROL]),
            lock: with(&[LOCK]),
            new_data: with(&[NEW]),
            new_control: with(&[CONTROL, NEW]),
            data,
        })
    }

    /// The data file as people are shown it.
    pub(crate) fn shown(&self) -> std::path::Display<'_> {
        self.data.display()
    }
}

/// The names of the queues in the shared directory: what [`crate::list`] goes through.
pub(crate) fn bare_name(path: &Path) -> Option<OsString> {
    let name = path
        .file_name()?
        .as_bytes()
        .strip_prefix(PREFIX.as_bytes())?;
    let other = [CONTROL, LOCK, NEW]
        .iter()
        .any(|s| name.ends_with(s.as_bytes()));
    (!name.is_empty() && !other).then(|| OsStr::from_bytes(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_names_and_paths() {
        let bare = Paths::of(OsStr::new("ticks")).unwrap();
        assert_eq!(bare.data.file_name().unwrap(), "ipcq.ticks");
        assert_eq!(bare_name(&bare.data).unwrap(), "ticks");
        assert_eq!(bare_name(&bare.control), None);
        let path = Paths::of(OsStr::new("./data.bin")).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(path.data, here.join("data.bin"));
        assert_eq!(path.control, here.join("data.bin.ctl"));
        assert_eq!(path.new_control, here.join("data.bin.ctl.new"));
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
