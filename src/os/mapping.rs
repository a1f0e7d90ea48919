//! Mapped files.

use super::dir::{Dir, Shown};
use super::file::OpenFile;
use super::file_system::check_file_system;
use crate::error::{Error, Result};
use memmap2::{Advice, MmapOptions, MmapRaw};
use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

#[cfg(not(ipcq_words))]
type Map = MmapRaw;
#[cfg(ipcq_words)]
type Map = std::sync::Arc<MmapRaw>;

/// A mapped file.
pub(crate) struct Region {
    map: Map,
    file: OpenFile,
    writable: bool,
}

impl Region {
    /// Opens and maps a regular file as long as it is.
    pub(crate) fn open(dir: &Dir, name: &CStr, write: bool) -> Result<Region> {
        Region::open_of(dir, name, write, None)
    }

    /// As [`Region::open`], of a file that belongs to this user. No other is mapped: its owner could
    /// truncate it.
    pub(crate) fn open_of(
        dir: &Dir,
        name: &CStr,
        write: bool,
        owner: Option<u32>,
    ) -> Result<Region> {
        let (file, meta) = dir.open_file(name, write)?;
        let shown = dir.shown(name);
        if owner.is_some_and(|owner| meta.uid() != owner) {
            return Err(Error::Damaged(
                format!("{shown}: it belongs to another user than the queue").into(),
            ));
        }
        if meta.len() == 0 {
            return Err(Error::Damaged(format!("{shown}: the file is empty").into()));
        }
        check_file_system(&file, &shown)?;
        Region::map(file, &shown, meta.len(), write)
    }

    pub(crate) fn map(file: File, shown: &Shown, size: u64, writable: bool) -> Result<Region> {
        let mut options = MmapOptions::new();
        let map = match usize::try_from(size) {
            Ok(size) => {
                options.len(size);
                match writable {
                    true => options.map_raw(&file),
                    false => options.map_raw_read_only(&file),
                }
            }
            Err(_) => Err(std::io::Error::from_raw_os_error(libc::ENOMEM)),
        };
        #[cfg(ipcq_words)]
        let map = super::tsan_mapping::share(&file, writable, || map);
        let failed = |e: std::io::Error| {
            let advice = match e.raw_os_error() {
                Some(libc::EAGAIN) => ": the limit of locked memory is reached (ulimit -l)",
                Some(libc::ENOMEM) => ": there is no address space left (ulimit -v), or no memory",
                _ => "",
            };
            Error::from_io(
                &e,
                format_args!("cannot map {size} bytes of {shown}{advice}"),
            )
        };
        Ok(Region {
            map: map.map_err(failed)?,
            file: OpenFile::new(file),
            writable,
        })
    }

    /// Has the kernel make the page tables of all of it now: a fault in each page of the first lap made
    /// a push of 64 bytes take 50 ns instead of 8. Where that fails, they come as they are needed.
    ///
    /// Only of a file that was checked and has its space reserved: this takes memory for every hole,
    /// for minutes perhaps.
    pub(crate) fn fetch_page_tables(&self) {
        let _ = self.map.advise(Advice::PopulateRead);
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn file(&self) -> &OpenFile {
        &self.file
    }

    /// Whether the name still leads to this file; an error if that cannot be found out.
    pub(crate) fn is_named(&self, dir: &Dir, name: &CStr) -> std::io::Result<bool> {
        let file = self.file.get()?;
        // An unlinked file is known without a look at the directory.
        match file.metadata()?.nlink() {
            0 => Ok(false),
            _ => dir.names(name, file),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// The user that the file belongs to.
    pub(crate) fn owner(&self) -> std::io::Result<u32> {
        Ok(self.file.get()?.metadata()?.uid())
    }
}
