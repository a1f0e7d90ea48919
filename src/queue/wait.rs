//! How producers and consumers sleep until the other side has done something.

use crate::error::{Error, Result};
use crate::format::control_file::Control;
use crate::format::data_file::{at, Geometry};
use crate::format::names::Paths;
use crate::os::Region;
use crate::os::{self, NoCancel, WakeReason};
use crate::wakeup::{self, Armed, Deadline, Pace, SharedEventCount, MAX_SLEEP, SPIN_LIMIT};
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::Arc;
use std::time::Duration;

/// The futex word of a data file.
pub(super) fn wake_word(region: &Region) -> NonNull<AtomicU32> {
    // SAFETY: the whole header of a queue is mapped, so the word is in the mapping.
    let word = unsafe { region.base().add(at::WAKE) };
    // SAFETY: an address inside a mapping is not null.
    unsafe { NonNull::new_unchecked(word.cast()) }
}

/// The state that a consumer needs to sleep.
pub(super) struct Sleeper {
    /// `None` if this process may not write the control file. Then the producer cannot wake this
    /// consumer.
    control: Option<Arc<Control>>,
    /// The epoch when the control file was opened. The next producer may have made another file.
    epoch: u64,
}

impl Sleeper {
    pub(super) fn new(control: Option<Arc<Control>>, epoch: u64) -> Self {
        Sleeper { control, epoch }
    }

    /// Asks to be woken, without the barrier.
    pub(super) fn ask(
        &mut self,
        region: &Arc<Region>,
        epoch: impl Fn() -> u64,
        paths: &Paths,
        geometry: &Geometry,
    ) -> Ticket {
        let mut seen = self.ask_once(region);
        // After the count: if the count includes a wake-up by a new producer, its epoch is visible.
        let mut now = epoch();
        if now != self.epoch {
            // If that cannot be found out, the file belongs to no user.
            let owner = region.owner().unwrap_or(u32::MAX);
            match Control::find(paths, geometry, true, owner) {
                Ok((control, _)) => self.control = Some(Arc::new(control)),
                // Unlinked: the live producer has the same file as this consumer.
                Err(Error::NotFound(_)) => {}
                // This process may not write the file.
                Err(Error::PermissionDenied(_)) => self.control = None,
                // A limit may have been reached. The next sleep tries again.
                Err(_) => {
                    self.control = None;
                    now = self.epoch;
                }
            }
            self.epoch = now;
            seen = self.ask_once(region);
        }
        let wakeable = self.control.is_some();
        // SAFETY: a word of this region.
        unsafe {
            Ticket::new(
                region,
                wake_word(region),
                Armed { seen, wakeable },
                MAX_SLEEP,
            )
        }
    }

    fn ask_once(&self, region: &Region) -> u32 {
        let word = wake_word(region);
        match &self.control {
            // SAFETY: both are mapped for longer than the event_count is used.
            Some(control) => wakeup::prepare_wait(&unsafe {
                SharedEventCount::for_waiter(control.asleep(), word)
            }),
            // SAFETY: as above.
            None => wakeup::count(unsafe { word.as_ref() }),
        }
    }
}

/// A request to be woken, for bindings. It does not borrow the handle.
#[derive(Clone)]
pub struct Ticket {
    word: NonNull<AtomicU32>,
    armed: Armed,
    /// The longest sleep.
    slice: Duration,
    _region: Arc<Region>,
}

// SAFETY: the pointer is to an atomic in the region, which threads may share.
unsafe impl Send for Ticket {}
// SAFETY: as above.
unsafe impl Sync for Ticket {}

impl Ticket {
    /// # Safety
    /// `word` is in the mapping of `region`.
    pub(super) unsafe fn new(
        region: &Arc<Region>,
        word: NonNull<AtomicU32>,
        armed: Armed,
        slice: Duration,
    ) -> Ticket {
        Ticket {
            word,
            armed,
            slice,
            _region: region.clone(),
        }
    }

    pub(super) fn word(&self) -> &AtomicU32 {
        // SAFETY: mapped while the region is held. The word is only loaded.
        unsafe { self.word.as_ref() }
    }

    /// Whether the other side has woken its waiters since this ticket was made.
    pub fn is_woken(&self) -> bool {
        wakeup::count(self.word()) != self.armed.seen
    }

    /// Sleeps until one of several tickets may have been woken, or until the deadline. Returns
    /// `false` if a signal ended the sleep.
    pub fn sleep_any(tickets: &[Ticket], pace: &mut Pace, deadline: Deadline) -> bool {
        Ticket::sleep_any_or(tickets, None, pace, deadline) != WakeReason::Interrupted
    }

    /// As `sleep_any`, or until a word of the caller differs from its old value.
    pub(super) fn sleep_any_or(
        tickets: &[Ticket],
        own: Option<(&AtomicU32, u32)>,
        pace: &mut Pace,
        deadline: Deadline,
    ) -> WakeReason {
        let theirs = tickets.iter().map(|t| (t.word(), t.armed.seen));
        let slice = tickets.iter().map(|t| t.slice).min().unwrap_or(MAX_SLEEP);
        // A blocked producer that was not woken during its first sleep.
        let timed_out = slice < MAX_SLEEP && pace.timed_out;
        let wakeable = tickets.iter().all(|t| t.armed.wakeable) && !timed_out;
        let until = |pace: &mut Pace, wakeable| {
            deadline.within(pace.next(wakeable).min(wakeup::jittered(slice)))
        };
        let woken = match (own, tickets) {
            (None, []) => WakeReason::Woken,
            (None, [one]) if wakeable && slice < MAX_SLEEP => {
                let until = until(pace, true);
                pace.sleep_with_signals_blocked(|| {
                    os::futex_wait(one.word(), one.armed.seen, until)
                })
            }
            (None, [one]) if wakeable => {
                os::futex_wait(one.word(), one.armed.seen, until(pace, true))
            }
            (Some((word, seen)), []) => os::futex_wait(word, seen, until(pace, true)),
            // On these kernels a signal does not end a sleep on several words.
            (None, _) if !wakeable || os::restarts_after_signals() => pace.sleep(deadline),
            _ => {
                let words: Vec<_> = own.into_iter().chain(theirs).collect();
                os::futex_wait_any(&words, until(pace, wakeable)).unwrap_or_else(|| match own {
                    // The kernel cannot sleep on several words. Sleep on one, and look at the
                    // others.
                    Some((word, seen)) => os::futex_wait(word, seen, until(pace, false)),
                    None => pace.sleep(deadline),
                })
            }
        };
        pace.timed_out |= woken == WakeReason::TimedOut;
        woken
    }

    /// The barrier between the requests of one or several handles and the last look.
    pub fn confirm(tickets: &mut [Ticket]) {
        // Only if a ticket can be woken, because the barrier disturbs every producer.
        if tickets.iter().any(|t| t.armed.wakeable) && !wakeup::heavy_barrier() {
            tickets.iter_mut().for_each(|t| t.armed.wakeable = false);
        }
    }
}

/// A handle, or several, that can wait.
pub(super) trait Waits {
    /// Whether signals are blocked except during sleeps, so that every signal ends the wait. That
    /// costs two system calls, and the sleep must be short.
    const BLOCKS_SIGNALS: bool = false;

    /// Asks to be woken. Adds a ticket for each word to sleep on.
    fn ask(&mut self, tickets: &mut Vec<Ticket>);
    /// Called when a sleep has timed out, to check what no process wakes for.
    fn after_sleep(&mut self) {}
    /// Ends the request of `ask`.
    fn awake(&mut self) {}
    /// The names of the queues, for error texts.
    fn shown(&mut self) -> String;
    /// The error for a timeout.
    fn timed_out(&mut self, timeout: Duration) -> Error;
}

/// Looks until there is something, and sleeps in between. All waiting calls wait here.
pub(super) fn until<S: Waits, T>(
    state: &mut S,
    timeout: Option<Duration>,
    mut look: impl FnMut(&mut S) -> Result<Option<T>>,
) -> Result<T> {
    let mut pace = Pace::default();
    if S::BLOCKS_SIGNALS && timeout != Some(Duration::ZERO) {
        pace.block_signals();
    }
    if let Some(found) = look(state)? {
        return Ok(found);
    }
    if timeout == Some(Duration::ZERO) {
        return Err(state.timed_out(Duration::ZERO));
    }
    let deadline = Deadline::after(timeout);
    for _ in 0..SPIN_LIMIT {
        std::hint::spin_loop();
        if let Some(found) = look(state)? {
            return Ok(found);
        }
    }
    let _no = NoCancel::new();
    let found = sleep_until(state, deadline, &mut pace, look);
    state.awake();
    match found? {
        Ok(found) => Ok(found),
        Err(WakeReason::Interrupted) => Err(Error::Interrupted(
            format!("{}: a signal arrived while this call waited", state.shown()).into(),
        )),
        Err(_) => Err(state.timed_out(timeout.unwrap_or(Duration::MAX))),
    }
}

/// The part of `until` that sleeps. The inner error says what ended the wait.
fn sleep_until<S: Waits, T>(
    state: &mut S,
    deadline: Deadline,
    pace: &mut Pace,
    mut look: impl FnMut(&mut S) -> Result<Option<T>>,
) -> Result<std::result::Result<T, WakeReason>> {
    let mut tickets = Vec::new();
    loop {
        tickets.clear();
        state.ask(&mut tickets);
        Ticket::confirm(&mut tickets);
        if let Some(found) = look(state)? {
            return Ok(Ok(found));
        }
        let wakeable = tickets.iter().all(|t| t.armed.wakeable);
        loop {
            if deadline.is_over() {
                return Ok(Err(WakeReason::TimedOut));
            }
            let woken = Ticket::sleep_any_or(&tickets, None, pace, deadline);
            if woken == WakeReason::Interrupted {
                return Ok(Err(WakeReason::Interrupted));
            }
            if woken == WakeReason::TimedOut {
                state.after_sleep();
            }
            // Asking again costs, and most likely there is something.
            if let Some(found) = look(state)? {
                return Ok(Ok(found));
            }
            // The request stands until the other side answers it. So the thread goes back to sleep
            // at once, and a signal rarely arrives while it is awake.
            if woken == WakeReason::Woken && wakeable {
                break;
            }
        }
    }
}
