//! The registry of consumers: which are attached, how far each has read, and whether each is alive.
//!
//! A consumer that may write the control file takes a slot: it locks the byte with the slot's
//! number and stores a token that nobody else has. The kernel drops the lock on any death; a pid
//! would be somebody else's by then. In a lossless queue the slot is a seat at the gate
//! ([`crate::ring::flow_control`]) and holds the producer back; in a lossy one it is shown to monitors.

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

/// One attached consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsumerInfo {
    /// As it was opened with; at most 63 bytes of it.
    pub name: String,
    /// Its process, for information: pids are used again.
    pub pid: u32,
    /// The sequence it wants next, as of its last look at an empty ring or some messages (up to 64)
    /// ago.
    pub sequence: u64,
    /// Messages pushed and not consumed, by that sequence.
    pub lag: u64,
    /// Messages it lost since it attached.
    pub lost: u64,
    /// Whether it sleeps until a message comes.
    pub asleep: bool,
}

/// A consumer's own slot.
pub(crate) struct Seat {
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
unsafe impl Send for Seat {}
// SAFETY: as above.
unsafe impl Sync for Seat {}

impl Seat {
    /// Locks a free slot of the control file. `None` if there is none. `child_of`: the slot that a
    /// forked child has inherited.
    pub(crate) fn lock(
        control: Arc<Control>,
        paths: &Paths,
        name: &str,
        child_of: Option<&Seat>,
    ) -> Result<Option<Seat>> {
        let since = Instant::now();
        loop {
            let seat = Seat::try_lock(&control, paths, name, child_of)?;
            // A free slot may stay locked for a moment.
            let is_free = |index| {
                let token = &control.slot(index).position().token;
                token.load(Ordering::Relaxed) == 0
            };
            if seat.is_some() || !(0..control.slots()).any(is_free) || since.elapsed() > RESIDUE {
                return Ok(seat);
            }
            os::nap(Duration::from_millis(1));
        }
    }

    fn try_lock(
        control: &Arc<Control>,
        paths: &Paths,
        name: &str,
        child_of: Option<&Seat>,
    ) -> Result<Option<Seat>> {
        let shown = paths.dir.shown(&paths.control);
        let failed = |e| Error::from_io(&e, format_args!("cannot lock {shown}"));
        let mut free = None;
        let held = HeldLock::take(
            // An opening of its own, because the locks on it are to end with this process.
            || match child_of.and_then(|seat| seat.spare.take()) {
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
        // A token without its lock was left by a consumer that died. The slot is nobody's while it
        // changes hands: a producer must not take one's cursor for the other's.
        let position = slot.position();
        position.token.store(0, Ordering::Release);
        position.lost.store(0, Ordering::Relaxed);
        slot.asleep().store(0, Ordering::Relaxed);
        slot.set_pid(std::process::id());
        slot.set_name(name);
        Ok(Some(Seat {
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

    /// Whether the slot is this process's, and not that of the one it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.lock.is_own()
    }

    /// Whether the seat is still held: the producer may have taken it away.
    #[inline(always)]
    pub(crate) fn is_held(&self) -> bool {
        self.is_own() && self.position().token.load(Ordering::Relaxed) == self.token
    }

    /// Shows how far this consumer is, and in a lossless queue gives up what is behind.
    #[inline(always)]
    pub(crate) fn tell(&self, cursor: u64, sequence: u64, lost: u64) {
        let position = self.position();
        position.sequence.store(sequence, Ordering::Relaxed);
        position.lost.store(lost, Ordering::Relaxed);
        // Partner: `SeeCursor`. What is behind was read before.
        flow_control::SlotCursor::store_cursor_release(self, Site::Consumed, cursor);
    }

    pub(crate) fn set_asleep(&self, asleep: bool) {
        if self.is_own() {
            self.slot().asleep().store(asleep.into(), Ordering::Relaxed);
        }
    }
}

impl flow_control::SlotCursor for Seat {
    fn reserve(&self, cursor: u64) {
        let position = self.position();
        self.control.use_slot(self.index);
        position.cursor.store(cursor, Ordering::Relaxed);
        // Partner: the acquire load in `cursors`. Who sees the seat taken sees the cursor.
        position.token.store(self.token, Ordering::Release);
    }

    #[inline(always)]
    fn store_cursor_release(&self, _site: Site, cursor: u64) {
        self.position().cursor.store(cursor, Ordering::Release);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.spare.end();
        if self.is_held() {
            self.position().token.store(0, Ordering::Release);
        }
    }
}

/// What the locks of the slots are asked by.
pub(crate) enum Probe<'a> {
    Own(&'a File),
    Opened(File),
    None,
}

impl Probe<'_> {
    /// Whether somebody holds the lock of a slot. If that cannot be found out, nobody is declared
    /// dead.
    pub(crate) fn is_alive(&self, index: usize) -> bool {
        let file = match self {
            Probe::Own(file) => file,
            Probe::Opened(file) => file,
            Probe::None => return true,
        };
        os::is_locked(file, Lock::Exclusive, index as u64).unwrap_or(true)
    }
}

/// Another opening of a control file, by the path of the queue.
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

/// Another opening of a control file, to write.
fn opening(control: &Control, paths: &Paths) -> Result<File> {
    let region = control.region();
    // Both ways, because a process may have no /proc, and a file may have lost its name.
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
                ": open the queue before the process gives up the right to"
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
            // Partner: the release store in `hold`.
            if position.token.load(Ordering::Acquire) != 0 {
                each(position.cursor.load(Ordering::Relaxed));
            }
        }
    }
}

impl Control {
    /// A file to ask which slots are locked. A program that has closed all of its descriptors opens
    /// it by its path.
    pub(crate) fn probe(&self, paths: &Paths) -> Probe<'_> {
        match self.region().file().get() {
            Ok(file) => Probe::Own(file),
            Err(_) => opening_by_path(self, paths).map_or(Probe::None, Probe::Opened),
        }
    }

    /// Frees the slots that `ends` says are to end, given index, token and cursor. Whether there
    /// were any.
    pub(crate) fn drop_seats(&self, mut ends: impl FnMut(usize, u64, u64) -> bool) -> bool {
        let mut any = false;
        for index in 0..self.used() {
            let position = self.slot(index).position();
            let token = position.token.load(Ordering::Acquire);
            if token != 0 && ends(index, token, position.cursor.load(Ordering::Relaxed)) {
                // Only if it is still the same one's. Relaxed: nothing was written for this.
                any |= position
                    .token
                    .compare_exchange(token, 0, Ordering::Relaxed, Ordering::Relaxed)
                    .is_ok();
            }
        }
        any
    }

    /// The consumers attached, the slowest first. Costs a system call each.
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

/// As [`Control::consumers`], each with its cursor, by a file that is not mapped. `None` if it is not that
/// of the queue with this geometry.
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

/// Messages that a consumer has yet to consume. It may have gone on since `pushed` was read.
fn lag(pushed: u64, sequence: u64) -> u64 {
    (pushed.wrapping_sub(sequence) as i64).max(0) as u64
}

fn slowest_first(mut list: Vec<ConsumerInfo>) -> Vec<ConsumerInfo> {
    list.sort_by_key(|consumer| std::cmp::Reverse(consumer.lag));
    list
}
