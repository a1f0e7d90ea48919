//! What all handles share: the lock, waiting, names.

use crate::buffer::{check_plain, Buffer};
use crate::errors;
use ipcq::{Deadline, Pace, Schema, Shown, Ticket};
use pyo3::exceptions::PyOverflowError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyString, PyType};
use pyo3::IntoPyObjectExt;
use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::os::unix::ffi::OsStrExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Copies of at least so many bytes are made without the interpreter lock. Giving it up and taking
/// it again costs some 100 ns, and as much as the switch interval if another thread wants it.
pub const LARGE: usize = 64 * 1024;

/// A part of a Python module, which is not imported before it is used. Looked up once: the names that
/// PyO3 makes for each look-up stay in the interpreter's cache of attributes, up to 4096 of them.
macro_rules! part {
    ($py:expr, $module:literal, $name:literal) => {{
        static PART: pyo3::sync::PyOnceLock<pyo3::Py<pyo3::PyAny>> = pyo3::sync::PyOnceLock::new();
        PART.import($py, $module, $name)
    }};
}
pub(crate) use part;

/// A lock for what a handle holds, so that Python threads may share the handle.
///
/// It is held for the time of one call into the crate, mostly with the interpreter lock held as
/// well, and so is nearly always free; whoever finds it taken lets go of the interpreter and tries
/// again. While it is held no Python code may run (it might use the same handle and wait for
/// itself), and so nothing is allocated that the cycle collector tracks.
///
/// A fork may happen while another thread holds it. That thread is not in the child, and what it
/// was changing may be half changed there: the handle is of no use in that child, and says so.
pub struct Guarded<T> {
    /// [`FREE`], or the fork generation of the process that took it.
    holder: AtomicU64,
    value: UnsafeCell<T>,
}

/// More than any fork generation.
const FREE: u64 = u64::MAX;

// SAFETY: only the one that took the lock reaches the value.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        ipcq::watch_forks();
        Guarded {
            holder: AtomicU64::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock. Fails if a signal handler raises meanwhile, or if the handle was in use when
    /// this process was forked.
    #[inline(always)]
    pub fn lock(&self, py: Python<'_>) -> PyResult<Guard<'_, T>> {
        if self.take().is_err() {
            self.wait(py)?;
        }
        Ok(Guard { guarded: self })
    }

    /// Takes the lock if it is free; else, who has it.
    #[inline(always)]
    fn take(&self) -> Result<u64, u64> {
        let me = u64::from(ipcq::fork_generation());
        // Partner: the release store of the last holder.
        self.holder
            .compare_exchange(FREE, me, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let mut nap = Duration::from_micros(1);
        while let Err(holder) = self.take() {
            if holder != u64::from(ipcq::fork_generation()) {
                return Err(errors::error(
                    py,
                    "another thread was using this handle when the process was forked: \
                     open the queue again in the child",
                ));
            }
            // SAFETY: always safe to call.
            if unsafe { ffi::Py_IsInitialized() } == 0 {
                // The thread that has it never runs again.
                return Err(errors::error(py, "the interpreter is ending"));
            }
            py.detach(|| std::thread::sleep(nap));
            py.check_signals()?;
            nap = (nap * 2).min(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The lock, taken.
pub struct Guard<'a, T> {
    guarded: &'a Guarded<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is taken.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is taken.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Partner: `take`.
        self.guarded.holder.store(FREE, Ordering::Release);
    }
}

/// Drops what may take long to drop, such as the mapping of a large ring, with the interpreter
/// released. For the drop of a handle that nobody has closed, which runs with it attached.
pub fn drop_detached<T: Send>(value: T) {
    let mut value = Some(value);
    // Where it cannot be attached to, it need not be released.
    Python::try_attach(|py| py.detach(|| drop(value.take())));
}

/// Calls into the crate. A panic, which would be a mistake in there, becomes an error like any other:
/// PyO3 would make an exception of it that `except Exception` does not catch.
#[inline(always)]
pub fn caught<T>(call: impl FnOnce() -> ipcq::Result<T>) -> ipcq::Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(internal(&*panic)))
}

/// Makes a call that may take long: without the interpreter lock, and again if a signal arrived whose
/// handler has not raised (as PEP 475 has it).
pub fn slowly<T: Send>(
    py: Python<'_>,
    call: impl Fn() -> ipcq::Result<T> + Sync,
) -> PyResult<ipcq::Result<T>> {
    loop {
        match py.detach(|| caught(&call)) {
            Err(ipcq::Error::Interrupted(_)) => py.check_signals()?,
            done => return Ok(done),
        }
    }
}

#[cold]
fn internal(panic: &(dyn Any + Send)) -> ipcq::Error {
    let what = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown");
    ipcq::Error::Internal(format!("internal error, please report it: {what}").into())
}

/// Seconds to wait; `None` for ever.
#[derive(Clone, Copy)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    pub const NONE: Timeout = Timeout(Some(Duration::ZERO));
    pub const FOR_EVER: Timeout = Timeout(None);

    pub fn seconds(py: Python<'_>, seconds: Option<f64>) -> PyResult<Timeout> {
        match seconds {
            None => Ok(Timeout(None)),
            Some(s) if s.is_nan() || s < 0.0 => Err(errors::usage(
                py,
                "timeout: a number of seconds from 0 up, or None",
            )),
            // More than fits is as good as for ever.
            Some(s) => Ok(Timeout(Duration::try_from_secs_f64(s).ok())),
        }
    }

    /// The time; `None` if there is no limit.
    pub fn time(self) -> Option<Duration> {
        self.0
    }

    pub fn is_zero(self) -> bool {
        self.0 == Some(Duration::ZERO)
    }
}

/// How long a waiting call looks again and again before it begins to sleep. A round trip between
/// two Python processes takes a few microseconds.
const SPIN: Duration = Duration::from_micros(40);

/// How long one sleep lasts at most. A signal ends it; only one that arrives in the microsecond
/// before it has to wait so long.
const SLICE: Duration = Duration::from_millis(500);

/// Who wakes one that waits.
pub trait Waiting {
    /// Asks to be woken; where nobody can, an empty list.
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>>;
    /// The wait is over.
    fn awake(&self, py: Python<'_>);
    /// Where nobody wakes, how long to sleep at most before the next look.
    fn longest_nap(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// Nobody: one looks now and then.
pub struct Naps;

impl Waiting for Naps {
    fn ask(&self, _: Python<'_>) -> PyResult<Vec<Ticket>> {
        Ok(Vec::new())
    }

    fn awake(&self, _: Python<'_>) {}

    /// As in C.
    fn longest_nap(&self) -> Duration {
        Duration::from_millis(20)
    }
}

/// Tries until there is something; `None` when the time is over. This is the one place where a
/// blocking call waits.
///
/// It spins for a moment, then sleeps with the interpreter lock released until it is woken, and lets
/// signal handlers run in between: Ctrl-C ends it at once. Who is woken by nobody looks again after
/// a time that grows up to the longest nap.
pub fn wait_for<T>(
    py: Python<'_>,
    timeout: Timeout,
    waiting: &impl Waiting,
    mut attempt: impl FnMut() -> PyResult<Option<T>>,
) -> PyResult<Option<T>> {
    if let Some(found) = attempt()? {
        return Ok(Some(found));
    }
    if timeout.is_zero() {
        return Ok(None);
    }
    let since = Instant::now();
    let deadline = timeout.0.and_then(|t| since.checked_add(t));
    let spin_until = deadline.unwrap_or(since + SPIN).min(since + SPIN);
    while Instant::now() < spin_until {
        for _ in 0..16 {
            if let Some(found) = attempt()? {
                return Ok(Some(found));
            }
            std::hint::spin_loop();
        }
    }
    let found = sleep_for(py, deadline, waiting, attempt);
    waiting.awake(py);
    found
}

fn sleep_for<T>(
    py: Python<'_>,
    deadline: Option<Instant>,
    waiting: &impl Waiting,
    mut attempt: impl FnMut() -> PyResult<Option<T>>,
) -> PyResult<Option<T>> {
    let mut pace = Pace::default();
    let mut nap = Duration::from_micros(20);
    loop {
        let mut tickets = waiting.ask(py)?;
        Ticket::confirm(&mut tickets);
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        let left = match deadline {
            Some(deadline) => deadline.saturating_duration_since(Instant::now()),
            None => Duration::MAX,
        };
        if left.is_zero() {
            return Ok(None);
        }
        // As late as can be: what arrives from here on ends the sleep.
        py.check_signals()?;
        py.detach(|| match tickets.is_empty() {
            true => std::thread::sleep(nap.min(left)),
            false => {
                let until = Deadline::after(left.min(SLICE));
                // If a signal ended it, its handler runs next.
                let _ = Ticket::sleep_any(&tickets, &mut pace, until);
            }
        });
        py.check_signals()?;
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        nap = (nap * 2).min(waiting.longest_nap());
    }
}

/// The name of a queue as an argument. A `str` without a slash is a bare name. What has
/// `__fspath__` is a path in any case: `Path("./q")` and `Path("q")` are equal, and both mean the
/// file in the current directory.
pub struct Name(pub PathBuf);

impl Name {
    /// The name as text for people. Characters that a terminal would act on are escaped.
    pub fn display(&self) -> Shown {
        Shown::of(&self.0)
    }
}

impl<'py> FromPyObject<'_, 'py> for Name {
    type Error = PyErr;

    fn extract(given: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let name: PathBuf = given.extract()?;
        let is_bare = !name.as_os_str().as_bytes().contains(&b'/');
        Ok(Name(match is_bare && !given.is_instance_of::<PyString>() {
            true => Path::new(".").join(name),
            false => name,
        }))
    }
}

impl std::ops::Deref for Name {
    type Target = Path;
    fn deref(&self) -> &Path {
        &self.0
    }
}

/// A flag as an argument: any object, and whether it is true, as in Python's own functions.
pub fn truth(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.is_truthy()
}

/// A type of whole numbers from 0 up that an argument may have.
pub trait Whole: Sized {
    const MAX: u64;
    fn extracted(given: &Bound<'_, PyAny>) -> PyResult<Self>;
}

macro_rules! whole {
    ($($type:ty)*) => {$(
        impl Whole for $type {
            const MAX: u64 = <$type>::MAX as u64;
            fn extracted(given: &Bound<'_, PyAny>) -> PyResult<Self> {
                given.extract()
            }
        }
    )*};
}

whole!(u32 u64 usize);

/// A whole number as an argument. One out of range is `UsageError`, where PyO3 has OverflowError.
pub fn whole<T: Whole>(given: &Bound<'_, PyAny>) -> PyResult<T> {
    T::extracted(given).map_err(|e| {
        let py = given.py();
        match e.is_instance_of::<PyOverflowError>(py) {
            true => errors::usage(
                py,
                match given.repr() {
                    Ok(shown) => format!("a whole number from 0 to {}, not {shown}", T::MAX),
                    Err(_) => format!("a whole number from 0 to {}", T::MAX),
                },
            ),
            false => e,
        }
    })
}

/// The same, or None.
pub fn whole_or_none<T: Whole>(given: &Bound<'_, PyAny>) -> PyResult<Option<T>> {
    match given.is_none() {
        true => Ok(None),
        false => whole(given).map(Some),
    }
}

/// A numpy dtype that was given for the messages. numpy is imported for it and not before.
pub struct Dtype {
    pub dtype: Py<PyAny>,
    /// Bytes of a message.
    pub size: usize,
    /// How the queue keeps it.
    pub schema: Schema,
}

impl Dtype {
    pub fn of(given: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = given.py();
        let checked = part!(py, "ipcq._records", "check")?.call1((given,))?;
        let (dtype, size, schema): (Py<PyAny>, usize, String) = checked.extract()?;
        let schema = Schema::from_json(&schema).map_err(|e| errors::raise(py, e))?;
        Ok(Dtype {
            dtype,
            size,
            schema,
        })
    }
}

/// What the messages of a handle are: the dtype that was given, or else that of the queue.
pub struct Records {
    /// A `Layout` of `_records.py`.
    pub layout: Py<PyAny>,
    /// Whether there is a dtype.
    known: bool,
    /// The type and the dtype object of the first array that was found to be right. Most share them.
    right: PyOnceLock<(Py<PyType>, Py<PyAny>)>,
}

impl Records {
    pub fn new(
        py: Python<'_>,
        name: &Name,
        given: Option<Dtype>,
        schema: Option<&Schema>,
    ) -> PyResult<Self> {
        let known = given.is_some() || schema.is_some();
        let schema = schema
            .or(given.as_ref().map(|g| &g.schema))
            .map(Schema::to_json);
        let given = given.map(|g| g.dtype);
        let layout = part!(py, "ipcq._records", "Layout")?;
        let layout = layout.call1((name.display().to_string(), given, schema))?;
        Ok(Records {
            layout: layout.unbind(),
            known,
            right: PyOnceLock::new(),
        })
    }

    /// Whether an object is certainly bytes of no dtype, or an array of the right one, or there is
    /// no dtype to compare with.
    fn is_plain(&self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !self.known
            || data.is_exact_instance_of::<PyBytes>()
            || data.is_exact_instance_of::<PyByteArray>()
        {
            return Ok(true);
        }
        Ok(match self.right.get(data.py()) {
            Some((kind, right)) if data.get_type().is(kind) => data
                .getattr_opt(intern!(data.py(), "dtype"))?
                .is_some_and(|dtype| dtype.is(right)),
            _ => false,
        })
    }

    fn ask<'py>(
        &self,
        method: &Bound<'py, PyString>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(data.py()).call_method1(method, (data,))
    }

    /// Raises SchemaMismatch if an object with a buffer has another dtype than the messages.
    pub fn check(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.known {
            return check_plain(data);
        }
        if !self.is_plain(data)? {
            let py = data.py();
            let dtype = self.ask(intern!(py, "check"), data)?;
            if dtype.is_none() {
                return check_plain(data);
            }
            let right = (data.get_type().unbind(), dtype.unbind());
            let _ = self.right.set(py, right);
        }
        Ok(())
    }

    /// The object with the bytes of a message that is to be pushed.
    pub fn message<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_plain(data)? {
            if !self.known {
                check_plain(data)?;
            }
            return Ok(data.clone());
        }
        if Buffer::is_in(data) {
            self.check(data)?;
            return Ok(data.clone());
        }
        self.ask(intern!(data.py(), "message"), data)
    }

    /// The object with the bytes of many, or an iterable of messages.
    pub fn messages<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_plain(data)? {
            return Ok(data.clone());
        }
        self.ask(intern!(data.py(), "messages"), data)
    }

    pub fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(py).getattr(intern!(py, "dtype"))
    }

    /// The dtype that was given when the handle was opened, or None.
    pub fn given<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(py).getattr(intern!(py, "given"))
    }
}

/// How a handle is pickled: as a call that opens another one of the same file. `path` is absolute,
/// so that it is right wherever the other process runs and whatever its IPCQ_DIR is.
pub fn reopened<'py>(
    class: &Bound<'py, PyType>,
    path: &Path,
    options: &Bound<'py, PyDict>,
    id: Option<u64>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let open = part!(py, "ipcq._again", "open_again")?;
    (open, (class, path.as_os_str(), options, id)).into_bound_py_any(py)
}

/// The error for a handle that was closed.
#[cold]
pub fn closed(py: Python<'_>, name: &Name, what: &str) -> PyErr {
    errors::usage(py, format!("{}: this {what} is closed", name.display()))
}
