//! The lengths of sleeps, and the number of looks before them.

use crate::os::{self, SignalGate, WakeReason};
use std::time::Duration;

/// The longest sleep. It bounds the delay if a process is killed between clearing the flag and
/// waking.
pub(crate) const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The first and the longest sleep of a waiter that no process wakes.
const BACKOFF: (Duration, Duration) = (Duration::from_micros(100), Duration::from_millis(4));

/// The number of looks before a sleep. They take some microseconds, a fraction of the cost of a
/// sleep.
pub(crate) const SPIN_LIMIT: usize = 256;

/// The end of a wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(Option<Duration>);

impl Deadline {
    /// The end of a time that starts now. `None` has no end, and neither has a time that the clock
    /// cannot count.
    pub fn after(timeout: Option<Duration>) -> Deadline {
        Deadline(timeout.and_then(|timeout| os::now().checked_add(timeout)))
    }

    /// Whether the end has passed.
    pub fn is_over(self) -> bool {
        self.0.is_some_and(|end| os::now() >= end)
    }

    /// The end, or `most` from now if that is earlier.
    pub(crate) fn within(self, most: Duration) -> Duration {
        let end = os::now() + most;
        self.0.map_or(end, |own| own.min(end))
    }
}

/// The lengths of the sleeps of a waiter. If no process wakes it, they grow.
pub struct Pace {
    next: Duration,
    /// Whether a sleep that another process could have ended took its whole time.
    pub(crate) timed_out: bool,
    /// Blocks signals between two sleeps. The first short sleep sets it.
    signals: Option<SignalGate>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Pace").field(&self.next).finish()
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            next: BACKOFF.0,
            timed_out: false,
            signals: None,
        }
    }
}

impl Pace {
    /// The longest sleep to make now.
    pub(crate) fn next(&mut self, wakeable: bool) -> Duration {
        if wakeable {
            return MAX_SLEEP;
        }
        let now = self.next;
        self.next = (now * 2).min(BACKOFF.1);
        now
    }

    /// Blocks signals from now on, except during sleeps.
    pub(crate) fn block_signals(&mut self) {
        self.signals.get_or_insert_with(SignalGate::new);
    }

    /// Makes a short sleep on a word with signals blocked. Otherwise a signal could arrive as the
    /// sleep ends, and the kernel would report the timeout and not the signal. The next sleep first
    /// lets the signals in.
    pub(crate) fn sleep_with_signals_blocked(
        &mut self,
        sleep: impl FnOnce() -> WakeReason,
    ) -> WakeReason {
        match &self.signals {
            None => self.signals = Some(SignalGate::new()),
            Some(signals) if signals.nap(Duration::ZERO) => {}
            Some(_) => return WakeReason::Interrupted,
        }
        sleep()
    }

    /// Lets in the blocked signals, for a caller that handles them between two sleeps.
    pub fn admit_signals(&mut self) {
        self.signals = None;
    }

    /// Sleeps for the next length, without a wake-up.
    pub(crate) fn sleep(&mut self, deadline: Deadline) -> WakeReason {
        let until = deadline.within(self.next(false));
        let signals = self.signals.get_or_insert_with(SignalGate::new);
        match signals.nap(until.saturating_sub(os::now())) {
            true => WakeReason::TimedOut,
            false => WakeReason::Interrupted,
        }
    }
}

/// A little less than this time, and a different amount each time. A signal that arrives in the
/// microseconds in which a sleep ends is not noticed, so a timer must not coincide with the sleeps
/// again and again.
pub(crate) fn jittered(time: Duration) -> Duration {
    let noise = os::now().subsec_nanos().wrapping_mul(0x9e37_79b1) >> 24;
    time - time * noise / 1024
}
