//! Descriptors to poll. A descriptor becomes readable when its consumer has a message, or when the
//! queue has ended.
//!
//! A pop that finds nothing *arms* the watch of its consumer: it drains the descriptor, asks to be
//! woken and looks once more. A thread sleeps on the words of all armed watches. If a word changes,
//! the thread makes the descriptor readable, and ignores the watch until it is armed again. So a
//! program that pops until it gets `None`, and then polls, misses nothing. A descriptor that is
//! readable without a message costs one pop.
//!
//! Each thread serves up to 127 watches of a process. It ends with the last of them. A forked child
//! does not have the thread, so a watch belongs to the process that made it.

use super::wait::Ticket;
use crate::error::{Error, Result};
use crate::format::names::Paths;
use crate::os::{self, Event, Identity, WakeReason, FUTEX_WAITV_MAX};
use crate::wakeup::{Deadline, Pace};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether a consumer would find something, judged from a copy of its position. The argument says
/// whether nothing came for a while. If so, it also checks whether the queue has ended.
pub(super) type Look = Box<dyn FnMut(bool) -> bool + Send>;

/// The descriptor of a consumer.
pub(super) struct Watch {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    fd: RawFd,
    identity: Identity,
    generation: u32,
}

struct Shared {
    /// Whether `State::armed` is set. A consumer that finds nothing again reads only this.
    armed: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// `None` once the consumer has ended.
    event: Option<Event>,
    /// `None` while the descriptor is readable.
    armed: Option<(Ticket, Look)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// Makes a descriptor. It is readable until the consumer's next pop that finds nothing.
    pub(super) fn new(paths: &Paths) -> Result<Watch> {
        os::watch_forks();
        let shown = paths.shown();
        let fail = |e| {
            Error::from_io(
                &e,
                format_args!("{shown}: cannot make a descriptor to poll"),
            )
        };
        let event = Event::new().map_err(fail)?;
        event.signal();
        let (fd, identity) = (event.fd(), event.identity());
        let shared = Arc::new(Shared {
            armed: AtomicBool::new(false),
            state: Mutex::new(State {
                event: Some(event),
                armed: None,
            }),
        });
        let watcher = Watcher::join(shared.clone()).map_err(|e| {
            let limit = "the limit of the user or the container is reached (ulimit -u, pids.max)";
            let why = match e.raw_os_error() {
                Some(libc::EAGAIN) => limit,
                _ => "it could not be started",
            };
            let what = "cannot start the thread behind the descriptor to poll";
            Error::from_io(&e, format_args!("{shown}: {what}: {why}"))
        })?;
        Ok(Watch {
            shared,
            watcher,
            fd,
            identity,
            generation: os::fork_generation(),
        })
    }

    /// The descriptor, which is closed when the watch is dropped.
    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// A descriptor for the caller, which is readable when that of the watch is.
    pub(super) fn duplicate(&self, paths: &Paths) -> Result<OwnedFd> {
        let state = lock(&self.shared.state);
        let copy = match &state.event {
            Some(event) => event.duplicate(),
            None => Err(std::io::Error::from_raw_os_error(libc::EBADF)),
        };
        copy.map_err(|e| {
            let shown = paths.shown();
            Error::from_io(
                &e,
                format_args!("{shown}: cannot make a descriptor to poll"),
            )
        })
    }

    /// Whether this process made the watch.
    pub(super) fn is_own(&self) -> bool {
        self.generation == os::fork_generation()
    }

    /// Whether the watch is armed, or belongs to another process.
    pub(super) fn is_settled(&self) -> bool {
        // Relaxed: set and cleared under the lock. A consumer that reads an old value finds the
        // descriptor readable, and calls again.
        !self.is_own() || self.shared.armed.load(Ordering::Relaxed)
    }

    /// Arms the watch when the consumer has found nothing. `ask` asks for a wake-up, and returns
    /// how to look after it.
    pub(super) fn arm(&self, ask: impl FnOnce() -> (Ticket, Look)) {
        let mut state = lock(&self.shared.state);
        let Some(event) = &state.event else { return };
        event.drain();
        let (ticket, mut look) = ask();
        if look(false) {
            event.signal();
            return;
        }
        state.armed = Some((ticket, look));
        self.shared.armed.store(true, Ordering::Relaxed);
        drop(state);
        self.watcher.kick();
    }

    /// Makes the descriptor readable after a seek, until a pop finds nothing there.
    pub(super) fn disarm(&self) {
        if self.is_own() {
            self.shared.signal(&mut lock(&self.shared.state));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_own() {
            // A thread that this child does not have may hold the lock, so leak what the lock
            // protects.
            os::close_if_same(self.fd, self.identity);
            std::mem::forget(self.shared.clone());
            return;
        }
        let mut state = lock(&self.shared.state);
        state.armed = None;
        if let Some(event) = state.event.take() {
            // Wakes a thread that polls a duplicate.
            event.signal();
        }
        drop(state);
        self.watcher.leave(&self.shared);
    }
}

impl Shared {
    /// Makes the descriptor readable, if it is not.
    fn signal(&self, state: &mut State) {
        if state.armed.take().is_some() {
            self.armed.store(false, Ordering::Relaxed);
            if let Some(event) = &state.event {
                event.signal();
            }
        }
    }
}

/// A thread and its watches.
struct Watcher {
    /// Changes when the list changes or a watch is armed. The thread also sleeps on this word.
    kicks: AtomicU32,
    /// `None` once the thread has ended.
    watched: Mutex<Option<Vec<Arc<Shared>>>>,
}

/// One word belongs to the thread itself.
const MAX_WATCHES: usize = FUTEX_WAITV_MAX - 1;

/// The watchers of one process.
struct Watchers {
    generation: u32,
    all: Mutex<Vec<Arc<Watcher>>>,
}

/// The watchers of this process, or those of the parent at the fork.
static WATCHERS: AtomicPtr<Watchers> = AtomicPtr::new(std::ptr::null_mut());

impl Watchers {
    /// The watchers of this process. They are never freed. A child leaks those of its parent,
    /// because their lock may never be released.
    fn own() -> &'static Watchers {
        let generation = os::fork_generation();
        // Partner of the acquire loads: the release exchange. They make the pointed-to data
        // visible.
        let mut seen = WATCHERS.load(Ordering::Acquire);
        loop {
            // SAFETY: null, or made below and never freed.
            match unsafe { seen.as_ref() } {
                Some(watchers) if watchers.generation == generation => return watchers,
                _ => {}
            }
            let new = Box::into_raw(Box::new(Watchers {
                generation,
                all: Mutex::new(Vec::new()),
            }));
            match WATCHERS.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => seen = new,
                Err(theirs) => {
                    // SAFETY: made above, and no other thread has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    seen = theirs;
                }
            }
        }
    }
}

impl Watcher {
    /// Gives the watch to a thread. Starts a thread if all others are full.
    fn join(shared: Arc<Shared>) -> std::io::Result<Arc<Watcher>> {
        let mut all = lock(&Watchers::own().all);
        all.retain(|w| lock(&w.watched).is_some());
        for watcher in all.iter() {
            if let Some(watched) = &mut *lock(&watcher.watched) {
                if watched.len() < MAX_WATCHES {
                    watched.push(shared);
                    return Ok(watcher.clone());
                }
            }
        }
        let watcher = Arc::new(Watcher {
            kicks: AtomicU32::new(0),
            watched: Mutex::new(Some(vec![shared])),
        });
        let its = watcher.clone();
        os::spawn("ipcq-watch", move || its.live())?;
        all.push(watcher.clone());
        Ok(watcher)
    }

    fn leave(&self, shared: &Arc<Shared>) {
        if let Some(watched) = &mut *lock(&self.watched) {
            watched.retain(|w| !Arc::ptr_eq(w, shared));
        }
        self.kick();
    }

    fn kick(&self) {
        // Partner: `live`.
        self.kicks.fetch_add(1, Ordering::Release);
        os::futex_wake(&self.kicks);
    }

    fn live(&self) {
        let mut pace = Pace::default();
        let mut kicked = 0;
        let mut idle = false;
        loop {
            // Partner: `kick`. The loop sees what was changed before it, or the sleep ends at once.
            let kicks = self.kicks.load(Ordering::Acquire);
            if kicks != kicked {
                pace = Pace::default();
                kicked = kicks;
            }
            let mut watched = lock(&self.watched);
            let list = match &*watched {
                Some(list) if !list.is_empty() => list.clone(),
                _ => {
                    *watched = None;
                    return;
                }
            };
            drop(watched);
            let mut tickets = Vec::with_capacity(list.len());
            for shared in list {
                let mut state = lock(&shared.state);
                let woken = match &mut state.armed {
                    Some((ticket, look)) => ticket.is_woken() || look(idle),
                    None => continue,
                };
                if woken {
                    shared.signal(&mut state);
                } else if let Some((ticket, _)) = &state.armed {
                    tickets.push(ticket.clone());
                }
            }
            let forever = Deadline::after(None);
            // The thread gets no signals, so no sleep is interrupted.
            let woken =
                Ticket::sleep_any_or(&tickets, Some((&self.kicks, kicks)), &mut pace, forever);
            idle = woken == WakeReason::TimedOut;
        }
    }
}
