//! The control file: the words that consumers write. The producer makes the file, and writes some
//! of these words, too.
//!
//! ```text
//!      0  magic, version, slot bytes, max_consumers, identity    producer, once
//!    128  asleep: all ones if a consumer may be sleeping         consumers set, producer clears
//!    256  blocked: all ones if the producer may be sleeping      producer sets, consumers clear
//!    264  room: futex word that a blocked producer sleeps on     consumers increment
//!    384  used: high-water mark: slots at or above it were
//!         never taken                                            consumers raise
//!    512  a slot of 256 bytes for each consumer:
//!           +0    cursor: the next sequence or position
//!           +8    token: identifies the owner, 0 if free         consumer, producer evicts
//!           +16   next sequence, lost messages                     for information
//!           +128  asleep, pid, name                                for information
//! ```
//!
//! A process that may write this file can slow a producer down, but cannot corrupt a ring. Nothing
//! in the file is an address or a length, and every value is checked.

use crate::error::{Error, Result};
use crate::format::data_file::Geometry;
use crate::format::names::Paths;
use crate::format::new_file::{NewFile, NewName};
use crate::os::{self, Region};
use std::ffi::CStr;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// `IPCQCTRL`, read as a little-endian number.
const MAGIC: u64 = u64::from_le_bytes(*b"IPCQCTRL");
const VERSION: u32 = 1;

const HEADER_BYTES: usize = 512;
/// Bytes of a consumer slot.
const SLOT_BYTES: usize = 256;

mod at {
    pub const MAGIC: usize = 0;
    pub const VERSION: usize = 8; // u32, then slot bytes: u32
    pub const MAX_CONSUMERS: usize = 16;
    pub const ID: usize = 24;
    pub const ASLEEP: usize = 128;
    pub const BLOCKED: usize = 256;
    pub const ROOM: usize = 264;
    pub const USED: usize = 384;
}

/// Offsets in a slot.
mod slot {
    /// The offset of its [`SlotPosition`](super::SlotPosition).
    pub const POSITION: usize = 0;
    /// Offsets of some of its words.
    pub const CURSOR: usize = std::mem::offset_of!(super::SlotPosition, cursor);
    pub const TOKEN: usize = std::mem::offset_of!(super::SlotPosition, token);
    pub const SEQUENCE: usize = std::mem::offset_of!(super::SlotPosition, sequence);
    pub const LOST: usize = std::mem::offset_of!(super::SlotPosition, lost);
    pub const ASLEEP: usize = 128;
    pub const PID: usize = 136;
    pub const NAME: usize = 144;
    pub const NAME_BYTES: usize = 64;
    const _: () = assert!(NAME + NAME_BYTES <= super::SLOT_BYTES);
}

/// A mapped control file.
pub(crate) struct Control {
    region: Arc<Region>,
    slots: usize,
}

impl Control {
    /// Makes the control file of a queue. The caller then gives it its name.
    pub(crate) fn make<'a>(
        paths: &'a Paths,
        g: &Geometry,
        mode: u32,
    ) -> Result<(Control, NewName<'a>)> {
        let bytes = HEADER_BYTES + g.max_consumers as usize * SLOT_BYTES;
        let file = NewFile::create(paths, &paths.new_control, bytes as u64, mode)?;
        let control = Control {
            region: Arc::new(file.region),
            slots: g.max_consumers as usize,
        };
        let version = u64::from(VERSION) | (SLOT_BYTES as u64) << 32;
        // Nothing relies on the release order of the magic. The data file of a new queue gets its
        // name after these stores, and the kernel orders a rename before an open that finds the
        // file. So a process that knows the id from the data file sees all of these stores. Two
        // kinds of process may open an unfinished file under `new_control`: one that looks for the
        // old queue, or one that looks while an existing lossy queue gets a new control file. Then
        // a word does not match, and `open` fails.
        control.word(at::VERSION).store(version, Ordering::Relaxed);
        control
            .word(at::MAX_CONSUMERS)
            .store(g.max_consumers.into(), Ordering::Relaxed);
        control.word(at::ID).store(g.id, Ordering::Relaxed);
        control.word(at::MAGIC).store(MAGIC, Ordering::Release);
        Ok((control, file.name))
    }

    /// Opens the control file of the queue with this geometry. Also returns the name under which it
    /// was found: the final name (`control`), or the name of a new file (`new_control`).
    ///
    /// A process that makes or replaces a queue renames the data file first. Until it renames the
    /// control file, that file is found under the second name. So the rename of the data file alone
    /// replaces both files.
    ///
    /// `owner` is the owner of the data file. Another user may have put any file under the final
    /// name. If that file is wrong in any way, this looks at the second name.
    pub(crate) fn find<'a>(
        paths: &'a Paths,
        g: &Geometry,
        write: bool,
        owner: u32,
    ) -> Result<(Control, &'a CStr)> {
        let own = || {
            Ok((
                Control::open(paths, &paths.control, g, write, owner)?,
                &*paths.control,
            ))
        };
        match own() {
            Err(_) => {
                match Control::open(paths, &paths.new_control, g, write, owner) {
                    Ok(control) => Ok((control, &paths.new_control)),
                    // Another process may have renamed it between the two looks.
                    Err(_) => own(),
                }
            }
            found => found,
        }
    }

    /// Opens a control file by its name.
    fn open(paths: &Paths, name: &CStr, g: &Geometry, write: bool, owner: u32) -> Result<Control> {
        let region = Arc::new(Region::open_of(&paths.dir, name, write, Some(owner))?);
        let shown = paths.dir.shown(name);
        let damaged = |what: &str| Err(Error::Damaged(format!("{shown}: {what}").into()));
        if region.len() < HEADER_BYTES + g.max_consumers as usize * SLOT_BYTES {
            return damaged("the file is too short");
        }
        let control = Control {
            region,
            slots: g.max_consumers as usize,
        };
        let word = |at| control.word(at).load(Ordering::Relaxed);
        if word(at::MAGIC) != MAGIC {
            return damaged("it is not a control file");
        }
        if word(at::VERSION) != u64::from(VERSION) | (SLOT_BYTES as u64) << 32 {
            return Err(Error::Version(
                format!("{shown}: it has another layout version").into(),
            ));
        }
        if word(at::ID) != g.id || word(at::MAX_CONSUMERS) != u64::from(g.max_consumers) {
            return damaged("it belongs to another queue");
        }
        Ok(control)
    }

    /// The flag that tells the producer that a consumer may be sleeping.
    pub(crate) fn asleep(&self) -> &AtomicU64 {
        self.word(at::ASLEEP)
    }

    /// The flag that tells the consumers that the producer may be sleeping.
    pub(crate) fn blocked(&self) -> &AtomicU64 {
        self.word(at::BLOCKED)
    }

    /// The word that the producer sleeps on until the ring has room.
    pub(crate) fn room(&self) -> NonNull<AtomicU32> {
        NonNull::from(self.word(at::ROOM)).cast()
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// The number of consumer slots.
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }

    /// The high-water mark of the slots. Slots at or above it were never taken.
    pub(crate) fn used(&self) -> usize {
        let used = self.word(at::USED).load(Ordering::Relaxed);
        usize::try_from(used).map_or(self.slots, |used| used.min(self.slots))
    }

    /// Records that slot `index` is in use. `Site::TakeSlot` orders this before a look at the
    /// limit.
    pub(crate) fn use_slot(&self, index: usize) {
        self.word(at::USED)
            .fetch_max(index as u64 + 1, Ordering::Relaxed);
    }

    /// A consumer slot. `index` is below [`Control::slots`].
    pub(crate) fn slot(&self, index: usize) -> Slot<'_> {
        assert!(index < self.slots);
        Slot {
            control: self,
            base: HEADER_BYTES + index * SLOT_BYTES,
        }
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        debug_assert!(at % 8 == 0 && at + 8 <= self.region.len());
        // SAFETY: aligned and inside the mapping, which lives as long as `self`. All accesses to it
        // are atomic.
        unsafe { AtomicU64::from_ptr(self.region.base().add(at).cast()) }
    }
}

/// One consumer slot in a control file.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'a> {
    control: &'a Control,
    base: usize,
}

/// The first words of a slot: the position that its consumer publishes, and the token.
#[repr(C)]
pub(crate) struct SlotPosition {
    /// The sequence (fixed) or position (variable) of the next message.
    pub(crate) cursor: AtomicU64,
    /// Identifies the owner of the slot. 0 if it is free.
    pub(crate) token: AtomicU64,
    /// The sequence of the next message. This word and the next are for information only.
    pub(crate) sequence: AtomicU64,
    pub(crate) lost: AtomicU64,
}

impl<'a> Slot<'a> {
    pub(crate) fn position(&self) -> &'a SlotPosition {
        const _: () = assert!(slot::POSITION % 8 == 0);
        const _: () = assert!(slot::POSITION + size_of::<SlotPosition>() <= slot::ASLEEP);
        // SAFETY: aligned and inside the mapping, which lives as long as the control file. All
        // accesses to it are atomic.
        unsafe {
            &*self
                .control
                .region
                .base()
                .add(self.base + slot::POSITION)
                .cast()
        }
    }

    /// The sequence of the next message of this consumer, for information.
    pub(crate) fn sequence(&self) -> u64 {
        self.position().sequence.load(Ordering::Relaxed)
    }

    pub(crate) fn asleep(&self) -> &AtomicU64 {
        self.control.word(self.base + slot::ASLEEP)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid_word().load(Ordering::Relaxed) as u32
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid_word().store(pid.into(), Ordering::Relaxed);
    }

    fn pid_word(&self) -> &AtomicU64 {
        self.control.word(self.base + slot::PID)
    }

    /// Stores the name, cut to the space in the slot.
    pub(crate) fn set_name(&self, name: &str) {
        // At least one zero byte follows the name, so that C can read it as a string.
        let mut end = name.len().min(slot::NAME_BYTES - 1);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; slot::NAME_BYTES];
        bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
        for (i, word) in bytes.chunks_exact(8).enumerate() {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            self.name_word(i).store(word, Ordering::Relaxed);
        }
    }

    pub(crate) fn name(&self) -> String {
        let mut bytes = Vec::with_capacity(slot::NAME_BYTES);
        for i in 0..slot::NAME_BYTES / 8 {
            bytes.extend(self.name_word(i).load(Ordering::Relaxed).to_le_bytes());
        }
        name_of(&bytes)
    }

    fn name_word(&self, i: usize) -> &AtomicU64 {
        self.control.word(self.base + slot::NAME + i * 8)
    }
}

/// The contents of a slot at one moment.
pub(crate) struct SlotCopy {
    pub cursor: u64,
    pub token: u64,
    pub sequence: u64,
    pub lost: u64,
    pub asleep: bool,
    pub pid: u32,
    pub name: String,
}

/// Reads the slots of a control file that is not mapped. Returns `None` if the file does not belong
/// to the queue with this geometry.
pub(crate) fn read_slots(file: &File, g: &Geometry) -> std::io::Result<Option<Vec<SlotCopy>>> {
    let slots = g.max_consumers as usize;
    let mut bytes = vec![0; HEADER_BYTES + slots * SLOT_BYTES];
    if os::read_up_to(file, &mut bytes, 0)? < bytes.len() {
        return Ok(None);
    }
    let word = |at: usize| match bytes.get(at..at + 8) {
        Some(word) => u64::from_le_bytes(word.try_into().unwrap_or_default()),
        None => 0,
    };
    if word(at::MAGIC) != MAGIC || word(at::ID) != g.id {
        return Ok(None);
    }
    let used = usize::try_from(word(at::USED)).map_or(slots, |used| used.min(slots));
    let copies = (0..used).map(|index| {
        let base = HEADER_BYTES + index * SLOT_BYTES;
        let name = base + slot::NAME;
        SlotCopy {
            cursor: word(base + slot::POSITION + slot::CURSOR),
            token: word(base + slot::POSITION + slot::TOKEN),
            sequence: word(base + slot::POSITION + slot::SEQUENCE),
            lost: word(base + slot::POSITION + slot::LOST),
            asleep: word(base + slot::ASLEEP) != 0,
            pid: word(base + slot::PID) as u32,
            name: name_of(&bytes[name..name + slot::NAME_BYTES]),
        }
    });
    Ok(Some(copies.collect()))
}

/// The name of a consumer. A process that may write the file can store any bytes there.
fn name_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
