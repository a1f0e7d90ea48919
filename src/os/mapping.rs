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
    /// Opens a regular file and maps its full length.
    pub(crate) fn open(dir: &Dir, name: &CStr, write: bool) -> Result<Region> {
        Region::open_of(dir, name, write, None)
    }

    /// As [`Region::open`], for a file that must belong to `owner`, if one is given. Another owner
    /// could truncate the file.
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
                format!("{shown}: it does not belong to the owner of the queue").into(),
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
                Some(libc::ENOMEM) => ": the address space (ulimit -v) or the memory is exhausted",
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

    /// Asks the kernel to fill the page tables of the whole mapping now. Otherwise a page fault in
    /// each page of the first lap raises a push of 64 bytes from 8 ns to 50 ns. If the request
    /// fails, the faults occur later.
    ///
    /// Call this only for a file that was checked and has its space reserved. For each hole the
    /// kernel would allocate memory, possibly for minutes.
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

    /// Whether the name still refers to this file. An error if that cannot be determined.
    pub(crate) fn is_named(&self, dir: &Dir, name: &CStr) -> std::io::Result<bool> {
        let file = self.file.get()?;
        // An unlinked file is recognised without reading the directory.
        match file.metadata()?.nlink() {
            0 => Ok(false),
            _ => dir.names(name, file),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writable
    }

    /// The owner of the file.
    pub(crate) fn owner(&self) -> std::io::Result<u32> {
        Ok(self.file.get()?.metadata()?.uid())
    }
}
