//! How long to wait, and how often to look.

use crate::os::{self, SignalGate, Woken};
use std::time::Duration;

/// No sleep is longer: what is lost by a kill between clearing the flag and waking is found then.
pub(crate) const SLICE: Duration = Duration::from_secs(1);

/// How long one sleeps who is not woken: the first time, and at most.
const DOZE: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(4));

/// How often one looks again before going to sleep: some microseconds, a fraction of what a sleep
/// and its end cost.
pub(crate) const LOOKS: usize = 256;

/// When to give up waiting.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// So long from now; for ever, if that is beyond all clocks.
    pub fn after(timeout: Duration) -> Deadline {
        match timeout {
            Duration::MAX => Deadline(None),
            _ => Deadline(os::now().checked_add(timeout)),
        }
    }

    /// Whether the time is over.
    pub fn is_over(self) -> bool {
        self.0.is_some_and(|end| os::now() >= end)
    }

    /// The end, at most so long from now.
    pub(crate) fn within(self, most: Duration) -> Duration {
        let end = os::now() + most;
        self.0.map_or(end, |own| own.min(end))
    }
}

/// How long the next sleep of a waiter lasts that nobody wakes: longer and longer.
pub struct Pace {
    next: Duration,
    /// Whether a sleep that somebody could have ended took its whole time.
    pub(crate) in_vain: bool,
    /// Once it has slept so: no signal arrives between two sleeps.
    gate: Option<SignalGate>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pace").field(&self.next).finish()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            next: DOZE.0,
            in_vain: false,
            gate: None,
        }
    }
}

impl Pace {
    /// The longest sleep to make now.
    pub(crate) fn next(&mut self, heard: bool) -> Duration {
        if heard {
            return SLICE;
        }
        let now = self.next;
        self.next = (now * 2).min(DOZE.1);
        now
    }

    /// A short sleep on a word, with the signals held back so that none arrives as it ends, when the
    /// kernel would report the time and not the signal. They are let in before the next sleep.
    pub(crate) fn sleep_held(&mut self, sleep: impl FnOnce() -> Woken) -> Woken {
        match &self.gate {
            None => self.gate = Some(SignalGate::new()),
            Some(gate) if gate.nap(Duration::ZERO) => {}
            Some(_) => return Woken::Signal,
        }
        sleep()
    }

    /// Lets in the signals that were held back, for a caller that handles them between two sleeps.
    pub fn admit_signals(&mut self) {
        self.gate = None;
    }

    /// Sleeps for that long at most, without being woken.
    pub(crate) fn doze(&mut self, deadline: Deadline) -> Woken {
        let until = deadline.within(self.next(false));
        let gate = self.gate.get_or_insert_with(SignalGate::new);
        match gate.nap(until.saturating_sub(os::now())) {
            true => Woken::Late,
            false => Woken::Signal,
        }
    }
}

/// A little less than this time, and never the same. A signal that arrives in the microseconds in
/// which a sleep ends is not noticed, so no timer is to go off with the sleeps again and again.
pub(crate) fn uneven(time: Duration) -> Duration {
    let noise = os::now().subsec_nanos().wrapping_mul(0x9e37_79b1) >> 24;
    time - time * noise / 1024
}
