//! Every call into the operating system, and nothing else: files, locks, clocks, sleeping, fork.
//!
//! Nothing here knows what a queue is.

use crate::error::{Error, Result};
use crate::steps::step;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// Opens a file that exists, for reading or for both.
pub(crate) fn open(path: &Path, write: bool) -> io::Result<File> {
    // O_NONBLOCK: a FIFO in the way must not hang the open; regular files ignore it.
    OpenOptions::new()
        .read(true)
        .write(write)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOCTTY | libc::O_NONBLOCK)
        .open(path)
}

/// Opens a lock file, which is made, empty and for its owner alone, where there is none.
pub(crate) fn open_or_create(path: &Path, mode: u32) -> io::Result<File> {
    step();
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(mode)
        .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
}

/// Makes a new file of `size` bytes whose space is reserved, so that no later store can meet a
/// full file system (which would be a SIGBUS). `mode` is set exactly, whatever the umask.
pub(crate) fn create_reserved(path: &Path, size: u64, mode: u32) -> Result<File> {
    let shown = path.display();
    let limit = file_size_limit();
    if size > limit {
        // Asking anyway would raise SIGXFSZ, which kills by default.
        return Err(Error::NoSpace(
            format!("{shown}: {size} bytes are needed, the process may write files of {limit} (ulimit -f)").into(),
        ));
    }
    step();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(mode & 0o600)
        .custom_flags(libc::O_CLOEXEC)
        .open(path)
        .map_err(|e| Error::from_io(&e, format_args!("cannot create {shown}")))?;
    let finish = || {
        reserve(&file, path, size)?;
        step();
        file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))
            .map_err(|e| Error::from_io(&e, format_args!("cannot set the mode of {shown}")))
    };
    match finish() {
        Ok(()) => Ok(file),
        Err(e) => {
            let _ = std::fs::remove_file(path);
            Err(e)
        }
    }
}

/// Reserves what a file that exists has no space for: it may be a copy, with holes.
pub(crate) fn fill_holes(file: &File, path: &Path) -> Result<()> {
    let meta = file
        .metadata()
        .map_err(|e| Error::from_io(&e, format_args!("cannot stat {}", path.display())))?;
    // In units of 512 bytes, whatever the file system.
    if meta.blocks() >= meta.len().div_ceil(512) {
        return Ok(());
    }
    reserve(file, path, meta.len())
}

/// Reserves the space of a file's first bytes; what is in them stays.
fn reserve(file: &File, path: &Path, size: u64) -> Result<()> {
    let shown = path.display();
    let length = libc::off_t::try_from(size).map_err(|_| {
        Error::Invalid(format!("{shown}: {size} bytes are more than a file can have").into())
    })?;
    step();
    loop {
        // SAFETY: the descriptor is open; the call takes no pointers.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
            0 => return Ok(()),
            libc::EINTR => continue,
            libc::ENOSPC | libc::EFBIG | libc::EDQUOT => {
                return Err(Error::NoSpace(
                    format!(
                        "{shown}: the file system has no room for {size} bytes: \
                         take a smaller capacity or another directory (IPCQ_DIR)"
                    )
                    .into(),
                ))
            }
            errno => {
                let e = io::Error::from_raw_os_error(errno);
                return Err(Error::from_io(
                    &e,
                    format_args!("cannot reserve {size} bytes for {shown}"),
                ));
            }
        }
    }
}

fn file_size_limit() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is a valid place for the answer.
    match unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &mut limit) } {
        0 => limit.rlim_cur,
        _ => u64::MAX,
    }
}

/// What is worth knowing of an open file or a path.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
}

pub(crate) fn identity(meta: &std::fs::Metadata) -> Identity {
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
    }
}

/// Whether `path` still names the open `file`.
pub(crate) fn still_named(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => identity(&a) == identity(&b),
        _ => false,
    }
}

/// Whether both are openings of one file.
pub(crate) fn same_file(a: &File, b: &File) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => identity(&a) == identity(&b),
        _ => false,
    }
}

/// Whether both belong to one user.
pub(crate) fn same_owner(a: &File, b: &File) -> bool {
    match (a.metadata(), b.metadata()) {
        (Ok(a), Ok(b)) => a.uid() == b.uid(),
        _ => false,
    }
}

pub(crate) fn effective_uid() -> u32 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() }
}

/// The two kinds of file lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lock {
    Shared,
    Exclusive,
}

fn flock(kind: libc::c_int, byte: u64) -> libc::flock {
    // SAFETY: `flock` is a plain struct of integers; zero is a valid value of each.
    let mut l: libc::flock = unsafe { std::mem::zeroed() };
    l.l_type = kind as libc::c_short;
    l.l_whence = libc::SEEK_SET as libc::c_short;
    l.l_start = byte as libc::off_t;
    l.l_len = 1;
    l
}

fn lock_kind(kind: Lock) -> libc::c_int {
    match kind {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
    }
}

/// Tries for an open-file-description lock on one byte: `false` if another holder is in the way.
///
/// The kernel drops such a lock when the last descriptor of this opening is closed, so on any
/// death of the process; and only then, unlike POSIX locks.
pub(crate) fn try_lock(file: &File, kind: Lock, byte: u64) -> io::Result<bool> {
    step();
    let l = flock(lock_kind(kind), byte);
    // SAFETY: `l` is a valid flock for the length of the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &l) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            e if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            e => Err(e),
        },
    }
}

/// Drops all locks of this opening.
fn unlock_all(file: &File) {
    step();
    let mut l = flock(libc::F_UNLCK, 0);
    l.l_len = 0; // to the end, wherever that is
                 // SAFETY: `l` is a valid flock for the length of the call. It cannot fail for an open file.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &l) };
}

/// Whether anybody else holds an exclusive lock on the byte. Needs no write permission; to hold one
/// needs it, so that no reader can make it seem so.
pub(crate) fn is_locked(file: &File, byte: u64) -> bool {
    // An exclusive lock is all that is in the way of a shared one.
    let mut l = flock(lock_kind(Lock::Shared), byte);
    // SAFETY: `l` is a valid flock for the length of the call.
    let rc = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &mut l) };
    rc == 0 && l.l_type != libc::F_UNLCK as libc::c_short
}

/// Makes `from` appear as `to`, in one step, in place of what was there.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    step();
    std::fs::rename(from, to)
}

/// Removes a name; that there was none is fine. Whether there was one.
pub(crate) fn remove(path: &Path) -> io::Result<bool> {
    step();
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether a path can be passed to the kernel at all (it has no NUL in it).
pub(crate) fn is_representable(path: &Path) -> bool {
    CString::new(path.as_os_str().as_bytes()).is_ok()
}

/// A number that no two calls on this host are likely to give alike.
pub(crate) fn unique_id() -> u64 {
    let mut id = 0u64;
    // SAFETY: eight bytes are writable at `id`.
    let got = unsafe { libc::getrandom((&raw mut id).cast(), 8, libc::GRND_NONBLOCK) };
    if got == 8 && id != 0 {
        return id;
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.map_or(1, |d| d.as_nanos() as u64);
    (now ^ u64::from(std::process::id()).rotate_left(40)) | 1
}

/// Sleeps; `false` if a signal ended it early.
pub(crate) fn nap(time: Duration) -> bool {
    let t = libc::timespec {
        tv_sec: time.as_secs().min(i32::MAX as u64) as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    };
    // SAFETY: `t` is valid, and no remainder is asked for.
    unsafe { libc::nanosleep(&t, std::ptr::null_mut()) == 0 }
}

// ---------------------------------------------------------------------------------------------
// sleeping

/// The time since some moment in the past, by a clock that is never set.
pub(crate) fn now() -> Duration {
    let mut t = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `t` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut t) };
    Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs().min(i64::MAX as u64) as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// What ended a sleep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// A wake-up, a word that had changed already, or nothing in particular.
    Perhaps,
    /// The time is over.
    Late,
    /// A signal.
    Signal,
}

fn woken(rc: libc::c_long) -> Woken {
    if rc >= 0 {
        return Woken::Perhaps;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Woken::Perhaps,
        Some(libc::ETIMEDOUT) => Woken::Late,
        Some(libc::EINTR) => Woken::Signal,
        // A page that was truncated away, or a sandbox: the caller looks again and again, so let
        // it do so slowly.
        _ if nap(Duration::from_millis(1)) => Woken::Perhaps,
        _ => Woken::Signal,
    }
}

/// Sleeps until somebody wakes those who sleep on `word`, or the clock of [`now`] shows `until`;
/// not at all if the word is not `seen`. A read-only mapping will do.
///
/// The word may be shared between processes, so the kernel is never told that it is private.
pub(crate) fn futex_wait(word: &AtomicU32, seen: u32, until: Duration) -> Woken {
    let until = timespec(until);
    // SAFETY: the word and the time are valid for the length of the call, which writes neither.
    woken(unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            // Unlike `FUTEX_WAIT` it takes a moment, not a length, so that a sleep that is
            // begun again does not grow.
            libc::FUTEX_WAIT_BITSET,
            seen,
            &raw const until,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        )
    })
}

/// The most words that [`futex_wait_any`] takes.
pub(crate) const FUTEX_WAITV_MAX: usize = 128;

/// As [`futex_wait`], on any of several words; `None` where the kernel cannot do that (before
/// Linux 5.16) or a sandbox forbids it.
pub(crate) fn futex_wait_any(words: &[(&AtomicU32, u32)], until: Duration) -> Option<Woken> {
    /// The kernel's `struct futex_waitv`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Waiter {
        value: u64,
        address: u64,
        flags: u32,
        reserved: u32,
    }
    const FUTEX_32: u32 = 2; // its size; without a flag for private, it is shared
    let mut waiters = [Waiter {
        value: 0,
        address: 0,
        flags: 0,
        reserved: 0,
    }; FUTEX_WAITV_MAX];
    let count = words.len().min(FUTEX_WAITV_MAX);
    for (waiter, (word, seen)) in waiters.iter_mut().zip(words) {
        waiter.value = u64::from(*seen);
        waiter.address = word.as_ptr() as u64;
        waiter.flags = FUTEX_32;
    }
    let until = timespec(until);
    // SAFETY: so many waiters are valid for the length of the call, as are the words and the time;
    // it writes none of them.
    let rc = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            waiters.as_ptr(),
            count,
            0,
            &raw const until,
            libc::CLOCK_MONOTONIC,
        )
    };
    let errno = io::Error::last_os_error().raw_os_error();
    match (rc, errno) {
        (-1, Some(libc::ENOSYS | libc::EPERM)) => None,
        _ => Some(woken(rc)),
    }
}

/// Wakes all who sleep on `word`.
pub(crate) fn futex_wake(word: &AtomicU32) {
    // SAFETY: the word is valid, and not even written. There is nothing that can fail.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Asks the kernel to include this process in every [`heavy_barrier`] from now on. Asking twice
/// is fine.
pub(crate) fn register_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED)
}

/// A full memory barrier here and in every thread, at this moment or when it next runs, of every
/// process that has called [`register_barrier`]; `false` if the kernel does not do that.
pub(crate) fn heavy_barrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_GLOBAL_EXPEDITED)
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: the call takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
}

/// A descriptor that is readable from [`signal`] to [`drain`].
pub(crate) fn event() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers.
    match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: a new descriptor that nobody else owns.
        fd => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
    }
}

/// Makes an [`event`] readable.
pub(crate) fn signal(event: &OwnedFd) {
    let one = 1u64;
    // SAFETY: eight bytes are readable. It only fails where it is readable beyond all measure.
    unsafe { libc::write(event.as_raw_fd(), (&raw const one).cast(), 8) };
}

/// Makes an [`event`] not readable.
pub(crate) fn drain(event: &OwnedFd) {
    let mut count = 0u64;
    // SAFETY: eight bytes are writable. It only fails where it is not readable.
    unsafe { libc::read(event.as_raw_fd(), (&raw mut count).cast(), 8) };
}

/// Closes a descriptor by its number, which stands for nothing else.
///
/// # Safety
/// Nobody uses or closes it any more.
pub(crate) unsafe fn close(fd: RawFd) {
    // SAFETY: the caller's promise.
    unsafe { libc::close(fd) };
}

/// Runs `life` in a thread of its own that gets none of the process's signals.
pub(crate) fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: both sets are valid places; a thread begins with the mask of the one that makes it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = std::thread::Builder::new()
            .name(name.into())
            .stack_size(256 << 10)
            .spawn(life);
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned.map(drop)
    }
}

// ---------------------------------------------------------------------------------------------
// fork

/// How often this process is a forked copy of another, counted from the first handle.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Descriptors whose locks stand for *this* process. A forked child shares the open file
/// description, so it would keep the lock of a parent that was killed: it closes them at once.
static OWN_LOCKS: Mutex<Vec<RawFd>> = Mutex::new(Vec::new());

/// How many forks lie between the first call of [`watch_forks`] and this process. A handle
/// remembers the value it was opened under, and so knows whether it was inherited.
#[inline(always)]
pub fn fork_generation() -> u32 {
    // Relaxed: it changes only in a child in which no other thread exists yet.
    FORKS.load(Ordering::Relaxed)
}

fn own_locks() -> MutexGuard<'static, Vec<RawFd>> {
    OWN_LOCKS.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// Held from before a fork until after it, so that the child finds the list whole.
    static ACROSS_FORK: std::cell::RefCell<Option<MutexGuard<'static, Vec<RawFd>>>> =
        const { std::cell::RefCell::new(None) };
}

extern "C" fn before_fork() {
    let _ = ACROSS_FORK.try_with(|held| *held.borrow_mut() = Some(own_locks()));
}

extern "C" fn after_fork_in_parent() {
    let _ = ACROSS_FORK.try_with(|held| *held.borrow_mut() = None);
}

extern "C" fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let _ = ACROSS_FORK.try_with(|held| {
        if let Some(mut fds) = held.borrow_mut().take() {
            for fd in fds.drain(..) {
                // SAFETY: the list names descriptors that `LockFile` owns. In this child each
                // `LockFile` sees that it was inherited and leaves its descriptor alone.
                unsafe { libc::close(fd) };
            }
        }
    });
}

/// Has forks counted from now on.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the three handlers are functions of this library, which is never unloaded while
        // a handle lives, and do only what is allowed in a child of a threaded process.
        unsafe {
            libc::pthread_atfork(
                Some(before_fork as unsafe extern "C" fn()),
                Some(after_fork_in_parent as unsafe extern "C" fn()),
                Some(after_fork_in_child as unsafe extern "C" fn()),
            )
        };
    });
}

/// An open file that exists for the locks on it, which stand for this process alone: a forked
/// child gives it up at its birth.
pub(crate) struct LockFile {
    file: std::mem::ManuallyDrop<File>,
    generation: u32,
}

impl LockFile {
    pub(crate) fn new(file: File) -> Self {
        watch_forks();
        // The descriptor is listed and the generation read under one lock, so that no fork can
        // come between the two.
        let mut fds = own_locks();
        fds.push(file.as_raw_fd());
        LockFile {
            file: std::mem::ManuallyDrop::new(file),
            generation: fork_generation(),
        }
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the lock is this process's, and not that of the one it was forked from.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        let mut fds = own_locks();
        if self.is_own() {
            fds.retain(|&fd| fd != self.file.as_raw_fd());
            // A process that another thread is just starting shares the opening until its `exec`,
            // and `posix_spawn` calls no handler: closing alone would leave the locks to it.
            unlock_all(&self.file);
            // SAFETY: dropped here and nowhere else; the child's handler has not closed it, for
            // this is not a child.
            unsafe { std::mem::ManuallyDrop::drop(&mut self.file) };
        }
    }
}

// ---------------------------------------------------------------------------------------------
// memory

/// The platform's `memcpy`, through a pointer that the compiler cannot see through.
///
/// See [`crate::memory`] for what this is for.
///
/// # Safety
/// As `memcpy`, but that the shared side may be written by another process meanwhile.
#[cfg(not(ipcq_words))]
#[inline]
pub(crate) unsafe fn opaque_copy(to: *mut u8, from: *const u8, length: usize) {
    type Copy =
        unsafe extern "C" fn(*mut libc::c_void, *const libc::c_void, usize) -> *mut libc::c_void;
    let mut copy: Copy = libc::memcpy;
    // SAFETY: the empty assembly changes nothing; for the compiler it may have put any function
    // there, and touched any memory, so that it can neither inline nor reason about the copy.
    unsafe { std::arch::asm!("/* {0} */", inout(reg) copy, options(nostack, preserves_flags)) };
    // SAFETY: the caller's promise.
    unsafe { copy(to.cast(), from.cast(), length) };
}

/// Copies up to 128 bytes, in moves that the compiler cannot see into.
///
/// See [`crate::memory`] for what this is for. Two pieces overlap in the middle, as in `memcpy`: no
/// loop, and no branch on the last bits.
/// A push of 64 bytes took 123 instructions with eight words in a loop, and 65 so.
///
/// `$load` loads 16 bytes into a register.
#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
macro_rules! copy_short {
    ($load:ident, $to:ident + $to_at:expr, $from:ident + $from_at:expr, $length:ident) => {
        match $length {
            65.. => {
                // So that the shorter ones come first in the code, with fewer jumps.
                unlikely();
                std::arch::asm!(
                    $load!("{a}", "{from} + {from_at}"),
                    $load!("{b}", "{from} + {from_at} + 16"),
                    $load!("{c}", "{from} + {from_at} + 32"),
                    $load!("{d}", "{from} + {from_at} + 48"),
                    $load!("{e}", "{from} + {from_at} + {length} - 64"),
                    $load!("{f}", "{from} + {from_at} + {length} - 48"),
                    $load!("{g}", "{from} + {from_at} + {length} - 32"),
                    $load!("{h}", "{from} + {from_at} + {length} - 16"),
                    "movdqu [{to} + {to_at}], {a}",
                    "movdqu [{to} + {to_at} + 16], {b}",
                    "movdqu [{to} + {to_at} + 32], {c}",
                    "movdqu [{to} + {to_at} + 48], {d}",
                    "movdqu [{to} + {to_at} + {length} - 64], {e}",
                    "movdqu [{to} + {to_at} + {length} - 48], {f}",
                    "movdqu [{to} + {to_at} + {length} - 32], {g}",
                    "movdqu [{to} + {to_at} + {length} - 16], {h}",
                    a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                    e = out(xmm_reg) _, f = out(xmm_reg) _, g = out(xmm_reg) _, h = out(xmm_reg) _,
                    from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                    options(nostack, preserves_flags),
                )
            }
            33.. => std::arch::asm!(
                $load!("{a}", "{from} + {from_at}"),
                $load!("{b}", "{from} + {from_at} + 16"),
                $load!("{c}", "{from} + {from_at} + {length} - 32"),
                $load!("{d}", "{from} + {from_at} + {length} - 16"),
                "movdqu [{to} + {to_at}], {a}",
                "movdqu [{to} + {to_at} + 16], {b}",
                "movdqu [{to} + {to_at} + {length} - 32], {c}",
                "movdqu [{to} + {to_at} + {length} - 16], {d}",
                a = out(xmm_reg) _, b = out(xmm_reg) _, c = out(xmm_reg) _, d = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            16.. => std::arch::asm!(
                $load!("{a}", "{from} + {from_at}"),
                $load!("{b}", "{from} + {from_at} + {length} - 16"),
                "movdqu [{to} + {to_at}], {a}",
                "movdqu [{to} + {to_at} + {length} - 16], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            // No other register than these: it is the callers that have few.
            8 => std::arch::asm!(
                "movq {a}, qword ptr [{from} + {from_at}]",
                "movq qword ptr [{to} + {to_at}], {a}",
                a = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at,
                options(nostack, preserves_flags),
            ),
            9.. => std::arch::asm!(
                "movq {a}, qword ptr [{from} + {from_at}]",
                "movq {b}, qword ptr [{from} + {from_at} + {length} - 8]",
                "movq qword ptr [{to} + {to_at}], {a}",
                "movq qword ptr [{to} + {to_at} + {length} - 8], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            4.. => std::arch::asm!(
                "movd {a}, dword ptr [{from} + {from_at}]",
                "movd {b}, dword ptr [{from} + {from_at} + {length} - 4]",
                "movd dword ptr [{to} + {to_at}], {a}",
                "movd dword ptr [{to} + {to_at} + {length} - 4], {b}",
                a = out(xmm_reg) _, b = out(xmm_reg) _,
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = in(reg) $length,
                options(nostack, preserves_flags),
            ),
            3 => std::arch::asm!(
                "movzx {length:e}, word ptr [{from} + {from_at}]",
                "mov word ptr [{to} + {to_at}], {length:x}",
                "movzx {length:e}, byte ptr [{from} + {from_at} + 2]",
                "mov byte ptr [{to} + {to_at} + 2], {length:l}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            2 => std::arch::asm!(
                "movzx {length:e}, word ptr [{from} + {from_at}]",
                "mov word ptr [{to} + {to_at}], {length:x}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            1 => std::arch::asm!(
                "movzx {length:e}, byte ptr [{from} + {from_at}]",
                "mov byte ptr [{to} + {to_at}], {length:l}",
                from = in(reg) $from, to = in(reg) $to, from_at = const $from_at, to_at = const $to_at, length = inout(reg) $length => _,
                options(nostack, preserves_flags),
            ),
            0 => {}
        }
    };
}

#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
macro_rules! whole {
    ($register:literal, $at:literal) => {
        concat!("movdqu ", $register, ", [", $at, "]")
    };
}

#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
macro_rules! halves {
    ($register:literal, $at:literal) => {
        concat!(
            "movq ",
            $register,
            ", qword ptr [",
            $at,
            "]\n",
            "movhps ",
            $register,
            ", qword ptr [",
            $at,
            " + 8]"
        )
    };
}

/// Copies up to 128 bytes out of the ring, from what lies `AT` bytes after `from`; see [`copy_short`]. The
/// distance is a part of each instruction, and so costs none.
///
/// # Safety
/// As [`opaque_copy`].
#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
#[inline(always)]
pub(crate) unsafe fn opaque_copy_out<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    debug_assert!(length <= 128);
    // SAFETY: the caller's promise; each move is inside both sides, and SSE2 is part of x86-64.
    unsafe { copy_short!(whole, to + 0, from + AT, length) }
}

/// Copies up to 128 bytes into the ring, to what lies `AT` bytes after `to`; see [`copy_short`].
///
/// What is pushed was often written just before, by fields of 8 bytes. A load of 16 that needs a store
/// of 8 waits until that is in the cache, and so until all stores before it are: those to lines that
/// a consumer has. Loads of 8 take it from the store itself. Streaming 64 bytes took 23 ns with loads of
/// 16 and 16 ns so (`docs/performance.md`).
///
/// # Safety
/// As [`opaque_copy`].
#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
#[inline(always)]
pub(crate) unsafe fn opaque_copy_in<const AT: usize>(to: *mut u8, from: *const u8, length: usize) {
    debug_assert!(length <= 128);
    // SAFETY: as `opaque_copy_out`.
    unsafe { copy_short!(halves, to + AT, from + 0, length) }
}

/// Asks for the line `AHEAD` bytes after `from`, which may be any address, to be written.
#[inline(always)]
pub(crate) fn prefetch_to_write<const AHEAD: usize>(from: *mut u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which reads nothing and faults nowhere; where the processor does not know
    // it, it is a NOP.
    unsafe {
        std::arch::asm!("prefetchw [{0} + {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pstl1keep, [{0}, {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}

/// Asks for the line `AHEAD` bytes after `from`, which may be any address, to be read.
#[inline(always)]
pub(crate) fn prefetch_to_read<const AHEAD: usize>(from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as `prefetch_to_write`.
    unsafe {
        std::arch::asm!("prefetcht0 [{0} + {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}, {1}]", in(reg) from, const AHEAD, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = from;
}

/// Tells the compiler that what calls this is rare.
#[cfg(all(target_arch = "x86_64", not(ipcq_words)))]
#[cold]
fn unlikely() {}
