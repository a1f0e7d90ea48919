//! The parts that all handles share: the lock, waiting, names, options, records.

use crate::buffer::{check_plain, Buffer};
use crate::errors::{self, Failure};
use ipcq::__binding::{Deadline, Pace, Shown, Ticket};
use ipcq::Schema;
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

/// Copies of at least this many bytes are made without the interpreter lock. Releasing the lock
/// and taking it again costs about 100 ns. If another thread wants the lock, it can take as long as
/// the switch interval.
const LARGE: usize = 64 * 1024;

/// Lets other threads run during a long loop that holds the interpreter lock.
///
/// A thread that waits for the lock asks for it after 5 ms (sys.setswitchinterval). Only then does
/// a release let it in if the lock is taken again at once. Each release restarts these 5 ms, so two
/// releases must be further apart.
pub struct Turns(Instant);

impl Turns {
    pub fn new() -> Turns {
        Turns(Instant::now())
    }

    /// Offers the lock. The loop calls this several times in a millisecond.
    pub fn offer(&mut self, py: Python<'_>) {
        if self.0.elapsed() >= Duration::from_millis(8) {
            py.detach(|| ());
            self.0 = Instant::now();
        }
    }
}

/// An item of a Python module. The module is imported when the item is used for the first time.
/// The item is looked up once, because PyO3 makes a new name for each look-up, and up to 4096 of
/// these names stay in the interpreter's cache of attributes.
macro_rules! part {
    ($py:expr, $module:literal, $name:literal) => {{
        static PART: pyo3::sync::PyOnceLock<pyo3::Py<pyo3::PyAny>> = pyo3::sync::PyOnceLock::new();
        PART.import($py, $module, $name)
    }};
}
pub(crate) use part;

/// A lock for the contents of a handle, so that Python threads may share the handle.
///
/// It is held during one call into the crate. The caller mostly holds the interpreter lock, too, so
/// this lock is nearly always free. A caller that finds it taken releases the interpreter and tries
/// again. While the lock is held, Python code must not run, because it might use the same handle
/// and wait for itself. An allocation that the cycle collector tracks could run such code, so the
/// holder makes none.
///
/// A process may fork while another thread holds the lock. That thread does not exist in the child,
/// and may have left the contents half changed. In the child, every use of the handle then raises.
pub struct Guarded<T> {
    /// [`FREE`], or the fork generation of the process that holds the lock.
    holder: AtomicU64,
    value: UnsafeCell<T>,
}

/// Greater than every fork generation.
const FREE: u64 = u64::MAX;

// SAFETY: only the holder of the lock accesses the value.
unsafe impl<T: Send> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        ipcq::__binding::watch_forks();
        Guarded {
            holder: AtomicU64::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock. Fails if a signal handler raises during the wait, or if another thread
    /// was using the handle when this process was forked.
    #[inline(always)]
    pub fn lock(&self, py: Python<'_>) -> PyResult<Guard<'_, T>> {
        if self.take().is_err() {
            self.wait(py)?;
        }
        Ok(Guard { guarded: self })
    }

    /// Takes the lock if it is free. Otherwise returns the holder.
    #[inline(always)]
    fn take(&self) -> Result<u64, u64> {
        let me = u64::from(ipcq::__binding::fork_generation());
        // Pairs with the release store of the last holder, in `drop`.
        self.holder
            .compare_exchange(FREE, me, Ordering::Acquire, Ordering::Relaxed)
    }

    #[cold]
    fn wait(&self, py: Python<'_>) -> PyResult<()> {
        let mut pause = Duration::from_micros(1);
        while let Err(holder) = self.take() {
            if holder != u64::from(ipcq::__binding::fork_generation()) {
                return Err(errors::error(
                    py,
                    "another thread was using this handle when the process was forked: \
                     open the queue again in the child",
                ));
            }
            // SAFETY: always safe to call.
            if unsafe { ffi::Py_IsInitialized() } == 0 {
                // The holder never runs again.
                return Err(errors::error(py, "the interpreter is shutting down"));
            }
            py.detach(|| std::thread::sleep(pause));
            py.check_signals()?;
            pause = (pause * 2).min(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// The lock, held.
pub struct Guard<'a, T> {
    guarded: &'a Guarded<T>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the lock is held.
        unsafe { &*self.guarded.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the lock is held.
        unsafe { &mut *self.guarded.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    #[inline(always)]
    fn drop(&mut self) {
        // Pairs with the acquire load in `take`.
        self.guarded.holder.store(FREE, Ordering::Release);
    }
}

/// Drops a value without the interpreter lock, because the drop may unmap a large ring, which takes
/// long. A handle that was not closed is dropped by this, because its drop begins with the lock
/// held.
pub fn drop_detached<T: Send>(value: T) {
    let mut value = Some(value);
    // If this fails, the thread does not hold the interpreter lock. The value is dropped below.
    Python::try_attach(|py| py.detach(|| drop(value.take())));
}

/// Calls into the crate. A panic, which is a bug in the crate, becomes an ordinary error. PyO3
/// would raise an exception that `except Exception` does not catch.
#[inline(always)]
pub fn catch_panic<T, E: From<ipcq::Error>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| Err(internal(&*panic).into()))
}

impl<T> Guarded<T> {
    /// Takes the lock, runs `act`, and releases the lock. After that, `exception` turns a failure
    /// into an exception.
    #[inline(always)]
    pub fn with<R>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut T) -> Result<R, Failure>,
        exception: impl FnOnce(Failure) -> PyErr,
    ) -> PyResult<R> {
        let mut value = self.lock(py)?;
        let result = catch_panic(|| act(&mut value));
        drop(value);
        result.map_err(exception)
    }
}

/// Runs `copy`, which copies `bytes` bytes. Releases the interpreter lock meanwhile if these are at
/// least `LARGE`.
#[inline(always)]
pub fn copying<T: Send>(py: Python<'_>, bytes: usize, copy: impl FnOnce() -> T + Send) -> T {
    match bytes >= LARGE {
        true => py.detach(copy),
        false => copy(),
    }
}

/// Makes a call that may take long without the interpreter lock. If a signal interrupts the call
/// and its handler does not raise, the call is repeated, as in PEP 475.
pub fn slowly<T: Send>(py: Python<'_>, call: impl Fn() -> ipcq::Result<T> + Sync) -> PyResult<T> {
    loop {
        match py.detach(|| catch_panic(&call)) {
            Err(ipcq::Error::Interrupted(_)) => py.check_signals()?,
            done => return done.map_err(|e| errors::raise(py, e)),
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

/// How long to wait. `None`: without a limit.
#[derive(Clone, Copy)]
pub struct Timeout(Option<Duration>);

impl Timeout {
    pub const ZERO: Timeout = Timeout(Some(Duration::ZERO));
    pub const NO_LIMIT: Timeout = Timeout(None);

    /// The timeout of `get(block, timeout)` and `put(item, block, timeout)`.
    pub fn of_queue(py: Python<'_>, block: bool, seconds: Option<f64>) -> PyResult<Timeout> {
        match block {
            true => Timeout::seconds(py, seconds),
            false => Ok(Timeout::ZERO),
        }
    }

    pub fn seconds(py: Python<'_>, seconds: Option<f64>) -> PyResult<Timeout> {
        match seconds {
            None => Ok(Timeout(None)),
            Some(s) if s.is_nan() || s < 0.0 => Err(errors::usage(
                py,
                "timeout: must be a number of seconds, at least 0, or None",
            )),
            // A number that is too large for a Duration means no limit.
            Some(s) => Ok(Timeout(Duration::try_from_secs_f64(s).ok())),
        }
    }

    /// The time. `None` if the wait has no limit.
    pub fn time(self) -> Option<Duration> {
        self.0
    }

    pub fn is_zero(self) -> bool {
        self.0 == Some(Duration::ZERO)
    }
}

/// How long a waiting call polls before it sleeps. A round trip between two Python processes
/// takes a few microseconds.
const SPIN: Duration = Duration::from_micros(40);

/// The longest time of one sleep. A signal ends the sleep. If it arrives in the microsecond
/// before the sleep begins, its handler runs after this time.
const SLICE: Duration = Duration::from_millis(500);

/// The way to wake a waiting call.
pub trait Waker {
    /// Asks to be woken. The list is empty if the caller has to poll.
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>>;
    /// Ends the request of `ask` when the wait is over.
    fn awake(&self, py: Python<'_>);
    /// For a caller that polls: the longest time between two attempts.
    fn longest_pause(&self) -> Duration {
        Duration::from_millis(1)
    }
}

/// The caller has to poll.
pub struct Poll;

impl Waker for Poll {
    fn ask(&self, _: Python<'_>) -> PyResult<Vec<Ticket>> {
        Ok(Vec::new())
    }

    fn awake(&self, _: Python<'_>) {}

    /// The longest pause of the crate when it waits for a queue to exist (`queue/open.rs`).
    fn longest_pause(&self) -> Duration {
        Duration::from_millis(20)
    }
}

/// Repeats an attempt until it returns something. Returns `None` when the time is over. All
/// blocking calls wait here.
///
/// It polls for a moment. Then it sleeps, with the interpreter lock released, until it is woken.
/// Signal handlers run between two sleeps, so Ctrl-C ends the wait at once. A caller that has to
/// poll sleeps for a time that grows up to the longest pause.
pub fn wait_for<T>(
    py: Python<'_>,
    timeout: Timeout,
    waker: &impl Waker,
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
    let found = sleep_for(py, deadline, waker, attempt);
    waker.awake(py);
    found
}

fn sleep_for<T>(
    py: Python<'_>,
    deadline: Option<Instant>,
    waker: &impl Waker,
    mut attempt: impl FnMut() -> PyResult<Option<T>>,
) -> PyResult<Option<T>> {
    let mut pace = Pace::default();
    let mut pause = Duration::from_micros(20);
    loop {
        let mut tickets = waker.ask(py)?;
        // The barrier between the request and the attempt below. Either the attempt finds what the
        // other side has done, or the other side sees the request and ends the sleep.
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
        // Checked last, to keep the window in which a signal does not end the sleep small (see
        // `SLICE`).
        py.check_signals()?;
        py.detach(|| match tickets.is_empty() {
            true => std::thread::sleep(pause.min(left)),
            false => {
                let until = Deadline::after(Some(left.min(SLICE)));
                // If a signal has ended the sleep, its handler runs next.
                let _ = Ticket::sleep_any(&tickets, &mut pace, until);
                pace.admit_signals();
            }
        });
        py.check_signals()?;
        if let Some(found) = attempt()? {
            return Ok(Some(found));
        }
        pause = (pause * 2).min(waker.longest_pause());
    }
}

/// The name of a queue as an argument. A `str` without a slash is a bare name. An object with
/// `__fspath__` is always a path: `Path("./q")` and `Path("q")` are equal, and both mean the file
/// in the current directory.
pub struct Name(pub PathBuf);

impl Name {
    /// The name in an error text. Control characters are escaped.
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

/// A flag as an argument: the truth value of any object, as in Python's own functions.
pub fn truth(given: &Bound<'_, PyAny>) -> PyResult<bool> {
    given.is_truthy()
}

/// A type of integer arguments that are at least 0.
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

/// An integer as an argument. Raises `UsageError` if it is out of range. (PyO3 alone would raise
/// OverflowError.)
pub fn whole<T: Whole>(given: &Bound<'_, PyAny>) -> PyResult<T> {
    T::extracted(given).map_err(|e| {
        let py = given.py();
        match e.is_instance_of::<PyOverflowError>(py) {
            true => errors::usage(
                py,
                match given.repr() {
                    Ok(shown) => format!("must be an integer from 0 to {}, not {shown}", T::MAX),
                    Err(_) => format!("must be an integer from 0 to {}", T::MAX),
                },
            ),
            false => e,
        }
    })
}

/// The same as [`whole`], or None.
pub fn whole_or_none<T: Whole>(given: &Bound<'_, PyAny>) -> PyResult<Option<T>> {
    match given.is_none() {
        true => Ok(None),
        false => whole(given).map(Some),
    }
}

/// A number of seconds as an argument. Raises `UsageError` for an integer that no float can hold.
/// (PyO3 alone would raise OverflowError.)
pub fn seconds(given: &Bound<'_, PyAny>) -> PyResult<f64> {
    given.extract().map_err(|e: PyErr| {
        let py = given.py();
        match e.is_instance_of::<PyOverflowError>(py) {
            true => errors::usage(py, "must be a number of seconds that a float can hold"),
            false => e,
        }
    })
}

/// The same as [`seconds`], or None.
pub fn seconds_or_none(given: &Bound<'_, PyAny>) -> PyResult<Option<f64>> {
    match given.is_none() {
        true => Ok(None),
        false => seconds(given).map(Some),
    }
}

/// A numpy dtype that the caller gave for the messages. numpy is imported only if there is
/// one.
pub struct Dtype {
    pub dtype: Py<PyAny>,
    /// Bytes of a message.
    pub size: usize,
    /// The form in which the queue stores it.
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

/// The dtype of the messages of a handle: the one that was given, otherwise the queue's.
pub struct Records {
    /// A `Layout` of `_records.py`.
    pub layout: Py<PyAny>,
    /// Whether there is a dtype.
    known: bool,
    /// The type and the dtype object of the first array that passed the check. Most arrays share
    /// them.
    checked: PyOnceLock<(Py<PyType>, Py<PyAny>)>,
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
            checked: PyOnceLock::new(),
        })
    }

    /// Whether an object needs no check: it is bytes, it is an array that is known to have the
    /// right dtype, or the messages have no dtype.
    fn is_plain(&self, data: &Bound<'_, PyAny>) -> PyResult<bool> {
        if !self.known
            || data.is_exact_instance_of::<PyBytes>()
            || data.is_exact_instance_of::<PyByteArray>()
        {
            return Ok(true);
        }
        Ok(match self.checked.get(data.py()) {
            Some((kind, checked)) if data.get_type().is(kind) => data
                .getattr_opt(intern!(data.py(), "dtype"))?
                .is_some_and(|dtype| dtype.is(checked)),
            _ => false,
        })
    }

    fn call<'py>(
        &self,
        method: &Bound<'py, PyString>,
        data: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(data.py()).call_method1(method, (data,))
    }

    /// Raises SchemaMismatchError if an object with a buffer has another dtype than the
    /// messages.
    pub fn check(&self, data: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.known {
            return check_plain(data);
        }
        if !self.is_plain(data)? {
            let py = data.py();
            let dtype = self.call(intern!(py, "check"), data)?;
            if dtype.is_none() {
                return check_plain(data);
            }
            let checked = (data.get_type().unbind(), dtype.unbind());
            let _ = self.checked.set(py, checked);
        }
        Ok(())
    }

    /// The object that has the bytes of a message to push.
    pub fn message<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_plain(data)? {
            if !self.known {
                check_plain(data)?;
            }
            return Ok(data.clone());
        }
        if Buffer::is_in(data) {
            let Err(e) = self.check(data) else {
                return Ok(data.clone());
            };
            // A numpy scalar of another dtype may still be a valid value for this dtype. `message`
            // of the layout decides.
            if !data.is_instance(part!(data.py(), "numpy", "generic")?)? {
                return Err(e);
            }
        }
        self.call(intern!(data.py(), "message"), data)
    }

    /// The object that has the bytes of many messages, or an iterable of messages.
    pub fn messages<'py>(&self, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.is_plain(data)? {
            return Ok(data.clone());
        }
        self.call(intern!(data.py(), "messages"), data)
    }

    pub fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(py).getattr(intern!(py, "dtype"))
    }

    /// The dtype that was given when the handle was opened, or None.
    pub fn given<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.layout.bind(py).getattr(intern!(py, "given"))
    }
}

/// The pickled form of a handle: a call that opens the same file again. `path` is absolute, so
/// that the working directory and IPCQ_DIR of the other process do not matter.
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
