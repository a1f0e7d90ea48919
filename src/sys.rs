//! Calls into the operating system: locks, clocks, sleeping, threads, fork, open files (what has a
//! name is in [`crate::dir`]). And the copies that the compiler cannot see into.
//!
//! Nothing here knows what a queue is.

use crate::error::{Error, Result};
use crate::steps::step;
use std::fs::{File, Metadata};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

/// Keeps the thread from being cancelled (`pthread_cancel`) until it is dropped.
///
/// A cancelled thread is unwound out of the system call that it is in, which ends the process if
/// the frames above are Rust's. So every function of this crate that may come to such a system
/// call holds one of these. What is pending then acts at the next cancellation point of the
/// program.
pub(crate) struct NoCancel {
    before: libc::c_int,
    /// It belongs to the thread that made it.
    _thread: std::marker::PhantomData<*const ()>,
}

extern "C" {
    fn pthread_setcancelstate(state: libc::c_int, before: *mut libc::c_int) -> libc::c_int;
}

/// The same number in glibc and musl.
const PTHREAD_CANCEL_DISABLE: libc::c_int = 1;

impl NoCancel {
    #[inline(never)]
    pub(crate) fn new() -> NoCancel {
        let mut before = 0;
        // SAFETY: the place for the answer is valid. It cannot fail for this state.
        unsafe { pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &mut before) };
        NoCancel {
            before,
            _thread: std::marker::PhantomData,
        }
    }
}

impl Drop for NoCancel {
    fn drop(&mut self) {
        let mut now = 0;
        // SAFETY: as above; the state is one that was given by the same function.
        unsafe { pthread_setcancelstate(self.before, &mut now) };
    }
}

/// A descriptor that is known again: a program may close all of its descriptors (daemons do), and
/// open others, which then have the same numbers. What is not this file any more is neither used
/// nor closed.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: ManuallyDrop<File>,
    identity: Identity,
}

impl OpenFile {
    pub(crate) fn new(file: File) -> OpenFile {
        // It cannot fail for an open file. (If it did, the file would be taken for a stranger's.)
        let identity = file.metadata().map_or(NOTHING, |meta| identity(&meta));
        OpenFile {
            file: ManuallyDrop::new(file),
            identity,
        }
    }

    /// The file; `EBADF` if something else has closed its descriptor.
    pub(crate) fn get(&self) -> io::Result<&File> {
        match self.file.metadata() {
            Ok(meta) if identity(&meta) == self.identity => Ok(&self.file),
            Ok(_) => Err(io::Error::from_raw_os_error(libc::EBADF)),
            Err(e) => Err(e),
        }
    }

    /// Another opening of the same file, to write, for locks of its own. It works for a file that
    /// has lost its name, too.
    pub(crate) fn reopen(&self) -> io::Result<File> {
        let fd = self.get()?.as_raw_fd();
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/self/fd/{fd}"))?;
        match identity(&file.metadata()?) == self.identity {
            true => Ok(file),
            false => Err(io::Error::from_raw_os_error(libc::EBADF)),
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.get().is_ok() {
            // SAFETY: dropped here and nowhere else.
            unsafe { ManuallyDrop::drop(&mut self.file) };
        }
    }
}

/// Gives a new, empty file its size, with the space reserved, so that no later store can meet a
/// full file system (which would be a SIGBUS); and exactly this mode, whatever the umask.
pub(crate) fn fill_new(
    file: &File,
    shown: &impl std::fmt::Display,
    size: u64,
    mode: u32,
) -> Result<()> {
    reserve(file, shown, size)?;
    step();
    set_mode(file, mode)
        .map_err(|e| Error::from_io(&e, format_args!("cannot set the mode of {shown}")))
}

/// Sets the mode bits of an open file.
pub(crate) fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o7777))
}

/// Reserves what a file that exists has no space for: it may be a copy, with holes.
pub(crate) fn fill_holes(file: &File, shown: &impl std::fmt::Display) -> Result<()> {
    let meta = file
        .metadata()
        .map_err(|e| Error::from_io(&e, format_args!("cannot stat {shown}")))?;
    // In units of 512 bytes, whatever the file system.
    if meta.blocks() >= meta.len().div_ceil(512) {
        return Ok(());
    }
    reserve(file, shown, meta.len())
}

/// How much is reserved at once. A signal makes the kernel give up what it was about to reserve,
/// so a process with a timer would never get all of a large file in one call.
const RESERVED_AT_ONCE: u64 = 64 << 20;
/// After an interruption it tries less, down to this.
const RESERVED_AT_LEAST: u64 = 64 << 10;
/// How many interruptions in a row it bears at that size.
const INTERRUPTIONS: u32 = 100;

/// Reserves the space of a file's first bytes; what is in them stays.
fn reserve(file: &File, shown: &impl std::fmt::Display, size: u64) -> Result<()> {
    let limit = file_size_limit();
    if size > limit {
        // To ask for it would raise SIGXFSZ, which kills by default.
        return Err(Error::NoSpace(
            format!(
                "{shown}: {size} bytes are needed, but this process may only write files of up \
                 to {limit} bytes (ulimit -f)"
            )
            .into(),
        ));
    }
    if libc::off_t::try_from(size).is_err() {
        return Err(Error::Invalid(
            format!("{shown}: a file cannot have {size} bytes").into(),
        ));
    }
    let no_room = || {
        Error::NoSpace(
            format!(
                "{shown}: the file system has no room for {size} bytes: choose a smaller \
                 capacity or size, or another directory (IPCQ_DIR)"
            )
            .into(),
        )
    };
    // Otherwise the parts would fill the file system, and other programs would have no room for a
    // moment.
    if room(file).is_some_and(|room| size > room) {
        return Err(no_room());
    }
    step();
    let (mut done, mut most, mut interrupted) = (0, RESERVED_AT_ONCE, 0);
    while done < size {
        let length = (size - done).min(most);
        // SAFETY: the descriptor is open; the call takes no pointers. Both numbers fit, as does
        // their sum, `size`.
        let rc = unsafe {
            libc::posix_fallocate(file.as_raw_fd(), done as libc::off_t, length as libc::off_t)
        };
        match rc {
            0 => {
                done += length;
                interrupted = 0;
            }
            libc::EINTR if interrupted < INTERRUPTIONS => match most > RESERVED_AT_LEAST {
                true => most /= 2,
                false => interrupted += 1,
            },
            libc::ENOSPC | libc::EFBIG | libc::EDQUOT => return Err(no_room()),
            errno => {
                let e = io::Error::from_raw_os_error(errno);
                return Err(Error::from_io(
                    &e,
                    format_args!("cannot reserve {size} bytes for {shown}"),
                ));
            }
        }
    }
    Ok(())
}

/// How large a file can become: what it has, and what its file system has left. `None` if the file
/// system has no limit, or does not say.
fn room(file: &File) -> Option<u64> {
    // SAFETY: zero is valid for each of its fields.
    let mut s: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a place for the answer.
    let rc = unsafe { libc::fstatvfs(file.as_raw_fd(), &mut s) };
    if rc != 0 || s.f_blocks == 0 {
        return None;
    }
    let has = file.metadata().ok()?.blocks() * 512;
    #[allow(clippy::unnecessary_cast)] // not on every C library
    let left = (s.f_bfree as u64).saturating_mul(s.f_frsize as u64);
    Some(has.saturating_add(left))
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

// From linux/magic.h.
const HUGETLBFS: libc::c_long = 0x958458f6;
/// File systems on which a mapping keeps the opening that it was made of: tmpfs, ramfs, ext2 to
/// ext4, XFS, Btrfs, F2FS. On one that is stacked on another (overlayfs) it keeps an opening of the
/// file underneath.
const KEEPS_OPENING: [libc::c_long; 6] = [
    0x01021994, 0x858458f6, 0xef53, 0x58465342, 0x9123683e, 0xf2f52010,
];

/// Refuses file systems on which a queue does not work.
pub(crate) fn check_file_system(file: &File, shown: &impl std::fmt::Display) -> Result<()> {
    match file_system(file) {
        // It rounds the length of each mapping to its own pages, and reserves by other rules.
        Some(HUGETLBFS) => Err(Error::Invalid(
            format!("{shown}: it is on hugetlbfs, which ipcq does not support: use a tmpfs").into(),
        )),
        _ => Ok(()),
    }
}

/// The kind of file system that a file is on.
#[allow(clippy::unnecessary_cast)] // not on every C library
fn file_system(file: &File) -> Option<libc::c_long> {
    // SAFETY: zero is valid for each of its fields.
    let mut s: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor, and a place for the answer.
    match unsafe { libc::fstatfs(file.as_raw_fd(), &mut s) } {
        0 => Some(s.f_type as libc::c_long),
        _ => None,
    }
}

/// What tells one file from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub device: u64,
    pub inode: u64,
}

/// That of no file.
const NOTHING: Identity = Identity {
    device: u64::MAX,
    inode: u64::MAX,
};

pub(crate) fn identity(meta: &Metadata) -> Identity {
    Identity {
        device: meta.dev(),
        inode: meta.ino(),
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

fn lock_call(file: &File, command: libc::c_int, l: &mut libc::flock) -> io::Result<()> {
    // SAFETY: `l` is a valid flock for the length of the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, l) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            // The kernel does not know the command, or a sandbox forbids it.
            e if e.raw_os_error() == Some(libc::EINVAL) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this kernel or sandbox has no open file description locks (Linux 3.15)",
            )),
            e => Err(e),
        },
    }
}

/// Tries for an open-file-description lock on one byte: `false` if another holder is in the way.
///
/// The kernel drops such a lock when the last reference to this opening ends, so on any death of
/// the process; and only then, unlike POSIX locks.
pub(crate) fn try_lock(file: &File, kind: Lock, byte: u64) -> io::Result<bool> {
    step();
    match lock_call(file, libc::F_OFD_SETLK, &mut flock(lock_kind(kind), byte)) {
        Ok(()) => Ok(true),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Drops all locks of this opening.
fn unlock_all(file: &File) {
    step();
    let mut l = flock(libc::F_UNLCK, 0);
    l.l_len = 0; // to the end, wherever that is
                 // It cannot fail for an open file.
    let _ = lock_call(file, libc::F_OFD_SETLK, &mut l);
}

/// Whether anybody else holds a lock of this kind on the byte, or a stronger one. Needs no write
/// permission. To hold an exclusive one needs it, so that no reader can make it seem so.
pub(crate) fn is_locked(file: &File, kind: Lock, byte: u64) -> io::Result<bool> {
    // An exclusive lock is all that is in the way of a shared one.
    let mut l = flock(
        lock_kind(match kind {
            Lock::Exclusive => Lock::Shared,
            Lock::Shared => Lock::Exclusive,
        }),
        byte,
    );
    lock_call(file, libc::F_OFD_GETLK, &mut l)?;
    Ok(l.l_type != libc::F_UNLCK as libc::c_short)
}

/// What tells a process from all others of this host, as long as it does not restart: its pid
/// namespace, and when it began. The pid goes with it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStamp {
    namespace: u32,
    begun: u32,
}

impl ProcessStamp {
    /// This process's; zeroes where there is no /proc.
    pub(crate) fn own() -> ProcessStamp {
        let begun = match process(std::process::id()) {
            Some(Found::Alive(begun)) => begun,
            _ => None,
        };
        match (pid_namespace(), begun) {
            (Some(namespace), Some(begun)) => ProcessStamp { namespace, begun },
            _ => ProcessStamp {
                namespace: 0,
                begun: 1,
            },
        }
    }

    /// As one word, which is not 0.
    pub(crate) fn word(self) -> u64 {
        u64::from(self.namespace) << 32 | u64::from(self.begun)
    }

    /// Whether a process lives, by its pid and that word. `None` if that cannot be found out from here.
    pub(crate) fn of(word: u64, pid: u64) -> Option<bool> {
        let pid = u32::try_from(pid).ok().filter(|pid| *pid != 0)?;
        if pid_namespace()? != (word >> 32) as u32 {
            return None;
        }
        match process(pid)? {
            Found::Dead => Some(false),
            Found::Alive(Some(begun)) => Some(begun == word as u32),
            Found::Alive(None) => None,
        }
    }
}

/// Whether there is no process with this pid.
pub(crate) fn is_dead(pid: u32) -> bool {
    matches!(process(pid), Some(Found::Dead))
}

/// A process, and when it began, if that may be read.
enum Found {
    Dead,
    Alive(Option<u32>),
}

/// What lives with a pid. `None` if that cannot be found out.
fn process(pid: u32) -> Option<Found> {
    // SAFETY: signal 0 is none: only the pid is looked up.
    let rc = unsafe { libc::kill(libc::pid_t::try_from(pid).ok()?, 0) };
    if rc != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ESRCH) {
        return Some(Found::Dead);
    }
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return Some(Found::Alive(None));
    };
    // The name of the program is in parentheses, and may have any bytes. Then: the state, and from
    // there on numbers, of which the 17th counts threads and the 19th is the time.
    let words: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |index: usize| words.get(index)?.parse::<u64>().ok();
    // The first thread may have ended before the others. One that nobody has waited for is dead.
    if matches!(words.first(), Some(&("Z" | "X"))) && number(17)? <= 1 {
        return Some(Found::Dead);
    }
    Some(Found::Alive(number(19).map(|begun| begun as u32)))
}

/// Which numbers of processes this process sees.
fn pid_namespace() -> Option<u32> {
    let meta = std::fs::metadata("/proc/self/ns/pid").ok()?;
    u32::try_from(meta.ino()).ok().filter(|inode| *inode != 0)
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
    let t = timespec(time);
    // SAFETY: `t` is valid, there are no descriptors, and the signal mask stays what it is.
    unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, std::ptr::null()) == 0 }
}

/// For waits that nobody wakes: holds signals back while the thread is awake, so that each of them
/// arrives during a sleep and ends it. A signal that arrived between two sleeps would otherwise run
/// its handler and change nothing.
///
/// It is for the thread that makes it.
pub(crate) struct SignalGate {
    before: libc::sigset_t,
}

impl SignalGate {
    pub(crate) fn new() -> SignalGate {
        // SAFETY: zero is a valid set; each set is a valid place for the length of a call.
        unsafe {
            let mut held: libc::sigset_t = std::mem::zeroed();
            let mut before: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&mut held);
            // What the thread causes itself cannot wait.
            for own in [
                libc::SIGSEGV,
                libc::SIGBUS,
                libc::SIGFPE,
                libc::SIGILL,
                libc::SIGTRAP,
                libc::SIGSYS,
                libc::SIGABRT,
            ] {
                libc::sigdelset(&mut held, own);
            }
            libc::pthread_sigmask(libc::SIG_BLOCK, &held, &mut before);
            SignalGate { before }
        }
    }

    /// Sleeps with the signals let in; `false` if one ended it, or had arrived before.
    pub(crate) fn nap(&self, time: Duration) -> bool {
        let t = timespec(time);
        // SAFETY: both are valid, and there are no descriptors. The kernel lets the signals in and
        // begins to sleep in one step.
        unsafe { libc::ppoll(std::ptr::null_mut(), 0, &t, &self.before) == 0 }
    }
}

impl Drop for SignalGate {
    fn drop(&mut self) {
        // SAFETY: a set that was given by the same function.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

/// Whether the program handles a signal and has asked for system calls to be restarted after it.
///
/// [`futex_wait_any`] is such a call, so a signal would not end it.
pub(crate) fn restarts_after_signals() -> bool {
    (1..=64).any(|signal| {
        // SAFETY: zero is valid for each of its fields; the place for the answer is valid.
        unsafe {
            let mut now: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &mut now) == 0
                && now.sa_sigaction != libc::SIG_DFL
                && now.sa_sigaction != libc::SIG_IGN
                && now.sa_flags & libc::SA_RESTART != 0
        }
    })
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

/// As [`futex_wait`], on any of several words, but that the kernel begins it again after a handler
/// with `SA_RESTART` ([`restarts_after_signals`]); `None` where the kernel cannot do that (before
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

/// A descriptor that is readable from [`Event::signal`] to [`Event::drain`].
///
/// It is a pipe with both ends in one descriptor. All eventfds have the same inode, as have epoll
/// instances and timers, so an eventfd could not be told from what a program opens later.
pub(crate) struct Event(OpenFile);

impl Event {
    pub(crate) fn new() -> io::Result<Event> {
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        let mut ends = [0; 2];
        // SAFETY: a place for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), flags) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: new descriptors that nobody else owns.
        let ends = ends.map(|fd| unsafe { File::from_raw_fd(fd) });
        // It needs one page only. The default counts against a limit of the user.
        // SAFETY: an open descriptor. If it fails, the pipe is larger.
        unsafe { libc::fcntl(ends[0].as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        let both = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(format!("/proc/self/fd/{}", ends[0].as_raw_fd()));
        match both {
            Ok(file) => Ok(Event(OpenFile::new(file))),
            // Without /proc, an eventfd is better than nothing.
            // SAFETY: takes no pointers.
            Err(_) => match unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) } {
                -1 => Err(io::Error::last_os_error()),
                // SAFETY: a new descriptor that nobody else owns.
                fd => Ok(Event(OpenFile::new(unsafe { File::from_raw_fd(fd) }))),
            },
        }
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.file.as_raw_fd()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.0.identity
    }

    /// Makes it readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // A descriptor that is a stranger's by now is left alone.
        if let Ok(file) = self.0.get() {
            // SAFETY: eight bytes are readable. It only fails if it is readable already.
            unsafe { libc::write(file.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Makes it unreadable.
    pub(crate) fn drain(&self) {
        let mut bytes = [0u8; 64];
        if let Ok(file) = self.0.get() {
            // A pipe keeps what every signal has written.
            // SAFETY: the bytes are writable. It only fails if it is not readable.
            while unsafe { libc::read(file.as_raw_fd(), bytes.as_mut_ptr().cast(), bytes.len()) }
                == bytes.len() as isize
            {}
        }
    }
}

/// Closes a descriptor of this library by its number, unless the program has closed it and the
/// number has come to stand for something else. It does only what is allowed in a forked child of a
/// threaded process.
pub(crate) fn close_if_same(fd: RawFd, identity: Identity) {
    drop(own_if_same(fd, identity));
}

/// The file of a descriptor, unless its number has come to stand for something else.
fn own_if_same(fd: RawFd, identity: Identity) -> Option<File> {
    // SAFETY: a number. If it is not that of a descriptor any more, or of another file, the `File` is
    // forgotten.
    let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
    match file.metadata() {
        Ok(meta) if self::identity(&meta) == identity => Some(ManuallyDrop::into_inner(file)),
        _ => None,
    }
}

/// Runs `life` in a thread of its own that gets none of the process's signals, and has neither the
/// priority nor the processors of the thread that makes it: one that spins on a processor of its
/// own must not keep this one from running.
pub(crate) fn spawn(name: &str, life: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // SAFETY: both sets are valid places; a thread begins with the mask of the one that makes it.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let spawned = spawn_plain(name, Box::new(life));
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, std::ptr::null_mut());
        spawned
    }
}

/// What a thread does.
type Life = Box<dyn FnOnce() + Send>;

/// By the C library, because the standard library cannot set what the thread begins with.
#[cfg(target_env = "gnu")]
fn spawn_plain(name: &str, life: Life) -> io::Result<()> {
    extern "C" fn begin(life: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: made by `Box::into_raw` below, for this call.
        let life = unsafe { Box::from_raw(life.cast::<Life>()) };
        // No panic may leave this function. There is nobody to tell.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
        std::ptr::null_mut()
    }
    let result = |rc| match rc {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    };
    let life = Box::into_raw(Box::new(life));
    // SAFETY: the attributes are initialised before they are used and destroyed once; the sets and
    // parameters are valid; the thread owns `life` if it was made.
    let made = unsafe {
        let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
        result(libc::pthread_attr_init(&mut attributes)).and_then(|()| {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
            let normal: libc::sched_param = std::mem::zeroed();
            let at = &mut attributes;
            libc::pthread_attr_setstacksize(at, STACK);
            libc::pthread_attr_setdetachstate(at, libc::PTHREAD_CREATE_DETACHED);
            libc::pthread_attr_setinheritsched(at, libc::PTHREAD_EXPLICIT_SCHED);
            libc::pthread_attr_setschedpolicy(at, libc::SCHED_OTHER);
            libc::pthread_attr_setschedparam(at, &normal);
            libc::pthread_attr_setaffinity_np(at, size_of::<libc::cpu_set_t>(), &all);
            let mut thread: libc::pthread_t = 0;
            let made = result(libc::pthread_create(&mut thread, at, begin, life.cast()));
            libc::pthread_attr_destroy(at);
            if made.is_ok() {
                if let Ok(name) = std::ffi::CString::new(name) {
                    libc::pthread_setname_np(thread, name.as_ptr());
                }
            }
            made
        })
    };
    if made.is_err() {
        // SAFETY: no thread was made, so it is still this function's.
        drop(unsafe { Box::from_raw(life) });
    }
    made
}

#[cfg(not(target_env = "gnu"))]
fn spawn_plain(name: &str, life: Life) -> io::Result<()> {
    let builder = std::thread::Builder::new()
        .name(name.into())
        .stack_size(STACK);
    builder.spawn(life).map(drop)
}

/// The stack of a thread of the library.
const STACK: usize = 256 << 10;

// ---------------------------------------------------------------------------------------------
// fork

/// How often this process is a forked copy of another, counted from the first handle.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What a forked child has to do something about at its birth.
struct Own {
    /// Descriptors whose locks stand for *this* process. A forked child shares the open file
    /// description, so it would keep the lock of a parent that was killed: it closes them at once.
    locks: Vec<(RawFd, Identity)>,
    /// Files that a child needs openings of its own of.
    spares: Vec<Arc<SpareFile>>,
}

static OWN: Mutex<Own> = Mutex::new(Own {
    locks: Vec::new(),
    spares: Vec::new(),
});

/// How many forks lie between the first call of [`watch_forks`] and this process. A handle
/// remembers the value it was opened under, and so knows whether it was inherited.
#[inline(always)]
pub fn fork_generation() -> u32 {
    // Relaxed: it changes only in a child in which no other thread exists yet.
    FORKS.load(Ordering::Relaxed)
}

/// The list, while nobody else has it.
struct OwnGuard {
    own: MutexGuard<'static, Own>,
    /// A handler that forks needs the list, too. It has to wait, because this thread cannot.
    _gate: SignalGate,
}

impl std::ops::Deref for OwnGuard {
    type Target = Own;

    fn deref(&self) -> &Own {
        &self.own
    }
}

impl std::ops::DerefMut for OwnGuard {
    fn deref_mut(&mut self) -> &mut Own {
        &mut self.own
    }
}

fn own() -> OwnGuard {
    let gate = SignalGate::new();
    OwnGuard {
        own: OWN.lock().unwrap_or_else(PoisonError::into_inner),
        _gate: gate,
    }
}

thread_local! {
    /// Held from before a fork until after it, so that the child finds the list whole.
    static ACROSS_FORK: std::cell::RefCell<Option<OwnGuard>> =
        const { std::cell::RefCell::new(None) };
}

extern "C" fn before_fork() {
    let _ = ACROSS_FORK.try_with(|held| *held.borrow_mut() = Some(own()));
}

extern "C" fn after_fork_in_parent() {
    let _ = ACROSS_FORK.try_with(|held| *held.borrow_mut() = None);
}

extern "C" fn after_fork_in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
    let _ = ACROSS_FORK.try_with(|held| {
        if let Some(mut own) = held.borrow_mut().take() {
            // Each `LockFile` sees that it was inherited, and leaves its descriptor alone.
            for (fd, identity) in own.locks.drain(..) {
                close_if_same(fd, identity);
            }
            own.spares.iter().for_each(|spare| spare.renew());
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
#[derive(Debug)]
pub(crate) struct LockFile {
    file: ManuallyDrop<OpenFile>,
    generation: u32,
}

impl LockFile {
    /// Opens the file by `open`, and anything that comes with it. No fork can come between the
    /// opening and the listing of the descriptor: a child would keep the locks.
    pub(crate) fn open<T, E>(
        open: impl FnOnce() -> std::result::Result<(File, T), E>,
    ) -> std::result::Result<(LockFile, T), E> {
        watch_forks();
        let mut own = own();
        let (file, more) = open()?;
        Ok((LockFile::list(file, &mut own), more))
    }

    fn list(file: File, own: &mut Own) -> LockFile {
        let file = OpenFile::new(file);
        own.locks.push((file.file.as_raw_fd(), file.identity));
        LockFile {
            file: ManuallyDrop::new(file),
            generation: fork_generation(),
        }
    }

    /// The file. It is only used during the call that opened it, and nothing closes a descriptor
    /// behind the back of a call.
    pub(crate) fn file(&self) -> &File {
        &self.file.file
    }

    /// Whether the lock is this process's, and not that of the one it was forked from.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

/// Maps a page of a file that nobody can access, for the reference to the opening that comes with it.
/// No child inherits the mapping. `None` where that does not keep the opening.
fn pin(file: &File) -> Option<NonNull<libc::c_void>> {
    if !KEEPS_OPENING.contains(&file_system(file)?) {
        return None;
    }
    // SAFETY: a new mapping, of memory that is never accessed.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            PIN,
            libc::PROT_NONE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return None;
    }
    // SAFETY: the mapping that was just made.
    if unsafe { libc::madvise(at, PIN, libc::MADV_DONTFORK) } != 0 {
        // SAFETY: as above, and nothing uses it.
        unsafe { libc::munmap(at, PIN) };
        return None;
    }
    NonNull::new(at)
}

/// Bytes of a mapping that pins an opening. The kernel makes whole pages of it.
const PIN: usize = 4096;

impl Drop for LockFile {
    fn drop(&mut self) {
        let mut own = own();
        if !self.is_own() {
            return;
        }
        let fd = self.file().as_raw_fd();
        own.locks.retain(|&(listed, _)| listed != fd);
        // A process that another thread is just starting shares the opening until its `exec`, and
        // `posix_spawn` calls no handler: closing alone would leave the locks to it.
        if let Ok(file) = self.file.get() {
            unlock_all(file);
        }
        // SAFETY: dropped here and nowhere else; the child's handler has not closed it, for this is
        // not a child.
        unsafe { ManuallyDrop::drop(&mut self.file) };
    }
}

/// How long a lock may outlive its end: a process that another thread was just starting, by
/// `posix_spawn`, has all openings until its `exec`.
#[cfg(not(feature = "steps"))]
pub(crate) const RESIDUE: Duration = Duration::from_millis(100);
/// Shorter where a test stops other processes at each step.
#[cfg(feature = "steps")]
pub(crate) const RESIDUE: Duration = Duration::from_millis(2);

/// Locks that stand for this process, for as long as a handle lives.
///
/// They are kept without a descriptor if possible. A program that closes all of its descriptors
/// would drop them otherwise, and a child that was made without the fork handlers (by a bare
/// `clone`) would keep them.
#[derive(Debug)]
pub(crate) struct HeldLock {
    way: Way,
    generation: u32,
}

#[derive(Debug)]
enum Way {
    /// A mapping that keeps the opening.
    Mapping(NonNull<libc::c_void>),
    Descriptor(#[allow(dead_code)] LockFile), // for its drop
}

// SAFETY: the pointer leads to a mapping that is never accessed.
unsafe impl Send for HeldLock {}
// SAFETY: as above.
unsafe impl Sync for HeldLock {}

impl HeldLock {
    /// Opens a file by `open`, with anything that comes with it, and takes its locks by `lock`, which
    /// says whether it could. `None` if it could not.
    ///
    /// No fork comes in between, so no child ever has a descriptor of this opening, which would keep
    /// the locks until the child has closed it. Neither function may take or drop a lock of this kind.
    pub(crate) fn take<T, E>(
        open: impl FnOnce() -> std::result::Result<(File, T), E>,
        lock: impl FnOnce(&File, &T) -> std::result::Result<bool, E>,
    ) -> std::result::Result<Option<(HeldLock, T)>, E> {
        watch_forks();
        let mut own = own();
        let (file, more) = open()?;
        if !lock(&file, &more)? {
            return Ok(None);
        }
        let generation = fork_generation();
        let way = match pin(&file) {
            // The descriptor is closed.
            Some(mapping) => Way::Mapping(mapping),
            None => Way::Descriptor(LockFile::list(file, &mut own)),
        };
        Ok(Some((HeldLock { way, generation }, more)))
    }

    /// Whether the lock is this process's, and not that of the one it was forked from.
    #[inline(always)]
    pub(crate) fn is_own(&self) -> bool {
        self.generation == fork_generation()
    }
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        if let (Way::Mapping(at), true) = (&self.way, self.is_own()) {
            step();
            // SAFETY: the mapping that was made for this, in this process, and that nothing uses.
            unsafe { libc::munmap(at.as_ptr(), PIN) };
        }
    }
}

/// A file of which each forked child needs an opening of its own. It is made at the birth of the
/// child, before that changes its user or its root.
#[derive(Debug)]
pub(crate) struct SpareFile {
    fd: RawFd,
    identity: Identity,
    /// The opening, or -1.
    opened: AtomicI32,
}

impl SpareFile {
    pub(crate) fn new(file: &OpenFile) -> Arc<SpareFile> {
        watch_forks();
        let spare = Arc::new(SpareFile {
            fd: file.file.as_raw_fd(),
            identity: file.identity,
            opened: AtomicI32::new(-1),
        });
        own().spares.push(spare.clone());
        spare
    }

    /// In a child: replaces the opening. It does only what is allowed in a child of a threaded
    /// process.
    fn renew(&self) {
        let mut path = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
        let (mut rest, mut digits) = (self.fd.unsigned_abs(), 0);
        loop {
            digits += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        rest = self.fd.unsigned_abs();
        for digit in path[14..14 + digits].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let parents = own_if_same(self.fd, self.identity).map(ManuallyDrop::new);
        let fd = match parents {
            // SAFETY: a string that ends with a NUL.
            Some(_) => unsafe { libc::open(path.as_ptr().cast(), libc::O_RDWR | libc::O_CLOEXEC) },
            None => -1,
        };
        let old = self.opened.swap(fd, Ordering::Relaxed);
        if old >= 0 {
            close_if_same(old, self.identity);
        }
    }

    /// The opening of this process, if it could be made and was not taken yet.
    pub(crate) fn take(&self) -> Option<File> {
        let fd = self.opened.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            return None;
        }
        own_if_same(fd, self.identity)
    }

    /// The file is not needed any more.
    pub(crate) fn end(self: &Arc<Self>) {
        own().spares.retain(|spare| !Arc::ptr_eq(spare, self));
        drop(self.take());
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
