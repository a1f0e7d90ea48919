//! What a consumer needs to sleep until its producer pushes.

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

/// The word of a data file that sleepers sleep on.
pub(super) fn wake_word(region: &Region) -> NonNull<AtomicU32> {
    // SAFETY: the header of a queue is mapped whole, so the word is inside the mapping.
    let word = unsafe { region.base().add(at::WAKE) };
    // SAFETY: an address inside a mapping is not null.
    unsafe { NonNull::new_unchecked(word.cast()) }
}

/// The control file in the hands of one who sleeps.
pub(super) struct Sleeper {
    /// `None` where it may not be written: then nobody wakes this consumer.
    control: Option<Arc<Control>>,
    /// The epoch when it was opened. The next producer may have made another file.
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
        // After the count: if a new producer's ring is in it, so is its epoch.
        let mut now = epoch();
        if now != self.epoch {
            // Of nobody, if that cannot be found out.
            let owner = region.owner().unwrap_or(u32::MAX);
            match Control::find(paths, geometry, true, owner) {
                Ok((control, _)) => self.control = Some(Arc::new(control)),
                // Unlinked: the producer that lives has the one that this has.
                Err(Error::NotFound(_)) => {}
                // This process may not write it.
                Err(Error::PermissionDenied(_)) => self.control = None,
                // A limit is reached, perhaps, and the next sleep tries again.
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
            // SAFETY: both are mapped for longer than the bell is used.
            Some(control) => wakeup::prepare_wait(&unsafe {
                SharedEventCount::for_waiter(control.asleep(), word)
            }),
            // SAFETY: as above.
            None => wakeup::count(unsafe { word.as_ref() }),
        }
    }
}

/// What to sleep on, for bindings: it does not borrow the handle.
#[derive(Clone)]
pub struct Ticket {
    word: NonNull<AtomicU32>,
    armed: Armed,
    /// The longest sleep.
    slice: Duration,
    _region: Arc<Region>,
}

// SAFETY: the pointer leads to an atomic in the region, which threads may share.
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
        // SAFETY: mapped for as long as the region is held. It is only loaded.
        unsafe { self.word.as_ref() }
    }

    /// Whether the producer has woken those who asked when this one did.
    pub fn is_rung(&self) -> bool {
        wakeup::count(self.word()) != self.armed.seen
    }

    /// Sleeps until it is worth looking again at one of several, or the time is over. `false` if a
    /// signal ended it.
    pub fn sleep_any(tickets: &[Ticket], pace: &mut Pace, deadline: Deadline) -> bool {
        Ticket::sleep_any_or(tickets, None, pace, deadline) != WakeReason::Interrupted
    }

    /// As `sleep_any`, or until a word of the caller's own is not what it was.
    pub(super) fn sleep_any_or(
        tickets: &[Ticket],
        own: Option<(&AtomicU32, u32)>,
        pace: &mut Pace,
        deadline: Deadline,
    ) -> WakeReason {
        let theirs = tickets.iter().map(|t| (t.word(), t.armed.seen));
        let slice = tickets.iter().map(|t| t.slice).min().unwrap_or(MAX_SLEEP);
        // A blocked producer, which nobody has woken in its first slice.
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
            // A signal may not end a sleep on several words.
            (None, _) if !wakeable || os::restarts_after_signals() => pace.sleep(deadline),
            _ => {
                let words: Vec<_> = own.into_iter().chain(theirs).collect();
                os::futex_wait_any(&words, until(pace, wakeable)).unwrap_or_else(|| match own {
                    // A kernel that cannot sleep on several. It looks at the others now and then.
                    Some((word, seen)) => os::futex_wait(word, seen, until(pace, false)),
                    None => pace.sleep(deadline),
                })
            }
        };
        pace.timed_out |= woken == WakeReason::TimedOut;
        woken
    }

    /// The barrier between asking, of one or several consumers, and the last look.
    pub fn confirm(tickets: &mut [Ticket]) {
        // Not for those that nobody hears: it disturbs every producer.
        if tickets.iter().any(|t| t.armed.wakeable) && !wakeup::heavy_barrier() {
            tickets.iter_mut().for_each(|t| t.armed.wakeable = false);
        }
    }
}

/// What can be waited for.
pub(super) trait Waits {
    /// Asks to be woken, for as many tickets as there are words to sleep on.
    fn ask(&mut self, tickets: &mut Vec<Ticket>);
    /// A sleep has ended because it took long enough: to see to what nobody wakes for.
    fn late(&mut self) {}
    /// The wait is over.
    fn awake(&mut self) {}
    /// What is waited for, for messages.
    fn shown(&mut self) -> String;
    /// The error if the time is over.
    fn timed_out(&mut self, timeout: Duration) -> Error;
}

/// Looks until there is something, asleep in between. This is where all waiting calls wait.
pub(super) fn until<S: Waits, T>(
    state: &mut S,
    timeout: Duration,
    mut look: impl FnMut(&mut S) -> Result<Option<T>>,
) -> Result<T> {
    if let Some(found) = look(state)? {
        return Ok(found);
    }
    if timeout.is_zero() {
        return Err(state.timed_out(timeout));
    }
    let deadline = Deadline::after(timeout);
    for _ in 0..SPIN_LIMIT {
        std::hint::spin_loop();
        if let Some(found) = look(state)? {
            return Ok(found);
        }
    }
    let _no = NoCancel::new();
    let found = sleep_until(state, deadline, look);
    state.awake();
    match found? {
        Ok(found) => Ok(found),
        Err(WakeReason::Interrupted) => Err(Error::Interrupted(
            format!("{}: a signal arrived while this call waited", state.shown()).into(),
        )),
        Err(_) => Err(state.timed_out(timeout)),
    }
}

/// The part of `until` that sleeps. An inner error says what ended the wait.
fn sleep_until<S: Waits, T>(
    state: &mut S,
    deadline: Deadline,
    mut look: impl FnMut(&mut S) -> Result<Option<T>>,
) -> Result<std::result::Result<T, WakeReason>> {
    let mut pace = Pace::default();
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
            let woken = Ticket::sleep_any_or(&tickets, None, &mut pace, deadline);
            if woken == WakeReason::Interrupted {
                return Ok(Err(WakeReason::Interrupted));
            }
            if woken == WakeReason::TimedOut {
                state.late();
            }
            // To ask is not free, and most likely it is not needed any more.
            if let Some(found) = look(state)? {
                return Ok(Ok(found));
            }
            // What was asked stands until somebody answers. So the thread goes back to sleep at
            // once, and hardly a signal arrives while it is awake.
            if woken == WakeReason::Woken && wakeable {
                break;
            }
        }
    }
}
