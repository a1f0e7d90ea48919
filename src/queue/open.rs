//! The files of a queue: made, found, checked, replaced.

use super::errors::damaged;
use super::language;
use super::options::{ConsumerOptions, ProducerOptions};
use super::registry::Seat;
use super::wait::wake_word;
use crate::copy;
use crate::error::{Error, Result};
use crate::format::control_file::Control;
use crate::format::data_file::{
    at, lock_byte, state, Delivery, Geometry, Request, HEADER_BYTES, MAGIC,
};
use crate::format::names::Paths;
use crate::format::new_file::{NewFile, NewName};
use crate::log::{self, Level};
use crate::os::dir::{check_owner, Shown};
use crate::os::{self, HeldLock, Lock, ProcessStamp, Region};
use crate::ring::{self, FrameWriter, Shape};
use crate::ring::{Field, Mapped, Memory, Site};
use crate::schema::Schema;
use crate::shm::{check_ours, find_other, NamesLock, Writer};
use crate::wakeup;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a producer holds of its files.
pub(super) struct Attached {
    pub region: Arc<Region>,
    pub geometry: Geometry,
    pub schema: Option<Schema>,
    pub control: Control,
    /// Shows consumers that there is a producer.
    pub alive: HeldLock,
    /// Makes this the one producer.
    pub writer: Writer,
}

/// A word of the header, which need not be one of a queue.
fn header_word(region: &Region, at: usize) -> &AtomicU64 {
    assert!(at % 8 == 0 && at + 8 <= region.len());
    // SAFETY: aligned and inside the mapping; all accesses to a header are atomic.
    unsafe { AtomicU64::from_ptr(region.base().add(at).cast()) }
}

fn geometry_of(region: &Region, paths: &Paths) -> Result<Geometry> {
    let word = |at| header_word(region, at).load(Ordering::Relaxed);
    named(Geometry::read(region.len() as u64, word), paths)
}

/// Puts the name of the queue before the text of an error.
pub(super) fn named<T>(result: Result<T>, paths: &Paths) -> Result<T> {
    let with_name = |text| format!("{}: {text}", paths.shown()).into();
    result.map_err(|e| match e {
        Error::Damaged(text) => Error::Damaged(with_name(text)),
        Error::Version(text) => Error::Version(with_name(text)),
        Error::Invalid(text) => Error::Invalid(with_name(text)),
        e => e,
    })
}

/// The records of a queue whose geometry was read. They are copied before they are looked at, so
/// what becomes of the file later changes nothing.
fn schema_of(region: &Region, g: &Geometry, paths: &Paths) -> Result<Option<Schema>> {
    let mut bytes = vec![0; g.schema_length as usize];
    // SAFETY: `Geometry::read` has checked that the schema lies before the ring, and so in the
    // mapping.
    unsafe {
        let from = region.base().add(g.schema_offset as usize);
        copy::copy_from_shared(bytes.as_mut_ptr(), from, bytes.len());
    }
    schema_from(&bytes, g, paths)
}

/// The records that these bytes of a header stand for, if there are any.
pub(super) fn schema_from(bytes: &[u8], g: &Geometry, paths: &Paths) -> Result<Option<Schema>> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let damaged = |why: &dyn std::fmt::Display| {
        Error::Damaged(format!("{}: damaged record schema: {why}", paths.shown()).into())
    };
    let text = std::str::from_utf8(bytes).map_err(|e| damaged(&e))?;
    let schema = Schema::from_json(text).map_err(|e| damaged(&e))?;
    if schema.itemsize() != g.message_size {
        return Err(damaged(&format_args!(
            "it is of records of {} bytes, but the messages have {}",
            schema.itemsize(),
            g.message_size
        )));
    }
    Ok(Some(schema))
}

/// Whether the records of a queue are those asked for, if any were; the error shows both.
fn check_schema(
    paths: &Paths,
    g: &Geometry,
    have: Option<&Schema>,
    want: Option<&Schema>,
    advice: &str,
) -> Result<()> {
    let Some(want) = want else { return Ok(()) };
    let shown = paths.shown();
    let text = match have {
        None => format!(
            "{shown}: the queue has no record schema ({}), but one was requested{advice}:\n{}",
            g.describe(),
            want.brief()
        ),
        Some(have) => match have.difference(want, "the queue has", "requested was") {
            None => return Ok(()),
            Some(text) => format!("{shown}: the queue has other records{advice}:\n{text}"),
        },
    };
    Err(Error::SchemaMismatch(text.into()))
}

/// Whether the messages have the size that a consumer expects, if it expects one.
fn check_size(paths: &Paths, g: &Geometry, o: &ConsumerOptions) -> Result<()> {
    match o.message_size {
        Some(size) if size != g.message_size => Err(Error::Geometry(
            format!(
                "{}: the queue has {}, but messages of {size} bytes were requested (message_size)",
                paths.shown(),
                g.describe()
            )
            .into(),
        )),
        _ => Ok(()),
    }
}

/// The mapping of a file whose geometry was read.
pub(super) fn mapped(region: &Region, g: &Geometry) -> Mapped {
    // SAFETY: `Geometry::read` has checked it against the length of the mapping; who keeps the
    // result keeps the region, too.
    unsafe { Mapped::new(region.base(), g) }
}

/// Opens the queue as its one producer; makes or replaces it where that is asked for.
pub(super) fn attach(paths: &Paths, o: &ProducerOptions) -> Result<Attached> {
    for (option, mode) in [
        ("permissions", o.permissions),
        ("control_permissions", o.control_permissions),
    ] {
        if mode != 0 && (mode & 0o600 != 0o600 || mode > 0o777) {
            return Err(Error::Invalid(
                format!(
                    "{}: {option} 0{mode:o}: use mode bits up to 0777 that include 0600 for the \
                     producer",
                    paths.shown()
                )
                .into(),
            ));
        }
    }
    let exists = |found: Option<crate::os::dir::Stat>| found.is_some();
    let stat = |e| Error::from_io(&e, format_args!("cannot look at {}", paths.shown()));
    if o.exclusive && exists(paths.dir.stat(&paths.data).map_err(stat)?) {
        return Err(already_there(paths));
    }
    let names = NamesLock::take(paths, true, None)?;
    let names = names.ok_or_else(|| Error::Internal("no lock file".into()))?;
    let ours = match o.replace {
        true => check_ours(paths, !names.has_made_it()),
        false => Ok(()),
    };
    // A producer that has closed or detached holds the lock no more, nor does one that is dead.
    let is_residue = || holder(paths).is_none_or(os::is_dead);
    let attached = ours
        .and_then(|()| names.writer(paths, is_residue, || busy(paths)))
        .and_then(|writer| attach_locked(paths, o, writer));
    // What could not be opened is left as it was.
    attached.inspect_err(|_| names.undo(paths))
}

/// What to say of a queue that another producer holds.
fn busy(paths: &Paths) -> String {
    let holder = match holder(paths) {
        Some(pid) if pid == std::process::id() => ": it is this process",
        Some(pid) => &format!(": process {pid}"),
        // The lock is all that is left of it here, and does not say whose it is.
        None if !matches!(paths.dir.stat(&paths.data), Ok(Some(_))) => {
            return "the queue of this name was removed, but its producer still has it open: end that \
                    producer first, or take another name"
                .into()
        }
        None => "",
    };
    format!("another live producer holds the queue{holder}: close it first, or take another name")
}

/// The process that has opened a queue as its producer, for information.
pub(super) fn holder(paths: &Paths) -> Option<u32> {
    let (file, _) = paths.dir.open_file(&paths.data, false).ok()?;
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at::MAGIC as u64).ok()?;
    if u64::from_le_bytes(word) != MAGIC {
        return None;
    }
    file.read_exact_at(&mut word, at::PID as u64).ok()?;
    u32::try_from(u64::from_le_bytes(word))
        .ok()
        .filter(|pid| *pid != 0)
}

/// The size of all messages, if it was asked for: with a schema, that of its records.
fn message_size(paths: &Paths, o: &ProducerOptions) -> Result<Option<u32>> {
    match (&o.schema, o.message_size) {
        (None, size) => Ok(size),
        (Some(schema), None | Some(0)) => Ok(Some(schema.itemsize())),
        (Some(schema), Some(size)) if size == schema.itemsize() => Ok(Some(size)),
        (Some(schema), Some(size)) => Err(Error::Invalid(
            format!(
                "{}: message_size is {size}, but the records of the schema have {} bytes",
                paths.shown(),
                schema.itemsize()
            )
            .into(),
        )),
    }
}

/// Refuses a data file that has a second name, unless it says that it was made for this one. Another
/// user can give the files of a queue other names, and is neither to keep anybody out by that nor to
/// lead anybody to another queue. In a directory where that user could remove the name again at any
/// moment, the number of names says nothing, and the file has to say it.
pub(super) fn check_home(paths: &Paths, file: &File) -> Result<()> {
    let is = |at: usize, value: u64| {
        let mut word = [0; 8];
        let length = os::read_up_to(file, &mut word, at as u64);
        let length = length.map_err(|e| cannot_read(&paths.shown(), &e))?;
        Ok(length == word.len() && u64::from_le_bytes(word) == value)
    };
    let is_queue = is(at::MAGIC, MAGIC)?;
    if is_queue && is(at::HOME, paths.dir.home(&paths.data))? {
        return Ok(());
    }
    if is_queue && !paths.dir.is_safe() {
        return Err(Error::Damaged(
            format!(
                "{}: the queue was made under another name or in another directory, and other users \
                 may write this directory: move it to one that they may not",
                paths.shown()
            )
            .into(),
        ));
    }
    paths.dir.check_one_name(&paths.data, file)
}

/// The part of `attach` that is done under the locks.
fn attach_locked(paths: &Paths, o: &ProducerOptions, writer: Writer) -> Result<Attached> {
    let message_size = message_size(paths, o)?;
    let request = Request {
        capacity: o.capacity,
        message_size: message_size.unwrap_or(0),
        delivery: o.delivery.unwrap_or_default(),
        max_consumers: o.max_consumers,
        min_consumers: o.min_consumers,
        schema_length: o.schema.as_ref().map_or(0, |s| s.to_json().len() as u32),
        alignment: o.schema.as_ref().map_or(1, Schema::alignment),
        first_sequence: o.first_sequence,
        id: os::unique_id(),
    };
    let shown = paths.shown();
    let old = match paths.dir.open_file(&paths.data, true) {
        Ok(_) if o.exclusive => return Err(already_there(paths)),
        Ok((file, meta)) => {
            check_owner(&meta, &shown)?;
            check_home(paths, &file)?;
            Some((file, meta.len()))
        }
        Err(Error::NotFound(_)) => None,
        Err(e) => return Err(e),
    };
    let Opened {
        region,
        geometry,
        schema,
        control,
        alive,
    } = match old {
        None => create(paths, o, &request, None)?,
        // It cannot be mapped.
        Some((_, 0)) if o.replace => create(paths, o, &request, None)?,
        Some((_, 0)) => {
            return Err(Error::Damaged(
                format!("{shown}: not a queue: the file is empty").into(),
            ))
        }
        Some((file, length)) => {
            os::check_file_system(&file, &shown)?;
            let region = Region::map(file, &shown, length, true)?;
            check_no_other(&region, paths)?;
            match continued(paths, o, &request, message_size, &region) {
                Ok((geometry, schema, control)) => {
                    let alive = show_alive(paths, &paths.data, &region)?;
                    os::fill_holes(open_file(&region, paths)?, &shown)?;
                    region.fetch_page_tables();
                    Opened {
                        region,
                        geometry,
                        schema,
                        control,
                        alive,
                    }
                }
                Err(
                    Error::Geometry(_)
                    | Error::SchemaMismatch(_)
                    | Error::Damaged(_)
                    | Error::Version(_),
                ) if o.replace => {
                    settle_control(paths, &region);
                    let new = create(paths, o, &request, Some(&region))?;
                    log::say(Level::Warning, || {
                        format!("{shown}: the old queue did not fit, and was replaced")
                    });
                    new
                }
                Err(e) => return Err(e),
            }
        }
    };
    remove_leftovers(paths, &control);
    let memory = mapped(&region, &geometry);
    let epoch = memory.load_relaxed(Field::Epoch).wrapping_add(1);
    memory.store_release(Site::State, Field::Epoch, epoch & u64::from(u32::MAX));
    show_blocked(&region, 0);
    // Still live, and of a process: the last producer neither closed nor detached. It was killed.
    let crashed = epoch > 1
        && matches!(
            memory.load_relaxed(Field::State),
            state::LIVE | state::SUPERSEDED
        )
        && header_word(&region, at::PID).load(Ordering::Relaxed) != 0;
    set_holder(&region, std::process::id());
    ring::set_state(&memory, state::LIVE);
    log::say(if crashed { Level::Warning } else { Level::Info }, || {
        let how = match (epoch, crashed) {
            (1, _) => "created",
            (_, false) => "continued",
            (_, true) => "continued after its producer died",
        };
        format!("{shown}: {how}: {}", geometry.describe())
    });
    Ok(Attached {
        region: Arc::new(region),
        geometry,
        schema,
        control,
        alive,
        writer,
    })
}

/// A queue that a producer has made or found.
struct Opened {
    region: Region,
    geometry: Geometry,
    schema: Option<Schema>,
    control: Control,
    alive: HeldLock,
}

/// Whether the queue that exists is what was asked for, and its control file.
fn continued(
    paths: &Paths,
    o: &ProducerOptions,
    request: &Request,
    message_size: Option<u32>,
    region: &Region,
) -> Result<(Geometry, Option<Schema>, Control)> {
    let g = geometry_of(region, paths)?;
    let schema = schema_of(region, &g, paths)?;
    let advice = &format!(": {}", language::refit());
    check_schema(paths, &g, schema.as_ref(), o.schema.as_ref(), advice)?;
    check_fit(paths, &g, o, message_size, request)?;
    check_eviction(paths, o, g.delivery)?;
    check_ring(region, &g).map_err(|d| damaged(paths, d))?;
    let control = match Control::find(paths, &g, true, os::effective_uid()) {
        Ok((control, name)) => {
            let shown = paths.dir.shown(name);
            os::fill_holes(open_file(control.region(), paths)?, &shown)?;
            give_name(paths, name);
            control
        }
        Err(
            Error::NotFound(_) | Error::Damaged(_) | Error::Version(_) | Error::PermissionDenied(_),
        ) if g.delivery == Delivery::Lossy => {
            let (control, mut name) = Control::make(paths, &g, control_mode(o))?;
            if name.as_c_str() != paths.new_control.as_c_str() {
                name.publish(control.region(), &paths.control)?;
            }
            name_control(paths, &control, &mut name);
            control
        }
        // Attached consumers have their positions in a file that has no name any more. They would
        // lose without knowing why.
        Err(Error::NotFound(_)) => {
            return Err(Error::Damaged(
                format!(
                    "{}: {} was removed, and with it the positions of the consumers of this \
                     lossless queue: {}",
                    paths.shown(),
                    paths.dir.shown(&paths.control),
                    language::renew()
                )
                .into(),
            ))
        }
        Err(e) => return Err(e),
    };
    Ok((g, schema, control))
}

/// Gives the control file of a queue that is to be replaced its own name, because the next one needs the
/// name that it may still have. Consumers that have just found the old queue look for it.
fn settle_control(paths: &Paths, old: &Region) {
    if let Ok(g) = geometry_of(old, paths) {
        if let Ok((_, name)) = Control::find(paths, &g, true, os::effective_uid()) {
            give_name(paths, name);
        }
    }
}

/// Gives a control file that was found under this name its own.
fn give_name(paths: &Paths, name: &CStr) {
    if name != paths.control.as_c_str() {
        // The producer that made the queue was killed before it could do this; or another user has
        // something there, and the file is found where it is.
        if let Err(e) = paths.dir.rename(name, &paths.control) {
            let shown = paths.dir.shown(name);
            log::say(Level::Warning, || format!("cannot rename {shown}: {e}"));
        }
    }
}

/// Files in the making are the lock holder's, so these were left by one that was killed. Another
/// user may have put something there that cannot be removed: it is in nobody's way. The control file of
/// this queue may have to stay there ([`name_control`]).
fn remove_leftovers(paths: &Paths, control: &Control) {
    for name in [&paths.new_data, &paths.new_control] {
        let unused = matches!(control.region().is_named(&paths.dir, name), Ok(false));
        if unused && matches!(paths.dir.stat(name), Ok(Some(_))) {
            let _ = paths.dir.remove(name);
        }
    }
}

pub(super) fn cannot_stat(paths: &Paths, e: &std::io::Error) -> Error {
    Error::from_io(e, format_args!("cannot stat {}", paths.shown()))
}

/// The error for an open file that cannot be read. There is such a file, whatever the errno is.
pub(super) fn cannot_read(shown: &Shown, e: &std::io::Error) -> Error {
    match Error::from_io(e, format_args!("cannot read {shown}")) {
        Error::NotFound(text) => Error::Os(libc::ENOENT, text),
        e => e,
    }
}

/// The file of a mapping that was made in this call.
fn open_file<'a>(region: &'a Region, paths: &Paths) -> Result<&'a File> {
    region.file().get().map_err(|e| cannot_stat(paths, &e))
}

/// Shows the consumers of a data file that it has a producer. `name` is what it is called now.
fn show_alive(paths: &Paths, name: &CStr, region: &Region) -> Result<HeldLock> {
    let shown = paths.dir.shown(name);
    let failed = |e: std::io::Error| Error::from_io(&e, format_args!("cannot lock {shown}"));
    let mut weak = false;
    let alive = HeldLock::take(
        || paths.dir.open_file(name, true),
        |file, meta| {
            if os::identity(meta) != region.file().identity() {
                return Err(Error::Stale(
                    format!("{shown}: another process has replaced the file").into(),
                ));
            }
            let byte = lock_byte::PRODUCER_ALIVE;
            weak = !os::try_lock(file, Lock::Exclusive, byte).map_err(failed)?;
            if weak {
                let byte = lock_byte::PRODUCER_PERHAPS_ALIVE;
                os::try_lock(file, Lock::Shared, byte).map_err(failed)?;
            }
            Ok(true)
        },
    )?;
    let stamp = match weak {
        true => ProcessStamp::own().word(),
        false => 0,
    };
    if weak {
        set_holder(region, std::process::id());
    }
    header_word(region, at::WEAK_ALIVE).store(stamp, Ordering::Relaxed);
    if weak {
        // Any reader of the file can do that, and is not to decide whether a producer lives.
        log::say(Level::Warning, || {
            format!("{shown}: a process that may only read the queue has locked it")
        });
    }
    match alive {
        Some((alive, _)) => Ok(alive),
        None => Err(Error::Internal("the lock was not tried".into())),
    }
}

/// Whether a data file has a producer. If that cannot be found out, it has. `weak` and `pid` are words of
/// the header.
pub(super) fn has_producer(file: &File, weak: u64, pid: u64) -> bool {
    let locked = |kind, byte| os::is_locked(file, kind, byte).unwrap_or(true);
    locked(Lock::Exclusive, lock_byte::PRODUCER_ALIVE)
        || weak != 0
            && locked(Lock::Shared, lock_byte::PRODUCER_PERHAPS_ALIVE)
            && ProcessStamp::of(weak, pid).unwrap_or(true)
}

/// As [`has_producer`], of a queue that is mapped.
pub(super) fn is_alive(region: &Region) -> bool {
    let (weak, pid) = weak_words(region);
    region
        .file()
        .get()
        .map_or(true, |file| has_producer(file, weak, pid))
}

/// What a producer does before it gives up the lock that shows it: a reader may hold that, too.
pub(super) fn end_weak(region: &Region) {
    header_word(region, at::WEAK_ALIVE).store(0, Ordering::Relaxed);
}

fn weak_words(region: &Region) -> (u64, u64) {
    let word = |at| header_word(region, at).load(Ordering::Relaxed);
    (word(at::WEAK_ALIVE), word(at::PID))
}

/// Shows that a push found no room up to `end`, for information. It stays until the next push that finds
/// none: whoever reads it compares it with how far the producer is, and how far it may go.
pub(super) fn show_blocked(region: &Region, end: u64) {
    let word = header_word(region, at::BLOCKED);
    // A producer that tries again and again leaves the line to the consumers.
    if word.load(Ordering::Relaxed) != end {
        word.store(end, Ordering::Relaxed);
    }
}

/// How long a dying producer may take to drop one lock after the other.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// Refuses a ring that has a producer, though its lock file was free: somebody must have removed
/// that by hand, and two producers would tear each other's messages.
fn check_no_other(region: &Region, paths: &Paths) -> Result<()> {
    let since = Instant::now();
    let file = open_file(region, paths)?;
    // Of the two locks that show a producer, the first is the one that no reader can hold. The other
    // counts only if its process is known to live.
    let alive = || {
        // What is no queue may be shorter than a header.
        let (weak, pid) = match is_queue(region) {
            true => weak_words(region),
            false => (0, 0),
        };
        let other = weak != 0 && pid != u64::from(std::process::id());
        let weak = other && ProcessStamp::of(weak, pid) == Some(true);
        Ok(
            os::is_locked(file, Lock::Exclusive, lock_byte::PRODUCER_ALIVE)?
                || weak && os::is_locked(file, Lock::Shared, lock_byte::PRODUCER_PERHAPS_ALIVE)?,
        )
    };
    while alive().map_err(|e| Error::from_io(&e, format_args!("cannot lock {}", paths.shown())))? {
        // The kernel drops the locks of the dead one by one.
        if since.elapsed() > EXIT_GRACE {
            return Err(Error::ProducerExists(
                format!(
                    "{}: another live producer holds the queue, whose lock file was removed",
                    paths.shown()
                )
                .into(),
            ));
        }
        os::nap(Duration::from_millis(1));
    }
    Ok(())
}

fn already_there(paths: &Paths) -> Error {
    Error::Exists(
        format!(
            "{}: the queue exists already, but a new one was requested ({})",
            paths.shown(),
            language::exclusive()
        )
        .into(),
    )
}

/// Mode bits of the control file. Those who may not write it may not read it either: a process that
/// can open a file to read can lock it, and so keep others from locking theirs.
fn control_mode(o: &ProducerOptions) -> u32 {
    let mode = match (o.control_permissions, o.permissions) {
        (0, 0) => 0o600,
        (0, data) => data,
        (control, _) => control,
    };
    [0o60, 0o6]
        .iter()
        .fold(mode, |mode, both| match mode & both & 0o222 {
            0 => mode & !both,
            _ => mode,
        })
}

/// Makes both files whole, and only then visible, in the place of `old`. The data file gets its name
/// first: that is the one step from the old queue to the new one, for [`Control::find`] knows the
/// control file by either name.
fn create(
    paths: &Paths,
    o: &ProducerOptions,
    request: &Request,
    old: Option<&Region>,
) -> Result<Opened> {
    let geometry = named(Geometry::new(request), paths)?;
    check_eviction(paths, o, geometry.delivery)?;
    let mode = if o.permissions == 0 {
        0o600
    } else {
        o.permissions
    };
    let (control, mut control_name) = Control::make(paths, &geometry, control_mode(o))?;
    let mut new = NewFile::create(paths, &paths.new_data, geometry.file_bytes(), 0o600)?;
    let home = paths.dir.home(&paths.data);
    header_word(&new.region, at::HOME).store(home, Ordering::Relaxed);
    format(&new.region, &geometry, o.schema.as_ref());
    // Nothing can fail any more once the file has its name.
    let alive = show_alive(paths, new.name.as_c_str(), &new.region)?;
    // Only now, or a reader could lock the file first.
    os::set_mode(open_file(&new.region, paths)?, mode).map_err(|e| {
        Error::from_io(&e, format_args!("cannot set the mode of {}", paths.shown()))
    })?;
    if control_name.as_c_str() != paths.new_control.as_c_str() {
        // Nobody would find it there.
        control_name.publish(control.region(), &paths.control)?;
    }
    let old = old.filter(|old| is_queue(old));
    let before = old.map(|old| header_word(old, at::STATE).load(Ordering::Relaxed));
    // First, so that a consumer that finds it looks whether the file has its name still, also if this
    // producer is killed between the two.
    old.inspect(|old| {
        let superseded = match before {
            Some(state::CLOSED | state::SUPERSEDED_CLOSED) => state::SUPERSEDED_CLOSED,
            _ => state::SUPERSEDED,
        };
        set_old_state(old, superseded);
    });
    if let Err(e) = new.publish(&paths.data) {
        if let (Some(old), Some(before)) = (old, before) {
            set_old_state(old, before);
        }
        return Err(e);
    }
    // Once more, for those that found that it had.
    old.inspect(|old| wake(old));
    name_control(paths, &control, &mut control_name);
    Ok(Opened {
        region: new.region,
        geometry,
        schema: o.schema.clone(),
        control,
        alive,
    })
}

/// Gives the control file of a queue that has its name already its own.
fn name_control(paths: &Paths, control: &Control, name: &mut NewName) {
    if name.as_c_str() == paths.new_control.as_c_str() {
        if let Err(e) = name.publish(control.region(), &paths.control) {
            // It is found there, too.
            name.keep();
            log::say(Level::Warning, || e.to_string());
        }
    }
}

/// Writes what a new data file begins with.
fn format(region: &Region, geometry: &Geometry, schema: Option<&Schema>) {
    for (at, word) in geometry.words() {
        header_word(region, at).store(word, Ordering::Relaxed);
    }
    if let Some(schema) = schema {
        let json = schema.to_json();
        // SAFETY: the geometry has room for it there; nobody else has the file yet.
        unsafe {
            let to = region.base().add(geometry.schema_offset as usize);
            copy::copy_to_shared(to, json.as_ptr(), json.len());
        }
    }
    let memory = mapped(region, geometry);
    let shape = Shape::of(geometry);
    ring::Writer::format(&memory, &shape);
    ring::set_state(&memory, state::LIVE);
    header_word(region, at::MAGIC).store(MAGIC, Ordering::Release);
}

/// Whether a mapped file says that it is a queue. No other is written.
fn is_queue(region: &Region) -> bool {
    region.len() as u64 >= HEADER_BYTES
        && header_word(region, at::MAGIC).load(Ordering::Relaxed) == MAGIC
}

/// Opens the control file to write, and takes a slot in it if there is one left. An observer takes
/// none: in a lossless queue it would hold the producer back.
fn take_seat(
    paths: &Paths,
    data: &Region,
    g: &Geometry,
    o: &ConsumerOptions,
) -> Result<(Arc<Control>, Option<Seat>)> {
    let owner = data.owner().map_err(|e| cannot_stat(paths, &e))?;
    let (control, _) = Control::find(paths, g, true, owner)?;
    let control = Arc::new(control);
    let seat = match o.observer {
        true => None,
        false => Seat::lock(control.clone(), paths, &o.name, None)?,
    };
    Ok((control, seat))
}

pub(super) fn registry_full(paths: &Paths, g: &Geometry) -> Error {
    Error::RegistryFull(
        format!(
            "{}: all places for consumers are taken (max_consumers: {}): close a consumer, or open an \
             observer ({})",
            paths.shown(),
            g.max_consumers,
            language::observer()
        )
        .into(),
    )
}

/// Why a lossless queue cannot be consumed.
fn no_seat(paths: &Paths, e: Error) -> Error {
    match e {
        Error::PermissionDenied(text) => Error::PermissionDenied(
            format!(
                "{}: a consumer of a lossless queue needs to write its control file: the producer \
                 gives it that right by control_permissions, or it opens the queue as an observer \
                 ({}): {text}",
                paths.shown(),
                language::observer()
            )
            .into(),
        ),
        Error::NotFound(text) => Error::Damaged(
            format!(
                "{}: the control file of the queue was removed: {}: {text}",
                paths.shown(),
                language::renew()
            )
            .into(),
        ),
        e => e,
    }
}

/// Says which process is the producer; 0 if none is.
pub(super) fn set_holder(region: &Region, pid: u32) {
    header_word(region, at::PID).store(pid.into(), Ordering::Relaxed);
}

/// Sets the state of a queue whose name is taken, and wakes its consumers.
fn set_old_state(region: &Region, value: u64) {
    crate::steps::step();
    // Partner: `SeeState`, as in `ring::set_state`; this file may have no valid geometry.
    header_word(region, at::STATE).store(value, Ordering::Release);
    wake(region);
}

/// Wakes the consumers of a queue whose name is taken.
fn wake(region: &Region) {
    // SAFETY: the header is mapped, to write.
    wakeup::wake_all(unsafe { wake_word(region).as_ref() });
}

/// Whether what exists is what was asked for; the error names both.
fn check_fit(
    paths: &Paths,
    have: &Geometry,
    o: &ProducerOptions,
    message_size: Option<u32>,
    r: &Request,
) -> Result<()> {
    let filled = Request {
        // That of messages of another size says nothing about these.
        capacity: match o.capacity {
            0 if message_size.is_none_or(|size| size == have.message_size) => have.capacity,
            capacity => capacity,
        },
        message_size: message_size.unwrap_or(have.message_size),
        delivery: o.delivery.unwrap_or(have.delivery),
        max_consumers: if o.max_consumers == 0 {
            have.max_consumers
        } else {
            o.max_consumers
        },
        // A lossy queue has none.
        min_consumers: match (o.min_consumers, o.delivery) {
            (0, Some(delivery)) if delivery != have.delivery => 0,
            (0, _) => have.min_consumers,
            (count, _) => count,
        },
        ..*r
    };
    let want = named(Geometry::new(&filled), paths)?;
    let essence = |g: &Geometry| {
        (
            g.framing,
            g.delivery,
            g.message_size,
            g.capacity,
            g.max_consumers,
            g.min_consumers,
        )
    };
    if essence(&want) == essence(have) {
        return Ok(());
    }
    let consumers = |g: &Geometry| match (g.delivery, want.max_consumers != have.max_consumers) {
        (Delivery::Lossy, false) => String::new(),
        _ => format!(", {} to {} consumers", g.min_consumers, g.max_consumers),
    };
    Err(Error::Geometry(
        format!(
            "{}: the queue has {}{}, but {} was requested: {}",
            paths.shown(),
            have.describe(),
            consumers(have),
            requested(o, message_size, want.capacity),
            language::refit()
        )
        .into(),
    ))
}

/// Refuses `evict_after` for a lossy queue, in which no consumer holds the producer back.
fn check_eviction(paths: &Paths, o: &ProducerOptions, delivery: Delivery) -> Result<()> {
    match (delivery, o.evict_after) {
        (Delivery::Lossy, Some(_)) => Err(Error::Invalid(
            format!(
                "{}: {} is for lossless queues",
                paths.shown(),
                language::evict_after()
            )
            .into(),
        )),
        _ => Ok(()),
    }
}

/// Describes the options that a producer set, without those that it left open. `capacity` is
/// rounded up.
fn requested(o: &ProducerOptions, message_size: Option<u32>, capacity: u64) -> String {
    let mut parts = Vec::new();
    let asked = if o.capacity == 0 { 0 } else { capacity };
    match (message_size, asked) {
        (None, 0) => {}
        (None, capacity) => parts.push(format!("a capacity of {capacity}")),
        (Some(0), 0) => parts.push("variable length".into()),
        (Some(0), capacity) => parts.push(format!("variable length, {capacity} bytes")),
        (Some(size), 0) => parts.push(format!("a message size of {size} bytes")),
        (Some(size), capacity) => parts.push(format!("{capacity} messages of {size} bytes")),
    }
    if asked != o.capacity {
        parts.push(format!("rounded up from a capacity of {}", o.capacity));
    }
    match o.delivery {
        Some(Delivery::Lossy) => parts.push("lossy".into()),
        Some(Delivery::Lossless) => parts.push("lossless".into()),
        None => {}
    }
    for (option, count) in [
        ("min_consumers", o.min_consumers),
        ("max_consumers", o.max_consumers),
    ] {
        if count != 0 {
            parts.push(format!("{option} {count}"));
        }
    }
    parts.join(", ")
}

/// Whether a producer could go on in this ring.
fn check_ring(region: &Region, g: &Geometry) -> std::result::Result<(), ring::Damage> {
    let (memory, shape) = (mapped(region, g), Shape::of(g));
    ring::Writer::recover(memory, shape).map(|_| ())
}

/// The text of the error for a name without a data file. `text` is that of the call that failed.
/// `how_to_wait` is from [`language`].
pub(super) fn missing_queue(name: &OsStr, text: &str, how_to_wait: &str) -> String {
    let (shown, what) = (Paths::shown_of(name), what_is_missing(name));
    format!("{shown}: {what}: a producer has to open it first{how_to_wait}: {text}")
}

/// Whether the queue is missing or only its data file.
fn what_is_missing(name: &OsStr) -> String {
    let paths = Paths::of(name).ok();
    let other = paths.and_then(|p| Some(p.dir.shown(find_other(&p).ok()??)));
    match other {
        Some(other) => format!("its data file is missing, but {other} exists"),
        None => "there is no such queue".into(),
    }
}

/// What a consumer holds of the files.
pub(super) struct Observed {
    pub region: Arc<Region>,
    pub geometry: Geometry,
    pub schema: Option<Schema>,
    /// Before the control file was opened: a later producer may have made another one.
    pub epoch: u64,
    /// Not where it may not even be read, nor where it is missing.
    pub control: Option<Arc<Control>>,
    /// The consumer's slot in it, where it may be written.
    pub seat: Option<Seat>,
}

/// Opens the queue as a consumer, after waiting for it if that is asked for.
pub(super) fn observe(name: &OsStr, o: &ConsumerOptions) -> Result<(Paths, Observed)> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut gate = None;
    loop {
        let missing = match observe_once(name, o) {
            Ok(Some(observed)) => return Ok(observed),
            // Its files changed while they were being opened.
            Ok(None) => None,
            Err(Error::NotFound(text)) => Some(text),
            Err(e) => return Err(e),
        };
        let left = o.open_timeout.saturating_sub(since.elapsed());
        // It changes for a moment only, unless somebody does nothing else.
        let again = missing.is_none() && since.elapsed() < EXIT_GRACE;
        if left.is_zero() && !again {
            let shown = Paths::shown_of(name);
            return Err(Error::NotFound(match (missing, o.open_timeout) {
                (None, _) => format!("{shown}: the queue is being replaced again and again").into(),
                (Some(text), Duration::ZERO) => {
                    missing_queue(name, &text, &language::how_to_wait()).into()
                }
                (Some(text), time) => format!(
                    "{shown}: {}, and no producer opened one within {time:?} ({}): {text}",
                    what_is_missing(name),
                    language::open_timeout()
                )
                .into(),
            }));
        }
        let gate = gate.get_or_insert_with(os::SignalGate::new);
        let longest = if again {
            Duration::from_millis(1)
        } else {
            left
        };
        if !gate.nap(pause.min(longest)) {
            return Err(Error::Interrupted(
                format!(
                    "{}: a signal arrived while this call waited for the queue",
                    Paths::shown_of(name)
                )
                .into(),
            ));
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// One try. `None` if the queue was replaced or removed meanwhile.
fn observe_once(name: &OsStr, o: &ConsumerOptions) -> Result<Option<(Paths, Observed)>> {
    let paths = Paths::of(name)?;
    let region = Region::open(&paths.dir, &paths.data, false)?;
    let geometry = geometry_of(&region, &paths)?;
    check_home(&paths, open_file(&region, &paths)?)?;
    let schema = schema_of(&region, &geometry, &paths)?;
    check_schema(&paths, &geometry, schema.as_ref(), o.schema.as_ref(), "")?;
    check_size(&paths, &geometry, o)?;
    let region = Arc::new(region);
    let epoch = mapped(&region, &geometry).load_relaxed(Field::Epoch);
    let sits = geometry.delivery == Delivery::Lossless && !o.observer;
    let (control, seat) = match take_seat(&paths, &region, &geometry, o) {
        Ok((_, None)) if sits => return Err(registry_full(&paths, &geometry)),
        Ok((control, seat)) => (Some(control), seat),
        Err(e) => match region.is_named(&paths.dir, &paths.data) {
            Ok(false) => return Ok(None),
            _ if sits => return Err(no_seat(&paths, e)),
            // A lossy queue can be consumed without, by a process that may not write the file, or if
            // it was removed. Any other error would come back as a consumer that is late and unlisted.
            _ => match e {
                Error::PermissionDenied(_) | Error::NotFound(_) => (None, None),
                e => return Err(e),
            },
        },
    };
    Ok(Some((
        paths,
        Observed {
            region,
            geometry,
            schema,
            epoch,
            control,
            seat,
        },
    )))
}
