//! The files of a queue: made, found, checked, replaced.

use super::options::{ConsumerOptions, ProducerOptions};
use super::sleep::wake_word;
use crate::control::Control;
use crate::error::{Error, Result};
use crate::layout::{
    at, lock_byte, state, Delivery, Framing, Geometry, Request, HEADER_BYTES, MAGIC,
};
use crate::log::{self, Level};
use crate::memory::{self, Field, Mapped, Memory, Site};
use crate::name::Paths;
use crate::registry::Seat;
use crate::ring::{self, FixedWriter, Shape, VariableWriter};
use crate::schema::Schema;
use crate::shm::{self, Region};
use crate::sys::{self, Lock, LockFile};
use crate::wait;
use std::path::Path;
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
    pub alive: LockFile,
    /// Makes this the one producer.
    pub lock: LockFile,
}

/// A word of the header, which need not be one of a queue.
fn header_word(region: &Region, at: usize) -> &AtomicU64 {
    assert!(at % 8 == 0 && at + 8 <= region.len());
    // SAFETY: aligned and inside the mapping; all accesses to a header are atomic.
    unsafe { AtomicU64::from_ptr(region.base().add(at).cast()) }
}

fn geometry_of(region: &Region, paths: &Paths) -> Result<Geometry> {
    let word = |at| header_word(region, at).load(Ordering::Relaxed);
    let with_name = |text| format!("{}: {text}", paths.shown()).into();
    Geometry::read(region.len() as u64, word).map_err(|e| match e {
        Error::Damaged(text) => Error::Damaged(with_name(text)),
        Error::Version(text) => Error::Version(with_name(text)),
        e => e,
    })
}

/// The records of a queue whose geometry was read. They are copied before they are looked at, so
/// what becomes of the file later changes nothing.
fn schema_of(region: &Region, g: &Geometry, paths: &Paths) -> Result<Option<Schema>> {
    if g.schema_length == 0 {
        return Ok(None);
    }
    let mut bytes = vec![0; g.schema_length as usize];
    // SAFETY: `Geometry::read` has checked that the schema lies before the ring, and so in the
    // mapping.
    unsafe {
        let from = region.base().add(g.schema_offset as usize);
        memory::copy_from_shared(bytes.as_mut_ptr(), from, bytes.len());
    }
    let damaged = |why: &dyn std::fmt::Display| {
        Error::Damaged(format!("{}: damaged record schema: {why}", paths.shown()).into())
    };
    let text = std::str::from_utf8(&bytes).map_err(|e| damaged(&e))?;
    let schema = Schema::from_json(text).map_err(|e| damaged(&e))?;
    if schema.itemsize() != g.message_size {
        return Err(damaged(&format_args!(
            "records of {} bytes, and messages of {}",
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
            "{shown}: the queue has no record schema ({}), asked for was one{advice}:\n{}",
            g.describe(),
            want.brief()
        ),
        Some(have) => match have.difference(want, "the queue has", "asked for was") {
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

/// Whether the file is one: for lists, so any doubt is a no.
pub(super) fn is_queue(path: &Path) -> bool {
    match Region::open(path, false) {
        Ok(region) if region.len() as u64 >= HEADER_BYTES => {
            header_word(&region, at::MAGIC).load(Ordering::Relaxed) == MAGIC
        }
        _ => false,
    }
}

/// Opens the queue as its one producer; makes or replaces it where that is asked for.
pub(super) fn attach(paths: &Paths, o: &ProducerOptions) -> Result<Attached> {
    if o.exclusive && paths.data.exists() {
        return Err(already_there(paths));
    }
    let lock = shm::lock_writer(
        paths,
        lock_byte::PRODUCER,
        "another live producer holds the queue: close it first, or take another name",
    )?;
    // Files in the making are the lock holder's: these were left by one that was killed.
    for left in [&paths.new_data, &paths.new_control] {
        sys::remove(left)
            .map_err(|e| Error::from_io(&e, format_args!("cannot remove {}", left.display())))?;
    }
    match attach_locked(paths, o) {
        Ok((region, geometry, schema, control, alive)) => Ok(Attached {
            region: Arc::new(region),
            geometry,
            schema,
            control,
            alive,
            lock,
        }),
        Err(e) => {
            // A queue that could not be made leaves nothing behind.
            shm::remove_orphaned_lock(&lock, paths);
            Err(e)
        }
    }
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

/// The part of `attach` that is done under the lock.
fn attach_locked(
    paths: &Paths,
    o: &ProducerOptions,
) -> Result<(Region, Geometry, Option<Schema>, Control, LockFile)> {
    for mode in [o.permissions, o.control_permissions] {
        if mode != 0 && (mode & 0o600 != 0o600 || mode > 0o777) {
            return Err(Error::Invalid(
                format!(
                    "{}: permissions {mode:#o}: mode bits up to 0777, with 0600 for the producer",
                    paths.shown()
                )
                .into(),
            ));
        }
    }
    let message_size = message_size(paths, o)?;
    let request = Request {
        capacity: o.capacity,
        message_size: message_size.unwrap_or(0),
        delivery: o.delivery.unwrap_or_default(),
        max_consumers: o.max_consumers,
        min_consumers: o.min_consumers,
        schema_length: o.schema.as_ref().map_or(0, |s| s.to_json().len() as u32),
        first_sequence: o.first_sequence,
        id: sys::unique_id(),
    };
    let found = match Region::open(&paths.data, true) {
        Ok(_) if o.exclusive => return Err(already_there(paths)),
        Ok(region) => {
            shm::check_owner(&region, paths)?;
            check_no_other(&region, paths)?;
            let geometry = geometry_of(&region, paths);
            Some((region, geometry))
        }
        Err(Error::NotFound(_)) => None,
        // An empty file cannot be mapped, so there is nobody to be told.
        Err(Error::Damaged(_)) if o.replace && paths.data.is_file() => None,
        Err(e) => return Err(e),
    };
    let (region, geometry, schema, control, alive) = match found {
        None => create(paths, o, &request, None)?,
        Some((region, geometry)) => {
            let fitting = geometry.and_then(|g| {
                let schema = schema_of(&region, &g, paths)?;
                let advice = ": open it as it is, or with REPLACE";
                check_schema(paths, &g, schema.as_ref(), o.schema.as_ref(), advice)?;
                check_fit(paths, &g, o, message_size, &request)?;
                check_ring(&region, &g).map_err(|d| super::damaged(paths, d))?;
                Ok((g, schema))
            });
            match fitting {
                Ok((g, schema)) => {
                    let alive = show_alive(&paths.data)?;
                    let control = Control::attach_or_create(paths, &g, control_mode(o))?;
                    sys::fill_holes(region.file(), &paths.data)?;
                    region.fetch_page_tables();
                    sys::fill_holes(control.region().file(), &paths.control)?;
                    (region, g, schema, control, alive)
                }
                Err(
                    Error::Geometry(_)
                    | Error::SchemaMismatch(_)
                    | Error::Damaged(_)
                    | Error::Version(_),
                ) if o.replace => {
                    let new = create(paths, o, &request, Some(&region))?;
                    log::say(Level::Warning, || {
                        format!("{}: did not fit, and was replaced", paths.shown())
                    });
                    new
                }
                Err(e) => return Err(e),
            }
        }
    };
    shm::check_owner(control.region(), paths)?;
    let memory = mapped(&region, &geometry);
    let epoch = memory.load(Field::Epoch).wrapping_add(1);
    memory.publish(Site::State, Field::Epoch, epoch & u64::from(u32::MAX));
    // Still live means that the last producer did not close: it was killed.
    let crashed = epoch > 1 && memory.load(Field::State) == state::LIVE;
    ring::set_state(&memory, state::LIVE);
    log::say(if crashed { Level::Warning } else { Level::Info }, || {
        let how = match (epoch, crashed) {
            (1, _) => "created",
            (_, false) => "continued",
            (_, true) => "continued after its producer died",
        };
        format!("{}: {how}: {}", paths.shown(), geometry.describe())
    });
    Ok((region, geometry, schema, control, alive))
}

/// Shows the consumers of a data file that it has a producer.
fn show_alive(path: &Path) -> Result<LockFile> {
    let shown = path.display();
    let alive = sys::open(path, true)
        .map(LockFile::new)
        .map_err(|e| Error::from_io(&e, format_args!("cannot open {shown}")))?;
    let locked = sys::try_lock(alive.file(), Lock::Exclusive, lock_byte::PRODUCER_ALIVE)
        .map_err(|e| Error::from_io(&e, format_args!("cannot lock {shown}")))?;
    if !locked {
        log::say(Level::Warning, || {
            format!("{shown}: a reader has locked it, so its producer will be taken for dead")
        });
    }
    Ok(alive)
}

/// How long a dying producer may take to drop one lock after the other.
const LAST_BREATH: Duration = Duration::from_secs(1);

/// Refuses a ring that has a producer, though its lock file was free: somebody must have removed
/// that by hand, and two producers would tear each other's messages.
fn check_no_other(region: &Region, paths: &Paths) -> Result<()> {
    let since = Instant::now();
    while sys::is_locked(region.file(), lock_byte::PRODUCER_ALIVE) {
        // The kernel drops the locks of the dead one by one.
        if since.elapsed() > LAST_BREATH {
            return Err(Error::ProducerExists(
                format!(
                    "{}: another live producer holds the queue, whose lock file was removed",
                    paths.shown()
                )
                .into(),
            ));
        }
        sys::nap(Duration::from_millis(1));
    }
    Ok(())
}

fn already_there(paths: &Paths) -> Error {
    Error::Exists(format!("{}: the queue exists, and was to be created", paths.shown()).into())
}

fn control_mode(o: &ProducerOptions) -> u32 {
    match (o.control_permissions, o.permissions) {
        (0, 0) => 0o600,
        (0, data) => data,
        (control, _) => control,
    }
}

/// Makes both files whole, and only then visible, the data file last and in the place of `old`.
fn create(
    paths: &Paths,
    o: &ProducerOptions,
    request: &Request,
    old: Option<&Region>,
) -> Result<(Region, Geometry, Option<Schema>, Control, LockFile)> {
    let geometry = Geometry::new(request).map_err(|e| match e {
        Error::Invalid(text) => Error::Invalid(format!("{}: {text}", paths.shown()).into()),
        e => e,
    })?;
    let fail = |e| Error::from_io(&e, format_args!("cannot create {}", paths.shown()));
    let mode = if o.permissions == 0 {
        0o600
    } else {
        o.permissions
    };
    let region = Region::create(&paths.new_data, geometry.file_bytes(), mode)?;
    let finish = || {
        for (at, word) in geometry.words() {
            header_word(&region, at).store(word, Ordering::Relaxed);
        }
        if let Some(schema) = &o.schema {
            let json = schema.to_json();
            // SAFETY: the geometry has room for it there; nobody else has the file yet.
            unsafe {
                let to = region.base().add(geometry.schema_offset as usize);
                memory::copy_to_shared(to, json.as_ptr(), json.len());
            }
        }
        let memory = mapped(&region, &geometry);
        let shape = Shape::of(&geometry);
        match geometry.framing {
            Framing::Fixed => FixedWriter::format(&memory, &shape),
            Framing::Variable => VariableWriter::format(&memory, &shape),
        }
        ring::set_state(&memory, state::LIVE);
        header_word(&region, at::MAGIC).store(MAGIC, Ordering::Release);
        // Nothing can fail any more once the file has its name.
        let alive = show_alive(&paths.new_data)?;
        let control = Control::attach_or_create(paths, &geometry, control_mode(o))?;
        // Told before it is done: a producer killed between the two leaves consumers that open
        // the old file again, and not such as wait on it for ever.
        old.inspect(|old| set_old_state(old, state::SUPERSEDED));
        if let Err(e) = sys::rename(&paths.new_data, &paths.data) {
            old.inspect(|old| set_old_state(old, state::CLOSED));
            return Err(fail(e));
        }
        Ok((control, alive))
    };
    match finish() {
        Ok((control, alive)) => Ok((region, geometry, o.schema.clone(), control, alive)),
        Err(e) => {
            let _ = sys::remove(&paths.new_data);
            if old.is_none() {
                // No queue, so nothing of one stays.
                let _ = sys::remove(&paths.control);
            }
            Err(e)
        }
    }
}

/// Opens the control file to write, and takes a slot in it if there is one left. An observer takes
/// none: in a lossless queue it would hold the producer back.
fn take_seat(
    paths: &Paths,
    data: &Region,
    g: &Geometry,
    o: &ConsumerOptions,
) -> Result<(Arc<Control>, Option<Seat>)> {
    let control = Control::open(&paths.control, g, true)?;
    if !sys::same_owner(control.region().file(), data.file()) {
        return Err(Error::Damaged(
            format!(
                "{}: it belongs to another user than the queue",
                paths.control.display()
            )
            .into(),
        ));
    }
    let control = Arc::new(control);
    let seat = match o.observer {
        true => None,
        false => Seat::lock(control.clone(), &paths.control, &o.name)?,
    };
    Ok((control, seat))
}

pub(super) fn registry_full(paths: &Paths, g: &Geometry) -> Error {
    Error::RegistryFull(
        format!(
            "{}: {} consumers are attached, as many as it was made for (max_consumers)",
            paths.shown(),
            g.max_consumers
        )
        .into(),
    )
}

/// Why a lossless queue cannot be consumed.
fn no_seat(paths: &Paths, e: Error) -> Error {
    let text = format!(
        "{}: a consumer of a lossless queue has to write its control file (control_permissions), \
         or be an observer: {e}",
        paths.shown()
    );
    Error::from_code(e.code(), text)
}

/// Tells the consumers of a file whose name is taken.
fn set_old_state(region: &Region, value: u64) {
    if region.len() as u64 >= HEADER_BYTES {
        crate::steps::step();
        // Partner: `SeeState`, as in `ring::set_state`; this file may have no valid geometry.
        header_word(region, at::STATE).store(value, Ordering::Release);
        // SAFETY: the header is mapped, to write.
        wait::ring(unsafe { wake_word(region).as_ref() });
    }
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
        capacity: if o.capacity == 0 {
            have.capacity
        } else {
            o.capacity
        },
        message_size: message_size.unwrap_or(have.message_size),
        delivery: o.delivery.unwrap_or(have.delivery),
        max_consumers: if o.max_consumers == 0 {
            have.max_consumers
        } else {
            o.max_consumers
        },
        min_consumers: if o.min_consumers == 0 {
            have.min_consumers
        } else {
            o.min_consumers
        },
        ..*r
    };
    let want = Geometry::new(&filled)?;
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
            "{}: the queue has {}{}, asked for were {}{}: open it as it is, or with REPLACE",
            paths.shown(),
            have.describe(),
            consumers(have),
            want.describe(),
            consumers(&want)
        )
        .into(),
    ))
}

/// Whether a producer could go on in this ring.
fn check_ring(region: &Region, g: &Geometry) -> std::result::Result<(), ring::Damage> {
    let (memory, shape) = (mapped(region, g), Shape::of(g));
    match g.framing {
        Framing::Fixed => FixedWriter::recover(memory, shape).map(|_| ()),
        Framing::Variable => VariableWriter::recover(memory, shape).map(|_| ()),
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
pub(super) fn observe(paths: &Paths, o: &ConsumerOptions) -> Result<Observed> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        match Region::open(&paths.data, false) {
            Ok(region) => {
                let geometry = geometry_of(&region, paths)?;
                let schema = schema_of(&region, &geometry, paths)?;
                check_schema(paths, &geometry, schema.as_ref(), o.schema.as_ref(), "")?;
                check_size(paths, &geometry, o)?;
                let region = Arc::new(region);
                let epoch = mapped(&region, &geometry).load(Field::Epoch);
                let sits = geometry.delivery == Delivery::Lossless && !o.observer;
                match take_seat(paths, &region, &geometry, o) {
                    Ok((control, seat)) => {
                        if sits && seat.is_none() {
                            return Err(registry_full(paths, &geometry));
                        }
                        return Ok(Observed {
                            region,
                            geometry,
                            schema,
                            epoch,
                            control: Some(control),
                            seat,
                        });
                    }
                    // The queue was replaced between the opening of the one file and the other.
                    Err(_) if !sys::still_named(region.file(), &paths.data) => continue,
                    Err(e) if sits => return Err(no_seat(paths, e)),
                    // A lossy queue can be consumed without.
                    Err(_) => {
                        return Ok(Observed {
                            control: Control::open(&paths.control, &geometry, false)
                                .ok()
                                .map(Arc::new),
                            region,
                            geometry,
                            schema,
                            epoch,
                            seat: None,
                        })
                    }
                }
            }
            Err(Error::NotFound(_)) => {}
            Err(e) => return Err(e),
        }
        let left = o.open_timeout.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(Error::NotFound(
                format!(
                    "{}: there is no such queue{}: a producer has to open it first",
                    paths.shown(),
                    match o.open_timeout {
                        Duration::ZERO => String::new(),
                        t => format!(" and none appeared within {t:?}"),
                    }
                )
                .into(),
            ));
        }
        if !sys::nap(pause.min(left)) {
            return Err(Error::Interrupted);
        }
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}
