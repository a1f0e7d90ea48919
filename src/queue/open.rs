//! The files of a queue: how they are created, found, checked and replaced.

use super::errors::damaged;
use super::language;
use super::options::{ConsumerOptions, ProducerOptions};
use super::registry::ConsumerSlot;
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

/// The files and locks of a producer.
pub(super) struct Attached {
    pub region: Arc<Region>,
    pub geometry: Geometry,
    pub schema: Option<Schema>,
    pub control: Control,
    /// Shows consumers that the queue has a producer.
    pub alive: HeldLock,
    /// Makes this process the only producer.
    pub writer: Writer,
}

/// A word of the header. The file may not be a queue.
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

/// The record schema of a queue whose geometry was read. It is copied before it is parsed, so a
/// later change of the file has no effect.
fn schema_of(region: &Region, g: &Geometry, paths: &Paths) -> Result<Option<Schema>> {
    let mut bytes = vec![0; g.schema_length as usize];
    // SAFETY: `Geometry::read` has checked that the schema is before the ring, and so in the
    // mapping.
    unsafe {
        let from = region.base().add(g.schema_offset as usize);
        copy::copy_from_shared(bytes.as_mut_ptr(), from, bytes.len());
    }
    schema_from(&bytes, g, paths)
}

/// The record schema in these bytes of a header, if there is one.
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
            "its records have {} bytes, but the messages have {} bytes",
            schema.itemsize(),
            g.message_size
        )));
    }
    Ok(Some(schema))
}

/// Checks that a queue has the record schema that was requested, if any. The error shows the
/// difference.
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

/// Checks that the messages have the size that a consumer expects, if it expects one.
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
    // SAFETY: `Geometry::read` has checked it against the length of the mapping. The owner of the
    // result also keeps the region.
    unsafe { Mapped::new(region.base(), g) }
}

/// Opens the queue as its only producer. Creates it if it does not exist, and replaces it if that
/// is requested.
pub(super) fn attach(paths: &Paths, o: &ProducerOptions) -> Result<Attached> {
    for (option, count) in [
        ("capacity", o.capacity),
        ("max_consumers", o.max_consumers.map(u64::from)),
    ] {
        if count == Some(0) {
            return Err(Error::Invalid(
                format!("{}: {option} 0: use at least 1", paths.shown()).into(),
            ));
        }
    }
    for (option, mode) in [
        ("permissions", o.permissions),
        ("control_permissions", o.control_permissions),
    ] {
        if let Some(mode) = mode.filter(|mode| mode & 0o600 != 0o600 || *mode > 0o777) {
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
    // Neither a producer that has closed or detached nor a dead one holds the lock.
    let is_residue = || holder(paths).is_none_or(os::is_dead);
    let attached = ours
        .and_then(|()| names.writer(paths, is_residue, || busy(paths)))
        .and_then(|writer| attach_locked(paths, o, writer));
    // If the queue cannot be opened, it stays as it was.
    attached.inspect_err(|_| names.undo(paths))
}

/// The error text for a queue that another producer holds.
fn busy(paths: &Paths) -> String {
    let holder = match holder(paths) {
        Some(pid) if pid == std::process::id() => ": it is this process",
        Some(pid) => &format!(": process {pid}"),
        // Only the lock is left of that queue, and it does not show which process holds it.
        None if !matches!(paths.dir.stat(&paths.data), Ok(Some(_))) => {
            return "the queue of this name was removed, but its producer still has it open: end that \
                    producer first, or take another name"
                .into()
        }
        None => "",
    };
    format!("another live producer holds the queue{holder}: close it first, or take another name")
}

/// The process that has opened a queue as its producer. This is for information only.
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

/// The message size, if it was requested: with a schema, the size of its records.
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

/// Refuses a data file that has a second name, unless the file says that it was made for this name.
/// Another user can give the files of a queue other names. That must neither keep users out of
/// their queue nor lead them to another one. In a directory where the other user could remove the
/// name again at any moment, the number of names proves nothing, so the file has to say it.
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
                 may write this directory: move it to a directory that they may not write",
                paths.shown()
            )
            .into(),
        ));
    }
    paths.dir.check_one_name(&paths.data, file)
}

/// The part of `attach` under the locks.
fn attach_locked(paths: &Paths, o: &ProducerOptions, writer: Writer) -> Result<Attached> {
    let message_size = message_size(paths, o)?;
    let request = Request {
        capacity: o.capacity.unwrap_or(0),
        message_size: message_size.unwrap_or(0),
        delivery: o.delivery.unwrap_or_default(),
        max_consumers: o.max_consumers.unwrap_or(0),
        min_consumers: o.min_consumers.unwrap_or(0),
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
        // An empty file cannot be mapped.
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
                        format!("{shown}: the old queue did not match, and was replaced")
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
    // Still live, and a process is set: the last producer neither closed nor detached, so it was
    // killed.
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

/// A queue that a producer has created or found.
struct Opened {
    region: Region,
    geometry: Geometry,
    schema: Option<Schema>,
    control: Control,
    alive: HeldLock,
}

/// Checks that the existing queue is the one that was requested. Finds its control file.
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
        // The positions of attached consumers are in a file that has no name any more. These
        // consumers would lose messages without an error.
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

/// Renames the control file of a queue before the queue is replaced, because the next control file
/// needs its temporary name. Consumers that have just found the old queue look for the file.
fn settle_control(paths: &Paths, old: &Region) {
    if let Ok(g) = geometry_of(old, paths) {
        if let Ok((_, name)) = Control::find(paths, &g, true, os::effective_uid()) {
            give_name(paths, name);
        }
    }
}

/// Gives a control file that was found under a temporary name its own name.
fn give_name(paths: &Paths, name: &CStr) {
    if name != paths.control.as_c_str() {
        // The producer that made the queue was killed before it could rename the file. If another
        // user has put something under that name, the rename fails, and the file is found where it
        // is.
        if let Err(e) = paths.dir.rename(name, &paths.control) {
            let shown = paths.dir.shown(name);
            log::say(Level::Warning, || format!("cannot rename {shown}: {e}"));
        }
    }
}

/// Removes unfinished files. Only the holder of the lock makes them, so a producer that was killed
/// left these. Another user may have put something there that cannot be removed, and it does no
/// harm. The control file of this queue may have to stay there ([`name_control`]).
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

/// Shows consumers that a data file has a producer. `name` is the present name of the file.
fn show_alive(paths: &Paths, name: &CStr, region: &Region) -> Result<HeldLock> {
    let shown = paths.dir.shown(name);
    let failed = |e: std::io::Error| Error::from_io(&e, format_args!("cannot lock {shown}"));
    let mut weak = false;
    let alive = HeldLock::take(
        || paths.dir.open_file(name, true),
        |file, meta| {
            if os::identity(meta) != region.file().identity() {
                return Err(Error::Replaced(
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
        // Any reader of the file can lock it. That must not decide whether a producer is alive.
        log::say(Level::Warning, || {
            format!("{shown}: a process that may only read the queue has locked its file")
        });
    }
    match alive {
        Some((alive, _)) => Ok(alive),
        None => Err(Error::Internal("the lock was not tried".into())),
    }
}

/// Whether a data file has a producer. If that cannot be found out, the answer is yes. `weak` and
/// `pid` are words of the header.
pub(super) fn has_producer(file: &File, weak: u64, pid: u64) -> bool {
    let locked = |kind, byte| os::is_locked(file, kind, byte).unwrap_or(true);
    locked(Lock::Exclusive, lock_byte::PRODUCER_ALIVE)
        || weak != 0
            && locked(Lock::Shared, lock_byte::PRODUCER_PERHAPS_ALIVE)
            && ProcessStamp::of(weak, pid).unwrap_or(true)
}

/// As [`has_producer`], for a mapped queue.
pub(super) fn is_alive(region: &Region) -> bool {
    let (weak, pid) = weak_words(region);
    region
        .file()
        .get()
        .map_or(true, |file| has_producer(file, weak, pid))
}

/// A producer calls this before it releases the lock that shows it, because a reader may hold that
/// lock as well.
pub(super) fn end_weak(region: &Region) {
    header_word(region, at::WEAK_ALIVE).store(0, Ordering::Relaxed);
}

fn weak_words(region: &Region) -> (u64, u64) {
    let word = |at| header_word(region, at).load(Ordering::Relaxed);
    (word(at::WEAK_ALIVE), word(at::PID))
}

/// Shows that a push has found no room up to `end`. This is for information only. The value stays
/// until the next push that finds no room, so a reader compares it with the producer's position and
/// limit.
pub(super) fn show_blocked(region: &Region, end: u64) {
    let word = header_word(region, at::BLOCKED);
    // A producer that retries does not take the cache line from the consumers.
    if word.load(Ordering::Relaxed) != end {
        word.store(end, Ordering::Relaxed);
    }
}

/// How long a dying producer may take to release all of its locks.
const EXIT_GRACE: Duration = Duration::from_secs(1);

/// Refuses a ring that has a producer although its lock file was free. In that case the lock file
/// was removed by hand, and two producers would corrupt each other's messages.
fn check_no_other(region: &Region, paths: &Paths) -> Result<()> {
    let since = Instant::now();
    let file = open_file(region, paths)?;
    // Two locks show a producer. No reader can hold the first one. The other one counts only if its
    // process is known to be alive.
    let alive = || {
        // A file that is not a queue may be shorter than a header.
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
        // The kernel releases the locks of a dead process one after the other.
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

/// The mode bits of the control file. A user that may not write it may not read it either, because
/// a process that can open a file to read can lock it, and so keep other processes from their
/// locks.
fn control_mode(o: &ProducerOptions) -> u32 {
    let mode = o.control_permissions.or(o.permissions).unwrap_or(0o600);
    [0o60, 0o6]
        .iter()
        .fold(mode, |mode, both| match mode & both & 0o222 {
            0 => mode & !both,
            _ => mode,
        })
}

/// Creates both files, and makes them visible in the place of `old` when they are complete. The
/// data file gets its name first. That single step replaces the old queue by the new one, because
/// [`Control::find`] finds the control file under either name.
fn create(
    paths: &Paths,
    o: &ProducerOptions,
    request: &Request,
    old: Option<&Region>,
) -> Result<Opened> {
    let geometry = named(Geometry::new(request), paths)?;
    check_eviction(paths, o, geometry.delivery)?;
    let mode = o.permissions.unwrap_or(0o600);
    let (control, mut control_name) = Control::make(paths, &geometry, control_mode(o))?;
    let mut new = NewFile::create(paths, &paths.new_data, geometry.file_bytes(), 0o600)?;
    let home = paths.dir.home(&paths.data);
    header_word(&new.region, at::HOME).store(home, Ordering::Relaxed);
    format(&new.region, &geometry, o.schema.as_ref());
    // Every call that can fail comes before the file gets its name.
    let alive = show_alive(paths, new.name.as_c_str(), &new.region)?;
    // After the lock, or a reader could lock the file first.
    os::set_mode(open_file(&new.region, paths)?, mode).map_err(|e| {
        Error::from_io(&e, format_args!("cannot set the mode of {}", paths.shown()))
    })?;
    if control_name.as_c_str() != paths.new_control.as_c_str() {
        // No process would find it under that name.
        control_name.publish(control.region(), &paths.control)?;
    }
    let old = old.filter(|old| is_queue(old));
    let before = old.map(|old| header_word(old, at::STATE).load(Ordering::Relaxed));
    // Before the rename, so that a consumer that sees this state checks whether the file still has
    // its name, even if this producer is killed between the two steps.
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
    // Again, for consumers that found that the file still had its name.
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

/// Gives the control file its name, after the data file has its name.
fn name_control(paths: &Paths, control: &Control, name: &mut NewName) {
    if name.as_c_str() == paths.new_control.as_c_str() {
        if let Err(e) = name.publish(control.region(), &paths.control) {
            // It is also found under this name.
            name.keep();
            log::say(Level::Warning, || e.to_string());
        }
    }
}

/// Writes the header and the empty ring of a new data file.
fn format(region: &Region, geometry: &Geometry, schema: Option<&Schema>) {
    for (at, word) in geometry.words() {
        header_word(region, at).store(word, Ordering::Relaxed);
    }
    if let Some(schema) = schema {
        let json = schema.to_json();
        // SAFETY: the geometry has room for it there. No other process has the file yet.
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

/// Whether a mapped file says that it is a queue. No other file is written.
fn is_queue(region: &Region) -> bool {
    region.len() as u64 >= HEADER_BYTES
        && header_word(region, at::MAGIC).load(Ordering::Relaxed) == MAGIC
}

/// Opens the control file to write, and takes a free slot if there is one. An observer takes no
/// slot, because a slot of a lossless queue holds the producer back.
fn take_slot(
    paths: &Paths,
    data: &Region,
    g: &Geometry,
    o: &ConsumerOptions,
) -> Result<(Arc<Control>, Option<ConsumerSlot>)> {
    let owner = data.owner().map_err(|e| cannot_stat(paths, &e))?;
    let (control, _) = Control::find(paths, g, true, owner)?;
    let control = Arc::new(control);
    let slot = match o.observer {
        true => None,
        false => ConsumerSlot::lock(control.clone(), paths, &o.name, None)?,
    };
    Ok((control, slot))
}

pub(super) fn registry_full(paths: &Paths, g: &Geometry) -> Error {
    Error::RegistryFull(
        format!(
            "{}: all consumer slots are taken (max_consumers: {}): close a consumer, or open an \
             observer ({})",
            paths.shown(),
            g.max_consumers,
            language::observer()
        )
        .into(),
    )
}

/// The error for a consumer that cannot get a slot of a lossless queue.
fn no_slot(paths: &Paths, e: Error) -> Error {
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

/// Stores the pid of the producer, or 0 if the queue has none.
pub(super) fn set_holder(region: &Region, pid: u32) {
    header_word(region, at::PID).store(pid.into(), Ordering::Relaxed);
}

/// Sets the state of a queue that is being replaced, and wakes its consumers.
fn set_old_state(region: &Region, value: u64) {
    crate::steps::step();
    // Partner: `SeeState`, as in `ring::set_state`. This file may not have a valid geometry.
    header_word(region, at::STATE).store(value, Ordering::Release);
    wake(region);
}

/// Wakes the consumers of a queue that is being replaced.
fn wake(region: &Region) {
    // SAFETY: the header is mapped to write.
    wakeup::wake_all(unsafe { wake_word(region).as_ref() });
}

/// Checks that the existing queue matches the options. The error shows both.
fn check_fit(
    paths: &Paths,
    have: &Geometry,
    o: &ProducerOptions,
    message_size: Option<u32>,
    r: &Request,
) -> Result<()> {
    let filled = Request {
        // The capacity of a queue of other messages says nothing about these.
        capacity: match o.capacity {
            Some(capacity) => capacity,
            None if message_size.is_none_or(|size| size == have.message_size) => have.capacity,
            None => 0,
        },
        message_size: message_size.unwrap_or(have.message_size),
        delivery: o.delivery.unwrap_or(have.delivery),
        max_consumers: o.max_consumers.unwrap_or(have.max_consumers),
        // A lossy queue has no min_consumers.
        min_consumers: match (o.min_consumers, o.delivery) {
            (None, Some(delivery)) if delivery != have.delivery => 0,
            (None, _) => have.min_consumers,
            (Some(count), _) => count,
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
    match (message_size, o.capacity.map(|_| capacity)) {
        (None, None) => {}
        (None, Some(capacity)) => parts.push(format!("a capacity of {capacity}")),
        (Some(0), None) => parts.push("variable length".into()),
        (Some(0), Some(capacity)) => parts.push(format!("variable length, {capacity} bytes")),
        (Some(size), None) => parts.push(format!("a message size of {size} bytes")),
        (Some(size), Some(capacity)) => parts.push(format!("{capacity} messages of {size} bytes")),
    }
    if let Some(asked) = o.capacity.filter(|asked| *asked != capacity) {
        parts.push(format!("rounded up from a capacity of {asked}"));
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
        if let Some(count) = count {
            parts.push(format!("{option} {count}"));
        }
    }
    parts.join(", ")
}

/// Whether a producer could continue in this ring.
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

/// The files and the slot of a consumer.
pub(super) struct Observed {
    pub region: Arc<Region>,
    pub geometry: Geometry,
    pub schema: Option<Schema>,
    /// The epoch before the control file was opened. A later producer may have made another control
    /// file.
    pub epoch: u64,
    /// `None` if this process may not open it, or if it is missing.
    pub control: Option<Arc<Control>>,
    /// The consumer's slot in the control file, if this process may write that.
    pub slot: Option<ConsumerSlot>,
}

/// Opens the queue as a consumer. Waits for the queue if that is requested.
pub(super) fn observe(name: &OsStr, o: &ConsumerOptions) -> Result<(Paths, Observed)> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    let mut gate = None;
    loop {
        let missing = match observe_once(name, o) {
            Ok(Some(observed)) => return Ok(observed),
            // The files changed while they were being opened.
            Ok(None) => None,
            Err(Error::NotFound(text)) => Some(text),
            Err(e) => return Err(e),
        };
        let left = o
            .open_timeout
            .map_or(Duration::MAX, |t| t.saturating_sub(since.elapsed()));
        // The files change only for a moment, unless a process replaces them again and again.
        let again = missing.is_none() && since.elapsed() < EXIT_GRACE;
        if left.is_zero() && !again {
            let shown = Paths::shown_of(name);
            return Err(Error::NotFound(match (missing, o.open_timeout) {
                (None, _) => format!("{shown}: the queue is being replaced again and again").into(),
                (Some(text), None | Some(Duration::ZERO)) => {
                    missing_queue(name, &text, &language::how_to_wait()).into()
                }
                (Some(text), Some(time)) => format!(
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

/// One try. Returns `None` if the queue was replaced or removed during the try.
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
    let needs_slot = geometry.delivery == Delivery::Lossless && !o.observer;
    let (control, slot) = match take_slot(&paths, &region, &geometry, o) {
        Ok((_, None)) if needs_slot => return Err(registry_full(&paths, &geometry)),
        Ok((control, slot)) => (Some(control), slot),
        Err(e) => match region.is_named(&paths.dir, &paths.data) {
            Ok(false) => return Ok(None),
            _ if needs_slot => return Err(no_slot(&paths, e)),
            // A consumer of a lossy queue does not need the control file, if it may not write the
            // file or the file was removed. Any other error is reported, because the consumer would
            // be late and unlisted without a reason.
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
            slot,
        },
    )))
}
