//! New files, which get their names when they are complete.

use super::names::Paths;
use crate::error::{Error, Result};
use crate::os::{self, Region};
use std::ffi::{CStr, CString};

/// A new file.
pub(crate) struct NewFile<'a> {
    pub region: Region,
    pub name: NewName<'a>,
}

/// The name of a new file. The file is removed unless it gets its final name.
pub(crate) struct NewName<'a> {
    paths: &'a Paths,
    name: CString,
    done: bool,
}

impl<'a> NewFile<'a> {
    /// Makes a file, reserves its space, and maps it for writing. `name` is its name until it is
    /// complete. If another user has a file of that name, the new file gets a name that nobody can
    /// guess.
    pub(crate) fn create(
        paths: &'a Paths,
        name: &CStr,
        size: u64,
        mode: u32,
    ) -> Result<NewFile<'a>> {
        let shown = paths.shown();
        let failed = |e| Error::from_io(&e, format_args!("cannot create {shown}"));
        let dir = &paths.dir;
        let mut name = match dir.remove(name) {
            Ok(_) => name.to_owned(),
            Err(_) => Paths::unguessable(),
        };
        let mut file = dir.create_file(&name, mode & 0o600);
        if matches!(&file, Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists) {
            name = Paths::unguessable();
            file = dir.create_file(&name, mode & 0o600);
        }
        let file = file.map_err(failed)?;
        let name = NewName {
            paths,
            name,
            done: false,
        };
        os::check_file_system(&file, &shown)?;
        os::fill_new(&file, &shown, size, mode)?;
        let region = Region::map(file, &shown, size, true)?;
        region.fetch_page_tables();
        Ok(NewFile { region, name })
    }

    /// Renames the file to its final name, and replaces a file that has that name.
    pub(crate) fn publish(&mut self, name: &CStr) -> Result<()> {
        self.name.publish(&self.region, name)
    }
}

impl NewName<'_> {
    pub(crate) fn as_c_str(&self) -> &CStr {
        &self.name
    }

    /// As [`NewFile::publish`].
    pub(crate) fn publish(&mut self, region: &Region, name: &CStr) -> Result<()> {
        let (dir, shown) = (&self.paths.dir, self.paths.dir.shown(name));
        let replaced = || {
            Error::Stale(
                format!("{shown}: another process has replaced or removed the file").into(),
            )
        };
        let failed = |e: std::io::Error| match e.raw_os_error() {
            Some(libc::EISDIR) => Error::Damaged(format!("{shown}: it is a directory").into()),
            Some(libc::ENOENT | libc::ENOTDIR | libc::ENOTEMPTY | libc::EEXIST) => replaced(),
            _ => Error::from_io(&e, format_args!("cannot create {shown}")),
        };
        dir.rename(&self.name, name).map_err(failed)?;
        self.done = true;
        // If everybody may write the directory, another user may have moved a file there.
        match region.is_named(dir, name) {
            Ok(false) => Err(replaced()),
            _ => Ok(()),
        }
    }

    /// Keeps the file under its present name.
    pub(crate) fn keep(&mut self) {
        self.done = true;
    }
}

impl Drop for NewName<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.paths.dir.remove(&self.name);
        }
    }
}
