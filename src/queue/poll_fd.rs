//! Descriptors to poll: one becomes readable when its consumer has a message, or is at its end.
//!
//! A consumer's pop that finds nothing *arms* its watch: it drains the descriptor, asks to be woken
//! and looks once more. A thread sleeps on the words of all armed watches; where one has changed it
//! makes the descriptor readable and leaves that watch alone until it is armed again. So whoever
//! pops until there is nothing and then polls misses nothing, and a descriptor that is readable
//! though nothing is there costs one pop.
//!
//! There is a thread for each 127 watches of a process, from the first to the last of them. In a
//! forked child it does not exist, so a watch belongs to the process that made it.

use super::wait::Ticket;
use crate::error::{Error, Result};
use crate::format::names::Paths;
use crate::os::{self, Event, Identity, WakeReason, FUTEX_WAITV_MAX};
use crate::wakeup::{Deadline, Pace};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Tells whether a consumer would find something, from a copy of its position; if it is told that
/// nothing came for a while, also whether the queue is at its end.
pub(super) type Look = Box<dyn FnMut(bool) -> bool + Send>;

/// One consumer's descriptor.
pub(super) struct Watch {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    fd: RawFd,
    identity: Identity,
    generation: u32,
}

struct Shared {
    /// Whether `State::armed` is there: the common question of a consumer that finds nothing twice.
    armed: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// `None` once the consumer is gone.
    event: Option<Event>,
    /// `None` while the descriptor is readable.
    armed: Option<(Ticket, Look)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    /// A descriptor that is readable, until the consumer's next pop that finds nothing.
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
            let limit = "as many run as the user or the container may have (ulimit -u, pids.max)";
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

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// Whether this process made it.
    pub(super) fn is_own(&self) -> bool {
        self.generation == os::fork_generation()
    }

    /// Whether the thread waits for a message, or has nothing to do with this process.
    pub(super) fn is_settled(&self) -> bool {
        // Relaxed: set and cleared under the lock. Who sees an old value finds the descriptor
        // readable, and comes again.
        !self.is_own() || self.shared.armed.load(Ordering::Relaxed)
    }

    /// The consumer has found nothing. `ask` asks for a wake-up and gives what to look with then.
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

    /// The consumer has gone elsewhere: readable until a pop finds nothing there.
    pub(super) fn disarm(&self) {
        if self.is_own() {
            self.shared.ring(&mut lock(&self.shared.state));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.is_own() {
            // The lock may be held by a thread that this child does not have, so what is behind it
            // stays.
            os::close_if_same(self.fd, self.identity);
            std::mem::forget(self.shared.clone());
            return;
        }
        let mut state = lock(&self.shared.state);
        state.armed = None;
        state.event = None;
        drop(state);
        self.watcher.leave(&self.shared);
    }
}

impl Shared {
    /// Makes the descriptor readable, if it is not.
    fn ring(&self, state: &mut State) {
        if state.armed.take().is_some() {
            self.armed.store(false, Ordering::Relaxed);
            if let Some(event) = &state.event {
                event.signal();
            }
        }
    }
}

/// A thread and what it watches.
struct Watcher {
    /// Changes when the list does, or a watch is armed. The thread sleeps on it, too.
    kicks: AtomicU32,
    /// `None` once the thread has ended.
    watched: Mutex<Option<Vec<Arc<Shared>>>>,
}

/// One word is the thread's own.
const MOST: usize = FUTEX_WAITV_MAX - 1;

/// The watchers of one process.
struct Watchers {
    generation: u32,
    all: Mutex<Vec<Arc<Watcher>>>,
}

/// This process's watchers, or those that it was forked with.
static WATCHERS: AtomicPtr<Watchers> = AtomicPtr::new(std::ptr::null_mut());

impl Watchers {
    /// Those of this process. They are never freed: a child leaks its parent's, whose lock may be
    /// held for ever.
    fn own() -> &'static Watchers {
        let generation = os::fork_generation();
        // Partner of the acquire loads: the release exchange. They show what the pointer leads to.
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
                    // SAFETY: made above, and nobody else has seen it.
                    drop(unsafe { Box::from_raw(new) });
                    seen = theirs;
                }
            }
        }
    }
}

impl Watcher {
    /// Has a thread watch it, which is made if all have as much as they can.
    fn join(shared: Arc<Shared>) -> std::io::Result<Arc<Watcher>> {
        let mut all = lock(&Watchers::own().all);
        all.retain(|w| lock(&w.watched).is_some());
        for watcher in all.iter() {
            if let Some(watched) = &mut *lock(&watcher.watched) {
                if watched.len() < MOST {
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
            // Partner: `kick`. What was changed before is seen below, or the sleep ends at once.
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
                let rung = match &mut state.armed {
                    Some((ticket, look)) => ticket.is_rung() || look(idle),
                    None => continue,
                };
                if rung {
                    shared.ring(&mut state);
                } else if let Some((ticket, _)) = &state.armed {
                    tickets.push(ticket.clone());
                }
            }
            let forever = Deadline::after(Duration::MAX);
            // It gets no signals, so no sleep is interrupted.
            let woken =
                Ticket::sleep_any_or(&tickets, Some((&self.kicks, kicks)), &mut pace, forever);
            idle = woken == WakeReason::TimedOut;
        }
    }
}
