//! Queues seen from outside: which there are, and the figures of one.
//!
//! Nothing is mapped here. The owner of a file may truncate it at any moment, and a mapping of it
//! would then be a SIGBUS. So this reads by system calls, and a list of a directory in which everybody
//! may make files is safe.

use super::errors::damaged;
use super::registry::{self, ConsumerInfo};
use super::{open, Stats};
use crate::error::{Error, Result};
use crate::format::data_file::{at, has_magic, state, Framing, Geometry, HEADER_BYTES};
use crate::format::names::{self, Paths};
use crate::os::dir::Shown;
use crate::os::{self, NoCancel};
use crate::ring::flow_control::{self, SlotCursors, WriterState};
use crate::ring::{distance, FixedReader, FrameReader, Shape, VariableReader};
use crate::ring::{Field, Memory, Site};
use crate::schema::Schema;
use std::cell::{Cell, RefCell};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::Ordering;

/// The queues of a directory.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Listing {
    /// The names of those that may be read, sorted.
    pub queues: Vec<OsString>,
    /// The names of those that cannot be read, sorted. They need not be queues. [`inspect`] says
    /// why.
    pub unreadable: Vec<OsString>,
}

/// The names of all queues in the directory of bare names, sorted. What this process may not read is
/// left out; see [`listing`].
///
/// # Errors
/// As [`listing`].
pub fn list() -> Result<Vec<OsString>> {
    Ok(listing()?.queues)
}

/// The queues in the directory of bare names, and the names that this process may not read. It maps no
/// file.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::PermissionDenied`] if the directory cannot be read; [`Error::Os`]
/// if a limit of the process is reached.
pub fn listing() -> Result<Listing> {
    let _no = NoCancel::new();
    let directory = names::directory();
    let shown = Shown::of(&directory);
    let failed = |e| Error::from_io(&e, format_args!("cannot list {shown}"));
    let path = std::path::absolute(&directory).map_err(failed)?;
    let dir = crate::os::dir::Dir::open(&path).map_err(failed)?;
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let Some(bare) = names::bare_name(&file) else {
            continue;
        };
        let Ok(file) = CString::new(file.as_bytes()) else {
            continue;
        };
        match dir.open_file(&file, false) {
            Ok((file, _)) => match has_magic(&file) {
                Ok(true) => listing.queues.push(bare),
                Ok(false) => {}
                Err(_) => listing.unreadable.push(bare),
            },
            // Gone by now, or no regular file.
            Err(Error::NotFound(_) | Error::Damaged(_)) => {}
            // Without a descriptor for any of them, a directory is not an empty one.
            Err(e @ Error::Os(libc::EMFILE | libc::ENFILE | libc::ENOMEM, _)) => return Err(e),
            Err(_) => listing.unreadable.push(bare),
        }
    }
    listing.queues.sort();
    listing.unreadable.sort();
    Ok(listing)
}

/// A queue seen from outside.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Inspection {
    /// Its figures. Those of a consumer are zero.
    pub stats: Stats,
    /// What it is.
    pub geometry: Geometry,
    /// What records its messages are, if the queue says so.
    pub schema: Option<Schema>,
    /// The process that opened it last as its producer, for information: pids are used again. 0 if that
    /// is not known.
    pub producer_pid: u32,
    /// The consumers attached and known, the slowest first; `None` if this process may not read the
    /// control file.
    pub consumers: Option<Vec<ConsumerInfo>>,
    /// How much of the ring was ever written. Fixed: as `pushed`. Variable: bytes, where each message
    /// has 16 besides its payload, and is rounded up to a multiple of 16.
    pub position: u64,
    /// Whether the producer of a lossless queue had no room for a message, and still has none.
    pub blocked: bool,
    /// The consumer that the producer is blocked by: the slowest. `None` if the producer waits for
    /// consumers to attach, or if `consumers` is `None`.
    pub blocked_by: Option<ConsumerInfo>,
}

/// Looks at a queue without opening it. It maps no file, holds nobody back and needs read permission
/// only.
///
/// # Errors
/// [`Error::NotFound`], [`Error::PermissionDenied`], [`Error::Damaged`], [`Error::Version`].
pub fn inspect(name: impl AsRef<OsStr>) -> Result<Inspection> {
    let _no = NoCancel::new();
    let name = name.as_ref();
    let open = || {
        let paths = Paths::of(name)?;
        let (file, meta) = paths.dir.open_file(&paths.data, false)?;
        Ok((paths, file, meta))
    };
    let (paths, file, meta) = open().map_err(|e| match e {
        Error::NotFound(text) => Error::NotFound(open::missing_queue(name, &text, "").into()),
        e => e,
    })?;
    let unreadable = |e| open::cannot_read(&paths.shown(), &e);
    let mut header = [0; HEADER_BYTES as usize];
    // A file that is shorter has zeroes there, which are no queue.
    os::read_up_to(&file, &mut header, 0).map_err(unreadable)?;
    let word = |at: usize| match header.get(at..at + 8) {
        Some(bytes) => u64::from_le_bytes(bytes.try_into().unwrap_or_default()),
        None => 0,
    };
    let geometry = open::named(Geometry::read(meta.len(), word), &paths)?;
    open::check_home(&paths, &file)?;
    let mut json = vec![0; geometry.schema_length as usize];
    let schema = match file.read_exact_at(&mut json, geometry.schema_offset.into()) {
        Ok(()) => open::schema_from(&json, &geometry, &paths)?,
        Err(e) => return Err(unreadable(e)),
    };
    let failure = Cell::new(0);
    let readable = || match failure.get() {
        0 => Ok(()),
        errno => Err(unreadable(io::Error::from_raw_os_error(errno))),
    };
    let memory = FileMemory::new(&file, &geometry, &failure);
    let shape = Shape::of(&geometry).observed();
    let figures = || match geometry.framing {
        Framing::Fixed => {
            let reader = FixedReader::new(memory.clone(), shape);
            let pushed = reader.frontier()?;
            Ok((pushed, pushed, reader.oldest()?))
        }
        Framing::Variable => {
            let reader = VariableReader::new(memory.clone(), shape);
            let (position, pushed) = reader.front()?;
            Ok((position, pushed, reader.oldest()?))
        }
    };
    let figures = figures();
    readable()?;
    let (position, pushed, oldest) = figures.map_err(|d| damaged(&paths, d))?;
    let consumers = consumers(&paths, &geometry, pushed, meta.uid())?;
    let producer_alive = open::has_producer(&file, word(at::WEAK_ALIVE), word(at::PID));
    // Read before the figures: if the producer has had room since, they say so.
    let wanted = Some(word(at::BLOCKED)).filter(|end| *end != 0 && producer_alive);
    let blocked = wanted.map(|end| {
        let front = WriterState {
            next: position,
            claimed: memory.load_relaxed(Field::Claimed),
            end,
            limit: memory.load_relaxed(Field::Limit),
        };
        blocked(&geometry, front, consumers.as_deref())
    });
    let (blocked, blocked_by) = blocked.unwrap_or_default();
    let named = paths.dir.names(&paths.data, &file);
    let unlinked = !named.map_err(|e| open::cannot_stat(&paths, &e))?;
    let stats = Stats {
        pushed,
        received: 0,
        lost: 0,
        lag: 0,
        oldest,
        capacity: geometry.capacity,
        message_size: geometry.message_size,
        max_message: geometry.max_message(),
        delivery: geometry.delivery,
        epoch: memory.load_relaxed(Field::Epoch) as u32,
        consumers: consumers.as_ref().map_or(0, |list| list.len() as u32),
        producer_alive,
        closed: matches!(
            memory.load_relaxed(Field::State),
            state::CLOSED | state::SUPERSEDED_CLOSED
        ),
        id: geometry.id,
        unlinked,
    };
    readable()?;
    Ok(Inspection {
        stats,
        schema,
        producer_pid: u32::try_from(word(at::PID)).unwrap_or(0),
        consumers: consumers.map(|list| list.into_iter().map(|(_, info)| info).collect()),
        position,
        blocked,
        blocked_by,
        geometry,
    })
}

/// Whether there is no room up to the end of `front`, and which consumer is in the way, if that is known.
fn blocked(
    g: &Geometry,
    front: WriterState,
    consumers: Option<&[(u64, ConsumerInfo)]>,
) -> (bool, Option<ConsumerInfo>) {
    let behind = |limit: u64| distance(limit, front.end) < 0;
    let bound = consumers.map(|list| flow_control::limit_for(&Shape::of(g), &Cursors(list), front));
    if !behind(front.next) || !behind(front.limit) || bound.is_some_and(|bound| !behind(bound)) {
        return (false, None);
    }
    let in_the_way = consumers.unwrap_or_default().iter();
    let in_the_way = in_the_way.filter(|(cursor, _)| behind(cursor.wrapping_add(g.capacity)));
    let slowest = in_the_way.min_by_key(|(cursor, _)| distance(*cursor, front.next));
    (true, slowest.map(|(_, info)| info.clone()))
}

/// The seats of a control file, as of one moment.
struct Cursors<'a>(&'a [(u64, ConsumerInfo)]);

impl SlotCursors for Cursors<'_> {
    fn cursors(&self, each: impl FnMut(u64)) {
        self.0.iter().map(|(cursor, _)| *cursor).for_each(each);
    }
}

/// The consumers by the control file, each with its cursor, if this process may read that. `owner` is
/// that of the data file: another user may have put anything under these names.
fn consumers(
    paths: &Paths,
    g: &Geometry,
    pushed: u64,
    owner: u32,
) -> Result<Option<Vec<(u64, ConsumerInfo)>>> {
    let mut hidden = false;
    for name in [&paths.control, &paths.new_control] {
        match paths.dir.open_file(name, false) {
            Ok((file, meta)) if meta.uid() == owner => {
                let list = registry::read_consumers(&file, g, pushed);
                let list = list.map_err(|e| open::cannot_read(&paths.dir.shown(name), &e))?;
                if list.is_some() {
                    return Ok(list);
                }
            }
            Ok(_) | Err(Error::NotFound(_) | Error::Damaged(_)) => {}
            Err(Error::PermissionDenied(_)) => hidden = true,
            Err(e) => return Err(e),
        }
    }
    Ok((!hidden).then(Vec::new))
}

/// A data file as the protocol sees it, read by system calls. Words may be of different moments, as
/// for any reader, and the protocol detects that. Bytes beyond the end of the file are zero. So are
/// bytes that cannot be read, and then `failure` keeps the errno.
#[derive(Clone)]
struct FileMemory<'a> {
    file: &'a File,
    ring: u64,
    index: u64,
    /// A piece of the ring, because most words that are read lie beside the last: where it begins in
    /// the file, and its bytes.
    piece: RefCell<(u64, Vec<u8>)>,
    /// That of the last read that failed, or 0.
    failure: &'a Cell<i32>,
}

/// Bytes that are read at once.
const PIECE: usize = 4096;

impl<'a> FileMemory<'a> {
    /// `geometry` is that of the file.
    fn new(file: &'a File, geometry: &Geometry, failure: &'a Cell<i32>) -> Self {
        FileMemory {
            file,
            ring: geometry.ring_offset,
            index: geometry.index_offset,
            piece: RefCell::new((0, Vec::new())),
            failure,
        }
    }

    /// How many bytes there were.
    fn read_at(&self, bytes: &mut [u8], at: u64) -> usize {
        os::read_up_to(self.file, bytes, at).unwrap_or_else(|e| {
            self.failure.set(e.raw_os_error().unwrap_or(libc::EIO));
            0
        })
    }

    fn at(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        match self.read_at(&mut bytes, at) {
            8 => u64::from_le_bytes(bytes),
            _ => 0,
        }
    }
}

// SAFETY: every access is a system call, which fails out of bounds. Nothing is ever written.
unsafe impl Memory for FileMemory<'_> {
    fn load_relaxed(&self, field: Field) -> u64 {
        self.at(field.offset() as u64)
    }

    fn store_release(&self, _: Site, _: Field, _: u64) {}

    unsafe fn load_word_relaxed(&self, offset: usize) -> u64 {
        let at = self.ring + offset as u64;
        let (start, bytes) = &mut *self.piece.borrow_mut();
        let behind = at.wrapping_sub(*start);
        if behind.saturating_add(8) > bytes.len() as u64 {
            bytes.resize(PIECE, 0);
            let read = self.read_at(bytes, at);
            bytes.truncate(read);
            *start = at;
        }
        let from = at.wrapping_sub(*start) as usize;
        match bytes.get(from..from.saturating_add(8)) {
            Some(word) => u64::from_le_bytes(word.try_into().unwrap_or_default()),
            None => 0,
        }
    }

    unsafe fn store_word_relaxed(&self, _: usize, _: u64) {}

    unsafe fn store_word_release(&self, _: Site, _: usize, _: u64) {}

    unsafe fn load_index_relaxed(&self, word: usize) -> u64 {
        self.at(self.index + word as u64 * 8)
    }

    unsafe fn store_index_relaxed(&self, _: usize, _: u64) {}

    unsafe fn read(&self, offset: usize, to: *mut u8, length: usize) {
        // SAFETY: writable for so many bytes, as the caller promises.
        let to = unsafe {
            to.write_bytes(0, length);
            std::slice::from_raw_parts_mut(to, length)
        };
        self.read_at(to, self.ring + offset as u64);
    }

    unsafe fn write(&self, _: usize, _: *const u8, _: usize) {}

    fn fence(&self, _: Ordering, site: Site) {
        // What is looked up from here on is to be newer than what the last look was at.
        if matches!(site, Site::FindFront | Site::FindOldest) {
            self.piece.borrow_mut().1.clear();
        }
        std::sync::atomic::fence(Ordering::SeqCst);
    }
}
