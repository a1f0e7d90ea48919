//! The registry of consumers: which are attached, their positions, and whether they are alive.
//!
//! A consumer that may write the control file takes a slot: it locks the byte with the slot's
//! number, and stores a token that no other consumer has. When the process ends in any way, the
//! kernel drops the lock. (A pid could belong to another process by then.) In a lossless queue the
//! slot holds the producer back ([`crate::ring::flow_control`]). In a lossy queue it only shows the
//! consumer to monitors.

use crate::error::{Error, Result};
use crate::format::control_file::{self, Control, Slot, SlotPosition};
use crate::format::data_file::Geometry;
use crate::format::names::Paths;
use crate::os::{self, HeldLock, Lock, SpareFile, RESIDUE};
use crate::ring::flow_control;
use crate::ring::Site;
use std::fs::File;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An attached consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// The name that the consumer was opened with, cut to 63 bytes.
    pub name: String,
    /// Its process. This is for information only, because the pid may have been reused.
    pub pid: u32,
    /// The sequence of its next message, as last published: up to 64 messages ago, if it has not
    /// found the queue empty since.
    pub sequence: u64,
    /// How many messages were pushed and not consumed, computed from that sequence.
    pub lag: u64,
    /// How many messages it has lost since it attached.
    pub lost: u64,
    /// Whether it sleeps until a message comes.
    pub asleep: bool,
}

/// A consumer's own slot.
pub(crate) struct ConsumerSlot {
    /// In the mapping of `control`.
    position: NonNull<SlotPosition>,
    control: Arc<Control>,
    lock: HeldLock,
    /// For a forked child, which takes a slot of its own.
    spare: Arc<SpareFile>,
    index: usize,
    token: u64,
}

// SAFETY: the pointer leads to atomics in the mapping that comes with it.
unsafe impl Send for ConsumerSlot {}
// SAFETY: as above.
unsafe impl Sync for ConsumerSlot {}

impl ConsumerSlot {
    /// Locks a free slot of the control file. Returns `None` if no slot is free. `child_of` is the
    /// slot that a forked child has inherited.
    pub(crate) fn lock(
        control: Arc<Control>,
        paths: &Paths,
        name: &str,
        child_of: Option<&ConsumerSlot>,
    ) -> Result<Option<ConsumerSlot>> {
        let since = Instant::now();
        loop {
            let slot = ConsumerSlot::try_lock(&control, paths, name, child_of)?;
            // A free slot may stay locked for a moment.
            let is_free = |index| {
                let token = &control.slot(index).position().token;
                token.load(Ordering::Relaxed) == 0
            };
            if slot.is_some() || !(0..control.slots()).any(is_free) || since.elapsed() > RESIDUE {
                return Ok(slot);
            }
            os::nap(Duration::from_millis(1));
        }
    }

    fn try_lock(
        control: &Arc<Control>,
        paths: &Paths,
        name: &str,
        child_of: Option<&ConsumerSlot>,
    ) -> Result<Option<ConsumerSlot>> {
        let shown = paths.dir.shown(&paths.control);
        let failed = |e| Error::from_io(&e, format_args!("cannot lock {shown}"));
        let mut free = None;
        let held = HeldLock::take(
            // A separate opening, because its locks have to end with this process.
            || match child_of.and_then(|slot| slot.spare.take()) {
                Some(file) => Ok((file, ())),
                None => Ok((opening(control, paths)?, ())),
            },
            |file, ()| {
                for index in 0..control.slots() {
                    if os::try_lock(file, Lock::Exclusive, index as u64).map_err(failed)? {
                        free = Some(index);
                        break;
                    }
                }
                Ok(free.is_some())
            },
        )?;
        let (Some((lock, ())), Some(index)) = (held, free) else {
            return Ok(None);
        };
        let slot = control.slot(index);
        // A consumer that died may have left its token. Clear it first, because the producer must
        // not take the cursor of one consumer for that of another.
        let position = slot.position();
        position.token.store(0, Ordering::Release);
        position.lost.store(0, Ordering::Relaxed);
        slot.asleep().store(0, Ordering::Relaxed);
        slot.set_pid(std::process::id());
        slot.set_name(name);
        Ok(Some(ConsumerSlot {
            position: NonNull::from(position),
            spare: SpareFile::new(control.region().file()),
            lock,
            control: control.clone(),
            index,
            token: os::unique_id(),
        }))
    }

    fn slot(&self) -> Slot<'_> {
        self.control.slot(self.index)
    }

    #[inline(always)]
    fn position(&self) -> &SlotPosition {
        // SAFETY: mapped for as long as the control file, which is kept.
        unsafe { self.position.as_ref() }
    }

    /// Whether the slot belongs to this process, and not to the process that it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.lock.is_own()
    }

    /// Whether this consumer still has the slot. The producer may have evicted it.
    #[inline(always)]
    pub(crate) fn is_held(&self) -> bool {
        self.is_own() && self.position().token.load(Ordering::Relaxed) == self.token
    }

    /// Publishes the position of this consumer. The producer of a lossless queue may overwrite
    /// what is before that.
    #[inline(always)]
    pub(crate) fn publish_position(&self, cursor: u64, sequence: u64, lost: u64) {
        let position = self.position();
        position.sequence.store(sequence, Ordering::Relaxed);
        position.lost.store(lost, Ordering::Relaxed);
        // Partner: `SeeCursor`. Everything before the cursor has been read.
        flow_control::SlotCursor::store_cursor_release(self, Site::Consumed, cursor);
    }

    pub(crate) fn set_asleep(&self, asleep: bool) {
        if self.is_own() {
            self.slot().asleep().store(asleep.into(), Ordering::Relaxed);
        }
    }
}

impl flow_control::SlotCursor for ConsumerSlot {
    fn reserve(&self, cursor: u64) {
        let position = self.position();
        self.control.use_slot(self.index);
        position.cursor.store(cursor, Ordering::Relaxed);
        // Partner: the acquire load in `cursors`. A producer that sees the token sees the cursor.
        position.token.store(self.token, Ordering::Release);
    }

    #[inline(always)]
    fn store_cursor_release(&self, _site: Site, cursor: u64) {
        self.position().cursor.store(cursor, Ordering::Release);
    }
}

impl Drop for ConsumerSlot {
    fn drop(&mut self) {
        self.spare.end();
        if self.is_held() {
            self.position().token.store(0, Ordering::Release);
        }
    }
}

/// A file by which the locks of the slots are tested.
pub(crate) enum Probe<'a> {
    Own(&'a File),
    Opened(File),
    None,
}

impl Probe<'_> {
    /// Whether a process holds the lock of a slot. If that cannot be found out, the consumer counts
    /// as alive.
    pub(crate) fn is_alive(&self, index: usize) -> bool {
        let file = match self {
            Probe::Own(file) => file,
            Probe::Opened(file) => file,
            Probe::None => return true,
        };
        os::is_locked(file, Lock::Exclusive, index as u64).unwrap_or(true)
    }
}

/// Opens a control file again, by the path of the queue.
fn opening_by_path(control: &Control, paths: &Paths) -> Option<File> {
    let again = Paths::of(paths.path.as_os_str()).ok()?;
    let names = [&again.control, &again.new_control];
    let mut files = names
        .into_iter()
        .filter_map(|name| again.dir.open_file(name, false).ok());
    let (file, _) =
        files.find(|(_, meta)| os::identity(meta) == control.region().file().identity())?;
    Some(file)
}

/// Opens a control file again, to write.
fn opening(control: &Control, paths: &Paths) -> Result<File> {
    let region = control.region();
    // By its names and by /proc, because a process may have no /proc, and a file may have lost its
    // name.
    let names = [&paths.control, &paths.new_control];
    for name in names {
        if let Ok((file, meta)) = paths.dir.open_file(name, true) {
            if os::identity(&meta) == region.file().identity() {
                return Ok(file);
            }
        }
    }
    region.file().reopen().map_err(|e| {
        let advice = match e.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => {
                ": open the queue before the process gives up its rights"
            }
            _ => "",
        };
        let what = "cannot open its control file again";
        Error::from_io(&e, format_args!("{}: {what}{advice}", paths.shown()))
    })
}

impl flow_control::SlotCursors for Control {
    fn cursors(&self, mut each: impl FnMut(u64)) {
        for index in 0..self.used() {
            let position = self.slot(index).position();
            // Partner: the release store in `reserve`.
            if position.token.load(Ordering::Acquire) != 0 {
                each(position.cursor.load(Ordering::Relaxed));
            }
        }
    }
}

impl Control {
    /// A file by which to test which slots are locked. A program that has closed all of its
    /// descriptors opens it by its path.
    pub(crate) fn probe(&self, paths: &Paths) -> Probe<'_> {
        match self.region().file().get() {
            Ok(file) => Probe::Own(file),
            Err(_) => opening_by_path(self, paths).map_or(Probe::None, Probe::Opened),
        }
    }

    /// Frees the slots for which `evicts` returns true, given index, token and cursor. Returns
    /// whether it has freed any.
    pub(crate) fn evict_slots(&self, mut evicts: impl FnMut(usize, u64, u64) -> bool) -> bool {
        let mut any = false;
        for index in 0..self.used() {
            let position = self.slot(index).position();
            let token = position.token.load(Ordering::Acquire);
            if token != 0 && evicts(index, token, position.cursor.load(Ordering::Relaxed)) {
                // Only if the same consumer still has the slot. Relaxed: nothing was written for
                // this.
                any |= position
                    .token
                    .compare_exchange(token, 0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            }
        }
        any
    }

    /// The attached consumers, the slowest first. It takes a system call for each.
    pub(crate) fn consumers(&self, paths: &Paths, pushed: u64) -> Vec<ConsumerInfo> {
        let probe = self.probe(paths);
        let attached = (0..self.used())
            .filter(|&index| self.slot(index).position().token.load(Ordering::Acquire) != 0)
            .filter(|&index| probe.is_alive(index));
        let info = attached.map(|index| {
            let slot = self.slot(index);
            let position = slot.position();
            let sequence = slot.sequence();
            ConsumerInfo {
                name: slot.name(),
                pid: slot.pid(),
                sequence,
                lag: lag(pushed, sequence),
                lost: position.lost.load(Ordering::Relaxed),
                asleep: slot.asleep().load(Ordering::Relaxed) != 0,
            }
        });
        slowest_first(info.collect())
    }
}

/// As [`Control::consumers`], from a file that is not mapped, and each with its cursor. Returns
/// `None` if the file does not belong to the queue with this geometry.
pub(crate) fn read_consumers(
    file: &File,
    g: &Geometry,
    pushed: u64,
) -> std::io::Result<Option<Vec<(u64, ConsumerInfo)>>> {
    let Some(slots) = control_file::read_slots(file, g)? else {
        return Ok(None);
    };
    let slots = slots.into_iter().enumerate();
    let attached = slots.filter(|(index, slot)| {
        let alive = || os::is_locked(file, Lock::Exclusive, *index as u64);
        slot.token != 0 && alive().unwrap_or(true)
    });
    let info = attached.map(|(_, slot)| {
        let info = ConsumerInfo {
            lag: lag(pushed, slot.sequence),
            name: slot.name,
            pid: slot.pid,
            sequence: slot.sequence,
            lost: slot.lost,
            asleep: slot.asleep,
        };
        (slot.cursor, info)
    });
    let mut list: Vec<_> = info.collect();
    list.sort_by_key(|(_, consumer)| std::cmp::Reverse(consumer.lag));
    Ok(Some(list))
}

/// How many messages a consumer has not consumed yet. It may have continued since `pushed` was
/// read.
fn lag(pushed: u64, sequence: u64) -> u64 {
    (pushed.wrapping_sub(sequence) as i64).max(0) as u64
}

fn slowest_first(mut list: Vec<ConsumerInfo>) -> Vec<ConsumerInfo> {
    list.sort_by_key(|consumer| std::cmp::Reverse(consumer.lag));
    list
}
