//! What a forked child has to know and to do.

use super::file::{close_if_same, own_if_same, Identity, OpenFile};
use super::signal::SignalGate;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

/// How often this process is a forked copy of another, counted from the first handle.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// What a forked child has to do something about at its birth.
pub(super) struct Own {
    /// Descriptors whose locks stand for *this* process. A forked child shares the open file
    /// description, so it would keep the lock of a parent that was killed: it closes them at once.
    pub(super) locks: Vec<(RawFd, Identity)>,
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
pub(super) struct OwnGuard {
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

pub(super) fn own() -> OwnGuard {
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
