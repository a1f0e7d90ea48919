//! In builds for ThreadSanitizer (`cfg(ipcq_words)`), all handles of a process on one file share
//! one mapping. The tool compares addresses, so it would not relate accesses through two mappings.
//! See `scripts/tsan.sh`.

use crate::os::{identity, Identity};
use memmap2::MmapRaw;
use std::fs::File;
use std::io::Result;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The existing mappings: the file, and whether the mapping is writable.
static ALL: Mutex<Vec<(Identity, bool, Weak<MmapRaw>)>> = Mutex::new(Vec::new());

/// Returns an existing mapping of the file that is suitable, or a new one.
pub(crate) fn share(
    file: &File,
    writable: bool,
    map: impl FnOnce() -> Result<MmapRaw>,
) -> Result<Arc<MmapRaw>> {
    let file = identity(&file.metadata()?);
    let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.retain(|(_, _, map)| map.strong_count() > 0);
    let found = all
        .iter()
        .filter(|(of, can_write, _)| *of == file && (*can_write || !writable))
        .find_map(|(_, _, map)| map.upgrade());
    if let Some(map) = found {
        return Ok(map);
    }
    let map = Arc::new(map()?);
    // Writable mappings and read-only ones are both suitable for readers. The newest comes first.
    all.insert(0, (file, writable, Arc::downgrade(&map)));
    Ok(map)
}
