//! The control file: everything that consumers write.
//!
//! ```text
//!      0  magic, version, slot bytes, max_consumers, identity    producer, once
//!    128  asleep: a consumer may be sleeping                     consumers set, producer clears
//!    256  blocked: the producer may be sleeping                  producer sets, consumers clear
//!    264  room: futex word that a blocked producer sleeps on     consumers count up
//!    384  used: no slot from this one on was ever taken          consumers raise
//!    512  one slot of 256 bytes a consumer:
//!           +0    cursor: the next sequence or position wanted
//!           +8    token: whose slot it is, 0 if nobody's
//!           +16   sequence wanted next, messages lost
//!           +128  asleep, pid, name
//! ```
//!
//! Whoever may write it can slow a producer, never corrupt a ring: nothing in it is an address or
//! a length, and every value is checked.

use crate::error::{Error, Result};
use crate::layout::Geometry;
use crate::name::Paths;
use crate::shm::Region;
use crate::sys;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// `IPCQCTRL`, read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"IPCQCTRL");
const VERSION: u32 = 1;

const HEADER_BYTES: usize = 512;
/// Bytes a registry slot has.
const SLOT_BYTES: usize = 256;

mod at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8; // u32, then slot bytes: u32
    pub const MAX_CONSUMERS: usize = 16;
    pub const ID: usize = 24;
    pub const ASLEEP: usize = 128;
}

/// A mapped control file.
pub(crate) struct Control {
    region: Region,
}

impl Control {
    /// The control file of a queue, which is made anew where it is missing or not this queue's.
    /// Only the holder of the producer's lock may call this.
    pub(crate) fn attach_or_create(paths: &Paths, g: &Geometry, mode: u32) -> Result<Control> {
        match Control::open(&paths.control, g, true) {
            Ok(control) => Ok(control),
            Err(Error::NotFound(_) | Error::Damaged(_) | Error::Version(_)) => {
                Control::create(paths, g, mode)
            }
            Err(e) => Err(e),
        }
    }

    fn create(paths: &Paths, g: &Geometry, mode: u32) -> Result<Control> {
        let shown = paths.control.display();
        let fail = |e| Error::from_io(&e, format_args!("cannot create {shown}"));
        let bytes = HEADER_BYTES + g.max_consumers as usize * SLOT_BYTES;
        let control = Control {
            region: Region::create(&paths.new_control, bytes as u64, mode)?,
        };
        let version = u64::from(VERSION) | (SLOT_BYTES as u64) << 32;
        // Nobody else sees the file before it is renamed.
        control.word(at::VERSION).store(version, Ordering::Relaxed);
        control
            .word(at::MAX_CONSUMERS)
            .store(g.max_consumers.into(), Ordering::Relaxed);
        control.word(at::ID).store(g.id, Ordering::Relaxed);
        control.word(at::MAGIC).store(MAGIC, Ordering::Release);
        sys::rename(&paths.new_control, &paths.control).map_err(fail)?;
        Ok(control)
    }

    /// Opens the control file of the queue with this geometry.
    pub(crate) fn open(path: &Path, g: &Geometry, write: bool) -> Result<Control> {
        let region = Region::open(path, write)?;
        let shown = path.display();
        let damaged = |what: &str| Err(Error::Damaged(format!("{shown}: {what}").into()));
        if region.len() < HEADER_BYTES + g.max_consumers as usize * SLOT_BYTES {
            return damaged("the file is too short");
        }
        let control = Control { region };
        let word = |at| control.word(at).load(Ordering::Relaxed);
        if word(at::MAGIC) != MAGIC {
            return damaged("not a control file");
        }
        if word(at::VERSION) != u64::from(VERSION) | (SLOT_BYTES as u64) << 32 {
            return Err(Error::Version(
                format!("{shown}: another layout version").into(),
            ));
        }
        if word(at::ID) != g.id || word(at::MAX_CONSUMERS) != u64::from(g.max_consumers) {
            return damaged("it belongs to another queue");
        }
        Ok(control)
    }

    /// The flag that says that a consumer may be sleeping.
    pub(crate) fn asleep(&self) -> &AtomicU64 {
        self.word(at::ASLEEP)
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at % 8 == 0 && at + 8 <= self.region.len());
        // SAFETY: aligned and inside the mapping, which lives as long as `self`; all accesses to
        // it are atomic.
        unsafe { AtomicU64::from_ptr(self.region.base().add(at).cast()) }
    }
}
