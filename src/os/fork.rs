//! Bookkeeping for forked children.

use super::file::{above_standard, close_if_same, own_if_same, Identity, OpenFile};
use super::signal::SignalGate;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// How many forks separate this process from the first call of [`watch_forks`].
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Resources that a forked child must release or renew at once.
pub(super) struct Own {
    /// Descriptors whose locks belong to *this* process. A forked child shares the open file
    /// description and would keep the lock alive after the parent is killed, so the child closes
    /// these descriptors at once.
    pub(super) locks: Vec<(RawFd, Identity)>,
    /// Files that a child must open again for itself.
    spares: Vec<Arc<SpareFile>>,
}

static OWN: Mutex<Own> = Mutex::new(Own {
    locks: Vec::new(),
    spares: Vec::new(),
});

/// The value of `FORKS`. A handle stores it when it is opened, and compares it later to detect
/// that it was inherited.
#[inline(always)]
pub fn fork_generation() -> u32 {
    // Relaxed, because it changes only in a child that has no other thread yet.
    FORKS.load(Ordering::Relaxed)
}

/// Exclusive access to [`OWN`].
pub(super) struct OwnGuard {
    own: MutexGuard<'static, Own>,
    /// Blocks signals while the mutex is held. A signal handler that forks in this thread would
    /// need the same mutex and wait forever.
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

pub(super) fn own() -> OwnGuard {
    let gate = SignalGate::new();
    OwnGuard {
        own: OWN.lock().unwrap_or_else(PoisonError::into_inner),
        _gate: gate,
    }
}

thread_local! {
    /// Held across a fork, so that the child finds the list in a consistent state.
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
            // Each `LockFile` detects that it was inherited and does not use its descriptor.
            for (fd, identity) in own.locks.drain(..) {
                close_if_same(fd, identity);
            }
            own.spares.iter().for_each(|spare| spare.renew());
        }
    });
}

/// Installs the fork handlers.
pub fn watch_forks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers are functions of this library, and they stay mapped. `dlclose` does
        // not unload the shared library, which `build.rs` links with `-z nodelete`. If another
        // library contains this crate and is unloaded, glibc removes its handlers first. They do
        // only what is allowed in the child of a multithreaded process.
        unsafe {
            libc::pthread_atfork(
                Some(before_fork as unsafe extern "C" fn()),
                Some(after_fork_in_parent as unsafe extern "C" fn()),
                Some(after_fork_in_child as unsafe extern "C" fn()),
            )
        };
    });
}

/// A file that each forked child needs to open for itself. The fork handler opens it, before the
/// child can change its user or its root directory.
#[derive(Debug)]
pub(crate) struct SpareFile {
    fd: RawFd,
    identity: Identity,
    /// The descriptor, or -1.
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

    /// In a child, replaces the descriptor. Does only what is allowed in the child of a
    /// multithreaded process.
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
            // SAFETY: `path` ends with a NUL.
            Some(_) => above_standard(unsafe {
                libc::open(path.as_ptr().cast(), libc::O_RDWR | libc::O_CLOEXEC)
            }),
            None => -1,
        };
        let old = self.opened.swap(fd, Ordering::Relaxed);
        if old >= 0 {
            close_if_same(old, self.identity);
        }
    }

    /// Takes the descriptor of this process. `None` if it could not be opened or was taken before.
    pub(crate) fn take(&self) -> Option<File> {
        let fd = self.opened.swap(-1, Ordering::Relaxed);
        if fd < 0 {
            return None;
        }
        own_if_same(fd, self.identity)
    }

    /// Removes the file from the list.
    pub(crate) fn end(self: &Arc<Self>) {
        own().spares.retain(|spare| !Arc::ptr_eq(spare, self));
        drop(self.take());
    }
}
